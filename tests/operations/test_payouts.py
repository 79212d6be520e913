"""Create, execute, cancel and expire, on real PostgreSQL: who gets a payout, where the money lies, what is never done twice."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from disburse.domain.payout import PayoutState, WrongState
from disburse.operations import payouts
from disburse.operations.group_commit import GroupCommit
from disburse.operations.payouts import Found, InsufficientFunds, NoSuchMerchant, NoSuchPayout
from disburse.storage import payouts as stored
from tests.operations.shop import Shop

NEAR = timedelta(seconds=20)  # between two moments of one test on a slow machine


async def test_a_payout_is_made_held_and_told_in_one_go(shop: Shop) -> None:
    """Creating with execute queues the payout, holds amount and fee, makes an attempt due and tells one event."""
    await shop.merchant(1, money=5000)
    found = (await shop.create(shop.draft(1, "wage-1", 1000, fee=30)))[0]
    assert found.fresh and found.payout.state is PayoutState.QUEUED and found.available_minor == 3970
    assert await shop.balances(1) == {"available": 3970, "funding": -5000, "held": 1030}
    assert await shop.attempts(found.payout) == ["due"]
    assert await shop.events(1) == ["payout.queued"]


async def test_a_reference_makes_one_payout_for_ever(shop: Shop) -> None:
    """A known reference comes back as it stands, whatever else is sent; other content is told once for each content."""
    await shop.merchant(1, money=5000)
    first = (await shop.create(shop.draft(1, "r", 1000)))[0]
    again = (await shop.create(shop.draft(1, "r", 1000)))[0]
    other = await shop.create(shop.draft(1, "r", 2000), shop.draft(1, "r", 2000), shop.draft(1, "r", 3000))
    assert [found.fresh for found in (first, again, *other)] == [True, False, False, False, False]
    assert again.same_content and not any(found.same_content for found in other)
    assert {found.payout.payout_id for found in (again, *other)} == {first.payout.payout_id}
    await shop.create(shop.draft(1, "r", 3000))
    assert await shop.events(1) == ["payout.queued", *["payout.reference_mismatch"] * 2]
    assert await shop.balances(1) == {"available": 4000, "funding": -5000, "held": 1000}


async def test_the_reference_is_looked_up_before_the_balance(shop: Shop) -> None:
    """A repeat is answered with its payout although nothing is left to pay it with (C5)."""
    await shop.merchant(1, money=1000)
    await shop.create(shop.draft(1, "r", 1000))
    refused, known = await shop.create(shop.draft(1, "s", 1000), shop.draft(1, "r", 1000))
    assert isinstance(refused, InsufficientFunds) and isinstance(known, Found) and not known.fresh


async def test_a_refusal_does_not_burn_the_reference(shop: Shop) -> None:
    """What was refused for want of money may be asked again under the same reference once money is there."""
    await shop.merchant(1, money=100)
    assert isinstance((await shop.create(shop.draft(1, "r", 1000)))[0], InsufficientFunds)
    assert await shop.events(1) == []
    await shop.merchant(2)
    assert (await shop.create(shop.draft(1, "r", 100)))[0].fresh


@pytest.mark.parametrize("execute", [True, False])
async def test_the_largest_amount_with_a_fee_is_refused_like_any_other(shop: Shop, execute: bool) -> None:
    """An amount that with its fee is more than money can be is not covered by any balance: a refusal, no fault of ours."""
    await shop.merchant(1, money=5000)
    answer = (await shop.create(shop.draft(1, "r", 10**15, fee=10**13, execute=execute)))[0]
    if not execute:
        answer = (await shop.execute(shop.act(answer.payout)))[0]
        assert answer.state is PayoutState.UNFUNDED
    else:
        assert isinstance(answer, InsufficientFunds)
        assert (answer.needed.minor, answer.available.minor) == (10**15, 5000)


async def test_surfaces_and_merchants_do_not_share_references(shop: Shop) -> None:
    """The same text is another reference on another surface and at another merchant."""
    await shop.merchant(1, money=5000)
    await shop.merchant(2, money=5000)
    made = await shop.create(shop.draft(1, "r"), shop.draft(2, "r"), shop.draft(1, "r", surface="own"))
    assert [found.fresh for found in made] == [True, True, True]


async def test_who_never_had_money_has_nothing_left(shop: Shop) -> None:
    """What a merchant can still spend is told truly where no account of it was ever touched, alone and beside an execute."""
    await shop.merchant(1)
    await shop.merchant(2, money=5000)
    alone = await shop.create(shop.draft(1, None, execute=False))
    mixed = await shop.create(shop.draft(1, None, execute=False), shop.draft(2, "r"), shop.draft(2, None, execute=False))
    assert [found.available_minor for found in alone + mixed] == [0, 0, 4000, 4000]


async def test_one_batch_serves_all_kinds_at_once(shop: Shop) -> None:
    """Commands of one batch succeed, fold and are refused independently; the last money is spent once."""
    await shop.merchant(1, money=2500)
    results = await shop.create(
        shop.draft(1, "a"), shop.draft(1, "a"), shop.draft(1, "b"), shop.draft(1, "c"), shop.draft(9, "d")
    )
    assert [type(result) for result in results] == [Found, Found, Found, InsufficientFunds, NoSuchMerchant]
    assert [result.fresh for result in results[:3]] == [True, False, True]


async def test_fifty_simultaneous_calls_of_one_reference(shop: Shop) -> None:
    """Fifty racing commands of one reference make one payout and give fifty answers with it."""
    await shop.merchant(1, money=100_000)
    queue = GroupCommit(shop.database, payouts.create, shop.world.clock, largest=7, writers=4)
    answers = await asyncio.gather(*[queue.submit(0, shop.draft(1, "same")) for _ in range(50)])
    found = [answer for answer in answers if isinstance(answer, Found)]
    assert len(found) == 50 and sum(answer.fresh for answer in found) == 1
    assert len({answer.payout.payout_id for answer in found}) == 1
    assert (await shop.balances(1))["held"] == 1000


async def test_fifty_references_race_for_the_last_money(shop: Shop) -> None:
    """However many race, no more is promised than is there."""
    await shop.merchant(1, money=10_500)
    queue = GroupCommit(shop.database, payouts.create, shop.world.clock, largest=3, writers=4)
    answers = await asyncio.gather(*[queue.submit(0, shop.draft(1, f"r{n}")) for n in range(50)])
    assert sum(isinstance(answer, Found) for answer in answers) == 10
    assert await shop.balances(1) == {"available": 500, "funding": -10_500, "held": 10_000}


async def test_an_unknown_commit_is_run_again_and_is_ours(shop: Shop) -> None:
    """The same commands run twice make one payout, and the second run still calls it fresh."""
    await shop.merchant(1, money=5000)
    commands = [shop.draft(1, "r"), shop.draft(1, None, execute=False)]
    first, second = await shop.create(*commands), await shop.create(*commands)
    assert [found.fresh for found in first + second] == [True] * 4
    assert [found.payout.payout_id for found in first] == [found.payout.payout_id for found in second]
    assert len(await shop.rows("SELECT 1 FROM payouts")) == 2


async def test_execute_holds_once(shop: Shop) -> None:
    """A created payout holds nothing; executing queues it; executing again changes nothing."""
    await shop.merchant(1, money=5000)
    payout = (await shop.create(shop.draft(1, None, execute=False, fee=5)))[0].payout
    assert payout.state is PayoutState.CREATED and await shop.balances(1) == {"available": 5000, "funding": -5000}
    twice = await shop.execute(shop.act(payout), shop.act(payout))
    once_more = await shop.execute(shop.act(payout))
    assert {result.state for result in twice + once_more} == {PayoutState.QUEUED}
    assert (await shop.balances(1))["held"] == 1005


async def test_execute_without_money_may_be_asked_again(shop: Shop) -> None:
    """Too little money leaves the payout unfunded, holds nothing, and prolongs its life; with money it goes."""
    await shop.merchant(1, money=400)
    await shop.merchant(2, money=5000)
    payout = (await shop.create(shop.draft(1, None, execute=False)))[0].payout
    shop.off = timedelta(hours=23)
    unfunded = (await shop.execute(shop.act(payout)))[0]
    assert unfunded.state is PayoutState.UNFUNDED and timedelta(hours=23) <= unfunded.expires_at - payout.expires_at < timedelta(hours=24)
    assert await shop.balances(1) == {"available": 400, "funding": -400}
    shop.off = timedelta(hours=46)
    assert (await shop.execute(shop.act(payout)))[0].state is PayoutState.UNFUNDED


async def test_execute_after_the_time_expires_the_payout(shop: Shop) -> None:
    """Execute itself expires a payout past its time, whether the sweeper came by or not."""
    await shop.merchant(1, money=5000)
    payout = (await shop.create(shop.draft(1, None, execute=False)))[0].payout
    shop.off = timedelta(hours=24)
    late = (await shop.execute(shop.act(payout)))[0]
    assert late.state is PayoutState.EXPIRED and late.finished_at is not None
    assert await shop.balances(1) == {"available": 5000, "funding": -5000}


async def test_somebody_elses_payout_is_no_payout(shop: Shop) -> None:
    """Another merchant's payout and none at all are the same answer, and nothing happens."""
    await shop.merchant(1, money=5000)
    await shop.merchant(2, money=5000)
    payout = (await shop.create(shop.draft(1, None, execute=False)))[0].payout
    answers = [
        (await shop.execute(shop.act(payout, merchant=2)))[0],
        (await shop.cancel(shop.act(payout, merchant=2)))[0],
        (await shop.expire(shop.act(payout, merchant=2)))[0],
    ]
    assert [type(answer) for answer in answers] == [NoSuchPayout] * 3
    assert (await shop.read(payout)).state is PayoutState.CREATED
    due = await shop.database.run(lambda tx: stored.to_expire(tx, 0, payout.expires_at, 10))
    assert due == [(payout.payout_id, 1)]  # the sweeper still finds it


async def test_cancel_gives_the_money_back(shop: Shop) -> None:
    """A queued payout can be cancelled until it is claimed; amount and fee come back and the attempt is over."""
    await shop.merchant(1, money=5000)
    payout = await shop.paid_out(1, fee=20)
    cancelled = (await shop.cancel(shop.act(payout)))[0]
    assert cancelled.state is PayoutState.CANCELLED
    assert await shop.balances(1) == {"available": 5000, "funding": -5000}
    assert await shop.attempts(payout) == ["not_sent"]
    assert await shop.claim(payout) is None
    assert (await shop.cancel(shop.act(payout)))[0].state is PayoutState.CANCELLED


async def test_cancel_is_too_late_after_the_claim(shop: Shop) -> None:
    """What may have left the house cannot be cancelled (E13)."""
    await shop.merchant(1, money=5000)
    payout = await shop.paid_out(1)
    await shop.opened(payout)
    assert isinstance((await shop.cancel(shop.act(payout)))[0], WrongState)
    assert (await shop.read(payout)).state is PayoutState.IN_FLIGHT


async def test_cancel_and_claim_race(shop: Shop) -> None:
    """Cancel and claim at the same moment: one of them wins, and the books agree with it."""
    await shop.merchant(1, money=100_000)
    for _ in range(15):
        payout = await shop.paid_out(1)
        cancelled, opened = await asyncio.gather(shop.cancel(shop.act(payout)), shop.claim(payout))
        state = (await shop.read(payout)).state
        assert (state is PayoutState.CANCELLED) == (opened is None) == (not isinstance(cancelled[0], WrongState))


async def test_the_sweeper_expires_what_nobody_executed(shop: Shop) -> None:
    """A late created payout expires and leaves the sweeper's list; one whose time was prolonged is visited later."""
    await shop.merchant(1)
    old = (await shop.create(shop.draft(1, None, execute=False)))[0].payout
    prolonged = (await shop.create(shop.draft(1, None, execute=False)))[0].payout
    shop.off = timedelta(hours=5)
    await shop.execute(shop.act(prolonged))
    shop.off = timedelta(hours=24)
    await shop.expire(*[shop.act(payout) for payout in (old, prolonged)])
    assert (await shop.read(old)).state is PayoutState.EXPIRED
    assert (await shop.read(prolonged)).state is PayoutState.UNFUNDED
    waiting = await shop.rows("SELECT payout_id, expires_at FROM expiries")
    assert [(row[0], row[1]) for row in waiting] == [(prolonged.payout_id, (await shop.read(prolonged)).expires_at)]


async def test_a_clock_that_is_behind_takes_no_time_away(shop: Shop) -> None:
    """Executed in vain by an older clock of the database it lives neither longer nor shorter: the sweeper comes when the payout says it will."""
    await shop.merchant(1)
    payout = (await shop.create(shop.draft(1, None, execute=False)))[0].payout
    shop.off = timedelta(minutes=-5)
    await shop.execute(shop.act(payout))
    assert (await shop.read(payout)).expires_at == payout.expires_at
    shop.off = timedelta(hours=24)
    await shop.expire(shop.act(payout))
    assert (await shop.read(payout)).state is PayoutState.EXPIRED


@pytest.mark.parametrize("off", [timedelta(minutes=13), timedelta(days=3650), timedelta(days=-3650)], ids=str)
async def test_nobodys_own_clock_lets_a_payout_expire(shop: Shop, off: timedelta) -> None:
    """Made, executed in vain, executed and swept by processes whose clocks are off: it lives for its day, and what is told of it is what is stored."""
    await shop.merchant(1, money=2500)
    drafts = [replace(shop.draft(1, name, amount, execute=False), at=shop.now() + off) for name, amount in (("a", 1000), ("b", 1000), ("c", 5000))]
    executed, swept, short = [found.payout for found in await shop.create(*drafts)]
    within = timedelta(hours=24)
    assert within - NEAR < swept.expires_at - await shop.database_now() <= within
    assert (await shop.read(swept)).expires_at == swept.expires_at
    assert [row[0] for row in await shop.rows("SELECT expires_at FROM expiries")] == [swept.expires_at] * 3
    assert (await shop.execute(shop.act(short, at=shop.now() + off)))[0].state is PayoutState.UNFUNDED
    lives = (await shop.read(short)).expires_at - await shop.database_now()
    assert within - NEAR < lives <= within
    assert (await shop.execute(shop.act(executed, at=shop.now() + off)))[0].state is PayoutState.QUEUED
    assert [one.state for one in await shop.expire(*[shop.act(one, at=shop.now() + off) for one in (swept, short)])] == ["created", "unfunded"]


@pytest.mark.parametrize("count", [1, 500])
async def test_numbers_have_no_gaps(shop: Shop, count: int) -> None:
    """Payout, posting and event numbers of a merchant count from one without a gap, refusals in between or not."""
    await shop.merchant(1, money=count * 1000)
    await shop.create(*[shop.draft(1, f"r{n}", 1000 if n % 2 else 10**9) for n in range(count)])
    await shop.create(*[shop.draft(1, f"r{n}", 1000) for n in range(count)])
    for table in ("payouts", "postings", "events"):
        numbers = [row[0] for row in await shop.rows(f"SELECT number FROM {table} ORDER BY 1")]
        assert numbers == list(range(1, len(numbers) + 1)), table
