"""What two-step attempts keep: whose an operation is, its reference with its attempt, and what was said of an attempt.

Lives here: SQL only. Whether something may be executed is `domain/two_steps.py`; the transactions are `operations/two_steps.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from disburse.domain.attempt import AttemptState
from disburse.domain.two_steps import Said
from disburse.storage.database import Transaction

Key = tuple[UUID, int]
"""Payout and number of an attempt."""

Operation = tuple[str, str]
"""Connector and the provider's reference."""


@dataclass(frozen=True, slots=True)
class Made:
    """An operation that a provider made for an attempt, which it knows by `end_to_end_id`, and who fences it."""

    operation: Operation
    attempt: Key
    end_to_end_id: str
    owner: str
    epoch: int
    at: datetime
    actor: str


async def take_operations(tx: Transaction, shard: int, made: Sequence[Made]) -> dict[Operation, Key]:
    """Let each operation be its attempt's, for ever, unless it is another's. Returns whose each is now.

    Also of an attempt that is not open any more: what was made for one is never executed for another. Nothing is taken for an
    attempt that is not there. Who takes one that another transaction is about to take waits for the end of that; all take
    in one order, and hold nothing that the other could be waiting for, so nobody waits for ever.
    """
    rows = [(*one.operation, *one.attempt, one.end_to_end_id, one.at, one.actor) for one in made]
    taken = await tx.fetch(
        """INSERT INTO provider_operations (connector, reference, payout_id, number, at, actor)
           SELECT d.connector, d.reference, d.payout_id, d.number, d.at, d.actor
           FROM unnest($2::text[], $3::text[], $4::uuid[], $5::int4[], $6::text[], $7::timestamptz[], $8::text[])
                   AS d (connector, reference, payout_id, number, id, at, actor)
               JOIN attempts a ON a.shard = $1 AND a.payout_id = d.payout_id AND a.number = d.number
           WHERE a.connector = d.connector AND a.end_to_end_id = d.id
           ORDER BY d.connector, d.reference, d.payout_id, d.number
           ON CONFLICT DO NOTHING RETURNING connector, reference, payout_id, number""",
        shard,
        *[list(column) for column in zip(*rows, strict=True)],
    )
    whose: dict[Operation, Key] = {(row[0], row[1]): (row[2], row[3]) for row in taken}
    older = sorted({one.operation for one in made} - whose.keys())
    if older:
        found = await tx.fetch(
            """SELECT o.connector, o.reference, o.payout_id, o.number
               FROM unnest($1::text[], $2::text[]) AS d (connector, reference)
                   JOIN provider_operations o ON o.connector = d.connector AND o.reference = d.reference""",
            *[list(column) for column in zip(*older, strict=True)],
        )
        whose |= {(row[0], row[1]): (row[2], row[3]) for row in found}
    return whose


async def keep_references(tx: Transaction, shard: int, made: Sequence[Made]) -> dict[Key, str]:
    """Store the reference with each attempt that is open, that owner's in that epoch, has none, and whose operation it is.

    Returns what was stored. Of two references for one attempt one is stored.
    """
    which = [(*one.attempt, one.owner, one.epoch, one.operation[1]) for one in made]
    rows = await tx.fetch(
        """UPDATE attempts a SET provider_reference = d.reference
           FROM unnest($2::uuid[], $3::int4[], $4::text[], $5::int4[], $6::text[]) AS d (payout_id, number, owner, epoch, reference),
               payouts p
           WHERE a.shard = $1 AND a.payout_id = d.payout_id AND a.number = d.number AND a.state = $7 AND a.owner = d.owner
             AND a.epoch = d.epoch AND a.provider_reference IS NULL
             AND p.shard = $1 AND p.payout_id = d.payout_id AND p.frozen IS NULL
           RETURNING a.payout_id, a.number, a.provider_reference""",
        shard,
        *[list(column) for column in zip(*which, strict=True)],
        AttemptState.OPEN,
    )
    return {(row[0], row[1]): row[2] for row in rows}


async def said_of(tx: Transaction, shard: int, ids: Sequence[str]) -> dict[str, list[Said]]:
    """What was said of these end-to-end ids, and when by the database's clock, where that was kept."""
    rows = await tx.fetch(
        """SELECT end_to_end_id, kind, verdict, coalesce(clock_at, heard_at) FROM evidence
           WHERE shard = $1 AND end_to_end_id = ANY ($2::text[]) ORDER BY end_to_end_id, digest""",
        shard,
        list(ids),
    )
    told: dict[str, list[Said]] = {}
    for row in rows:
        at: datetime = row[3]
        told.setdefault(row[0], []).append(Said(row[1], row[2], at))
    return told
