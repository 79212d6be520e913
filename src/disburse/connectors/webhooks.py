"""Posting to merchants' webhook endpoints: one POST, once, to an address that was judged. Never an exception.

Lives here: `WebhookTransport`. An endpoint's owner chooses where we call, so this is the one place where a stranger could aim us at
our own network (reliability: SSRF). What it promises:

* the URL is read again at each try (`protocols/webhook_address.py`), the host is resolved, and *every* address that it has must be
  a public one (`address_guard.py`); one that is not, and nothing is sent. The connection goes to an address that was judged, with
  the name in SNI and Host: what the name says a moment later changes nothing;
* no redirects, no proxies, no cookies; certificates and names are checked;
* no second try, but for a connection that was kept and breaks without an answer: its peer closed it for being idle, most likely, so the same message
  goes out once more at once, on another one. Who read it all the same knows its id;
* the deadline covers all of it, a peer that drips included. Whether it took the message stands in its status line; of what it says
  after that at most `MOST_BYTES` are read, within `DRAIN_S`, so that the connection can be used again, and thrown away;
* no transaction of the calling task is open meanwhile: `outside` is asked first, and raises if there is one.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from disburse.connectors.address_guard import may_be_called
from disburse.domain.ports import Clock
from disburse.protocols.webhook_address import BadWebhookUrl, read_endpoint
from disburse.protocols.webhooks import retry_after_s

MOST_BYTES: Final = 16 * 1024
DRAIN_S: Final = 1.0
KEEP_ALIVE_S: Final = 15.0
REMEMBER_S: Final = 20.0
"""How long the addresses of a name are used again without asking. They are judged each time, and nothing else is ever connected to."""

STALE_S: Final = 600.0
NAME_S: Final = 1.0
"""Addresses that were told within `STALE_S` are used when asking anew takes longer than `NAME_S`: a silent name server delays nobody else."""

_MOST_NAMES: Final = 10_000
_KEPT_TRIES: Final = 2
_NO_TIMEOUT: Final = aiohttp.ClientTimeout(total=None, connect=None, sock_read=None, sock_connect=None)

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""All addresses of a host, as the system tells them. Raises OSError."""


@dataclass(frozen=True, slots=True)
class Answered:
    """The endpoint's status, and how long it asks us to stay away."""

    status: int
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Unanswered:
    """No status came; it may have got the message or not. `why` is fit for logs and for its owner: nothing of the URL is in it."""

    why: str


class _Way:
    """How one exchange went out. `kept`: on a connection that was there."""

    __slots__ = ("kept",)

    def __init__(self) -> None:
        self.kept = False


async def _was_kept(_session: aiohttp.ClientSession, context: SimpleNamespace, _: aiohttp.TraceConnectionReuseconnParams) -> None:
    context.trace_request_ctx.kept = True


class _Denied(OSError):
    """The host has an address that must not be called."""


class _Judging(AbstractResolver):
    """The resolver of aiohttp's connector: what it gives out was judged, all of it."""

    def __init__(self, resolve: Resolve, clock: Clock, *, to_loopback: bool) -> None:
        self._resolve = resolve
        self._clock = clock
        self._to_loopback = to_loopback
        self._known: dict[tuple[str, int], tuple[float, Sequence[str]]] = {}  # when they were told, and which

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        addresses = await self._addresses(host, port)
        loopback = self._to_loopback and host == "localhost"
        if not addresses or not all(may_be_called(one, loopback=loopback) for one in addresses):
            raise _Denied
        return [
            ResolveResult(
                hostname=host, host=one, port=port, family=socket.AF_INET6 if ":" in one else socket.AF_INET, proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for one in addresses
        ]  # fmt: skip

    async def _addresses(self, host: str, port: int) -> Sequence[str]:
        now, known = self._clock.monotonic(), self._known.get((host, port))
        if known is not None and now < known[0] + REMEMBER_S:
            return known[1]
        if known is None or now >= known[0] + STALE_S:
            return await self._asked(host, port)
        try:
            async with self._clock.timeout(NAME_S):
                return await self._asked(host, port)
        except TimeoutError:
            return known[1]

    async def _asked(self, host: str, port: int) -> Sequence[str]:
        addresses = await self._resolve(host, port)
        if len(self._known) >= _MOST_NAMES:
            self._known.clear()
        self._known[host, port] = (self._clock.monotonic(), addresses)
        return addresses

    async def close(self) -> None:
        self._known.clear()


class WebhookTransport:
    """A pool of connections to endpoints. Whoever makes one closes it.

    `to_loopback`: endpoints on this machine may be called, for tests and demonstrations. `tls` makes what peers are checked with.
    """

    def __init__(
        self,
        clock: Clock,
        resolve: Resolve,
        *,
        to_loopback: bool = False,
        tls: Callable[[], ssl.SSLContext] | None = None,
        connections: int = 1000,
        outside: Callable[[], None] = lambda: None,
    ) -> None:
        self._clock = clock
        self._resolver = _Judging(resolve, clock, to_loopback=to_loopback)
        self._to_loopback = to_loopback
        self._tls = tls
        self._connections = connections
        self._outside = outside
        self._session: aiohttp.ClientSession | None = None

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, deadline_s: float) -> Answered | Unanswered:
        """Post once. Raises what `outside` raises, before anything is sent, and nothing else."""
        self._outside()
        try:
            read_endpoint(url, to_loopback=self._to_loopback)
        except BadWebhookUrl as fault:
            return Unanswered(f"the address is not allowed: {fault}")
        try:
            async with self._clock.timeout(deadline_s):
                return await self._posted(url, headers, body)
        except Exception as fault:  # what aiohttp or the system may raise is not a closed list
            return Unanswered(_why(fault))

    async def close(self) -> None:
        """Close all connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _posted(self, url: str, headers: Mapping[str, str], body: bytes) -> Answered:
        for _ in range(_KEPT_TRIES):
            way = _Way()
            try:
                return await self._exchange(url, headers, body, way)
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
                if not way.kept:
                    raise
        return await self._exchange(url, headers, body, _Way())

    async def _exchange(self, url: str, headers: Mapping[str, str], body: bytes, way: _Way) -> Answered:
        response = await self._opened().post(
            URL(url, encoded=True), headers={"User-Agent": "disburse", "Accept-Encoding": "identity", **headers}, data=body,
            allow_redirects=False, timeout=_NO_TIMEOUT, trace_request_ctx=way,
        )  # fmt: skip
        try:
            wait = retry_after_s(response.headers.get("Retry-After"), self._clock.now())
            await self._drain(response)
            return Answered(response.status, wait)
        finally:
            response.close()  # a connection that was read to its end went back to the pool before

    async def _drain(self, response: aiohttp.ClientResponse) -> None:
        """Read on to the end of a short answer; a long, slow or broken one changes nothing of its status."""
        if (response.content_length or 0) > MOST_BYTES:
            return
        size = 0
        try:
            async with self._clock.timeout(DRAIN_S):
                async for part in response.content.iter_any():
                    size += len(part)
                    if size > MOST_BYTES:
                        return
        except (TimeoutError, aiohttp.ClientError, OSError):
            return

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            trace = aiohttp.TraceConfig()
            trace.on_connection_reuseconn.append(_was_kept)
            session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    ssl=self._tls() if self._tls is not None else True, limit=self._connections, keepalive_timeout=KEEP_ALIVE_S,
                    resolver=self._resolver, use_dns_cache=False, force_close=False,
                ),
                cookie_jar=aiohttp.DummyCookieJar(), trust_env=False, auto_decompress=False, raise_for_status=False,
                read_bufsize=MOST_BYTES, trace_configs=[trace],
            )  # fmt: skip
            if session._retry_connection is not True:
                raise AssertionError("this aiohttp has another way of trying twice")
            session._retry_connection = False
            self._session = session
        return self._session


def _why(fault: Exception) -> str:
    match fault:
        case TimeoutError() | asyncio.TimeoutError():
            return "no answer in time"
        case aiohttp.ClientConnectorError(os_error=_Denied()):
            return "its host has an address that is not public"
        case aiohttp.ClientConnectorDNSError():
            return "its host is not found"
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientConnectorSSLError():
            return "its certificate or TLS is wrong"
        case aiohttp.ClientConnectorError():
            return "no connection"
        case aiohttp.ClientResponseError():
            return "its answer is not HTTP"
        case aiohttp.ClientError() | OSError():
            return "the connection broke"
        case _:
            return f"no answer ({type(fault).__name__})"
