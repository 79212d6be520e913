"""What every test may ask for: a real PostgreSQL, a fresh database cloned from a migrated template, the real world's ports.

Set DISBURSE_TEST_DATABASE_URL to a superuser's URL to run on another server than the embedded one.
"""

from __future__ import annotations

import asyncio
import fcntl
import gc
import inspect
import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import hypothesis
import pytest
import uvloop

from disburse.domain.ports import World
from disburse.storage.database import Database
from disburse.storage.embedded import EmbeddedServer
from disburse.storage.migrate import migrate
from disburse.world import real_world
from tests.databases import Databases, Kept

hypothesis.settings.register_profile("house", deadline=None, max_examples=60, derandomize=True)
hypothesis.settings.load_profile("house")


FIRST = ("tests/test_promises.py", "tests/simulation/")
"""What is run before everything else: whoever breaks a promise hears of it within a minute."""


def pytest_configure() -> None:
    """Reading the tests makes objects that stay: looking through them for garbage, then and later, is in vain."""
    gc.disable()


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The promises first, then the simulated days, then the rest as it stands."""

    def place(item: pytest.Item) -> int:
        return next((n for n, path in enumerate(FIRST) if item.nodeid.startswith(path)), len(FIRST))

    items.sort(key=place)
    for item in items:
        if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.function):
            item.fixturenames.insert(0, "nothing_goes_on")


@pytest.fixture(scope="session")
def event_loop_policy() -> asyncio.AbstractEventLoopPolicy:
    """uvloop, as in production."""
    policy: asyncio.AbstractEventLoopPolicy = uvloop.EventLoopPolicy()
    return policy


@pytest.fixture
async def nothing_goes_on() -> AsyncIterator[None]:
    """All tests share one loop: what a test has started ends with it."""
    before = asyncio.all_tasks()
    yield
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """A PostgreSQL server shared by all workers of the run: a function from a database's name to its URL."""
    url = os.environ.get("DISBURSE_TEST_DATABASE_URL")
    if url:
        yield lambda database: urlunsplit(urlsplit(url)._replace(path=f"/{database}"))
        return
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    embedded = EmbeddedServer(root / "server", options={"fsync": "off", "autovacuum": "off"})
    endpoint = embedded.start()
    try:
        yield lambda database: endpoint.dsn(database)
    finally:
        embedded.leave()


@pytest.fixture(scope="session")
def template(server: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of a migrated database that tests clone; made once a run."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    name = "disburse_template"
    with (root / "template.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (root / "template.made").exists():
            asyncio.run(_make_template(server, name))
            Path(root / "template.made").touch()
    return name


async def _make_template(server: Callable[[str], str], name: str) -> None:
    admin = await asyncpg.connect(server("postgres"))
    await admin.execute(f"DROP DATABASE IF EXISTS {name}")
    await admin.execute(f"CREATE DATABASE {name}")
    await admin.close()
    await migrate(server(name))


@pytest.fixture(scope="session")
async def databases(server: Callable[[str], str], template: str) -> AsyncIterator[Databases]:
    """The databases of this worker of the run."""
    lender = Databases(server, template)
    yield lender
    await lender.close()


@pytest.fixture(scope="session")
async def kept() -> AsyncIterator[Kept]:
    """The program's connections to this worker's databases."""
    connections = Kept()
    yield connections
    connections.close()


@pytest.fixture
async def dsn(databases: Databases, kept: Kept) -> AsyncIterator[str]:
    """The superuser's URL of a migrated database that is this test's own and has no rows."""
    name = await databases.lend()
    yield databases.server(name)
    if not await databases.take_back(name, kept.sessions(name)):
        kept.give_up(name)


@pytest.fixture
def world() -> World:
    """The real clock and randomness; tests that move time use `tests/clock.py`."""
    return real_world()


@pytest.fixture
async def database(dsn: str, world: World, kept: Kept) -> Database:
    """The test's own database, as the program's role."""
    return await kept.open(urlsplit(dsn).path[1:], dsn, world)
