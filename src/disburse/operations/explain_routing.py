"""Decisions about routes in words, and as data for scripts. Lives here: the telling alone; what was decided is `domain/routing.py`'s."""

from __future__ import annotations

from typing import Any, Final

from disburse.domain.routing import Decision, Objection, Why
from disburse.operations.routing import SPOKEN_OF
from disburse.storage.reports_payout import Routing

_CONDITIONS: Final = {
    "rail": "another rail",
    "currency": "another currency",
    "amount": "another amount",
    "merchant": "another merchant",
    "bank": "another bank, or none that is known",
}


def describe_routing(one: Routing) -> str:
    """A stored decision, for the timeline."""
    decision = Decision.from_text(one.decision)
    often = f" (looked at {one.looked} times since {one.since:%H:%M:%S})" if one.looked > 1 else ""
    return f"attempt {one.attempt}: {say_decision(decision)}{often}"


def say_decision(decision: Decision) -> str:
    """A decision with every rule that was tried, every route that was refused, and why."""
    if decision.rule == SPOKEN_OF:
        return f"{decision.chosen} has spoken of this id before, so it is asked about there and not sent."
    parts = [f"rule {name} does not fit ({_CONDITIONS.get(why, why)})" for name, why in decision.rules]
    if decision.rule is not None:
        parts.append(f"rule {decision.rule} fits")
    elif decision.rules:
        parts.append("no rule fits, so all providers in the order of the settings")
    parts += [f"not {one.connector}: {_objection(one)}" for one in decision.objections]
    parts.append(f"so {_end(decision)}" if parts else _end(decision))
    return "; ".join(parts) + "."


def _end(decision: Decision) -> str:
    if decision.chosen is not None:
        return decision.chosen
    return "it waits" if decision.waits else "there is no route"


def _objection(one: Objection) -> str:
    match one.why:
        case Why.SANDBOX:
            return "it moves real money, and this payout must not"
        case Why.RAIL | Why.CURRENCY:
            return f"it does not carry {one.detail}"
        case Why.BELOW:
            return f"it takes at least {one.detail}"
        case Why.ABOVE:
            return f"it takes at most {one.detail}"
        case Why.TRIED:
            return "it refused this payout before"
        case Why.EXCLUDED:
            return "the rule allows only others"
        case Why.BREAKER:
            return "it is down and left alone" + (f" until {one.detail}" if one.detail else "")
        case Why.RATE:
            return "as many calls as it allows are under way or just begun"
        case Why.BALANCE:
            return f"it holds {one.detail} for us, which is too little"
        case Why.CERTIFICATE:
            return "it has no certificate that lets it send"


def decision_for_scripts(decision: Decision) -> dict[str, Any]:
    """A decision as data."""
    return {
        "chosen": decision.chosen,
        "waits": decision.waits,
        "rule": decision.rule,
        "rules_that_do_not_fit": [{"rule": name, "condition": why} for name, why in decision.rules],
        "refused": [
            {"connector": one.connector, "why": str(one.why), "detail": one.detail or None} for one in decision.objections
        ],
    }
