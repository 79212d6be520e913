"""The wires of simulated providers: UnitPay, IntellectMoney, and the sandbox bank's own. Bytes in, bytes out, by code of their own.

Lives here: reading a request and writing an answer, as docs/protocols says that a server does. May not live here: what becomes
of an order (`provider.py`).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import parse_qsl

from disburse.protocols.wire import WireAnswer, WireRequest
from disburse.simulation.provider import Ordered, Provider

JSON: Final = "application/json"
TOKEN_LIFE_S: Final = 240.0


class Face:
    """A provider behind an address. `answers` is one of the functions below."""

    def __init__(self, provider: Provider, answers: Callable[[Provider, WireRequest], WireAnswer]) -> None:
        self.provider = provider
        self._answers = answers

    @property
    def up(self) -> bool:
        return self.provider.up

    def receive(self, request: WireRequest, reply: Callable[[WireAnswer | None], None]) -> None:
        said = self._answers(self.provider, request)
        reply(None if self.provider.mute else said)


def _json(body: Any, status: int = 200) -> WireAnswer:
    return WireAnswer(status, JSON, json.dumps(body).encode())


# --- UnitPay -----------------------------------------------------------------------------------------------------

_STATUS: Final = {"taken": "not_completed", "paid": "success", "refused": "error", "returned": "success", "made": "not_completed"}


_GATEWAY: Final = (500, 502, 503, 504)
_CODES: Final = (100, 103, 122, 1051, 1053, -32602)


def unitpay(provider: Provider, request: WireRequest) -> WireAnswer:
    """massPayment, massPaymentStatus, and the balance. An id that is known is told as it stands and never paid again.

    -32603 says nothing about the order: the page has it that such a payout may still change its state. A gateway before it may put an error of its own, with a code of the page, in the answer's place.
    """
    answer = _unitpay(provider, request)
    if b"massPayment" in (request.query or request.body) and provider.told_by_a_gateway():
        code, status = provider.stream.choice(_CODES), provider.stream.choice(_GATEWAY)
        return _json({"error": {"message": "upstream", "code": code}}, status)
    return answer


def _unitpay(provider: Provider, request: WireRequest) -> WireAnswer:
    raw = request.query if request.method == "GET" else request.body
    pairs = dict(parse_qsl(raw.decode(), keep_blank_values=True))
    fields = {name.removeprefix("params[").removesuffix("]"): value for name, value in pairs.items()}
    if provider.strange():
        return _json({"error": {"message": "?", "code": 777}})
    match fields.get("method"):
        case "massPayment":
            known = provider.orders.get(fields["transactionId"])
            if known is not None and provider.is_short_for_a_copy(known):
                return _json({"error": {"message": "no money", "code": 103}})
            order = provider.take(fields["transactionId"], fields["sum"], "RUB", fields["purse"])
            if order.short and known is None:
                del provider.orders[order.key]  # refused by code: such an id was never made
                return _json({"error": {"message": "no money", "code": 103}})
            if provider.breaks_down(order):
                return _json({"error": {"message": "internal error", "code": -32603}})
            return _unitpay_payout(provider, order, asked=False)
        case "massPaymentStatus":
            found = provider.find(fields["transactionId"])
            if found is None:
                return _json({"error": {"message": "nothing found", "code": -32602}})
            return _unitpay_payout(provider, found, asked=True)
        case _:
            return _json({"result": {"email": "p@example.com", "balance": "9000000.00", "balance_payout": "9000000.00"}})


def _unitpay_payout(provider: Provider, order: Ordered, *, asked: bool) -> WireAnswer:
    """How a payout stands. One that cannot go on for now says so at once, or only when it is asked about."""
    order = provider.spoken_of(order)
    if order.stumbled and order.state == "taken" and (asked or order.number % 2):
        return _json({"error": {"message": "could not send the money, try later", "code": 201}})
    return _json(
        {
            "result": {
                "message": "ok", "status": _STATUS[provider.state_shown(order)], "payoutId": str(order.number),
                "transactionId": order.key, "sum": provider.amount_shown(order), "payoutCommission": "0.00",
                "partnerCommission": "0.00", "partnerBalance": "9000000.00", "createDate": "2026-03-01 12:00:00", "completeDate": "",
            }
        }
    )  # fmt: skip


# --- IntellectMoney ----------------------------------------------------------------------------------------------

_WORDS: Final = {
    "made": "Created", "taken": "InProcess", "paid": "Completed", "refused": "Failed", "returned": "Completed",
}  # fmt: skip


def intellectmoney(provider: Provider, request: WireRequest) -> WireAnswer:
    """Tokens, create, execute, state: an operation is executed at most once, whoever repeats it."""
    if request.headers.get("content-type", "").startswith(JSON):
        fields = {str(name).lower(): str(value) for name, value in json.loads(request.body).items()}
    else:
        fields = {name.lower(): value for name, value in parse_qsl(request.body.decode(), keep_blank_values=True)}
    method = request.path.rpartition("/")[2].lower()
    now = provider.loop.time()
    if method == "getusertoken":
        token = f"token{len(provider.tokens)}x{provider.stream.randrange(10**9)}"
        provider.tokens[token] = now
        return _money({"State": {"Code": 0, "Desc": ""}, "UserToken": token})
    if now - provider.tokens.get(fields.get("usertoken", ""), -TOKEN_LIFE_S) >= TOKEN_LIFE_S:
        return _refused("[TOKEN_EXPIRED] the token has expired")
    if method.startswith("create"):
        return _created(provider, fields)
    order = provider.orders.get(fields.get("payoutoperationid", "").lower())
    if order is None:
        return _refused("[NO_SUCH_OPERATION] there is no such operation")
    if method == "executeoperation" and order.state == "made":
        provider.carry_out(order)
        if order.short:
            order.state = "made"
            order.short = False
            return _operation(provider, order, "NotEnoughMoney")
    elif method == "executeoperation":
        provider.sometimes("intellectmoney: an operation was executed again")
    told = provider.spoken_of(order)
    return _operation(provider, told, _WORDS[provider.state_shown(told)])


def _created(provider: Provider, fields: dict[str, str]) -> WireAnswer:
    key = f"{provider.stream.randrange(2**32):08x}-0000-4000-8000-{len(provider.orders) + 1:012x}"
    where = fields.get("pan") or fields.get("account") or ""
    another = provider.crossed()
    if another is not None:
        return _operation(provider, another, "Created")
    order = provider.make(key, fields["amount"], fields["currency"], where)
    return _operation(provider, order, "Created")


def _operation(provider: Provider, order: Ordered, word: str) -> WireAnswer:
    if order.stumbled and word == _WORDS["taken"]:
        word = "Error"
    if provider.strange():
        word = "Frozen"
    told = {"State": {"Code": 0, "Desc": ""}, "PayoutOperationId": order.key, "PayoutOperationState": word}
    return _money(told)


def _money(result: Any, code: int = 0, desc: str = "") -> WireAnswer:
    return _json({"OperationState": {"Code": code, "Desc": desc}, "OperationId": "1", "Result": result, "EshopId": None})


def _refused(desc: str) -> WireAnswer:
    return _money(None, 2, desc)


# --- the sandbox bank --------------------------------------------------------------------------------------------

_HTTP: Final = {"taken": 202, "paid": 200, "returned": 200, "refused": 422, "absent": 410}


def bank(provider: Provider, request: WireRequest) -> WireAnswer:
    """POST /payouts and GET /payouts/ID. Without `once` it pays an id as often as it is sent, unless it declared it absent."""
    if request.method == "POST" and request.path == "/payouts":
        fields = json.loads(request.body)
        order = provider.take(fields["end_to_end_id"], fields["amount"], fields["currency"], fields["last4"])
        if order.state == "absent":
            refused = {"end_to_end_id": order.key, "state": "refused", "amount": fields["amount"], "currency": fields["currency"]}
            return _json({**refused, "reason": "declared absent", "elsewhere": True}, 422)
        return _standing(provider, order)
    found = provider.find(request.path.rpartition("/")[2])
    if found is None:
        return WireAnswer(404, JSON, b'{"state":"not_found"}')
    return _standing(provider, found)


def standing(provider: Provider, order: Ordered) -> dict[str, Any]:
    """How an order stands, as the bank's answers and callbacks tell it."""
    state = {"taken": "accepted", "made": "accepted"}.get(shown := provider.state_shown(order), shown)
    told: dict[str, Any] = {"end_to_end_id": order.key, "state": state}
    if state != "absent":
        told |= {"amount": provider.amount_shown(order), "currency": order.currency, "provider_reference": f"SB{order.number}"}
    if state == "refused":
        told |= {"reason": "refused", "elsewhere": order.short}
    if state == "returned":
        told["event_id"] = f"SB{order.number}-R"
    return told


def _standing(provider: Provider, order: Ordered) -> WireAnswer:
    told = standing(provider, provider.spoken_of(order))
    if provider.strange():
        return _json({**told, "state": "frozen"}, 200)
    return _json(told, {"accepted": 202}.get(told["state"], _HTTP.get(told["state"], 200)))
