"""What a simulated process has instead of a pool of connections: the same calls, one transaction at a time, and faults.

Transactions are let through one after the other in the order the seed picks, since the one real connection is everybody's;
what happens between two open transactions is the isolation tests' matter. A statement may break before it was carried out, or
after; a COMMIT may be heard of or not, either way; a process may die at any of these points. `disburse.storage.database.Database`
stands on this unchanged.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable
from contextvars import Context
from datetime import datetime
from typing import Any, Final, Protocol

import asyncpg

from disburse.simulation.backend import Backend
from disburse.simulation.loop import Loop
from disburse.simulation.process import Process

SESSION_ENDS_S = 4.0
"""The server ends a session that stands in a transaction for so long."""

_NOBODY: Final = Context()
_READS = ("SELECT", "WITH")


class Harm(Protocol):
    """Who decides what goes wrong at the store. `what` is one of the words below; `statement` its text.

    `at_statement`: None, or "before" (it breaks, nothing was done), "after" (it was done, and breaks), "deadlock", "die_before",
    "die_after". `at_commit`: None, "lost" (not committed, and breaks), "unknown" (committed, and breaks), "die_before", "die_after".
    """

    def away(self) -> bool: ...

    def at_statement(self, process: Process, statement: str, *, writes: bool) -> str | None: ...

    def at_commit(self, process: Process) -> str | None: ...


def writes(sql: str) -> bool:
    """Whether a statement may change rows."""
    head = sql.lstrip()[:6].upper()
    if head.startswith(_READS):
        return "INSERT INTO" in sql or "UPDATE " in sql.replace("FOR UPDATE", "").replace("KEY UPDATE", "") or "DELETE FROM" in sql
    return not head.startswith(("BEGIN", "COMMIT", "ROLLBA", "SHOW", "SET LO"))


def _in_vain(method: str, sql: str, values: tuple[Any, ...], result: Any) -> bool:
    """Whether the server says that a statement, which must be one and plain, changed no row."""
    plain = method == "execute" and values and sql.lstrip().startswith(("INSERT", "UPDATE", "DELETE"))
    return bool(plain and result.endswith(" 0"))


class Store:
    """The database as all processes share it. `committed` is called after every commit, in nobody's process.

    `written`: the statements that changed something, or may have, for who wants to know; also those of what was rolled back. Of a
    COPY it is the table's name.
    """

    def __init__(
        self, backend: Backend, loop: Loop, clock: Callable[[], datetime], harm: Harm, latency: random.Random
    ) -> None:
        self.backend = backend
        self.loop = loop
        self.clock = clock
        self.harm = harm
        self.latency = latency
        self.slowest_s = 0.005
        self._holder: SimConnection | None = None
        self._waiting: list[asyncio.Future[None]] = []
        self.sessions: list[SimConnection] = []
        self._listening: list[tuple[str, SimConnection, Callable[..., None]]] = []
        self.written: list[str] = []
        self.committed: Callable[[Process], None] = lambda process: None
        self.noted: Callable[[Process, str], None] = lambda process, what: None

    async def turn(self, connection: SimConnection) -> None:
        """Wait until no other transaction is open."""
        while self._holder is not None and self._holder is not connection:
            waiting = self.loop.create_future()
            self._waiting.append(waiting)
            await waiting

    def hold(self, connection: SimConnection) -> None:
        self._holder = connection
        since = connection.begun = connection.begun + 1
        self.loop.call_later(SESSION_ENDS_S, self._end_idle, connection, since, context=_NOBODY)  # the server's, not the holder's

    def _end_idle(self, connection: SimConnection, since: int) -> None:
        if self._holder is connection and connection.begun == since:
            connection.cut()

    def release(self, connection: SimConnection) -> None:
        """The transaction is over: all who wait try, in the order the loop's seed lets them."""
        if self._holder is not connection:
            return
        self._holder = None
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            if not one.done():
                one.set_result(None)

    def cut_all(self) -> None:
        """The server went away: every session is over."""
        for connection in list(self.sessions):
            connection.cut()

    def listen(self, channel: str, connection: SimConnection, heard: Callable[..., None]) -> None:
        self._listening.append((channel, connection, heard))

    def notify(self, channel: str) -> None:
        """A NOTIFY: who listens hears of it a moment later, or, one time in five, never: it is a hint."""
        self._listening = [one for one in self._listening if not one[1].broken]
        for name, connection, heard in self._listening:
            if name == channel and self.latency.random() < 0.8:
                self.loop.call_later(self.latency.random() * 0.01, heard, context=connection.process.context)


class SimConnection:
    """One session of one process, as the product's `Database` uses an asyncpg connection."""

    def __init__(self, store: Store, process: Process) -> None:
        self._store = store
        self.process = process
        self.begun = 0
        self.open = False
        self.broken = False
        self._wrote = False
        self._ended: list[Callable[[Any], None]] = []

    # --- what the product calls ---

    async def execute(self, sql: str, *values: Any) -> str:
        match sql:
            case "BEGIN":
                await self._begin()
                return "BEGIN"
            case "COMMIT":
                await self._commit()
                return "COMMIT"
            case "ROLLBACK":
                self.process.check()
                self._end("ROLLBACK")
                return "ROLLBACK"
        status: str = await self._put("execute", sql, values)
        return status

    async def fetch(self, sql: str, *values: Any) -> Any:
        return await self._put("fetch", sql, values)

    async def fetchrow(self, sql: str, *values: Any) -> Any:
        return await self._put("fetchrow", sql, values)

    async def fetchval(self, sql: str, *values: Any) -> Any:
        return await self._put("fetchval", sql, values)

    async def executemany(self, sql: str, rows: Any) -> None:
        await self._put("executemany", sql, (rows,))

    async def copy_to_table(self, table: str, *, source: Any, columns: Any, schema_name: str, format: str) -> None:
        """COPY, which is a statement like any other here. `source`: where its bytes are read from."""
        await self._put("copy", "COPY", (table, source.read(), list(columns), schema_name, format))

    @contextlib.asynccontextmanager
    async def transaction(self, *, isolation: str, readonly: bool) -> AsyncIterator[None]:
        """A snapshot for a report."""
        await self._begin("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        try:
            yield
        finally:
            self._end("ROLLBACK")

    def add_termination_listener(self, told: Callable[[Any], None]) -> None:
        self._ended.append(told)

    async def add_listener(self, channel: str, heard: Callable[..., None]) -> None:
        await self._reach()
        self._store.listen(channel, self, heard)

    def terminate(self) -> None:
        """End the session without a word."""
        if not self.process.dead:
            self.cut()

    # --- how it goes ---

    def cut(self) -> None:
        """The session is over: what was open is rolled back."""
        self.broken = True
        self._end("ROLLBACK")
        ended, self._ended = self._ended, []
        for told in ended:
            self._store.loop.call_soon(told, self, context=self.process.context)

    def _end(self, how: str) -> None:
        if self.open:
            self.open = False
            self._store.backend.put("execute", how, (), self._store.clock())
        self._store.release(self)

    async def _begin(self, how: str = "BEGIN") -> None:
        await self._reach()
        await self._store.turn(self)
        self._fit()
        self._store.backend.put("execute", how, (), self._store.clock())
        self.open, self._wrote = True, False
        self._store.hold(self)

    async def _commit(self) -> None:
        self._fit()
        if not self._wrote:
            self._end("COMMIT")
            return
        match self._store.harm.at_commit(self.process):
            case "die_before":
                await self.process.die_here()
            case "lost":
                self.cut()
                raise asyncpg.ConnectionDoesNotExistError("the connection broke at COMMIT")
            case "unknown":
                self._committed()
                self.broken = True
                raise asyncpg.ConnectionDoesNotExistError("the connection broke at COMMIT")
            case "die_after":
                self._committed()
                await self.process.die_here()
        self._committed()
        await self._pause()

    def _committed(self) -> None:
        self._end("COMMIT")
        self._store.committed(self.process)

    async def _put(self, method: str, sql: str, values: tuple[Any, ...]) -> Any:
        if not self.open:
            await self._reach()
            await self._store.turn(self)
        self._fit()
        changes = writes(sql)
        harm = self._store.harm.at_statement(self.process, sql, writes=changes)
        match harm:
            case "before":
                self.cut()
                raise asyncpg.ConnectionDoesNotExistError("the connection broke")
            case "deadlock":
                raise asyncpg.DeadlockDetectedError("simulated")
            case "die_before":
                await self.process.die_here()
        self._store.noted(self.process, f"{method} {sql.split(None, 3)[:3]}" if not changes else f"{method} writes")
        result = self._store.backend.put(method, sql, values, self._store.clock())
        if changes:
            self._wrote = True
            if not _in_vain(method, sql, values, result):
                self._store.written.append(values[0] if method == "copy" else sql)
            if not self.open:
                self._store.committed(self.process)
        match harm:
            case "after":
                self.cut()
                raise asyncpg.ConnectionDoesNotExistError("the connection broke")
            case "die_after":
                await self.process.die_here()
        if not self.open:
            await self._pause()
        return result

    async def _reach(self) -> None:
        """The way to the server, which may be away."""
        self.process.check()
        if self._store.harm.away():
            self.broken = True
            raise ConnectionRefusedError("no database")
        await self._pause()
        if self._store.harm.away():
            self.cut()
            raise asyncpg.ConnectionDoesNotExistError("the server went away")

    async def _pause(self) -> None:
        await asyncio.sleep(self._store.latency.random() * self._store.slowest_s)

    def _fit(self) -> None:
        self.process.check()
        if self.broken:
            raise asyncpg.ConnectionDoesNotExistError("the session is over")


class SimPool:
    """A process's pool: `size` sessions at most are lent at a time."""

    def __init__(self, store: Store, process: Process, size: int) -> None:
        self._store = store
        self.process = process
        self._free = asyncio.Semaphore(size)
        self._lent: list[SimConnection] = []
        process.on_death.append(self._died)

    async def acquire(self) -> SimConnection:
        self.process.check()
        await self._free.acquire()
        connection = SimConnection(self._store, self.process)
        self._lent.append(connection)
        self._store.sessions.append(connection)
        return connection

    async def release(self, connection: SimConnection) -> None:
        if self.process.dead or connection not in self._lent:
            return
        self._lent.remove(connection)
        self._store.sessions.remove(connection)
        connection.cut()
        self._free.release()

    async def close(self) -> None:
        for connection in self._lent:
            connection.cut()

    def terminate(self) -> None:
        for connection in self._lent:
            connection.cut()

    async def execute(self, sql: str, *values: Any) -> None:
        """What the product says to a pool: NOTIFY, with the channel."""
        self.process.check()
        await asyncio.sleep(self._store.latency.random() * self._store.slowest_s)
        self._store.notify(values[0])

    def _died(self) -> None:
        for connection in self._lent:
            connection.cut()
            self._store.sessions.remove(connection)
