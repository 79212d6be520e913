"""What one person asked for and another answered: rows that are only added to. SQL only; who may ask and agree is decided in
`operations/approvals.py`, under the merchant's lock.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any
from uuid import UUID

from disburse.storage.database import Transaction


@dataclass(frozen=True, slots=True)
class Request:
    """A request. `kind`: resolve (a payout's end), reverse (a top-up) or withdraw; the columns are told in migration 0003."""

    shard: int
    request_id: UUID
    merchant_id: int
    kind: str
    origin_id: UUID
    reference: str | None
    attempt: int | None
    outcome: str | None
    seen_event: int | None
    currency: str
    amount_minor: int
    evidence: str
    evidence_digest: bytes
    evidence_bytes: int
    at: datetime
    actor: str


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer. `verdict`: approved or refused; `effect`: what an approval did, or why it was refused."""

    request_id: UUID
    verdict: str
    effect: str
    at: datetime
    actor: str


Asked = tuple[Request, Decision | None]

_NAMES = [field.name for field in fields(Request)]
COLUMNS = ", ".join(f"r.{name}" for name in _NAMES)
ANSWER = "d.request_id, d.verdict, d.effect, d.at, d.actor"


def asked(row: Any) -> Asked:
    """A row of COLUMNS and ANSWER."""
    values = tuple(row)
    answer = values[len(_NAMES) : len(_NAMES) + 5]
    return Request(*values[: len(_NAMES)]), Decision(*answer) if answer[0] is not None else None


async def by_id(tx: Transaction, shard: int, request: UUID) -> Asked | None:
    """A request and its answer, if it has one."""
    row = await tx.fetchrow(
        f"""SELECT {COLUMNS}, {ANSWER} FROM requests r
            LEFT JOIN decisions d ON d.shard = $1 AND d.request_id = r.request_id
            WHERE r.shard = $1 AND r.request_id = $2""",
        shard,
        request,
    )
    return asked(row) if row is not None else None


async def of_origin(tx: Transaction, shard: int, origin: UUID) -> list[Asked]:
    """Everything that was asked about a payout or a top-up, first to last."""
    rows = await tx.fetch(
        f"""SELECT {COLUMNS}, {ANSWER} FROM requests r
            LEFT JOIN decisions d ON d.shard = $1 AND d.request_id = r.request_id
            WHERE r.shard = $1 AND r.origin_id = $2 ORDER BY r.at, r.request_id""",
        shard,
        origin,
    )
    return [asked(row) for row in rows]


async def of_reference(tx: Transaction, shard: int, merchant: int, reference: str) -> list[Asked]:
    """The withdrawals of a merchant that were asked for under a reference, first to last."""
    rows = await tx.fetch(
        f"""SELECT {COLUMNS}, {ANSWER} FROM requests r
            LEFT JOIN decisions d ON d.shard = $1 AND d.request_id = r.request_id
            WHERE r.shard = $1 AND r.merchant_id = $2 AND r.reference = $3 AND r.kind = 'withdraw'
              ORDER BY r.at, r.request_id""",
        shard,
        merchant,
        reference,
    )
    return [asked(row) for row in rows]


async def add(tx: Transaction, request: Request) -> None:
    """Store a request."""
    await tx.execute(
        """INSERT INTO requests (shard, request_id, merchant_id, kind, origin_id, reference, attempt, outcome, seen_event,
               currency, amount_minor, evidence, evidence_digest, evidence_bytes, at, actor)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)""",
        *[getattr(request, name) for name in _NAMES],
    )


async def answer(tx: Transaction, request: Request, decision: Decision) -> None:
    """Store the answer to a request. There can be one."""
    await tx.execute(
        """INSERT INTO decisions (shard, request_id, merchant_id, verdict, effect, at, actor)
           VALUES ($1, $2, $3, $4, $5, $6, $7)""",
        request.shard,
        request.request_id,
        request.merchant_id,
        decision.verdict,
        decision.effect,
        decision.at,
        decision.actor,
    )


async def top_up(tx: Transaction, shard: int, merchant: int, reference: str) -> tuple[UUID, str, int] | None:
    """(id, currency, minor units) of the top-up with a reference."""
    row = await tx.fetchrow(
        """SELECT top_up_id, currency, amount_minor FROM top_ups WHERE shard = $1 AND merchant_id = $2 AND reference = $3""",
        shard,
        merchant,
        reference,
    )
    return (row[0], row[1], row[2]) if row is not None else None
