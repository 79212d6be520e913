"""Two roles and the shape of the tables: what the program itself cannot do, whoever makes it try; and what a cluster needs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import asyncpg
import pytest

from disburse.domain.outcomes import Settled
from disburse.domain.policies import Policy
from disburse.operations import keyed
from disburse.operations.awaiting import ENDS
from disburse.operations.keyed import CreateOnce, RequestName
from disburse.operations.policies import Answered, Say, payout_digest, say
from disburse.operations.two_steps import Remembered
from disburse.storage.database import Database
from disburse.storage.migrate import migrate, migrations
from tests.operations.persons import Persons
from tests.operations.ruled import rule
from tests.operations.shop import Shop

APPEND_ONLY = ("postings", "events", "evidence", "requests", "decisions", "provider_operations", "idempotency_keys", "approval_needs", "approvals")
NEVER_DELETED = ("installation", "merchants", "merchant_settings", "payouts", "attempts", "balances", "top_ups", "mismatches", "limit_uses",
                 "schedules", "limit_counters")  # fmt: skip
NO_MERCHANT = {"installation", "operators", "workers", "schema_migrations", "connector_facts", "connector_balances"}
"""Tables of the installation, not of any merchant: they take no part in moving money."""
OF_PROVIDERS = {"provider_operations"}
"""Tables that hold what must be unique at a provider, whichever buckets are served: they can have no bucket."""
FOUND_BY_HASH = {"lookups", "tokens"}
"""Tables whose bucket is a hash of what is asked by."""


@pytest.fixture
async def lived(shop: Shop) -> Shop:
    """A shop in which each table of the books has a row."""
    await shop.merchant(1, money=5000)
    await shop.settled(1, fee=10)
    opened = await shop.opened(await shop.paid_out(1))
    assert await shop.remember(shop.remembering(opened, "operation-1")) == [Remembered.KEPT]
    once = CreateOnce(shop.draft(1, "r", surface="own"), RequestName(b"key", b"content"))
    await shop.write(lambda tx: keyed.create(tx, 0, [once]))
    persons = await Persons(shop).come()
    await persons.agree(persons.withdraw(1, 100, "w"))
    await rule(shop, await shop.merchant(2, money=5000), policies=[Policy("any", "RUB", 1, 2)])
    waits = await shop.paid_out(2)
    word = Say(waits.payout_id, payout_digest(waits, None), True, "", shop.now(), "operator:1")
    assert isinstance(await shop.database.run(lambda tx: say(tx, 0, word, ENDS)), Answered)
    return shop


async def refused(database: Database, sql: str) -> str:
    """The name of the fault with which PostgreSQL refuses a statement of the program's."""
    with pytest.raises(asyncpg.PostgresError) as told:
        await database.run(lambda tx: tx.execute(sql))
    return type(told.value).__name__


REWRITING = [
    "UPDATE {} SET actor = 'x'", "DELETE FROM {}", "TRUNCATE {}", "DROP TABLE {}", "ALTER TABLE {} DISABLE TRIGGER ALL",
    "ALTER TABLE {} ADD COLUMN x int", "LOCK {} IN EXCLUSIVE MODE", "SELECT * FROM {} FOR UPDATE",
    "CREATE TRIGGER t BEFORE UPDATE ON {} EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "CREATE RULE r AS ON INSERT TO {} DO INSTEAD NOTHING",
    "MERGE INTO {} USING (SELECT 1) AS s ON true WHEN MATCHED THEN DELETE",
]  # fmt: skip


@pytest.mark.parametrize("table", APPEND_ONLY)
async def test_what_happened_cannot_be_rewritten(lived: Shop, table: str) -> None:
    """Postings, events and evidence can be added to and read, and nothing else (L5)."""
    before = await lived.rows(f"SELECT * FROM {table}")
    assert before
    for statement in REWRITING:
        assert await refused(lived.database, statement.format(table)) == "InsufficientPrivilegeError", statement
    assert await lived.rows(f"SELECT * FROM {table}") == before


@pytest.mark.parametrize("statement", ["GRANT UPDATE ON postings TO disburse_app", "GRANT ALL ON ALL TABLES IN SCHEMA disburse TO PUBLIC"])
async def test_the_program_grants_itself_nothing(lived: Shop, statement: str) -> None:
    """A grant by the program is refused, or does nothing."""
    with contextlib.suppress(asyncpg.InsufficientPrivilegeError):
        await lived.database.run(lambda tx: tx.execute(statement))
    assert await refused(lived.database, "UPDATE postings SET amount_minor = 1") == "InsufficientPrivilegeError"


async def test_what_moved_money_is_not_deleted(lived: Shop) -> None:
    """Rows that the books stand on are never deleted by the program."""
    for table in NEVER_DELETED:
        for statement in ("DELETE FROM {}", "TRUNCATE {}"):
            assert await refused(lived.database, statement.format(table)) == "InsufficientPrivilegeError", table


OWNERS_WORK = [
    "CREATE TABLE mine (x int)", "DROP TABLE workers", "ALTER TABLE payouts DROP CONSTRAINT one_payout_a_reference",
    "DROP INDEX one_live_attempt", "ALTER TABLE balances DROP CONSTRAINT no_overdraft", "CREATE INDEX i ON payouts (reference)",
    "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'", "ALTER SCHEMA disburse RENAME TO theirs",
    "INSERT INTO schema_migrations VALUES ('9999.sql', 'x')", "UPDATE schema_migrations SET checksum = 'x'",
    "DELETE FROM schema_migrations", "CREATE SCHEMA mine",
]  # fmt: skip


async def test_the_program_does_not_touch_the_schema(database: Database) -> None:
    """Tables, constraints, indexes and the list of migrations are the owner's."""
    for statement in OWNERS_WORK:
        assert await refused(database, statement) == "InsufficientPrivilegeError", statement


async def test_the_owner_owns(dsn: str) -> None:
    """Every table and index belongs to disburse_owner; neither role can log in or is more than itself."""
    admin = await asyncpg.connect(dsn)
    owners = await admin.fetch(
        """SELECT DISTINCT pg_get_userbyid(relowner) FROM pg_class
           WHERE relnamespace = 'disburse'::regnamespace AND relkind IN ('r', 'p', 'i', 'I', 'S', 'v')"""
    )
    roles = await admin.fetch(
        """SELECT rolname, rolcanlogin OR rolsuper OR rolcreaterole OR rolcreatedb OR rolbypassrls OR rolreplication
           FROM pg_roles WHERE rolname LIKE 'disburse\\_%er' OR rolname = 'disburse_app' ORDER BY 1"""
    )
    member = await admin.fetchval("SELECT pg_has_role('disburse_app', 'disburse_owner', 'MEMBER')")
    await admin.close()
    assert [row[0] for row in owners] == ["disburse_owner"] and member is False
    assert [tuple(row) for row in roles] == [("disburse_app", False), ("disburse_owner", False)]


async def test_nobody_else_reads(dsn: str) -> None:
    """A role that is none of ours has no right to anything in the schema."""
    admin = await asyncpg.connect(dsn)
    open_to_all = await admin.fetch(
        """SELECT c.relname FROM pg_class c, aclexplode(c.relacl) AS a
           WHERE c.relnamespace = 'disburse'::regnamespace AND a.grantee = 0"""
    )
    schema = await admin.fetchval(
        "SELECT count(*) FROM pg_namespace n, aclexplode(n.nspacl) AS a WHERE n.nspname = 'disburse' AND a.grantee = 0"
    )
    await admin.close()
    assert open_to_all == [] and schema == 0


# --- the catalogue ---


async def columns(dsn: str) -> list[Any]:
    admin = await asyncpg.connect(dsn)
    try:
        return list(
            await admin.fetch(
                """SELECT table_name, column_name, data_type, column_default, is_nullable FROM information_schema.columns
                   WHERE table_schema = 'disburse' ORDER BY 1, ordinal_position"""
            )
        )
    finally:
        await admin.close()


async def test_no_column_is_a_fraction_or_draws_its_own_value(dsn: str) -> None:
    """Money is bigint; no float, NUMERIC or money anywhere; times carry a zone; no sequence, clock or random default (L6)."""
    found = await columns(dsn)
    kinds = {row[2] for row in found}
    assert kinds <= {"smallint", "integer", "bigint", "boolean", "text", "uuid", "bytea", "date", "timestamp with time zone"}
    assert {row[2] for row in found if row[1].endswith("_minor")} == {"bigint"}
    defaults = {row[3] for row in found if row[3] is not None}
    assert not any("(" in default for default in defaults), defaults


async def test_every_table_of_a_merchant_begins_with_its_bucket(dsn: str) -> None:
    """`shard` comes first in every primary key, unique constraint and index of a table that takes part in moving money."""
    found = await columns(dsn)
    tables = {row[0] for row in found}
    with_merchant = {row[0] for row in found if row[1] == "merchant_id"} | {"mismatches", "registry_rows", "registry_chunks", "registry_fates", "duplicate_names"}
    assert tables - NO_MERCHANT - OF_PROVIDERS == with_merchant | FOUND_BY_HASH
    admin = await asyncpg.connect(dsn)
    keys = await admin.fetch(
        """SELECT c.relname, i.indexrelid::regclass::text, a.attname, i.indisprimary
           FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = i.indkey[0]
           WHERE c.relnamespace = 'disburse'::regnamespace"""
    )
    await admin.close()
    for table in tables - NO_MERCHANT - OF_PROVIDERS:
        first = [(row[1], row[2]) for row in keys if row[0] == table]
        assert first and all(column == "shard" for _, column in first), table
        assert sum(row[3] for row in keys if row[0] == table) == 1
        assert next(row for row in found if row[0] == table)[1:3] == ("shard", "smallint")
    assert [(row[2], row[3]) for row in keys if row[0] in OF_PROVIDERS] == [("connector", True)]


async def test_no_trigger_sequence_enum_foreign_key_or_function(dsn: str) -> None:
    """Nothing in the schema acts by itself, nothing that a cluster could not distribute is there, and one function acts as the owner, for us alone."""
    admin = await asyncpg.connect(dsn)
    counts = await admin.fetchrow(
        """SELECT (SELECT count(*) FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
                     WHERE c.relnamespace = 'disburse'::regnamespace) AS triggers,
                  (SELECT count(*) FROM pg_class WHERE relnamespace = 'disburse'::regnamespace
                     AND relkind NOT IN ('r', 'i', 't')) AS others,
                  (SELECT count(*) FROM pg_type WHERE typnamespace = 'disburse'::regnamespace AND typtype IN ('e', 'd')) AS types,
                  (SELECT count(*) FROM pg_constraint WHERE connamespace = 'disburse'::regnamespace
                     AND (contype = 'f' OR condeferrable)) AS constraints"""
    )
    functions = await admin.fetch(
        """SELECT proname, pg_get_userbyid(proowner), proacl::text FROM pg_proc WHERE pronamespace = 'disburse'::regnamespace"""
    )
    await admin.close()
    assert counts is not None and set(counts) == {0}
    assert [tuple(row) for row in functions] == [
        ("forget_unplanned", "disburse_owner", "{disburse_owner=X/disburse_owner,disburse_app=X/disburse_owner}")
    ]


async def test_partitioned_tables_are_guarded_alike(server: Callable[[str], str]) -> None:
    """Split by bucket, the tables have the same owner and the same grants, and each partition belongs to the owner alone."""
    name = "disburse_roles_partitioned"
    admin = await asyncpg.connect(server("postgres"))
    await admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    await admin.execute(f"CREATE DATABASE {name}")
    try:
        assert await migrate(server(name), partitions=4) == [one.name for one in migrations()]
        there = await asyncpg.connect(server(name))
        await there.execute("SET ROLE disburse_app; SET search_path = disburse")
        for table in APPEND_ONLY:
            for target in (table,) if table in OF_PROVIDERS else (table, f"{table}_0"):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await there.execute(f"DELETE FROM {target}")
        await there.close()
    finally:
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await admin.close()


async def test_the_books_can_still_be_added_to(lived: Shop) -> None:
    """All this refuses nothing that the program does: a second payout lives like the first."""
    opened = await lived.opened(await lived.paid_out(1))
    assert (await lived.hear_of(opened, Settled("p"))).effect == "paid"
