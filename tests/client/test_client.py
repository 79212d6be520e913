"""The client before a real server: all that it can ask, pages and events as iterators, and a line that loses requests and answers."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from disburse.client import (
    Amount,
    BadRequest,
    BlockingClient,
    Client,
    InsufficientFunds,
    KeyReused,
    NewPayee,
    NewPayout,
    NewWebhook,
    NoAnswer,
    NotFound,
    OutcomeUnknown,
    PayoutsAsked,
    ReferenceReused,
    Retries,
    ToCard,
    ToPhone,
    ToPurse,
    Unauthorized,
    fold,
)
from disburse.client.calls import read
from disburse.protocols.rest_messages import Balances
from disburse.workers.news import NewsWatch
from tests.api.rest_client import CARD, PHONE_TO, Program
from tests.client.lines import Naps, bad_line, client_of, field
from tests.connectors.loopback import Serve, says, serving
from tests.connectors.unitpay_house import http

PURSE = ToPurse(purse="Z123456789012")


def rub(amount: str) -> Amount:
    return Amount(amount=amount, currency="RUB")


def order(reference: str | None = "w-1", amount: str = "10.00", **more: Any) -> NewPayout:
    """A payout to a purse, at once."""
    return NewPayout(**{"amount": rub(amount), "destination": PURSE, "reference": reference, "execute": True, **more})


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    async with serving() as started:
        yield started


async def test_a_payout(shop: Program, client: Client) -> None:
    """Made, found again, paid, explained; a repeat is the same payout, other content is refused, and so is what costs too much."""
    made = await client.create(order())
    assert (made.state, made.amount, made.reference) == ("queued", rub("10.00"), "w-1")
    assert await client.create(order()) == made == await client.payout(made.id) == await client.find("w-1")
    assert await client.find("w-2") is None
    with pytest.raises(ReferenceReused):
        await client.create(order(amount="11.00"))
    with pytest.raises(InsufficientFunds) as poor:
        await client.create(order("w-3", "900000.00"), key="k-3")
    assert poor.value.status == 409 and "new key" in poor.value.next
    with pytest.raises(KeyReused):
        await client.create(order("w-3"), key="k-3")
    with pytest.raises(BadRequest) as wrong:
        await client.create(order("w-4", destination=ToCard(number="4111111111111112"), amount="1,0"))
    assert [fault.field for fault in wrong.value.errors] == ["amount.amount", "destination.number"]
    await shop.house.settle()
    paid = await client.payout(made.id)
    assert (paid.state, paid.final) == ("paid", True)
    assert (await client.explain(made.id)).payout == paid
    with pytest.raises(NotFound):
        await client.payout("01a201a0-a768-7ce6-8000-a3b4883706a1")
    assert await shop.payouts() == 1


async def test_execute_and_cancel(shop: Program, client: Client) -> None:
    """What waits is executed or cancelled, once; the key of a call is the caller's, or one that the client drew."""
    first, second = [await client.create(order(f"w-{n}", execute=False)) for n in (1, 2)]
    assert [(await client.execute(first.id, key="go")).state for _ in range(2)] == ["queued", "queued"]
    assert (await client.cancel(second.id)).state == "cancelled"
    assert await shop.keys_kept() == 4
    unnamed = await client.create(order(None), key="only-a-key")
    assert unnamed.reference is None and await client.create(order(None), key="only-a-key") == unnamed


async def test_lists(shop: Program, client: Client) -> None:
    """Lists go over all pages by themselves, with their filters."""
    made = [(await client.create(order(f"w-{n}"))).id for n in range(5)]
    assert [one.id async for one in client.payouts(PayoutsAsked(limit=2))] == made[::-1]
    assert [one.id async for one in client.payouts(PayoutsAsked(state="paid", limit=2))] == []
    assert [one.amount.amount async for one in client.top_ups()] == ["100000.00"]
    assert [one.reference async for one in client.payees()] == []


async def test_money_and_what_can_be_paid(shop: Program, client: Client) -> None:
    """Balances now and as of a time, fees, rails and banks."""
    start = datetime(2020, 1, 1, tzinfo=UTC)
    assert [one.available for one in await client.balances()] == [rub("100000.00")] != [one.available for one in await client.balances(start)]
    quote = await client.fee_quote("sbp", rub("10.50"))
    assert (quote.fee, quote.total) == (rub("0.07"), rub("10.57"))
    assert {"card", "sbp"} <= {one.rail for one in await client.rails()}
    assert PHONE_TO["bank"] in [one.id for one in await client.banks()]


async def test_payees(shop: Program, client: Client) -> None:
    """A payee is saved, found, paid, given a second destination, and paid at the first one no more."""
    payee = await client.add_payee(NewPayee(reference="ivanov", destination=ToCard(number=CARD)))
    assert await client.find_payee("ivanov") == payee == await client.payee(payee.id) and CARD not in repr(payee)
    payout = await client.create(order("w-1", destination=None, payee=payee.id))
    assert payout.destination == payee.destinations[0].destination
    payee = await client.add_destination(payee.id, ToPhone(phone="79510000071", bank=PHONE_TO["bank"]))
    payee = await client.retire_destination(payee.id, payee.destinations[0].id)
    assert [one.retired_at is None for one in payee.destinations] == [False, True]
    assert [one async for one in client.payees()] == [payee]


async def test_webhooks_and_keys(shop: Program, client: Client) -> None:
    """Endpoints and API keys are made, changed, and ended; a key that was made works, until it is ended."""
    made = await client.add_webhook(NewWebhook(url="https://shop.example/hooks", types=["payout.*"]))
    ours = made.webhook.id
    assert made.secret is not None and made.secret.startswith("whsec_") and [one.id for one in await client.webhooks()] == [ours]
    assert (await client.rotate_webhook(ours, overlap_hours=1)).secret != made.secret
    assert (await client.pause_webhook(ours)).state == "paused" and (await client.resume_webhook(ours)).state == "active"
    assert (await client.resend_webhook(ours, 1, 1)).resend_first == 1
    await client.remove_webhook(ours)
    with pytest.raises(NotFound):
        await client.webhook(ours)
    other = await client.add_api_key("payroll", key="k-1")
    assert other.api_key is not None and (await client.add_api_key("payroll", key="k-1")).key.id == other.key.id
    async with Client(f"http://127.0.0.1:{shop.served.port}", other.api_key) as second:
        assert [one.this for one in await second.api_keys()] == [False, True]
        newer = await client.rotate_api_key(other.key.id)
        assert (await client.disable_api_key(other.key.id)).state == "ended" and newer.api_key != other.api_key
        shop.house.desk.recognition.forget()
        with pytest.raises(Unauthorized):
            await second.balances()


async def test_events(shop: Program, client: Client) -> None:
    """Events come in order over any pages, and add up to what is shown; who follows gets the next one when it happens."""
    for n in range(3):
        await client.create(order(f"w-{n}"))
    await shop.house.settle()
    whole = [event async for event in client.events(follow=False)]
    assert [event.number for event in whole] == list(range(1, 11))
    assert [event async for event in client.events(4, follow=False, page=2)] == whole[4:]
    assert (await client.payout(next(iter(fold(whole))))).state == "paid"
    assert {str(seen.id): seen.state for seen in fold(whole).values()} == {one.id: one.state async for one in client.payouts()}

    watch = asyncio.create_task(NewsWatch(shop.house.desk, shop.house.world, poll_s=0.01).run())
    followed = client.events(10, wait_s=30)
    waiting = asyncio.ensure_future(anext(followed))
    while not shop.house.desk.news.waiting():
        await asyncio.sleep(0)
    await client.create(order("w-3"))
    assert (await waiting).type == "payout.queued"
    watch.cancel()


@pytest.mark.parametrize("lost", ["lost", "cut"])
async def test_an_answer_that_is_lost(shop: Program, serve: Serve, lost: Any) -> None:
    """Requests and answers get lost: the same bytes go out again under the same key, and there is one payout."""
    line, naps = await bad_line(serve, shop, [lost, "lost", "cut"]), Naps()
    async with client_of(shop, f"http://127.0.0.1:{line.port}", sleep=naps) as client:
        made = await client.create(order())
    assert await shop.payouts() == 1 and made.state == "queued"
    assert len(set(line.requests)) == 1 and len(line.requests) == 4 and field(line.requests[0], "Idempotency-Key")
    assert naps.taken == [0.25, 0.5, 1.0]


@pytest.mark.parametrize("reference", ["w-1", None])
async def test_nobody_knows(shop: Program, client: Client, serve: Serve, reference: str | None) -> None:
    """When every answer is lost the outcome is unknown, with the key; the same call tomorrow finds the one payout."""
    line = await bad_line(serve, shop, ["lost"] * 4)
    async with client_of(shop, f"http://127.0.0.1:{line.port}") as far:
        with pytest.raises(OutcomeUnknown) as unknown:
            await far.create(order(reference))
    assert unknown.value.reference == reference and unknown.value.tries == 4
    key = unknown.value.key
    assert key is not None and key == field(line.requests[0], "Idempotency-Key") and key in str(unknown.value)
    assert unknown.value.__context__ is None and shop.made.api_key not in str(unknown.value)
    assert (await client.create(order(reference), key=key)).state == "queued"
    assert await shop.payouts() == 1 and await shop.keys_kept() == 1


async def test_what_must_not_be_done_twice(shop: Program, serve: Serve) -> None:
    """A call that has no key, and is not the same when it is done twice, is sent once, and whether it was done is not known."""
    async with client_of(shop, f"http://127.0.0.1:{shop.served.port}") as near:
        made = await near.add_webhook(NewWebhook(url="https://shop.example/hooks"))
        line = await bad_line(serve, shop, ["lost"])
        async with client_of(shop, f"http://127.0.0.1:{line.port}") as client:
            with pytest.raises(OutcomeUnknown) as unknown:
                await client.remove_webhook(made.webhook.id)
        assert unknown.value.key is None and "Look whether" in str(unknown.value)
        assert len(await near.webhooks()) == 0 and len(line.requests) == 1


async def test_secrets_whose_answer_is_lost(shop: Program, serve: Serve) -> None:
    """An endpoint whose first answer was lost comes with its secret all the same; an API key comes without, and is replaced."""
    line, naps = await bad_line(serve, shop, ["lost", "through", "lost", "through"]), Naps()
    async with client_of(shop, f"http://127.0.0.1:{line.port}", sleep=naps) as client:
        made = await client.add_webhook(NewWebhook(url="https://shop.example/hooks"))
        lost = await client.add_api_key("payroll")
        assert made.secret is not None and lost.api_key is None and len(naps.taken) == 2
        assert (await client.rotate_api_key(lost.key.id, overlap_hours=0)).api_key is not None
        assert len(await client.webhooks()) == 1 and [one.state for one in await client.api_keys()] == ["active", "ended", "active"]


async def test_what_never_left(shop: Program) -> None:
    """Where nobody listens nothing was asked, and that is certain, also of a payout."""
    with socket.socket() as taken:  # bound, and not listening
        taken.bind(("127.0.0.1", 0))
        naps = Naps()
        async with client_of(shop, f"http://127.0.0.1:{taken.getsockname()[1]}", sleep=naps) as client:
            with pytest.raises(NoAnswer) as nothing:
                await client.create(order())
    assert (nothing.value.why, nothing.value.tries, len(naps.taken)) == ("the connection is refused", 4, 3)


@pytest.mark.parametrize(
    "raw, why",
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{", "the answer broke off"),
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", "the answer is not HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{", "no answer in time"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "the answer is too long"),
        (http(b"<h1>It works</h1>"), "the answer 200 cannot be read"),
        (b"HTTP/1.1 307 Go\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", "the answer is a 307 that is not the server's own"),
    ],
)
async def test_a_strange_answer(serve: Serve, raw: bytes, why: str) -> None:
    """Whatever a broken server says, the client says in its words, within its time, and follows nobody."""

    async def floods(number: int, writer: asyncio.StreamWriter) -> bool:
        writer.write(raw)
        for _ in range(34):
            writer.write(b"100000\r\n" + b"x" * 0x100000 + b"\r\n")
            await writer.drain()
        return False

    server = await serve(floods if "too long" in why else says(raw, then=why not in ("the answer broke off", "the answer is not HTTP")))
    limit_s = 0.05 if "in time" in why else 10.0
    async with Client(f"http://127.0.0.1:{server.port}", "key", retries=Retries(tries=1), timeout_s=limit_s) as client:
        with pytest.raises(NoAnswer) as nothing:
            await client.balances()
        assert nothing.value.why == why
        with pytest.raises(OutcomeUnknown):
            await client.create(order())
    assert len(server.requests) == 2


async def test_a_cancelled_call_tells_its_key(serve: Serve) -> None:
    """Who gives up waiting is told the key under which the call may have been done."""
    server = await serve(says(b""))
    async with Client(f"http://127.0.0.1:{server.port}", "key", draw_key=lambda: "drawn") as client:
        calling = asyncio.create_task(client.create(order()))
        await server.arrived.wait()
        calling.cancel()
        with pytest.raises(asyncio.CancelledError) as cancelled:
            await calling
    assert any("drawn" in note for note in cancelled.value.__notes__)


@pytest.mark.parametrize(
    "url, key",
    [
        ("http://pay.example", "k"), ("ftp://pay.example", "k"), ("https://u:p@pay.example", "k"), ("pay.example", "k"),
        ("https://pay.example?x=1", "k"), ("https://pay.example", ""), ("https://pay.example", "a b"), ("https://pay.example", "a\r\nb"),
    ],
)  # fmt: skip
def test_no_address_and_no_key(url: str, key: str) -> None:
    """An address over which the key could be read by others, one that is none, and a key that is none, are refused without being repeated."""
    with pytest.raises(ValueError) as refused:
        Client(url, key)
    assert "u:p" not in str(refused.value) and "a b" not in str(refused.value)
    if url.startswith("http:"):
        Client(url, key, plain_http=True)


def test_nothing_secret_is_shown() -> None:
    """No repr shows the API key or what a call sends."""
    client = Client("https://pay.example", "secret-key-1")
    shown = repr(client) + repr(client.__dict__) + repr(order(destination=ToCard(number=CARD))) + repr(read("balances", Balances))
    assert "secret-key-1" not in shown and CARD not in shown


async def test_without_asyncio(shop: Program) -> None:
    """The blocking client makes the same calls, walks pages and events, raises the same, and is good for many threads at a time."""
    client = BlockingClient(f"http://127.0.0.1:{shop.served.port}", shop.made.api_key)

    def program() -> None:
        made = client.create(order())
        assert client.payout(made.id) == made == client.create(order(), key="k")
        assert [one.id for one in client.payouts()] == [made.id]
        assert [event.type for event in client.events(follow=False)] == ["top_up", "payout.queued"]
        assert next(client.events()).number == 1
        with pytest.raises(InsufficientFunds):
            client.create(order("w-2", "900000.00"))

    await asyncio.to_thread(program)
    made = await asyncio.gather(*[asyncio.to_thread(client.create, order(f"t-{n % 4}")) for n in range(12)])
    assert len({one.id for one in made}) == 4 and await shop.payouts() == 5
    for _ in range(2):
        await asyncio.to_thread(client.close)
    with pytest.raises(RuntimeError):
        client.balances()


def test_the_blocking_client_has_every_call() -> None:
    """Whatever the client can be asked, the blocking one can be asked as well."""
    calls = {name for name in vars(Client) if not name.startswith("_")} - {"send", "close"}
    assert calls == {name for name in vars(BlockingClient) if not name.startswith("_")} - {"close"}
