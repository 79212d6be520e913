"""Databases of tests: cloned from the migrated template, emptied after a test and lent again. No fixtures live here.

Making and dropping a database costs PostgreSQL a third of a second of two cores; emptying one costs some milliseconds.
A database whose tables, triggers or functions a test changed is dropped instead.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field

import asyncpg

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
    _made: int = 0
    _shape: str = ""
    _empty: str = ""

    async def lend(self) -> str:
        if not self._free:
            self._free.append(await self._make())
        name = self._free.pop()
        self._lent[name] = self._lent.get(name, 0) + 1
        return name

    async def take_back(self, name: str) -> None:
        if self._lent[name] < LENDINGS and await self._emptied(name):
            self._free.append(name)
        else:
            await self._drop(name)

    async def close(self) -> None:
        """Drop what is left."""
        while self._free:
            await self._drop(self._free.pop())

    async def _make(self) -> str:
        self._made += 1
        name = f"disburse_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}_{os.getpid()}_{self._made}"
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

    async def _emptied(self, name: str) -> bool:
        """Whether the database is as it was made, after the test's own connections were cut and its rows deleted."""
        used = await asyncpg.connect(self.server(name), server_settings={"jit": "off"})
        try:
            await used.fetch(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()"
                " AND backend_type = 'client backend'",
                name,
            )
            if await used.fetchval(_SHAPE) != self._shape:
                return False
            await used.execute(self._empty)
            return True
        finally:
            await used.close()

    async def _drop(self, name: str) -> None:
        admin = await asyncpg.connect(self.server("postgres"))
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await admin.close()
