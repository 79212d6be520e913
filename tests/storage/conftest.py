"""A shop of real operations for the tests of what lies under it."""

from __future__ import annotations

import pytest

from disburse.domain.ports import World
from disburse.storage.database import Database
from tests.operations.shop import Shop


@pytest.fixture
def shop(database: Database, world: World) -> Shop:
    return Shop(database, world)
