"""Rules and terms as people write them: read exactly, or refused with every fault named and what would be right."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from disburse.domain.breaker import BreakerLimits, Rate
from disburse.domain.fees import FeeRule
from disburse.domain.routing import Limit, Price, Route, Rule
from disburse.operations.providers import Terms
from disburse.routing_settings import Routing, check, read_routing
from disburse.settings import BadSettings, load_settings
from disburse.wiring import open_house, working
from disburse.world import real_world

BANK = Route("bank", frozenset({"card", "sbp"}), frozenset({"RUB"}), limits=(Limit("card", "RUB", 1000, 50_000),))
UNITPAY = Route("unitpay", frozenset({"card", "webmoney"}), frozenset({"RUB", "USD"}))
SANDBOX = Route("sandbox", frozenset({"card", "sbp", "usdt"}), frozenset({"RUB", "TST", "USDT"}), sandbox=True)
ROUTES = (BANK, UNITPAY, SANDBOX)


def routing(text: str, directory: Path) -> Routing:
    """The routing of a settings file."""
    file = directory / "disburse.toml"
    file.write_text(text, encoding="utf-8")
    return read_routing(load_settings(file, {}))


def test_rules_are_read(tmp_path: Path) -> None:
    """Each condition, alone or as a list; amounts as people write them; the order kept; a rule without a name has its number."""
    told = routing(
        """
        [[routes]]
        name = "small by phone"
        rail = "sbp"
        currency = "RUB"
        from = "10"
        to = "15000.00"
        merchant = [1, 7]
        bank = "100000000004"
        connectors = ["bank", "sandbox"]
        only = true

        [[routes]]
        rail = ["card", "webmoney"]
        prefer = "cheapest"
        """,
        tmp_path,
    )
    assert told.rules == (
        Rule("small by phone", ("sbp",), ("RUB",), 1000, 1_500_000, (1, 7), ("100000000004",), ("bank", "sandbox"), True),
        Rule("2", ("card", "webmoney"), cheapest=True),
    )
    check(told, ROUTES)


def test_terms_are_read(tmp_path: Path) -> None:
    """How a provider is treated: rate, breaker, balance, what it charges, what it takes; what is not said has its default."""
    told = routing(
        """
        [providers.bank]
        calls_per_s = 20
        failures = 3
        rest_s = 2
        balance_every_s = 10
        fees.card = { basis_points = 120, minimum_minor = 100 }
        limits = [{ rail = "card", currency = "RUB", from = "1", to = "75000.00" }, { rail = "sbp", currency = "RUB" }]

        [providers.unitpay]
        calls_per_s = 0.5
        burst = 4
        rest_s = 100
        """,
        tmp_path,
    )
    check(told, ROUTES)
    assert told.terms_of(["bank", "unitpay", "sandbox"]) == {
        "bank": Terms(BreakerLimits(failures=3, rest_s=2), Rate(20, 20), balance_every_s=10),
        "unitpay": Terms(BreakerLimits(rest_s=100, longest_rest_s=100), Rate(0.5, 4)),
        "sandbox": Terms(),
    }
    complete = told.complete(BANK)
    assert complete.limits == (Limit("card", "RUB", 100, 7_500_000), Limit("sbp", "RUB", 0, None))
    assert complete.prices == (Price("card", None, FeeRule(120, 100)),)
    assert told.complete(UNITPAY) == UNITPAY


def test_nothing_is_a_routing_too(tmp_path: Path) -> None:
    """Without a rule and without terms all is as the connectors say."""
    told = routing("", tmp_path)
    check(told, ())
    assert told.rules == () and told.complete(BANK) == BANK


RULE = '[[routes]]\nconnectors = ["bank"]\n'


@pytest.mark.parametrize(
    "text, said",
    [
        ('[[routes]]\nrails = "sbp"', "Route 1: there is no key called rails. Did you mean rail?"),
        (RULE + 'rail = "spb"', "Route 1: there is no rail called spb. Did you mean sbp?"),
        (RULE + 'currency = "RUR"', "Route 1: the currency RUR is not known."),
        (RULE + 'from = "10"', "Route 1: an amount needs exactly one currency."),
        (RULE + 'to = "1"\ncurrency = ["RUB", "USD"]', "Route 1: an amount needs exactly one currency."),
        (RULE + 'from = "2.00"\nto = "1.00"\ncurrency = "RUB"', "Route 1: no amount is from 2.00 to 1.00."),
        (RULE + 'from = "1e3"\ncurrency = "RUB"', 'Route 1: from is "1e3": The amount is not a plain number such as 10 or 10.50.'),
        (RULE + 'from = 10\ncurrency = "RUB"', "Route 1: Expected `str | null`, got `int` - at `$.from`."),
        (RULE + 'bank = "100000000004"\nrail = "card"', "Route 1: only a payout by sbp has a bank, and rail is card."),
        (RULE + 'bank = "123"', "Route 1: 123 is no current member of SBP; if it is one, name it in sbp_members."),
        (RULE + "merchant = 0", "Route 1: a merchant is named by its id, which is 1 or more."),
        (RULE + 'prefer = "fastest"', "Route 1: prefer is cheapest, or left out."),
        ("[[routes]]\nconnectors = []", "Route 1: connectors names at least one, and each once."),
        ('[[routes]]\nconnectors = ["a", "a"]', "Route 1: connectors names at least one, and each once."),
        ('[[routes]]\nrail = "card"', "Route 1: it says nothing: name connectors, or prefer."),
        ('[[routes]]\nprefer = "cheapest"\nonly = true', "Route 1: only says that no other connectors may be used, so connectors must name some."),
        (RULE + 'name = ""', "Route : a name has 1 to 60 printable characters."),
        (RULE + 'name = "2"\n' + RULE + 'rail = "card"', "Two routes are called 2."),
        ("[providers.bank]\ncall_per_s = 3", "[providers.bank]: there is no key called call_per_s. Did you mean calls_per_s?"),
        ("[providers.bank]\nburst = 3", "[providers.bank]: burst says nothing without calls_per_s."),
        ("[providers.bank]\ncalls_per_s = nan", "[providers.bank]: calls_per_s is 0.001 to 100,000, and burst 1 to 100,000."),
        ("[providers.bank]\ncalls_per_s = 1\nburst = 0", "[providers.bank]: calls_per_s is 0.001 to 100,000, and burst 1 to 100,000."),
        ("[providers.bank]\nfailures = 0", "[providers.bank]: failures is out of range."),
        ("[providers.bank]\nwindow_s = inf", "[providers.bank]: window_s is out of range."),
        ("[providers.bank]\nrest_s = 400\nlongest_rest_s = 399", "[providers.bank]: longest_rest_s is out of range."),
        ("[providers.bank]\nfees.crad = { basis_points = 1 }", "[providers.bank]: there is no rail called crad. Did you mean card?"),
        ("[providers.bank]\nfees.card = { basis_points = -1 }", "[providers.bank]: the fee of card is wrong: a fee is 0 to 10,000 basis points of the sum."),
        ('[providers.bank]\nlimits = [{ rail = "card", currency = "RUB", from = "2", to = "1" }]', "[providers.bank], limit of card: no amount is from 2 to 1."),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused(text: str, said: str, tmp_path: Path) -> None:
    """Each fault says where it is, what is wrong, and what may have been meant."""
    with pytest.raises(BadSettings) as refused:
        routing(text, tmp_path)
    assert str(refused.value) == said


@pytest.mark.parametrize(
    "text, said",
    [
        ('[[routes]]\nconnectors = ["unipay"]', "Route 1: there is no connector called unipay. Did you mean unitpay?"),
        ("[providers.bnak]\nfailures = 3", "[providers.bnak]: there is no connector called bnak. Did you mean bank?"),
        ('[[routes]]\nrail = "usdt"\nconnectors = ["bank"]', "Route 1: bank carries nothing that fits it: it carries card, sbp in RUB, within its limits."),
        ('[[routes]]\ncurrency = "TST"\nconnectors = ["unitpay"]', "Route 1: unitpay carries nothing that fits it: it carries card, webmoney in RUB, USD."),
        ('[[routes]]\nrail = "card"\ncurrency = "RUB"\nfrom = "600"\nconnectors = ["bank"]', "Route 1: bank carries nothing that fits it: it carries card, sbp in RUB, within its limits."),
        ('[[routes]]\nbank = "100000000004"\nconnectors = ["unitpay"]', "Route 1: unitpay carries nothing that fits it: it carries card, webmoney in RUB, USD."),
        ('[[routes]]\nprefer = "cheapest"\n[[routes]]\nrail = "card"\nconnectors = ["bank"]', "Route 2 is never asked: whatever fits it fits 1 before."),
        ('[[routes]]\nrail = "sbp"\nconnectors = ["bank"]\n[[routes]]\nbank = "100000000004"\nconnectors = ["bank"]', "Route 2 is never asked: whatever fits it fits 1 before."),
        ('[[routes]]\ncurrency = "RUB"\nto = "10"\nconnectors = ["bank"]\n[[routes]]\ncurrency = "RUB"\nfrom = "5"\nto = "9"\nconnectors = ["bank"]', "Route 2 is never asked: whatever fits it fits 1 before."),
    ],
)  # fmt: skip
def test_what_no_connector_can_do_is_refused(text: str, said: str, tmp_path: Path) -> None:
    """A rule may name only connectors that are configured and that could carry something of what fits it; and it must be reachable."""
    told = routing(text, tmp_path)
    with pytest.raises(BadSettings) as refused:
        check(told, ROUTES)
    assert str(refused.value) == said


@pytest.mark.parametrize(
    "text",
    [
        '[[routes]]\nrail = "card"\nconnectors = ["bank"]\n[[routes]]\nconnectors = ["bank"]',
        '[[routes]]\ncurrency = "RUB"\nto = "10"\nconnectors = ["bank"]\n[[routes]]\ncurrency = "RUB"\nfrom = "5"\nconnectors = ["bank"]',
        '[[routes]]\nmerchant = 1\nconnectors = ["bank"]\n[[routes]]\nmerchant = [1, 2]\nconnectors = ["bank"]',
        '[[routes]]\nrail = "card"\ncurrency = "RUB"\nto = "500"\nconnectors = ["bank"]',
    ],
)
def test_what_may_be_meant_is_taken(text: str, tmp_path: Path) -> None:
    """A later rule that something still comes to is no fault, nor is a rule that touches a provider's limits."""
    check(routing(text, tmp_path), ROUTES)


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    """Whoever has three things to mend is told all three."""
    with pytest.raises(BadSettings) as refused:
        routing(RULE + 'rail = "spb"\ncurrency = "RUR"\n[providers.bank]\nfailures = 0', tmp_path)
    assert [str(refused.value).count(word) for word in ("spb", "RUR", "failures")] == [1, 1, 1]


def test_names_are_checked_before_anything_is_sent(tmp_path: Path) -> None:
    """An installation whose rules name no connector of it can be looked at, and does not begin to work."""
    values: dict[str, Any] = {"data": str(tmp_path / "data"), "sandbox": True, "routes": [{"connectors": ["sandbax"]}]}

    async def begin() -> None:
        async with open_house(load_settings(None, {}, values), real_world()) as house:
            assert house.desk.rules
            with pytest.raises(BadSettings, match="Did you mean sandbox"):
                async with working(house, api=True, workers=True):
                    raise AssertionError("it works")

    asyncio.run(begin())
