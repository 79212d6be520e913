"""Connections and transactions. Lives here: how a transaction is begun, bounded, ended and, when it must be, run again.

Every transaction of the house may run twice: after a deadlock or serialization failure, when the connection broke, and when
the outcome of its COMMIT is unknown (about half of those did commit). So operations draw ids and times once, outside, and
recognise their own rows; `Transaction.rerun` says that the first run may have left them. No other file begins a transaction.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextvars import ContextVar
from datetime import datetime
from typing import Any, TypeVar, cast

import asyncpg

from disburse.domain.ports import Clock, World
from disburse.storage.lineage import Lineage
from disburse.storage.sessions import Session, connect

T = TypeVar("T")
AccountKey = tuple[int, int, str, str]
"""Shard, merchant, currency, account."""

_ACCOUNTS_REMEMBERED = 200_000
_NO_END = 2**62  # a connection is kept, and what it prepared: to begin anew takes some 50 ms, in the middle of the work

TRANSACTION_S = 4.0
"""A transaction lives at most so long; the server ends it too."""

_TRIES = 12
_STRANGE_TRIES = 5  # somebody has to vouch for it, which takes seconds: whoever asks may ask again
_AGAIN = (
    asyncpg.exceptions.DeadlockDetectedError,
    asyncpg.exceptions.SerializationError,
)
# The connection, or the server behind it, is not fit for work now; with another connection, or later, it may be. A primary that
# became a standby answers "read-only"; a full disk, a lack of memory and a failing disk pass through whoever sees to them.
_BROKEN = (
    asyncpg.exceptions.PostgresConnectionError,
    asyncpg.exceptions.OperatorInterventionError,  # shutdown, crash, starting up, cancelled, timed out
    asyncpg.exceptions.InsufficientResourcesError,
    asyncpg.exceptions.PostgresSystemError,
    asyncpg.exceptions.ReadOnlySQLTransactionError,
    asyncpg.exceptions.LockNotAvailableError,
    asyncpg.exceptions.TransactionTimeoutError,
    asyncpg.exceptions.IdleInTransactionSessionTimeoutError,
    asyncpg.exceptions.InterfaceError,
    asyncpg.exceptions.InternalClientError,  # a session that was ended while idle answers our BEGIN with its farewell
    OSError,
    TimeoutError,
)


class StoreUnavailable(Exception):
    """The database did not do this in time. What was asked may have been done or not: ask again with the same ids."""


class Strange(ConnectionError):
    """This session leads to a database whose history nobody has vouched for yet, or to one that was left behind."""


class GuardFailed(AssertionError):
    """What was to be written does not fit what is stored, by the named branch: nothing was written.

    The careful way reads under the lock, so there this is a broken assumption of ours.
    """


# What a hopeful transaction meets when its hope was wrong; nothing was written.
_HOPE_LOST = (GuardFailed, asyncpg.exceptions.UniqueViolationError, asyncpg.exceptions.CheckViolationError)


class Hope:
    """Whether an operation tries the hopeful way: not for a while after it was in vain, and longer each time that it was."""

    def __init__(self) -> None:
        self._in_vain = 0
        self._rest = 0

    def tries(self) -> bool:
        """Whether the next transaction is a hopeful one."""
        if self._rest > 0:
            self._rest -= 1
            return False
        return True

    def ended(self, well: bool) -> None:
        """How a hopeful transaction ended."""
        self._in_vain = 0 if well else min(self._in_vain + 1, 6)
        self._rest = 2**self._in_vain - 2 if self._in_vain else 0


class UnsafeDatabase(Exception):
    """The database is set up so that it may forget what it promised."""


class _Stay:
    """One stay of a task inside `run` or `snapshot`. Tasks that it starts inherit the mark, so its end is kept in it."""

    __slots__ = ("ended",)

    def __init__(self) -> None:
        self.ended = False


_STAY: ContextVar[_Stay | None] = ContextVar("a stay inside a transaction", default=None)


def assert_no_transaction() -> None:
    """Raises AssertionError while the calling task, or the one that started it, is inside a transaction (invariant E12).

    Whoever calls the network asks this first: a provider that is slow must hold no lock and no connection of ours.
    """
    stay = _STAY.get()
    if stay is not None and not stay.ended:
        raise AssertionError("a network call inside a database transaction")


@contextlib.contextmanager
def _staying() -> Iterator[None]:
    stay = _Stay()
    token = _STAY.set(stay)
    try:
        yield
    finally:
        stay.ended = True
        _STAY.reset(token)


class Transaction:
    """One open transaction. `rerun`: an earlier run of the same work may have been committed.

    `hopeful`: there is no lock and no transaction around the work; its one writing statement is the transaction (`unit.py`).
    `known_accounts` are account rows seen committed by this process; what the work learns is added when it is committed.
    """

    __slots__ = ("connection", "hopeful", "known_accounts", "learned_accounts", "rerun")

    def __init__(
        self, connection: Any, rerun: bool, known_accounts: AbstractSet[AccountKey] = frozenset(), *, hopeful: bool = False
    ) -> None:
        self.connection = connection
        self.rerun = rerun
        self.hopeful = hopeful
        self.known_accounts = known_accounts
        self.learned_accounts: set[AccountKey] = set()

    async def fetch(self, sql: str, *values: Any) -> list[asyncpg.Record]:
        rows: list[asyncpg.Record] = await self.connection.fetch(sql, *values)
        return rows

    async def fetchrow(self, sql: str, *values: Any) -> asyncpg.Record | None:
        row: asyncpg.Record | None = await self.connection.fetchrow(sql, *values)
        return row

    async def fetchval(self, sql: str, *values: Any) -> Any:
        return await self.connection.fetchval(sql, *values)

    async def execute(self, sql: str, *values: Any) -> str:
        status: str = await self.connection.execute(sql, *values)
        return status

    async def database_now(self) -> datetime:
        """The database's clock, which leases read: the one clock that all workers share."""
        moment: datetime = await self.connection.fetchval("SELECT clock_timestamp()")
        return moment

    async def executemany(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        await self.connection.executemany(sql, rows)


async def _keep(connection: Any) -> None:
    """Our transactions leave nothing behind in a session, so giving one back needs no round trip."""


def _drop(connection: Any) -> None:
    """End a session; one that broke went back to the pool by itself, and what is being raised meanwhile must not be lost."""
    with contextlib.suppress(asyncpg.exceptions.InterfaceError):
        connection.terminate()


_SESSION = {
    "timezone": "UTC",
    "jit": "off",
    "plan_cache_mode": "force_generic_plan",
    "random_page_cost": "0.1",  # what is hot is in memory: a look-up by key is never the dear way
    "statement_timeout": "4000",
    "idle_in_transaction_session_timeout": "4000",
    "application_name": "disburse",
}
# A plan is made once, perhaps on an empty table, and kept: every hot statement looks rows up by key, so nothing else is planned.
_BY_KEY = {"enable_seqscan": "off", "enable_hashjoin": "off", "enable_mergejoin": "off", "enable_material": "off"}
SESSION = {**_SESSION, **_BY_KEY}
"""The settings of every session of the program."""


class Database:
    """A pool of connections as the program's own role. Get one from `open_database`.

    `trusted`: the one lineage that work is done on; None: any. `met`: the latest other one that a session was found to lead to. Whoever
    may say that it is to be trusted (`operations/witness.py`) works `anywhere`.
    """

    def __init__(
        self, pool: Any, clock: Clock, random_jitter: Callable[[float, float], float], known_accounts: set[AccountKey]
    ) -> None:
        self._pool = pool
        self._clock = clock
        self._jitter = random_jitter
        self._known_accounts = known_accounts
        self.trusted: Lineage | None = None
        self.met: Lineage | None = None

    async def close(self) -> None:
        try:
            async with self._clock.timeout(5):
                await self._pool.close()
        except TimeoutError:
            self._pool.terminate()

    async def ping(self, *, deadline: float) -> None:
        """See that the database answers. Raises StoreUnavailable."""
        await self.ask(lambda tx: tx.fetchval("SELECT 1"), deadline=deadline)

    async def ask(self, question: Callable[[Transaction], Awaitable[T]], *, deadline: float | None = None) -> T:
        """Put one read-only statement, a transaction of its own: a third of the round trips of `run`. Raises as `run` does."""
        return await self.run(question, deadline=deadline, begin=False)

    async def run(
        self,
        work: Callable[[Transaction], Awaitable[T]],
        *,
        deadline: float | None = None,
        begin: bool = True,
        hope: Hope | None = None,
        anywhere: bool = False,
    ) -> T:
        """Run `work` in one transaction and commit it, again if need be, until `deadline` (monotonic seconds).

        Raises StoreUnavailable when the deadline or the number of tries is reached; everything else `work` raises passes through.
        Without `begin` every statement of the work is a transaction of its own (see `ask`). With `hope` the work is tried
        hopefully first: it must write by one `Unit` alone. `anywhere`: also on a lineage that is not trusted.
        """
        rerun, hopeful = False, hope is not None and hope.tries()
        for attempt in range(_TRIES):
            try:
                async with self._clock.timeout(TRANSACTION_S):
                    if hopeful and hope is not None:
                        try:
                            result = await self._once(work, rerun, begin=False, hopeful=True)
                        except _HOPE_LOST:
                            hope.ended(well=False)
                        else:
                            hope.ended(well=True)
                            return result
                    return await self._once(work, rerun, begin, anywhere=anywhere)
            except _AGAIN as fault:
                last: BaseException = fault
            except Strange as fault:
                last = fault
                if attempt >= _STRANGE_TRIES:
                    break
            except _BROKEN as fault:
                last, rerun = fault, True
            hopeful = False
            pause = min(0.02 * 2**attempt, 1.0) * self._jitter(0.5, 1.5)
            if deadline is not None and self._clock.monotonic() + pause >= deadline:
                break
            await self._clock.sleep(pause)
        raise StoreUnavailable(type(last).__name__) from last

    async def _once(
        self, work: Callable[[Transaction], Awaitable[T]], rerun: bool, begin: bool, hopeful: bool = False, anywhere: bool = False
    ) -> T:
        connection = await self._pool.acquire()
        clean = False
        try:
            clean = self._is_strange(connection, anywhere)
            if clean:
                raise Strange()
            if begin:
                await connection.execute("BEGIN")
            tx = Transaction(connection, rerun, self._known_accounts, hopeful=hopeful)
            try:
                with _staying():
                    result = await work(tx)
            except _BROKEN:
                raise
            except Exception:
                self._known_accounts.clear()  # should one of them be the cause, the next run makes it
                if begin:
                    await connection.execute("ROLLBACK")
                clean = True
                raise
            if begin:
                await connection.execute("COMMIT")
            clean = True
            self._learn(tx.learned_accounts)
            return result
        finally:
            if not clean:
                _drop(connection)  # whatever it was doing is no longer ours
            await self._pool.release(connection)

    def _is_strange(self, connection: Any, anywhere: bool) -> bool:
        """Whether a session leads to another lineage than may be worked on. Raises Strange for one that may never be."""
        lineage = getattr(connection, "lineage", None)
        if self.trusted is None or lineage is None or lineage == self.trusted:
            return False
        if self.trusted.may_continue(lineage) and not anywhere:  # it was left behind: another session finds the present one
            raise Strange()
        self.met = lineage
        return not anywhere

    def _learn(self, accounts: set[AccountKey]) -> None:
        if accounts:
            if len(self._known_accounts) > _ACCOUNTS_REMEMBERED:
                self._known_accounts.clear()
            self._known_accounts |= accounts

    async def warm(self, count: int, lesson: Callable[[Transaction], Awaitable[None]]) -> None:
        """Open so many connections before they are needed, and put each through `lesson`, which writes nothing.

        A connection's first statement of a kind takes some 50 ms. Raises what a database that is not well makes it raise.
        """
        connections: list[Any] = []
        try:
            for _ in range(count):
                connections.append(await self._pool.acquire())
                await lesson(Transaction(connections[-1], rerun=False))
        finally:
            for connection in reversed(connections):
                await self._pool.release(connection)

    async def snapshot(self, work: Callable[[Transaction], Awaitable[T]], *, timeout_s: float = 600) -> T:
        """Run read-only `work` on one snapshot, for reports: nothing is retried and planning is left to the server."""
        connection = await self._pool.acquire()
        try:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                await connection.execute(f"SET LOCAL statement_timeout = {int(timeout_s * 1000)}")
                await connection.execute("SET LOCAL plan_cache_mode = auto")
                for name in _BY_KEY:
                    await connection.execute(f"SET LOCAL {name} = on")
                with _staying():
                    return await work(Transaction(connection, rerun=False))
        finally:
            await self._pool.release(connection)

    async def listen(self, channel: str, heard: Callable[[], None]) -> None:
        """Call `heard` on every NOTIFY of a channel until the connection breaks: a hint beside polling."""
        connection = await self._pool.acquire()
        broken = asyncio.Event()
        try:
            connection.add_termination_listener(lambda _: broken.set())
            await connection.add_listener(channel, lambda *_: heard())
            await broken.wait()
        finally:
            _drop(connection)
            await self._pool.release(connection)

    async def notify(self, channel: str) -> None:
        """Wake whoever listens, outside any transaction of ours."""
        await self._pool.execute("SELECT pg_notify($1, '')", channel)


_SAFETY = "SELECT current_setting('fsync'), current_setting('full_page_writes')"


async def open_database(dsn: str, world: World, *, size: int = 10, unsafe: bool = False) -> Database:
    """Connect as the program's role. Refuses a server that may forget (`fsync` or `full_page_writes` off) unless told otherwise.

    Raises UnsafeDatabase, and StoreUnavailable when no connection can be made.
    """
    known_accounts: set[AccountKey] = set()
    judged = unsafe

    async def meet(connection: Any) -> None:
        nonlocal judged
        known_accounts.clear()  # a new connection may lead to another server, which may lack the last commits of the one before
        fsync, full_pages = await connection.fetchrow(_SAFETY)
        if not judged and "off" in (fsync, full_pages):
            name = "fsync" if fsync == "off" else "full_page_writes"
            raise UnsafeDatabase(f"The database runs with {name}=off and may lose acknowledged payouts. Turn it on.")
        judged = True

    try:
        pool = await asyncpg.create_pool(
            dsn, connect=cast(Any, connect), connection_class=Session, min_size=1, max_size=size, init=meet, reset=_keep, timeout=10,
            server_settings={**SESSION, "role": "disburse_app", "search_path": "disburse"}, max_inactive_connection_lifetime=0,
            max_queries=_NO_END, max_cached_statement_lifetime=0,
        )  # fmt: skip
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as fault:
        raise StoreUnavailable(f"no connection to the database: {type(fault).__name__}") from None
    return Database(pool, world.clock, world.random.uniform, known_accounts)
