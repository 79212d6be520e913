"""A real server on a real port, a door that does what it is told, and a client that writes bytes. What the HTTP tests share."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from disburse.api.kernel import Door, Kernel, Page, Why
from disburse.api.listening import Limits
from disburse.api.metrics import Metrics
from disburse.domain.ports import World
from disburse.logs import configure
from disburse.protocols.wire import WireAnswer, WireRequest
from disburse.server import serve
from disburse.world import RealRandom
from tests.clock import FakeClock

PATIENCE_S = 5.0
CANARY = "CANARY4111111111111111SECRET"


async def echo(request: WireRequest) -> WireAnswer:
    """Tells what reached the door."""
    seen = {
        "method": request.method,
        "path": request.path,
        "query": request.query.decode("latin-1"),
        "headers": dict(request.headers),
        "body": request.body.decode("latin-1"),
    }
    return WireAnswer(200, "application/json", json.dumps(seen).encode())


@dataclass
class Obedient:
    """A door that counts what it sees, answers as told, and refuses in a shape of its own."""

    answers: Callable[[WireRequest], Awaitable[WireAnswer]] = echo
    seen: list[WireRequest] = field(default_factory=list)
    entered: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, request: WireRequest) -> WireAnswer:
        self.seen.append(request)
        self.entered.set()
        return await self.answers(request)

    def refuse(self, request: WireRequest, why: Why) -> WireAnswer:
        return WireAnswer(200, "application/json", json.dumps({"refused": why}).encode())


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Wire:
    """One connection, byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, raw: bytes) -> None:
        self.writer.write(raw)
        await self.writer.drain()

    async def answer(self, *, head_only: bool = False) -> Answer:
        """The next answer."""
        async with asyncio.timeout(PATIENCE_S):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            status, *lines = head.rstrip().split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
            length = 0 if head_only else int(headers.get("content-length", "0"))
            return Answer(int(status.split(" ")[1]), headers, await self.reader.readexactly(length))

    async def rest(self) -> bytes:
        """Everything until the server closes."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await self.reader.read()
        except ConnectionResetError:
            return b""

    def close(self) -> None:
        self.writer.close()


@dataclass
class Served:
    """A running server. `log` is everything it logged; `stop` ends it."""

    port: int
    clock: FakeClock
    metrics: Metrics
    kernel: Kernel
    written: io.StringIO
    stop: asyncio.Event
    task: asyncio.Task[None]
    wires: list[Wire] = field(default_factory=list)

    @property
    def log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.written.getvalue().splitlines()]

    def logged(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.log if line["event"] == event]

    async def wire(self, **how: Any) -> Wire:
        """A new connection."""
        wire = Wire(*await asyncio.open_connection("127.0.0.1", self.port, **how))
        self.wires.append(wire)
        return wire

    async def ask(self, raw: bytes) -> Answer:
        """One request on a connection of its own."""
        wire = await self.wire()
        await wire.send(raw)
        try:
            return await wire.answer()
        finally:
            wire.close()

    def counted(self, sample: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(sample, labels) or 0.0


@asynccontextmanager
async def served(
    doors: Sequence[tuple[str, Door]] = (),
    *,
    pages: Mapping[str, Page] | None = None,
    clock: FakeClock | None = None,
    limits: Limits | None = None,
    tls: tuple[Path, Path] | None = None,
    **kernel: Any,
) -> AsyncIterator[Served]:
    """Run a kernel with these doors on a free port of this machine. Its time stands still until a test moves it."""
    clock = clock or FakeClock()
    world = World(clock=clock, random=RealRandom())
    written = io.StringIO()
    configure(clock, stream=written, pretty=False)
    logger = structlog.get_logger()
    metrics = Metrics(clock)
    app = Kernel(doors=doors, pages=pages or {}, world=world, metrics=metrics, logger=logger, **kernel)
    stop = asyncio.Event()
    port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(
        serve(
            app, host="127.0.0.1", port=0, world=world, metrics=metrics, logger=logger, limits=limits or Limits(),
            tls_cert=tls[0] if tls else None, tls_key=tls[1] if tls else None,
            stop=stop, signals=False, on_listening=port.set_result,
        )
    )  # fmt: skip
    task.add_done_callback(lambda _: port.done() or port.cancel())
    try:
        await asyncio.shield(port)
    except asyncio.CancelledError:
        await task  # it could not begin: raises why
    running = Served(await port, clock, metrics, app, written, stop, task)
    try:
        yield running
    finally:
        for wire in running.wires:
            wire.close()
        stop.set()
        while not task.done():
            await clock.advance(1)
        await task


def get(path: str, *headers: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: t", *headers, "", ""]).encode("latin-1")


def post(path: str, body: bytes, *headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: t", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1") + body
