"""Which payouts need the yes of persons, and of how many. Pure.

A policy: of a rail (or of any), in a currency, above an amount, so many distinct operators must agree, none of them the maker.
Several payouts that are approved as one (a registry) are judged each for itself and by their totals, so that a large sum does not
pass in small rows. May not live here: who has said what (`operations/policies.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import msgspec

MOST = 9
"""At most so many persons."""
ANY = "any"


@dataclass(frozen=True, slots=True)
class Policy:
    """Above `above_minor` in `currency` on `rail` (or `any`), `persons` operators must say yes."""

    rail: str
    currency: str
    above_minor: int
    persons: int

    def __post_init__(self) -> None:
        if self.above_minor < 0 or not 1 <= self.persons <= MOST:
            raise AssertionError("a policy that asks for nobody, or for too many")


@dataclass(frozen=True, slots=True)
class Item:
    """A payout as a policy looks at it."""

    rail: str
    currency: str
    amount_minor: int


def persons_for(policies: Iterable[Policy], items: Iterable[Item]) -> int:
    """How many must say yes to all of these together; 0: nobody needs to."""
    sums: dict[tuple[str, str], int] = {}
    for item in items:
        for rail in (item.rail, ANY):
            sums[rail, item.currency] = sums.get((rail, item.currency), 0) + item.amount_minor
    return max((one.persons for one in policies if sums.get((one.rail, one.currency), 0) > one.above_minor), default=0)


@lru_cache(maxsize=4096)
def policies_of(text: str) -> tuple[Policy, ...]:
    """The policies of a settings column."""
    return tuple(Policy(*row) for row in msgspec.json.decode(text, type=list[tuple[str, str, int, int]]))


def policies_text(policies: Iterable[Policy]) -> str:
    """Policies as a settings column has them: the same policies are the same text."""
    return msgspec.json.encode(sorted((one.rail, one.currency, one.above_minor, one.persons) for one in policies)).decode()
