"""What the duplicate guard remembers of payouts, and how it is found again. SQL only; what is asked about is `domain/duplicates.py`'s.

A trace is made of a payout after it was made, by whoever plans a registry (or by a worker before that): the merchant's events, which
have no gaps, say which payouts are new. So no door writes or waits for any of this. Traces older than the window are forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from disburse.domain.duplicates import FEW, Trace
from disburse.domain.identifiers import first_id_of
from disburse.storage.database import Transaction

EVENTS: int = 5_000
"""So many events are followed at once."""


class New(NamedTuple):
    """A payout that is not remembered yet. `person`, `patronymic`, `short` are None where no registry told its name."""

    payout_id: UUID
    destination_digest: bytes
    comment: str | None
    created_at: datetime
    person: int | None
    patronymic: int | None
    short: int | None


async def place(tx: Transaction, shard: int, merchant: int) -> int:
    """Up to which event a merchant's payouts are remembered. 0 before the first."""
    await tx.execute(
        "INSERT INTO duplicate_places (shard, merchant_id, event_to) VALUES ($1, $2, 0) ON CONFLICT DO NOTHING", shard, merchant
    )
    found: int = await tx.fetchval(
        "SELECT event_to FROM duplicate_places WHERE shard = $1 AND merchant_id = $2", shard, merchant
    )
    return found


async def most_behind(tx: Transaction, shard: int, events: int) -> int | None:
    """A merchant of whom so many events were not followed, though some were: who never planned a registry needs no memory."""
    found: int | None = await tx.fetchval(
        """SELECT p.merchant_id FROM duplicate_places p JOIN merchants m ON m.shard = $1 AND m.merchant_id = p.merchant_id
           WHERE p.shard = $1 AND m.events >= p.event_to + $2 ORDER BY p.merchant_id LIMIT 1""",
        shard, events,
    )  # fmt: skip
    return found


async def last_event(tx: Transaction, shard: int, merchant: int, after: int, since: datetime) -> tuple[int, int]:
    """From which event on a merchant's payouts are worth remembering, and its last event.

    The first event is looked for by halving, since times rise with numbers: a merchant's first registry reads the window alone.
    """
    last: int = await tx.fetchval("SELECT events FROM merchants WHERE shard = $1 AND merchant_id = $2", shard, merchant) or 0
    low, high = after, last
    while high - low > EVENTS:
        middle = (low + high) // 2
        at = await tx.fetchval("SELECT at FROM events WHERE shard = $1 AND merchant_id = $2 AND number = $3", shard, merchant, middle)
        if at < since:
            low = middle
        else:
            high = middle
    return low, last


async def new_payouts(tx: Transaction, shard: int, merchant: int, after: int, to: int) -> list[New]:
    """The payouts whose first event is after one and up to another."""
    rows = await tx.fetch(
        """SELECT p.payout_id, p.destination_digest, p.comment, p.created_at, n.person, n.patronymic, n.short
           FROM events e JOIN payouts p ON p.shard = $1 AND p.payout_id = e.payout_id
           LEFT JOIN duplicate_names n ON n.shard = $1 AND n.payout_id = e.payout_id
           WHERE e.shard = $1 AND e.merchant_id = $2 AND e.number > $3 AND e.number <= $4 AND p.first_event = e.number
           ORDER BY e.number""",
        shard, merchant, after, to,
    )  # fmt: skip
    return [New(*tuple(row)) for row in rows]


async def any_since(tx: Transaction, shard: int, merchant: int, since: datetime) -> bool:
    """Whether a merchant's payouts are newer than this; where thousands of events are, that is taken for granted."""
    low, last = await last_event(tx, shard, merchant, 0, since)
    if last - low > EVENTS:
        return True
    return any(one.created_at >= since for one in await new_payouts(tx, shard, merchant, low, last))


class Met(NamedTuple):
    """A good row of a registry whose destination or name a newer payout has. `person`, `patronymic`, `short` are None where the row had no name."""

    number: int
    line: int
    amount_minor: int
    currency: str
    comment: str | None
    destination_digest: bytes
    person: int | None
    patronymic: int | None
    short: int | None


async def repeated_since(tx: Transaction, shard: int, registry: UUID, after: int, to: int, since: datetime) -> list[Met]:
    """Rows of a registry between two numbers whose destination or name has a trace since then, and that have no payout of their own reference."""
    rows = await tx.fetch(
        """WITH met AS MATERIALIZED (
               SELECT r.number, r.line, r.amount_minor, r.currency, r.comment, r.destination_digest, r.base, n.person, n.patronymic, n.short
               FROM registry_rows r
               LEFT JOIN duplicate_names n ON n.shard = $1 AND n.payout_id = r.payout_id
               LEFT JOIN LATERAL (SELECT 1 AS hit FROM duplicate_traces WHERE shard = $1
                   AND place = coalesce(nullif(('x' || encode(substr(r.destination_digest, 1, 8), 'hex'))::bit(64)::int8, 0), 1) AND at >= $5
                   ORDER BY at DESC LIMIT 1) AS a ON true
               LEFT JOIN LATERAL (SELECT 1 AS hit FROM duplicate_traces WHERE shard = $1 AND person = n.person AND person <> 0 AND at >= $5
                   ORDER BY at DESC LIMIT 1) AS b ON true
               WHERE r.shard = $1 AND r.registry_id = $2 AND r.number > $3 AND r.number <= $4 AND r.verdict = 'good'
                   AND (a.hit IS NOT NULL OR b.hit IS NOT NULL))
           SELECT m.number, m.line, m.amount_minor, m.currency, m.comment, m.destination_digest, m.person, m.patronymic, m.short FROM met m
           LEFT JOIN LATERAL (SELECT 1 AS hit FROM payouts WHERE shard = $1 AND base = m.base ORDER BY base LIMIT 1) AS own ON true
           WHERE own.hit IS NULL ORDER BY m.number""",
        shard, registry, after, to, since,
    )  # fmt: skip
    return [Met(*tuple(row)) for row in rows]


async def add_traces(tx: Transaction, shard: int, merchant: int, traces: Sequence[tuple[Trace, datetime]], to: int) -> None:
    """Remember payouts, and that all up to this event are."""
    if traces:
        columns = list(zip(*[(t.payout, at, t.place, t.person, t.patronymic, t.short, t.number, t.detail, t.telling, t.words)
                             for t, at in traces], strict=True))  # fmt: skip
        await tx.execute(
            """INSERT INTO duplicate_traces (shard, payout_id, merchant_id, at, place, person, patronymic, short, number, detail, telling, words)
               SELECT $1, a.payout_id, $2, a.at, a.place, a.person, a.patronymic, a.short, a.number, a.detail, a.telling, a.words
               FROM unnest($3::uuid[], $4::timestamptz[], $5::int8[], $6::int8[], $7::int2[], $8::int8[], $9::int8[], $10::int8[],
                   $11::int8[], $12::int8[]) AS a(payout_id, at, place, person, patronymic, short, number, detail, telling, words)
               ON CONFLICT DO NOTHING""",
            shard, merchant, *[list(column) for column in columns],
        )  # fmt: skip
    await tx.execute("UPDATE duplicate_places SET event_to = greatest(event_to, $3) WHERE shard = $1 AND merchant_id = $2", shard, merchant, to)


async def forget(tx: Transaction, shard: int, before: datetime, limit: int) -> int:
    """Forget traces and names of payouts that were made before a time, so many at once. Returns how many of whichever were more: `limit` means that there
    may be others.

    They are found by their ids, which rise with the time at which they were drawn: that is never after the payout was made. Names of rows that never
    became payouts go by that time alone.
    """
    first = first_id_of(before)
    rows = await tx.fetch(
        """DELETE FROM duplicate_traces WHERE shard = $1 AND payout_id = ANY (ARRAY(
               SELECT payout_id FROM duplicate_traces WHERE shard = $1 AND payout_id < $2 AND at < $3 ORDER BY payout_id LIMIT $4)) RETURNING 1""",
        shard, first, before, limit,
    )  # fmt: skip
    names = await tx.fetch(
        """DELETE FROM duplicate_names WHERE shard = $1 AND payout_id = ANY (ARRAY(
               SELECT payout_id FROM duplicate_names WHERE shard = $1 AND payout_id < $2 ORDER BY payout_id LIMIT $3)) RETURNING 1""",
        shard, first, limit,
    )  # fmt: skip
    return max(len(rows), len(names))


_COLUMNS = """t.place, t.person, t.patronymic, t.short, t.number, t.detail, t.telling, t.words, t.at, t.payout_id, p.amount_minor, p.currency,
    p.display, p.frozen IS NOT NULL OR p.state NOT IN ('failed', 'cancelled', 'expired', 'returned') OR p.returned_minor < p.amount_minor
        AND p.state = 'returned'"""


async def past(tx: Transaction, shard: int, merchant: int, rows: Iterable[Trace], since: datetime) -> list[Trace]:
    """The traces of earlier payouts that share a destination, a name or a number with these rows, newest first.

    Of each key the newest `FEW`; of a destination also the newest `FEW` that say exactly what the row says.
    """
    asked = list(rows)
    places = dict.fromkeys(row.place for row in asked)
    persons = dict.fromkeys(row.person for row in asked if row.person)
    numbers = dict.fromkeys(row.number for row in asked if row.number)
    said = dict.fromkeys((row.place, row.number, row.detail) for row in asked if row.number or row.detail)
    exact = list(zip(*said, strict=True)) if said else [(), (), ()]
    found = await tx.fetch(
        f"""WITH wanted AS MATERIALIZED (
               SELECT l.payout_id FROM unnest($4::int8[]) AS a(key) CROSS JOIN LATERAL (
                   SELECT payout_id FROM duplicate_traces WHERE shard = $1 AND place = a.key AND at >= $3
                   ORDER BY at DESC LIMIT {FEW}) AS l
               UNION
               SELECT l.payout_id FROM unnest($5::int8[]) AS a(key) CROSS JOIN LATERAL (
                   SELECT payout_id FROM duplicate_traces WHERE shard = $1 AND person = a.key AND person <> 0 AND at >= $3
                   ORDER BY at DESC LIMIT {FEW}) AS l
               UNION
               SELECT l.payout_id FROM unnest($6::int8[]) AS a(key) CROSS JOIN LATERAL (
                   SELECT payout_id FROM duplicate_traces WHERE shard = $1 AND merchant_id = $2 AND number = a.key AND number <> 0 AND at >= $3
                   ORDER BY at DESC LIMIT {FEW}) AS l
               UNION
               SELECT l.payout_id FROM unnest($7::int8[], $8::int8[], $9::int8[]) AS a(key, number, detail) CROSS JOIN LATERAL (
                   SELECT payout_id FROM duplicate_traces WHERE shard = $1 AND place = a.key AND at >= $3 AND number = a.number
                       AND detail = a.detail AND (number <> 0 OR detail <> 0) ORDER BY at DESC LIMIT {FEW}) AS l)
           SELECT {_COLUMNS} FROM wanted w
           CROSS JOIN LATERAL (SELECT * FROM duplicate_traces WHERE shard = $1 AND payout_id = w.payout_id ORDER BY payout_id LIMIT 1) AS t
           CROSS JOIN LATERAL (SELECT * FROM payouts WHERE shard = $1 AND payout_id = w.payout_id ORDER BY payout_id LIMIT 1) AS p
           WHERE t.merchant_id = $2 ORDER BY t.at DESC, t.payout_id DESC""",
        shard, merchant, since, list(places), list(persons), list(numbers), *[list(column) for column in exact],
    )  # fmt: skip
    return [_trace(row) for row in found]


def _trace(row: Any) -> Trace:
    at: datetime = row[8]
    place, person, patronymic, short, number, detail, telling, words = tuple(row)[:8]
    return Trace(place, person, patronymic, short, number, detail, telling, words, row[10], row[11], int(at.timestamp()), row[13], 0, row[9],
                 row[12])  # fmt: skip
