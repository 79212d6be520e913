"""The loop: virtual time leaps, a process's line keeps its order, the frozen stand still and the dead run nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from disburse.simulation.loop import Endless, Stuck
from disburse.simulation.process import Process
from tests.simulation.bare import Bare

NAMES = ("a", "b", "c")


async def _steps(said: list[tuple[str, int]], name: str, count: int = 5) -> None:
    for number in range(count):
        said.append((name, number))
        await asyncio.sleep(0)


def _talk(stage: Bare) -> list[tuple[str, int]]:
    """What three processes say that have five steps each."""
    said: list[tuple[str, int]] = []

    async def all_of_them() -> None:
        await asyncio.gather(*[stage.process(name).start(_steps(said, name)) for name in NAMES])

    stage.run(all_of_them())
    return said


def test_time_leaps(bare: Bare) -> None:
    """Who sleeps for days wakes at exactly that moment, and no time passes while there is something to do."""

    async def sleeper() -> list[float]:
        seen = []
        for seconds in (0.0, 1.5, 3 * 86_400.0):
            await asyncio.sleep(seconds)
            seen.append(bare.loop.time())
            await _steps([], "x")
        return seen

    assert bare.run(sleeper()) == [0.0, 1.5, 1.5 + 3 * 86_400.0]


def test_timers_ring_in_order_of_time(bare: Bare) -> None:
    """Timers ring in the order of their times, whatever the order they were set in; a cancelled one moves nothing."""
    rung: list[tuple[int, float]] = []

    def ring(seconds: int) -> None:
        rung.append((seconds, bare.loop.time()))

    async def set_them() -> None:
        for seconds in (5, 1, 3):
            bare.loop.call_later(seconds, ring, seconds)
        bare.loop.call_later(4, rung.append, (4, 0.0)).cancel()
        await asyncio.sleep(5)

    bare.run(set_them())
    assert rung == [(1, 1.0), (3, 3.0), (5, 5.0)]


def test_a_process_keeps_its_order(bare: Bare) -> None:
    """What one process has to do it does first in, first out, whoever else has a turn in between."""
    said = _talk(bare)
    for name in NAMES:
        assert [number for who, number in said if who == name] == [0, 1, 2, 3, 4]


def test_a_line_is_first_in_first_out(bare: Bare) -> None:
    """Tasks of one process take turns in the order they were started."""
    process, said = bare.process("a"), list[tuple[str, int]]()

    async def start() -> None:
        await asyncio.gather(*[process.start(_steps(said, name, 2)) for name in NAMES])

    bare.run(start())
    assert said == [("a", 0), ("b", 0), ("c", 0), ("a", 1), ("b", 1), ("c", 1)]


def test_the_seed_picks_who_is_next(bare_of: Callable[[int], Bare]) -> None:
    """One seed gives one order and one trace every time; other seeds give others."""
    stages = [bare_of(seed) for seed in (1, 1, 2, 3, 4)]
    talks = [_talk(stage) for stage in stages]
    assert talks[0] == talks[1] and stages[0].trace.digest() == stages[1].trace.digest()
    assert len({tuple(talk) for talk in talks}) >= 3
    assert len({stage.trace.digest() for stage in stages}) == len({tuple(talk) for talk in talks})


def test_the_frozen_stand_still(bare: Bare) -> None:
    """A frozen process takes no step while time goes on, and wakes where it stood, its timers long due."""
    process, seen = bare.process("a"), list[float]()

    async def tick() -> None:
        for _ in range(4):
            await asyncio.sleep(1)
            seen.append(bare.loop.time())

    async def freeze() -> None:
        task = process.start(tick())
        await asyncio.sleep(1.5)
        process.frozen = True
        await asyncio.sleep(100)
        assert seen == [1.0]
        process.frozen = False
        await task

    bare.run(freeze())
    assert seen == [1.0, 101.5, 102.5, 103.5]


async def _with_finally(said: list[str], process: Process | None = None) -> None:
    try:
        said.append("began")
        await asyncio.sleep(1)
        said.append("went on")
    except BaseException:
        said.append("caught")
        raise
    finally:
        said.append("finally")


@pytest.mark.parametrize("when", [0.0, 0.5])
def test_the_dead_run_nothing(bare: Bare, when: float) -> None:
    """A killed process does not go on: no line after the one it stood at, no `except`, no `finally`; the others go on."""
    victim, other = bare.process("victim"), bare.process("other")
    said: list[str] = []
    lived: list[str] = []

    async def kill() -> None:
        victim.start(_with_finally(said))
        task = other.start(_with_finally(lived))
        await asyncio.sleep(when)
        came_as_far = list(said)
        victim.kill()
        await task
        await asyncio.sleep(10)
        assert said == came_as_far

    bare.run(kill())
    assert said in ([], ["began"])
    assert lived == ["began", "went on", "finally"]


def test_the_dead_do_not_answer(bare: Bare) -> None:
    """Who waits for a task of a killed process waits: nobody tells that a process died."""
    victim = bare.process("victim")
    assert bare.within(victim, _dies(victim)) == "dead"
    assert victim.failed == []


async def _dies(process: Process) -> str:
    await process.die_here()
    return "lived on"


def test_what_started_after_death_never_runs(bare: Bare) -> None:
    """Work that is given to a dead process is not begun."""
    victim, said = bare.process("victim"), list[str]()
    victim.kill()
    assert bare.within(victim, _with_finally(said)) == "dead"
    assert said == []


def test_nothing_to_do_is_said(bare: Bare) -> None:
    """A run that waits for what nobody will do ends with Stuck, in no time."""

    async def wait_for_nobody() -> None:
        await bare.loop.create_future()

    with pytest.raises(Stuck):
        bare.run(wait_for_nobody())


def test_all_frozen_is_stuck(bare: Bare) -> None:
    """A run in which only a frozen process has something to do is stuck as well."""
    process = bare.process("a")
    process.frozen = True

    async def wait() -> None:
        await process.start(_steps([], "a"))

    with pytest.raises(Stuck):
        bare.run(wait())


def test_a_circle_is_endless(bare: Bare, monkeypatch: pytest.MonkeyPatch) -> None:
    """What turns in a circle is ended after the most steps that any day may have."""
    monkeypatch.setattr("disburse.simulation.loop.MOST_STEPS", 1000)

    async def circle() -> None:
        while True:
            await asyncio.sleep(0)

    with pytest.raises(Endless):
        bare.run(circle())
    assert bare.trace.steps == 1001


def test_there_are_no_threads(bare: Bare) -> None:
    """What is meant for a thread runs at once, in its place; what it raises comes out of the wait."""

    async def ask() -> tuple[int, list[str]]:
        order = ["before"]
        future = bare.loop.run_in_executor(None, order.append, "thread")
        order.append("after")
        await future
        with pytest.raises(ZeroDivisionError):
            await bare.loop.run_in_executor(None, lambda: 1 // 0)
        return await bare.loop.run_in_executor(None, lambda: 42), order

    assert bare.run(ask()) == (42, ["before", "thread", "after"])
