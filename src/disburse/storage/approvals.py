"""What needs the yes of persons, and what they said: rows that are only added to. SQL only; who may say what is decided in
`operations/policies.py`, under the merchant's lock, and written by its unit.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from disburse.storage.database import Transaction


@dataclass(frozen=True, slots=True)
class Need:
    """A subject (a payout or a registry) that so many persons must agree to. `digest`: of all that they are shown."""

    subject_id: UUID
    digest: bytes
    merchant_id: int
    kind: str
    needed: int
    summary: str
    maker: str
    at: datetime
    actor: str


@dataclass(frozen=True, slots=True)
class Vote:
    """What one person said of a digest. `verdict`: yes or no."""

    digest: bytes
    actor: str
    verdict: str
    why: str
    at: datetime


NEED = "n.subject_id, n.digest, n.merchant_id, n.kind, n.needed, n.summary, n.maker, n.at, n.actor"


async def needs_of(tx: Transaction, shard: int, subject: UUID) -> list[Need]:
    """All that was ever needed for a subject, the latest last."""
    rows = await tx.fetch(
        f"SELECT {NEED} FROM approval_needs n WHERE n.shard = $1 AND n.subject_id = $2 ORDER BY n.at, n.digest", shard, subject
    )
    return [Need(*row) for row in rows]


async def votes_of(tx: Transaction, shard: int, subject: UUID, digest: bytes) -> list[Vote]:
    """What was said of a subject as this digest shows it, first to last."""
    rows = await tx.fetch(
        """SELECT digest, actor, verdict, why, at FROM approvals
           WHERE shard = $1 AND subject_id = $2 AND digest = $3 ORDER BY at, actor""",
        shard,
        subject,
        digest,
    )
    return [Vote(*row) for row in rows]
