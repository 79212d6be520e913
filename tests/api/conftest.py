"""What the doors' tests are given: a house with a desk in it (`tests/api/house.py`), and a UnitPay client of one merchant."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from disburse.domain.ports import World
from disburse.storage.database import Database
from tests.api.house import House, build_house
from tests.api.unitpay_client import Client, open_door


@pytest.fixture
async def house(database: Database, world: World, tmp_path: Path) -> AsyncIterator[House]:
    """A house with the default routes and fees."""
    built = await build_house(database, world, tmp_path)
    yield built
    await built.close()


@pytest.fixture
async def shop(house: House) -> Client:
    """A UnitPay client whose merchant has 100,000 roubles and does not wait for ends."""
    return Client(open_door(house), await house.merchant())
