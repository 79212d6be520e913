"""The kernel: what stands between the HTTP server and every door. It knows bytes, limits and time, and no protocol.

Lives here: finding the door by path; reading a bounded body; refusing what no door should see; an answer in time whatever a
door does; catching what a door let fall; headers that belong on every answer. May not live here: parameters, merchants,
money, and Starlette's routing (this is the hot path: some microseconds beside the HTTP server's own).

Refusals of the kernel go out in the surface's own shape, through `Door.refuse`. Nothing of a request is ever logged but the
route it came by: queries, headers and bodies carry keys, tokens and card numbers.

| why | when | what it means for a payout |
|---|---|---|
| `too_large` | the body is longer than the limit; it was not read | nothing was done |
| `too_slow` | the body did not come in time | nothing was done |
| `bad_encoding` | the body is compressed (Content-Encoding, or a Transfer-Encoding other than chunked) | nothing was done |
| `overloaded` | too many requests are being answered already | nothing was done |
| `late` | the door did not answer in time and was cancelled | unknown: what it handed in may yet be carried out |
| `broken` | the door raised | unknown likewise |
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, MutableMapping, Sequence
from functools import lru_cache
from typing import Any, Final, Literal, Protocol, get_args

from disburse.api.metrics import Metrics
from disburse.domain.ports import World
from disburse.protocols.wire import JSON, WireAnswer, WireRequest

Why = Literal["too_large", "too_slow", "bad_encoding", "overloaded", "late", "broken"]
"""Why the kernel answers in a door's place; the table above."""

BODY_LIMIT: Final = 65536
BODY_WITHIN_S: Final = 10.0
ANSWER_WITHIN_S: Final = 8.0
MOST_IN_PROGRESS: Final = 2000
BODIES_AT_MOST: Final = 32 * 1024 * 1024
"""Bytes of bodies that are still arriving, over all connections."""

WHOLE: Final = "disburse.whole"
"""Where in the scope our own server puts a function that writes an answer as a whole: (status, fields, body) to done or not."""

Page = Callable[[WireRequest], Awaitable[WireAnswer]]
"""A page outside every door, for GET and HEAD, at one exact path."""

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]


class Door(Protocol):
    """A surface: one protocol's whole server side. Headers come in lower case; repeated ones are joined with `, `.

    The path is as it was sent, percent signs and all. A door that answers in time by its own clock says so with an attribute
    `bounds_itself = True`; any other is bounded here.
    """

    async def answer(self, request: WireRequest) -> WireAnswer:
        """The answer to a request. May be cancelled at any `await`; whatever was handed to group commit goes on."""
        ...

    def refuse(self, request: WireRequest, why: Why) -> WireAnswer:
        """The answer in this surface's shape when the kernel stops a request. The body is empty if it was not read."""
        ...


class Logger(Protocol):
    """What the kernel and the server need of a structlog logger."""

    def info(self, event: str, **fields: Any) -> Any: ...

    def warning(self, event: str, **fields: Any) -> Any: ...

    def error(self, event: str, **fields: Any) -> Any: ...


class Kernel:
    """The ASGI application.

    `doors`: a path and its door; a path that ends in `*` takes everything that begins so, in any case of letters
    (`/personal/*`), any other is taken exactly. `pages`: exact paths beside the doors.
    """

    def __init__(
        self,
        *,
        doors: Sequence[tuple[str, Door]],
        pages: Mapping[str, Page],
        world: World,
        metrics: Metrics,
        logger: Logger,
        body_limit: int = BODY_LIMIT,
        answer_within_s: float = ANSWER_WITHIN_S,
        body_within_s: float = BODY_WITHIN_S,
        most_in_progress: int = MOST_IN_PROGRESS,
        bodies_at_most: int = BODIES_AT_MOST,
    ) -> None:
        self._clock = world.clock
        self._random = world.random
        self._logger = logger
        self._body_limit = body_limit
        self._answer_within_s = answer_within_s
        self._body_within_s = body_within_s
        self._most_in_progress = most_in_progress
        self._bodies_at_most = bodies_at_most
        self._in_progress = 0
        self._arriving = 0
        self._nowhere = _Route("nowhere", _Nowhere(), metrics)
        self._exact = {path: _Route("page", _PageDoor(page), metrics) for path, page in pages.items()}
        self._below: list[tuple[str, _Route]] = []
        for path, door in doors:
            route = _Route(path.strip("/*").partition("/")[0], door, metrics)
            if path.endswith("*"):
                self._below.append((path[:-1].lower(), route))
            else:
                self._exact[path] = route
        metrics.in_progress.set_function(lambda: self._in_progress)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise AssertionError(f"the kernel does not speak {scope['type']}")
        began = self._clock.monotonic()
        path = scope["raw_path"].decode("latin-1")
        route = self._exact.get(path) or self._route_below(path)
        headers = _read_headers(scope["headers"])
        body, extra = b"", _NONE
        try:
            body = await self._body(headers, receive, route.body_limit or self._body_limit)
            request = WireRequest(scope["method"], path, scope["query_string"], headers, body)
            answer = await self._answer(route, request)
            route.answered(self._clock.monotonic() - began)
        except _Refused as refused:
            request = WireRequest(scope["method"], path, scope["query_string"], headers, body)
            answer, extra = self._refuse(route, request, refused)
            route.refused[refused.why](self._clock.monotonic() - began)
        except _Gone:
            return
        whole = scope.pop(WHOLE, None)  # so that the cycle of request and answer ends, and needs no collector
        told = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers]
        if answer.stream is not None:
            await self._send_stream(route, answer, answer.stream, told, scope["method"] == "HEAD", receive, send)
            return
        if whole is not None and not extra and whole(answer.status, _head_of(answer, told), answer.body):
            return
        await send({"type": "http.response.start", "status": answer.status, "headers": _headers_of(answer) + told + extra})
        await send({"type": "http.response.body", "body": answer.body})

    async def _send_stream(
        self, route: _Route, answer: WireAnswer, pieces: AsyncIterator[bytes], told: Headers, head_only: bool, receive: Receive, send: Send
    ) -> None:
        """Send an answer piece by piece, until it ends or the peer goes. One that breaks is cut off: the peer sees that it is not whole."""
        fields = [(name, value) for name, value in _headers_of(answer) if name != b"content-length"]
        await send({"type": "http.response.start", "status": answer.status, "headers": fields + told})
        if head_only:
            await send({"type": "http.response.body", "body": b""})
            return
        sending, gone = asyncio.create_task(_pump(pieces, send)), asyncio.create_task(_until_gone(receive))
        gone.add_done_callback(lambda _: sending.cancel())
        try:
            (ended,) = await asyncio.gather(sending, return_exceptions=True)
        finally:
            gone.cancel()
        if isinstance(ended, Exception):
            self._report(route, "broken", ended)

    def _route_below(self, path: str) -> _Route:
        lowered = path.lower()
        for beginning, route in self._below:
            if lowered.startswith(beginning):
                return route
        return self._nowhere

    async def _body(self, headers: Mapping[str, str], receive: Receive, limit: int) -> bytes:
        """The whole body. Raises _Refused, and _Gone when the peer hangs up first."""
        if "content-encoding" in headers or headers.get("transfer-encoding", "chunked").lower() != "chunked":
            raise _Refused("bad_encoding")
        length = headers.get("content-length")
        if length is None and "transfer-encoding" not in headers and "expect" not in headers:
            return b""  # HTTP/1.1: without either there is no body
        if length is not None and not _within(length, limit):
            raise _Refused("too_large")
        message = await receive()  # comes at once if there is no body or it came along with the headers
        body: bytes = message.get("body", b"")
        if message["type"] == "http.request" and not message.get("more_body", False) and len(body) <= limit:
            return body
        return await self._rest_of_body(message, receive, limit)

    async def _rest_of_body(self, message: Message, receive: Receive, limit: int) -> bytes:
        body = bytearray()
        try:
            async with self._clock.timeout(self._body_within_s):
                while True:
                    if message["type"] == "http.disconnect":
                        raise _Gone
                    part = message.get("body", b"")
                    body += part
                    self._arriving += len(part)
                    if len(body) > limit:
                        raise _Refused("too_large")
                    if self._arriving > self._bodies_at_most:
                        raise _Refused("overloaded")
                    if not message.get("more_body", False):
                        return bytes(body)
                    message = await receive()
        except TimeoutError:
            raise _Refused("too_slow") from None
        finally:
            self._arriving -= len(body)

    async def _answer(self, route: _Route, request: WireRequest) -> WireAnswer:
        """What the door says, in time. Raises _Refused."""
        if self._in_progress >= self._most_in_progress:
            raise _Refused("overloaded")
        self._in_progress += 1
        try:
            if route.bounds_itself:
                return await self._ask(route, request)
            async with self._clock.timeout(self._answer_within_s):
                return await self._ask(route, request)
        except TimeoutError:
            raise _Refused("late") from None
        finally:
            self._in_progress -= 1

    async def _ask(self, route: _Route, request: WireRequest) -> WireAnswer:
        try:
            return await route.door.answer(request)
        except Exception as fault:  # a TimeoutError here is the door's own: ours comes out of the caller's block
            raise _Refused("broken", fault) from None

    def _refuse(self, route: _Route, request: WireRequest, refused: _Refused) -> tuple[WireAnswer, Headers]:
        why, extra = refused.why, []
        if why in ("late", "broken"):
            extra.append((b"x-correlation-id", self._report(route, why, refused.fault).encode()))
        elif why == "too_slow" or "expect" in request.headers:
            extra.append((b"connection", b"close"))  # whether the body still comes is not known
        try:
            return route.door.refuse(request, why), extra
        except Exception as fault:
            self._report(route, "broken", fault)
            return plain_refusal(why), extra

    def _report(self, route: _Route, why: Why, fault: BaseException | None) -> str:
        """Log what went wrong, without a word of the request; returns the id that the answer carries too."""
        correlation = self._random.bytes(8).hex()
        self._logger.error(_EVENTS[why], surface=route.name, why=why, correlation=correlation, exc_info=fault)
        return correlation


def plain_refusal(why: Why) -> WireAnswer:
    """A refusal in nobody's shape, for a surface that has none of its own: JSON with `error` and `message`."""
    status, message = _PLAIN[why]
    return _json(status, why, message)


class _Gone(Exception):
    """The peer hung up before its request was whole: there is nobody to answer."""


class _Refused(Exception):
    """The kernel answers in the door's place; `fault` is what the door let fall."""

    def __init__(self, why: Why, fault: BaseException | None = None) -> None:
        self.why: Why = why
        self.fault = fault
        super().__init__(why)


class _Route:
    """One way in: its door, its name in logs and metrics, and where its seconds are told."""

    __slots__ = ("answered", "body_limit", "bounds_itself", "door", "name", "refused")

    def __init__(self, name: str, door: Door, metrics: Metrics) -> None:
        self.name = name
        self.door = door
        self.bounds_itself = bool(getattr(door, "bounds_itself", False))
        self.body_limit: int = getattr(door, "body_limit", 0)  # 0: as everywhere
        self.answered = metrics.request(name, "answered")
        self.refused = {why: metrics.request(name, why) for why in get_args(Why)}


class _Nowhere:
    """Where the paths lead that lead nowhere."""

    async def answer(self, request: WireRequest) -> WireAnswer:
        return _json(404, "not_found", "There is nothing at this path.")

    def refuse(self, request: WireRequest, why: Why) -> WireAnswer:
        return plain_refusal(why)


class _PageDoor:
    """A page as a door."""

    def __init__(self, page: Page) -> None:
        self._page = page

    async def answer(self, request: WireRequest) -> WireAnswer:
        if request.method not in ("GET", "HEAD"):
            return _json(405, "method_not_allowed", "This page is only read.")
        return await self._page(request)

    def refuse(self, request: WireRequest, why: Why) -> WireAnswer:
        return plain_refusal(why)


async def _pump(pieces: AsyncIterator[bytes], send: Send) -> None:
    async for piece in pieces:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _until_gone(receive: Receive) -> None:
    """The body was read; what comes after it is that the peer went."""
    while (await receive())["type"] != "http.disconnect":
        pass


_NONE: Headers = []
_PLAIN: dict[Why, tuple[int, str]] = {
    "too_large": (413, "The body is too large."),
    "too_slow": (408, "The body did not come in time."),
    "bad_encoding": (415, "The body must not be compressed."),
    "overloaded": (503, "Too many requests at once. Nothing was done; ask again."),
    "late": (504, "There was no answer in time. What was asked may have been done."),
    "broken": (500, "Something is wrong here. What was asked may have been done."),
}
_EVENTS: dict[Why, str] = {"late": "a door did not answer in time", "broken": "a door failed"}


@lru_cache(maxsize=64)
def _kind_of(content_type: str) -> bytes:
    return b"content-type: %b\r\ncache-control: no-store\r\nx-content-type-options: nosniff\r\n" % content_type.encode("latin-1")


def _head_of(answer: WireAnswer, told: Headers) -> bytes:
    """The fields of an answer as they stand on the wire; the same as `_headers_of` and what is `told` beside them."""
    head = b"%bcontent-length: %d\r\n" % (_kind_of(answer.content_type), len(answer.body))
    return head + b"".join([b"%b: %b\r\n" % field for field in told]) if told else head


def _headers_of(answer: WireAnswer) -> Headers:
    return [
        (b"content-type", answer.content_type.encode("latin-1")),
        (b"content-length", b"%d" % len(answer.body)),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
    ]


def _read_headers(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name, value in raw:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    return headers


def _within(length: str, limit: int) -> bool:
    """Whether a Content-Length is one number, and not above the limit."""
    return length.isascii() and length.isdecimal() and len(length) <= 18 and int(length) <= limit


def _json(status: int, error: str, message: str) -> WireAnswer:
    return WireAnswer(status, JSON, json.dumps({"error": error, "message": message}).encode())
