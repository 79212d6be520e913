"""The timekeeper: moves payouts whose time has come, and executes those that lacked money once there is some.

Any number of workers may do this at once; what is decided, and that it is decided once, is `operations/timely.py`'s. It looks once a
second: a look is two statements that find nothing.
"""

from __future__ import annotations

from disburse.domain.ports import World
from disburse.operations.desk import Desk, StoreUnavailable

LOOK_EVERY_S = 1.0


class Timekeeper:
    """One worker's loop. `shards`: the worker's buckets, shared with its housekeeper, who adds to them."""

    def __init__(self, desk: Desk, world: World, worker_id: str, *, shards: list[int], every_s: float = LOOK_EVERY_S) -> None:
        self._desk, self._world, self._shards, self._every_s = desk, world, shards, every_s
        self._actor = f"worker:{worker_id}"

    async def run(self) -> None:
        """Keep time until cancelled."""
        while True:
            try:
                for shard in list(self._shards):
                    await self.look(shard)
            except StoreUnavailable:
                pass  # the next look finds it again
            await self._world.clock.sleep(self._every_s)

    async def look(self, shard: int) -> None:
        """Do all that is due in a bucket now."""
        while await self._desk.timely.keep_time(shard, self._actor):
            pass
        while await self._desk.timely.spend(shard, self._actor):
            pass
