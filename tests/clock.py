"""A clock that stands still until a test moves it; it keeps the Clock port of `domain/ports.py`. And databases that show another time than the true one."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from disburse.storage.database import Database

START = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
TURNS = 20  # of the event loop: enough for woken tasks to do what needs no disk or network


class FakeClock:
    """Time that moves by `advance` alone: sleepers and time limits come due in order, each at its own moment."""

    def __init__(self, now: datetime = START) -> None:
        self._start = now
        self._elapsed = 0.0
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self.asleep = 0
        """How many are waiting in `sleep`."""

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self._elapsed)

    def monotonic(self) -> float:
        return self._elapsed

    async def sleep(self, seconds: float) -> None:
        woken = asyncio.Event()
        self._at(seconds, woken.set)
        self.asleep += 1
        try:
            await woken.wait()
        finally:
            self.asleep -= 1

    @asynccontextmanager
    async def timeout(self, seconds: float) -> AsyncIterator[None]:
        async with asyncio.timeout(None) as limit:
            running = True

            def expire() -> None:
                if running:
                    limit.reschedule(0)

            self._at(seconds, expire)
            try:
                yield
            finally:
                running = False

    async def advance(self, seconds: float) -> None:
        """Let so much time pass. Between two moments, the tasks that woke run until they wait again."""
        until = self._elapsed + seconds
        await _turns()
        while self._due and self._due[0][0] <= until + 1e-9:
            moment, _, wake = heapq.heappop(self._due)
            self._elapsed = max(self._elapsed, moment)
            wake()
            await _turns()
        self._elapsed = max(self._elapsed, until)

    def _at(self, seconds: float, wake: Callable[[], None]) -> None:
        heapq.heappush(self._due, (self._elapsed + max(seconds, 0.0), next(self._order), wake))


class Told:
    """A session with a database whose clock shows `now`: a statement that asks for the time is told it, as one value more."""

    def __init__(self, session: Any, now: Callable[[], datetime]) -> None:
        self.session, self._now = session, now

    def __getattr__(self, name: str) -> Any:
        asked = getattr(self.session, name)
        return self._telling(asked) if name in ("fetch", "fetchrow", "fetchval", "execute") else asked

    def _telling(self, asked: Callable[..., Any]) -> Callable[..., Any]:
        def tell(sql: str, *values: Any) -> Any:
            if "clock_timestamp()" not in sql:
                return asked(sql, *values)
            return asked(sql.replace("clock_timestamp()", f"${len(values) + 1}::timestamptz"), *values, self._now())

        return tell


class _ToldPool:
    def __init__(self, pool: Any, now: Callable[[], datetime]) -> None:
        self._pool, self._now = pool, now

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    async def acquire(self) -> Told:
        return Told(await self._pool.acquire(), self._now)

    async def release(self, told: Told) -> None:
        await self._pool.release(told.session)


def told_by(database: Database, now: Callable[[], datetime]) -> Database:
    """The same database, whose clock shows this."""
    return Database(_ToldPool(database._pool, now), database._clock, database._jitter, database._known_accounts)


async def turn() -> None:
    """Let every other task that can run have its turn; no time passes."""
    await asyncio.sleep(0)


async def _turns() -> None:
    for _ in range(TURNS):
        await turn()
