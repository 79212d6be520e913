"""The news: tells waiting doors of events that came about in any process. Polling; NOTIFY only makes it quick.

However many wait, a round is one query a bucket.
"""

from __future__ import annotations

from disburse.domain.ports import World
from disburse.operations.desk import Desk, StoreUnavailable
from disburse.operations.events import last_numbers
from disburse.workers.pace import Pace

_GATHER_S = 0.02


class NewsWatch:
    """One process's eye on the merchants whose programs wait for events."""

    def __init__(self, desk: Desk, world: World, *, poll_s: float = 0.25) -> None:
        self._desk = desk
        self._world = world
        self._known: dict[tuple[int, int], int] = {}
        self.pace = Pace(world.clock, poll_s)

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            await self.pace.rest()
            await self._look()
            await self._world.clock.sleep(_GATHER_S)  # however often it is rung

    async def _look(self) -> None:
        buckets: dict[int, list[int]] = {}
        for shard, merchant in self._desk.news.waiting():
            buckets.setdefault(shard, []).append(merchant)
        known: dict[tuple[int, int], int] = {}
        for shard, merchants in buckets.items():
            try:
                numbers = await last_numbers(self._desk, shard, merchants)
            except StoreUnavailable:
                continue
            for merchant, number in numbers.items():
                key = (shard, merchant)
                known[key] = number
                if number != self._known.get(key):  # one seen for the first time is rung too: it may have come meanwhile
                    self._desk.news.ring(key)
        self._known = known
