"""`disburse limits`: what a merchant may pay out, and how much room is left; whom its payouts need. Lives here: showing it.

They are set by `disburse merchant set --limit, --approval, --time-zone`.
"""

from __future__ import annotations

from typing import Any

from disburse.cli import show
from disburse.cli.place import HERE, Place, run
from disburse.domain.merchant import Merchant
from disburse.domain.money import Money
from disburse.domain.policies import policies_of
from disburse.operations.headroom import Headroom, read_headroom
from disburse.operations.merchants import find_merchant
from disburse.wiring import House


def limits(merchant: str, /, *, place: Place = HERE) -> None:
    """What a merchant's limits leave now, in its own day and month, and which payouts need the yes of persons.

    Parameters
    ----------
    merchant:
        Its id or login.
    """

    async def work(house: House) -> tuple[Merchant, list[Headroom]]:
        found = await find_merchant(house.database, merchant)
        return found, await read_headroom(house.database, found)

    found, rows = run(place, work)
    if place.json:
        show.say_json({
            "merchant_id": found.merchant_id, "time_zone": found.time_zone, "limits": [for_scripts(one) for one in rows],
            "approvals": policies_for_scripts(found), "execute_unfunded": found.execute_unfunded,
        })  # fmt: skip
        return
    if rows:
        show.table(
            ("limit", "allows", "since", "used", "left"),
            [(one.limit.name, one.limit.allows(), one.starts_on or "", _words(one, left=False), _words(one, left=True)) for one in rows],
        )
        show.say(f"Days and months are those of {found.time_zone}. Of a limit for each payee the most that any one had is shown.")
    else:
        show.say(f"No limits. Set one: disburse merchant set {found.merchant_id} --limit day:RUB=100000.00")
    for policy in policies_for_scripts(found):
        show.say(f"Above {policy['above']} {policy['currency']} by {policy['rail']}: {policy['persons']} operators must agree.")


def for_scripts(one: Headroom) -> dict[str, Any]:
    """A limit and its room for scripts; None where the limit does not speak of it."""
    limit = one.limit

    def text(minor: int) -> str | None:
        return Money(minor, limit.currency).text() if limit.sum_minor is not None else None

    def count(payouts: int) -> int | None:
        return payouts if limit.count is not None else None

    return {
        "name": limit.name,
        "period": str(limit.period),
        "scope": limit.scope,
        "currency": limit.currency,
        "since": str(one.starts_on) if one.starts_on is not None else None,
        "sum": {"allowed": text(limit.sum_minor or 0), "used": text(one.used.amount_minor), "left": text(one.left.amount_minor)},
        "count": {"allowed": limit.count, "used": count(one.used.payouts), "left": count(one.left.payouts)},
    }


def policies_for_scripts(merchant: Merchant) -> list[dict[str, Any]]:
    """A merchant's policies of approval for scripts."""
    return [
        {"rail": one.rail, "currency": one.currency, "above": Money(one.above_minor, one.currency).text(), "persons": one.persons}
        for one in policies_of(merchant.policies)
    ]


def _words(one: Headroom, *, left: bool) -> str:
    if one.starts_on is None and not left:
        return ""
    shown = one.left if left else one.used
    parts = [str(Money(shown.amount_minor, one.limit.currency))] if one.limit.sum_minor is not None else []
    return ", ".join(parts + ([str(shown.payouts)] if one.limit.count is not None else []))
