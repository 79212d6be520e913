"""What all workers know of each provider, in PostgreSQL: breaker, rate, balance. SQL only; what follows from it is the domain's.

A few rows that belong to no merchant and no bucket. Each transaction here changes one connector's row, guarded by what was
read of it, and takes no merchant's lock: so nothing waits for it and it waits for nothing. False or None means that
another worker was quicker: read again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from disburse.domain.breaker import Breaker, BreakerState, new_breaker
from disburse.storage.database import Transaction

_COLUMNS = """connector, version, breaker, changed_at, window_from, generation, good, bad, openings, retry_at, trial_by, trial_until,
    last_fault, last_fault_at, tokens_free_at, balance_turn_at, balance_fault"""


@dataclass(frozen=True, slots=True)
class ConnectorRow:
    """One connector's row. `version` guards the breaker, `tokens_free_at` the rate, `balance_turn_at` the asking."""

    connector: str
    version: int
    breaker: Breaker
    last_fault: str | None = None
    last_fault_at: datetime | None = None
    tokens_free_at: datetime | None = None
    balance_turn_at: datetime | None = None
    balance_fault: str | None = None


@dataclass(frozen=True, slots=True)
class BalanceRow:
    """What a provider said it holds for us in one currency, and when it was asked."""

    connector: str
    currency: str
    balance_minor: int
    asked_at: datetime


async def read(tx: Transaction) -> dict[str, ConnectorRow]:
    """Every connector's row, by name."""
    rows = await tx.fetch(f"SELECT {_COLUMNS} FROM connector_facts ORDER BY connector")
    return {
        row[0]: ConnectorRow(
            row[0],
            row[1],
            Breaker(BreakerState(row[2]), row[3], row[4], row[5], row[6], row[7], row[8], row[9], row[10], row[11]),
            *row[12:],
        )
        for row in rows
    }


async def balances(tx: Transaction) -> list[BalanceRow]:
    """What every provider said it holds."""
    rows = await tx.fetch(
        "SELECT connector, currency, balance_minor, asked_at FROM connector_balances ORDER BY connector, currency"
    )
    return [BalanceRow(*row) for row in rows]


async def make(tx: Transaction, connector: str, now: datetime) -> ConnectorRow:
    """A row for a connector that has none, its breaker closed; the one that is there if another worker was quicker."""
    fresh = new_breaker(now)
    await tx.execute(
        """INSERT INTO connector_facts (connector, breaker, changed_at, window_from, generation, good, bad, openings)
           VALUES ($1, $2, $3, $3, 0, 0, 0, 0) ON CONFLICT DO NOTHING""",
        connector,
        fresh.state,
        now,
    )
    return (await read(tx))[connector]


async def save_breaker(
    tx: Transaction, row: ConnectorRow, breaker: Breaker, fault: tuple[str, datetime] | None
) -> bool:
    """Store a breaker if nobody changed it since `row` was read. `fault`: the last thing that went wrong, and when."""
    done = await tx.fetchval(
        """UPDATE connector_facts SET version = version + 1, breaker = $3, changed_at = $4, window_from = $5, generation = $6,
               good = $7, bad = $8, openings = $9, retry_at = $10, trial_by = $11, trial_until = $12,
               last_fault = coalesce($13, last_fault), last_fault_at = coalesce($14, last_fault_at)
           WHERE connector = $1 AND version = $2 RETURNING true""",
        row.connector, row.version, breaker.state, breaker.changed_at, breaker.window_from, breaker.generation, breaker.good,
        breaker.bad, breaker.openings, breaker.retry_at, breaker.trial_by, breaker.trial_until,
        fault[0] if fault else None, fault[1] if fault else None,
    )  # fmt: skip
    return done is True


async def save_tokens(tx: Transaction, row: ConnectorRow, free_at: datetime) -> bool:
    """Store up to when a connector's tokens are given away, if nobody took any since `row` was read."""
    done = await tx.fetchval(
        """UPDATE connector_facts SET tokens_free_at = $3
           WHERE connector = $1 AND tokens_free_at IS NOT DISTINCT FROM $2 RETURNING true""",
        row.connector,
        row.tokens_free_at,
        free_at,
    )
    return done is True


async def save_turn(tx: Transaction, row: ConnectorRow, at: datetime) -> bool:
    """Take the turn to ask a provider for its balance, if nobody took it since `row` was read."""
    done = await tx.fetchval(
        """UPDATE connector_facts SET balance_turn_at = $3
           WHERE connector = $1 AND balance_turn_at IS NOT DISTINCT FROM $2 RETURNING true""",
        row.connector,
        row.balance_turn_at,
        at,
    )
    return done is True


async def save_balances(
    tx: Transaction, connector: str, found: Sequence[tuple[str, int]], at: datetime, fault: str | None
) -> None:
    """Store what a provider said it holds, by currency in minor units; or, with `fault`, why it said nothing."""
    await tx.execute("UPDATE connector_facts SET balance_fault = $2 WHERE connector = $1", connector, fault)
    if found:
        await tx.execute(
            """INSERT INTO connector_balances (connector, currency, balance_minor, asked_at)
               SELECT $1, d.currency, d.minor, $4 FROM unnest($2::text[], $3::int8[]) AS d (currency, minor)
               ON CONFLICT (connector, currency) DO UPDATE
               SET balance_minor = excluded.balance_minor, asked_at = excluded.asked_at""",
            connector,
            [currency for currency, _ in found],
            [minor for _, minor in found],
            at,
        )
