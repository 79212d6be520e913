"""A UnitPay call as bytes, both ways: one method name and its parameters by name.

Lives here: where parameters may stand (query, form, JSON; nested in `params[...]`, flat, mixed) and the rule that a name has
one value. What a parameter must look like is in `unitpay_messages.py`. Sources: unitpay.md section 1, reliability.md 4.3.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from disburse.protocols.wire import (
    FORM,
    JSON,
    Malformed,
    WireRequest,
    media_type,
    merge,
    read_json_object,
    read_pairs,
    scalar_pairs,
    trim,
    write_pairs,
)

PATH = "/api"

PARAMETERS = (
    "login",
    "secretKey",
    "transactionId",
    "sum",
    "purse",
    "paymentType",
    "memberId",
    "projectId",
    "comment",
    "recipientCurrency",
    "bin",
    "test",
)
"""Every parameter that some method reads. Others are ignored, so nothing unasked for (a CVV, say) goes any further."""

_KNOWN = frozenset(("method", *PARAMETERS))
_SPELLINGS = {name: name for name in _KNOWN} | {f"params[{name}]": name for name in _KNOWN}
_NESTED = re.compile(r"params\[([^\[\]]+)\]")


@dataclass(frozen=True, slots=True, repr=False)
class Call:
    """A method and its parameters by name, values trimmed; only names in `PARAMETERS` are there."""

    method: str
    params: Mapping[str, str]

    def __repr__(self) -> str:
        return f"Call({len(self.params)} parameters: {', '.join(self.params)})"


def decode_call(request: WireRequest) -> Call:
    """Read the call in a request's query and body.

    Names may be nested (`params[sum]`, brackets escaped or not), flat or mixed. White space at a value's ends is dropped.
    Raises Malformed for: no method; one name with two values wherever they stand; nesting deeper than one level or lists
    (`params[sum][]`, `sum[]`); a body that is neither form nor JSON; another verb than GET and POST; and what `wire` refuses.
    """
    if request.method not in ("GET", "POST"):
        raise Malformed("only GET and POST are read")
    pairs = read_pairs(request.query)
    if request.body:
        pairs += _body_pairs(request)
    merged = merge([(_SPELLINGS.get(spelled) or _unusual(spelled), trim(value)) for spelled, value in pairs])
    method = merged.get("method")
    if not method:
        raise Malformed("is missing", "method")
    return Call(method, {name: merged[name] for name in merged if name in _KNOWN and name != "method"})


def encode_call(
    call: Call, *, nested: bool = True, http_method: Literal["GET", "POST"] = "GET", path: str = PATH
) -> WireRequest:
    """Write a call as a request: nested GET, which the provider takes today, unless told otherwise (unitpay.md Q8)."""
    spelled = [(f"params[{name}]" if nested else name, value) for name, value in call.params.items()]
    octets = write_pairs([("method", call.method), *spelled])
    headers = {"accept": JSON}
    if http_method == "GET":
        return WireRequest("GET", path, octets, headers, b"")
    return WireRequest("POST", path, b"", headers | {"content-type": FORM}, octets)


def _body_pairs(request: WireRequest) -> Iterable[tuple[str, str]]:
    kind = media_type(request)
    if kind in (FORM, ""):
        return read_pairs(request.body)
    if kind == JSON:
        return _json_pairs(request.body)
    raise Malformed("the body must be a form or JSON")


def _json_pairs(body: bytes) -> list[tuple[str, str]]:
    members = read_json_object(body)
    nested = members.pop("params", None)
    if nested is not None and not isinstance(nested, dict):
        raise Malformed("must be an object", "params")
    pairs = scalar_pairs({name: value for name, value in members.items() if name in _SPELLINGS or "[" in name})
    return pairs + [(f"params[{name}]", value) for name, value in scalar_pairs(nested or {})]


def _unusual(spelled: str) -> str:
    """The name of a parameter we do not know, or Malformed when it is a wrong spelling of one we do."""
    base = spelled.partition("[")[0]
    if base == "params":
        match = _NESTED.fullmatch(spelled)
        if match is None:
            raise Malformed("must be params[name]", spelled)
        return match[1]
    if base != spelled and base in _KNOWN:
        raise Malformed("is a single value", base)
    return spelled
