"""The ground of this directory's machines."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from disburse.storage.database import open_database
from disburse.world import real_world
from tests.databases import Databases
from tests.machines.ground import Ground


@pytest.fixture
def ground(databases: Databases) -> Iterator[Ground]:
    """A database of this test's own, with the loop that everything on it runs on."""
    with asyncio.Runner() as runner:
        world, name = real_world(), runner.run(databases.lend())
        database = runner.run(open_database(databases.server(name), world, unsafe=True))
        yield Ground(runner, database, world)
        runner.run(database.close())
        runner.run(databases.take_back(name))
