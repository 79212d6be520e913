"""The codec of `/v1`: bytes into typed messages and back, strictly. What is wrong is told by the field's name, never by its value.

Lives here: who asks (the bearer key), the Idempotency-Key, JSON bodies, queries, ids and cursors as they are spelled. May not
live here: what a card or an amount must look like (`domain/`), which path takes what (`rest_routes.py`), I/O.

One JSON parser reads all (`wire.read_json_object`): repeated names, NaN, half characters and deep nesting never get further.
Whole numbers count hours and events; money is text, so that a number in its place is a fault there.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final, TypeVar, get_type_hints
from urllib.parse import urlencode

import msgspec

from disburse.protocols.rest_messages import FieldFault
from disburse.protocols.rest_problems import Refused, bad
from disburse.protocols.wire import (
    JSON,
    JsonValue,
    Malformed,
    Number,
    WireAnswer,
    WireRequest,
    media_type,
    read_json_object,
    read_pairs,
)

T = TypeVar("T")
M = TypeVar("M", bound=msgspec.Struct)

LONGEST_KEY: Final = 255
LONGEST_REFERENCE: Final = 200
LONGEST_COMMENT: Final = 1000

_BEARER: Final = re.compile(r"[Bb][Ee][Aa][Rr][Ee][Rr] +([!-~]{1,200})")
_KEY: Final = re.compile(r"[!-~]{1,255}")
_ID: Final = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")
_COUNT: Final = re.compile(r"[0-9]{1,18}")
_WHOLE: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")
_PLACE: Final = re.compile(r"[0-9a-f]{1,32}")
_AT: Final = re.compile(r" - at `(?:key in )?\$\.?([^`]*)`\Z")
_NAMED: Final = re.compile(r"field `([^`]*)`")
_NAMEABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,39}(?:\.[A-Za-z_][A-Za-z0-9_]{0,39})*")
_TYPES: Final = {
    "str": "a string", "object": "an object", "array": "an array", "bool": "true or false", "int": "a whole number",
    "null": "null", "datetime": "a time such as 2026-11-21T12:00:00Z",
}  # fmt: skip


# --- what is asked ------------------------------------------------------------------------------------------------


def read_bearer(request: WireRequest) -> str:
    """The API key. Raises Refused."""
    match = _BEARER.fullmatch(request.headers.get("authorization", ""))
    if match is None:
        raise Refused("unauthorized")
    return match[1]


def read_key(request: WireRequest) -> str | None:
    """The Idempotency-Key, None without one; in double quotes or not, it is the same key. Raises Refused."""
    text = request.headers.get("idempotency-key")
    if text is None:
        return None
    if len(text) >= 2 and text[0] == text[-1] == '"':
        text = text[1:-1]
    if _KEY.fullmatch(text) is None or '"' in text:
        raise bad("Idempotency-Key", "is not one text of 1 to 255 printable ASCII characters without spaces and quotes")
    return text


def read_last_event_id(request: WireRequest) -> int | None:
    """The number of the event that a program of server-sent events had last; None where it says none. Raises Refused."""
    text = request.headers.get("last-event-id")
    if not text:
        return None
    if _COUNT.fullmatch(text) is None or len(text) > 15:
        raise bad("Last-Event-ID", "is not the number of an event")
    return int(text)


def read_id(text: str) -> str | None:
    """A payout's id out of a path, in lower case; None for what can be no id."""
    return text.lower() if _ID.fullmatch(text) is not None else None


def read_body(request: WireRequest, into: type[M]) -> M:
    """The body as a message; one of which nothing must be said may be left out. Raises Refused: what is wrong first, by its field."""
    if request.query:
        raise bad("", "has a query, which this path does not take")
    if not request.body and len(into.__struct_defaults__) == len(into.__struct_fields__):
        return into()
    try:
        kind = media_type(request)
        if kind != JSON:
            raise Refused("unsupported_media_type")
        return _convert(_counted(read_json_object(request.body)), into)
    except Malformed as malformed:
        raise bad(malformed.name, malformed.why if malformed.name else f"cannot be read: {malformed.why}") from None


def read_query(request: WireRequest, into: type[T]) -> T:
    """The query as a message. Raises Refused."""
    if request.body:
        raise bad("", "has a body, which this path does not take")
    try:
        pairs = read_pairs(request.query, max_pairs=20)
    except Malformed as malformed:
        raise bad(malformed.name, malformed.why if malformed.name else f"cannot be read: {malformed.why}") from None
    given: dict[str, Any] = {}
    for name, text in pairs:
        if name in given:
            raise bad(_nameable(name), "is given twice")
        given[name] = text
    for name, hint in get_type_hints(into).items():
        if hint is int and _COUNT.fullmatch(given.get(name, "")) is not None:
            given[name] = int(given[name])
    return _convert(given, into)


def read_cursor(text: str | None, *, bits: int = 63) -> int | None:
    """The place that a cursor names, None for the beginning. Raises Refused."""
    if text is None:
        return None
    if _PLACE.fullmatch(text) is None or int(text, 16) >> bits:
        raise bad("cursor", "is not a `next_cursor` of ours")
    return int(text, 16)


def write_cursor(place: int | None) -> str | None:
    """A cursor that names a place."""
    return f"{place:x}" if place is not None else None


def write_query(message: msgspec.Struct) -> str:
    """A message as a query, without what has its default."""
    defaults = dict(zip(message.__struct_fields__[::-1], message.__struct_defaults__[::-1], strict=False))
    given = {name: value for name, value in msgspec.to_builtins(message).items() if value != defaults.get(name, msgspec.UNSET)}
    return urlencode(given)


def _counted(value: JsonValue) -> Any:
    """A body in plain types. A whole number is one; any other number is one that no field takes."""
    if isinstance(value, Number):
        return int(value) if _WHOLE.fullmatch(value) is not None else 0.5
    if isinstance(value, list):
        return [_counted(item) for item in value]
    if isinstance(value, dict):
        return {name: _counted(item) for name, item in value.items()}
    return value


def _convert(value: Any, into: type[T]) -> T:
    try:
        return msgspec.convert(value, into, strict=True)
    except msgspec.ValidationError as error:
        raise _told(str(error)) from None


def _told(error: str) -> Refused:
    """What the converter found, in our words: it may repeat what was sent, so only names and types of ours are taken from it."""
    place = _AT.search(error)
    path = place[1] if place is not None else ""
    named = _NAMED.search(error)
    if error.startswith(("Object contains unknown field", "Object missing required field")) and named is not None:
        field = _nameable(f"{path}.{named[1]}" if path else named[1])
        if not field:
            return bad(_nameable(path), "has a field that does not exist")
        return bad(field, "is missing" if "missing" in error else "is not a field here")
    expected = re.match(r"Expected `([a-z]+)(?: \| null)?`, got", error)
    if expected is not None and expected[1] in _TYPES:
        return bad(_nameable(path), f"must be {_TYPES[expected[1]]}")
    if error.startswith("Expected `int`"):
        return bad(_nameable(path), "is out of its range")
    if "datetime" in error or "RFC3339" in error or "timezone" in error:
        return bad(_nameable(path), f"must be {_TYPES['datetime']}")
    if error.startswith("Invalid"):
        return bad(_nameable(path), "is not one of the values that it may have")
    return bad(_nameable(path), "is not what it should be")


def _nameable(name: str) -> str:
    """A field's name, if it plainly is one: programs do put values in the wrong place."""
    return name if _NAMEABLE.fullmatch(name) is not None else ""


# --- what is told -------------------------------------------------------------------------------------------------


def encode(status: int, message: msgspec.Struct) -> WireAnswer:
    """An answer that carries something."""
    return WireAnswer(status, JSON, msgspec.json.encode(message))


def faulty(faults: Sequence[FieldFault]) -> Refused:
    """Everything that is wrong with a request whose shape is right."""
    return Refused("bad_request", " ".join(f"`{fault.field}` {fault.why}." for fault in faults), faults)

