"""Group commit on real PostgreSQL: who travels together, who is isolated, and what a broken database makes of a promise."""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from itertools import repeat
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from disburse.domain.money import MAX_MINOR, Money
from disburse.domain.ports import World
from disburse.operations import merchants, payouts
from disburse.operations.group_commit import LARGEST, GroupCommit, Withdrawn
from disburse.operations.merchants import TopUp
from disburse.operations.payouts import CreatePayout, Found, InsufficientFunds
from disburse.storage.database import Database, StoreUnavailable, Transaction, open_database
from tests.clock import FakeClock
from tests.operations.shop import Shop
from tests.operations.wire import AFTER, BEFORE, WHOLE, Wire, wire_to

PATIENCE_S = 30.0


class Gate:
    """An operation that answers each command with itself, inside a real transaction that waits until the gate is open."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.batches: list[tuple[int, list[int]]] = []
        self.inside = self.most = 0

    async def __call__(self, tx: Transaction, shard: int, commands: Sequence[int]) -> list[int]:
        self.batches.append((shard, list(commands)))
        self.inside += 1
        self.most = max(self.most, self.inside)
        await self.open.wait()
        seen = await tx.fetchval("SELECT count(*) FROM unnest($1::int4[])", list(commands))
        self.inside -= 1
        assert seen == len(commands)
        return list(commands)

    async def entered(self, count: int = 1) -> None:
        """Wait until so many transactions have begun."""
        async with asyncio.timeout(PATIENCE_S):
            while len(self.batches) < count:
                await asyncio.sleep(0)


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
async def wire(dsn: str) -> AsyncIterator[tuple[Wire, str]]:
    """A wire to the test's own database, and the URL to use it by."""
    with tempfile.TemporaryDirectory() as place:
        async with wire_to(dsn, Path(place)) as found:
            yield found


@pytest.fixture
async def wired(wire: tuple[Wire, str], world: World) -> AsyncIterator[Database]:
    """The test's own database, reached over the wire."""
    database = await open_database(wire[1], world, unsafe=True)
    yield database
    await database.close()


async def all_of(queue: GroupCommit[Any, Any], commands: Sequence[Any], **more: Any) -> list[Any]:
    """What each command was answered, exceptions too."""
    return await asyncio.gather(*[queue.submit(0, command, **more) for command in commands], return_exceptions=True)


# --- who travels together ---


async def test_what_arrives_in_flight_is_the_next_transaction(database: Database, world: World, gate: Gate) -> None:
    """While one transaction is in flight everything that arrives waits, and travels together in the next."""
    sizes: list[int] = []
    queue = GroupCommit(database, gate, world.clock, writers=1, sizes=sizes.append)
    first = asyncio.create_task(queue.submit(0, 1))
    await gate.entered()
    rest = asyncio.gather(*[queue.submit(0, n) for n in range(2, 90)])
    await asyncio.sleep(0)
    assert len(gate.batches) == 1 and queue.depth == 88
    gate.open.set()
    assert await first == 1 and await rest == list(range(2, 90))
    assert sizes == [1, 88] and queue.depth == 0


async def test_what_arrives_together_travels_together(database: Database, world: World, gate: Gate) -> None:
    """Commands of one turn of the loop share the first transaction, without any waiting timer."""
    gate.open.set()
    queue = GroupCommit(database, gate, world.clock)
    assert await all_of(queue, range(50)) == list(range(50))
    assert [len(batch) for _, batch in gate.batches] == [50]


async def test_after_company_a_writer_rests(database: Database, world: World, gate: Gate) -> None:
    """After a transaction that carried several the next begins a moment later; who came alone made nobody wait."""
    gate.open.set()
    clock = FakeClock()
    queue = GroupCommit(database, gate, clock, writers=1, rest_s=0.002)
    assert await queue.submit(0, 1) == 1 and await queue.submit(0, 2) == 2 and clock.asleep == 0
    assert await all_of(queue, [3, 4]) == [3, 4]
    later = asyncio.create_task(all_of(queue, [5, 6, 7]))
    while not clock.asleep or queue.depth < 3:
        await asyncio.sleep(0)
    assert len(gate.batches) == 3
    await clock.advance(0.002)
    assert await later == [5, 6, 7] and gate.batches[3:] == [(0, [5, 6, 7])]


async def test_never_more_than_the_largest(database: Database, world: World, gate: Gate) -> None:
    """No transaction carries more than the largest batch, and order is kept."""
    gate.open.set()
    queue = GroupCommit(database, gate, world.clock, writers=1)
    assert await all_of(queue, range(1201)) == list(range(1201))
    assert LARGEST == 500 and [len(batch) for _, batch in gate.batches] == [500, 500, 201]
    assert [one for _, batch in gate.batches for one in batch] == list(range(1201))


@pytest.mark.parametrize("writers", [1, 2, 3])
async def test_never_more_than_so_many_writers(database: Database, world: World, gate: Gate, writers: int) -> None:
    """A bucket has at most so many transactions in flight, and has them when there is enough to do."""
    queue = GroupCommit(database, gate, world.clock, writers=writers, largest=5)
    answers = asyncio.create_task(all_of(queue, range(40)))
    await gate.entered(writers)
    for _ in range(20):
        await asyncio.sleep(0)
    assert gate.inside == writers
    gate.open.set()
    assert await answers == list(range(40)) and gate.most == writers


async def test_buckets_do_not_mix(database: Database, world: World, gate: Gate) -> None:
    """A transaction serves one bucket, and one bucket does not wait for another."""
    queue = GroupCommit(database, gate, world.clock, writers=1)
    answers = asyncio.gather(*[queue.submit(n % 3, n) for n in range(9)])
    await gate.entered(3)
    assert sorted(gate.batches) == [(0, [0, 3, 6]), (1, [1, 4, 7]), (2, [2, 5, 8])]
    gate.open.set()
    assert await answers == list(range(9))


async def test_commands_of_one_reference_are_folded(shop: Shop) -> None:
    """Fifty commands of one reference in one batch: one leads, the others get its payout."""
    await shop.merchant(1, money=100_000)
    sizes: list[int] = []
    queue = GroupCommit(shop.database, payouts.create, shop.world.clock, sizes=sizes.append)
    answers = await all_of(queue, [shop.draft(1, "same") for _ in range(50)])
    assert sizes == [50] and [answer.fresh for answer in answers] == [True] + [False] * 49
    assert len({answer.payout.payout_id for answer in answers}) == 1


# --- who is isolated ---

POISONS: dict[str, dict[str, Any]] = {
    "a NUL, refused by the server": {"comment": "a\0b"},
    "half of a character, refused by the driver": {"display": "\ud800"},
    "an amount of nothing": {"amount": Money(0, "RUB"), "execute": False},
    "nothing where something must be": {"rail": None},
}


@pytest.mark.parametrize("poison", POISONS)
async def test_a_poisonous_command_stands_alone(shop: Shop, poison: str) -> None:
    """One command the database refuses fails alone; the other 499 of its batch are carried out, each once."""
    await shop.merchant(1, money=10**9)
    commands = [shop.draft(1, f"r{n}") for n in range(500)]
    commands[317] = replace(commands[317], **POISONS[poison])
    sizes: list[int] = []
    queue = GroupCommit(shop.database, payouts.create, shop.world.clock, sizes=sizes.append)
    answers = await all_of(queue, commands, key="k")
    assert [n for n, answer in enumerate(answers) if not isinstance(answer, Found)] == [317]
    assert isinstance(answers[317], asyncpg.PostgresError) and not queue.is_waiting("k")
    assert sum(sizes) == 499 and len(sizes) <= 9
    assert await shop.balances(1) == {"available": 10**9 - 499_000, "funding": -(10**9), "held": 499_000}
    numbers = [row[0] for row in await shop.rows("SELECT number FROM payouts ORDER BY 1")]
    assert numbers == list(range(1, 500))


async def test_two_poisonous_commands(shop: Shop) -> None:
    """Several such commands are each found, wherever they are; refusals of the business are no poison."""
    await shop.merchant(1, money=20_000)
    commands = [shop.draft(1, f"r{n}") for n in range(32)]
    for bad in (0, 9):
        commands[bad] = replace(commands[bad], comment="\0")
    queue = GroupCommit(shop.database, payouts.create, shop.world.clock)
    kinds = Counter(type(answer) for answer in await all_of(queue, commands))
    assert kinds == {Found: 20, InsufficientFunds: 10, asyncpg.CharacterNotInRepertoireError: 2}


# --- who gives up ---


async def test_after_its_deadline_a_command_is_withdrawn(database: Database, gate: Gate) -> None:
    """A command whose transaction has not begun by its deadline is not begun; one that has begun is finished."""
    clock = FakeClock()
    queue = GroupCommit(database, gate, clock, writers=1)
    begun = asyncio.create_task(queue.submit(0, 1, deadline=clock.monotonic() + 5))
    await gate.entered()
    late = asyncio.create_task(queue.submit(0, 2, deadline=clock.monotonic() + 5, key="late"))
    patient = asyncio.create_task(queue.submit(0, 3, deadline=clock.monotonic() + 50))
    endless = asyncio.create_task(queue.submit(0, 4))
    await clock.advance(5)
    assert queue.is_waiting("late")
    gate.open.set()
    assert await begun == 1
    with pytest.raises(Withdrawn):
        await late
    assert (await patient, await endless) == (3, 4) and not queue.is_waiting("late")
    assert gate.batches == [(0, [1]), (0, [3, 4])]


async def test_when_all_have_withdrawn_nothing_is_begun(database: Database, gate: Gate) -> None:
    """A queue of nothing but late commands begins no transaction, and goes on when somebody new comes."""
    clock = FakeClock()
    gate.open.set()
    queue = GroupCommit(database, gate, clock)
    answers = await all_of(queue, [1, 2, 3], deadline=clock.monotonic())
    assert [type(answer) for answer in answers] == [Withdrawn] * 3 and gate.batches == []
    assert await queue.submit(0, 4) == 4


async def test_what_waits_for_its_commit_can_be_asked(database: Database, world: World, gate: Gate) -> None:
    """A key is waiting from the moment its command is handed in until it is answered, however many share it."""
    queue = GroupCommit(database, gate, world.clock, writers=1)
    assert not queue.is_waiting("a")
    first = asyncio.create_task(queue.submit(0, 1, key="a"))
    await gate.entered()
    second = asyncio.create_task(queue.submit(0, 2, key="a"))
    third = asyncio.create_task(queue.submit(0, 3, key="b"))
    await asyncio.sleep(0)
    assert queue.is_waiting("a") and queue.is_waiting("b") and not queue.is_waiting("c")
    gate.open.set()
    await first
    assert queue.is_waiting("a")  # the second has only begun
    await asyncio.gather(second, third)
    assert not queue.is_waiting("a") and not queue.is_waiting("b")


@pytest.mark.parametrize("begun", [True, False])
async def test_a_caller_who_leaves_does_not_stop_its_command(shop: Shop, gate: Gate, begun: bool) -> None:
    """A caller that is cancelled, queued or in flight, leaves its command to be carried out; others are not disturbed."""
    await shop.merchant(1, money=5000)

    async def create(tx: Transaction, shard: int, commands: Sequence[CreatePayout]) -> list[Any]:
        await gate(tx, shard, list(range(len(commands))))
        return list(await payouts.create(tx, shard, commands))

    queue: GroupCommit[CreatePayout, Any] = GroupCommit(shop.database, create, shop.world.clock, writers=1)
    if not begun:
        asyncio.create_task(queue.submit(0, shop.draft(1, "before")))  # noqa: RUF006
    leaver = asyncio.create_task(queue.submit(0, shop.draft(1, "leaver"), key="k"))
    stayer = asyncio.create_task(queue.submit(0, shop.draft(1, "stayer")))
    await gate.entered()
    leaver.cancel()
    await asyncio.wait([leaver])
    assert leaver.cancelled() and queue.is_waiting("k")
    gate.open.set()
    assert (await stayer).fresh
    await queue.drain()
    assert not queue.is_waiting("k")
    references = await shop.rows("SELECT reference FROM payouts ORDER BY 1")
    assert [row[0] for row in references] == (["leaver", "stayer"] if begun else ["before", "leaver", "stayer"])


# --- when the database breaks ---


@pytest.mark.parametrize("hopeful", [False, True])
@pytest.mark.parametrize("fate", [BEFORE, AFTER])
async def test_an_unknown_commit_is_resolved(
    shop: Shop, wired: Database, wire: tuple[Wire, str], fate: str, hopeful: bool
) -> None:
    """Whether the lost COMMIT was done or not, the command is carried out once, and its caller is told that it is fresh."""
    await shop.merchant(1, money=5000)
    queue = GroupCommit(wired, payouts.create, shop.world.clock, hopeful=hopeful)
    wire[0].plan = iter([fate, fate, fate])
    answers = await all_of(queue, [shop.draft(1, "r"), shop.draft(1, "r"), shop.draft(1, "s")])
    assert [answer.fresh for answer in answers] == [True, False, True]
    assert wire[0].seen == ({BEFORE: 3, WHOLE: 1} if fate == BEFORE else {AFTER: 3, WHOLE: 1})
    assert await shop.events(1) == ["payout.queued", "payout.queued"]
    assert await shop.balances(1) == {"available": 3000, "funding": -5000, "held": 2000}


@pytest.mark.parametrize("fate", [BEFORE, AFTER])
async def test_a_top_up_of_unknown_commit_is_ours(shop: Shop, wired: Database, wire: tuple[Wire, str], fate: str) -> None:
    """A top-up run again after an unknown commit is booked once and still answers that it was booked."""
    await shop.merchant(1)
    queue = GroupCommit(wired, merchants.top_up, shop.world.clock)
    commands = [
        TopUp(shop.new_id(), 1, "bank statement 7", Money(minor, "RUB"), shop.now(), "test") for minor in (500, 500, 600)
    ]
    wire[0].plan = iter([fate])
    booked, known, other = await all_of(queue, commands)
    assert (booked, known) == (True, False) and isinstance(other, merchants.ReferenceReused)
    assert await shop.balances(1) == {"available": 500, "funding": -500}


async def test_no_account_holds_more_than_it_can(shop: Shop) -> None:
    """A top-up past 10**15 minor units is refused, alone or beside others."""
    await shop.merchant(1, money=MAX_MINOR - 1000)
    await shop.merchant(2)
    queue = GroupCommit(shop.database, merchants.top_up, shop.world.clock)

    async def book(merchant: int, *minors: int) -> list[bool | str]:
        drawn = [
            TopUp(shop.new_id(), merchant, str(i), Money(m, "RUB"), shop.now(), "test") for i, m in enumerate(minors)
        ]
        return [r if isinstance(r, bool) else r.name for r in await all_of(queue, drawn)]

    assert await book(1, 1001, 600, 401, 400, 1) == ["account_full", True, "account_full", True, "account_full"]
    assert await book(2, MAX_MINOR, 1) == [True, "account_full"]
    assert await shop.balances(1) == {"available": MAX_MINOR, "funding": -MAX_MINOR}


@pytest.mark.parametrize("hopeful", [False, True])
async def test_a_wire_that_breaks_all_the_time(
    shop: Shop, wired: Database, wire: tuple[Wire, str], hopeful: bool
) -> None:
    """Half of all COMMITs lost, one way or the other: each command is carried out exactly once, and its caller knows."""
    await shop.merchant(1, money=10**9)
    chance = random.Random(7)

    def fates() -> Iterator[str]:
        while True:
            yield chance.choice([WHOLE, WHOLE, BEFORE, AFTER])

    wire[0].plan = fates()
    queue = GroupCommit(wired, payouts.create, shop.world.clock, largest=4, writers=3, hopeful=hopeful)
    answers = await all_of(queue, [shop.draft(1, f"r{n}") for n in range(120)])
    assert all(isinstance(answer, Found) and answer.fresh for answer in answers)
    assert min(wire[0].seen[BEFORE], wire[0].seen[AFTER]) >= 3
    references = [row[0] for row in await shop.rows("SELECT reference FROM payouts")]
    assert sorted(references) == sorted(f"r{n}" for n in range(120))
    assert await shop.balances(1) == {"available": 10**9 - 120_000, "funding": -(10**9), "held": 120_000}


async def test_backends_killed_in_the_middle(shop: Shop, database: Database, dsn: str) -> None:
    """The server ends our sessions again and again, wherever they are: what was acknowledged exists, exactly once."""
    await shop.merchant(1, money=10**9)
    queue = GroupCommit(database, payouts.create, shop.world.clock, largest=5, writers=3)
    acknowledged: list[str] = []
    work = iter(range(10_000))
    killed, done = 0, asyncio.Event()

    async def caller() -> None:
        while not done.is_set():
            command = shop.draft(1, f"r{next(work)}")
            while True:  # as a caller does: the same command until it is answered
                try:
                    found = await queue.submit(0, command)
                    break
                except StoreUnavailable:
                    continue
            assert isinstance(found, Found) and found.fresh and found.payout.reference is not None
            acknowledged.append(found.payout.reference)

    callers = [asyncio.create_task(caller()) for _ in range(12)]
    other = await asyncpg.connect(dsn)
    try:
        for round_ in range(1, 25):
            killed += await other.fetchval(
                """SELECT count(*) FROM (SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                   WHERE datname = current_database() AND application_name = 'disburse') AS k"""
            )
            async with asyncio.timeout(PATIENCE_S):
                while len(acknowledged) < round_ * 4 and not any(one.done() for one in callers):
                    await other.fetchval("SELECT 1")
    finally:
        done.set()
        await asyncio.gather(*callers)
        await other.close()
    assert killed >= 12
    stored = [row[0] for row in await shop.rows("SELECT reference FROM payouts")]
    assert len(stored) == len(set(stored)) and set(acknowledged) == set(stored)
    count = len(stored)
    assert await shop.balances(1) == {"available": 10**9 - count * 1000, "funding": -(10**9), "held": count * 1000}


async def test_callers_are_told_that_the_store_is_away(shop: Shop, wire: tuple[Wire, str]) -> None:
    """When nothing helps, every caller of the batch hears StoreUnavailable, and the next commands are tried again."""
    clock = FakeClock()
    away = await open_database(wire[1], World(clock, shop.world.random), unsafe=True)
    await shop.merchant(1, money=5000)
    queue = GroupCommit(away, payouts.create, clock, writers=1)
    wire[0].plan = repeat(BEFORE)
    answers = asyncio.create_task(all_of(queue, [shop.draft(1, "a"), shop.draft(1, "b")]))
    async with asyncio.timeout(PATIENCE_S):
        while not answers.done():
            await clock.advance(0.1)
    assert [type(answer) for answer in await answers] == [StoreUnavailable] * 2
    assert await shop.rows("SELECT 1 FROM payouts") == []
    wire[0].plan = repeat(WHOLE)
    found = await queue.submit(0, shop.draft(1, "a"))
    assert isinstance(found, Found) and found.fresh
    await away.close()
