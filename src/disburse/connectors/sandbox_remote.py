"""The connector to a sandbox bank that runs as a program of its own (`sandbox_http.py`), over real HTTP.

Lives here: the decision table from wire answers to outcomes, which is short on purpose: what is not in it is `Unknown`.

| what came | an order's outcome | an inquiry's finding |
|---|---|---|
| a readable standing of our id, with its own status | what it says | what it says |
| 400 naming a field of ours | Rejected: the bank did nothing with it | Unknown |
| 404 `not_found` | Unknown | NotFound |
| no connection | NotSent | Unknown |
| anything else | Unknown | Unknown |

The bank's callbacks carry no signature, so a callback is taken for a hint only: the bank is asked, and what it answers is
heard. A forged one changes nothing.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from disburse.connectors.contract import Bank, Callback, Capabilities, Hear, Order, Question
from disburse.connectors.kind import Http, Kind, Surroundings
from disburse.connectors.sandbox import sandbox_capabilities
from disburse.connectors.sandbox_bank import Slip, Standing
from disburse.connectors.sandbox_simulator import simulate
from disburse.connectors.sandbox_wire import (
    NOT_FOUND,
    ORDER,
    STATUS,
    decode_standing,
    encode_order,
    encode_standing,
    finding_of,
    is_id,
    outcome_of,
)
from disburse.connectors.transport import HttpTransport
from disburse.domain.money import Money
from disburse.domain.outcomes import Finding, NotFound, NotSent, Outcome, Rejected, Unknown
from disburse.protocols.wire import JSON, Malformed, WireAnswer, WireRequest, read_json_object


class RemoteSandboxConnector:
    """A sandbox bank behind `base_url`, such as `http://127.0.0.1:8090`. `guard`: whether it was started with its guard.

    The transport is closed by whoever made it. Callbacks come to a door of ours, which has them read by `read_callback`.
    """

    def __init__(
        self, base_url: str, transport: HttpTransport, *, guard: bool = False, name: str = "sandbox-http"
    ) -> None:
        self._payouts = f"{base_url.rstrip('/')}/payouts"
        self._transport = transport
        self._name = name
        self._capabilities = sandbox_capabilities(guard=guard)

    @property
    def name(self) -> str:
        return self._name

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    async def start(self, hear: Hear) -> None:
        """Read the files that connections need. Nothing comes on its own: callbacks come to a door."""
        self._transport.open()

    async def stop(self) -> None:
        """Nothing runs."""

    async def submit(self, order: Order) -> Outcome:
        """Send the order, once."""
        slip = Slip(order.end_to_end_id, order.amount, order.destination.rail, order.destination.last4)
        answer = await self._transport.send(
            "POST",
            self._payouts,
            headers={"Content-Type": JSON},
            body=encode_order(slip),
            deadline_s=order.deadline_s,
        )
        if not isinstance(answer, WireAnswer):
            return answer
        if answer.status == 400 and (field := _field_to_blame(answer)) is not None:
            return Rejected(f"the bank cannot read the {field}")
        standing = _standing(answer, order.end_to_end_id)
        return standing if isinstance(standing, Unknown) else outcome_of(standing)

    async def inquire(self, question: Question) -> Finding:
        """Ask by our id; the bank knows no other."""
        standing = await self._ask(question.end_to_end_id, question.deadline_s)
        return finding_of(standing) if isinstance(standing, Standing) else standing

    async def read_callback(self, request: WireRequest, deadline_s: float) -> Callback | None:
        """What the bank confirms of a callback, and only that: its callbacks carry no signature.

        None for what is no callback, or what the bank does not confirm.
        """
        try:
            end_to_end_id = decode_standing(request.body).end_to_end_id
        except Malformed:
            return None
        if not is_id(end_to_end_id):
            return None
        standing = await self._ask(end_to_end_id, deadline_s)
        if not isinstance(standing, Standing):
            return None
        content = encode_standing(standing).decode("ascii")
        return Callback(self._name, end_to_end_id, finding_of(standing), content)

    async def balance(self, deadline_s: float) -> tuple[Money, ...] | Unknown:
        """Not to be had: the bank pays without having any."""
        return Unknown("the sandbox bank keeps no balance")

    async def banks(self, deadline_s: float) -> tuple[Bank, ...] | Unknown:
        """Not to be had: the bank pays to every bank."""
        return Unknown("the sandbox bank keeps no list")

    async def _ask(self, end_to_end_id: str, deadline_s: float) -> Standing | NotFound | Unknown:
        answer = await self._transport.send("GET", f"{self._payouts}/{end_to_end_id}", deadline_s=deadline_s)
        if isinstance(answer, NotSent):
            return Unknown(answer.why)
        if isinstance(answer, Unknown):
            return answer
        if answer.status == 404 and answer.body == NOT_FOUND:
            return NotFound()
        return _standing(answer, end_to_end_id)


def _standing(answer: WireAnswer, end_to_end_id: str) -> Standing | Unknown:
    if answer.status not in STATUS.values():
        return Unknown(f"HTTP {answer.status}")
    try:
        standing = decode_standing(answer.body)
    except Malformed:
        return Unknown("unreadable answer")
    if standing.end_to_end_id != end_to_end_id or STATUS[standing.did] != answer.status:
        return Unknown("an answer to something else")
    return standing


def _field_to_blame(answer: WireAnswer) -> str | None:
    try:
        field = read_json_object(answer.body, max_depth=2).get("field")
    except Malformed:
        return None
    return field if isinstance(field, str) and field in ORDER else None


class RemoteSandboxSettings(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The keys of `[connectors.NAME]` with `kind = "sandbox-http"`. `guard`: whether the bank was started with its guard."""

    url: str
    guard: bool = False
    http: Http = Http()


def _make(name: str, settings: RemoteSandboxSettings, around: Surroundings) -> RemoteSandboxConnector:
    return RemoteSandboxConnector(settings.url, around.transport(settings.http), guard=settings.guard, name=name)


KIND: Final = Kind(RemoteSandboxSettings, _make, simulator=simulate)
