"""A shop of real operations on the test's own database."""

from __future__ import annotations

import pytest

from disburse.domain.ports import World
from disburse.storage.database import Database
from tests.operations.shop import Shop


@pytest.fixture(params=["careful", "hopeful"])
def shop(database: Database, world: World, request: pytest.FixtureRequest) -> Shop:
    """Whatever is true of operations is true of both ways of writing."""
    return Shop(database, world, hopeful=request.param == "hopeful")
