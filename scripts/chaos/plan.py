"""Which faults a run meets, and when: drawn from the seed before anything starts. Pure; who does them is `nemesis.py`.

One seed is one plan. What a fault meets depends on the machine's timing, so two runs of a seed are alike, not equal.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

WORKERS: Final = ("worker-1", "worker-2")
PROGRAMS: Final = (*WORKERS, "api", "bank")
LINES: Final = ("merchants-door", "bank-door", "door-bank", "door-database", "worker-1-bank", "worker-2-bank", "worker-1-database", "worker-2-database")
CLOCKS: Final = (*WORKERS, "api", "bank", "database")

LEASE_S: Final = 6.0
DATABASE_AHEAD_S: Final = 15.0
"""PostgreSQL's clock jumps ahead by no more: what was opened by it and orphaned is asked about only when its lease has run out by it."""

CALM_S: Final = (4.0, 4.0)
"""Seconds at the beginning and the end of a run without new faults: the last ones must have time to be over."""

PER: Final = 300.0
"""The counts below are for a run of so many seconds; a longer or shorter one has as many faults a second."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong: what, to whom, from when (seconds after the start), and for how long.

    `size` is what else the kind needs: a clock's jump in seconds, the longest piece of a sliced line in bytes, the share of calls
    that a line cuts.
    """

    at_s: float
    kind: str
    target: str
    for_s: float = 0.0
    size: float = 0.0


@dataclass(frozen=True, slots=True)
class Kind:
    """How often a kind comes in `PER` seconds, to whom, how long and how large at least and at most."""

    name: str
    count: int
    targets: Sequence[str]
    for_s: tuple[float, float] = (0.0, 0.0)
    size: tuple[float, float] = (0.0, 0.0)


KINDS: Final = (
    Kind("kill", 56, WORKERS),
    Kind("kill", 14, ("api",)),
    Kind("kill", 22, ("door",)),
    Kind("kill", 28, ("bank",)),
    Kind("kill while it starts", 6, PROGRAMS),
    Kind("kill database", 16, ("postmaster",)),
    Kind("kill database", 16, ("child",)),
    Kind("kill keeper", 2, ("keeper",)),
    Kind("freeze past the lease", 6, WORKERS, (LEASE_S + 1, LEASE_S + 3)),
    Kind("freeze", 16, PROGRAMS, (0.1, 2.5)),
    Kind("freeze", 5, ("sessions",), (0.2, 3.0)),
    Kind("end sessions", 14, ("sessions",)),
    Kind("partition", 10, LINES, (0.3, 5.0)),
    Kind("one way", 12, LINES, (0.3, 5.0)),
    Kind("half-open", 8, LINES, (0.3, 5.0)),
    Kind("refused", 8, LINES, (0.3, 3.0)),
    Kind("cut", 14, LINES, (0.5, 4.0), (0.1, 0.5)),
    Kind("slices", 8, LINES, (0.5, 4.0), (1, 64)),
    Kind("full disk", 5, ("database", "bank"), (0.5, 3.0)),
    Kind("clock", 20, CLOCKS, (0.5, 8.0), (1.0, 7200.0)),
)


def draw_plan(seed: int, seconds: float) -> list[Fault]:
    """All faults of a run in the order of their times. Each kind is spread over the whole run, not in a heap."""
    draw = random.Random(seed)
    ends = max(CALM_S[0] + 1.0, seconds - CALM_S[1])
    plan = []
    for kind in KINDS:
        count = max(1, round(kind.count * seconds / PER))
        for number in range(count):
            part = (number + draw.random()) / count
            for_s = draw.uniform(*kind.for_s)
            at_s = CALM_S[0] + part * (ends - CALM_S[0])
            target, size = draw.choice(kind.targets), _size(draw, kind)
            if (kind.name, target) == ("clock", "database"):
                size = min(size, DATABASE_AHEAD_S)
            plan.append(Fault(at_s, kind.name, target, min(for_s, max(0.1, seconds - at_s)), size))
    return sorted(plan, key=lambda fault: fault.at_s)


def _size(draw: random.Random, kind: Kind) -> float:
    """Clocks jump both ways, mostly by seconds and now and then by hours."""
    least, most = kind.size
    if kind.name != "clock":
        return draw.uniform(least, most)
    return float(least * (most / least) ** draw.random()) * draw.choice((-1, 1))


def count_by_kind(faults: Iterable[Fault], only: Callable[[Fault], bool] = lambda fault: True) -> Counter[str]:
    """How many faults of each kind."""
    return Counter(fault.kind for fault in faults if only(fault))
