"""Webhook endpoints as persons and programs decide about them. SQL only; who may decide what is `operations/webhooks.py`'s.

Everything here is written under the merchant's lock and raises `version`, by which a courier sees that it has to look again. How
far delivery has come is `webhook_work.py`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from disburse.storage.database import Transaction

_COLUMNS = """w.webhook_id, w.merchant_id, w.url, w.types, w.state, w.reason, w.version, w.secret_sealed, w.previous_sealed,
    w.previous_until, w.since, w.done_to, w.resend_next, w.resend_to, w.failures, w.rest_until, w.last_answer, w.last_at,
    w.created_at"""


@dataclass(frozen=True, slots=True)
class Webhook:
    """An endpoint as it stands. The secrets are sealed; the URL may carry one of its owner's, so it is not in the repr."""

    webhook_id: UUID
    merchant_id: int
    url: str = field(repr=False)
    types: tuple[str, ...] | None
    state: str
    reason: str | None
    version: int
    secret_sealed: bytes = field(repr=False)
    previous_sealed: bytes | None = field(repr=False)
    previous_until: datetime | None
    since: int
    done_to: int
    resend_next: int | None
    resend_to: int | None
    failures: int
    rest_until: datetime | None
    last_answer: str | None
    last_at: datetime | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Behind:
    """How far an endpoint is behind: events that wait to be tried again, since when the oldest does, and the merchant's last event."""

    late: int
    oldest: datetime | None
    last_event: int


def webhook_of(row: Any) -> Webhook:
    values = list(row)
    values[3] = tuple(values[3].split()) if values[3] is not None else None
    return Webhook(*values)


async def of_merchant(tx: Transaction, shard: int, merchant_id: int) -> list[Webhook]:
    """A merchant's endpoints, in the order they were made."""
    rows = await tx.fetch(
        f"SELECT {_COLUMNS} FROM webhooks w WHERE w.shard = $1 AND w.merchant_id = $2 ORDER BY w.created_at, w.webhook_id",
        shard,
        merchant_id,
    )
    return [webhook_of(row) for row in rows]


async def read(tx: Transaction, shard: int, webhook_id: UUID) -> Webhook | None:
    row = await tx.fetchrow(
        f"SELECT {_COLUMNS} FROM webhooks w WHERE w.shard = $1 AND w.webhook_id = $2", shard, webhook_id
    )
    return webhook_of(row) if row is not None else None


async def behind(tx: Transaction, shard: int, which: Sequence[UUID]) -> dict[UUID, Behind]:
    """How far each of these is behind."""
    rows = await tx.fetch(
        """SELECT w.webhook_id, coalesce(l.late, 0), l.oldest, m.events
           FROM webhooks w JOIN merchants m ON m.shard = $1 AND m.merchant_id = w.merchant_id
           LEFT JOIN LATERAL (SELECT count(*) AS late, min(event_at) AS oldest FROM webhook_late
               WHERE shard = $1 AND webhook_id = w.webhook_id) AS l ON true
           WHERE w.shard = $1 AND w.webhook_id = ANY ($2::uuid[])""",
        shard,
        list(which),
    )
    return {row[0]: Behind(row[1], row[2], row[3]) for row in rows}


async def insert(tx: Transaction, shard: int, webhook: Webhook, actor: str) -> None:
    """A new endpoint."""
    await tx.execute(
        """INSERT INTO webhooks (shard, webhook_id, merchant_id, url, types, state, secret_sealed, since, done_to, created_at, actor)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)""",
        shard,
        webhook.webhook_id,
        webhook.merchant_id,
        webhook.url,
        " ".join(webhook.types) if webhook.types is not None else None,
        webhook.state,
        webhook.secret_sealed,
        webhook.since,
        webhook.done_to,
        webhook.created_at,
        actor,
    )


async def set_secrets(
    tx: Transaction, shard: int, webhook_id: UUID, sealed: bytes, previous: bytes | None, until: datetime | None
) -> None:
    """A new secret, and the one before it, which stays live until then."""
    await tx.execute(
        """UPDATE webhooks SET secret_sealed = $3, previous_sealed = $4, previous_until = $5, version = version + 1
           WHERE shard = $1 AND webhook_id = $2""",
        shard,
        webhook_id,
        sealed,
        previous,
        until,
    )


async def set_state(tx: Transaction, shard: int, webhook_id: UUID, state: str, reason: str | None) -> None:
    """Pause, disable or resume. What is resumed begins afresh: what waits is due at once, and no failure is remembered."""
    await tx.execute(
        """UPDATE webhooks SET state = $3, reason = $4, version = version + 1, failures = 0, rest_until = NULL
           WHERE shard = $1 AND webhook_id = $2""",
        shard,
        webhook_id,
        state,
        reason,
    )


async def due_afresh(tx: Transaction, shard: int, webhook_id: UUID, at: datetime) -> None:
    """What waits to be tried again is due now, as if it had failed for the first time."""
    await tx.execute(
        """UPDATE webhook_late SET since = $3::timestamptz, tries = 0,
               next_at = CASE WHEN next_at IS NULL THEN NULL ELSE $3::timestamptz END
           WHERE shard = $1 AND webhook_id = $2""",
        shard,
        webhook_id,
        at,
    )


async def set_resend(tx: Transaction, shard: int, webhook_id: UUID, first: int, last: int) -> None:
    """Send these events once more."""
    await tx.execute(
        """UPDATE webhooks SET resend_next = $3, resend_to = $4, version = version + 1 WHERE shard = $1 AND webhook_id = $2""",
        shard,
        webhook_id,
        first,
        last,
    )


async def remove(tx: Transaction, shard: int, webhook_id: UUID) -> None:
    """Forget an endpoint, its secrets, and what waits for it."""
    await tx.execute("DELETE FROM webhook_late WHERE shard = $1 AND webhook_id = $2", shard, webhook_id)
    await tx.execute("DELETE FROM webhooks WHERE shard = $1 AND webhook_id = $2", shard, webhook_id)


async def last_event(tx: Transaction, shard: int, merchant_id: int) -> int:
    """The number of a merchant's last event."""
    number: int = await tx.fetchval(
        "SELECT events FROM merchants WHERE shard = $1 AND merchant_id = $2", shard, merchant_id
    )
    return number
