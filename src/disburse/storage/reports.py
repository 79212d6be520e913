"""What the house looks like from outside: facts for metrics, and whether it is ready. Reads only; nothing decides by it.

What facts cost. Nobody counts ten million finished payouts at each scrape: the statement walks the two partial indexes of
live attempts and the list of payouts nobody executed yet, and looks up just those payouts (some microseconds each, so it grows
with the backlog, not with history). Payouts ever made are the sum of the merchants' own counters, and balances are cached sums:
a few rows a merchant. How many payouts *became* final, by state and rail, is counted where it happens (`Metrics.finished`).
Whoever asks decides how often: `api/metrics.py` rests twenty times as long as the reading took. On a cluster all of this
asks every machine, which a report may.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from disburse.storage.database import Transaction
from disburse.storage.migrate import pending


@dataclass(frozen=True, slots=True)
class Facts:
    """One moment. `payouts`: how many are not final, by (state, rail); `money`: minor units by (account, currency)."""

    payouts: Mapping[tuple[str, str], int]
    payouts_made: int
    money: Mapping[tuple[str, str], int]
    oldest_doubt: datetime | None
    oldest_undelivered: datetime | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """What readiness asks of the database. `worker_seen`: how long ago any worker was, None when none ever."""

    pending_migrations: list[str]
    worker_seen: timedelta | None


async def facts(tx: Transaction) -> Facts:
    """How many, how much, how doubtful. Wants a snapshot (`Database.snapshot`), where the server plans freely."""
    live = await tx.fetch(
        """SELECT p.state, p.rail, count(*) AS payouts
             FROM (SELECT shard, payout_id FROM attempts WHERE state = 'due'
                   UNION ALL SELECT shard, payout_id FROM attempts WHERE state IN ('open', 'accepted', 'unknown')
                   UNION ALL SELECT shard, payout_id FROM expiries) AS l
             JOIN payouts p ON p.shard = l.shard AND p.payout_id = l.payout_id
            GROUP BY p.state, p.rail ORDER BY p.state, p.rail"""
    )
    money = await tx.fetch(
        """SELECT account, currency, sum(balance_minor)::bigint AS minor FROM balances
            GROUP BY account, currency ORDER BY account, currency"""
    )
    doubt = await tx.fetchval(
        """SELECT min(doubt_since) FROM attempts WHERE state IN ('open', 'accepted', 'unknown') AND state = 'unknown'"""
    )
    # Of each endpoint: what failed, and the first event that it has not come to.
    undelivered = await tx.fetchval(
        """SELECT min(at) FROM (
               SELECT l.event_at AS at FROM webhook_late l JOIN webhooks w USING (shard, webhook_id) WHERE w.state = 'active'
               UNION ALL SELECT e.at FROM webhooks w
               JOIN events e ON e.shard = w.shard AND e.merchant_id = w.merchant_id AND e.number = w.done_to + 1
               WHERE w.state = 'active') AS waiting"""
    )
    made = await tx.fetchval("SELECT coalesce(sum(payouts), 0)::bigint FROM merchants")
    return Facts(
        payouts={(row["state"], row["rail"]): row["payouts"] for row in live},
        payouts_made=made,
        money={(row["account"], row["currency"]): row["minor"] for row in money},
        oldest_doubt=doubt,
        oldest_undelivered=undelivered,
    )


async def standing(tx: Transaction) -> Standing:
    """Whether the tables are this version's, and how long ago a worker was last seen, by the database's clock."""
    lacking = await pending(tx.connection)
    if lacking:
        return Standing(lacking, None)
    seen = await tx.fetchval("SELECT max(seen_at) FROM workers")
    return Standing([], None if seen is None else max(await tx.database_now() - seen, timedelta()))
