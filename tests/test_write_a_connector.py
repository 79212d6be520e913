"""The connector of docs/how-to/write-a-connector.md: the page shows the file, and the file does what the page says, against a real server."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import re
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from disburse.assembly import doors_of
from disburse.certificates import store
from disburse.certification import certify_connector
from disburse.certify.certificate import Grade
from disburse.connectors.contract import Connector, Question
from disburse.domain.money import Money
from disburse.domain.outcomes import Accepted, NotFound, NotSent, Rejected, Settled, Unknown
from disburse.domain.payout import PayoutState
from disburse.kinds import kinds, make_one, read_table, surroundings
from disburse.protocols.wire import WireRequest
from disburse.settings import load_settings
from disburse.wiring import working
from disburse.world import real_world
from tests.connectors.loopback import Serve, Server, says, serving
from tests.connectors.unitpay_house import http, order
from tests.house.sources import ROOT
from tests.strangers import installed
from tests.test_working import house_of, pay, rich_merchant, until

FILE = ROOT / "docs/how-to/a_connector.py"
SIMULATOR = ROOT / "docs/how-to/a_simulator.py"
PAGE = ROOT / "docs/how-to/write-a-connector.md"
KEY = "shared-secret"
PAID = {"id": "one-1", "state": "paid", "amount": "300.00"}


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    async with serving() as started:
        yield started


@pytest.fixture
async def made(tmp_path: Path) -> AsyncIterator[Any]:
    """Installs the page's file as a stranger's package and makes a connector of it that asks this address."""
    async with AsyncExitStack() as opened:
        package = opened.enter_context(
            installed(tmp_path / "packages", "a_connector", FILE.read_text("utf-8"), {"example": "a_connector:KIND"})
        )
        assert package is None

        def make(url: str) -> Connector:
            settings = tmp_path / "disburse.toml"
            settings.write_text(f"[connectors.first]\nkind = 'example'\nurl = '{url}'\nsecret_key = '{KEY}'\n", "utf-8")
            [(name, table)] = load_settings(settings, {}).connectors.items()
            kind_name, kind, values, _ = read_table(name, table, kinds())
            around = surroundings(name, real_world().clock, tmp_path, opened, lambda *told, **more: None)
            return make_one(name, kind_name, kind, values, around, {})  # as the page has it, with no grade on it

        yield make


def address(server: Server) -> str:
    return f"http://127.0.0.1:{server.port}"


def test_the_page_shows_the_file() -> None:
    """The code on the page is the file that these tests run, word for word."""
    shown = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert FILE.read_text("utf-8") in shown and SIMULATOR.read_text("utf-8") in shown
    assert len(FILE.read_text("utf-8").splitlines()) < 120


@pytest.mark.parametrize(
    "status, body, outcome",
    [
        (200, PAID, Settled(amount=Money(300_00, "RUB"))),
        (200, PAID | {"state": "pending"}, Accepted()),
        (200, PAID | {"state": "refused"}, Rejected("refused by the provider")),
        (200, PAID | {"id": "two-1"}, Unknown("an answer about another order")),
        (200, PAID | {"state": "lost"}, Unknown("an answer that cannot be read")),
        (200, PAID | {"amount": "lots"}, Unknown("an answer that cannot be read")),
        (200, b"<html>", Unknown("an answer that cannot be read")),
        (500, PAID | {"state": "refused"}, Unknown("HTTP 500")),
        (404, {"error": "no_such_order"}, Unknown("HTTP 404")),
    ],
)
async def test_an_order(serve: Serve, made: Any, status: int, body: Any, outcome: object) -> None:
    """An order goes out once with id, amount and card; what is not listed is doubt."""
    server = await serve(says(http(body, status)))
    connector = made(address(server))
    await connector.start(_nobody)
    assert await connector.submit(order(end_to_end_id="one-1")) == outcome
    [request] = server.requests
    assert request.startswith(b"POST /orders HTTP/1.1")
    assert json.loads(request.split(b"\r\n\r\n")[1]) == {"id": "one-1", "amount": "300.00", "card": "4111111111111111"}


@pytest.mark.parametrize(
    "status, body, finding",
    [
        (200, PAID, Settled(amount=Money(300_00, "RUB"))),
        (404, {"error": "no_such_order"}, NotFound()),
        (404, b"<html>Not Found</html>", Unknown("HTTP 404")),
        (503, b"", Unknown("HTTP 503")),
    ],
)
async def test_a_question(serve: Serve, made: Any, status: int, body: Any, finding: object) -> None:
    """A question is asked by our id; only the provider's own words mean that it does not know it."""
    server = await serve(says(http(body, status)))
    assert await made(address(server)).inquire(Question("one-1", None, 5)) == finding
    assert server.requests[0].startswith(b"GET /orders/one-1 HTTP/1.1")


async def test_nobody_there(made: Any) -> None:
    """What was not sent is proof for an order, and says nothing in answer to a question."""
    connector = made("http://127.0.0.1:1")
    assert isinstance(await connector.submit(order()), NotSent)
    assert isinstance(await connector.inquire(Question("one-1", None, 5)), Unknown)


async def test_a_lost_answer_is_doubt(serve: Serve, made: Any) -> None:
    """A server that reads the order and closes leaves doubt, and the order was sent once."""

    async def close(number: int, writer: asyncio.StreamWriter) -> bool:
        return False

    server = await serve(close)
    assert isinstance(await made(address(server)).submit(order()), Unknown)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "body, forged, finding",
    [
        (json.dumps(PAID).encode(), False, Settled(amount=Money(300_00, "RUB"))),
        (json.dumps(PAID).encode(), True, None),
        (b"no json", False, None),
        (b"{}", False, None),
    ],
)
async def test_a_callback(made: Any, body: bytes, forged: bool, finding: object) -> None:
    """A signed callback is what it says; a forged one, or one about nothing, is none."""
    signature = hmac.new(b"wrong" if forged else KEY.encode(), body, hashlib.sha256).hexdigest()
    request = WireRequest("POST", "/callbacks/first", b"", {"x-signature": signature}, body)
    callback = await made("http://127.0.0.1:1").read_callback(request, 5)
    assert (callback.finding if callback is not None else None) == finding
    assert callback is None or (callback.connector, callback.end_to_end_id) == ("first", "one-1")


async def test_a_callback_reaches_the_books(dsn: str, tmp_path: Path, serve: Serve) -> None:
    """The page's connector is certified with the page's simulator, so an order is sent, and paid once its signed callback is stored."""
    server = await serve(says(http(b"", 503)))  # busy, whatever is asked: the order stays in doubt until the callback
    table = {"kind": "example", "url": address(server), "secret_key": KEY}
    async with AsyncExitStack() as opened:
        opened.enter_context(_both(tmp_path / "packages"))
        settings = load_settings(None, {}, {"data": str(tmp_path / "data"), "connectors": {"first": table}})
        (tmp_path / "keys").mkdir()
        done = await certify_connector(settings, "first", real_world().clock, tmp_path / "keys")
        assert (done.certificate.grade, done.certificate.failures) == (Grade.A, []) and done.certificate.judged > 100
        store(tmp_path / "data", "first", done.certificate)
        house = await opened.enter_async_context(house_of(dsn, tmp_path / "data", connectors={"first": table}))
        door = dict(doors_of(house, merchants=False))["/callbacks/first"]
        payout = await pay(house, await rich_merchant(house), "10.00")
        await opened.enter_async_context(working(house, api=True, workers=True))
        await until(house, payout, PayoutState.IN_DOUBT)
        told = json.dumps({"id": _id_in(server.requests[0]), "state": "paid", "amount": "10.00"}).encode()
        for key, status in (("wrong", 409), (KEY, 200), (KEY, 200)):
            signature = hmac.new(key.encode(), told, hashlib.sha256).hexdigest()
            request = WireRequest("POST", "/callbacks/first", b"", {"x-signature": signature}, told)
            assert (await door.answer(request)).status == status
            [state] = await house.desk.states(payout.shard, [payout.payout_id])
            assert (state.state is PayoutState.PAID) is (status == 200)
        assert (await door.answer(WireRequest("GET", "/callbacks/first", b"", {}, b""))).status == 405


@contextmanager
def _both(directory: Path) -> Iterator[None]:
    """The page's two files, installed as it says."""
    directory.mkdir()
    (directory / "a_connector.py").write_text(FILE.read_text("utf-8"), "utf-8")
    try:
        with installed(directory, "a_simulator", SIMULATOR.read_text("utf-8"), {"example": "a_simulator:KIND"}):
            yield
    finally:
        sys.modules.pop("a_connector", None)


def _id_in(request: bytes) -> str:
    found = json.loads(request.split(b"\r\n\r\n")[1])["id"]
    assert isinstance(found, str)
    return found


async def _nobody(callback: object) -> None:
    raise AssertionError("callbacks come to a door")
