"""The golden vectors, driver side: each recorded answer is served over real HTTP, and the connector draws from it what the page does.

`tests/vectors/README.md` tells what a vector is. The table below says for every one of them what it proves, or why the connector
never meets it.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from disburse.connectors.contract import Bank, Order
from disburse.connectors.kind import Secret
from disburse.connectors.unitpay import BalanceProbe
from disburse.connectors.unitpay_table import TABLE
from disburse.domain.destinations import Destination, Rail
from disburse.domain.money import Money, read_amount
from disburse.domain.outcomes import Absent, Accepted, NotFound, Rejected, Settled, Unknown
from tests.conformance.vectors import Vector, load
from tests.connectors.loopback import Serve, says, serving
from tests.connectors.unitpay_house import CARD, Upstream, call_of, http, order, question, upstream

VECTORS = load("unitpay")


def paid(sum_: str, reference: str = "114233") -> Settled:
    return Settled(reference, read_amount(sum_, "RUB"))


def refused(code: int, *, elsewhere: bool) -> Rejected:
    return Rejected(TABLE[code].reason, elsewhere=elsewhere)


FAILED = Rejected("refused by the provider", provider_reference="114233")

NAMELESS = Unknown("an end without any payout's id")
"""In test mode nothing is stored and nothing moves: to an order that was none, such an answer proves nothing."""

TOLD = ("massPayment.error-32000.production-capture", "massPayment.error-32602", "massPayment.test-mode.success", "massPayment.test-mode.error")
"""Answers to an order that a person is told of."""

ORDERS: dict[str, Any] = {
    "massPayment.success.documented": paid("300"),
    "massPayment.success.flat-get": paid("300"),
    "massPayment.success.nested-get-raw-brackets": paid("300"),
    "massPayment.success.nested-get-trailing-slash": paid("300"),
    "massPayment.success.post-form": paid("300"),
    "massPayment.success.sbp-complete": paid("10.00"),
    "massPayment.success.production-capture-2019": paid("30.00", "193186721"),
    "massPayment.not_completed": Accepted("114233"),
    "massPayment.replay-same-transactionId": paid("300"),  # asked for 999.00: the books see the difference, and freeze
    "massPayment.error-103": refused(103, elsewhere=True),
    "massPayment.error-104": refused(104, elsewhere=True),
    "massPayment.error-122": refused(122, elsewhere=True),
    "massPayment.error-32000.production-capture": Absent(TABLE[-32000].reason),
    "massPayment.error-32602": refused(-32602, elsewhere=True),
    "massPayment.error-32603": Unknown("error -32603"),
    "massPayment.test-mode.success": NAMELESS,
    "massPayment.test-mode.not_completed": Accepted(),
    "massPayment.test-mode.error": NAMELESS,
}
"""What each answer to a massPayment proves."""

QUESTIONS: dict[str, tuple[Any, Any]] = {
    "massPaymentStatus.success.documented": (paid("300"), paid("300")),
    "massPaymentStatus.success.flat-get": (paid("300"), paid("300")),
    "massPaymentStatus.status-error": (FAILED, FAILED),
    "massPaymentStatus.error-122.documented": (refused(122, elsewhere=True), Unknown("error 122")),
    "massPaymentStatus.unknown-transactionId": (Unknown("error -32602"), NotFound("error -32602")),
}
"""What each answer to a massPaymentStatus proves: about an order the provider is known to have taken, and about any other."""

FACTS: dict[str, Any] = {
    "getPartner.success.v1": (Money(245_03, "RUB"),),
    "getPartner.success.v2": (Money(13_20, "RUB"),),
    "getPartner.success.v3": (Money(1060_76, "RUB"),),
    "massPaymentAvailableAmount.success.documented": (Money(1057_36, "RUB"),),
    "massPaymentAvailableAmount.error-32000.documented": Unknown("error -32000"),
    "getSbpBankList.success.documented": (
        Bank("100000000001", "Газпромбанк", "Gazprombank"),
        Bank("100000000002", "Золотая Корона (РНКО Платежный Центр)", "Korona Pay (Credit Union Payment Center)"),
    ),
    "getSbpBankList.error-32000.documented": Unknown("error -32000"),
}
"""What each answer to a question about the account or the banks says."""

NEVER_ASKED = {
    "csv-registry.comma-quoted": "a file for the cabinet, no exchange",
    "csv-registry.semicolon": "a file for the cabinet, no exchange",
    "getBinInfo.error-100.documented": "the connector asks nothing about cards",
    "getBinInfo.success.documented": "the connector asks nothing about cards",
    "getBinInfo.success.sparse": "the connector asks nothing about cards",
    "getCommissions.success.documented": "fees of payments in; fees of payouts are the settings'",
    "massPaymentCommissions.request-only": "there is no answer to read; fees of payouts are the settings'",
}
"""Vectors that the connector never meets, and why."""


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    async with serving() as started:
        yield started


def said(vector: Vector, *, escaped: bool) -> bytes:
    """A vector's answer as a provider may have written it."""
    recorded = vector["response"]
    return http(json.dumps(recorded["body"], ensure_ascii=escaped).encode(), recorded["http_status"])


def order_of(vector: Vector) -> Order:
    """The order that a vector's request asks for; for an answer alone, one of the same id and sum."""
    if vector.get("request"):
        asked = vector["request"]["decoded"]["params"]
        rail = Rail(asked["paymentType"])
        bank = asked.get("memberId", "100000000001") if rail is Rail.SBP else None
        return order(asked["sum"], asked["transactionId"], Destination(rail, asked["purse"], bank))
    told = (vector["response"]["body"] or {}).get("result", {})
    return order(told.get("sum", "300"), told.get("transactionId", "1782"), CARD)


def test_every_vector_is_met() -> None:
    """Each vector is replayed below, or there is a reason why it never can be."""
    tables = (ORDERS, QUESTIONS, FACTS, NEVER_ASKED)
    assert sorted(name for table in tables for name in table) == sorted(VECTORS)


@pytest.mark.parametrize("name", ORDERS)
@pytest.mark.parametrize("escaped", [True, False])
async def test_an_answer_to_an_order(serve: Serve, name: str, escaped: bool) -> None:
    """massPayment: the recorded answer gives the outcome that the page gives, and needs nobody's attention that it should not."""
    server = await serve(says(said(VECTORS[name], escaped=escaped)))
    async with upstream(server.url) as up:
        assert await up.connector.submit(order_of(VECTORS[name])) == ORDERS[name]
        assert bool(up.alerts.told) is (name in TOLD)


@pytest.mark.parametrize("name", [name for name in ORDERS if VECTORS[name].get("request")])
async def test_the_recorded_request_is_what_goes_out(serve: Serve, name: str) -> None:
    """Asked for the same payout, the connector's call says what the recorded one says, but for what is the caller's own."""
    vector = VECTORS[name]
    server = await serve(says(said(vector, escaped=True)))
    recorded = dict(vector["request"]["decoded"]["params"])
    async with upstream(server.url, login=recorded["login"], secret_key=Secret(lambda: recorded["secretKey"])) as up:
        await up.connector.submit(order_of(vector))
    call = call_of(server.requests[0])
    own = {"comment", "test", "projectId", "memberId"}  # what a caller may leave out; the bank goes out with every SBP order
    sent, wanted = ({key: value for key, value in one.items() if key not in own} for one in (dict(call.params), recorded))
    assert read_amount(sent.pop("sum"), "RUB") == read_amount(wanted.pop("sum"), "RUB")
    assert (call.method, sent) == ("massPayment", wanted)
    assert ("memberId" in call.params) is (wanted["paymentType"] == "sbp")


@pytest.mark.parametrize("name", QUESTIONS)
async def test_an_answer_to_a_question(serve: Serve, name: str) -> None:
    """massPaymentStatus: the recorded answer gives the finding that the page gives, by what was known of the order."""
    server = await serve(says(said(VECTORS[name], escaped=True)))
    async with upstream(server.url) as up:
        assert await up.connector.inquire(question(reference="114233")) == QUESTIONS[name][0]
        assert await up.connector.inquire(question()) == QUESTIONS[name][1]
        assert up.alerts.told == []
    assert {call_of(request).method for request in server.requests} == {"massPaymentStatus"}


@pytest.mark.parametrize("name", FACTS)
async def test_an_answer_about_the_account(serve: Serve, name: str) -> None:
    """Balance and banks arrive as recorded, and the method that was recorded is the one that is called."""
    method = VECTORS[name]["method"]
    server = await serve(says(said(VECTORS[name], escaped=True)))
    probe = BalanceProbe(payment_type="card", purse=Secret(lambda: CARD.number))
    async with upstream(server.url, balance_probe=probe if method == "massPaymentAvailableAmount" else None) as up:
        assert await _fact(up, method) == FACTS[name]
    assert [call_of(request).method for request in server.requests] == [method]


async def _fact(up: Upstream, method: str) -> Any:
    return await (up.connector.banks(5) if method == "getSbpBankList" else up.connector.balance(5))
