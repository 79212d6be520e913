"""When a provider is left alone and when it is tried again; and how tokens of a rate are given away."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from disburse.domain.breaker import (
    Breaker,
    BreakerLimits,
    BreakerState,
    Rate,
    Tally,
    begin_trial,
    count,
    is_sign_of_life,
    may_try,
    new_breaker,
    take,
)
from disburse.domain.outcomes import Accepted, NotSent, Outcome, Rejected, Settled, Unknown
from tests.clock import START

LIMITS = BreakerLimits(failures=5, percent=80, window_s=30, rest_s=5, longest_rest_s=300, trials=3, trial_s=20)
CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN


def after(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


def told(breaker: Breaker, good: int, bad: int, at_s: float = 0) -> Breaker:
    return count(breaker, Tally(breaker.generation, good, bad), LIMITS, START + after(at_s))


def opened(times: int = 1) -> Breaker:
    """A breaker that opened so often in a row, at START each time."""
    breaker = told(new_breaker(START), 0, 5)
    for _ in range(times - 1):
        tried = begin_trial(breaker, "w", LIMITS, START + after(1000))
        breaker = count(tried, Tally(tried.generation, bad=1), LIMITS, START)
    return breaker


@pytest.mark.parametrize(
    "good, bad, state",
    [(0, 4, CLOSED), (0, 5, OPEN), (1, 5, OPEN), (2, 5, CLOSED), (2, 8, OPEN), (900, 100, CLOSED), (100, 400, OPEN)],
)
def test_it_opens_when_most_calls_say_nothing(good: int, bad: int, state: BreakerState) -> None:
    """Enough calls without an answer, and most of all calls: fewer, or a tenth of many, leave it closed."""
    assert told(new_breaker(START), good, bad).state is state


@pytest.mark.parametrize("at_s, state", [(29, OPEN), (30, CLOSED), (-1, CLOSED)])
def test_only_one_window_counts(at_s: float, state: BreakerState) -> None:
    """What happened before the window began is forgotten; so it is when the clock was set back."""
    assert told(told(new_breaker(START), 0, 4), 0, 1, at_s).state is state


@pytest.mark.parametrize("times, rest_s", [(1, 5), (2, 10), (3, 20), (7, 300), (50, 300)])
def test_rests_double(times: int, rest_s: float) -> None:
    """Each opening in a row rests twice as long as the one before, up to the longest."""
    assert opened(times).retry_at == START + after(rest_s)


def test_a_quiet_window_forgets_the_openings() -> None:
    """A provider that worked for a whole window rests shortly when it falls again."""
    tried = begin_trial(opened(4), "w", LIMITS, START + after(1000))
    closed = count(tried, Tally(tried.generation, good=1), LIMITS, START + after(1001))
    soon = count(closed, Tally(closed.generation, bad=6), LIMITS, START + after(1002))
    later = count(closed, Tally(closed.generation, bad=6), LIMITS, START + after(1040))
    assert (soon.openings, later.openings) == (5, 1)


def test_a_trial_is_had_by_one_and_not_for_ever() -> None:
    """After the rest one worker has the trial calls; nobody else until its time is over."""
    breaker = opened()
    assert not may_try(breaker, LIMITS, START + after(4.9)) and may_try(breaker, LIMITS, START + after(5))
    tried = begin_trial(breaker, "w", LIMITS, START + after(5))
    assert (tried.state, tried.trial_by) == (HALF_OPEN, "w")
    assert not may_try(tried, LIMITS, START + after(24.9)) and may_try(tried, LIMITS, START + after(25))
    with pytest.raises(AssertionError):
        begin_trial(tried, "v", LIMITS, START + after(6))
    assert not may_try(new_breaker(START), LIMITS, START)


@pytest.mark.parametrize("years", [-10, 10])
def test_a_wrong_clock_stops_nobody(years: int) -> None:
    """A rest, or a trial's end, that a wrong clock wrote years ahead has come; one that it wrote long ago has too."""
    moved = START - after(years * 365 * 86400)
    assert may_try(opened(), LIMITS, moved)
    assert may_try(begin_trial(opened(), "w", LIMITS, START + after(5)), LIMITS, moved)


@pytest.mark.parametrize("good, bad, state", [(1, 0, CLOSED), (2, 1, CLOSED), (1, 1, CLOSED), (0, 1, OPEN), (1, 2, OPEN)])
def test_a_trials_end_decides(good: int, bad: int, state: BreakerState) -> None:
    """Trial calls that are answered close it; those that are not open it again, for longer."""
    tried = begin_trial(opened(), "w", LIMITS, START + after(5))
    ended = told(tried, good, bad, 6)
    assert ended.state is state and ended.generation == tried.generation + 1
    assert ended.retry_at == (START + after(16) if state is OPEN else None)


@pytest.mark.parametrize("good, bad", [(50, 0), (0, 50)])
def test_stragglers_change_nothing(good: int, bad: int) -> None:
    """Calls that began before the last change of state neither close nor open anything, however they end."""
    fresh = new_breaker(START)
    resting = opened()
    tried = begin_trial(resting, "w", LIMITS, START + after(5))
    for breaker in (resting, tried):
        assert count(breaker, Tally(fresh.generation, good, bad), LIMITS, START + after(6)) is breaker
    assert told(resting, good, bad) is resting


@pytest.mark.parametrize(
    "outcome, alive",
    [(Settled(), True), (Accepted(), True), (Rejected("no"), True), (Rejected("no", elsewhere=True), True),
     (NotSent("refused"), False), (Unknown("time-out"), False)],
)  # fmt: skip
def test_a_refusal_is_an_answer(outcome: Outcome, alive: bool) -> None:
    """A provider that refuses is at work; one that cannot be reached, or leaves us in doubt, may be down."""
    assert is_sign_of_life(outcome) is alive


# --- the rate ---


def test_tokens_come_steadily() -> None:
    """An idle bucket holds its burst; afterwards tokens come one by one, and the time of the next one is told."""
    rate = Rate(10, 5)
    first = take(rate, None, 100, START)
    assert (first.tokens, first.next_at) == (5, START + after(0.1))
    assert take(rate, first.free_at, 100, START).tokens == 0
    assert take(rate, first.free_at, 100, START + after(0.25)).tokens == 2
    assert take(rate, first.free_at, 1, START + after(0.25)).tokens == 1
    assert take(rate, first.free_at, 100, START + after(3600)).tokens == 5


@pytest.mark.parametrize("per_s, burst", [(10, 5), (0.5, 1), (333, 7), (5000, 500)])
def test_no_more_than_the_rate(per_s: float, burst: int) -> None:
    """However often it is asked, in a time no more is given than the burst and what the rate makes in it."""
    rate, free_at, given = Rate(per_s, burst), None, 0
    for step in range(400):
        grant = take(rate, free_at, 3, START + after(step * 0.01))
        free_at, given = grant.free_at, given + grant.tokens
    assert given <= burst + per_s * 4 + 1
    assert given >= min(burst + per_s * 3.98 - 1, 400 * min(3, burst) * 0.9)


def test_a_bucket_written_ahead_is_empty_and_fills() -> None:
    """What a clock that was ahead gave away is not given again, and nothing is held up for long."""
    grant = take(Rate(10, 5), START + after(86400), 5, START)
    assert grant.tokens == 0
    assert take(Rate(10, 5), grant.free_at, 5, START + after(1)).tokens == 5


def test_nothing_is_lost_on_the_way() -> None:
    """A breaker keeps what it does not change."""
    breaker = replace(new_breaker(START), good=3)
    assert count(breaker, Tally(0), LIMITS, START) is breaker
