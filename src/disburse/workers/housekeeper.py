"""Housekeeping: says that this worker lives, expires what nobody executed, forgets dead tokens, what the duplicate guard no longer needs and what
broken plans of registries left. All of it may be late.

The heartbeat is also what a failover is judged by (`operations/witness.py`): while nobody has accepted the database it is repeated.

It also sees to it that no bucket is left out: a merchant may have been put into one that this worker's settings do not name.
"""

from __future__ import annotations

from disburse.domain.ports import World
from disburse.operations import duplicates, registry_left
from disburse.operations.desk import Desk, StoreUnavailable
from disburse.operations.payouts import Act

SEEN_EVERY_S = 2.0
AGAIN_S = 0.5
_TOKENS_EVERY = 150  # rounds: five minutes
_BATCH = 500


class Housekeeper:
    """One worker's housekeeping loop. `shards`: all buckets from 0 on; the list is shared with the worker's other loops."""

    def __init__(
        self, desk: Desk, world: World, worker_id: str, *, shards: list[int], every_s: float = SEEN_EVERY_S
    ) -> None:
        self._desk = desk
        self._world = world
        self._worker_id = worker_id
        self._shards = shards
        self._every_s = every_s

    async def run(self) -> None:
        """Keep house until cancelled."""
        rounds = 0
        broken: list[int] = []  # buckets with plans that broke off, and
        past: list[int] = []  # with payouts to forget: many of them take many rounds, since the heartbeat must not wait for it
        while True:
            try:
                if not await self._desk.worker_seen(self._worker_id):
                    await self._world.clock.sleep(AGAIN_S)
                    continue
                self._shards += range(len(self._shards), await self._desk.highest_bucket() + 1)
                for shard in self._shards:
                    await self._expire(shard)
                if rounds % _TOKENS_EVERY == 0:
                    await self._desk.forget_tokens()
                    broken, past = list(self._shards), list(self._shards)
                past = [shard for shard in past if await self._forget_past(shard)]
                broken = [shard for shard in broken if await self._forget_broken(shard)]
            except StoreUnavailable:
                pass  # the next round says it again
            rounds += 1
            await self._world.clock.sleep(self._every_s)

    async def _forget_broken(self, shard: int) -> bool:
        return await registry_left.forget_broken(self._desk.database, shard, self._world.clock.now(), f"worker:{self._worker_id}")

    async def _forget_past(self, shard: int) -> bool:
        now = await self._desk.database.ask(lambda tx: tx.database_now())
        return await duplicates.forget(self._desk.database, shard, now) >= duplicates.FORGOTTEN

    async def _expire(self, shard: int) -> None:
        while True:
            late = await self._desk.expiries_due(shard, _BATCH)
            if late:
                now = self._world.clock.now()
                actor = f"worker:{self._worker_id}"
                await self._desk.expire(shard, [Act(payout, merchant, now, actor) for payout, merchant in late])
            if len(late) < _BATCH:
                return
