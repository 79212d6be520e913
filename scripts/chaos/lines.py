"""The lines of a chaos run: `demo-two`'s bad line, which also goes silent one way or both, half open, refused, or in slices.

Lives here: what happens to bytes between two of our processes. A line that is silent holds what it was given, connections' ends too,
as a network does that loses packets; when it heals, what was held goes on, unless one of the two gave up meanwhile.
"""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

from disburse.cli.two_line import CALM, Line, Way, Weather

BOTH = (Way.THERE, Way.BACK)


class Edge(Line):
    """One line. Behind it is a port of this machine, or a socket (`socket`), which may move."""

    def __init__(self, draw: random.Random, port: int = 0, socket: Path | None = None) -> None:
        super().__init__(port, draw)
        self._place = socket
        self._pieces = draw
        self._largest = 0
        self._silent = {way: 0 for way in BOTH}
        self._heard = {way: asyncio.Event() for way in BOTH}
        for heard in self._heard.values():
            heard.set()

    def hush(self, *ways: Way) -> None:
        """Nothing goes this way until it is healed as often as it was hushed."""
        for way in ways:
            self._silent[way] += 1
            self._heard[way].clear()

    def heal(self, *ways: Way) -> None:
        for way in ways:
            self._silent[way] -= 1
            if self._silent[way] == 0:
                self._heard[way].set()

    def orphan(self) -> None:
        """Whoever is behind the line is gone, and those before it are not told: their connections are half open."""
        self.hush(*BOTH)
        for wire in list(self._carrying.values()):
            if wire is not None:
                wire.far.transport.abort()

    async def refuse(self, for_s: float) -> None:
        """Nobody listens for a while: a connection is refused, and those that were are reset."""
        await self.close()
        try:
            await asyncio.sleep(for_s)
        finally:
            await self.open()

    async def cut(self, share: float, for_s: float) -> None:
        """This share of the calls ends at a random byte, half of them by a reset."""
        self.weather = Weather(cut=share)
        try:
            await asyncio.sleep(for_s)
        finally:
            self.weather = CALM

    async def slice(self, largest: int, for_s: float) -> None:
        """Bytes arrive in pieces of at most so many."""
        self._largest = largest
        try:
            await asyncio.sleep(for_s)
        finally:
            self._largest = 0

    async def _reach(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        for way in BOTH:
            await self._heard[way].wait()
        if self._place is not None:
            return await asyncio.open_unix_connection(str(self._place))
        return await super()._reach()

    async def _hand_on(self, chunk: bytes, writer: asyncio.StreamWriter, way: Way) -> None:
        await self._heard[way].wait()
        while self._largest and len(chunk) > self._largest:
            size = self._pieces.randint(1, self._largest)
            await super()._hand_on(chunk[:size], writer, way)
            chunk = chunk[size:]
            await asyncio.sleep(0.0005)
        await super()._hand_on(chunk, writer, way)
