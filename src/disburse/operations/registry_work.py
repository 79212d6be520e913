"""Registries at work, for whoever carries them out: which there are, holding one, and saying that it is over.

Lives here: the lease, and `settle`, which asks how payouts stand and ends a registry once all of them are final. May not live here: making payouts
(`registry_apply.py`), letting a registry begin (`registries.py`).
"""

from __future__ import annotations

from functools import partial
from typing import Final

from disburse.domain.registry_states import RegistryState, RegistryStep, advance
from disburse.operations.registries import Registry, find
from disburse.operations.registry_apply import LEASE_S
from disburse.operations.registry_rules import Terms
from disburse.storage import registries, registry_work
from disburse.storage.database import Transaction
from disburse.storage.unit import Unit

# --- the end -------------------------------------------------------------------------------------------------------------


LOOKED_AT: Final = 10
"""So many chunks are looked at by one statement."""


async def look_over(terms: Terms, registry: Registry, after: int = 0, most: int = 10_000) -> int:
    """Ask how the payouts of some chunks stand that are not over, from the one behind `after` on. The last one looked at; 0 once there is none behind it.

    Raises StoreUnavailable.
    """
    for _ in range(0, most, LOOKED_AT):
        work = partial(registry_work.look_over, shard=registry.shard, registry=registry.registry_id, after_chunk=after, chunks=LOOKED_AT)
        last = await terms.desk.database.run(work)
        if last is None:
            return 0
        after = last
    return after


async def settle(terms: Terms, registry: Registry, actor: str) -> Registry:
    """Look over all chunks, and say that the registry is over if it is. Returns it as it is then. Raises StoreUnavailable."""
    await look_over(terms, registry)
    return await finish(terms, registry, actor)


async def finish(terms: Terms, registry: Registry, actor: str) -> Registry:
    """Say that a registry is over once all of its payouts are final, as they were last looked at. Raises StoreUnavailable."""
    database, shard, identifier = terms.desk.database, registry.shard, registry.registry_id
    at = terms.desk.world.clock.now()

    async def work(tx: Transaction) -> Registry | None:
        unit = await Unit.lock(tx, shard, [registry.merchant_id])
        now = await registries.by_id(tx, shard, identifier)
        if now is None or now.state is not RegistryState.EXECUTING or now.left or not await registry_work.all_over(tx, shard, identifier):
            return now
        ends = await registries.ends(tx, shard, identifier)
        whole = ends.paid == now.rows_read
        state = advance(now.state, RegistryStep.COMPLETE if whole else RegistryStep.COMPLETE_WITH_ERRORS)
        await registries.move(tx, now, state, at)
        unit.event(now.merchant_id, None, f"registry.{state}", at, actor, detail=str(identifier))
        await unit.write()
        return await registries.by_id(tx, shard, identifier)

    now = await find(database, identifier)
    if now.state is not RegistryState.EXECUTING or now.left or not await database.ask(lambda tx: registry_work.all_over(tx, shard, identifier)):
        return now
    return await database.run(work) or now


# --- for the registrar ---------------------------------------------------------------------------------------------------


async def at_work(terms: Terms, shard: int, limit: int) -> list[Registry]:
    """Registries of a bucket that are to begin, or under way. Raises StoreUnavailable."""
    return await terms.desk.database.ask(lambda tx: registry_work.at_work(tx, shard, limit))


async def hold(terms: Terms, registry: Registry, owner: str) -> bool:
    """Take the lease on a registry's work, unless another has it. Raises StoreUnavailable."""
    return await terms.desk.database.run(lambda tx: registry_work.take(tx, registry.shard, registry.registry_id, owner, LEASE_S))


async def let_go(terms: Terms, registry: Registry, owner: str) -> None:
    """Give the lease back. Raises StoreUnavailable."""
    await terms.desk.database.run(lambda tx: registry_work.let_go(tx, registry.shard, registry.registry_id, owner))


async def say_waits(terms: Terms, registry: Registry, waits: str) -> None:
    """Say in the registry what stops it now. Raises StoreUnavailable."""
    await terms.desk.database.run(lambda tx: registry_work.say_waits(tx, registry.shard, registry.registry_id, waits))
