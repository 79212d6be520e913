"""A second process that reads, judges and drafts a file while this one stores: a plan of a large file keeps two processors busy.

Lives here: the forked process, the pipe, and what is told through it. May not live here: what is done in it (`registry_files.py`), who wants it.

The child is a copy of this process, so no key leaves memory for it. It touches neither database nor event loop, closes every descriptor that is not its
own, and leaves by `os._exit`. When this process dies its pipe breaks, and the child ends at its next piece; the randomness of a
forked process is its own (`world.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import BinaryIO, Final, NoReturn

import msgspec

from disburse.api.registry_files import BadFile
from disburse.domain.refusals import Refusal
from disburse.domain.registry import TotalsDisagree
from disburse.operations.registry_draft import Piece

WORTH_BYTES: Final = 1 << 20
"""Of a smaller file nothing is gained."""
_LARGEST: Final = 256 << 20
_PIPE_BYTES: Final = 1 << 20
_REFUSALS: Final[dict[str, Callable[[str], Refusal]]] = {"bad_file": BadFile, "totals_disagree": TotalsDisagree}
_PIECE, _END, _REFUSED, _BROKEN = b"P", b"E", b"R", b"B"


class HelperDied(Refusal):
    """The process that read the file ended before it was through. Plan the file again."""


def is_worth_it(size: int) -> bool:
    """Whether a file of so many bytes is planned faster with a second process, and whether there can be one."""
    return size >= WORTH_BYTES and hasattr(os, "fork") and (os.cpu_count() or 1) > 1


async def in_a_helper(file: BinaryIO, drafted: Iterator[Piece]) -> AsyncGenerator[Piece, None]:
    """The pieces that `drafted` makes, made in a forked process that reads `file`. Raises what it raises: BadFile, TotalsDisagree; HelperDied."""
    reads, writes = os.pipe()
    _widen(writes)
    child = os.fork()
    if child == 0:
        _work(file.fileno(), writes, drafted)
    os.close(writes)
    reader = asyncio.StreamReader(limit=4 << 20)
    pipe, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(reads, "rb"))
    decoder = msgspec.msgpack.Decoder(Piece)
    try:
        while True:
            kind, content = await _message(reader)
            if kind == _PIECE:
                yield decoder.decode(content)
            elif kind == _END:
                return
            elif kind == _REFUSED:
                name, text = msgspec.msgpack.decode(content, type=tuple[str, str])
                raise _REFUSALS[name](text)
            else:
                raise HelperDied(f"The process that read the file failed: {content.decode()}.")
    finally:
        pipe.close()
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        await asyncio.to_thread(os.waitpid, child, 0)


def _widen(pipe: int) -> None:
    """Let the pipe hold a piece, so that the child need not wait while this process does something else. Where that cannot be, it waits."""
    with contextlib.suppress(OSError, AttributeError):
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)


async def _message(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    try:
        head = await reader.readexactly(5)
        size = int.from_bytes(head[1:], "big")
        if size > _LARGEST:
            raise HelperDied("The process that read the file spoke nonsense.")
        return head[:1], await reader.readexactly(size)
    except asyncio.IncompleteReadError:
        raise HelperDied() from None


# --- in the child --------------------------------------------------------------------------------------------------------


def _work(file: int, writes: int, drafted: Iterator[Piece]) -> NoReturn:
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever interrupts us means the parent, which ends us
        for number in (signal.SIGTERM, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        _close_all_but({0, 1, 2, file, writes})
        _tell_all(writes, drafted)
    finally:
        os._exit(0)


def _tell_all(writes: int, drafted: Iterator[Piece]) -> None:
    encode = msgspec.msgpack.Encoder().encode
    try:
        for piece in drafted:
            _tell(writes, _PIECE, encode(piece))
        _tell(writes, _END, b"")
    except Refusal as refusal:
        if refusal.name in _REFUSALS:
            _tell(writes, _REFUSED, encode((refusal.name, str(refusal))))
        else:
            _tell(writes, _BROKEN, refusal.name.encode())
    except Exception as fault:  # its text could hold something of the file
        _tell(writes, _BROKEN, type(fault).__name__.encode())


def _tell(writes: int, kind: bytes, content: bytes) -> None:
    message = memoryview(kind + len(content).to_bytes(4, "big") + content)
    while message:
        message = message[os.write(writes, message) :]


def _close_all_but(kept: set[int]) -> None:
    last = 2
    for descriptor in sorted(kept - {0, 1, 2}):
        os.closerange(last + 1, descriptor)
        last = descriptor
    os.closerange(last + 1, os.sysconf("SC_OPEN_MAX") if hasattr(os, "sysconf") else 4096)
