"""A simulated process: its clock and chance are its own, and once it was killed its ports are inert."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from disburse.simulation.backend import Backend
from disburse.simulation.network import SimTransport
from disburse.simulation.process import DAWN, Process, ProcessDead
from disburse.simulation.store import SimPool
from tests.simulation.bare import Bare


def test_a_clock_may_be_off(bare: Bare) -> None:
    """A process's clock that is off shows another time of day, and measures the same seconds."""
    right, wrong = bare.process("right").clock, bare.process("wrong").clock
    wrong.off = timedelta(days=-3650)
    assert (right.now(), wrong.now()) == (DAWN, DAWN - timedelta(days=3650))

    async def wait() -> None:
        await wrong.sleep(7)

    bare.run(wait())
    assert right.monotonic() == wrong.monotonic() == 7.0
    assert right.now() == DAWN + timedelta(seconds=7) == wrong.now() + timedelta(days=3650)


def test_a_time_limit_is_virtual(bare: Bare) -> None:
    """A process's time limit is reached in virtual time."""
    process = bare.process("a")

    async def too_long() -> float:
        with pytest.raises(TimeoutError):
            async with process.clock.timeout(3600):
                await process.clock.sleep(86_400)
        return process.clock.monotonic()

    assert bare.within(process, too_long(), 100_000.0) == 3600.0


def test_death_is_told_once(bare: Bare) -> None:
    """Who asked to be told of a death is told once; a frozen process that is killed is not frozen any more."""
    process, told = bare.process("a"), list[str]()
    process.on_death.append(lambda: told.append("dead"))
    process.frozen = True
    process.kill()
    process.kill()
    assert (told, process.dead, process.frozen) == (["dead"], True, False)


def test_nobody_catches_a_death() -> None:
    """`except Exception` does not catch what a dead process's port raises."""
    assert not issubclass(ProcessDead, Exception)


def test_what_it_raised_is_kept(bare: Bare) -> None:
    """What a process's work raised is kept; being cancelled is no failure."""
    process = bare.process("a")

    async def fail() -> None:
        raise ValueError("a mistake")

    async def both() -> None:
        failing, waiting = process.start(fail()), process.start(asyncio.sleep(10))
        await asyncio.sleep(1)
        waiting.cancel()
        await asyncio.wait([failing, waiting])
        await asyncio.sleep(1)

    bare.run(both())
    assert [str(fault) for fault in process.failed] == ["a mistake"]


async def _acquire(pool: SimPool) -> Any:
    return await pool.acquire()


def test_ports_are_inert_after_death(bare: Bare, backend: Backend) -> None:
    """Each port of a killed process raises ProcessDead and does nothing: no statement, no end of one, no session, no call."""
    victim, store = bare.process("victim"), bare.store(backend)
    pool, transport = SimPool(store, victim, 3), SimTransport(victim, bare.net)
    called: list[str] = []
    bare.net.noted = lambda process, what: called.append(what)
    session = bare.run(_acquire(pool))
    victim.kill()
    before = backend.calls
    for port in (
        lambda: session.execute("INSERT INTO workers VALUES ('w', $1)", DAWN),
        lambda: session.execute("BEGIN"),
        lambda: session.execute("ROLLBACK"),
        lambda: session.fetch("SELECT 1"),
        lambda: session.add_listener("work", lambda: None),
        lambda: pool.acquire(),
        lambda: pool.execute("SELECT pg_notify($1, '')", "work"),
        lambda: transport.send("POST", "http://bank/payouts", deadline_s=1),
    ):
        with pytest.raises(ProcessDead):
            bare.run(port())
    session.terminate()
    bare.run(pool.release(session))
    assert (backend.calls, called) == (before, [])


def test_a_death_ends_its_sessions(bare: Bare, backend: Backend) -> None:
    """When a process dies inside a transaction, the transaction is rolled back and the next one in the line may begin."""
    victim, other, store = bare.process("victim"), bare.process("other"), bare.store(backend)
    pools = SimPool(store, victim, 1), SimPool(store, other, 1)

    async def write(process: Process, pool: SimPool) -> str:
        session = await pool.acquire()
        await session.execute("BEGIN")
        await session.execute("INSERT INTO workers VALUES ($1, $2)", process.name, DAWN)
        if process is victim:
            await process.die_here()
        await session.execute("COMMIT")
        return "committed"

    assert bare.within(victim, write(victim, pools[0])) == "dead"
    assert bare.within(other, write(other, pools[1])) == "committed"
    assert [row[0] for row in backend.look("SELECT worker_id FROM workers ORDER BY worker_id")] == ["other"]
    assert bare.committed == ["other"]
