"""Posting to endpoints, good and evil, over real sockets on loopback; and which addresses are never called."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from disburse.connectors.address_guard import may_be_called
from disburse.connectors.webhooks import MOST_BYTES, NAME_S, REMEMBER_S, STALE_S, Answered, Unanswered, WebhookTransport
from disburse.domain.ports import World
from tests.clock import FakeClock
from tests.connectors.certificates import Authority
from tests.connectors.loopback import OK, Serve, says, serving

HEADERS = {"webhook-id": "evt_1_1", "webhook-timestamp": "1", "webhook-signature": "v1,x"}
NO_TIME = Unanswered("no answer in time")


class Names:
    """A resolver of the test's own: what each name has, and how often it was asked."""

    def __init__(self) -> None:
        self.of: dict[str, Sequence[str]] = {"localhost": ["127.0.0.1"]}
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        if host not in self.of:
            raise OSError("no such name")
        return self.of[host]


@pytest.fixture
def names() -> Names:
    return Names()


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    async with serving() as started:
        yield started


@pytest.fixture
async def transport(world: World, names: Names) -> AsyncIterator[WebhookTransport]:
    made = WebhookTransport(world.clock, names, to_loopback=True)
    yield made
    await made.close()


async def test_a_post_arrives_whole(transport: WebhookTransport, serve: Serve) -> None:
    """Headers and body arrive as they were given; the connection is used again for the next one."""
    server = await serve(says(OK))
    for _ in range(2):
        assert await transport.post(server.url, HEADERS, b'{"a":1}', 5) == Answered(200)
    assert server.connections == 1 and len(server.requests) == 2
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /pay HTTP/1.1\r\n") and body == b'{"a":1}'
    assert b"\r\nwebhook-id: evt_1_1\r\n" in head and b"\r\nUser-Agent: disburse" in head


async def test_a_kept_connection_that_is_closed(transport: WebhookTransport, serve: Serve) -> None:
    """A connection that was kept and breaks without an answer is no failure: the same message goes out once more at once, on a fresh one."""
    seen = 0

    async def answer(number: int, writer: asyncio.StreamWriter) -> bool:
        nonlocal seen
        seen += 1
        if seen in (2, 4, 5):
            return False
        return await says(OK)(number, writer)

    server = await serve(answer)
    for expected in (Answered(200), Answered(200), Unanswered("the connection broke")):
        assert await transport.post(server.url, HEADERS, b"{}", 5) == expected
    assert len(server.requests) == 5 and server.connections == 3


@pytest.mark.parametrize(
    "raw, expected",
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", Answered(204)),
        (b"HTTP/1.1 301 Moved\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", Answered(301)),
        (b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n", Answered(410)),
        (b"HTTP/1.1 429 Slow\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n", Answered(429, 7.0)),
        (b"HTTP/1.1 503 No\r\nRetry-After: soon\r\nContent-Length: 0\r\n\r\n", Answered(503)),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nhalf", Answered(200)),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", Unanswered("its answer is not HTTP")),
        (b"SSH-2.0-OpenSSH\r\n\r\n", Unanswered("its answer is not HTTP")),
        (b"", Unanswered("the connection broke")),
    ],
)
async def test_what_answers_say(
    transport: WebhookTransport, serve: Serve, raw: bytes, expected: Answered | Unanswered
) -> None:
    """The status alone counts; a redirect is not followed, a body that breaks changes nothing, and nothing is posted twice."""
    server = await serve(says(raw, then=False))
    assert await transport.post(server.url, HEADERS, b"{}", 5) == expected
    assert len(server.requests) == 1


async def test_a_receiver_that_hangs(transport: WebhookTransport, serve: Serve) -> None:
    """The deadline ends a call that nobody answers, and one whose status drips in byte by byte."""

    async def hang(number: int, writer: asyncio.StreamWriter) -> bool:
        await asyncio.Event().wait()
        return False

    async def drip(number: int, writer: asyncio.StreamWriter) -> bool:
        for byte in b"HTTP/1.1 200 OK\r\n" + b"X-Y: z\r\n" * 1000:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.02)
        return False

    for answer in (hang, drip):
        server = await serve(answer)
        assert await transport.post(server.url, HEADERS, b"{}", 0.3) == NO_TIME


async def test_a_huge_answer_is_not_read(transport: WebhookTransport, serve: Serve) -> None:
    """Of ten megabytes behind a 200 little is read: the message was taken, and the connection is closed."""
    written: list[int] = []

    async def flood(number: int, writer: asyncio.StreamWriter) -> bool:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            for _ in range(2560):
                writer.write(b"1000\r\n" + b"x" * 4096 + b"\r\n")
                await writer.drain()
                written.append(4096)
        except ConnectionError:
            return False
        return True

    server = await serve(flood)
    assert await transport.post(server.url, HEADERS, b"{}", 5) == Answered(200)
    assert await transport.post(server.url, HEADERS, b"{}", 5) == Answered(200)
    assert server.connections == 2
    assert sum(written) < 2 * 10 * 1024 * 1024 and MOST_BYTES == 16384


async def test_an_answer_that_drips_on_was_given(transport: WebhookTransport, serve: Serve) -> None:
    """After a 200 the rest may drip as long as it likes: the message was taken, and nobody waits for the end."""

    async def drip(number: int, writer: asyncio.StreamWriter) -> bool:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(1000):
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.05)
        return False

    server = await serve(drip)
    began = asyncio.get_running_loop().time()
    assert await transport.post(server.url, HEADERS, b"{}", 20) == Answered(200)
    assert asyncio.get_running_loop().time() - began < 5


async def test_tls_goes_by_the_name(world: World, names: Names, serve: Serve, tmp_path: Path) -> None:
    """The connection goes to the judged address with the name in SNI and Host; a certificate for another name is refused."""
    authority = Authority.create(tmp_path, "authority")
    told: list[str | None] = []
    good = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    good.load_cert_chain(*authority.vouch("good", host="localhost"))
    good.sni_callback = lambda _, name, __: told.append(name)
    bad = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    bad.load_cert_chain(*authority.vouch("bad", host="elsewhere.example"))
    transport = WebhookTransport(
        world.clock, names, to_loopback=True, tls=lambda: ssl.create_default_context(cafile=str(authority.file))
    )
    server, liar = await serve(says(OK), good), await serve(says(OK), bad)
    assert await transport.post(f"https://localhost:{server.port}/x", HEADERS, b"{}", 5) == Answered(200)
    assert told == ["localhost"] and b"\r\nHost: localhost:" in server.requests[0]
    refused = await transport.post(f"https://localhost:{liar.port}/x", HEADERS, b"{}", 5)
    assert refused == Unanswered("its certificate or TLS is wrong") and liar.requests == []
    await transport.close()


# --- what is never called ----------------------------------------------------------------------------------------

INSIDE = (
    "127.0.0.1", "127.255.255.254", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0",
    "224.0.0.1", "240.0.0.1", "255.255.255.255", "192.0.0.1", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1",
    "192.88.99.1", "::1", "::", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "64:ff9b::7f00:1", "64:ff9b::808:808",
    "64:ff9b:1::1", "2002:7f00:1::", "2001::1", "2001:db8::1", "3fff::1", "100::1", "fc00::1", "fd12::1", "fe80::1", "fe80::1%eth0",
    "fec0::1", "ff02::1", "5f00::1", "4000::1", "2620:4f:8000::1", "not an address", "", "2130706433", "0177.0.0.1", "127.1",
)  # fmt: skip
PUBLIC = ("8.8.8.8", "1.1.1.1", "93.184.216.34", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "2a00:1450:4001::1")


@pytest.mark.parametrize("address", INSIDE)
def test_addresses_inside(address: str) -> None:
    """What is not routed in public, carries another address inside, or is no address, is not called."""
    assert not may_be_called(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_addresses_outside(address: str) -> None:
    """Public addresses are called; where this machine is asked for, they are not."""
    assert may_be_called(address) and not may_be_called(address, loopback=True)


@pytest.mark.parametrize("addresses", [[one] for one in INSIDE[:40]] + [["8.8.8.8", "127.0.0.1"], ["2606:4700::1111", "::1"], []])
async def test_one_bad_address_is_enough(world: World, names: Names, addresses: list[str]) -> None:
    """A name of whose addresses one is not public is not called at all."""
    names.of["shop.example"] = addresses
    transport = WebhookTransport(world.clock, names)
    told = await transport.post("https://shop.example/x", HEADERS, b"{}", 5)
    assert told == Unanswered("its host has an address that is not public") and names.asked == ["shop.example"]
    await transport.close()


async def test_a_name_that_moves_inside_is_caught(world: World, names: Names, serve: Serve) -> None:
    """The addresses that were judged are those that are connected to: the system is not asked a second time for one call."""
    server = await serve(says(OK))
    answers = iter([["127.0.0.1"], ["10.0.0.1"]])

    async def rebinding(host: str, port: int) -> Sequence[str]:
        return next(answers)

    transport = WebhookTransport(world.clock, rebinding, to_loopback=True)
    assert await transport.post(f"http://localhost:{server.port}/", HEADERS, b"{}", 5) == Answered(200)
    assert next(answers) == ["10.0.0.1"]
    await transport.close()


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:1/", "https://localhost/", "https://127.0.0.1/", "http://shop.example/", "https://u:secret@shop.example/",
     "https://shop.example:22/", "https://[::1]/"],
)  # fmt: skip
async def test_an_address_is_read_again_at_each_try(world: World, names: Names, url: str) -> None:
    """Whatever stands in a row, an address that is not allowed is not even resolved; what is told repeats nothing of it."""
    transport = WebhookTransport(world.clock, names)
    told = await transport.post(url, HEADERS, b"{}", 5)
    assert isinstance(told, Unanswered) and told.why.startswith("the address is not allowed: ")
    assert names.asked == [] and "secret" not in told.why
    await transport.close()


async def test_no_transaction_is_open(world: World, names: Names) -> None:
    """Inside a transaction nothing is posted: that is our mistake, and it is raised."""

    def outside() -> None:
        raise AssertionError("a network call inside a database transaction")

    transport = WebhookTransport(world.clock, names, outside=outside)
    with pytest.raises(AssertionError):
        await transport.post("https://shop.example/", HEADERS, b"{}", 5)
    assert names.asked == []


async def test_a_silent_name_server(world: World, serve: Serve) -> None:
    """A name whose server falls silent is called at the addresses it had, judged anew, after a second; ten minutes later it is not any more."""
    clock, server, silent = FakeClock(), await serve(says(OK, then=False)), False

    async def resolve(host: str, port: int) -> Sequence[str]:
        if silent:
            await asyncio.Event().wait()
        return ["127.0.0.1"]

    transport = WebhookTransport(clock, resolve, to_loopback=True)
    for silent, pause_s, expected in ((False, 0.0, Answered(200)), (True, REMEMBER_S, Answered(200)), (True, STALE_S, NO_TIME)):
        await clock.advance(pause_s)
        began = clock.monotonic()
        posting = asyncio.create_task(transport.post(f"http://localhost:{server.port}/", HEADERS, b"{}", 100))
        while not posting.done():
            await clock.advance(0.1 if silent else 0.0)
        assert posting.result() == expected and (clock.monotonic() - began >= NAME_S) == silent
    assert len(server.requests) == 2
    await transport.close()


async def test_a_name_that_is_not_found(world: World, names: Names) -> None:
    """A name that nobody knows is told as such."""
    transport = WebhookTransport(world.clock, names)
    assert await transport.post("https://gone.example/", HEADERS, b"{}", 5) == Unanswered("its host is not found")
    await transport.close()
