"""Events read back: numbered without gaps, told with what may be shown, and adding up to every payout as it stands."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest

from disburse.domain.destinations import read_card
from disburse.domain.merchant import Merchant
from disburse.domain.money import Money
from disburse.domain.outcomes import Accepted, Rejected, Returned, Settled, Unknown, Verdict
from disburse.domain.ports import World
from disburse.operations.events import Told, read_events, wait_for_events
from disburse.operations.payouts import Found
from disburse.protocols.events import (
    TYPES,
    Event,
    EventMissing,
    PayoutSeen,
    decode_event,
    encode_event,
    event_of,
    fold,
)
from disburse.storage import events as stored
from disburse.storage.database import Database
from disburse.workers.news import NewsWatch
from tests.api.house import House, build_house
from tests.operations.verify_town import Town, populate

CARD = read_card("4111111111111111", luhn=True)


async def everything(database: Database, merchant: int) -> list[Told]:
    return await database.run(lambda tx: stored.after(tx, 0, merchant, 0, 100_000))


def over_the_wire(rows: list[Told]) -> list[Event]:
    return [decode_event(encode_event(event_of(row))) for row in rows]


async def as_they_stand(database: Database) -> dict[UUID, tuple[Any, ...]]:
    """What the API shows of every payout, from the rows."""
    rows = await database.run(
        lambda tx: tx.fetch(
            """SELECT payout_id, reference, rail, display, amount_minor, fee_minor, currency, state, frozen, reason,
                   returned_minor, created_at, updated_at, finished_at, last_event FROM payouts"""
        )
    )
    return {
        row[0]: (
            *row[1:4], Money(row[4], row[6]).text(), Money(row[5], row[6]).text(), row[6], *row[7:10],
            Money(row[10], row[6]).text() if row[10] else None, *row[11:],
        )
        for row in rows
    }  # fmt: skip


def as_folded(seen: dict[UUID, PayoutSeen]) -> dict[UUID, tuple[Any, ...]]:
    return {
        one.id: (
            one.reference, one.rail, one.destination, one.amount.amount, one.fee.amount, one.amount.currency, one.state, one.frozen,
            one.reason, one.returned.amount if one.returned else None, one.created_at, one.updated_at, one.finished_at,
            one.last_event,
        )
        for one in seen.values()
    }  # fmt: skip


async def test_events_add_up_to_every_payout(database: Database, world: World) -> None:
    """In a town of every kind of life, folding the events of each merchant gives each payout as its row shows it."""
    await populate(Town(database, world))
    seen: dict[UUID, PayoutSeen] = {}
    for merchant in (1, 2, 3):
        told = over_the_wire(await everything(database, merchant))
        assert [event.number for event in told] == list(range(1, len(told) + 1))
        assert {event.type for event in told} <= set(TYPES)
        fold(told, seen)
    stand = await as_they_stand(database)
    assert len(stand) > 40
    assert as_folded(seen) == stand


async def test_payouts_may_be_folded_apart(database: Database, world: World) -> None:
    """Payouts may come in any order among each other, events again and again: the sum is the same. One left out is noticed."""
    await populate(Town(database, world))
    told = over_the_wire(await everything(database, 1))
    once = as_folded(fold(told))
    draw = random.Random(5)
    order = {one: draw.random() for one in once}
    apart = sorted(told, key=lambda event: (order.get(event.payout.id, 0.0) if event.payout else 0.0, event.number))
    twice = [event for one in apart for event in (one, one)]
    assert as_folded(fold(twice)) == once
    later = [event for event in told if event.previous is not None]
    assert len(later) > 40
    for gone in later[::7]:
        following = [event for event in told if event.previous == gone.number]
        if following:
            with pytest.raises(EventMissing):
                fold([event for event in told if event.number != gone.number])


async def test_an_event_tells_what_happened(database: Database, world: World) -> None:
    """An event has a stable id and type, the payout's money and reference, and nothing of who acted but the kind."""
    town = Town(database, world)
    await populate(town)
    rows = await everything(database, 1)
    by_type = {event.type: event for event in over_the_wire(rows)}
    assert set(by_type) >= {
        "payout.created", "payout.unfunded", "payout.queued", "payout.in_flight", "payout.accepted", "payout.in_doubt", "payout.paid",
        "payout.failed", "payout.cancelled", "payout.expired", "payout.returned", "payout.frozen", "payout.thawed",
        "payout.reference_mismatch", "top_up", "top_up.reversed",
    }  # fmt: skip
    paid = by_type["payout.paid"]
    assert paid.id == f"evt_1_{paid.number}" and paid.payout is not None
    assert (paid.payout.state, paid.payout.amount.currency, paid.payout.destination) == ("paid", "RUB", "411111******1111")
    undone = by_type["top_up.reversed"]
    assert (undone.money and undone.money.amount, undone.reference, undone.by) == ("400.00", "by mistake", "operator")
    topped = [event for event in over_the_wire(rows) if event.type == "top_up"]
    assert [event.reference for event in topped] == ["first", "dollars", "by mistake"]
    (out,) = [event for event in over_the_wire(await everything(database, 3)) if event.type == "withdrawal"]
    assert (out.money and out.money.amount, out.reference) == ("10.00", "w-1")
    text = b"".join(encode_event(event_of(row)) for row in rows)
    for never in (b"worker-1", b"operator:", b"sandbox", b"asked for by"):
        assert never not in text


# --- waiting -----------------------------------------------------------------------------------------------------


@pytest.fixture
async def house(database: Database, world: World, tmp_path: Path) -> House:
    return await build_house(database, world, tmp_path)


async def pay(house: House, merchant: Merchant, *verdicts: Verdict, minor: int = 10_000) -> None:
    """Make a payout and let the bank say these things about it."""
    draft = house.desk.draft(
        merchant, CARD, Money(minor, "RUB"), surface="own", reference=None, amount_text="100.00", execute=True, actor="merchant:1"
    )
    assert isinstance(await house.desk.create(merchant, draft), Found)
    for opened in await house.claim():
        for verdict in verdicts:
            await house.tell(opened, verdict)


async def test_waiting_ends_with_the_next_event(house: House) -> None:
    """Who waits is answered as soon as something happens, in this process at once; nothing within the time is an empty page."""
    merchant = (await house.merchant()).merchant
    last = (await read_events(house.desk, merchant, 0, 100))[-1].number
    watch = NewsWatch(house.desk, house.world, poll_s=30)
    watching = asyncio.create_task(watch.run())
    waiting = asyncio.create_task(wait_for_events(house.desk, merchant, last, 100, 30))
    while not house.desk.news.waiting():
        await asyncio.sleep(0)
    await house.top_up(merchant, "1.00")
    watch.pace.wake()
    began = house.world.clock.monotonic()
    (told,) = await waiting
    assert (told.kind, told.number) == ("top_up", last + 1)
    assert house.world.clock.monotonic() - began < 1.5
    assert await wait_for_events(house.desk, merchant, last + 1, 100, 0.05) == []
    watching.cancel()


async def test_waiting_is_right_without_a_hint(house: House) -> None:
    """Where nobody rings, the rows are looked at again by themselves; somebody else's events end nobody's waiting."""
    merchant = (await house.merchant()).merchant
    other = (await house.merchant("other@example.com")).merchant
    last = (await read_events(house.desk, merchant, 0, 100))[-1].number
    waiting = asyncio.create_task(wait_for_events(house.desk, merchant, last, 100, 30))
    while not house.desk.news.waiting():
        await asyncio.sleep(0)
    await house.top_up(other, "1.00")
    await house.top_up(merchant, "2.00")
    (told,) = await waiting
    assert told.merchant_id == merchant.merchant_id and (told.detail or "").startswith("2.00 RUB ")


async def test_a_page_is_bounded(house: House) -> None:
    """A page holds at most what is asked for; pages laid end to end are the whole."""
    merchant = (await house.merchant()).merchant
    for _ in range(3):
        await pay(house, merchant, Settled("ref"))
    whole = await read_events(house.desk, merchant, 0, 1000)
    pages: list[Told] = []
    while page := await read_events(house.desk, merchant, pages[-1].number if pages else 0, 2):
        assert len(page) <= 2
        pages += page
    assert pages == whole and len(await read_events(house.desk, merchant, 0, 0)) == 1


class Consumer:
    """A merchant's program: it folds events, saves what it has now and then, and may be killed between any two lines."""

    def __init__(self, house: House, merchant: Merchant, draw: random.Random) -> None:
        self.house, self.merchant, self.draw = house, merchant, draw
        self.saved = msgspec.json.encode((0, []))
        self.deaths = 0

    async def live(self) -> None:
        """One life: from the last save until it has everything, or is killed."""
        after, kept = msgspec.json.decode(self.saved, type=tuple[int, list[PayoutSeen]])
        seen = {one.id: one for one in kept}
        while page := await wait_for_events(self.house.desk, self.merchant, after, self.draw.randint(1, 9), 0.2):
            for row in page:
                assert row.number == after + 1, "a gap"
                fold([decode_event(encode_event(event_of(row)))], seen)
                after = row.number
                if self.draw.random() < 0.3:
                    self.saved = msgspec.json.encode((after, list(seen.values())))
                if self.draw.random() < 0.1:
                    self.deaths += 1
                    return
        self.saved = msgspec.json.encode((after, list(seen.values())))

    @property
    def seen(self) -> dict[UUID, PayoutSeen]:
        return {one.id: one for one in msgspec.json.decode(self.saved, type=tuple[int, list[PayoutSeen]])[1]}


async def test_a_consumer_that_is_killed_rebuilds_the_same_state(house: House) -> None:
    """Killed at random points while payouts live, a program that asks for what comes after its last number has it all."""
    merchant = (await house.merchant()).merchant
    lives: list[tuple[Verdict, ...]] = [
        (Settled("r"),), (Unknown("x"), Rejected("no")), (Accepted("r"), Settled("r"), Returned("e", Money(2_500, "RUB"))),
        (Settled("r"), Rejected("no")),
    ]  # fmt: skip
    consumer = Consumer(house, merchant, random.Random(11))

    async def town() -> None:
        for n in range(24):
            await pay(house, merchant, *lives[n % len(lives)])

    living = asyncio.create_task(town())
    while not living.done():
        await consumer.live()
    await living
    for _ in range(100):
        await consumer.live()
        if as_folded(consumer.seen) == await as_they_stand(house.database):
            break
    assert as_folded(consumer.seen) == await as_they_stand(house.database)
    assert len(consumer.seen) == 24 and consumer.deaths > 5
