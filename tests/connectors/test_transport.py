"""The transport against servers that misbehave on real sockets: one request at most, an outcome always, `NotSent` only with proof."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from disburse.connectors.transport import MOST_BYTES, HttpTransport, tls_context
from disburse.domain.outcomes import NotSent, Unknown
from disburse.protocols.wire import WireAnswer
from disburse.world import RealClock
from tests.clock import FakeClock
from tests.connectors.loopback import OK, Serve, Server, says, serving
from tests.connectors.sandbox_house import PATIENCE_S

SECRET = "secretKey=s3cr3t&purse=4111111111111111"


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Starts servers on loopback, and stops them when the test is over."""
    async with serving() as started:
        yield started


@pytest.fixture
async def transport() -> AsyncIterator[HttpTransport]:
    made = HttpTransport(RealClock())
    yield made
    await made.close()


async def send(
    transport: HttpTransport, url: str, method: str = "GET", body: bytes | None = None
) -> WireAnswer | NotSent | Unknown:
    return await transport.send(method, url, body=body, deadline_s=PATIENCE_S)


# --- good answers ------------------------------------------------------------------------------------------------


async def test_an_answer_is_status_type_and_bytes(serve: Serve, transport: HttpTransport) -> None:
    """A whole answer comes back as it was sent, whatever its status, and the connection is used again."""
    server = await serve(says(OK.replace(b"200 OK", b"503 Busy")))
    for _ in range(3):
        assert await send(transport, server.url, "POST", b'{"a":1}') == WireAnswer(503, "application/json", b"{}")
    assert server.connections == 1
    assert server.requests[0].endswith(b'\r\n\r\n{"a":1}')


async def test_the_address_goes_out_as_it_is_spelled(serve: Serve, transport: HttpTransport) -> None:
    """Nothing re-encodes a query: signatures are over what was written."""
    server = await serve(says(OK))
    query = "/api?params[sum]=1&x=%2F%7e+%5B"
    await send(transport, f"http://127.0.0.1:{server.port}{query}")
    assert server.requests[0].startswith(b"GET " + query.encode() + b" HTTP/1.1\r\n")


async def test_redirects_are_answers(serve: Serve, transport: HttpTransport) -> None:
    """A redirect is handed back, not followed."""
    elsewhere = await serve(says(OK))
    server = await serve(says(f"HTTP/1.1 307 Go\r\nLocation: {elsewhere.url}\r\nContent-Length: 0\r\n\r\n".encode()))
    answer = await send(transport, server.url, "POST", b"x")
    assert isinstance(answer, WireAnswer) and answer.status == 307
    assert (len(server.requests), len(elsewhere.requests)) == (1, 0)


async def test_cookies_are_not_kept(serve: Serve, transport: HttpTransport) -> None:
    """What one answer sets, the next request does not carry."""
    server = await serve(says(OK.replace(b"\r\n\r\n", b"\r\nSet-Cookie: a=b\r\n\r\n")))
    await send(transport, server.url)
    await send(transport, server.url)
    assert b"cookie" not in server.requests[1].lower()


async def test_compressed_bytes_stay_compressed(serve: Serve, transport: HttpTransport) -> None:
    """Nothing is unpacked, so nothing can swell: a codec sees the bytes and finds them unreadable."""
    server = await serve(says(OK.replace(b"Content-Type", b"Content-Encoding: gzip\r\nContent-Type")))
    answer = await send(transport, server.url)
    assert isinstance(answer, WireAnswer) and answer.body == b"{}"
    assert b"accept-encoding: identity" in server.requests[0].lower()


# --- at most once ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method, body", [("GET", None), ("POST", b"pay"), ("PUT", b"pay"), ("DELETE", None)])
@pytest.mark.parametrize("kept_alive", [False, True])
async def test_a_dropped_request_is_not_sent_again(
    serve: Serve, transport: HttpTransport, method: str, body: bytes | None, kept_alive: bool
) -> None:
    """A server that reads the request and closes has seen it once, whatever the method, on a fresh connection or a used one."""

    async def answer(number: int, writer: asyncio.StreamWriter) -> bool:
        if kept_alive and number == 1:
            return await says(OK)(number, writer)
        return False

    server = await serve(answer)
    if kept_alive:
        assert isinstance(await send(transport, server.url, method, body), WireAnswer)
    assert await send(transport, server.url, method, body) == Unknown("the connection broke")
    assert len(server.requests) == 1 + kept_alive
    assert server.connections == 1


# --- doubt -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "raw, why",
    [
        (b"", "the connection broke"),
        (b"HTTP/1.1 200 OK\r\n", "the connection broke"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{}", "the answer broke off"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n", "the answer broke off"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n", None),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "the answer is not HTTP"),
        (b"\x00\xff\x00\xff\r\n\r\n", "the answer is not HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 20_000 + b"\r\n\r\n", "the answer is not HTTP"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000 + b"\r\n", "the answer is not HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{}", "the answer is not HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}", None),
    ],
)
async def test_a_spoilt_answer_is_unknown(serve: Serve, transport: HttpTransport, raw: bytes, why: str | None) -> None:
    """Whatever comes instead of a whole HTTP answer is Unknown: the request was read, so money may have moved."""
    server = await serve(says(raw, then=False))
    outcome = await send(transport, server.url, "POST", b"pay")
    assert isinstance(outcome, Unknown)
    assert why is None or outcome.why == why
    assert len(server.requests) == 1


@pytest.mark.parametrize("declared", [True, False])
async def test_an_answer_is_read_up_to_a_limit(serve: Serve, transport: HttpTransport, declared: bool) -> None:
    """An answer of 64 KiB is read; one byte more is Unknown, declared or streamed without end."""

    def raw(size: int) -> bytes:
        length = b"Content-Length: %d" % size if declared else b"Connection: close"
        return b"HTTP/1.1 200 OK\r\n" + length + b"\r\n\r\n" + b"x" * size

    whole = await serve(says(raw(MOST_BYTES), then=False))
    answer = await send(transport, whole.url)
    assert isinstance(answer, WireAnswer) and len(answer.body) == MOST_BYTES
    longer = await serve(says(raw(MOST_BYTES + 1), then=False))
    assert await send(transport, longer.url) == Unknown("the answer is too long")

    async def endless(number: int, writer: asyncio.StreamWriter) -> bool:
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        while True:
            writer.write(b"x" * 4096)
            await writer.drain()

    assert await send(transport, (await serve(endless)).url) == Unknown("the answer is too long")


@pytest.mark.parametrize(
    "before, drip",
    [
        (b"", b""),
        (b"HTTP/1.1 200 OK\r\nX: ", b"y"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n", b" "),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
    ],
)
async def test_the_deadline_covers_a_dripping_server(serve: Serve, before: bytes, drip: bytes) -> None:
    """Silence, a byte a second, or interim answers for ever: when the deadline is over the outcome is Unknown."""
    clock = FakeClock()

    async def answer(number: int, writer: asyncio.StreamWriter) -> bool:
        writer.write(before)
        while True:
            await writer.drain()
            await clock.sleep(1.0)
            writer.write(drip)

    server = await serve(answer)
    transport = HttpTransport(clock)
    call = asyncio.create_task(transport.send("POST", server.url, body=b"pay", deadline_s=30.0))
    await asyncio.wait_for(server.arrived.wait(), PATIENCE_S)
    await clock.advance(29.5)
    assert not call.done()
    await clock.advance(1.0)
    assert await asyncio.wait_for(call, PATIENCE_S) == Unknown("time-out")
    await transport.close()


async def test_nothing_of_the_request_is_in_the_outcome(serve: Serve, transport: HttpTransport) -> None:
    """Secrets go in queries here, so an outcome's text never repeats an address."""
    for outcome in (
        await send(transport, f"{(await serve(says(b'', then=False))).url}?{SECRET}"),
        await send(transport, f"http://127.0.0.1:1/pay?{SECRET}"),
        await send(transport, f"nonsense?{SECRET}"),
    ):
        assert isinstance(outcome, Unknown | NotSent)
        assert "s3cr3t" not in repr(outcome) and "4111" not in repr(outcome)


# --- proof that nothing was sent ---------------------------------------------------------------------------------


async def test_a_refused_connection_is_proof(transport: HttpTransport) -> None:
    """Nobody listens: no byte was written."""
    listening = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    listening.close()
    await listening.wait_closed()
    assert await send(transport, f"http://127.0.0.1:{port}/") == NotSent("the connection is refused")


@pytest.mark.parametrize(
    "url", ["", "nonsense", "ftp://127.0.0.1/", "http://", "http://[::1/", "http://127.0.0.1:99999/"]
)
async def test_an_impossible_address_is_proof(transport: HttpTransport, url: str) -> None:
    """An address that no connection can be made to: NotSent, and no exception."""
    assert isinstance(await send(transport, url), NotSent)


async def test_an_unknown_name_is_proof(transport: HttpTransport) -> None:
    """A name that nobody has is NotSent."""
    assert isinstance(await send(transport, "http://nobody.invalid/"), NotSent)


async def test_waiting_for_a_connection_in_vain_is_proof(serve: Serve) -> None:
    """A request that never got a connection before its deadline is NotSent; the one that has it is Unknown."""
    clock = FakeClock()

    async def answer(number: int, writer: asyncio.StreamWriter) -> bool:
        await asyncio.Event().wait()
        return False

    server = await serve(answer)
    transport = HttpTransport(clock, connections=1)
    holds = asyncio.create_task(transport.send("POST", server.url, body=b"1", deadline_s=8.0))
    await asyncio.wait_for(server.arrived.wait(), PATIENCE_S)
    waits = asyncio.create_task(transport.send("POST", server.url, body=b"2", deadline_s=5.0))
    await clock.advance(5.0)
    assert await asyncio.wait_for(waits, PATIENCE_S) == NotSent("no connection in time")
    await clock.advance(3.0)
    assert await asyncio.wait_for(holds, PATIENCE_S) == Unknown("time-out")
    assert len(server.requests) == 1
    await transport.close()


# --- TLS ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for 127.0.0.1, with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a bank")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "bank.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path


@pytest.fixture
async def secure(serve: Serve, certificate: Path) -> Server:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    return await serve(says(OK), context)


async def test_a_trusted_certificate_is_served(secure: Server, certificate: Path) -> None:
    """With the authority that signed it, a server's certificate is good."""
    transport = HttpTransport(RealClock(), tls=lambda: tls_context(str(certificate)))
    assert isinstance(await send(transport, f"https://127.0.0.1:{secure.port}/"), WireAnswer)
    await transport.close()


async def test_a_stranger_is_not_sent_to(secure: Server, transport: HttpTransport) -> None:
    """A certificate nobody we trust has signed ends the matter before a byte of the request."""
    assert await send(transport, f"https://127.0.0.1:{secure.port}/", "POST", b"pay") == NotSent("the TLS check failed")
    assert secure.requests == []


async def test_another_name_is_not_sent_to(secure: Server, certificate: Path) -> None:
    """A good certificate of somebody else is no certificate."""
    transport = HttpTransport(RealClock(), tls=lambda: tls_context(str(certificate)))
    assert await send(transport, f"https://localhost:{secure.port}/") == NotSent("the TLS check failed")
    assert secure.requests == []
    await transport.close()


async def test_plain_http_where_tls_is_expected_is_not_sent(transport: HttpTransport) -> None:
    """A server that answers a TLS greeting in plain HTTP is not spoken to."""

    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    listening = await asyncio.start_server(plain, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    assert isinstance(await send(transport, f"https://127.0.0.1:{port}/", "POST", b"pay"), NotSent)
    listening.close()
