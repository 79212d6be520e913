"""UnitPay sections 5 to 9 on a running server: banks, available amount, fees, cards by number, balance, and methods there are not."""

from __future__ import annotations

import csv
import json
from decimal import Decimal
from pathlib import Path

import pytest

from disburse.domain.routing import Route
from tests.conformance.running import Running
from tests.conformance.unitpay_shop import CARD, PHONE, TO_CARD, TO_PHONE, Shop, blamed, code, result
from tests.conformance.wire import JSON, request, send

MEMBERS = Path(__file__).parents[2] / "src" / "disburse" / "data" / "sbp-members.csv"
AMOUNT = {"sum": "5", "purse": CARD, "paymentType": "card"}

REQUIRED: dict[str, tuple[dict[str, str], list[str]]] = {
    "getSbpBankList": ({}, ["login", "secretKey"]),
    "massPaymentAvailableAmount": (AMOUNT, ["login", "secretKey", "sum", "purse", "paymentType"]),
    "massPaymentCommissions": ({}, ["login", "secretKey"]),
    "getBinInfo": ({"bin": "477964"}, ["login", "secretKey", "bin"]),
    "getPartner": ({}, ["login", "secretKey"]),
}


@pytest.mark.parametrize("method", REQUIRED)
def test_required(served: Running, method: str) -> None:
    """Each method answers with what it requires and no more; without one of these it is -32602 naming it, and a wrong key is -32000."""
    shop = Shop(served)
    params, required = REQUIRED[method]
    assert "result" in shop.ask(method, params)
    for name in required:
        assert blamed(shop.ask(method, {**params, name: None})) == name
    assert code(shop.ask(method, params, secretKey="wrong")) == -32000


# --- banks --------------------------------------------------------------------------------------------------------


def test_banks(served: Running) -> None:
    """The list is ours: ids of 12 digits with a Russian and an English name, all strings, as the member list that ships has them."""
    banks = result(Shop(served).ask("getSbpBankList"))
    with MEMBERS.open(encoding="utf-8") as file:
        shipped = {row["member_id"]: row for row in csv.DictReader(file)}
    assert len(banks) > 100
    for bank in banks:
        assert bank == shipped[bank["member_id"]]
        assert len(bank["member_id"]) == 12 and bank["member_id"].isdigit() and bank["name"] and bank["name_en"]


def test_a_listed_bank_can_be_paid_to(served: Running) -> None:
    """An answer's `member_id` is what massPayment takes as `memberId`."""
    shop = Shop(served)
    for bank in result(shop.ask("getSbpBankList"))[::40]:
        reference = bank["member_id"]
        assert shop.paid(TO_PHONE, memberId=reference, transactionId=reference)["status"] == "success"


# --- available amount ---------------------------------------------------------------------------------------------


def test_available_amount(served: Running) -> None:
    """What is available less what is reserved, as a JSON number written digit for digit, with the currency RUB."""
    shop = Shop(served, funds="1067.71", answer_wait_ms=0)
    shop.paid(sum="10.11")  # held: the bank pays in three seconds
    raw = send(served.port, request("GET", f"/api?{shop.query('massPaymentAvailableAmount', AMOUNT)}"))
    assert json.loads(raw.body, parse_float=str, parse_int=str)["result"] == {
        "availableAmount": "1057.25",
        "currency": "RUB",
    }
    assert type(raw.json["result"]["availableAmount"]) is float


AVAILABLE = {
    "currency-not-sent": ({}, "100000.00"),
    "rub": ({"recipientCurrency": "RUB"}, "100000.00"),
    "sbp": ({"paymentType": "sbp", "purse": PHONE, "recipientCurrency": "RUB"}, "100000.00"),
    "usdt": ({"paymentType": "usdt", "purse": "T1", "recipientCurrency": "USDT"}, "100000.00"),
    "no-route": ({"paymentType": "yandex"}, "0.00"),
}


@pytest.mark.parametrize("case", AVAILABLE)
def test_available_for_a_route(served: Running, case: str) -> None:
    """recipientCurrency is optional; where no route leads nothing is available."""
    changes, amount = AVAILABLE[case]
    found = result(Shop(served).ask("massPaymentAvailableAmount", {**AMOUNT, **changes}))
    assert Decimal(str(found["availableAmount"])) == Decimal(amount)


def test_available_where_no_route_leads(served: Running) -> None:
    """What connectors cannot carry has nothing available; what they can has all."""
    shop = Shop(served)
    with served.routes(Route("elsewhere", frozenset({"sbp"}), frozenset({"RUB"}))):
        found = [
            result(shop.ask("massPaymentAvailableAmount", {**AMOUNT, "paymentType": kind})) for kind in ("card", "sbp")
        ]
    assert [one["availableAmount"] for one in found] == [0, 100000]


BAD_AMOUNTS = {"sum": "5,0", "paymentType": "sberpay", "recipientCurrency": "USD"}


@pytest.mark.parametrize("name", BAD_AMOUNTS)
def test_available_amount_is_refused(served: Running, name: str) -> None:
    """A parameter out of bounds is -32602 naming it."""
    assert blamed(Shop(served).ask("massPaymentAvailableAmount", {**AMOUNT, name: BAD_AMOUNTS[name]})) == name


# --- fees, cards, balance -----------------------------------------------------------------------------------------


def test_commissions(served: Running) -> None:
    """Method code to percent, as JSON numbers, in the shape of getCommissions."""
    found = result(Shop(served).ask("massPaymentCommissions"))
    assert found.items() >= {"card": 3.5, "card_not_rf": 3.5, "sbp": 0.7, "webmoney": 2}.items()
    assert all(type(percent) in (int, float) for percent in found.values())


def test_commissions_of_an_account(served: Running) -> None:
    """An account's own fee goes before the installation's, in what is told and in what is charged."""
    shop = Shop(served, fees='{"card": [1000, 0, null]}')
    assert result(shop.ask("massPaymentCommissions"))["card"] == 10
    assert shop.paid()["payoutCommission"] == "1.00"


BINS = {
    "six": "477964",
    "seven": "4779641",
    "eight": "47796412",
}


@pytest.mark.parametrize("case", BINS)
def test_bin_info(served: Running, case: str) -> None:
    """6 to 8 digits are taken and the first 6 count; all eight keys come, as strings."""
    assert result(Shop(served).ask("getBinInfo", bin=BINS[case])) == {
        "bin": "477964", "bank": "Alfa Bank", "countryCode": "RU", "brand": "VISA", "category": "CLASSIC", "type": "",
        "bankUrl": "http://alfabank.com/russia/", "bankPhone": "7 495 620-91-91",
    }  # fmt: skip


def test_bin_info_of_little_known(served: Running) -> None:
    """What is not known is an empty string; the provider's own example sends the bin as a number."""
    shop = Shop(served)
    body = json.dumps({"method": "getBinInfo", "params": {**shop.params({}), "bin": 424242}})
    found = result(shop.post(body, JSON))
    empty = dict.fromkeys(("bank", "countryCode", "category", "type", "bankUrl", "bankPhone"), "")
    assert found == {"bin": "424242", "brand": "VISA", **empty}


@pytest.mark.parametrize("digits", ["47796", "477964123", CARD, "47796a", "", "-477964"], ids=range(6))
def test_bin_info_refuses(served: Running, digits: str) -> None:
    """Fewer than 6 digits and more than 8 are refused, so that nobody sends a whole card; the answer does not repeat it."""
    document = Shop(served).ask("getBinInfo", bin=digits)
    assert blamed(document) == "bin"
    assert len(digits) < 6 or digits not in json.dumps(document)


def test_bin_info_of_nothing(served: Running) -> None:
    """A number that nothing is known about is code 100, in another text than that of payouts that are switched off."""
    shop = Shop(served, payouts="off")
    nothing, off = shop.ask("getBinInfo", bin="000000"), shop.pay()
    assert code(nothing) == code(off) == 100
    assert nothing["error"]["message"] != off["error"]["message"]


def test_partner(served: Running) -> None:
    """The union of the generations: accounts.rub beside balance and balance_payout, all strings."""
    shop = Shop(served, funds="1060.76")
    assert result(shop.ask("getPartner")) == {
        "email": shop.merchant.login,
        "accounts": {"rub": {"balance": "1060.76", "availableBalance": "1060.76"}},
        "balance": "1060.76",
        "balance_payout": "1060.76",
    }


def test_partner_while_money_is_held(served: Running) -> None:
    """What is held for a payout lowers availableBalance, not the balance."""
    shop = Shop(served, funds="100.00", answer_wait_ms=0)
    shop.paid(sum="10.11")
    found = result(shop.ask("getPartner"))
    assert found["accounts"]["rub"] == {"balance": "100.00", "availableBalance": "89.54"}
    assert (found["balance"], found["balance_payout"]) == ("100.00", "89.54")


# --- what there is not --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "method", ["getCommissions", "getCurrencyCourses", "initPayment", "createPayout", "getPayment", "x" * 500]
)
def test_unknown_methods(served: Running, method: str) -> None:
    """A method that this server has not is -32602 naming method, never -32601; those outside payouts too."""
    assert blamed(Shop(served).ask(method, TO_CARD)) == "method"
