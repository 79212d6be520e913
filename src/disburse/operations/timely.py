"""What happens to payouts by itself: their time has come, or there is money for those that lacked it. The timekeeper worker calls here.

Never early: under the merchant's lock the database's clock decides, the one clock that all workers share; a worker's own may be
wrong. Never twice: a payout moves from `scheduled` to `queued` by the table of states, under that lock, guarded by its last event; whoever comes
later finds it moved. Its time stays in the row (`schedules.done_at` says when it had come).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Final
from uuid import UUID

from disburse.domain.calendar import Calendars
from disburse.domain.limits import LimitReached
from disburse.domain.payout import PayoutState, Step
from disburse.domain.ports import Clock
from disburse.operations import rules
from disburse.operations.group_commit import in_halves
from disburse.operations.payouts import Act, Moves, execute_one, own, wishes_to_execute
from disburse.storage import schedules
from disburse.storage.database import Database, Transaction

LARGEST: Final = 500
REST: Final = timedelta(minutes=1)
"""So long a payout that lacked money rests after a limit left no room for it."""
POISONED: Final = timedelta(minutes=10)
"""So long one rests that cannot be worked on."""


async def fall_due(tx: Transaction, shard: int, acts: Sequence[Act]) -> int:
    """Queue each scheduled payout whose time has come; how many. One whose rail is closed now waits for its opening."""
    unit, found = await own(tx, shard, acts)
    now = await tx.database_now()
    moves = Moves(unit)
    done, later, queued = [], [], 0
    for act in acts:
        payout = found.get(act.payout_id)
        if payout is None or payout.merchant_id != act.merchant_id or payout.execute_at is None or payout.execute_at > now:
            continue
        opens = act.calendars.next_open(payout.rail, now)
        if payout.state is PayoutState.SCHEDULED and opens > now:
            later.append((payout.payout_id, opens))
            continue
        done.append(payout.payout_id)
        if payout.state is PayoutState.SCHEDULED:
            moves.begin(payout, Step.QUEUE, now, act.actor)
            queued += 1
    moves.add_rows()
    await unit.write()
    await schedules.settle(tx, shard, done, later, now)
    return queued


async def execute_waiting(tx: Transaction, shard: int, acts: Sequence[Act]) -> int:
    """Execute payouts that lacked money, in this order, as far as there is some now; how many were. The others are left as they are."""
    unit, found = await own(tx, shard, acts)
    await unit.read_balances([act.merchant_id for act in acts])
    await rules.prepare(unit, wishes_to_execute(unit, found, acts))
    moves = Moves(unit)
    later, executed = [], 0
    for act in acts:
        payout = found.get(act.payout_id)
        if payout is None or payout.merchant_id != act.merchant_id or payout.state is not PayoutState.UNFUNDED:
            continue
        if not unit.covers(payout.merchant_id, payout.currency, payout.amount_minor + payout.fee_minor):
            continue
        if isinstance(execute_one(unit, moves, payout, act), LimitReached):
            later.append((payout.merchant_id, payout.number))
        else:
            executed += 1
    moves.add_rows()
    rules.write(unit)
    await unit.write()
    if later:
        await schedules.put_off(tx, shard, later, unit.now + REST)
    return executed


_Work = Callable[[Sequence[Act]], Awaitable[list[int]]]
_Alone = Callable[[Act, Exception], Awaitable[int]]


class Timely:
    """These operations for workers: one list is one transaction, and one that breaks it is put off."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        calendars: Calendars,
        on_due: Callable[[], None],
        tell: Callable[[str, UUID, Exception], None],
    ) -> None:
        self._database, self._clock, self._calendars, self._on_due, self._tell = database, clock, calendars, on_due, tell

    async def keep_time(self, shard: int, actor: str, limit: int = LARGEST) -> bool:
        """Queue what has fallen due, one list of it; whether there may be more."""

        async def look(tx: Transaction) -> list[tuple[UUID, int]]:
            return await schedules.due(tx, shard, await tx.database_now(), limit)

        found = await self._database.ask(look)

        async def alone(one: Act, fault: Exception) -> int:
            self._tell("schedule", one.payout_id, fault)

            async def rest(tx: Transaction) -> None:
                now = await tx.database_now()
                await schedules.settle(tx, shard, [], [(one.payout_id, now + POISONED)], now)

            await self._database.run(rest)
            return 0

        async def work(acts: Sequence[Act]) -> list[int]:
            return [await self._database.run(lambda tx: fall_due(tx, shard, acts))]

        return await self._each(self._acts(found, actor), work, alone, limit)

    async def spend(self, shard: int, actor: str, limit: int = LARGEST) -> bool:
        """Execute what there is money for now, one list of it; whether there may be more."""

        async def look(tx: Transaction) -> list[tuple[UUID, int, int]]:
            return await schedules.fundable(tx, shard, await tx.database_now(), limit)

        found = await self._database.ask(look)
        numbers = {payout: (merchant, number) for payout, merchant, number in found}

        async def alone(one: Act, fault: Exception) -> int:
            self._tell("execute_waiting", one.payout_id, fault)

            async def rest(tx: Transaction) -> None:
                await schedules.put_off(tx, shard, [numbers[one.payout_id]], await tx.database_now() + POISONED)

            await self._database.run(rest)
            return 0

        async def work(acts: Sequence[Act]) -> list[int]:
            return [await self._database.run(lambda tx: execute_waiting(tx, shard, acts))]

        return await self._each(self._acts([one[:2] for one in found], actor), work, alone, limit)

    def _acts(self, found: Sequence[tuple[UUID, int]], actor: str) -> list[Act]:
        now = self._clock.now()
        return [Act(payout, merchant, now, actor, self._calendars) for payout, merchant in found]

    async def _each(self, acts: list[Act], work: _Work, alone: _Alone, limit: int) -> bool:
        if not acts:
            return False
        moved = sum(await in_halves(acts, work, alone))
        if moved:
            self._on_due()
        return moved > 0 and len(acts) >= limit
