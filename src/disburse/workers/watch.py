"""The watch: tells waiting doors of payouts that became final in another process. Polling; NOTIFY only makes it quick."""

from __future__ import annotations

from uuid import UUID

from disburse.domain.identifiers import shard_of_payout
from disburse.domain.ports import World
from disburse.operations.desk import Desk, StoreUnavailable
from disburse.workers.pace import Pace


class Watch:
    """One process's eye on the payouts its callers wait for."""

    def __init__(self, desk: Desk, world: World, *, poll_s: float = 0.2) -> None:
        self._desk = desk
        self.pace = Pace(world.clock, poll_s)

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            await self.pace.rest()
            buckets: dict[int, list[UUID]] = {}
            for waiting in self._desk.finals.waiting():
                buckets.setdefault(shard_of_payout(waiting), []).append(waiting)
            for shard, ids in buckets.items():
                try:
                    found = await self._desk.states(shard, ids)
                except StoreUnavailable:
                    continue
                for payout in found:
                    if payout.final:
                        self._desk.finals.ring(payout.payout_id)
