"""How a loop waits: until somebody wakes it or the polling interval is over. Nothing is ever correct only because of a wake."""

from __future__ import annotations

import asyncio

from disburse.domain.ports import Clock


class Pace:
    """One loop's rest. `wake` may be called from anywhere in the loop's thread; a wake during work ends the next rest at once."""

    def __init__(self, clock: Clock, poll_s: float) -> None:
        self._clock = clock
        self._poll_s = poll_s
        self._woken = asyncio.Event()

    def wake(self) -> None:
        self._woken.set()

    async def rest(self) -> None:
        """Wait for a wake, at most the polling interval."""
        try:
            async with self._clock.timeout(self._poll_s):
                await self._woken.wait()
        except TimeoutError:
            pass
        self._woken.clear()
