"""Registries at work, for whoever carries them out: which there are, holding one, and saying that it is over.

Lives here: the lease, and `settle`, which asks how payouts stand and ends a registry once all of them are final. May not live here: making payouts
(`registry_apply.py`), letting a registry begin (`registries.py`).
"""

from __future__ import annotations

from functools import partial

from disburse.domain.registry_states import RegistryState, RegistryStep, advance
from disburse.operations.registries import Registry, find
from disburse.operations.registry_apply import LEASE_S
from disburse.operations.registry_rules import Terms
from disburse.storage import registries, registry_work
from disburse.storage.database import Transaction
from disburse.storage.unit import Unit

# --- the end -------------------------------------------------------------------------------------------------------------


async def settle(terms: Terms, registry: Registry, actor: str, *, chunks: int = 10, most: int = 10_000) -> Registry:
    """Ask how payouts stand, a few chunks at a time, and say that the registry is over once all of them are final.

    `most`: so many chunks are looked at in one call. Returns the registry as it is then. Raises StoreUnavailable.
    """
    database, shard, identifier = terms.desk.database, registry.shard, registry.registry_id
    after, looked = 0, 0
    while looked < most:
        last = await database.run(partial(registry_work.look_over, shard=shard, registry=identifier, after_chunk=after, chunks=chunks))
        if last is None:
            break
        after, looked = last, looked + chunks
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
