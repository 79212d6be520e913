"""The real world behind the ports of `domain/ports.py`: this machine's clock and randomness. Nothing else lives here."""

from __future__ import annotations

import asyncio
import os
import random
import time
from datetime import UTC, datetime

from disburse.domain.ports import World


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
    """The operating system's randomness."""

    def __init__(self) -> None:
        self._jitter = random.SystemRandom()

    def bytes(self, count: int) -> bytes:
        return os.urandom(count)

    def uniform(self, low: float, high: float) -> float:
        return self._jitter.uniform(low, high)


def real_world() -> World:
    """The ports of a production process."""
    return World(clock=RealClock(), random=RealRandom())
