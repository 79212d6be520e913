"""Migrations on real PostgreSQL: forward only, each once, the right ones, whoever runs them and however many at once."""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from disburse.operations.secrets import digest
from disburse.storage import migrate as module
from disburse.storage.migrate import Migration, MigrationRefused, make_database, migrate, migrations, pending

_numbers = itertools.count(1)
NAMES = [one.name for one in migrations()]

PROCESS = """
import asyncio, sys
from disburse.storage.migrate import migrate
print(*asyncio.run(migrate(sys.stdin.readline().strip())))
"""


@pytest.fixture
async def empty(server: Callable[[str], str]) -> AsyncIterator[str]:
    """The superuser's URL of a database in which nothing of ours is."""
    name = f"disburse_empty_{next(_numbers)}"
    admin = await asyncpg.connect(server("postgres"))
    await admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    await admin.execute(f"CREATE DATABASE {name}")
    try:
        yield server(name)
    finally:
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await admin.close()


async def ask(dsn: str, sql: str, *values: Any) -> Any:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(sql, *values)
    finally:
        await connection.close()


async def waiting_for(dsn: str) -> list[str]:
    connection = await asyncpg.connect(dsn)
    try:
        return await pending(connection)
    finally:
        await connection.close()


async def test_each_is_applied_once(empty: str) -> None:
    """An empty database is brought to this version in order; running again does nothing; what is missing can be asked."""
    assert sorted(NAMES) == NAMES and len(set(NAMES)) == len(NAMES)
    assert await waiting_for(empty) == NAMES
    assert await migrate(empty) == NAMES
    assert await migrate(empty) == [] == await waiting_for(empty)
    stored = await ask(empty, "SELECT array_agg(name || ' ' || checksum ORDER BY name) FROM disburse.schema_migrations")
    assert stored == [f"{one.name} {one.checksum}" for one in migrations()]


async def test_what_is_missing_is_applied_on_top(empty: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database of an older version gets exactly the migrations it lacks."""
    added = Migration("9999_later.sql", "CREATE TABLE later (x integer); INSERT INTO later VALUES (7);")
    real = migrations()
    await migrate(empty)
    monkeypatch.setattr(module, "migrations", lambda: [*real, added])
    assert await waiting_for(empty) == ["9999_later.sql"]
    assert await migrate(empty) == ["9999_later.sql"]
    assert await ask(empty, "SELECT x FROM disburse.later") == 7


async def test_a_changed_migration_is_refused(empty: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A migration that is not the one that made the database is refused by name, and nothing is applied."""
    await migrate(empty)
    first, *rest = migrations()
    changed = Migration(first.name, first.sql + "\n-- a harmless comment")
    later = Migration("9999_later.sql", "CREATE TABLE later (x integer)")
    monkeypatch.setattr(module, "migrations", lambda: [changed, *rest, later])
    with pytest.raises(MigrationRefused, match=first.name):
        await migrate(empty)
    assert await ask(empty, "SELECT to_regclass('disburse.later')") is None


async def test_a_newer_database_is_refused(empty: str) -> None:
    """A database that a later version has migrated is left alone."""
    await migrate(empty)
    await ask(empty, "INSERT INTO disburse.schema_migrations VALUES ('9999_from_the_future.sql', 'x') RETURNING 1")
    with pytest.raises(MigrationRefused, match=r"newer version .*9999_from_the_future\.sql"):
        await migrate(empty)


async def test_a_migration_that_fails_leaves_nothing(empty: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A migration is all or nothing, those before it stay, and after it is mended the next run goes on from there."""
    broken = Migration("9998_broken.sql", "CREATE TABLE half (x integer); SELECT 1 / 0;")
    after = Migration("9999_after.sql", "CREATE TABLE after_it (x integer)")
    real = migrations()
    monkeypatch.setattr(module, "migrations", lambda: [*real, broken, after])
    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(empty)
    assert await ask(empty, "SELECT to_regclass('disburse.half')") is None
    assert await waiting_for(empty) == ["9998_broken.sql", "9999_after.sql"]
    mended = Migration("9998_broken.sql", "CREATE TABLE half (x integer)")
    monkeypatch.setattr(module, "migrations", lambda: [*real, mended, after])
    assert await migrate(empty) == ["9998_broken.sql", "9999_after.sql"]


MADE = """
INSERT INTO evidence (shard, end_to_end_id, digest, merchant_id, payout_id, attempt, connector, kind, verdict, detail, effect,
    heard_at, actor)
SELECT 0, n::text, '\\x00', 1, uuid_in(md5(n::text)::cstring), 1 + n % 2, connector, 'answer', verdict, detail, 'nothing',
    timestamptz 'epoch' - n * interval '1 s', 'worker:w'
FROM (VALUES (1, 'im', 'Made', 'a'), (2, 'im', 'Made', 'b'), (3, 'im', 'Made', 'b'), (4, 'other', 'Made', 'a'),
    (5, 'bank', 'Settled', 'c')) AS e (n, connector, verdict, detail)
"""


async def test_operations_are_carried_over(empty: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What two-step attempts remembered before there was a table of it is their own after; of two with one, the first's."""
    real = migrations()
    monkeypatch.setattr(module, "migrations", lambda: real[:4])
    await migrate(empty)
    connection = await asyncpg.connect(empty, server_settings={"search_path": "disburse"})
    await connection.execute(MADE)
    monkeypatch.setattr(module, "migrations", lambda: real)
    assert (await migrate(empty))[0] == "0005_one_attempt_an_operation.sql"
    rows = await connection.fetch("SELECT connector, reference, payout_id, number FROM provider_operations ORDER BY 1, 2")
    payouts = await connection.fetch("SELECT uuid_in(md5(n::text)::cstring) FROM generate_series(1, 5) AS n")
    await connection.close()
    assert [tuple(row) for row in rows] == [
        ("im", "a", payouts[0][0], 2), ("im", "b", payouts[2][0], 2), ("other", "a", payouts[3][0], 1),
    ]  # fmt: skip


async def test_keys_are_carried_over(empty: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A merchant that was there before keys were rows of their own is known by its key after, and the key has the id that a new one has."""
    real = migrations()
    monkeypatch.setattr(module, "migrations", lambda: [one for one in real if one.name < "0011"])
    await migrate(empty)
    connection = await asyncpg.connect(empty, server_settings={"search_path": "disburse"})
    named = "shard, merchant_id, name, login, project_id, password_digest, unitpay_key_digest, unitpay_test_key_digest, bearer_digest, api_key_digest"
    await connection.execute(
        f"""INSERT INTO merchant_settings ({named}, sign_key_sealed, created_at, actor)
            SELECT 3, n, 'm', n::text, n, '', '', '', '', sha256(n::text::bytea), '', 'epoch', 'cli' FROM generate_series(1, 2) AS n"""
    )
    monkeypatch.setattr(module, "migrations", lambda: real)
    assert "0011_keys_and_payees.sql" in await migrate(empty)
    rows = await connection.fetch("SELECT shard, merchant_id, name, key_id, key_digest, ends_at FROM api_keys ORDER BY merchant_id")
    await connection.close()
    assert [tuple(row) for row in rows] == [
        (3, n, "first", UUID(bytes=digest(f"api key {n}")[:16]), digest(str(n)), None) for n in (1, 2)
    ]


async def test_many_at_once(empty: str) -> None:
    """However many start together on an empty database, each migration is applied by one of them."""
    applied = await asyncio.gather(*[migrate(empty) for _ in range(5)])
    assert sorted(name for names in applied for name in names) == NAMES
    assert sum(bool(names) for names in applied) == 1


async def test_two_processes_at_once(empty: str) -> None:
    """Two processes, on one database, do not get into each other's way."""
    pipe = asyncio.subprocess.PIPE
    both = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", PROCESS, stdin=pipe, stdout=pipe, stderr=pipe)
        for _ in range(2)
    ]
    async with asyncio.timeout(60):
        told = await asyncio.gather(*[one.communicate(empty.encode() + b"\n") for one in both])
    assert [one.returncode for one in both] == [0, 0], told
    assert sorted(out.decode().split() for out, _ in told) == [[], NAMES]


async def test_databases_of_one_server_at_once(server: Callable[[str], str]) -> None:
    """Two databases of one server may be made and migrated at the same moment, although roles belong to both."""
    names = [f"disburse_beside_{n}" for n in range(3)]
    admin = await asyncpg.connect(server("postgres"))
    try:
        await asyncio.gather(*[make_database(server("postgres"), name) for name in names * 2])
        assert await asyncio.gather(*[migrate(server(name)) for name in names]) == [NAMES] * 3
    finally:
        for name in names:
            await admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        await admin.close()


async def test_the_tables_are_empty_and_measured(empty: str) -> None:
    """Migrated, nothing is in the tables but what describes them, and the planner knows what to expect of each hot one."""
    await migrate(empty)
    connection = await asyncpg.connect(empty)
    tables = [row[0] for row in await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'disburse'")]
    for table in set(tables) - {"schema_migrations"}:
        assert await connection.fetchval(f"SELECT count(*) FROM disburse.{table}") in (0, None), table
    measured = {row[0] for row in await connection.fetch("SELECT DISTINCT tablename FROM pg_stats WHERE schemaname = 'disburse'")}
    await connection.close()
    assert measured >= {"merchants", "payouts", "attempts", "postings", "balances", "events", "evidence"}


def test_nothing_goes_backwards() -> None:
    """Migrations are numbered from one without a gap, and each tells its purpose in its name."""
    assert [int(name[:4]) for name in NAMES] == list(range(1, len(NAMES) + 1))
    assert all(len(name) > len("0001_.sql") and name.endswith(".sql") for name in NAMES)


async def test_a_starter_that_fell_silent_keeps_nobody_out(empty: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that was frozen or cut off while it held the migrations' lock is ended by the server, and the next one goes on."""
    monkeypatch.setattr(module, "SILENT_MS", 300)
    silent = await module._starter(empty)
    await silent.execute("SELECT pg_advisory_lock($1)", module._LOCK)
    async with asyncio.timeout(30):
        assert await migrate(empty) == NAMES
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)):
        await silent.execute("SELECT 1")
