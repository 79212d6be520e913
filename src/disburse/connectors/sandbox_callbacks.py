"""Things that happen later at the sandbox bank: equal waits, and callbacks that repeat until they are acknowledged.

Lives here: `DelayLine` and `Callbacks`, which know no amounts and no rules. Time comes from the Clock port alone.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Final, Generic, TypeVar

from disburse.domain.ports import Clock

T = TypeVar("T")

AGAIN_AFTER_S: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0)
"""How long a callback waits after its first, second, ... failure; from the last on, always that long."""

AT_A_TIME: Final = 32
_A_MOMENT: Final = 1e-6


class DelayLine(Generic[T]):
    """Items that all wait equally long leave in the order they came, those due at one moment together."""

    def __init__(self, clock: Clock, delay_s: float, act: Callable[[list[T]], Awaitable[None]]) -> None:
        self._clock = clock
        self._delay_s = delay_s
        self._act = act
        self._items: deque[tuple[float, T]] = deque()
        self._work = asyncio.Event()

    def add(self, item: T, waited_s: float = 0.0) -> None:
        """Let `item` wait; `waited_s` of its time may have passed already. It never overtakes one that is there."""
        wait_s = min(max(self._delay_s - waited_s, 0.0), self._delay_s)
        due = self._clock.monotonic() + wait_s
        if self._items:
            due = max(due, self._items[-1][0])
        self._items.append((due, item))
        self._work.set()

    async def run(self) -> None:
        """Act on what comes due, until cancelled."""
        while True:
            await self._work.wait()
            wait_s = self._items[0][0] - self._clock.monotonic()
            if wait_s > _A_MOMENT:
                await self._clock.sleep(wait_s)
            now = self._clock.monotonic() + _A_MOMENT
            due = []
            while self._items and self._items[0][0] <= now:
                due.append(self._items.popleft()[1])
            if not self._items:
                self._work.clear()
            if due:
                await self._act(due)


class Callbacks(Generic[T]):
    """Tell somebody, again and again, later and later, until it is acknowledged.

    `tell` says whether it was; whatever it raises counts as no. News goes before what is left from before a restart.
    """

    def __init__(self, clock: Clock, tell: Callable[[T], Awaitable[bool]]) -> None:
        self._tell = tell
        self._fresh: deque[tuple[T, int, asyncio.Event | None]] = deque()
        self._backlog: deque[T] = deque()
        self._ready = asyncio.Semaphore(0)
        self._lines: list[DelayLine[tuple[T, int]]] = [
            DelayLine(clock, delay_s, self._due) for delay_s in AGAIN_AFTER_S
        ]
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin telling."""
        self._tasks = [asyncio.create_task(line.run()) for line in self._lines]
        self._tasks += [asyncio.create_task(self._work()) for _ in range(AT_A_TIME)]

    async def stop(self) -> None:
        """Stop telling. What is not acknowledged is forgotten here: the book remembers it."""
        await end(self._tasks)
        self._tasks = []

    def push(self, news: T, told: asyncio.Event | None = None) -> None:
        """Tell this as soon as can be; `told` is set after the first try, however it went."""
        self._fresh.append((news, 0, told))
        self._ready.release()

    def push_soon(self, news: T) -> None:
        """Tell this a little later."""
        self._lines[0].add((news, 0))

    def push_backlog(self, old: Iterable[T]) -> None:
        """Tell these, the last first, whenever there is nothing fresh to tell."""
        for news in old:
            self._backlog.append(news)
            self._ready.release()

    async def _due(self, items: list[tuple[T, int]]) -> None:
        for news, tries in items:
            self._fresh.append((news, tries, None))
            self._ready.release()

    async def _work(self) -> None:
        while True:
            await self._ready.acquire()
            news, tries, told = self._fresh.popleft() if self._fresh else (self._backlog.pop(), 0, None)
            acknowledged = await self._acknowledged(news)
            if told is not None:
                told.set()
            if not acknowledged:
                self._lines[min(tries, len(self._lines) - 1)].add((news, tries + 1))

    async def _acknowledged(self, news: T) -> bool:
        try:
            return await self._tell(news)
        except Exception:
            # Whoever listens may fail in any way it likes; it then has not acknowledged.
            return False


async def end(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel tasks that run for ever, and see each one end."""
    tasks = list(tasks)
    for task in tasks:
        task.cancel()
    for task in tasks:
        with suppress(asyncio.CancelledError):
            await task
