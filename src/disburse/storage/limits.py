"""Reading limits, policies and what is used of them. SQL only; what they mean is `domain/limits.py`'s, writing is `statement.py`'s."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import date

from disburse.domain.limits import Key, Used, limits_of
from disburse.domain.policies import policies_of
from disburse.domain.rules import Rules
from disburse.storage.database import Transaction
from disburse.storage.zones import zone_of


async def rules_of(tx: Transaction, shard: int, merchants: Collection[int]) -> dict[int, Rules]:
    """What these merchants' payouts go by, as it stands under their lock."""
    rows = await tx.fetch(
        """SELECT merchant_id, time_zone, limits, policies FROM merchant_settings
           WHERE shard = $1 AND merchant_id = ANY ($2::int4[])""",
        shard,
        sorted(merchants),
    )
    return {row[0]: Rules(zone_of(row[1]), limits_of(row[2]), policies_of(row[3])) for row in rows}


async def set_ruled(tx: Transaction, shard: int, merchant_id: int) -> None:
    """Say on the merchant's own row whether it has limits or policies. Its settings must be written already."""
    await tx.execute(
        """UPDATE merchants m SET ruled = s.limits <> '[]' OR s.policies <> '[]' FROM merchant_settings s
           WHERE m.shard = $1 AND m.merchant_id = $2 AND s.shard = $1 AND s.merchant_id = $2""",
        shard,
        merchant_id,
    )


async def counters(tx: Transaction, shard: int, keys: Iterable[Key]) -> dict[Key, Used]:
    """What is used, by counter; one that is not there is nothing."""
    asked = sorted(set(keys))
    if not asked:
        return {}
    rows = await tx.fetch(
        """SELECT c.merchant_id, c.currency, c.period, c.starts_on, c.scope, c.payouts, c.amount_minor
           FROM unnest($2::int4[], $3::text[], $4::text[], $5::date[], $6::text[]) AS d (m, currency, period, starts_on, scope)
           JOIN limit_counters c ON c.shard = $1 AND c.merchant_id = d.m AND c.currency = d.currency AND c.period = d.period
               AND c.starts_on = d.starts_on AND c.scope = d.scope""",
        shard,
        *[list(column) for column in zip(*asked, strict=True)],
    )
    return {Key(*tuple(row)[:5]): Used(row[5], row[6]) for row in rows}


async def fullest_payees(
    tx: Transaction, shard: int, merchant_id: int, currency: str, period: str, starts_on: date
) -> Used:
    """The most payouts and the largest sum that went to any one payee in a period (perhaps not the same one)."""
    row = await tx.fetchrow(
        """SELECT coalesce(max(payouts), 0)::int8, coalesce(max(amount_minor), 0)::int8 FROM limit_counters
           WHERE shard = $1 AND merchant_id = $2 AND currency = $3 AND period = $4 AND starts_on = $5
             AND starts_with(scope, 'payee:')""",
        shard,
        merchant_id,
        currency,
        period,
        starts_on,
    )
    return Used(row[0], row[1]) if row is not None else Used()
