"""The simulated network: what each way does to both sides, what arrives late, and what may not be open meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from disburse.domain.outcomes import NotSent, Unknown
from disburse.protocols.wire import WireAnswer, WireRequest
from disburse.simulation.backend import Backend
from disburse.simulation.network import SimTransport, Way, spoilt_answers
from disburse.simulation.process import Process
from disburse.simulation.store import SimPool
from disburse.storage.database import Database
from tests.simulation.bare import Bare

HTML = WireAnswer(502, "text/html", b"<html>")
FINE = WireAnswer(200, "application/json", b"{}")
DEADLINE_S = 5.0


class Echo:
    """A host that writes down when it got what, and answers so much later."""

    def __init__(self, bare: Bare, answer: WireAnswer | None = FINE, after_s: float = 0.0) -> None:
        self.up = True
        self.got: list[tuple[float, WireRequest]] = []
        self._bare = bare
        self._answer = answer
        self._after_s = after_s
        bare.net.hosts["bank"] = self

    def receive(self, request: WireRequest, reply: Callable[[WireAnswer | None], None]) -> None:
        self.got.append((self._bare.loop.time(), request))
        self._bare.loop.call_later(self._after_s, reply, self._answer)


async def _call(process: Process, bare: Bare) -> tuple[object, float]:
    answer = await SimTransport(process, bare.net).send("POST", "http://bank/payouts", deadline_s=DEADLINE_S, body=b"x")
    return answer, round(bare.loop.time(), 6)


@pytest.mark.parametrize(
    "way, heard, at, arrives",
    [
        (Way(there_s=0.5, back_s=0.25), FINE, 0.75, [0.5]),
        (Way(refused=True, there_s=0.5), NotSent("the connection is refused"), 0.5, []),
        (Way(unreachable=True), NotSent("no connection in time"), DEADLINE_S, []),
        (Way(lost=True), Unknown("time-out"), DEADLINE_S, []),
        (Way(silent=True, there_s=0.5), Unknown("time-out"), DEADLINE_S, [0.5]),
        (Way(reset=True, there_s=0.5, back_s=0.25), Unknown("the connection broke"), 0.75, [0.5]),
        (Way(spoilt=HTML, there_s=0.5, back_s=0.25), HTML, 0.75, [0.5]),
        (Way(doubled=True, there_s=0.5, back_s=0.25), FINE, 0.75, [0.5, 0.5]),
        (Way(there_s=0.5, back_s=30.0), Unknown("time-out"), DEADLINE_S, [0.5]),
        (Way(there_s=30.0), Unknown("time-out"), DEADLINE_S, [30.0]),
        (Way(stands_s=30.0, there_s=0.5, back_s=0.25), FINE, 30.75, [30.5]),
        (Way(stands_s=30.0, refused=True, there_s=0.5), NotSent("the connection is refused"), 30.5, []),
        (Way(die="before", there_s=0.5), "dead", 0.0, []),
        (Way(die="after", there_s=0.5), "dead", 0.0, [0.5]),
    ],
    ids=[
        "well", "refused", "unreachable", "lost", "silent", "reset", "spoilt", "doubled", "late back", "late there", "sleeps",
        "sleeps and is refused", "dies before", "dies after",
    ],
)  # fmt: skip
def test_each_way(bare: Bare, way: Way, heard: object, at: float, arrives: list[float]) -> None:
    """What the sender is told, when, and whether the request arrives: NotSent only when it does not, late though it may be."""
    host, process = Echo(bare), bare.process("worker-1")
    bare.harm.ways.append(way)
    told = bare.within(process, _call(process, bare))
    assert told == (heard if heard == "dead" else (heard, at))
    bare.run(asyncio.sleep(60))
    assert [when for when, _ in host.got] == arrives
    assert not (isinstance(heard, NotSent) and host.got)


def test_who_has_no_time_left_sends_nothing(bare: Bare) -> None:
    """A call whose time was over before it began, as of a process that slept, has no connection."""
    host, process = Echo(bare), bare.process("a")
    sent = SimTransport(process, bare.net).send("POST", "http://bank/payouts", deadline_s=0.0)
    assert bare.within(process, sent) == NotSent("no connection in time")
    bare.run(asyncio.sleep(60))
    assert host.got == []


def test_a_request_arrives_as_it_was_sent(bare: Bare) -> None:
    """Method, path, query, headers and body arrive whole; header names arrive in small letters."""
    host, process = Echo(bare), bare.process("a")
    transport = SimTransport(process, bare.net)
    bare.within(process, transport.send("GET", "https://bank/a/b?c=d&e=%20", deadline_s=1, headers={"X-One": "1"}))
    assert [request for _, request in host.got] == [WireRequest("GET", "/a/b", b"c=d&e=%20", {"x-one": "1"}, b"")]


@pytest.mark.parametrize("there", [True, False])
def test_a_host_that_is_down(bare: Bare, there: bool) -> None:
    """Where nothing takes connections nothing is sent."""
    host, process = Echo(bare), bare.process("a")
    host.up = False
    if not there:
        del bare.net.hosts["bank"]
    assert bare.within(process, _call(process, bare)) == (NotSent("the connection is refused"), 0.001)
    assert host.got == []


def test_a_host_that_goes_down_meanwhile(bare: Bare) -> None:
    """A request on its way to a host that goes down does not arrive, and its sender cannot know."""
    host, process = Echo(bare), bare.process("a")
    bare.harm.ways.append(Way(there_s=2.0))
    bare.loop.call_later(1.0, setattr, host, "up", False)
    assert bare.within(process, _call(process, bare)) == (Unknown("time-out"), DEADLINE_S)
    assert host.got == []


@pytest.mark.parametrize(
    "answer, after_s, heard",
    [
        (FINE, 60.0, Unknown("time-out")),
        (None, 0.0, Unknown("time-out")),
        (WireAnswer(200, "text/plain", b"x" * 65_537), 0.0, Unknown("the answer is too long")),
        (WireAnswer(200, "text/plain", b"x" * 65_536), 0.0, WireAnswer(200, "text/plain", b"x" * 65_536)),
    ],
    ids=["late", "none", "too long", "long"],
)
def test_answers_that_are_none(bare: Bare, answer: WireAnswer | None, after_s: float, heard: object) -> None:
    """An answer after the deadline, none at all, or a longer one than is read leaves the outcome unknown."""
    Echo(bare, answer, after_s)
    process = bare.process("a")
    told = bare.within(process, _call(process, bare))
    assert isinstance(told, tuple) and told[0] == heard


def test_two_answers_are_one(bare: Bare) -> None:
    """Of a host that answers twice the first answer is heard, and the second breaks nothing."""
    host, process = Echo(bare), bare.process("a")
    first = host.receive

    def twice(request: WireRequest, reply: Callable[[WireAnswer | None], None]) -> None:
        first(request, reply)
        reply(HTML)

    host.receive = twice  # type: ignore[method-assign]
    told = bare.within(process, _call(process, bare))
    assert isinstance(told, tuple) and told[0] == HTML


def test_nothing_is_sent_inside_a_transaction(bare: Bare, backend: Backend) -> None:
    """A call of the network while a transaction is open is our mistake: it raises, and nothing leaves."""
    host, process = Echo(bare), bare.process("a")
    database = Database(SimPool(bare.store(backend), process, 1), process.clock, lambda low, high: low, set())

    async def both() -> str:
        with pytest.raises(AssertionError, match="inside a database transaction"):
            await database.run(lambda tx: _call(process, bare))
        await _call(process, bare)
        return "done"

    assert bare.within(process, both()) == "done"
    assert len(host.got) == 1


def test_a_death_does_not_stop_what_left(bare: Bare) -> None:
    """What left a process arrives although the process died meanwhile, and the answer disturbs nobody."""
    host, process = Echo(bare), bare.process("a")
    bare.harm.ways.append(Way(there_s=2.0, back_s=1.0))

    async def kill() -> None:
        process.start(_call(process, bare))
        await asyncio.sleep(1)
        process.kill()
        await asyncio.sleep(10)

    bare.run(kill())
    assert [when for when, _ in host.got] == [2.0]


def test_spoilt_answers_prove_nothing() -> None:
    """What a gateway says in a provider's place is never a provider's whole answer about an order."""
    assert len(spoilt_answers()) >= 10
    for answer in spoilt_answers():
        assert answer.status != 200 or b'"status":"success"' not in answer.body
