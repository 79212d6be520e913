"""Who is at work: a row a worker, renewed while it lives, with how often it was. Readiness asks for one seen lately.

A row is also what its worker is told by whether the database still holds all that it acknowledged (`operations/witness.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from disburse.storage.database import Transaction


@dataclass(frozen=True, slots=True)
class Beat:
    """A worker's last stored heartbeat: its number, and the timeline that the worker vouches for, if any."""

    number: int
    vouches_for: int | None


async def all_beats(tx: Transaction) -> dict[str, Beat]:
    """Every worker's last heartbeat."""
    rows = await tx.fetch("SELECT worker_id, beat, vouches_for FROM workers ORDER BY worker_id")
    return {row["worker_id"]: Beat(row["beat"], row["vouches_for"]) for row in rows}


async def seen(tx: Transaction, worker_id: str, beat: Beat) -> None:
    """This worker lives: store its heartbeat, and when that was by the database's clock."""
    await tx.execute(
        """INSERT INTO workers (worker_id, seen_at, beat, vouches_for) VALUES ($1, clock_timestamp(), $2, $3)
           ON CONFLICT (worker_id) DO UPDATE SET seen_at = excluded.seen_at, beat = excluded.beat, vouches_for = excluded.vouches_for""",
        worker_id,
        beat.number,
        beat.vouches_for,
    )


async def forget(tx: Transaction, worker_ids: Sequence[str], unseen_for: timedelta) -> None:
    """Forget those of these workers that were not seen for so long."""
    before = await tx.database_now() - unseen_for
    await tx.execute("DELETE FROM workers WHERE worker_id = ANY($1::text[]) AND seen_at < $2", list(worker_ids), before)
