"""Registries and their rows. SQL only; who may do what is `operations/registries.py`'s and the files' beside it.

Rows and fates are only added to. A registry's place (`applied_to`) and counters are moved by the unit that makes the payouts
(`statement.py`, branch `registry`); its state changes here, under the merchant's lock, guarded by the state that was read.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg

from disburse.domain.registry_states import RegistryState
from disburse.storage.database import Transaction
from disburse.storage.registry_copy import HEADER, NAME_COLUMNS, ROW_COLUMNS, TRAILER

COLUMNS = """r.shard, r.registry_id, r.merchant_id, r.state, r.file_name, r.file_digest, r.file_bytes, r.again, r.only_good, r.rows_read,
    r.good, r.bad, r.held, r.content, r.rows_digest, r.digest, r.plan, r.applied_to, r.made, r.found, r.refused, r.given_up, r.waits,
    r.asked_by, r.created_at, r.updated_at, r.actor"""


@dataclass(frozen=True, slots=True)
class Registry:
    """One registry as it stands; the columns are told in migration 0009."""

    shard: int
    registry_id: UUID
    merchant_id: int
    state: RegistryState
    file_name: str
    file_digest: bytes
    file_bytes: int
    again: bool
    only_good: bool
    rows_read: int
    good: int
    bad: int
    held: int
    content: bytes | None
    rows_digest: bytes | None
    digest: bytes | None
    plan: str | None
    applied_to: int
    made: int
    found: int
    refused: int
    given_up: int
    waits: str | None
    asked_by: str | None
    created_at: datetime
    updated_at: datetime
    actor: str

    @property
    def left(self) -> int:
        """Good rows that nothing was done about yet."""
        return self.good - self.made - self.found - self.refused - self.given_up


def registry_of(row: Any) -> Registry:
    values = list(row)
    values[3] = RegistryState(values[3])
    return Registry(*values)


# --- planning ------------------------------------------------------------------------------------------------------------


async def add(tx: Transaction, registry: Registry, lease_until: datetime) -> None:
    """Store a registry whose rows will come. `lease_until`: so long that is believed, by the database's clock."""
    await tx.execute(
        """INSERT INTO registries (shard, registry_id, merchant_id, state, file_name, file_digest, file_bytes, again, created_at,
               updated_at, actor, lease_until)
           VALUES ($1, $2, $3, 'uploaded', $4, $5, $6, $7, $8, $8, $9, $10)""",
        registry.shard, registry.registry_id, registry.merchant_id, registry.file_name, registry.file_digest, registry.file_bytes,
        registry.again, registry.created_at, registry.actor, lease_until,
    )  # fmt: skip


async def has_chunk(tx: Transaction, shard: int, registry: UUID, chunk: int) -> bool:
    """Whether a chunk was stored before."""
    return bool(
        await tx.fetchval(
            "SELECT true FROM registry_chunks WHERE shard = $1 AND registry_id = $2 AND chunk = $3", shard, registry, chunk
        )
    )


class ReferenceTwice(Exception):
    """A row of these has the reference of an earlier row of the registry; nothing was stored."""


async def still_uploaded(tx: Transaction, shard: int, registry: UUID, lease_until: datetime) -> bool:
    """Renew the lease of a planning that goes on; False where the registry is cancelled, which holds off whoever cancels it until this commits."""
    renewed = await tx.fetchval(
        "UPDATE registries SET lease_until = $3 WHERE shard = $1 AND registry_id = $2 AND state = 'uploaded' RETURNING 1",
        shard, registry, lease_until,
    )  # fmt: skip
    return renewed is not None


async def add_chunk(
    tx: Transaction, shard: int, registry: UUID, chunk: int, first: int, last: int, rows: Sequence[bytes], names: Sequence[bytes], good: int,
    digest: bytes,
) -> None:  # fmt: skip
    """Store rows and keyed names (as `registry_copy.py` writes them) and the digest of what the rows say. Raises ReferenceTwice."""
    try:
        await _copy(tx, "registry_rows", ROW_COLUMNS, rows)
    except asyncpg.UniqueViolationError as fault:
        if fault.constraint_name is not None and fault.constraint_name.endswith("pkey"):
            raise
        raise ReferenceTwice from None
    if names:
        await _copy(tx, "duplicate_names", NAME_COLUMNS, names)
    await tx.execute(
        """INSERT INTO registry_chunks (shard, registry_id, chunk, first_row, last_row, good, digest)
           VALUES ($1, $2, $3, $4, $5, $6, $7)""",
        shard, registry, chunk, first, last, good, digest,
    )  # fmt: skip


async def _copy(tx: Transaction, table: str, columns: Sequence[str], rows: Sequence[bytes]) -> None:
    # Closed, since the driver leaves a cycle behind that would keep the bytes of many pieces until the next collection of garbage.
    with io.BytesIO(b"".join((HEADER, *rows, TRAILER))) as source:
        await tx.connection.copy_to_table(table, source=source, columns=columns, schema_name="disburse", format="binary")


class Namesake(NamedTuple):
    """What stands under a base already: a payout (its fingerprint), or an earlier row of the registry (its number)."""

    fingerprint: bytes
    number: int | None


async def namesakes(tx: Transaction, shard: int, bases: Sequence[str]) -> dict[str, Namesake]:
    """The payouts that stand under these bases already."""
    rows = await tx.fetch("SELECT base, fingerprint FROM payouts WHERE shard = $1 AND base = ANY ($2::text[])", shard, list(bases))
    return {row[0]: Namesake(row[1], None) for row in rows}


async def earlier_rows(tx: Transaction, shard: int, registry: UUID, bases: Sequence[str], before: int) -> dict[str, Namesake]:
    """The rows of a registry before a number that stand under these bases."""
    rows = await tx.fetch(
        "SELECT base, number FROM registry_rows WHERE shard = $1 AND registry_id = $2 AND base = ANY ($3::text[]) AND number < $4",
        shard, registry, list(bases), before,
    )  # fmt: skip
    return {row[0]: Namesake(b"", row[1]) for row in rows}


async def set_planned(tx: Transaction, registry: Registry, at: datetime) -> bool:
    """Store what the plan came to; False where the registry is not being uploaded any more."""
    done = await tx.fetchval(
        """UPDATE registries SET state = 'planned', rows_read = $3, good = $4, bad = $5, held = $6, content = $7, rows_digest = $8,
               digest = $9, plan = $10, updated_at = $11, lease_until = NULL
           WHERE shard = $1 AND registry_id = $2 AND state = 'uploaded' RETURNING 1""",
        registry.shard, registry.registry_id, registry.rows_read, registry.good, registry.bad, registry.held, registry.content,
        registry.rows_digest, registry.digest, registry.plan, at,
    )  # fmt: skip
    return done is not None


# --- looking -------------------------------------------------------------------------------------------------------------


async def by_id(tx: Transaction, shard: int, registry: UUID) -> Registry | None:
    """A registry as it stands."""
    row = await tx.fetchrow(f"SELECT {COLUMNS} FROM registries r WHERE r.shard = $1 AND r.registry_id = $2", shard, registry)
    return registry_of(row) if row is not None else None


async def of_merchant(tx: Transaction, shard: int, merchant: int, before: UUID | None, limit: int) -> list[Registry]:
    """A merchant's registries, newest first, from one on."""
    rows = await tx.fetch(
        f"""SELECT {COLUMNS} FROM registries r WHERE r.shard = $1 AND r.merchant_id = $2
            AND r.registry_id < $3 ORDER BY r.registry_id DESC LIMIT $4""",
        shard,
        merchant,
        before if before is not None else UUID(int=2**128 - 1),
        limit,
    )
    return [registry_of(row) for row in rows]


async def applied_before(tx: Transaction, registry: Registry) -> UUID | None:
    """Another registry of this merchant with the same content that was applied, if there is one."""
    found: UUID | None = await tx.fetchval(
        """SELECT registry_id FROM registries WHERE shard = $1 AND merchant_id = $2 AND content = $3 AND registry_id <> $4
               AND state IN ('awaiting_approval', 'approved', 'executing', 'completed', 'completed_with_errors') ORDER BY registry_id LIMIT 1""",
        registry.shard, registry.merchant_id, registry.content, registry.registry_id,
    )  # fmt: skip
    return found


async def planned_digest(tx: Transaction, shard: int, registry: UUID, first_chunk: int, chunks: int) -> list[tuple[int, bytes, bytes]]:
    """Some chunks from one on: (chunk, the digest that was stored, the digest of its rows as they are). See `domain/registry_states.py`."""
    rows = await tx.fetch(
        """SELECT c.chunk, c.digest, (
               SELECT sha256(convert_to(string_agg(
                   CASE WHEN r.verdict = 'bad' THEN r.number || '|bad' ELSE
                       r.number || '|' || r.verdict || '|' || encode(uuid_send(r.payout_id), 'hex') || '|' || r.rail || '|' || r.currency || '|'
                       || r.amount_minor || '|' || r.fee_minor || '|' || encode(r.fingerprint, 'hex') || '|' || r.base END,
                   E'\n' ORDER BY r.number), 'UTF8'))
               FROM registry_rows r
               WHERE r.shard = $1 AND r.registry_id = $2 AND r.number BETWEEN c.first_row AND c.last_row)
           FROM registry_chunks c WHERE c.shard = $1 AND c.registry_id = $2 AND c.chunk >= $3 ORDER BY c.chunk LIMIT $4""",
        shard,
        registry,
        first_chunk,
        chunks,
    )
    return [(row[0], row[1], row[2]) for row in rows]


class Planned(NamedTuple):
    """What a row was planned as. `amount`: with its currency."""

    verdict: str
    fingerprint: bytes | None
    reference: str | None
    amount: str | None
    display: str | None


async def planned_rows(tx: Transaction, shard: int, registry: UUID, first: int, last: int) -> dict[int, Planned]:
    """Rows by their numbers, as they were planned."""
    rows = await tx.fetch(
        """SELECT number, verdict, fingerprint, reference, amount_text || ' ' || currency, display FROM registry_rows
           WHERE shard = $1 AND registry_id = $2 AND number BETWEEN $3 AND $4""",
        shard, registry, first, last,
    )  # fmt: skip
    return {row[0]: Planned(*tuple(row)[1:]) for row in rows}


class Result(NamedTuple):
    """A row with what became of it, for results. `state`, `reason`, `finished_at` are its payout's."""

    number: int
    line: int
    verdict: str
    reference: str | None
    rail: str | None
    currency: str | None
    amount_minor: int | None
    fee_minor: int | None
    display: str | None
    comment: str | None
    faults: str | None
    questions: str | None
    fate: str | None
    fate_reason: str | None
    payout_id: UUID | None
    state: str | None
    reason: str | None
    finished_at: datetime | None

    @property
    def fault_list(self) -> list[dict[str, str]]:
        """Everything that is wrong with the row, or asked about it."""
        told: list[dict[str, str]] = json.loads(self.faults or self.questions or "[]")
        return told


async def results(tx: Transaction, shard: int, registry: UUID, after: int, limit: int, *, only: str | None = None) -> list[Result]:
    """Rows after a number, in the file's order, each with its fate and its payout. `only`: a verdict."""
    rows = await tx.fetch(
        """WITH wanted AS MATERIALIZED (
               SELECT * FROM registry_rows WHERE shard = $1 AND registry_id = $2 AND number > $3 AND ($5::text IS NULL OR verdict = $5)
               ORDER BY number LIMIT $4)
           SELECT s.number, s.line, s.verdict, s.reference, s.rail, s.currency, s.amount_minor, s.fee_minor, s.display, s.comment, s.faults,
               s.questions, f.fate, f.reason, p.payout_id, p.state, p.reason, p.finished_at
           FROM wanted s
           LEFT JOIN registry_fates f ON f.shard = $1 AND f.registry_id = $2 AND f.number = s.number
           LEFT JOIN payouts p ON p.shard = $1
               AND p.payout_id = CASE WHEN f.number IS NULL THEN s.payout_id WHEN f.fate = 'found' THEN f.payout_id END
           ORDER BY s.number""",
        shard, registry, after, limit, only,
    )  # fmt: skip
    return [Result(*tuple(row)) for row in rows]


class Ends(NamedTuple):
    """How payouts of a registry stand, as they were last looked at. `open`: not final; `ended`: cancelled or expired."""

    paid: int
    failed: int
    ended: int
    open: int
    looked: int


async def ends(tx: Transaction, shard: int, registry: UUID) -> Ends:
    """The sums over all chunks; `looked`: rows of chunks that were looked at."""
    row = await tx.fetchrow(
        """SELECT coalesce(sum(paid), 0)::int8, coalesce(sum(failed), 0)::int8, coalesce(sum(ended), 0)::int8, coalesce(sum(open), 0)::int8,
               coalesce(sum(paid + failed + ended + open), 0)::int8
           FROM registry_chunks WHERE shard = $1 AND registry_id = $2""",
        shard,
        registry,
    )
    return Ends(*tuple(row or ()))


# --- moving --------------------------------------------------------------------------------------------------------------


async def move(
    tx: Transaction, registry: Registry, state: RegistryState, at: datetime, *, only_good: bool | None = None, asked_by: str | None = None,
    repeats: bool | None = None,
) -> None:
    """Change a registry's state. Raises AssertionError where it is not as it was read: that is read under the lock."""
    done = await tx.fetchval(
        """UPDATE registries SET state = $4, updated_at = $5, only_good = coalesce($6, only_good), asked_by = coalesce($7, asked_by),
               repeats = coalesce($8, repeats), waits = NULL
           WHERE shard = $1 AND registry_id = $2 AND state = $3 RETURNING 1""",
        registry.shard, registry.registry_id, registry.state, state, at, only_good, asked_by, repeats,
    )  # fmt: skip
    if done is None:
        raise AssertionError("a registry changed under its merchant's lock")


async def give_up(tx: Transaction, registry: Registry, at: datetime) -> None:
    """Give up the rows that nothing was done about yet."""
    await tx.execute(
        """UPDATE registries SET given_up = good - made - found - refused, waits = NULL, updated_at = $3
           WHERE shard = $1 AND registry_id = $2 AND state = 'executing'""",
        registry.shard,
        registry.registry_id,
        at,
    )
