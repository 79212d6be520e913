"""Who is at work: a row a worker, renewed while it lives. Readiness asks for one seen lately."""

from __future__ import annotations

from datetime import datetime

from disburse.storage.database import Transaction


async def seen(tx: Transaction, worker_id: str, at: datetime, *, forget_before: datetime) -> None:
    """This worker lives; those not seen since `forget_before` are forgotten."""
    await tx.execute(
        """INSERT INTO workers (worker_id, seen_at) VALUES ($1, $2)
           ON CONFLICT (worker_id) DO UPDATE SET seen_at = excluded.seen_at""",
        worker_id,
        at,
    )
    await tx.execute("DELETE FROM workers WHERE seen_at < $1", forget_before)
