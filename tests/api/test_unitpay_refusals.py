"""Every way in which the UnitPay door says no: each code that it emits, for its cause and no other, with nothing made."""

from __future__ import annotations

import inspect
from dataclasses import replace

from disburse.api import unitpay, unitpay_facts, unitpay_order, unitpay_words
from disburse.api.kernel import Why
from disburse.domain.routing import Route
from disburse.protocols.unitpay import Code
from tests.api.house import BANK, SANDBOX, House
from tests.api.unitpay_client import (
    CALLS,
    CARD,
    CARD_CALL,
    FREE_CALL,
    PHONE,
    SBP_CALL,
    Client,
    blamed,
    code,
    open_door,
    read,
)


async def test_merchant_may_not(house: House, shop: Client) -> None:
    """100 while payouts are switched off, 101 for a merchant that may have none; nothing is made."""
    for payouts, expected in (("off", 100), ("denied", 101)):
        await house.set(shop.merchant, payouts=payouts)
        assert code(await shop.pay()) == expected
    assert await house.payouts(shop.merchant) == []
    await house.set(shop.merchant, payouts="on")
    assert (await shop.paid())["status"] == "not_completed"  # the id was not used up


async def test_no_connector_at_all(house: House, shop: Client) -> None:
    """100 when no provider is configured."""
    house.desk.routes = ()
    assert code(await shop.pay()) == 100
    house.desk.routes = (BANK,)
    assert (await shop.paid())["status"] == "not_completed"


async def test_no_route_for_the_rail(house: House, shop: Client) -> None:
    """122 when providers are configured and none carries this kind of payment in roubles."""
    house.desk.routes = (
        Route("x", frozenset({"sbp"}), frozenset({"RUB"})),
        Route("y", frozenset({"card"}), frozenset({"USD"})),
    )
    assert code(await shop.pay()) == 122
    assert await house.payouts(shop.merchant) == []
    house.desk.routes = (BANK,)
    assert (await shop.paid())["status"] == "not_completed"


async def test_kinds_of_earlier_years(shop: Client) -> None:
    """qiwi, yandex and mc are known and not carried: 122."""
    assert [code(await shop.pay(paymentType=kind, purse=PHONE)) for kind in ("qiwi", "yandex", "mc")] == [122, 122, 122]


async def test_qiwi_where_a_provider_carries_it(house: House, shop: Client) -> None:
    """A qiwi payout is made where a route carries it, and its wallet is checked."""
    house.desk.routes = (SANDBOX,)
    assert code(await shop.pay(paymentType="qiwi", purse="7951")) == 1051
    assert (await shop.paid(paymentType="qiwi", purse="+79510000071"))["status"] == "not_completed"


async def test_minimum(shop: Client) -> None:
    """102 for a sum that is not above one rouble."""
    assert [code(await shop.pay(FREE_CALL, sum=text)) for text in ("0.01", "0.99", "1", "1.00")] == [102] * 4
    assert (await shop.paid(FREE_CALL, sum="1.01"))["sum"] == "1.01"


async def test_minimum_of_a_rail(house: House) -> None:
    """A rail's own minimum is the settings'; other rails keep theirs."""
    shop = Client(open_door(house, minimums={"card": 5000}), await house.merchant())
    assert code(await shop.pay(sum="50.00")) == 102
    assert (await shop.paid(sum="50.01"))["sum"] == "50.01"
    assert (await shop.paid(FREE_CALL, transactionId="2"))["sum"] == "10.00"


async def test_money_for_sum_and_fee(house: House) -> None:
    """103 when the balance does not cover the sum and its fee; the same id is accepted after a top-up."""
    shop = Client(open_door(house), await house.merchant(funds="39.99"))
    assert code(await shop.pay()) == 103
    assert await house.payouts(shop.merchant) == []
    assert await house.balances(shop.merchant) == {"available": "39.99", "funding": "-39.99"}
    await house.top_up(shop.merchant, "0.01")
    assert (await shop.paid())["partnerBalance"] == "0.00"


async def test_sums_beyond_any_balance(house: House, shop: Client) -> None:
    """The largest sums that can be written are above every balance, with and without a fee that goes beyond our largest figure."""
    for text in ("9999999999999.99", "9999999999999"):
        assert code(await shop.pay(sum=text)) == 103
        assert code(await shop.pay(FREE_CALL, sum=text)) == 103
    assert await house.payouts(shop.merchant) == []


BAD_PAYEES = [
    (CARD_CALL | {"purse": "4111111111111112"}, 1052),
    (CARD_CALL | {"purse": "411111111112"}, 1052),
    (SBP_CALL | {"purse": "89510000071"}, 1053),
    (SBP_CALL | {"purse": "7951000007"}, 1053),
    (FREE_CALL | {"purse": "Z12345678901"}, 1051),
    (FREE_CALL | {"purse": "A123456789012"}, 1051),
    (CALLS["usdt"] | {"purse": "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6u"}, 1051),
    (CALLS["usdt"] | {"purse": CARD}, 1051),
]


async def test_payee_fails_its_check(house: House, shop: Client) -> None:
    """1051 for wallets, 1052 for cards, 1053 for phones that fail their check; the id may be used again."""
    for call, expected in BAD_PAYEES:
        assert code(await shop.pay(call)) == expected, call
    assert await house.payouts(shop.merchant) == []
    assert (await shop.paid())["status"] == "not_completed"


async def test_required_parameters(shop: Client) -> None:
    """-32602 names a required parameter that is missing or blank."""
    for name in ("login", "secretKey", "transactionId", "sum", "purse", "paymentType"):
        for value in (None, "", "  "):
            assert blamed(await shop.pay({**CARD_CALL, name: value})) == name


BAD_PARAMETERS = [
    ({"paymentType": "sberpay"}, "paymentType"),
    ({"paymentType": "Card"}, "paymentType"),
    ({"paymentType": "account"}, "paymentType"),
    ({**SBP_CALL, "memberId": "100000009999"}, "memberId"),
    ({**SBP_CALL, "memberId": "1"}, "memberId"),
    ({"test": "2"}, "test"),
    ({"transactionId": "x" * 201}, "transactionId"),
    ({"transactionId": "17\u200b82"}, "transactionId"),
    ({"sum": "10,50"}, "sum"),
]


async def test_bad_parameters(house: House, shop: Client) -> None:
    """-32602 names a parameter that is out of bounds or unknown."""
    for changes, parameter in BAD_PARAMETERS:
        assert blamed(await shop.pay({**CARD_CALL, **changes})) == parameter, changes
    assert await house.payouts(shop.merchant) == []


async def test_unknown_methods(shop: Client) -> None:
    """-32602 naming `method` for a method that this server does not have."""
    for method in ("massPay", "MassPayment", "getCommissions", "getCurrencyCourses", "initPayment"):
        assert blamed(await shop.ask(method, CARD_CALL)) == "method", method


async def test_wrong_login_or_key(house: House, shop: Client) -> None:
    """-32000 for a wrong login or a wrong key, the same bytes for both, whatever the method."""
    answers = set()
    key = shop.made.unitpay_secret_key
    strangers = [(shop.merchant.login, "wrong"), ("nobody@example.com", key), ("nobody@example.com", "wrong")]
    strangers += [(shop.merchant.login, shop.made.unitpay_test_key), (shop.merchant.login, shop.made.password)]
    for method in ("massPayment", "massPaymentStatus", "getPartner", "getSbpBankList", "massPaymentX"):
        for login, wrong in strangers:
            call = {**CARD_CALL, "login": login, "secretKey": wrong}
            assert code(await shop.ask(method, call)) == -32000
            answers.add((await shop.door.answer(shop.request(method, call))).body)
    assert len(answers) == 1
    assert await house.payouts(shop.merchant) == []


async def test_login_in_any_case(shop: Client) -> None:
    """A login is an e-mail address, found in any case of letters."""
    assert (await shop.paid(login="SHOP@Example.com"))["status"] == "not_completed"


async def test_texts_in_the_merchants_language(house: House) -> None:
    """Messages are Russian, or English for a merchant that wants it; before we know who asks, Russian."""
    russian = Client(open_door(house), await house.merchant("ru@example.com"))
    english = Client(open_door(house), await house.merchant("en@example.com", language="en"))
    for shop, words in ((russian, ("принята", "Неверные", "карты")), (english, ("accepted", "Bad", "card"))):
        assert words[0] in (await shop.paid())["message"]
        assert words[1] in (await shop.pay(transactionId=None))["error"]["message"]
        assert words[2] in (await shop.pay(transactionId="2", purse="4111111111111112"))["error"]["message"]
        assert "Неверный login" in (await shop.pay(secretKey="x"))["error"]["message"]


async def test_other_verbs(house: House, shop: Client) -> None:
    """Only GET and POST are read; HEAD above all makes nothing."""
    for verb in ("HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"):
        request = replace(shop.request("massPayment", CARD_CALL), method=verb)
        assert code(read(await shop.door.answer(request))) == -32602, verb
    assert await house.payouts(shop.merchant) == []


REFUSALS: dict[Why, int] = {
    "too_large": -32602, "too_slow": -32602, "bad_encoding": -32602, "overloaded": -32603, "late": -32603, "broken": -32603,
}  # fmt: skip


async def test_what_the_kernel_refuses(shop: Client) -> None:
    """A call the door never saw, or never answered, gets this surface's error envelope on HTTP 200."""
    request = shop.request("massPayment", CARD_CALL)
    assert {why: code(read(shop.door.refuse(request, why))) for why in REFUSALS} == REFUSALS


def test_never_201() -> None:
    """201 and the codes of other years are for reading only: this door has no way to emit them."""
    source = "".join(inspect.getsource(module) for module in (unitpay, unitpay_facts, unitpay_order, unitpay_words))
    assert [int(one) for one in sorted(Code) if f"Code.{one.name}" in source] == [
        -32603, -32602, -32000, 100, 101, 102, 103, 122, 1051, 1052, 1053,
    ]  # fmt: skip
