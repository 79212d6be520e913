"""What tests of the simulator share: a backend on a database of this run's own server, and a bare stage to try its parts on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest

from disburse.simulation.backend import Backend
from tests.databases import Databases
from tests.simulation.bare import Bare


@pytest.fixture(scope="session")
def lived_in(databases: Databases) -> Iterator[Backend]:
    """One database for all simulated days of this worker of the run; every day empties it first."""
    name = asyncio.run(databases.lend())
    backend = Backend()
    try:
        backend.open(databases.server(name))
        yield backend
    finally:
        backend.close()
        asyncio.run(databases.take_back(name))


@pytest.fixture
def backend(lived_in: Backend) -> Backend:
    """A backend whose database has no rows."""
    lived_in.reset()
    lived_in.empty()
    return lived_in


@pytest.fixture
def bare() -> Iterator[Bare]:
    """A loop and processes on it, with nothing running."""
    stage = Bare(0)
    yield stage
    stage.close()


@pytest.fixture
def bare_of() -> Iterator[Callable[[int], Bare]]:
    """The same, by seed, as many as a test asks for."""
    made: list[Bare] = []

    def make(seed: int) -> Bare:
        made.append(Bare(seed))
        return made[-1]

    yield make
    for stage in made:
        stage.close()
