"""A merchant with rules, in a shop: its settings row, and what is read back of limits. Lives here: the few lines that their tests share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from disburse.domain.limits import Limit, Period, limits_text
from disburse.domain.policies import Policy, policies_text
from disburse.storage import limits as stored
from tests.operations.shop import Shop


def limit(name: str, minor: int | None = None, count: int | None = None) -> Limit:
    """A limit by its name, such as `day/card:RUB`."""
    where, _, currency = name.partition(":")
    period, _, scope = where.partition("/")
    return Limit(Period(period), scope or "all", currency, minor, count)


async def rule(
    shop: Shop, merchant: int, *, limits: Iterable[Limit] = (), policies: Iterable[Policy] = (), zone: str = "UTC", spend: bool = False
) -> None:
    """Give a merchant of the shop these rules in the place of all that it had."""
    settings: dict[str, Any] = {
        "time_zone": zone, "limits": limits_text(limits), "policies": policies_text(policies), "execute_unfunded": spend,
    }  # fmt: skip

    async def work(tx: Any) -> None:
        await tx.fetchval("SELECT 1 FROM merchants WHERE shard = $1 AND merchant_id = $2 FOR NO KEY UPDATE", shop.shard, merchant)
        await tx.execute(
            """INSERT INTO merchant_settings (shard, merchant_id, name, login, project_id, password_digest, unitpay_key_digest,
                   unitpay_test_key_digest, bearer_digest, api_key_digest, sign_key_sealed, created_at, actor, time_zone, limits,
                   policies, execute_unfunded)
               VALUES ($1, $2, 'shop', 'shop@example.org', 1, '', '', '', '', '', '', $3, 'test', $4, $5, $6, $7)
               ON CONFLICT (shard, merchant_id) DO UPDATE SET time_zone = $4, limits = $5, policies = $6, execute_unfunded = $7""",
            shop.shard, merchant, shop.now(), *settings.values(),
        )  # fmt: skip
        await stored.set_ruled(tx, shop.shard, merchant)

    await shop.database.run(work)


async def used(shop: Shop, merchant: int, period: str = "day", scope: str = "") -> tuple[int, int]:
    """(payouts, minor units) of the newest counter of a period and scope."""
    rows = await shop.rows(
        """SELECT payouts, amount_minor FROM limit_counters WHERE merchant_id = $1 AND period = $2 AND scope = $3
           ORDER BY starts_on DESC LIMIT 1""",
        merchant, period, scope,
    )  # fmt: skip
    return tuple(rows[0]) if rows else (0, 0)
