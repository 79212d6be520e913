"""When a provider is left alone, and how many calls a second it is given. Pure: what is known and the time in, what follows out.

A breaker is closed (calls go out), open (none do, for a rest that doubles each time) or half-open (one worker has a few trial
calls). It counts what says that a provider is down: nothing was sent, or nobody knows. A refusal is an answer. It opens when
within one window there were enough such outcomes and they are most of all; a provider that loses every tenth answer is not down.

Every change of state is a new generation. A call's outcome counts only in the generation in which the call began, so
the stragglers of a bad minute neither close a breaker nor open it again. A trial has an end: whoever took it and died
holds nobody up.

The rate is a bucket that fills steadily: `free_at` is the time up to which its tokens are given away.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from disburse.domain.outcomes import Accepted, Outcome, Rejected, Settled


class BreakerState(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class BreakerLimits:
    """`failures`: at least so many in `window_s`, and `percent` of all calls in it, open a breaker.

    `rest_s`: the first rest; it doubles with each opening that no quiet window came between, up to `longest_rest_s`.
    `trials`: calls of a half-open breaker; whoever has them must have told how they ended within `trial_s`.
    """

    failures: int = 10
    percent: int = 80
    window_s: float = 30.0
    rest_s: float = 5.0
    longest_rest_s: float = 60.0
    trials: int = 3
    trial_s: float = 20.0


@dataclass(frozen=True, slots=True)
class Breaker:
    """One provider's breaker as all workers see it. `openings`: how often in a row it opened. `good`, `bad`: in this window."""

    state: BreakerState
    changed_at: datetime
    window_from: datetime
    generation: int = 0
    good: int = 0
    bad: int = 0
    openings: int = 0
    retry_at: datetime | None = None
    trial_by: str | None = None
    trial_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Tally:
    """How calls of one generation ended."""

    generation: int
    good: int = 0
    bad: int = 0


def new_breaker(now: datetime) -> Breaker:
    """A closed one."""
    return Breaker(BreakerState.CLOSED, now, now)


def is_sign_of_life(outcome: Outcome) -> bool:
    """Whether a call's outcome shows a provider at work: it paid, took the order, or refused it."""
    return isinstance(outcome, Settled | Accepted | Rejected)


def count(breaker: Breaker, tally: Tally, limits: BreakerLimits, now: datetime) -> Breaker:
    """The breaker after some calls ended so. Returned unchanged when they are of another generation."""
    if tally.generation != breaker.generation or not tally.good + tally.bad:
        return breaker
    match breaker.state:
        case BreakerState.CLOSED:
            return _count_closed(breaker, tally, limits, now)
        case BreakerState.HALF_OPEN:
            if tally.good >= max(tally.bad, 1):
                return replace(
                    breaker, state=BreakerState.CLOSED, changed_at=now, window_from=now, generation=breaker.generation + 1,
                    good=tally.good, bad=0, retry_at=None, trial_by=None, trial_until=None,
                )  # fmt: skip
            return _opened(breaker, limits, now)
        case BreakerState.OPEN:
            return breaker  # nothing is sent in this generation, so nothing of it can end


def _count_closed(breaker: Breaker, tally: Tally, limits: BreakerLimits, now: datetime) -> Breaker:
    if not breaker.window_from <= now < breaker.window_from + timedelta(seconds=limits.window_s):
        breaker = replace(breaker, window_from=now, good=0, bad=0, openings=0)  # a whole window went by without an opening
    breaker = replace(breaker, good=breaker.good + tally.good, bad=breaker.bad + tally.bad)
    if breaker.bad >= limits.failures and breaker.bad * 100 >= limits.percent * (breaker.bad + breaker.good):
        return _opened(breaker, limits, now)
    return breaker


def _opened(breaker: Breaker, limits: BreakerLimits, now: datetime) -> Breaker:
    rest = min(limits.rest_s * 2 ** min(breaker.openings, 30), limits.longest_rest_s)
    return replace(
        breaker, state=BreakerState.OPEN, changed_at=now, generation=breaker.generation + 1, good=0, bad=0,
        openings=breaker.openings + 1, retry_at=now + timedelta(seconds=rest), trial_by=None, trial_until=None,
    )  # fmt: skip


def may_try(breaker: Breaker, limits: BreakerLimits, now: datetime) -> bool:
    """Whether the trial calls of this breaker are to be had: its rest is over and nobody has them, or whoever had them is late.

    A time farther ahead than any rest or trial is long was written by a clock that was wrong, and has come.
    """
    match breaker.state:
        case BreakerState.CLOSED:
            return False
        case BreakerState.OPEN:
            return _has_come(breaker.retry_at, limits.longest_rest_s, now)
        case BreakerState.HALF_OPEN:
            return _has_come(breaker.trial_until, limits.trial_s, now)


def _has_come(moment: datetime | None, longest_s: float, now: datetime) -> bool:
    return moment is None or moment <= now or moment > now + timedelta(seconds=longest_s)


def begin_trial(breaker: Breaker, worker: str, limits: BreakerLimits, now: datetime) -> Breaker:
    """Half-open, its trial calls given to one worker. Only where `may_try` says so."""
    if not may_try(breaker, limits, now):
        raise AssertionError("the trial calls of this breaker are not to be had")
    return replace(
        breaker, state=BreakerState.HALF_OPEN, changed_at=now, generation=breaker.generation + 1, retry_at=None,
        trial_by=worker, trial_until=now + timedelta(seconds=limits.trial_s),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rate:
    """So many calls a second, and at most `burst` of them at once."""

    per_s: float
    burst: int


@dataclass(frozen=True, slots=True)
class Grant:
    """`tokens` calls may be begun. The bucket is given away up to `free_at`; the next token is there at `next_at`."""

    tokens: int
    free_at: datetime
    next_at: datetime


def take(rate: Rate, free_at: datetime | None, wanted: int, now: datetime) -> Grant:
    """Take up to so many tokens. An idle bucket holds `burst`; a `free_at` that a wrong clock set far ahead counts as empty."""
    each_s = 1 / rate.per_s
    full_since = now - timedelta(seconds=rate.burst * each_s)
    since = full_since if free_at is None else min(max(free_at, full_since), now)
    there = math.floor((now - since).total_seconds() * rate.per_s + 1e-6)
    tokens = max(min(there, wanted, rate.burst), 0)
    taken_until = since + timedelta(seconds=tokens * each_s)
    return Grant(tokens, taken_until, taken_until + timedelta(seconds=each_s))
