"""How many requests an API key may send: a bucket of tokens for each, in the memory of this process. Nothing waits and nothing is stored.

A bucket holds `burst` tokens and is filled at `per_s`; a request takes one. What is left is told with every answer, in the fields of the
IETF's draft "RateLimit header fields for HTTP" (`RateLimit-Policy`, `RateLimit`), so that a program can slow down before it is refused. May not
live here: who asks. Each process counts for itself: with four of them a key may get four times as much.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from disburse.domain.ports import Clock

_MOST: Final = 50_000
"""Buckets that are kept."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a key stands after a request. `wait_s`: seconds until the next one is let through, 0 when this one was."""

    wait_s: int
    headers: tuple[tuple[str, str], ...] = field(repr=False)


class Allowances:
    """The buckets of all keys. One per process. `per_s` 0: everything is let through, and nothing is told."""

    def __init__(self, clock: Clock, *, per_s: float, burst: int) -> None:
        self._clock = clock
        self._per_s = per_s
        self._burst = burst
        self._buckets: dict[UUID, tuple[float, float]] = {}  # tokens, and when that was
        window_s = max(1, math.ceil(burst / per_s)) if per_s else 1
        self._policy = ("ratelimit-policy", f'"key";q={burst};w={window_s}')

    def take(self, key: UUID) -> Standing | None:
        """Count a request of this key. None: nobody counts."""
        if not self._per_s:
            return None
        now = self._clock.monotonic()
        tokens, since = self._buckets.get(key, (float(self._burst), now))
        tokens = min(self._burst, tokens + (now - since) * self._per_s)
        passes = tokens >= 1
        left = tokens - 1 if passes else tokens
        self._keep(key, left, now)
        whole_s = math.ceil((self._burst - left) / self._per_s)
        told = (self._policy, ("ratelimit", f'"key";r={int(left)};t={whole_s}'))
        return Standing(0 if passes else max(1, math.ceil((1 - left) / self._per_s)), told)

    def _keep(self, key: UUID, tokens: float, now: float) -> None:
        if len(self._buckets) >= _MOST and key not in self._buckets:
            full = [one for one, (left, at) in self._buckets.items() if left + (now - at) * self._per_s >= self._burst]
            for one in full:  # a full bucket is as good as none
                del self._buckets[one]
            if not full:
                self._buckets.clear()
        self._buckets[key] = (tokens, now)
