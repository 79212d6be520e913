"""What UnitPay's page says to a driver and no other test shows: numbers, dates, texts, and a code's two ways of being written."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from disburse.connectors.kind import Secret
from disburse.connectors.unitpay import BalanceProbe
from disburse.connectors.unitpay_table import TABLE
from disburse.domain.money import Money
from disburse.domain.outcomes import Accepted, Rejected, Settled, Unknown
from tests.connectors.loopback import Serve, says, serving
from tests.connectors.unitpay_house import call_of, error, http, order, question, result, upstream

PAID = Money(300_00, "RUB")
PROBE = BalanceProbe(payment_type="card", purse=Secret(lambda: "4111111111111111"))

TEXTS = ("", "success", "Unauthorized", "Платёж успешно выполнен", "error -32000", "not_completed", "Недостаточно средств", None, 7)
"""What a message may say beside a code or a status that means another thing."""


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    async with serving() as started:
        yield started


@pytest.mark.parametrize("text", TEXTS)
async def test_a_text_decides_nothing(serve: Serve, text: Any) -> None:
    """Whatever the message says, a code and a status mean what they mean without it, to an order and to a question."""
    refused = {"error": {"message": text, "code": 1052}}
    async with upstream((await serve(says(http(refused)))).url) as up:
        assert await up.connector.submit(order()) == Rejected(TABLE[1052].reason)
        assert isinstance(await up.connector.inquire(question()), Unknown)
    for status, finding in (("success", Settled("114233", PAID)), ("not_completed", Accepted("114233"))):
        async with upstream((await serve(says(http(result(status, message=text))))).url) as up:
            assert await up.connector.submit(order()) == finding and await up.connector.inquire(question()) == finding
            assert up.alerts.told == []


@pytest.mark.parametrize("code", [103, "103", " 103 "])
async def test_a_code_is_a_number_or_digits(serve: Serve, code: Any) -> None:
    """A code written as a string is the same code (Q2)."""
    server = await serve(says(http({"error": {"message": "no", "code": code}})))
    async with upstream(server.url) as up, upstream((await serve(says(http(error(103))))).url) as plain:
        assert await up.connector.submit(order()) == await plain.connector.submit(order())
        assert up.alerts.told == plain.alerts.told


@pytest.mark.parametrize("code", ["", "x103", "103.0", "1e2", 103.5, None, [], True])
async def test_what_is_no_code_is_doubt(serve: Serve, code: Any) -> None:
    """Of a code that is neither a number nor digits nothing is believed."""
    async with upstream((await serve(says(http({"error": {"message": "no", "code": code}})))).url) as up:
        assert isinstance(await up.connector.submit(order()), Unknown)


@pytest.mark.parametrize("digits, minor", [
    ("1.15", 115), ("0.29", 29), ("4.35", 435), ("1057.36", 105736), ("70368744177664.23", None), ("9007199254740.93", 900719925474093),
    ("9999999999999.99", 999999999999999), ("1000", 100000), ("0.30000000", 30), ("0.3000000000000000001", None),
    ("1e3", None), ("1.005", None), ("NaN", None),
])  # fmt: skip
@pytest.mark.parametrize("quote", ["", '"'])
async def test_an_amount_is_read_by_its_digits(serve: Serve, digits: str, minor: int | None, quote: str) -> None:
    """A number and a string give the same kopecks, also where a binary float would be off; what is no plain amount is unknown."""
    body = f'{{"result": {{"availableAmount": {quote}{digits}{quote}, "currency": "RUB"}}}}'.encode()
    async with upstream((await serve(says(http(body)))).url, balance_probe=PROBE) as up:
        told = await up.connector.balance(5)
    if minor is None:
        assert isinstance(told, Unknown)
    else:
        assert told == (Money(minor, "RUB"),)


@pytest.mark.parametrize("body, funds", [
    ({"balance": 247.03, "balance_payout": 245.03}, 245_03),
    ({"balance": "247.03", "balance_payout": "245.03"}, 245_03),
    ({"accounts": {"rub": {"balance": 1060.76, "availableBalance": 1000.7}}}, 1000_70),
    ({"accounts": {"rub": {"balance": "1060.76", "availableBalance": "1000.70"}}}, 1000_70),
])  # fmt: skip
async def test_amounts_are_numbers_or_strings_everywhere(serve: Serve, body: dict[str, Any], funds: int) -> None:
    """Balances and sums are read from JSON numbers and from strings alike (Q11)."""
    async with upstream((await serve(says(http({"result": body})))).url) as up:
        assert await up.connector.balance(5) == (Money(funds, "RUB"),)
    for amount in (300, 300.0, "300", "300.00"):
        async with upstream((await serve(says(http(result("success", sum=amount))))).url) as up:
            assert await up.connector.submit(order()) == Settled("114233", PAID)


@pytest.mark.parametrize("status, finding", [("not_completed", Accepted("114233")), ("success", Settled("114233", PAID))])
@pytest.mark.parametrize("field", ["completeDate", "createDate"])
@pytest.mark.parametrize("date", [
    "absent", None, "", "2021-12-01 11:51:02", "2021-12-01T11:51:02", "2021-12-01 11:51:02+00:00", "0000-00-00 00:00:00", "soon", 1638348662,
])  # fmt: skip
async def test_a_date_decides_nothing(serve: Serve, status: str, finding: Any, field: str, date: Any) -> None:
    """A date that is absent, null, empty, in any zone or no date at all changes nothing of what an answer says (Q13, Q14)."""
    body = result(status)
    if date == "absent":
        body["result"].pop(field, None)
    else:
        body["result"][field] = date
    async with upstream((await serve(says(http(body)))).url) as up:
        assert await up.connector.submit(order()) == finding and await up.connector.inquire(question()) == finding
        assert up.alerts.told == []


async def test_what_is_asked_about_an_account(serve: Serve) -> None:
    """Of the methods about an account the connector uses three: fees are the settings', cards are looked up nowhere."""
    server = await serve(says(http({"result": {"balance_payout": "1.00", "availableAmount": "1.00"}})))
    for probe in (None, PROBE):
        async with upstream(server.url, balance_probe=probe) as up:
            await up.connector.balance(5)
            await up.connector.banks(5)
    assert {call_of(one).method for one in server.requests} == {"getPartner", "massPaymentAvailableAmount", "getSbpBankList"}
