"""The real world behind the ports of `domain/ports.py`: this machine's clock and randomness. Nothing else lives here."""

from __future__ import annotations

import asyncio
import os
import random
import threading
import time
from datetime import UTC, datetime

from disburse.domain.ports import World

_PIECE = 4096


class RealClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def timeout(self, seconds: float) -> asyncio.Timeout:
        return asyncio.timeout(seconds)


class RealRandom:
    """The operating system's randomness, fetched in larger pieces: a payout needs four small ones, each a system call.

    A piece is never given out twice, by another thread or in a forked process neither.
    """

    def __init__(self) -> None:
        self._jitter = random.SystemRandom()
        self._lock = threading.Lock()
        self._store, self._used = b"", 0
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget)

    def bytes(self, count: int) -> bytes:
        if count > _PIECE // 16:
            return os.urandom(count)
        with self._lock:
            end = self._used + count
            if end > len(self._store):
                self._store, self._used, end = os.urandom(_PIECE), 0, count
            given, self._used = self._store[self._used : end], end
        return given

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._store, self._used = b"", 0

    def uniform(self, low: float, high: float) -> float:
        return self._jitter.uniform(low, high)


def real_world() -> World:
    """The ports of a production process."""
    return World(clock=RealClock(), random=RealRandom())
