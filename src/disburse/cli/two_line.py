"""A bad line between two houses: a TCP proxy on loopback that cuts, delays and swallows, by a seed.

Lives here: what happens to bytes. May not live here: any protocol. It knows one thing alone about what it carries: a client's
bytes after a server's begin a new call. So faults are drawn for each call, also where one connection carries many.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from collections import Counter
from dataclasses import dataclass
from enum import Enum
from typing import Final

SWALLOWED_FOR_S: Final = 20.0
"""A swallowed call's connection is cut after so long, if nobody closed it before."""

_CHUNK: Final = 64 * 1024
_RESET: Final = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class Weather:
    """Which share of the calls is cut at a random byte of its request or answer, delayed, or swallowed."""

    cut: float = 0.0
    delay: float = 0.0
    swallow: float = 0.0
    longest_delay_s: float = 0.5


CALM: Final = Weather()


class Way(Enum):
    """Which way bytes go: with the requests, or with the answers."""

    THERE = "there"
    BACK = "back"


class _Cut(Exception):
    """This connection ends now."""


class Wire:
    """One connection through the line, both ends of it, and the fate of the call that it carries now."""

    def __init__(self, near: asyncio.StreamWriter, far: asyncio.StreamWriter) -> None:
        self.near, self.far = near, far
        self.call_over = True
        self.cut_answer = False

    def abort(self, *, reset: bool) -> None:
        """End both sides at once: what the kernel has not sent yet is lost; with `reset` the peers are told so."""
        for writer in (self.near, self.far):
            link = writer.get_extra_info("socket")
            if reset and link is not None:
                with contextlib.suppress(OSError):
                    link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()


class Line:
    """The proxy in front of one port. `weather` may be changed at any time; `met` counts what happened.

    Who needs other faults, or another place behind it, overrides `_reach` and `_hand_on`.
    """

    def __init__(self, target_port: int, draw: random.Random) -> None:
        self.target_port = target_port
        self.weather = CALM
        self.met: Counter[str] = Counter()
        self.port = 0
        self._draw = draw
        self._server: asyncio.Server | None = None
        self._carrying: dict[asyncio.Task[None], Wire | None] = {}

    async def open(self) -> None:
        """Listen on a free port of this machine; again on the same one after `close`."""
        self._server = await asyncio.start_server(self._take, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop listening and end every connection."""
        if self._server is not None:
            self._server.close()
        for task in list(self._carrying):
            task.cancel()
        await asyncio.gather(*self._carrying, return_exceptions=True)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            raise AssertionError("a connection outside a task")
        self._carrying[task] = None
        self.met["connections"] += 1
        try:
            await self._carry(task, reader, writer)
        except asyncio.CancelledError:  # the line was closed: asyncio's streams would report it as a fault
            writer.transport.abort()
        finally:
            self._carrying.pop(task, None)

    async def _carry(self, task: asyncio.Task[None], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await self._reach()
        except OSError:  # the house behind is down: whoever wrote has had a connection, so it can prove nothing
            self.met["nobody there"] += 1
            writer.transport.abort()
            return
        self._carrying[task] = wire = Wire(writer, far_writer)
        ways = [asyncio.ensure_future(self._requests(reader, wire)), asyncio.ensure_future(self._answers(far_reader, wire))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            ended = await asyncio.gather(*ways, return_exceptions=True)
            wire.abort(reset=any(isinstance(one, _Cut) for one in ended) and self._draw.random() < 0.5)

    async def _reach(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to what is behind the line. Raises OSError."""
        return await asyncio.open_connection("127.0.0.1", self.target_port)

    async def _hand_on(self, chunk: bytes, writer: asyncio.StreamWriter, way: Way) -> None:
        """Let bytes go on. An empty chunk is the end of what this side has to say."""
        if chunk:
            writer.write(chunk)
            await writer.drain()

    async def _requests(self, reader: asyncio.StreamReader, wire: Wire) -> None:
        while chunk := await reader.read(_CHUNK):
            if wire.call_over:
                wire.call_over = False
                chunk = await self._begin(chunk, reader, wire)
            await self._hand_on(chunk, wire.far, Way.THERE)
        await self._hand_on(b"", wire.far, Way.THERE)

    async def _answers(self, reader: asyncio.StreamReader, wire: Wire) -> None:
        while chunk := await reader.read(_CHUNK):
            wire.call_over = True
            if wire.cut_answer:
                self.met["answers cut"] += 1
                wire.near.write(chunk[: self._draw.randrange(len(chunk))])
                raise _Cut
            await self._hand_on(chunk, wire.near, Way.BACK)
        await self._hand_on(b"", wire.near, Way.BACK)

    async def _begin(self, chunk: bytes, reader: asyncio.StreamReader, wire: Wire) -> bytes:
        """Draw a call's fate. Raises _Cut when it goes no further."""
        self.met["calls"] += 1
        weather, lot = self.weather, self._draw.random()
        if lot < weather.cut:
            if self._draw.random() < 0.5:
                wire.cut_answer = True
                return chunk
            self.met["requests cut"] += 1
            wire.far.write(chunk[: self._draw.randrange(len(chunk))])
            raise _Cut
        if lot < weather.cut + weather.delay:
            self.met["delayed"] += 1
            await asyncio.sleep(self._draw.uniform(0, weather.longest_delay_s))
        elif lot < weather.cut + weather.delay + weather.swallow:
            self.met["swallowed"] += 1
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SWALLOWED_FOR_S):
                    while await reader.read(_CHUNK):
                        pass
            raise _Cut
        return chunk
