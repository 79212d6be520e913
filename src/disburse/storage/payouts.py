"""Reading payouts and attempts. Writing them is `unit.py`'s; deciding about them is the domain's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from disburse.domain.attempt import Attempt, AttemptState
from disburse.domain.payout import Payout, PayoutState
from disburse.storage.database import Transaction

COLUMNS = """p.shard, p.payout_id, p.merchant_id, p.number, p.surface, p.reference, p.base, p.fingerprint, p.rail, p.currency,
    p.amount_minor, p.fee_minor, p.amount_text, p.display, p.sealed, p.sandbox_only, p.state, p.frozen, p.reason, p.attempts,
    p.returned_minor, p.created_at, p.expires_at, p.updated_at, p.finished_at, p.first_event, p.last_event"""
_STATES = {str(state): state for state in PayoutState}
_WIDTH = 27


def payout_of(row: Any) -> Payout:
    """The payout of a row that begins with `COLUMNS`."""
    values = list(row[:_WIDTH])
    values[16] = _STATES[values[16]]
    return Payout(*values)


WHOLE = f"{COLUMNS}, s.execute_at, p.destination_digest, y.payee_id"
BESIDE = """LEFT JOIN schedules s ON s.shard = $1 AND s.payout_id = p.payout_id
    LEFT JOIN payout_payees y ON y.shard = $1 AND y.payout_id = p.payout_id"""


def whole_of(row: Any) -> Payout:
    """The payout of a row that begins with `WHOLE`, read with `BESIDE`, where $1 is the bucket."""
    payout = payout_of(row)
    payout.execute_at, payout.payee, payout.payee_id = row[_WIDTH : _WIDTH + 3]
    return payout


async def by_id(tx: Transaction, shard: int, ids: Sequence[UUID]) -> dict[UUID, Payout]:
    """The payouts of one bucket that have these ids."""
    return (await by_id_now(tx, shard, ids))[0]


async def by_id_now(tx: Transaction, shard: int, ids: Sequence[UUID]) -> tuple[dict[UUID, Payout], datetime | None]:
    """As `by_id`, with what the database's clock showed then; None where there are no such payouts."""
    rows = await tx.fetch(
        f"SELECT {WHOLE}, clock_timestamp() FROM payouts p {BESIDE} WHERE p.shard = $1 AND p.payout_id = ANY ($2::uuid[])", shard, list(ids)
    )
    return {row[1]: whole_of(row) for row in rows}, max({row[-1] for row in rows}, default=None)


async def by_base(tx: Transaction, shard: int, bases: Sequence[str]) -> dict[str, Payout]:
    """The payouts of one bucket that stand for these obligations (see `identifiers.base_of`)."""
    rows = await tx.fetch(
        f"SELECT {WHOLE} FROM payouts p {BESIDE} WHERE p.shard = $1 AND p.base = ANY ($2::text[])", shard, list(bases)
    )
    return {row[6]: whole_of(row) for row in rows}


_ATTEMPT = """a.number, a.state, a.due_at, a.connector, a.end_to_end_id, a.owner, a.epoch, a.lease_until, a.opened_at,
    a.provider_reference, a.doubt_turns, a.doubt_since, a.asked, a.ask_at, a.ended_at, a.reason"""
_ATTEMPT_STATES = {str(state): state for state in AttemptState}


def _attempt(values: Sequence[Any]) -> Attempt:
    return Attempt(values[0], _ATTEMPT_STATES[values[1]], *values[2:])


async def attempts_of(tx: Transaction, shard: int, payout: UUID) -> list[Attempt]:
    """All attempts of a payout, first to last."""
    rows = await tx.fetch(
        f"SELECT {_ATTEMPT} FROM attempts a WHERE a.shard = $1 AND a.payout_id = $2 ORDER BY a.number", shard, payout
    )
    return [_attempt(tuple(row)) for row in rows]


async def with_attempts(
    tx: Transaction, shard: int, which: Sequence[tuple[UUID, int]]
) -> dict[tuple[UUID, int], tuple[Payout, Attempt]]:
    """Payouts with one named attempt each."""
    rows = await tx.fetch(
        f"""SELECT {COLUMNS}, {_ATTEMPT}
            FROM unnest($2::uuid[], $3::int4[]) AS d (payout_id, number)
            JOIN payouts p ON p.shard = $1 AND p.payout_id = d.payout_id
            JOIN attempts a ON a.shard = $1 AND a.payout_id = d.payout_id AND a.number = d.number""",
        shard,
        [payout for payout, _ in which],
        [number for _, number in which],
    )
    found = {}
    for row in rows:
        attempt = _attempt(tuple(row)[_WIDTH:])
        found[row[1], attempt.number] = (payout_of(row), attempt)
    return found


@dataclass(frozen=True, slots=True)
class Claimable:
    """What a claim looks at. `spoken_of_by`: who spoke of the id of an attempt without a connector; `clock`: the database's."""

    payout: Payout
    attempt: Attempt
    spoken_of_by: str | None
    clock: datetime


_CLAIMABLE = f"""{COLUMNS}, {_ATTEMPT}, CASE WHEN a.connector IS NULL THEN (
        SELECT e.connector FROM evidence e
        WHERE e.shard = $1 AND e.end_to_end_id = p.base || '-' || a.number ORDER BY e.heard_at DESC, e.digest LIMIT 1) END"""
_OF_CHOSEN = """chosen d JOIN payouts p ON p.shard = $1 AND p.payout_id = d.payout_id
    JOIN attempts a ON a.shard = $1 AND a.payout_id = d.payout_id AND a.number = d.number"""


def _claimable(rows: Sequence[Any]) -> list[Claimable]:
    """All of one moment: the clock of the first row."""
    return [Claimable(payout_of(row), _attempt(tuple(row)[_WIDTH:-2]), row[-2], rows[0][-1]) for row in rows]


async def to_claim(
    tx: Transaction, shard: int, which: Sequence[tuple[UUID, int]]
) -> dict[tuple[UUID, int], Claimable]:
    """Payouts with one named attempt each, as a claim needs them. End-to-end ids are spelled as `domain/identifiers.py` does."""
    rows = await tx.fetch(
        f"""WITH chosen AS (SELECT * FROM unnest($2::uuid[], $3::int4[]) AS d (payout_id, number))
            SELECT {_CLAIMABLE}, clock_timestamp() FROM {_OF_CHOSEN}""",
        shard,
        [payout for payout, _ in which],
        [number for _, number in which],
    )
    return {(one.payout.payout_id, one.attempt.number): one for one in _claimable(rows)}


TOO_LATE = timedelta(days=1)
"""Nothing rests, and no question waits, so long: leases are shorter, and so is every step of the schedules."""


async def due(tx: Transaction, shard: int, limit: int) -> list[Claimable]:
    """Attempts that may be claimed by the database's clock, longest waiting first, with all that a claim looks at. Looked for without a lock.

    What is due only after `TOO_LATE` was written while that clock was wrong, and is due.
    """
    rows = await tx.fetch(
        f"""WITH clock AS MATERIALIZED (SELECT clock_timestamp() AS now),
            chosen AS MATERIALIZED (
                (SELECT payout_id, number, due_at FROM attempts
                 WHERE shard = $1 AND state = 'due' AND due_at <= (SELECT now FROM clock) ORDER BY due_at, payout_id LIMIT $3)
                UNION ALL
                (SELECT payout_id, number, due_at FROM attempts
                 WHERE shard = $1 AND state = 'due' AND due_at > (SELECT now + $2::float8 * interval '1 second' FROM clock) ORDER BY due_at, payout_id LIMIT $3)
                ORDER BY due_at, payout_id LIMIT $3)
            SELECT {_CLAIMABLE}, (SELECT now FROM clock) FROM {_OF_CHOSEN} ORDER BY a.due_at, a.payout_id""",
        shard,
        TOO_LATE.total_seconds(),
        limit,
    )
    return _claimable(rows)


class QuestionDue(NamedTuple):
    """An attempt whose next question is due. `lapsed`: it is open, and its owner fell silent."""

    payout_id: UUID
    number: int
    merchant_id: int
    connector: str
    lapsed: bool


async def to_ask(tx: Transaction, shard: int, now: datetime, limit: int) -> list[QuestionDue]:
    """Attempts whose end nobody knows and whose next question is due, most overdue first.

    A question after `TOO_LATE` was set by a clock that was wrong, and is due.
    """
    rows = await tx.fetch(
        """(SELECT payout_id, number, merchant_id, connector, state = 'open', ask_at FROM attempts
            WHERE shard = $1 AND state IN ('open', 'accepted', 'unknown') AND ask_at <= $2 ORDER BY ask_at, payout_id LIMIT $4)
           UNION ALL
           (SELECT payout_id, number, merchant_id, connector, state = 'open', ask_at FROM attempts
            WHERE shard = $1 AND state IN ('open', 'accepted', 'unknown') AND ask_at > $3 ORDER BY ask_at, payout_id LIMIT $4)
           ORDER BY ask_at, payout_id LIMIT $4""",
        shard,
        now,
        now + TOO_LATE,
        limit,
    )
    return [QuestionDue(*tuple(row)[:-1]) for row in rows]


async def to_expire(tx: Transaction, shard: int, now: datetime, limit: int) -> list[tuple[UUID, int]]:
    """Payouts that nobody executed in time: (payout, merchant)."""
    rows = await tx.fetch(
        """SELECT payout_id, merchant_id FROM expiries WHERE shard = $1 AND expires_at <= $2 ORDER BY expires_at, payout_id LIMIT $3""",
        shard,
        now,
        limit,
    )
    return [(row[0], row[1]) for row in rows]


async def settle_expiries(
    tx: Transaction, shard: int, done: Sequence[UUID], later: Sequence[tuple[UUID, datetime]]
) -> None:
    """Take payouts off the sweeper's list, or move them to a later time."""
    if done:
        await tx.execute("DELETE FROM expiries WHERE shard = $1 AND payout_id = ANY ($2::uuid[])", shard, list(done))
    if later:
        await tx.execute(
            """UPDATE expiries e SET expires_at = d.at FROM unnest($2::uuid[], $3::timestamptz[]) AS d (payout_id, at)
               WHERE e.shard = $1 AND e.payout_id = d.payout_id""",
            shard,
            [payout for payout, _ in later],
            [at for _, at in later],
        )


async def refused_by(tx: Transaction, shard: int, which: Sequence[UUID]) -> dict[UUID, set[str]]:
    """Connectors that refused earlier attempts of these payouts."""
    rows = await tx.fetch(
        """SELECT payout_id, connector FROM attempts
           WHERE shard = $1 AND payout_id = ANY ($2::uuid[]) AND state = 'rejected'""",
        shard,
        list(which),
    )
    refused: dict[UUID, set[str]] = {}
    for row in rows:
        refused.setdefault(row[0], set()).add(row[1])
    return refused


async def returns_booked(tx: Transaction, shard: int, which: Sequence[UUID]) -> set[tuple[UUID, str]]:
    """Returns that these payouts' books know already: (payout, phase of the posting)."""
    rows = await tx.fetch(
        """SELECT origin_id, phase FROM postings
           WHERE shard = $1 AND origin_id = ANY ($2::uuid[]) AND reason = 'returned'""",
        shard,
        list(which),
    )
    return {(row[0], row[1]) for row in rows}


async def set_questions(tx: Transaction, shard: int, times: Sequence[tuple[UUID, int, datetime]]) -> None:
    """Count one more question about each attempt and set when the next one is due."""
    if times:
        await tx.execute(
            """UPDATE attempts a SET asked = a.asked + 1, ask_at = d.at
               FROM unnest($2::uuid[], $3::int4[], $4::timestamptz[]) AS d (payout_id, number, at)
               WHERE a.shard = $1 AND a.payout_id = d.payout_id AND a.number = d.number""",
            shard,
            *[list(column) for column in zip(*times, strict=True)],
        )


async def postpone(tx: Transaction, shard: int, times: Sequence[tuple[UUID, int, datetime]]) -> None:
    """Let due attempts rest until a later time."""
    if times:
        await tx.execute(
            """UPDATE attempts a SET due_at = d.at
               FROM unnest($2::uuid[], $3::int4[], $4::timestamptz[]) AS d (payout_id, number, at)
               WHERE a.shard = $1 AND a.payout_id = d.payout_id AND a.number = d.number AND a.state = $5""",
            shard,
            *[list(column) for column in zip(*times, strict=True)],
            AttemptState.DUE,
        )
