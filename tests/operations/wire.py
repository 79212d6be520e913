"""A wire between the program and PostgreSQL that breaks at COMMIT: before the server hears of it, or before we hear the answer.

A hopeful transaction has no COMMIT of its own: its one writing statement, outside any transaction, is one too.

So both kinds of unknown commit happen when a test wants them, on a real server that did commit or did not.
"""

from __future__ import annotations

import asyncio
import itertools
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit, urlunsplit

_BEGIN, _COMMIT = b"BEGIN\0", b"COMMIT\0"
_PREPARED = re.compile(rb"P.{4}(__asyncpg_stmt_\w+__)\0WITH locked", re.DOTALL)
_BOUND = re.compile(rb"B.{4}[^\0]*\0(__asyncpg_stmt_\w+__)\0", re.DOTALL)
_CHUNK = 1 << 16

BEFORE = "before"
"""The connection breaks and the server never hears of the COMMIT: nothing was done."""
AFTER = "after"
"""The server commits and the connection breaks before its answer arrives: everything was done."""
WHOLE = "whole"


class Commits:
    """Finds what commits in what one connection says."""

    def __init__(self) -> None:
        self._writing: set[bytes] = set()
        self._begun = False

    def are_in(self, data: bytes) -> bool:
        """Whether this makes the server commit."""
        self._writing |= set(_PREPARED.findall(data))
        self._begun = (self._begun or _BEGIN in data) and _COMMIT not in data
        return _COMMIT in data or (not self._begun and any(name in self._writing for name in _BOUND.findall(data)))


class Wire:
    """Carries connections; `plan` says, COMMIT by COMMIT over all of them, what happens to it. `seen` counts what happened.

    `carried`: how many connections there were.
    """

    def __init__(self, server_socket: str) -> None:
        self._server_socket = server_socket
        self.plan: Iterator[str] = itertools.repeat(WHOLE)
        self.seen: Counter[str] = Counter()
        self.carried = 0

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until either side ends it or the plan breaks it."""
        self.carried += 1
        from_server, to_server = await asyncio.open_unix_connection(self._server_socket)
        broken, commits = asyncio.Event(), Commits()
        back = asyncio.create_task(self._back(from_server, writer, broken))
        try:
            while data := await reader.read(_CHUNK):
                commit = commits.are_in(data)
                fate = next(self.plan, WHOLE) if commit else WHOLE
                self.seen[fate] += commit
                if fate == BEFORE:
                    return
                if fate == AFTER:
                    broken.set()
                to_server.write(data)
                if fate == AFTER:
                    await back
                    return
        except ConnectionError:
            pass
        finally:
            back.cancel()
            writer.close()
            to_server.close()

    async def _back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, broken: asyncio.Event) -> None:
        try:
            while data := await reader.read(_CHUNK):
                if broken.is_set():  # the server's answer to COMMIT: it is lost
                    return
                writer.write(data)
        except ConnectionError:
            pass
        finally:
            writer.close()


@asynccontextmanager
async def wire_to(dsn: str, place: Path) -> AsyncIterator[tuple[Wire, str]]:
    """A wire to the server of a URL with a socket, and the URL by which to use it."""
    parts = urlsplit(dsn)
    asked = parse_qs(parts.query)
    wire = Wire(f"{asked['host'][0]}/.s.PGSQL.{asked['port'][0]}")
    server = await asyncio.start_unix_server(wire.carry, place / ".s.PGSQL.5432")
    try:
        yield wire, urlunsplit(parts._replace(query=f"host={quote(str(place), safe='')}&port=5432"))
    finally:
        server.close()
