"""When questions and new tries are put, beside each one's own schedule: within a provider's limit, and soon when it answers again.

Lives here: what the inquirer does to them, each a transaction over a list under the merchants' lock. They move times only:
what a question may change is the rule of evidence's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from disburse.domain.schedule import ASKED_ANEW
from disburse.storage import payouts, questions
from disburse.storage.database import Transaction
from disburse.storage.unit import Unit


@dataclass(frozen=True, slots=True)
class Later:
    """A question, or a new try, that comes after so many seconds from now."""

    payout_id: UUID
    number: int
    merchant_id: int
    seconds: float


async def put_off(tx: Transaction, shard: int, which: Sequence[Later]) -> list[None]:
    """Let questions that are due wait. They do not count as asked."""
    await Unit.lock(tx, shard, [one.merchant_id for one in which])
    clock = await tx.database_now()
    times = [(one.payout_id, one.number, clock + timedelta(seconds=one.seconds)) for one in which]
    await questions.move(tx, shard, times, sooner=False)
    return [None for _ in which]


async def waiting(tx: Transaction, shard: int, connector: str, within_s: float, limit: int) -> list[tuple[UUID, int, int]]:
    """Attempts at a provider that would be asked about only after so many seconds: (payout, number, merchant)."""
    horizon = await tx.database_now() + timedelta(seconds=within_s)
    return await questions.waiting_longer(tx, shard, connector, horizon, limit)


async def bring_forward(tx: Transaction, shard: int, which: Sequence[Later]) -> list[None]:
    """Let questions be put after so many seconds, where they would have waited longer, and their schedule begin anew.

    Otherwise an attempt whose provider comes and goes would be asked about once each time, and then not for hours.
    """
    await Unit.lock(tx, shard, [one.merchant_id for one in which])
    clock = await tx.database_now()
    times = [(one.payout_id, one.number, clock + timedelta(seconds=min(one.seconds, _A_DAY_S))) for one in which]
    await questions.move(tx, shard, times, sooner=True, asked_at_most=ASKED_ANEW)
    return [None for _ in which]


async def resting(tx: Transaction, shard: int, connector: str, within_s: float, limit: int) -> list[tuple[UUID, int, int]]:
    """Payouts that never reached a provider and would be tried again only after so many seconds: (payout, number, merchant)."""
    horizon = await tx.database_now() + timedelta(seconds=within_s)
    return await questions.resting_longer(tx, shard, connector, horizon, limit)


async def try_sooner(tx: Transaction, shard: int, which: Sequence[Later]) -> list[None]:
    """Let new tries be due after so many seconds, where they would have rested longer.

    The pauses between tries grow to minutes, for a provider that cannot be reached; one that answers can be.
    """
    await Unit.lock(tx, shard, [one.merchant_id for one in which])
    clock = await tx.database_now()
    await questions.try_sooner(tx, shard, [(one.payout_id, one.number, clock + timedelta(seconds=one.seconds)) for one in which])
    return [None for _ in which]


_A_DAY_S = payouts.TOO_LATE.total_seconds() / 2
"""No question is set so late that it would look like the work of a clock that is wrong."""
