"""Keys below the door: a batch of them, a wire that loses commits, and both ways of a transaction."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from disburse.domain.payout import Payout
from disburse.domain.ports import World
from disburse.operations import keyed
from disburse.operations.group_commit import GroupCommit
from disburse.operations.keyed import ActOnce, CreateOnce, KeyReused, Made, Remembered, RequestName
from disburse.operations.payouts import InsufficientFunds, NoSuchMerchant
from disburse.storage.database import Database, open_database
from tests.operations.shop import Shop
from tests.operations.wire import AFTER, BEFORE, WHOLE, Wire, wire_to


@pytest.fixture
async def wire(dsn: str, tmp_path: Path) -> AsyncIterator[tuple[Wire, str]]:
    """A breakable wire to the test's database."""
    async with wire_to(dsn, tmp_path) as both:
        yield both


@pytest.fixture
async def wired(wire: tuple[Wire, str], world: World) -> AsyncIterator[Database]:
    """The test's database at the end of that wire."""
    opened = await open_database(wire[1], world, unsafe=True)
    yield opened
    await opened.close()


def named(key: str, content: str = "content") -> RequestName:
    return RequestName(key.encode(), content.encode())


def order(shop: Shop, reference: str | None, key: str | None, amount: int = 1000, content: str = "content", **more: Any) -> CreateOnce:
    draft = shop.draft(1, reference, amount, surface="own", **more)
    return CreateOnce(draft, named(key, content) if key is not None else None)


async def all_of(queue: GroupCommit[Any, Any], commands: Sequence[Any]) -> list[Any]:
    return list(await asyncio.gather(*[queue.submit(0, command) for command in commands]))


def told(results: list[Any]) -> list[str]:
    """Results in a word each."""
    return [("made" if one.fresh else "found") if isinstance(one, Made) else type(one).__name__ for one in results]


@pytest.mark.parametrize("hopeful", [False, True])
async def test_a_batch_folds(shop: Shop, hopeful: bool) -> None:
    """In one batch the first request of a key or reference leads, and the others get its answer; the others go on."""
    await shop.merchant(1, money=5000)
    queue = GroupCommit(shop.database, keyed.create, shop.world.clock, hopeful=hopeful)
    batch = [
        order(shop, "r", "k"), order(shop, "r", "k"), order(shop, "r", "k2"), order(shop, "r", None), order(shop, None, "k", content="other"),
        order(shop, "r", "k3", 2000), order(shop, "dear", "k4", 9999), order(shop, "dear", "k4", 9999), order(shop, "s", None),
        CreateOnce(shop.draft(2, "r"), named("k")),
    ]  # fmt: skip
    expected = ["made", "found", "found", "found", "KeyReused", "ReferenceReused", "InsufficientFunds", "Remembered", "made", "NoSuchMerchant"]
    assert told(await all_of(queue, batch)) == expected
    refusals_stay = [*expected[:5], "Remembered", "Remembered", *expected[7:]]
    assert told(await all_of(queue, batch)) == refusals_stay, "run again with their own ids, two made what they made"
    later = [order(shop, "r", "k"), order(shop, "s", None)]
    assert told(await all_of(queue, later)) == ["found", "found"]
    assert await shop.balances(1) == {"available": 3000, "funding": -5000, "held": 2000}
    assert len(await shop.rows("SELECT key_digest FROM idempotency_keys")) == 4
    assert await shop.events(1) == ["payout.queued", "payout.queued", "payout.reference_mismatch"]


@pytest.mark.parametrize("hopeful", [False, True])
@pytest.mark.parametrize("fate", [BEFORE, AFTER])
async def test_an_unknown_commit_is_resolved(shop: Shop, wired: Database, wire: tuple[Wire, str], fate: str, hopeful: bool) -> None:
    """Whether the lost COMMIT was done or not, a key's payout is made once and its request is told that it made it; a refusal is one row."""
    await shop.merchant(1, money=1500)
    queue = GroupCommit(wired, keyed.create, shop.world.clock, hopeful=hopeful)
    wire[0].plan = iter([fate, fate, fate])
    assert told(await all_of(queue, [order(shop, None, "k"), order(shop, "r", "k2", 9999), order(shop, None, "k")])) == [
        "made", "InsufficientFunds" if fate == BEFORE else "Remembered", "found",
    ]  # fmt: skip
    assert wire[0].seen[fate] == 3
    assert await shop.balances(1) == {"available": 500, "funding": -1500, "held": 1000}
    assert len(await shop.rows("SELECT key_digest FROM idempotency_keys")) == 2


@pytest.mark.parametrize("hopeful", [False, True])
async def test_a_wire_that_breaks_all_the_time(shop: Shop, wired: Database, wire: tuple[Wire, str], hopeful: bool) -> None:
    """Half of all COMMITs lost, one way or the other, and each key sent twice: each is carried out exactly once."""
    await shop.merchant(1, money=10**9)
    chance = random.Random(7)

    def fates() -> Iterator[str]:
        while True:
            yield chance.choice([WHOLE, WHOLE, BEFORE, AFTER])

    wire[0].plan = fates()
    queue = GroupCommit(wired, keyed.create, shop.world.clock, largest=4, writers=3, hopeful=hopeful)
    answers = told(await all_of(queue, [order(shop, None, f"k{n % 60}") for n in range(120)]))
    assert (answers.count("made"), answers.count("found")) == (60, 60)
    assert min(wire[0].seen[BEFORE], wire[0].seen[AFTER]) >= 3
    assert await shop.balances(1) == {"available": 10**9 - 60_000, "funding": -(10**9), "held": 60_000}


@pytest.mark.parametrize("fate", [BEFORE, AFTER])
async def test_an_execute_of_unknown_commit(shop: Shop, wired: Database, wire: tuple[Wire, str], fate: str) -> None:
    """An execute whose COMMIT was lost holds the money once; one that was refused is told the same refusal."""
    await shop.merchant(1, money=1500)
    made = [await shop.paid_out(1, f"r{n}", 1000, execute=False, surface="own") for n in range(2)]
    queue = GroupCommit(wired, keyed.execute, shop.world.clock)
    wire[0].plan = iter([fate, fate])
    done, refused = await all_of(queue, [ActOnce(shop.act(one), named(f"k{n}")) for n, one in enumerate(made)])
    assert isinstance(done, Payout) and done.state == "queued"
    assert isinstance(refused, InsufficientFunds if fate == BEFORE else Remembered) and refused.name == "insufficient_funds"
    assert await shop.balances(1) == {"available": 500, "funding": -1500, "held": 1000}


async def test_an_objection_is_weighed_last(shop: Shop) -> None:
    """An objection refuses a new payout alone; one that does not stick leaves the key free, and no hope overlooks it."""
    await shop.merchant(1, money=5000)
    queue = GroupCommit(shop.database, keyed.create, shop.world.clock, hopeful=True)
    no = NoSuchMerchant("not now")
    known = order(shop, "r", "k")
    assert told(await all_of(queue, [known])) == ["made"]
    objected = [CreateOnce(order(shop, reference, key).create, named(key), no, sticks) for reference, key, sticks in
                (("r", "k", True), ("r", "k2", True), ("s", "k3", False), ("t", "k4", True))]  # fmt: skip
    assert told(await all_of(queue, objected)) == ["found", "found", "NoSuchMerchant", "NoSuchMerchant"]
    assert told(await all_of(queue, [order(shop, "s", "k3")])) == ["made"]


async def test_two_processes_meet_at_one_key(shop: Shop, wired: Database) -> None:
    """A key whose transaction is under way in another process is waited for, and its row is found."""
    await shop.merchant(1, money=5000)
    first = GroupCommit(shop.database, keyed.create, shop.world.clock, hopeful=True)
    second = GroupCommit(wired, keyed.create, shop.world.clock, hopeful=True)
    commands = [(queue, order(shop, None, f"k{n}", 1 + (n + k) % 2, content=str((n + k) % 2))) for n in range(30) for k, queue in enumerate((first, second))]
    results = await asyncio.gather(*[queue.submit(0, command) for queue, command in commands])
    assert told(list(results)).count("made") == 30
    assert sum(isinstance(one, KeyReused) for one in results) == 30
