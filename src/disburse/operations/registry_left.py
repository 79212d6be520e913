"""What is left of registries whose planning broke off: its process was killed, its caller went away, or a row refused the whole file midway.

Lives here: saying that such a registry is over, and forgetting its rows. May not live here: planning (`registry_plan.py`), cancelling what has
a plan (`registries.py`): what somebody may still apply, or once agreed to, is kept for ever.

A planning is believed to go on while its lease lasts, which each piece of rows renews, by the database's clock. After that the registry is
cancelled under the merchant's lock; one that comes back to life then finds itself cancelled, and stores nothing more. Rows go afterwards, some at
a time. The registry itself stays, cancelled and without rows: its id may have been seen.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial
from typing import Final

from disburse.domain.registry_states import RegistryState, RegistryStep, advance
from disburse.storage import registries, registry_work
from disburse.storage.database import Database, Transaction
from disburse.storage.registries import Registry
from disburse.storage.unit import Unit

SILENT: Final = timedelta(hours=1)
"""A planning of which nothing was stored for so long has broken off."""
ROWS: Final = 5_000
"""So many rows are forgotten by one transaction."""
_MOST: Final = 50


async def cancel_unplanned(database: Database, registry: Registry, at: datetime, actor: str, *, when_silent: bool = False) -> bool:
    """Cancel a registry that has no plan yet; whether that was done. `when_silent`: only if its planning has broken off. Raises StoreUnavailable."""
    shard, identifier = registry.shard, registry.registry_id

    async def work(tx: Transaction) -> bool:
        unit = await Unit.lock(tx, shard, [registry.merchant_id])
        now = await registries.by_id(tx, shard, identifier)
        if now is None or now.state is not RegistryState.UPLOADED:
            return False
        if not await registry_work.cancel_uploaded(tx, shard, identifier, advance(now.state, RegistryStep.CANCEL), at, SILENT if when_silent else None):
            return False
        unit.event(now.merchant_id, None, "registry.cancelled", at, actor, detail=str(identifier))
        await unit.write()
        return True

    return await database.run(work)


async def forget_broken(database: Database, shard: int, at: datetime, actor: str) -> bool:
    """Cancel the registries of a bucket whose planning broke off, and forget some rows of one. Whether there may be more to forget.

    Raises StoreUnavailable.
    """
    for registry in await database.run(partial(registry_work.broken_off, shard=shard, silent=SILENT, limit=_MOST)):
        await cancel_unplanned(database, registry, at, actor, when_silent=True)
    left = await database.ask(lambda tx: registry_work.to_forget(tx, shard))
    if left is None:
        return False

    async def work(tx: Transaction) -> None:
        if await registry_work.forget_rows(tx, shard, left, ROWS) < ROWS:
            await registry_work.nothing_left(tx, shard, left)

    await database.run(work)
    return True
