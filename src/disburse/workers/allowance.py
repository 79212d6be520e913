"""How often a provider may be asked. Lives here: what the inquirer asks before it asks, and an answer within one process.

`Allowance` is the seam: an allowance shared by all workers through PostgreSQL keeps the same three lines, and nothing in the
inquirer changes. A limit concerns questions alone; what is sent is limited elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from disburse.domain.ports import Clock

BURST_S = 1.0
"""So many seconds' worth of questions may be put at one moment after a pause."""

LONGEST_WAIT_S = 3600.0
"""A question that has to wait is looked at again after at most so long, whatever the line before it."""


@dataclass(frozen=True, slots=True)
class Grant:
    """How many questions may be put now, and after how many seconds each of the others may come again."""

    now: int
    later_s: Sequence[float] = ()


class Allowance(Protocol):
    """Whoever knows how often providers may be asked."""

    async def take(self, connector: str, wanted: int) -> Grant:
        """Leave to put so many questions: some now, the others later. Never more than `wanted` in all."""
        ...


@dataclass(slots=True)
class _Bucket:
    per_s: float
    tokens: float
    filled_at: float
    line_ends_at: float = field(default=0.0)


class ProcessAllowance:
    """A bucket of tokens for each provider with a limit, in this process alone. `per_s`: questions a second, by connector.

    Whoever finds no token gets a place in a line that moves at the same pace, so that what comes again finds one.
    """

    def __init__(self, clock: Clock, per_s: Mapping[str, float]) -> None:
        self._clock = clock
        now = clock.monotonic()
        self._buckets = {name: _Bucket(rate, max(rate * BURST_S, 1.0), now) for name, rate in per_s.items()}

    async def take(self, connector: str, wanted: int) -> Grant:
        bucket = self._buckets.get(connector)
        if bucket is None:
            return Grant(wanted)
        now = self._clock.monotonic()
        full = max(bucket.per_s * BURST_S, 1.0)
        bucket.tokens = min(full, bucket.tokens + (now - bucket.filled_at) * bucket.per_s)
        bucket.filled_at = now
        granted = min(wanted, int(bucket.tokens + 1e-9))
        bucket.tokens -= granted
        later = []
        for _ in range(wanted - granted):
            bucket.line_ends_at = max(bucket.line_ends_at, now) + 1 / bucket.per_s
            later.append(min(bucket.line_ends_at - now, LONGEST_WAIT_S))
        return Grant(granted, later)
