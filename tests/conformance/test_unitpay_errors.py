"""UnitPay sections 10 to 12 and 14 on a running server: the test mode, every error code we emit, what is configurable."""

from __future__ import annotations

import json
from typing import Any

import pytest

from disburse.domain.routing import Route
from tests.conformance.running import Running
from tests.conformance.unitpay_shop import (
    CARD,
    PHONE,
    TO_ADDRESS,
    TO_CARD,
    TO_PHONE,
    TO_PURSE,
    Document,
    Shop,
    blamed,
    code,
    result,
)
from tests.conformance.wire import request, send

# --- test mode ----------------------------------------------------------------------------------------------------


def in_test_mode(shop: Shop, method: str = "massPayment", **changes: str | None) -> Document:
    """A call in test mode, with the account's test key."""
    call = {**TO_CARD, "test": "1", "secretKey": shop.made.unitpay_test_key, "purse": "ABC123"}
    return shop.ask(method, {**call, **changes})


MAGIC = {"F12358132134": "success", "F383117770": "error", "ANY123": "not_completed", "1782": "not_completed"}


@pytest.mark.parametrize("reference", MAGIC)
def test_test_mode(served: Running, reference: str) -> None:
    """With test=1 and the test key the id decides: two ids give success and error, any other not_completed; purses are any text."""
    shop = Shop(served)
    assert result(in_test_mode(shop, transactionId=reference))["status"] == MAGIC[reference]
    assert result(in_test_mode(shop, transactionId=reference, purse="letters4DIGITS"))["status"] == MAGIC[reference]


@pytest.mark.parametrize("reference", MAGIC)
def test_status_in_test_mode(served: Running, reference: str) -> None:
    """massPaymentStatus knows the two ids; any other gets an error answer."""
    shop = Shop(served)
    in_test_mode(shop, transactionId=reference)
    document = in_test_mode(shop, "massPaymentStatus", transactionId=reference)
    if MAGIC[reference] == "not_completed":
        assert blamed(document) == "transactionId"
    else:
        assert result(document)["status"] == MAGIC[reference]


def test_test_mode_stores_nothing(served: Running) -> None:
    """Nothing is stored in test mode and no money moves: the id is free for a real payout."""
    shop = Shop(served)
    for reference in MAGIC:
        in_test_mode(shop, transactionId=reference)
    assert shop.payouts() == 0
    assert served.balances(shop.merchant) == {"available": "100000.00", "funding": "-100000.00"}
    assert shop.paid(transactionId="F383117770")["status"] == "success"


def test_test_key(served: Running) -> None:
    """test=1 takes the test key alone, and the test key nothing but test=1."""
    shop = Shop(served)
    assert code(in_test_mode(shop, secretKey=shop.made.unitpay_secret_key)) == -32000
    for test in (None, "0"):
        assert code(in_test_mode(shop, test=test)) == -32000
    assert code(shop.pay(test="1")) == -32000
    assert blamed(shop.pay(test="2")) == "test"
    assert shop.payouts() == 0


# --- codes --------------------------------------------------------------------------------------------------------

CODES: dict[str, tuple[dict[str, str], dict[str, str], dict[str, Any], int]] = {
    "100-off": (TO_CARD, {}, {"payouts": "off"}, 100),
    "101": (TO_CARD, {}, {"payouts": "denied"}, 101),
    "102": (TO_CARD, {"sum": "1.00"}, {}, 102),
    "102-of-a-rail": (TO_ADDRESS, {"sum": "5.00"}, {}, 102),
    "103": (TO_CARD, {}, {"funds": "10.34"}, 103),
    "103-above-everything": (TO_CARD, {"sum": "9999999999999.99"}, {}, 103),
    "1051-wallet": (TO_PURSE, {"purse": "A123456789012"}, {}, 1051),
    "1051-address": (TO_ADDRESS, {"purse": CARD}, {}, 1051),
    "1052": (TO_CARD, {"purse": "4111111111111112"}, {}, 1052),
    "1053": (TO_PHONE, {"purse": "89510000071"}, {}, 1053),
    "32000": (TO_CARD, {"secretKey": "wrong"}, {}, -32000),
    "32602": (TO_CARD, {"sum": "ten"}, {}, -32602),
    "32602-payment-type": (TO_CARD, {"paymentType": "sberpay"}, {}, -32602),
}


@pytest.mark.parametrize("case", CODES)
def test_codes(served: Running, case: str) -> None:
    """Each cause has its code, a JSON number with a text beside it, and nothing is made, held or repeated of what was sent."""
    call, changes, settings, expected = CODES[case]
    shop = Shop(served, **settings)
    before = served.balances(shop.merchant)
    document = shop.pay(call, **changes)
    assert code(document) == expected
    assert (shop.payouts(), served.balances(shop.merchant)) == (0, before)
    assert call["purse"] not in json.dumps(document)


def test_no_connector_at_all(served: Running) -> None:
    """100 while no connector is configured."""
    shop = Shop(served)
    with served.routes():
        assert code(shop.pay()) == 100
    assert shop.payouts() == 0


NOT_HERE = {
    "other-rails": Route("elsewhere", frozenset({"webmoney", "sbp"}), frozenset({"RUB"})),
    "other-money": Route("elsewhere", frozenset({"card"}), frozenset({"USD"})),
}


@pytest.mark.parametrize("case", NOT_HERE)
def test_no_route(served: Running, case: str) -> None:
    """122 where no connector carries this kind in roubles."""
    shop = Shop(served)
    with served.routes(NOT_HERE[case]):
        assert code(shop.pay()) == 122
    assert shop.payouts() == 0


@pytest.mark.parametrize("kind", ["qiwi", "yandex", "mc"])
def test_kinds_of_old(served: Running, kind: str) -> None:
    """qiwi, yandex and mc are known and answer 122; a plus before the phone is taken all the same."""
    shop = Shop(served)
    with served.routes(Route("elsewhere", frozenset({"card", "sbp", "webmoney", "usdt"}), frozenset({"RUB"}))):
        for purse in (PHONE, f"+{PHONE}"):
            assert code(shop.pay(paymentType=kind, purse=purse)) == 122
    assert shop.payouts() == 0


@pytest.mark.parametrize("kind", ["sberpay", "tinkoffpay", "cardInvoice", "paypal", "Card", "account", "bank"])
def test_kinds_of_pay_ins(served: Running, kind: str) -> None:
    """Kinds that are not of payouts are -32602 naming paymentType."""
    assert blamed(Shop(served).pay(paymentType=kind)) == "paymentType"


def test_only_codes_of_the_table(served: Running) -> None:
    """Bad calls of every sort get codes that we emit, and neither 201 nor -32601, -32700 nor 3200."""
    shop = Shop(served)
    sent = [
        "", "method=", "method[]=x", "method=getPartner&method=x", "params=1", "method=massPayment&params[sum][]=1",
        "method=massPayment&%ff=1", "&".join(f"a{n}=1" for n in range(300)), shop.query("massPayment", {"test": "1"}),
        shop.query("massPayment", {**TO_CARD, "sum": "10.00\x00"}), shop.query("massPayment", {**TO_CARD, "transactionId": "x" * 201}),
        shop.query("massPayment", {**TO_CARD, "transactionId": "17\u200b82"}),
    ]  # fmt: skip
    found = {code(send(served.port, request("GET", f"/api?{query}")).json) for query in sent}
    assert found <= {-32602, -32000}
    assert shop.payouts() == 0


# --- configurable -------------------------------------------------------------------------------------------------


def test_configurable(served: Running) -> None:
    """Minimums by rail, fees by account and the wait for an end are settings, not the provider's figures of some year."""
    assert code(Shop(served).pay(TO_ADDRESS, sum="5.00")) == 102
    assert Shop(served).paid(TO_ADDRESS, sum="5.01")["status"] == "success"
    free = Shop(served, fees='{"card": [0, 0, null]}')
    assert free.paid(sum="90000.00")["payoutCommission"] == "0.00"
    hasty = Shop(served, answer_wait_ms=0)
    assert hasty.paid(sum="10.11")["status"] == "not_completed"
