"""Limits by API key: so many requests at once and so many a second, told with every answer; and the page that people read."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from html.parser import HTMLParser
from uuid import UUID

import pytest

from disburse.api.allowance import Allowances
from disburse.assembly import read_page
from disburse.protocols.rest_page import POLICY, STYLE, docs_page, render
from disburse.protocols.rest_routes import ROUTES
from disburse.protocols.wire import WireRequest
from tests.api.house import House
from tests.api.openapi import DOCUMENT
from tests.api.rest_client import Program, open_rest, problem, program
from tests.api.served import get, served
from tests.clock import FakeClock

ONE, OTHER = UUID(int=1), UUID(int=2)


def test_a_bucket_is_filled_by_time() -> None:
    """A key may send its burst at once and then so many a second; another key has a bucket of its own."""
    clock = FakeClock()
    keys = Allowances(clock, per_s=2, burst=3)
    assert [keys.take(ONE).wait_s for _ in range(5)] == [0, 0, 0, 1, 1]  # type: ignore[union-attr]
    other = keys.take(OTHER)
    assert other is not None and other.headers == (("ratelimit-policy", '"key";q=3;w=2'), ("ratelimit", '"key";r=2;t=1'))
    asyncio.run(clock.advance(1.0))
    assert [keys.take(ONE).wait_s for _ in range(3)] == [0, 0, 1]  # type: ignore[union-attr]
    asyncio.run(clock.advance(3600))
    again = keys.take(ONE)
    assert again is not None and again.headers[1] == ("ratelimit", '"key";r=2;t=1')
    assert Allowances(clock, per_s=0, burst=1).take(ONE) is None


@pytest.fixture
async def shop(house: House) -> AsyncIterator[Program]:
    """A merchant's program that may send three requests, and one more every hundred seconds."""
    async with program(house, open_rest(house, per_s=0.01, burst=3)) as made:
        yield made


async def test_who_asks_too_often(shop: Program) -> None:
    """Every answer to a known key tells what is left; beyond it nothing is done, and the answer says when to come again."""
    told = [await shop.ask("GET", "/v1/rails"), await shop.ask("GET", "/v1/payouts?limit=0"), await shop.ask("GET", "/v1/balances")]
    assert [answer.status for answer in told] == [200, 400, 200]
    assert [answer.headers["ratelimit"].split(";")[1] for answer in told] == ["r=2", "r=1", "r=0"]
    assert told[0].headers["ratelimit-policy"] == '"key";q=3;w=300'
    refused = await shop.create()
    assert problem(refused) == "too_many_requests" and refused.status == 429
    assert 90 <= int(refused.headers["retry-after"]) <= 100 and await shop.payouts() == 0
    stranger = await shop.ask("GET", "/v1/rails", bearer="dsb_nobody")
    assert problem(stranger) == "unauthorized" and "ratelimit" not in stranger.headers


class Reader(HTMLParser):
    """What a page is made of."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            assert name in ("id", "href", "class", "lang", "charset", "name", "content") and value is not None, (tag, name)
            if name == "id":
                self.ids.add(value)
            elif name == "href":
                self.links.append(value)


async def test_the_page_for_people() -> None:
    """The page tells of every operation and type of the document, loads nothing, runs nothing, and every link on it leads somewhere."""
    async with served(pages={"/docs": read_page}) as running:
        answer = await running.ask(get("/docs"))
    assert answer.status == 200 and answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-security-policy"] == POLICY and "'none'" in POLICY and "unsafe" not in POLICY
    page = answer.body.decode()
    read = Reader(page)
    assert read.tags <= {"html", "meta", "title", "style", "h1", "h2", "h3", "h4", "p", "ul", "li", "a", "nav", "span", "code", "table", "tr", "td"}
    assert {route.name for route in ROUTES} | {f"type-{name}" for name in DOCUMENT["components"]["schemas"]} <= read.ids
    assert [link for link in read.links if link != "/openapi.json" and link.removeprefix("#") not in read.ids] == []
    assert page.count("<style>") == 1 and f"<style>{STYLE}</style>" in page
    assert all(one["summary"] in re.sub(r"</?code>", "", page) for verbs in DOCUMENT["paths"].values() for one in verbs.values())
    assert (await read_page(WireRequest("GET", "/docs", b"", {}, b""))) == docs_page()


def test_what_stands_in_the_document_cannot_become_markup() -> None:
    """A text of the document is shown as a text, whatever it is."""
    bad = "<script>alert(1)</script> `<img src=x>` '\"&"
    document = {
        "info": {"title": bad, "description": f"* {bad}"},
        "paths": {f"/v1/{bad}": {"get": {"operationId": bad, "summary": bad, "responses": {"200": {"description": bad, "content": {"x": {"schema": {"type": bad}}}}}}}},
        "components": {"schemas": {bad: {"description": bad, "properties": {bad: {"type": "string", "description": bad, "examples": [bad]}}}}},
    }  # fmt: skip
    assert {"script", "img"}.isdisjoint(Reader(render(document)).tags)
