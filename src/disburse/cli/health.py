"""`disburse connector health`: how each provider is, as all workers see it. Lives here: reading it and showing it.

Also shown are connectors that are in the database and not in these settings: a worker with other settings may know them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from disburse.cli import show
from disburse.cli.place import HERE, Place, run
from disburse.domain.breaker import BreakerState, may_try
from disburse.domain.money import minor_text
from disburse.operations.providers import Terms
from disburse.routing_settings import Routing, read_routing
from disburse.storage import connector_facts
from disburse.storage.connector_facts import BalanceRow, ConnectorRow
from disburse.storage.database import Transaction
from disburse.wiring import House


@dataclass(frozen=True)
class _Health:
    configured: list[str]
    routing: Routing
    rows: dict[str, ConnectorRow]
    balances: list[BalanceRow]
    now: datetime


def health(*, place: Place = HERE) -> None:
    """How each provider is: whether it is left alone and until when, its rate, and what it holds for us."""

    async def work(house: House) -> _Health:
        async def look(tx: Transaction) -> _Health:
            return _Health(
                list(house.connectors), read_routing(house.settings), await connector_facts.read(tx),
                await connector_facts.balances(tx), await tx.database_now(),
            )  # fmt: skip

        return await house.database.snapshot(look)

    told = run(place, work)
    names = list(dict.fromkeys([*told.configured, *told.rows]))
    ones = [_describe(told, name) for name in names]
    if place.json:
        show.say_json({"at": show.stamp(told.now), "connectors": ones})
    elif not ones:
        show.say("No provider is configured, and none was ever called.")
    else:
        _print(ones)


def _describe(told: _Health, name: str) -> dict[str, Any]:
    row, terms = told.rows.get(name), told.routing.terms.get(name, Terms())
    return {
        "connector": name,
        "configured": name in told.configured,
        "breaker": _breaker(row, terms, told.now) if row is not None else None,
        "rate": {"calls_per_s": terms.rate.per_s, "burst": terms.rate.burst} if terms.rate is not None else None,
        "balances": [
            {
                "currency": one.currency, "amount": minor_text(one.balance_minor, one.currency),
                "asked_at": show.stamp(one.asked_at), "age_s": round((told.now - one.asked_at).total_seconds(), 1),
                "counts": (told.now - one.asked_at).total_seconds() <= terms.balance_fresh_s,
            }
            for one in told.balances if one.connector == name
        ],
        "balance_fault": row.balance_fault if row is not None else None,
    }  # fmt: skip


def _breaker(row: ConnectorRow, terms: Terms, now: datetime) -> dict[str, Any]:
    breaker = row.breaker
    return {
        "state": str(breaker.state),
        "since": show.stamp(breaker.changed_at),
        "openings": breaker.openings,
        "answered": breaker.good,
        "unanswered": breaker.bad,
        "retry_at": show.stamp(breaker.retry_at),
        "trial_may_begin": may_try(breaker, terms.breaker, now),
        "trial_by": breaker.trial_by,
        "last_fault": row.last_fault,
        "last_fault_at": show.stamp(row.last_fault_at),
    }


_SAID = {
    BreakerState.CLOSED: "in use",
    BreakerState.OPEN: "down, left alone",
    BreakerState.HALF_OPEN: "being tried",
}


def _print(ones: list[dict[str, Any]]) -> None:
    rows = []
    for one in ones:
        breaker, rate = one["breaker"], one["rate"]
        standing = _SAID[BreakerState(breaker["state"])] if breaker else "never called"
        if breaker and breaker["trial_may_begin"]:
            standing += ", tried with the next payout"
        elif breaker and breaker["retry_at"]:
            standing += ", tried from " + str(breaker["retry_at"])[11:19]
        if not one["configured"]:
            standing += " (not in these settings)"
        balances = [
            f"{held['amount']} {held['currency']} ({show.age(held['age_s'])} ago{'' if held['counts'] else ', too old'})"
            for held in one["balances"]
        ]
        fault = f"{breaker['last_fault']} at {breaker['last_fault_at'][:19]}" if breaker and breaker["last_fault"] else ""
        speed = f"{rate['calls_per_s']:g}/s, {rate['burst']} at once" if rate else "no limit"
        rows.append((one["connector"], standing, speed, ", ".join(balances) or one["balance_fault"] or "not told", fault))
    show.table(("connector", "standing", "rate", "holds for us", "last fault"), rows)
