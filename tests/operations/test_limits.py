"""Limits hold whatever way and however many at once payouts are made; what gave its money back gives its use back."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from disburse.domain.limits import Limit, LimitReached
from disburse.domain.outcomes import Rejected, Settled, Unknown
from disburse.operations import keyed, payouts
from disburse.operations.keyed import CreateOnce, Remembered, RequestName
from disburse.operations.payouts import Found, InsufficientFunds
from tests.operations.ruled import limit, rule, used
from tests.operations.shop import Shop

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def text(result: Any) -> str:
    assert isinstance(result, LimitReached), result
    return str(result)


@pytest.mark.parametrize(
    ("limits", "refused", "says"),
    [
        ([limit("payout:RUB", 1500)], [2000], "At most 15.00 RUB one payout may be paid; 15.00 RUB left, and this payout is 20.00 RUB."),
        ([limit("day:RUB", 3000)], [1001], "At most 30.00 RUB a day may be paid; 10.00 RUB left, and this payout is 10.01 RUB."),
        ([limit("month/card:RUB", None, 2)], [1], "At most 2 payouts a month by card may be paid; 0 payouts left, and this payout is 0.01 RUB."),
        ([limit("day/payee:RUB", 9999, 2)], [1], "At most 99.99 RUB and 2 payouts a day to one payee may be paid; 79.99 RUB and 0 payouts left, and this payout is 0.01 RUB."),
    ],
)
async def test_each_limit(shop: Shop, limits: list[Limit], refused: list[int], says: str) -> None:
    """A payout within every limit is made; one beyond one of them is refused, with what is left, and leaves nothing behind."""
    merchant = await shop.merchant(1, 100_000)
    await rule(shop, merchant, limits=limits)
    made = await shop.create(*[shop.draft(merchant, f"w{n}", 1000, fee=10) for n in range(2)])
    assert [one.payout.state for one in made] == ["queued", "queued"]
    assert text((await shop.create(shop.draft(merchant, "too much", refused[0])))[0]) == says
    assert await shop.balances(merchant) == {"available": 97_980, "held": 2_020, "funding": -100_000}
    assert await used(shop, merchant) == await used(shop, merchant, "month", "rail:card") == (2, 2000)
    again = await shop.create(shop.draft(merchant, "w1", 1000, fee=10))
    assert again[0].payout.payout_id == made[1].payout.payout_id, "a known reference is answered before any limit is asked"


async def test_limits_of_others(shop: Shop) -> None:
    """Another rail, another payee and another currency do not use up a limit that is not theirs."""
    merchant = await shop.merchant(1, 100_000)
    await rule(shop, merchant, limits=[limit("day/card:RUB", 1000), limit("day/payee:RUB", 1500), limit("day:USD", 1)])
    assert isinstance((await shop.create(shop.draft(merchant, "a", 1000)))[0], Found)
    by_phone = shop.draft(merchant, "b", 1000, rail="sbp")
    assert "to one payee" in text((await shop.create(by_phone))[0])
    assert isinstance((await shop.create(replace(by_phone, destination_digest=b"another")))[0], Found)


async def test_fifty_at_once(shop: Shop) -> None:
    """Of fifty who ask at one moment for the last headroom, exactly as many are served as it holds, by whichever way they come."""
    merchant = await shop.merchant(1, 1_000_000)
    await rule(shop, merchant, limits=[limit("day:RUB", 7_500)])
    careful, hopeful = shop, Shop(shop.database, shop.world, hopeful=True)
    asked = [(hopeful if n % 2 else careful).create(shop.draft(merchant, f"w{n}", 1000)) for n in range(50)]
    results = [one for batch in await asyncio.gather(*asked) for one in batch]
    assert sum(isinstance(one, Found) for one in results) == 7
    assert sum(isinstance(one, LimitReached) for one in results) == 43
    assert await used(shop, merchant) == (7, 7_000)
    assert (await shop.balances(merchant))["held"] == 7_000


async def test_one_transaction_counts_its_own(shop: Shop) -> None:
    """Payouts of one batch use up the limit one after the other, in their order; the same reference twice uses it once."""
    merchant = await shop.merchant(1, 1_000_000)
    await rule(shop, merchant, limits=[limit("day:RUB", None, 2)])
    drafts = [shop.draft(merchant, name, 1000) for name in ("a", "a", "b", "c")]
    assert [type(one) for one in await shop.create(*drafts)] == [Found, Found, Found, LimitReached]
    assert await used(shop, merchant) == (2, 2000)


async def test_set_a_moment_ago(shop: Shop) -> None:
    """A limit counts from its commit: a hopeful transaction that knows nothing of it cannot pass it by."""
    hopeful = Shop(shop.database, shop.world, hopeful=True)
    merchant = await shop.merchant(1, 1_000_000)
    await hopeful.paid_out(merchant, "before", 5000)
    await rule(shop, merchant, limits=[limit("day:RUB", 100)])
    text((await hopeful.create(hopeful.draft(merchant, "after", 5000)))[0])
    created = (await hopeful.create(hopeful.draft(merchant, "not executed", 5000, execute=False)))[0].payout
    text((await hopeful.execute(hopeful.act(created)))[0])
    assert (await shop.read(created)).state == "created"
    opened = await hopeful.opened(await hopeful.read((await hopeful.create(hopeful.draft(merchant, "before", 5000)))[0].payout))
    assert (await hopeful.hear_of(opened, Settled("p"))).effect == "paid", "what was held before goes its way"


async def test_what_comes_back(shop: Shop) -> None:
    """Cancelled, refused by the provider, or never sent: the use is given back, once. Paid, or in doubt: it is not."""
    merchant = await shop.merchant(1, 1_000_000)
    await rule(shop, merchant, limits=[limit("day:RUB", 3000)])
    hopeful = Shop(shop.database, shop.world, hopeful=True)
    payouts = [await shop.paid_out(merchant, f"w{n}", 1000) for n in range(3)]
    text((await shop.create(shop.draft(merchant, "full", 1)))[0])
    await shop.cancel(shop.act(payouts[0]))
    await shop.cancel(shop.act(payouts[0]))
    assert await used(shop, merchant) == (2, 2000)
    opened = await hopeful.opened(payouts[1])
    await hopeful.hear_of(opened, Unknown("time-out"))
    assert await used(shop, merchant) == (2, 2000)
    await hopeful.hear_of(opened, Rejected("refused"), kind="inquiry")
    assert await used(shop, merchant) == await used(shop, merchant, "month", f"payee:{b'payee'.hex()}") == (1, 1000)
    await hopeful.hear_of(await hopeful.opened(payouts[2]), Settled("p"))
    assert await used(shop, merchant) == (1, 1000)
    assert len([await shop.paid_out(merchant, f"again{n}", 1000) for n in range(2)]) == 2


async def test_executed_and_keyed(shop: Shop) -> None:
    """Executing asks the same limits as creating does; a refusal sticks to its key, and the payout may be executed when there is room."""
    merchant = await shop.merchant(1, 1_000_000)
    await rule(shop, merchant, limits=[limit("day:RUB", 1000)])
    name = RequestName(b"key", b"what was asked")
    drafts = [CreateOnce(shop.draft(merchant, "a", 1001), name)]
    first = await shop.write(lambda tx: keyed.create(tx, 0, drafts))
    again = await shop.write(lambda tx: keyed.create(tx, 0, drafts))
    assert isinstance(again[0], Remembered) and str(again[0]) == text(first[0]) and again[0].name == "limit_reached"
    payout = (await shop.create(shop.draft(merchant, "b", 900, execute=False)))[0].payout
    other = (await shop.create(shop.draft(merchant, "c", 900, execute=False)))[0].payout
    executed = await shop.execute(shop.act(payout), shop.act(other))
    assert executed[0].state == "queued" and text(executed[1])
    await shop.cancel(shop.act(payout))
    assert (await shop.execute(shop.act(other)))[0].state == "queued"


async def test_unknown_commit_counts_once(shop: Shop) -> None:
    """A transaction that runs again after an unknown commit finds its own payouts and counts them no second time."""
    merchant = await shop.merchant(1, 1_000_000)
    await rule(shop, merchant, limits=[limit("day:RUB", 1000)])
    drafts = [shop.draft(merchant, "a", 1000)]
    first, second = await shop.run_twice(lambda tx: payouts.create(tx, 0, drafts))
    assert isinstance(first[0], Found) and isinstance(second[0], Found)
    assert first[0].payout.payout_id == second[0].payout.payout_id
    assert await used(shop, merchant) == (1, 1000)


async def test_the_merchants_day(shop: Shop) -> None:
    """A day is the merchant's, by the database's clock: at 21:30 in UTC it is tomorrow in Moscow, and a payout for another day uses that day's limit."""
    merchant = await shop.merchant(1, 1_000_000)
    await rule(shop, merchant, limits=[limit("day:RUB", 1000), limit("month:RUB", 5000)], zone="Europe/Moscow")
    scheduled = replace(shop.draft(merchant, "c", 1000), execute_at=NOON + timedelta(days=3))
    made, now = [], await shop.database_now()
    for shows, draft in ((NOON.replace(hour=20, minute=50), shop.draft(merchant, "a", 1000)), (NOON.replace(hour=21, minute=30), shop.draft(merchant, "b", 1000)), (NOON, scheduled)):
        shop.off = shows - now
        made += await shop.create(replace(draft, at=shop.now() + timedelta(days=3650)))
    assert [one.payout.state for one in made] == ["queued", "queued", "scheduled"]
    text((await shop.create(shop.draft(merchant, "d", 1)))[0])
    days = await shop.rows("SELECT starts_on::text, payouts FROM limit_counters WHERE period = 'day' AND scope = '' ORDER BY 1")
    assert [tuple(row) for row in days] == [("2026-11-22", 1), ("2026-11-23", 1), ("2026-11-25", 1)]


async def test_money_is_asked_for_after_limits(shop: Shop) -> None:
    """What a limit allows may still lack money; then nothing is counted."""
    merchant = await shop.merchant(1, 100)
    await rule(shop, merchant, limits=[limit("day:RUB", 1000)])
    assert isinstance((await shop.create(shop.draft(merchant, "a", 500)))[0], InsufficientFunds)
    assert await used(shop, merchant) == (0, 0)
