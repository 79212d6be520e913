"""Merchants, what they may do, and the rows by which they are found. SQL only; who may change what is `operations/merchants.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from typing import Any

from disburse.domain.identifiers import shard_of_lookup
from disburse.domain.merchant import Merchant
from disburse.storage.database import Transaction

_COLUMNS = ", ".join(field.name for field in fields(Merchant))
SETTABLE = frozenset({
    "name", "payouts", "pci_dss", "require_sign", "sbp_bank", "answer_wait_ms", "payout_id_as_number", "json_by_default",
    "state_word", "language", "eshop_id", "fees", "password_digest", "unitpay_key_digest", "unitpay_test_key_digest",
    "sign_key_sealed", "time_zone", "limits", "policies", "execute_unfunded",
})  # fmt: skip
"""Columns of merchant_settings that may be changed after the merchant was made."""


async def read(tx: Transaction, shard: int, merchant_id: int) -> Merchant | None:
    row = await tx.fetchrow(
        f"SELECT {_COLUMNS} FROM merchant_settings WHERE shard = $1 AND merchant_id = $2", shard, merchant_id
    )
    return Merchant(*row) if row is not None else None


async def all_of_shard(tx: Transaction, shard: int) -> list[Merchant]:
    rows = await tx.fetch(f"SELECT {_COLUMNS} FROM merchant_settings WHERE shard = $1 ORDER BY merchant_id", shard)
    return [Merchant(*row) for row in rows]


async def highest_bucket(tx: Transaction) -> int:
    """The highest bucket that any merchant is in; 0 when there is none."""
    highest: int = await tx.fetchval("SELECT coalesce(max(shard), 0) FROM merchant_settings")
    return highest


async def insert(tx: Transaction, merchant: Merchant, at: datetime, actor: str) -> None:
    """The merchant's two rows: the one that is locked, and its settings."""
    await tx.execute(
        "INSERT INTO merchants (shard, merchant_id) VALUES ($1, $2)", merchant.shard, merchant.merchant_id
    )
    values = [getattr(merchant, field.name) for field in fields(Merchant)]
    places = ", ".join(f"${n + 1}" for n in range(len(values) + 2))
    await tx.execute(
        f"INSERT INTO merchant_settings ({_COLUMNS}, created_at, actor) VALUES ({places})", *values, at, actor
    )


async def update(tx: Transaction, shard: int, merchant_id: int, changes: Mapping[str, Any]) -> None:
    """Change settings. The names are checked against SETTABLE, since they become part of the statement."""
    unknown = set(changes) - SETTABLE
    if unknown:
        raise AssertionError(f"not a setting: {sorted(unknown)}")
    names = sorted(changes)
    sets = ", ".join(f"{name} = ${n + 3}" for n, name in enumerate(names))
    await tx.execute(
        f"UPDATE merchant_settings SET {sets} WHERE shard = $1 AND merchant_id = $2",
        shard,
        merchant_id,
        *[changes[name] for name in names],
    )


async def add_lookup(tx: Transaction, kind: str, key_digest: bytes, shard: int, merchant_id: int) -> bool:
    """Make a merchant findable by a key; False when the key is taken by another."""
    inserted = await tx.fetchval(
        """INSERT INTO lookups (shard, kind, key_digest, merchant_shard, merchant_id) VALUES ($1, $2, $3, $4, $5)
           ON CONFLICT DO NOTHING RETURNING 1""",
        shard_of_lookup(key_digest),
        kind,
        key_digest,
        shard,
        merchant_id,
    )
    return inserted is not None or await find(tx, kind, key_digest) == (shard, merchant_id)


async def find(tx: Transaction, kind: str, key_digest: bytes) -> tuple[int, int] | None:
    """(shard, merchant) behind a key."""
    row = await tx.fetchrow(
        "SELECT merchant_shard, merchant_id FROM lookups WHERE shard = $1 AND kind = $2 AND key_digest = $3",
        shard_of_lookup(key_digest),
        kind,
        key_digest,
    )
    return (row[0], row[1]) if row is not None else None


async def next_number(tx: Transaction) -> int:
    """The next merchant's number, from the installation's own row."""
    number: int = await tx.fetchval("UPDATE installation SET merchants = merchants + 1 RETURNING merchants")
    return number


async def settings_changed(tx: Transaction) -> None:
    """Tell every process that remembers settings to read them again: with the commit of the change itself."""
    await tx.execute("UPDATE installation SET settings_version = settings_version + 1")


async def settings_version(tx: Transaction) -> tuple[int, datetime]:
    """How often any merchant's settings were changed, and what the database's clock shows."""
    row = await tx.fetchrow("SELECT settings_version, clock_timestamp() FROM installation")
    if row is None:
        raise AssertionError("a database without an installation")
    return row[0], row[1]


async def add_token(
    tx: Transaction, token_digest: bytes, shard: int, merchant_id: int, expires_at: datetime
) -> None:
    await tx.execute(
        """INSERT INTO tokens (shard, token_digest, merchant_shard, merchant_id, expires_at) VALUES ($1, $2, $3, $4, $5)
           ON CONFLICT DO NOTHING""",
        shard_of_lookup(token_digest),
        token_digest,
        shard,
        merchant_id,
        expires_at,
    )


async def find_token(tx: Transaction, token_digest: bytes) -> tuple[int, int, datetime] | None:
    """(shard, merchant, expiry) of a token, expired or not."""
    row = await tx.fetchrow(
        "SELECT merchant_shard, merchant_id, expires_at FROM tokens WHERE shard = $1 AND token_digest = $2",
        shard_of_lookup(token_digest),
        token_digest,
    )
    return (row[0], row[1], row[2]) if row is not None else None


async def renew_token(tx: Transaction, token_digest: bytes, expires_at: datetime) -> None:
    await tx.execute(
        "UPDATE tokens SET expires_at = $3 WHERE shard = $1 AND token_digest = $2",
        shard_of_lookup(token_digest),
        token_digest,
        expires_at,
    )


async def drop_tokens(tx: Transaction, expired_before: datetime) -> None:
    """Housekeeping: forget tokens that expired."""
    await tx.execute("DELETE FROM tokens WHERE expires_at < $1", expired_before)


async def balances(tx: Transaction, shard: int, merchant_id: int) -> list[tuple[str, str, int]]:
    """(currency, account, minor units) of every account of a merchant, in order."""
    rows = await tx.fetch(
        """SELECT currency, account, balance_minor FROM balances WHERE shard = $1 AND merchant_id = $2
           ORDER BY currency, account""",
        shard,
        merchant_id,
    )
    return [(row[0], row[1], row[2]) for row in rows]
