"""Which connector carries a payout, by rules, limits, fees and what stands against a provider now; and what is told of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from disburse.domain.fees import FeeRule
from disburse.domain.routing import (
    Decision,
    Fact,
    Freight,
    Limit,
    NoRoute,
    Price,
    Route,
    Rule,
    Why,
    charge,
    choose,
    decide,
    fits,
    may_go_elsewhere,
)

CARDS = Route("cards", frozenset({"card"}), frozenset({"RUB", "USD"}))
WIDE = Route("wide", frozenset({"card", "sbp", "qiwi"}), frozenset({"RUB"}))
SANDBOX = Route("sandbox", frozenset({"card", "sbp"}), frozenset({"RUB", "TST"}), sandbox=True)
BOASTER = Route(
    "boaster", frozenset({"card"}), frozenset({"TST"})
)  # says it carries test money, with real money's hands
ROUTES = (CARDS, BOASTER, WIDE, SANDBOX)


@pytest.mark.parametrize(
    "rail, currency, sandbox_only, tried, chosen",
    [
        ("card", "RUB", False, (), "cards"),
        ("card", "USD", False, (), "cards"),
        ("sbp", "RUB", False, (), "wide"),
        ("card", "RUB", False, {"cards"}, "wide"),
        ("card", "RUB", False, {"cards", "wide"}, "sandbox"),
        ("card", "RUB", False, ["cards", "wide", "sandbox"], None),
        ("card", "RUB", False, {"a connector that is gone"}, "cards"),
        ("card", "RUB", True, (), "sandbox"),
        ("card", "RUB", True, {"sandbox"}, None),
        ("card", "TST", False, (), "sandbox"),
        ("card", "TST", True, (), "sandbox"),
        ("card", "TST", False, {"sandbox"}, None),
        ("qiwi", "RUB", True, (), None),
        ("sbp", "USD", False, (), None),
        ("usdt", "RUB", False, (), None),
        ("card", "EUR", False, (), None),
    ],
)
def test_choose(
    rail: str, currency: str, sandbox_only: bool, tried: set[str] | list[str] | tuple[()], chosen: str | None
) -> None:
    """The first route in the settings' order that fits and was not tried; nothing when there is none."""
    assert choose(ROUTES, rail, currency, sandbox_only=sandbox_only, tried=tried) == chosen


def test_order_is_the_settings_order() -> None:
    """Turning the settings round turns the choice round."""
    assert choose(ROUTES[::-1], "card", "RUB") == "sandbox"
    assert choose((WIDE, CARDS), "card", "RUB") == "wide"
    assert choose((), "card", "RUB") is None


@pytest.mark.parametrize(
    "route, rail, currency, sandbox_only, can",
    [
        (CARDS, "card", "RUB", False, True),
        (CARDS, "sbp", "RUB", False, False),
        (CARDS, "card", "EUR", False, False),
        (CARDS, "card", "RUB", True, False),
        (BOASTER, "card", "TST", False, False),
        (SANDBOX, "card", "TST", False, True),
        (SANDBOX, "card", "RUB", True, True),
    ],
)
def test_fits(route: Route, rail: str, currency: str, sandbox_only: bool, can: bool) -> None:
    """A route fits by rail and currency; what must not move real money fits a sandbox alone (intellectmoney.md section 9)."""
    assert fits(route, rail, currency, sandbox_only=sandbox_only) is can


def test_the_refusal() -> None:
    """No route is a refusal with a name and a sentence."""
    assert NoRoute().name == "no_route"
    assert str(NoRoute()) == "No configured provider can carry this payout."


# --- decide ------------------------------------------------------------------------------------------------------

CARD = Freight("card", "RUB", 10_000, merchant_id=7)
SBP = Freight("sbp", "RUB", 10_000, merchant_id=7, bank="100000000004")


def refused(decision: Decision) -> dict[str, str]:
    return {one.connector: str(one.why) for one in decision.objections}


@pytest.mark.parametrize(
    "rule, freight, unfit",
    [
        (Rule("r"), CARD, None),
        (Rule("r", rails=("sbp", "card")), CARD, None),
        (Rule("r", rails=("sbp",)), CARD, "rail"),
        (Rule("r", currencies=("USD",)), CARD, "currency"),
        (Rule("r", from_minor=10_000, to_minor=10_000), CARD, None),
        (Rule("r", from_minor=10_001), CARD, "amount"),
        (Rule("r", to_minor=9_999), CARD, "amount"),
        (Rule("r", merchants=(1, 7)), CARD, None),
        (Rule("r", merchants=(1,)), CARD, "merchant"),
        (Rule("r", banks=("100000000004",)), SBP, None),
        (Rule("r", banks=("100000000111",)), SBP, "bank"),
        (Rule("r", banks=("100000000111",)), CARD, "bank"),
        (Rule("r", banks=("100000000004",)), replace(SBP, bank=None), "bank"),
    ],
)
def test_a_rule_fits_when_all_of_it_does(rule: Rule, freight: Freight, unfit: str | None) -> None:
    """Every condition that a rule has must be met; amounts include both ends; a bank that is not known meets none."""
    assert rule.unfit(freight) == unfit


def test_the_first_rule_that_fits_decides() -> None:
    """Its connectors come first, in its order; then all others in the settings' order; rules behind it are not asked."""
    rules = [Rule("usd", currencies=("USD",)), Rule("wide first", connectors=("wide",)), Rule("last", connectors=("sandbox",))]
    decision = decide(ROUTES, CARD, rules)
    assert (decision.chosen, decision.rule, decision.rules) == ("wide", "wide first", (("usd", "currency"),))
    second = decide(ROUTES, replace(CARD, tried={"wide"}), rules)
    assert second.chosen == "cards" and refused(second) == {"wide": "tried"}


def test_only_means_only() -> None:
    """A rule that says `only` leaves the others out, by name; what it allows in vain is no route at all."""
    rules = [Rule("r", connectors=("wide",), only=True)]
    decision = decide(ROUTES, replace(CARD, tried={"wide"}), rules)
    assert decision.chosen is None and not decision.waits
    assert refused(decision) == {"wide": "tried", "cards": "excluded", "boaster": "currency", "sandbox": "excluded"}
    assert not may_go_elsewhere(ROUTES, replace(CARD, tried={"wide"}), rules)
    assert may_go_elsewhere(ROUTES, replace(CARD, tried={"wide"}))


def test_a_rule_that_names_what_is_gone() -> None:
    """A connector that a rule names and that is not configured is passed over."""
    assert decide(ROUTES, CARD, [Rule("r", connectors=("gone", "wide"))]).chosen == "wide"


def test_the_cheapest_first() -> None:
    """By the provider's fee for this amount; equals keep their order, and a fee that is not known comes last."""
    dear = Route("dear", CARDS.rails, CARDS.currencies, prices=(Price("card", None, FeeRule(200)),))
    flat = Route("flat", CARDS.rails, CARDS.currencies, prices=(Price("card", "RUB", FeeRule(0, 150)),))
    routes = (CARDS, dear, flat)
    rules = [Rule("r", cheapest=True)]
    assert decide(routes, CARD, rules).chosen == "flat"
    assert decide(routes, replace(CARD, amount_minor=5_000), rules).chosen == "dear"
    assert decide(routes, replace(CARD, tried={"dear", "flat"}), rules).chosen == "cards"
    assert decide(routes, replace(CARD, currency="USD", tried={"dear"}), rules).chosen == "cards"
    assert charge(flat, CARD) == 150 and charge(CARDS, CARD) is None
    assert decide(routes, CARD, [Rule("r", connectors=("cards", "dear"), cheapest=True)]).chosen == "dear"


@pytest.mark.parametrize(
    "minor, why", [(999, "below"), (1_000, None), (50_000, None), (50_001, "above")]
)
def test_limits_of_a_provider(minor: int, why: str | None) -> None:
    """A provider takes what lies within its limits, both ends included; where it names none, any amount."""
    small = replace(CARDS, limits=(Limit("card", "RUB", 1_000, 50_000), Limit("card", "USD", 1, None)))
    decision = decide((small,), replace(CARD, amount_minor=minor))
    assert refused(decision) == ({"cards": why} if why else {})
    assert decide((small,), replace(CARD, currency="USD", amount_minor=10**12)).chosen == "cards"


NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
DOWN = Fact(calls=0, why=Why.BREAKER, until=NOW)
BUSY = Fact(calls=0)
POOR = Fact(balances=(("RUB", 9_999), ("USD", 10**9)))


@pytest.mark.parametrize("fact, why", [(DOWN, "breaker"), (BUSY, "rate"), (POOR, "balance")])
def test_what_stands_against_a_provider_now(fact: Fact, why: str) -> None:
    """Another route is taken; where there is none, the payout waits and does not fail; and it may go there later."""
    around = decide(ROUTES, CARD, facts={"cards": fact})
    assert (around.chosen, refused(around)) == ("wide", {"cards": why, "boaster": "currency"})
    alone = decide((CARDS,), CARD, facts={"cards": fact})
    assert alone.chosen is None and alone.waits
    assert may_go_elsewhere((CARDS,), CARD)


def test_what_is_refused_for_good_does_not_wait() -> None:
    """A provider that is down and could not carry it anyway is not waited for."""
    decision = decide((CARDS,), SBP, facts={"cards": DOWN})
    assert decision.chosen is None and not decision.waits and refused(decision) == {"cards": "rail"}
    tried = decide((CARDS,), replace(CARD, tried={"cards"}), facts={"cards": DOWN})
    assert not tried.waits


@pytest.mark.parametrize("fact", [Fact(), Fact(calls=1), Fact(balances=(("RUB", 10_000),)), Fact(balances=(("USD", 1),))])
def test_what_is_not_against_a_provider(fact: Fact) -> None:
    """Calls left, money enough, or money of another currency alone: nothing stands against it."""
    assert decide(ROUTES, CARD, facts={"cards": fact}).chosen == "cards"


def test_a_balance_must_cover_the_providers_fee() -> None:
    """What a provider holds must cover the payout and what it charges for it."""
    route = replace(CARDS, prices=(Price("card", None, FeeRule(100)),))
    assert decide((route,), CARD, facts={"cards": Fact(balances=(("RUB", 10_099),))}).waits
    assert decide((route,), CARD, facts={"cards": Fact(balances=(("RUB", 10_100),))}).chosen == "cards"


def test_a_plain_decision_has_nothing_to_tell() -> None:
    """The first route, no rule asked and nothing refused: plain. Anything else is told, and its text reads back the same."""
    assert decide(ROUTES, CARD).plain and decide(ROUTES, CARD, facts={"wide": DOWN}).plain
    told = decide(ROUTES, CARD, [Rule("usd", currencies=("USD",)), Rule("r", connectors=("wide", "cards"))], {"wide": DOWN})
    assert not told.plain and not decide(ROUTES, CARD, [Rule("r", connectors=("cards",))]).plain
    assert not decide((CARDS,), SBP).plain
    again = Decision.from_text(told.to_text())
    assert replace(told, objections=tuple(replace(one, until=None) for one in told.objections)) == again
    assert len(told.to_text()) < 200
