"""Fees: what a payout costs its merchant, on top of the sum (design.md section 4).

Lives here: the rule and its arithmetic. May not live here: which rule a merchant and rail have, or when a fee is taken
(`domain/ledger.py`). A fee is fixed when the payout is created and never computed again.
"""

from __future__ import annotations

from dataclasses import dataclass

from disburse.domain.money import MAX_MINOR, Money

_WHOLE = 10_000  # basis points in one


@dataclass(frozen=True, slots=True)
class FeeRule:
    """A share of the sum in basis points (150 is 1.5 %), at least and at most so many minor units; None: no maximum.

    Raises AssertionError for what is not a rule: a share outside 0 to 10,000 basis points, negative or crossing bounds.
    """

    basis_points: int = 0
    minimum_minor: int = 0
    maximum_minor: int | None = None

    def __post_init__(self) -> None:
        maximum = MAX_MINOR if self.maximum_minor is None else self.maximum_minor
        if any(type(part) is not int for part in (self.basis_points, self.minimum_minor, maximum)):
            raise AssertionError("a fee rule is made of ints")
        if not 0 <= self.basis_points <= _WHOLE:
            raise AssertionError("a fee is 0 to 10,000 basis points of the sum")
        if not 0 <= self.minimum_minor <= maximum <= MAX_MINOR:
            raise AssertionError("a fee's minimum is not negative and its maximum not less than the minimum")


FREE = FeeRule()
"""No fee at all."""


def fee(rule: FeeRule, amount: Money) -> Money:
    """The fee on this sum, in its currency: the share, half up to the minor unit, then the minimum, then the maximum.

    Raises AssertionError for a negative sum.
    """
    if amount.minor < 0:
        raise AssertionError("nobody pays out less than nothing")
    minor = max((amount.minor * rule.basis_points + _WHOLE // 2) // _WHOLE, rule.minimum_minor)
    if rule.maximum_minor is not None:
        minor = min(minor, rule.maximum_minor)
    return Money(minor, amount.currency)
