"""What the auditor is told beside the three truths where merchants have rules: the rules, what was asked for when, what persons said.

Lives here: plain shapes, filled in by whoever makes a simulation, and by the database's clock. Nothing in them is read from our tables.
May not live here: judgement (`rules.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, tzinfo


@dataclass(frozen=True, slots=True)
class Limit:
    """At most so much (minor units), or so many. `period`: payout, day or month; `scope`: all, payee, or a rail."""

    period: str
    scope: str
    sum_minor: int | None = None
    count: int | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """On a rail (or `any`), above so many minor units, so many persons."""

    rail: str
    above_minor: int
    persons: int


@dataclass(frozen=True, slots=True)
class Rules:
    """One merchant's. `by_itself`: what lacked money is executed once there is some."""

    zone: tzinfo
    limits: tuple[Limit, ...] = ()
    policies: tuple[Policy, ...] = ()
    by_itself: bool = False


@dataclass(frozen=True, slots=True)
class Asked:
    """What a program asked for by a reference: where to, when, and who has it executed (None: the program itself)."""

    rail: str
    payee: str
    execute_at: datetime | None
    maker: str | None = None


@dataclass(slots=True)
class Word:
    """What a person said. `shown`: the text that stood on the screen. `taken`: whether the product took it; None: nobody knows."""

    person: str
    subject: str
    shown: str
    yes: bool
    taken: bool | None = None


@dataclass(slots=True)
class Rulebook:
    """All of one run. `earliest`, `latest`: the moments between which the database's clock ever was; `now`: the last one it showed."""

    now: datetime
    latest: datetime
    earliest: datetime | None = None
    rules: dict[int, Rules] = field(default_factory=dict)
    asked: dict[tuple[int, str], Asked] = field(default_factory=dict)
    words: list[Word] = field(default_factory=list)
    held: dict[str, datetime] = field(default_factory=dict)
    """When a payout was first seen with its money held, by payout id: the auditor's own note."""

    def shows(self, moment: datetime) -> datetime:
        """The database's clock shows this now; it is handed on."""
        self.now = moment
        if moment > self.latest:
            self.latest = moment
        if self.earliest is None or moment < self.earliest:
            self.earliest = moment
        return moment
