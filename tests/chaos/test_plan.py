"""The plan of a chaos run: one seed is one plan, whole and within its time; and the lines, clocks and disks that carry it out."""

from __future__ import annotations

import asyncio
import os
import random
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from disburse.cli.two_line import Way
from disburse.domain.checks import passes_luhn
from scripts.chaos import nemesis
from scripts.chaos.clocks import Clocks
from scripts.chaos.lines import BOTH, Edge
from scripts.chaos.plan import CALM_S, DATABASE_AHEAD_S, KINDS, LEASE_S, LINES, PROGRAMS, count_by_kind, draw_plan
from scripts.chaos.report import WANTED_DATABASE_KILLS, WANTED_PROCESS_KILLS, WITHIN_S, Outcome
from scripts.chaos.run import canary_cards


def test_one_seed_is_one_plan() -> None:
    """The same seed draws the same faults at the same times, another one others."""
    assert draw_plan(1, 300) == draw_plan(1, 300) != draw_plan(2, 300)


@pytest.mark.parametrize("seconds", [10, 60, 300, 3600])
def test_a_plan_is_whole(seconds: float) -> None:
    """Every kind comes in every run; no fault begins or lasts outside it; as many kills are planned as are wanted."""
    plan = draw_plan(7, seconds)
    counts = count_by_kind(plan)
    assert set(counts) == {kind.name for kind in KINDS}
    assert all(CALM_S[0] <= one.at_s and one.at_s + one.for_s <= seconds + 0.1 for one in plan)
    assert counts["kill"] >= WANTED_PROCESS_KILLS * seconds / 300 and counts["kill database"] >= WANTED_DATABASE_KILLS * seconds / 300
    assert plan == sorted(plan, key=lambda one: one.at_s)
    assert all(one.size <= DATABASE_AHEAD_S for one in plan if (one.kind, one.target) == ("clock", "database"))
    assert all(one.for_s > LEASE_S for one in plan if one.kind == "freeze past the lease" and one.at_s < seconds - LEASE_S - 3)


def test_somebody_knows_how_to_do_each_kind() -> None:
    """Each kind of the plan has its case in the nemesis, and no case is for nothing."""
    cases = re.findall(r"case (\"[^:]+):", Path(nemesis.__file__).read_text("utf-8"))
    assert {name for case in cases for name in re.findall(r'"([^"]+)"', case)} == {kind.name for kind in KINDS}


def test_every_target_is_met() -> None:
    """An hour's plan harms every program, every line, the doors, PostgreSQL's postmaster, children, keeper and sessions."""
    met = {one.target for one in draw_plan(3, 3600)}
    assert met >= {*PROGRAMS, *LINES, "door", "postmaster", "child", "keeper", "sessions", "database"}


def test_canary_cards_are_cards() -> None:
    """The numbers pass the check digit, so that the doors take them, and a run's are all different."""
    cards = canary_cards(random.Random(1), 50)
    assert all(passes_luhn(card) for card in cards) and len(set(cards)) == 50


def test_a_run_that_proves_too_little_is_wrong() -> None:
    """Too few kills, a doubt that lasts too long or too few payouts make a run fail, also where all books agree."""
    told = Outcome(1, 300, acknowledged=300, sure_after_s=1.0, over_after_s=WITHIN_S)
    told.done.update({"kill": 100, "kill database": 20})
    told.judge()
    assert told.wrong == []
    bad = Outcome(1, 300, sure_after_s=WITHIN_S + 1)
    bad.judge()
    assert len(bad.wrong) == 5


# --- what carries it out -------------------------------------------------------------------------------------------------


@asynccontextmanager
async def echoing() -> AsyncIterator[Edge]:
    """An edge in front of a server that answers each byte with itself."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    edge = Edge(random.Random(5), server.sockets[0].getsockname()[1])
    await edge.open()
    try:
        yield edge
    finally:
        await edge.close()
        server.close()


async def call(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes = b"ping") -> bytes:
    writer.write(data)
    return await reader.readexactly(len(data))


@pytest.mark.parametrize("ways", [(Way.THERE,), (Way.BACK,), BOTH])
async def test_a_silent_line_holds_what_it_was_given(ways: tuple[Way, ...]) -> None:
    """Nothing comes while a line is silent, whichever way; when it heals everything comes, in order."""
    async with echoing() as edge:
        reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
        assert await call(reader, writer) == b"ping"
        edge.hush(*ways)
        answer = asyncio.create_task(call(reader, writer, b"pong"))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(answer), 0.1)
        edge.heal(*ways)
        assert await answer == b"pong"
        writer.close()


async def test_a_half_open_connection_is_told_nothing() -> None:
    """Whoever stands before the line hears nothing of the end behind it until the line heals."""
    async with echoing() as edge:
        reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
        assert await call(reader, writer) == b"ping"
        edge.orphan()
        ended = asyncio.create_task(reader.read())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(ended), 0.1)
        edge.heal(*BOTH)
        with pytest.raises(ConnectionError):
            assert await ended == b""
            raise ConnectionResetError
        writer.close()


async def test_a_refused_connection_was_never_made() -> None:
    """While nobody listens a connection is refused, which proves that nothing was sent; afterwards the port is the same."""
    async with echoing() as edge:
        port, refusing = edge.port, asyncio.create_task(edge.refuse(0.1))
        await asyncio.sleep(0.02)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        await refusing
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await call(reader, writer) == b"ping" and edge.port == port
        writer.close()


async def test_slices_come_whole() -> None:
    """In pieces of at most seven bytes every byte comes, in order."""
    async with echoing() as edge:
        slicing = asyncio.create_task(edge.slice(7, 5))
        reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
        data = bytes(range(250))
        assert await call(reader, writer, data) == data
        slicing.cancel()
        writer.close()


def test_a_clock_jumps_while_its_process_runs(tmp_path: Path) -> None:
    """A process with the preload sees its wall clock jump both ways, and its monotonic one go on; or the lack is said."""
    clocks = Clocks(tmp_path)
    if clocks.lacking is not None:
        assert "cc" in clocks.lacking or "Linux" in clocks.lacking
        return
    program = "import time\nwhile input(): print(time.time(), time.monotonic(), flush=True)"
    child = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, **clocks.environment("one")},
    )  # fmt: skip
    with child:
        assert child.stdin is not None and child.stdout is not None
        seen = []
        for off_s in (0, 7200.5, -86400):
            clocks.set("one", off_s)
            child.stdin.write("look\n")
            child.stdin.flush()
            seen.append([float(word) for word in child.stdout.readline().split()])
        child.stdin.close()
        child.kill()
    assert seen[1][0] - seen[0][0] == pytest.approx(7200.5, abs=5) and seen[2][0] - seen[0][0] == pytest.approx(-86400, abs=5)
    assert 0 <= seen[2][1] - seen[0][1] < 5
