"""A UnitPay client that writes its calls as bytes by hand and looks at every answer for what all answers have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from disburse.operations.merchants import NewMerchant
from tests.conformance.running import Running
from tests.conformance.wire import FORM, Answer, pairs, request, send

CARD = "4111111111111111"
PHONE = "79510000071"
MEMBER = "100000000004"
PURSE = "Z123456789012"
TRON = "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t"

TO_CARD = {"transactionId": "1782", "sum": "10.00", "paymentType": "card", "purse": CARD}
"""A payout to a card. It costs 0.35."""
TO_PHONE = TO_CARD | {"paymentType": "sbp", "purse": PHONE, "memberId": MEMBER}
TO_PURSE = TO_CARD | {"paymentType": "webmoney", "purse": PURSE}
TO_ADDRESS = TO_CARD | {"paymentType": "usdt", "purse": TRON}
CALLS = {"card": TO_CARD, "sbp": TO_PHONE, "webmoney": TO_PURSE, "usdt": TO_ADDRESS}

Params = Mapping[str, str | None]
Document = dict[str, Any]


class Shop:
    """A fresh merchant's program. `settings` are the merchant's (`Running.merchant`)."""

    def __init__(self, served: Running, made: NewMerchant | None = None, **settings: Any) -> None:
        self.served = served
        self.made = made or served.merchant(**settings)
        self.merchant = self.made.merchant

    def params(self, changes: Params) -> dict[str, str]:
        """Parameters with this merchant's credentials unless `changes` bring others; None leaves one out."""
        whole: Params = {"login": self.merchant.login, "secretKey": self.made.unitpay_secret_key, **changes}
        return {name: value for name, value in whole.items() if value is not None}

    def query(self, method: str, params: Params, *, nested: bool = True) -> str:
        named = [(f"params[{name}]" if nested else name, value) for name, value in self.params(params).items()]
        return pairs([("method", method), *named])

    def send(self, raw: bytes) -> Document:
        """The answer to raw bytes, as a document."""
        return read(send(self.served.port, raw))

    def ask(self, method: str, params: Params | None = None, **changes: str | None) -> Document:
        """The answer to a nested GET: `result` or `error`."""
        return self.send(request("GET", f"/api?{self.query(method, {**(params or {}), **changes})}"))

    def post(self, body: str, content_type: str = FORM) -> Document:
        return self.send(request("POST", "/api", f"Content-Type: {content_type}", body=body.encode()))

    def pay(self, params: Params = TO_CARD, **changes: str | None) -> Document:
        """massPayment: its answer."""
        return self.ask("massPayment", {**params, **changes})

    def paid(self, params: Params = TO_CARD, **changes: str | None) -> Document:
        """massPayment that is answered with a payout: the payout."""
        found: Document = result(self.pay(params, **changes))
        return found

    def status(self, reference: str = "1782") -> Document:
        """massPaymentStatus: its answer."""
        return self.ask("massPaymentStatus", {"transactionId": reference})

    def payouts(self) -> int:
        return self.served.count(self.merchant)


def read(answer: Answer) -> Document:
    """An answer's document. Always HTTP 200, not to be stored, JSON with `result` or `error`; an error has a text and a number."""
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.headers["cache-control"] == "no-store"
    document: Document = answer.json
    assert list(document) in (["result"], ["error"])
    if "error" in document:
        error = document["error"]
        assert set(error) == {"message", "code"}
        assert type(error["code"]) is int and type(error["message"]) is str and error["message"]
    return document


def result(document: Document) -> Any:
    """What stands under `result`; fails on an error."""
    assert "result" in document, document
    return document["result"]


def code(document: Document) -> int:
    """The code of an error; fails on a result."""
    assert "error" in document, document
    number: int = document["error"]["code"]
    return number


def blamed(document: Document) -> str:
    """The parameter that a -32602 names."""
    assert code(document) == -32602, document
    message: str = document["error"]["message"]
    return message.rpartition(": ")[2]
