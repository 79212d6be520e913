"""Registries at work: who holds one, its next rows, how its payouts stand, and what broken plans left. SQL only; what is done with them is
`operations/registry_apply.py`'s, `operations/registry_work.py`'s and `operations/registry_left.py`'s.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from disburse.domain.registry_states import RegistryState
from disburse.storage.database import Transaction
from disburse.storage.registries import COLUMNS, Registry, registry_of


class ToPay(NamedTuple):
    """A good row, as its payout is made of it."""

    number: int
    reference: str | None
    rail: str
    currency: str
    amount_minor: int
    fee_minor: int
    amount_text: str
    display: str
    comment: str | None
    payout_id: UUID
    base: str
    fingerprint: bytes
    destination_digest: bytes
    sealed: bytes
    execute_at: datetime | None


_TO_PAY = ", ".join(ToPay._fields)


async def at_work(tx: Transaction, shard: int, limit: int) -> list[Registry]:
    """Registries that are to begin, or under way."""
    rows = await tx.fetch(
        f"""SELECT {COLUMNS} FROM registries r WHERE r.shard = $1 AND r.state IN ('approved', 'executing')
            ORDER BY r.registry_id LIMIT $2""",
        shard,
        limit,
    )
    return [registry_of(row) for row in rows]


async def take(tx: Transaction, shard: int, registry: UUID, owner: str, lease_s: float) -> bool:
    """Take or renew the lease on a registry's work; False while another has it. By the database's clock."""
    now = await tx.database_now()
    taken = await tx.fetchval(
        """UPDATE registries SET owner = $3, lease_until = $5
           WHERE shard = $1 AND registry_id = $2 AND state IN ('approved', 'executing')
               AND (owner = $3 OR lease_until IS NULL OR lease_until < $4) RETURNING 1""",
        shard, registry, owner, now, now + timedelta(seconds=lease_s),
    )  # fmt: skip
    return taken is not None


async def let_go(tx: Transaction, shard: int, registry: UUID, owner: str) -> None:
    """Give the lease back."""
    await tx.execute(
        "UPDATE registries SET owner = NULL, lease_until = NULL WHERE shard = $1 AND registry_id = $2 AND owner = $3", shard, registry, owner
    )


async def say_waits(tx: Transaction, shard: int, registry: UUID, waits: str | None) -> None:
    """Say what stops a registry now."""
    await tx.execute(
        "UPDATE registries SET waits = $3 WHERE shard = $1 AND registry_id = $2 AND waits IS DISTINCT FROM $3", shard, registry, waits
    )


async def to_pay(tx: Transaction, shard: int, registry: UUID, after: int, limit: int) -> list[ToPay]:
    """Good rows after a number, in order."""
    rows = await tx.fetch(
        f"""SELECT {_TO_PAY} FROM registry_rows
            WHERE shard = $1 AND registry_id = $2 AND number > $3 AND verdict = 'good' ORDER BY number LIMIT $4""",
        shard, registry, after, limit,
    )  # fmt: skip
    return [ToPay(*row) for row in rows]


async def look_over(tx: Transaction, shard: int, registry: UUID, after_chunk: int, chunks: int) -> int | None:
    """Ask the payouts of some chunks that are not over how they stand, and store it: the last of them, None when there was none.

    A chunk is over once each of its good rows that was applied has a final payout or a fate, and the registry has no row of it left.
    """
    last: int | None = await tx.fetchval(
        """WITH r AS MATERIALIZED (
               SELECT applied_to, given_up, good - made - found - refused - given_up = 0 AS done FROM registries
               WHERE shard = $1 AND registry_id = $2),
           wanted AS MATERIALIZED (
               SELECT c.chunk, c.first_row, c.last_row FROM registry_chunks c, r
               WHERE c.shard = $1 AND c.registry_id = $2 AND c.chunk > $3 AND NOT c.over
                   AND (c.first_row <= r.applied_to OR r.done) ORDER BY c.chunk LIMIT $4),
           told AS (
               SELECT s.chunk, s.last_row, count(p.payout_id) FILTER (WHERE p.state IN ('paid', 'returned')) AS paid,
                   count(p.payout_id) FILTER (WHERE p.state = 'failed') AS failed,
                   count(p.payout_id) FILTER (WHERE p.state IN ('cancelled', 'expired')) AS ended,
                   count(p.payout_id) FILTER (WHERE p.state NOT IN ('paid', 'returned', 'failed', 'cancelled', 'expired')) AS open
               FROM wanted s
               LEFT JOIN LATERAL (
                   SELECT pay.payout_id, pay.state FROM registry_rows g
                   LEFT JOIN registry_fates f ON f.shard = $1 AND f.registry_id = $2 AND f.number = g.number
                   JOIN payouts pay ON pay.shard = $1
                       AND pay.payout_id = CASE WHEN f.number IS NULL THEN g.payout_id WHEN f.fate = 'found' THEN f.payout_id END
                   WHERE g.shard = $1 AND g.registry_id = $2 AND g.number BETWEEN s.first_row AND s.last_row
                       AND g.verdict = 'good' AND g.number <= (SELECT applied_to FROM r)) AS p ON true
               GROUP BY s.chunk, s.last_row),
           done AS (
           UPDATE registry_chunks c SET paid = told.paid, failed = told.failed, ended = told.ended, open = told.open,
               over = told.open = 0 AND (told.last_row <= (SELECT applied_to FROM r) OR (SELECT done FROM r))
           FROM told WHERE c.shard = $1 AND c.registry_id = $2 AND c.chunk = told.chunk RETURNING c.chunk)
           SELECT max(chunk) FROM done""",
        shard, registry, after_chunk, chunks,
    )  # fmt: skip
    return last


async def all_over(tx: Transaction, shard: int, registry: UUID) -> bool:
    """Whether every chunk of a registry is over."""
    return bool(
        await tx.fetchval(
            "SELECT NOT EXISTS (SELECT FROM registry_chunks WHERE shard = $1 AND registry_id = $2 AND NOT over)", shard, registry
        )
    )


# --- plans that broke off ------------------------------------------------------------------------------------------------


async def broken_off(tx: Transaction, shard: int, silent: timedelta, limit: int) -> list[Registry]:
    """Registries whose planning is not believed to go on any more. `silent`: so long is believed of one that was begun by an older version."""
    now = await tx.database_now()
    rows = await tx.fetch(
        f"""SELECT {COLUMNS} FROM registries r WHERE r.shard = $1 AND r.digest IS NULL AND NOT r.forgotten AND r.state = 'uploaded'
               AND coalesce(r.lease_until < $2, r.created_at < $3) ORDER BY r.registry_id LIMIT $4""",
        shard, now, now - silent, limit,
    )  # fmt: skip
    return [registry_of(row) for row in rows]


async def cancel_uploaded(
    tx: Transaction, shard: int, registry: UUID, state: RegistryState, at: datetime, silent: timedelta | None
) -> bool:
    """Let a registry without a plan end in `state`; False where it has one by now. With `silent`, only where `broken_off` would find it."""
    now = await tx.database_now()
    done = await tx.fetchval(
        """UPDATE registries SET state = $3, updated_at = $4, lease_until = NULL WHERE shard = $1 AND registry_id = $2 AND state = 'uploaded'
               AND ($5::timestamptz IS NULL OR coalesce(lease_until < $6, created_at < $5)) RETURNING 1""",
        shard, registry, state, at, now - silent if silent is not None else None, now,
    )  # fmt: skip
    return done is not None


async def to_forget(tx: Transaction, shard: int) -> UUID | None:
    """A registry that was cancelled before it had a plan and may have rows left."""
    found: UUID | None = await tx.fetchval(
        """SELECT registry_id FROM registries WHERE shard = $1 AND digest IS NULL AND NOT forgotten AND state = 'cancelled'
           ORDER BY registry_id LIMIT 1""",
        shard,
    )
    return found


async def forget_rows(tx: Transaction, shard: int, registry: UUID, most: int) -> int:
    """Forget some rows of a registry that was cancelled before it had a plan, with their names and pieces; how many."""
    gone: int = await tx.fetchval("SELECT forget_unplanned($1, $2, $3)", shard, registry, most)
    return gone


async def nothing_left(tx: Transaction, shard: int, registry: UUID) -> None:
    """Say that no row of such a registry is left."""
    await tx.execute(
        "UPDATE registries SET forgotten = true WHERE shard = $1 AND registry_id = $2 AND state = 'cancelled' AND digest IS NULL", shard, registry
    )
