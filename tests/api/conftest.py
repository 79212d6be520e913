"""What the doors' tests are given: a house with a desk in it (`tests/api/house.py`)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from disburse.domain.ports import World
from disburse.storage.database import Database
from tests.api.house import House, build_house


@pytest.fixture
async def house(database: Database, world: World, tmp_path: Path) -> AsyncIterator[House]:
    """A house with the default routes and fees."""
    built = await build_house(database, world, tmp_path)
    yield built
    await built.desk.drain()
