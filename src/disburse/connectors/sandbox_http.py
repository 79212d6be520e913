"""The sandbox bank as a program of its own: `POST /payouts`, `GET /payouts/{end_to_end_id}`, callbacks, on one plain HTTP port.

Lives here: the door and the running of it. The messages are in `sandbox_wire.py`, the bank in `sandbox_bank.py`. What the
table of amounts says of answers is done to them for real: a connection is held and then dropped, a 500 is a 500, unreadable
bytes are unreadable.

| status | when |
|---|---|
| 200, 202, 404, 410, 422 | as `sandbox_wire.py` says, with the standing |
| 400, 408, 413, 415 | the request is not an order: nothing was done; `{"error", "field"}` |
| 404, 405 | no such page, no such method |
| 503 | the book cannot be written: ask again later |

Every callback is a POST of a standing to one address, repeated until that answers 2xx.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

import uvicorn
from starlette.types import Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from disburse.connectors.sandbox_bank import SandboxBank, Standing
from disburse.connectors.sandbox_book import BookFault, Spool
from disburse.connectors.sandbox_rules import Manner
from disburse.connectors.sandbox_wire import (
    MOST_BYTES,
    NOT_FOUND,
    STATUS,
    BadOrder,
    decode_order,
    encode_standing,
    is_id,
)
from disburse.connectors.transport import HttpTransport
from disburse.domain.ports import Clock
from disburse.domain.refusals import Refusal
from disburse.protocols.wire import JSON, WireAnswer

HOLD_S: Final = 30.0
BODY_WITHIN_S: Final = 10.0
CALLBACK_WITHIN_S: Final = 10.0
MOST_CONNECTIONS: Final = 900  # below the 1024 files that a process may often open
KEEP_ALIVE_S: Final = 5
SPOILT: Final = b'\x89\xff\x00{"end_to_end_id":'

_LISTEN: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\[\]:/\s]+)):([0-9]{1,5})")

Drop = Callable[[Scope], None]
"""Cuts the connection a request came on."""


class BadAddress(Refusal):
    """An address to listen on is HOST:PORT, and one to call back is an http or https URL."""


class _Answered(Exception):
    """The request ends here, with this status, these words and, if one field is to blame, its name."""

    def __init__(self, status: int, error: str, field: str = "") -> None:
        self.status = status
        self.body = json.dumps({"error": error} | ({"field": field} if field else {})).encode()
        super().__init__(error)


class _Gone(Exception):
    """The peer has closed the connection."""


# --- the door ----------------------------------------------------------------------------------------------------


class SandboxProgram:
    """The ASGI application around a bank. `hold_s`: how long a connection whose answer is lost stays open."""

    def __init__(self, bank: SandboxBank, clock: Clock, drop: Drop, *, hold_s: float = HOLD_S) -> None:
        self._bank = bank
        self._clock = clock
        self._drop = drop
        self._hold_s = hold_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            answer = await self._answer(scope, receive)
        except _Answered as end:
            answer = WireAnswer(end.status, JSON, end.body)
        except BookFault as fault:
            answer = WireAnswer(503, JSON, _Answered(503, str(fault)).body)
        except _Gone:
            return
        if answer is None:
            await self._lose(scope, receive)
        else:
            await _send(send, answer)

    async def _answer(self, scope: Scope, receive: Receive) -> WireAnswer | None:
        method, path = scope["method"], scope["path"]
        if scope["query_string"]:
            raise _Answered(400, "there is no query here")
        if path == "/payouts":
            _only(method, "POST")
            return await self._pay(scope, receive)
        if path.startswith("/payouts/") and is_id(path.removeprefix("/payouts/")):
            _only(method, "GET")
            return await self._tell(path.removeprefix("/payouts/"))
        raise _Answered(404, "there is no such page")

    async def _pay(self, scope: Scope, receive: Receive) -> WireAnswer | None:
        if _media_type(scope) != JSON:
            raise _Answered(415, f"the body must be {JSON}")
        try:
            slip = decode_order(await self._body(receive))
        except BadOrder as fault:
            raise _Answered(400, fault.why, fault.field) from None
        reply = await self._bank.pay(slip)
        match reply.manner:
            case Manner.LOST:
                return None
            case Manner.FAULT:
                return WireAnswer(500, JSON, b'{"error":"internal error"}')
            case Manner.UNREADABLE:
                return WireAnswer(200, JSON, SPOILT)
            case Manner.PLAIN:
                return _standing(reply.standing)

    async def _tell(self, end_to_end_id: str) -> WireAnswer:
        standing = await self._bank.inquire(end_to_end_id)
        return WireAnswer(404, JSON, NOT_FOUND) if standing is None else _standing(standing)

    async def _body(self, receive: Receive) -> bytes:
        parts, size = [], 0
        try:
            async with self._clock.timeout(BODY_WITHIN_S):
                while True:
                    message = await _next(receive)
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    if size > MOST_BYTES:
                        raise _Answered(413, f"an order has at most {MOST_BYTES} bytes")
                    if not message.get("more_body", False):
                        return b"".join(parts)
        except TimeoutError:
            raise _Answered(408, "the body did not come in time") from None

    async def _lose(self, scope: Scope, receive: Receive) -> None:
        """Hold the connection, unless the peer hangs up first, and then cut it without a word."""
        try:
            async with self._clock.timeout(self._hold_s):
                while True:
                    await _next(receive)
        except TimeoutError:
            self._drop(scope)
            await receive()  # that the connection is gone: else the server would answer for us
        except _Gone:
            pass


def _only(method: str, allowed: str) -> None:
    if method != allowed:
        raise _Answered(405, f"only {allowed} is served here")


def _standing(standing: Standing) -> WireAnswer:
    return WireAnswer(STATUS[standing.did], JSON, encode_standing(standing))


def _media_type(scope: Scope) -> str:
    found = [value for name, value in scope["headers"] if name == b"content-type"]
    return found[0].decode("latin-1").split(";")[0].strip().lower() if len(found) == 1 else ""


async def _next(receive: Receive) -> Message:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise _Gone
    return message


async def _send(send: Send, answer: WireAnswer) -> None:
    headers = [(b"content-type", answer.content_type.encode()), (b"content-length", b"%d" % len(answer.body))]
    if answer.status in (408, 413):
        headers.append((b"connection", b"close"))  # the rest of the body is not read
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


# --- running it --------------------------------------------------------------------------------------------------


class _Connections:
    """The open connections by their peer's address, so that one can be cut: ASGI has no word for that."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, int], asyncio.Transport] = {}

    def protocol(self) -> type[asyncio.Protocol]:
        """uvicorn's protocol, which also keeps this list."""
        connections = self._open

        class Listed(HttpToolsProtocol):
            def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
                super().connection_made(transport)
                if self.client is not None:
                    connections[self.client] = transport

            def connection_lost(self, exc: Exception | None) -> None:
                if self.client is not None:
                    connections.pop(self.client, None)
                super().connection_lost(exc)

        return Listed

    def drop(self, scope: Scope) -> None:
        transport = self._open.get(tuple(scope["client"] or ("", 0)))
        if transport is not None:
            transport.abort()


class _Server(uvicorn.Server):
    """uvicorn, which says when it listens, and minds signals only where it is the whole program: else it ends when told."""

    def __init__(self, config: uvicorn.Config, *, signals: bool) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()
        self._over = asyncio.Event()
        self._signals = signals

    def end(self) -> None:
        """Stop serving."""
        self.should_exit = True
        self._over.set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        finally:
            self.listening.set()

    async def main_loop(self) -> None:
        if self._signals:
            await super().main_loop()  # looks for signals ten times a second
        else:
            await self._over.wait()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        if self._signals:
            with super().capture_signals():
                yield
        else:
            yield


@asynccontextmanager
async def opened_bank(
    spool: Spool, clock: Clock, *, guard: bool, callback_url: str | None
) -> AsyncIterator[SandboxBank]:
    """A bank that calls back over HTTP, or, without an address, nobody. Raises BookFault, BadAddress, OSError."""
    if callback_url is not None and re.fullmatch(r"https?://[^\s/]\S*", callback_url) is None:
        raise BadAddress
    transport = HttpTransport(clock)

    async def tell(standing: Standing) -> bool:
        if callback_url is None:
            return True
        answer = await transport.send(
            "POST",
            callback_url,
            headers={"Content-Type": JSON},
            body=encode_standing(standing),
            deadline_s=CALLBACK_WITHIN_S,
        )
        return isinstance(answer, WireAnswer) and 200 <= answer.status < 300

    bank = SandboxBank(spool, clock, tell, guard=guard)
    try:
        await bank.open()
        yield bank
    finally:
        await bank.close()
        await transport.close()


@asynccontextmanager
async def running(
    listen: str,
    *,
    spool: Spool,
    clock: Clock,
    guard: bool = False,
    callback_url: str | None = None,
    hold_s: float = HOLD_S,
    signals: bool = False,
) -> AsyncIterator[tuple[str, asyncio.Task[None]]]:
    """The program, listening: its address (`http://host:port`; port 0 picks a free one) and the task that ends when it ends.

    With `signals` an interrupt ends it, otherwise leaving the block does. Raises BadAddress, BookFault, the spool's refusals,
    OSError.
    """
    with _bound(listen) as listener:
        async with opened_bank(spool, clock, guard=guard, callback_url=callback_url) as bank:
            connections = _Connections()
            config = uvicorn.Config(
                SandboxProgram(bank, clock, connections.drop, hold_s=hold_s),
                http=connections.protocol(),
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                limit_concurrency=MOST_CONNECTIONS,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=1,
            )
            server = _Server(config, signals=signals)
            task = asyncio.create_task(server.serve(sockets=[listener]))
            await server.listening.wait()
            if task.done():
                await task  # it could not begin: raises why
            try:
                yield _address(listener), task
            finally:
                server.end()
                await task


async def serve(
    listen: str,
    *,
    spool: Spool,
    clock: Clock,
    guard: bool = False,
    callback_url: str | None = None,
    on_ready: Callable[[str], None] = lambda address: None,
) -> None:
    """Run the program until it is interrupted. `on_ready` is told its address. Raises what `running` raises."""
    async with running(listen, spool=spool, clock=clock, guard=guard, callback_url=callback_url, signals=True) as (
        address,
        task,
    ):
        on_ready(address)
        await task


def _bound(listen: str) -> socket.socket:
    match = _LISTEN.fullmatch(listen)
    if match is None or int(match[3]) > 65535:
        raise BadAddress
    if match[1] is not None:
        return socket.create_server((match[1], int(match[3])), family=socket.AF_INET6)
    return socket.create_server((match[2], int(match[3])))


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if listener.family is socket.AF_INET6 else f"http://{host}:{port}"
