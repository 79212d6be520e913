"""A payout with a time is sent at its time by the database's clock: never early, never twice. One that lacked money is executed once there is some."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from disburse.domain.calendar import Calendar, Calendars
from disburse.domain.money import Money
from disburse.domain.outcomes import Settled
from disburse.domain.payout import Payout
from disburse.operations import merchants, timely
from disburse.operations.merchants import TopUp
from disburse.operations.payouts import Act, Found
from disburse.storage import schedules
from tests.operations.ruled import limit, rule
from tests.operations.shop import Shop

DAY = timedelta(days=1)


async def scheduled(shop: Shop, merchant: int, reference: str, after: timedelta, amount: int = 1000) -> Payout:
    """A payout that is to be sent so long after the database's now."""
    at = await shop.database_now() + after
    found = (await shop.create(replace(shop.draft(merchant, reference, amount), execute_at=at)))[0]
    assert isinstance(found, Found)
    return found.payout


async def fall_due(shop: Shop, *acts: Act) -> int:
    return await shop.database.run(lambda tx: timely.fall_due(tx, shop.shard, acts))


async def found(shop: Shop) -> list[Any]:
    """The payouts that a timekeeper would find now."""
    now = await shop.database_now()
    return [row[0] for row in await shop.database.run(lambda tx: schedules.due(tx, shop.shard, now, 500))]


async def its_time_has_come(shop: Shop, payout: Payout) -> None:
    """Let the payout have been meant for a second ago."""
    await shop.rows(
        """UPDATE schedules SET execute_at = clock_timestamp() - interval '1 s', look_at = clock_timestamp() - interval '1 s'
           WHERE payout_id = $1 RETURNING 1""",
        payout.payout_id,
    )  # fmt: skip


async def test_never_early_never_twice(shop: Shop) -> None:
    """A worker whose clock is ten days ahead sends nothing early, one ten days behind sends in time, and many at once send once."""
    merchant = await shop.merchant(1, 10_000)
    payout = await scheduled(shop, merchant, "w", DAY)
    assert (payout.state, await shop.balances(merchant)) == ("scheduled", {"available": 9000, "held": 1000, "funding": -10_000})
    assert await shop.attempts(payout) == [] and await found(shop) == []
    for jump in (10 * DAY, -10 * DAY):
        assert await fall_due(shop, shop.act(payout, at=shop.now() + jump)) == 0
        assert (await shop.read(payout)).state == "scheduled"
    await its_time_has_come(shop, payout)
    assert await found(shop) == [payout.payout_id]
    acts = [shop.act(payout, at=shop.now() + n * DAY) for n in (-10, 0, 10)] * 3
    assert sorted(await asyncio.gather(*[fall_due(shop, act) for act in acts])) == [0] * 8 + [1]
    assert await shop.attempts(payout) == ["due"] and await found(shop) == []
    assert [one[0] for one in await shop.due()] == [payout.payout_id], "the wrong clocks of workers did not put it off"
    await shop.hear_of(await shop.opened(payout), Settled("p"))
    assert await fall_due(shop, *acts) == 0
    assert await shop.events(merchant) == ["payout.scheduled", "payout.queued", "payout.in_flight", "payout.paid"]


async def test_the_databases_clock_goes_back(shop: Shop) -> None:
    """A payout that was sent at its time is not sent again when the database's clock stands before that time once more."""
    merchant = await shop.merchant(1, 10_000)
    payout = await scheduled(shop, merchant, "w", DAY)
    await its_time_has_come(shop, payout)
    assert await fall_due(shop, shop.act(payout)) == 1
    await shop.rows("UPDATE schedules SET execute_at = execute_at + interval '1 day', look_at = look_at + interval '1 day' RETURNING 1")
    assert await fall_due(shop, shop.act(payout)) == 0
    await its_time_has_come(shop, payout)
    assert await fall_due(shop, shop.act(payout)) == 0 and await found(shop) == []
    assert await shop.attempts(payout) == ["due"]


async def test_executed_later(shop: Shop) -> None:
    """A time that was given when it was created holds when it is executed; one that has passed by then is now."""
    merchant = await shop.merchant(1, 10_000)
    at = await shop.database_now() + DAY
    created = (await shop.create(replace(shop.draft(merchant, "w", execute=False), execute_at=at)))[0].payout
    assert (await shop.execute(shop.act(created)))[0].state == "scheduled"
    assert (await shop.read(created)).execute_at == at
    passed = (await shop.create(replace(shop.draft(merchant, "v", execute=False), execute_at=at - 2 * DAY)))[0].payout
    assert await found(shop) == [passed.payout_id]
    assert await fall_due(shop, shop.act(passed)) == 0 and await found(shop) == [], "its time came while nobody had executed it"
    assert (await shop.execute(shop.act(passed)))[0].state == "scheduled"
    assert await found(shop) == [passed.payout_id] and await fall_due(shop, shop.act(passed)) == 1
    assert (await shop.read(passed)).state == "queued"


async def test_cancelled_before_its_time(shop: Shop) -> None:
    """What is scheduled can be cancelled; its money goes back, and its time changes nothing any more."""
    merchant = await shop.merchant(1, 10_000)
    payout = await scheduled(shop, merchant, "w", DAY)
    assert (await shop.cancel(shop.act(payout)))[0].state == "cancelled"
    await its_time_has_come(shop, payout)
    assert await fall_due(shop, shop.act(payout)) == 0 and await found(shop) == []
    assert await shop.balances(merchant) == {"available": 10_000, "funding": -10_000}


MOSCOW = Calendar(ZoneInfo("Europe/Moscow"), frozenset(range(5)), time(9), time(20), frozenset({date(2026, 11, 23)}))


@pytest.mark.parametrize(
    ("at", "opens"),
    [
        ("2026-11-20T15:00", "2026-11-20T15:00"),  # Friday
        ("2026-11-20T16:59:59", "2026-11-20T16:59:59"),
        ("2026-11-20T17:00", "2026-11-24T06:00"),  # the cut-off itself; Monday is a holiday
        ("2026-11-22T12:00", "2026-11-24T06:00"),
        ("2026-11-24T05:59", "2026-11-24T06:00"),
    ],
)
def test_hours(at: str, opens: str) -> None:
    """A rail is closed from its cut-off on, on free days and on holidays, and opens at the next business day's hour, by its own clock."""
    moment = datetime.fromisoformat(at).replace(tzinfo=UTC)
    assert MOSCOW.next_open(moment) == datetime.fromisoformat(opens).replace(tzinfo=UTC)


async def test_closed_rails(shop: Shop) -> None:
    """Executed while its rail is closed a payout waits for the opening; closed again when its time comes, it waits once more."""
    merchant = await shop.merchant(1, 10_000)
    closed = Calendars({"card": Calendar(days=frozenset({(shop.now() + 3 * DAY).weekday()}))})
    created = (await shop.create(shop.draft(merchant, "w", execute=False)))[0].payout
    act = replace(shop.act(created), calendars=closed)
    executed = (await shop.execute(act))[0]
    assert (executed.state, executed.execute_at.date()) == ("scheduled", (shop.now() + 3 * DAY).date())
    await its_time_has_come(shop, created)
    assert await fall_due(shop, act) == 0 and await found(shop) == []
    assert (await shop.read(created)).state == "scheduled"
    by_phone = (await shop.create(shop.draft(merchant, "v", execute=False, rail="sbp")))[0].payout
    assert (await shop.execute(replace(shop.act(by_phone), calendars=closed)))[0].state == "queued"


# --- money that was lacking ----------------------------------------------------------------------------------------------


async def lacking(shop: Shop, merchant: int, *amounts: int) -> list[Payout]:
    """Payouts that were executed without money."""
    made = [(await shop.create(shop.draft(merchant, f"w{n}", amount, execute=False)))[0].payout for n, amount in enumerate(amounts)]
    assert [one.state for one in await shop.execute(*[shop.act(one) for one in made])] == ["unfunded"] * len(made)
    return made


async def spend(shop: Shop, off: timedelta = timedelta()) -> int:
    """What a timekeeper does about money. `off`: how wrong its own clock is."""
    now = await shop.database_now()
    rows = await shop.database.run(lambda tx: schedules.fundable(tx, shop.shard, now, 500))
    acts = [Act(payout, merchant, shop.now() + off, "worker:test") for payout, merchant, _ in rows]
    return await shop.database.run(lambda tx: timely.execute_waiting(tx, shop.shard, acts))


async def top_up(shop: Shop, merchant: int, minor: int) -> None:
    command = TopUp(shop.new_id(), merchant, str(shop.new_id()), Money(minor, "RUB"), shop.now(), "test")
    assert await shop.database.run(lambda tx: merchants.top_up(tx, shop.shard, [command])) == [True]


async def test_after_a_top_up(shop: Shop) -> None:
    """The oldest goes first; what the money does not cover is passed over and waits for more; each goes once, however many look."""
    merchant = await shop.merchant(1, 1)
    await rule(shop, merchant, spend=True)
    first, large, third = await lacking(shop, merchant, 1000, 5000, 700)
    assert await spend(shop) == 0
    await top_up(shop, merchant, 2000)
    assert sum(await asyncio.gather(*[spend(shop) for _ in range(5)])) == 2
    assert [(await shop.read(one)).state for one in (first, large, third)] == ["queued", "unfunded", "queued"]
    assert await spend(shop) == 0
    await top_up(shop, merchant, 5000)
    assert await spend(shop) == 1
    assert [tuple(row) for row in await shop.rows("SELECT * FROM unfunded")] == []
    assert (await shop.events(merchant)).count("payout.queued") == 3


async def test_a_worker_whose_clock_is_wrong(shop: Shop) -> None:
    """A timekeeper whose own clock is ten years off executes all the same, and what it executes counts for today."""
    merchant = await shop.merchant(1)
    await rule(shop, merchant, limits=[limit("day:RUB", 1500)], spend=True)
    ahead, behind, beyond = await lacking(shop, merchant, 1000, 500, 400)
    await top_up(shop, merchant, 1000)
    assert await spend(shop, 3650 * DAY) == 1
    await top_up(shop, merchant, 5000)
    assert await spend(shop, -3650 * DAY) == 1
    assert [(await shop.read(one)).state for one in (ahead, behind, beyond)] == ["queued", "queued", "unfunded"]
    (row,) = await shop.rows("SELECT starts_on, payouts FROM limit_counters WHERE period = 'day' AND scope = ''")
    assert tuple(row) == ((await shop.database_now()).astimezone(UTC).date(), 2)


async def test_a_door_whose_clock_was_ahead(shop: Shop) -> None:
    """What was executed in vain by a door whose clock is ahead goes as soon as there is money, not when that clock's time has come."""
    merchant = await shop.merchant(1)
    await rule(shop, merchant, spend=True)
    payout = (await shop.create(shop.draft(merchant, "w", 1000, execute=False)))[0].payout
    assert (await shop.execute(shop.act(payout, at=shop.now() + timedelta(minutes=13))))[0].state == "unfunded"
    await top_up(shop, merchant, 1000)
    now = await shop.database_now()
    assert await shop.run(lambda tx: schedules.fundable(tx, shop.shard, now, 500)) == [(payout.payout_id, merchant, payout.number)]


async def test_only_who_asked_for_it(shop: Shop) -> None:
    """Without the merchant's wish nothing is executed by itself; executed by hand, cancelled or expired, a payout leaves the list."""
    merchant = await shop.merchant(1)
    await rule(shop, merchant)
    by_hand, cancelled, expired, stays = await lacking(shop, merchant, 100, 200, 300, 400)
    await top_up(shop, merchant, 10_000)
    assert await spend(shop) == 0
    await shop.execute(shop.act(by_hand))
    await shop.cancel(shop.act(cancelled))
    shop.off = 2 * DAY
    await shop.expire(shop.act(expired))
    assert [row[0] for row in await shop.rows("SELECT payout_id FROM unfunded")] == [stays.payout_id]


async def test_a_limit_stands_in_the_way(shop: Shop) -> None:
    """Where a limit leaves no room, money does not help: it waits, and is looked at again a minute later, not all the time."""
    merchant = await shop.merchant(1)
    payouts_made = await lacking(shop, merchant, 1000, 100)
    await rule(shop, merchant, limits=[limit("payout:RUB", 500)], spend=True)
    await top_up(shop, merchant, 10_000)
    assert await spend(shop) == 1
    assert [(await shop.read(one)).state for one in payouts_made] == ["unfunded", "queued"]
    now = await shop.database_now()
    assert await shop.database.run(lambda tx: schedules.fundable(tx, shop.shard, now, 500)) == []
