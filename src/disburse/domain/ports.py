"""The world, as the rest of the house may see it: clock and randomness. Nothing else may read time or draw numbers.

Lives here: the shapes only. The real world is in `disburse.world`; a simulated one can stand in its place, which is why
domain, operations, workers and connectors never call the standard library for these (a lint holds that).
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """Time. `now` is for what is stored and shown; `monotonic` (seconds) for deadlines inside one process."""

    def now(self) -> datetime: ...

    def monotonic(self) -> float: ...

    async def sleep(self, seconds: float) -> None: ...

    def timeout(self, seconds: float) -> AbstractAsyncContextManager[object]:
        """Raises TimeoutError inside the block after so many seconds."""
        ...


class Random(Protocol):
    """Unpredictable bytes and jitter."""

    def bytes(self, count: int) -> bytes: ...

    def uniform(self, low: float, high: float) -> float: ...


@dataclass(frozen=True, slots=True)
class World:
    """The ports one process is given."""

    clock: Clock
    random: Random
