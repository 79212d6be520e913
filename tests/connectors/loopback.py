"""Servers on loopback that do exactly what a test tells them to, byte by byte, and count what reaches them."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

Answer = Callable[[int, asyncio.StreamWriter], Awaitable[bool]]
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


@dataclass
class Server:
    """Reads whole requests, counts them, and lets `answer` do its worst; a connection goes on while that says so."""

    answer: Answer
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    (int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
                )
                self.requests.append(head + await reader.readexactly(length))
                self.arrived.set()
                if not await self.answer(len(self.requests), writer):
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/pay"


Serve = Callable[..., Awaitable[Server]]


def says(raw: bytes, *, then: bool = True) -> Answer:
    """Answers every request with these bytes, and keeps the connection or closes it."""

    async def answer(number: int, writer: asyncio.StreamWriter) -> bool:
        writer.write(raw)
        await writer.drain()
        return then

    return answer


@asynccontextmanager
async def serving() -> AsyncIterator[Serve]:
    """Starts servers on loopback, and stops them at the end of the block."""
    async with AsyncExitStack() as stack:

        async def started(answer: Answer, tls: ssl.SSLContext | None = None) -> Server:
            server = Server(answer)
            listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=tls)
            stack.callback(listening.close)
            server.port = listening.sockets[0].getsockname()[1]
            return server

        yield started
