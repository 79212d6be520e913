"""Migrations: forward only, checksummed, one at a time. Lives here: the runner and who owns what; the SQL is in `migrations/`.

Two roles from the first day: `disburse_owner` owns the tables and runs these; `disburse_app` is what the program runs as.
Both are made when they are missing and the connecting user may make roles.
"""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import asyncpg

from disburse.storage.sessions import connect

_LOCK = 7_240_613_901  # any number, the same in every process of the house
_PARTITIONED = "/* PARTITION BY HASH (shard) */"


class MigrationRefused(Exception):
    """The database is not what these migrations left."""


@dataclass(frozen=True, slots=True)
class Migration:
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


def migrations() -> list[Migration]:
    """All migrations of this version, in order."""
    folder = files("disburse.storage") / "migrations"
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return [Migration(name, (folder / name).read_text(encoding="utf-8")) for name in names]


SILENT_MS = 5000
"""The server ends a starter that says nothing for so long: frozen or cut off, it would keep its lock, and every other one out."""


async def _starter(dsn: str) -> Any:
    ends = {name: str(SILENT_MS) for name in ("idle_session_timeout", "idle_in_transaction_session_timeout")}
    return await connect(dsn, server_settings={"jit": "off", **ends})


async def migrate(dsn: str, *, partitions: int = 0) -> list[str]:
    """Bring the database to this version; returns the names of what was applied. `partitions` is for tests of sharding.

    Raises MigrationRefused when an applied migration is unknown here or was changed since.
    """
    connection = await _starter(dsn)
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
        await _make_roles(connection)
        await connection.execute("SET ROLE disburse_owner")
        await connection.execute("SET search_path = disburse")
        return await _apply(connection, partitions)
    finally:
        await connection.close()


async def make_database(dsn: str, name: str) -> None:
    """Make a database on the server behind `dsn`, when it is not there."""
    connection = await connect(dsn)
    try:
        if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", name):
            with contextlib.suppress(asyncpg.exceptions.DuplicateDatabaseError, asyncpg.exceptions.UniqueViolationError):
                await connection.execute(f"CREATE DATABASE {name}")
    finally:
        await connection.close()


async def pending(connection: Any) -> list[str]:
    """Names of migrations that the database still lacks; all of them when it has none of ours."""
    if await connection.fetchval("SELECT to_regclass('disburse.schema_migrations')") is None:
        return [migration.name for migration in migrations()]
    done = {row["name"] for row in await connection.fetch("SELECT name FROM disburse.schema_migrations ORDER BY name")}
    return [migration.name for migration in migrations() if migration.name not in done]


async def _make_roles(connection: Any) -> None:
    for role in ("disburse_owner", "disburse_app"):
        if not await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", role):
            # another database of the same server may be migrated at the same moment
            with contextlib.suppress(asyncpg.exceptions.DuplicateObjectError, asyncpg.exceptions.UniqueViolationError):
                await connection.execute(f"CREATE ROLE {role} NOLOGIN")
        if not await connection.fetchval("SELECT pg_has_role(current_user, $1, 'MEMBER')", role):
            await connection.execute(f"GRANT {role} TO CURRENT_USER")
    if not await connection.fetchval("SELECT 1 FROM pg_namespace WHERE nspname = 'disburse'"):
        await connection.execute("CREATE SCHEMA disburse AUTHORIZATION disburse_owner")
    await connection.execute("GRANT USAGE ON SCHEMA disburse TO disburse_app")


async def _apply(connection: Any, partitions: int) -> list[str]:
    await connection.execute(
        "CREATE TABLE IF NOT EXISTS schema_migrations (name text PRIMARY KEY, checksum text NOT NULL)"
    )
    done = {row["name"]: row["checksum"] for row in await connection.fetch("SELECT name, checksum FROM schema_migrations")}
    known = migrations()
    strangers = sorted(set(done) - {migration.name for migration in known})
    if strangers:
        raise MigrationRefused(f"The database was made by a newer version (migration {strangers[0]}). Install that version.")
    applied = []
    for migration in known:
        if migration.name in done:
            if done[migration.name] != migration.checksum:
                raise MigrationRefused(f"Migration {migration.name} is not the one that made this database.")
            continue
        async with connection.transaction():
            await connection.execute(_partition(migration.sql, partitions) if partitions else migration.sql)
            await connection.execute(
                "INSERT INTO schema_migrations (name, checksum) VALUES ($1, $2)", migration.name, migration.checksum
            )
        applied.append(migration.name)
    return applied


def _partition(sql: str, count: int) -> str:
    """The same tables, split by hash of shard: what a cluster would hold, for tests."""
    statements = []
    bare = "\n".join(line.split("--", 1)[0] for line in sql.splitlines())
    for statement in bare.split(";"):
        if _PARTITIONED in statement:
            table = statement.split("CREATE TABLE", 1)[1].split("(", 1)[0].strip()
            statements.append(statement.replace(_PARTITIONED, "PARTITION BY HASH (shard)"))
            statements += [
                f"CREATE TABLE {table}_{n} PARTITION OF {table} FOR VALUES WITH (MODULUS {count}, REMAINDER {n})"
                for n in range(count)
            ]
        elif "fillfactor" not in statement:  # a setting of tables that hold rows themselves
            statements.append(statement)
    return ";\n".join(statements)
