"""What the judge says of a row: every fault, masked, with the same readers as every door; and sums against control rows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from disburse.api.rest_orders import DETAILS
from disburse.domain.registry import LONGEST_COMMENT, LONGEST_REFERENCE, Judged, Rules, judge
from disburse.protocols import rest
from disburse.protocols.registry_jsonl import DESTINATIONS
from disburse.protocols.registry_rows import Fault, Row

RULES = Rules(frozenset({"100000000004"}), default_bank="100000000004")
CARD, PHONE = "4111111111111111", "79510000071"


def row(rail: str = "card", amount: str = "10.50", currency: str = "RUB", *, faults: Any = (), **given: str | None) -> Row:
    own = {name: given.pop(name) for name in ("reference", "comment", "execute_at") if name in given}
    destination = {name: text for name, text in given.items() if text is not None} or {"number": CARD}
    return Row(7, 8, own.get("reference"), rail, destination, amount, currency, own.get("comment"), own.get("execute_at"), faults)


def told(judged: Judged) -> dict[str, str]:
    assert all(fault.line == 8 for fault in judged.faults)
    return {fault.field: fault.value for fault in judged.faults}


@pytest.mark.parametrize(
    "amount",
    ["", " ", "1e999999", "1E5", "NaN", "sNaN", "Infinity", "-0", "+5", ".5", "5.", "1_000", "１２", "१२३", "5\n", " 5", "0x10", "1,5", "1 000", "1\u00a0000",
     "\u200f5", "--5", "1.2.3", "12345678901234", "1.123456789", "0", "0.00", "10.505", "-10", "10 RUB", "99999999999999999999", "5" * 5000]
)  # fmt: skip
def test_amounts(amount: str) -> None:
    """What is not a plain positive amount of its currency is one fault of the amount, and the destination is judged all the same."""
    judged = judge(row(amount=amount, number="1234"), RULES)
    assert list(told(judged)) == ["amount", "destination.number"] and judged.money is None


@pytest.mark.parametrize("currency", ["", "rub", "RUR", "643", "RUВ", "ＲＵＢ", "RUB ", "XAU", "BTC"])
def test_currencies(currency: str) -> None:
    """A currency that nobody knows is a fault, and so is the amount beside it if it is wrong in itself."""
    assert list(told(judge(row(currency=currency), RULES))) == ["currency"]
    assert list(told(judge(row(currency=currency, amount="1O"), RULES))) == ["currency", "amount"]
    assert judge(row(currency=""), Rules(frozenset(), currency="RUB")).faults == ()


@pytest.mark.parametrize(
    "rail, given, wrong",
    [
        ("card", {"number": CARD[:-1] + "2"}, {"destination.number": "411111******1112"}),
        ("card", {"number": "4" * 20}, {"destination.number": "444444**********4444"}),
        ("card", {"number": "0" * 16}, {"destination.number": "000000******0000"}),
        ("card", {"number": "４１１１１１１１１１１１１１１１"}, {"destination.number": "４１１１１１******１１１１"}),
        ("card", {"name": "Anna Orlova"}, {"destination.number": ""}),
        ("card", {"number": "1", "name": "Я"}, {"destination.number": "*", "destination.name": ""}),
        ("card", {"number": CARD, "name": "Anna \u202eavolrO"}, {"destination.name": ""}),
        ("sbp", {"phone": "89510000071", "bank": "100000000099"}, {"destination.phone": "+8951*****71", "destination.bank": "1000******99"}),
        ("sbp", {"phone": "79510000071#5", "bank": "10000000000A " * 9}, {"destination.phone": "+7951*******#5", "destination.bank": ""}),
        ("sbp", {"phone": PHONE, "bank": "100000000099"}, {"destination.bank": "1000******99"}),
        ("account", {"account": "4" * 20, "bik": "44525225"}, {"destination.bik": "********"}),
        ("account", {"account": "4" * 19, "bik": ""}, {"destination.account": "44444**********4444", "destination.bik": ""}),
        ("account", {"account": "40817810099910004313", "bik": "044525225"}, {"destination.account": "40817***********4313"}),
        ("webmoney", {"purse": "Q123456789012"}, {"destination.purse": "Q123*******12"}),
        ("qiwi", {"wallet": "79"}, {"destination.wallet": "**"}),
        ("usdt", {"address": "T" + "1" * 33}, {"destination.address": "T111**************************1111"}),
        ("yandex", {"number": "412345678901234"}, {"rail": "yandex"}),
        ("", {"number": CARD}, {"rail": ""}),
    ],
)  # fmt: skip
def test_destinations(rail: str, given: dict[str, str], wrong: dict[str, str]) -> None:
    """Every field of a destination that is wrong is told at once, masked; nothing of it is paid to."""
    judged = judge(row(rail, **given), RULES)
    assert told(judged) == wrong and (judged.destination is None)


@pytest.mark.parametrize(
    "field, text, wrong",
    [
        ("reference", "x" * 200, False), ("reference", "x" * 201, True), ("reference", "a\u200bb", True), ("reference", "\u00a0a", True),
        ("comment", "ж" * 1000, False), ("comment", "ж" * 1001, True), ("comment", "=cmd|' /C calc'!A0 {{7*7}} ${jndi:x} 👩‍🚀", False),
        ("execute_at", "2026-12-01T10:00:00+03:00", False), ("execute_at", "2026-12-01 07:00Z", False), ("execute_at", "2026-12-01T10:00:00", True),
        ("execute_at", "01.12.2026 10:00", True), ("execute_at", "2026-13-01T10:00Z", True), ("execute_at", "tomorrow", True),
        ("execute_at", "2026-W49-2T10:00Z", True), ("execute_at", "２026-12-01T10:00Z", True), ("execute_at", "2026-12-01T10:00:00+99:00", True),
    ],
)  # fmt: skip
def test_other_fields(field: str, text: str, wrong: bool) -> None:
    """References look alike only when they are alike, comments have a length, times have a zone."""
    assert list(told(judge(row(**{field: text}), RULES))) == ([field] if wrong else [])


def test_times() -> None:
    """A time without a zone is in the merchant's, where one is given."""
    there = Rules(frozenset(), zone=timezone(timedelta(hours=3)))
    for text in ("01.12.2026 10:00", "2026-12-01T10:00:00", "2026-12-01 07:00Z"):
        assert judge(row(execute_at=text), there).execute_at == datetime(2026, 12, 1, 7, tzinfo=UTC)


def test_faults_of_form_come_first_and_are_not_echoed() -> None:
    """What could not be read is told once; a row whose cells cannot be told apart is judged no further."""
    lost = (Fault("destination", "", "lost digits"), Fault("amount", "", "is a formula"))
    judged = judge(row("sbp", "", faults=lost, phone=None, bank="1"), RULES)
    assert [fault.why for fault in judged.faults] == ["lost digits", "is a formula", "is not a member id of 12 digits"]
    assert list(told(judge(row("", "", "", faults=(Fault("row", "", "has 3 columns"),)), RULES))) == ["row"]


def test_a_good_row() -> None:
    """A good row has money and a destination, with the default bank and the folded name, and shows nothing in its repr."""
    judged = judge(row("sbp", phone="+7 (951) 000-00-71", name="Анна  Орлова"), RULES)
    assert judged.destination is not None and judged.money is not None and judged.faults == ()
    assert (judged.destination.bank, judged.destination.name, judged.money.minor) == ("100000000004", "Анна Орлова", 1050)
    assert PHONE not in repr(judged)


def test_one_rule_at_every_door() -> None:
    """Registries take the fields and lengths that the REST surface takes."""
    assert (LONGEST_REFERENCE, LONGEST_COMMENT) == (rest.LONGEST_REFERENCE, rest.LONGEST_COMMENT)
    assert {rail: [*fields, "name"] for rail, fields in DETAILS.items()} == {rail: list(fields) for rail, fields in DESTINATIONS.items()}
