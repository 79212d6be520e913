"""The sandbox bank's own wire, both sides of it: orders, answers and callbacks as JSON. Pure; no HTTP library, no bank.

An order is `{"end_to_end_id", "amount", "currency", "rail", "last4"}`, five strings. Answers and callbacks are one message,
how an id stands: `{"end_to_end_id", "state"}` and, where the state has them, `amount`, `currency`, `provider_reference`,
`reason`, `elsewhere`, `event_id`. The same standing is the same bytes, so a callback that comes again is known by its body.

| state | status | the bank |
|---|---|---|
| accepted | 202 | has the order |
| paid, returned | 200 | paid it; the money came back, event `event_id` |
| refused | 422 | moved nothing and never will, `reason`; with `elsewhere` the cause is its own |
| absent | 410 | never saw the id, and refuses it from now on |
| not_found | 404 | does not know the id now |
"""

from __future__ import annotations

import json
import re
from typing import Final

from disburse.connectors.sandbox_bank import Slip, Standing
from disburse.connectors.sandbox_book import Did
from disburse.connectors.sandbox_rules import CURRENCIES
from disburse.domain.destinations import Rail
from disburse.domain.money import Money, read_amount, read_positive_amount
from disburse.domain.outcomes import Absent, Accepted, Finding, Rejected, Returned, Settled, Unknown
from disburse.domain.refusals import Refusal
from disburse.protocols.wire import JsonValue, Malformed, read_json_object

MOST_BYTES: Final = 4096
NOT_FOUND: Final = b'{"state":"not_found"}'
STATUS: Final = {Did.ACCEPTED: 202, Did.PAID: 200, Did.RETURNED: 200, Did.REFUSED: 422, Did.ABSENT: 410}

_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_LAST4: Final = re.compile(r"[A-Za-z0-9]{4}")
_RAILS: Final = frozenset(rail.value for rail in Rail)
ORDER: Final = ("end_to_end_id", "amount", "currency", "rail", "last4")


# --- orders ------------------------------------------------------------------------------------------------------


def encode_order(slip: Slip) -> bytes:
    """The body of `POST /payouts`."""
    amount = slip.amount
    return _write(
        {
            "end_to_end_id": slip.end_to_end_id,
            "amount": amount.text(),
            "currency": amount.currency,
            "rail": slip.rail.value,
            "last4": slip.last4,
        }
    )


class BadOrder(Exception):
    """The bytes are no order. `field` is the one to blame, or ''; neither it nor `why` repeats what was sent."""

    def __init__(self, why: str, field: str = "") -> None:
        self.why, self.field = why, field
        super().__init__(f"{field}: {why}" if field else why)


def decode_order(body: bytes) -> Slip:
    """Read an order: exactly its five keys, all text. Raises BadOrder for the first field that is wrong."""
    try:
        fields = read_json_object(body, max_depth=2)
    except Malformed as fault:
        raise BadOrder(fault.why) from None
    if any(name not in ORDER for name in fields):
        raise BadOrder("there is a field that an order does not have")
    for name in ORDER:
        if type(fields.get(name)) is not str:
            raise BadOrder("must be there, as text", name)
    key, amount, currency, rail, last4 = (_text(fields, name) for name in ORDER)
    if not is_id(key):
        raise BadOrder("must be 1 to 64 letters, digits, _ or -", "end_to_end_id")
    if currency not in CURRENCIES:
        raise BadOrder("is not one that this bank pays", "currency")
    if rail not in _RAILS:
        raise BadOrder("is not one that this bank pays on", "rail")
    if _LAST4.fullmatch(last4) is None:
        raise BadOrder("must be 4 letters or digits", "last4")
    try:
        return Slip(key, read_positive_amount(amount, currency), Rail(rail), last4)
    except Refusal:
        raise BadOrder("must be a plain number above zero that fits the currency", "amount") from None


def is_id(text: str) -> bool:
    """Whether this can be an end-to-end id here."""
    return _ID.fullmatch(text) is not None


# --- standings ---------------------------------------------------------------------------------------------------


def encode_standing(standing: Standing) -> bytes:
    """An answer's or a callback's body."""
    fields: dict[str, object] = {"end_to_end_id": standing.end_to_end_id, "state": standing.did.value}
    if standing.amount is not None:
        fields |= {"amount": standing.amount.text(), "currency": standing.amount.currency}
    if standing.reference is not None:
        fields["provider_reference"] = standing.reference
    if standing.did is Did.REFUSED:
        fields |= {"reason": standing.reason, "elsewhere": standing.elsewhere}
    if standing.event_id is not None:
        fields["event_id"] = standing.event_id
    return _write(fields)


def decode_standing(body: bytes) -> Standing:
    """Read how an id stands. Raises Malformed; `not_found` is no standing, and is told from its status and `NOT_FOUND`."""
    fields = read_json_object(body, max_depth=2)
    state = _text(fields, "state")
    if state not in STATUS:
        raise Malformed("is not one the bank has", "state")
    did = Did(state)
    standing = Standing(
        _text(fields, "end_to_end_id"),
        did,
        None if did is Did.ABSENT else _amount(fields),
        _text(fields, "provider_reference") if "provider_reference" in fields else None,
        _text(fields, "reason") if did is Did.REFUSED else "",
        did is Did.REFUSED and fields.get("elsewhere") is True,
    )
    if standing.event_id != fields.get("event_id"):
        raise Malformed("does not fit", "event_id")
    return standing


def _amount(fields: dict[str, JsonValue]) -> Money:
    try:
        return read_amount(_text(fields, "amount"), _text(fields, "currency"))
    except Refusal:
        raise Malformed("cannot be read", "amount") from None


def _text(fields: dict[str, JsonValue], name: str) -> str:
    value = fields.get(name)
    if type(value) is not str:  # a Number is not one: amounts are sent as text
        raise Malformed("must be there, as text", name)
    return value


def _write(fields: dict[str, object]) -> bytes:
    return json.dumps(fields, separators=(",", ":")).encode("ascii")


# --- what they mean to us ----------------------------------------------------------------------------------------


def outcome_of(standing: Standing) -> Accepted | Settled | Rejected | Unknown:
    """What a standing means as the answer to an order."""
    match standing.did:
        case Did.ACCEPTED:
            return Accepted(standing.reference)
        case Did.PAID | Did.RETURNED:
            return Settled(standing.reference, standing.amount)
        case Did.REFUSED:
            return Rejected(standing.reason, standing.elsewhere, standing.reference)
        case _:
            return Unknown(f"the bank answered an order with {standing.did}")


def finding_of(standing: Standing) -> Finding:
    """What a standing means as the answer to an inquiry, or as a callback."""
    if standing.did is Did.ABSENT:
        return Absent("declared absent by the bank")
    if standing.did is Did.RETURNED and standing.event_id is not None:
        return Returned(standing.event_id, standing.amount)
    return outcome_of(standing)
