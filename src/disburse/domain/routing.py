"""Which connector carries a payout. Pure: rules, routes, facts and what is to be carried in; a decision out, with all its reasons.

Lives here: what a rule says, what a route can carry, what may stand against it now, and `decide`. May not: ask a provider or
a database anything, read a clock, or know what a connector is beyond a route. Where rules come from is `routing_settings.py`,
where facts come from `operations/providers.py`; the words in which people are told a decision are `operations/explain_routing.py`'s.

The rules are read from first to last and the first that fits decides: its connectors come first, in its order (or the cheapest
first), and unless it says `only`, all others follow in the order of the settings. Without a fitting rule that order is all.

Something against a route is either *for good* (it can never carry this payout) or *for now* (its provider is down, busy, or
short of money). A payout that all routes refuse for good has no route and fails. One that a route refuses only for now waits.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from disburse.domain.fees import FeeRule, fee
from disburse.domain.money import Money, minor_text
from disburse.domain.refusals import Refusal


class NoRoute(Refusal):
    """No configured provider can carry this payout."""


TEST_CURRENCY = "TST"
"""IntellectMoney's test money: it goes to a sandbox or nowhere (intellectmoney.md section 9)."""


@dataclass(frozen=True, slots=True)
class Limit:
    """A provider takes from `smallest_minor` to `largest_minor`, both included, on this rail in this currency. None: no end."""

    rail: str
    currency: str
    smallest_minor: int
    largest_minor: int | None


@dataclass(frozen=True, slots=True)
class Price:
    """What a provider charges us on this rail. `currency` None: in any."""

    rail: str
    currency: str | None
    rule: FeeRule


@dataclass(frozen=True, slots=True)
class Route:
    """A connector as routing sees it: what it can carry, and whether it is a sandbox (no real money moves).

    `barred`: it has no certificate that lets it send; what it could carry waits for one.

    `limits`: where there is none for a rail and currency, any amount will do. `prices`: the first that fits is the provider's.
    """

    connector: str
    rails: frozenset[str]
    currencies: frozenset[str]
    sandbox: bool = False
    limits: tuple[Limit, ...] = ()
    prices: tuple[Price, ...] = ()
    barred: bool = False


@dataclass(frozen=True, slots=True)
class Freight:
    """What routing may know of a payout. `bank`: the SBP member, None when there is none or it is not known.

    `tried`: connectors that refused this payout before, with proof that nothing moved.
    """

    rail: str
    currency: str
    amount_minor: int
    merchant_id: int = 0
    bank: str | None = None
    sandbox_only: bool = False
    tried: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of the settings. An empty condition fits everything; `connectors` None means all, in the settings' order.

    `from_minor` and `to_minor` are included; they need exactly one currency to be minor units of.
    """

    name: str
    rails: tuple[str, ...] = ()
    currencies: tuple[str, ...] = ()
    from_minor: int | None = None
    to_minor: int | None = None
    merchants: tuple[int, ...] = ()
    banks: tuple[str, ...] = ()
    connectors: tuple[str, ...] | None = None
    only: bool = False
    cheapest: bool = False

    def unfit(self, freight: Freight) -> str | None:
        """The first condition that this freight does not meet; None when the rule fits."""
        if self.rails and freight.rail not in self.rails:
            return "rail"
        if self.currencies and freight.currency not in self.currencies:
            return "currency"
        if self.from_minor is not None and freight.amount_minor < self.from_minor:
            return "amount"
        if self.to_minor is not None and freight.amount_minor > self.to_minor:
            return "amount"
        if self.merchants and freight.merchant_id not in self.merchants:
            return "merchant"
        if self.banks and freight.bank not in self.banks:
            return "bank"
        return None


class Why(StrEnum):
    """What stands against a route."""

    SANDBOX = "sandbox"  # it moves real money, and this payout must not
    RAIL = "rail"
    CURRENCY = "currency"
    BELOW = "below"
    ABOVE = "above"
    TRIED = "tried"
    EXCLUDED = "excluded"  # the rule that decides says `only`, and does not name it
    BREAKER = "breaker"
    RATE = "rate"
    BALANCE = "balance"
    CERTIFICATE = "certificate"


FOR_NOW = frozenset({Why.BREAKER, Why.RATE, Why.BALANCE, Why.CERTIFICATE})


@dataclass(frozen=True, slots=True)
class Fact:
    """What stands against a provider at this moment. The default is nothing.

    `calls`: how many may still be begun, None for any number; where that is none, `why` is BREAKER or RATE and `until` when to
    look again. `balances`: minor units by currency that the provider holds for us, as far as they are known freshly enough.
    `per_s`: how many calls a second it takes, None for any number: who waits for it in a row comes back in that measure.
    """

    calls: int | None = None
    why: Why = Why.RATE
    until: datetime | None = None
    balances: tuple[tuple[str, int], ...] = ()
    per_s: float | None = None


Facts = Mapping[str, Fact]
"""By connector. One that is not in it has nothing against it."""


@dataclass(frozen=True, slots=True)
class Objection:
    """Why a route was refused. `detail`: the figure or the time behind it. `until`: when a look for now is worth its while."""

    connector: str
    why: Why
    detail: str = ""
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided and why. `rules`: each rule that was tried and the condition that it failed by; `rule`: the one that fits.

    `chosen` None is no route, or, when something is refused for now only, not yet.
    """

    chosen: str | None
    rule: str | None = None
    rules: tuple[tuple[str, str], ...] = ()
    objections: tuple[Objection, ...] = ()

    @property
    def waits(self) -> bool:
        """Whether there is no route now and there may be one later."""
        return self.chosen is None and any(one.why in FOR_NOW for one in self.objections)

    @property
    def plain(self) -> bool:
        """Whether it is the first route in the settings' order, no rule was asked, and there is nothing to tell."""
        return self.chosen is not None and not (self.rule or self.rules or self.objections)

    def to_text(self) -> str:
        """Compact JSON, to be stored with the attempt."""
        return json.dumps(
            {
                "chosen": self.chosen, "rule": self.rule, "rules": self.rules,
                "refused": [[one.connector, one.why, one.detail] for one in self.objections],
            },
            separators=(",", ":"), ensure_ascii=False,
        )  # fmt: skip

    @classmethod
    def from_text(cls, text: str) -> Decision:
        """The decision of `to_text`, without its times."""
        told = json.loads(text)
        return cls(
            told["chosen"],
            told["rule"],
            tuple((name, why) for name, why in told["rules"]),
            tuple(Objection(connector, Why(why), detail) for connector, why, detail in told["refused"]),
        )


def fits(route: Route, rail: str, currency: str, *, sandbox_only: bool) -> bool:
    """Whether a route can carry this rail and currency."""
    if (sandbox_only or currency == TEST_CURRENCY) and not route.sandbox:
        return False
    return rail in route.rails and currency in route.currencies


def choose(
    routes: Sequence[Route], rail: str, currency: str, *, sandbox_only: bool = False, tried: Collection[str] = ()
) -> str | None:
    """The first route, in the order of the settings, that could carry some payout of this kind. Rules and facts are not asked."""
    for route in routes:
        if route.connector not in tried and fits(route, rail, currency, sandbox_only=sandbox_only):
            return route.connector
    return None


_NO_FACTS: Facts = {}


def decide(
    routes: Sequence[Route], freight: Freight, rules: Sequence[Rule] = (), facts: Facts = _NO_FACTS
) -> Decision:
    """Choose the route of one payout. `routes` stand in the order of the settings."""
    if not rules and not facts and routes and not routes[0].barred and _for_good(routes[0], freight) is None:
        return Decision(routes[0].connector)
    failed: list[tuple[str, str]] = []
    rule = None
    for one in rules:
        unfit = one.unfit(freight)
        if unfit is None:
            rule = one
            break
        failed.append((one.name, unfit))
    objections: list[Objection] = []
    chosen = None
    for route, excluded in _in_order(routes, rule, freight):
        objection = _for_good(route, freight)
        if objection is None and excluded:
            objection = Objection(route.connector, Why.EXCLUDED)
        if objection is None:
            objection = _for_now(facts.get(route.connector), route, freight)
        if objection is None:
            chosen = route.connector
            break
        objections.append(objection)
    return Decision(chosen, rule.name if rule else None, tuple(failed), tuple(objections))


def may_go_elsewhere(routes: Sequence[Route], freight: Freight, rules: Sequence[Rule] = ()) -> bool:
    """Whether a route is left that could carry this, now or later. What stands against a provider for now does not count.

    A route that waits for its certificate is none: nobody knows whether it will ever have one.
    """
    return decide(routes, freight, rules).chosen is not None


def charge(route: Route, freight: Freight) -> int | None:
    """What the provider of a route takes for carrying this, minor units; None when that is not known."""
    for price in route.prices:
        if price.rail == freight.rail and price.currency in (None, freight.currency):
            return fee(price.rule, Money(freight.amount_minor, freight.currency)).minor
    return None


def _in_order(routes: Sequence[Route], rule: Rule | None, freight: Freight) -> Iterator[tuple[Route, bool]]:
    """The routes in the order in which a rule wants them tried, each with whether the rule excludes it."""
    if rule is None:
        yield from ((route, False) for route in routes)
        return
    by_name = {route.connector: route for route in routes}
    named = list(routes) if rule.connectors is None else [by_name[name] for name in rule.connectors if name in by_name]
    if rule.cheapest:
        costs = {route.connector: charge(route, freight) for route in named}
        named.sort(key=lambda route: (costs[route.connector] is None, costs[route.connector] or 0))
    yield from ((route, False) for route in named)
    yield from ((route, rule.only) for route in routes if route not in named)


def _for_good(route: Route, freight: Freight) -> Objection | None:
    name = route.connector
    if (freight.sandbox_only or freight.currency == TEST_CURRENCY) and not route.sandbox:
        return Objection(name, Why.SANDBOX)
    if freight.rail not in route.rails:
        return Objection(name, Why.RAIL, freight.rail)
    if freight.currency not in route.currencies:
        return Objection(name, Why.CURRENCY, freight.currency)
    for limit in route.limits:
        if (limit.rail, limit.currency) == (freight.rail, freight.currency):
            if freight.amount_minor < limit.smallest_minor:
                return Objection(name, Why.BELOW, minor_text(limit.smallest_minor, limit.currency))
            if limit.largest_minor is not None and freight.amount_minor > limit.largest_minor:
                return Objection(name, Why.ABOVE, minor_text(limit.largest_minor, limit.currency))
    if name in freight.tried:
        return Objection(name, Why.TRIED)
    return None


def _for_now(fact: Fact | None, route: Route, freight: Freight) -> Objection | None:
    if route.barred:
        return Objection(route.connector, Why.CERTIFICATE)
    if fact is None:
        return None
    if fact.calls is not None and fact.calls <= 0:
        until = fact.until.isoformat(timespec="seconds") if fact.until is not None else ""
        return Objection(route.connector, fact.why, until, fact.until)
    for currency, minor in fact.balances:
        if currency == freight.currency and minor < freight.amount_minor + (charge(route, freight) or 0):
            return Objection(route.connector, Why.BALANCE, minor_text(minor, currency))
    return None
