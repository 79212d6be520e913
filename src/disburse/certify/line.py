"""The provider on loopback: a real listener that reads whole requests, hands them to a simulator, and spoils what it is told to.

Lives here: bytes and connections. A strike is armed for one kind of request and meets the first of that kind; all others are
served honestly. May not live here: scenarios, judgement, any protocol but HTTP's frame.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

from disburse.certify.faults import Fault, Way
from disburse.certify.scenarios import Line
from disburse.connectors.simulator import Simulator, Step, Twist
from disburse.domain.ports import Clock
from disburse.protocols.wire import WireAnswer, WireRequest

MOST_FLOODED: Final = 64 << 20
"""A flood ends here: whoever read so much would have filled its memory."""

ENOUGH: Final = 24 << 20
"""Who has read more than this of a flood does not cap what it reads (buffers of the system's own included)."""

_DRIP_S: Final = 0.15
_ELSEWHERE: Final = "/certify-elsewhere"
_CHUNK: Final = b" " * 65_536
_PROXY: Final = {Line.PROXY_502: 502, Line.PROXY_407: 407}


@dataclass
class Strike:
    """What the next request of one kind will meet. `met`: it did."""

    at: Step
    fault: Fault | None
    twist: Twist
    met: bool = False
    impossible: bool = False


@dataclass
class Provider:
    """A listener in front of a simulator. `arrived`: whole requests, by step. `elsewhere`: those that followed a redirect.

    `begun`: a connection was reset before its first request was read, so bytes of one may have been written.
    """

    simulator: Simulator
    clock: Clock
    line: Line = Line.PLAIN
    strike: Strike | None = None
    arrived: list[Step] = field(default_factory=list)
    begun: bool = False
    elsewhere: int = 0
    flooded: int = 0
    port: int = 0
    late: list[WireRequest] = field(default_factory=list)
    _writers: dict[asyncio.StreamWriter, asyncio.Task[None] | None] = field(default_factory=dict)

    @property
    def url(self) -> str:
        scheme = "https" if self.line.startswith("tls") else "http"
        return f"{scheme}://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers[writer] = asyncio.current_task()
        try:
            if self._resets_here():
                self.begun = True
                _reset(writer)
                return
            while (request := await _read(reader)) is not None:
                if not await self._serve(request, writer):
                    return
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError, ValueError, TimeoutError):
            pass
        finally:
            self._writers.pop(writer, None)
            with suppress(Exception):
                writer.close()

    def cut(self) -> None:
        """Cut every connection."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def end(self) -> None:
        """Cut every connection, and wait until nobody serves any more."""
        serving = [task for task in self._writers.values() if task is not None]
        self.cut()
        self._writers.clear()
        await asyncio.gather(*serving, return_exceptions=True)

    def arrive(self) -> None:
        """Carry out the late requests; nobody hears the answers."""
        late, self.late = self.late, []
        for request in late:
            self.simulator.answer(request, Twist.PAID)

    def _resets_here(self) -> bool:
        strike = self.strike
        if strike is None or strike.met or strike.fault is None or strike.fault.name != "reset-on-connect":
            return False
        strike.met = True
        return True

    async def _serve(self, request: WireRequest, writer: asyncio.StreamWriter) -> bool:
        if request.path.startswith(_ELSEWHERE):
            self.elsewhere += 1
        step = self.simulator.step(request)
        self.arrived.append(step)
        if self.line in _PROXY:
            await _write(writer, WireAnswer(_PROXY[self.line], "text/html", b"<html>proxy</html>"))
            return True
        strike = self.strike
        if strike is None or strike.met or strike.at is not step:
            return await self._honestly(request, writer)
        return await self._struck(request, writer, strike)

    async def _honestly(self, request: WireRequest, writer: asyncio.StreamWriter) -> bool:
        await _write(writer, self._answer(request, Twist.PAID))
        return True

    def _answer(self, request: WireRequest, twist: Twist) -> WireAnswer:
        answer = self.simulator.answer(request, twist)
        if answer is None:
            raise AssertionError("a simulator answers every honest request")
        return answer

    async def _struck(self, request: WireRequest, writer: asyncio.StreamWriter, strike: Strike) -> bool:
        strike.met, fault = True, strike.fault
        if fault is None:
            told = self.simulator.answer(request, strike.twist)
            strike.impossible = told is None
            await _write(writer, told if told is not None else self._answer(request, Twist.PAID))
            return True
        if fault.later:
            self.late.append(request)
        answer = self._answer(request, strike.twist) if fault.acts else WireAnswer(200, "application/json", b"{}")
        return await self._spoil(answer, fault, writer)

    async def _spoil(self, answer: WireAnswer, fault: Fault, writer: asyncio.StreamWriter) -> bool:
        body = answer.body if fault.body is None else fault.body
        shown = WireAnswer(fault.status or answer.status, fault.content_type or answer.content_type, body)
        more = [f"Location: {self.url}{_ELSEWHERE}"] if fault.location else []
        more += [f"Content-Encoding: {fault.encoding}"] if fault.encoding else []
        whole = _bytes(shown, more)
        match fault.way:
            case Way.WHOLE:
                await _send(writer, whole)
                return True
            case Way.CLOSE:
                pass
            case Way.RESET:
                _reset(writer)
            case Way.HANG:
                await self._hang(writer)
            case Way.HEAD_CUT:
                await _send(writer, whole[:9])
            case Way.BODY_CUT:
                await _send(writer, whole[: len(whole) - (len(body) + 1) // 2])
            case Way.CHUNK_CUT:
                head = _bytes(shown, more, length="Transfer-Encoding: chunked").removesuffix(body)
                await _send(writer, head + b"%x\r\n%s\r\n" % (len(body), body))
            case Way.DRIP:
                await self._drip(writer, whole)
            case Way.FLOOD:
                await self._flood(writer, _bytes(shown, more, length="Connection: close"))
            case Way.INTERIM:
                await self._interim(writer)
            case Way.NOT_HTTP:
                await _send(writer, b"SSH-2.0-OpenSSH_9.2\r\n\r\n" + b"\x00" * 64)
        return False

    async def _hang(self, writer: asyncio.StreamWriter) -> None:
        while not writer.is_closing() and writer in self._writers:
            await self.clock.sleep(_DRIP_S)

    async def _drip(self, writer: asyncio.StreamWriter, whole: bytes) -> None:
        for at in range(len(whole)):
            if writer not in self._writers:
                return
            await _send(writer, whole[at : at + 1])
            await self.clock.sleep(_DRIP_S)

    async def _interim(self, writer: asyncio.StreamWriter) -> None:
        while not writer.is_closing() and writer in self._writers:
            await _send(writer, b"HTTP/1.1 102 Processing\r\n\r\n" * 20)
            await self.clock.sleep(_DRIP_S)

    async def _flood(self, writer: asyncio.StreamWriter, begins: bytes) -> None:
        await _send(writer, begins)
        while self.flooded < MOST_FLOODED:
            await _send(writer, _CHUNK)
            self.flooded += len(_CHUNK)


async def _read(reader: asyncio.StreamReader) -> WireRequest | None:
    """The next request of a connection; None at its end. Raises what broken connections and broken requests raise."""
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ", 2)
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
    if "chunked" in headers.get("transfer-encoding", ""):
        body = await _chunks(reader)
    else:
        body = await reader.readexactly(int(headers.get("content-length", "0")))
    if target.startswith("http://"):  # to a proxy
        target = "/" + target.removeprefix("http://").partition("/")[2]
    path, _, query = target.partition("?")
    return WireRequest(method, path, query.encode("latin-1"), headers, body)


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    parts = []
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        parts.append(await reader.readexactly(size))
        await reader.readexactly(2)
    await reader.readuntil(b"\r\n")
    return b"".join(parts)


def _bytes(answer: WireAnswer, more: list[str], *, length: str | None = None) -> bytes:
    lines = [f"HTTP/1.1 {answer.status} Said", f"Content-Type: {answer.content_type}"]
    lines += [length or f"Content-Length: {len(answer.body)}", *more, "", ""]
    return "\r\n".join(lines).encode("latin-1") + answer.body


async def _write(writer: asyncio.StreamWriter, answer: WireAnswer) -> None:
    await _send(writer, _bytes(answer, []))


async def _send(writer: asyncio.StreamWriter, raw: bytes) -> None:
    writer.write(raw)
    await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    one = writer.get_extra_info("socket")
    if one is not None:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@asynccontextmanager
async def listening(simulator: Simulator, clock: Clock, line: Line, tls: ssl.SSLContext | None) -> AsyncIterator[Provider]:
    """The provider, listening on a free port of loopback until the block ends."""
    provider = Provider(simulator, clock, line)
    server = await asyncio.start_server(provider.serve, "127.0.0.1", 0, ssl=tls)
    provider.port = server.sockets[0].getsockname()[1]
    try:
        if line is Line.NOBODY:
            server.close()
        yield provider
    finally:
        server.close()
        await provider.end()
