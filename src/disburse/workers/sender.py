"""The sender: claim, call, record. It sends what is due, each attempt once, and says what it heard.

A crash anywhere is "the next line did not run": before the claim's commit nothing was sent; after it the intent stands, and
whoever finds the lease lapsed asks (`workers/inquirer.py`). What a provider said is recorded whoever heard it and however late;
while the database is away it is kept in memory and written when it is back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from disburse.connectors.contract import Capabilities, Connector, Order
from disburse.domain.outcomes import NotSent, Outcome, Rejected, Unknown
from disburse.domain.ports import World
from disburse.operations.attempts import Claim, Opened
from disburse.operations.desk import Desk, SealBroken, StoreUnavailable
from disburse.operations.evidence import Heard
from disburse.operations.once import Once
from disburse.workers.pace import Pace
from disburse.workers.two_steps import Memory

LEASE_S = 30.0
"""How long an owner may be about an attempt, by the database's clock."""


_BUSY = 4  # calls under way


@dataclass(frozen=True, slots=True)
class SenderLimits:
    """`window`: calls under way at most. `call_s`: a whole call. `batch`: claims in one transaction.

    `gather_s`: with several calls under way, what becomes due in such a moment is claimed together: fewer, larger transactions.
    """

    window: int = 1000
    batch: int = 500
    call_s: float = 5.0
    poll_s: float = 0.25
    lease_s: float = LEASE_S
    gather_s: float = 0.02


class Sender:
    """One worker's sending loop over the buckets it is given."""

    def __init__(
        self,
        desk: Desk,
        connectors: Mapping[str, Connector],
        world: World,
        worker_id: str,
        *,
        shards: Sequence[int] = range(1),
        limits: SenderLimits = SenderLimits(),
        called: Callable[[str, Outcome], None] = lambda connector, outcome: None,
    ) -> None:
        self._desk = desk
        self._connectors = connectors
        self._world = world
        self._worker_id = worker_id
        self._shards = shards
        self._limits = limits
        self._called = called
        self._under_way: dict[asyncio.Task[None], None] = {}
        self.pace = Pace(world.clock, limits.poll_s)

    async def run(self) -> None:
        """Send until cancelled; calls under way are finished by `finish`."""
        while True:
            try:
                found = 0
                for shard in self._shards:
                    found += await self._step(shard)
            except StoreUnavailable:
                found = 0
            if found == 0:
                await self.pace.rest()
            elif len(self._under_way) > _BUSY:
                await self._world.clock.sleep(self._limits.gather_s)

    async def finish(self) -> None:
        """Wait until every call under way is recorded."""
        while self._under_way:
            await asyncio.gather(*self._under_way)

    async def _step(self, shard: int) -> int:
        room = min(self._limits.batch, self._limits.window - len(self._under_way))
        if room <= 0:
            await self.pace.rest()
            return 1
        started = self._world.clock.monotonic()  # before the clock is read that leases are counted from, which `due` does
        due = await self._desk.due(shard, room)
        if due:  # where every provider is down or at its rate, the rest of it stays due as it is
            due = due[: await self._desk.providers.prepare(len(due), self._worker_id)]
        if not due:
            return 0
        now = self._world.clock.now()
        claims = [
            Claim(one.payout.payout_id, one.attempt.number, one.payout.merchant_id, self._worker_id, self._limits.lease_s, now, Once(one))
            for one in due
        ]
        for opened in await self._desk.claim(shard, claims):
            if opened is not None:
                self._begin(opened, started)
        return len(due)

    def _begin(self, opened: Opened, started: float) -> None:
        task = asyncio.get_running_loop().create_task(self._send(opened, started))
        self._under_way[task] = None
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._under_way.pop(task, None)
        self.pace.wake()

    async def _send(self, opened: Opened, started: float) -> None:
        outcome = await self._call(opened, started)
        self._called(opened.connector, outcome)
        able = self._connectors[opened.connector].capabilities
        await tell(self._desk, self._world, opened, outcome, self._worker_id, able)

    async def _call(self, opened: Opened, started: float) -> Outcome:
        connector = self._connectors[opened.connector]
        try:
            destination = self._desk.open_destination(opened.payout)
        except SealBroken:
            return Rejected("details_unreadable")  # ours to say: nothing can ever be sent
        memory = Memory(self._desk, self._world, opened, self._worker_id)
        order = Order(opened.end_to_end_id, opened.payout.amount, destination, self._limits.call_s, memory.remember)
        # A process that was frozen may wake up after its lease: somebody else may be asking about this id by now.
        if self._world.clock.monotonic() - started > self._limits.lease_s - self._limits.call_s - 1:
            return NotSent("lease_ran_out")
        generation = self._desk.providers.generation(opened.connector)
        try:
            outcome = memory.believed(await connector.submit(order))
        except Exception as fault:  # a connector's mistake is no answer of the provider's
            outcome = Unknown(f"connector fault: {type(fault).__name__}")
        self._desk.providers.ended(opened.connector, generation, outcome)
        return outcome


async def tell(desk: Desk, world: World, opened: Opened, outcome: Outcome, worker: str, able: Capabilities) -> None:
    """Record what a call established; kept and tried again for as long as the database is away. `able`: what its provider promises."""
    payout = opened.payout
    message = Heard(
        connector=opened.connector,
        end_to_end_id=opened.end_to_end_id,
        kind="answer",
        verdict=outcome,
        at=world.clock.now(),
        actor=f"worker:{worker}",
        payout=(payout.payout_id, opened.attempt, payout.merchant_id),
        sent=Once((payout, opened.row)),
        opened_at=opened.row.opened_at,
        two_step=able.two_step,
        repeatable=able.deduplicates_for_s > 0,
    )
    pause = 0.1
    while True:
        try:
            await desk.hear(message)
            return
        except StoreUnavailable:
            await world.clock.sleep(pause)
            pause = min(pause * 2, 5.0)
