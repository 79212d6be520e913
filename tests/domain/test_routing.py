"""Which connector carries a payout: the first that can, that was not tried in vain, and sandboxes for test money alone."""

from __future__ import annotations

import pytest

from disburse.domain.routing import NoRoute, Route, choose, fits

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
