"""What happens inside transactions when two of them meet: whoever comes second waits, and both end as one after the other.

Each pair of writing operations that can meet on one merchant or payout is let meet with the first one held before each of its
statements, and before its commit. From the moment at which the first one has the merchant's lock the second one waits for it; until then it
passes by, and the first one goes on with what it finds. What both are told, and every row they leave, must be as in one of the two
orders in which they could have come. Operations that hope (decision 9) are let meet both ways.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import pytest

from disburse.domain.money import Money
from disburse.domain.outcomes import Accepted, Rejected, Settled, Unknown, Verdict
from disburse.domain.payout import Payout
from disburse.domain.ports import World
from disburse.domain.refusals import Refusal
from disburse.operations import approvals, attempts, evidence, merchants, payouts, two_steps
from disburse.operations.approvals import Asked
from disburse.operations.attempts import Claim, Opened
from disburse.operations.once import Once
from disburse.operations.two_steps import Remember
from disburse.storage import payouts as stored
from disburse.storage.database import Transaction
from tests.isolation.two import Deed, Houses, two_houses
from tests.operations.persons import BORIS, NOT_MOVED, Persons
from tests.operations.shop import Shop

FEE = 30
PRICE = 1000 + FEE
CLARA = "operator:3"


@dataclass
class Scene:
    """One merchant and its payout, as two deeds find them."""

    shop: Shop
    merchant: int
    payout: Payout
    opened: Any = None
    request: Any = None
    due: Any = None


def _word(result: Any) -> str:
    """A result without what is drawn anew each time."""
    if isinstance(result, Refusal):
        return type(result).__name__
    if isinstance(result, payouts.Found):
        return f"{result.payout.state} {result.fresh} {result.same_content} {result.available_minor}"
    if isinstance(result, Payout):
        return str(result.state)
    if isinstance(result, approvals.Answered):
        return f"{result.decision.verdict} {result.decision.effect}"
    if isinstance(result, evidence.Applied):
        return result.effect
    return "opened" if isinstance(result, Opened) else str(result)


def _first(results: Any) -> str:
    return _word(results[0] if isinstance(results, list) else results)


# --- deeds -----------------------------------------------------------------------------------------------------------------


def _deed(work: Callable[[Transaction], Awaitable[Any]], hopeful: bool) -> Deed:
    return Deed(work, _first, hopeful)


def create(reference: str, amount: int = 1000, *, execute: bool = True) -> Callable[[Scene, bool], Deed]:
    def made(scene: Scene, hopeful: bool) -> Deed:
        command = scene.shop.draft(scene.merchant, reference, amount, fee=FEE, execute=execute)
        return _deed(lambda tx: payouts.create(tx, 0, [command]), hopeful)

    return made


def act(operation: Any) -> Callable[[Scene, bool], Deed]:
    def made(scene: Scene, hopeful: bool) -> Deed:
        return _deed(lambda tx: operation(tx, 0, [scene.shop.act(scene.payout)]), hopeful)

    return made


def claim(owner: str) -> Callable[[Scene, bool], Deed]:
    def made(scene: Scene, hopeful: bool) -> Deed:
        found = Once(deepcopy(scene.due)) if hopeful else None
        one = Claim(scene.payout.payout_id, 1, scene.merchant, owner, 30, scene.shop.now(), found)
        return _deed(lambda tx: attempts.claim(tx, 0, [one], routes=scene.shop.routes), hopeful)

    return made


def record(verdict: Verdict, kind: str = "callback") -> Callable[[Scene, bool], Deed]:
    def made(scene: Scene, hopeful: bool) -> Deed:
        message = scene.shop.message(deepcopy(scene.opened), verdict, kind=kind)  # each process has read its own
        return _deed(lambda tx: evidence.record(tx, 0, [message], routes=scene.shop.routes), hopeful)

    return made


def remember(reference: str) -> Callable[[Scene, bool], Deed]:
    def made(scene: Scene, hopeful: bool) -> Deed:
        opened = scene.opened
        command = Remember(
            scene.payout.payout_id, 1, scene.merchant, opened.connector, opened.end_to_end_id, "worker-a", opened.epoch,
            reference, scene.shop.now(), "worker:worker-a",
        )  # fmt: skip
        return _deed(lambda tx: two_steps.remember(tx, 0, [command]), hopeful)

    return made


def top_up(reference: str, minor: int) -> Callable[[Scene, bool], Deed]:
    def made(scene: Scene, hopeful: bool) -> Deed:
        command = merchants.TopUp(scene.shop.new_id(), scene.merchant, reference, Money(minor, "RUB"), scene.shop.now(), "cli")
        return _deed(lambda tx: merchants.top_up(tx, 0, [command]), hopeful)

    return made


def resolve(*, yes: bool = True, by: str = BORIS) -> Callable[[Scene, bool], Deed]:
    def made(scene: Scene, hopeful: bool) -> Deed:
        word = approvals.Answer(scene.request, yes, "", scene.shop.now(), by)
        return _deed(lambda tx: approvals.answer(tx, 0, word), hopeful)

    return made


HOPEFUL = ("create", "execute", "claim", "record")
"""Deeds whose names begin so are also done hopefully, as their desks do them."""

Deeds = dict[str, Callable[[Scene, bool], Deed]]

# --- scenes: what stands there, and what can meet -------------------------------------------------------------------------

CREATED: Deeds = {
    "execute": act(payouts.execute), "cancel": act(payouts.cancel), "create the last": create("another"),
    "create the same": create("wage"), "top_up": top_up("new", PRICE),
}  # fmt: skip
QUEUED: Deeds = {
    "claim by a": claim("worker-a"), "claim by b": claim("worker-b"), "cancel": act(payouts.cancel),
    "create the last": create("another"), "top_up": top_up("new", PRICE),
}  # fmt: skip
OPEN: Deeds = {
    "record settled": record(Settled("p")), "record refused": record(Rejected("no"), "answer"),
    "record a lapsed lease": record(Unknown("lease"), "lease"), "remember": remember("p"), "cancel": act(payouts.cancel),
}  # fmt: skip
DOUBTED: Deeds = {
    "resolve": resolve(), "resolve by another": resolve(by=CLARA), "refuse to resolve": resolve(yes=False),
    "record settled": record(Settled("p")), "record accepted": record(Accepted("p")),
}  # fmt: skip


async def created(houses: Houses, merchant: int) -> Scene:
    shop = houses.shop
    payout = (await shop.create(shop.draft(merchant, "wage", fee=FEE, execute=False)))[0].payout
    return Scene(shop, merchant, payout)


async def queued(houses: Houses, merchant: int) -> Scene:
    scene = await created(houses, merchant)
    await scene.shop.execute(scene.shop.act(scene.payout))
    await _fund(scene.shop, merchant, "second")
    scene.due = (await scene.shop.database.run(lambda tx: stored.to_claim(tx, 0, [(scene.payout.payout_id, 1)])))[
        scene.payout.payout_id, 1
    ]
    return scene


async def open_(houses: Houses, merchant: int) -> Scene:
    scene = await queued(houses, merchant)
    scene.opened = await scene.shop.opened(scene.payout)
    return scene


async def doubted(houses: Houses, merchant: int) -> Scene:
    """In doubt, and Anna has asked that it end as not moved."""
    scene = await open_(houses, merchant)
    await scene.shop.hear_of(scene.opened, Unknown("time-out"))
    persons = Persons(scene.shop)
    asked = await persons.ask(persons.resolve(scene.payout, NOT_MOVED))
    assert isinstance(asked, Asked), asked
    scene.request = asked.request.request_id
    return scene


async def _fund(shop: Shop, merchant: int, reference: str) -> None:
    booked = merchants.TopUp(shop.new_id(), merchant, reference, Money(PRICE, "RUB"), shop.now(), "cli")
    await shop.database.run(lambda tx: merchants.top_up(tx, 0, [booked]))


async def standing(shop: Shop, merchant: int) -> dict[str, Any]:
    """Every row that a merchant has, in order, without ids and times."""
    selects = {
        "counters": "SELECT payouts, postings, events FROM merchants WHERE merchant_id = $1::int4",
        "payouts": "SELECT number, reference, state, frozen, reason, attempts FROM payouts WHERE merchant_id = $1 ORDER BY number",
        "attempts": """SELECT p.number, a.number AS attempt, a.state, a.owner, a.epoch, a.provider_reference, a.reason, a.ended_at IS NULL AS open
                       FROM attempts a JOIN payouts p USING (shard, payout_id) WHERE a.merchant_id = $1 ORDER BY 1, 2""",
        "postings": "SELECT number, phase, source, destination, amount_minor FROM postings WHERE merchant_id = $1 ORDER BY number",
        "balances": "SELECT account, balance_minor FROM balances WHERE merchant_id = $1 AND balance_minor <> 0 ORDER BY 1",
        "events": "SELECT number, kind, attempt, detail FROM events WHERE merchant_id = $1 ORDER BY number",
        "evidence": "SELECT kind, verdict, effect FROM evidence WHERE merchant_id = $1 ORDER BY 1, 2, 3",
        "decisions": "SELECT verdict, effect, actor FROM decisions WHERE merchant_id = $1",
        "top_ups": "SELECT reference, amount_minor FROM top_ups WHERE merchant_id = $1 ORDER BY 1",
    }
    parts = ", ".join(f"(SELECT array_agg(one::text) FROM ({sql}) AS one) AS {name}" for name, sql in selects.items())
    return dict((await shop.rows(f"SELECT {parts}", merchant))[0])


# --- meeting ---------------------------------------------------------------------------------------------------------------


class Stage:
    """One scene's deeds, met two by two."""

    def __init__(self, houses: Houses, scene: Callable[[Houses, int], Awaitable[Scene]], deeds: Deeds) -> None:
        self.houses, self.scene, self.deeds = houses, scene, deeds
        self.meetings = self.waits = 0

    async def set_up(self) -> Scene:
        self.houses.merchants += 1
        number = await self.houses.shop.merchant(self.houses.merchants)
        await _fund(self.houses.shop, number, "first")
        return await self.scene(self.houses, number)

    async def in_turn(self, first: str, second: str) -> tuple[str, str, dict[str, Any]]:
        scene = await self.set_up()
        words = await self.houses.one_after_the_other(self.deeds[first](scene, False), self.deeds[second](scene, False))
        return (*words, await standing(scene.shop, scene.merchant))

    async def meet(self, first: str, second: str, ways: Sequence[tuple[bool, bool]]) -> None:
        """Let them meet at every statement of the first, both carefully or hopefully, and compare with both orders."""
        forth, back = await self.in_turn(first, second), await self.in_turn(second, first)
        orders = [forth, (back[1], back[0], back[2])]
        for hopes, other_hopes in ways:
            stop = statements = 0
            while stop <= statements:
                scene = await self.set_up()
                where = (first, second, hopes, other_hopes, stop)
                met = await self.houses.meet(self.deeds[first](scene, hopes), self.deeds[second](scene, other_hopes), stop)
                assert met.waited is met.held, where
                assert (met.first, met.second, await standing(scene.shop, scene.merchant)) in orders, where
                statements, stop = met.statements, stop + 1
                self.meetings += 1
                self.waits += met.waited


def _ways(first: str, second: str) -> list[tuple[bool, bool]]:
    """Both carefully; and, where one of them can, hopefully."""
    hopes = (first.startswith(HOPEFUL), second.startswith(HOPEFUL))
    return [(False, False), hopes] if any(hopes) else [(False, False)]


SCENES: dict[str, tuple[Callable[[Houses, int], Awaitable[Scene]], Deeds]] = {
    "created": (created, CREATED), "queued": (queued, QUEUED), "open": (open_, OPEN), "in doubt": (doubted, DOUBTED),
}  # fmt: skip


@pytest.mark.parametrize("scene", SCENES)
async def test_whoever_comes_second_waits(dsn: str, world: World, scene: str) -> None:
    """Two operations on one merchant end as one after the other, wherever the first of them stands when the second comes."""
    async with two_houses(dsn, world) as houses:
        await Persons(houses.shop).come()
        stage = Stage(houses, *SCENES[scene])
        for first in stage.deeds:
            for second in stage.deeds:
                await stage.meet(first, second, _ways(first, second))
        assert stage.meetings >= 40 and 0 < stage.waits < stage.meetings
