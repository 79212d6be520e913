"""Persons at the desk: they cancel what still waits, end doubts by two, withdraw and turn top-ups round, and sometimes err.

What they vouch for is what the provider's own book says at that moment. The mistakes they try (agreeing to their own request,
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
from disburse.domain.identifiers import payout_id
from disburse.domain.money import Money
from disburse.domain.refusals import Refusal
from disburse.operations import approvals
from disburse.operations.merchants import find_merchant
from disburse.operations.operators import add_operator
from disburse.operations.payouts import Act
from disburse.operations.resolutions import NOT_MOVED, PAID
from disburse.simulation.provider import Provider
from disburse.simulation.stage import Day
from disburse.storage.database import StoreUnavailable
from disburse.wiring import House

NAMES: Final = ("anna", "boris")
_WAITING: Final = "SELECT payout_id, merchant_id FROM payouts WHERE shard = $1 AND state IN ('created', 'queued') ORDER BY payout_id"
_DOUBTED: Final = """SELECT p.payout_id, p.merchant_id, a.end_to_end_id, a.provider_reference, a.connector, a.number
    FROM payouts p JOIN attempts a ON a.shard = $1 AND a.payout_id = p.payout_id
    WHERE p.shard = $1 AND p.state = 'in_doubt' AND a.state = 'unknown' ORDER BY p.payout_id"""
_OPEN: Final = """SELECT r.request_id, r.actor FROM requests r WHERE r.shard = $1 ORDER BY r.request_id"""


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
        while self._day.faults.on or self._turns == 0:
            await asyncio.sleep(self._stream.expovariate(1 / mean_s))
            self._turns += 1
            with contextlib.suppress(StoreUnavailable, Refusal):
                await self._stream.choice(deeds)()

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
            approvals.Resolve(self._fresh(), merchant, payout, truth, number, self._paper(), self._now(), self._person())
        )

    def _truth(self, provider: Provider, key: str | None) -> str | None:
        """What the provider's book says for good; None while it may still change."""
        order = provider.orders.get(key or "")
        if order is None or provider.may_still_come(key or ""):
            return None
        return {"paid": PAID, "refused": NOT_MOVED, "absent": NOT_MOVED}.get(order.state)

    async def _withdraw(self) -> None:
        client = self._stream.choice(self._day.clients)
        amount = Money(self._stream.randint(100, 5_000_00), "RUB")
        await self._ask(
            approvals.Withdraw(
                self._fresh(), client.account.number, f"w{self._turns // 3}", amount, self._paper(), self._now(), self._person()
            )
        )

    async def _reverse(self) -> None:
        client = self._stream.choice(self._day.clients)
        await self._ask(
            approvals.ReverseTopUp(self._fresh(), client.account.number, "t1", self._paper(), self._now(), self._person())
        )

    async def _ask(self, command: approvals.Ask) -> None:
        asked = await self._house.database.run(lambda tx: approvals.ask(tx, 0, command))
        if isinstance(asked, Refusal):
            return
        self._day.sometimes[f"a person asked: {asked.request.kind}"] += 1
        if self._stream.random() < 0.5:
            await self._agree()

    async def _agree(self) -> None:
        """Somebody agrees to a request, perhaps the very person who asked, perhaps one that was decided before."""
        found = self._look(_OPEN)
        if not found:
            return
        request, asker = found
        others = [one for one in self._persons if one != asker]
        actor = asker if self._stream.random() < 0.3 else self._stream.choice(others)
        command = approvals.Answer(request, self._stream.random() < 0.85, "looked at again", self._now(), actor)
        told = await self._house.database.run(lambda tx: approvals.answer(tx, 0, command))
        if not isinstance(told, Refusal):
            self._day.sometimes[f"a request was {told.decision.verdict}"] += 1

    # --- small things ---

    def _look(self, sql: str) -> Any:
        """One row that a person sees on the screen, any of them: it may be old by the time of the deed."""
        rows = self._day.backend.look(sql, 0)
        return self._stream.choice(rows) if rows else None

    async def _merchant(self, number: int) -> Any:
        return await find_merchant(self._house.database, str(number))

    def _fresh(self) -> UUID:
        world = self._house.world
        return payout_id(0, world.clock.now(), world.random.bytes(10))

    def _paper(self) -> HandedIn:
        return hand_in(f"statement, page {self._turns}".encode())

    def _now(self) -> Any:
        return self._house.world.clock.now()

    def _person(self) -> str:
        return self._stream.choice(self._persons)
