"""A bound on how long an answer may take, cheap enough for every request. Lives here: one clockwork for all answers of a door.

`asyncio.timeout` sets and clears a timer for each request, a twelfth of what a payout costs. All answers of a door may take equally
long, so the first to begin is the first to be late: one sleeper waits for the oldest, which is nearly always gone by then.
"""

from __future__ import annotations

import asyncio
from types import TracebackType

from disburse.domain.ports import Clock


class Within:
    """Called, it gives a block: one that takes longer than `seconds` is cancelled and raises TimeoutError. Serves all tasks."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds
        self._blocks: dict[_Block, float] = {}  # in the order of their beginning, which is that of their end
        self._sleeper: asyncio.Task[None] | None = None

    def __call__(self) -> _Block:
        return _Block(self)

    def begin(self, block: _Block) -> None:
        """For the block: its time runs from now on."""
        self._blocks[block] = self._clock.monotonic() + self._seconds
        if self._sleeper is None:
            self._sleeper = asyncio.get_running_loop().create_task(self._sleep())

    def end(self, block: _Block) -> bool:
        """For the block: it is over. Whether it was in time."""
        return self._blocks.pop(block, None) is not None

    async def _sleep(self) -> None:
        try:
            while self._blocks:
                block, due = next(iter(self._blocks.items()))
                left = due - self._clock.monotonic()
                if left > 0:
                    await self._clock.sleep(left)
                else:
                    del self._blocks[block]
                    block.task.cancel()
        finally:
            self._sleeper = None


class _Block:
    """One bounded block of one task."""

    __slots__ = ("_within", "task")

    task: asyncio.Task[object]

    def __init__(self, within: Within) -> None:
        self._within = within

    def __enter__(self) -> None:
        task = asyncio.current_task()
        if task is None:
            raise AssertionError("only a task can be late")
        self.task = task
        self._within.begin(self)

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._within.end(self):
            return
        if self.task.uncancel() == 0 and kind is asyncio.CancelledError:  # else somebody else wants it cancelled, too
            raise TimeoutError from None
