"""What a UnitPay client may ask beside payouts: banks, cards, fees, balances; and the test mode, which stores nothing."""

from __future__ import annotations

import json

import structlog.testing

from disburse.domain.outcomes import Settled
from disburse.protocols.wire import WireRequest
from tests.api.house import SANDBOX, House
from tests.api.unitpay_client import (
    CARD,
    CARD_CALL,
    FREE_CALL,
    MEMBERS,
    PHONE,
    SBP_CALL,
    Client,
    blamed,
    code,
    open_door,
    read,
)

ASKING = {"sum": "5", "purse": PHONE, "paymentType": "sbp"}
TEST_CALL = {"test": "1", "transactionId": "ANY123", "sum": "10.00", "purse": "ABC123", "paymentType": "card"}


async def test_banks(shop: Client) -> None:
    """getSbpBankList lists every member that is offered, with its Russian and English name."""
    banks = (await shop.ask("getSbpBankList"))["result"]
    assert banks == [{"member_id": one.member_id, "name": one.name, "name_en": one.name_en} for one in MEMBERS]
    assert {"member_id": "100000000001", "name": "Газпромбанк", "name_en": "Gazprombank"} in banks


async def test_every_listed_bank_is_accepted(house: House, shop: Client) -> None:
    """Whatever getSbpBankList lists can be paid at."""
    for bank in (await shop.ask("getSbpBankList"))["result"]:
        member = bank["member_id"]
        assert (await shop.paid(SBP_CALL, memberId=member, transactionId=member))["status"] == "not_completed", member


async def test_cards_by_their_first_digits(shop: Client) -> None:
    """getBinInfo tells the operator's row, else the scheme of the number's range, with all eight keys; 6 to 8 digits will do."""
    known = (await shop.ask("getBinInfo", bin="477964"))["result"]
    assert known == {
        "bin": "477964", "bank": "Alfa Bank", "countryCode": "RU", "brand": "VISA", "category": "CLASSIC", "type": "",
        "bankUrl": "http://alfabank.com/russia/", "bankPhone": "7 495 620-91-91",
    }  # fmt: skip
    assert (await shop.ask("getBinInfo", bin="47796412"))["result"] == known
    ranged = (await shop.ask("getBinInfo", bin="220012"))["result"]
    assert ranged == {**dict.fromkeys(known, ""), "bin": "220012", "brand": "MIR"}


async def test_cards_nobody_knows(shop: Client) -> None:
    """getBinInfo answers 100 when nothing is known, in words of its own, and refuses what is not the beginning of a card."""
    nothing = await shop.ask("getBinInfo", bin="000000")
    assert code(nothing) == 100
    assert "ничего не нашлось" in nothing["error"]["message"]
    for bad in ("", "41111", "411111111", CARD, "41111a", "４１１１１１"):
        assert blamed(await shop.ask("getBinInfo", bin=bad)) == "bin", bad


async def test_commissions(house: House, shop: Client) -> None:
    """massPaymentCommissions maps each kind of payment to its percent, a JSON number, as this merchant is charged."""
    request = shop.request("massPaymentCommissions", {})
    assert (
        await shop.door.answer(request)
    ).body == b'{"result":{"card":1.5,"card_not_rf":1.5,"sbp":0.7,"webmoney":0,"usdt":0}}'
    await house.set(shop.merchant, fees=json.dumps({"card": [1000, 0, None], "webmoney": [205, 0, None]}))
    house.desk.routes = (SANDBOX,)
    assert (await shop.ask("massPaymentCommissions"))["result"] == {
        "card": 10, "card_not_rf": 10, "sbp": 0.7, "webmoney": 2.05, "usdt": 0, "qiwi": 0,
    }  # fmt: skip


async def test_available_amount(house: House, shop: Client) -> None:
    """massPaymentAvailableAmount is the balance less what is reserved, as a JSON number in roubles."""
    request = shop.request("massPaymentAvailableAmount", ASKING)
    assert (await shop.door.answer(request)).body == b'{"result":{"availableAmount":100000.00,"currency":"RUB"}}'
    await shop.paid()
    for changes in ({}, {"recipientCurrency": "RUB"}, {"paymentType": "card"}, {"purse": "whoever"}):
        result = (await shop.ask("massPaymentAvailableAmount", {**ASKING, **changes}))["result"]
        assert result == {"availableAmount": 99960.0, "currency": "RUB"}
    tether = {**ASKING, "paymentType": "usdt", "recipientCurrency": "USDT"}
    assert (await shop.ask("massPaymentAvailableAmount", tether))["result"]["availableAmount"] == 99960


async def test_nothing_is_available_where_there_is_no_way(house: House, shop: Client) -> None:
    """Nothing is available by a kind that nobody carries, or while this merchant may pay nothing out."""
    for kind in ("qiwi", "yandex", "mc"):
        assert (await shop.ask("massPaymentAvailableAmount", {**ASKING, "paymentType": kind}))["result"][
            "availableAmount"
        ] == 0
    await house.set(shop.merchant, payouts="off")
    assert (await shop.ask("massPaymentAvailableAmount", ASKING))["result"]["availableAmount"] == 0


async def test_bad_questions_about_the_available_amount(shop: Client) -> None:
    """-32602 names what is missing or out of bounds."""
    for name in ("sum", "purse", "paymentType"):
        assert blamed(await shop.ask("massPaymentAvailableAmount", {**ASKING, name: None})) == name
    for name, value in (("sum", "0"), ("sum", "1e9"), ("paymentType", "x"), ("recipientCurrency", "USD")):
        assert blamed(await shop.ask("massPaymentAvailableAmount", {**ASKING, name: value})) == name


async def test_partner(house: House, shop: Client) -> None:
    """getPartner tells the balance in today's shape and the older ones: what is available, and that with what is reserved."""

    async def amounts() -> tuple[str, str]:
        result = (await shop.ask("getPartner"))["result"]
        rub = result["accounts"]["rub"]
        assert result["email"] == shop.merchant.login
        assert (result["balance"], result["balance_payout"]) == (rub["balance"], rub["availableBalance"])
        return rub["balance"], rub["availableBalance"]

    assert await amounts() == ("100000.00", "100000.00")
    await shop.paid()
    assert await amounts() == ("100000.00", "99960.00")
    [opened] = await house.claim()
    assert await amounts() == ("100000.00", "99960.00")  # in flight is still on the account
    await house.tell(opened, Settled("b-1"))
    assert await amounts() == ("99960.00", "99960.00")


async def test_answers_do_not_depend_on_payouts_being_on(house: House, shop: Client) -> None:
    """Whoever may make no payouts may still ask."""
    await house.set(shop.merchant, payouts="denied")
    for method, params in (
        ("getSbpBankList", {}),
        ("getBinInfo", {"bin": "411111"}),
        ("massPaymentCommissions", {}),
        ("getPartner", {}),
    ):
        assert "result" in await shop.ask(method, params)


# --- test mode ----------------------------------------------------------------------------------------------------


async def test_test_mode(house: House, shop: Client) -> None:
    """With test=1 and the test key the id alone decides: two magic ids, any other is under way; nothing is stored."""
    key = shop.made.unitpay_test_key
    for reference, status in (("F12358132134", "success"), ("F383117770", "error"), ("ANY123", "not_completed")):
        result = await shop.paid(TEST_CALL, transactionId=reference, secretKey=key)
        assert (result["status"], result["sum"], result["transactionId"]) == (status, "10.00", reference)
        assert ("completeDate" in result) == (status != "not_completed")
        assert (result["partnerBalance"], result["payoutCommission"]) == ("100000.00", "0.00")
        asked = await shop.ask("massPaymentStatus", {"test": "1", "transactionId": reference}, secretKey=key)
        if reference == "ANY123":
            assert blamed(asked) == "transactionId"
        else:
            assert asked["result"]["status"] == status
        assert blamed(await shop.status(reference)) == "transactionId"
    assert await house.payouts(shop.merchant) == []
    assert await house.balances(shop.merchant) == {"available": "100000.00", "funding": "-100000.00"}


async def test_test_mode_needs_its_own_key(house: House, shop: Client) -> None:
    """test=1 with the live key, and the test key without test=1, are both -32000: a rehearsal can never pay."""
    for method in ("massPayment", "massPaymentStatus"):
        assert code(await shop.ask(method, TEST_CALL)) == -32000
        for test in (None, "0", "2"):
            assert code(await shop.ask(method, FREE_CALL, test=test, secretKey=shop.made.unitpay_test_key)) == -32000
    assert await house.payouts(shop.merchant) == []


async def test_test_mode_reads_its_parameters(shop: Client) -> None:
    """Test mode is no place for nonsense either: what is missing or unreadable is -32602."""
    for changes, parameter in (
        ({"sum": "x"}, "sum"), ({"sum": None}, "sum"), ({"paymentType": "x"}, "paymentType"), ({"purse": None}, "purse"),
        ({"transactionId": None}, "transactionId"),
    ):  # fmt: skip
        assert blamed(await shop.pay({**TEST_CALL, "secretKey": shop.made.unitpay_test_key, **changes})) == parameter


async def test_release_of_the_sdk_is_logged_once(house: House, shop: Client) -> None:
    """The SDK's release is logged, once for a merchant, and nothing else of its headers."""
    headers = {"user-agent": "unitpay-php-sdk/4.0.0 api/v1", "unitpay-client": '{"lang":"php"}'}
    request = shop.request("massPaymentStatus", {"transactionId": "1"})
    with structlog.testing.capture_logs() as logs:
        for agent in (headers["user-agent"], headers["user-agent"], "unitpay-x secret", "curl/8"):
            await shop.door.answer(WireRequest("GET", "/api", request.query, {**headers, "user-agent": agent}, b""))
    assert logs == [
        {
            "event": "unitpay_client",
            "log_level": "info",
            "merchant": shop.merchant.merchant_id,
            "version": "unitpay-php-sdk/4.0.0",
        }
    ]


async def test_project_and_unknown_parameters_do_not_matter(shop: Client) -> None:
    """projectId is taken and not judged; parameters of other methods and other years are ignored."""
    query = shop.request("massPayment", CARD_CALL | {"projectId": "135"}).query
    request = WireRequest("GET", "/api/", query + b"&params%5Bcvv%5D=123&hash=1", {}, b"")
    assert read(await shop.door.answer(request))["result"]["status"] == "not_completed"


async def test_sandbox_members_are_the_settings_business(house: House, shop: Client) -> None:
    """A member that no list has is refused, whatever the routes are; the settings may add it to the accepted ones."""
    house.desk.routes = (SANDBOX,)
    assert blamed(await shop.pay(SBP_CALL, memberId="test1")) == "memberId"
    door = open_door(house, also_accepted=frozenset({"test1"}))
    assert (await Client(door, shop.made).paid(SBP_CALL, memberId="test1"))["status"] == "not_completed"
