"""The floor: everything that the database is asked runs on the oldest PostgreSQL we promise, where one is on the machine."""

from __future__ import annotations

import asyncio
import re
import subprocess
import tempfile
import warnings
from pathlib import Path

from disburse.domain.payout import PayoutState
from disburse.domain.ports import World
from disburse.operations.verify import verify
from disburse.storage.database import Database, open_database
from disburse.storage.embedded import EmbeddedServer, Endpoint
from disburse.storage.embedded_binaries import OLDEST_MAJOR, candidates
from disburse.storage.migrate import make_database, migrate, migrations
from tests.workers.provider import FATES, Process, Provider, Town

DEBIAN = Path(f"/usr/lib/postgresql/{OLDEST_MAJOR}/bin")


def oldest() -> Path | None:
    """The programs of the oldest PostgreSQL we promise to run on, if this machine has them."""
    for place in (*candidates(), DEBIAN):
        if (place / "postgres").is_file():
            said = subprocess.run([place / "postgres", "--version"], capture_output=True, text=True, check=False).stdout
            found = re.search(r"\) (\d+)", said)
            if found and int(found[1]) == OLDEST_MAJOR:
                return place
    return None


def test_the_floor_is_fifteen() -> None:
    """What documentation and code promise: PostgreSQL 15."""
    assert OLDEST_MAJOR == 15


def test_a_whole_life_on_the_floor(world: World, tmp_path: Path) -> None:
    """On that version all migrations run, payouts live through every fate, killed and started again, and the books agree.

    Where the version is not on the machine this proves nothing, and says so.
    """
    place = oldest()
    if place is None:
        warnings.warn(f"PostgreSQL {OLDEST_MAJOR} is not on this machine: nothing was run on the floor", stacklevel=1)
        assert OLDEST_MAJOR == 15
        return
    with tempfile.TemporaryDirectory(prefix="floor-", ignore_cleanup_errors=True) as parent:
        Path(parent).chmod(0o755)
        with EmbeddedServer(Path(parent) / "data", options={"fsync": "off", "shared_buffers": "16MB"}, binaries=place) as server:
            asyncio.run(live(server, world, tmp_path))


async def live(server: Endpoint, world: World, directory: Path) -> None:
    """A town on a server of that version: everything that workers and doors do, then the verifier."""
    await make_database(server.dsn("postgres"), "floor")
    assert await migrate(server.dsn("floor")) == [one.name for one in migrations()]
    assert await migrate(server.dsn("floor")) == []
    database = await open_database(server.dsn("floor"), world, unsafe=True)
    try:
        version = await database.ask(lambda tx: tx.fetchval("SHOW server_version_num"))
        assert int(version) // 10_000 == OLDEST_MAJOR
        await live_in(database, world, directory)
    finally:
        await database.close()


async def live_in(database: Database, world: World, directory: Path) -> None:
    bank = Provider()
    town = await Town(database, world, directory, [bank]).settle_in()
    await town.pay(*FATES * 4)
    first = Process(town, "first", window=9).start()
    bank.exit.clear()
    await town.until(lambda: inside(bank))
    await first.crash()
    bank.exit.set()
    await town.lapse()
    second = Process(town, "second").start()
    await town.until(town.all_final)
    await second.stop()
    await town.agrees()
    desk = town.desk()
    waiting = (await town.pay(0))[0]
    cancelled = await desk.cancel(town.merchant, desk.act(town.merchant, waiting.payout_id, "test"))
    assert getattr(cancelled, "state", None) is PayoutState.CANCELLED
    report = await verify(database)
    assert report.holds, report.findings


async def inside(bank: Provider) -> bool:
    return bank.inside > 0
