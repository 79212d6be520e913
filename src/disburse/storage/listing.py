"""A merchant's payouts and top-ups, page by page. SQL only; what a page is and when it ends is `operations/listing.py`'s.

Payouts are found through the merchant's events, whose numbers have no gaps and whose key begins with the merchant: a payout stands
at its first event. So a list needs no index that every new payout would have to pay for, and a page costs at most its stretch of events.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from disburse.domain.payout import Payout
from disburse.storage.database import Transaction
from disburse.storage.payouts import BESIDE, WHOLE, whole_of


@dataclass(frozen=True, slots=True)
class Filters:
    """What payouts must be like; None: anything. `created_to` is not included."""

    surface: str | None = None
    state: str | None = None
    rail: str | None = None
    created_from: datetime | None = None
    created_to: datetime | None = None


async def newest_event(tx: Transaction, shard: int, merchant_id: int) -> int:
    """The number of a merchant's last event, 0 before the first."""
    number: int | None = await tx.fetchval(
        "SELECT events FROM merchants WHERE shard = $1 AND merchant_id = $2", shard, merchant_id
    )
    return number or 0


async def time_of_event(tx: Transaction, shard: int, merchant_id: int, number: int) -> datetime:
    """When an event was. It must be there: numbers have no gaps."""
    at: datetime = await tx.fetchval(
        "SELECT at FROM events WHERE shard = $1 AND merchant_id = $2 AND number = $3", shard, merchant_id, number
    )
    return at


async def payouts_between(
    tx: Transaction, shard: int, merchant_id: int, first: int, last: int, filters: Filters, limit: int
) -> list[Payout]:
    """The newest payouts whose first event is from `first` to `last`, both included, newest first."""
    rows = await tx.fetch(
        f"""SELECT {WHOLE} FROM events e JOIN payouts p ON p.shard = $1 AND p.payout_id = e.payout_id {BESIDE}
            WHERE e.shard = $1 AND e.merchant_id = $2 AND e.number BETWEEN $3 AND $4 AND p.first_event = e.number
              AND ($5::text IS NULL OR p.surface = $5) AND ($6::text IS NULL OR p.state = $6)
              AND ($7::text IS NULL OR p.rail = $7) AND ($8::timestamptz IS NULL OR p.created_at >= $8)
              AND ($9::timestamptz IS NULL OR p.created_at < $9)
            ORDER BY e.number DESC LIMIT $10""",
        shard,
        merchant_id,
        first,
        last,
        filters.surface,
        filters.state,
        filters.rail,
        filters.created_from,
        filters.created_to,
        limit,
    )
    return [whole_of(row) for row in rows]


@dataclass(frozen=True, slots=True)
class TopUpRow:
    """Money that was booked for a merchant."""

    top_up_id: UUID
    reference: str
    currency: str
    amount_minor: int
    at: datetime


async def top_ups_before(
    tx: Transaction, shard: int, merchant_id: int, before: UUID | None, limit: int
) -> list[TopUpRow]:
    """A merchant's top-ups, newest first; their ids are in the order of time. Reads all of one merchant's, which are few."""
    rows = await tx.fetch(
        """SELECT top_up_id, reference, currency, amount_minor, at FROM top_ups
           WHERE shard = $1 AND merchant_id = $2 AND ($3::uuid IS NULL OR top_up_id < $3)
           ORDER BY top_up_id DESC LIMIT $4""",
        shard,
        merchant_id,
        before,
        limit,
    )
    return [TopUpRow(*row) for row in rows]
