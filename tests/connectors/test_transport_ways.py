"""Ways to a provider: through a proxy, with a certificate of ours, past an authority of one's own; and never inside a transaction.

What goes wrong on the wire itself is in `test_transport.py`.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from base64 import b64encode
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from disburse.connectors.transport import HttpTransport, tls_context
from disburse.domain.outcomes import NotSent, Unknown
from disburse.protocols.wire import WireAnswer
from disburse.storage.database import Database, Transaction, assert_no_transaction
from disburse.world import RealClock
from tests.clock import FakeClock
from tests.connectors.certificates import Authority, serves
from tests.connectors.loopback import OK, Serve, says, serving
from tests.connectors.sandbox_house import PATIENCE_S

LOGIN = "ada:s3cr3t"
BASIC = b"proxy-authorization: basic " + b64encode(LOGIN.encode()).lower()


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    async with serving() as started:
        yield started


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.create(tmp_path, "authority")


async def send(transport: HttpTransport, url: str) -> WireAnswer | NotSent | Unknown:
    try:
        return await transport.send("POST", url, body=b"pay", deadline_s=PATIENCE_S)
    finally:
        await transport.close()


# --- a proxy -----------------------------------------------------------------------------------------------------


@dataclass
class Proxy:
    """A proxy that opens tunnels, unless told to refuse, and remembers what it was asked."""

    refuses: bytes | None = None
    asked: list[bytes] = field(default_factory=list)
    port: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.asked.append(head)
        if self.refuses is not None:
            writer.write(self.refuses)
            writer.close()
            return
        host, _, port = head.split(b" ")[1].decode().rpartition(":")
        far_reader, far_writer = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while some := await reader.read(4096):
            writer.write(some)
            await writer.drain()
    except ConnectionError:
        pass
    writer.close()


async def proxied(proxy: Proxy) -> asyncio.Server:
    listening = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = listening.sockets[0].getsockname()[1]
    return listening


async def test_https_goes_through_a_tunnel(serve: Serve, authority: Authority) -> None:
    """The proxy hears host, port and its own password; the provider hears the request and not that password."""
    provider = await serve(says(OK), serves(authority))
    proxy = Proxy()
    async with await proxied(proxy):
        transport = HttpTransport(
            RealClock(), tls=lambda: tls_context(str(authority.file)), proxy=proxy.url, proxy_login=lambda: LOGIN
        )
        assert isinstance(await send(transport, f"https://127.0.0.1:{provider.port}/pay?secretKey=k"), WireAnswer)
    [asked], [request] = proxy.asked, provider.requests
    assert asked.startswith(b"CONNECT 127.0.0.1:%d HTTP/1.1" % provider.port) and BASIC in asked.lower()
    assert b"secretKey" not in asked
    assert request.startswith(b"POST /pay?secretKey=k HTTP/1.1") and b"proxy-authorization" not in request.lower()


async def test_plain_http_is_handed_to_the_proxy(serve: Serve) -> None:
    """A plain request goes to the proxy whole, with its password, and its answer is the answer."""
    proxy = await serve(says(OK))
    transport = HttpTransport(RealClock(), proxy=f"http://127.0.0.1:{proxy.port}", proxy_login=lambda: LOGIN)
    assert isinstance(await send(transport, "http://provider.invalid/pay"), WireAnswer)
    [request] = proxy.requests
    assert request.startswith(b"POST http://provider.invalid/pay HTTP/1.1") and BASIC in request.lower()


@pytest.mark.parametrize(
    "says_so",
    [
        b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n",
        b"garbage\r\n\r\n",
        b"",
    ],
)
async def test_a_refused_tunnel_is_proof(serve: Serve, authority: Authority, says_so: bytes) -> None:
    """A proxy that opens no tunnel has let no byte of the request through."""
    provider = await serve(says(OK), serves(authority))
    proxy = Proxy(refuses=says_so)
    async with await proxied(proxy):
        transport = HttpTransport(RealClock(), tls=lambda: tls_context(str(authority.file)), proxy=proxy.url)
        assert isinstance(await send(transport, f"https://127.0.0.1:{provider.port}/"), NotSent)
    assert provider.requests == [] and len(proxy.asked) == 1


async def test_a_stranger_behind_a_proxy_is_not_sent_to(serve: Serve, authority: Authority) -> None:
    """The tunnel does not vouch for who is at its end."""
    provider = await serve(says(OK), serves(authority))
    proxy = Proxy()
    async with await proxied(proxy):
        transport = HttpTransport(RealClock(), proxy=proxy.url)
        assert isinstance(await send(transport, f"https://127.0.0.1:{provider.port}/"), NotSent)
    assert provider.requests == []


async def test_a_proxy_that_is_not_there_is_proof() -> None:
    """No proxy, no request; it is not tried without."""
    transport = HttpTransport(RealClock(), proxy="http://127.0.0.1:1")
    assert await send(transport, "https://127.0.0.1:2/") == NotSent("no connection to the proxy")


async def test_what_a_proxy_says_about_a_plain_request_proves_nothing(serve: Serve) -> None:
    """A proxy that took the request and then breaks may have passed it on."""
    proxy = await serve(says(b"", then=False))
    transport = HttpTransport(RealClock(), proxy=f"http://127.0.0.1:{proxy.port}")
    assert await send(transport, "http://provider.invalid/pay") == Unknown("the connection broke")
    assert len(proxy.requests) == 1


async def test_the_environment_names_no_proxy(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a shell exports for browsers does not lead card numbers anywhere."""
    elsewhere, provider = await serve(says(OK)), await serve(says(OK))
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{elsewhere.port}")
    assert isinstance(await send(HttpTransport(RealClock()), provider.url), WireAnswer)
    assert elsewhere.requests == []


# --- certificates ------------------------------------------------------------------------------------------------


async def test_our_certificate_is_shown(serve: Serve, authority: Authority, tmp_path: Path) -> None:
    """A provider that asks who we are is shown the configured certificate; without one, nothing is had from it."""
    clients = Authority.create(tmp_path, "clients")
    provider = await serve(says(OK), serves(authority, asks=clients))
    certificate, key = clients.vouch("us")
    known = HttpTransport(RealClock(), tls=lambda: tls_context(str(authority.file), str(certificate), str(key)))
    assert isinstance(await send(known, f"https://127.0.0.1:{provider.port}/"), WireAnswer)
    assert len(provider.requests) == 1
    unknown = HttpTransport(RealClock(), tls=lambda: tls_context(str(authority.file)))
    # TLS 1.3 lets a client write before it is refused, so this is doubt and not proof: the safe side.
    assert isinstance(await send(unknown, f"https://127.0.0.1:{provider.port}/"), NotSent | Unknown)
    assert len(provider.requests) == 1


async def test_an_authority_of_ones_own_is_the_only_one(serve: Serve, authority: Authority, tmp_path: Path) -> None:
    """With `ca_file` no other authority is trusted."""
    provider = await serve(says(OK), serves(authority))
    other = Authority.create(tmp_path, "other")
    transport = HttpTransport(RealClock(), tls=lambda: tls_context(str(other.file)))
    assert await send(transport, f"https://127.0.0.1:{provider.port}/") == NotSent("the TLS check failed")
    assert provider.requests == []


async def test_a_sealed_key_is_refused_and_nobody_is_asked(authority: Authority) -> None:
    """An encrypted key raises: a process without a terminal must not wait for somebody to type."""
    certificate, key = authority.vouch("us", password=b"s3cr3t")
    with pytest.raises(ssl.SSLError):
        tls_context(None, str(certificate), str(key))


async def test_a_missing_file_is_found_before_the_first_order(tmp_path: Path) -> None:
    """`open` reads what connections need; an order sent in spite of it is not sent."""
    transport = HttpTransport(RealClock(), tls=lambda: tls_context(str(tmp_path / "nothing.pem")))
    with pytest.raises(FileNotFoundError):
        transport.open()
    assert isinstance(await send(transport, "https://127.0.0.1:1/"), NotSent)


# --- resets ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [False, True])
async def test_a_reset_connection_is_doubt(after: bool) -> None:
    """A connection that is reset, before the request is read or after it, leaves doubt: it was had."""
    arrived = asyncio.Event()

    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if after:
            await reader.readuntil(b"pay")
        arrived.set()
        one = writer.get_extra_info("socket")
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.close()

    listening = await asyncio.start_server(reset, "127.0.0.1", 0)
    async with listening:
        port = listening.sockets[0].getsockname()[1]
        outcome = await send(HttpTransport(RealClock()), f"http://127.0.0.1:{port}/")
    assert isinstance(outcome, Unknown) and arrived.is_set()


# --- no transaction meanwhile ------------------------------------------------------------------------------------


async def test_a_call_inside_a_transaction_is_a_mistake(database: Database, serve: Serve) -> None:
    """Inside `run`, `ask` and `snapshot` nothing is sent and AssertionError is raised; before and after it is sent."""
    server = await serve(says(OK))
    transport = HttpTransport(RealClock(), outside=assert_no_transaction)

    async def call(tx: Transaction) -> object:
        return await transport.send("POST", server.url, body=b"pay", deadline_s=PATIENCE_S)

    for inside in (database.run, database.ask, database.snapshot):
        with pytest.raises(AssertionError, match="inside a database transaction"):
            await inside(call)
    assert server.requests == []
    assert isinstance(await send(transport, server.url), WireAnswer)


async def test_what_a_transaction_started_may_call_once_it_is_over(database: Database, serve: Serve) -> None:
    """A task that was begun inside a transaction is held back as long as that is open, and not a moment longer."""
    server, clock = await serve(says(OK)), FakeClock()
    transport = HttpTransport(clock, outside=assert_no_transaction)
    over = asyncio.Event()

    async def later() -> object:
        with pytest.raises(AssertionError):
            await transport.send("POST", server.url, deadline_s=PATIENCE_S)
        inside.set()
        await over.wait()
        return await transport.send("POST", server.url, deadline_s=PATIENCE_S)

    inside = asyncio.Event()

    async def work(tx: Transaction) -> asyncio.Task[object]:
        begun = asyncio.create_task(later())
        await inside.wait()
        return begun

    begun = await database.run(work)
    over.set()
    assert isinstance(await asyncio.wait_for(begun, PATIENCE_S), WireAnswer)
    await transport.close()


async def test_other_tasks_call_while_one_is_in_a_transaction(database: Database, serve: Serve) -> None:
    """What counts is the task that calls: a busy database holds nobody else back, failed transactions leave no mark."""
    server = await serve(says(OK))
    inside, done = asyncio.Event(), asyncio.Event()

    async def work(tx: Transaction) -> None:
        inside.set()
        await done.wait()
        raise LookupError

    held = asyncio.create_task(database.run(work))
    await inside.wait()
    transport = HttpTransport(RealClock(), outside=assert_no_transaction)
    assert isinstance(await send(transport, server.url), WireAnswer)
    done.set()
    with pytest.raises(LookupError):
        await held
    with pytest.raises(LookupError):
        await database.run(work)
    assert isinstance(await send(transport, server.url), WireAnswer)
