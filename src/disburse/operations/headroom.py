"""How much room a merchant's limits leave: what is used of each in its present day or month. Reads, locks nothing, changes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from disburse.domain.limits import ALL, PAYEE, Limit, Period, Use, Used, day_of, limits_of, room
from disburse.domain.merchant import Merchant
from disburse.storage import limits
from disburse.storage.database import Database, Transaction
from disburse.storage.zones import zone_of


@dataclass(frozen=True, slots=True)
class Headroom:
    """One limit now. `starts_on`: the first day of its period, None for a limit of one payout.

    Of a limit for each payee, `used` is the most that any one of them had, so `left` is there for everybody.
    """

    limit: Limit
    starts_on: date | None
    used: Used
    left: Used


async def read_headroom(database: Database, merchant: Merchant) -> list[Headroom]:
    """The room of every limit of a merchant now, by the database's clock, in the order of their names. Raises StoreUnavailable."""

    async def work(tx: Transaction) -> list[Headroom]:
        return await headroom(tx, merchant, await tx.database_now())

    return await database.run(work)


async def headroom(tx: Transaction, merchant: Merchant, now: datetime) -> list[Headroom]:
    """As `read_headroom`, in a transaction of the caller's; true until the next payout unless the merchant is locked."""
    today = day_of(now, zone_of(merchant.time_zone))
    return [await _one(tx, merchant, limit, today) for limit in sorted(limits_of(merchant.limits), key=lambda one: one.name)]


@dataclass(frozen=True, slots=True)
class Needed:
    """What a file needs of a limit's room, were all of it sent in the present period."""

    room: Headroom
    needs: Used

    @property
    def short(self) -> bool:
        """Whether the limit leaves less. Some rows would be refused then."""
        limit, left = self.room.limit, self.room.left
        return (limit.sum_minor is not None and self.needs.amount_minor > left.amount_minor) or (
            limit.count is not None and self.needs.payouts > left.payouts
        )


def needed(rooms: Sequence[Headroom], totals: Iterable[tuple[str, str, int, int, int]]) -> list[Needed]:
    """What totals (rail, currency, payouts, amount, fee) need of each limit of a day or month. Limits of a payout or payee are not for sums."""
    rows, found = list(totals), []
    for one in rooms:
        limit = one.limit
        mine = [row for row in rows if row[1] == limit.currency and limit.scope in (ALL, row[0])]
        if mine and limit.period is not Period.PAYOUT and limit.scope != PAYEE:
            found.append(Needed(one, Used(sum(row[2] for row in mine), sum(row[3] for row in mine))))
    return found


async def _one(tx: Transaction, merchant: Merchant, limit: Limit, today: date) -> Headroom:
    if limit.period is Period.PAYOUT:
        return Headroom(limit, None, Used(), room(limit, Used()))
    key = Use(merchant.merchant_id, limit.currency, 0, limit.scope, b"", today).key(limit.period, limit.scope)
    if limit.scope == PAYEE:
        used = await limits.fullest_payees(tx, merchant.shard, merchant.merchant_id, limit.currency, key.period, key.starts_on)
    else:
        used = (await limits.counters(tx, merchant.shard, [key])).get(key, Used())
    return Headroom(limit, key.starts_on, used, room(limit, used))
