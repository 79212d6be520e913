"""What a check is and how one is put to a snapshot. Read `verify.py` first: it has the table of all checks.

Lives here: `Check`, `look` and the settings of a transaction that reads whole tables. May not: anything that writes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg

from disburse.storage.database import Transaction

EXAMPLES = 5
"""So many offending rows are shown; all are counted."""

_WHOLE_TABLES = {
    # Whole tables are read and what the planner believes of them may be stale: a loop over a "few" rows could take hours.
    "enable_nestloop": "off",
    "random_page_cost": "4",
    "work_mem": "'96MB'",
    "idle_in_transaction_session_timeout": "600000",  # a long book may be read in between
}


@dataclass(frozen=True, slots=True)
class Check:
    """One invariant. `sentence` says what is true while it holds; `sql` yields a row for each breach, `values` are its arguments."""

    name: str
    sentence: str
    sql: str
    values: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Broken:
    """How many rows break a check, and some of them in words. Ids and figures only: nothing of a payee is ever shown."""

    count: int
    examples: tuple[str, ...]


async def prepare(tx: Transaction) -> None:
    """Let this snapshot's transaction plan for whole tables."""
    for name, value in _WHOLE_TABLES.items():
        await tx.execute(f"SET LOCAL {name} = {value}")


async def look(tx: Transaction, check: Check) -> Broken | None:
    """Put one check to the snapshot; None when it holds. A check that cannot be put at all (a table is gone) is broken."""
    sql = f"SELECT count(*) OVER () AS rows_in_all, broken.* FROM ({check.sql}) AS broken ORDER BY broken LIMIT {EXAMPLES}"
    try:
        async with tx.connection.transaction():
            rows = await tx.fetch(sql, *check.values)
    except asyncpg.exceptions.SyntaxOrAccessError as fault:
        return Broken(1, (f"cannot be checked: {fault.args[0]}",))
    if not rows:
        return None
    return Broken(rows[0]["rows_in_all"], tuple(_in_words(row) for row in rows))


def _in_words(row: asyncpg.Record) -> str:
    """A row as `merchant=1 account=held balance=100`."""
    return " ".join(f"{name}={_word(value)}" for name, value in list(row.items())[1:])


def _word(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, str | int | UUID):
        return str(value)
    return f"{value:f}" if hasattr(value, "as_tuple") else str(value)


def gapless(table: str, counter: str) -> str:
    """Numbers of a merchant's rows: 1, 2, 3 … up to the counter on the merchant's own row."""
    return f"""
        SELECT merchant_id AS merchant, 'number' AS what, number AS found, before + 1 AS expected
        FROM (SELECT merchant_id, number,
                     lag(number, 1, 0::bigint) OVER (PARTITION BY shard, merchant_id ORDER BY number) AS before
              FROM {table}) AS numbered
        WHERE number <> before + 1
        UNION ALL
        SELECT merchant_id, 'counter', m.{counter}, coalesce(used.last, 0)
        FROM merchants m FULL JOIN (SELECT shard, merchant_id, max(number) AS last FROM {table} GROUP BY 1, 2) AS used
             USING (shard, merchant_id)
        WHERE m.{counter} IS DISTINCT FROM coalesce(used.last, 0)"""


async def sizes(tx: Transaction) -> dict[str, int]:
    """How much there is to look at: rows of the tables a person asks about."""
    row = await tx.fetchrow(
        """SELECT (SELECT count(*) FROM merchants) AS merchants, (SELECT count(*) FROM payouts) AS payouts,
                  (SELECT count(*) FROM postings) AS postings, (SELECT count(*) FROM events) AS events,
                  (SELECT count(*) FROM payouts WHERE frozen IS NOT NULL) AS frozen"""
    )
    if row is None:
        raise AssertionError("a query of counts returned nothing")
    return dict(row)
