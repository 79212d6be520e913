"""A file that only grows, durably: the real disk behind `Spool` of `connectors/sandbox_book.py`. Nothing else lives here.

The disk blocks, so every call runs in the one thread of this file: in the order of the calls, never two at a time. Rooms
that may not start threads are given a `FileSpool` as an argument.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from disburse.domain.refusals import Refusal

T = TypeVar("T")


class FileInUse(Refusal):
    """The file is open in another process. Two writers would tear each other's lines."""

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(f"{path} is in use by another process.")


class FileSpool:
    """One file, readable by its owner alone, locked against a second writer for as long as it is open."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._file = -1
        self._thread: ThreadPoolExecutor | None = None

    async def open(self) -> None:
        """Open the file, or make it. Raises FileInUse, and OSError for what the system refuses."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="spool")
        try:
            await self._run(self._open)
        except BaseException:
            await self.close()
            raise

    async def read(self, offset: int, count: int) -> bytes:
        """At most `count` bytes from `offset`; none at the end."""
        return await self._run(lambda: os.pread(self._file, count, offset))

    async def cut(self, size: int) -> None:
        """Make the file so many bytes long; what is left of it is on disk when this returns."""
        await self._run(lambda: self._cut(size))

    async def write(self, offset: int, data: bytes) -> None:
        """Write at `offset`; on disk when this returns. After an OSError the same call may be made again."""
        await self._run(lambda: self._write(offset, data))

    async def close(self) -> None:
        """Close the file and free its lock, after what was asked before."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        await asyncio.get_running_loop().run_in_executor(thread, self._close)
        thread.shutdown(wait=False)

    async def _run(self, work: Callable[[], T]) -> T:
        if self._thread is None:
            raise AssertionError("the spool is not open")
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _open(self) -> None:
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FileInUse(self._path) from None
        # A new name is durable only when its directory is.
        directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def _cut(self, size: int) -> None:
        os.ftruncate(self._file, size)
        os.fsync(self._file)

    def _write(self, offset: int, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            written = os.pwrite(self._file, rest, offset)
            rest, offset = rest[written:], offset + written
        os.fsync(self._file)

    def _close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
