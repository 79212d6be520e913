"""Random walks on a real database: whatever providers say and persons vouch for, in any order, the books hold and nobody pays twice."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from disburse.domain.money import Money
from disburse.domain.outcomes import Absent, Accepted, NotFound, NotSent, Rejected, Returned, Settled, Unknown, Verdict
from disburse.operations.approvals import Answered, Asked
from disburse.operations.merchants import TopUp, top_up
from disburse.operations.verify import verify
from tests.operations.persons import ANNA, BORIS, NOT_MOVED, PAID, Persons
from tests.operations.shop import OTHER, SANDBOX, Shop

PAYOUTS, STEPS, MONEY = 12, 150, 100_000
VERDICTS: list[Verdict] = [
    Accepted("p"), Settled("p"), Settled("q", Money(1000, "RUB")), Rejected("no"), Rejected("limit", elsewhere=True),
    NotSent("refused"), Unknown("time-out"), NotFound(), Absent(), Returned("R-1", Money(400, "RUB")), Returned("R-2"),
    Settled("p", Money(7, "RUB")),
]  # fmt: skip


class Walk:
    """One seed's way: payouts of one merchant, what is heard of them, and what two persons ask for and answer."""

    def __init__(self, persons: Persons, random: Random) -> None:
        self.persons, self.shop, self.random = persons, persons.shop, random
        self.payouts: list[Any] = []
        self.opened: list[Any] = []
        self.requests: list[Any] = []
        self.done = 0

    async def step(self, place: int) -> None:
        match self.random.choice(["claim", "hear", "hear", "hear", "hear", "ask", "ask", "answer", "answer", "lapse", "money"]):
            case "claim":
                payout = await self.shop.read(self.random.choice(self.payouts))
                if payout.attempts and (opened := await self.shop.claim(payout, payout.attempts)) is not None:
                    self.opened.append(opened)
            case "hear" if self.opened:
                opened, verdict = self.random.choice(self.opened), self.random.choice(VERDICTS)
                await self.shop.hear_of(opened, verdict, kind="callback", content=str(self.random.randrange(3)))
            case "ask":
                payout, outcome = self.random.choice(self.payouts), self.random.choice([PAID, NOT_MOVED])
                attempt, by = self.random.choice([None, None, 1, 2]), self.random.choice([ANNA, BORIS])
                await self._ask(self.persons.resolve(payout, outcome, attempt=attempt, by=by))
            case "money":
                await self._ask(self.persons.withdraw(1, self.random.randrange(1, 3000), f"w{place}"))
            case "answer" if self.requests:
                request, yes = self.random.choice(self.requests[-4:]), self.random.random() < 0.8
                answered = await self.persons.answer(request, yes=yes, by=self.random.choice([ANNA, BORIS]))
                self.done += isinstance(answered, Answered) and yes
            case "lapse":
                await self.shop.lapse(self.random.choice(self.payouts))

    async def _ask(self, command: Any) -> None:
        asked = await self.persons.ask(command)
        if isinstance(asked, Asked) and asked.fresh:
            self.requests.append(asked.request.request_id)


@pytest.mark.parametrize("seed", range(4))
async def test_any_way_through(shop: Shop, seed: int) -> None:
    """On any way every invariant holds, and what the merchant has paid is what its paid payouts cost, less what came back."""
    shop.routes = [SANDBOX, OTHER]
    await shop.merchant(1)
    booked = TopUp(shop.new_id(), 1, "first", Money(MONEY, "RUB"), shop.now(), "cli")
    await shop.database.run(lambda tx: top_up(tx, 0, [booked]))
    walk = Walk(await Persons(shop).come(), Random(seed))
    walk.payouts = [await shop.paid_out(1, f"wage {n}", fee=30) for n in range(PAYOUTS)]
    for place in range(STEPS):
        await walk.step(place)
        if place % 50 == 49:
            report = await verify(shop.database)
            assert report.holds, (seed, place, report.findings)
    assert walk.done > 3
    rows = await shop.rows("SELECT state, amount_minor, fee_minor, returned_minor FROM payouts")
    cost = sum(row[1] + row[2] - row[3] for row in rows if row[0] not in ("failed", "cancelled"))
    balances = await shop.balances(1)
    assert balances["available"] == -balances["funding"] - cost, seed
