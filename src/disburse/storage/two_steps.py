"""What two-step attempts keep: the provider's reference, written once by the attempt's owner, and what was said of an attempt.

Lives here: SQL only. Whether something may be executed is `domain/two_steps.py`; the transactions are `operations/two_steps.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from disburse.domain.attempt import AttemptState
from disburse.domain.two_steps import Said
from disburse.storage.database import Transaction

Key = tuple[UUID, int]
"""Payout and number of an attempt."""


async def keep_references(
    tx: Transaction, shard: int, which: Sequence[tuple[UUID, int, str, int, str]]
) -> dict[Key, str]:
    """Store a reference with each attempt (payout, number, owner, epoch, reference) that is open, that owner's, and has none.

    Returns what was stored. Of two references for one attempt one is stored.
    """
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
    """What was said of these end-to-end ids, and when."""
    rows = await tx.fetch(
        """SELECT end_to_end_id, kind, verdict, heard_at FROM evidence
           WHERE shard = $1 AND end_to_end_id = ANY ($2::text[])""",
        shard,
        list(ids),
    )
    told: dict[str, list[Said]] = {}
    for row in rows:
        at: datetime = row[3]
        told.setdefault(row[0], []).append(Said(row[1], row[2], at))
    return told
