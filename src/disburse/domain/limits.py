"""How much a merchant may pay out: each payout, a day, a month; to all, to one payee, over one rail. Pure.

Lives here: what a limit is, what a payout uses of it, and whether there is room. Days and months are those of the merchant's time
zone. A payout uses its amount (without the fee) and counts one, on the day on which it is to be sent. What was used so far comes in
as counters and goes out as what to add to them; who keeps them is `storage/limits.py`. May not live here: I/O, who is asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, tzinfo
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

import msgspec

from disburse.domain.money import Money
from disburse.domain.refusals import Refusal


class Period(StrEnum):
    PAYOUT = "payout"
    DAY = "day"
    MONTH = "month"


ALL, PAYEE = "all", "payee"
"""Scopes of a limit; any other is the name of a rail."""


@dataclass(frozen=True, slots=True)
class Limit:
    """At most so much, and so many payouts, in one currency. `scope`: all, payee (each one for itself) or a rail's name."""

    period: Period
    scope: str
    currency: str
    sum_minor: int | None
    count: int | None

    def __post_init__(self) -> None:
        if self.sum_minor is None and self.count is None:
            raise AssertionError("a limit that limits nothing")
        if (self.sum_minor or 0) < 0 or (self.count or 0) < 0:
            raise AssertionError("a limit below nothing")

    @property
    def name(self) -> str:
        """As people write it, such as `day/card:RUB`."""
        return f"{self.period}{'' if self.scope == ALL else '/' + self.scope}:{self.currency}"

    def allows(self) -> str:
        """What it allows, in words."""
        parts = [str(Money(self.sum_minor, self.currency))] if self.sum_minor is not None else []
        parts += [f"{self.count} payout{'' if self.count == 1 else 's'}"] if self.count is not None else []
        return " and ".join(parts)

    def applies(self, use: Use) -> bool:
        return self.currency == use.currency and self.scope in (ALL, PAYEE, use.rail)


class Key(NamedTuple):
    """Which counter: whose, in which currency, of which period that begins on which day, for what (`scope_of`)."""

    merchant_id: int
    currency: str
    period: str
    starts_on: date
    scope: str


@dataclass(frozen=True, slots=True)
class Use:
    """What one payout uses. `payee`: the digest of where its money goes; `on_day`: the merchant's day on which it is to be sent."""

    merchant_id: int
    currency: str
    amount_minor: int
    rail: str
    payee: bytes
    on_day: date

    def key(self, period: Period, scope: str) -> Key:
        """The counter that a limit of this period and scope looks at."""
        starts_on = self.on_day if period is Period.DAY else self.on_day.replace(day=1)
        return Key(self.merchant_id, self.currency, str(period), starts_on, scope_of(scope, self.rail, self.payee))

    def counters(self) -> list[Key]:
        """Every counter that it is counted in, whatever limits there are today: a limit that is set tomorrow looks back."""
        return [self.key(period, scope) for period in (Period.DAY, Period.MONTH) for scope in (ALL, self.rail, PAYEE)]


def scope_of(scope: str, rail: str, payee: bytes) -> str:
    """How counters name a scope."""
    return "" if scope == ALL else f"payee:{payee.hex()}" if scope == PAYEE else f"rail:{rail}"


def day_of(at: datetime, zone: tzinfo) -> date:
    """The day that a moment belongs to, in a time zone."""
    return at.astimezone(zone).date()


class LimitReached(Refusal):
    """A limit leaves no room for this payout."""

    def __init__(self, limit: Limit, left: Used, amount: Money) -> None:
        self.limit, self.left, self.amount = limit, left, amount
        whose = " to one payee" if limit.scope == PAYEE else f" by {limit.scope}" if limit.scope != ALL else ""
        per = "one payout" if limit.period is Period.PAYOUT else f"a {limit.period}"
        room = [str(Money(left.amount_minor, amount.currency))] if limit.sum_minor is not None else []
        room += [f"{left.payouts} payout{'' if left.payouts == 1 else 's'}"] if limit.count is not None else []
        super().__init__(f"At most {limit.allows()} {per}{whose} may be paid; {' and '.join(room)} left, and this payout is {amount}.")


@dataclass(frozen=True, slots=True)
class Used:
    """So many payouts and so much money: used, or left."""

    payouts: int = 0
    amount_minor: int = 0


class Tally:
    """Counters as they were read, and what one transaction adds to them."""

    def __init__(self, read: Mapping[Key, Used]) -> None:
        self._used = dict(read)
        self._added: dict[Key, Used] = {}

    def refusal(self, limits: Iterable[Limit], use: Use) -> LimitReached | None:
        """The first limit that leaves no room for it, those of one payout first: they never will. None when all do."""
        for limit in sorted(limits, key=lambda one: one.period is not Period.PAYOUT):
            if not limit.applies(use):
                continue
            left = self.left(limit, use)
            too_much = limit.sum_minor is not None and use.amount_minor > left.amount_minor
            if too_much or (limit.count is not None and left.payouts < 1):
                return LimitReached(limit, left, Money(use.amount_minor, use.currency))
        return None

    def left(self, limit: Limit, use: Use) -> Used:
        """What a limit leaves now, never below nothing."""
        used = Used() if limit.period is Period.PAYOUT else self._used.get(use.key(limit.period, limit.scope), Used())
        return room(limit, used)

    def add(self, use: Use) -> None:
        """Count a payout."""
        for key in use.counters():
            for tally in (self._used, self._added):
                before = tally.get(key, Used())
                tally[key] = replace(before, payouts=before.payouts + 1, amount_minor=before.amount_minor + use.amount_minor)

    def take_added(self) -> list[tuple[Key, Used]]:
        """What is to be added to the counters, in one order for all; asked once."""
        added, self._added = sorted(self._added.items()), {}
        return added


def room(limit: Limit, used: Used) -> Used:
    """What a limit leaves of what it allows."""
    return Used(max((limit.count or 0) - used.payouts, 0), max((limit.sum_minor or 0) - used.amount_minor, 0))


@lru_cache(maxsize=4096)
def limits_of(text: str) -> tuple[Limit, ...]:
    """The limits of a settings column."""
    rows = msgspec.json.decode(text, type=list[tuple[str, str, str, int | None, int | None]])
    return tuple(Limit(Period(period), scope, currency, minor, count) for period, scope, currency, minor, count in rows)


def limits_text(limits: Iterable[Limit]) -> str:
    """Limits as a settings column has them: the same limits are the same text."""
    rows = sorted((str(one.period), one.scope, one.currency, one.sum_minor, one.count) for one in limits)
    return msgspec.json.encode(rows).decode()
