"""The loop: every simulated process runs on this one, one step at a time, in virtual time. Lives here: turns and time, nothing else.

Each process has its own line of callbacks, first in, first out, as a real event loop has; which process takes the next step is
the seed's choice. Time stands still while anybody has something to do and leaps to the next timer when nobody has. A frozen
process's line waits; a dead one's is never run again, not even its `finally` blocks: `kill -9` runs none either.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from contextvars import Context, ContextVar
from heapq import heappop
from typing import Any, Final, Protocol

from disburse.simulation.streams import Trace


class Runs(Protocol):
    """What the loop must know of a process: its place among them, and whether its line runs."""

    index: int
    frozen: bool
    dead: bool


OWNER: ContextVar[Runs | None] = ContextVar("the simulated process that a callback belongs to", default=None)


class Stuck(AssertionError):
    """Nobody has anything to do and no timer is set, but the run is not over."""


class Endless(AssertionError):
    """Far more steps than any day has: something turns in a circle."""


MOST_STEPS: Final = 150_000


class Line:
    """One process's callbacks."""

    __slots__ = ("owner", "waiting")

    def __init__(self, owner: Runs | None) -> None:
        self.owner = owner
        self.waiting: deque[Any] = deque()


class Loop(asyncio.BaseEventLoop):
    """An event loop without sockets and without a clock of its own. `time` is virtual seconds since the run began."""

    def __init__(self, schedule: random.Random, trace: Trace) -> None:
        super().__init__()
        self._clock_resolution = 1e-9
        self._virtual = 0.0
        self._schedule = schedule
        self._trace = trace
        self._lines: dict[int, Line] = {}
        self._graveyard: list[Any] = []
        self._ready: deque[Any]
        self._scheduled: list[Any]
        self._timer_cancelled_count: int

    def time(self) -> float:
        return self._virtual

    def close(self) -> None:
        """Let go of everything that waits, the dead's too."""
        super().close()
        self._lines.clear()
        self._graveyard.clear()

    def _process_events(self, event_list: Any) -> None:
        """There are no sockets."""

    def _write_to_self(self) -> None:
        """Nobody sleeps in a selector."""

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        """Threads would make the order of things a matter of luck: what was meant for one runs here and now."""
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as fault:
            future.set_exception(fault)
        return future

    def _run_once(self) -> None:
        self._take_in()
        line = self._choose()
        while line is None:
            self._advance()
            self._take_in()
            line = self._choose()
        if self._trace.steps > MOST_STEPS:
            raise Endless(f"{MOST_STEPS} steps")
        handle = line.waiting.popleft()
        self._trace.turn(line.owner.index if line.owner is not None else 0)
        handle._run()

    def _take_in(self) -> None:
        """Put what became ready into its process's line."""
        ready = self._ready
        while ready:
            handle = ready.popleft()
            if handle._cancelled:
                continue
            context: Context = handle._context
            owner = context.get(OWNER)
            if owner is not None and owner.dead:
                self._graveyard.append(handle)  # kept, since dropping it would run its coroutine's `finally`
                continue
            index = owner.index if owner is not None else 0
            line = self._lines.get(index)
            if line is None:
                line = self._lines[index] = Line(owner)
            line.waiting.append(handle)

    def _choose(self) -> Line | None:
        """The line whose turn it is: the seed's pick among those that have something to do and are awake."""
        able = []
        for index in list(self._lines):
            line = self._lines[index]
            if line.owner is not None and line.owner.dead:
                self._graveyard += line.waiting
                del self._lines[index]
                continue
            while line.waiting and line.waiting[0]._cancelled:
                line.waiting.popleft()
            if not line.waiting:
                continue
            if line.owner is None or not line.owner.frozen:
                able.append(line)
        if not able:
            return None
        return able[0] if len(able) == 1 else able[self._schedule.randrange(len(able))]

    def _advance(self) -> None:
        """Leap to the next timer, and let all that are due then ring."""
        scheduled = self._scheduled
        while scheduled and scheduled[0]._cancelled:
            self._timer_cancelled_count -= 1
            heappop(scheduled)._scheduled = False
        if not scheduled:
            raise Stuck("nobody has anything to do")
        self._virtual = max(self._virtual, scheduled[0]._when)
        while scheduled and scheduled[0]._when <= self._virtual:
            timer = heappop(scheduled)
            timer._scheduled = False
            if not timer._cancelled:
                self._ready.append(timer)
