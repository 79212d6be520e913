"""One simulated process: its clock, its randomness, its tasks, and how it dies. May not live here: what it runs.

A killed process runs nothing any more (`loop.py`), and its ports are inert: what its unfinished coroutines do when Python
clears them away touches nothing. A frozen one stands still while time goes on, and wakes where it stood.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from disburse.domain.ports import World
from disburse.simulation.loop import OWNER, Loop

DAWN: Final = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
"""What the database's clock shows when a run begins."""


_NOBODY: Final = Context()


class ProcessDead(BaseException):
    """A port of a process that was killed was used: nothing may come of it, and nobody may catch it."""


class SimClock:
    """A process's clock: the loop's time, off by what the process's own clock is off."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self.off = timedelta()

    def now(self) -> datetime:
        return DAWN + timedelta(seconds=self._loop.time()) + self.off

    def monotonic(self) -> float:
        return self._loop.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def timeout(self, seconds: float) -> asyncio.Timeout:
        return asyncio.timeout(seconds)


class SimRandom:
    """What a process draws; seeded."""

    def __init__(self, stream: random.Random) -> None:
        self._stream = stream

    def bytes(self, count: int) -> bytes:
        return self._stream.randbytes(count)

    def uniform(self, low: float, high: float) -> float:
        return self._stream.uniform(low, high)


class Process:
    """`name` is its role's; `index` its place in the trace, unlike any other's. `on_death` are told, once, when it is killed.

    `mortal`: faults may kill it; merchants' programs are not ours, and live.
    """

    def __init__(self, loop: Loop, name: str, index: int, stream: random.Random, *, mortal: bool = True) -> None:
        self.loop = loop
        self.name = name
        self.index = index
        self.mortal = mortal
        self.frozen = False
        self.dead = False
        self.clock = SimClock(loop)
        self.world = World(clock=self.clock, random=SimRandom(stream))
        self.on_death: list[Callable[[], None]] = []
        self.failed: list[BaseException] = []
        self._tasks: list[asyncio.Task[Any]] = []
        self.context: Context = copy_context()
        self.context.run(OWNER.set, self)

    def __repr__(self) -> str:
        return f"Process({self.name})"

    def start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run a coroutine in this process; what it raises is kept in `failed`. Whether it ended is seen from outside."""
        task = self.context.copy().run(self.loop.create_task, work)
        self._tasks.append(task)
        task.add_done_callback(self._ended, context=_NOBODY)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self.failed.append(task.exception())  # type: ignore[arg-type]

    def check(self) -> None:
        """Raises ProcessDead in a process that was killed: every port asks before it does anything."""
        if self.dead:
            raise ProcessDead(self.name)

    def kill(self) -> None:
        """kill -9. Whoever is told next acts from outside the process."""
        if self.dead:
            return
        self.dead, self.frozen = True, False
        for told in self.on_death:
            told()

    def stand_still(self, seconds: float) -> None:
        """A virtual machine pauses, somebody says SIGSTOP: its next step comes when it is woken."""
        self.frozen = True
        self.loop.call_later(seconds, self._wake, context=_NOBODY)

    def _wake(self) -> None:
        self.frozen = False

    async def die_here(self) -> None:
        """The process's last step: it does not come back from this line."""
        self.kill()
        await self.loop.create_future()
