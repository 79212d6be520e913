"""What a chaos run ends with. Lives here: its figures, what it wanted of them, and how a person is shown them."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from scripts.chaos.plan import PER

WANTED_PROCESS_KILLS, WANTED_DATABASE_KILLS = 100, 20
"""In a run of `PER` seconds; of a shorter or longer one in proportion."""

WANTED_PER_S = 1.0
"""So many payouts a second must have been acknowledged, on average and through all the faults."""

WITHIN_S: Final = 30.0
"""So long after the last fault nothing may be in doubt and every payout must have come to its end."""


@dataclass
class Outcome:
    """Everything a run found out. `wrong` is what makes it fail; `skipped` is what it could not do here, and why."""

    seed: int
    seconds: float
    done: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)
    targets: Counter[str] = field(default_factory=Counter)
    skipped: list[str] = field(default_factory=list)
    asked: int = 0
    acknowledged: int = 0
    left_at_stop: dict[str, int] = field(default_factory=dict)
    sure_after_s: float | None = None
    over_after_s: float | None = None
    returns_after_s: float | None = None
    restarts_s: dict[str, list[float]] = field(default_factory=dict)
    by_itself: dict[str, int] = field(default_factory=dict)
    away_s: list[float] = field(default_factory=list)
    versions: str = ""
    checker: str = ""
    wrong: list[str] = field(default_factory=list)

    @property
    def process_kills(self) -> int:
        return self.done["kill"] + 2 * self.done["kill while it starts"]

    @property
    def database_kills(self) -> int:
        return self.done["kill database"] + self.done["kill keeper"]

    def judge(self) -> None:
        """Add to `wrong` what the figures lack."""
        share = min(1.0, self.seconds / PER)
        if self.process_kills < int(WANTED_PROCESS_KILLS * share):
            self.wrong.append(f"{self.process_kills} process kills prove too little")
        if self.database_kills < int(WANTED_DATABASE_KILLS * share):
            self.wrong.append(f"{self.database_kills} kills of PostgreSQL prove too little")
        if self.acknowledged < WANTED_PER_S * self.seconds:
            self.wrong.append(f"{self.acknowledged} acknowledged payouts prove too little")
        for what, took_s in (("in doubt", self.sure_after_s), ("without an end", self.over_after_s)):
            if took_s is None or took_s > WITHIN_S:
                self.wrong.append(f"{WITHIN_S:.0f} s after the last fault some payouts were still {what} (took {_seconds(took_s)})")

    def lines(self) -> list[str]:
        """The final table."""
        made = self.rows()
        width = max(len(name) for name, _ in made)
        return [f"{name:<{width}}  {value}" for name, value in made]

    def rows(self) -> list[tuple[str, str]]:
        """Every figure with its name."""
        made = [("seed, seconds", f"{self.seed}, {self.seconds:.0f} ({self.versions})")]
        made += [(f"  {kind}", f"{count}" + self._missed(kind)) for kind, count in sorted(self.done.items())]
        made += [
            ("process kills", f"{self.process_kills}"),
            ("PostgreSQL kills", f"{self.database_kills}"),
            ("payouts asked for, acknowledged", f"{self.asked}, {self.acknowledged}"),
            ("open when the faults stopped", ", ".join(f"{n} {state}" for state, n in self.left_at_stop.items()) or "none"),
            ("nothing in doubt after", _seconds(self.sure_after_s)),
            ("every payout over after", _seconds(self.over_after_s)),
            ("returned money heard of after", _seconds(self.returns_after_s)),
            ("PostgreSQL back after a kill", _spread(self.away_s)),
        ]
        made += [(f"{name} back after a kill", _spread(times)) for name, times in self.restarts_s.items()]
        made += [(f"{name} ended by itself", f"{count} times (database or port away while it started)") for name, count in self.by_itself.items() if count]
        return [*made, ("checker", self.checker), ("wrong", f"{len(self.wrong)}")]

    def _missed(self, kind: str) -> str:
        return f" ({self.missed[kind]} more found nobody)" if self.missed[kind] else ""


def _seconds(value: float | None) -> str:
    return "never" if value is None else f"{value:.1f} s"


def _spread(values: Sequence[float]) -> str:
    return f"median {statistics.median(values):.1f} s, longest {max(values):.1f} s" if values else "-"
