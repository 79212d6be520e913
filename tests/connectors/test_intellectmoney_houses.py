"""One installation pays through another's IntellectMoney door: killed, cut off and expired between any two steps, never twice."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from disburse.domain.ports import World
from disburse.storage.database import Database
from tests.conformance.running import Running, running
from tests.connectors.intellectmoney_houses import (
    EXPIRED,
    GONE,
    LATE,
    LOST,
    STOP_AFTER,
    STOP_BEFORE,
    Payer,
)
from tests.workers.provider import Process

TOKEN, EXECUTE, STATE = "getusertoken", "executeoperation", "getoperationstate"
CREATES = {"new": "createoperation", "old": "createbankcardrussiaoperation"}


@pytest.fixture(scope="module")
def bank(server: Callable[[str], str], template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The installation that serves, with its sandbox bank."""
    with running(server, template, tmp_path_factory.mktemp("bank")) as one:
        yield one


@pytest.fixture(params=["new", "old"])
async def payer(
    request: pytest.FixtureRequest, database: Database, world: World, tmp_path: Path, bank: Running
) -> AsyncIterator[Payer]:
    """The installation that pays, through either generation."""
    made = Payer(database, world, tmp_path, bank, request.param)
    await made.settle_in()
    yield made
    await made.weather.close()


async def finish(payer: Payer) -> None:
    """No more faults: everything comes to its end on both sides, and all books agree."""
    payer.weather.fate = lambda method: None
    await payer.until(payer.all_final)
    await payer.weather.arrive()
    await payer.until(payer.all_final_there)
    await payer.compare()


async def test_all_outcomes(payer: Payer) -> None:
    """What their sandbox bank does to a payout is what becomes of ours: paid, or failed, whatever happened to answers there."""
    endings = (0, 11, 22, 33, 44, 55, 66, 77, 88, 99)
    payouts = await payer.order(*endings)
    process = Process(payer, "w").start()
    await finish(payer)
    await process.stop()
    states = {row[0]: row[1] for row in await payer.rows("SELECT payout_id, state FROM payouts")}
    failed = [ending for ending, payout in zip(endings, payouts, strict=True) if states[payout.payout_id] == "failed"]
    assert failed == [22, 44, 66] and sorted(set(states.values())) == ["failed", "paid"]
    reasons = await payer.rows("SELECT DISTINCT reason FROM payouts WHERE state = 'failed'")
    assert [row[0] for row in reasons] == ["provider_failed"]
    assert all(attempts == 1 for (attempts,) in await payer.rows("SELECT attempts FROM payouts"))
    assert payer.weather.called[TOKEN] == 1


@pytest.mark.parametrize("fate", [STOP_BEFORE, STOP_AFTER])
@pytest.mark.parametrize("step", ["create", "execute", "state", "token"])
async def test_killed_at_a_call(payer: Payer, step: str, fate: str) -> None:
    """A worker killed before or after any of its calls, what it sent having arrived or not: its payouts are paid, once."""
    method = {"create": CREATES[payer.generation], "execute": EXECUTE, "state": STATE, "token": TOKEN}[step]
    payer.weather.fate = lambda called: fate if called == method else None
    if step == "state":  # asked only of what was executed and lost
        payer.weather.fate = lambda called: fate if called == STATE else LOST if called == EXECUTE else None
    await payer.order(0, 0, 0, 0)
    process = Process(payer, "a").start()
    await payer.until(lambda: payer.standing(4 if step in ("create", "execute") else 1))
    await process.crash()
    payer.renew_connector()
    await payer.lapse()
    payer.weather.fate = lambda called: None
    second = Process(payer, "b").start()
    await finish(payer)
    await second.stop()
    assert await payer.states() == {"paid": 4}


@pytest.mark.parametrize("fate", [GONE, LOST, LATE, EXPIRED])
@pytest.mark.parametrize("step", ["create", "execute", "state"])
async def test_one_call_goes_wrong(payer: Payer, step: str, fate: str) -> None:
    """The first call of a kind never arrives, is not answered, arrives late or with an expired token: paid, once."""
    method = {"create": CREATES[payer.generation], "execute": EXECUTE, "state": STATE}[step]
    hit: set[str] = set()

    def fated(called: str) -> str | None:
        if called == EXECUTE and step == "state":
            return LOST
        if called == method and payer.weather.called[called] <= 4:
            hit.add(called)
            return fate
        return None

    payer.weather.fate = fated
    await payer.order(0, 0, 0, 0)
    process = Process(payer, "w").start()
    await payer.until(payer.all_final)
    await finish(payer)
    await process.stop()
    assert hit == {method} and await payer.states() == {"paid": 4}


@pytest.mark.parametrize("seed", range(4))
async def test_bad_weather_and_kills(payer: Payer, seed: int) -> None:
    """Every third call goes wrong in some way, workers are killed and leases lapse: in the end all books agree, line by line."""
    chance = random.Random(seed)

    def fated(called: str) -> str | None:
        return chance.choice([GONE, LOST, LATE, EXPIRED]) if chance.random() < 0.35 else None

    payer.weather.fate = fated
    await payer.order(0, 22, 33, 77, 0, 88, 0, 66, 0, 0, 22, 0)
    for life in range(3):
        process = Process(payer, f"w{life}", window=chance.choice([3, 50])).start()
        steps = chance.randrange(5, 60)
        for _ in range(steps):
            await payer.rows("UPDATE attempts SET ask_at = clock_timestamp() WHERE shard = 0 AND state = 'unknown' RETURNING 1")
            await payer.clock.advance(0.02)
        await process.crash()
        payer.renew_connector()
        await payer.lapse()
        if chance.random() < 0.5:
            await payer.weather.arrive()
    last = Process(payer, "last").start()
    await finish(payer)
    await last.stop()
    assert await payer.states() == {"paid": 9, "failed": 3}
