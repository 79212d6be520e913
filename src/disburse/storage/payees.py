"""Payees and their saved destinations. SQL only; what a payee is for is `operations/payees.py`'s.

A destination is sealed for its own id and never changes: it is added, and one day retired. All is written under the merchant's lock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from disburse.storage.database import Transaction


@dataclass(frozen=True, slots=True)
class SavedDestination:
    """Where a payee can be paid. `display` is masked; `number` counts a payee's destinations, 1 is the first."""

    payee_id: UUID
    number: int
    destination_id: UUID
    rail: str
    display: str
    destination_digest: bytes
    sealed: bytes = field(repr=False)
    created_at: datetime
    retired_at: datetime | None


@dataclass(frozen=True, slots=True)
class Payee:
    """Whom a merchant pays, with all destinations that were ever saved, in their order."""

    payee_id: UUID
    merchant_id: int
    reference: str
    created_at: datetime
    destinations: tuple[SavedDestination, ...]


_PAYEE = "payee_id, merchant_id, reference, created_at"
_DESTINATION = "payee_id, number, destination_id, rail, display, destination_digest, sealed, created_at, retired_at"


async def by_id(tx: Transaction, shard: int, merchant_id: int, payee_id: UUID) -> Payee | None:
    """A merchant's payee."""
    rows = await tx.fetch(
        f"SELECT {_PAYEE} FROM payees WHERE shard = $1 AND merchant_id = $2 AND payee_id = $3 ORDER BY payee_id", shard, merchant_id, payee_id
    )
    return (await _whole(tx, shard, rows))[0] if rows else None


async def by_reference(tx: Transaction, shard: int, merchant_id: int, reference: str) -> Payee | None:
    """A merchant's payee of this reference."""
    rows = await tx.fetch(
        f"SELECT {_PAYEE} FROM payees WHERE shard = $1 AND merchant_id = $2 AND reference = $3 ORDER BY payee_id", shard, merchant_id, reference
    )
    return (await _whole(tx, shard, rows))[0] if rows else None


async def page(tx: Transaction, shard: int, merchant_id: int, before: UUID | None, limit: int) -> list[Payee]:
    """A merchant's payees, newest first; their ids are in the order of time."""
    rows = await tx.fetch(
        f"""SELECT {_PAYEE} FROM payees WHERE shard = $1 AND merchant_id = $2 AND ($3::uuid IS NULL OR payee_id < $3)
            ORDER BY payee_id DESC LIMIT $4""",
        shard,
        merchant_id,
        before,
        limit,
    )
    return await _whole(tx, shard, rows)


async def _whole(tx: Transaction, shard: int, rows: Sequence[Any]) -> list[Payee]:
    found = await tx.fetch(
        f"SELECT {_DESTINATION} FROM payee_destinations WHERE shard = $1 AND payee_id = ANY ($2::uuid[]) ORDER BY payee_id, number",
        shard,
        [row[0] for row in rows],
    )
    of: dict[UUID, list[SavedDestination]] = {row[0]: [] for row in rows}
    for one in found:
        of[one[0]].append(SavedDestination(*one))
    return [Payee(row[0], row[1], row[2], row[3], tuple(of[row[0]])) for row in rows]


async def insert(tx: Transaction, shard: int, payee: Payee, actor: str) -> None:
    """A new payee with its destinations."""
    await tx.execute(
        "INSERT INTO payees (shard, payee_id, merchant_id, reference, created_at, actor) VALUES ($1, $2, $3, $4, $5, $6)",
        shard, payee.payee_id, payee.merchant_id, payee.reference, payee.created_at, actor,
    )  # fmt: skip
    for one in payee.destinations:
        await add(tx, shard, payee.merchant_id, one, actor)


async def add(tx: Transaction, shard: int, merchant_id: int, one: SavedDestination, actor: str) -> None:
    """A further destination."""
    await tx.execute(
        """INSERT INTO payee_destinations (shard, payee_id, number, destination_id, merchant_id, rail, display, destination_digest, sealed,
               created_at, actor) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)""",
        shard, one.payee_id, one.number, one.destination_id, merchant_id, one.rail, one.display, one.destination_digest, one.sealed,
        one.created_at, actor,
    )  # fmt: skip


async def retire(tx: Transaction, shard: int, payee_id: UUID, destination_id: UUID, at: datetime) -> None:
    """Nothing new is paid there from now on."""
    await tx.execute(
        """UPDATE payee_destinations SET retired_at = $4
           WHERE shard = $1 AND payee_id = $2 AND destination_id = $3 AND retired_at IS NULL""",
        shard,
        payee_id,
        destination_id,
        at,
    )
