"""IntellectMoney's payout API, as bytes. The heart of the codec: which call a request is, and what was sent with it.

Two generations of one API live on the same paths (intellectmoney.md section 1). They differ in the first letter of the
method's name, in how a client proves itself and in one word of the answers, so a `Call` keeps the generation beside the method:

    old   POST /personal/payout/CreateBankCardRussiaOperation   form or JSON, a UserToken in the body
    new   POST /personal/payout/createOperation                 JSON, the same UserToken, plus Bearer and Sign headers

A payout takes two calls, create and execute, and as many questions about its state as one likes; a token is fetched before.

Reading goes in two steps: `decode_call` (here) finds the method and gathers the parameters from the query, a form, JSON or XML
into one set of texts; `read_message` (`intellectmoney_messages.py`) judges each text and yields a typed message. Between the
two a door checks who is calling: the Sign header covers values *as sent* (`intellectmoney_sign.py`), so `Call.raw` keeps them.
Answers and the words for states are in `intellectmoney_answers.py`, our own client's requests in `intellectmoney_client.py`,
the bounded XML in `intellectmoney_xml.py`.

May not live here: who may do what, whether a token is known, amounts as money, cards as cards. Everything raised is `Malformed`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from urllib.parse import unquote_to_bytes

from disburse.protocols.intellectmoney_xml import read_xml
from disburse.protocols.wire import (
    FORM,
    JSON,
    WHITE_SPACE,
    Malformed,
    WireRequest,
    media_type,
    merge,
    read_json_object,
    read_pairs,
    scalar_pairs,
    trim,
)

PAYOUT_PATH = "/personal/payout/"
USER_PATH = "/personal/user/"

PARAMETERS = (
    "UserToken", "PreferenceType", "Pan", "Account", "BankId", "Amount", "Currency", "RecipientName", "EshopId",
    "PayoutOperationId", "Login", "Password",
)  # fmt: skip
"""Every parameter's documented name. Requests may write them in any case; others are passed over."""


class Method(StrEnum):
    """A method, by the name its old-generation page gives it (createOperation has none there)."""

    GET_USER_TOKEN = "GetUserToken"  # noqa: S105 (a name)
    CREATE_CARD = "CreateBankCardRussiaOperation"
    CREATE_WALLET = "CreateQiwiWalletOperation"
    CREATE_OPERATION = "CreateOperation"
    EXECUTE = "ExecuteOperation"
    GET_STATE = "GetOperationState"


class Generation(Enum):
    """How the method's name was written: `ExecuteOperation` is old, `executeOperation` is new."""

    OLD = "old"
    NEW = "new"


class UnknownMethod(Malformed):
    """No method of this API has that path."""


class WrongVerb(Malformed):
    """The path is a method's, but every method is called by POST alone (HTTP 405)."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call, its parameters gathered but not yet judged.

    `params`: trimmed texts by documented name, the token made whole, empty ones left out: an empty value means "not sent".
    `raw`: the same as sent, which a Sign covers. A JSON number is its literal text and still a `wire.Number`.
    `bearer`, `sign`: the headers' values, None when the header is not there; an empty Sign header is a Sign that is wrong.
    """

    method: Method
    generation: Generation
    params: Mapping[str, str] = field(repr=False)
    raw: Mapping[str, str] = field(repr=False)
    bearer: str | None = field(repr=False)
    sign: str | None = field(repr=False)
    wants_json: bool


def find_method(path: str) -> tuple[Method, Generation] | None:
    """The method a path names, without case (quirk I13), in both spellings of the wallet's (I1). None: not a path of ours."""
    if not path.isascii():
        return None  # str.lower makes a plain k of the Kelvin sign
    head, slash, name = path.rpartition("/")
    method = _METHODS.get((head + slash + name).lower())
    if method is None:
        return None
    return method, Generation.OLD if name[0].isupper() else Generation.NEW


def wants_json(request: WireRequest) -> bool:
    """Whether the answer shall be JSON: the Accept header holds `json` anywhere. Otherwise it is XML (section 2)."""
    return "json" in request.headers.get("accept", "").lower()


def decode_call(request: WireRequest) -> Call:
    """Read which method is called and with what, from the query and any kind of body (sections 2, 10).

    Raises UnknownMethod, WrongVerb, and Malformed for bytes that cannot be read, a parameter that is no plain text, one name
    with two different values wherever they stand, and control characters.
    """
    found = find_method(request.path)
    if found is None:
        raise UnknownMethod("no such method")
    if request.method != "POST":
        raise WrongVerb("methods are called by POST")
    url_encoded, structured = map(_known, _gather(request))
    raw = merge(url_encoded, structured)
    params = _params(raw, {name for name, _ in url_encoded})
    method, generation = found
    sign = request.headers.get("sign")
    return Call(
        method=method,
        generation=generation,
        params=params,
        raw=raw,
        bearer=_bearer(request.headers.get("authorization", "")),
        sign=None if sign is None else trim(sign),
        wants_json=wants_json(request),
    )


def whole_token(value: str, *, url_encoded: bool) -> str:
    """The token without the white space that came into it on the way (section 2, quirk I12).

    A run with a line break or a tab in it is a wrapped line: it goes, the spaces beside it too. In a query or a form a run of
    spaces alone is as many `+` that nobody escaped, at the ends too (the documented token ends in one). In JSON and XML
    nothing turns `+` into a space, so there a space is layout and goes.
    """

    def mended(run: re.Match[str]) -> str:
        return "+" * len(run[0]) if url_encoded and not run[0].strip(" ") else ""

    return _WHITE_RUN.sub(mended, value)


_METHODS: dict[str, Method] = {
    USER_PATH + "getusertoken": Method.GET_USER_TOKEN,
    PAYOUT_PATH + "createqiviwalletoperation": Method.CREATE_WALLET,
    **{PAYOUT_PATH + m.value.lower(): m for m in Method if m is not Method.GET_USER_TOKEN},
}
_DOCUMENTED = {name.lower(): name for name in PARAMETERS}
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_WHITE_RUN = re.compile(f"[{WHITE_SPACE}]+")
_MAX_PAIRS = 200
_WRAPS = re.compile(rb"((?:%0[9AaDd]|[\t\r\n])+)")

Pairs = list[tuple[str, str]]


def _params(raw: Mapping[str, str], url_encoded: set[str]) -> dict[str, str]:
    params = {}
    for name, value in raw.items():
        if name == "UserToken":
            value = whole_token(value, url_encoded=name in url_encoded)
        elif name != "Amount":  # section 9: spaces in an amount are refused, so they must stay to be seen
            value = trim(value)
        if _CONTROL.search(trim(value)):
            raise Malformed("holds a control character", name)
        if value:
            params[name] = value
    return params


def _gather(request: WireRequest) -> tuple[Pairs, Pairs]:
    """What came url-encoded (query, form), and what came as JSON or XML."""
    query, body = _url_encoded(request.query), request.body
    kind = media_type(request)
    if not body.strip():
        return query, []
    if not kind:  # the new pages call Content-Type optional
        kind = {b"{": JSON, b"<": "application/xml"}.get(body.lstrip()[:1], FORM)
    if kind == FORM:
        return query + _url_encoded(body), []
    if kind in (JSON, "text/json"):
        # Not strict about text: a token may be wrapped. decode_call looks at what is left of each value.
        return query, scalar_pairs(read_json_object(body, strict_text=False))
    if kind in ("application/xml", "text/xml"):
        return query, [(child.name, child.text) for child in read_xml(body, max_depth=2).children]
    raise Malformed("the body's Content-Type is none that this API reads")


def _url_encoded(raw: bytes) -> Pairs:
    """Like `read_pairs`, but a token may be wrapped over lines; everywhere else a line break is a control character."""
    if not _WRAPS.search(raw) or raw.count(b"&") >= _MAX_PAIRS:
        return read_pairs(raw, max_pairs=_MAX_PAIRS)
    tokens: list[bytes] = []
    others: list[bytes] = []
    for one in raw.split(b"&"):
        (tokens if one[:10].lower() == b"usertoken=" else others).append(one)
    return read_pairs(b"&".join(others)) + [("UserToken", _wrapped(one[10:])) for one in tokens]


def _wrapped(octets: bytes) -> str:
    pieces = _WRAPS.split(octets)
    for at, piece in enumerate(pieces):
        pieces[at] = unquote_to_bytes(piece) if at % 2 else read_pairs(b"UserToken=" + piece)[0][1].encode("utf-8")
    return b"".join(pieces).decode("utf-8")


def _known(pairs: Iterable[tuple[str, str]]) -> Pairs:
    known = []
    for name, value in pairs:
        documented = _DOCUMENTED.get(name.lower()) if name.isascii() else None
        if documented is not None:
            known.append((documented, value))
    return known


def _bearer(header: str) -> str | None:
    scheme, _, token = trim(header).partition(" ")
    return trim(token) or None if scheme.lower() == "bearer" else None
