"""Hints between processes: a NOTIFY that many rings become one of. Nothing is right only because one arrives."""

from __future__ import annotations

import contextlib

from disburse.domain.ports import Clock
from disburse.storage.database import Database
from disburse.workers.pace import Pace

HINT_S = 0.05
"""At most one NOTIFY of a kind from a process in so long: each is a transaction, and wakes every process."""


class Hint:
    """Coalesced NOTIFY: however often it is rung, one goes out in a while. Losing one costs a polling interval."""

    def __init__(self, database: Database, clock: Clock, channel: str) -> None:
        self._database = database
        self._clock = clock
        self._channel = channel
        self._pace = Pace(clock, 3600)

    def ring(self) -> None:
        self._pace.wake()

    async def run(self) -> None:
        while True:
            await self._pace.rest()
            with contextlib.suppress(Exception):  # a hint: whatever is wrong with the database, others report it
                await self._database.notify(self._channel)
            await self._clock.sleep(HINT_S)
