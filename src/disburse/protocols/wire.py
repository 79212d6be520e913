"""What every protocol shares below its own words: requests and answers as bytes, strict form decoding, strict JSON reading.

Lives here: rules that hold for any surface (reliability.md sections 4.3 and 4.8). May not live here: a parameter's name, a
protocol's meaning, I/O, limits of the server (the door bounds how many bytes get this far).

Values come out exactly as they were sent, white space at the ends included, because a signature may cover them; a protocol
trims with `trim` before it judges. Numbers in JSON come out as their literal text (`Number`), so nothing passes through a float.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import NoReturn
from urllib.parse import quote, urlencode

FORM = "application/x-www-form-urlencoded"
JSON = "application/json"
EVENT_STREAM = "text/event-stream"

WHITE_SPACE = " \t\r\n"
"""What may stand at the ends of a value and is not part of it. Unicode's other spaces are ordinary characters here."""

_NAMEABLE = re.compile(r"[A-Za-z][A-Za-z_\[\]]{0,39}")
_FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_HEX = b"0123456789abcdefABCDEF"
_OCTETS = {bytes(pair): bytes.fromhex(bytes(pair).decode()) for pair in product(_HEX, _HEX)}
_BRACKETS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?|[\[{]|[\]}]', re.DOTALL)
_NUMBER_LENGTH = 40
_EXPONENT = re.compile(r"[eE][+-]?[0-9]{3,}\Z")


class Malformed(Exception):
    """The bytes are not what the protocol says. `why` reads well alone and holds no value; `name` is the parameter's, or ''.

    A name is kept only when it is plainly one (letters, brackets, underscores): clients do put values in the wrong place.
    """

    def __init__(self, why: str, name: str = "") -> None:
        self.why = why
        self.name = name if _NAMEABLE.fullmatch(name) else ""
        super().__init__(f"{self.name}: {why}" if self.name else why)


@dataclass(frozen=True, slots=True, repr=False)
class WireRequest:
    """An HTTP request as bytes. Header names are in lower case; `query` is what stands behind the question mark, undecoded."""

    method: str
    path: str
    query: bytes
    headers: Mapping[str, str]
    body: bytes

    def __repr__(self) -> str:
        # Query, headers and body carry keys, tokens and card numbers.
        return (
            f"WireRequest({self.method} {self.path[:80]!r}, query {len(self.query)} bytes, body {len(self.body)} bytes)"
        )


@dataclass(frozen=True, slots=True, repr=False)
class WireAnswer:
    """An HTTP answer as bytes. `headers`: fields beside those that every answer has.

    `stream`: what is sent piece by piece in the place of `body`, once. Whoever makes one bounds how long it lasts; it is closed when the peer goes.
    """

    status: int
    content_type: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    stream: AsyncIterator[bytes] | None = None

    def __repr__(self) -> str:
        return f"WireAnswer({self.status}, {self.content_type!r}, body {len(self.body)} bytes)"


class Number(str):
    """A JSON number as the text that was sent: `10.50` stays `10.50`."""

    __slots__ = ()


JsonValue = str | bool | None | list["JsonValue"] | dict[str, "JsonValue"]
"""What `read_json_object` yields; a number is a `Number`, which is a str."""


def trim(value: str) -> str:
    """The value without white space at its ends."""
    return value.strip(WHITE_SPACE)


def media_type(request: WireRequest) -> str:
    """The body's media type in lower case, '' when the request has no Content-Type.

    Raises Malformed when the header holds more than one type, or says the text is anything but UTF-8.
    """
    header = request.headers.get("content-type", "")
    if not header:
        return ""
    kind, *rest = header.split(";")
    if "," in header:
        raise Malformed("more than one Content-Type")
    for parameter in rest:
        key, _, value = parameter.partition("=")
        if key.strip().lower() == "charset" and value.strip().strip('"').lower() not in ("utf-8", "utf8"):
            raise Malformed("text is read as UTF-8 only")
    return kind.strip().lower()


def read_pairs(raw: bytes, *, max_pairs: int = 200) -> list[tuple[str, str]]:
    """Read `application/x-www-form-urlencoded`: names and values in the order sent, blank ones kept, duplicates too.

    Raises Malformed for more than `max_pairs` fields, a `%` without two hexadecimal digits, bytes that are not UTF-8
    (overlong forms and surrogates included), and control characters other than white space at a value's ends.
    """
    if raw.count(b"&") >= max_pairs:
        raise Malformed("too many parameters")
    # Brackets are all that most queries escape. Replacing them at once cannot make or break another escape: neither is a
    # hexadecimal digit, a percent sign or a delimiter, so `%%5B` and `%2%5B` stay as wrong as they were.
    text = raw.replace(b"+", b" ").replace(b"%5B", b"[").replace(b"%5D", b"]")
    pairs = []
    for field in text.split(b"&"):
        if field:
            name, _, value = field.partition(b"=")
            spelled = _text(name, "")
            pairs.append((spelled, _text(value, spelled)))
    return pairs


def write_pairs(pairs: Iterable[tuple[str, str]]) -> bytes:
    """Write `application/x-www-form-urlencoded`, everything but letters, digits and `_.-~` escaped."""
    return urlencode(list(pairs), quote_via=quote, safe="").encode("ascii")


def read_json_object(raw: bytes, *, max_depth: int = 16, strict_text: bool = True) -> dict[str, JsonValue]:
    """Read one JSON object, UTF-8, a byte order mark ignored.

    Raises Malformed for anything else: not JSON, not an object, a repeated key, deeper than `max_depth`, NaN and
    infinities, numbers longer than 40 characters or with an exponent of three digits; and with `strict_text` for lone
    surrogates and control characters in any string (a reader of foreign prose switches that off and cleans instead).
    """
    _bound_depth(raw, max_depth)
    unique = _unique_and_clean if strict_text else _unique
    try:
        value = json.loads(
            raw.decode("utf-8-sig"),
            object_pairs_hook=unique,
            parse_int=_number,
            parse_float=_number,
            parse_constant=_no_constant,
        )
    except UnicodeDecodeError:
        raise Malformed("the body is not UTF-8") from None
    except (ValueError, RecursionError):
        raise Malformed("the body is not JSON") from None
    if type(value) is not dict:
        raise Malformed("the body is not a JSON object")
    return value


def scalar(value: JsonValue, name: str) -> str:
    """The text of a JSON string or number. Raises Malformed, naming the parameter, for true, false, null, lists and objects."""
    if isinstance(value, str):
        return value
    raise Malformed("must be a string or a number", name)


def scalar_pairs(fields: Mapping[str, JsonValue]) -> list[tuple[str, str]]:
    """A JSON object's members as a form would have sent them; null is "not sent". Raises Malformed as `scalar` does."""
    return [(name, scalar(value, name)) for name, value in fields.items() if value is not None]


def merge(*groups: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Names to values over all groups. Equal values of one name are one; raises Malformed naming a name with two values."""
    merged: dict[str, str] = {}
    for group in groups:
        for name, value in group:
            if merged.setdefault(name, value) != value:
                raise Malformed("is given twice with different values", name)
    return merged


def _text(octets: bytes, name: str) -> str:
    if b"%" in octets:
        octets = _unescaped(octets, name)
    try:
        text = octets.decode("utf-8")
    except UnicodeDecodeError:
        raise Malformed("is not UTF-8", name) from None
    # Everything forbidden is unprintable; the search runs only for the few texts that are not plainly good.
    if not text.isprintable() and _FORBIDDEN.search(trim(text)):
        raise Malformed("holds a control character", name)
    return text


def _unescaped(octets: bytes, name: str) -> bytes:
    head, *rest = octets.split(b"%")
    parts = [head]
    try:
        for part in rest:
            parts.append(_OCTETS[part[:2]])
            parts.append(part[2:])
    except KeyError:
        raise Malformed("holds a percent sign that escapes nothing", name) from None
    return b"".join(parts)


def _bound_depth(raw: bytes, max_depth: int) -> None:
    if raw.count(b"[") + raw.count(b"{") <= max_depth:
        return
    depth = 0
    for match in _BRACKETS.finditer(raw):
        first = match[0][:1]
        if first in b"[{":
            depth += 1
            if depth > max_depth:
                raise Malformed("the JSON is nested too deeply")
        elif first != b'"':
            depth -= 1


def _number(literal: str) -> Number:
    if len(literal) > _NUMBER_LENGTH or _EXPONENT.search(literal):
        raise Malformed("a number is too long")
    return Number(literal)


def _no_constant(_: str) -> NoReturn:
    raise Malformed("NaN and infinities are not numbers")


def _unique(members: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    unique = dict(members)
    if len(unique) != len(members):
        seen: set[str] = set()
        for name, _ in members:
            if name in seen:
                raise Malformed("is given twice", name)
            seen.add(name)
    return unique


def _unique_and_clean(members: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    for name, value in members:
        _refuse_controls(name, "")
        _refuse_controls(value, name)
    return _unique(members)


def _refuse_controls(value: JsonValue, name: str) -> None:
    if isinstance(value, str):
        if not value.isprintable() and _FORBIDDEN.search(trim(value)):
            raise Malformed("holds a control character or half a character", name)
    elif isinstance(value, list):
        for item in value:
            _refuse_controls(item, name)
