"""The HTTP transport of every connector: one request, once, and an answer or an outcome; never an exception.

Lives here: `HttpTransport`, which is all the house uses of aiohttp's client. May not live here: any provider's words.

What it promises, because money hangs on it:
* a request goes out at most once. No redirects are followed, no proxies used but the one that is configured, no cookies
  kept, and aiohttp's own second try of an idempotent request after a dropped connection is switched off (a private switch,
  hence the pinned version; tests count requests at a server);
* `NotSent` means that no connection was had, so no byte of the request was written; from the moment there is one, whatever
  goes wrong is `Unknown`. Behind a proxy an https connection is had once the provider's own TLS greeting is over, so a
  proxy that refuses the tunnel is proof as well; what a proxy says about a plain http request proves nothing;
* the deadline covers all of it, a peer that drips included, and an answer longer than `MOST_BYTES` is not read on;
* certificates and names are checked; nothing of request or answer stands in what it says went wrong;
* no transaction of the calling task is open meanwhile: `outside` is asked first, and raises if there is one. That is a
  mistake of ours, and the one thing that `send` raises for.
"""

from __future__ import annotations

import ssl
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType, SimpleNamespace
from typing import Final

import aiohttp
from yarl import URL

from disburse.domain.outcomes import NotSent, Unknown
from disburse.domain.ports import Clock
from disburse.protocols.wire import WireAnswer

MOST_BYTES: Final = 64 * 1024
KEEP_ALIVE_S: Final = 4.0  # shorter than servers keep theirs, so that we rarely write into a connection being closed
_NONE: Final[Mapping[str, str]] = MappingProxyType({})
_OWN_HEADERS: Final = MappingProxyType({"User-Agent": "disburse", "Accept-Encoding": "identity"})
_NO_TIMEOUT: Final = aiohttp.ClientTimeout(total=None, connect=None, sock_read=None, sock_connect=None)


@dataclass(slots=True)
class _Progress:
    """How far a request got. `connected` turns true before its first byte is written."""

    connected: bool = False


class _TooLong(Exception):
    """The answer is longer than we read."""


def tls_context(ca: str | None = None, certificate: str | None = None, key: str | None = None) -> ssl.SSLContext:
    """How a peer is checked, and who we are: PEM files. Without `ca` the system's authorities are trusted.

    Raises OSError and ssl.SSLError for files that cannot be read or do not fit together; neither repeats what is in them.
    """
    context = ssl.create_default_context(cafile=ca)
    if certificate is not None:
        context.load_cert_chain(certificate, key, password=_no_password)
    return context


def _no_password() -> str:
    raise ssl.SSLError("the key is encrypted")  # otherwise OpenSSL would ask at the terminal, and the process would stand


def _outside() -> None:
    """Nobody watches."""


class HttpTransport:
    """A pool of connections. Whoever makes one closes it.

    `tls` makes what peers are checked with, when the first connection is opened; None: as the system does. `proxy` is an
    address such as http://proxy:3128, `proxy_login` makes its NAME:PASSWORD. `outside` raises while a transaction is open.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        tls: Callable[[], ssl.SSLContext] | None = None,
        connections: int = 256,
        proxy: str | None = None,
        proxy_login: Callable[[], str] | None = None,
        outside: Callable[[], None] = _outside,
    ) -> None:
        self._clock = clock
        self._tls = tls
        self._connections = connections
        self._proxy = URL(proxy) if proxy is not None else None
        self._proxy_login = proxy_login
        self._outside = outside
        self._session: aiohttp.ClientSession | None = None
        self._proxy_headers: dict[str, str] | None = None

    def open(self) -> None:
        """Get ready: read the files and secrets that connections need. Raises what reading them raises."""
        self._opened()

    async def send(
        self,
        method: str,
        url: str,
        *,
        deadline_s: float,
        headers: Mapping[str, str] = _NONE,
        body: bytes | None = None,
        most_bytes: int = MOST_BYTES,
    ) -> WireAnswer | NotSent | Unknown:
        """Send one request, once. `url` goes out as it is spelled; `deadline_s` covers everything from here on.

        Raises what `outside` raises, before anything is sent, and nothing else.
        """
        self._outside()
        progress = _Progress()
        try:
            async with self._clock.timeout(deadline_s):
                return await self._exchange(method, url, headers, body, progress, most_bytes)
        except Exception as fault:
            # Deliberately everything: what aiohttp or the system may raise is not a closed list, and the classification
            # does not depend on it.
            if progress.connected:
                return Unknown(_why_unknown(fault))
            return NotSent(_why_not_sent(fault))

    async def close(self) -> None:
        """Close all connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _exchange(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, progress: _Progress, most_bytes: int
    ) -> WireAnswer:
        session, address = self._opened(), URL(url, encoded=True)
        # A plain http request is the proxy's to read; to an https provider the proxy's password must not go.
        for_proxy = self._proxy_headers or _NONE if address.scheme == "http" else _NONE
        async with session.request(
            method,
            address,
            headers={**_OWN_HEADERS, **headers, **for_proxy},
            data=body,
            allow_redirects=False,
            timeout=_NO_TIMEOUT,
            trace_request_ctx=progress,
            proxy=self._proxy,
            proxy_headers=dict(self._proxy_headers) if self._proxy_headers is not None else None,
        ) as response:
            content_type = response.headers.get("Content-Type", "")
            return WireAnswer(response.status, content_type, await _read(response, most_bytes))

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            if self._proxy_login is not None:
                login = b64encode(self._proxy_login().encode()).decode()
                self._proxy_headers = {"Proxy-Authorization": f"Basic {login}"}
            tls = self._tls() if self._tls is not None else True
            session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=tls, limit=self._connections, keepalive_timeout=KEEP_ALIVE_S),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
                auto_decompress=False,
                raise_for_status=False,
                trace_configs=[_tracing()],
            )
            if session._retry_connection is not True:
                raise AssertionError("this aiohttp has another way of trying twice")
            session._retry_connection = False
            self._session = session
        return self._session


def _tracing() -> aiohttp.TraceConfig:
    async def connected(session: aiohttp.ClientSession, context: SimpleNamespace, _: object) -> None:
        context.trace_request_ctx.connected = True

    tracing = aiohttp.TraceConfig()
    tracing.on_connection_create_end.append(connected)
    tracing.on_connection_reuseconn.append(connected)
    return tracing


async def _read(response: aiohttp.ClientResponse, most_bytes: int) -> bytes:
    if (response.content_length or 0) > most_bytes:
        response.close()
        raise _TooLong
    parts, size = [], 0
    async for part in response.content.iter_any():
        size += len(part)
        if size > most_bytes:
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
        case aiohttp.ClientHttpProxyError():
            return "the proxy refuses the tunnel"
        case aiohttp.ClientProxyConnectionError():
            return "no connection to the proxy"
        case aiohttp.ClientConnectorError(os_error=ConnectionRefusedError()):
            return "the connection is refused"
        case aiohttp.ClientConnectorError():
            return "no connection"
        case aiohttp.InvalidURL():
            return "the address is no URL"
        case _:
            return f"not sent ({type(fault).__name__})"


def _why_unknown(fault: Exception) -> str:
    match fault:
        case TimeoutError():
            return "time-out"
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
