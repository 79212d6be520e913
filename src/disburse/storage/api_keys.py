"""A merchant's API keys. SQL only; who may make and end them is `operations/api_keys.py`'s.

A key is kept as SHA-256 of at least 128 random bits. The row by which a stranger's key leads to its merchant is in `lookups`; whether
the key is still good stands here, in the merchant's own bucket, and changes under the merchant's lock.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from disburse.storage.database import Transaction

_COLUMNS = "key_id, merchant_id, name, key_digest, ending, created_at, ends_at"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key without the key. `ending`: its last characters. From `ends_at` on it is refused; None: it has no end."""

    key_id: UUID
    merchant_id: int
    name: str
    key_digest: bytes
    ending: str
    created_at: datetime
    ends_at: datetime | None

    def __repr__(self) -> str:
        return f"ApiKey({self.key_id})"


def _key_of(row: Any) -> ApiKey:
    return ApiKey(*row)


async def of_merchant(tx: Transaction, shard: int, merchant_id: int) -> list[ApiKey]:
    """A merchant's keys, the oldest first."""
    rows = await tx.fetch(
        f"SELECT {_COLUMNS} FROM api_keys WHERE shard = $1 AND merchant_id = $2 ORDER BY created_at, key_id", shard, merchant_id
    )
    return [_key_of(row) for row in rows]


async def by_digest(tx: Transaction, shard: int, merchant_id: int, key_digest: bytes) -> ApiKey | None:
    """The key with this digest."""
    row = await tx.fetchrow(
        f"SELECT {_COLUMNS} FROM api_keys WHERE shard = $1 AND merchant_id = $2 AND key_digest = $3", shard, merchant_id, key_digest
    )
    return _key_of(row) if row is not None else None


async def insert(tx: Transaction, shard: int, key: ApiKey, actor: str) -> None:
    """A new key. One that is there already stays as it is."""
    await tx.execute(
        """INSERT INTO api_keys (shard, key_id, merchant_id, name, key_digest, ending, created_at, ends_at, actor)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING""",
        shard, key.key_id, key.merchant_id, key.name, key.key_digest, key.ending, key.created_at, key.ends_at, actor,
    )  # fmt: skip


async def end(tx: Transaction, shard: int, key_id: UUID, at: datetime) -> None:
    """Let a key end then, or earlier if it ends earlier."""
    await tx.execute(
        "UPDATE api_keys SET ends_at = least(coalesce(ends_at, $3), $3) WHERE shard = $1 AND key_id = $2", shard, key_id, at
    )
