"""What a merchant had at a time, from the postings. SQL only; which postings have to be added up is `operations/balances.py`'s."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from disburse.storage.database import Transaction

_SIDES = "CROSS JOIN LATERAL (VALUES (p.destination, p.amount_minor), (p.source, -p.amount_minor)) AS side (account, minor)"


async def last_posting(tx: Transaction, shard: int, merchant_id: int) -> int:
    """The number of a merchant's last posting, 0 before the first."""
    number: int | None = await tx.fetchval("SELECT postings FROM merchants WHERE shard = $1 AND merchant_id = $2", shard, merchant_id)
    return number or 0


async def time_of_posting(tx: Transaction, shard: int, merchant_id: int, number: int) -> datetime:
    """When a posting was made. It must be there: numbers have no gaps."""
    at: datetime = await tx.fetchval(
        "SELECT at FROM postings WHERE shard = $1 AND merchant_id = $2 AND number = $3", shard, merchant_id, number
    )
    return at


async def added_up(tx: Transaction, shard: int, merchant_id: int, last: int, at: datetime) -> list[tuple[str, str, int]]:
    """(currency, account, minor units): the postings up to number `last` that were made at this time or before."""
    rows = await tx.fetch(
        f"""SELECT p.currency, side.account, sum(side.minor)::int8 FROM postings p {_SIDES}
            WHERE p.shard = $1 AND p.merchant_id = $2 AND p.number <= $3 AND p.at <= $4
            GROUP BY p.currency, side.account ORDER BY p.currency, side.account""",
        shard,
        merchant_id,
        last,
        at,
    )
    return _of(rows)


async def taken_back(tx: Transaction, shard: int, merchant_id: int, after: int, at: datetime) -> list[tuple[str, str, int]]:
    """The same from the other end: the balances now, less the postings after number `after` that were made later than this time.

    One statement, so that both are of one moment.
    """
    rows = await tx.fetch(
        f"""SELECT b.currency, b.account, b.balance_minor - coalesce(later.minor, 0)
            FROM balances b LEFT JOIN (
                SELECT p.currency, side.account, sum(side.minor)::int8 AS minor FROM postings p {_SIDES}
                WHERE p.shard = $1 AND p.merchant_id = $2 AND p.number > $3 AND p.at > $4
                GROUP BY p.currency, side.account) AS later ON later.currency = b.currency AND later.account = b.account
            WHERE b.shard = $1 AND b.merchant_id = $2 ORDER BY b.currency, b.account""",
        shard,
        merchant_id,
        after,
        at,
    )
    return _of(rows)


def _of(rows: list[Any]) -> list[tuple[str, str, int]]:
    return [(row[0], row[1], row[2]) for row in rows]
