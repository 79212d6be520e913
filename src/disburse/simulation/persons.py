"""Persons at the desk: they cancel what still waits, end doubts by two, withdraw and turn top-ups round, and sometimes err.

What they vouch for is what the provider's own book says at that moment, or, of an order that it still works on, what it will
say: they telephoned. The payout may move between the first yes and the second. The mistakes they try (agreeing to their own request,
agreeing twice, agreeing to what has moved since) the product has to refuse. May not live here: judgement, which is the auditor's.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable
from typing import Any, Final
from uuid import UUID

from disburse.domain.handed_in import HandedIn, hand_in
from disburse.domain.identifiers import payout_id, shard_of_payout
from disburse.domain.money import Money
from disburse.domain.refusals import Refusal
from disburse.operations import approvals
from disburse.operations.merchants import find_merchant
from disburse.operations.operators import add_operator
from disburse.operations.payouts import Act
from disburse.operations.resolutions import NOT_MOVED, PAID
from disburse.simulation.provider import Provider
from disburse.simulation.stage import Day
from disburse.simulation.visitors import Visitors
from disburse.storage.database import StoreUnavailable
from disburse.wiring import House

NAMES: Final = ("anna", "boris")
_WAITING: Final = "SELECT payout_id, merchant_id FROM payouts WHERE shard = ANY ($1) AND state IN ('created', 'queued') ORDER BY payout_id"
_DOUBTED: Final = """SELECT p.payout_id, p.merchant_id, a.end_to_end_id, a.provider_reference, a.connector, a.number
    FROM payouts p JOIN attempts a ON a.shard = p.shard AND a.payout_id = p.payout_id
    WHERE p.shard = ANY ($1) AND p.state = 'in_doubt' AND a.state = 'unknown' ORDER BY p.payout_id"""
_OPEN: Final = """SELECT r.request_id, r.actor FROM requests r LEFT JOIN decisions d USING (shard, request_id)
    WHERE r.shard = ANY ($1) AND d.request_id IS NULL ORDER BY r.request_id"""
"""The newest last."""
_ASKED: Final = "SELECT r.request_id, r.actor FROM requests r WHERE r.shard = ANY ($1) ORDER BY r.request_id"

_VOUCHED: Final = {"paid": PAID, "returned": PAID, "refused": NOT_MOVED, "absent": NOT_MOVED}


class Desk:
    """Two persons who share one program. `run` goes on until the day heals."""

    def __init__(self, day: Day, house: House, stream: random.Random) -> None:
        self._day = day
        self._house = house
        self._stream = stream
        self._turns = 0
        self._persons: list[str] = []

    async def settle_in(self) -> None:
        """Give both a token, so that they are known."""
        for name in NAMES:
            made = await add_operator(self._house.database, self._house.world, name=name, actor="cli")
            self._persons.append(f"operator:{made.operator_id}")

    async def run(self, mean_s: float) -> None:
        deeds: list[Callable[[], Any]] = [self._cancel, self._resolve, self._withdraw, self._reverse, self._agree, self._agree]
        visitors = Visitors(self._day, self._house, self._persons, self._day.streams["persons/apart"])
        while self._day.faults.on or self._turns == 0:
            await asyncio.sleep(self._stream.expovariate(1 / mean_s))
            self._turns += 1
            with contextlib.suppress(StoreUnavailable, Refusal):
                await (self._resolve() if self._alarmed() else self._stream.choice(deeds)())
            with contextlib.suppress(StoreUnavailable, Refusal):
                await visitors.turn()
        await visitors.leave()

    def _alarmed(self) -> bool:
        """Whether there is a doubt on the screen, and somebody sees to it before all else."""
        return bool(self._day.backend.look(_DOUBTED, self._day.buckets)) and self._stream.random() < 0.6

    async def _cancel(self) -> None:
        found = self._look(_WAITING)
        if found:
            payout, merchant = found[0], found[1]
            act = Act(payout, merchant, self._house.world.clock.now(), self._person())
            result = await self._house.desk.cancel(await self._merchant(merchant), act)
            if not isinstance(result, Refusal):
                self._day.sometimes["a person cancelled"] += 1

    async def _resolve(self) -> None:
        found = self._look(_DOUBTED)
        if not found:
            return
        payout, merchant, identifier, reference, connector, number = found
        truth = self._truth(self._day.providers[connector], reference if connector.startswith("money") else identifier)
        if truth is None:
            return
        await self._ask(
            shard_of_payout(payout),
            lambda request: approvals.Resolve(
                request, merchant, payout, truth, number, self._paper(), self._now(), self._person()
            ),
        )

    def _truth(self, provider: Provider, key: str | None) -> str | None:
        """What the provider's book says for good, or, when somebody there is asked, what it will say; None when nobody knows the order."""
        order = provider.orders.get(key or "")
        if order is None:
            return None
        return _VOUCHED.get(provider.will_be(order))

    async def _withdraw(self) -> None:
        client = self._stream.choice(self._day.clients)
        amount = Money(self._stream.randint(100, 5_000_00), "RUB")
        await self._ask(
            client.account.bucket,
            lambda request: approvals.Withdraw(
                request, client.account.number, f"w{self._turns // 3}", amount, self._paper(), self._now(), self._person()
            ),
        )

    async def _reverse(self) -> None:
        client = self._stream.choice(self._day.clients)
        await self._ask(
            client.account.bucket,
            lambda request: approvals.ReverseTopUp(
                request, client.account.number, "t1", self._paper(), self._now(), self._person()
            ),
        )

    async def _ask(self, shard: int, made: Callable[[UUID], approvals.Ask]) -> None:
        world = self._house.world
        command = made(payout_id(shard, world.clock.now(), world.random.bytes(10)))
        asked = await self._house.database.run(lambda tx: approvals.ask(tx, shard, command))
        if isinstance(asked, Refusal):
            return
        self._day.sometimes[f"a person asked: {asked.request.kind}"] += 1
        if self._stream.random() < 0.5:
            await self._agree()

    async def _agree(self) -> None:
        """Somebody agrees to a request, perhaps the very person who asked, perhaps one that was decided before."""
        found = self._look(_OPEN, newest=0.5) if self._stream.random() < 0.8 else self._look(_ASKED)
        if not found:
            return
        request, asker = found
        others = [one for one in self._persons if one != asker]
        actor = asker if self._stream.random() < 0.3 else self._stream.choice(others)
        command = approvals.Answer(request, self._stream.random() < 0.85, "looked at again", self._now(), actor)
        shard = shard_of_payout(request)
        told = await self._house.database.run(lambda tx: approvals.answer(tx, shard, command))
        if not isinstance(told, Refusal):
            self._day.sometimes[f"a request was {told.decision.verdict}"] += 1

    # --- small things ---

    def _look(self, sql: str, *, newest: float = 0.0) -> Any:
        """One row that a person sees on the screen: it may be old by the time of the deed. `newest`: how likely the last one."""
        rows = self._day.backend.look(sql, self._day.buckets)
        if rows and newest and self._stream.random() < newest:
            return rows[-1]
        return self._stream.choice(rows) if rows else None

    async def _merchant(self, number: int) -> Any:
        return await find_merchant(self._house.database, str(number))

    def _paper(self) -> HandedIn:
        return hand_in(f"statement, page {self._turns}".encode())

    def _now(self) -> Any:
        return self._house.world.clock.now()

    def _person(self) -> str:
        return self._stream.choice(self._persons)
