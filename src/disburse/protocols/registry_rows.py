"""What a registry file says, row by row: the words that its readers and those who use them share.

Lives here: `Row`, `Fault`, `Refused`, `Limits`, `Found`, `Declared`, and the one way a piece of a file is shown. May not live here: how a
kind of file is read (`registry_read.py` and the files that it chooses from), whether a row can be paid (`domain/registry.py`).

A fault belongs to one row, and the others go on. `Refused` speaks of the whole file: rows that were given before it was raised are
void, since a file that cannot be read to its end is no registry. Whoever stores rows while they come must be able to drop them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, Literal

import msgspec

Kind = Literal["csv", "xlsx", "unitpay", "jsonl"]
"""The forms of registry files; `docs/how-to/registries.md` describes each."""

_LONGEST_SHOWN: Final = 40
_SECRETS: Final = re.compile(r"[^\W_](?:[\s()./-]{0,3}\d){8,}|[^\W_]{20,}")
"""A letter or digit and eight more digits, however they are grouped, or any long word: it could be a card, a phone, a purse, an address."""


class Fault(msgspec.Struct, frozen=True, gc=False):
    """One thing wrong with one field of one row. `value` is what may be shown: masked and cut. `why` reads after the field's name."""

    field: str
    value: str
    why: str


class Row(msgspec.Struct, frozen=True, gc=False):
    """One row as the file says it: text that nobody has judged yet.

    `number` counts rows from 1, `line` is where it stands in the file (for a sheet its row there). `destination` has the fields that
    `/v1/payouts` takes for the rail (`number`; `phone` and `bank`; `purse`; `wallet`; `address`; `account` and `bik`; and `name`), only
    those that are not empty; for a rail that nobody knows whatever was given. `rail`, `amount_text` and `currency` are "" when the
    file says nothing; `reference`, `comment` and `execute_at` are None then. `faults` are those of form; a row that has one is never paid.
    """

    number: int
    line: int
    reference: str | None
    rail: str
    destination: Mapping[str, str]
    amount_text: str
    currency: str
    comment: str | None = None
    execute_at: str | None = None
    faults: tuple[Fault, ...] = ()

    def __repr__(self) -> str:
        return f"Row({self.number}, line {self.line}, {len(self.faults)} faults)"  # the rest may be a payee's card number


class Declared(msgspec.Struct, frozen=True):
    """What a control row of the file says of all rows: how many, and the sum of one currency; "" where it names none."""

    line: int
    count: int
    sum_text: str
    currency: str


class Found(msgspec.Struct, frozen=True):
    """How a file was understood, for people to see before anything is paid. Empty text is "does not apply to this kind"."""

    kind: Kind
    encoding: str = ""
    separator: str = ""
    header: bool = False
    columns: tuple[str, ...] = ()
    sheet: str = ""


class Limits(msgspec.Struct, frozen=True):
    """How much is read before a file is refused, or a row has a fault. Nothing that is read takes more memory than these allow.

    `sheet_*` are for XLSX, where a small file may unpack into a large one: its own size, what may be unpacked, rows.
    """

    bytes: int = 2 * 1024**3
    rows: int = 5_000_000
    columns: int = 100
    field: int = 2_000
    line: int = 64 * 1024
    sheet_bytes: int = 16 * 1024**2
    sheet_unpacked: int = 128 * 1024**2
    sheet_ratio: int = 100
    sheet_rows: int = 100_000


DEFAULT_LIMITS: Final = Limits()


class Options(msgspec.Struct, frozen=True):
    """What a person says about a file when looking at it is not enough; None lets us look.

    `separator`: ",", ";" or a tab. `encoding`: utf-8, utf-16-le, utf-16-be or windows-1251. `header`: whether the first row is one.
    `sheet`: the name of the sheet to read. `currency`: of rows whose file has no column for it (UnitPay's layout: RUB unless told).
    """

    separator: str | None = None
    encoding: str | None = None
    header: bool | None = None
    sheet: str | None = None
    currency: str = ""


DEFAULT_OPTIONS: Final = Options()


class Refused(Exception):
    """The whole file cannot be taken. The text says what is wrong and what to do, and repeats nothing that could be secret.

    `line` is where in the file (in a sheet: its row), None when it is about the file as a whole.
    """

    def __init__(self, why: str, *, line: int | None = None) -> None:
        self.why, self.line = why, line
        super().__init__(f"Line {line}: {why}" if line is not None else why)


def shown(text: str) -> str:
    """A piece of a file as it may stand in a message or a log: cut, on one line, without numbers that could be a payee's."""
    plain = "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in _SECRETS.sub("***", text[: _LONGEST_SHOWN * 4]))
    return plain if len(plain) <= _LONGEST_SHOWN and len(text) <= _LONGEST_SHOWN * 4 else plain[: _LONGEST_SHOWN - 3] + "..."
