"""How often a provider is asked: never more than it allows, and nobody waits for ever."""

from __future__ import annotations

import pytest

from disburse.workers.allowance import LONGEST_WAIT_S, ProcessAllowance
from tests.clock import FakeClock


async def test_a_provider_without_a_limit() -> None:
    """Where a provider names no limit, every question may be put at once."""
    allowance = ProcessAllowance(FakeClock(), {"other": 1.0})
    grant = await allowance.take("bank", 10_000)
    assert (grant.now, list(grant.later_s)) == (10_000, [])


@pytest.mark.parametrize("per_s", [0.1, 1.0, 7.0, 200.0])
async def test_never_more_than_allowed(per_s: float) -> None:
    """Over any time no more questions are put than the rate allows, with one second's worth at the beginning."""
    clock = FakeClock()
    allowance = ProcessAllowance(clock, {"bank": per_s})
    put = 0
    for step in range(200):
        grant = await allowance.take("bank", 50)
        put += grant.now
        assert grant.now + len(grant.later_s) == 50
        assert put <= max(per_s, 1) + per_s * step * 0.25 + 1e-6
        await clock.advance(0.25)
    assert put >= per_s * 50 * 0.9 - 1 or put == 50 * 200


async def test_who_waits_has_a_place_in_a_line() -> None:
    """Questions that have to wait come again one after the other at the provider's pace, at the latest after an hour."""
    allowance = ProcessAllowance(FakeClock(), {"bank": 2.0})
    first = await allowance.take("bank", 6)
    assert (first.now, list(first.later_s)) == (2, [0.5, 1.0, 1.5, 2.0])
    second = await allowance.take("bank", 2)
    assert (second.now, list(second.later_s)) == (0, [2.5, 3.0])
    many = await allowance.take("bank", 20_000)
    assert max(many.later_s) == LONGEST_WAIT_S
