"""Databases of tests: cloned from the migrated template, emptied after a test and lent again. No fixtures live here.

Making and dropping a database costs PostgreSQL a third of a second of two cores; emptying one costs some milliseconds.
A database whose tables, triggers or functions a test changed is dropped instead. The program's connections to a database are kept
with it, and with them what they prepared: a new one, and planning anew, costs PostgreSQL more than the test itself.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import asyncpg

from disburse.domain.ports import World
from disburse.storage.database import Database, open_database

_MADE = itertools.count(1)
LENDINGS = 200
"""So often a database is lent; then its dead rows are not worth their vacuum."""

_SHAPE = """
    WITH ours AS (SELECT * FROM pg_class WHERE relnamespace IN ('disburse'::regnamespace, 'public'::regnamespace))
    SELECT md5(string_agg(part, ',' ORDER BY part)) FROM (
        SELECT concat(oid, relname, relkind, relacl, reloptions) AS part FROM ours
        UNION ALL SELECT concat(attrelid, attname, xmin) FROM pg_attribute WHERE attrelid IN (SELECT oid FROM ours)
        UNION ALL SELECT concat(conrelid, conname, xmin) FROM pg_constraint WHERE conrelid IN (SELECT oid FROM ours)
        UNION ALL SELECT concat(tgrelid, tgname, xmin) FROM pg_trigger WHERE tgrelid IN (SELECT oid FROM ours)
        UNION ALL SELECT concat(oid, proname, xmin) FROM pg_proc WHERE pronamespace = 'disburse'::regnamespace
        UNION ALL SELECT concat(setrole, setconfig) FROM pg_db_role_setting
            JOIN pg_database AS it ON it.oid = setdatabase AND it.datname = current_database()
        UNION ALL SELECT concat(name, checksum) FROM disburse.schema_migrations
    ) AS parts"""
_EMPTIED = "SELECT relname FROM pg_class WHERE relnamespace = 'disburse'::regnamespace AND relkind = 'r' ORDER BY relname"


@dataclass(slots=True)
class Databases:
    """One process's databases: `lend` gives the name of one as the template is, `take_back` empties it."""

    server: Callable[[str], str]
    template: str
    _free: list[str] = field(default_factory=list)
    _lent: dict[str, int] = field(default_factory=dict)
    _hands: dict[str, tuple[asyncio.AbstractEventLoop, asyncpg.Connection]] = field(default_factory=dict)
    _shape: str = ""
    _empty: str = ""

    async def lend(self) -> str:
        if not self._free:
            self._free.append(await self._make())
        name = self._free.pop()
        self._lent[name] = self._lent.get(name, 0) + 1
        return name

    async def take_back(self, name: str, spare: Iterable[int] = ()) -> bool:
        """Whether it is lent again, and not dropped. `spare`: the processes of sessions that are left alone."""
        again = self._lent[name] < LENDINGS and await self._emptied(name, list(spare))
        if again:
            self._free.append(name)
        else:
            await self._drop(name)
        return again

    async def close(self) -> None:
        """Drop what is left."""
        while self._free:
            await self._drop(self._free.pop())

    async def _make(self) -> str:
        name = f"disburse_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}_{os.getpid()}_{next(_MADE)}"
        admin = await asyncpg.connect(self.server("postgres"))
        await admin.execute(f"CREATE DATABASE {name} TEMPLATE {self.template}")
        await admin.close()
        if not self._empty:
            await self._learn(name)
        return name

    async def _learn(self, name: str) -> None:
        """What a database looks like, and how to make it look so again: `schema_migrations` alone has rows of its own."""
        fresh = await asyncpg.connect(self.server(name))
        self._shape = await fresh.fetchval(_SHAPE)
        tables = [row["relname"] for row in await fresh.fetch(_EMPTIED)]
        for table in tables:
            if table != "schema_migrations" and await fresh.fetchval(f"SELECT count(*) FROM disburse.{table}"):
                raise AssertionError(f"A migration leaves rows in {table}: emptying it would lose them.")
        if await fresh.fetchval("SELECT count(*) FROM pg_sequences"):
            raise AssertionError("A sequence would remember earlier tests.")
        deletes = [f"DELETE FROM disburse.{table}" for table in tables if table != "schema_migrations"]
        self._empty = "; ".join(["SET session_replication_role = replica", *deletes])
        await fresh.close()

    async def _emptied(self, name: str, spare: list[int]) -> bool:
        """Whether the database is as it was made, after the test's own connections were cut and its rows deleted."""
        used = await self._hand(name)
        await used.fetch(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()"
            " AND backend_type = 'client backend' AND pid <> ALL($2)",
            name,
            spare,
        )
        if await used.fetchval(_SHAPE) != self._shape:
            return False
        await used.execute(self._empty)
        return True

    async def _hand(self, name: str) -> asyncpg.Connection:
        """The connection by which a database is emptied, kept as long as the loop and the database let it live."""
        loop, hand = self._hands.get(name, (None, None))
        if hand is None or hand.is_closed() or loop is not asyncio.get_running_loop():
            if hand is not None and loop is not None and not loop.is_closed():
                hand.terminate()
            hand = await asyncpg.connect(self.server(name), server_settings={"jit": "off"})
            self._hands[name] = asyncio.get_running_loop(), hand
        return hand

    async def _drop(self, name: str) -> None:
        self._hands.pop(name, None)
        admin = await asyncpg.connect(self.server("postgres"))
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await admin.close()


@dataclass(slots=True)
class Kept:
    """The program's connections that are kept with a database, by its name. They belong to the loop they were opened on."""

    _opened: dict[str, Database] = field(default_factory=dict)

    async def open(self, name: str, dsn: str, world: World) -> Database:
        """The database as a program sees it that has just started, on the connections there are."""
        if name not in self._opened or self._opened[name]._pool._closed:
            self._opened[name] = await open_database(dsn, world, unsafe=True)
        one = self._opened[name]
        one._known_accounts.clear()
        return Database(one._pool, world.clock, world.random.uniform, one._known_accounts)

    def sessions(self, name: str) -> list[int]:
        """Their processes. Where somebody still has a connection, all are given up."""
        holders = self._opened[name]._pool._holders if name in self._opened else []
        if any(holder._in_use for holder in holders):
            self.give_up(name)
            return []
        return [holder._con.get_server_pid() for holder in holders if holder._con is not None and not holder._con.is_closed()]

    def give_up(self, name: str) -> None:
        if name in self._opened:
            self._opened.pop(name)._pool.terminate()

    def close(self) -> None:
        for name in list(self._opened):
            self.give_up(name)
