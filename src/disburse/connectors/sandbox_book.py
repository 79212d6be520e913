"""The sandbox bank's book: its only memory, a JSON-lines file, one line a deed (design.md section 6).

Lives here: a line's shape, the book that appends and replays lines, and `Spool`, the port to the disk. What the bank does,
and why, is in `sandbox_bank.py`.

A line counts from the moment it is on disk, and nobody is answered before. The lines that are added while a sync is under
way go out together in the next one, so many deeds share a sync and none waits for a timer. The file may end in a line torn
by a kill: it was never answered, and is cut off at the next start.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum
from typing import Final, Protocol

import msgspec

from disburse.domain.ports import Clock

CHUNK: Final = 1 << 20
LONGEST_LINE: Final = 4096
HEAD: Final = b'{"at":'
RETRY_S: Final = 1.0


class Did(StrEnum):
    """What the bank did, in the book's words."""

    ACCEPTED = "accepted"
    PAID = "paid"
    REFUSED = "refused"
    RETURNED = "returned"
    REPEAT = "repeat"
    ABSENT = "absent"


class Deed(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """One line, its keys in the order they are written. `at` is UTC. Of an absent id nothing but the id is known."""

    at: str
    end_to_end_id: str
    amount: str | None
    currency: str | None
    rail: str | None
    last4: str | None
    did: Did


class BookFault(Exception):
    """The book cannot be read, or cannot be written now. Whoever asked for a deed cannot be told what became of it."""


class Spool(Protocol):
    """One file that only grows, on this machine's disk (`disburse.world_spool`) or a simulated one."""

    async def open(self) -> None: ...

    async def read(self, offset: int, count: int) -> bytes:
        """At most `count` bytes from `offset`; none at the end."""
        ...

    async def cut(self, size: int) -> None:
        """Make the file so long; durable on return."""
        ...

    async def write(self, offset: int, data: bytes) -> None:
        """Write at the file's end; durable on return. After an OSError the same call may be made again."""
        ...

    async def close(self) -> None: ...


class Book:
    """The book, open for reading once at the start and for appending ever after."""

    def __init__(self, spool: Spool, clock: Clock) -> None:
        self._spool = spool
        self._clock = clock
        self._lines = 0
        self._durable = 0
        self._size = 0
        self._pending: list[bytes] = []
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self._work = asyncio.Event()
        self._flusher: asyncio.Task[None] | None = None
        self._stuck = False
        self._encode = msgspec.json.Encoder().encode

    async def open(self, note: Callable[[int, Deed], None]) -> None:
        """Hand every line, counted from 1, to `note`; cut off a torn tail; then the book can be written.

        Raises BookFault, naming the line, for a line that is none; OSError and the spool's own refusals for the file.
        """
        await self._spool.open()
        try:
            self._size = await self._replay(note)
            # What was read is synced as well: the program that wrote it may have died before it could.
            await self._spool.cut(self._size)
        except BaseException:
            await self._spool.close()
            raise
        self._durable = self._lines
        self._flusher = asyncio.create_task(self._flush())

    async def close(self) -> None:
        """Sync what is pending, unless the disk refuses, and close the file."""
        if self._flusher is None:
            return
        with suppress(BookFault):
            await self.synced()
        self._flusher.cancel()
        with suppress(asyncio.CancelledError):
            await self._flusher
        self._flusher = None
        self._give_up("the book is closed")
        await self._spool.close()

    @property
    def writable(self) -> bool:
        """Whether a line added now is likely to get to the disk. When it is not, promise nothing."""
        return self._flusher is not None and not self._stuck

    def add(self, deed: Deed) -> int:
        """Append one line and say its number. It counts once `synced` has returned. Raises BookFault when not writable."""
        if not self.writable:
            raise BookFault("the book cannot be written")
        self._pending.append(self._encode(deed) + b"\n")
        self._lines += 1
        self._work.set()
        return self._lines

    async def synced(self, line: int | None = None) -> None:
        """Return when this line (or every line there is) is on disk. Raises BookFault when the disk refuses it."""
        line = self._lines if line is None else line
        if line <= self._durable:
            return
        if not self.writable:
            raise BookFault("the book cannot be written")
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((line, future))
        await future

    async def _replay(self, note: Callable[[int, Deed], None]) -> int:
        decode = msgspec.json.Decoder(Deed).decode
        offset, rest = 0, b""
        while chunk := await self._spool.read(offset, CHUNK):
            offset += len(chunk)
            *whole, rest = (rest + chunk).split(b"\n")
            for text in whole:
                self._lines += 1
                try:
                    note(self._lines, decode(text))
                except (msgspec.MsgspecError, BookFault):
                    raise BookFault(f"line {self._lines} of the book cannot be read") from None
            if len(rest) > LONGEST_LINE:
                break
        # Only what began as a line of ours may be cut off: the file could be anything, named by mistake.
        if len(rest) > LONGEST_LINE or not (rest.startswith(HEAD) or HEAD.startswith(rest)):
            raise BookFault(f"line {self._lines + 1} of the book cannot be read")
        return offset - len(rest)

    async def _flush(self) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            data, last = b"".join(self._pending), self._lines
            self._pending.clear()
            while not await self._written(data):
                await self._clock.sleep(RETRY_S)
            self._size += len(data)
            self._durable = last
            self._release()

    async def _written(self, data: bytes) -> bool:
        try:
            await self._spool.write(self._size, data)
        except OSError:
            # A full disk, most likely. These deeds stand in memory, so their lines must get out before anything else
            # happens: nothing new is promised until then, and those who wait are told that they will not know.
            self._stuck = True
            self._give_up("the book cannot be written")
            return False
        self._stuck = False
        return True

    def _release(self) -> None:
        waiting, self._waiting = self._waiting, []
        for line, future in waiting:
            if line > self._durable:
                self._waiting.append((line, future))
            elif not future.done():
                future.set_result(None)

    def _give_up(self, why: str) -> None:
        waiting, self._waiting = self._waiting, []
        for _, future in waiting:
            if not future.done():
                future.set_exception(BookFault(why))
