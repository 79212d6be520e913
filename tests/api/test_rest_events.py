"""Events over HTTP: pages without gaps, waiting, streams; and a program that is killed again and again has the same state as the API."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from disburse.api.places import Places
from disburse.api.rest_events import EventDesk
from disburse.domain.outcomes import Accepted, Rejected, Settled, Unknown, Verdict
from disburse.protocols.events import PayoutSeen, decode_event, fold
from disburse.protocols.rest_problems import Refused
from disburse.protocols.rest_routes import find_route
from disburse.protocols.wire import WireRequest
from disburse.workers.news import NewsWatch
from tests.api.house import House
from tests.api.rest_client import CARD_TO, Program, Stream, open_rest, problem, program
from tests.api.served import PATIENCE_S


@pytest.fixture
async def shop(house: House) -> AsyncIterator[Program]:
    """A merchant's program with 100,000 roubles, before a server that lets nobody wait longer than two seconds."""
    async with program(house, open_rest(house, longest_wait_s=2.0)) as made:
        yield made


async def events(shop: Program, after: int = 0, query: str = "") -> dict[str, Any]:
    """A page of events."""
    answer = await shop.ask("GET", f"/v1/events?after={after}{query}")
    assert answer.status == 200, answer
    page: dict[str, Any] = answer.json
    return page


async def test_pages_laid_end_to_end(shop: Program) -> None:
    """Pages of any length hold every event in order once; there is no last page, only one that is empty for now."""
    for n in range(3):
        await shop.made_one(reference=f"r{n}")
    await shop.house.settle()
    whole = (await events(shop))["items"]
    assert [one["number"] for one in whole] == list(range(1, len(whole) + 1)) and len(whole) == 10
    pages, after = [], 0
    while (page := await events(shop, after, "&limit=3"))["items"]:
        assert len(page["items"]) <= 3 and page["next_after"] == page["items"][-1]["number"]
        pages += page["items"]
        after = page["next_after"]
    assert pages == whole and page == {"items": [], "next_after": 10}
    assert {one["type"] for one in whole} == {"top_up", "payout.queued", "payout.in_flight", "payout.paid"}
    stranger = Program(shop.house, await shop.house.merchant("other@example.com"), shop.served)
    assert [one["type"] for one in (await events(stranger))["items"]] == ["top_up"]


async def test_waiting_ends_with_the_next_event(shop: Program) -> None:
    """Who waits is answered with what happens next, and with nothing when the time is over; it holds no connection meanwhile."""
    watch = asyncio.create_task(NewsWatch(shop.house.desk, shop.house.world, poll_s=0.01).run())
    waiting = asyncio.create_task(events(shop, 1, "&wait=30"))
    while not shop.house.desk.news.waiting():
        await asyncio.sleep(0)
    await shop.made_one()
    assert [one["type"] for one in (await waiting)["items"]] == ["payout.queued"]
    watch.cancel()
    assert await events(shop, 2, "&wait=1") == {"items": [], "next_after": 2}


async def test_a_process_that_ends_lets_everybody_go(shop: Program) -> None:
    """Once the process is about to end nobody waits any more, and a stream ends whole."""
    waiting = asyncio.create_task(events(shop, 1, "&wait=30"))
    stream = await Stream.open(shop)
    told = [piece async for piece in _first(stream, 2)]
    assert told[0] == {"retry": "1000"} and told[1]["id"] == "1"
    while len(shop.house.desk.news.waiting()) < 1:
        await asyncio.sleep(0)
    shop.house.desk.news.close()
    assert (await waiting)["items"] == []
    assert all("data" not in piece for piece in [piece async for piece in stream.pieces()])


async def _first(stream: Stream, count: int) -> AsyncIterator[dict[str, str]]:
    async for piece in stream.pieces():
        yield piece
        count -= 1
        if not count:
            return


async def test_a_stream_tells_what_pages_tell(shop: Program) -> None:
    """A stream has the same events, numbers as ids, goes on where `Last-Event-ID` says, and ends by itself."""
    for n in range(3):
        await shop.made_one(reference=f"r{n}")
    whole = (await events(shop))["items"]
    stream = await Stream.open(shop, 0)
    told = [piece async for piece in stream.pieces() if "data" in piece]
    assert [json.loads(piece["data"]) for piece in told] == whole
    assert [piece["id"] for piece in told] == ["1", "2", "3", "4"]
    again = await Stream.open(shop, 0, "Last-Event-ID: 3")
    assert [piece["id"] async for piece in _first(again, 2) if "id" in piece] == ["4"]
    again.wire.close()


async def test_who_hangs_up_is_noticed(shop: Program) -> None:
    """A stream whose program went away gives its place back at once, and leaves nothing in the log."""
    stream = await Stream.open(shop)
    assert [piece async for piece in _first(stream, 1)]
    while not shop.house.desk.news.waiting():
        await asyncio.sleep(0)
    stream.wire.close()
    async with asyncio.timeout(PATIENCE_S):
        while shop.house.desk.news.waiting():
            await asyncio.sleep(0)
    assert shop.served.logged("a door failed") == []


async def test_only_so_many_wait(house: House) -> None:
    """Of one merchant a bounded number of requests wait; the next is told to come later. Other merchants have their places."""
    first, second = [(await house.merchant(login)).merchant for login in ("a@example.com", "b@example.com")]
    places = Places(of_one=2, most=3)
    door = EventDesk(house.desk, places=places)
    route, _ = find_route("GET", "/v1/events")
    waiting = [
        asyncio.create_task(door.answer(route, who, WireRequest("GET", "/v1/events", b"after=1&wait=30", {}, b"")))
        for who in (first, first, second)
    ]
    while places.waiting < 3:
        await asyncio.sleep(0)
    for who in (first, second):
        with pytest.raises(Refused) as refused:
            await door.answer(route, who, WireRequest("GET", "/v1/events", b"after=1&wait=30", {}, b""))
        assert refused.value.name == "too_many_requests" and refused.value.after_s
    house.desk.news.close()
    assert [answer.status for answer in await asyncio.gather(*waiting)] == [200, 200, 200]


@pytest.mark.parametrize("query", ["after=-1", "after=x", "limit=0", "limit=1001", "wait=31", "after=9999999999999999999", "when=now"])
async def test_what_cannot_be_asked(shop: Program, query: str) -> None:
    """A number out of its range and an unknown word are refused by their names."""
    answer = await shop.ask("GET", f"/v1/events?{query}")
    assert problem(answer) == "bad_request" and query.partition("=")[0] in answer.json["detail"]


class Consumer:
    """A merchant's program: it folds what it is told, saves now and then, and is killed between any two lines."""

    def __init__(self, shop: Program, draw: random.Random) -> None:
        self.shop, self.draw = shop, draw
        self.saved = msgspec.json.encode((0, []))
        self.deaths = 0

    async def live(self) -> None:
        """One life, by pages or by a stream: until there is nothing more for now, or it is killed."""
        after, kept = msgspec.json.decode(self.saved, type=tuple[int, list[PayoutSeen]])
        seen = {one.id: one for one in kept}
        async for raw in self.told(after):
            event = decode_event(raw)
            assert event.number == after + 1, "a gap"
            fold([event], seen)
            after = event.number
            if self.draw.random() < 0.3:
                self.saved = msgspec.json.encode((after, list(seen.values())))
            if self.draw.random() < 0.1:
                self.deaths += 1
                return
        self.saved = msgspec.json.encode((after, list(seen.values())))

    async def told(self, after: int) -> AsyncIterator[bytes]:
        if self.draw.random() < 0.3:
            stream = await Stream.open(self.shop, after)
            async for piece in _first(stream, self.draw.randint(2, 9)):
                if "data" in piece:
                    yield piece["data"].encode()
            stream.wire.close()
            return
        while (page := await events(self.shop, after, f"&limit={self.draw.randint(1, 9)}"))["items"]:
            for one in page["items"]:
                yield json.dumps(one).encode()
            after = page["next_after"]

    @property
    def state(self) -> dict[str, dict[str, Any]]:
        return {str(one.id): msgspec.to_builtins(one) for one in msgspec.json.decode(self.saved, type=tuple[int, list[PayoutSeen]])[1]}


async def as_the_api_shows(shop: Program) -> dict[str, dict[str, Any]]:
    return {one["id"]: one for one in (await shop.list("limit=200"))["items"]}


def what_is_same(payouts: dict[str, dict[str, Any]]) -> dict[str, list[Any]]:
    """What a payout's events tell of it as well as GET does."""
    return {name: [*[one[part] for part in SAME], bool(one["frozen"])] for name, one in payouts.items()}


SAME = ("reference", "rail", "destination", "amount", "fee", "state", "reason", "returned", "created_at", "updated_at", "finished_at")


async def test_a_killed_consumer_has_what_the_api_shows(shop: Program) -> None:
    """Killed at random points while payouts live, a program that asks on after its last number has each payout as GET shows it."""
    consumer, house = Consumer(shop, random.Random(7)), shop.house
    ends: list[list[Verdict]] = [
        [Settled("r")], [Unknown("x"), Rejected("no")], [Accepted("r"), Settled("r")], [Settled("r"), Rejected("no")]
    ]

    async def town() -> None:
        for n in range(20):
            made = await shop.made_one(reference=f"r{n}", destination=CARD_TO, execute=bool(n % 5))
            if not n % 5:
                await shop.act(made["id"], "cancel" if n % 2 else "execute")
            for opened in await house.claim():
                for verdict in ends[n % len(ends)]:
                    await house.tell(opened, verdict)

    living = asyncio.create_task(town())
    while not living.done():
        await consumer.live()
    await living
    shown = await as_the_api_shows(shop)
    for _ in range(200):
        await consumer.live()
        if what_is_same(consumer.state) == what_is_same(shown):
            break
    assert what_is_same(consumer.state) == what_is_same(shown)
    assert len(shown) == 20 and consumer.deaths > 5
