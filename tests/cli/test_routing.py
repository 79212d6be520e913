"""Routes from the command line: what was decided for a payout and why, what would be decided now, and how providers are.

The provider that is down here is real: the address of a sandbox bank at which nobody listens.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from disburse.domain.destinations import read_card
from disburse.domain.money import Money, read_amount
from disburse.domain.payout import Payout
from disburse.domain.routing import Decision
from disburse.operations.explain_routing import say_decision
from disburse.operations.merchants import find_merchant
from disburse.operations.payouts import Found
from disburse.settings import load_settings
from disburse.wiring import House, open_house, working
from disburse.world import real_world
from tests.cli.conftest import Commands

LOGIN = "wages@example.com"
WITHIN_S = 30.0
RULES = [
    {"name": "dollars", "currency": "USD", "connectors": ["sandbox"]},
    {"name": "large", "currency": "RUB", "from": "50.00", "connectors": ["sandbox"], "only": True},
]


@dataclass(frozen=True)
class Told:
    """The installation, with the settings file that its commands read, and its payouts by reference."""

    commands: Commands
    ids: dict[str, str]

    def explained(self, reference: str) -> dict[str, Any]:
        return dict(self.commands.ok("explain", self.ids[reference]))


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def pay(house: House, reference: str, amount: str) -> Payout:
    merchant = await find_merchant(house.database, LOGIN)
    draft = house.desk.draft(
        merchant, read_card("4111111111111111", luhn=True), read_amount(amount, "RUB"), surface="own", reference=reference,
        amount_text=amount, execute=True, actor="test",
    )  # fmt: skip
    made = await house.desk.create(merchant, draft)
    assert isinstance(made, Found)
    return made.payout


async def until(done: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not await done():
            await asyncio.sleep(0.02)


async def live(values: dict[str, Any], both: dict[str, Any]) -> dict[str, Payout]:
    """A payout by the order of the settings, one by a rule; then one whose only provider is down."""
    made: dict[str, Payout] = {}
    async with open_house(load_settings(None, {}, both), real_world()) as house, working(house, api=True, workers=True):
        made["around"], made["large"] = await pay(house, "around", "10.00"), await pay(house, "large", "50.00")

        async def ended() -> bool:
            found = await house.desk.states(0, [one.payout_id for one in made.values()])
            return all(one.final for one in found)

        await until(ended)
    async with open_house(load_settings(None, {}, values), real_world()) as house, working(house, api=True, workers=True):
        made["queued"] = await pay(house, "queued", "10.00")
        await until(house_knows(house))
        await house.desk.providers.store_balances("sandbox-http", [("RUB", 123_45)])
    return made


def house_knows(house: House) -> Callable[[], Awaitable[bool]]:
    async def look() -> bool:
        return house.desk.providers.generation("sandbox-http") is not None

    return look


@pytest.fixture(scope="module")
def told(commands: Commands) -> Told:
    """Payouts of an installation whose first provider is down."""
    commands.ok("merchant", "add", "Wages", "--login", LOGIN)
    commands.ok("top-up", LOGIN, "1000.00", "RUB")
    values = {
        "data": str(commands.data), "call_s": 1.0, "sandbox_bank_url": f"http://127.0.0.1:{closed_port()}",
        "providers": {"sandbox-http": {"failures": 3, "rest_s": 3600, "longest_rest_s": 3600, "calls_per_s": 50}},
    }  # fmt: skip
    ids = asyncio.run(live(values, {**values, "sandbox": True, "routes": RULES}))
    text = [
        f'sandbox_bank_url = "{values["sandbox_bank_url"]}"',
        "[providers.sandbox-http]", "failures = 3", "rest_s = 3600", "longest_rest_s = 3600", "calls_per_s = 50", "burst = 10",
    ]  # fmt: skip
    (commands.data / "disburse.toml").write_text("\n".join(text), encoding="utf-8")
    return Told(commands, {reference: str(payout.payout_id) for reference, payout in ids.items()})


def lines(explained: dict[str, Any]) -> list[str]:
    return [line["text"] for line in explained["timeline"] if line["what"] == "routing"]


def test_going_around_a_provider_is_explained(told: Told) -> None:
    """Each attempt's rules and refused routes are told: not sent three times, then around the provider that is down."""
    explained = told.explained("around")
    assert explained["payout"]["state"] == "paid"
    through = [one["connector"] for one in explained["payout"]["attempts"]]
    assert through == ["sandbox-http", "sandbox-http", "sandbox-http", "sandbox"]
    tried = "attempt 1: rule dollars does not fit (another currency); rule large does not fit (another amount); no rule fits, so all "
    assert lines(explained)[0] == tried + "providers in the order of the settings; so sandbox-http."
    last = lines(explained)[-1]
    assert "not sandbox-http: it is down and left alone until" in last and last.endswith("; so sandbox.")
    decided = explained["routing"]["decided"][-1]
    assert (decided["attempt"], decided["chosen"], decided["waits"], decided["rule"]) == (4, "sandbox", False, None)
    assert decided["rules_that_do_not_fit"] == [
        {"rule": "dollars", "condition": "currency"}, {"rule": "large", "condition": "amount"},
    ]  # fmt: skip
    assert [(one["connector"], one["why"]) for one in decided["refused"]] == [("sandbox-http", "breaker")]
    assert explained["routing"]["now"] is None
    shown = told.commands("explain", told.ids["around"])
    assert shown.code == 0 and "routing" in shown.out and "left alone" in shown.out


def test_a_rule_is_explained(told: Told) -> None:
    """A payout that a rule sent to its provider says by which rule."""
    explained = told.explained("large")
    assert lines(explained) == ["attempt 1: rule dollars does not fit (another currency); rule large fits; so sandbox."]
    assert [one["connector"] for one in explained["payout"]["attempts"]] == ["sandbox"]


def test_a_queue_is_explained(told: Told) -> None:
    """A payout that waits for the one provider there is says so, and until when it is left alone; nothing was sent."""
    explained = told.explained("queued")
    assert explained["payout"]["state"] == "queued" and explained["payout"]["attempts"][0]["state"] == "due"
    assert explained["next"].startswith("It stays queued, and can be cancelled, until a provider can take it. Now: not sandbox-http: it is down")
    assert explained["next"].endswith("; so it waits.")
    now = explained["routing"]["now"]
    assert (now["chosen"], now["waits"], now["refused"][0]["why"]) == (None, True, "breaker")


def test_health_is_told(told: Told) -> None:
    """Breaker, rate and balance of each provider, with the ages of what is known; for people too."""
    health = told.commands.ok("connector", "health")
    by_name = {one["connector"]: one for one in health["connectors"]}
    assert list(by_name) == ["sandbox-http", "sandbox"]
    down, other = by_name["sandbox-http"], by_name["sandbox"]
    assert (down["configured"], other["configured"]) == (True, False)
    assert (down["breaker"]["state"], down["breaker"]["openings"], down["breaker"]["trial_may_begin"]) == ("open", 1, False)
    assert down["breaker"]["last_fault"] == "the connection is refused" and down["breaker"]["retry_at"] is not None
    assert down["rate"] == {"calls_per_s": 50.0, "burst": 10}
    [held] = down["balances"]
    assert (held["currency"], held["amount"], held["counts"]) == ("RUB", Money(123_45, "RUB").text(), True) and held["age_s"] >= 0
    assert other["breaker"]["state"] == "closed" and other["balances"] == []
    shown = told.commands("connector", "health")
    assert shown.code == 0
    for words in ("down, left alone", "50/s, 10 at once", "123.45 RUB", "in use (not in these settings)", "the connection is refused"):
        assert words in shown.out


def test_a_route_without_objections_is_a_plain_sentence() -> None:
    """Where no rule and no objection is to be told, the end stands alone, without a "so" that follows nothing."""
    assert say_decision(Decision(chosen="acme")) == "acme."
    assert say_decision(Decision(chosen=None)) == "there is no route."


def test_a_wrong_rule_is_usage(told: Told) -> None:
    """A rule that cannot be meant stops every command with one clear line, before anything is opened."""
    wrong = told.commands.data.parent / "wrong.toml"
    wrong.write_text('[[routes]]\nrail = "spb"\nconnectors = ["sandbox"]\n', encoding="utf-8")
    error = told.commands.no("connector", "health", "--settings", str(wrong), code=2)
    assert error["name"] == "bad_settings" and "Did you mean sbp?" in error["message"]
