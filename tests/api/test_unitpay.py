"""massPayment and massPaymentStatus: what a payout looks like to a UnitPay client, and every way in which one is refused."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from itertools import product
from typing import Any, Literal
from uuid import UUID

import pytest

from disburse.api.kernel import Why
from disburse.api.unitpay_words import encode_state
from disburse.domain.merchant import Merchant
from disburse.domain.money import read_amount
from disburse.domain.outcomes import Accepted, NotSent, Rejected, Returned, Settled, Unknown, Verdict
from disburse.domain.payout import FINAL, Payout, PayoutState
from disburse.domain.routing import Route
from disburse.protocols.unitpay import UNITPAY_TIME, Code
from disburse.protocols.wire import WireAnswer
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

DATE = "%Y-%m-%d %H:%M:%S"


# --- a payout is made ---------------------------------------------------------------------------------------------


async def test_a_payout_is_accepted(house: House, shop: Client) -> None:
    """An accepted payout is answered `not_completed`, with every field of the page as the page types it."""
    result = await shop.paid(sum="10.5")
    [payout] = await house.payouts(shop.merchant)
    created = datetime.strptime(result.pop("createDate"), DATE).replace(tzinfo=UNITPAY_TIME)
    assert abs((created - house.world.clock.now()).total_seconds()) < 60
    assert result.pop("message")
    assert result == {
        "status": "not_completed",
        "payoutId": str(2**20 + shop.merchant.merchant_id),
        "partnerBalance": "99959.50",
        "sum": "10.5",
        "payoutCommission": "30.00",
        "partnerCommission": "0.00",
        "transactionId": "1782",
    }
    assert (payout.state, payout.amount_minor, payout.fee_minor) == (PayoutState.QUEUED, 1050, 3000)
    assert (payout.surface, payout.reference, payout.display) == ("unitpay", "1782", "411111******1111")
    assert await house.balances(shop.merchant) == {"available": "99959.50", "held": "40.50", "funding": "-100000.00"}


async def test_every_kind_in_every_form(shop: Client) -> None:
    """Card, SBP, WebMoney and USDT are paid to, whether parameters stand nested or flat, in the query or in a form."""
    verbs: tuple[Literal["GET", "POST"], ...] = ("GET", "POST")
    for number, (kind, nested, verb) in enumerate(product(CALLS, (True, False), verbs)):
        call = CALLS[kind] | {"transactionId": str(number)}
        document = read(await shop.door.answer(shop.request("massPayment", call, nested=nested, verb=verb)))
        assert document["result"]["status"] == "not_completed", (kind, nested, verb)


async def test_actor_and_comment(house: House, shop: Client) -> None:
    """A payout names the merchant and the door that made it, and keeps the comment's allowed characters."""
    await shop.paid(comment="Выплата <1782>, июль!")

    async def stored(tx: Any) -> tuple[str, str]:
        row = await tx.fetchrow("SELECT actor, comment FROM payouts")
        return row[0], row[1]

    assert await house.database.run(stored) == (f"merchant:{shop.merchant.merchant_id}/unitpay", "Выплата 1782, июль")


SUMS = {"97": 9700, "10.0": 1000, "10.5": 1050, "10.50000000": 1050, " 10.00 ": 1000, "007.25": 725, "1.01": 101}


async def test_sums_that_clients_send(house: House, shop: Client) -> None:
    """A sum may be written as programs write numbers; it is echoed as the caller wrote it, trimmed."""
    for text in SUMS:
        assert (await shop.paid(FREE_CALL, sum=text, transactionId=f"sum {text}"))["sum"] == text.strip()
    assert [payout.amount_minor for payout in await house.payouts(shop.merchant)] == list(SUMS.values())


async def test_phones_as_people_write_them(house: House, shop: Client) -> None:
    """A phone may come with a plus, spaces, brackets and hyphens; it is the same payee."""
    for purse in ("+79510000071", "7 951 000-00-71", "7(951)0000071", PHONE):
        await shop.paid(SBP_CALL, purse=purse)
    assert len(await house.payouts(shop.merchant)) == 1
    assert await house.events(shop.merchant, "payout.reference_mismatch") == 0


async def test_cards_may_have_spaces(shop: Client) -> None:
    """A card number may be written in groups."""
    assert (await shop.paid(purse="4111 1111 1111 1111"))["status"] == "not_completed"


async def test_default_bank_of_the_account(house: House, shop: Client) -> None:
    """memberId is required for SBP, unless the merchant has a default bank."""
    document = await shop.pay(SBP_CALL, memberId=None)
    assert blamed(document) == "memberId"
    await house.set(shop.merchant, sbp_bank="100000000004")
    assert (await shop.paid(SBP_CALL, memberId=None))["status"] == "not_completed"


async def test_payout_id_as_a_number(house: House) -> None:
    """payoutId is a string as in the documented example, or a number for an account that wants it so."""
    shop = Client(open_door(house), await house.merchant(payout_id_as_number=True))
    assert (await shop.paid())["payoutId"] == 2**20 + shop.merchant.merchant_id
    assert (await shop.paid())["payoutId"] == (await shop.status())["result"]["payoutId"]


async def test_payout_ids_of_two_merchants_differ(house: House) -> None:
    """The same transactionId of two accounts is two payouts."""
    door = open_door(house)
    shops = [Client(door, await house.merchant(f"{name}@example.com")) for name in ("a", "b")]
    answers = [await shop.paid() for shop in shops]
    assert answers[0]["payoutId"] != answers[1]["payoutId"]
    for shop in shops:
        assert len(await house.payouts(shop.merchant)) == 1


async def test_no_rival_account_sees_a_payout(house: House, shop: Client) -> None:
    """Another account asking for a transactionId is told that there is none."""
    await shop.paid()
    other = Client(shop.door, await house.merchant("other@example.com"))
    assert blamed(await other.status()) == "transactionId"


# --- the end of a payout ------------------------------------------------------------------------------------------


async def test_a_bank_that_pays_at_once(house: House) -> None:
    """With a bank that pays at once, the first answer is `success`, with a date of the end."""
    shop = Client(open_door(house), await house.merchant(answer_wait_ms=6000))
    house.answer_at_once()
    result = await shop.paid()
    assert (result["status"], result["partnerBalance"], result["payoutCommission"]) == ("success", "99960.00", "30.00")
    assert datetime.strptime(result["completeDate"], DATE) >= datetime.strptime(result["createDate"], DATE)


async def test_a_bank_that_refuses_at_once(house: House) -> None:
    """With a bank that refuses at once, the first answer is `result` with `error`, a reason, no fee, and the money back."""
    shop = Client(open_door(house), await house.merchant(answer_wait_ms=6000))
    house.answer_at_once(Rejected("destination cannot receive"))
    result = await shop.paid()
    assert (result["status"], result["partnerBalance"], result["payoutCommission"]) == ("error", "100000.00", "0.00")
    assert "получатель не может принять" in result["message"]
    assert await house.balances(shop.merchant) == {"available": "100000.00", "funding": "-100000.00"}


async def test_a_bank_that_takes_its_time(house: House) -> None:
    """When the end does not come within answer_wait, the answer is `not_completed`, of a payout that exists."""
    shop = Client(open_door(house), await house.merchant(answer_wait_ms=50))
    assert (await shop.paid())["status"] == "not_completed"
    await house.settle()
    assert (await shop.status())["result"]["status"] == "success"


LIVES: list[tuple[list[Verdict], str, bool]] = [
    ([Accepted("b-1")], "not_completed", False),
    ([Unknown("time-out")], "not_completed", False),
    ([NotSent("refused connection")], "not_completed", False),
    ([Settled("b-1")], "success", True),
    ([Unknown("time-out"), Settled("b-1")], "success", True),
    ([Accepted("b-1"), Settled("b-1")], "success", True),
    ([Settled("b-1"), Returned("r-1", read_amount("10.00", "RUB"))], "success", True),
    ([Rejected("refused by the bank")], "error", True),
    ([Unknown("time-out"), Rejected("refused by the bank")], "error", True),
    ([Rejected("provider balance short", elsewhere=True)], "error", True),
    ([Settled("b-1"), Rejected("refused by the bank")], "success", True),  # frozen, and it was shown final
    ([Rejected("refused by the bank"), Settled("b-1")], "error", True),  # likewise
    ([Accepted("b-1"), NotSent("refused connection")], "not_completed", False),  # frozen, and it was not
]


async def test_what_the_provider_says(house: House, shop: Client) -> None:
    """Whatever is heard about a payout, massPaymentStatus and a repeat say the same, and a date of its end only when it has one."""
    for number, (verdicts, status, done) in enumerate(LIVES):
        reference = f"life {number}"
        await shop.paid(transactionId=reference)
        [opened] = [one for one in await house.claim() if one.payout.reference == reference]
        for turn, verdict in enumerate(verdicts):
            await house.tell(opened, verdict, kind="callback", content=str(turn))
        asked, repeated = (await shop.status(reference))["result"], await shop.paid(transactionId=reference)
        assert asked == repeated
        assert (asked["status"], "completeDate" in asked) == (status, done), verdicts
        assert asked["payoutCommission"] == ("0.00" if status == "error" else "30.00")


A_PAYOUT = Payout(
    0, UUID(int=7), 5, 3, "unitpay", "1782", "base", b"f", "card", "RUB", 1000, 3000, "10", "4111", b"", False,
    PayoutState.CREATED, None, None, 1, 0, datetime(2021, 12, 1, 8, 51, 2, tzinfo=UTC), datetime(2021, 12, 2, tzinfo=UTC),
    datetime(2021, 12, 1, tzinfo=UTC), None, 1, 1,
)  # fmt: skip


A_MERCHANT = Merchant(
    shard=0, merchant_id=5, name="shop", login="shop@example.com", payouts="on", pci_dss=False, require_sign=False,
    sbp_bank=None, answer_wait_ms=0, payout_id_as_number=False, json_by_default=False, state_word=None, language="ru",
    eshop_id=None, project_id=5, fees="{}", password_digest=b"", unitpay_key_digest=b"", unitpay_test_key_digest=b"",
    bearer_digest=b"", api_key_digest=b"", sign_key_sealed=b"",
)  # fmt: skip


@pytest.mark.parametrize("frozen", [None, "refused_after_paid"])
@pytest.mark.parametrize(
    "state, status",
    [
        ("created", "not_completed"),
        ("unfunded", "not_completed"),
        ("awaiting_approval", "not_completed"),
        ("scheduled", "not_completed"),
        ("queued", "not_completed"),
        ("in_flight", "not_completed"),
        ("in_doubt", "not_completed"),
        ("paid", "success"),
        ("returned", "success"),
        ("failed", "error"),
        ("cancelled", "error"),
        ("expired", "error"),
    ],
)
def test_state_to_status(state: str, status: str, frozen: str | None) -> None:
    """Each state has the status of the design's table; a frozen payout keeps the word it was shown."""
    ended = datetime(2021, 12, 1, 8, 52, 2, tzinfo=UTC) if PayoutState(state) in FINAL else None
    payout = replace(A_PAYOUT, state=PayoutState(state), frozen=frozen, finished_at=ended)
    result = read(WireAnswer(200, "application/json; charset=utf-8", encode_state(payout, 1573300, A_MERCHANT)))[
        "result"
    ]
    assert result["status"] == status
    assert (result["createDate"], result["partnerBalance"]) == ("2021-12-01 11:51:02", "15733.00")
    assert result.get("completeDate") == (None if ended is None else "2021-12-01 11:52:02")


def test_every_state_has_a_status() -> None:
    """No state is left out of the table above."""
    marks = [mark for mark in test_state_to_status.pytestmark if "state" in mark.args[0]]  # type: ignore[attr-defined]
    assert {state for state, _ in marks[0].args[1]} == {str(state) for state in PayoutState}


@pytest.mark.parametrize(
    "reason, state, russian, english",
    [
        ("no_route", "failed", "выплатить нельзя", "no way to pay"),
        ("details_unreadable", "failed", "не читаются", "cannot be read"),
        ("refused by the bank", "failed", "отказал банк", "the bank refused"),
        (None, "cancelled", "отменена", "cancelled"),
        (None, "expired", "истёк", "expired"),
        ("Card blocked by issuer", "failed", "Card blocked by issuer", "Card blocked by issuer"),
    ],
)
def test_reason_of_a_failure(reason: str | None, state: str, russian: str, english: str) -> None:
    """A failed payout's message tells the reason, in the merchant's language."""
    payout = replace(A_PAYOUT, state=PayoutState(state), reason=reason)
    for language, words in (("ru", russian), ("en", english)):
        assert words in encode_state(payout, 0, replace(A_MERCHANT, language=language)).decode()


def test_a_providers_words_with_digits_are_not_repeated() -> None:
    """A provider's reason may hold the payee's number, so one with digits stays inside."""
    payout = replace(A_PAYOUT, state=PayoutState.FAILED, reason=f"card {CARD} is blocked")
    assert CARD not in encode_state(payout, 0, A_MERCHANT).decode()
    assert "blocked" not in encode_state(payout, 0, A_MERCHANT).decode()


# --- every code we emit -------------------------------------------------------------------------------------------


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
    from disburse.api import unitpay, unitpay_facts, unitpay_order, unitpay_words

    emitted = {name for module in (unitpay, unitpay_facts, unitpay_order, unitpay_words)
               for name in Code.__members__ if f"Code.{name}" in _source(module)}  # fmt: skip
    assert sorted(int(Code[name]) for name in emitted) == [
        -32603, -32602, -32000, 100, 101, 102, 103, 122, 1051, 1052, 1053,
    ]  # fmt: skip


def _source(module: Any) -> str:
    import inspect

    return inspect.getsource(module)


async def test_balance_in_the_answer_counts_the_fee(shop: Client) -> None:
    """partnerBalance is what may still be paid out: sum and fee of this payout are gone from it."""
    before = Decimal((await shop.ask("getPartner"))["result"]["balance_payout"])
    result = await shop.paid()
    assert before - Decimal(result["partnerBalance"]) == Decimal(result["sum"]) + Decimal(result["payoutCommission"])
