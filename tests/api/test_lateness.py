"""The bound on answers: late ones are cut off, those in time are not, and nobody else's cancelling is swallowed."""

from __future__ import annotations

import asyncio

import pytest

from disburse.api.lateness import Within
from tests.clock import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


async def waits(within: Within, what: asyncio.Event) -> str:
    """How a block that waits for something ends."""
    try:
        with within():
            await what.wait()
    except TimeoutError:
        return "late"
    return "in time"


async def test_each_has_its_own_time(clock: FakeClock) -> None:
    """Blocks that began at different times are late at different times, and one that ends in time is never touched."""
    within, never, soon = Within(clock, 8), asyncio.Event(), asyncio.Event()
    first, quick = asyncio.create_task(waits(within, never)), asyncio.create_task(waits(within, soon))
    await clock.advance(3)
    second = asyncio.create_task(waits(within, never))
    await clock.advance(4.9)
    soon.set()
    await clock.advance(0.2)
    assert (await first, await quick) == ("late", "in time")
    await clock.advance(2.8)
    assert not second.done()
    await clock.advance(0.2)
    assert await second == "late"
    again = asyncio.create_task(waits(within, never))
    await clock.advance(7.9)
    assert not again.done()
    await clock.advance(0.2)
    assert await again == "late"


async def test_a_cancelled_task_stays_cancelled(clock: FakeClock) -> None:
    """Whoever cancels the task cancels it, before the time is over and in the same moment."""
    for late in (False, True):
        within = Within(clock, 8)
        task = asyncio.create_task(waits(within, asyncio.Event()))
        await clock.advance(1)
        task.cancel()
        if late:
            (block,) = within._blocks
            within._blocks[block] = 0.0
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_errors_pass(clock: FakeClock) -> None:
    """An error of the block is told as it is, and a TimeoutError of its own too."""
    within = Within(clock, 8)
    with pytest.raises(KeyError), within():
        raise KeyError("x")
    with pytest.raises(TimeoutError, match="own"), within():
        raise TimeoutError("own")
    with within():
        pass
