"""Limits and policies at the moment at which a payout's money is to be held. Lives here: reading them under the merchants' lock, judging
a payout by them, and noting what it used and whom it needs.

Merchants without rules cost nothing: nothing is read for them, and a hopeful transaction does not ask. It is its statement that refuses
to hold money of a merchant who has rules after all (`storage/statement.py`); then the careful way comes here. A road that holds
money and forgot to prepare is stopped: AssertionError.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from disburse.domain.limits import LimitReached, Tally, Use, day_of
from disburse.domain.payout import Payout, Step
from disburse.domain.policies import Item, persons_for
from disburse.domain.rules import RuleBook
from disburse.operations import policies
from disburse.storage import limits
from disburse.storage.unit import Unit


@dataclass(frozen=True, slots=True)
class Wish:
    """A payout whose money is to be held. `at`: when it is to be sent, None for now; `approved`: persons agreed to it as a part of something else."""

    merchant_id: int
    rail: str
    currency: str
    amount_minor: int
    payee: bytes
    at: datetime | None
    approved: bool = False


async def prepare(unit: Unit, wishes: Iterable[Wish]) -> None:
    """Read what the payouts of merchants with rules go by, and what is used so far. Before any of these is judged, once a unit."""
    if not unit.ruled:
        return
    rules = await limits.rules_of(unit.tx, unit.shard, unit.ruled)
    unit.book = RuleBook(rules, Tally({}))
    keys = {key: None for wish in wishes if wish.merchant_id in rules for key in _use(unit, unit.book, wish).counters()}
    unit.book = RuleBook(rules, Tally(await limits.counters(unit.tx, unit.shard, keys)))


def judge(unit: Unit, wish: Wish) -> LimitReached | int:
    """LimitReached, or how many persons must agree to it (0: nobody)."""
    if wish.merchant_id not in unit.ruled:
        return 0
    book = _book(unit)
    rules = book.rules[wish.merchant_id]
    reached = book.tally.refusal(rules.limits, _use(unit, book, wish))
    if reached is not None:
        return reached
    return 0 if wish.approved else persons_for(rules.policies, [Item(wish.rail, wish.currency, wish.amount_minor)])


def hold(unit: Unit, payout: Payout, wish: Wish, persons: int, at: datetime, actor: str) -> Step:
    """Post the hold of a payout that was judged, note what it uses and whom it needs; the step that it takes now."""
    unit.post(payout.books.hold(), at, actor)
    if wish.merchant_id in unit.ruled:
        _note_use(unit, payout, wish)
    if persons:
        policies.ask(unit, policies.need_of(payout, payout.execute_at, persons, at, actor))
        return Step.ASK_APPROVAL
    return Step.QUEUE if payout.execute_at is None else Step.SCHEDULE


def write(unit: Unit) -> None:
    """Give the unit what is to be added to the counters, once all payouts were judged."""
    if unit.book is None:
        return
    for key, added in unit.book.tally.take_added():
        unit.add("limit_counters", (key.scope, unit.place(key.merchant_id), key.currency, key.period, key.starts_on, added.payouts,
                                    added.amount_minor))  # fmt: skip


def _note_use(unit: Unit, payout: Payout, wish: Wish) -> None:
    book = _book(unit)
    use = _use(unit, book, wish)
    book.tally.add(use)
    unit.add("limit_uses", (payout.payout_id, unit.place(use.merchant_id), use.currency, use.amount_minor, use.rail, use.payee,
                            use.on_day))  # fmt: skip


def _use(unit: Unit, book: RuleBook, wish: Wish) -> Use:
    on_day = day_of(wish.at or unit.now, book.rules[wish.merchant_id].zone)
    return Use(wish.merchant_id, wish.currency, wish.amount_minor, wish.rail, wish.payee, on_day)


def _book(unit: Unit) -> RuleBook:
    if unit.book is None:
        raise AssertionError("money of a merchant with limits or policies is to be held, and nobody has read them")
    return unit.book
