"""What the client's tests are given: a house behind a real server, a merchant in it, and clients of that merchant."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from disburse.client import Client
from disburse.domain.ports import World
from disburse.storage.database import Database
from tests.api.house import House, build_house
from tests.api.rest_client import Program, open_rest, program
from tests.client.lines import client_of


@pytest.fixture
async def house(database: Database, world: World, tmp_path: Path) -> AsyncIterator[House]:
    """A house with the default routes and fees."""
    built = await build_house(database, world, tmp_path)
    yield built
    await built.close()


@pytest.fixture
async def shop(house: House) -> AsyncIterator[Program]:
    """A merchant with 100,000 roubles, before a server that lets nobody wait longer than two seconds."""
    async with program(house, open_rest(house, longest_wait_s=2.0)) as made:
        yield made


@pytest.fixture
async def client(shop: Program) -> AsyncIterator[Client]:
    """The merchant's client. It never really sleeps."""
    async with client_of(shop) as made:
        yield made
