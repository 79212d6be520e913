"""Routing inside a claim: one decision a payout, what it costs its provider's allowance, and the row that keeps its reasons.

Lives here: `Router`, which stands between the pure `decide` and the claim's transaction. It asks no database: whatever it
knows was handed to it before the transaction began, so that a claim pays no statement for it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from disburse.domain.payout import Payout
from disburse.domain.routing import FOR_NOW, Decision, Facts, Freight, Route, Rule, Why, decide, fits, may_go_elsewhere
from disburse.storage.unit import Unit

BankOf = Callable[[Payout], str | None]
"""The SBP member that a payout goes to. It lies in the sealed destination, so it is asked for only where a rule speaks of banks."""

SOONEST: Final = timedelta(seconds=1)
LATEST: Final = timedelta(seconds=30)
"""An attempt that must wait for a provider is looked at again between these: soon after the provider is back, whatever it rested."""


def _no_bank(payout: Payout) -> str | None:
    return None


class Router:
    """The routes of one claim. `begin` it in each run of the transaction: a run that was broken off used nothing."""

    def __init__(
        self, routes: Sequence[Route], rules: Sequence[Rule] = (), facts: Facts | None = None, bank_of: BankOf = _no_bank
    ) -> None:
        self._routes = routes
        self._rules = rules
        self._given = dict(facts or {})
        self._facts = self._given
        # The one case that nearly every claim is: a first route without limits, no rule, nothing against anybody.
        simple = bool(routes) and not rules and not self._given and not routes[0].limits and not routes[0].barred
        self._first = (routes[0], Decision(routes[0].connector)) if simple else None
        self._bank_of = bank_of if any(rule.banks for rule in rules) else _no_bank
        self._waiting = 0
        self.wanted: dict[str, int] = {}
        """By connector, how many calls were asked for, granted or not."""

    def begin(self) -> None:
        """Forget what an earlier run of the same work used."""
        self._facts = dict(self._given) if self._given else self._given
        self._waiting = 0
        self.wanted = {}

    def route(self, payout: Payout, tried: Collection[str]) -> Decision:
        """The route of one payout; what it uses of its provider's allowance is gone for the next ones."""
        if self._first is not None:
            route, plain = self._first
            if not tried and fits(route, payout.rail, payout.currency, sandbox_only=payout.sandbox_only):
                return plain
        freight = self._freight(payout, tried)
        decision = decide(self._routes, freight, self._rules, self._facts)
        if not self._facts:
            return decision
        for objection in decision.objections:
            if objection.why in (Why.BREAKER, Why.RATE):
                self._want(objection.connector)
        if decision.chosen is not None:
            self._want(decision.chosen)
            self._use(decision.chosen, freight)
        return decision

    def may_go_elsewhere(self, payout: Payout, tried: Collection[str]) -> bool:
        """Whether a route is left for a payout that these have refused, now or later."""
        return may_go_elsewhere(self._routes, self._freight(payout, tried), self._rules)

    def look_again(self, decision: Decision, clock: datetime) -> datetime:
        """When an attempt that waits is due again. They come back one after the other, not all at once."""
        held_up = [one for one in decision.objections if one.why in FOR_NOW]
        at = min((one.until for one in held_up if one.until is not None), default=clock + LATEST)
        measures = [fact.per_s for one in held_up if (fact := self._facts.get(one.connector)) is not None and fact.per_s]
        self._waiting += 1
        turn = timedelta(seconds=self._waiting / max(measures, default=100.0))
        return min(max(at, clock + SOONEST) + turn, clock + LATEST + timedelta(milliseconds=10 * self._waiting))

    def _freight(self, payout: Payout, tried: Collection[str]) -> Freight:
        return Freight(
            payout.rail, payout.currency, payout.amount_minor, payout.merchant_id, self._bank_of(payout), payout.sandbox_only,
            tried,
        )  # fmt: skip

    def _want(self, connector: str) -> None:
        self.wanted[connector] = self.wanted.get(connector, 0) + 1

    def _use(self, connector: str, freight: Freight) -> None:
        fact = self._facts.get(connector)
        if fact is None:
            return
        left = tuple(
            (currency, minor - freight.amount_minor if currency == freight.currency else minor)
            for currency, minor in fact.balances
        )
        calls = None if fact.calls is None else fact.calls - 1
        self._facts = {**self._facts, connector: replace(fact, calls=calls, balances=left)}


def keep_decision(unit: Unit, payout: Payout, number: int, decision: Decision, at: datetime) -> None:
    """Store why a payout goes the way it goes, or waits; nothing where there is nothing to tell."""
    if not decision.plain:
        unit.add("routings", (payout.payout_id, number, unit.place(payout.merchant_id), decision.to_text(), at, at))


SPOKEN_OF: Final = "spoken of before"
"""The rule that stands in the decision about an id of which a provider has spoken before its intent was written."""


def stored_before(connector: str) -> Decision:
    """Such an id stays with that provider, whatever the rules say."""
    return Decision(connector, rule=SPOKEN_OF)
