"""Workers with a two-step provider: killed, frozen and unlucky at every point between making and executing, never paying twice."""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import AsyncIterator, Callable
from itertools import repeat
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from disburse.domain.ports import World
from disburse.operations.desk import Desk
from disburse.operations.evidence import Applied, Heard
from disburse.operations.explain import explain, read_story
from disburse.operations.two_steps import ALERT
from disburse.operations.verify import verify
from disburse.storage.database import Database, open_database
from disburse.world import RealClock
from tests.operations.wire import AFTER, BEFORE, WHOLE, Wire, wire_to
from tests.workers.machine import (
    CLOSED,
    CLOSED_LATER,
    FAIL,
    FATES,
    LOSE_ANSWER,
    LOSE_CREATE,
    LOSE_EXECUTE,
    LOSE_MADE,
    PAY,
    POINTS,
    REFUSE,
    TAKE,
    Machine,
)
from tests.workers.provider import Process, Town


class Hasty(RealClock):
    """The real clock, but pauses between tries are short."""

    async def sleep(self, seconds: float) -> None:
        await super().sleep(min(seconds, 0.001))


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
async def town(database: Database, world: World, tmp_path: Path, machine: Machine) -> Town:
    return await Town(database, world, tmp_path, [machine]).settle_in()


async def test_every_fate_is_lived_to_its_end(town: Town, machine: Machine) -> None:
    """What was never executed is tried anew, what was remembered is asked about or executed again, and the books agree."""
    payouts = await town.pay(*FATES * 3)
    process = Process(town, "w").start()
    await town.until(town.all_final)
    await process.stop()
    await town.agrees()
    by_fate = {fate: payouts[n] for n, fate in enumerate(FATES)}
    for fate, attempts in {
        PAY: ["settled"], LOSE_CREATE: ["not_sent", "settled"], LOSE_MADE: ["not_sent", "settled"], LOSE_EXECUTE: ["settled"],
        LOSE_ANSWER: ["settled"], REFUSE: ["rejected"], FAIL: ["rejected"], TAKE: ["settled"], CLOSED: ["not_sent", "settled"],
        CLOSED_LATER: ["settled"],
    }.items():  # fmt: skip
        assert await town.attempts(by_fate[fate]) == attempts, fate


async def test_what_was_remembered_is_what_is_asked_by(town: Town, machine: Machine) -> None:
    """An attempt's reference is that of the operation which was executed, and each operation is known by one attempt."""
    await town.pay(*FATES)
    process = Process(town, "w").start()
    await town.until(town.all_final)
    await process.stop()
    rows = await town.rows("SELECT end_to_end_id, provider_reference FROM attempts WHERE state = 'settled'")
    assert len(rows) == 8
    for identifier, reference in rows:
        operation = machine.operations[reference]
        assert operation.identifier == identifier and operation.executions >= 1
    settled = {reference for _, reference in rows}
    others = [one for reference, one in machine.operations.items() if reference not in settled and one.state != "failed"]
    assert [one.executions for one in others] == [0]  # LOSE_MADE's orphan, harmless for ever


async def test_an_answer_about_another_operation_is_none(town: Town, machine: Machine) -> None:
    """A refusal that names an operation which is not the attempt's, to its order or to a question, ends nothing and moves no reference."""
    machine.crossed = 3
    payouts = await town.pay(PAY, LOSE_ANSWER)
    process = Process(town, "w").start()
    await town.until(town.all_final)
    await process.stop()
    assert machine.crossed == 0
    assert [await town.attempts(payout) for payout in payouts] == [["settled"], ["settled"]]
    rows = await town.rows("SELECT provider_reference FROM attempts")
    assert {row[0] for row in rows} == set(machine.operations)
    await town.agrees()


async def stopped(machine: Machine, point: str, count: int) -> bool:
    return machine.stopped[point] == count


async def stop_all_at(town: Town, machine: Machine, point: str, count: int = 4) -> Process:
    """A process whose calls all stand at this point."""
    machine.stop_at = point
    await town.pay(*[PAY] * count)
    process = Process(town, "a", asks=False).start()
    await town.until(lambda: stopped(machine, point, count))
    machine.stop_at = None
    return process


@pytest.mark.parametrize("arrives", ["before", "during", "after"])
@pytest.mark.parametrize("point", POINTS)
async def test_killed_between_the_steps(town: Town, machine: Machine, point: str, arrives: str) -> None:
    """A worker killed at any point leaves nothing unpaid and nothing paid twice, whenever its last request arrives."""
    process = await stop_all_at(town, machine, point)
    await process.crash()
    late = list(machine.on_the_way)
    assert len(late) == (4 if point == "executing" else 0)
    if arrives == "before":
        for reference in late:
            machine.arrive(reference)
    await town.lapse()
    second = Process(town, "b").start()
    if arrives == "during":
        await town.until(lambda: asked(machine, 2 if late else 0))
        for reference in late:
            machine.arrive(reference)
    await town.until(town.all_final)
    for reference in late:
        machine.arrive(reference)
    await second.stop()
    assert await town.states() == {"paid": 4}
    await town.agrees()


async def asked(machine: Machine, count: int) -> bool:
    return machine.asked >= count


@pytest.mark.parametrize("point", POINTS)
async def test_frozen_between_the_steps(town: Town, machine: Machine, point: str) -> None:
    """A worker that sleeps past its lease at any point, and then goes on as if nothing had been, pays nobody twice."""
    sleeper = await stop_all_at(town, machine, point)
    await town.lapse()
    other = Process(town, "b").start()
    await town.until(town.all_final)
    before = len(machine.paid)
    machine.go.set()
    await sleeper.stop()
    await other.stop()
    assert len(machine.paid) == before == 4 and await town.states() == {"paid": 4}
    assert len(machine.never_remembered) == (4 if point in ("creating", "made") else 0)
    await town.agrees()


async def test_nothing_is_tried_elsewhere_while_it_may_be_executed(
    database: Database, world: World, tmp_path: Path
) -> None:
    """A provider that may not be told twice leaves the doubt standing for as long as it says not executed; its word ends it."""
    machine = Machine(again_after_s=None)
    town = await Town(database, world, tmp_path, [machine]).settle_in()
    [payout] = await town.pay(LOSE_EXECUTE)
    process = Process(town, "w").start()
    await town.until(lambda: asked(machine, 30))
    assert await town.states() == {"in_doubt": 1} and await town.attempts(payout) == ["unknown"]
    machine.delete_unexecuted()
    await town.until(town.all_final)
    for reference in machine.operations:
        machine.arrive(reference)  # a request that was on its way all that time
    await process.stop()
    assert await town.states() == {"failed": 1} and machine.paid == []
    await town.agrees()


async def test_a_pause_before_it_is_executed_again(database: Database, world: World, tmp_path: Path) -> None:
    """It is executed again no sooner than the connector's pause after it was first seen not executed."""
    machine = Machine(again_after_s=30.0)
    town = await Town(database, world, tmp_path, [machine]).settle_in()
    await town.pay(LOSE_EXECUTE)
    process = Process(town, "w").start()
    await town.until(lambda: asked(machine, 1))
    since = town.clock.monotonic()
    await town.until(town.all_final, step_s=0.5)
    assert town.clock.monotonic() - since >= 29
    events = await town.rows("SELECT kind FROM events WHERE kind = 'payout.executed_again'")
    assert len(events) == 1
    await process.stop()
    await town.agrees()


class Meeting(Desk):
    """A desk on which a sleeper remembers its operation after the question was taken and before its lapsed lease is recorded."""

    machine: Machine

    async def hear(self, message: Heard) -> Applied:
        if message.kind == "lease":
            sleeper, self.machine.go, self.machine.stop_at = self.machine.go, asyncio.Event(), "executed"
            sleeper.set()
            while not self.machine.stopped["executed"]:
                await asyncio.sleep(0)
            self.machine.stop_at = None
        return await super().hear(message)


async def test_an_owner_that_remembers_at_the_last_moment(town: Town, machine: Machine) -> None:
    """What an owner remembers and executes while its lapse is being recorded is seen: it is not taken for never executed."""
    sleeper = await stop_all_at(town, machine, "made", count=1)
    await town.lapse()
    desk = town.desk(kind=Meeting)
    desk.machine = machine  # type: ignore[attr-defined]
    other = Process(town, "b", desk=desk).start()
    await town.until(town.all_final)
    await other.stop()
    await sleeper.crash()
    assert len(machine.paid) == 1 and await town.states() == {"paid": 1}
    await town.agrees()


@pytest.fixture
async def wired(dsn: str, world: World) -> AsyncIterator[tuple[Wire, Database]]:
    """The test's database over a wire that a test may break."""
    with tempfile.TemporaryDirectory() as place:
        async with wire_to(dsn, Path(place)) as (wire, url):
            database = await open_database(url, World(Hasty(), world.random), unsafe=True)
            yield wire, database
            await database.close()


@pytest.mark.parametrize("seed", range(3))
async def test_commits_lost_either_way(
    town: Town, machine: Machine, wired: tuple[Wire, Database], seed: int
) -> None:
    """A third of a worker's COMMITs lost, done or not: what is executed was remembered, and the books agree."""
    wire, database = wired
    chance = random.Random(seed)
    await town.pay(*FATES * 3)
    wire.plan = iter(lambda: chance.choice([WHOLE, WHOLE, WHOLE, WHOLE, BEFORE, AFTER]), None)
    process = Process(town, "w", database=database, window=7, batch=3).start()
    await town.until(town.all_final)
    wire.plan = repeat(WHOLE)
    await process.stop()
    assert min(wire.seen[BEFORE], wire.seen[AFTER]) >= 3
    await town.agrees()


# --- a provider that gives one operation to two orders ---


def once(reference: str) -> Callable[[], str | None]:
    given = iter([reference])
    return lambda: next(given, None)


async def test_one_operation_for_two_orders(town: Town, machine: Machine) -> None:
    """An id that an order of an earlier life has is not executed for another: a person is told, and the other is made anew."""
    [first] = await town.pay(PAY)
    await live(town, "a")
    [reference] = machine.operations
    machine.given_again = once(reference)
    [second] = await town.pay(PAY)
    alerts: list[tuple[str, str]] = []
    with capture_logs() as told:
        await live(town, "b", alerts)
    assert await town.attempts(first) == ["settled"] and await town.attempts(second) == ["not_sent", "settled"]
    assert machine.operations[reference].executions == 1 and machine.never_remembered == [reference]
    [line] = [one for one in told if one.get("alert") == ALERT]
    assert (line["log_level"], line["connector"], line["payout"]) == ("error", "machine", str(second.payout_id))
    assert alerts == [("machine", ALERT)]
    text = "\n".join(line.text for line in explain(await read_story(town.desk(), second), town.clock.now()).lines)
    assert f"an operation that is another order's, so it is not executed, {reference}, made for attempt 1 of {first.payout_id}" in text
    await town.agrees()


async def live(town: Town, name: str, alerts: list[tuple[str, str]] | None = None) -> None:
    """A whole life of a process, until all is final."""
    desk = town.desk()
    if alerts is not None:
        desk.on_alert = lambda connector, alert: alerts.append((connector, alert))
    process = Process(town, name, desk=desk).start()
    await town.until(town.all_final)
    await process.stop()


async def test_one_operation_for_two_orders_at_once(town: Town, machine: Machine) -> None:
    """Two workers that hear one id at the same moment: one of them executes it, the other order is made anew, each is paid once."""
    machine.stop_at = "made"
    machine.given_again = lambda: next(iter(machine.operations), None) if machine.stop_at else None
    payouts = await town.pay(PAY, PAY)
    both = [Process(town, name, window=1).start() for name in ("a", "b")]
    await town.until(lambda: stopped(machine, "made", 2))
    [reference] = machine.operations
    machine.stop_at = None
    machine.go.set()
    await town.until(town.all_final)
    for process in both:
        await process.stop()
    assert sorted([await town.attempts(one) for one in payouts]) == [["not_sent", "settled"], ["settled"]]
    assert [one.executions for one in machine.operations.values()] == [1, 1] and machine.never_remembered == [reference]
    assert len(machine.paid) == 2 and (await verify(town.database)).holds


@pytest.mark.parametrize("seed", range(4))
async def test_operations_given_again_and_commits_lost(
    town: Town, machine: Machine, wired: tuple[Wire, Database], seed: int
) -> None:
    """Every third id is one that another order has, and a third of the COMMITs are lost: nobody is paid twice, none by another's."""
    wire, database = wired
    chance = random.Random(seed)
    machine.given_again = lambda: (
        chance.choice(machine.remembered) if machine.remembered and chance.random() < 0.33 else None
    )
    await town.pay(*FATES * 3)
    wire.plan = iter(lambda: chance.choice([WHOLE, WHOLE, WHOLE, WHOLE, BEFORE, AFTER]), None)
    process = Process(town, "w", database=database, window=7, batch=3).start()
    await town.until(town.all_final)
    wire.plan = repeat(WHOLE)
    await process.stop()
    assert await town.rows("SELECT 1 FROM evidence WHERE verdict = 'MadeForAnother'")
    rows = await town.rows("SELECT end_to_end_id, provider_reference FROM attempts WHERE provider_reference IS NOT NULL")
    assert rows and all(machine.operations[reference].identifier == identifier for identifier, reference in rows)
    await town.agrees()


async def test_it_is_explained(town: Town, machine: Machine) -> None:
    """The story of a payout tells which operation was made, that it was found not executed, and that it was executed again."""
    [payout] = await town.pay(LOSE_EXECUTE)
    process = Process(town, "w").start()
    await town.until(town.all_final)
    await process.stop()
    told = explain(await read_story(town.desk(), payout), town.clock.now())
    text = "\n".join(line.text for line in told.lines)
    [reference] = machine.operations
    for part in (f"an operation is made, which moves nothing, {reference}", "the operation is made and not executed",
                 f"the same operation is executed again [attempt 1] ({reference})", "machine answered: paid"):  # fmt: skip
        assert part in text, text


@pytest.mark.parametrize("seed", range(6))
async def test_killed_at_any_moment(town: Town, machine: Machine, seed: int) -> None:
    """Processes killed after a random number of turns, again and again: in the end every payout has its one end."""
    chance = random.Random(seed)
    await town.pay(*FATES * 3)
    for life in range(6):
        process = Process(town, f"w{life}", window=chance.choice([3, 50])).start()
        for _ in range(chance.randrange(1, 12)):
            for _ in range(chance.randrange(1, 200)):
                await asyncio.sleep(0)
            await town.clock.advance(0.02)
        await process.crash()
        await town.lapse()
        for reference in list(machine.on_the_way):
            if chance.random() < 0.5:
                machine.arrive(reference)
    last = Process(town, "last").start()
    await town.until(town.all_final)
    await last.stop()
    for reference in list(machine.on_the_way):
        machine.arrive(reference)
    await town.agrees()
