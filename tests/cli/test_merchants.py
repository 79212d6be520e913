"""Merchants, operators and money from the command line."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import asyncpg
import pytest

from disburse.settings import load_settings
from disburse.wiring import open_house
from disburse.world import real_world
from tests.cli.conftest import Commands

SECRETS = ("password", "unitpay_secret_key", "unitpay_test_key", "bearer_token", "sign_secret_key", "api_key")
_made = 0


def add(commands: Commands, *more: str) -> dict[str, object]:
    """A merchant of this test's own."""
    global _made
    _made += 1
    made: dict[str, object] = commands.ok(
        "merchant", "add", f"Shop {_made}", "--login", f"shop{_made}@example.com", *more
    )
    return made


def actors(commands: Commands, kind: str) -> list[str]:
    """Who caused the events of a kind, in order."""

    async def read() -> list[str]:
        settings = load_settings(None, {}, {"data": str(commands.data)})
        async with open_house(settings, real_world()) as house:
            connection = await asyncpg.connect(house.dsn)
            rows = await connection.fetch("SELECT actor FROM disburse.events WHERE kind = $1 ORDER BY at", kind)
            await connection.close()
            return [row[0] for row in rows]

    return asyncio.run(read())


def test_a_merchant_is_made_with_secrets_shown_once(commands: Commands) -> None:
    """`merchant add --json` has exactly the keys of the contract; no later command shows a secret."""
    made = add(commands, "--pci-dss", "--sbp-bank", "100000000004")
    assert sorted(made) == sorted(["merchant_id", "login", "project_id", *SECRETS])
    assert all(re.fullmatch(r"(dsb_)?[A-Za-z0-9]{32}", str(made[name])) for name in SECRETS)
    assert len({made[name] for name in SECRETS}) == len(SECRETS)
    shown = commands.ok("merchant", "show", str(made["login"]))
    assert (shown["pci_dss"], shown["sbp_bank"], shown["payouts"]) == (True, "100000000004", "on")
    everything = (
        commands("merchant", "list").out + commands("merchant", "show", str(made["merchant_id"])).out + str(shown)
    )
    assert not any(str(made[name]) in everything for name in SECRETS)


def test_people_are_told_that_secrets_are_shown_once(commands: Commands) -> None:
    """For a person, `merchant add` prints each secret and says that it is shown once."""
    done = commands("merchant", "add", "  Wool   & [red]Sons[/red] ", "--login", "Wool@Example.COM")
    assert done.code == 0 and "shown once" in done.out and "sign secret key" in done.out
    assert "wool@example.com" in done.out and "Wool & [red]Sons[/red]" in done.out
    listed = commands.ok("merchant", "list")["merchants"]
    assert "Wool & [red]Sons[/red]" in [one["name"] for one in listed]
    assert "Wool & [red]Sons[/red]" in commands("merchant", "list").out


@pytest.mark.parametrize(
    "login",
    ["", "shop", "shop@", "@example.com", "shop@example", "a b@example.com", "шоп@example.com", "shop@example.com\n", "a..b@c.com",
     ".a@c.com", "a@-c.com", "a@c..com", "a" * 65 + "@example.com", "a@" + "b" * 250 + ".com", "a\x00@example.com"],
)  # fmt: skip
def test_what_is_no_address_is_no_login(commands: Commands, login: str) -> None:
    """A login looks like an e-mail address of printable ASCII, at most 254 characters."""
    error = commands.no("merchant", "add", "Shop", f"--login={login}", code=2)
    assert error["name"] == "bad_usage"


@pytest.mark.parametrize("name", [" ", "a\nb", "\x1b[31mred", "x" * 255, "\u202eevil"])
def test_names_are_printable(commands: Commands, name: str) -> None:
    """A name has 1 to 254 printable characters."""
    assert commands.no("merchant", "add", name, "--login", "names@example.com", code=2)["name"] == "bad_usage"
    assert commands.no("operator", "add", name, code=2)["name"] == "bad_usage"


def test_a_login_is_taken_once(commands: Commands) -> None:
    """A second merchant with the same login, in any case of letters, is refused."""
    made = add(commands)
    error = commands.no("merchant", "add", "Other", "--login", str(made["login"]).upper())
    assert error["name"] == "login_taken" and "merchant show" in error["next"]


def test_an_unknown_bank_is_no_bank(commands: Commands) -> None:
    """--sbp-bank must be a member that SBP's list or the settings know."""
    assert commands.no("merchant", "add", "S", "--login", "s@example.com", "--sbp-bank", "999999999999", code=2)
    made = commands.ok(
        "merchant", "add", "S", "--login", "test-member@example.com", "--sbp-bank", "1crt88888881",
        DISBURSE_SBP_MEMBERS="1crt88888881",
    )  # fmt: skip
    assert commands.ok("merchant", "show", str(made["merchant_id"]))["sbp_bank"] == "1crt88888881"


CHANGES: list[tuple[list[str], dict[str, Any]]] = [
    (["--payouts", "denied"], {"payouts": "denied"}),
    (["--answer-wait", "0.25"], {"answer_wait_s": 0.25}),
    (["--answer-wait", "0"], {"answer_wait_s": 0.0}),
    (["--pci-dss"], {"pci_dss": True}),
    (["--no-pci-dss"], {"pci_dss": False}),
    (["--sbp-bank", "100000000111"], {"sbp_bank": "100000000111"}),
    (["--sbp-bank", "none"], {"sbp_bank": None}),
    (["--require-sign"], {"require_sign": True}),
    (["--no-require-sign"], {"require_sign": False}),
    (["--payout-id-as-number"], {"payout_id_as_number": True}),
    (["--json-by-default"], {"json_by_default": True}),
    (["--state-word", "InProgress"], {"state_word": "InProgress"}),
    (["--state-word", "auto"], {"state_word": "auto"}),
    (["--language", "en"], {"language": "en"}),
    (["--eshop-id", "450042"], {"eshop_id": 450042}),
    (["--eshop-id", "none"], {"eshop_id": None}),
    (["--name", "Another"], {"name": "Another"}),
    (["--fee", "card=150:3000:50000"], {"fees": {"card": {"basis_points": 150, "minimum_minor": 3000, "maximum_minor": 50000}}}),
    (["--fee", "sbp=70", "--fee", "card=default"], {"fees": {"sbp": {"basis_points": 70, "minimum_minor": 0, "maximum_minor": None}}}),
    (["--payouts", "on", "--no-json-by-default", "--no-payout-id-as-number"],
     {"payouts": "on", "json_by_default": False, "payout_id_as_number": False}),
]  # fmt: skip


def test_each_setting_is_changed_alone(commands: Commands) -> None:
    """`merchant set` changes what is named, tells the whole merchant, and leaves the rest as it was."""
    who = str(add(commands)["login"])
    before = commands.ok("merchant", "show", who)
    for arguments, expected in CHANGES:
        after = commands.ok("merchant", "set", who, *arguments)
        assert after == {**before, **expected}, arguments
        before = after
    assert commands.ok("merchant", "show", who) == before
    assert "Changed: language" in commands("merchant", "set", who, "--language", "ru").out


@pytest.mark.parametrize(
    "arguments",
    [[], ["--payouts", "maybe"], ["--answer-wait", "7"], ["--answer-wait", "-1"], ["--answer-wait", "nan"], ["--fee", "card"],
     ["--fee", "cards=1"], ["--fee", "card=10001"], ["--fee", "card=1:5:4"], ["--fee", "card=-1"], ["--state-word", "Done"],
     ["--language", "de"], ["--eshop-id", "0"], ["--eshop-id", "1e3"], ["--sbp-bank", "1"], ["--unknown", "1"], ["--name", ""]],
)  # fmt: skip
def test_wrong_settings_are_usage(commands: Commands, arguments: list[str]) -> None:
    """What cannot be a setting ends with 2 and changes nothing."""
    assert commands.no("merchant", "set", "shop1@example.com", *arguments, code=2)["name"] == "bad_usage"


def test_nobody_is_nobody(commands: Commands) -> None:
    """An unknown merchant is refused by every command that names one."""
    for arguments in (["merchant", "show"], ["merchant", "set", "--payouts=on"], ["balance"], ["top-up"]):
        more = ["10", "RUB"] if arguments == ["top-up"] else []
        error = commands.no(*arguments[:2], *arguments[2:], "nobody@example.com", *more)
        assert error["name"] == "no_such_merchant" and "merchant list" in error["next"]


def test_money_comes_in_once_by_its_reference(commands: Commands) -> None:
    """The same top-up twice is booked once and both times done; the same reference with other content is refused."""
    made = add(commands)
    who, number = str(made["login"]), made["merchant_id"]
    first = commands.ok("top-up", who, "1000.50", "RUB", "--reference", "pay 1")
    assert first == {
        "merchant_id": number, "reference": "pay 1", "amount": "1000.50", "currency": "RUB", "booked": True,
        "available": "1000.50",
    }  # fmt: skip
    assert commands.ok("top-up", who, "1000.5", "RUB", "--reference", "pay 1") == {**first, "booked": False}
    again = commands("top-up", who, "1000.50", "RUB", "--reference", "pay 1")
    assert again.code == 0 and "booked before" in again.out
    assert commands.no("top-up", who, "1000.51", "RUB", "--reference", "pay 1")["name"] == "reference_reused"
    assert commands.no("top-up", who, "1000.50", "TST", "--reference", "pay 1")["name"] == "reference_reused"
    assert commands.ok("balance", who) == {
        "merchant_id": number, "login": who,
        "balances": {"RUB": {"available": "1000.50", "held": "0.00", "funding": "-1000.50"}},
    }  # fmt: skip


def test_money_without_a_reference_comes_in_each_time(commands: Commands) -> None:
    """Without a reference every top-up is another; currencies are kept apart, each with its own digits."""
    who = str(add(commands)["merchant_id"])
    assert "no money yet" in commands("balance", who).out
    references = {commands.ok("top-up", who, "5", currency)["reference"] for currency in ("RUB", "RUB", "USDT")}
    assert len(references) == 3
    assert commands.ok("balance", who)["balances"]["USDT"]["available"] == "5.000000"
    table = commands("balance", who).out
    assert "10.00" in table and "5.000000" in table and "may be paid out" in table


@pytest.mark.parametrize(
    "arguments",
    [["10,50", "RUB"], ["0", "RUB"], ["1e3", "RUB"], ["10.001", "RUB"], ["10", "RUR"], ["10", "rub"], ["٣", "RUB"],
     ["99999999999999", "RUB"], ["10"], ["10", "RUB", "extra"], ["10", "RUB", "--reference", " "],
     ["10", "RUB", "--reference", "a\nb"], ["10", "RUB", "--reference", "r" * 256]],
)  # fmt: skip
def test_amounts_are_read_strictly(commands: Commands, arguments: list[str]) -> None:
    """An amount, a currency or a reference that cannot be read ends with 2 and books nothing."""
    commands.no("top-up", "shop1@example.com", *arguments, code=2)


def test_a_token_names_the_person(commands: Commands) -> None:
    """What is done with an operator's token carries the operator; without one the actor is `cli`; a wrong one is refused."""
    anna = commands.ok("operator", "add", "Anna")
    assert sorted(anna) == ["name", "operator_id", "token"] and anna["token"].startswith("dsbop_")
    assert commands.no("operator", "add", "Anna")["name"] == "operator_name_taken"
    assert "shown once" in commands("operator", "add", "Boris", DISBURSE_OPERATOR=anna["token"]).out
    who = str(add(commands)["merchant_id"])
    commands.ok("top-up", who, "1", "RUB", "--reference", "as anna", DISBURSE_OPERATOR=anna["token"])
    commands.ok("top-up", who, "1", "RUB", "--reference", "as cli")
    assert actors(commands, "top_up")[-2:] == [f"operator:{anna['operator_id']}", "cli"]
    error = commands.no("top-up", who, "1", "RUB", DISBURSE_OPERATOR="dsbop_wrong")
    assert error["name"] == "unknown_operator" and "dsbop_wrong" not in str(error)
