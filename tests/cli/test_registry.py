"""`disburse registry`, as people and scripts use it: plan, apply, show, results; exact JSON, exact errors, drift named."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

from tests.cli.conftest import Commands

SANDBOX = {"DISBURSE_SANDBOX": "true"}
HEADER = "reference,rail,destination,bank,amount,currency,comment\n"
CARD = "4111111111111111"


@pytest.fixture(scope="module")
def shop(commands: Commands) -> Commands:
    """An installation with the sandbox, a merchant with money, and two operators."""
    commands.environment.update(SANDBOX)
    commands.ok("merchant", "add", "Shop", "--login", "pay@example.com")
    commands.ok("top-up", "pay@example.com", "1000", "RUB")
    return commands


def write(folder: Path, *rows: tuple[str, str, str], name: str = "wages.csv") -> Path:
    """A file of card payouts: (reference, card, amount), each for an invoice of its own."""
    file = folder / name
    file.write_text(HEADER + "".join(f"{reference},card,{card},,{amount},RUB,invoice {crc32(reference.encode())}\n" for reference, card, amount in rows))
    return file


def plan(shop: Commands, file: Path, *more: str, code: int = 0) -> tuple[dict[str, Any], Path]:
    out = file.with_suffix(".plan")
    done = shop("registry", "plan", str(file), "--merchant", "pay@example.com", "--out", str(out), "--json", *more)
    assert done.code == code, done.out + done.err
    return dict(done.json), out


def test_plan_apply_show_and_results(shop: Commands, tmp_path: Path) -> None:
    """A file with a bad row is planned with exit code 1, applied with --only-good, and shown; no card number is in any output."""
    file = write(tmp_path, ("a", CARD, "10.00"), ("b", "4111111111111112", "1O"), ("c", CARD, "12.50"))
    planned, out = plan(shop, file, code=1)
    assert (planned["rows"], planned["good"], planned["bad"], planned["funding_gap"]) == (3, 2, 1, [])
    assert planned["totals"] == [{"rail": "card", "currency": "RUB", "rows": 2, "amount": "22.50", "fee": "0.00"}]
    assert [(one["field"], one["why"]) for one in planned["faults"][0]["faults"]] == [
        ("amount", "is not a plain number such as 10 or 10.50"), ("destination.number", "fails its check digit"),
    ]  # fmt: skip
    told = shop("registry", "plan", str(file), "--merchant", "pay@example.com", "--out", str(tmp_path / "x.plan"))
    assert "fails its check digit" in told.out and "--only-good" in told.out
    refused = shop.no("registry", "apply", str(out))
    assert refused["name"] == "not_all_good"
    applied = shop.ok("registry", "apply", str(out), "--only-good")
    assert (applied["state"], applied["made"], applied["left"], applied["bad"]) == ("executing", 2, 0, 1)
    assert shop.ok("registry", "apply", str(out), "--only-good")["made"] == 2
    identifier = planned["registry_id"]
    shown = shop.ok("registry", "show", identifier)
    assert (shown["open"], shown["paid"], shown["digest"]) == (2, 0, planned["digest"])
    assert "executing" in shop("registry", "show", identifier).out and identifier in shop("registry", "list", "pay@example.com").out
    lines = [json.loads(line) for line in shop("registry", "results", identifier).out.splitlines()]
    assert [(one["row"], one["outcome"]) for one in lines] == [(1, "queued"), (2, "bad"), (3, "queued")]
    results = tmp_path / "results.csv"
    assert shop.ok("registry", "results", identifier, "--out", str(results))["rows"] == 3
    rows = list(csv.DictReader(results.read_text(encoding="utf-8-sig").splitlines()))
    assert [(row["reference"], row["amount"], row["state"]) for row in rows] == [("a", "10.00", "queued"), ("b", "", "bad"), ("c", "12.50", "queued")]
    everything = told.out + told.err + out.read_text() + results.read_text(encoding="utf-8-sig") + json.dumps(lines) + json.dumps(shown)
    assert CARD not in everything and "4111111111111112" not in everything
    assert shop.no("registry", "apply", str(tmp_path / "x.plan"), "--only-good")["name"] == "applied_before"


@pytest.mark.parametrize(
    "touch, told",
    [
        ("file", "row 1 of the file"),
        ("plan", "the file was edited"),
        ("fee", "fee on card"),
        ("limit", "limits"),
    ],
)
def test_what_was_touched_is_named(shop: Commands, tmp_path: Path, touch: str, told: str) -> None:
    """Touching one amount, the plan, a fee rule or a limit between plan and apply makes apply exit 1 and name it; nothing is made."""
    file = write(tmp_path, (f"drift-{touch}", CARD, "10.00"))
    planned, out = plan(shop, file)
    if touch == "file":
        write(tmp_path, (f"drift-{touch}", CARD, "11.00"))
    elif touch == "plan":
        out.write_text(out.read_text().replace("1000", "1100"))
    elif touch == "fee":
        shop.ok("merchant", "set", "pay@example.com", "--fee", "card=150")
    else:
        shop.ok("merchant", "set", "pay@example.com", "--limit", "payout:RUB=500.00")
    refused = shop.no("registry", "apply", str(out))
    assert refused["name"] == "drifted" and told in refused["message"]
    shown = shop.ok("registry", "show", planned["registry_id"])
    assert (shown["state"], shown["made"]) == ("planned", 0)
    if touch == "fee":
        shop.ok("merchant", "set", "pay@example.com", "--fee", "card=default")
    if touch == "limit":
        shop.ok("merchant", "set", "pay@example.com", "--limit", "payout:RUB=none")
    assert shop.ok("registry", "cancel", planned["registry_id"])["state"] == "cancelled"


def test_a_held_row_and_a_limit(shop: Commands, tmp_path: Path) -> None:
    """A row that seems to repeat another is held and told how to answer; named with --pay it is paid. A limit that is too small for the file is told."""
    file = write(tmp_path, ("held-1", "5555555555554444", "3.00"))
    file.write_text(file.read_text() + file.read_text().splitlines()[1].replace("held-1", "held-2") + "\n")
    planned, _ = plan(shop, file, code=1)
    assert (planned["good"], planned["held"]) == (1, 1)
    (question,) = planned["faults"]
    assert (question["row"], question["verdict"], question["reference"]) == (2, "held", "held-2")
    arguments = ("registry", "plan", str(file), "--merchant", "pay@example.com", "--out", str(tmp_path / "x.plan"))
    told = shop(*arguments)
    assert "Row 1 of this file pays 3.00 RUB" in told.out and "--pay" in told.out
    assert shop.no(*arguments, "--pay", "2-")["name"] == "bad_row_numbers"
    shop.ok("merchant", "set", "pay@example.com", "--limit", "month:RUB=900.00")
    answered, out = plan(shop, file, "--pay", "2")
    assert (answered["good"], answered["held"], answered["limits"][0]["short"]) == (2, 0, False)
    big, _ = plan(shop, write(tmp_path, ("big", CARD, "901.00"), name="big.csv"))
    assert (big["limits"][0]["name"], big["limits"][0]["needed"], big["limits"][0]["short"]) == ("month:RUB", {"sum": "901.00", "count": 1}, True)
    assert "Rows beyond it would be refused" in shop("registry", "plan", str(tmp_path / "big.csv"), *arguments[3:]).out
    assert shop.ok("registry", "apply", str(out))["made"] == 2
    shop.ok("merchant", "set", "pay@example.com", "--limit", "month:RUB=none")


def test_a_second_operator(shop: Commands, tmp_path: Path) -> None:
    """The same rows again wait for a second operator; whoever asked cannot agree."""
    first = shop.ok("operator", "add", "Anna")["token"]
    second = shop.ok("operator", "add", "Boris")["token"]
    file = write(tmp_path, ("twice", CARD, "1.00"))
    _, out = plan(shop, file)
    shop.ok("registry", "apply", str(out))
    planned, out = plan(shop, file)
    done = shop("registry", "apply", str(out), "--again", "--json", DISBURSE_OPERATOR=first)
    assert (done.code, done.json["state"]) == (1, "awaiting_approval")
    assert shop.no("registry", "approve", planned["registry_id"], DISBURSE_OPERATOR=first)["name"] == "own_work"
    assert shop.ok("registry", "approve", planned["registry_id"], DISBURSE_OPERATOR=second)["effect"] == "approved"
    applied = shop.ok("registry", "apply", str(out))
    assert (applied["made"], applied["found"]) == (0, 1)


@pytest.mark.parametrize(
    "arguments, name, code",
    [
        (("registry", "show", "x"), "bad_usage", 2),
        (("registry", "show", "00000000-0000-7000-8000-000000000000"), "no_such_registry", 1),
        (("registry", "apply", "/dev/null"), "bad_plan", 1),
    ],
)
def test_what_is_refused(shop: Commands, arguments: tuple[str, ...], name: str, code: int) -> None:
    """Wrong names and files that are no plans are refused in one line, with what to do."""
    assert shop.no(*arguments, code=code)["name"] == name
