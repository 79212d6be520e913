"""The routing part of the settings: `[[routes]]` and `[providers.NAME]`, read into rules and terms, with every fault named.

Lives here: how they are written, and what is impossible about them. Two steps, because the second needs the connectors: reading
(when the settings are), and `check` against the configured routes (when something is about to be sent through them).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Final

import msgspec

from disburse.data import accepted_member_ids, load_sbp_members
from disburse.domain.breaker import BreakerLimits, Rate
from disburse.domain.destinations import Rail
from disburse.domain.fees import FeeRule
from disburse.domain.money import DIGITS, read_amount
from disburse.domain.refusals import Refusal
from disburse.domain.routing import TEST_CURRENCY, Limit, Price, Route, Rule
from disburse.operations.providers import Terms
from disburse.settings import BadSettings, Fee, Settings, nearest

_RAILS: Final = [str(rail) for rail in Rail]
_CHEAPEST: Final = "cheapest"
_LONGEST_REST_S: Final = 60.0


class RouteTable(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True, rename={"from_": "from"}):
    """One `[[routes]]` as it is written. Where several values may stand, one may stand alone."""

    name: str | None = None
    rail: str | list[str] = []
    currency: str | list[str] = []
    from_: str | None = None
    to: str | None = None
    merchant: int | list[int] = []
    bank: str | list[str] = []
    connectors: list[str] | None = None
    only: bool = False
    prefer: str | None = None


class LimitTable(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True, rename={"from_": "from"}):
    """One `[[providers.NAME.limits]]`: what the provider takes on a rail in a currency, both ends included."""

    rail: str
    currency: str
    from_: str = "0"
    to: str | None = None


class ProviderTable(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """One `[providers.NAME]`: how the provider of that connector is treated. Times in seconds.

    `longest_rest_s` left out: a minute, or `rest_s` where that is longer.
    """

    calls_per_s: float | None = None
    burst: int | None = None
    failures: int = 10
    percent: int = 80
    window_s: float = 30.0
    rest_s: float = 5.0
    longest_rest_s: float | None = None
    trials: int = 3
    balance_every_s: float = 60.0
    balance_fresh_s: float = 300.0
    fees: dict[str, Fee] = {}
    limits: list[LimitTable] = []


@dataclass(frozen=True, slots=True)
class Routing:
    """What the settings say about routing. `terms`, `prices` and `limits` by connector."""

    rules: tuple[Rule, ...]
    terms: Mapping[str, Terms]
    prices: Mapping[str, tuple[Price, ...]]
    limits: Mapping[str, tuple[Limit, ...]]

    def terms_of(self, connectors: Iterable[str]) -> dict[str, Terms]:
        """The terms of each of these connectors."""
        return {name: self.terms.get(name, Terms()) for name in connectors}

    def complete(self, route: Route) -> Route:
        """A route with what the settings know of its provider beside what the connector says: the settings come first."""
        limits = self.limits.get(route.connector, ())
        told = {(one.rail, one.currency) for one in limits}
        kept = tuple(one for one in route.limits if (one.rail, one.currency) not in told)
        return replace(
            route, limits=limits + kept, prices=self.prices.get(route.connector, ()) + route.prices
        )


def read_routing(settings: Settings) -> Routing:
    """Read the rules and the terms. Raises BadSettings with every fault."""
    faults: list[str] = []
    members = accepted_member_ids(load_sbp_members(settings.sbp_members))
    rules = [_rule(number, table, members, faults) for number, table in enumerate(settings.routes, 1)]
    terms: dict[str, Terms] = {}
    prices: dict[str, tuple[Price, ...]] = {}
    limits: dict[str, tuple[Limit, ...]] = {}
    for name, table in settings.providers.items():
        where = f"[providers.{name}]"
        told = _convert(table, ProviderTable, where, faults)
        if told is not None:
            terms[name] = _terms(told, where, faults)
            prices[name] = tuple(_prices(told, where, faults))
            limits[name] = tuple(_limits(told, where, faults))
    names = [rule.name for rule in rules if rule is not None]
    faults += [f"Two routes are called {name}." for name in dict.fromkeys(names) if names.count(name) > 1]
    _refuse(faults)
    return Routing(tuple(rule for rule in rules if rule is not None), terms, prices, limits)


def check(routing: Routing, routes: Sequence[Route]) -> None:
    """See that every name is a configured connector and no condition is impossible. Raises BadSettings with every fault."""
    by_name = {route.connector: route for route in routes}
    faults = [
        f"[providers.{name}]: there is no connector called {name}.{nearest(name, list(by_name))}"
        for name in routing.terms
        if name not in by_name
    ]
    for number, rule in enumerate(routing.rules):
        for name in rule.connectors or ():
            route = by_name.get(name)
            if route is None:
                faults.append(f"Route {rule.name}: there is no connector called {name}.{nearest(name, list(by_name))}")
            elif not _can_carry(route, rule):
                faults.append(f"Route {rule.name}: {name} carries nothing that fits it: {_able(route)}.")
        earlier = next((one for one in routing.rules[:number] if _covers(one, rule)), None)
        if earlier is not None:
            faults.append(f"Route {rule.name} is never asked: whatever fits it fits {earlier.name} before.")
    _refuse(faults)


def _refuse(faults: Sequence[str]) -> None:
    if faults:
        raise BadSettings(" ".join(faults))


# --- rules -------------------------------------------------------------------------------------------------------


def _rule(number: int, table: Mapping[str, Any], members: frozenset[str], faults: list[str]) -> Rule | None:
    where = f"Route {number}"
    told = _convert(table, RouteTable, where, faults)
    if told is None:
        return None
    name = told.name if told.name is not None else str(number)
    where, before = f"Route {name}", len(faults)
    if not 1 <= len(name) <= 60 or not name.isprintable():
        faults.append(f"{where}: a name has 1 to 60 printable characters.")
    rails, currencies, banks = _several(told.rail), _several(told.currency), _several(told.bank)
    faults += [f"{where}: there is no rail called {one}.{nearest(one, _RAILS)}" for one in rails if one not in _RAILS]
    faults += [f"{where}: the currency {one} is not known." for one in currencies if one not in DIGITS]
    faults += [
        f"{where}: {one} is no current member of SBP; if it is one, name it in sbp_members."
        for one in banks
        if one not in members
    ]
    if banks and rails and Rail.SBP not in rails:
        faults.append(f"{where}: only a payout by sbp has a bank, and rail is {', '.join(rails)}.")
    from_minor, to_minor = _bounds(told.from_, told.to, currencies, where, faults)
    merchants = tuple(told.merchant) if isinstance(told.merchant, list) else (told.merchant,)
    faults += [f"{where}: a merchant is named by its id, which is 1 or more." for one in merchants if one < 1]
    if told.connectors is not None and (not told.connectors or len(set(told.connectors)) < len(told.connectors)):
        faults.append(f"{where}: connectors names at least one, and each once.")
    if told.only and told.connectors is None:
        faults.append(f"{where}: only says that no other connectors may be used, so connectors must name some.")
    if told.prefer not in (None, _CHEAPEST):
        faults.append(f"{where}: prefer is {_CHEAPEST}, or left out.")
    if told.connectors is None and told.prefer is None:
        faults.append(f"{where}: it says nothing: name connectors, or prefer.")
    if len(faults) > before:
        return None
    return Rule(
        name, rails, currencies, from_minor, to_minor, merchants, banks,
        tuple(told.connectors) if told.connectors is not None else None, told.only, told.prefer == _CHEAPEST,
    )  # fmt: skip


def _several(value: str | list[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def _bounds(
    least: str | None, most: str | None, currencies: Sequence[str], where: str, faults: list[str]
) -> tuple[int | None, int | None]:
    if least is None and most is None:
        return None, None
    if len(currencies) != 1:
        faults.append(f"{where}: an amount needs exactly one currency.")
        return None, None
    bounds = [
        _amount(text, currencies[0], f"{where}: {end}", faults) for text, end in ((least, "from"), (most, "to"))
    ]
    if bounds[0] is not None and bounds[1] is not None and bounds[0] > bounds[1]:
        faults.append(f"{where}: no amount is from {least} to {most}.")
    return bounds[0], bounds[1]


def _amount(text: str | None, currency: str, where: str, faults: list[str]) -> int | None:
    if text is None:
        return None
    try:
        return read_amount(text, currency).minor
    except Refusal as refusal:
        faults.append(f'{where} is "{text}": {refusal}')
        return None


def _can_carry(route: Route, rule: Rule) -> bool:
    """Whether there is any payout that fits the rule and that the route could carry."""
    for rail in sorted(route.rails):
        if (rule.rails and rail not in rule.rails) or (rule.banks and rail != Rail.SBP):
            continue
        for currency in sorted(route.currencies):
            if (rule.currencies and currency not in rule.currencies) or (currency == TEST_CURRENCY and not route.sandbox):
                continue
            limit = next((one for one in route.limits if (one.rail, one.currency) == (rail, currency)), None)
            if limit is None or _meet(rule, limit):
                return True
    return False


def _meet(rule: Rule, limit: Limit) -> bool:
    below = rule.to_minor is not None and rule.to_minor < limit.smallest_minor
    above = limit.largest_minor is not None and (rule.from_minor or 0) > limit.largest_minor
    return not (below or above)


def _able(route: Route) -> str:
    able = f"it carries {', '.join(sorted(route.rails))} in {', '.join(sorted(route.currencies))}"
    return f"{able}, within its limits" if route.limits else able


def _covers(first: Rule, second: Rule) -> bool:
    """Whether every payout that fits the second rule fits the first one."""
    pairs: list[tuple[Sequence[Any], Sequence[Any]]] = [
        (first.rails, second.rails or ((str(Rail.SBP),) if second.banks else ())), (first.currencies, second.currencies),
        (first.merchants, second.merchants), (first.banks, second.banks),
    ]  # fmt: skip
    if any(wide and (not narrow or not set(narrow) <= set(wide)) for wide, narrow in pairs):
        return False
    if first.from_minor is not None and (second.from_minor is None or second.from_minor < first.from_minor):
        return False
    return first.to_minor is None or (second.to_minor is not None and second.to_minor <= first.to_minor)


# --- providers ---------------------------------------------------------------------------------------------------


def _terms(told: ProviderTable, where: str, faults: list[str]) -> Terms:
    longest_s = told.longest_rest_s if told.longest_rest_s is not None else max(told.rest_s, _LONGEST_REST_S)
    numbers = {
        "failures": 1 <= told.failures <= 1_000_000, "percent": 1 <= told.percent <= 100, "window_s": 0 < told.window_s <= 86400,
        "rest_s": 0 < told.rest_s <= 86400, "longest_rest_s": told.rest_s <= longest_s <= 86400,
        "trials": 1 <= told.trials <= 1000,
        "balance_every_s": 1 <= told.balance_every_s <= 86400, "balance_fresh_s": 0 < told.balance_fresh_s <= 864_000,
    }  # fmt: skip
    faults += [f"{where}: {name} is out of range." for name, right in numbers.items() if not right]
    rate = None
    if told.calls_per_s is not None:
        if not 0.001 <= told.calls_per_s <= 100_000 or not 1 <= (told.burst or 1) <= 100_000 or told.burst == 0:
            faults.append(f"{where}: calls_per_s is 0.001 to 100,000, and burst 1 to 100,000.")
        else:
            rate = Rate(told.calls_per_s, told.burst or max(int(told.calls_per_s), 1))
    elif told.burst is not None:
        faults.append(f"{where}: burst says nothing without calls_per_s.")
    breaker = BreakerLimits(
        told.failures, told.percent, told.window_s, told.rest_s, longest_s, told.trials
    )
    return Terms(breaker, rate, told.balance_every_s, told.balance_fresh_s)


def _prices(told: ProviderTable, where: str, faults: list[str]) -> Iterable[Price]:
    for rail, charged in told.fees.items():
        if rail not in _RAILS:
            faults.append(f"{where}: there is no rail called {rail}.{nearest(rail, _RAILS)}")
            continue
        try:
            yield Price(rail, None, FeeRule(charged.basis_points, charged.minimum_minor, charged.maximum_minor))
        except AssertionError as fault:
            faults.append(f"{where}: the fee of {rail} is wrong: {fault}.")


def _limits(told: ProviderTable, where: str, faults: list[str]) -> Iterable[Limit]:
    for one in told.limits:
        if one.rail not in _RAILS:
            faults.append(f"{where}: there is no rail called {one.rail}.{nearest(one.rail, _RAILS)}")
        elif one.currency not in DIGITS:
            faults.append(f"{where}: the currency {one.currency} is not known.")
        else:
            least, most = _bounds(one.from_, one.to, [one.currency], f"{where}, limit of {one.rail}", faults)
            yield Limit(one.rail, one.currency, least or 0, most)


@cache
def _keys_of(kind: type[msgspec.Struct]) -> tuple[str, ...]:
    return tuple([field.encode_name for field in msgspec.structs.fields(kind)])


def _convert(table: Mapping[str, Any], kind: type[msgspec.Struct], where: str, faults: list[str]) -> Any:
    """The table as its struct; None, with the faults, for one that is not. Names of keys are checked by their nearest."""
    known = _keys_of(kind)
    strangers = [name for name in table if name not in known]
    if strangers:
        faults += [f"{where}: there is no key called {name}.{nearest(name, known)}" for name in strangers]
        return None
    try:
        return msgspec.convert(table, kind)
    except msgspec.ValidationError as error:
        faults.append(f"{where}: {error}.")
        return None
