"""Workers against a real database and an honest provider: sent once, recorded always, and killed wherever it hurts."""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from itertools import repeat
from pathlib import Path
from typing import Any

import pytest

from disburse.domain.outcomes import Settled, Verdict
from disburse.domain.payout import PayoutState
from disburse.domain.ports import World
from disburse.operations.attempts import Claim, Opened
from disburse.operations.desk import Desk, StoreUnavailable
from disburse.operations.evidence import Applied, Heard
from disburse.operations.payouts import Found
from disburse.storage.database import Database, open_database
from disburse.storage.payouts import Claimable
from disburse.workers.housekeeper import Housekeeper
from disburse.workers.pace import Pace
from disburse.workers.sender import LEASE_S
from disburse.workers.watch import Watch
from disburse.world import RealClock
from tests.clock import FakeClock, turn
from tests.operations.wire import AFTER, BEFORE, WHOLE, Wire, wire_to
from tests.workers.provider import (
    BREAK,
    CARD,
    CLOSED,
    FATES,
    LOSE,
    PATIENCE_S,
    PAY,
    PAY_SILENTLY,
    REFUSE,
    SHORT,
    TAKE,
    Process,
    Provider,
    Town,
)

# --- claim, call, record ---


async def test_every_fate_is_lived_to_its_end(town: Town, bank: Provider) -> None:
    """Sent once, asked about when the answer was none, tried again when nothing moved: in the end the books agree."""
    payouts = await town.pay(*FATES * 3)
    process = Process(town, "w").start()
    await town.until(town.all_final)
    await process.stop()
    await town.agrees()
    assert await town.states() == {"paid": 18, "failed": 6}
    assert len(bank.calls) == len(set(bank.calls))
    by_fate = {fate: payouts[n] for n, fate in enumerate(FATES)}
    for fate, attempts in {
        PAY: ["settled"], PAY_SILENTLY: ["settled"], TAKE: ["settled"], REFUSE: ["rejected"], SHORT: ["rejected"],
        LOSE: ["not_sent", "settled"], CLOSED: ["not_sent", "settled"], BREAK: ["settled"],
    }.items():  # fmt: skip
        assert await town.attempts(by_fate[fate]) == attempts, fate


async def test_no_more_calls_than_the_window(town: Town, bank: Provider) -> None:
    """No more is claimed than may be under way: what waits for its turn is not open, and can be cancelled."""
    await town.pay(*[PAY] * 17)
    bank.exit.clear()
    process = Process(town, "w", window=5, asks=False).start()
    await town.until(lambda: inside(bank, 5))
    for _ in range(5):
        await town.clock.advance(1)
    assert await town.states() == {"in_flight": 5, "queued": 12}
    bank.exit.set()
    await town.until(town.all_final)
    await process.stop()
    assert bank.most == 5 and len(bank.paid) == 17
    await town.agrees()


async def inside(bank: Provider, count: int) -> bool:
    return bank.inside == count


class Standing(Desk):
    """A desk of a process that stands still for longer than a lease, once, when it has just found something due."""

    stood = False

    async def due(self, shard: int, limit: int) -> list[Claimable]:
        found = await super().due(shard, limit)
        if found and not self.stood:
            self.stood = True
            assert isinstance(self.world.clock, FakeClock)
            self.world.clock._elapsed += LEASE_S + 10
        return found


async def test_a_lease_counts_from_before_it_was_read(town: Town, bank: Provider) -> None:
    """A process that stood still between finding an attempt due and claiming it does not send by a lease that is over."""
    [payout] = await town.pay(PAY)
    process = Process(town, "w", desk=town.desk(kind=Standing), asks=False).start()
    await town.until(town.all_final)
    await process.stop()
    assert await town.attempts(payout) == ["not_sent", "settled"]
    assert [call[-2:] for call in bank.calls] == ["-2"]
    await town.agrees()


async def test_a_second_try_has_its_time(town: Town, bank: Provider) -> None:
    """What could not be sent is due again at once the first time, and a pause later the next times."""
    await town.pay(PAY)
    bank.closed = True
    process = Process(town, "w", asks=False).start()
    waits = []
    for number in (1, 2, 3, 4):
        since = town.clock.monotonic()
        await town.until(lambda number=number: called(bank, number))  # type: ignore[misc]
        waits.append(town.clock.monotonic() - since)
    bank.closed = False
    await town.until(town.all_final)
    await process.stop()
    assert waits[2] >= 0.9 and waits[3] >= 1.9
    await town.agrees()


async def called(bank: Provider, count: int) -> bool:
    return len(bank.calls) >= count


async def test_what_no_provider_carries_fails(database: Database, world: World, tmp_path: Path) -> None:
    """Without a route a payout fails with its money back, and the loop goes on with the next."""
    elsewhere = Provider("elsewhere")
    elsewhere.capabilities = type(elsewhere.capabilities)(frozenset(), frozenset({"RUB"}))
    town = await Town(database, world, tmp_path, [elsewhere]).settle_in()
    await town.pay(PAY, PAY)
    process = Process(town, "w").start()
    await town.until(town.all_final)
    await town.pay(PAY)
    await town.until(town.all_final)
    await process.stop()
    assert await town.states() == {"failed": 3} and elsewhere.calls == []
    assert await town.balances() == {"funding": -(10**9), "available": 10**9}


async def test_two_workers_send_everything_once(town: Town, bank: Provider) -> None:
    """Two processes on one database: each attempt is sent by one of them, and both have something to do."""
    await town.pay(*[PAY, TAKE, PAY_SILENTLY] * 20)
    bank.exit.clear()
    processes = [Process(town, name, batch=7, window=20).start() for name in ("a", "b")]
    await town.until(lambda: inside(bank, 40))
    owners = await town.rows("SELECT owner, count(*) FROM attempts WHERE state = 'open' GROUP BY 1 ORDER BY 1")
    assert [tuple(row) for row in owners] == [("a", 20), ("b", 20)]
    bank.exit.set()
    await town.until(town.all_final)
    for process in processes:
        await process.stop()
    assert len(bank.calls) == len(set(bank.calls)) == 60
    await town.agrees()


# --- crashes ---


async def test_a_crash_between_claim_and_call(town: Town, bank: Provider) -> None:
    """Claimed and never sent: nobody touches it while the lease runs; then it is in doubt, asked about, and sent anew."""
    (payout,) = await town.pay(PAY)
    await town.desk().claim(0, [Claim(payout.payout_id, 1, payout.merchant_id, "dead", 30, town.clock.now())])
    heir = Process(town, "heir").start()
    for _ in range(20):
        await town.clock.advance(5)
        assert await town.states() == {"in_flight": 1}
    assert bank.calls == [] and bank.asked == 0
    await town.lapse()
    await town.until(town.all_final)
    await heir.stop()
    assert await town.attempts(payout) == ["not_sent", "settled"] and bank.calls == [f"{payout.base}-2"]
    kinds = await town.rows("SELECT kind, verdict, effect FROM evidence WHERE attempt = 1 ORDER BY heard_at, kind DESC")
    assert [tuple(row) for row in kinds] == [("lease", "Unknown", "in_doubt"), ("inquiry", "Absent", "queued")]
    await town.agrees()


async def test_a_crash_between_call_and_record(town: Town, bank: Provider) -> None:
    """Paid and never recorded: the heir finds the lease lapsed, asks, and is told; nothing is sent a second time."""
    (payout,) = await town.pay(PAY)
    bank.exit.clear()
    process = Process(town, "w").start()
    await town.until(lambda: paid(bank, 1))
    await process.crash()
    bank.exit.set()
    await town.lapse()
    heir = Process(town, "heir").start()
    await town.until(town.all_final)
    await heir.stop()
    assert bank.calls == [f"{payout.base}-1"] and await town.attempts(payout) == ["settled"]
    await town.agrees()


async def paid(bank: Provider, count: int) -> bool:
    return len(bank.paid) == count


@pytest.mark.parametrize("seed", range(6))
async def test_killed_at_any_point(town: Town, bank: Provider, seed: int) -> None:
    """Killed again and again, wherever its calls and transactions are: nothing is lost, nothing is paid twice."""
    chance = random.Random(seed)
    await town.pay(*[chance.choice(FATES) for _ in range(25)])
    for life in range(6):
        for gate in (bank.door, bank.exit):
            gate.set() if chance.random() < 0.6 else gate.clear()
        process = Process(town, f"w{life}", window=chance.choice([3, 10, 1000]), batch=chance.choice([1, 4, 500])).start()
        for _ in range(chance.randrange(0, 6)):
            await town.clock.advance(chance.choice([0.0, 0.01, 0.3]))
            for _ in range(chance.randrange(0, 40)):
                await turn()
        await process.crash()
        await town.lapse()
    bank.door.set()
    bank.exit.set()
    last = Process(town, "last").start()
    await town.until(town.all_final)
    await last.stop()
    await town.agrees()


async def test_an_orderly_end_finishes_what_is_under_way(town: Town, bank: Provider) -> None:
    """Told to stop, a sender claims nothing more and records what it has begun."""
    await town.pay(*[PAY] * 6)
    bank.exit.clear()
    process = Process(town, "w", window=4, asks=False).start()
    await town.until(lambda: inside(bank, 4))
    stopping = asyncio.create_task(process.stop())
    await town.clock.advance(1)
    assert not stopping.done()
    bank.exit.set()
    await stopping
    assert await town.states() == {"paid": 4, "queued": 2}


class Sleeper(Desk):
    """A desk of a process that is stopped (SIGSTOP, a suspended machine) once, between its claim and its call."""

    sleeps_s = 0.0

    async def claim(self, shard: int, claims: Sequence[Claim]) -> list[Opened | None]:
        opened = await super().claim(shard, claims)
        slept, self.sleeps_s = self.sleeps_s, 0.0
        clock = self.world.clock
        assert isinstance(clock, FakeClock)
        clock._elapsed += slept  # nothing of this process runs meanwhile
        return opened


@pytest.mark.parametrize("asked_meanwhile", [False, True])
async def test_a_process_that_slept_past_its_lease_does_not_send(town: Town, bank: Provider, asked_meanwhile: bool) -> None:
    """Woken after its lease, an owner does not send what others may be asking about; it says so, and another try is made."""
    (payout,) = await town.pay(PAY)
    desk = town.desk(kind=Sleeper)
    assert isinstance(desk, Sleeper)
    desk.sleeps_s = LEASE_S
    if asked_meanwhile:
        bank.deaf = True
    process = Process(town, "w", desk=desk, asks=asked_meanwhile).start()
    await town.until(town.all_final)
    await process.stop()
    assert bank.calls == [f"{payout.base}-2"] and await town.attempts(payout) == ["not_sent", "settled"]
    await town.agrees()


async def test_an_answer_to_a_call_that_the_database_forgot(town: Town, bank: Provider) -> None:
    """A claim is lost while its call runs, and another worker opens the attempt: that the first call was not sent does not end it."""
    (payout,) = await town.pay(CLOSED)
    bank.exit.clear()
    process = Process(town, "w", asks=False).start()
    await town.until(lambda: inside(bank, 1))
    await town.rows("UPDATE attempts SET owner = 'worker-b', opened_at = opened_at + interval '1 s' WHERE shard = 0 RETURNING 1")
    bank.exit.set()
    await process.stop()
    assert await town.attempts(payout) == ["open"]


# --- faults of others ---


class Hasty(RealClock):
    """The real clock to somebody who does not wait between tries."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


@pytest.fixture
async def wired(dsn: str, world: World) -> AsyncIterator[tuple[Wire, Database]]:
    """The test's database over a wire that a test may break."""
    with tempfile.TemporaryDirectory() as place:
        async with wire_to(dsn, Path(place)) as (wire, url):
            database = await open_database(url, World(Hasty(), world.random), unsafe=True)
            yield wire, database
            await database.close()


async def test_an_answer_in_hand_while_the_database_is_away(
    town: Town, bank: Provider, wired: tuple[Wire, Database]
) -> None:
    """What the provider said is kept while the database is away and recorded when it is back."""
    wire, database = wired
    await town.pay(PAY, REFUSE, TAKE)
    bank.exit.clear()
    desk = town.desk(database, kind=Counting)
    process = Process(town, "w", desk=desk, asks=False).start()
    await town.until(lambda: inside(bank, 3))
    wire.plan = repeat(BEFORE)
    bank.exit.set()
    await town.until(lambda: unheard(desk, 9))
    assert await town.states() == {"in_flight": 3}
    wire.plan = repeat(WHOLE)
    await town.until(lambda: answers(town, 3))
    await process.stop()
    assert len(bank.calls) == 3 and await town.states() == {"paid": 1, "failed": 1, "in_flight": 1}


async def answers(town: Town, count: int) -> bool:
    return len(await town.rows("SELECT 1 FROM evidence WHERE kind = 'answer'")) == count


class Counting(Desk):
    """A desk that counts what it could not record."""

    unheard = 0

    async def hear(self, message: Heard) -> Applied:
        try:
            return await super().hear(message)
        except StoreUnavailable:
            self.unheard += 1
            raise


async def unheard(desk: Desk, count: int) -> bool:
    assert isinstance(desk, Counting)
    return desk.unheard >= count


@pytest.mark.parametrize("seed", range(3))
async def test_commits_lost_either_way(town: Town, bank: Provider, wired: tuple[Wire, Database], seed: int) -> None:
    """A third of a worker's COMMITs lost, done or not: each intent is sent once, each answer counts once, the books agree."""
    wire, database = wired
    chance = random.Random(seed)
    await town.pay(*FATES * 4)
    wire.plan = iter(lambda: chance.choice([WHOLE, WHOLE, WHOLE, WHOLE, BEFORE, AFTER]), None)
    process = Process(town, "w", database=database, window=7, batch=3).start()
    await town.until(town.all_final)
    wire.plan = repeat(WHOLE)
    await process.stop()
    assert min(wire.seen[BEFORE], wire.seen[AFTER]) >= 3 and len(bank.calls) == len(set(bank.calls))
    await town.agrees()


async def test_a_connector_that_raises_is_no_answer(town: Town, bank: Provider) -> None:
    """Whatever a connector raises leaves the payout in doubt, with what is known of the fault, and stops no loop."""
    payouts = await town.pay(BREAK, PAY)
    bank.deaf = True
    process = Process(town, "w").start()
    await town.until(lambda: stands(town, {"in_doubt": 1, "paid": 1}))
    for _ in range(5):
        await town.until(lambda before=bank.asked: asked_since(bank, before))  # type: ignore[misc]
    assert await town.states() == {"in_doubt": 1, "paid": 1}
    details = await town.rows("SELECT DISTINCT kind, detail FROM evidence WHERE payout_id = $1 ORDER BY 1", payouts[0].payout_id)
    assert [tuple(row) for row in details] == [
        ("answer", "connector fault: RuntimeError"), ("inquiry", "connector fault: ConnectionError"),
    ]  # fmt: skip
    bank.deaf = False
    await town.until(town.all_final)
    await process.stop()
    await town.agrees()


async def stands(town: Town, states: dict[str, int]) -> bool:
    return await town.states() == states


async def asked_since(bank: Provider, before: int) -> bool:
    return bank.asked > before


async def test_details_that_cannot_be_opened(town: Town, bank: Provider) -> None:
    """A sealed record that does not open fails its payout with all money back; nothing was sent and others go on."""
    broken, _ = await town.pay(PAY, PAY)
    await town.rows("UPDATE payouts SET sealed = '\\x0102' WHERE payout_id = $1 RETURNING 1", broken.payout_id)
    process = Process(town, "w").start()
    await town.until(town.all_final)
    await process.stop()
    rows = await town.rows("SELECT state, reason FROM payouts WHERE payout_id = $1", broken.payout_id)
    assert tuple(rows[0]) == ("failed", "details_unreadable") and len(bank.calls) == 1
    await town.agrees()


async def test_a_provider_that_is_no_longer_configured(database: Database, world: World, tmp_path: Path) -> None:
    """Doubt at a provider that the settings do not name any more stays doubt, and the inquirer goes on with the others."""
    gone, bank = Provider("gone"), Provider("bank")
    town = await Town(database, world, tmp_path, [gone]).settle_in()
    await town.pay(PAY_SILENTLY)
    process = Process(town, "w", asks=False).start()
    await town.until(lambda: stands(town, {"in_doubt": 1}))
    await process.stop()
    town.providers = {"bank": bank}
    await town.pay(PAY_SILENTLY)
    later = Process(town, "later").start()
    await town.until(lambda: stands(town, {"in_doubt": 1, "paid": 1}))
    await later.stop()
    assert (await town.balances())["in_doubt:gone"] == 1011 and gone.asked == 0


# --- housekeeping, watching, waiting ---


async def test_housekeeping(town: Town) -> None:
    """The house is kept: the worker is seen, what nobody executed expires, dead tokens go; and it goes on after a fault."""
    desk = town.desk()
    found = [
        await desk.create(town.merchant, desk.draft(town.merchant, CARD, (await town.pay(PAY))[0].amount, surface="own",
                                                    reference=None, amount_text="x", execute=False, actor="test"))
        for _ in range(3)
    ]  # fmt: skip
    token = await desk.recognition.issue_token(town.merchant)
    keeper = asyncio.create_task(Housekeeper(desk, town.world, "w", shards=[0]).run())
    await town.until(lambda: seen(town, 1), step_s=0.1)
    assert all(isinstance(one, Found) for one in found)
    assert await town.states() == {"created": 3, "queued": 3} and await desk.recognition.by_token(token) is not None
    first = await town.rows("SELECT seen_at FROM workers")
    await town.clock.advance(3 * 24 * 3600)  # of the worker's own clock, which decides nothing
    assert await town.states() == {"created": 3, "queued": 3} and not await no_tokens(town)
    for table in ("payouts", "expiries", "tokens"):
        await town.rows(f"UPDATE {table} SET expires_at = expires_at - interval '3 days' RETURNING 1")
    await town.until(lambda: stands(town, {"expired": 3, "queued": 3}), step_s=2)
    await town.until(lambda: no_tokens(town), step_s=60)
    await town.until(lambda: seen_since(town, first[0][0]), step_s=2)
    assert await town.rows("SELECT 1 FROM expiries") == [] and not keeper.done()
    keeper.cancel()


async def seen(town: Town, count: int) -> bool:
    return len(await town.rows("SELECT 1 FROM workers")) == count


async def seen_since(town: Town, moment: datetime) -> bool:
    return bool((await town.rows("SELECT max(seen_at) > $1 FROM workers", moment))[0][0])


async def no_tokens(town: Town) -> bool:
    return await town.rows("SELECT 1 FROM tokens") == []


async def test_a_door_hears_of_an_end_in_another_process(town: Town) -> None:
    """A caller that waits in one process is answered when another process records the end: by looking, without a hint."""
    door, worker = town.desk(), town.desk()
    watch = asyncio.create_task(Watch(door, town.world).run())
    draft = door.draft(town.merchant, CARD, (await town.pay(PAY))[0].amount, surface="unitpay", reference="r", amount_text="x",
                       execute=True, actor="test")  # fmt: skip
    waiting = asyncio.create_task(
        door.create_and_wait(
            town.merchant, draft, deadline=town.clock.monotonic() + 8, wait_s=5.0, until=town.clock.monotonic() + 9
        )
    )
    await town.until(lambda: in_store(town, draft.payout_id), step_s=0.0)
    claim = Claim(draft.payout_id, 1, town.merchant.merchant_id, "w", 30, town.clock.now())
    (opened,) = await worker.claim(0, [claim])
    assert opened is not None and not waiting.done()
    verdict: Verdict = Settled("p")
    place = (draft.payout_id, 1, town.merchant.merchant_id)
    await worker.hear(Heard("bank", opened.end_to_end_id, "answer", verdict, town.clock.now(), "w", payout=place))
    await town.until(lambda: done(waiting))
    found = await waiting
    assert isinstance(found, Found) and found.payout.state is PayoutState.PAID and town.clock.monotonic() < 5
    watch.cancel()


async def in_store(town: Town, payout_id: Any) -> bool:
    return bool(await town.rows("SELECT 1 FROM payouts WHERE payout_id = $1", payout_id))


async def done(task: asyncio.Task[Any]) -> bool:
    return task.done()


async def test_a_wake_is_never_lost() -> None:
    """A loop rests for its interval at most; a wake ends the rest at once, and one that comes during work ends the next."""
    clock = FakeClock()
    pace = Pace(clock, 10.0)
    rest = asyncio.create_task(pace.rest())
    await clock.advance(9.9)
    assert not rest.done()
    await clock.advance(0.1)
    assert rest.done()
    pace.wake()
    pace.wake()
    await asyncio.wait_for(pace.rest(), PATIENCE_S)
    again = asyncio.create_task(pace.rest())
    await clock.advance(1)
    assert not again.done()
    pace.wake()
    await asyncio.wait_for(again, PATIENCE_S)
