"""A merchant's lists: payouts and top-ups, newest first, page by page. Reads, and changes nothing.

A page of payouts is a walk back over the merchant's events, and a walk has a bound: with a filter that few payouts pass, a page may
hold fewer than were asked for and still not be the last. Where it goes on is an event's number, so nothing is skipped or told twice
however many payouts are made meanwhile. Times are only used to leave out stretches that lie a day or more outside of what is asked
for: the clocks of our processes may differ, and a payout's time is drawn before its number.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from disburse.domain.merchant import Merchant
from disburse.domain.payout import Payout
from disburse.operations.desk import Desk
from disburse.operations.payouts import Found
from disburse.storage import listing
from disburse.storage.database import Database, Transaction
from disburse.storage.listing import Filters, TopUpRow

__all__ = ["Filters", "Page", "TopUpRow", "find_by_reference", "list_payouts", "list_top_ups"]

STRETCH = 2000
"""Events read by one statement."""
STRETCHES = 5
"""Statements a page, at most."""
CLOCKS_DIFFER = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Page:
    """A page of payouts. `next_before`: where the next one begins; None when there is none."""

    payouts: list[Payout]
    next_before: int | None


async def list_payouts(
    database: Database, merchant: Merchant, filters: Filters, before: int | None, limit: int, *, stretch: int = STRETCH
) -> Page:
    """The newest payouts that pass, made before the event numbered `before`. Raises StoreUnavailable."""

    async def work(tx: Transaction) -> Page:
        newest = await listing.newest_event(tx, merchant.shard, merchant.merchant_id)
        last = min(newest, before - 1) if before is not None else newest
        if filters.created_to is not None:
            last = await _latest_before(tx, merchant, last, filters.created_to + CLOCKS_DIFFER)
        found: list[Payout] = []
        for _ in range(STRETCHES):
            if last < 1:
                return Page(found, None)
            first = max(last - stretch + 1, 1)
            found += await listing.payouts_between(
                tx, merchant.shard, merchant.merchant_id, first, last, filters, limit - len(found)
            )
            if len(found) == limit:
                return Page(found, found[-1].first_event if found[-1].first_event > 1 else None)
            last = first - 1
            if last >= 1 and await _past(tx, merchant, first, filters.created_from):
                return Page(found, None)
        return Page(found, last + 1 if last >= 1 else None)

    return await database.run(work)


async def _past(tx: Transaction, merchant: Merchant, number: int, created_from: datetime | None) -> bool:
    """Whether everything before an event is too old to be asked for."""
    if created_from is None:
        return False
    at = await listing.time_of_event(tx, merchant.shard, merchant.merchant_id, number)
    return at < created_from - CLOCKS_DIFFER


async def _latest_before(tx: Transaction, merchant: Merchant, last: int, end: datetime) -> int:
    """The number of the latest event before a time, among those up to `last`: found by halving."""
    low, high = 0, last  # the answer is from low to high
    while low < high:
        middle = (low + high + 1) // 2
        if await listing.time_of_event(tx, merchant.shard, merchant.merchant_id, middle) < end:
            low = middle
        else:
            high = middle - 1
    return low


async def find_by_reference(
    desk: Desk, merchant: Merchant, surface: str, reference: str, *, deadline: float
) -> Payout | None:
    """The payout of a reference. None is true of every transaction that had begun when this was asked.

    Raises StoreUnavailable, Withdrawn.
    """
    base = desk.base(merchant, surface, reference, UUID(int=0))
    found = await desk.look(merchant, base, deadline=deadline)
    if not isinstance(found, Found):
        found = await desk.look_again(merchant, base, deadline=deadline)
    return found.payout if isinstance(found, Found) else None


async def list_top_ups(database: Database, merchant: Merchant, before: int | None, limit: int) -> list[TopUpRow]:
    """Top-ups whose id is below `before` (an id as a number), newest first. Raises StoreUnavailable."""
    place = UUID(int=before) if before is not None else None
    return await database.ask(
        lambda tx: listing.top_ups_before(tx, merchant.shard, merchant.merchant_id, place, limit)
    )
