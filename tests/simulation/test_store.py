"""The simulated store on real PostgreSQL: what the database holds after each fault, what the caller sees, and whose turn it is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from itertools import groupby

import asyncpg
import pytest

from disburse.simulation.backend import TRUNCATED_AFTER, Backend
from disburse.simulation.process import DAWN, Process
from disburse.simulation.store import SESSION_ENDS_S, SimConnection, SimPool, Store, writes
from disburse.storage.database import Database
from tests.simulation.bare import Bare

INSERT = "INSERT INTO workers VALUES ($1, $2)"
BROKEN = asyncpg.ConnectionDoesNotExistError


def _rows(backend: Backend) -> list[str]:
    return [row[0] for row in backend.look("SELECT worker_id FROM workers ORDER BY worker_id")]


def _pool(bare: Bare, store: Store, name: str, size: int = 1) -> tuple[Process, SimPool]:
    process = bare.process(name)
    return process, SimPool(store, process, size)


async def _seen(work: Awaitable[object]) -> str:
    """What a caller sees: "done", or the name of what was raised."""
    try:
        await work
    except Exception as fault:
        return type(fault).__name__
    return "done"


# --- faults ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "harm, seen, rows",
    [
        (None, "done", ["a"]),
        ("before", BROKEN.__name__, []),
        ("after", BROKEN.__name__, ["a"]),
        ("deadlock", "DeadlockDetectedError", []),
        ("die_before", "dead", []),
        ("die_after", "dead", ["a"]),
    ],
)
def test_a_statement_of_its_own(bare: Bare, backend: Backend, harm: str | None, seen: str, rows: list[str]) -> None:
    """A statement outside a transaction is carried out or not, and heard of or not: every fault leaves what its name says."""
    process, pool = _pool(bare, bare.store(backend), "a")
    bare.harm.statements.append(harm)

    async def insert() -> str:
        session = await pool.acquire()
        return await _seen(session.execute(INSERT, "a", DAWN))

    assert bare.within(process, insert()) == seen
    assert _rows(backend) == rows
    assert bare.committed == ["a"] * len(rows)


@pytest.mark.parametrize(
    "harm, seen",
    [
        ("before", BROKEN.__name__),
        ("after", BROKEN.__name__),
        ("deadlock", "DeadlockDetectedError"),
        ("die_before", "dead"),
        ("die_after", "dead"),
    ],
)
def test_a_statement_inside_a_transaction(bare: Bare, backend: Backend, harm: str, seen: str) -> None:
    """Whatever breaks inside a transaction takes what was written before with it, and the next transaction may begin."""
    process, pool = _pool(bare, store := bare.store(backend), "a")
    bare.harm.statements += [None, harm]

    async def insert() -> str:
        session = await pool.acquire()
        await session.execute("BEGIN")
        await session.execute(INSERT, "first", DAWN)
        told = await _seen(session.execute(INSERT, "second", DAWN))
        await session.execute("ROLLBACK")
        return told

    assert bare.within(process, insert()) == seen
    assert (_rows(backend), bare.committed) == ([], [])
    other, its_pool = _pool(bare, store, "other")
    assert bare.within(other, _write(its_pool, "other")) == "committed"
    assert _rows(backend) == ["other"]


@pytest.mark.parametrize(
    "harm, seen, rows",
    [
        (None, "done", ["a"]),
        ("lost", BROKEN.__name__, []),
        ("unknown", BROKEN.__name__, ["a"]),
        ("die_before", "dead", []),
        ("die_after", "dead", ["a"]),
    ],
)
def test_a_commit(bare: Bare, backend: Backend, harm: str | None, seen: str, rows: list[str]) -> None:
    """A COMMIT takes place or not, and is heard of or not; who did not hear of it cannot tell which by what it saw."""
    process, pool = _pool(bare, store := bare.store(backend), "a")
    bare.harm.commits.append(harm)

    async def insert() -> str:
        session = await pool.acquire()
        await session.execute("BEGIN")
        await session.execute(INSERT, "a", DAWN)
        told = await _seen(session.execute("COMMIT"))
        if harm in ("lost", "unknown"):
            assert await _seen(session.fetch("SELECT 1")) == BROKEN.__name__
        return told

    assert bare.within(process, insert()) == seen
    assert _rows(backend) == rows
    assert bare.committed == ["a"] * len(rows)
    other, its_pool = _pool(bare, store, "other")
    assert bare.within(other, _write(its_pool, "other")) == "committed"


@pytest.mark.parametrize("harm", ["lost", "unknown"])
def test_the_product_meets_an_unknown_commit(bare: Bare, backend: Backend, harm: str) -> None:
    """The product's own Database stands on this store: it runs a transaction again whose commit it did not hear of, and says so."""
    process, pool = _pool(bare, bare.store(backend), "a")
    database = Database(pool, process.clock, lambda low, high: low, set())
    bare.harm.commits.append(harm)
    reruns: list[bool] = []

    async def work() -> None:
        await database.run(lambda tx: _write_once(tx, reruns))

    bare.within(process, work())
    assert (reruns, _rows(backend)) == ([False, True], ["a"])
    assert bare.committed == ["a"] * (2 if harm == "unknown" else 1)


async def _write_once(tx: object, reruns: list[bool]) -> None:
    reruns.append(tx.rerun)  # type: ignore[attr-defined]
    await tx.execute("INSERT INTO workers VALUES ($1, $2) ON CONFLICT DO NOTHING", "a", DAWN)  # type: ignore[attr-defined]


def test_reading_is_no_commit(bare: Bare, backend: Backend) -> None:
    """A transaction that wrote nothing has no commit that could be lost, and the auditor need not look."""
    process, pool = _pool(bare, bare.store(backend), "a")
    bare.harm.commits.append("lost")

    async def read() -> int:
        session = await pool.acquire()
        await session.execute("BEGIN")
        found: int = await session.fetchval("SELECT count(*) FROM workers")
        await session.execute("COMMIT")
        return found

    assert bare.within(process, read()) == 0
    assert (bare.harm.asked_at_commit, bare.committed) == (0, [])


def test_what_was_written_is_told(bare: Bare, backend: Backend) -> None:
    """Who asks what was written is told each statement that changed rows, and none that changed nothing."""
    store = bare.store(backend)
    process, pool = _pool(bare, store, "a")
    again = f"{INSERT} ON CONFLICT DO NOTHING"

    async def work() -> None:
        connection = await pool.acquire()
        await connection.execute(again, "a", DAWN)
        await connection.execute(again, "a", DAWN)
        await connection.fetch("SELECT worker_id FROM workers ORDER BY worker_id")
        await connection.fetch("DELETE FROM workers RETURNING worker_id")

    bare.loop.run_until_complete(process.start(work()))
    assert store.written == [again, "DELETE FROM workers RETURNING worker_id"]


def test_a_database_is_emptied_and_begins_anew(backend: Backend) -> None:
    """However often it is emptied no row is left, and now and then not even what rows leave behind."""
    sizes = []
    for _ in range(TRUNCATED_AFTER):
        backend.put("execute", INSERT, ("a", DAWN), DAWN)
        backend.empty()
        assert _rows(backend) == []
        sizes.append(backend.look("SELECT pg_relation_size('disburse.workers')")[0][0])
    assert sizes.count(0) == 1


def test_a_server_that_is_away(bare: Bare, backend: Backend) -> None:
    """While the server is away nobody reaches it; sessions that were open when it went are over, and their owners are told."""
    process, pool = _pool(bare, store := bare.store(backend), "a", 2)
    told: list[str] = []

    async def meet() -> list[str]:
        session = await pool.acquire()
        session.add_termination_listener(lambda _: told.append("over"))
        await session.execute("BEGIN")
        await session.execute(INSERT, "a", DAWN)
        bare.harm.gone = True
        store.cut_all()
        fresh = await pool.acquire()
        seen = [await _seen(session.execute("COMMIT")), await _seen(fresh.execute(INSERT, "b", DAWN))]
        bare.harm.gone = False
        await pool.release(fresh)
        fresh = await pool.acquire()
        return [*seen, await _seen(fresh.execute(INSERT, "c", DAWN))]

    assert bare.within(process, meet()) == [BROKEN.__name__, "ConnectionRefusedError", "done"]
    assert (told, _rows(backend)) == (["over"], ["c"])


# --- turns -------------------------------------------------------------------------------------------------------


async def _write(pool: SimPool, name: str, *, pause_s: float = 0.0, log: list[str] | None = None) -> str:
    session = await pool.acquire()
    await session.execute("BEGIN")
    if log is not None:
        log.append(f"{name} began")
    await asyncio.sleep(pause_s)
    await session.execute(INSERT, name, DAWN)
    await session.execute("COMMIT")
    if log is not None:
        log.append(f"{name} committed")
    await pool.release(session)
    return "committed"


@pytest.mark.parametrize("seed", range(5))
def test_one_transaction_at_a_time(bare_of: Callable[[int], Bare], backend: Backend, seed: int) -> None:
    """Between two statements of a transaction no other session's statement runs, whatever the seed picks."""
    bare = bare_of(seed)
    store, carried_out = bare.store(backend), list[str]()
    store.noted = lambda process, what: carried_out.append(process.name)

    async def many(pool: SimPool, name: str) -> None:
        session = await pool.acquire()
        await session.execute("BEGIN")
        for number in range(3):
            await asyncio.sleep(0.3)
            await session.execute(INSERT, f"{name}{number}", DAWN)
        await session.execute("COMMIT")

    async def single(pool: SimPool, name: str) -> None:
        session = await pool.acquire()
        await asyncio.sleep(0.5)
        await session.execute(INSERT, name, DAWN)

    async def all_of_them() -> None:
        running = []
        for name, work in (("a", many), ("b", many), ("c", many), ("d", single)):
            process, pool = _pool(bare, store, name)
            running.append(process.start(work(pool, name)))
        await asyncio.gather(*running)

    bare.run(all_of_them())
    assert len(_rows(backend)) == 10
    assert sorted((name, len([*group])) for name, group in groupby(carried_out)) == [("a", 3), ("b", 3), ("c", 3), ("d", 1)]


def test_the_seed_picks_the_order(bare_of: Callable[[int], Bare], backend: Backend) -> None:
    """Which of those who wait comes next differs from seed to seed, and not from run to run."""

    def order(seed: int) -> tuple[str, ...]:
        backend.empty()
        bare = bare_of(seed)
        store, log = bare.store(backend), list[str]()

        async def all_of_them() -> None:
            await asyncio.gather(
                *[
                    process.start(_write(pool, process.name, pause_s=0.1, log=log))
                    for process, pool in [_pool(bare, store, name) for name in ("a", "b", "c")]
                ]
            )

        bare.run(all_of_them())
        return tuple(log)

    orders = [order(seed) for seed in range(8)]
    assert orders == [order(seed) for seed in range(8)]
    assert len(set(orders)) > 2


@pytest.mark.parametrize("frozen", [False, True])
def test_an_idle_transaction_is_ended(bare: Bare, backend: Backend, frozen: bool) -> None:
    """The server ends a session that stands in a transaction too long, a frozen process's too, and others go on."""
    store = bare.store(backend)
    idler, its_pool = _pool(bare, store, "idler")
    other, other_pool = _pool(bare, store, "other")

    async def idle() -> str:
        session = await its_pool.acquire()
        await session.execute("BEGIN")
        await session.execute(INSERT, "idler", DAWN)
        await asyncio.sleep(SESSION_ENDS_S + 1)
        return await _seen(session.execute("COMMIT"))

    async def both() -> tuple[str, str]:
        idling = idler.start(idle())
        await asyncio.sleep(1)
        idler.frozen = frozen
        told = await other.start(_write(other_pool, "other"))
        assert SESSION_ENDS_S <= bare.loop.time() <= SESSION_ENDS_S + 0.1
        await asyncio.sleep(60)
        idler.frozen = False
        return told, await idling

    assert bare.run(both()) == ("committed", BROKEN.__name__)
    assert _rows(backend) == ["other"]


def test_a_quick_transaction_is_not_ended(bare: Bare, backend: Backend) -> None:
    """The time of one transaction does not count for the next on the same session."""
    process, pool = _pool(bare, bare.store(backend), "a")

    async def twice() -> str:
        session = await pool.acquire()
        for name in ("first", "second"):
            await session.execute("BEGIN")
            await asyncio.sleep(SESSION_ENDS_S * 0.6)
            await session.execute(INSERT, name, DAWN)
            await session.execute("COMMIT")
        return "done"

    assert bare.within(process, twice()) == "done"
    assert _rows(backend) == ["first", "second"]


def test_a_pool_has_an_end(bare: Bare, backend: Backend) -> None:
    """A pool lends so many sessions and no more; the next in the line waits for one to come back."""
    process, pool = _pool(bare, bare.store(backend), "a", 2)
    log: list[str] = []

    async def borrow(name: str, seconds: float) -> None:
        session = await pool.acquire()
        log.append(f"{name} has")
        await asyncio.sleep(seconds)
        await pool.release(session)
        log.append(f"{name} gave")

    async def three() -> float:
        await asyncio.gather(borrow("a", 5), borrow("b", 3), borrow("c", 1.5))
        return bare.loop.time()

    assert bare.within(process, three()) == 5.0
    assert log == ["a has", "b has", "b gave", "c has", "c gave", "a gave"]


def test_a_released_session_is_over(bare: Bare, backend: Backend) -> None:
    """What was left open by who gave a session back is rolled back; to give it back twice changes nothing."""
    process, pool = _pool(bare, bare.store(backend), "a")

    async def leave() -> list[bool]:
        session = await pool.acquire()
        await session.execute("BEGIN")
        await session.execute(INSERT, "a", DAWN)
        await pool.release(session)
        await pool.release(session)
        lent = [asyncio.ensure_future(pool.acquire()) for _ in range(2)]
        await asyncio.sleep(1)
        had = [one.done() for one in lent]
        lent[1].cancel()
        return had

    assert bare.within(process, leave()) == [True, False]
    assert _rows(backend) == []


# --- hints, the clock, words -------------------------------------------------------------------------------------


def test_a_notify_is_a_hint(bare: Bare, backend: Backend) -> None:
    """Who listens hears most of what is notified on its channel, soon after, and not all; who does not listen hears nothing."""
    store = bare.store(backend)
    process, pool = _pool(bare, store, "a", 4)
    heard: list[float] = []
    wrong: list[float] = []

    async def listen(channel: str, into: list[float]) -> SimConnection:
        session = await pool.acquire()
        await session.add_listener(channel, lambda: into.append(bare.loop.time()))
        return session

    async def tell() -> None:
        session = await listen("work", heard)
        await listen("other", wrong)
        for _ in range(100):
            store.notify("work")
        await asyncio.sleep(1)
        assert 60 <= len(heard) < 100
        session.terminate()
        before = len(heard)
        for _ in range(50):
            store.notify("work")
        await asyncio.sleep(1)
        assert len(heard) == before

    bare.within(process, tell())
    assert wrong == []
    assert heard and max(heard) - min(heard) <= 0.01


def test_the_databases_clock_is_the_loops(bare: Bare, backend: Backend) -> None:
    """What SQL reads as the time is virtual time, whatever a process's own clock shows, and moves inside a transaction too."""
    process, pool = _pool(bare, bare.store(backend), "a")
    process.clock.off = timedelta(days=365)

    async def read() -> list[datetime]:
        session = await pool.acquire()
        await session.execute("BEGIN")
        seen = []
        for seconds in (0.0, 1.0, 2.0):
            await asyncio.sleep(seconds)
            seen.append(await session.fetchval("SELECT clock_timestamp()") - timedelta(seconds=bare.loop.time()))
        await session.execute("ROLLBACK")
        return seen

    assert bare.within(process, read()) == [DAWN, DAWN, DAWN]


@pytest.mark.parametrize(
    "sql, changes",
    [
        ("INSERT INTO workers VALUES ($1, $2)", True),
        ("  UPDATE workers SET seen_at = $1", True),
        ("DELETE FROM workers", True),
        ("WITH a AS (INSERT INTO workers VALUES (1)) SELECT 1", True),
        ("WITH a AS (UPDATE workers SET seen_at = $1 RETURNING 1) SELECT 1", True),
        ("WITH a AS (DELETE FROM workers RETURNING 1) SELECT 1", True),
        ("SELECT 1 FROM merchants FOR UPDATE", False),
        ("SELECT 1 FROM merchants ORDER BY 1 FOR NO KEY UPDATE", False),
        ("WITH a AS (SELECT 1) SELECT * FROM a", False),
        ("BEGIN", False),
        ("COMMIT", False),
        ("ROLLBACK", False),
        ("SHOW fsync", False),
        ("SET LOCAL jit = off", False),
    ],
)
def test_what_writes(sql: str, changes: bool) -> None:
    """A statement that may change rows is told from one that only reads or locks them."""
    assert writes(sql) is changes
