"""Under which rules a registry is planned: named texts, computed when it is planned and again when it is applied. Reads nothing.

Lives here: everything of the house and the merchant that decides what a row costs and whether it may be paid at all. Who adds a limit, a policy
or a guard adds a name here, and with it its drift is told. May not live here: judging a row (`registry_plan.py`, `domain/registry.py`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from disburse.domain.destinations import Rail
from disburse.domain.fees import FeeRule
from disburse.domain.merchant import Merchant
from disburse.domain.money import minor_text
from disburse.domain.routing import TEST_CURRENCY, fits
from disburse.operations.desk import Desk


@dataclass(frozen=True, slots=True)
class Terms:
    """What a registry is planned and applied with. `minimums`: minor units by rail that an amount in roubles must be above."""

    desk: Desk
    minimums: Mapping[str, int] = field(default_factory=dict)


def rules_of(terms: Terms, merchant: Merchant, used: Collection[tuple[str, str]]) -> dict[str, str]:
    """The rules for these pairs of rail and currency, by name."""
    desk = terms.desk
    rules = {"payouts": merchant.payouts, "limits": merchant.limits, "approval policies": merchant.policies, "time zone": merchant.time_zone}
    for rail, currency in sorted(used):
        rules[f"fee on {rail}"] = _fee(merchant.fee_rule(rail, desk.fees))
        if currency == "RUB" and terms.minimums.get(rail):
            rules[f"smallest amount on {rail}"] = f"above {minor_text(terms.minimums[rail], currency)} {currency}"
        if rail == Rail.SBP:
            rules["bank of rows that name none"] = merchant.sbp_bank or "none"
        rules[f"routes for {rail} in {currency}"] = _routes(desk, rail, currency)
    return rules


def _fee(rule: FeeRule) -> str:
    most = f", at most {rule.maximum_minor}" if rule.maximum_minor is not None else ""
    return f"{rule.basis_points} basis points, at least {rule.minimum_minor}{most} minor units"


def _routes(desk: Desk, rail: str, currency: str) -> str:
    told = []
    for route in desk.routes:
        if not fits(route, rail, currency, sandbox_only=currency == TEST_CURRENCY):
            continue
        bounds = [
            f" {minor_text(one.smallest_minor, currency)} to {minor_text(one.largest_minor, currency) if one.largest_minor is not None else 'any'}"
            for one in route.limits
            if (one.rail, one.currency) == (rail, currency)
        ]
        told.append(route.connector + "".join(bounds))
    return ", ".join(told) or "none"
