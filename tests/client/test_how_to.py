"""docs/how-to/client.md: the page shows the files that are beside it, its tables are right, and the files do what they say with a real server."""

from __future__ import annotations

import asyncio
import re
import sqlite3
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from disburse.client import BlockingClient, Client, NewWebhook, OutcomeUnknown, Retries, WebhookReader
from disburse.client.errors import PROBLEMS
from disburse.protocols.events import encode_event
from disburse.protocols.webhooks import headers_of, read_secret
from tests.api.rest_client import CARD, Program
from tests.client.lines import bad_line, client_of
from tests.connectors.loopback import serving
from tests.house.sources import ROOT

HOW_TO = ROOT / "docs/how-to"
PAGE = (HOW_TO / "client.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
FILES = ("client_wages", "client_registry", "client_events", "client_hooks")


@pytest.fixture(scope="module", autouse=True)
def beside() -> Iterator[None]:
    """The page's files can be imported, as they can for who stands in their directory."""
    sys.path.insert(0, str(HOW_TO))
    yield
    sys.path.remove(str(HOW_TO))


def test_the_page_shows_the_files() -> None:
    """Each file stands on the page as it is."""
    shown = [block for block in BLOCKS if block.startswith('"""')]
    assert shown == [(HOW_TO / f"{name}.py").read_text(encoding="utf-8") for name in FILES]


def test_the_tables() -> None:
    """The page lists each problem under its class, and each argument with its default."""
    rows = re.findall(r"^\| `(\w+)` \| ((?:`\w+`(?:, )?)+)", PAGE, re.MULTILINE)
    listed = {name: row for row, names in rows for name in re.findall(r"`(\w+)`", names) if row in {one.__name__ for one in PROBLEMS.values()}}
    assert listed == {name: kind.__name__ for name, kind in PROBLEMS.items()}
    arguments = PAGE.split("## Arguments")[1]
    taken = BlockingClient.__init__.__kwdefaults__ or {}
    assert set(re.findall(r"^\| `(\w+)` \|", arguments, re.MULTILINE)) == set(taken)
    assert {one.name for one in fields(Retries)} <= set(re.findall(r"`(\w+)`", arguments))
    assert set(Client.__init__.__kwdefaults__ or {}) - set(taken) == {"connections", "draw_key", "sleep"}


async def test_the_first_lines(shop: Program, capsys: pytest.CaptureFixture[str]) -> None:
    """The page's first example pays, and prints what it says."""
    code = BLOCKS[0].replace("http://127.0.0.1:8080", f"http://127.0.0.1:{shop.served.port}")
    await asyncio.to_thread(exec, compile(code, "client.md", "exec"), {"API_KEY": shop.made.api_key})
    assert capsys.readouterr().out == "queued 411111******1111 30.00\n"


async def test_wages(shop: Program) -> None:
    """Run over a line that loses answers, and run again, the program pays each wage once, and tells how every one stands."""
    import client_wages

    bank = "100000000004"
    wages = [client_wages.Wage(*row) for row in [
        ("ivanov", "79510000071", bank, "10.50"), ("petrova", "79510000072", bank, "11"), ("sidorov", "7951", bank, "12"), ("orlova", "79510000073", bank, "900000"),
    ]]  # fmt: skip
    async with serving() as serve:
        line = await bad_line(serve, shop, ["lost", "through"])

        def run(port: int, tries: int) -> dict[str, str]:
            with BlockingClient(f"http://127.0.0.1:{port}", shop.made.api_key, retries=Retries(tries=tries, first_pause_s=0.001)) as client:
                return dict(client_wages.pay(client, "2026-11", wages))

        first = await asyncio.to_thread(run, line.port, 1)
        assert "not known yet" in first["ivanov"] and (first["petrova"], await shop.payouts()) == ("queued", 2)
        assert "`destination.phone`" in first["sidorov"] and "top-up" in first["orlova"]
        await shop.house.settle()
        again = await asyncio.to_thread(run, shop.served.port, 3)
    assert (again["ivanov"], again["petrova"], await shop.payouts()) == ("paid", "paid", 2)


async def test_events(shop: Program, tmp_path: Path) -> None:
    """Ended and begun again, the program's book has each event once, and each payout as the API shows it."""
    import client_events

    async with client_of(shop) as client:
        book = sqlite3.connect(tmp_path / "book.sqlite")
        for n in range(3):
            await shop.made_one(reference=f"w-{n}")
            assert await client_events.follow(client, book, forever=False) == await shop_events(client)
            await shop.house.settle()
        await client_events.follow(client, book, forever=False)
        shown = {(one.id, one.reference, one.amount.amount, one.state) async for one in client.payouts()}
        assert set(book.execute("SELECT * FROM payouts")) == shown and len(shown) == 3
        assert [row[0] for row in book.execute("SELECT number FROM events ORDER BY number")] == list(range(1, 11))
        book.close()


async def shop_events(client: Client) -> int:
    """The number of the last event."""
    last = 0
    async for event in client.events(follow=False):
        last = event.number
    return last


async def test_hooks(shop: Program, tmp_path: Path) -> None:
    """The receiver stores what the server's secret signed, once; what was changed, is old, or is another's message it refuses."""
    import client_hooks

    async with client_of(shop) as client:
        made = await client.add_webhook(NewWebhook(url="https://shop.example/hooks"))
        await shop.made_one(destination={"rail": "card", "number": CARD})
        events = [event async for event in client.events(follow=False)]
    assert made.secret is not None
    keys, inbox, now = [read_secret(made.secret)], str(tmp_path / "inbox.sqlite"), int(time.time())
    server = client_hooks.receiver(WebhookReader(made.secret), inbox, 0)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()

    def post(event: Any, at: int, body: bytes = b"", name: str = "") -> int:
        headers = headers_of(keys, name or event.id, at, encode_event(event))
        request = urllib.request.Request(f"http://127.0.0.1:{server.server_port}/", body or encode_event(event), headers)
        try:
            with urllib.request.urlopen(request) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    told = [await asyncio.to_thread(post, event, now) for event in [*events, *events]]
    changed: list[tuple[int, bytes, str]] = [(now - 301, b"", ""), (now, b"{}", ""), (now, b"", "evt_1_99")]
    wrong = [await asyncio.to_thread(post, events[0], *how) for how in changed]
    server.shutdown()
    server.server_close()
    thread.join()
    assert told == [204] * 2 * len(events) and wrong == [400] * 3
    with sqlite3.connect(inbox) as book:
        assert set(book.execute("SELECT id, type FROM inbox")) == {(event.id, event.type) for event in events}


def test_unknown_carries_what_the_page_says() -> None:
    """What the page hands on tomorrow is there."""
    unknown = OutcomeUnknown("POST /v1/payouts", "no answer in time", 5, key="k", reference="r")
    assert {"key", "reference", "why"} <= set(vars(unknown))
