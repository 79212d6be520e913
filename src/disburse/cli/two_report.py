"""What `demo-two` ends with. Lives here: the figures of the whole story, whether they agree, and how a person is shown them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

from rich.box import ROUNDED
from rich.panel import Panel
from rich.table import Table

from disburse.cli import show
from disburse.cli.two_books import Compared
from disburse.domain.money import Money
from disburse.operations.verify import Report

LEAST_RATIO: Final = 0.5
"""Whole lives a second with every tenth call cut, of those on a calm line."""

WITHIN_S: Final = 60.0
"""Nothing may be in doubt so long after the faults stopped."""

_SHOWN: Final = 20


@dataclass(slots=True)
class Lap:
    """One measured stretch: so many lives; seconds until nine tenths of them, and all of them, were over."""

    name: str
    lives: int
    most_s: float
    all_s: float

    @property
    def per_s(self) -> float:
        return 0.9 * self.lives / self.most_s


@dataclass(slots=True)
class Outcome:
    """Everything the story found out, and what is wrong with it."""

    seed: int
    payouts: int
    laps: list[Lap] = field(default_factory=list)
    met: Counter[str] = field(default_factory=Counter)
    killed_with: int = 0
    doubts_at_stop: int = 0
    clear_after_s: float | None = None
    over_after_s: float = 0.0
    compared: Compared = field(default_factory=Compared)
    verified: dict[str, Report] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def ratio(self) -> float | None:
        """Lives a second on a cut line, of those on a calm one, over all stretches; None where too few were paid to measure."""
        calm, cut = (_per_s([lap for lap in self.laps if lap.name == name]) for name in ("calm", "cut"))
        return cut / calm if calm and cut else None

    @property
    def faults(self) -> list[str]:
        """Why it does not agree; empty when it does."""
        told = self.wrong + self.compared.wrong
        for house in ("A", "B"):
            report = self.verified.get(house)
            if report is None:
                told.append(f"{house}'s invariants were not checked")
            else:
                told += [f"{house}: {one.check}: {one.sentence}" for one in report.findings]
        if self.clear_after_s is None:
            told.append(f"something was still in doubt {WITHIN_S:.0f} s after the faults stopped")
        if self.ratio is not None and self.ratio < LEAST_RATIO:
            told.append(f"the cut line carries {self.ratio:.2f} of the calm one's lives, less than {LEAST_RATIO}")
        return told

    def as_json(self) -> dict[str, Any]:
        laps = [
            {"line": lap.name, "lives": lap.lives, "per_s": round(lap.per_s, 1), "all_s": round(lap.all_s, 1)} for lap in self.laps
        ]
        return {
            "agrees": not self.faults,
            "wrong": self.faults,
            "seed": self.seed,
            "payouts": self.payouts,
            "attempts": self.compared.attempts,
            "lines_compared": self.compared.lines,
            "paid": sum(way[4] for way in self.compared.ways),
            "failed": sum(way[5] for way in self.compared.ways),
            "paid_rub": Money(self.compared.paid_minor, "RUB").text(),
            "never_executed_at_b": self.compared.orphans,
            "line": dict(sorted(self.met.items())),
            "open_or_in_doubt_at_the_kill": self.killed_with,
            "in_doubt_when_the_faults_stopped": self.doubts_at_stop,
            "clear_after_s": None if self.clear_after_s is None else round(self.clear_after_s, 1),
            "all_over_after_s": round(self.over_after_s, 1),
            "invariants": {house: len(report.checks) for house, report in self.verified.items()},
            "laps": laps,
            "ratio": None if self.ratio is None else round(self.ratio, 2),
            "seconds": round(self.seconds, 1),
        }


def _per_s(laps: list[Lap]) -> float:
    """Lives a second over some stretches together; 0 where there is none."""
    return 0.9 * sum(lap.lives for lap in laps) / sum(lap.most_s for lap in laps) if laps else 0.0


def print_outcome(told: Outcome) -> None:
    """The closing tables."""
    console = show.console()
    table = Table(box=ROUNDED, title="Three books", show_footer=True)
    columns = list(zip(*told.compared.ways, strict=True)) or [()] * 6
    table.add_column("amount", "all")
    for name, column in zip(("payouts", "bank paid", "B: paid", "A: paid", "A: failed"), columns[1:], strict=True):
        table.add_column(name, str(sum(column)), justify="right")
    for way, *counts in told.compared.ways:
        table.add_row(f".{way:02d}", *[str(count) for count in counts])
    console.print(table)
    line = Table(box=ROUNDED, title="What the line did")
    for name in ("what", "times"):
        line.add_column(name, justify="right" if name == "times" else "left")
    for what, times in sorted(told.met.items()):
        line.add_row(what, str(times))
    console.print(line)
    if told.laps:
        laps = Table(box=ROUNDED, title="Whole lives")
        for name in ("line", "lives", "a second", "all over after"):
            laps.add_column(name, justify="left" if name == "line" else "right")
        for lap in told.laps:
            laps.add_row(lap.name, str(lap.lives), f"{lap.per_s:.1f}", f"{lap.all_s:.1f} s")
        console.print(laps)
    faults = told.faults
    if faults:
        more = [f"and {len(faults) - _SHOWN} more"] if len(faults) > _SHOWN else []
        console.print(Panel("\n".join([*map(show.plain, faults[:_SHOWN]), *more]), title="The books do not agree",
                            border_style="red", expand=False))  # fmt: skip
        return
    ratio = f"\nA line that cuts every tenth call carries {told.ratio:.2f} of the lives a second." if told.ratio is not None else ""
    text = (
        f"{told.payouts} payouts: A, B and the bank agree on each of them, {told.compared.lines} lines in all; nobody was paid twice.\n"
        f"{told.compared.orphans} operations at B, whose making A did not hear of, were never executed.\n"
        f"B was killed with {told.killed_with} attempts open or in doubt. When the faults stopped {told.doubts_at_stop} payouts were in "
        f"doubt at A,\nnone {told.clear_after_s:.1f} s later, and all were over after {told.over_after_s:.1f} s. "
        f"Invariants that hold: {', '.join(f'{len(report.checks)} at {house}' for house, report in told.verified.items())}.{ratio}\n"
        f"Seed {told.seed}. It took {told.seconds:.0f} seconds."
    )
    console.print(Panel(text, title="Every line agrees", border_style="green", expand=False))
