"""The courier, with real receivers and a real database: everything arrives at least once, in order, whoever misbehaves or dies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from disburse.domain.outcomes import Accepted, Rejected, Settled, Unknown
from disburse.domain.ports import World
from disburse.operations.webhooks import (
    list_webhooks,
    pause_webhook,
    remove_webhook,
    resend_events,
    resume_webhook,
    rotate_secret,
)
from disburse.protocols.events import Event, event_of, fold
from disburse.protocols.webhooks import read_secret
from disburse.storage.database import Database
from disburse.workers.courier import DEFAULT_LIMITS, CourierLimits
from tests.workers.receivers import PostRoom, Receiver, answers, closes, floods, hangs, takes


@pytest.fixture
async def room(database: Database, world: World, tmp_path: Path) -> AsyncIterator[PostRoom]:
    made = await PostRoom.open(database, world, tmp_path)
    yield made
    await made.close()


def whole(receiver: Receiver, numbers: list[int]) -> bool:
    return set(receiver.numbers()) >= set(numbers)


async def test_everything_arrives_once_and_in_order(room: PostRoom) -> None:
    """From the beginning of time on, each event arrives signed, once, in the order of its payout; folding gives the same state."""
    merchant = (await room.house.merchant()).merchant
    for verdicts in [(Settled("r"),), (Unknown("x"), Rejected("no")), (Accepted("r"), Settled("r"))]:
        await room.pay(merchant, *verdicts)
    receiver, _ = await room.receiver(merchant)
    room.courier()
    await room.pay(merchant)
    numbers = await room.all_of(merchant)
    await room.until(lambda: whole(receiver, numbers))
    assert sorted(receiver.numbers()) == numbers and receiver.in_order()
    assert fold(receiver.got) == fold([event_of(told) for told in await room.events(merchant)])
    assert set(room.told) == {"delivered"}


async def test_only_what_is_wanted(room: PostRoom) -> None:
    """An endpoint gets the types it asked for, after the number it asked for; one that named none gets what happens from then on."""
    merchant = (await room.house.merchant()).merchant
    await room.pay(merchant)
    paid, _ = await room.receiver(merchant, types=["payout.paid", "top_up"], since=1)
    payouts, _ = await room.receiver(merchant, types=["payout.*"])
    fresh, _ = await room.receiver(merchant, since=None)
    added = (await room.all_of(merchant))[-1]  # that it was added is the first that it hears of
    room.courier()
    await room.pay(merchant)
    await room.house.top_up(merchant, "1.00")
    told = await room.events(merchant)
    await room.until(lambda: len(fresh.got) == len(told) - added + 1 and len(paid.got) == 3)
    await room.until(lambda: len(payouts.got) == len([one for one in told if one.kind.startswith("payout.")]))
    assert {event.type for event in paid.got} == {"payout.paid", "top_up"} and min(paid.numbers()) > 1
    assert {event.type for event in payouts.got} == {"payout.queued", "payout.in_flight", "payout.paid"}
    assert fresh.got[0].type == "webhook.added" and sorted(fresh.numbers()) == list(range(added, len(told) + 1))


EVIL = [
    ("hangs", hangs), ("closes", closes), ("301", answers(301, "Location: http://127.0.0.1:1/")), ("500", answers(500)),
    ("429", answers(429, "Retry-After: 30")),
]  # fmt: skip


async def test_evil_receivers_delay_nobody(room: PostRoom) -> None:
    """While others hang, close, redirect, fail, flood or ask for patience, a good receiver has everything at once; later so have they."""
    house, good = room.house, (await room.house.merchant()).merchant
    receiver, _ = await room.receiver(good)
    evil: list[tuple[Receiver, list[int]]] = []
    for name, behaviour in [*EVIL, ("flood", floods)]:
        merchant = (await house.merchant(f"{name}@example.com")).merchant
        one, _ = await room.receiver(merchant)
        one.behaviour = behaviour
        await room.pay(merchant)
        await room.pay(merchant)
        evil.append((one, await room.all_of(merchant)))
    room.courier()
    for _ in range(5):
        await room.pay(good)
    began = room.clock.monotonic()
    numbers = await room.all_of(good)
    await room.until(lambda: whole(receiver, numbers))
    assert room.clock.monotonic() - began < 15, "it waited for somebody's deadline"
    flood, expected = evil[-1]
    await room.until(lambda: whole(flood, expected))
    assert flood.in_order() and len(flood.seen) == len(expected), "what was taken came again"
    await room.until(lambda: all(len(one.seen) >= 3 for one, _ in evil))
    assert all(one.got == [] for one, _ in evil[:-1])
    for one, _ in evil:
        one.behaviour = takes
    await room.until(lambda: all(whole(one, expected) for one, expected in evil), step_s=0.5)
    for one, _ in evil:
        assert one.in_order()
        assert len(set(one.ids)) == len({event.number for event in one.seen}), "an id changed over tries"


async def test_more_hang_than_there_are_places(room: PostRoom) -> None:
    """Receivers that hang hold no place that another needs: with twice as many of them as places, a good one has everything in seconds."""
    for n in range(4):
        one, _ = await room.receiver((await room.house.merchant(f"hangs{n}@example.com")).merchant)
        one.behaviour = hangs
    room.courier(limits=CourierLimits(together=2, gather_s=0.02))
    await room.until(lambda: sum(len(one.seen) for one in room.receivers) >= 2)
    good = (await room.house.merchant()).merchant
    receiver, _ = await room.receiver(good)
    began = room.clock.monotonic()
    await room.pay(good)
    numbers = await room.all_of(good)
    await room.until(lambda: whole(receiver, numbers))
    assert room.clock.monotonic() - began < DEFAULT_LIMITS.call_s / 2
    await room.until(lambda: all(one.seen for one in room.receivers))


async def test_a_payout_waits_for_its_own_alone(room: PostRoom) -> None:
    """While one payout's event is tried again, others go past it, and what comes of the same payout waits behind it."""
    merchant = (await room.house.merchant()).merchant
    receiver, _ = await room.receiver(merchant)
    first = await room.pay(merchant)
    refused: list[int] = []

    async def picky(event: Event, writer: asyncio.StreamWriter) -> bool:
        if event.payout is not None and event.payout.id == first.payout_id and len(refused) < 2:
            refused.append(event.number)
            return await answers(500)(event, writer)
        return await takes(event, writer)

    receiver.behaviour = picky
    room.courier()
    for _ in range(4):
        await room.pay(merchant)
    numbers = await room.all_of(merchant)
    mine = [one.number for one in await room.events(merchant) if one.payout_id == first.payout_id]
    others = [number for number in numbers if number not in mine]
    await room.until(lambda: whole(receiver, others))
    assert refused == mine[:1] and not set(receiver.numbers()) & set(mine)
    await room.until(lambda: whole(receiver, numbers))
    assert refused == [mine[0]] * 2
    assert [number for number in receiver.numbers() if number in mine] == mine
    await room.stop(next(iter(room.couriers)))
    assert await room.rows("SELECT 1 FROM webhook_late") == []


async def test_gone_means_gone(room: PostRoom) -> None:
    """A 410 disables the endpoint, which is told in an event and an alert; resumed, it misses nothing."""
    merchant = (await room.house.merchant()).merchant
    receiver, webhook = await room.receiver(merchant)
    receiver.behaviour = answers(410)
    room.courier()
    await room.until(lambda: bool(room.alerts))
    ((stored, _),) = await list_webhooks(room.house.desk, merchant)
    assert (stored.state, stored.reason, room.alerts) == ("disabled", "gone", ["webhook_disabled"])
    (told,) = [one for one in await room.events(merchant) if one.kind == "webhook.disabled"]
    assert (told.detail, told.actor) == (str(webhook), "worker:courier-1")
    seen = len(receiver.seen)
    await room.pay(merchant)
    for _ in range(40):
        await room.pass_time(1.0)
    assert len(receiver.seen) == seen
    receiver.behaviour = takes
    await resume_webhook(room.house.desk, merchant, webhook, actor="operator:1")
    numbers = await room.all_of(merchant)
    await room.until(lambda: whole(receiver, numbers))
    assert receiver.in_order()


async def test_after_three_days_it_is_paused_and_nothing_dropped(room: PostRoom) -> None:
    """An endpoint that takes nothing for three days is tried ever more rarely, then paused with an alert; resumed, it gets it all."""
    merchant = (await room.house.merchant()).merchant
    receiver, webhook = await room.receiver(merchant)
    receiver.behaviour = answers(503)
    await room.pay(merchant)
    room.courier(limits=CourierLimits(poll_s=60, gather_s=10, claim_s=60, lease_s=3600))
    began = room.clock.now()
    await room.until(lambda: bool(room.alerts), step_s=300.0)
    assert timedelta(days=3) <= room.clock.now() - began < timedelta(days=4)
    assert 10 < len(receiver.seen) < 900
    ((stored, behind),) = await list_webhooks(room.house.desk, merchant)
    assert (stored.state, stored.reason) == ("paused", "undelivered_for_3_days")
    assert stored.last_answer in ("503", "no answer in time")  # time leaps here, perhaps past a try's deadline
    assert behind.late > 0 and room.alerts == ["webhook_paused"]
    receiver.behaviour = takes
    await resume_webhook(room.house.desk, merchant, webhook, actor="operator:1")
    numbers = await room.all_of(merchant)
    await room.until(lambda: whole(receiver, numbers), step_s=5.0)
    assert receiver.in_order()
    assert [one.actor for one in await room.events(merchant) if one.kind == "webhook.resumed"] == ["operator:1"]


async def test_too_many_requests_is_heeded(room: PostRoom) -> None:
    """A receiver that asks for thirty seconds is left alone for thirty seconds, all its payouts."""
    merchant = (await room.house.merchant()).merchant
    receiver, _ = await room.receiver(merchant)
    receiver.behaviour = answers(429, "Retry-After: 30")
    for _ in range(3):
        await room.pay(merchant)
    room.courier()
    await room.until(lambda: len(receiver.seen) >= 1)
    seen, asked_at = len(receiver.seen), room.clock.monotonic()
    assert seen == 1
    receiver.behaviour = takes
    await room.until(lambda: bool(receiver.got))
    assert room.clock.monotonic() - asked_at > 28
    numbers = await room.all_of(merchant)
    await room.until(lambda: whole(receiver, numbers))


async def test_secrets_are_changed_without_a_gap(room: PostRoom) -> None:
    """After a rotation both secrets sign until the old one ends; then the new one alone. Who knows either believes each message."""
    merchant = (await room.house.merchant()).merchant
    receiver, webhook = await room.receiver(merchant)
    room.courier()
    await room.until(lambda: bool(receiver.got))
    assert len(receiver.tries[-1].split(" ")) == 1
    fresh = await rotate_secret(room.house.desk, merchant, webhook, overlap=timedelta(hours=1), actor="operator:1")
    numbers = await room.all_of(merchant)
    await room.until(lambda: whole(receiver, numbers))
    assert len(receiver.tries[-1].split(" ")) == 2 and "whsec_" not in repr(fresh)
    receiver.keys[:] = [read_secret(fresh.secret)]
    await room.pay(merchant)
    numbers = await room.all_of(merchant)
    await room.until(lambda: whole(receiver, numbers))
    await room.pass_time(3700)
    await room.pay(merchant)
    numbers = await room.all_of(merchant)
    await room.until(lambda: whole(receiver, numbers))
    assert len(receiver.tries[-1].split(" ")) == 1


async def test_pause_and_resume_and_remove(room: PostRoom) -> None:
    """Paused by a person, nothing comes; resumed, what happened meanwhile does; removed, nothing is left of it."""
    merchant = (await room.house.merchant()).merchant
    receiver, webhook = await room.receiver(merchant)
    desk, _ = room.house.desk, room.courier()
    numbers = await room.all_of(merchant)
    await room.until(lambda: whole(receiver, numbers))
    await pause_webhook(desk, merchant, webhook, actor="operator:1")
    for _ in range(40):
        await room.pass_time(0.1)
    seen = len(receiver.seen)
    await room.pay(merchant)
    for _ in range(100):
        await room.pass_time(0.1)
    assert len(receiver.seen) == seen
    await resume_webhook(desk, merchant, webhook, actor="operator:1")
    numbers = await room.all_of(merchant)
    await room.until(lambda: whole(receiver, numbers))
    receiver.behaviour = answers(500)
    await room.pay(merchant)
    await room.until(lambda: len(receiver.seen) > len(receiver.got) + 1)
    await remove_webhook(desk, merchant, webhook, actor="operator:1")
    for _ in range(100):
        await room.pass_time(0.1)
    assert await room.rows("SELECT 1 FROM webhooks UNION ALL SELECT 1 FROM webhook_late") == []
    kinds = [one.kind for one in await room.events(merchant) if one.kind.startswith("webhook.")]
    assert kinds == ["webhook.added", "webhook.paused", "webhook.resumed", "webhook.removed"]


async def test_a_range_is_sent_once_more(room: PostRoom) -> None:
    """Asked for once more, exactly that range comes again, with the same ids, in order, beside what is new."""
    merchant = (await room.house.merchant()).merchant
    receiver, webhook = await room.receiver(merchant)
    room.courier()
    for _ in range(4):
        await room.pay(merchant)
    numbers = await room.all_of(merchant)
    await room.until(lambda: whole(receiver, numbers))
    before, ids = len(receiver.got), dict(zip([event.number for event in receiver.seen], receiver.ids, strict=True))
    await resend_events(room.house.desk, merchant, webhook, 3, 8, actor="operator:1")
    await room.pay(merchant)
    numbers = await room.all_of(merchant)
    await room.until(lambda: whole(receiver, numbers) and len(receiver.got) >= before + 6 + 4)
    again = [event.number for event in receiver.got[before:] if event.number in ids]
    assert sorted(again) == [3, 4, 5, 6, 7, 8]
    assert all(ids.get(event.number, event.id) == event.id for event in receiver.got)
    await room.stop(next(iter(room.couriers)))
    ((stored, _),) = await list_webhooks(room.house.desk, merchant)
    assert (stored.resend_next, stored.resend_to, stored.done_to) == (None, None, numbers[-1])


# --- couriers that die -------------------------------------------------------------------------------------------


async def test_a_courier_killed_between_post_and_record(room: PostRoom) -> None:
    """What was posted and not recorded comes again, with the same id and the same bytes; nothing is lost."""
    merchant = (await room.house.merchant()).merchant
    receiver, _ = await room.receiver(merchant)
    await room.pay(merchant)
    numbers = await room.all_of(merchant)
    holding = asyncio.Event()

    async def holds(event: Event, writer: asyncio.StreamWriter) -> bool:
        receiver.got.append(event)
        await holding.wait()  # the message was taken, and the answer is not heard any more
        return False

    receiver.behaviour = holds
    first = room.courier()
    await room.until(lambda: bool(receiver.got))
    await room.kill(first)
    holding.set()
    receiver.behaviour = takes
    room.courier("courier-2")
    for _ in range(20):
        await room.pass_time(0.05)
    assert len(receiver.seen) == 1, "the lease had not run out yet"
    await room.lapse()
    await room.until(lambda: whole(receiver, numbers))
    assert receiver.numbers().count(numbers[0]) == 2
    same = [event for event in receiver.seen if event.number == numbers[0]]
    assert same[0] == same[1] and receiver.ids[0] == receiver.ids[1]
    assert receiver.in_order()


async def seen(room: PostRoom, courier: str) -> None:
    """A process of this name says that it lives: one desk beats for one worker alone."""
    await room.rows(
        """INSERT INTO workers (worker_id, seen_at) VALUES ($1, clock_timestamp())
           ON CONFLICT (worker_id) DO UPDATE SET seen_at = excluded.seen_at RETURNING 1""",
        courier,
    )


async def test_two_couriers_share_the_work(room: PostRoom) -> None:
    """Two couriers hold about half of the endpoints each; one dies, and the other brings everything that is left."""
    house = room.house
    merchants = [(await house.merchant(f"m{n}@example.com")).merchant for n in range(8)]
    receivers = [(await room.receiver(merchant))[0] for merchant in merchants]
    for name in ("courier-1", "courier-2"):
        await seen(room, name)
    first, second = room.courier("courier-1"), room.courier("courier-2")

    async def holders() -> dict[str, int]:
        rows = await room.rows("SELECT owner, count(*) FROM webhooks WHERE owner IS NOT NULL GROUP BY owner")
        return {row[0]: row[1] for row in rows}

    await room.until(lambda: all(receiver.got for receiver in receivers))
    assert await holders() == {"courier-1": 4, "courier-2": 4}
    for merchant in merchants:
        await room.pay(merchant)
    await room.pass_time(0.05)
    await room.kill(first)
    for merchant in merchants:
        await room.pay(merchant)
    await room.lapse()
    await room.rows("UPDATE workers SET seen_at = seen_at - interval '11 s' RETURNING 1")  # nobody has seen the dead one for a while
    await seen(room, "courier-2")
    expected = [await room.all_of(merchant) for merchant in merchants]
    pairs = list(zip(receivers, expected, strict=True))
    await room.until(lambda: all(whole(receiver, numbers) for receiver, numbers in pairs))
    assert all(receiver.in_order() for receiver in receivers)
    await room.stop(second)
    assert await holders() == {}


async def test_whoever_lost_its_lease_records_nothing(room: PostRoom) -> None:
    """A courier that was overtaken while it posted cannot move the endpoint's progress, and lets go of it."""
    merchant = (await room.house.merchant()).merchant
    receiver, _ = await room.receiver(merchant)
    holding = asyncio.Event()

    async def holds(event: Event, writer: asyncio.StreamWriter) -> bool:
        await holding.wait()
        return await takes(event, writer)

    receiver.behaviour = holds
    old = room.courier("courier-1")
    await room.until(lambda: bool(receiver.seen))
    await room.rows("UPDATE webhooks SET owner = 'courier-9', epoch = epoch + 1 RETURNING 1")
    before = await room.rows("SELECT done_to, owner, epoch FROM webhooks")
    holding.set()
    await room.until(lambda: bool(receiver.got))
    for _ in range(20):
        await room.pass_time(0.05)
    assert await room.rows("SELECT done_to, owner, epoch FROM webhooks") == before
    seen = len(receiver.seen)
    await room.pay(merchant)
    for _ in range(20):
        await room.pass_time(0.05)
    assert len(receiver.seen) == seen
    await room.stop(old)
    assert await room.rows("SELECT done_to, owner, epoch FROM webhooks") == before
