"""Connections and transactions: who we are to PostgreSQL, what is refused, what runs again, and what ends."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from disburse.domain.ledger import top_up
from disburse.domain.ports import World
from disburse.storage import lineage, sessions
from disburse.storage.database import (
    TRANSACTION_S,
    Database,
    StoreUnavailable,
    Transaction,
    UnsafeDatabase,
    open_database,
)
from disburse.storage.embedded import EmbeddedServer, Endpoint
from disburse.storage.migrate import migrate
from disburse.storage.statement import rehearse
from disburse.storage.unit import Unit
from disburse.world import RealClock
from tests.clock import FakeClock
from tests.operations.shop import Shop

PATIENCE_S = 30.0


@asynccontextmanager
async def connected(dsn: str) -> AsyncIterator[Any]:
    """A superuser's connection."""
    connection = await asyncpg.connect(dsn)
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def opened(dsn: str, world: World, **more: Any) -> AsyncIterator[Database]:
    database = await open_database(dsn, world, unsafe=True, **more)
    try:
        yield database
    finally:
        await database.close()


async def ask(database: Database, sql: str, *values: Any) -> Any:
    """The first value a statement gives."""
    return await database.run(lambda tx: tx.fetchval(sql, *values))


# --- connections ---


async def test_connections_are_opened_and_taught_beforehand(dsn: str, world: World) -> None:
    """Warming opens so many connections, each of which has prepared the usual statements; it writes nothing and keeps nobody."""
    known = "SELECT count(*) FROM pg_prepared_statements WHERE generic_plans = 1 AND statement LIKE 'WITH locked%'"
    async with opened(dsn, world, size=3) as database, connected(dsn) as watcher:
        await database.warm(3, rehearse)
        assert await watcher.fetchval("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'disburse'") >= 3
        assert await asyncio.gather(*[ask(database, known) for _ in range(3)]) == [3, 3, 3]
        assert await watcher.fetchval("SELECT count(*) FROM disburse.payouts") == 0


# --- who we are ---


async def test_the_program_is_its_own_role(database: Database) -> None:
    """Whoever connects, the program runs as disburse_app, in its own schema, in UTC."""
    row = await database.run(lambda tx: tx.fetchrow("SELECT current_user, current_schema(), current_setting('timezone')"))
    assert row is not None and tuple(row) == ("disburse_app", "disburse", "UTC")


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("jit", "off"), ("plan_cache_mode", "force_generic_plan"), ("statement_timeout", "4s"),
        ("idle_in_transaction_session_timeout", "4s"), ("application_name", "disburse"),
        ("transaction_isolation", "read committed"),
    ],
)  # fmt: skip
async def test_a_session_is_set_up(database: Database, setting: str, value: str) -> None:
    """Every session has the settings that bound it and keep its plans by key."""
    assert await ask(database, "SELECT current_setting($1)", setting) == value


@pytest.mark.parametrize(
    ("theirs", "ours"), [("off", "on"), ("local", "on"), ("on", "on"), ("remote_write", "remote_write"), ("remote_apply", "remote_apply")]
)  # fmt: skip
@pytest.mark.parametrize("level", ["DATABASE {database}", "ROLE {user} IN DATABASE {database}"])
async def test_commits_are_never_forgotten(dsn: str, world: World, theirs: str, ours: str, level: str) -> None:
    """A database or role whose commits may be lost is not obeyed; one that waits for more is."""
    async with connected(dsn) as admin:
        names = await admin.fetchrow("SELECT quote_ident(current_database()) AS database, quote_ident(current_user) AS user")
        await admin.execute(f"ALTER {level.format_map(dict(names))} SET synchronous_commit = {theirs}")
    async with opened(dsn, world, size=3) as database:
        seen = await asyncio.gather(*[ask(database, "SELECT current_setting('synchronous_commit')") for _ in range(9)])
    assert set(seen) == {ours}


async def test_a_session_obeys_nobody_before_it_first_writes(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a session writes to learn what a failover left is waited for as well, whatever the server's own setting is."""
    async with connected(dsn) as admin:
        name = await admin.fetchval("SELECT quote_ident(current_database())")
        await admin.execute(f"ALTER DATABASE {name} SET synchronous_commit = local")
    seen, write = [], lineage.write_something

    async def watched(session: Any) -> None:
        seen.append(await session.fetchval("SELECT current_setting('synchronous_commit')"))
        await write(session)

    monkeypatch.setattr(sessions, "write_something", watched)
    await (await sessions.connect(dsn)).close()
    assert seen == ["on"]


# --- what is refused ---


@pytest.fixture(scope="module")
def careless() -> Iterator[Callable[[str, str], Endpoint]]:
    """Servers of their own that run with a setting switched off: (name, value) to where they are."""
    with tempfile.TemporaryDirectory(prefix="careless-", ignore_cleanup_errors=True) as parent:
        Path(parent).chmod(0o755)
        running: dict[tuple[str, str], EmbeddedServer] = {}

        def start(name: str, value: str) -> Endpoint:
            options = {"shared_buffers": "16MB", "fsync": "on", name: value}
            server = running.setdefault((name, value), EmbeddedServer(Path(parent) / f"{name}-{value}", options=options))
            return server.start()

        yield start
        for server in running.values():
            server.leave()


@pytest.mark.parametrize("name", ["fsync", "full_page_writes"])
async def test_a_server_that_may_forget_is_refused(
    careless: Callable[[str, str], Endpoint], world: World, name: str
) -> None:
    """A server that may lose what it acknowledged is refused by the name of the setting, unless that is wanted."""
    dsn = careless(name, "off").dsn("postgres")
    await migrate(dsn)
    with pytest.raises(UnsafeDatabase, match=f"{name}=off"):
        await open_database(dsn, world)
    async with opened(dsn, world) as database:
        assert await ask(database, "SELECT 1") == 1


async def test_a_server_that_remembers_is_taken(careless: Callable[[str, str], Endpoint], world: World) -> None:
    """With both settings on, nothing has to be said."""
    dsn = careless("fsync", "on").dsn("postgres")
    await migrate(dsn)
    database = await open_database(dsn, world)
    assert await ask(database, "SELECT 1") == 1
    await database.close()


async def test_nobody_there(world: World, tmp_path: Path) -> None:
    """Where nothing listens, and where our role does not exist, the store is unavailable, and no password is told."""
    with pytest.raises(StoreUnavailable) as told:
        await open_database(f"postgresql://u:secret@/d?host={tmp_path}&port=5432", world)
    assert "secret" not in str(told.value) and told.value.__cause__ is None


# --- what runs again ---

RAISE = "DO $$ BEGIN RAISE EXCEPTION 'so it is' USING ERRCODE = '{}'; END $$"
AGAIN = {"deadlock": "40P01", "serialization failure": "40001"}
AGAIN_ELSEWHERE = {
    "the server is stopped": "57P01", "the server crashed": "57P02", "the server is starting": "57P03",
    "the statement was cancelled": "57014", "the disk is full": "53100", "there is no memory": "53200",
    "too many connections": "53300", "the disk fails": "58030", "a lock was not to be had": "55P03",
    "the primary became a standby": "25006", "the transaction lived too long": "25P04", "the connection failed": "08006",
}  # fmt: skip


@pytest.mark.parametrize("code", [*AGAIN.values(), *AGAIN_ELSEWHERE.values()], ids=[*AGAIN, *AGAIN_ELSEWHERE])
async def test_what_passes_runs_again(database: Database, code: str) -> None:
    """What another try, or another connection, may cure is tried again, and nothing of the first try is left."""
    seen: list[tuple[bool, int]] = []

    async def work(tx: Transaction) -> str:
        seen.append((tx.rerun, await tx.fetchval("SELECT pg_backend_pid()")))
        await tx.execute("INSERT INTO workers VALUES ('w', 'epoch')")
        if len(seen) < 3:
            await tx.execute(RAISE.format(code))
        return "done"

    assert await database.run(work) == "done"
    elsewhere = code in AGAIN_ELSEWHERE.values()
    assert [rerun for rerun, _ in seen] == [False, elsewhere, elsewhere]
    assert len({pid for _, pid in seen}) == (3 if elsewhere else 1)
    assert await ask(database, "SELECT count(*) FROM workers") == 1


@pytest.mark.parametrize("code", ["23505", "23514", "22021", "42P01", "XX000", "54000"])
async def test_what_stays_wrong_is_not_tried_again(database: Database, code: str) -> None:
    """A constraint, bad data or a mistake of ours is told at once: another try would end the same."""
    tries = 0

    async def work(tx: Transaction) -> None:
        nonlocal tries
        tries += 1
        await tx.execute(RAISE.format(code))

    with pytest.raises(asyncpg.PostgresError) as raised:
        await database.run(work)
    assert raised.value.sqlstate == code and tries == 1


async def test_real_deadlocks_end(shop: Shop) -> None:
    """Two transactions that lock two rows in opposite order both succeed in the end."""
    await shop.merchant(1)
    await shop.merchant(2)
    both = asyncio.Barrier(2)
    first_try = [True, True]

    async def cross(me: int) -> None:
        async def work(tx: Transaction) -> None:
            await Unit.lock(tx, 0, [1 + me])
            if first_try[me]:
                first_try[me] = False
                await both.wait()
            await Unit.lock(tx, 0, [2 - me])

        await shop.database.run(work)

    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(cross(0), cross(1))


async def test_real_serialization_failures_end(dsn: str, world: World) -> None:
    """On a database that is serializable by default, racing writers are tried again until all are done."""
    async with connected(dsn) as admin:
        name = await admin.fetchval("SELECT quote_ident(current_database())")
        await admin.execute(f"ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'")
    async with opened(dsn, world) as database:
        shop = Shop(database, world)
        await shop.merchant(1, money=100_000)
        await asyncio.gather(*[shop.paid_out(1, f"r{n}") for n in range(20)])
        assert (await shop.balances(1))["held"] == 20_000


class Hasty(RealClock):
    """The real clock to somebody who does not wait."""

    def __init__(self) -> None:
        self.slept_s = 0.0

    async def sleep(self, seconds: float) -> None:
        self.slept_s += seconds


async def test_an_end_to_trying(dsn: str, world: World) -> None:
    """What never passes is given up after a bounded number of tries in bounded time, and says what it was."""
    clock, tries = Hasty(), 0
    async with opened(dsn, World(clock, world.random)) as database:

        async def work(tx: Transaction) -> None:
            nonlocal tries
            tries += 1
            await tx.execute(RAISE.format("40001"))

        with pytest.raises(StoreUnavailable, match="SerializationError"):
            await database.run(work)
    assert 5 <= tries <= 20 and 3 < clock.slept_s < 20


async def test_no_try_after_the_deadline(database: Database, world: World) -> None:
    """With a deadline, no try begins after it."""
    tries = 0

    async def work(tx: Transaction) -> None:
        nonlocal tries
        tries += 1
        await tx.execute(RAISE.format("40001"))

    with pytest.raises(StoreUnavailable):
        await database.run(work, deadline=world.clock.monotonic())
    assert tries == 1


async def test_a_refused_transaction_leaves_nothing(database: Database) -> None:
    """Whatever the work raises passes through, and all it wrote is gone; the connection is good for the next."""

    async def work(tx: Transaction) -> None:
        await tx.execute("INSERT INTO workers VALUES ('w', 'epoch')")
        raise LookupError("no")

    with pytest.raises(LookupError):
        await database.run(work)
    assert await ask(database, "SELECT count(*) FROM workers") == 0


async def test_a_caller_who_leaves_takes_its_transaction_along(database: Database, dsn: str) -> None:
    """A cancelled caller's transaction is rolled back by ending its session; locks go with it."""
    inside = asyncio.Event()

    async def work(tx: Transaction) -> None:
        await tx.execute("INSERT INTO workers VALUES ('w', 'epoch')")
        inside.set()
        await asyncio.Event().wait()

    running = asyncio.create_task(database.run(work))
    await inside.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await ask(database, "INSERT INTO workers VALUES ('w', 'epoch') RETURNING 1")  # would wait for the other's lock


async def test_a_caller_who_leaves_a_broken_connection_is_let_go(database: Database, dsn: str) -> None:
    """A caller that is cancelled while its session is gone is cancelled: the work is not begun again for nobody."""
    inside, tries = asyncio.Event(), 0

    async def work(tx: Transaction) -> None:
        nonlocal tries
        tries += 1
        pid = await tx.fetchval("SELECT pg_backend_pid()")
        async with connected(dsn) as admin:
            await admin.execute("SELECT pg_terminate_backend($1, 5000)", pid)
        with pytest.raises(asyncpg.InterfaceError):
            while True:  # until the driver has noticed
                tx.connection.is_closed()
                await asyncio.sleep(0)
        inside.set()
        await asyncio.Event().wait()

    running = asyncio.create_task(database.run(work))
    async with asyncio.timeout(PATIENCE_S):
        await inside.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    assert tries == 1


async def test_sessions_ended_behind_our_back(database: Database, dsn: str) -> None:
    """A pool of sessions that the server has ended is replaced without a caller noticing."""
    async with connected(dsn) as admin:
        for _ in range(10):
            await asyncio.gather(*[ask(database, "SELECT 1") for _ in range(10)])
            await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'disburse'")
            assert await asyncio.gather(*[ask(database, "SELECT 1") for _ in range(10)]) == [1] * 10


async def test_accounts_a_failover_forgot_are_made_again(shop: Shop, dsn: str) -> None:
    """An account that this process saw committed and that the next server has not is made anew once the connection broke."""
    await shop.merchant(1, money=5000)
    async with connected(dsn) as admin:  # another server, whose last commits were lost
        await admin.execute("DELETE FROM disburse.balances; DELETE FROM disburse.postings; UPDATE disburse.merchants SET postings = 0")
        await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'disburse'")

    async def work(tx: Transaction) -> None:
        unit = await Unit.lock(tx, 0, [1])
        unit.post([top_up(1, "RUB", 700, shop.new_id())], shop.now(), "test")
        await unit.write()

    await shop.database.run(work)
    assert await shop.balances(1) == {"available": 700, "funding": -700}


# --- time ---


async def test_the_server_bounds_a_statement(database: Database) -> None:
    """A statement that runs too long is ended by the server, and by the whole transaction's limit here."""
    waited: list[BaseException] = []

    async def work(tx: Transaction) -> None:
        if waited:
            return
        try:
            await tx.execute("SELECT pg_sleep(60)")
        except BaseException as fault:
            waited.append(fault)
            raise

    async with asyncio.timeout(PATIENCE_S):
        begun = asyncio.get_running_loop().time()
        await database.run(work)
        assert asyncio.get_running_loop().time() - begun < TRANSACTION_S + 5
    assert isinstance(waited[0], asyncpg.QueryCanceledError | asyncio.CancelledError)


async def test_the_clock_bounds_a_transaction(dsn: str, world: World) -> None:
    """A transaction that computes or waits for longer than its time is given up, and its locks are free."""
    clock = FakeClock()
    async with opened(dsn, World(clock, world.random)) as database:
        stuck = [True]
        inside = asyncio.Event()

        async def work(tx: Transaction) -> str:
            await tx.execute("INSERT INTO workers VALUES ('w', 'epoch') ON CONFLICT DO NOTHING")
            if stuck.pop() if stuck else False:
                inside.set()
                await asyncio.Event().wait()
            return "done"

        running = asyncio.create_task(database.run(work))
        await inside.wait()
        await clock.advance(TRANSACTION_S - 0.1)
        assert not running.done() and not stuck
        async with asyncio.timeout(PATIENCE_S):
            while not running.done():
                await clock.advance(0.1)
                await ask(database, "SELECT 1")  # the second run's statements take their time, too
        assert await running == "done"


# --- snapshots ---


async def test_a_snapshot_is_one_moment(database: Database) -> None:
    """A report sees one moment, whatever is committed while it reads."""

    async def report(tx: Transaction) -> list[int]:
        counts = [await tx.fetchval("SELECT count(*) FROM workers")]
        await ask(database, "INSERT INTO workers VALUES ('w', 'epoch') RETURNING 1")
        counts.append(await tx.fetchval("SELECT count(*) FROM workers"))
        return counts

    assert await database.snapshot(report) == [0, 0]
    assert await ask(database, "SELECT count(*) FROM workers") == 1


async def test_a_snapshot_writes_nothing(database: Database) -> None:
    """A report cannot change anything."""
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        await database.snapshot(lambda tx: tx.execute("INSERT INTO workers VALUES ('w', 'epoch')"))


async def test_a_snapshot_plans_for_itself(database: Database) -> None:
    """A report may take its time and any plan; the session is as before afterwards, also when the report failed."""
    names = ("statement_timeout", "plan_cache_mode", "enable_seqscan", "enable_hashjoin", "transaction_read_only")

    async def settings(tx: Transaction) -> list[str]:
        return [await tx.fetchval("SELECT current_setting($1)", name) for name in names]

    async def fails(tx: Transaction) -> None:
        raise LookupError

    assert await database.snapshot(settings, timeout_s=90) == ["90s", "auto", "on", "on", "on"]
    with pytest.raises(LookupError):
        await database.snapshot(fails)
    seen = await asyncio.gather(*[database.run(settings) for _ in range(10)])
    assert {tuple(one) for one in seen} == {("4s", "force_generic_plan", "off", "off", "off")}


# --- hints ---


async def test_a_hint_is_heard_by_whoever_listens(database: Database, dsn: str, world: World) -> None:
    """NOTIFY reaches a listener in another pool; a broken listening connection ends the listening."""
    async with AsyncExitStack() as stack:
        other = await stack.enter_async_context(opened(dsn, world))
        heard = asyncio.Event()
        listening = asyncio.create_task(other.listen("disburse_due", heard.set))
        async with asyncio.timeout(PATIENCE_S):
            while not heard.is_set():
                await database.notify("disburse_due")
        async with connected(dsn) as admin:
            await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND query ILIKE 'LISTEN%'")
        async with asyncio.timeout(PATIENCE_S):
            await listening
