"""What the rule of evidence asks of the books beside the payout and its attempt. SQL only, each by a key within one bucket."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from disburse.domain.attempt import AttemptState
from disburse.domain.ledger import Account, Posting, Reason
from disburse.domain.ruling import Live
from disburse.storage.database import Transaction


async def contradictions(tx: Transaction, shard: int, which: Sequence[UUID]) -> tuple[list[Posting], set[tuple[UUID, str]]]:
    """Every contradiction ever booked for these payouts, in order; and (payout, phase) of those that were turned round."""
    rows = await tx.fetch(
        """SELECT merchant_id, currency, source, destination, amount_minor, reason, origin_id, phase FROM postings
           WHERE shard = $1 AND origin_id = ANY ($2::uuid[]) AND reason IN ('contradiction', 'reversal') ORDER BY number""",
        shard,
        list(which),
    )
    booked, turned = [], set()
    for row in rows:
        if row["reason"] == Reason.REVERSAL:
            turned.add((row["origin_id"], row["phase"].removeprefix("reverse-")))
        else:
            source, destination = Account(row["source"]), Account(row["destination"])
            booked.append(
                Posting(row["merchant_id"], row["currency"], source, destination, row["amount_minor"], Reason.CONTRADICTION,
                        row["origin_id"], row["phase"])
            )  # fmt: skip
    return booked, turned


async def live_attempts(
    tx: Transaction, shard: int, which: Sequence[UUID]
) -> dict[UUID, tuple[Live, int, datetime | None]]:
    """The live attempt of each payout, with how often it was doubted and the end of its owner's lease."""
    rows = await tx.fetch(
        """SELECT payout_id, number, state, connector, doubt_turns, lease_until FROM attempts
           WHERE shard = $1 AND payout_id = ANY ($2::uuid[]) AND state NOT IN ('rejected', 'not_sent')""",
        shard,
        list(which),
    )
    return {row[0]: (Live(row[1], AttemptState(row[2]), row[3]), row[4], row[5]) for row in rows}


async def first_not_founds(tx: Transaction, shard: int, ids: Sequence[str]) -> dict[str, datetime]:
    """When the first not-found about each of these ids was stored that was heard in doubt, by the database's clock."""
    rows = await tx.fetch(
        """SELECT end_to_end_id, min(clock_at) FROM evidence
           WHERE shard = $1 AND end_to_end_id = ANY ($2::text[]) AND verdict = 'NotFound' AND clock_at IS NOT NULL
           GROUP BY end_to_end_id""",
        shard,
        list(ids),
    )
    return {row[0]: row[1] for row in rows}
