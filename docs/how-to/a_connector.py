"""A connector in a hundred lines, for a provider that does not exist. docs/how-to/write-a-connector.md explains it; a test runs it.

Its manual, in short: POST /orders pays a card and answers {"id", "state": "paid" | "pending" | "refused", "amount"}; the same id
within 24 hours answers the first order and pays nothing. GET /orders/ID answers the same, or 404 {"error": "no_such_order"}.
Callbacks bring the same object, with the hexadecimal HMAC-SHA256 of the body in the header X-Signature.
"""

import hashlib
import hmac
import json

from msgspec import Struct

from disburse.connectors.contract import Bank, Callback, Capabilities, Hear, Order, Question
from disburse.connectors.kind import Http, Kind, Secret, Surroundings
from disburse.connectors.transport import HttpTransport
from disburse.domain.destinations import Rail
from disburse.domain.money import BadAmount, Money, read_amount
from disburse.domain.outcomes import Accepted, Finding, NotFound, NotSent, Outcome, Rejected, Settled, Unknown
from disburse.protocols.wire import JSON, Malformed, WireAnswer, WireRequest, read_json_object


class Settings(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The keys of [connectors.NAME] with kind = "example"."""

    url: str
    secret_key: Secret
    http: Http = Http()


class ExampleConnector:
    def __init__(self, name: str, settings: Settings, transport: HttpTransport) -> None:
        self._name, self._settings, self._transport = name, settings, transport

    @property
    def name(self) -> str:
        return self._name

    @property
    def capabilities(self) -> Capabilities:
        """What the manual promises, and not a word more: the engine acts on it when an answer is lost."""
        return Capabilities(
            rails=frozenset({Rail.CARD}), currencies=frozenset({"RUB"}), deduplicates_for_s=24 * 3600, callbacks=True
        )

    async def start(self, hear: Hear) -> None:
        self._settings.secret_key.reveal()
        self._transport.open()

    async def stop(self) -> None: ...

    async def submit(self, order: Order) -> Outcome:
        body = {"id": order.end_to_end_id, "amount": order.amount.text(), "card": order.destination.number}
        answer = await self._send("POST", "/orders", order.deadline_s, json.dumps(body).encode())
        if not isinstance(answer, WireAnswer):
            return answer  # NotSent or Unknown: the transport knows
        return read_order(answer.body, order.end_to_end_id) if answer.status == 200 else Unknown(f"HTTP {answer.status}")

    async def inquire(self, question: Question) -> Finding:
        answer = await self._send("GET", f"/orders/{question.end_to_end_id}", question.deadline_s)
        if not isinstance(answer, WireAnswer):
            return Unknown(answer.why)  # a question that was not sent says nothing about the order
        if answer.status == 404 and b"no_such_order" in answer.body:
            return NotFound()
        return read_order(answer.body, question.end_to_end_id) if answer.status == 200 else Unknown(f"HTTP {answer.status}")

    async def read_callback(self, request: WireRequest, deadline_s: float) -> Callback | None:
        signature = hmac.new(self._settings.secret_key.reveal().encode(), request.body, hashlib.sha256).hexdigest()
        if not hmac.compare_digest(signature, request.headers.get("x-signature", "")):
            return None  # anybody may have sent it
        try:
            end_to_end_id = read_json_object(request.body).get("id")
        except Malformed:
            return None
        if not isinstance(end_to_end_id, str):
            return None
        finding = read_order(request.body, end_to_end_id)
        return Callback(self._name, end_to_end_id, finding, hashlib.sha256(request.body).hexdigest())

    async def balance(self, deadline_s: float) -> tuple[Money, ...] | Unknown:
        return Unknown("not offered")

    async def banks(self, deadline_s: float) -> tuple[Bank, ...] | Unknown:
        return Unknown("not offered")

    async def _send(self, method: str, path: str, deadline_s: float, body: bytes | None = None) -> WireAnswer | NotSent | Unknown:
        headers = {"Content-Type": JSON, "Authorization": f"Bearer {self._settings.secret_key.reveal()}"}
        return await self._transport.send(method, self._settings.url + path, headers=headers, body=body, deadline_s=deadline_s)


def read_order(body: bytes, end_to_end_id: str) -> Settled | Accepted | Rejected | Unknown:
    """What the provider says about our order. What is not listed here is Unknown: nobody guesses about money."""
    try:
        order = read_json_object(body)
        if order.get("id") != end_to_end_id:
            return Unknown("an answer about another order")
        match order.get("state"):
            case "paid":
                return Settled(amount=read_amount(str(order.get("amount")), "RUB"))
            case "pending":
                return Accepted()
            case "refused":
                return Rejected("refused by the provider")
    except (Malformed, BadAmount):
        pass
    return Unknown("an answer that cannot be read")


def make(name: str, settings: Settings, around: Surroundings) -> ExampleConnector:
    return ExampleConnector(name, settings, around.transport(settings.http))


KIND = Kind(Settings, make)
