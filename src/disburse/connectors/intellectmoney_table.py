"""What IntellectMoney's answers mean: the decision table as data (`intellectmoney_decisions.toml`), read and looked up.

Lives here: the table's shape, its reading, and looking an answer up in it, which says what an answer *means* and whether to
alert. May not live here: what the connector does about it. What is not in the table is doubt and an alert (invariant E6); a
text of the provider's is matched by its beginning against the table alone, and never kept, logged or passed on.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Literal

import msgspec

from disburse.domain.refusals import Refusal
from disburse.protocols.intellectmoney_answers import Answer

_SHIPPED = "intellectmoney_decisions.toml"


class Call(StrEnum):
    """What is asked of a provider about a payout."""

    CREATE = "create"
    EXECUTE = "execute"
    ASK = "ask"


class Meaning(StrEnum):
    """What an answer says."""

    MADE = "made"
    NOT_EXECUTED = "not_executed"
    ACCEPTED = "accepted"
    SETTLED = "settled"
    REJECTED = "rejected"
    ELSEWHERE = "elsewhere"
    TOKEN = "token"  # noqa: S105 (a word of the table)
    CHANNEL = "channel"
    LATER = "later"
    REFUSED = "refused"
    DOUBT = "doubt"


@dataclass(frozen=True, slots=True)
class Decision:
    """`why` and `reason` are words of ours or of the table: they may be stored, shown and logged."""

    means: Meaning
    why: str
    reason: str = ""
    alert: bool = False


class BadDecisions(Refusal):
    """The decision table cannot be used."""


class _State(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    means: Literal["made", "not_executed", "accepted", "settled", "rejected", "doubt"]
    reason: str = ""
    alert: bool = False


class _Refusal(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    begins: str
    means: Literal["token", "channel", "later", "rejected", "elsewhere"]
    reason: str = ""
    alert: bool = False


_Code = Literal["handled", "queued", "refused"]


class _File(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    version: str
    codes: dict[str, _Code]
    inner_codes: dict[str, _Code]
    states: dict[Literal["create", "execute", "ask"], dict[str, _State]]
    refusals: list[_Refusal]


class DecisionTable:
    """One version of the table."""

    def __init__(self, file: _File) -> None:
        """Raises BadDecisions for an end without a reason, and ValueError for a code that is no number."""
        self.version = file.version
        self._codes = {int(code): means for code, means in file.codes.items()}
        self._inner = {int(code): means for code, means in file.inner_codes.items()}
        self._states = {Call(call): _by_word(call, rows) for call, rows in file.states.items()}  # without case
        self._refusals = [(row.begins.casefold(), row) for row in file.refusals]
        for row in file.refusals:
            if not row.begins.strip() or (row.means in ("rejected", "elsewhere") and not row.reason):
                raise BadDecisions("The decision table has a refusal without its beginning, or without a reason.")

    def decide(self, call: Call, answer: Answer) -> Decision:
        """What an answer to this call means."""
        for code, codes, text in (
            (answer.code, self._codes, answer.desc),
            (answer.state_code, self._inner, answer.state_desc),
        ):
            if code is None:
                return Decision(Meaning.DOUBT, "an answer without a state code", alert=True)
            match codes.get(code):
                case "handled":
                    continue
                case "queued":
                    return Decision(Meaning.DOUBT, f"queued, code {code}")
                case "refused":
                    return self._refused(call, code, text)
                case _:
                    return Decision(Meaning.DOUBT, f"unlisted code {code}", alert=True)
        return self._state(call, answer)

    def _state(self, call: Call, answer: Answer) -> Decision:
        listed = self._states.get(call, {}).get(answer.state_text.lower())
        if listed is None:
            return Decision(Meaning.DOUBT, f"unlisted state {_shown(answer.state_text)}", alert=True)
        word, row = listed
        return Decision(Meaning(row.means), f"state {word}", row.reason, row.alert)

    def _refused(self, call: Call, code: int, text: str) -> Decision:
        """A refused create made nothing. A refused execute or question says nothing about the payout (section 8)."""
        folded = text.casefold()
        for begins, row in self._refusals:
            if folded.startswith(begins):
                means, alert = Meaning(row.means), row.alert or row.means == "channel"
                if call is not Call.CREATE and means is not Meaning.TOKEN:
                    means = Meaning.DOUBT
                return Decision(means, f"refused, {row.begins}", row.reason, alert)
        return Decision(Meaning.REFUSED, f"refused, code {code}, for a reason that is not in the table", alert=True)


def load_decisions(path: Path | None = None) -> DecisionTable:
    """The table that ships, or an operator's. Raises BadDecisions, also when the file cannot be read."""
    try:
        raw = (resources.files(__package__).joinpath(_SHIPPED) if path is None else path).read_bytes()
    except OSError as fault:
        raise BadDecisions(f"The decision table {path} cannot be read: {fault.strerror}.") from None
    try:
        return _read(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as fault:
        raise BadDecisions(f"The decision table {path or _SHIPPED} is wrong: {fault}.") from None


@lru_cache(maxsize=4)
def _read(raw: bytes) -> DecisionTable:
    """The same bytes give the same table, which nobody changes: it is read once for all connectors."""
    return DecisionTable(msgspec.toml.decode(raw, type=_File))


def _by_word(call: str, rows: dict[str, _State]) -> dict[str, tuple[str, _State]]:
    for word, row in rows.items():
        if row.means == "rejected" and not row.reason:
            raise BadDecisions(f"The decision table gives {word} after {call} no reason.")
    return {word.lower(): (word, row) for word, row in rows.items()}


def _shown(word: str) -> str:
    """A provider's word, if it is plainly one; else it may be anything, and is not repeated."""
    return word if word.isascii() and word.isalpha() and len(word) <= 40 else "(no plain word)"
