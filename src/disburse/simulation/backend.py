"""The one real PostgreSQL connection under a simulation. Lives here: calling it in the middle of a step, and a database made empty.

A call is put while the simulated loop stands still: it runs to its end on a loop of its own before the simulated step goes on.
The simulated time is the database's clock as well: a statement that asks for it is told it, as one value more.

A statement waits for nothing but its answer, so it needs no task: `ask` turns the loop by hand until the answer is there. What
waits for more (pools, time limits, much to write) is put by `call`.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Coroutine, Sequence
from contextvars import Context
from datetime import datetime
from typing import Any, Final

import asyncpg

from disburse.operations.verify import Report, verify
from disburse.storage.database import SESSION, Database, open_database
from disburse.storage.migrate import make_database, migrate
from disburse.world import real_world

_KEPT: Final[dict[str, Any]] = {"statement_cache_size": 2000, "max_cached_statement_lifetime": 0}
TRUNCATED_AFTER: Final = 25
"""Deleting is quick, but what was deleted stays in the way of every later look: after so many days tables begin anew. That
has every statement planned anew, so it is not done each day."""
_NEEDS_A_TASK: Final = frozenset(("copy", "executemany"))
_ASKS_THE_TIME: Final = "SELECT clock_timestamp()"
_THE_TIME: Final = "clock_timestamp()"
_TABLES = """SELECT relname FROM pg_class WHERE relnamespace = 'disburse'::regnamespace AND relkind = 'r'
    AND relname <> 'schema_migrations' ORDER BY relname"""


class Backend:
    """Two sessions: the program's role runs what processes ask for, the superuser's empties the database and lets the auditor look."""

    def __init__(self) -> None:
        self._loop = asyncio.SelectorEventLoop()  # the plain one, which can be turned by hand
        self._apart = Context()  # what a session keeps must not keep the process that asked
        self._app: Any = None
        self._owner: Any = None
        self._database: Database | None = None
        self._emptying = ""
        self._beginning_anew = ""
        self._days = 0
        self.calls = 0

    def open(self, dsn: str) -> None:
        """Connect to a migrated database, which is taken over whole."""
        self.call(self._open(dsn))

    async def _open(self, dsn: str) -> None:
        self._owner = await asyncpg.connect(dsn, server_settings={"search_path": "disburse", "jit": "off"}, **_KEPT)
        tables = [row[0] for row in await self._owner.fetch(_TABLES)]
        deletes = [f"DELETE FROM disburse.{table}" for table in tables]
        self._beginning_anew = "; ".join([f"TRUNCATE disburse.{table}" for table in tables])
        self._emptying = "; ".join(["SET session_replication_role = replica", *deletes, "RESET session_replication_role"])
        self._database = await open_database(dsn, real_world(), size=1, unsafe=True)
        settings = {**SESSION, "role": "disburse_app", "search_path": "disburse"}
        self._app = await asyncpg.connect(dsn, server_settings=settings, **_KEPT)

    def close(self) -> None:
        for session in (self._app, self._owner, self._database):
            if session is not None:
                self.call(session.close())
        self._loop.close()

    def call(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine to its end, whatever loop the caller is on."""
        outer = asyncio._get_running_loop()
        task = asyncio.current_task(outer) if outer is not None else None
        if task is not None and outer is not None:
            asyncio.tasks._leave_task(outer, task)
        asyncio._set_running_loop(None)
        try:
            return self._apart.run(self._loop.run_until_complete, work)
        finally:
            asyncio._set_running_loop(outer)
            if task is not None and outer is not None:
                asyncio.tasks._enter_task(outer, task)

    def ask(self, work: Coroutine[Any, Any, Any]) -> Any:
        """As `call`, for a coroutine that awaits answers to statements and nothing else."""
        return self._apart.run(self._ask, work)

    def _ask(self, work: Coroutine[Any, Any, Any]) -> Any:
        turn = self._loop._run_once  # type: ignore[attr-defined]
        try:
            while True:
                answer = work.send(None)
                while answer is not None and not answer.done():
                    turn()
        except StopIteration as done:
            return done.value
        finally:
            work.close()

    def sessions(self) -> list[int]:
        """The server's processes that answer here."""
        return [session.get_server_pid() for session in (self._app, self._owner)]

    def reset(self) -> None:
        """End whatever a run that broke off left open."""
        self.ask(self._app.execute("ROLLBACK"))

    def empty(self) -> None:
        """Delete every row."""
        self._days += 1
        anew = self._days % TRUNCATED_AFTER == 0
        self.ask(self._owner.execute(self._beginning_anew if anew else self._emptying))

    def look(self, sql: str, *values: Any) -> Sequence[Any]:
        """A question from outside every process: the auditor's."""
        found: Sequence[Any] = self.ask(self._owner.fetch(sql, *values))
        return found

    def verify(self) -> Report:
        """The product's own check of its books, from outside every process."""
        if self._database is None:
            raise AssertionError("the backend is not open")
        report: Report = self.call(verify(self._database))
        return report

    async def fetch(self, sql: str, *values: Any) -> Sequence[Any]:
        """The same, for whoever is called by `call` or `ask`."""
        found: Sequence[Any] = await self._owner.fetch(sql, *values)
        return found

    def put(self, method: str, sql: str, values: tuple[Any, ...], now: datetime) -> Any:
        """One statement of a process: `fetch`, `fetchrow`, `fetchval`, `execute`, `executemany` or `copy`. `now`: the database's clock."""
        if sql == _ASKS_THE_TIME:
            return now  # the answer is known here, and half of all polls ask it
        self.calls += 1
        put = self.call if method in _NEEDS_A_TASK else self.ask
        return put(self._put(method, sql, values, now))

    async def _put(self, method: str, sql: str, values: tuple[Any, ...], now: datetime) -> Any:
        if _THE_TIME in sql:
            sql, values = sql.replace(_THE_TIME, f"${len(values) + 1}::timestamptz"), (*values, now)
        if method == "copy":
            table, content, columns, schema, written = values
            return await self._app.copy_to_table(table, source=io.BytesIO(content), columns=columns, schema_name=schema, format=written)
        return await getattr(self._app, method)(sql, *values)


async def make_scratch(server: str, name: str, dsn: str) -> None:
    """A migrated database for simulations, made if it is not there. `server`: the URL of a database to make it from."""
    await make_database(server, name)
    await migrate(dsn)
