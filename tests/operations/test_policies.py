"""A policy asks for persons: so many of them, each once, never the maker, and of exactly what they saw."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from disburse.domain.payout import Payout
from disburse.domain.policies import Item, Policy, persons_for
from disburse.domain.refusals import Refusal
from disburse.operations import policies
from disburse.operations.awaiting import ENDS
from disburse.operations.operators import add_operator
from disburse.operations.policies import Answered, Need, Say
from disburse.storage.unit import Unit
from tests.operations.persons import Persons
from tests.operations.ruled import limit, rule, used
from tests.operations.shop import Shop

ANNA, BORIS, VERA = "operator:1", "operator:2", "operator:3"
CARDS = Policy("card", "RUB", 500, 2)
DAY = timedelta(days=1)


@pytest.fixture
async def merchant(shop: Shop) -> int:
    """A merchant with money, two yeses for card payouts above 5 roubles, and three operators."""
    number = await shop.merchant(1, 10_000)
    await rule(shop, number, policies=[CARDS])
    await Persons(shop).come()
    await add_operator(shop.database, shop.world, name="Vera", actor="test")
    return number


async def digest_of(shop: Shop, payout: Payout) -> bytes:
    standing = await shop.database.run(lambda tx: policies.standing(tx, shop.shard, payout.payout_id))
    assert standing is not None
    return standing.need.digest


async def say(shop: Shop, payout: Payout, who: str, *, yes: bool = True, digest: bytes | None = None) -> Any:
    command = Say(payout.payout_id, digest or await digest_of(shop, payout), yes, "looked at", shop.now(), who)
    return await shop.run(lambda tx: policies.say(tx, shop.shard, command, ENDS))


def name(result: Any) -> str:
    """The effect of an answer, or the name of its refusal."""
    return result.effect if isinstance(result, Answered) else result.name if isinstance(result, Refusal) else repr(result)


@pytest.mark.parametrize(
    ("items", "persons"),
    [
        ([Item("card", "RUB", 500)], 0),
        ([Item("card", "RUB", 501)], 2),
        ([Item("card", "USD", 501), Item("sbp", "RUB", 501)], 0),
        ([Item("card", "RUB", 300)] * 2, 2),  # small rows that are large together
        ([Item("card", "RUB", 300), Item("sbp", "RUB", 10_000)], 3),
    ],
)
def test_who_is_needed(items: list[Item], persons: int) -> None:
    """The strictest policy that a payout, or the total of several, goes beyond says how many."""
    assert persons_for([CARDS, Policy("any", "RUB", 10_000, 3)], items) == persons


async def test_two_agree(shop: Shop, merchant: int) -> None:
    """Above the amount a payout waits with its money held; the second yes of another person queues it, in the same moment."""
    small, large = await shop.paid_out(merchant, "small", 500), await shop.paid_out(merchant, "large", 1000)
    assert (small.state, large.state) == ("queued", "awaiting_approval")
    assert (await shop.balances(merchant))["held"] == 1500 and await shop.attempts(large) == []
    assert name(await say(shop, large, "cli")) == "needs_operator"
    assert name(await say(shop, large, ANNA)) == "waiting"
    assert name(await say(shop, large, ANNA)) == name(await say(shop, large, ANNA, yes=False)) == "said_before"
    assert (await shop.read(large)).state == "awaiting_approval"
    assert name(await say(shop, large, BORIS)) == "queued"
    assert await shop.attempts(large) == ["due"]
    assert name(await say(shop, large, VERA)) == "wrong_state"
    assert name(await say(shop, small, VERA, digest=bytes(32))) == "no_such_subject"


async def test_at_once(shop: Shop, merchant: int) -> None:
    """However many answer at one moment, two different persons make it go on, once."""
    payout = await shop.paid_out(merchant, "w", 1000)
    told = await asyncio.gather(*[say(shop, payout, who) for who in (ANNA, BORIS, VERA) * 3])
    assert sorted(name(one) for one in told if isinstance(one, Answered)) == ["queued", "waiting"]
    assert await shop.attempts(payout) == ["due"]


async def test_never_the_maker(shop: Shop, merchant: int) -> None:
    """Who had it executed cannot agree to it, and may take it back."""
    mine = (await shop.create(replace(shop.draft(merchant, "w", 1000), actor=ANNA)))[0].payout
    assert name(await say(shop, mine, ANNA)) == "own_work"
    assert name(await say(shop, mine, BORIS)) == "waiting"
    assert name(await say(shop, mine, ANNA, yes=False)) == "cancelled"


async def test_one_no_ends_it(shop: Shop, merchant: int) -> None:
    """Refused by one it is cancelled, its money goes back, and so does what it used of a limit."""
    await rule(shop, merchant, policies=[CARDS], limits=[limit("day:RUB", 1000)])
    payout = await shop.paid_out(merchant, "w", 1000)
    assert await used(shop, merchant) == (1, 1000)
    await say(shop, payout, BORIS)
    assert name(await say(shop, payout, ANNA, yes=False)) == "cancelled"
    stands = await shop.read(payout)
    assert (stands.state, stands.reason, await used(shop, merchant)) == ("cancelled", "approval_refused", (0, 0))
    assert await shop.balances(merchant) == {"available": 10_000, "funding": -10_000}
    assert name(await say(shop, payout, VERA)) == "wrong_state"


async def test_only_what_was_seen(shop: Shop, merchant: int) -> None:
    """A yes names the digest of what was shown: another digest is refused, and whatever is edited afterwards voids every yes."""
    payout = await shop.paid_out(merchant, "w", 1000)
    assert name(await say(shop, payout, ANNA, digest=b"\1" * 32)) == "changed_since"
    seen = await digest_of(shop, payout)
    assert name(await say(shop, payout, ANNA)) == "waiting"
    await shop.rows("UPDATE payouts SET display = '555555******4444' WHERE payout_id = $1 RETURNING 1", payout.payout_id)
    assert name(await say(shop, payout, BORIS)) == "changed_since"
    stands = await shop.read(payout)

    async def ask_anew(tx: Any) -> None:
        unit = await Unit.lock(tx, shop.shard, [merchant])
        policies.ask(unit, policies.need_of(stands, None, 2, shop.now(), "merchant:test"))
        await unit.write()

    await shop.database.run(ask_anew)
    assert name(await say(shop, payout, BORIS, digest=seen)) == "changed_since", "the page that Boris looks at is old"
    assert name(await say(shop, payout, BORIS)) == "waiting", "Anna's yes was to something else"
    assert name(await say(shop, payout, ANNA)) == "queued"


async def test_times(shop: Shop, merchant: int) -> None:
    """Approved before its time it is scheduled; approved too late it has expired and its money is back; the sweeper does the same."""
    at = await shop.database_now() + DAY
    timed = (await shop.create(replace(shop.draft(merchant, "w", 1000), execute_at=at)))[0].payout
    late, swept = await shop.paid_out(merchant, "late", 1000), await shop.paid_out(merchant, "swept", 1000)
    assert timed.state == "awaiting_approval"
    for payout in (timed, late):
        await say(shop, payout, ANNA)
    assert name(await say(shop, timed, BORIS)) == "scheduled"
    shop.off = 6 * DAY
    assert (await shop.expire(shop.act(swept)))[0].state == "awaiting_approval"
    shop.off = 8 * DAY
    assert name(await say(shop, late, BORIS)) == "expired"
    assert (await shop.expire(shop.act(swept)))[0].state == "expired"
    assert await shop.balances(merchant) == {"available": 9_000, "held": 1000, "funding": -10_000}


async def test_unknown_commit_of_a_yes(shop: Shop, merchant: int) -> None:
    """A yes that runs again after an unknown commit finds itself, and is one yes."""
    payout = await shop.paid_out(merchant, "w", 1000)
    for who, effect in ((ANNA, "waiting"), (BORIS, "queued")):
        command = Say(payout.payout_id, await digest_of(shop, payout), True, "", shop.now(), who)
        first, second = await shop.run_twice(lambda tx, one=command: policies.say(tx, shop.shard, one, ENDS))  # type: ignore[misc]
        assert name(first) == effect and isinstance(second, Answered)
    assert await shop.attempts(payout) == ["due"]


async def test_cancelled_by_its_merchant(shop: Shop, merchant: int) -> None:
    """A merchant may cancel what waits; and what a registry was approved for needs nobody again."""
    payout = await shop.paid_out(merchant, "w", 1000)
    assert (await shop.cancel(shop.act(payout)))[0].state == "cancelled"
    part = (await shop.create(replace(shop.draft(merchant, "row 1", 1000), approved=True)))[0].payout
    assert part.state == "queued"


async def test_of_another_kind(shop: Shop, merchant: int) -> None:
    """What is approved need not be a payout: its kind says what happens with the last yes."""
    subject, ended = shop.new_id(), []
    need = Need(subject, b"\7" * 32, merchant, "registry", 1, "3 payouts: 30.00 RUB", ANNA, shop.now(), ANNA)

    async def asked(tx: Any) -> None:
        unit = await Unit.lock(tx, shop.shard, [merchant])
        policies.ask(unit, need)
        await unit.write()

    async def check(unit: Unit, need: Need) -> None:
        return None

    async def end(unit: Unit, standing: policies.Standing, word: Say) -> str:
        ended.append(standing.yes)
        return "approved"

    await shop.database.run(asked)
    for who, effect in ((ANNA, "own_work"), (BORIS, "approved")):
        command = Say(subject, need.digest, True, "", shop.now(), who)
        assert name(await shop.database.run(lambda tx, one=command: policies.say(tx, 0, one, {"registry": (check, end)}))) == effect  # type: ignore[misc]
    assert ended == [[BORIS]]
