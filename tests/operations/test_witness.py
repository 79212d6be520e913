"""A worker as the witness of a failover: what it finds of its own heartbeats in the database decides whether anybody goes on.

A failover is played by telling the installation's row, and the process, of an earlier timeline than the server's: to both the database
is then on a later one than they left.
"""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from disburse.domain.ports import World
from disburse.operations.installation import open_installation, release_quarantine, wait_for_witness
from disburse.operations.witness import FRESH_S, OTHERS_S, Witness, Word
from disburse.storage.database import Database, StoreUnavailable, open_database
from disburse.storage.lineage import lineage_of
from tests.clock import FakeClock
from tests.operations.wire import AFTER, BEFORE, WHOLE, wire_to

KEY = b"a key check"
PATIENCE_S = 30.0


class Town:
    """An installation, its workers' witnesses, and hands to change what is stored under them."""

    def __init__(self, database: Database, world: World, dsn: str) -> None:
        self.database, self.dsn = database, dsn
        self.clock = FakeClock()
        self.world = World(clock=self.clock, random=world.random)
        self.words: list[Word] = []

    async def open(self) -> Town:
        self.installation = await self.database.run(lambda tx: open_installation(tx, self.world, KEY))
        self.database.trusted = self.installation.lineage
        return self

    def witness(self, *, needs_standby: bool = False, database: Database | None = None) -> Witness:
        made = Witness(database or self.database, self.world, self.installation.installation_id, needs_standby=needs_standby)
        made.on_word = self.words.append
        return made

    async def owner(self, sql: str) -> Any:
        connection = await asyncpg.connect(self.dsn, server_settings={"search_path": "disburse"})
        try:
            return await connection.fetchrow(sql) if sql.startswith("SELECT") else await connection.execute(sql)
        finally:
            await connection.close()

    async def promoted(self, *databases: Database) -> None:
        """From now on the database is on a later timeline than the one that was accepted."""
        await self.owner("UPDATE installation SET timeline = timeline - 1")
        await self.owner("UPDATE workers SET vouches_for = vouches_for - 1")
        before = self.installation.lineage
        for one in databases or (self.database,):
            one.trusted = replace(before, timeline=before.timeline - 1)

    async def row(self) -> tuple[bool, str | None, str | None]:
        """Whether the present timeline is accepted, by whom, and who disputes it."""
        row = await self.owner("SELECT timeline, released_by, disputed_by FROM installation")
        return row["timeline"] == self.installation.lineage.timeline, row["released_by"], row["disputed_by"]

    async def works(self) -> bool:
        """Whether this process does any work on the database."""
        try:
            await self.database.run(lambda tx: tx.fetchval("SELECT 1"), deadline=self.database._clock.monotonic())
        except StoreUnavailable:
            return False
        return True


@pytest.fixture
async def town(database: Database, world: World, dsn: str) -> Town:
    """An installation that nothing has happened to."""
    return await Town(database, world, dsn).open()


async def test_a_witness_accepts_a_failover(town: Town) -> None:
    """Its last acknowledged heartbeat is there: it accepts the timeline, says who and when, and work goes on. Before, none does."""
    witness = town.witness()
    assert [await witness.beat("a") for _ in range(3)] == [Word.SAME] * 3
    await town.promoted()
    assert not await town.works() and witness.unsettled
    assert await witness.beat("a") is Word.VOUCHED
    assert await town.works() and not witness.unsettled
    assert await town.row() == (True, "worker:a", None) and town.words == [Word.VOUCHED]
    assert await witness.beat("a") is Word.SAME
    assert (await town.owner("SELECT released_at FROM installation"))[0] == town.clock.now()


@pytest.mark.parametrize(
    "loss", ["DELETE FROM workers", "UPDATE workers SET beat = beat - 1", "UPDATE workers SET worker_id = 'another', beat = 7"]
)
@pytest.mark.parametrize("promoted", [True, False])
async def test_lost_history_stops_everybody(town: Town, loss: str, promoted: bool) -> None:
    """A heartbeat that was acknowledged is missing: its worker is in quarantine, and all others; so is whoever starts. A person releases."""
    witness, other = town.witness(), town.witness()
    assert [await witness.beat("a"), await other.beat("b")] == [Word.SAME] * 2
    await town.owner(f"{loss} {'AND' if 'WHERE' in loss else 'WHERE'} worker_id = 'a'")
    if promoted:
        await town.promoted()
    assert await witness.beat("a") is Word.LOST and witness.lost.is_set()
    assert (await town.row())[1:] == (None, "worker:a")
    assert await other.beat("b") is Word.DISPUTED and other.lost.is_set()
    assert await town.works(), "doors go on, as those of any restored database"
    opened = await town.database.run(lambda tx: open_installation(tx, town.world, KEY))
    assert opened.quarantined and not opened.may_continue
    await town.database.run(lambda tx: release_quarantine(tx, town.clock.now(), "operator:1"))
    assert not (await town.database.run(lambda tx: open_installation(tx, town.world, KEY))).quarantined
    assert await witness.beat("a") is Word.LOST, "it is started anew"
    assert town.words == [Word.LOST, Word.DISPUTED]


@pytest.mark.parametrize("fate", [BEFORE, AFTER])
async def test_an_unknown_heartbeat_may_be_there_or_not(town: Town, world: World, dsn: str, tmp_path: Path, fate: str) -> None:
    """A COMMIT without an answer proves nothing either way: the heartbeat before it decides."""
    async with wire_to(dsn, tmp_path) as (wire, address):
        database = await open_database(address, world, unsafe=True)
        database.trusted = town.installation.lineage
        try:
            witness = town.witness(database=database)
            assert await witness.beat("a") is Word.SAME
            wire.plan = itertools.repeat(fate)
            unknown = asyncio.create_task(witness.beat("a"))
            async with asyncio.timeout(PATIENCE_S):
                while not wire.seen[fate]:
                    await asyncio.sleep(0)
            unknown.cancel()
            await asyncio.gather(unknown, return_exceptions=True)
            wire.plan = itertools.repeat(WHOLE)
            assert (await stored(town, 2 if fate == AFTER else 1))["beat"] == (2 if fate == AFTER else 1)
            await town.promoted(database)
            assert await witness.beat("a") is Word.VOUCHED
        finally:
            await database.close()


async def stored(town: Town, number: int) -> Any:
    """The worker's row, once the server has done what was sent to it."""
    async with asyncio.timeout(PATIENCE_S):
        while (row := await town.owner("SELECT beat FROM workers"))["beat"] != number:
            pass
    return row


async def test_every_living_worker_is_asked(town: Town) -> None:
    """A witness waits for the word of the others that it saw alive; the last one's accepts."""
    a, b = town.witness(), town.witness()
    for _ in range(2):
        assert [await a.beat("a"), await b.beat("b")] == [Word.SAME] * 2
    await town.promoted()
    assert await a.beat("a") is Word.WAITING and not await town.works()
    assert await b.beat("b") is Word.VOUCHED
    assert await a.beat("a") is Word.SAME and await town.row() == (True, "worker:b", None)


async def test_a_silent_worker_is_not_waited_for_long(town: Town) -> None:
    """One that died with the primary would keep all others out for ever."""
    a, b = town.witness(), town.witness()
    for _ in range(2):
        assert [await a.beat("a"), await b.beat("b")] == [Word.SAME] * 2
    await town.promoted()
    assert await a.beat("a") is Word.WAITING
    await town.clock.advance(OTHERS_S - 0.1)
    assert await a.beat("a") is Word.WAITING
    await town.clock.advance(0.2)
    assert await a.beat("a") is Word.VOUCHED


async def test_a_dead_worker_is_not_asked(town: Town) -> None:
    """A heartbeat that has not moved for some of ours is nobody's."""
    a, b = town.witness(), town.witness()
    assert await b.beat("b") is Word.SAME
    for _ in range(6):
        assert await a.beat("a") is Word.SAME
    await town.promoted()
    assert await a.beat("a") is Word.VOUCHED


async def test_a_late_objection_stops_everybody(town: Town) -> None:
    """A worker that was frozen through the failover misses its heartbeat when it wakes: what another accepted meanwhile ends."""
    a, frozen = town.witness(), town.witness()
    assert [await frozen.beat("b"), await a.beat("a")] == [Word.SAME] * 2
    await town.owner("DELETE FROM workers WHERE worker_id = 'b'")
    await town.promoted()
    assert await a.beat("a") is Word.WAITING
    await town.clock.advance(OTHERS_S)
    assert await a.beat("a") is Word.VOUCHED
    assert await frozen.beat("b") is Word.LOST
    assert await a.beat("a") is Word.DISPUTED and (await town.row())[2] == "worker:b"


async def test_an_old_memory_vouches_for_nothing(town: Town) -> None:
    """A worker that was frozen or cut off for long knows nothing of what others did meanwhile: it waits for another's word, or a person's."""
    witness, other = town.witness(), town.witness()
    assert await witness.beat("a") is Word.SAME
    await town.clock.advance(FRESH_S + 1)
    assert await other.beat("b") is Word.SAME
    await town.promoted()
    assert [await witness.beat("a"), await other.beat("b")] == [Word.WAITING] * 2
    await town.clock.advance(OTHERS_S)
    assert await witness.beat("a") is Word.WAITING
    assert await other.beat("b") is Word.VOUCHED
    assert await witness.beat("a") is Word.SAME


async def test_without_a_synchronous_standby_nobody_vouches(town: Town) -> None:
    """A failover to an asynchronous standby may lose what came after the heartbeat: that is for a person."""
    witness = town.witness(needs_standby=True)
    assert await witness.beat("a") is Word.SAME
    await town.promoted()
    assert await witness.beat("a") is Word.WAITING
    await town.clock.advance(OTHERS_S)
    assert await witness.beat("a") is Word.WAITING and not await town.works()
    await town.database.run(lambda tx: release_quarantine(tx, town.clock.now(), "operator:1"), anywhere=True)
    assert await witness.beat("a") is Word.SAME and await town.works()


async def test_a_worker_that_just_started_knows_nothing(town: Town) -> None:
    """One worker alone that starts after the failover has no memory: a person decides, and it goes on by itself then."""
    await town.promoted()
    witness = town.witness()
    assert [await witness.beat("a"), await witness.beat("a")] == [Word.WAITING] * 2
    await town.database.run(lambda tx: release_quarantine(tx, town.clock.now(), "operator:1"), anywhere=True)
    assert await witness.beat("a") is Word.SAME


async def test_a_person_knows_more_than_a_memory(town: Town) -> None:
    """After a person's release a worker that misses its heartbeat stops, and stops nobody else."""
    witness, other = town.witness(), town.witness()
    assert await witness.beat("a") is Word.SAME
    await town.owner("DELETE FROM workers")
    await town.promoted()
    await town.database.run(lambda tx: release_quarantine(tx, town.clock.now(), "operator:1"), anywhere=True)
    assert await witness.beat("a") is Word.LOST and await town.row() == (True, "operator:1", None)
    assert await other.beat("b") is Word.SAME


async def test_another_database_is_nobodys_failover(town: Town) -> None:
    """A copy of a dump has another system identifier, and what leads to another installation is not ours to stop."""
    witness, stranger = town.witness(), town.witness()
    assert [await witness.beat("a"), await stranger.beat("b")] == [Word.SAME] * 2
    await town.owner("UPDATE installation SET system_identifier = system_identifier + 1")
    assert await witness.beat("a") is Word.FOREIGN and witness.lost.is_set()
    await town.owner("DELETE FROM workers")
    await town.owner("UPDATE installation SET installation_id = '00000000-0000-7000-8000-000000000009'")
    assert await stranger.beat("b") is Word.FOREIGN and (await town.row())[2] is None


async def test_doors_wait_for_a_witness(town: Town, world: World, dsn: str) -> None:
    """A process without heartbeats works again once a worker has accepted; it says nothing itself."""
    own = await open_database(dsn, world, unsafe=True)
    own.trusted = town.installation.lineage
    try:
        worker, door = town.witness(database=own), town.witness()
        assert await worker.beat("a") is Word.SAME
        await town.promoted(own, town.database)
        assert [await door.look(), await door.look()] == [Word.WAITING] * 2 and not await town.works()
        assert await worker.beat("a") is Word.VOUCHED
        assert await door.look() is Word.SAME and await town.works()
    finally:
        await own.close()


async def test_who_starts_waits_for_a_witness(town: Town) -> None:
    """A process that starts on a timeline that nobody has accepted waits for a worker's word, and not for ever."""
    witness = town.witness()
    assert await witness.beat("a") is Word.SAME
    await town.promoted()
    town.database.trusted = None  # as in a process that starts
    opened = await town.database.run(lambda tx: open_installation(tx, town.world, KEY))
    assert opened.quarantined and opened.may_continue
    for heard in (False, True):
        waiting = asyncio.create_task(wait_for_witness(town.database, town.world, KEY, opened, 20))
        if heard:
            assert await witness.beat("a") is Word.VOUCHED
        async with asyncio.timeout(PATIENCE_S):
            while not waiting.done():  # time passes only as it waits: while it reads, a witness's memory would grow old
                await town.clock.advance(0.5 if town.clock.asleep else 0.0)
        assert (await waiting).quarantined is not heard


async def test_a_database_that_was_left_behind_is_not_worked_on(town: Town) -> None:
    """A primary on an earlier timeline than we worked on is no place to go back to; one that lacks our heartbeats stops everybody."""
    witness = town.witness()
    assert await witness.beat("a") is Word.SAME
    before = town.installation.lineage
    town.database.trusted = replace(before, timeline=before.timeline + 1)
    assert not await town.works()
    assert [await witness.beat("a"), await town.witness().look()] == [Word.WAITING] * 2 and not await town.works()
    await town.owner("UPDATE workers SET beat = 0")
    assert await witness.beat("a") is Word.LOST and (await town.row())[2] == "worker:a"
    assert await town.database.run(lineage_of) == before
