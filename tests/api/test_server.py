"""The server through real sockets, on the loop it runs on: hostile connections, time limits, TLS, and an orderly end."""

from __future__ import annotations

import asyncio
import gc
import json
import signal
import socket
import ssl
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from disburse.api.listening import BadCertificate, CannotListen, Limits, listen, tls_context
from disburse.protocols.wire import WireAnswer, WireRequest
from tests.api.served import PATIENCE_S, Obedient, Served, Wire, get, post, served

pytestmark = pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1")


async def gone(wire: Wire, server: Served, seconds: float) -> bytes:
    """What the server says, if anything, when it closes this connection after so much time and not earlier."""
    await connected(server)
    reading = asyncio.create_task(wire.rest())
    await server.clock.advance(seconds - 1.5)  # the hands of the sweeper's clock move once a second
    await asyncio.sleep(0.01)
    assert not reading.done()
    await server.clock.advance(3)
    return await reading


async def connected(server: Served, count: int | None = None) -> None:
    """Until the server has all that was sent to it: it has so many connections, and has turned its loop."""
    async with asyncio.timeout(PATIENCE_S):
        while count is not None and server.counted("disburse_connections") != count:
            await asyncio.sleep(0.001)
    await asyncio.sleep(0.02)


# --- time ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sent, seconds, said",
    [
        (b"", 15, b""),
        (b"\r\n\r\n", 15, b""),
        (b"GET /api HT", 15, b"HTTP/1.1 408 "),
        (b"GET /api HTTP/1.1\r\nHost: t\r\nX-Slow: 1", 15, b"HTTP/1.1 408 "),
    ],
)
async def test_a_request_that_does_not_arrive(sent: bytes, seconds: float, said: bytes) -> None:
    """A new connection has 15 s to deliver a whole request; then it is told, if it began one, and closed."""
    async with served([("/api", Obedient())]) as server:
        wire = await server.wire()
        await wire.send(sent)
        assert (await gone(wire, server, seconds)).startswith(said)


async def test_trickling_does_not_help() -> None:
    """A byte now and then does not prolong the time: it runs from the first one."""
    async with served([("/api", Obedient())]) as server:
        wire = await server.wire()
        await connected(server)
        for octet in get("/api?x=12345678901")[:16]:
            await wire.send(bytes([octet]))
            await asyncio.sleep(0.002)
            await server.clock.advance(1)
        assert (await wire.rest()).startswith(b"HTTP/1.1 408 ")


async def test_a_second_request_has_its_own_time() -> None:
    """A connection may rest 75 s between requests; a request that has begun then has 15 s."""
    async with served([("/api", Obedient())]) as server:
        resting, beginning = await server.wire(), await server.wire()
        for wire in (resting, beginning):
            await wire.send(get("/api"))
            await wire.answer()
        await server.clock.advance(40)
        await beginning.send(b"GET /a")
        assert (await gone(beginning, server, 15)).startswith(b"HTTP/1.1 408 ")
        assert (await gone(resting, server, 75 - 40 - 17)) == b""
        assert server.counted("disburse_connections_cut_total", why="idle") == 1
        assert server.counted("disburse_connections_cut_total", why="slow") == 1


async def test_a_refused_body_that_never_ends() -> None:
    """A body that is refused unread may still be sent for the rest of its 15 s, and not for longer."""
    async with served([("/api", Obedient())], body_limit=10) as server:
        wire = await server.wire()
        await wire.send(post("/api", b"x" * 100_000)[:-1])
        assert (await wire.answer()).json == {"refused": "too_large"}
        assert await gone(wire, server, 15) == b""


async def test_an_answer_that_nobody_reads() -> None:
    """Who asks and does not read the answer is cut off in the end, whatever is buffered for it."""

    async def much(request: WireRequest) -> WireAnswer:
        return WireAnswer(200, "text/plain", b"x" * 20_000_000)

    async with served([("/api", Obedient(much))]) as server:
        wire = await server.wire(limit=1000)
        await wire.send(get("/api") + get("/api"))
        await connected(server, 1)
        await server.clock.advance(100)
        await server.clock.advance(100)
        await connected(server, 0)
        assert (await server.ask(get("/nothing"))).status == 404


async def test_a_hundred_tricklers_slow_nobody() -> None:
    """A hundred connections that trickle their requests do not delay a normal one; after 15 s they are gone."""
    door = Obedient()
    async with served([("/api", door)]) as server:
        tricklers = [await server.wire() for _ in range(100)]
        half = [get("/api")[:20], post("/api", b"x" * 50)[:-20]]
        for turn in range(3):
            for number, wire in enumerate(tricklers):
                await wire.send(half[number % 2] if turn == 0 else b"x")
            began = asyncio.get_running_loop().time()
            assert (await server.ask(get("/api"))).status == 200
            assert asyncio.get_running_loop().time() - began < 0.5
        await connected(server)
        for _ in range(9):
            await server.clock.advance(2)
            await asyncio.sleep(0.01)
        await connected(server, 0)
    assert len(door.seen) == 3


# --- hostile bytes ------------------------------------------------------------------------------------------------

SMUGGLED = get("/api?smuggled")


@pytest.mark.parametrize(
    "head",
    [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5, 6",
        "Content-Length: +5",
        "Content-Length: -5",
        "Content-Length: 0x5",
        "Content-Length: 5 5",
        "Content-Length:",
        "Content-Length: 99999999999999999999999",
        "Content-Length : 5",
        " Content-Length: 5",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding:\x0bchunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: x",
        "X: 1\nContent-Length: 5",
        "X: 1\rContent-Length: 5",
        "X: a\x00b",
        "X\x00: a",
        "X(: a",
    ],
)
async def test_smuggling(head: str) -> None:
    """A request whose end could be seen in two places is refused, its connection closed, and nothing behind it is asked."""
    door = Obedient()
    async with served([("/api", door)]) as server:
        wire = await server.wire()
        await wire.send(f"POST /api HTTP/1.1\r\nHost: t\r\n{head}\r\n\r\n".encode("latin-1") + b"0\r\n\r\n" + SMUGGLED)
        said = await wire.rest()
    assert said.startswith(b"HTTP/1.1 400 ")
    assert said.count(b"HTTP/1.1") == 1
    assert door.seen == []


@pytest.mark.parametrize(
    "chunks",
    [
        b"-1\r\nx\r\n",
        b"0x1\r\nx\r\n",
        b"1 \r\nx\r\n",
        b"1\nx\n",
        b"g\r\n",
        b"ffffffffffffffffff\r\n",
        b"1\r\nxy\r\n",
        b"\r\n",
    ],
)
async def test_chunks_that_are_none(chunks: bytes) -> None:
    """A body in broken chunks is answered 400 and never reaches the door."""
    door = Obedient()
    async with served([("/api", door)]) as server:
        wire = await server.wire()
        await wire.send(b"POST /api HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n" + SMUGGLED)
        said = await wire.rest()
    assert said.startswith(b"HTTP/1.1 400 ")
    assert said.count(b"HTTP/1.1") == 1
    assert door.seen == []


@pytest.mark.parametrize(
    "raw",
    [
        b"GET /api?" + b"x" * 40_000 + b" HTTP/1.1\r\n\r\n",
        b"GET /api HTTP/1.1\r\nX: " + b"y" * 40_000 + b"\r\n\r\n",
        b"GET /api HTTP/1.1\r\nX: " + b"y" * 5_000_000,
        b"GET /api?" + b"x" * 5_000_000,
        b"GET /api HTTP/1.1\r\n" + b"X: 1\r\n" * 101 + b"\r\n",
        b"GET /api HTTP/1.1\r\n" + b"X: 1\r\n" * 1_000_000,
    ],
    ids=["url", "field", "endless field", "endless url", "fields", "endless fields"],
)
async def test_a_head_too_large(raw: bytes) -> None:
    """A head beyond 32 KiB or 100 fields is refused while it arrives."""
    door = Obedient()
    async with served([("/api", door)]) as server:
        wire = await server.wire()
        wire.writer.write(raw)
        said = await wire.rest()
        await connected(server, 0)
    assert said[:13] in (b"HTTP/1.1 431 ", b"")  # what was sent and not read may cost the sender the answer
    assert door.seen == []


async def test_large_bodies_are_no_heads() -> None:
    """A body may be larger than any head, whichever way it is cut into packets."""
    async with served([("/api", Obedient())]) as server:
        wire = await server.wire()
        for _ in range(3):
            await wire.send(post("/api", b"x" * 60_000))
            assert len((await wire.answer()).json["body"]) == 60_000
        await wire.send(post("/api", b"x" * 60_000) + get("/api")[:-1])
        await wire.answer()
        await wire.send(get("/api")[-1:])
        assert (await wire.answer()).status == 200


async def test_trailers_are_not_headers() -> None:
    """What comes behind a chunked body cannot pretend to have come before it."""
    async with served([("/api", Obedient())]) as server:
        raw = b"POST /api HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nAuthorization: Bearer x\r\n\r\n"
        seen = (await server.ask(raw)).json
    assert seen["body"] == "x"
    assert "authorization" not in seen["headers"]


@pytest.mark.parametrize(
    "begun, filler",
    [
        (b"0\r\nX: ", b"x" * 8000),
        (b"0\r\nX: 1", b"\r\nX: 1" * 1300),
        (b"1;x=", b"x" * 8000),
        (b"1\r\nx\r\n0\r\nX: ", b"x" * 8000),
    ],
)
async def test_what_stands_around_chunks_is_bounded(begun: bytes, filler: bytes) -> None:
    """Who sends much in trailers, or behind a chunk's size, is cut off: the parser would keep every byte of it."""
    door = Obedient()
    async with served([("/api", door)]) as server:
        wire = await server.wire()
        await wire.send(b"POST /api HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + begun)
        for number in range(5):
            await connected(server)
            assert server.counted("disburse_connections_cut_total", why="malformed") == 0, number
            await wire.send(filler)
        assert (await wire.rest()).startswith(b"HTTP/1.1 431 ")
        await server.clock.advance(1)
        assert server.counted("disburse_connections_cut_total", why="malformed") == 1
    assert door.seen == []


async def test_a_body_in_many_small_chunks() -> None:
    """Chunks of one byte carry more sizes than bytes, and still are a body."""
    async with served([("/api", Obedient())]) as server:
        wire = await server.wire()
        await wire.send(b"POST /api HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(20):
            await wire.send(b"1\r\nx\r\n" * 1000)
        await wire.send(b"0\r\n\r\n")
        assert len((await wire.answer()).json["body"]) == 20_000


async def test_pipelined_requests() -> None:
    """Requests sent without waiting are answered one by one, in order."""
    turns: list[str] = []

    async def slow(request: WireRequest) -> WireAnswer:
        turns.append(f"in {request.query.decode()}")
        await asyncio.sleep(0.002)
        turns.append(f"out {request.query.decode()}")
        return WireAnswer(200, "text/plain", request.query + request.body)

    async with served([("/api", Obedient(slow))]) as server:
        wire = await server.wire()
        await wire.send(get("/api?1") + post("/api?2", b"body") + get("/api?3"))
        assert [(await wire.answer()).body for _ in range(3)] == [b"1", b"2body", b"3"]
    assert turns == ["in 1", "out 1", "in 2", "out 2", "in 3", "out 3"]


async def test_garbage_behind_a_request() -> None:
    """Bytes that cannot be read never put "400" in the place of an answer that is still to come: the connection just ends."""
    go = asyncio.Event()

    async def wait(request: WireRequest) -> WireAnswer:
        await go.wait()
        return WireAnswer(200, "text/plain", b"made")

    door = Obedient(wait)
    async with served([("/api", door)]) as server:
        together, later, answered = [await server.wire() for _ in range(3)]
        await together.send(get("/api") + b"\x00garbage\r\n\r\n")
        assert await together.rest() == b""
        await later.send(get("/api") + get("/api"))
        await connected(server)
        await later.send(b"\x00garbage\r\n\r\n")
        go.set()
        assert not (await later.rest()).startswith(b"HTTP/1.1 400")
        await answered.send(get("/api"))
        assert (await answered.answer()).body == b"made"
        await answered.send(b"\x00garbage\r\n\r\n")
        assert (await answered.rest()).startswith(b"HTTP/1.1 400 ")
        await server.clock.advance(2)
        [line] = server.logged("connections closed")
        assert line["malformed"] == 3
    assert [line["event"] for line in server.log if line["level"] == "error"] == []


async def test_too_many_pipelined() -> None:
    """More pipelined requests than anybody needs end the connection."""
    door = Obedient()
    async with served([("/api", door)]) as server:
        wire = await server.wire()
        await wire.send(get("/api") * 200)
        await wire.rest()
        assert (await server.ask(get("/api"))).status == 200
    assert len(door.seen) < 70
    assert [line["event"] for line in server.log if line["level"] == "error"] == []


async def test_sixty_pipelined() -> None:
    """Sixty requests may be under way on one connection; their answers come in their order."""

    async def number(request: WireRequest) -> WireAnswer:
        await asyncio.sleep(0)
        return WireAnswer(200, "text/plain", request.query)

    async with served([("/api", Obedient(number))]) as server:
        wire = await server.wire()
        for _ in range(3):
            await wire.send(b"".join(get(f"/api?{n}") for n in range(60)))
            assert [int((await wire.answer()).body) for _ in range(60)] == list(range(60))


@pytest.mark.parametrize("upgrade", ["websocket", "h2c"])
@pytest.mark.parametrize("body", [b"", b"body", b"x" * 50_000])
async def test_upgrades(upgrade: str, body: bytes) -> None:
    """A request to change the protocol is answered in this one, body and all, and is the connection's last."""
    async with served([("/api", Obedient())]) as server:
        wire = await server.wire()
        raw = post("/api", body, f"Upgrade: {upgrade}", "Connection: Upgrade", "Sec-WebSocket-Key: eA==")
        await wire.send(raw[:-2])
        await connected(server)
        await wire.send(raw[-2:] + SMUGGLED)
        answer = await wire.answer()
        assert answer.json["body"] == body.decode()
        assert answer.headers["connection"] == "close"
        assert await wire.rest() == b""


async def test_an_upgrade_without_a_length() -> None:
    """A request to change the protocol whose body has no length is refused: nobody could say where it ends."""
    door = Obedient()
    async with served([("/api", door)]) as server:
        raw = b"POST /api HTTP/1.1\r\nUpgrade: x\r\nConnection: upgrade\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"
        wire = await server.wire()
        await wire.send(raw)
        assert (await wire.rest()).startswith(b"HTTP/1.1 400 ")
    assert door.seen == []


@pytest.mark.parametrize(
    "line",
    [
        "CONNECT t:443 HTTP/1.1",
        "GET * HTTP/1.1",
        "GET /\xff HTTP/1.1",
        "GET  HTTP/1.1",
        "G\xcbT / HTTP/1.1",
        "GET / HTTP/9.9",
    ],
)
async def test_lines_that_are_no_request(line: str) -> None:
    """What is no request line of ours gets a small answer, never a fault."""
    async with served([("/api", Obedient())]) as server:
        answer = await server.ask(f"{line}\r\nHost: t\r\n\r\n".encode("latin-1"))
    assert answer.status in (400, 404)
    assert [line["event"] for line in server.log if line["level"] == "error"] == []


async def test_connections_are_bounded() -> None:
    """Beyond the bound a new connection is told so and closed; the ones there are stay, and one that ends makes room."""
    async with served([("/api", Obedient())], limits=Limits(connections=2)) as server:
        first, second = await server.wire(), await server.wire()
        await connected(server, 2)
        third = await server.wire()
        assert (await third.rest()).startswith(b"HTTP/1.1 503 ")
        await first.send(get("/api"))
        assert (await first.answer()).status == 200
        second.close()
        await connected(server, 1)
        assert (await server.ask(get("/api"))).status == 200


# --- TLS ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate for this machine, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "disburse.test")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, private = folder / "cert.pem", folder / "key.pem"
    pem.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return pem, private


async def test_tls(certificate: tuple[Path, Path]) -> None:
    """With a certificate the port speaks TLS 1.2 and later, verified by a client that trusts it, and nothing older."""
    trust = ssl.create_default_context(cafile=certificate[0])
    old = ssl.create_default_context(cafile=certificate[0])
    old.minimum_version = ssl.TLSVersion.TLSv1_1
    old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    async with served([("/api", Obedient())], tls=certificate) as server:
        wire = await server.wire(ssl=trust, server_hostname="127.0.0.1")
        await wire.send(post("/api", b"x" * 50_000))
        assert len((await wire.answer()).json["body"]) == 50_000
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await server.wire(ssl=old, server_hostname="127.0.0.1")
        plain = await server.wire()
        await plain.send(get("/api"))
        assert b"200" not in await plain.rest()
        assert server.log[0]["event"] == f"listening on https://127.0.0.1:{server.port}"


async def test_certificates_that_cannot_be_used(certificate: tuple[Path, Path], tmp_path: Path) -> None:
    """A certificate that is missing, unreadable, or not the key's is told plainly before anything listens."""
    pem, key = certificate
    other = tmp_path / "other.pem"
    other.write_bytes(
        ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    junk = tmp_path / "junk.pem"
    junk.write_text("junk")
    for one, two in [
        (tmp_path / "none.pem", key),
        (pem, tmp_path / "none.pem"),
        (pem, other),
        (junk, key),
        (pem, None),
    ]:
        with pytest.raises(BadCertificate):
            tls_context(one, two)


# --- beginning and end --------------------------------------------------------------------------------------------


async def test_where_it_listens() -> None:
    """The port that was taken is told and logged; a port that is taken already is refused by name."""
    async with served([("/api", Obedient())]) as server:
        assert server.log[0] == {
            "event": f"listening on http://127.0.0.1:{server.port}",
            "url": f"http://127.0.0.1:{server.port}",
            "level": "info",
            "at": "2026-11-21T12:00:00.000+00:00",
        }
        with pytest.raises(CannotListen, match=rf"127\.0\.0\.1:{server.port}: Address already in use"):
            await listen("127.0.0.1", server.port)
    with pytest.raises(CannotListen, match=r"no address for no-such-host\.invalid"):
        await listen("no-such-host.invalid", 0)


async def test_every_address_of_a_name_gets_the_same_port() -> None:
    """A name with several addresses is served at all of them, on one port."""
    sockets = await listen("localhost", 0)
    assert len({bound.getsockname()[1] for bound in sockets}) == 1
    for bound in sockets:
        bound.close()


async def test_an_orderly_end() -> None:
    """Told to stop, it takes no new connection, drops idle ones, and answers what it has begun."""
    go = asyncio.Event()

    async def wait(request: WireRequest) -> WireAnswer:
        await go.wait()
        return WireAnswer(200, "text/plain", b"made")

    door = Obedient(wait)
    async with served([("/api", door)]) as server:
        idle, busy = await server.wire(), await server.wire()
        await busy.send(get("/api"))
        await door.entered.wait()
        await connected(server, 2)
        server.stop.set()
        assert await idle.rest() == b""
        with pytest.raises(ConnectionRefusedError):
            await server.wire()
        go.set()
        answer = await busy.answer()
        assert (answer.body, answer.headers["connection"]) == (b"made", "close")


async def test_an_end_that_will_not_wait() -> None:
    """What has not ended ten seconds after the stop is cut off, without an answer that could be taken for one."""

    async def hang(request: WireRequest) -> WireAnswer:
        await asyncio.Event().wait()
        raise AssertionError

    door = Obedient(hang)
    async with served([("/api", door)], answer_within_s=100) as server:
        wire = await server.wire()
        await wire.send(get("/api"))
        await door.entered.wait()
        server.stop.set()
        await asyncio.sleep(0.01)
        await server.clock.advance(9.5)
        assert not server.task.done()
        await server.clock.advance(1)
        assert await wire.rest() == b""
        await server.task


PROGRAM = """
import asyncio, structlog
from disburse.api.kernel import Kernel
from disburse.api.metrics import Metrics
from disburse.logs import configure
from disburse.server import run, serve
from disburse.world import real_world

async def main():
    world = real_world()
    configure(world.clock)
    metrics, logger = Metrics(world.clock), structlog.get_logger("disburse")
    app = Kernel(doors=[], pages={}, world=world, metrics=metrics, logger=logger)
    await serve(app, host="127.0.0.1", port=0, world=world, metrics=metrics, logger=logger)
    print("over", type(asyncio.get_running_loop()).__module__)

run(main())
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals(number: signal.Signals) -> None:
    """A signal ends the server and not the program: what stands behind `serve` still runs."""
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert program.stderr is not None
        line = json.loads(program.stderr.readline())
        with socket.create_connection(("127.0.0.1", int(line["url"].rsplit(":")[-1])), 5) as idle:
            program.send_signal(number)
            assert idle.recv(1) == b""
        out, err = program.communicate(timeout=10)
    finally:
        program.kill()
    assert (program.returncode, out) == (0, "over uvloop\n")
    assert [json.loads(line)["event"] for line in err.splitlines()] == ["stopping"]


async def test_a_request_leaves_nothing_to_be_collected() -> None:
    """What a request was made of is gone with its answer: no cycle of it waits for the garbage collector and stops everything."""
    async with served([("/api", Obedient())]) as server:
        wire = await server.wire()
        await wire.send(get("/api"))
        await wire.answer()
        gc.collect()
        gc.disable()
        try:
            for _ in range(20):
                await wire.send(get("/api"))
                await wire.answer()
            assert sum(isinstance(one, RequestResponseCycle) for one in gc.get_objects()) <= 1  # the connection's last
        finally:
            gc.enable()
