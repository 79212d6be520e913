"""Which connector carries a payout. Pure: facts in, a name or nothing out. Rules from the settings come with more providers.

Lives here: `choose` and what it may look at. May not: ask a provider anything, or know what a connector is beyond a route.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from disburse.domain.refusals import Refusal


class NoRoute(Refusal):
    """No configured provider can carry this payout."""


@dataclass(frozen=True, slots=True)
class Route:
    """A connector as routing sees it: what it can carry, and whether it is a sandbox (no real money moves)."""

    connector: str
    rails: frozenset[str]
    currencies: frozenset[str]
    sandbox: bool = False


TEST_CURRENCY = "TST"
"""IntellectMoney's test money: it goes to a sandbox or nowhere (intellectmoney.md section 9)."""


def fits(route: Route, rail: str, currency: str, *, sandbox_only: bool) -> bool:
    """Whether a route can carry this rail and currency."""
    if (sandbox_only or currency == TEST_CURRENCY) and not route.sandbox:
        return False
    return rail in route.rails and currency in route.currencies


def choose(
    routes: Sequence[Route], rail: str, currency: str, *, sandbox_only: bool = False, tried: Collection[str] = ()
) -> str | None:
    """The first route, in the order of the settings, that fits and was not tried in vain."""
    for route in routes:
        if route.connector not in tried and fits(route, rail, currency, sandbox_only=sandbox_only):
            return route.connector
    return None
