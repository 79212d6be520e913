"""The kernel through real sockets: who is asked, what no door sees, and what is answered when a door fails."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from disburse.api.kernel import Why
from disburse.protocols.wire import WireAnswer, WireRequest
from tests.api.served import CANARY, Obedient, Served, get, post, served


@pytest.mark.parametrize(
    "path, who",
    [
        ("/api", "unitpay"),
        ("/api/", "unitpay"),
        ("/api?method=x", "unitpay"),
        ("/personal/payment/ExecuteOperation", "intellectmoney"),
        ("/Personal/x", "intellectmoney"),
        ("/personal/", "intellectmoney"),
        ("/personal", None),
        ("/API", None),
        ("/api/x", None),
        ("/%61pi", None),
        ("/api%2F", None),
        ("//api", None),
        ("/api;x", None),
        ("/", None),
        ("http://t/api", "unitpay"),
    ],
)
async def test_paths(path: str, who: str | None) -> None:
    """A path leads to its door as it was written, everything below a starred one to that, and any other nowhere."""
    doors = {"unitpay": Obedient(), "intellectmoney": Obedient()}
    unitpay, personal = doors.values()
    async with served([("/api", unitpay), ("/api/", unitpay), ("/personal/*", personal)]) as server:
        answer = await server.ask(get(path))
    assert [name for name, door in doors.items() if door.seen] == ([who] if who else [])
    assert answer.status == (200 if who else 404)
    if who is None:
        assert answer.json == {"error": "not_found", "message": "There is nothing at this path."}


async def test_what_a_door_sees() -> None:
    """Names of headers come in lower case, repeated ones joined, so that two content types are seen to be two."""
    async with served([("/api", Obedient())]) as server:
        raw = post("/api?a=%5B1", b"b=2", "CONTENT-Type: text/plain", "X-Odd: \xe9", "content-type: application/json")
        seen = (await server.ask(raw)).json
    assert (seen["method"], seen["path"], seen["query"], seen["body"]) == ("POST", "/api", "a=%5B1", "b=2")
    assert seen["headers"]["content-type"] == "text/plain, application/json"
    assert seen["headers"]["x-odd"] == "\xe9"


async def test_every_answer_is_measured_told_and_not_kept() -> None:
    """An answer says how long it is and that nobody may keep it; HEAD is answered by its headers alone."""
    async with served([("/api", Obedient())]) as server:
        answer = await server.ask(get("/api"))
        wire = await server.wire()
        await wire.send(get("/api").replace(b"GET", b"HEAD") + get("/api"))
        head, after = await wire.answer(head_only=True), await wire.answer()
        assert server.counted("disburse_request_seconds_count", surface="api", outcome="answered") == 3
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-length"] == str(len(answer.body))
    assert "server" not in answer.headers
    assert head.headers["content-length"] != "0"
    assert after.json["method"] == "GET"


REFUSED_UNSEEN: list[tuple[Why, bytes]] = [
    ("too_large", post("/api", b"x" * 1001)),
    ("too_large", b"POST /api HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n" + b"x" * 1001 + b"\r\n0\r\n\r\n"),
    ("too_large", b"POST /api HTTP/1.1\r\nContent-Length: 99999999999999\r\n\r\n"),
    ("bad_encoding", post("/api", b"\x1f\x8b", "Content-Encoding: gzip")),
    ("bad_encoding", post("/api", b"x", "Content-Encoding: identity")),
    ("bad_encoding", b"POST /api HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"),
]


@pytest.mark.parametrize("why, raw", REFUSED_UNSEEN)
async def test_refused_unseen(why: Why, raw: bytes) -> None:
    """What no door should see is refused in the door's own shape, whole body read or not."""
    door = Obedient()
    async with served([("/api", door)], body_limit=1000) as server:
        answer = await server.ask(raw)
        assert server.counted("disburse_request_seconds_count", surface="api", outcome=why) == 1
    assert (answer.status, answer.json) == (200, {"refused": why})
    assert door.seen == []


async def test_a_body_at_the_limit() -> None:
    """A body of just the limit is read, in one piece or in many."""
    async with served([("/api", Obedient())], body_limit=200_000) as server:
        whole = await server.ask(post("/api", b"x" * 200_000))
        wire = await server.wire()
        await wire.send(b"POST /api HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(200):
            await wire.send(b"3e8\r\n" + b"y" * 1000 + b"\r\n")
        await wire.send(b"0\r\n\r\n")
        chunked = await wire.answer()
    assert whole.json["body"] == "x" * 200_000
    assert chunked.json["body"] == "y" * 200_000


async def test_a_refused_body_is_not_the_next_request() -> None:
    """After a body that was too large the connection goes on with the next request, and nothing of the body is one."""
    door = Obedient()
    async with served([("/api", door)], body_limit=1000) as server:
        wire = await server.wire()
        await wire.send(post("/api", get("/api") * 100)[:3000])
        assert (await wire.answer()).json == {"refused": "too_large"}
        await wire.send((get("/api") * 100)[3000 - len(post("/api", get("/api") * 100)) :] + get("/api?the=next"))
        assert (await wire.answer()).json["query"] == "the=next"
    assert len(door.seen) == 1


async def test_expect_continue() -> None:
    """Who asks before sending a body is told to go on, or is refused and not read from again."""
    async with served([("/api", Obedient())], body_limit=1000) as server:
        wire = await server.wire()
        await wire.send(post("/api", b"", "Expect: 100-continue").replace(b"Length: 0", b"Length: 3"))
        assert (await wire.answer()).status == 100
        await wire.send(b"abc")
        assert (await wire.answer()).json["body"] == "abc"
        await wire.send(post("/api", b"", "Expect: 100-continue").replace(b"Length: 0", b"Length: 3000"))
        refused = await wire.answer()
        assert refused.json == {"refused": "too_large"}
        assert refused.headers["connection"] == "close"
        assert await wire.rest() == b""


async def test_a_slow_body() -> None:
    """A body that does not come is refused after ten seconds, and its connection closed."""
    door = Obedient()
    async with served([("/api", door)]) as server:
        wire = await server.wire()
        await wire.send(post("/api", b"x" * 100)[:-1])
        await begun(server)
        await server.clock.advance(9.9)
        assert server.counted("disburse_request_seconds_count", surface="api", outcome="too_slow") == 0
        await server.clock.advance(0.2)
        answer = await wire.answer()
        assert (answer.json, answer.headers["connection"]) == ({"refused": "too_slow"}, "close")
        assert await wire.rest() == b""
    assert door.seen == []


async def test_bodies_under_way_are_bounded_together() -> None:
    """However many bodies are arriving, together they hold so much memory and no more."""
    async with served([("/api", Obedient())], bodies_at_most=2500) as server:
        wires = [await server.wire() for _ in range(3)]
        for wire in wires[:2]:
            await wire.send(post("/api", b"x" * 1100)[:-1])
            await begun(server)
        await wires[2].send(post("/api", b"x" * 1100)[:-1])
        assert (await wires[2].answer()).json == {"refused": "overloaded"}
        await wires[0].send(b"x")
        assert len((await wires[0].answer()).json["body"]) == 1100


async def begun(server: Served) -> None:
    """Until the server has begun to wait for a body (its reading has a deadline then)."""
    waiting = len(server.clock._due)
    async with asyncio.timeout(5):
        while len(server.clock._due) == waiting:
            await asyncio.sleep(0.001)


# --- doors that fail ----------------------------------------------------------------------------------------------


def raising(fault: Exception) -> Any:
    async def answer(request: WireRequest) -> WireAnswer:
        raise fault

    return answer


@pytest.mark.parametrize("fault", [ValueError(CANARY), AssertionError(CANARY), TimeoutError(CANARY), KeyError(CANARY)])
async def test_a_door_that_raises(fault: Exception) -> None:
    """The answer is in the surface's shape with an id; the log has the id, the type and the place, and not the text."""
    async with served([("/api", Obedient(raising(fault)))]) as server:
        answer = await server.ask(get(f"/api?{CANARY}"))
        [line] = server.logged("a door failed")
    assert answer.json == {"refused": "broken"}
    assert line["correlation"] == answer.headers["x-correlation-id"]
    assert (line["surface"], line["error"]) == ("api", type(fault).__name__)
    assert "test_kernel.py" in line["place"]
    assert CANARY not in server.written.getvalue()


async def test_a_door_that_hangs() -> None:
    """After eight seconds the answer is "late", in the surface's shape, and the door's work is cancelled."""
    cancelled = asyncio.Event()

    async def hang(request: WireRequest) -> WireAnswer:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        raise AssertionError

    door = Obedient(hang)
    async with served([("/api", door)]) as server:
        wire = await server.wire()
        await wire.send(get("/api"))
        await door.entered.wait()
        await server.clock.advance(7.9)
        assert not cancelled.is_set()
        await server.clock.advance(0.2)
        answer = await wire.answer()
        assert answer.json == {"refused": "late"}
        assert cancelled.is_set()
        assert server.logged("a door did not answer in time")[0]["correlation"] == answer.headers["x-correlation-id"]
        assert server.counted("disburse_request_seconds_sum", surface="api", outcome="late") == pytest.approx(8)
        await wire.send(get("/nothing"))
        assert (await wire.answer()).status == 404  # and the connection goes on


async def test_a_door_that_cannot_even_refuse() -> None:
    """When a refusal fails too, a plain one goes out."""

    class Hopeless(Obedient):
        def refuse(self, request: WireRequest, why: Why) -> WireAnswer:
            raise ValueError(CANARY)

    async with served([("/api", Hopeless(raising(ValueError())))], body_limit=10) as server:
        broken, large = await server.ask(get("/api")), await server.ask(post("/api", b"x" * 11))
    assert (broken.status, broken.json["error"]) == (500, "broken")
    assert (large.status, large.json["error"]) == (413, "too_large")
    assert CANARY not in server.written.getvalue()


async def test_too_many_at_once() -> None:
    """Beyond the bound a request is refused before a door sees it; when one has ended there is room again."""
    go = asyncio.Event()

    async def wait(request: WireRequest) -> WireAnswer:
        await go.wait()
        return WireAnswer(200, "text/plain", b"done")

    door = Obedient(wait)
    async with served([("/api", door)], most_in_progress=2) as server:
        held = [await server.wire() for _ in range(2)]
        for wire in held:
            door.entered.clear()
            await wire.send(get("/api"))
            await door.entered.wait()
        assert (await server.ask(get("/api"))).json == {"refused": "overloaded"}
        assert server.counted("disburse_requests_in_progress") == 2
        go.set()
        assert [(await wire.answer()).body for wire in held] == [b"done", b"done"]
        assert (await server.ask(get("/api"))).body == b"done"
    assert len(door.seen) == 3


@pytest.mark.parametrize("body_too", [True, False])
async def test_a_client_that_hangs_up(body_too: bool) -> None:
    """A client that goes while it is being answered, or before its body is whole, troubles nobody."""
    go, ended = asyncio.Event(), asyncio.Event()

    async def wait(request: WireRequest) -> WireAnswer:
        await go.wait()
        ended.set()
        return WireAnswer(200, "text/plain", b"too late")

    door = Obedient(wait)
    async with served([("/api", door)]) as server:
        wire = await server.wire()
        raw = post("/api", b"x" * 100)
        await wire.send(raw if body_too else raw[:-1])
        await (door.entered.wait() if body_too else begun(server))
        wire.writer.transport.abort()
        async with asyncio.timeout(5):
            while server.counted("disburse_connections"):
                await asyncio.sleep(0.001)
        go.set()
        assert (await server.ask(get("/nothing"))).status == 404
        assert ended.is_set() == body_too
    assert [line for line in server.log if line["level"] != "info"] == []


async def test_nothing_of_a_request_is_logged() -> None:
    """Whatever is wrong with a request, what it says in path, query, headers and body stays out of the log."""
    bad = [
        get(f"/api?secretKey={CANARY}", f"Authorization: Bearer {CANARY}", f"X-{CANARY}: 1"),
        get(f"/{CANARY}?{CANARY}"),
        post(f"/api?{CANARY}", CANARY.encode() * 40),
        post("/api", CANARY.encode(), f"Content-Encoding: {CANARY}"),
        post("/api", CANARY.encode(), "Transfer-Encoding: chunked"),
        f"{CANARY} /{CANARY} {CANARY}\r\n\r\n".encode(),
        f"GET /api?{CANARY} HTTP/1.1\r\n{CANARY} {CANARY}: x\r\n\r\n".encode(),
        f"GET /api?{CANARY} HTTP/1.1\r\nUpgrade: {CANARY}\r\nConnection: upgrade\r\n\r\n".encode(),
        f"CONNECT {CANARY}:443 HTTP/1.1\r\n\r\n".encode(),
    ]
    async with served([("/api", Obedient(raising(ValueError(CANARY))))], body_limit=1000) as server:
        for raw in bad:
            wire = await server.wire()
            await wire.send(raw)
            assert CANARY.encode() not in (await wire.answer()).body
        await server.clock.advance(1.1)
    assert server.logged("connections closed") and server.logged("a door failed")
    assert CANARY not in server.written.getvalue()
