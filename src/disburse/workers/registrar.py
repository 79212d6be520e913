"""The registrar: carries registries out that were applied, whoever applied them, and says when one is over.

Lives here: one worker's loop over registries at work, and between them the memory of the duplicate guard. Each is held by a lease while its rows become payouts, so that workers share them; one
whose holder died is taken up after the lease. What may not live here: how rows become payouts (`operations/registry_apply.py`), and what
a registry needs before it may begin (`operations/registries.py`).
"""

from __future__ import annotations

from typing import Final

import structlog

from disburse.domain.ports import World
from disburse.domain.refusals import Refusal
from disburse.domain.registry_states import FINAL, RegistryState
from disburse.operations import duplicates, registries, registry_work
from disburse.operations.desk import StoreUnavailable
from disburse.operations.registries import Registry, Start
from disburse.operations.registry_apply import Applier
from disburse.operations.registry_rules import Terms
from disburse.workers.pace import Pace

LOOK_S: Final = 3.0
"""Whoever applied a registry waits so long for its first payout; every worker asks as often, at every bucket."""
TURN_S: Final = 3.0
"""So long one registry is applied before the next has its turn."""
LOOKS: Final = 100
"""So many chunks of one registry are looked at in a turn: a second of a large one must not be spent on looking."""
_MOST: Final = 50
_log = structlog.get_logger("disburse.registrar")


class Registrar:
    """One worker's registrar. `shards`: all buckets from 0 on; the list is shared with the worker's other loops."""

    def __init__(self, terms: Terms, world: World, worker_id: str, *, shards: list[int], look_s: float = LOOK_S) -> None:
        self._terms = terms
        self._world = world
        self._worker_id = worker_id
        self._actor = f"worker:{worker_id}"
        self._shards = shards
        self._said: dict[str, str] = {}
        self._looked: dict[str, int] = {}  # registry to the chunk that was looked at last
        self.pace = Pace(world.clock, look_s)

    async def run(self) -> None:
        """Carry registries out until cancelled."""
        while True:
            left = False
            for shard in list(self._shards):
                try:
                    for registry in await registry_work.at_work(self._terms, shard, _MOST):
                        left |= await self._work_on(registry)
                    if not left:
                        await self._remember(shard)
                except StoreUnavailable:
                    pass  # the next round asks again
            if not left:
                await self.pace.rest()

    async def _remember(self, shard: int) -> None:
        """Keep the duplicate guard's memory near: a step of it at a time, since everybody's work goes on meanwhile."""
        desk = self._terms.desk
        await duplicates.catch_up_somebody(desk.database, desk.vault, shard)

    async def _work_on(self, registry: Registry) -> bool:
        """One turn. Whether it used all of it, so that there is more to do."""
        if registry.state is RegistryState.APPROVED:
            started = await self._start(registry)
            if started is None:
                return False
            registry = started
        began, busy = self._world.clock.monotonic(), False
        if registry.left:
            applier = Applier(self._terms.desk, registry, self._worker_id, self._actor)
            try:
                await applier.run(TURN_S)
            finally:
                await applier.let_go()
            busy = self._world.clock.monotonic() - began >= TURN_S
        if await registry_work.hold(self._terms, registry, self._worker_id):
            name = str(registry.registry_id)
            self._looked[name] = await registry_work.look_over(self._terms, registry, self._looked.get(name, 0), LOOKS)
            if (await registry_work.finish(self._terms, registry, self._actor)).state in FINAL:
                self._looked.pop(name)
            await registry_work.let_go(self._terms, registry, self._worker_id)
        return busy

    async def _start(self, registry: Registry) -> Registry | None:
        """Let an approved registry begin; what stands against it is said in the registry, and asked again later."""
        name = str(registry.registry_id)
        try:
            command = Start(registry.registry_id, registry.digest or b"", registry.only_good, self._actor)
            return await registries.start(self._terms, command)
        except Refusal as refusal:
            if self._said.get(name) != refusal.name:
                self._said[name] = refusal.name
                await registry_work.say_waits(self._terms, registry, refusal.name)
                _log.warning("an approved registry cannot begin", registry=name, reason=refusal.name)
            return None
