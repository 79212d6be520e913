"""The line to the server: one request, sent once, over a pool of connections. Never an exception for what the network does.

What it promises:

* no private second try, no redirects, no cookies, no proxy out of the environment; certificates and names are checked;
* the time limit covers all of a try, a server that drips included; an answer longer than `MOST_BYTES` is not read;
* `NeverLeft` is certain: no connection was made. Once there was one, a request without an answer is `Lost`.

The API key goes into one header and nowhere else: not into a URL, not into a text. May not live here: what an answer means, trying again.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from disburse.client.asking import Came, Lost, NeverLeft
from disburse.client.calls import Call

MOST_BYTES: Final = 32 * 1024 * 1024
KEEP_ALIVE_S: Final = 4.0
"""An idle connection is not used after this: the server, or a proxy before it, may be about to close it."""

_PIECE: Final = 64 * 1024
_NO_TIMEOUT: Final = aiohttp.ClientTimeout(total=None, connect=None, sock_read=None, sock_connect=None)
_LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")


class _TooLong(Exception):
    """The answer is longer than we read."""


@dataclass(slots=True)
class _Progress:
    connected: bool = False


def read_address(url: str, *, plain_http: bool) -> str:
    """The server's address, without a slash at its end. Raises ValueError, which repeats nothing of it."""
    parts = urlsplit(url)
    if parts.scheme not in ("https", "http") or not parts.hostname or parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError("the address of a server looks like https://pay.example.com")
    if parts.scheme == "http" and not plain_http and parts.hostname not in _LOOPBACK:
        raise ValueError("over http anybody on the way can read the API key: use https, or allow plain_http")
    return url.rstrip("/")


class Line:
    """A pool of connections to one server. Whoever makes one closes it. `tls` None: peers are checked as the system does."""

    def __init__(self, url: str, api_key: str, *, timeout_s: float, tls: ssl.SSLContext | None, plain_http: bool, connections: int) -> None:
        if not api_key or not api_key.isascii() or not api_key.isprintable() or " " in api_key:
            raise ValueError("this is no API key")
        self._url = read_address(url, plain_http=plain_http)
        self._headers = {
            "Authorization": f"Bearer {api_key}", "Accept": "application/json, application/problem+json",
            "Accept-Encoding": "identity", "User-Agent": "disburse-client",
        }  # fmt: skip
        self._timeout_s = timeout_s
        self._tls = tls
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None

    async def send(self, call: Call[Any]) -> Came | NeverLeft | Lost:
        """Send one request, once."""
        progress = _Progress()
        try:
            async with asyncio.timeout(self._timeout_s + call.wait_s):
                return await self._exchange(call, progress)
        except Exception as fault:  # what aiohttp or the system may raise is not a closed list, and nothing depends on it
            return Lost(_why_lost(fault)) if progress.connected else NeverLeft(_why_not_sent(fault))

    async def close(self) -> None:
        """Close all connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _exchange(self, call: Call[Any], progress: _Progress) -> Came:
        headers = dict(self._headers)
        if call.key is not None:
            headers["Idempotency-Key"] = call.key
        if call.body is not None:
            headers["Content-Type"], headers["Content-Length"] = call.kind, str(len(call.body))
        address = f"{self._url}{call.path}?{call.query}" if call.query else f"{self._url}{call.path}"
        async with self._opened().request(
            call.method, URL(address, encoded=True), headers=headers, data=_body(call), allow_redirects=False, timeout=_NO_TIMEOUT,
            trace_request_ctx=progress,
        ) as response:  # fmt: skip
            kind, wait = response.headers.get("Content-Type", ""), response.headers.get("Retry-After")
            return Came(response.status, kind, await _read(response), wait)

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=self._tls if self._tls is not None else True, limit=self._connections, keepalive_timeout=KEEP_ALIVE_S),
                cookie_jar=aiohttp.DummyCookieJar(), trust_env=False, auto_decompress=False, raise_for_status=False,
                trace_configs=[_tracing()],
            )  # fmt: skip
            if session._retry_connection is not True:
                raise AssertionError("this aiohttp has another way of trying twice")
            session._retry_connection = False
            self._session = session
        return self._session


def _body(call: Call[Any]) -> bytes | AsyncIterator[bytes] | None:
    return _told(call.body, call.told) if call.body is not None and call.told is not None else call.body


async def _told(body: bytes, told: Callable[[int, int], None]) -> AsyncIterator[bytes]:
    """The body in pieces; each is asked for when the one before is on its way."""
    told(0, len(body))
    for begin in range(0, len(body), _PIECE):
        yield body[begin : begin + _PIECE]
        told(min(begin + _PIECE, len(body)), len(body))


def _tracing() -> aiohttp.TraceConfig:
    async def connected(session: aiohttp.ClientSession, context: SimpleNamespace, _: object) -> None:
        context.trace_request_ctx.connected = True

    tracing = aiohttp.TraceConfig()
    tracing.on_connection_create_end.append(connected)
    tracing.on_connection_reuseconn.append(connected)
    return tracing


async def _read(response: aiohttp.ClientResponse) -> bytes:
    parts, size = [], 0
    async for part in response.content.iter_any():
        size += len(part)
        if size > MOST_BYTES:
            response.close()
            raise _TooLong
        parts.append(part)
    return b"".join(parts)


def _why_not_sent(fault: Exception) -> str:
    match fault:
        case TimeoutError():
            return "no connection in time"
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientConnectorSSLError():
            return "the TLS check failed"
        case aiohttp.ClientConnectorDNSError():
            return "the name is not found"
        case aiohttp.ClientConnectorError(os_error=ConnectionRefusedError()):
            return "the connection is refused"
        case aiohttp.ClientConnectorError():
            return "no connection"
        case _:
            return f"not sent ({type(fault).__name__})"


def _why_lost(fault: Exception) -> str:
    match fault:
        case TimeoutError():
            return "no answer in time"
        case _TooLong():
            return "the answer is too long"
        case aiohttp.ClientPayloadError():
            return "the answer broke off"
        case aiohttp.ClientResponseError():
            return "the answer is not HTTP"
        case aiohttp.ClientConnectionError() | ConnectionError():
            return "the connection broke"
        case _:
            return f"no answer ({type(fault).__name__})"
