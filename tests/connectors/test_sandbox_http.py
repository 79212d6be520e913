"""The sandbox bank as a program, and its connector: real HTTP on loopback, every misbehaviour on the wire, killed for real."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest

from disburse.connectors.contract import Connector, Hear
from disburse.connectors.sandbox import SandboxConnector
from disburse.connectors.sandbox_bank import Standing
from disburse.connectors.sandbox_book import Did
from disburse.connectors.sandbox_http import HOLD_S, BadAddress, running, serve
from disburse.connectors.sandbox_remote import RemoteSandboxConnector
from disburse.connectors.sandbox_wire import STATUS, decode_standing, encode_standing
from disburse.connectors.transport import HttpTransport
from disburse.domain.destinations import Rail
from disburse.domain.outcomes import (
    Absent,
    Accepted,
    Finding,
    NotFound,
    NotSent,
    Outcome,
    Rejected,
    Returned,
    Settled,
    Unknown,
)
from disburse.protocols.wire import WireAnswer, WireRequest
from disburse.world import RealClock
from disburse.world_spool import FileInUse, FileSpool
from tests.clock import FakeClock
from tests.connectors.loopback import Serve, Server, says, serving
from tests.connectors.sandbox_house import (
    BASE,
    PATIENCE_S,
    Listener,
    deeds,
    lines,
    money,
    order,
    question,
    written,
)

ONE = f"{BASE}-1"
FIRST = "SB0000000001"
CANNOT = Rejected("destination cannot receive", provider_reference=FIRST)
SHORT = Rejected("provider balance short", elsewhere=True, provider_reference=FIRST)
REFUSED = Rejected("refused by the bank", provider_reference=FIRST)
BROKE = Unknown("the connection broke")
GOOD = {"end_to_end_id": ONE, "amount": "10.00", "currency": "RUB", "rail": "card", "last4": "1111"}
NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"

Start = Callable[..., Awaitable[str]]


@pytest.fixture
def clock() -> FakeClock:
    """The bank's clock. Ours is the real one: what we wait for is this machine."""
    return FakeClock()


@pytest.fixture
def book(tmp_path: Path) -> Path:
    return tmp_path / "book.jsonl"


@pytest.fixture
async def transport() -> AsyncIterator[HttpTransport]:
    made = HttpTransport(RealClock())
    yield made
    await made.close()


@pytest.fixture
async def start(clock: FakeClock, book: Path) -> AsyncIterator[Start]:
    """Starts programs and says their address; they stop when the test is over."""
    async with AsyncExitStack() as stack:

        async def started(*, guard: bool = False, callback_url: str | None = None, path: Path = book) -> str:
            program = running("127.0.0.1:0", spool=FileSpool(path), clock=clock, guard=guard, callback_url=callback_url)
            address, _ = await stack.enter_async_context(program)
            return address

        yield started


@pytest.fixture
async def loopback() -> AsyncIterator[Serve]:
    """Starts servers that answer as told."""
    async with serving() as started:
        yield started


async def submit(connector: Connector, clock: FakeClock, amount: str) -> Outcome:
    """Submit, and where the answer is lost let time pass until the bank cuts the connection."""
    task = asyncio.create_task(connector.submit(order(amount, deadline_s=PATIENCE_S)))
    if amount[-2:] in ("33", "44"):
        async with asyncio.timeout(PATIENCE_S):
            while not task.done():
                await clock.advance(1.0)
        assert clock.monotonic() >= HOLD_S
    return await asyncio.wait_for(task, PATIENCE_S)


# --- the table, on the wire --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "amount, outcome, finding",
    [
        ("10.00", Settled(FIRST, money("10.00")), Settled(FIRST, money("10.00"))),
        ("50", Settled(FIRST, money("50")), Settled(FIRST, money("50"))),
        ("1.11", Accepted(FIRST), Accepted(FIRST)),
        ("2.22", CANNOT, CANNOT),
        ("3.33", BROKE, Settled(FIRST, money("3.33"))),
        ("4.44", BROKE, REFUSED),
        ("5.55", Accepted(FIRST), Settled(FIRST, money("5.55"))),
        ("6.66", SHORT, SHORT),
        ("7.77", Unknown("HTTP 500"), Settled(FIRST, money("7.77"))),
        ("8.88", Unknown("unreadable answer"), Settled(FIRST, money("8.88"))),
        ("9.99", Settled(FIRST, money("9.99")), Settled(FIRST, money("9.99"))),
    ],
)
async def test_what_an_amount_does_on_the_wire(
    start: Start,
    transport: HttpTransport,
    clock: FakeClock,
    book: Path,
    amount: str,
    outcome: Outcome,
    finding: Finding,
) -> None:
    """Over HTTP every row of the table yields the outcome it yields in process, by the wire's own means."""
    connector = RemoteSandboxConnector(await start(), transport)
    assert await submit(connector, clock, amount) == outcome
    assert await connector.inquire(question()) == finding
    assert Counter(deeds(book))["paid"] == isinstance(finding, Settled)


async def raw(transport: HttpTransport, address: str, fields: dict[str, str]) -> WireAnswer | NotSent | Unknown:
    return await transport.send(
        "POST",
        f"{address}/payouts",
        headers={"Content-Type": "application/json"},
        body=json.dumps(fields).encode(),
        deadline_s=PATIENCE_S,
    )


@pytest.mark.parametrize(
    "amount, status, state",
    [
        ("10.00", 200, "paid"),
        ("1.11", 202, "accepted"),
        ("2.22", 422, "refused"),
        ("6.66", 422, "refused"),
        ("7.77", 500, None),
        ("8.88", 200, None),
        ("9.99", 200, "paid"),
    ],
)
async def test_what_stands_on_the_wire(
    start: Start, transport: HttpTransport, amount: str, status: int, state: str | None
) -> None:
    """The status is the documented one, and the body a standing, or for .77 and .88 nothing that can be read as one."""
    answer = await raw(transport, await start(), GOOD | {"amount": amount})
    assert isinstance(answer, WireAnswer) and answer.status == status
    if state is not None:
        assert json.loads(answer.body)["state"] == state
    elif amount == "8.88":
        with pytest.raises(ValueError):
            json.loads(answer.body)
    else:
        assert "state" not in json.loads(answer.body)


async def test_a_peer_that_hangs_up_is_not_waited_for(start: Start, transport: HttpTransport, book: Path) -> None:
    """A caller whose patience ends before the bank's has its time-out, and the payment is made all the same."""
    ours = FakeClock()
    hasty = HttpTransport(ours)
    connector = RemoteSandboxConnector(await start(), hasty)
    call = asyncio.create_task(connector.submit(order("3.33", deadline_s=8.0)))
    await written(book, 1)
    await ours.advance(8.0)
    assert await asyncio.wait_for(call, PATIENCE_S) == Unknown("time-out")
    await hasty.close()
    assert deeds(book) == ["paid"]


@pytest.mark.parametrize("rail", Rail)
@pytest.mark.parametrize("currency", ["RUB", "TST", "USD", "EUR", "USDT"])
async def test_every_rail_and_currency_is_served(
    start: Start, transport: HttpTransport, rail: Rail, currency: str
) -> None:
    """What the capabilities promise, the program takes."""
    fields = GOOD | {"rail": rail.value, "currency": currency}
    answer = await raw(transport, await start(), fields)
    assert isinstance(answer, WireAnswer) and answer.status == 200
    assert decode_standing(answer.body) == Standing(ONE, Did.PAID, money("10.00", currency), FIRST)


# --- strict input ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change, field",
    [
        ({"end_to_end_id": ""}, "end_to_end_id"),
        ({"end_to_end_id": "a b"}, "end_to_end_id"),
        ({"end_to_end_id": "x" * 65}, "end_to_end_id"),
        ({"end_to_end_id": "é"}, "end_to_end_id"),
        ({"end_to_end_id": 7}, "end_to_end_id"),
        ({"end_to_end_id": None}, "end_to_end_id"),
        ({"amount": 10}, "amount"),
        ({"amount": "0.00"}, "amount"),
        ({"amount": "-1"}, "amount"),
        ({"amount": "1e3"}, "amount"),
        ({"amount": "1.005"}, "amount"),
        ({"amount": "1,00"}, "amount"),
        ({"amount": " 1"}, "amount"),
        ({"amount": "١"}, "amount"),
        ({"amount": "9" * 14}, "amount"),
        ({"amount": "NaN"}, "amount"),
        ({"amount": ["1"]}, "amount"),
        ({"currency": "JPY"}, "currency"),
        ({"currency": "rub"}, "currency"),
        ({"currency": ""}, "currency"),
        ({"rail": "CARD"}, "rail"),
        ({"rail": "pigeon"}, "rail"),
        ({"last4": "111"}, "last4"),
        ({"last4": "4111111111111111"}, "last4"),
        ({"last4": "11\n1"}, ""),
        ({"more": "x"}, ""),
    ],
)
async def test_a_wrong_field_is_named_and_nothing_is_done(
    start: Start, transport: HttpTransport, book: Path, change: dict[str, object], field: str
) -> None:
    """An order with a field that is wrong, or one too many, is 400 naming the field without its value; no line is written."""
    address = await start()
    answer = await raw(transport, address, GOOD | change)  # type: ignore[arg-type]
    assert isinstance(answer, WireAnswer) and answer.status == 400
    assert json.loads(answer.body).get("field", "") == field
    for value in change.values():
        assert not isinstance(value, str) or len(value) < 5 or value.encode() not in answer.body
    assert lines(book) == []


@pytest.mark.parametrize("missing", GOOD)
async def test_a_missing_field_is_named(start: Start, transport: HttpTransport, missing: str) -> None:
    """All five fields must be there."""
    answer = await raw(transport, await start(), {name: text for name, text in GOOD.items() if name != missing})
    assert isinstance(answer, WireAnswer)
    assert (answer.status, json.loads(answer.body)["field"]) == (400, missing)


@pytest.mark.parametrize(
    "method, path, content_type, body, status",
    [
        ("POST", "/payouts", "application/json", b"", 400),
        ("POST", "/payouts", "application/json", b"[]", 400),
        ("POST", "/payouts", "application/json", b"{", 400),
        ("POST", "/payouts", "application/json", b"\xff", 400),
        ("POST", "/payouts", "application/json", b'{"amount":"1","amount":"2"}', 400),
        ("POST", "/payouts", "application/json", b"[" * 4000, 400),
        ("POST", "/payouts", "application/json", b" " * 5000, 413),
        ("POST", "/payouts", "text/plain", json.dumps(GOOD).encode(), 415),
        ("POST", "/payouts", "application/x-www-form-urlencoded", b"amount=1", 415),
        ("POST", "/payouts?amount=1", "application/json", json.dumps(GOOD).encode(), 400),
        ("PUT", "/payouts", "application/json", json.dumps(GOOD).encode(), 405),
        ("GET", "/payouts", "application/json", None, 405),
        ("POST", f"/payouts/{ONE}", "application/json", b"{}", 405),
        ("DELETE", f"/payouts/{ONE}", "application/json", None, 405),
        ("GET", "/payouts/", "application/json", None, 404),
        ("GET", "/payouts/a%20b", "application/json", None, 404),
        ("GET", f"/payouts/{'x' * 65}", "application/json", None, 404),
        ("GET", f"/payouts/{ONE}/more", "application/json", None, 404),
        ("GET", "/", "application/json", None, 404),
    ],
)
async def test_what_is_no_order_is_refused(
    start: Start,
    transport: HttpTransport,
    book: Path,
    method: str,
    path: str,
    content_type: str,
    body: bytes | None,
    status: int,
) -> None:
    """Anything but the two requests of the contract gets a plain refusal in JSON, and no line is written."""
    answer = await transport.send(
        method, await start() + path, headers={"Content-Type": content_type}, body=body, deadline_s=PATIENCE_S
    )
    assert isinstance(answer, WireAnswer) and answer.status == status
    assert json.loads(answer.body)["error"]
    assert lines(book) == []


async def test_a_body_that_does_not_come_is_not_waited_for(start: Start, clock: FakeClock) -> None:
    """A sender who stops in the middle of an order is answered 408 after ten seconds, and cut off."""
    address = await start()
    reader, writer = await asyncio.open_connection("127.0.0.1", int(address.rsplit(":", 1)[1]))
    writer.write(b"POST /payouts HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
    await writer.drain()
    answer = asyncio.create_task(reader.read())
    async with asyncio.timeout(PATIENCE_S):
        while not answer.done():
            await clock.advance(1.0)
    assert answer.result().startswith(b"HTTP/1.1 408 ")
    writer.close()


# --- inquiries, guard, absence -----------------------------------------------------------------------------------


async def test_absence_over_http(start: Start, transport: HttpTransport, clock: FakeClock, book: Path) -> None:
    """404 is no proof; the second one after 5 s is 410, a proof, and the id is refused from then on."""
    connector = RemoteSandboxConnector(await start(), transport)
    assert await connector.inquire(question()) == NotFound()
    await clock.advance(5.0)
    assert isinstance(await connector.inquire(question()), Absent)
    assert await connector.submit(order("10.00")) == Rejected("declared absent", elsewhere=True)
    assert deeds(book) == ["absent", "refused"]


@pytest.mark.parametrize("guard, did", [(False, ["paid", "paid"]), (True, ["paid", "repeat"])])
async def test_the_guard_over_http(
    start: Start, transport: HttpTransport, book: Path, guard: bool, did: list[str]
) -> None:
    """Without --guard the same order twice is paid twice; with it the second is a repeat."""
    connector = RemoteSandboxConnector(await start(guard=guard), transport, guard=guard)
    await connector.submit(order("10.00"))
    assert isinstance(await connector.submit(order("10.00")), Settled)
    assert deeds(book) == did


async def test_no_program_is_not_sent(transport: HttpTransport) -> None:
    """Where nobody listens an order is NotSent; an inquiry, which has no such answer, is Unknown."""
    connector = RemoteSandboxConnector("http://127.0.0.1:1", transport)
    assert isinstance(await connector.submit(order("10.00")), NotSent)
    assert isinstance(await connector.inquire(question()), Unknown)


def http(status: int, body: bytes) -> bytes:
    return b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % (status, len(body)) + body


def standing(did: str, **more: object) -> bytes:
    fields = {"end_to_end_id": ONE, "state": did, "amount": "10.00", "currency": "RUB", "provider_reference": "R"}
    return json.dumps(fields | more).encode()


@pytest.mark.parametrize(
    "answer, outcome, finding",
    [
        (http(200, standing("paid")), Settled("R", money("10")), Settled("R", money("10"))),
        (http(200, standing("paid", amount="10.01")), Settled("R", money("10.01")), Settled("R", money("10.01"))),
        (http(202, standing("accepted")), Accepted("R"), Accepted("R")),
        (http(422, standing("refused", reason="no")), Rejected("no", False, "R"), Rejected("no", False, "R")),
        (
            http(422, standing("refused", reason="no", elsewhere=True)),
            Rejected("no", True, "R"),
            Rejected("no", True, "R"),
        ),
        (http(200, standing("returned", event_id="R-R")), Settled("R", money("10")), Returned("R-R", money("10"))),
        (http(410, b'{"end_to_end_id":"%s","state":"absent"}' % ONE.encode()), Unknown, Absent),
        (http(404, b'{"state":"not_found"}'), Unknown, NotFound),
        (http(400, b'{"error":"x","field":"last4"}'), Rejected("the bank cannot read the last4"), Unknown),
        # --- everything else is doubt
        (http(400, b'{"error":"x","field":"shoe"}'), Unknown, Unknown),
        (http(400, b'{"error":"x"}'), Unknown, Unknown),
        (http(400, b"no"), Unknown, Unknown),
        (http(404, b"not found"), Unknown, Unknown),
        (http(404, standing("paid")), Unknown, Unknown),
        (http(200, standing("accepted")), Unknown, Unknown),
        (http(202, standing("paid")), Unknown, Unknown),
        (http(422, standing("paid")), Unknown, Unknown),
        (http(200, standing("refused", reason="no")), Unknown, Unknown),
        (http(422, standing("refused")), Unknown, Unknown),
        (http(410, standing("refused", reason="no")), Unknown, Unknown),
        (http(200, standing("paid", end_to_end_id="another-1")), Unknown, Unknown),
        (http(200, standing("paid", amount="ten")), Unknown, Unknown),
        (http(200, standing("paid", amount=10)), Unknown, Unknown),
        (http(200, standing("paid", currency="XXX")), Unknown, Unknown),
        (http(200, standing("paid", event_id="R-R")), Unknown, Unknown),
        (http(200, standing("returned")), Unknown, Unknown),
        (http(200, standing("vanished")), Unknown, Unknown),
        (http(200, b"{}"), Unknown, Unknown),
        (http(200, b"<html>"), Unknown, Unknown),
        (http(200, b""), Unknown, Unknown),
        (http(204, b""), Unknown, Unknown),
        (http(201, standing("paid")), Unknown, Unknown),
        (http(301, standing("paid")), Unknown, Unknown),
        (http(429, b"{}"), Unknown, Unknown),
        (http(500, standing("paid")), Unknown, Unknown),
        (http(503, b"{}"), Unknown, Unknown),
    ],
)
async def test_what_an_answer_means(
    loopback: Serve,
    transport: HttpTransport,
    answer: bytes,
    outcome: Outcome | type[Outcome],
    finding: Finding | type[Finding],
) -> None:
    """Only a readable standing of our own id under its own status says anything; whatever else comes is Unknown."""
    server = await loopback(says(answer))
    connector = RemoteSandboxConnector(f"http://127.0.0.1:{server.port}/", transport)
    for got, expected in (
        (await connector.submit(order("10.00")), outcome),
        (await connector.inquire(question()), finding),
    ):
        assert isinstance(got, expected) if isinstance(expected, type) else got == expected
    assert len(server.requests) == 2


# --- callbacks ---------------------------------------------------------------------------------------------------


async def test_callbacks_repeat_until_two_hundred(
    start: Start, loopback: Serve, transport: HttpTransport, clock: FakeClock
) -> None:
    """Errors, redirects and dropped connections acknowledge nothing; a 2xx does, and is the last that is heard."""
    answers = [http(500, b""), http(404, b""), http(302, b""), b"", http(199 + 200, b""), NO_CONTENT]
    seen: asyncio.Queue[int] = asyncio.Queue()

    async def answer(number: int, writer: asyncio.StreamWriter) -> bool:
        seen.put_nowait(number)
        return await says(answers[number - 1], then=False)(number, writer)

    server = await loopback(answer)
    connector = RemoteSandboxConnector(await start(callback_url=server.url), transport)
    await connector.submit(order("1.11"))
    async with asyncio.timeout(PATIENCE_S):
        for expected in range(1, len(answers) + 1):
            while seen.empty():
                await clock.advance(1.0)
            assert seen.get_nowait() == expected
    assert len({request.split(b"\r\n\r\n")[1] for request in server.requests}) == 1
    assert decode_standing(server.requests[0].split(b"\r\n\r\n")[1]).did is Did.PAID


def posted(body: bytes) -> WireRequest:
    """A callback as it comes to a door."""
    return WireRequest("POST", "/callbacks/sandbox-http", b"", {}, body)


class Door:
    """What a door of ours does with callbacks: has them read, stores what is believed, acknowledges what was stored."""

    def __init__(self, connector: RemoteSandboxConnector, hear: Hear) -> None:
        self._connector = connector
        self._hear = hear
        self.server: Server | None = None

    async def answer(self, number: int, writer: asyncio.StreamWriter) -> bool:
        if self.server is None:
            raise AssertionError("no server")
        body = self.server.requests[number - 1].split(b"\r\n\r\n", 1)[1]
        callback = await self._connector.read_callback(posted(body), PATIENCE_S)
        stored = callback is not None
        if callback is not None:
            try:
                await self._hear(callback)
            except ConnectionError:
                stored = False
        return await says(NO_CONTENT if stored else http(503, b""), then=False)(number, writer)


async def test_later_deeds_are_heard_over_http(
    start: Start, loopback: Serve, transport: HttpTransport, clock: FakeClock
) -> None:
    """.11, .55 and .99 reach the listener through callbacks alone, also when storing them fails at first."""
    listener = Listener(deaf=3)
    doors: list[Door] = []

    async def answer(number: int, writer: asyncio.StreamWriter) -> bool:
        return await doors[0].answer(number, writer)

    server = await loopback(answer)
    connector = RemoteSandboxConnector(await start(callback_url=server.url), transport)
    doors.append(Door(connector, listener.hear))
    doors[0].server = server
    await connector.start(listener.hear)
    for amount in ("1.11", "5.55", "9.99"):
        await connector.submit(order(amount, f"{amount[-2:]}-1"))
    heard: set[Finding] = set()
    async with asyncio.timeout(PATIENCE_S):
        while len(heard) < 3:
            await clock.advance(1.0)
            while listener.waiting:
                heard.add((await listener.next()).finding)
    assert {type(finding) for finding in heard} == {Settled, Returned}
    assert sum(isinstance(finding, Returned) for finding in heard) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"<html>",
        standing("paid"),
        standing("paid", end_to_end_id="../secrets"),
        standing("paid", end_to_end_id="nobody-1"),
        b'{"end_to_end_id":"nobody-1","state":"absent"}',
    ],
)
async def test_a_forged_callback_changes_nothing(
    start: Start, transport: HttpTransport, book: Path, body: bytes
) -> None:
    """A callback about an id the bank does not know is not believed."""
    connector = RemoteSandboxConnector(await start(), transport)
    assert await connector.read_callback(posted(body), PATIENCE_S) is None


async def test_a_callback_is_a_hint_and_the_bank_is_asked(start: Start, transport: HttpTransport) -> None:
    """A callback that claims more than the bank confirms is heard as what the bank confirms."""
    connector = RemoteSandboxConnector(await start(), transport)
    await connector.submit(order("1.11"))
    callback = await connector.read_callback(posted(standing("paid", amount="1.11")), PATIENCE_S)
    assert callback is not None
    assert (callback.connector, callback.end_to_end_id, callback.finding) == ("sandbox-http", ONE, Accepted(FIRST))


@pytest.mark.parametrize("did", STATUS)
async def test_a_standing_is_read_as_it_was_written(did: Did) -> None:
    """Both sides of the wire agree on every state, and the same standing is the same bytes."""
    refused = did is Did.REFUSED
    written_one = (
        Standing(ONE, did)
        if did is Did.ABSENT
        else Standing(ONE, did, money("10.50", "USDT"), FIRST, "no" if refused else "", refused)
    )
    assert decode_standing(encode_standing(written_one)) == written_one


# --- the program -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "listen", ["", "8080", "localhost", "localhost:", ":80", "a b:80", "h:70000", "::1:80", "h:-1"]
)
async def test_an_address_that_is_none_is_refused(book: Path, clock: FakeClock, listen: str) -> None:
    """What is not HOST:PORT does not start."""
    with pytest.raises(BadAddress):
        await serve(listen, spool=FileSpool(book), clock=clock)


@pytest.mark.parametrize("url", ["", "ftp://x/", "http://", "localhost:80", "http:///x"])
async def test_a_callback_address_that_is_none_is_refused(book: Path, clock: FakeClock, url: str) -> None:
    """What is not an http or https URL does not start."""
    with pytest.raises(BadAddress):
        await serve("127.0.0.1:0", spool=FileSpool(book), clock=clock, callback_url=url)


async def test_one_book_one_program(start: Start, book: Path, clock: FakeClock) -> None:
    """A second program on the same book, or on the same port, does not start."""
    address = await start()
    with pytest.raises(FileInUse):
        await serve("127.0.0.1:0", spool=FileSpool(book), clock=clock)
    with pytest.raises(OSError):
        await serve(address.removeprefix("http://"), spool=FileSpool(book.with_name("other")), clock=clock)


PROGRAM = """
import asyncio, sys
from disburse.connectors.sandbox_http import serve
from disburse.world import RealClock
from disburse.world_spool import FileSpool
ready = lambda address: print(address, flush=True)
asyncio.run(serve("127.0.0.1:0", spool=FileSpool(sys.argv[1]), clock=RealClock(), on_ready=ready))
"""


async def test_killed_for_real_it_has_kept_every_answer(transport: HttpTransport, book: Path) -> None:
    """kill -9 under load: whatever it had answered is in its book, nothing is paid twice, and what was due still happens."""
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, str(book), stdout=asyncio.subprocess.PIPE
    )
    if program.stdout is None:
        raise AssertionError("no output to read")
    address = (await asyncio.wait_for(program.stdout.readline(), PATIENCE_S)).decode().strip()
    connector = RemoteSandboxConnector(address, transport)
    answers: dict[str, Outcome] = {}

    async def send(number: int) -> None:
        amount = ("10.00", "1.11", "2.22", "9.99", "7.77", "8.88")[number % 6]
        answers[f"{BASE}{number}-1"] = await connector.submit(order(amount, f"{BASE}{number}-1"))
        if len(answers) == 150:
            program.kill()  # at once, however slow we are: most have not been answered

    sending = [asyncio.create_task(send(number)) for number in range(600)]
    await asyncio.wait_for(asyncio.gather(*sending), PATIENCE_S)
    await program.wait()
    assert any(isinstance(outcome, Unknown | NotSent) for outcome in answers.values())

    clock = FakeClock(datetime.now(UTC))
    bank = SandboxConnector(FileSpool(book), clock)
    await bank.start(Listener().hear)
    for end_to_end_id, outcome in answers.items():
        if isinstance(outcome, Accepted | Settled | Rejected):
            assert isinstance(await bank.inquire(question(end_to_end_id)), type(outcome) | Settled)
        if isinstance(outcome, NotSent):
            assert await bank.inquire(question(end_to_end_id)) == NotFound()
    async with asyncio.timeout(PATIENCE_S):
        while (done := deeds_by_amount(book))["1.11", "paid"] < done["1.11", "accepted"] or (
            done["9.99", "returned"] < done["9.99", "paid"]
        ):
            await clock.advance(1.0)
    await bank.stop()
    paid = Counter(line["end_to_end_id"] for line in lines(book) if line["did"] == "paid")
    assert set(paid.values()) == {1}
    done = deeds_by_amount(book)
    assert done["1.11", "paid"] == done["1.11", "accepted"] > 0
    assert done["9.99", "returned"] == done["9.99", "paid"] > 0


def deeds_by_amount(book: Path) -> Counter[tuple[str | None, str | None]]:
    return Counter((line["amount"], line["did"]) for line in lines(book))


async def test_an_interrupt_ends_it_well(book: Path) -> None:
    """SIGTERM closes the program in a moment, although a lost answer is being held."""
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, str(book), stdout=asyncio.subprocess.PIPE
    )
    if program.stdout is None:
        raise AssertionError("no output to read")
    address = (await asyncio.wait_for(program.stdout.readline(), PATIENCE_S)).decode().strip()
    transport = HttpTransport(RealClock())
    call = asyncio.create_task(RemoteSandboxConnector(address, transport).submit(order("3.33")))
    await written(book, 1)
    program.terminate()
    await asyncio.wait_for(program.wait(), PATIENCE_S)
    assert isinstance(await asyncio.wait_for(call, PATIENCE_S), Unknown)
    await transport.close()
    assert deeds(book) == ["paid"]
