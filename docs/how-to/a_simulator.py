"""The provider of a_connector.py as its manual has it, so that `disburse connector certify` can try a connector against it."""

import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any

from a_connector import Settings, make

from disburse.connectors.kind import Kind
from disburse.connectors.simulator import Book, Step, Twist
from disburse.domain.destinations import Destination, Rail
from disburse.domain.money import Money, read_amount
from disburse.domain.ports import Clock
from disburse.protocols.wire import JSON, WireAnswer, WireRequest

KEY = "certify"
HONEST = {Twist.PAID: "paid", Twist.LATER: "pending", Twist.REFUSED: "refused"}
STRANGE: dict[Twist, dict[str, Any]] = {  # what each changes in an answer that is otherwise true
    Twist.OTHER_AMOUNT: {"amount": "1.00"},
    Twist.OTHER_ID: {"id": "another-1"},
    Twist.UNLISTED_STATE: {"state": "frozen"},
    Twist.HALF: {"state": None},
}


class ExampleSimulator:
    amount = Money(123_45, "RUB")
    destination = Destination(Rail.CARD, "4111111111111111")

    def __init__(self) -> None:
        self.book = Book()
        self._orders: dict[str, dict[str, Any]] = {}

    def table(self, url: str) -> Mapping[str, Any]:
        return {"url": url, "secret_key": KEY}

    def step(self, request: WireRequest) -> Step:
        if request.path == "/orders" and request.method == "POST":
            return Step.MOVE
        return Step.ASK if request.path.startswith("/orders/") else Step.OTHER

    def answer(self, request: WireRequest, twist: Twist) -> WireAnswer | None:
        step = self.step(request)
        if twist is Twist.INTERNAL and step is Step.MOVE:
            self._pay(request, Twist.PAID)
            return WireAnswer(500, JSON, b'{"error": "internal"}')
        if twist is Twist.NOT_KNOWN and step is Step.ASK:
            return WireAnswer(404, JSON, b'{"error": "no_such_order"}')
        if twist not in HONEST and twist not in STRANGE:
            return None  # the manual has no way to say so
        order = self._pay(request, twist) if step is Step.MOVE else self._orders.get(request.path.removeprefix("/orders/"))
        if order is None:
            return WireAnswer(404, JSON, b'{"error": "no_such_order"}')
        return WireAnswer(200, JSON, json.dumps(order | STRANGE.get(twist, {})).encode())

    def callback(self, twist: Twist, *, forged: bool = False) -> WireRequest | None:
        if twist not in HONEST:
            return None
        known = next(iter(self._orders.values()), {"id": "nobody-1", "amount": "1.00"})
        body = json.dumps(known | {"state": HONEST[twist]}).encode()
        signature = hmac.new(b"not the key" if forged else KEY.encode(), body, hashlib.sha256).hexdigest()
        return WireRequest("POST", "/callbacks/certified", b"", {"content-type": JSON, "x-signature": signature}, body)

    def finish(self, *, pays: bool) -> None:
        for order in self._orders.values():
            if order["state"] == "pending":
                order["state"] = "paid" if pays else "refused"
                self._write(order)
        self.book.taken = False

    def restart(self) -> None: ...

    def forget(self) -> None:
        self._orders.clear()

    def _pay(self, request: WireRequest, twist: Twist) -> dict[str, Any]:
        sent = json.loads(request.body)
        if sent["id"] not in self._orders:  # within 24 hours the same id pays nothing
            state = HONEST.get(twist, "paid")
            self._orders[sent["id"]] = {"id": sent["id"], "state": state, "amount": sent["amount"]}
            self._write(self._orders[sent["id"]])
        return self._orders[sent["id"]]

    def _write(self, order: dict[str, Any]) -> None:
        if order["state"] == "paid":
            self.book.paid.append(read_amount(order["amount"], "RUB"))
        self.book.taken = order["state"] == "pending"
        self.book.refused = order["state"] == "refused"


def simulate(table: Mapping[str, Any], clock: Clock) -> ExampleSimulator:
    return ExampleSimulator()


KIND = Kind(Settings, make, simulator=simulate)
