"""Who an installation is: the same database goes on, a restored or copied one waits for a person."""

from __future__ import annotations

from dataclasses import replace

import asyncpg
import pytest

from disburse.domain.ports import World
from disburse.operations.installation import Installation, open_installation, release_quarantine
from disburse.storage.database import Database


async def opened(database: Database, world: World) -> Installation:
    return await database.run(lambda tx: open_installation(tx, world, b"a key check"))


@pytest.mark.parametrize(
    "change, may_continue",
    [("timeline = timeline - 1", True), ("timeline = timeline + 1", False), ("system_identifier = system_identifier + 1", False)],
)
async def test_another_database_waits_for_a_person(
    database: Database, world: World, dsn: str, change: str, may_continue: bool
) -> None:
    """A row that names another timeline or system than it lies in is a copy or a restored one: quarantined until released."""
    first = await opened(database, world)
    assert not first.quarantined and await opened(database, world) == first
    owner = await asyncpg.connect(dsn, server_settings={"search_path": "disburse"})
    await owner.execute(f"UPDATE installation SET {change}")
    await owner.close()
    assert await opened(database, world) == replace(first, quarantined=True, may_continue=may_continue)
    await database.run(lambda tx: release_quarantine(tx, world.clock.now(), "operator:1"))
    assert await opened(database, world) == first


async def test_the_timeline_is_that_of_what_is_written_now(database: Database, world: World, dsn: str) -> None:
    """Not the control file's, which tells the old timeline for minutes after a standby was promoted."""
    await opened(database, world)
    owner = await asyncpg.connect(dsn, server_settings={"search_path": "disburse"})
    noted = await owner.fetchval("SELECT timeline FROM installation")
    file = await owner.fetchval("SELECT pg_walfile_name(pg_current_wal_lsn())")
    await owner.close()
    assert noted == int(file[:8], 16)
