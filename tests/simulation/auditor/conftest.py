"""A town of real operations under the auditor's eyes, and a doctor with a superuser's hands."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from disburse.domain.ports import World
from disburse.storage.database import Database
from tests.operations.verify_town import Town
from tests.simulation.auditor.watch import Watched, watch


@pytest.fixture
async def doctor(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """Somebody with a superuser's hands on the database."""
    connection = await asyncpg.connect(dsn, server_settings={"search_path": "disburse"})
    yield connection
    await connection.close()


@pytest.fixture
async def eyes(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """The auditor's own connection."""
    connection = await asyncpg.connect(dsn, server_settings={"jit": "off"})
    yield connection
    await connection.close()


@pytest.fixture
def watched(database: Database, world: World, eyes: asyncpg.Connection) -> Watched:
    """A town whose every commit the auditor has to be silent about."""
    return watch(database, eyes, lambda seen: Town(seen, world))
