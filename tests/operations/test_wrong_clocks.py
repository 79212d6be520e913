"""A process whose own clock is years off takes nothing away and lets nothing live on: what has an end has it by the database's clock."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from disburse.domain.ports import World
from disburse.operations import api_keys
from disburse.operations.shared_time import SharedTime
from disburse.operations.webhook_work import WebhookWork
from disburse.operations.webhooks import add_webhook, rotate_secret
from disburse.storage import reports
from disburse.storage.database import Database
from tests.api.house import House, build_house
from tests.clock import FakeClock

HOUR, YEARS = timedelta(hours=1), timedelta(days=3650)


@pytest.fixture(params=[YEARS, -YEARS], ids=["ahead", "behind"])
async def wrong(database: Database, world: World, tmp_path: Path, request: pytest.FixtureRequest) -> House:
    """A process with such a clock."""
    clock = FakeClock(world.clock.now() + request.param)
    return await build_house(database, World(clock, world.random), tmp_path)


async def test_tokens(wrong: House) -> None:
    """A user token that it issued or looks at lives for its time, and no housekeeping of its forgets one that lives."""
    desk, merchant = wrong.desk, (await wrong.merchant()).merchant
    token = await desk.recognition.issue_token(merchant)
    await desk.forget_tokens()
    found = await desk.recognition.by_token(token)
    assert found is not None and found.merchant_id == merchant.merchant_id
    await desk.database.run(lambda tx: tx.execute("UPDATE tokens SET expires_at = expires_at - interval '2 days'"))
    desk.recognition.forget()
    assert await desk.recognition.by_token(token) is None
    await desk.forget_tokens()
    assert await desk.database.run(lambda tx: tx.fetchval("SELECT count(*) FROM tokens")) == 0


@pytest.mark.parametrize("overlap, both", [(HOUR, True), (timedelta(), False)])
async def test_a_replaced_api_key(wrong: House, overlap: timedelta, both: bool) -> None:
    """A key that was replaced works for as long as was asked for, and no longer."""
    desk, merchant = wrong.desk, (await wrong.merchant()).merchant
    key = await api_keys.add_key(desk, merchant, "k", actor="test")
    fresh = await api_keys.rotate_key(desk, merchant, key.key.key_id, overlap=overlap, actor="test")
    assert await desk.recognition.by_api_key(fresh.secret) is not None
    if both:
        assert await desk.recognition.by_api_key(key.secret) is not None
    else:
        ended = [one.ends_at for one in await api_keys.list_keys(desk, merchant) if one.key_id == key.key.key_id]
        assert ended[0] is not None and ended[0] <= desk.time.now()


@pytest.mark.parametrize("overlap, secrets", [(HOUR, 2), (timedelta(), 1)])
async def test_a_replaced_secret(wrong: House, overlap: timedelta, secrets: int) -> None:
    """A courier signs with a replaced secret, too, for as long as was asked for, and no longer."""
    desk, merchant = wrong.desk, (await wrong.merchant()).merchant
    made = await add_webhook(desk, merchant, "https://example.com/", actor="test")
    await rotate_secret(desk, merchant, made.webhook.webhook_id, overlap=overlap, actor="test")
    work = WebhookWork(desk, "courier", 60.0)
    assert await work.share(merchant.shard) == 1
    (held,) = await work.claim(merchant.shard, [], 1)
    assert len(work.keys(held)) == secrets


async def test_workers_see_each_other(wrong: House) -> None:
    """A worker with such a clock counts as alive, to itself and to others."""
    desk, merchant = wrong.desk, (await wrong.merchant()).merchant
    for _ in range(4):
        await add_webhook(desk, merchant, "https://example.com/", actor="test")
    assert await desk.worker_seen("w")
    await desk.database.run(lambda tx: tx.execute("INSERT INTO workers (worker_id, seen_at) VALUES ('true', clock_timestamp())"))
    assert await WebhookWork(desk, "courier", 60.0).share(merchant.shard) == 2
    standing = await desk.database.run(reports.standing)
    assert standing.worker_seen is not None and standing.worker_seen < HOUR


async def test_the_shared_time() -> None:
    """A process knows the database's clock by its last reading and what passed since, and takes its own before the first."""
    clock = FakeClock()
    time = SharedTime(clock)
    assert time.now() == clock.now()
    time.saw(clock.now() - YEARS, clock.monotonic() - 1)
    await clock.advance(5)
    assert time.now() == clock.now() - YEARS + timedelta(seconds=1)
