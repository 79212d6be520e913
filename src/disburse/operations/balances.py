"""A merchant's money now and as of a time. Reads, and changes nothing.

What it was at a time is the sum of the postings that were made until then: exact, since a posting is never changed. A merchant may have
millions, so they are added up from the end that is nearer: from the beginning on, or from the balances now backwards. Where a time lies among
the numbers is found by halving, a day too early and a day too late: the clocks of our processes may differ, and a posting's time is
drawn before its number. What is in between is decided posting by posting.

A transaction that is under way now may yet add a posting of some seconds ago; what lies further back does not change any more.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from disburse.domain.merchant import Merchant
from disburse.storage import balances_at, merchants
from disburse.storage.database import Database, Transaction

__all__ = ["balances_as_of", "balances_of"]

CLOCKS_DIFFER: Final = timedelta(days=1)


async def balances_of(database: Database, merchant: Merchant) -> dict[str, dict[str, int]]:
    """Minor units by currency and account; accounts of several providers are one. Raises StoreUnavailable."""
    return _by_kind(await database.ask(lambda tx: merchants.balances(tx, merchant.shard, merchant.merchant_id)))


async def balances_as_of(
    database: Database, merchant: Merchant, at: datetime, *, clocks_differ: timedelta = CLOCKS_DIFFER
) -> dict[str, dict[str, int]]:
    """The same as of a time, postings of that very moment included. Raises StoreUnavailable, also where there is too much to add up."""

    async def work(tx: Transaction) -> list[tuple[str, str, int]]:
        shard, owner = merchant.shard, merchant.merchant_id
        last = await balances_at.last_posting(tx, shard, owner)
        low = await _latest_before(tx, merchant, last, at - clocks_differ)
        high = await _latest_before(tx, merchant, last, at + clocks_differ)
        if high <= last - low:
            return await balances_at.added_up(tx, shard, owner, high, at)
        return await balances_at.taken_back(tx, shard, owner, low, at)

    return _by_kind(await database.ask(work))


async def _latest_before(tx: Transaction, merchant: Merchant, last: int, end: datetime) -> int:
    """The number of the latest posting before a time, 0 where there is none: found by halving."""
    low, high = 0, last  # the answer is from low to high
    while low < high:
        middle = (low + high + 1) // 2
        if await balances_at.time_of_posting(tx, merchant.shard, merchant.merchant_id, middle) < end:
            low = middle
        else:
            high = middle - 1
    return low


def _by_kind(rows: Iterable[tuple[str, str, int]]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for currency, account, minor in rows:
        sums, kind = found.setdefault(currency, {}), account.partition(":")[0]
        sums[kind] = sums.get(kind, 0) + minor
    return found
