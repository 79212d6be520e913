"""Reading a merchant's events: a page at once, or waiting until there is one. Locks nothing.

Waiting is right by polling: the rows are looked at again every `LOOK_S`. It is quick because `Desk.news` is rung for of new events, in
this process at once and from others by NOTIFY; one query then asks for all who wait (`workers/news.py`).
"""

from __future__ import annotations

import asyncio
from typing import Final

from disburse.domain.merchant import Merchant
from disburse.operations.desk import Desk, StoreUnavailable
from disburse.storage import events
from disburse.storage.events import Told

__all__ = ["CHANNEL", "LARGEST_PAGE", "LONGEST_WAIT_S", "Told", "last_numbers", "read_events", "wait_for_events"]

LARGEST_PAGE: Final = 1000
LONGEST_WAIT_S: Final = 60.0
LOOK_S: Final = 2.0
CHANNEL: Final = "disburse_events"
"""NOTIFY channel: some merchant has new events. A hint only."""


async def read_events(
    desk: Desk, merchant: Merchant, after: int, limit: int, *, deadline: float | None = None
) -> list[Told]:
    """The merchant's events after this number, in order, at most `limit` and `LARGEST_PAGE`. Raises StoreUnavailable."""
    most = max(1, min(limit, LARGEST_PAGE))
    return await desk.database.ask(
        lambda tx: events.after(tx, merchant.shard, merchant.merchant_id, max(after, 0), most), deadline=deadline
    )


async def wait_for_events(desk: Desk, merchant: Merchant, after: int, limit: int, within_s: float) -> list[Told]:
    """As `read_events`; where there is none yet, wait for one, up to `within_s` seconds: none after that is an empty list.

    While it waits it holds no connection. A process that is about to end waits for nothing. Raises StoreUnavailable where the first look fails; a later one that does is made again.
    """
    clock, key = desk.world.clock, (merchant.shard, merchant.merchant_id)
    until, first = clock.monotonic() + min(max(within_s, 0.0), LONGEST_WAIT_S), True
    while True:
        ring = desk.news.enter(key)  # before the rows are read, so that nothing can come in between unheard
        try:
            try:
                found = await read_events(desk, merchant, after, limit, deadline=max(until, clock.monotonic() + 2.0))
            except StoreUnavailable:
                if first:
                    raise
                found = []
            first, left = False, until - clock.monotonic()
            if found or left <= 0 or desk.news.closed:
                return found
            await _rung(desk, ring, min(left, LOOK_S))
        finally:
            desk.news.leave(key, ring)


async def _rung(desk: Desk, ring: asyncio.Future[None], seconds: float) -> None:
    try:
        async with desk.world.clock.timeout(seconds):
            await ring
    except TimeoutError:
        pass


async def last_numbers(desk: Desk, shard: int, merchants: list[int]) -> dict[int, int]:
    """The number of each merchant's last event."""
    return await desk.database.ask(lambda tx: events.last_numbers(tx, shard, merchants))
