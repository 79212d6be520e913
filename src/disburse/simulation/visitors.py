"""What persons do besides: they decide too early or by an old page, and switch a merchant's payouts off for a while.

Whoever decides too early saw nothing of the order at its provider, which is true and proves nothing: the product has to refuse while
the attempt may still be sent. Whoever has an old page before them agrees to the end of what has moved since. Payouts that were switched off are on again before the day is over. May not live here: judgement.
"""

from __future__ import annotations

import contextlib
import random
from datetime import datetime
from typing import Final
from uuid import UUID

from disburse.domain.handed_in import hand_in
from disburse.domain.identifiers import payout_id
from disburse.domain.refusals import Refusal
from disburse.operations import approvals
from disburse.operations.merchants import find_merchant, set_merchant
from disburse.operations.resolutions import NOT_MOVED
from disburse.simulation.stage import Day
from disburse.storage.database import StoreUnavailable
from disburse.wiring import House

_SENDING: Final = """SELECT p.shard, p.payout_id, p.merchant_id, a.end_to_end_id, a.connector, a.number
    FROM payouts p JOIN attempts a ON a.shard = $1 AND a.payout_id = p.payout_id
    WHERE p.shard = $1 AND p.state = 'in_flight' AND a.state = 'open' ORDER BY p.payout_id"""
_MOVED: Final = """SELECT r.shard, r.request_id, r.actor
    FROM requests r JOIN payouts p ON p.shard = $1 AND p.payout_id = r.origin_id LEFT JOIN decisions d ON d.shard = $1 AND d.request_id = r.request_id
    WHERE r.shard = $1 AND r.kind = 'resolve' AND d.request_id IS NULL AND p.last_event <> r.seen_event AND p.state IN ('in_flight', 'in_doubt')
    ORDER BY r.request_id"""
_TRIES: Final = 200


class Visitors:
    """Two persons by their names as actors; `stream` is their own."""

    def __init__(self, day: Day, house: House, persons: list[str], stream: random.Random) -> None:
        self._day = day
        self._house = house
        self._persons = persons
        self._stream = stream
        self._off: list[int] = []

    async def turn(self) -> None:
        """Now and then one of them does something of this sort. Raises StoreUnavailable and Refusal."""
        draw = self._stream.random()
        if draw < 0.5:
            await self._decide_too_early()
        elif draw < 0.7:
            await self._switch(self._stream.choice(self._day.clients).account.number)
        else:
            await self._agree_by_an_old_page()

    async def leave(self) -> None:
        """Whatever is switched off is switched on again."""
        for merchant in list(self._off):
            for _ in range(_TRIES):
                with contextlib.suppress(StoreUnavailable):
                    await self._switch(merchant)
                    break
                await self._house.world.clock.sleep(1)

    async def _decide_too_early(self) -> None:
        """Both are quick: one asks that a payout which is being sent be called not moved, the other one agrees."""
        rows = self._day.backend.look(_SENDING, 0)
        if not rows:
            return
        shard, payout, merchant, identifier, connector, number = self._stream.choice(rows)
        if identifier in self._day.providers[connector].orders:
            return
        one, other = self._stream.sample(self._persons, 2)
        paper = hand_in(b"the provider's page, without it")
        command = approvals.Resolve(self._fresh(shard), merchant, payout, NOT_MOVED, number, paper, self._now(), one)
        asked = await self._house.database.run(lambda tx: approvals.ask(tx, shard, command))
        if isinstance(asked, Refusal):
            return
        self._day.misjudged.add(identifier)
        answer = approvals.Answer(asked.request.request_id, True, "nothing there", self._now(), other)
        await self._house.database.run(lambda tx: approvals.answer(tx, shard, answer))

    async def _agree_by_an_old_page(self) -> None:
        """A request was made while the payout stood otherwise, and the second person does not look again."""
        rows = self._day.backend.look(_MOVED, 0)
        if not rows:
            return
        shard, request, asker = self._stream.choice(rows)
        other = next(one for one in self._persons if one != asker)
        answer = approvals.Answer(request, True, "as it stands here", self._now(), other)
        told = await self._house.database.run(lambda tx: approvals.answer(tx, shard, answer))
        if isinstance(told, Refusal):
            self._day.sometimes["a person agreed to what had moved"] += 1

    async def _switch(self, number: int) -> None:
        merchant = await find_merchant(self._house.database, str(number))
        off = merchant.payouts == "on"
        changes = {"payouts": "off" if off else "on"}
        await set_merchant(self._house.database, merchant, changes, at=self._now(), actor=self._persons[0])
        self._day.sometimes[f"payouts were switched {changes['payouts']}"] += 1
        if off:
            self._off.append(number)
        elif number in self._off:
            self._off.remove(number)

    def _fresh(self, shard: int) -> UUID:
        world = self._house.world
        return payout_id(shard, world.clock.now(), world.random.bytes(10))

    def _now(self) -> datetime:
        return self._house.world.clock.now()
