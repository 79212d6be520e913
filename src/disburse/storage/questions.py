"""When providers are asked, and tried again: the questions of a bucket put off or brought forward, and its tries. SQL only; why is `operations/questions.py`'s."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from disburse.storage.database import Transaction


async def waiting_longer(
    tx: Transaction, shard: int, connector: str, than: datetime, limit: int
) -> list[tuple[UUID, int, int]]:
    """Attempts at a provider that are to be asked about only after a time: (payout, number, merchant), the soonest first."""
    rows = await tx.fetch(
        """SELECT payout_id, number, merchant_id FROM attempts
           WHERE shard = $1 AND state IN ('accepted', 'unknown') AND state IN ('open', 'accepted', 'unknown')
             AND ask_at > $3 AND connector = $2 ORDER BY ask_at, payout_id LIMIT $4""",
        shard,
        connector,
        than,
        limit,
    )
    return [(row[0], row[1], row[2]) for row in rows]


async def resting_longer(
    tx: Transaction, shard: int, connector: str, than: datetime, limit: int
) -> list[tuple[UUID, int, int]]:
    """Attempts that are due only after a time, and whose last one provably never reached this provider; as `waiting_longer`."""
    rows = await tx.fetch(
        """SELECT a.payout_id, a.number, a.merchant_id FROM attempts a
           JOIN attempts last ON last.shard = $1 AND last.payout_id = a.payout_id AND last.number = a.number - 1
           WHERE a.shard = $1 AND a.state = 'due' AND a.due_at > $3 AND last.connector = $2 AND last.state = 'not_sent'
           ORDER BY a.due_at, a.payout_id LIMIT $4""",
        shard,
        connector,
        than,
        limit,
    )
    return [(row[0], row[1], row[2]) for row in rows]


async def try_sooner(tx: Transaction, shard: int, times: Sequence[tuple[UUID, int, datetime]]) -> None:
    """Let these attempts be due where that is sooner than it was."""
    if times:
        await tx.execute(
            """UPDATE attempts a SET due_at = d.at
               FROM unnest($2::uuid[], $3::int4[], $4::timestamptz[]) AS d (payout_id, number, at)
               WHERE a.shard = $1 AND a.payout_id = d.payout_id AND a.number = d.number AND a.state = 'due' AND d.at < a.due_at""",
            shard,
            *[list(column) for column in zip(*times, strict=True)],
        )


async def move(
    tx: Transaction, shard: int, times: Sequence[tuple[UUID, int, datetime]], *, sooner: bool, asked_at_most: int = 2**31 - 1
) -> None:
    """Set when these attempts are asked about next, where that is sooner than it was, or later. An end is not undone by it.

    `asked_at_most`: as how often asked they count from then on, so that the questions after the next one come soon, too.
    """
    if times:
        await tx.execute(
            """UPDATE attempts a SET ask_at = d.at, asked = least(a.asked, $7)
               FROM unnest($2::uuid[], $3::int4[], $4::timestamptz[]) AS d (payout_id, number, at)
               WHERE a.shard = $1 AND a.payout_id = d.payout_id AND a.number = d.number
                 AND a.state = ANY ($5::text[]) AND (d.at < a.ask_at) = $6""",
            shard,
            *[list(column) for column in zip(*times, strict=True)],
            ["accepted", "unknown"],
            sooner,
            asked_at_most,
        )
