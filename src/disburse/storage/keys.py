"""Idempotency keys as they are kept. Reading only; they are written by the unit of the transaction that did the work (`unit.py`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from disburse.storage.database import Transaction


class Known(NamedTuple):
    """What a request with this key came to. Either `payout_id`, or `refusal` (its name) and `detail` (its words)."""

    fingerprint: bytes
    payout_id: UUID | None
    refusal: str | None
    detail: str | None


async def by_digest(
    tx: Transaction, shard: int, which: Sequence[tuple[int, bytes]]
) -> dict[tuple[int, bytes], Known]:
    """The keys of one bucket that are known, by merchant and digest."""
    if not which:
        return {}
    rows = await tx.fetch(
        """SELECT k.merchant_id, k.key_digest, k.fingerprint, k.payout_id, k.refusal, k.detail
           FROM unnest($2::int4[], $3::bytea[]) AS d (merchant_id, key_digest)
           JOIN idempotency_keys k ON k.shard = $1 AND k.merchant_id = d.merchant_id AND k.key_digest = d.key_digest""",
        shard,
        [merchant for merchant, _ in which],
        [digest for _, digest in which],
    )
    return {(row[0], row[1]): Known(*row[2:]) for row in rows}
