"""What IntellectMoney's page says to a driver and no other test shows: two codes, optional fields, signatures, repeats."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from disburse.connectors.contract import Question
from disburse.domain.destinations import Destination, Rail
from disburse.domain.outcomes import Accepted, NotExecuted, NotSent, Outcome, Rejected, Settled, Unknown
from tests.connectors.upstream import CARD, CLOSE, GUID, SECRETS, TOKEN, Sent, Upstream, envelope, http, state, upstream

QUESTION = Question("id-1", GUID, 5.0)
SBP = Destination(Rail.SBP, "79510000071", "100000000004", "Иван И.")
DONE = {"State": {"Code": 0, "Desc": ""}, "PayoutOperationId": GUID, "PayoutOperationState": "Completed"}
MADE = DONE | {"PayoutOperationState": "Created"}


def coded(result: dict[str, Any], outer: Any, inner: Any) -> bytes:
    """An answer with these two codes."""
    return envelope(result | {"State": {"Code": inner, "Desc": ""}}, outer)


def executed(provider: Upstream) -> list[str]:
    return [one.params["PayoutOperationId"] for one in provider.sent if one.method.lower() == "executeoperation"]


# --- when an answer is believed ---


@pytest.mark.parametrize("outer, inner", [(0, 1), (0, 2), (0, 3), (0, -1), (1, 0), (2, 0), (3, 0), (1, 1), (2, 2), (0, None), (0, "x")])
async def test_both_codes_must_be_0(outer: int, inner: Any) -> None:
    """An operation is made, paid or failed only by an answer whose two codes are both 0; one alone proves nothing good."""
    async with upstream(createoperation=coded(MADE, outer, inner)) as provider:
        outcome = await provider.connector().submit(provider.order())
        assert isinstance(outcome, Unknown | Rejected) and provider.remembered == [] and executed(provider) == []
        assert isinstance(outcome, Rejected) is (outer == 2 or (outer == 0 and inner in (1, 2)))  # as 2 on the same method
    for word in ("Completed", "Failed", "Deleted", "InProcess"):
        answer = coded(DONE | {"PayoutOperationState": word}, outer, inner)
        async with upstream(executeoperation=answer, getoperationstate=answer) as provider:
            connector = provider.connector()
            assert isinstance(await connector.submit(provider.order()), Unknown)
            assert isinstance(await connector.inquire(QUESTION), Unknown)
            assert executed(provider) == [GUID]


@pytest.mark.parametrize("outer, inner", [(0, 0), ("0", "0"), ("0", 0), (0, " 0 ")])
async def test_codes_are_numbers_or_digits(outer: Any, inner: Any) -> None:
    """A code written as text is the same code."""
    answers: Any = {"createoperation": coded(MADE, outer, inner), "executeoperation": coded(DONE, outer, inner)}
    async with upstream(**answers) as provider:
        assert await provider.connector().submit(provider.order()) == Settled(GUID)


@pytest.mark.parametrize("code", [0, 1, 2, "2"])
@pytest.mark.parametrize("result", ["absent", None, {}, {"State": None}, {"State": {}}, "", {"PayoutOperationId": GUID}])
async def test_a_result_may_be_missing(code: Any, result: Any) -> None:
    """Absent, null or without a State, a Result is read for what it is: nothing that could pay or fail a payout."""
    body: dict[str, Any] = {"OperationState": {"Code": code, "Desc": "any text"}, "OperationId": GUID, "Result": result}
    if result == "absent":
        del body["Result"]
    answer = http(json.dumps(body).encode())
    async with upstream(executeoperation=answer, getoperationstate=answer) as provider:
        connector = provider.connector()
        assert isinstance(await connector.submit(provider.order()), Unknown)
        assert isinstance(await connector.inquire(QUESTION), Unknown)
    async with upstream(createoperation=answer) as provider:
        refused = code in (2, "2")
        outcome = await provider.connector().submit(provider.order())
        assert isinstance(outcome, Rejected if refused else Unknown) and provider.remembered == []


@pytest.mark.parametrize("eshop", ["absent", None, 12345, "12345", "", "a shop", {"Id": 1}, [1], 1.5])
async def test_a_shop_is_optional(eshop: Any) -> None:
    """EshopId may be there, in any form, or not: nothing hangs on it (I8)."""

    def answer(result: dict[str, Any]) -> bytes:
        body: dict[str, Any] = {"OperationState": {"Code": 0, "Desc": ""}, "OperationId": GUID, "EshopId": eshop, "Result": result}
        if eshop == "absent":
            del body["EshopId"]
        return http(json.dumps(body).encode())

    async with upstream(createoperation=answer(MADE), executeoperation=answer(DONE), getoperationstate=answer(DONE)) as provider:
        connector = provider.connector()
        assert await connector.submit(provider.order()) == Settled(GUID) and await connector.inquire(QUESTION) == Settled(GUID)


# --- what is signed ---

ORDER_NEW = ("UserToken", "PreferenceType", "Pan", "Account", "BankId", "Amount", "Currency", "RecipientName", "EshopId")
ORDER_OLD = ("UserToken", "Pan", "Amount", "Currency", "RecipientName")
ORDER_WALLET = ("UserToken", "Account", "Amount", "Currency", "RecipientName")
ORDER_ID = ("UserToken", "PayoutOperationId")
"""The page's orders, written out a second time; the old methods': parameters in the order of their table."""


def digest(one: Sent, names: tuple[str, ...]) -> str:
    """The Sign of what was sent, as it was sent; a value that was not is an empty segment."""
    segments = [one.params.get(name, "") for name in names] + [SECRETS["sign_secret_key"]]
    return hashlib.sha256("::".join(segments).encode()).hexdigest()


@pytest.mark.parametrize("generation, destination, orders", [
    ("new", CARD, [ORDER_NEW, ORDER_ID, ORDER_ID]), ("new", SBP, [ORDER_NEW, ORDER_ID, ORDER_ID]),
    ("old", CARD, [ORDER_OLD, ORDER_ID, ORDER_ID]),
    ("old", Destination(Rail.QIWI, "70000000000"), [ORDER_WALLET, ORDER_ID, ORDER_ID]),
])  # fmt: skip
@pytest.mark.parametrize("amount", ["50.00", "0.05", "50000.90"])
async def test_values_are_signed_as_they_are_sent(
    generation: str, destination: Destination, orders: list[tuple[str, ...]], amount: str
) -> None:
    """The Sign of create, execute and state is that of the very texts in the body; another spelling of the amount is another Sign."""
    async with upstream() as provider:
        connector = provider.connector(generation)
        assert await connector.submit(provider.order(destination, amount)) == Accepted(GUID)
        await connector.inquire(QUESTION)
        calls = provider.sent[1:]
    assert [one.headers["sign"] for one in calls] == [digest(one, names) for one, names in zip(calls, orders, strict=True)]
    create = calls[0]
    assert create.params["Amount"] == amount and create.params["UserToken"] == TOKEN
    other = Sent(create.method, create.headers, create.params | {"Amount": amount.rstrip("0")})
    assert digest(other, orders[0]) != create.headers["sign"] or not amount.endswith("0")


# --- what may be put again ---


async def test_a_lost_create_is_made_anew() -> None:
    """A create whose answer is lost may have left an operation. Nothing of it is executed, and another create may follow freely."""
    other = "a654fe39-42eb-4ac3-a3ec-76d148b2ba3a"
    async with upstream(createoperation=[CLOSE, state("Created", other)], executeoperation=state("Completed", other)) as provider:
        connector = provider.connector()
        assert isinstance(await connector.submit(provider.order()), Unknown) and executed(provider) == []
        assert await connector.submit(provider.order()) == Settled(other)
        assert executed(provider) == [other] and provider.remembered == [other]


@pytest.mark.parametrize("lost", [CLOSE, http(b"", "500 Internal Server Error"), http(b"", "404 Not Found"), state("Completed", None)])
async def test_a_lost_execute_is_asked_about_and_put_again_by_the_same_id(lost: bytes) -> None:
    """No answer to an execute is doubt. The state is asked by the same id; called Created, that same operation is executed again."""
    async with upstream(executeoperation=[lost, state("Completed")], getoperationstate=state("Created")) as provider:
        connector = provider.connector()
        assert connector.capabilities.execute_again_after_s == 60.0 and connector.capabilities.two_step
        assert isinstance(await connector.submit(provider.order()), Unknown) and executed(provider) == [GUID]
        assert isinstance(await connector.inquire(QUESTION), NotExecuted)
        assert provider.sent[-1].params["PayoutOperationId"] == GUID and executed(provider) == [GUID]
        assert await connector.execute_again(QUESTION) == Settled(GUID)
        assert executed(provider) == [GUID, GUID]
        assert [method.lower() for method in provider.methods].count("createoperation") == 1


@pytest.mark.parametrize("status", ["201 Created", "204 No Content", "400 Bad Request", "404 Not Found", "429 Too Many", "500 Error", "503 Busy"])
async def test_another_http_status_is_no_answer(status: str) -> None:
    """Whatever a body says, with another status than 200 it says nothing: unsent at the token, doubt from the create on."""
    good = json.dumps({"OperationState": {"Code": 0, "Desc": ""}, "Result": DONE}).encode()
    answer = http(b"" if status.startswith("204") else good, status)
    for method, kind in (("getusertoken", NotSent), ("createoperation", Unknown), ("executeoperation", Unknown)):
        answers: Any = {method: answer}
        async with upstream(**answers) as provider:
            assert isinstance(await provider.connector().submit(provider.order()), kind)
            assert len(executed(provider)) == (method == "executeoperation")
    async with upstream(getoperationstate=answer) as provider:
        assert isinstance(await provider.connector().inquire(QUESTION), Unknown)


# --- what is checked before sending ---


@pytest.mark.parametrize("number, outcome", [
    ("4222222222222", Accepted(GUID)),  # 13 digits
    ("4111111111111111", Accepted(GUID)),
    ("6304000000000000000", Accepted(GUID)),  # 19 digits
    ("422222222222", Rejected("bad_card")),
    ("41111111111111111111", Rejected("bad_card")),
    ("4222222222223", Rejected("bad_card")),
    ("4111111111111112", Rejected("bad_card")),
    ("6304000000000000001", Rejected("bad_card")),
    ("٤١١١١١١١١١١١١١١١", Rejected("bad_card")),
    ("4111 1111 1111 1111", Rejected("bad_card")),
    ("", Rejected("bad_card")),
])  # fmt: skip
@pytest.mark.parametrize("generation", ["new", "old"])
async def test_a_card_is_checked_before_anything_is_sent(number: str, outcome: Outcome, generation: str) -> None:
    """A card has 13 to 19 digits, the last of which checks the others; for any other nothing is sent, a token neither."""
    async with upstream() as provider:
        assert await provider.connector(generation).submit(provider.order(Destination(Rail.CARD, number))) == outcome
        assert bool(provider.methods) is isinstance(outcome, Accepted)
