"""The processes of one `serve`. Lives here: doors beside the process that was started, kept running, and the line to each.

One Python process has one core. So `serve` gives the doors processes of their own: a worker's large batch then never makes a
merchant wait, and each core has work. The process that was started holds the port's sockets and hands each door its own, so
what arrives while a door is being replaced waits instead of being refused.

The line to a door is a socket pair on its standard input, one JSON object a line. A door whose line breaks ends at once, as by
`kill -9`, since nobody is left to mind it: one process killed is the whole `serve` killed, and there is never an orphan.
Over the line doors also ask for what the other processes counted, because whoever scrapes one port must see all of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from disburse.api.kernel import Logger
from disburse.domain.ports import Clock
from disburse.domain.refusals import Refusal

AGAIN_AFTER_S: Final = 1.0
READY_WITHIN_S: Final = 60.0
STOP_WITHIN_S: Final = 15.0
TOLD_WITHIN_S: Final = 1.0
_LONGEST_LINE: Final = 4 * 1024 * 1024

Line = dict[str, Any]
Counted = Callable[[], bytes]


class DoorDidNotOpen(Refusal):
    """A door process ended before it was ready; what it said on standard error tells why."""


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Link:
    """One end of a line: lines are sent, questions answered, and every other line handed to `heard`."""

    def __init__(self, clock: Clock, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clock = clock
        self._reader = reader
        self._writer = writer
        self._numbers = itertools.count()
        self._asked: dict[int, asyncio.Future[list[str]]] = {}
        self._telling: dict[asyncio.Task[None], None] = {}

    @classmethod
    async def over(cls, clock: Clock, end: socket.socket) -> Link:
        """A line over one socket of a pair."""
        end.setblocking(False)
        return cls(clock, *await asyncio.open_connection(sock=end, limit=_LONGEST_LINE))

    def say(self, **line: Any) -> None:
        if not self._writer.is_closing():
            self._writer.write(json.dumps(line).encode() + b"\n")

    async def read(self) -> Line:
        """The next line. Raises ConnectionError when there is none to come."""
        raw = await self._reader.readline()
        if not raw.endswith(b"\n"):
            raise ConnectionError("the line broke")
        line: Line = json.loads(raw)
        return line

    async def ask(self) -> list[str]:
        """What the processes at the other end counted; nothing where they do not say so in time."""
        number = next(self._numbers)
        answer: asyncio.Future[list[str]] = asyncio.get_running_loop().create_future()
        self._asked[number] = answer
        self.say(asked=number)
        try:
            async with self._clock.timeout(TOLD_WITHIN_S):
                return await answer
        except TimeoutError:
            return []
        finally:
            del self._asked[number]

    async def run(self, counted: Callable[[], Awaitable[list[str]]], heard: Callable[[Line], None]) -> None:
        """Mind the line until it breaks."""
        with contextlib.suppress(ConnectionError):
            while True:
                line = await self.read()
                if "asked" in line:  # beside this loop: what is asked of others may be asking us
                    task = asyncio.create_task(self._tell(line["asked"], counted))
                    self._telling[task] = None
                    task.add_done_callback(lambda done: self._telling.pop(done, None))
                elif "told" in line:
                    answer = self._asked.get(line["told"])
                    if answer is not None and not answer.done():
                        answer.set_result(line["counted"])
                else:
                    heard(line)
        self.close()

    async def _tell(self, number: int, counted: Callable[[], Awaitable[list[str]]]) -> None:
        self.say(told=number, counted=await counted())

    def close(self) -> None:
        self._writer.close()


class Door:
    """A door process, seen from the process that minds it. `order` is the first line it is told."""

    def __init__(self, clock: Clock, logger: Logger, sockets: Sequence[socket.socket], order: Line) -> None:
        self._clock = clock
        self._logger = logger
        self._sockets = sockets
        self._order = order
        self._process: asyncio.subprocess.Process | None = None
        self._link: Link | None = None
        self._stopping = False
        self.opened = asyncio.Event()

    async def run(self, others: Callable[[Door], Awaitable[list[str]]]) -> None:
        """Keep the door open until `stop`. Raises DoorDidNotOpen when it ends before it was ever ready."""
        while not self._stopping:
            code = await self._once(others)
            if self._stopping:
                return
            if not self.opened.is_set():
                raise DoorDidNotOpen("A door process ended before it was ready.")
            self._logger.error("a door process ended and is started again", count=code)
            await self._clock.sleep(AGAIN_AFTER_S)

    async def _once(self, others: Callable[[Door], Awaitable[list[str]]]) -> int:
        ours, theirs = socket.socketpair()
        numbers = [listener.fileno() for listener in self._sockets]
        try:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "disburse.door", stdin=theirs.fileno(), stdout=subprocess.DEVNULL, pass_fds=numbers,
                start_new_session=True,
            )  # fmt: skip
        finally:
            theirs.close()
        self._link = await Link.over(self._clock, ours)
        self._link.say(sockets=numbers, **self._order)
        minding = asyncio.create_task(self._link.run(lambda: others(self), self._heard))
        try:
            return await self._process.wait()
        finally:
            minding.cancel()
            self._link.close()
            if self._process.returncode is None:
                self._process.kill()

    def _heard(self, line: Line) -> None:
        if line.get("open"):
            self.opened.set()

    async def counted(self) -> list[str]:
        return await self._link.ask() if self._link is not None and self.opened.is_set() else []

    def dismiss(self) -> None:
        """Tell it to let what is being answered be answered, and to end."""
        if self._process is not None and not self._stopping:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
        self._stopping = True

    async def ended(self) -> None:
        """Wait for its end, which it has been told."""
        process = self._process
        if process is None:
            return
        try:
            async with self._clock.timeout(STOP_WITHIN_S):
                await process.wait()
        except TimeoutError:
            process.kill()


class Crew:
    """All doors of a `serve`, and what this process and they count together. Entered, it opens them; left, it closes them.

    Entering raises DoorDidNotOpen. `loops` run for as long as the doors do.
    """

    def __init__(
        self, clock: Clock, logger: Logger, socket_sets: Sequence[Sequence[socket.socket]], order: Line, counted: Counted
    ) -> None:
        self._clock = clock
        self._doors = [Door(clock, logger, sockets, order) for sockets in socket_sets]
        self._sockets = [listener for sockets in socket_sets for listener in sockets]
        self._counted = counted
        self.loops: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Crew:
        try:
            await self._open()
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._close()

    async def _open(self) -> None:
        self.loops += [asyncio.create_task(door.run(self._beside)) for door in self._doors]
        waiting = [asyncio.create_task(door.opened.wait()) for door in self._doors]
        try:
            async with self._clock.timeout(READY_WITHIN_S):
                for loop, opened in zip(self.loops, waiting, strict=True):
                    await asyncio.wait([loop, opened], return_when=asyncio.FIRST_COMPLETED)
                    if loop.done():
                        await loop
        except TimeoutError:
            raise DoorDidNotOpen(f"A door process was not ready within {READY_WITHIN_S:.0f} s.") from None
        finally:
            for opened in waiting:
                opened.cancel()

    def dismiss(self) -> None:
        """Tell all doors to end, without waiting for it."""
        for door in self._doors:
            door.dismiss()

    async def _close(self) -> None:
        self.dismiss()
        await asyncio.gather(*[door.ended() for door in self._doors])
        for loop in self.loops:
            loop.cancel()
        await asyncio.gather(*self.loops, return_exceptions=True)
        for listener in self._sockets:
            listener.close()

    async def counted(self) -> list[str]:
        """What the doors counted."""
        return [page for door in self._doors for page in await door.counted()]

    async def _beside(self, asking: Door) -> list[str]:
        """What all but one counted, this process among them."""
        pages = [self._counted().decode()]
        for door in self._doors:
            if door is not asking:
                pages += await door.counted()
        return pages
