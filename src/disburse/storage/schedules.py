"""Payouts that wait for a time, or for money: who is to be looked at now, and what becomes of the lists. SQL only; what is decided about
them is `operations/timely.py`'s. Times are compared with the database's clock, which the caller has read.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from disburse.storage.database import Transaction


async def due(tx: Transaction, shard: int, now: datetime, limit: int) -> list[tuple[UUID, int]]:
    """Payouts (with their merchants) whose time has come, the longest overdue first."""
    rows = await tx.fetch(
        """SELECT payout_id, merchant_id FROM schedules
           WHERE shard = $1 AND done_at IS NULL AND look_at <= $2 ORDER BY look_at, payout_id LIMIT $3""",
        shard,
        now,
        limit,
    )
    return [(row[0], row[1]) for row in rows]


async def settle(tx: Transaction, shard: int, done: Sequence[UUID], later: Sequence[tuple[UUID, datetime]], now: datetime) -> None:
    """Take payouts off the list: their time has come, `now`. Or look at them at a later time."""
    if done:
        await tx.execute(
            "UPDATE schedules SET done_at = $3 WHERE shard = $1 AND payout_id = ANY ($2::uuid[]) AND done_at IS NULL", shard, list(done), now
        )
    if later:
        await tx.execute(
            """UPDATE schedules s SET look_at = d.at FROM unnest($2::uuid[], $3::timestamptz[]) AS d (payout_id, at)
               WHERE s.shard = $1 AND s.payout_id = d.payout_id AND s.done_at IS NULL""",
            shard,
            [payout for payout, _ in later],
            [at for _, at in later],
        )


async def fundable(tx: Transaction, shard: int, now: datetime, limit: int) -> list[tuple[UUID, int, int]]:
    """Payouts that lacked money, of merchants who want them executed, that the money covers now: (payout, merchant, number), oldest first."""
    rows = await tx.fetch(
        """SELECT u.payout_id, u.merchant_id, u.number FROM merchant_settings s
           JOIN unfunded u ON u.shard = $1 AND u.merchant_id = s.merchant_id
           JOIN balances b ON b.shard = $1 AND b.merchant_id = u.merchant_id AND b.currency = u.currency AND b.account = 'available'
           WHERE s.shard = $1 AND s.execute_unfunded AND u.look_at <= $2 AND u.needed_minor <= b.balance_minor
           ORDER BY u.merchant_id, u.number LIMIT $3""",
        shard,
        now,
        limit,
    )
    return [(row[0], row[1], row[2]) for row in rows]


async def put_off(tx: Transaction, shard: int, later: Sequence[tuple[int, int]], at: datetime) -> None:
    """Let payouts that lack money, by merchant and number, rest until a time."""
    if later:
        await tx.execute(
            """UPDATE unfunded u SET look_at = $4 FROM unnest($2::int4[], $3::int8[]) AS d (m, number)
               WHERE u.shard = $1 AND u.merchant_id = d.m AND u.number = d.number""",
            shard,
            [merchant for merchant, _ in later],
            [number for _, number in later],
            at,
        )
