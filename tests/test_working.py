"""A house at work, put together as `serve` does: nobody's payouts are left out, and every role hears what providers say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from disburse.assembly import CallbackDoor
from disburse.connectors.sandbox_http import running
from disburse.domain.destinations import read_card
from disburse.domain.merchant import Merchant
from disburse.domain.money import read_amount
from disburse.domain.payout import Payout, PayoutState
from disburse.operations.merchants import add_merchant, draw_top_up
from disburse.operations.payouts import Found
from disburse.protocols.wire import WireRequest
from disburse.settings import BadSettings, load_settings
from disburse.wiring import House, Rhythm, hearing, make_workers, open_house, working
from disburse.world import real_world
from disburse.world_spool import FileSpool

WITHIN_S = 20.0
QUICK = Rhythm(house_s=0.05)


@asynccontextmanager
async def house_of(dsn: str, data: Path, **values: Any) -> AsyncIterator[House]:
    """An installation on the test's own database."""
    settings = load_settings(None, {}, {"data": str(data), "database_url": dsn, "unsafe_database": True, **values})
    async with open_house(settings, real_world()) as house:
        yield house


async def rich_merchant(house: House, shard: int = 0) -> Merchant:
    """A merchant with 100.00."""
    made = await add_merchant(
        house.database, house.world, house.vault, name="M", login=f"m{shard}@example.com", actor="test", shard=shard
    )
    await house.desk.top_up(made.merchant, draw_top_up(house.world, made.merchant, read_amount("100", "RUB"), actor="test"))
    return made.merchant


async def pay(house: House, merchant: Merchant, amount: str) -> Payout:
    """A payout to a card, queued."""
    draft = house.desk.draft(
        merchant, read_card("4111111111111111", luhn=True), read_amount(amount, "RUB"), surface="unitpay", reference="wage",
        amount_text=amount, execute=True, actor="test",
    )  # fmt: skip
    made = await house.desk.create(merchant, draft)
    assert isinstance(made, Found)
    return made.payout


async def until(house: House, payout: Payout, *states: PayoutState) -> None:
    """Let the house work until a payout has come so far."""
    async with asyncio.timeout(WITHIN_S):
        while (await house.desk.states(payout.shard, [payout.payout_id]))[0].state not in states:
            await asyncio.sleep(0.02)


async def test_no_bucket_is_left_out(dsn: str, tmp_path: Path) -> None:
    """A merchant in a bucket that the worker's settings do not name is paid out, also one that was made while it ran."""
    async with house_of(dsn, tmp_path, sandbox=True) as house, working(house, api=True, workers=True):
        merchant = await rich_merchant(house, shard=5)
        await until(house, await pay(house, merchant, "10.00"), PayoutState.PAID)


async def test_a_worker_has_one_list_of_buckets(dsn: str, tmp_path: Path) -> None:
    """Every loop looks through the list that the housekeeper adds to: what is found in a new bucket is everybody's, registries too."""
    async with house_of(dsn, tmp_path) as house:
        loops = make_workers(house)
    assert len(loops) == 5 and all(one._shards is loops[0]._shards for one in loops)


async def test_a_worker_without_providers_claims_nothing(dsn: str, tmp_path: Path) -> None:
    """What one with no provider at all finds due stays due for one that has: the merchant is not told that it failed."""
    async with house_of(dsn, tmp_path) as house, working(house, api=True, workers=True):
        payout = await pay(house, await rich_merchant(house), "10.00")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await until(house, payout, PayoutState.FAILED)
    async with house_of(dsn, tmp_path, sandbox=True) as house, working(house, api=True, workers=True):
        await until(house, payout, PayoutState.PAID)


async def test_a_door_without_workers_hears_callbacks(dsn: str, tmp_path: Path) -> None:
    """A bank that calls back to a process of doors alone is heard: money that came back reaches its merchant."""
    async with AsyncExitStack() as stack:
        listening = running("127.0.0.1:0", spool=FileSpool(tmp_path / "book"), clock=real_world().clock)
        bank, _ = await stack.enter_async_context(listening)
        house = await stack.enter_async_context(house_of(dsn, tmp_path / "data", sandbox_bank_url=bank))
        payout = await pay(house, await rich_merchant(house), "10.99")
        async with working(house, api=False, workers=True):
            await until(house, payout, PayoutState.PAID)  # nobody asks about what is paid
        [connector] = house.connectors.values()
        door = CallbackDoor(connector, hearing(house))
        async with working(house, api=True, workers=False):
            rows = await house.database.ask(lambda tx: tx.fetch("SELECT end_to_end_id FROM attempts"))
            body = b'{"end_to_end_id":"%s","state":"absent"}' % rows[0][0].encode()
            async with asyncio.timeout(WITHIN_S):
                while (await house.desk.states(0, [payout.payout_id]))[0].state is PayoutState.PAID:
                    answer = await door.answer(WireRequest("POST", "/callbacks/sandbox-http", b"", {}, body))
                    assert answer.status == 200  # the bank is asked, and what it says is heard
                    await asyncio.sleep(0.2)
            await until(house, payout, PayoutState.RETURNED)


@pytest.mark.parametrize(
    "values",
    [
        {"call_s": 30.0}, {"lease_s": 5.0}, {"call_s": 0.0}, {"lease_s": float("nan")}, {"window": 0}, {"largest": 0},
        {"writers": 0}, {"pool": 2},
    ],
    ids=str,
)  # fmt: skip
def test_settings_by_which_nothing_would_move_are_refused(values: dict[str, Any]) -> None:
    """A call that does not fit into its lease is never begun: payouts would be tried, not sent, and tried again, for ever."""
    with pytest.raises(BadSettings):
        load_settings(None, {}, values)


async def test_history_that_was_lost_stops_a_house_at_work(dsn: str, tmp_path: Path) -> None:
    """A worker that misses its heartbeat sends nothing more and hears no callbacks, while its doors take orders that wait."""
    async with house_of(dsn, tmp_path, sandbox=True) as house, working(house, api=True, workers=True, rhythm=QUICK):
        merchant = await rich_merchant(house)
        async with asyncio.timeout(WITHIN_S):
            while not await house.database.ask(lambda tx: tx.fetchval("SELECT count(*) FROM workers WHERE beat > 1")):
                await asyncio.sleep(0.02)
            await house.database.run(lambda tx: tx.execute("UPDATE workers SET beat = 0"))
            await house.desk.witness.lost.wait()
            while not house.installation.quarantined:
                await asyncio.sleep(0)
        payout = await pay(house, merchant, "10.00")
        [connector] = house.connectors.values()
        door = CallbackDoor(connector, hearing(house), lambda: house.installation.quarantined)
        answer = await door.answer(WireRequest("POST", "/callbacks/sandbox", b"", {}, b"{}"))
        assert answer.status == 409
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await until(house, payout, PayoutState.PAID)
    async with house_of(dsn, tmp_path, sandbox=True) as house, working(house, api=True, workers=True):
        assert house.installation.quarantined, "whoever starts waits for a person, too"
        assert (await house.desk.states(0, [payout.payout_id]))[0].state is PayoutState.QUEUED
