"""The database's clock as a process knows it without asking each time. Lives here: the last reading, and what passed since.

The database's clock is the one clock that all processes share (decision 19). Whatever is decided in a transaction reads it there. This is
for what is decided outside of one: by a door that drafts a payout or looks at a token in memory, by a courier between two rounds.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from disburse.domain.ports import Clock


class SharedTime:
    """About what the database's clock shows, never behind it: what has ended there has ended here. One per process.

    Whoever reads that clock in passing tells it here. It is ahead by as long as the last reading took to come.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._shown: datetime | None = None
        self._asked_at = 0.0

    def saw(self, shown: datetime, asked_at: float) -> None:
        """The database's clock showed this to whoever asked at a moment (monotonic seconds)."""
        self._shown, self._asked_at = shown, asked_at

    def now(self) -> datetime:
        """The last reading and what passed here since; the process's own clock before the first one."""
        if self._shown is None:
            return self._clock.now()
        return self._shown + timedelta(seconds=self._clock.monotonic() - self._asked_at)
