"""Planned rows as bytes that `COPY ... (FORMAT binary)` takes: written once where a row is drafted, and passed on as they are.

Lives here: the order and types of a row's columns in those bytes, and turning a drafted good row into a held or a bad one. May not live here:
what a row says (`operations/registry_draft.py`), the statement that copies (`registries.py`).

A field is its length in four bytes (-1: NULL) and its bytes. The columns are `ROW_COLUMNS`; the tests compare with what the database reads.
"""

from __future__ import annotations

import struct
from datetime import UTC, datetime
from typing import Final

ROW_COLUMNS: Final = (
    "shard", "registry_id", "number", "line", "verdict", "reference", "rail", "currency", "amount_minor", "fee_minor", "amount_text",
    "display", "comment", "route", "payout_id", "base", "fingerprint", "destination_digest", "sealed", "execute_at", "faults",
    "questions",
)  # fmt: skip
"""What a planned row is made of, in the order in which it is copied."""
NAME_COLUMNS: Final = ("shard", "payout_id", "person", "patronymic", "short")
"""What the keyed name of a row is made of (`duplicates.py`)."""

HEADER: Final = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
TRAILER: Final = b"\xff\xff"

_NULL: Final = b"\xff\xff\xff\xff"
_GOOD, _BAD, _HELD = (len(word).to_bytes(4, "big") + word for word in (b"good", b"bad", b"held"))
_HEAD: Final = struct.Struct(">hihi16s")
_PLACE: Final = struct.Struct(">iiii")
_MONEY: Final = struct.Struct(">iqiq")
_KEYS: Final = struct.Struct(">i16si28si16si16si")
_NAME: Final = struct.Struct(">hihi16siqihiq")
_VERDICT_AT: Final = _HEAD.size + _PLACE.size
_REFERENCE_AT: Final = _VERDICT_AT + len(_GOOD)
_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)


def _text(text: str | None) -> bytes:
    if text is None:
        return _NULL
    encoded = text.encode()
    return len(encoded).to_bytes(4, "big") + encoded


class RowWriter:
    """Writes the rows of one registry."""

    def __init__(self, shard: int, registry: bytes) -> None:
        self._head = _HEAD.pack(len(ROW_COLUMNS), 2, shard, 16, registry)
        self._words: dict[str | None, bytes] = {}

    def good(
        self, number: int, line: int, reference: str, rail: str, currency: str, minor: int, fee: int, amount_text: str, display: str,
        comment: str | None, route: str | None, payout: bytes, base: str, fingerprint: bytes, destination: bytes, sealed: bytes,
        execute_at: datetime | None,
    ) -> bytes:  # fmt: skip
        """A row that may be paid. `payout` is its id's 16 bytes."""
        cut, amount, shown = reference.encode(), amount_text.encode(), display.encode()
        return b"".join((
            self._head, _PLACE.pack(4, number, 4, line), _GOOD, len(cut).to_bytes(4, "big"), cut, self._word(rail), self._word(currency),
            _MONEY.pack(8, minor, 8, fee), len(amount).to_bytes(4, "big"), amount, len(shown).to_bytes(4, "big"), shown, _text(comment),
            self._word(route), _KEYS.pack(16, payout, 28, base.encode(), 16, fingerprint, 16, destination, len(sealed)), sealed,
            _NULL if execute_at is None else _moment(execute_at), _NULL, _NULL,
        ))  # fmt: skip

    def bad(self, number: int, line: int, reference: str | None, faults: str) -> bytes:
        """A row that cannot be paid. `faults`: a JSON list."""
        return self._head + _PLACE.pack(4, number, 4, line) + _BAD + _text(reference) + _NULL * 14 + _text(faults) + _NULL

    def _word(self, word: str | None) -> bytes:
        found = self._words.get(word)
        if found is None:
            found = self._words[word] = _text(word)
        return found


def _moment(at: datetime) -> bytes:
    since = at - _EPOCH
    return struct.pack(">iq", 8, (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds)


def as_held(row: bytes, questions: str) -> bytes:
    """A good row that is asked about. `questions`: a JSON list."""
    return row[:_VERDICT_AT] + _HELD + row[_REFERENCE_AT : -len(_NULL)] + _text(questions)


def as_bad(row: bytes, faults: str) -> bytes:
    """A good row that turned out to be none: of what its payout would be nothing is left."""
    length = int.from_bytes(row[_REFERENCE_AT : _REFERENCE_AT + 4], "big")
    return row[:_VERDICT_AT] + _BAD + row[_REFERENCE_AT : _REFERENCE_AT + 4 + length] + _NULL * 14 + _text(faults) + _NULL


def line_of(row: bytes) -> int:
    """The line of the file that a row stands on."""
    return int.from_bytes(row[_VERDICT_AT - 4 : _VERDICT_AT], "big")


def reference_of(row: bytes) -> str:
    """The reference of a good row."""
    length = int.from_bytes(row[_REFERENCE_AT : _REFERENCE_AT + 4], "big")
    return row[_REFERENCE_AT + 4 : _REFERENCE_AT + 4 + length].decode()


def name_row(shard: int, payout: bytes, person: int, patronymic: int, short: int) -> bytes:
    """The keyed name of a row, by the payout that it may become."""
    return _NAME.pack(len(NAME_COLUMNS), 2, shard, 16, payout, 8, person, 2, patronymic, 8, short)
