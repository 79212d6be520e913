"""Idempotency keys as they are kept. Those of payouts are written by the unit of the transaction that did the work (`unit.py`), the others here."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from disburse.storage.database import Transaction


class Known(NamedTuple):
    """What a request with this key came to. Either `payout_id`, or `subject_id` (an endpoint, an API key, a payee, a registry; `proof` is the
    SHA-256 of a secret that it made), or `refusal` (its name) and `detail` (its words)."""

    fingerprint: bytes
    payout_id: UUID | None
    refusal: str | None
    detail: str | None
    subject_id: UUID | None = None
    proof: bytes | None = None


async def by_digest(
    tx: Transaction, shard: int, which: Sequence[tuple[int, bytes]]
) -> dict[tuple[int, bytes], Known]:
    """The keys of one bucket that are known, by merchant and digest."""
    if not which:
        return {}
    rows = await tx.fetch(
        """SELECT k.merchant_id, k.key_digest, k.fingerprint, k.payout_id, k.refusal, k.detail, k.subject_id, k.proof
           FROM unnest($2::int4[], $3::bytea[]) AS d (merchant_id, key_digest)
           JOIN idempotency_keys k ON k.shard = $1 AND k.merchant_id = d.merchant_id AND k.key_digest = d.key_digest""",
        shard,
        [merchant for merchant, _ in which],
        [digest for _, digest in which],
    )
    return {(row[0], row[1]): Known(*row[2:]) for row in rows}


async def add(tx: Transaction, shard: int, merchant: int, digest: bytes, known: Known, at: datetime, actor: str) -> None:
    """Keep what a key came to, for ever."""
    await tx.execute(
        """INSERT INTO idempotency_keys (shard, merchant_id, key_digest, fingerprint, payout_id, refusal, detail, subject_id, proof, at, actor)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)""",
        shard, merchant, digest, *known, at, actor,
    )  # fmt: skip
