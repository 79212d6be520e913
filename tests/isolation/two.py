"""Two processes' transactions on one merchant, one of them held at a statement of its choice. No tests live here.

Lives here: `Gate`, which stops the first transaction before one of its statements and tells who it is, and `Pair`, which lets the
second one begin meanwhile and says whether it waited. Nobody sleeps: the database is asked who blocks whom, until it says so or the
second one has ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from disburse.domain.ports import World
from disburse.storage.database import Database, Hope, Transaction, open_database
from tests.operations.shop import OTHER, SANDBOX, Shop

LOCK = "FOR NO KEY UPDATE"
Work = Callable[[Transaction], Awaitable[Any]]
_BLOCKED = "SELECT pg_isolation_test_session_is_blocked($1, ARRAY[$2::int4])"


@dataclass
class Gate:
    """Where the first run of some work stops: before its statement number `stop`, counted from 0, if it has so many.

    With as many as it has it stops when all are done, before COMMIT. `statements`: how many it had in its first run. `holds`: it
    has the merchant's lock; `wants`: it asked for it, alone or in the statement that writes.
    """

    stop: int | None = None
    statements: int = 0
    pid: int = 0
    holds: bool = False
    wants: bool = False
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    stopped: asyncio.Event = field(default_factory=asyncio.Event)
    opened: asyncio.Event = field(default_factory=asyncio.Event)
    _runs: int = 0

    def through(self, work: Work) -> Work:
        """The same work, stopping here."""

        async def held(tx: Transaction) -> Any:
            self._runs += 1
            self.pid = tx.connection.get_server_pid()
            self.begun.set()
            if self._runs > 1:
                return await work(tx)
            result = await work(_Stopping(tx, self))
            await self.pass_by(self.statements)
            return result

        return held

    async def pass_by(self, number: int) -> None:
        if number == self.stop:
            self.stopped.set()
            await self.opened.wait()


class _Stopping(Transaction):
    """A transaction that asks the gate before each statement. Its work is the real one's."""

    __slots__ = ("_gate",)

    def __init__(self, tx: Transaction, gate: Gate) -> None:
        super().__init__(tx.connection, tx.rerun, tx.known_accounts, hopeful=tx.hopeful)
        self.learned_accounts = tx.learned_accounts
        self._gate = gate

    async def _before(self, sql: str) -> None:
        await self._gate.pass_by(self._gate.statements)
        self._gate.statements += 1
        self._gate.wants = self._gate.wants or LOCK in sql
        # A hopeful statement lets go of its lock at its end: it is never held while another one runs.
        self._gate.holds = self._gate.holds or (LOCK in sql and not self.hopeful)

    async def fetch(self, sql: str, *values: Any) -> list[asyncpg.Record]:
        await self._before(sql)
        return await super().fetch(sql, *values)

    async def fetchrow(self, sql: str, *values: Any) -> asyncpg.Record | None:
        await self._before(sql)
        return await super().fetchrow(sql, *values)

    async def fetchval(self, sql: str, *values: Any) -> Any:
        await self._before(sql)
        return await super().fetchval(sql, *values)

    async def execute(self, sql: str, *values: Any) -> str:
        await self._before(sql)
        return await super().execute(sql, *values)

    async def database_now(self) -> Any:
        await self._before("the database's clock")
        return await super().database_now()


@dataclass
class Deed:
    """One writing operation, ready to run: its work, and what its result is in a word. `hopeful`: tried that way first."""

    work: Work
    told: Callable[[Any], str]
    hopeful: bool = False

    async def run(self, database: Database, gate: Gate) -> str:
        result = await database.run(gate.through(self.work), hope=Hope() if self.hopeful else None)
        return self.told(result)


@dataclass
class Meeting:
    """How two deeds met. `waited`: the second one stood behind the first; `held`: the first one had the merchant's lock, and the
    second one wanted it, as all do but a hopeful one that finds nothing to write.
    """

    first: str
    second: str
    waited: bool
    held: bool
    statements: int


class Houses:
    """Two processes on one database, each with connections of its own, and somebody who watches who waits."""

    def __init__(self, left: Database, right: Database, watcher: asyncpg.Connection[Any], world: World) -> None:
        self.left, self.right, self._watcher = left, right, watcher
        self.shop = Shop(left, world, routes=[SANDBOX, OTHER])
        self.merchants = 0

    async def one_after_the_other(self, first: Deed, second: Deed) -> tuple[str, str]:
        return await first.run(self.left, Gate()), await second.run(self.right, Gate())

    async def meet(self, first: Deed, second: Deed, stop: int) -> Meeting:
        """Hold the first deed before its statement `stop`, let the second one run into it or by, and let go."""
        gate, other = Gate(stop), Gate()
        one = asyncio.create_task(first.run(self.left, gate))
        try:
            await _either(gate.stopped, one)
            held = gate.holds and not one.done()
            two = asyncio.create_task(second.run(self.right, other))
            await _either(other.begun, two)
            waited = False
            while not (one.done() or two.done() or waited):
                waited = await self._watcher.fetchval(_BLOCKED, other.pid, gate.pid)
        finally:
            gate.opened.set()
        return Meeting(await one, await two, waited, held and other.wants, gate.statements)


async def _either(event: asyncio.Event, task: asyncio.Task[Any]) -> None:
    """Until the event has come, or the task has ended without it."""
    waiting = asyncio.ensure_future(event.wait())
    await asyncio.wait([waiting, task], return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()


@asynccontextmanager
async def two_houses(dsn: str, world: World) -> AsyncIterator[Houses]:
    """Both processes, and the watcher."""
    left = await open_database(dsn, world, unsafe=True)
    right = await open_database(dsn, world, unsafe=True)
    watcher = await asyncpg.connect(dsn)
    try:
        yield Houses(left, right, watcher, world)
    finally:
        await watcher.close()
        await right.close()
        await left.close()
