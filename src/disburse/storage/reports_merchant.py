"""All merchants in one list, for people. SQL only; reads whole tables, so never on a hot path."""

from __future__ import annotations

from disburse.domain.merchant import Merchant
from disburse.storage.database import Transaction
from disburse.storage.merchants import all_of_shard


async def all_merchants(tx: Transaction) -> list[Merchant]:
    """Every merchant of the installation, by number."""
    shards = await tx.fetch("SELECT DISTINCT shard FROM merchant_settings ORDER BY shard")
    found = [merchant for row in shards for merchant in await all_of_shard(tx, row[0])]
    return sorted(found, key=lambda merchant: merchant.merchant_id)
