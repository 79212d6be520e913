"""What a corpus is made of, in plain types of its own: payouts, files of rows, and the truth about each row.

Lives here: data and how it is looked at. May not live here: anything drawn, anything of the product. A `File` carries no truth
and nothing in it says what was planted, so a guard may be handed it whole; truth lies apart, under the row's key.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

DEAD: Final = frozenset({"failed", "cancelled", "expired", "returned"})
"""States in which no money is with the payee, nor may come to him: the obligation stands again."""

TAKES: Final = timedelta(minutes=4)
"""From a payout's making to its being paid, when it is."""

RowKey = tuple[str, int]
"""A file's id and a line in it, from 1."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where money lands: `number` is normalised; `bank` is the SBP member or the BIK."""

    rail: str
    number: str
    bank: str | None = None


@dataclass(frozen=True, slots=True)
class Payout:
    """A payout that exists. `state` is its last state; `finished_at` is when that was reached, None while it is not final.

    `file` and `line` say which row it came of; both are None for what a program or a person ordered one by one, and `channel`
    is "registry", "api" or "console". `amount_minor` is in minor units (kopecks; millionths for USDT).
    """

    id: str
    merchant: str
    reference: str | None
    place: Place
    name: str | None
    amount_minor: int
    currency: str
    comment: str
    created_at: datetime
    state: str
    finished_at: datetime | None
    channel: str
    file: str | None = None
    line: int | None = None

    def state_at(self, moment: datetime) -> str:
        """The state that whoever looked then saw."""
        if self.finished_at is None or self.finished_at <= moment:
            return self.state
        return "paid" if self.state == "returned" and self.created_at + TAKES <= moment else "in_flight"


@dataclass(frozen=True, slots=True)
class Row:
    """A line of a file, as it reads after normalising, and as the amount and number were written."""

    line: int
    reference: str | None
    place: Place
    name: str | None
    amount_minor: int
    currency: str
    comment: str
    amount_text: str
    number_text: str


@dataclass(frozen=True, slots=True)
class File:
    """A registry that a merchant hands in. `separator`, `encoding` and `header` are how its bytes look (`writing.py`)."""

    id: str
    merchant: str
    name: str
    uploaded_at: datetime
    separator: str
    encoding: str
    header: bool
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Truth:
    """What a row is. `kind` is a name of `kinds.py`. `like` names what it repeats: payouts' ids, or "file:line" of this file.

    A row is a duplicate when each of its `obligations` was already discharged by a payout that is alive, or by an earlier row of
    the file. An obligation is one debt to one person: this month's wage, that invoice, the first of its two parts.
    """

    kind: str
    duplicate: bool
    like: tuple[str, ...]
    obligations: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Corpus:
    """Everything of one seed. `payouts` are in order of time, and so are `files`; rows that are duplicates became no payout."""

    seed: int
    payouts: Sequence[Payout]
    files: Sequence[File]
    truth: Mapping[RowKey, Truth]
    discharges: Mapping[str, tuple[str, ...]]
    """Obligations by payout's id. This is truth too: a guard may not see it."""

    def seen_by(self, file: File) -> Sequence[Payout]:
        """The payouts of all merchants that existed when a file came in."""
        return self.payouts[: bisect_left(self.payouts, file.uploaded_at, key=lambda payout: payout.created_at)]

    @property
    def rows(self) -> int:
        """How many rows are to be judged."""
        return sum(len(file.rows) for file in self.files)
