"""Present states of payouts: by obligation or by id. Lives here: questions over a list; they change nothing.

Asking again after all who may be at work is the one that takes the lock, and only to wait.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from disburse.domain.payout import Payout
from disburse.domain.refusals import Refusal
from disburse.operations.payouts import Act, Found, NoSuchPayout, belongs
from disburse.storage import payouts
from disburse.storage.database import Transaction
from disburse.storage.unit import Unit


@dataclass(frozen=True, slots=True)
class Look:
    """Ask for the payout of an obligation, with what its merchant can still spend."""

    base: str
    merchant_id: int


async def look(tx: Transaction, shard: int, questions: Sequence[Look]) -> list[Found | Refusal]:
    """Present states by obligation; changes nothing and locks nothing."""
    found = await payouts.by_base(tx, shard, [question.base for question in questions])
    unit = Unit(tx, shard, {})
    await unit.read_balances([question.merchant_id for question in questions])
    return [_looked(unit, found.get(question.base)) for question in questions]


async def look_again(tx: Transaction, shard: int, questions: Sequence[Look]) -> list[Found | Refusal]:
    """As `look`, after every transaction that has begun for these merchants: what is not found now was not made by any of them."""
    await Unit.lock(tx, shard, [question.merchant_id for question in questions])
    return await look(tx, shard, questions)


async def look_by_id(tx: Transaction, shard: int, questions: Sequence[Act]) -> list[Payout | Refusal]:
    """Present states by id; somebody else's payout is no payout."""
    found = await payouts.by_id(tx, shard, [question.payout_id for question in questions])
    owned = [belongs(found.get(question.payout_id), question) for question in questions]
    return [NoSuchPayout() if payout is None else payout for payout in owned]


def _looked(unit: Unit, payout: Payout | None) -> Found | Refusal:
    if payout is None:
        return NoSuchPayout()
    return Found(payout, False, True, unit.available(payout.merchant_id, payout.currency))
