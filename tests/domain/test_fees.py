"""Fees: integer basis points, half up, then minimum, then maximum; checked against exact rationals."""

from __future__ import annotations

from fractions import Fraction
from math import floor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from disburse.domain.fees import FREE, FeeRule, fee
from disburse.domain.money import MAX_MINOR, Money


@pytest.mark.parametrize(
    "rule, minor, charged",
    [
        (FREE, 1000, 0),
        (FeeRule(200), 30000, 600),  # UnitPay's example: 6.00 of 300
        (FeeRule(150), 100, 2),  # 1.5 rounds up
        (FeeRule(150), 99, 1),  # 1.485 rounds down
        (FeeRule(50), 100, 1),  # 0.5 rounds up
        (FeeRule(49), 100, 0),
        (FeeRule(200, 3000), 1000, 3000),  # the minimum
        (FeeRule(200, 3000), 150000, 3000),
        (FeeRule(200, 3000), 150025, 3001),
        (FeeRule(70, 0, 150_000), 100_000_000, 150_000),  # the maximum
        (FeeRule(70, 0, 0), 100_000, 0),
        (FeeRule(0, 25, 25), 1, 25),  # a fixed fee
        (FeeRule(10_000), 12345, 12345),
        (FeeRule(200), 0, 0),
        (FeeRule(200, 30), 0, 30),
        (FeeRule(10_000), MAX_MINOR, MAX_MINOR),
    ],
)
def test_fee(rule: FeeRule, minor: int, charged: int) -> None:
    """The share is rounded half up to the minor unit, then raised to the minimum, then cut to the maximum."""
    assert fee(rule, Money(minor, "RUB")) == Money(charged, "RUB")


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 10**6), st.none() | st.integers(10**6, 10**9), st.integers(0, MAX_MINOR))
def test_fee_agrees_with_exact_rationals(share: int, minimum: int, maximum: int | None, minor: int) -> None:
    """The fee is what exact rationals say, for any rule and sum."""
    exact = floor(Fraction(minor * share, 10_000) + Fraction(1, 2))
    expected = max(exact, minimum) if maximum is None else min(max(exact, minimum), maximum)
    assert fee(FeeRule(share, minimum, maximum), Money(minor, "RUB")).minor == expected


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 10**9), st.integers(0, 10**9))
def test_a_larger_sum_never_costs_less(share: int, a: int, b: int) -> None:
    """A fee grows with the sum, or stays."""
    rule = FeeRule(share, 10, 10**7)
    low, high = sorted((a, b))
    assert fee(rule, Money(low, "RUB")) <= fee(rule, Money(high, "RUB"))


@pytest.mark.parametrize("currency", ["JPY", "USDT"])
def test_a_fee_has_the_sums_currency(currency: str) -> None:
    """The fee is in the currency of the sum."""
    assert fee(FeeRule(100), Money(1000, currency)) == Money(10, currency)


@pytest.mark.parametrize(
    "parts", [(-1,), (10_001,), (1, -1), (1, 5, 4), (1, 0, MAX_MINOR + 1), (1.5,), (True,), (1, 0, -1)]
)
def test_what_is_no_rule(parts: tuple[int, ...]) -> None:
    """A share outside 0 to 100 % and bounds that cross cannot become a rule."""
    with pytest.raises(AssertionError):
        FeeRule(*parts)


def test_no_fee_on_a_negative_sum() -> None:
    """A negative sum has no fee: asking for one is our mistake."""
    with pytest.raises(AssertionError):
        fee(FREE, Money(-1, "RUB"))
