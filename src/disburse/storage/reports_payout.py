"""One payout's whole story, and the payouts in doubt, for people. SQL only; what it means is told by `operations/explain.py`.

All of it is read-only and wants a snapshot (`Database.snapshot`): a story is told from one moment.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from disburse.domain.attempt import Attempt
from disburse.domain.payout import Payout
from disburse.storage import reports_approvals as approvals
from disburse.storage.database import Transaction
from disburse.storage.payouts import attempts_of
from disburse.storage.reports_requests import Told, of_payout


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, under its merchant's number."""

    number: int
    kind: str
    state: str | None
    attempt: int | None
    detail: str | None
    at: datetime
    actor: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a provider said. `effect`: what it changed."""

    attempt: int | None
    connector: str
    kind: str
    verdict: str
    detail: str
    effect: str
    at: datetime
    actor: str


@dataclass(frozen=True, slots=True)
class Movement:
    """A posting of the payout, under its merchant's number."""

    number: int
    source: str
    destination: str
    amount_minor: int
    reason: str
    at: datetime
    actor: str


@dataclass(frozen=True, slots=True)
class Routing:
    """What was decided about an attempt's route, as text (`domain.routing.Decision`). `looked`: so often since `since`."""

    attempt: int
    decision: str
    looked: int
    since: datetime
    at: datetime


@dataclass(frozen=True, slots=True)
class Story:
    """Everything stored about a payout. `mismatches`: when its reference came with other content. `worker_seen`: any worker.

    `requests`: what persons asked for about it, and what others answered. `approvals`: what it needed before it was sent, the latest
    first.
    """

    payout: Payout
    login: str
    attempts: list[Attempt]
    events: list[Event]
    evidence: list[Evidence]
    movements: list[Movement]
    mismatches: list[datetime]
    worker_seen: datetime | None
    routings: list[Routing] = field(default_factory=list)
    requests: list[Told] = field(default_factory=list)
    approvals: list[approvals.Told] = field(default_factory=list)


async def story(tx: Transaction, payout: Payout) -> Story:
    """The story of a payout."""
    shard, identifier = payout.shard, payout.payout_id
    attempts = await attempts_of(tx, shard, identifier)
    events = await tx.fetch(
        """SELECT number, kind, state, attempt, detail, at, actor FROM events
           WHERE shard = $1 AND merchant_id = $2 AND number BETWEEN $3 AND $4 AND payout_id = $5 ORDER BY number""",
        shard,
        payout.merchant_id,
        payout.first_event,
        payout.last_event,
        identifier,
    )
    evidence = await tx.fetch(
        """SELECT attempt, connector, kind, verdict, detail, effect, heard_at, actor FROM evidence
           WHERE shard = $1 AND end_to_end_id = ANY ($2::text[]) ORDER BY heard_at, digest""",
        shard,
        [attempt.end_to_end_id for attempt in attempts if attempt.end_to_end_id is not None],
    )
    movements = await tx.fetch(
        """SELECT number, source, destination, amount_minor, reason, at, actor FROM postings
           WHERE shard = $1 AND origin_id = $2 ORDER BY number""",
        shard,
        identifier,
    )
    mismatches = await tx.fetch(
        "SELECT at FROM mismatches WHERE shard = $1 AND payout_id = $2 ORDER BY at", shard, identifier
    )
    routings = await tx.fetch(
        """SELECT number, decision, looked, since, at FROM routings WHERE shard = $1 AND payout_id = $2 ORDER BY number""",
        shard,
        identifier,
    )
    login = await tx.fetchval(
        "SELECT login FROM merchant_settings WHERE shard = $1 AND merchant_id = $2", shard, payout.merchant_id
    )
    return Story(
        payout,
        login or "",
        attempts,
        [Event(*row) for row in events],
        [Evidence(*row) for row in evidence],
        [Movement(*row) for row in movements],
        [row[0] for row in mismatches],
        await tx.fetchval("SELECT max(seen_at) FROM workers"),
        [Routing(*row) for row in routings],
        await of_payout(tx, shard, identifier),
        await approvals.told(tx, subject=identifier),
    )


async def by_number(tx: Transaction, merchant_id: int, number: int) -> UUID | None:
    """The payout that a merchant's counter numbered so. There is no index for it: a report may look long."""
    found: UUID | None = await tx.fetchval(
        """SELECT p.payout_id FROM merchants m JOIN payouts p ON p.shard = m.shard AND p.merchant_id = m.merchant_id
           WHERE m.merchant_id = $1 AND p.number = $2""",
        merchant_id,
        number,
    )
    return found


@dataclass(frozen=True, slots=True)
class Doubt:
    """An attempt whose end nobody knows. `asked`: so often; `ask_at`: when its provider is asked next."""

    payout_id: UUID
    merchant_id: int
    login: str
    reference: str | None
    rail: str
    display: str
    currency: str
    amount_minor: int
    connector: str
    end_to_end_id: str
    since: datetime
    asked: int
    ask_at: datetime | None
    frozen: str | None


@dataclass(frozen=True, slots=True)
class Doubtful:
    """All that is in doubt at one provider in one currency."""

    connector: str
    currency: str
    count: int
    amount_minor: int
    since: datetime


async def in_doubt(tx: Transaction, limit: int) -> tuple[list[Doubtful], list[Doubt]]:
    """Sums by provider and currency, and the oldest doubts one by one, at most `limit`."""
    sums = await tx.fetch(
        """SELECT a.connector, p.currency, count(*), sum(p.amount_minor)::int8, min(a.doubt_since)
           FROM attempts a JOIN payouts p ON p.shard = a.shard AND p.payout_id = a.payout_id
           WHERE a.state = 'unknown' GROUP BY 1, 2 ORDER BY 1, 2"""
    )
    rows = await tx.fetch(
        """SELECT p.payout_id, p.merchant_id, m.login, p.reference, p.rail, p.display, p.currency, p.amount_minor, a.connector,
                  a.end_to_end_id, a.doubt_since, a.asked, a.ask_at, p.frozen
           FROM attempts a
           JOIN payouts p ON p.shard = a.shard AND p.payout_id = a.payout_id
           JOIN merchant_settings m ON m.shard = p.shard AND m.merchant_id = p.merchant_id
           WHERE a.state = 'unknown' ORDER BY a.doubt_since, p.payout_id LIMIT $1""",
        limit,
    )
    return [Doubtful(*row) for row in sums], [Doubt(*row) for row in rows]
