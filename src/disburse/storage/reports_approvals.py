"""What waits for the yes of persons, and who has said what, for people. SQL only; all of it wants a snapshot (`Database.snapshot`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from disburse.storage.approvals import NEED, Need, Vote
from disburse.storage.database import Transaction


@dataclass(frozen=True, slots=True)
class Told:
    """A need with names and what was said, for people. `state`: waiting, approved, refused, or what became of the payout."""

    need: Need
    login: str
    maker: str
    votes: list[tuple[str, Vote]]
    state: str


async def told(tx: Transaction, *, subject: UUID | None = None, waiting: bool = False, limit: int = 100) -> list[Told]:
    """Needs for people: one subject's, or those that wait (the oldest first), or all (the latest first). Wants a snapshot."""
    rows = await tx.fetch(
        f"""SELECT {NEED}, coalesce(m.login, '') AS login, coalesce(o.name, n.maker) AS made, n.shard, v.yes, v.no, p.state
            FROM approval_needs n
            LEFT JOIN merchant_settings m ON m.shard = n.shard AND m.merchant_id = n.merchant_id
            LEFT JOIN operators o ON n.maker = 'operator:' || o.operator_id
            LEFT JOIN payouts p ON p.shard = n.shard AND p.payout_id = n.subject_id
            LEFT JOIN LATERAL (SELECT count(*) FILTER (WHERE a.verdict = 'yes') AS yes, count(*) FILTER (WHERE a.verdict = 'no') AS no
                FROM approvals a WHERE a.shard = n.shard AND a.subject_id = n.subject_id AND a.digest = n.digest) AS v ON true
            WHERE ($1::uuid IS NULL OR n.subject_id = $1)
              AND (NOT $2 OR (v.no = 0 AND v.yes < n.needed AND coalesce(p.state, 'awaiting_approval') = 'awaiting_approval'))
            ORDER BY CASE WHEN $2 THEN n.at END, n.at DESC, n.subject_id LIMIT $3""",
        subject,
        waiting,
        limit,
    )
    return [await _told(tx, row) for row in rows]


async def _told(tx: Transaction, row: Any) -> Told:
    need = Need(*tuple(row)[:9])
    login, made, shard, yes, no, payout = tuple(row)[9:]
    votes = await tx.fetch(
        """SELECT a.digest, a.actor, a.verdict, a.why, a.at, coalesce(o.name, a.actor) AS name FROM approvals a
           LEFT JOIN operators o ON a.actor = 'operator:' || o.operator_id
           WHERE a.shard = $1 AND a.subject_id = $2 AND a.digest = $3 ORDER BY a.at, a.actor""",
        shard,
        need.subject_id,
        need.digest,
    )
    state = "refused" if no else "approved" if yes >= need.needed else "waiting"
    if state == "waiting" and payout not in (None, "awaiting_approval"):
        state = payout
    return Told(need, login, made, [(one["name"], Vote(*tuple(one)[:5])) for one in votes], state)
