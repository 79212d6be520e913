"""The wires of simulated providers, byte by byte: what each says of an order in each state, and what it does with a repeated one."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any
from urllib.parse import urlencode

import pytest

from disburse.protocols.wire import WireAnswer, WireRequest
from disburse.simulation.provider import LOST_FOR_S, Promise, Provider, Temper
from disburse.simulation.provider_faces import TOKEN_LIFE_S, Face, bank, intellectmoney, unitpay
from tests.simulation.bare import Bare

ONCE = Promise(once=True, absent=False)
BANK = Promise(once=False, absent=True)


def _provider(bare: Bare, promise: Promise = ONCE, **temper: float) -> Provider:
    return Provider("one-1", promise, bare.loop, random.Random(1), Temper(**temper))  # type: ignore[arg-type]


def _told(answer: WireAnswer) -> Any:
    assert answer.content_type == "application/json"
    return json.loads(answer.body)


# --- UnitPay -----------------------------------------------------------------------------------------------------


def _unitpay(provider: Provider, method: str, key: str = "k", *, post: bool = False) -> Any:
    fields = {"transactionId": key, "sum": "10.00", "purse": "4111111111111111", "paymentType": "card"}
    query = urlencode({"method": method, **{f"params[{name}]": value for name, value in fields.items()}}).encode()
    request = WireRequest("POST", "/api", b"", {}, query) if post else WireRequest("GET", "/api", query, {}, b"")
    return _told(unitpay(provider, request))


@pytest.mark.parametrize(
    "temper, status", [({}, "success"), ({"later": 1.0, "longest_s": 9.0}, "not_completed"), ({"refuses": 1.0}, "error")]
)
@pytest.mark.parametrize("post", [False, True])
def test_unitpay_tells_the_state(bare: Bare, temper: dict[str, float], status: str, post: bool) -> None:
    """An order is told as it stands, with its id and sum, to the one who sends it, repeats it or asks; it is paid at most once."""
    provider = _provider(bare, ONCE, **temper)
    for method in ("massPayment", "massPayment", "massPaymentStatus"):
        result = _unitpay(provider, method, post=post)["result"]
        assert (result["status"], result["transactionId"], result["sum"]) == (status, "k", "10.00")
    assert len(provider.book) == (status == "success")


def test_unitpay_breaks_down_over_an_order(bare: Bare) -> None:
    """An internal fault is answered for an order that was taken and paid; a question finds it only a while later."""
    provider = _provider(bare, ONCE, internal=1.0)
    assert _unitpay(provider, "massPayment")["error"]["code"] == -32603
    assert len(provider.book) == 1
    assert _unitpay(provider, "massPaymentStatus")["error"]["code"] == -32602
    bare.run(asyncio.sleep(LOST_FOR_S))
    assert _unitpay(provider, "massPaymentStatus")["result"]["status"] == "success"


def test_unitpay_refuses_by_code(bare: Bare) -> None:
    """An order refused by code 103 was never made: a question does not find it, and its id may be sent again."""
    provider = _provider(bare, short=1.0)
    assert _unitpay(provider, "massPayment") == {"error": {"message": "no money", "code": 103}}
    assert _unitpay(provider, "massPaymentStatus")["error"]["code"] == -32602
    provider.temper = Temper()
    assert _unitpay(provider, "massPayment")["result"]["status"] == "success"
    assert len(provider.book) == 1


def test_unitpay_refuses_a_copy(bare: Bare) -> None:
    """A copy that comes with its order is refused for want of money, and the order is there; a later repeat is told as it stands."""
    provider = _provider(bare, strict=1.0)
    assert _unitpay(provider, "massPayment")["result"]["status"] == "success"
    assert _unitpay(provider, "massPayment")["error"]["code"] == 103
    assert _unitpay(provider, "massPaymentStatus")["result"]["status"] == "success"
    bare.run(asyncio.sleep(1))
    assert _unitpay(provider, "massPayment")["result"]["status"] == "success"
    assert len(provider.book) == 1


def test_a_mute_provider_is_not_heard(bare: Bare) -> None:
    """It does what it is sent, and nothing of what it says comes back, until it is heard again."""
    provider, heard = _provider(bare), list[WireAnswer | None]()
    face, order = Face(provider, unitpay), b"method=massPayment&params[transactionId]=k&params[sum]=10.00&params[purse]=4111111111111111"
    provider.mute = True
    face.receive(WireRequest("GET", "/api", order, {}, b""), heard.append)
    provider.calm()
    face.receive(WireRequest("GET", "/api", order, {}, b""), heard.append)
    assert [one is None for one in heard] == [True, False]
    assert len(provider.book) == 1


def test_unitpay_says_what_no_page_lists(bare: Bare) -> None:
    """A strange answer has a code that no page lists, whatever was asked, and what was asked is not done."""
    provider = _provider(bare, unlisted=1.0)
    assert _unitpay(provider, "massPayment")["error"]["code"] == 777
    assert provider.book == []


def test_a_gateway_answers_in_its_place(bare: Bare) -> None:
    """Something before the provider says "refused" with a 5xx and a code of the page, and the order is paid all the same."""
    provider = _provider(bare, gateway=1.0)
    query = urlencode({"method": "massPayment", "params[transactionId]": "k", "params[sum]": "10.00", "params[purse]": "4111"})
    answer = unitpay(provider, WireRequest("GET", "/api", query.encode(), {}, b""))
    assert answer.status >= 500 and _told(answer)["error"]["code"] in (100, 103, 122, 1051, 1053, -32602)
    assert [entry.key for entry in provider.book] == ["k"]


def test_unitpay_crosses_answers(bare: Bare) -> None:
    """A question about one order is answered with another's, whose own id it tells."""
    provider = _provider(bare, crossed=1.0)
    assert _unitpay(provider, "massPayment", "one")["result"]["transactionId"] == "one"  # there is no other yet
    assert _unitpay(provider, "massPayment", "two")["result"]["transactionId"] == "one"
    assert _unitpay(provider, "massPaymentStatus", "one")["result"]["transactionId"] == "two"
    assert [entry.key for entry in provider.book] == ["one", "two"]


# --- IntellectMoney ----------------------------------------------------------------------------------------------


def _money(provider: Provider, method: str, fields: dict[str, str], *, as_json: bool = False) -> Any:
    path = f"/personal/payout/{method}"
    if as_json:
        request = WireRequest("POST", path, b"", {"content-type": "application/json"}, json.dumps(fields).encode())
    else:
        request = WireRequest("POST", path, b"", {"content-type": "application/x-www-form-urlencoded"}, urlencode(fields).encode())
    return _told(intellectmoney(provider, request))


def _token(provider: Provider) -> str:
    token: str = _money(provider, "getUserToken", {"Login": "l", "Password": "p"})["Result"]["UserToken"]
    return token


def _create(provider: Provider, token: str) -> dict[str, str]:
    made = _money(provider, "CreateBankCardRussiaOperation", {"UserToken": token, "Pan": "4111", "Amount": "10.00", "Currency": "RUB"})
    assert made["Result"]["PayoutOperationState"] == "Created"
    return {"UserToken": token, "PayoutOperationId": made["Result"]["PayoutOperationId"]}


@pytest.mark.parametrize("as_json", [False, True])
def test_intellectmoney_pays_in_two_steps(bare: Bare, as_json: bool) -> None:
    """What is created moves nothing until it is executed; to execute it again pays nothing more and tells how it stands."""
    provider = _provider(bare)
    order = _create(provider, _token(provider))
    assert _money(provider, "GetOperationState", order, as_json=as_json)["Result"]["PayoutOperationState"] == "Created"
    assert (provider.book, provider.received) == ([], [])
    for method in ("ExecuteOperation", "ExecuteOperation", "GetOperationState"):
        assert _money(provider, method, order, as_json=as_json)["Result"]["PayoutOperationState"] == "Completed"
    assert [entry.key for entry in provider.book] == [order["PayoutOperationId"]]


def test_each_create_makes_an_operation(bare: Bare) -> None:
    """Two creations are two operations with ids of their own."""
    provider = _provider(bare)
    token = _token(provider)
    assert len({_create(provider, token)["PayoutOperationId"] for _ in range(5)}) == 5


def test_intellectmoney_waits_for_money(bare: Bare) -> None:
    """An operation that our money there does not cover stays created, and may be executed later."""
    provider = _provider(bare, short=1.0)
    order = _create(provider, _token(provider))
    assert _money(provider, "ExecuteOperation", order)["Result"]["PayoutOperationState"] == "NotEnoughMoney"
    assert _money(provider, "GetOperationState", order)["Result"]["PayoutOperationState"] == "Created"
    provider.temper = Temper()
    assert _money(provider, "ExecuteOperation", order)["Result"]["PayoutOperationState"] == "Completed"
    assert len(provider.book) == 1


def test_an_operation_stumbles(bare: Bare) -> None:
    """An operation that cannot go on for now tells Error, to whoever executes or asks, and is completed later."""
    provider = _provider(bare, stumbles=1.0)
    order = _create(provider, _token(provider))
    for method in ("ExecuteOperation", "ExecuteOperation", "GetOperationState"):
        assert _money(provider, method, order)["Result"]["PayoutOperationState"] == "Error"
    assert provider.book == []
    provider.calm()
    bare.loop.call_later(3, bare.loop.stop)
    bare.loop.run_forever()
    ended = _money(provider, "GetOperationState", order)["Result"]["PayoutOperationState"]
    assert ended == ("Completed" if provider.book else "Failed")


def test_a_token_ends(bare: Bare) -> None:
    """A token that is too old, was never given, or was forgotten by a crash is refused, and nothing is done."""
    provider = _provider(bare)
    order = _create(provider, token := _token(provider))
    for refused in ({**order, "UserToken": "none"}, {"PayoutOperationId": order["PayoutOperationId"]}):
        assert "TOKEN_EXPIRED" in _money(provider, "ExecuteOperation", refused)["OperationState"]["Desc"]
    bare.loop.call_later(TOKEN_LIFE_S, bare.loop.stop)
    bare.loop.run_forever()
    assert "TOKEN_EXPIRED" in _money(provider, "ExecuteOperation", order)["OperationState"]["Desc"]
    order["UserToken"] = _token(provider)
    assert order["UserToken"] != token
    provider.crash()
    provider.recover()
    assert "TOKEN_EXPIRED" in _money(provider, "ExecuteOperation", order)["OperationState"]["Desc"]
    assert provider.book == []


def test_an_operation_that_is_not(bare: Bare) -> None:
    """An id that was never given is refused and made nothing."""
    provider = _provider(bare)
    fields = {"UserToken": _token(provider), "PayoutOperationId": "00000000-0000-4000-8000-000000000001"}
    assert _money(provider, "ExecuteOperation", fields)["OperationState"]["Code"] == 2
    assert (provider.book, provider.orders) == ([], {})


# --- the sandbox bank --------------------------------------------------------------------------------------------


def _pay(provider: Provider, key: str = "k") -> WireAnswer:
    fields = {"end_to_end_id": key, "amount": "10.00", "currency": "RUB", "last4": "1111"}
    return bank(provider, WireRequest("POST", "/payouts", b"", {}, json.dumps(fields).encode()))


def _ask(provider: Provider, key: str = "k") -> WireAnswer:
    return bank(provider, WireRequest("GET", f"/payouts/{key}", b"", {}, b""))


@pytest.mark.parametrize(
    "temper, status, state",
    [
        ({}, 200, "paid"),
        ({"later": 1.0, "longest_s": 9.0}, 202, "accepted"),
        ({"refuses": 1.0}, 422, "refused"),
        ({"short": 1.0}, 422, "refused"),
        ({"unlisted": 1.0}, 200, "frozen"),
    ],
)
def test_the_bank_tells_the_state(bare: Bare, temper: dict[str, float], status: int, state: str) -> None:
    """An order's answer and a question's say the same of it: status, state, sum; a refusal says whether to go elsewhere."""
    provider = _provider(bare, BANK, **temper)
    for answer in (_pay(provider), _ask(provider)):
        told = _told(answer)
        assert (answer.status, told["state"], told["end_to_end_id"]) == (status, state, "k")
        assert told["amount"] == "10.00"
        assert told.get("elsewhere") == (("short" in temper) if state == "refused" else None)


def test_the_bank_has_not_found_and_absent(bare: Bare) -> None:
    """An id nobody sent is not found, then absent for ever; an order that comes afterwards is refused and not paid."""
    provider = _provider(bare, BANK)
    assert _ask(provider).status == 404
    bare.loop.call_later(6, bare.loop.stop)
    bare.loop.run_forever()
    assert (_ask(provider).status, _told(_ask(provider))["state"]) == (410, "absent")
    refused = _pay(provider)
    assert (refused.status, _told(refused)["elsewhere"]) == (422, True)
    assert provider.book == []


def test_a_face_is_up_with_its_provider(bare: Bare) -> None:
    """An address takes connections while its provider does, and answers each request once."""
    provider = _provider(bare, BANK)
    face = Face(provider, bank)
    heard: list[WireAnswer | None] = []
    face.receive(WireRequest("GET", "/payouts/k", b"", {}, b""), heard.append)
    assert len(heard) == 1 and face.up
    provider.crash()
    assert not face.up
