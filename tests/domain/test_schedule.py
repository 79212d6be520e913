"""When we ask and when we try again: soon at first, later patiently, and never no more."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from disburse.domain.schedule import ask_again_in_s, ask_in_s, try_again_in_s


@pytest.mark.parametrize(
    "asked, accepted, seconds",
    [
        (0, False, 0.5),
        (1, False, 1),
        (13, False, 3600),
        (15, False, 14400),
        (1_000_000, False, 14400),
        (0, True, 4),
        (10, True, 3600),
        (1_000_000, True, 14400),
    ],
)
def test_when_to_ask(asked: int, accepted: bool, seconds: float) -> None:
    """The first question about a lost answer comes within a second, one about an accepted order a little later."""
    assert ask_in_s(asked, accepted=accepted) == seconds


@given(st.integers(0, 10_000), st.booleans())
def test_questions_never_end(asked: int, accepted: bool) -> None:
    """There is always a next question, never sooner than the one before it and at most four hours away."""
    now, then = ask_in_s(asked, accepted=accepted), ask_in_s(asked + 1, accepted=accepted)
    assert 0 < now <= then <= 4 * 3600


@given(st.integers(0, 10_000))
def test_the_accepted_can_wait(asked: int) -> None:
    """What a provider is known to have is asked about no sooner than what may be lost."""
    assert ask_in_s(asked, accepted=True) >= ask_in_s(asked, accepted=False)


@pytest.mark.parametrize(
    "attempts, seconds", [(1, 0), (2, 1), (3, 2), (4, 5), (5, 10), (6, 30), (7, 60), (8, 120), (9, 300), (10, 600), (999, 600)]
)
def test_when_to_try_again(attempts: int, seconds: float) -> None:
    """The second attempt follows at once; the more have moved nothing, the longer the wait, up to a minute."""
    assert try_again_in_s(attempts) == seconds


@given(st.integers(0, 100_000), st.one_of(st.none(), st.floats(0.01, 1000)), st.floats(0, 1))
def test_after_a_silence_the_line_moves_at_the_providers_pace(place: int, per_s: float | None, jitter: float) -> None:
    """When a provider answers again, no two questions come closer than it allows on average, and the first come at once."""
    pace = per_s or 50
    seconds = ask_again_in_s(place, per_s, jitter)
    assert place / pace <= seconds <= (place + 1) / pace
