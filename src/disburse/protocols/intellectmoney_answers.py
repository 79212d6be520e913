"""IntellectMoney's answers, both directions. Lives here: the envelope in JSON and XML, the words for states, the tolerant reader.

What we write is narrow: HTTP 200, every Desc a text, Result there and null unless the call was handled (intellectmoney.md
sections 2, 3, 7). What we read is wide, since it is another company's: names in any case, codes as numbers or digits, Result
absent, null or an object, JSON or XML by looking at the bytes. Reading never raises: what cannot be read is `Unreadable`, which a
connector treats as no answer at all. May not live here: what an answer means for a payout, or when to ask again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

import msgspec

from disburse.protocols.intellectmoney import Generation, Method, whole_token
from disburse.protocols.intellectmoney_messages import read_guid
from disburse.protocols.intellectmoney_xml import MAX_BYTES, XmlContent, XmlElement, read_xml, write_xml
from disburse.protocols.wire import JSON, WHITE_SPACE, JsonValue, Malformed, WireAnswer, read_json_object

XML_ANSWER = "text/xml; charset=utf-8"

HANDLED, QUEUED, NOT_HANDLED = 0, 1, 2
"""OperationState.Code: Result is there; put in a queue, the outcome is not known; refused, Desc says why."""


class PayoutStateName(StrEnum):
    """What a payout's state is called between this codec and its users. `UNKNOWN` is only ever read: a word not in the table."""

    CREATED = "created"
    IN_PROCESS = "in_process"
    SENT_TO_BANK = "sent_to_bank"
    COMPLETED = "completed"
    FAILED = "failed"
    ERROR = "error"
    CANCELLED = "cancelled"
    DELETED = "deleted"
    NOT_ENOUGH_MONEY = "not_enough_money"
    UNKNOWN = "unknown"


IN_PROCESS, IN_PROGRESS = "InProcess", "InProgress"

STATE_WORDS: dict[PayoutStateName, str] = {
    PayoutStateName.CREATED: "Created",
    PayoutStateName.IN_PROCESS: IN_PROCESS,
    PayoutStateName.SENT_TO_BANK: "SentToBank",
    PayoutStateName.COMPLETED: "Completed",
    PayoutStateName.FAILED: "Failed",
    PayoutStateName.ERROR: "Error",
    PayoutStateName.CANCELLED: "Canceled",
    PayoutStateName.DELETED: "Deleted",
    PayoutStateName.NOT_ENOUGH_MONEY: "NotEnoughMoney",
}
"""The enumeration MassPaymentOperationState (section 7)."""


def state_word(name: PayoutStateName, generation: Generation, method: Method, forced: str | None = None) -> str:
    """The wire's word for a state. While a payout is under way the old ExecuteOperation says `InProgress`, every other method
    `InProcess` (quirk I2), unless a setting has `forced` one of the two everywhere.

    Raises AssertionError for UNKNOWN, which nobody may send, and for a forced word that is neither.
    """
    if forced not in (None, IN_PROCESS, IN_PROGRESS):
        raise AssertionError("the forced word is neither InProcess nor InProgress")
    if name is PayoutStateName.UNKNOWN:
        raise AssertionError("an unknown state has no word to send")
    if name is not PayoutStateName.IN_PROCESS:
        return STATE_WORDS[name]
    if forced is not None:
        return forced
    return IN_PROGRESS if generation is Generation.OLD and method is Method.EXECUTE else IN_PROCESS


def read_state_word(word: str) -> PayoutStateName:
    """A state from the wire, in any case; `InProgress` is `InProcess`; UNKNOWN for any other word."""
    return _NAMES.get(word.strip(WHITE_SPACE).lower(), PayoutStateName.UNKNOWN)


@dataclass(frozen=True, slots=True)
class PayoutOperationData:
    """The Result of create, execute and state: the payout's GUID in lower case and its state in the wire's word."""

    payout_operation_id: str
    state: str


@dataclass(frozen=True, slots=True)
class TokenData:
    """The Result of getUserToken."""

    user_token: str = field(repr=False)


def refusal_desc(word: str, text: str) -> str:
    """A Desc that programs and people can read: `[TOKEN_EXPIRED] the token has expired` (section 8)."""
    if _SHORT_CODE.fullmatch(word) is None:
        raise AssertionError("a refusal's short code is capital letters, digits and underscores")
    return f"[{word}] {text}"


def encode_answer(
    *,
    code: int,
    desc: str,
    operation_id: str,
    result: PayoutOperationData | TokenData | None,
    eshop_id: int | None,
    with_eshop_id: bool,
    as_json: bool,
    state_code: int = 0,
    state_desc: str = "",
) -> WireAnswer:
    """One answer. `operation_id` is a fresh GUID of the call, not the payout's. `with_eshop_id`: send EshopId, null when it is
    None; the old generation leaves it out (quirk I8). An empty desc is filled in: clients break on null, and some on ''.

    Raises AssertionError for a Result beside a code that is not 0, and a 0 without one.
    """
    if (code == HANDLED) is not (result is not None):
        raise AssertionError("a Result goes with code 0, and with no other")
    envelope: Fields = [("OperationState", _state(code, desc)), ("OperationId", operation_id)]
    if with_eshop_id and (as_json or eshop_id is not None):  # XML has no null: there it is left out
        envelope.append(("EshopId", eshop_id))
    envelope.append(("Result", None if result is None else _result(result, _state(state_code, state_desc))))
    if as_json:
        return WireAnswer(200, JSON, msgspec.json.encode(_object(envelope)))
    return WireAnswer(200, XML_ANSWER, write_xml("Response", envelope))


@dataclass(frozen=True, slots=True)
class Answer:
    """What a provider answered, in neutral terms. The texts are its own, cleaned of control characters and cut.

    `state` is None when the answer holds none, UNKNOWN for a word that is not in the table; `state_text` is that word as sent.
    `state_code` is None when there was no Result or no State in it: then the call did not succeed.
    """

    code: int
    desc: str
    operation_id: str | None = None
    eshop_id: int | None = None
    state_code: int | None = None
    state_desc: str = ""
    payout_operation_id: str | None = None
    state: PayoutStateName | None = None
    state_text: str = ""
    user_token: str | None = field(default=None, repr=False)

    @property
    def succeeded(self) -> bool:
        """Both codes are 0 (section 3, quirk I10)."""
        return self.code == HANDLED and self.state_code == 0


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An answer that says nothing: treat it as no answer. `why` is ours and holds no value of the answer."""

    why: str


def decode_answer(raw: bytes, http_status: int) -> Answer | Unreadable:
    """Read an answer to any method. Never raises. Any HTTP status but 200 is Unreadable, whatever the body says (section 8)."""
    if http_status != 200:
        return Unreadable(f"HTTP status {http_status}")
    if len(raw) > MAX_BYTES:
        return Unreadable("the answer is too large")
    try:
        return _answer(_envelope(raw))
    except Malformed as malformed:
        return Unreadable(str(malformed))


_DEFAULT_DESC = {HANDLED: "Success", QUEUED: "Process", NOT_HANDLED: "Error"}
_NAMES = {word.lower(): name for name, word in STATE_WORDS.items()} | {IN_PROGRESS.lower(): PayoutStateName.IN_PROCESS}
_SHORT_CODE = re.compile("[A-Z][A-Z0-9_]{0,39}")
_INTEGER = re.compile("-?[0-9]{1,18}")
_TOKEN = re.compile("[!-~]{1,4096}")
_TEXT_LENGTH = 500
_XML_DEPTH = 5

Fields = list[tuple[str, XmlContent]]


def _state(code: int, desc: str) -> Fields:
    return [("Code", code), ("Desc", desc or _DEFAULT_DESC.get(code, "Error"))]


def _result(result: PayoutOperationData | TokenData, state: Fields) -> Fields:
    if isinstance(result, TokenData):
        return [("State", state), ("UserToken", result.user_token)]
    return [
        ("State", state),
        ("PayoutOperationId", result.payout_operation_id),
        ("PayoutOperationState", result.state),
    ]


def _object(fields: XmlContent) -> object:
    return {name: _object(content) for name, content in fields} if isinstance(fields, list) else fields


def _envelope(raw: bytes) -> JsonValue:
    """The answer's tree with every name in lower case, whichever format it came in."""
    if raw.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"<":
        return _tree_of_xml(read_xml(raw, max_depth=_XML_DEPTH))
    return _tree_of_json(read_json_object(raw, strict_text=False))


def _tree_of_xml(element: XmlElement) -> JsonValue:
    if not element.children:
        return element.text
    return _folded((child.name, _tree_of_xml(child)) for child in element.children)


def _tree_of_json(value: JsonValue) -> JsonValue:
    if isinstance(value, dict):
        return _folded((name, _tree_of_json(inner)) for name, inner in value.items())
    return value


def _folded(members: Iterable[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    tree: dict[str, JsonValue] = {}
    for name, value in members:
        key = name.lower() if name.isascii() else name
        if key in tree:
            raise Malformed("stands twice in the answer", name)
        tree[key] = value
    return tree


def _answer(tree: JsonValue) -> Answer:
    envelope = _section(tree, "the answer")
    outer = _section(envelope.get("operationstate"), "OperationState")
    result = _section(envelope.get("result"), "Result")
    inner = _section(result.get("state"), "State")
    payout = _text(result.get("payoutoperationid"), "PayoutOperationId")
    word = _text(result.get("payoutoperationstate"), "PayoutOperationState")
    code = _integer(outer.get("code"))
    if code is None:
        raise Malformed("is no number", "Code")
    return Answer(
        code=code,
        desc=_text(outer.get("desc"), "Desc"),
        operation_id=_guid_or_none(envelope.get("operationid")),
        eshop_id=_integer(envelope.get("eshopid")),
        state_code=_integer(inner.get("code")),
        state_desc=_text(inner.get("desc"), "Desc"),
        payout_operation_id=read_guid(payout) if payout else None,
        state=read_state_word(word) if word else None,
        state_text=word,
        user_token=_token(result.get("usertoken")),
    )


def _section(value: JsonValue, name: str) -> dict[str, JsonValue]:
    if isinstance(value, dict):
        return value
    if value is None or value == "":  # an XML element without content is as good as null
        return {}
    raise Malformed("is not an object", name)


def _text(value: JsonValue, name: str) -> str:
    """Prose from outside, fit to be stored: null is '', whatever is not printable becomes a space, and it is cut."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Malformed("is not a text", name)
    return "".join(c if c.isprintable() else " " for c in value[:_TEXT_LENGTH]).strip(" ")


def _integer(value: JsonValue) -> int | None:
    """A number, or digits as text (section 3); None for anything else."""
    return int(value) if isinstance(value, str) and _INTEGER.fullmatch(value.strip(WHITE_SPACE)) else None


def _guid_or_none(value: JsonValue) -> str | None:
    """The id of the call serves the logs alone, so one that cannot be read is not worth losing the answer for."""
    try:
        return read_guid(value.strip(WHITE_SPACE)) if isinstance(value, str) else None
    except Malformed:
        return None


def _token(value: JsonValue) -> str | None:
    if value is None or value == "":
        return None
    token = whole_token(value, url_encoded=False) if isinstance(value, str) else ""
    if _TOKEN.fullmatch(token) is None:
        raise Malformed("is no token", "UserToken")
    return token
