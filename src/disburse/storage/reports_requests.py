"""What waits for a second yes, what was answered, and which payouts are frozen, for people. SQL only.

All of it is read-only and wants a snapshot (`Database.snapshot`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from disburse.storage.database import Transaction
from disburse.storage.requests import ANSWER, COLUMNS, Decision, Request, asked


@dataclass(frozen=True, slots=True)
class Told:
    """A request with its answer and names. `outdated`: the payout has moved since, so it can only be refused."""

    request: Request
    decision: Decision | None
    login: str
    asker: str
    answerer: str | None
    outdated: bool


_FROM = """FROM requests r
    LEFT JOIN decisions d ON d.shard = r.shard AND d.request_id = r.request_id
    LEFT JOIN merchant_settings m ON m.shard = r.shard AND m.merchant_id = r.merchant_id
    LEFT JOIN payouts p ON p.shard = r.shard AND p.payout_id = r.origin_id
    LEFT JOIN operators a ON r.actor = 'operator:' || a.operator_id
    LEFT JOIN operators b ON d.actor = 'operator:' || b.operator_id"""
_MORE = """coalesce(m.login, '') AS login, coalesce(a.name, r.actor) AS asker, coalesce(b.name, d.actor) AS answerer,
    d.request_id IS NULL AND r.seen_event IS NOT NULL AND r.seen_event <> p.last_event AS outdated"""


def _told(row: Any) -> Told:
    values = tuple(row)
    request, decision = asked(values)
    return Told(request, decision, *values[-4:])


async def waiting(tx: Transaction, limit: int) -> list[Told]:
    """Requests that nobody has answered, the oldest first."""
    rows = await tx.fetch(
        f"SELECT {COLUMNS}, {ANSWER}, {_MORE} {_FROM} WHERE d.request_id IS NULL ORDER BY r.at, r.request_id LIMIT $1", limit
    )
    return [_told(row) for row in rows]


async def latest(tx: Transaction, limit: int) -> list[Told]:
    """Requests, answered or not, the latest first."""
    rows = await tx.fetch(f"SELECT {COLUMNS}, {ANSWER}, {_MORE} {_FROM} ORDER BY r.at DESC, r.request_id DESC LIMIT $1", limit)
    return [_told(row) for row in rows]


async def of_payout(tx: Transaction, shard: int, payout: UUID) -> list[Told]:
    """What was asked about a payout, first to last."""
    rows = await tx.fetch(
        f"SELECT {COLUMNS}, {ANSWER}, {_MORE} {_FROM} WHERE r.shard = $1 AND r.origin_id = $2 ORDER BY r.at, r.request_id",
        shard,
        payout,
    )
    return [_told(row) for row in rows]


async def one(tx: Transaction, shard: int, request: UUID) -> Told | None:
    """One request."""
    row = await tx.fetchrow(
        f"SELECT {COLUMNS}, {ANSWER}, {_MORE} {_FROM} WHERE r.shard = $1 AND r.request_id = $2", shard, request
    )
    return _told(row) if row is not None else None


@dataclass(frozen=True, slots=True)
class Frozen:
    """A payout that is frozen. `why`: the contradiction's name; `since`: when it was last frozen."""

    payout_id: UUID
    merchant_id: int
    login: str
    reference: str | None
    rail: str
    display: str
    currency: str
    amount_minor: int
    state: str
    why: str
    since: datetime
    waits: UUID | None
    """The request that waits for a second yes."""


async def frozen(tx: Transaction, limit: int) -> tuple[int, list[Frozen]]:
    """How many payouts are frozen, and the ones that have been for longest."""
    count: int = await tx.fetchval("SELECT count(*) FROM payouts WHERE frozen IS NOT NULL")
    rows = await tx.fetch(
        """SELECT p.payout_id, p.merchant_id, m.login, p.reference, p.rail, p.display, p.currency, p.amount_minor, p.state,
                  p.frozen, e.at, (SELECT r.request_id FROM requests r
                      LEFT JOIN decisions d ON d.shard = r.shard AND d.request_id = r.request_id
                      WHERE r.shard = p.shard AND r.origin_id = p.payout_id AND d.request_id IS NULL
                        AND r.seen_event = p.last_event ORDER BY r.at DESC LIMIT 1)
           FROM payouts p JOIN merchant_settings m ON m.shard = p.shard AND m.merchant_id = p.merchant_id
           JOIN events e ON e.shard = p.shard AND e.merchant_id = p.merchant_id AND e.number = p.last_event
           WHERE p.frozen IS NOT NULL ORDER BY e.at, p.payout_id LIMIT $1""",
        limit,
    )
    return count, [Frozen(*row) for row in rows]
