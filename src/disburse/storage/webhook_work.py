"""How far delivery to webhook endpoints has come: leases, progress, and events that wait to be tried again. SQL only.

A courier holds an endpoint by a lease, read from the database's clock, with an epoch; every word about progress is guarded by both.
All statements are about many endpoints at once: nothing here is asked for one event.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from disburse.storage.database import Transaction
from disburse.storage.webhooks import Webhook, webhook_of

_COLUMNS = """w.webhook_id, w.merchant_id, w.url, w.types, w.state, w.reason, w.version, w.secret_sealed, w.previous_sealed,
    w.previous_until, w.since, w.done_to, w.resend_next, w.resend_to, w.failures, w.rest_until, w.last_answer, w.last_at,
    w.created_at"""


@dataclass(frozen=True, slots=True)
class Late:
    """An event that waits for another try. `next_at`: none for one that waits behind another event of its payout.

    `since`: when it was first tried in vain, or put behind one that was.
    """

    number: int
    payout_id: UUID | None
    tries: int
    since: datetime
    next_at: datetime | None
    event_at: datetime


@dataclass(frozen=True, slots=True)
class Held:
    """An endpoint as it was claimed, in this epoch, with what waits to be tried again, in order."""

    webhook: Webhook
    epoch: int
    late: tuple[Late, ...]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an endpoint has come, as its holder knows it. `put` and `gone`: late events that are new or changed, or over."""

    webhook_id: UUID
    merchant_id: int
    epoch: int
    version: int
    done_to: int
    resend_next: int | None
    resend_to: int | None
    failures: int
    rest_until: datetime | None
    last_answer: str | None
    last_at: datetime | None
    put: tuple[Late, ...] = ()
    gone: tuple[int, ...] = ()


async def share(tx: Transaction, shard: int, within_s: float) -> tuple[int, int, datetime]:
    """How many endpoints of the bucket are active, how many workers were seen within so many seconds, and what the database's clock shows."""
    row = await tx.fetchrow(
        """WITH clock AS MATERIALIZED (SELECT clock_timestamp() AS now)
           SELECT (SELECT count(*) FROM webhooks WHERE shard = $1 AND state = 'active'),
               (SELECT count(*) FROM workers WHERE seen_at > (SELECT now - $2::float8 * interval '1 second' FROM clock)), now FROM clock""",
        shard,
        within_s,
    )
    if row is None:
        raise AssertionError("a clock that shows nothing")
    return row[0], row[1], row[2]


async def free(tx: Transaction, shard: int, owner: str, held: Sequence[UUID], now: datetime, limit: int) -> list[UUID]:
    """Active endpoints that nobody holds; ours that we do not know of (a claim whose commit we did not hear of) are free too."""
    rows = await tx.fetch(
        """SELECT webhook_id FROM webhooks WHERE shard = $1 AND state = 'active' AND webhook_id <> ALL ($2::uuid[])
               AND (lease_until IS NULL OR lease_until <= $3 OR owner = $4) ORDER BY webhook_id LIMIT $5""",
        shard,
        list(held),
        now,
        owner,
        limit,
    )
    return [row[0] for row in rows]


async def claim(
    tx: Transaction, shard: int, which: Sequence[UUID], owner: str, now: datetime, lease_until: datetime
) -> list[Held]:
    """Take these endpoints, those of them that are still free."""
    rows = await tx.fetch(
        f"""WITH taken AS (
                UPDATE webhooks w SET owner = $3, epoch = w.epoch + 1, lease_until = $5
                WHERE w.shard = $1 AND w.webhook_id = ANY ($2::uuid[]) AND w.state = 'active'
                    AND (w.lease_until IS NULL OR w.lease_until <= $4 OR w.owner = $3)
                RETURNING {_COLUMNS}, w.epoch)
            SELECT * FROM taken ORDER BY webhook_id""",
        shard,
        list(which),
        owner,
        now,
        lease_until,
    )
    late = await tx.fetch(
        """SELECT webhook_id, number, payout_id, tries, since, next_at, event_at FROM webhook_late
           WHERE shard = $1 AND webhook_id = ANY ($2::uuid[]) ORDER BY webhook_id, number""",
        shard,
        [row[0] for row in rows],
    )
    waiting: dict[UUID, list[Late]] = {}
    for one in late:
        waiting.setdefault(one[0], []).append(Late(*tuple(one)[1:]))
    return [Held(webhook_of(tuple(row)[:-1]), row[-1], tuple(waiting.get(row[0], ()))) for row in rows]


async def look(tx: Transaction, shard: int, owner: str, *, all_of_them: bool) -> dict[UUID, tuple[int, int, int]]:
    """Of the endpoints that we hold: epoch, version, and the number of the merchant's last event.

    Unless `all_of_them`, only those whose merchant has events beyond what was recorded as done. Whatever persons change of an endpoint is told in
    such an event too.
    """
    rows = await tx.fetch(
        """SELECT w.webhook_id, w.epoch, w.version, m.events
           FROM webhooks w JOIN merchants m ON m.shard = $1 AND m.merchant_id = w.merchant_id
           WHERE w.shard = $1 AND w.owner = $2 AND ($3 OR m.events > w.done_to)""",
        shard,
        owner,
        all_of_them,
    )
    return {row[0]: (row[1], row[2], row[3]) for row in rows}


_RECORD = """WITH ours AS (
        UPDATE webhooks w SET lease_until = coalesce($3, w.lease_until), done_to = greatest(w.done_to, d.done_to),
            resend_next = CASE WHEN w.version = d.version THEN d.resend_next ELSE w.resend_next END,
            resend_to = CASE WHEN w.version = d.version THEN d.resend_to ELSE w.resend_to END,
            failures = CASE WHEN w.version = d.version THEN d.failures ELSE w.failures END,
            rest_until = CASE WHEN w.version = d.version THEN d.rest_until ELSE w.rest_until END,
            last_answer = coalesce(d.last_answer, w.last_answer), last_at = coalesce(d.last_at, w.last_at)
        FROM unnest($4::uuid[], $5::int4[], $6::int4[], $7::int8[], $8::int8[], $9::int8[], $10::int4[], $11::timestamptz[],
            $12::text[], $13::timestamptz[])
            AS d (webhook_id, epoch, version, done_to, resend_next, resend_to, failures, rest_until, last_answer, last_at)
        WHERE w.shard = $1 AND w.webhook_id = d.webhook_id AND w.owner = $2 AND w.epoch = d.epoch RETURNING w.webhook_id),
    put AS (
        INSERT INTO webhook_late (shard, webhook_id, number, merchant_id, payout_id, tries, since, next_at, event_at)
        SELECT $1, d.* FROM unnest($14::uuid[], $15::int8[], $16::int4[], $17::uuid[], $18::int4[], $19::timestamptz[],
            $20::timestamptz[], $21::timestamptz[]) AS d (webhook_id, number, merchant_id, payout_id, tries, since, next_at, event_at)
        WHERE EXISTS (SELECT FROM ours o WHERE o.webhook_id = d.webhook_id)
        ON CONFLICT (shard, webhook_id, number) DO UPDATE
        SET tries = excluded.tries, since = excluded.since, next_at = excluded.next_at),
    gone AS (
        DELETE FROM webhook_late l USING unnest($22::uuid[], $23::int8[]) AS d (webhook_id, number)
        WHERE l.shard = $1 AND l.webhook_id = d.webhook_id AND l.number = d.number
            AND EXISTS (SELECT FROM ours o WHERE o.webhook_id = d.webhook_id))
    SELECT webhook_id FROM ours"""


async def record(
    tx: Transaction, shard: int, owner: str, made: Sequence[Progress], lease_until: datetime | None
) -> frozenset[UUID]:
    """Store progress, in one statement; the endpoints that are still ours. Of the others nothing is stored. None: leases stay as they are.

    What persons changed since (another version) stands: only how far the events came is kept then.
    """
    by_id = sorted(made, key=lambda one: one.webhook_id)
    put = [
        (one.webhook_id, late.number, one.merchant_id, late.payout_id, late.tries, late.since, late.next_at, late.event_at)
        for one in by_id
        for late in one.put
    ]
    gone = [(one.webhook_id, number) for one in by_id for number in one.gone]
    rows = await tx.fetch(
        _RECORD, shard, owner, lease_until, *_columns(by_id), *_turned(put, 8), *_turned(gone, 2)
    )
    return frozenset(row[0] for row in rows)


def _columns(made: Sequence[Progress]) -> list[list[Any]]:
    names = ("webhook_id", "epoch", "version", "done_to", "resend_next", "resend_to", "failures", "rest_until", "last_answer",
             "last_at")  # fmt: skip
    return [[getattr(one, name) for one in made] for name in names]


def _turned(rows: Sequence[tuple[Any, ...]], width: int) -> list[list[Any]]:
    """Rows as columns; of none, so many empty ones."""
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(width)]


async def release(tx: Transaction, shard: int, owner: str, which: Sequence[tuple[UUID, int]]) -> None:
    """Let go of endpoints, so that another may take them at once."""
    await tx.execute(
        """UPDATE webhooks w SET owner = NULL, lease_until = NULL FROM unnest($3::uuid[], $4::int4[]) AS d (webhook_id, epoch)
           WHERE w.shard = $1 AND w.owner = $2 AND w.webhook_id = d.webhook_id AND w.epoch = d.epoch""",
        shard,
        owner,
        [one[0] for one in which],
        [one[1] for one in which],
    )


async def held_by(tx: Transaction, shard: int, webhook_id: UUID, owner: str, epoch: int) -> bool:
    """Whether the endpoint is active and ours in this epoch."""
    found: bool = await tx.fetchval(
        """SELECT EXISTS (SELECT FROM webhooks WHERE shard = $1 AND webhook_id = $2 AND owner = $3 AND epoch = $4
               AND state = 'active')""",
        shard,
        webhook_id,
        owner,
        epoch,
    )
    return found
