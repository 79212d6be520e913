"""Remembering an operation and executing it again, on real PostgreSQL: whoever may execute is decided under the merchant's lock."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import asyncpg
import pytest

from disburse.domain.outcomes import Absent, NotExecuted, NotSent, Rejected, Settled, Unknown, Verdict
from disburse.domain.payout import Payout
from disburse.operations import two_steps
from disburse.operations.attempts import NOBODY, Opened
from disburse.operations.two_steps import (
    LONGEST_REFERENCE,
    MADE_FOR_ANOTHER,
    ExecuteAgain,
    Remember,
    Remembered,
    never_executed,
)
from disburse.operations.verify import verify
from disburse.storage.database import Transaction
from tests.operations.shop import OTHER, Shop

GUID = "81fa5265-de0b-498d-be37-5d48f4aa3ba1"
KEPT, REFUSED, ANOTHERS = Remembered.KEPT, Remembered.REFUSED, Remembered.ANOTHERS
OTHER_GUID = "a654fe39-42eb-4ac3-a3ec-76d148b2ba3a"


def remembering(shop: Shop, opened: Opened, reference: str = GUID, **fence: Any) -> Remember:
    return shop.remembering(opened, reference, **fence)


async def remember(shop: Shop, *commands: Remember) -> list[bool]:
    """Whether each may be executed."""
    return [result is KEPT for result in await shop.remember(*commands)]


async def holds(shop: Shop) -> bool:
    """Whether every invariant stands. The shop's money came without a top-up, which is all that may be found."""
    found = (await verify(shop.database)).findings
    return {finding.check for finding in found} <= {"L7 each top-up has its posting", "L8 postings belong to their origin"}


async def reference_of(shop: Shop, payout: Payout) -> str | None:
    return (await shop.attempt(payout)).provider_reference


@pytest.fixture
async def opened(shop: Shop) -> Opened:
    """An attempt that `worker-a` is about, at a two-step provider."""
    shop.two_step = True
    await shop.merchant(1, money=100_000)
    return await shop.opened(await shop.paid_out(1))


async def test_an_operation_is_remembered(shop: Shop, opened: Opened) -> None:
    """The reference stands with the open attempt, evidence says what the provider made, and no money moves."""
    before = await shop.balances(1)
    assert await remember(shop, remembering(shop, opened)) == [True]
    assert await reference_of(shop, opened.payout) == GUID
    rows = await shop.rows("SELECT kind, verdict, detail, effect FROM evidence")
    assert [tuple(row) for row in rows] == [("answer", "Made", GUID, "nothing")]
    assert await shop.balances(1) == before and (await shop.attempt(opened.payout)).state == "open"
    assert await holds(shop)


async def test_the_same_again_is_the_same(shop: Shop, opened: Opened) -> None:
    """Asked twice by its owner for one reference it is remembered once, and both are told so."""
    command = remembering(shop, opened)
    assert await remember(shop, command) == [True]
    assert await remember(shop, command) == [True]
    assert await remember(shop, command, command) == [True, True]
    assert len(await shop.rows("SELECT 1 FROM evidence")) == 1


async def test_an_unknown_commit(shop: Shop, opened: Opened) -> None:
    """A commit whose answer was lost is run again, and remembers once."""
    command = remembering(shop, opened)
    first, second = await shop.run_twice(lambda tx: two_steps.remember(tx, shop.shard, [command]))
    assert (first, second) == ([KEPT], [KEPT])
    assert len(await shop.rows("SELECT 1 FROM evidence")) == 1


async def test_another_reference_is_refused(shop: Shop, opened: Opened) -> None:
    """An attempt has one operation: a second one may not be executed, in one transaction or in two."""
    both = await remember(shop, remembering(shop, opened), remembering(shop, opened, OTHER_GUID))
    assert sorted(both) == [False, True]
    kept = await reference_of(shop, opened.payout)
    other = GUID if kept == OTHER_GUID else OTHER_GUID
    assert await remember(shop, remembering(shop, opened, other)) == [False]
    assert await reference_of(shop, opened.payout) == kept


@pytest.mark.parametrize("fence", [{"owner": "worker-b"}, {"epoch": 0}, {"epoch": 2}])
async def test_the_fence(shop: Shop, opened: Opened, fence: dict[str, Any]) -> None:
    """Another owner, or the same in another epoch, remembers nothing."""
    assert await remember(shop, remembering(shop, opened, **fence)) == [False]
    assert await reference_of(shop, opened.payout) is None


@pytest.mark.parametrize("heard, kind", [
    (Unknown("the owner's lease ran out"), "lease"),
    (Unknown("time-out"), "answer"),
    (NotSent("refused"), "answer"),
    (Rejected("no"), "answer"),
    (Settled("p"), "callback"),
    (Absent(), "inquiry"),
    (NotExecuted(), "inquiry"),
])  # fmt: skip
async def test_what_is_heard_ends_it(shop: Shop, opened: Opened, heard: Verdict, kind: str) -> None:
    """Once anything was heard of an attempt, nothing can be remembered with it: its owner must not execute any more."""
    await shop.hear_of(opened, heard, kind=kind)
    assert await remember(shop, remembering(shop, opened)) == [False]
    assert await reference_of(shop, opened.payout) in (None, "p")


async def test_the_frozen_remember_nothing(shop: Shop, opened: Opened) -> None:
    """A frozen payout's open attempt is not executed: a person moves it."""
    await shop.hear_of(opened, Settled("p", replace(opened.payout.amount, minor=1)), kind="callback")
    assert (await shop.read(opened.payout)).frozen == "another_amount"
    assert await remember(shop, remembering(shop, opened)) == [False]


@pytest.mark.parametrize("reference", ["", "x" * (LONGEST_REFERENCE + 1), "a\0b", "half \ud800"])
async def test_what_cannot_be_kept(shop: Shop, opened: Opened, reference: str) -> None:
    """A reference that no column takes as it is could not be asked by, so its operation is not executed; others are."""
    other = await shop.opened(await shop.paid_out(1))
    assert await remember(shop, remembering(shop, opened, reference), remembering(shop, other)) == [False, True]
    assert await reference_of(shop, opened.payout) is None


async def test_a_lease_and_its_owner_race(shop: Shop) -> None:
    """Either the lapsed lease is recorded first and nothing is remembered, or it finds the operation remembered. Never neither."""
    await shop.merchant(1, money=1_000_000)
    for n in range(20):
        opened = await shop.opened(await shop.paid_out(1))
        lapsed = shop.hear_of(opened, Unknown("the owner's lease ran out"), kind="lease")
        (allowed,), _ = await asyncio.gather(remember(shop, remembering(shop, opened, f"operation-{n}")), lapsed)
        attempt = await shop.attempt(opened.payout)
        assert attempt.state == "unknown"
        assert (attempt.provider_reference == f"operation-{n}") is allowed is not never_executed(attempt)


# --- an operation is one attempt's ---


async def owner_of(shop: Shop, reference: str = GUID) -> list[tuple[Any, ...]]:
    rows = await shop.rows("SELECT connector, payout_id, number FROM provider_operations WHERE reference = $1", reference)
    return [tuple(row) for row in rows]


async def test_it_is_refused_to_another(shop: Shop, opened: Opened) -> None:
    """The operation of one attempt is not stored with another; evidence tells whose it is; the first keeps it; all checks hold."""
    other = await shop.opened(await shop.paid_out(1))
    assert await shop.remember(remembering(shop, opened)) == [KEPT]
    assert await shop.remember(remembering(shop, other)) == [ANOTHERS]
    assert await reference_of(shop, other.payout) is None and await reference_of(shop, opened.payout) == GUID
    assert await owner_of(shop) == [("sandbox", opened.payout.payout_id, 1)]
    rows = await shop.rows("SELECT payout_id, attempt, detail, effect FROM evidence WHERE verdict = $1", MADE_FOR_ANOTHER)
    told = f"{GUID}, made for attempt 1 of {opened.payout.payout_id}"
    assert [tuple(row) for row in rows] == [(other.payout.payout_id, 1, told, "nothing")]
    assert await holds(shop)


async def test_refused_as_often_as_it_is_named(shop: Shop, opened: Opened) -> None:
    """Named again, in one transaction, in two or after an unknown commit, another's operation is refused again and told once."""
    other = await shop.opened(await shop.paid_out(1))
    command = remembering(shop, other)
    assert await shop.remember(remembering(shop, opened), command, command) in ([KEPT, ANOTHERS, ANOTHERS], [ANOTHERS, KEPT, KEPT])
    last = command if await reference_of(shop, other.payout) is None else remembering(shop, opened)
    results = await shop.run_twice(lambda tx: two_steps.remember(tx, shop.shard, [last, last]))
    assert results == ([ANOTHERS] * 2, [ANOTHERS] * 2)
    assert len(await shop.rows("SELECT 1 FROM evidence WHERE verdict = $1", MADE_FOR_ANOTHER)) == 1
    assert await holds(shop)


async def test_it_is_refused_to_the_next_attempt(shop: Shop, opened: Opened) -> None:
    """Two attempts of one payout do not share an operation either: whatever became of it, the second asked for one of its own."""
    assert await shop.remember(remembering(shop, opened)) == [KEPT]
    await shop.hear_of(opened, Unknown("time-out"))
    await shop.hear_of(opened, Absent(), kind="inquiry")
    payout = opened.payout
    second = await shop.opened(payout, 2)
    assert await shop.remember(shop.remembering(second, GUID)) == [ANOTHERS]
    assert await shop.remember(shop.remembering(second, OTHER_GUID)) == [KEPT]
    assert await owner_of(shop) == [("sandbox", payout.payout_id, 1)]


async def test_what_was_not_remembered_is_still_its_own(shop: Shop, opened: Opened) -> None:
    """An operation that came too late to be remembered is that attempt's all the same: it was made for that payee and amount."""
    await shop.hear_of(opened, Unknown("the owner's lease ran out"), kind="lease")
    assert await shop.remember(remembering(shop, opened)) == [REFUSED]
    other = await shop.opened(await shop.paid_out(1))
    assert await shop.remember(remembering(shop, other)) == [ANOTHERS]
    assert never_executed(await shop.attempt(opened.payout)) and await holds(shop)


async def test_another_provider_may_count_alike(shop: Shop, opened: Opened) -> None:
    """Two providers' ids have nothing to do with each other, and neither have two that differ in case: ids are opaque here."""
    shop.routes = [OTHER]
    elsewhere, capital = [await shop.opened(await shop.paid_out(1)) for _ in range(2)]
    assert await shop.remember(remembering(shop, opened, "op-a")) == [KEPT]
    assert await shop.remember(remembering(shop, elsewhere, "op-a"), remembering(shop, capital, "OP-A")) == [KEPT, KEPT]


async def test_an_attempt_that_is_not_there_takes_nothing(shop: Shop, opened: Opened) -> None:
    """An operation is not kept for an attempt that this database does not have, or has under another name."""
    command = remembering(shop, opened)
    strange = [
        replace(command, number=2), replace(command, payout_id=shop.new_id()), replace(command, connector="other"),
        replace(command, end_to_end_id="x"),
    ]  # fmt: skip
    assert await shop.remember(*strange) == [REFUSED] * 4
    assert await owner_of(shop) == []
    assert await shop.remember(command) == [KEPT]
    assert await shop.remember(*[replace(one, reference=GUID) for one in strange[:2]]) == [ANOTHERS] * 2
    assert len(await shop.rows("SELECT 1 FROM evidence")) == 1


async def test_two_workers_at_once(shop: Shop) -> None:
    """Of two workers that are given one id at the same moment one keeps it, whatever merchants they serve and in which order."""
    for merchant in (1, 2):
        await shop.merchant(merchant, money=1_000_000)
    for n in range(15):
        lists = [[await shop.opened(await shop.paid_out(merchant)) for _ in range(3)] for merchant in (1, 2)]
        ids = [f"{n}-{k}" for k in range(3)]
        commands = [
            [shop.remembering(one, reference) for one, reference in zip(opened, order, strict=True)]
            for opened, order in zip(lists, (ids, ids[::-1]), strict=True)
        ]
        results = await asyncio.gather(*[shop.remember(*some) for some in commands])
        told = [(one.reference, said) for some, all_said in zip(commands, results, strict=True) for one, said in zip(some, all_said, strict=True)]
        for reference in ids:
            assert {said for named, said in told if named == reference} == {ANOTHERS, KEPT}
    kept = await shop.rows("SELECT provider_reference, count(*) FROM attempts WHERE provider_reference IS NOT NULL GROUP BY 1")
    assert len(kept) == 45 and {row[1] for row in kept} == {1}
    assert await holds(shop)


async def test_who_waits_hears_how_it_ended(shop: Shop, opened: Opened) -> None:
    """While another transaction has taken the id and is not committed, the second waits; rolled back, the id is the second's."""
    other = await shop.opened(await shop.paid_out(await shop.merchant(2, money=100_000)))

    class Undone(Exception):
        pass

    taken, go = asyncio.Event(), asyncio.Event()

    async def take_and_lose(tx: Transaction) -> None:
        assert await two_steps.remember(tx, shop.shard, [remembering(shop, opened)]) == [KEPT]
        taken.set()
        await go.wait()
        raise Undone

    first = asyncio.create_task(shop.database.run(take_and_lose))
    await taken.wait()
    second = asyncio.create_task(shop.remember(remembering(shop, other)))
    async with asyncio.timeout(20):
        while not await shop.rows("SELECT 1 FROM pg_locks WHERE locktype = 'transactionid' AND NOT granted"):
            pass
    go.set()
    with pytest.raises(Undone):
        await first
    assert await second == [KEPT]
    assert await shop.remember(remembering(shop, opened)) == [ANOTHERS]


# --- what an attempt that remembered nothing proves ---


async def test_nothing_remembered_is_proof(shop: Shop, opened: Opened) -> None:
    """In doubt without an operation, an attempt was never executed; while it is open that is not known."""
    assert not never_executed(await shop.attempt(opened.payout))
    await shop.hear_of(opened, Unknown("time-out"))
    assert never_executed(await shop.attempt(opened.payout))


async def test_a_life_that_was_forgotten_proves_nothing(shop: Shop) -> None:
    """An id that its provider spoke of before the intent was sent by a life this database forgot, with whatever it remembered."""
    await shop.merchant(1, money=100_000)
    payout = await shop.paid_out(1)
    forgotten = Opened(payout, 1, "sandbox", f"{payout.base}-1", 1, await shop.attempt(payout))
    await shop.hear(replace(shop.message(forgotten, Unknown("what?"), kind="callback"), payout=None))
    assert await shop.claim(payout) is None
    attempt = await shop.attempt(payout)
    assert attempt.owner == NOBODY
    await shop.hear_of(forgotten, Unknown("lease"), kind="lease")
    assert not never_executed(await shop.attempt(payout))


# --- executing again ---


def again(shop: Shop, opened: Opened, *, after_s: float = 60.0, in_s: float = 0.0, reference: str = GUID) -> ExecuteAgain:
    payout, at = opened.payout, shop.now() + timedelta(seconds=in_s)
    return ExecuteAgain(payout.payout_id, opened.attempt, payout.merchant_id, reference, after_s, at, "worker:w")


async def execute_again(shop: Shop, *commands: ExecuteAgain) -> list[bool]:
    return await shop.database.run(partial(_execute_again, shop, commands))


async def _execute_again(shop: Shop, commands: tuple[ExecuteAgain, ...], tx: object) -> list[bool]:
    return await two_steps.execute_again(tx, shop.shard, commands)  # type: ignore[arg-type]


async def in_doubt(shop: Shop, opened: Opened) -> None:
    """The operation was remembered, the answer to its execution lost, and the provider calls it not executed."""
    assert await remember(shop, remembering(shop, opened)) == [True]
    await shop.hear_of(opened, Unknown("time-out"))
    await shop.hear_of(opened, NotExecuted(), kind="inquiry")


async def passes(dsn: str, seconds: float) -> None:
    """So much time passes by the database's clock: what was heard is so much longer ago."""
    superuser = await asyncpg.connect(dsn)
    try:
        await superuser.execute("UPDATE disburse.evidence SET clock_at = clock_at - make_interval(secs => $1)", seconds)
    finally:
        await superuser.close()


async def test_it_is_executed_again_after_a_pause(shop: Shop, opened: Opened, dsn: str) -> None:
    """Not before the pause is over; then once, told in an event that names the operation; the books still hold."""
    await in_doubt(shop, opened)
    await passes(dsn, 50)
    assert await execute_again(shop, again(shop, opened)) == [False]
    assert await shop.events(1) == ["payout.queued", "payout.in_flight", "payout.in_doubt"]
    await passes(dsn, 11)
    assert await execute_again(shop, again(shop, opened)) == [True]
    rows = await shop.rows("SELECT kind, detail, attempt FROM events ORDER BY number DESC LIMIT 1")
    assert tuple(rows[0]) == ("payout.executed_again", GUID, 1)
    assert await holds(shop)


@pytest.mark.parametrize("years", [10, -10])
async def test_a_workers_clock_does_not_decide(shop: Shop, opened: Opened, dsn: str, years: int) -> None:
    """Messages heard, also hopefully, and the question put by a worker whose clock is years off: the database's counts the pause."""
    off = timedelta(days=365 * years)
    assert await remember(shop, replace(remembering(shop, opened), at=shop.now() + off)) == [True]
    for verdict, kind in ((Unknown("time-out"), "answer"), (NotExecuted(), "inquiry")):
        await shop.hear(replace(shop.message(opened, verdict, kind=kind), at=shop.now() + off))
    assert await execute_again(shop, again(shop, opened, in_s=off.total_seconds())) == [False]
    await passes(dsn, 61)
    assert await execute_again(shop, again(shop, opened)) == [True]


async def test_the_next_one_waits_for_another_pause(shop: Shop, opened: Opened, dsn: str) -> None:
    """After an answer to one request the next goes out a pause later."""
    await in_doubt(shop, opened)
    await passes(dsn, 70)
    await shop.hear(shop.message(opened, Unknown("time-out"), content="again"))
    await passes(dsn, 30)
    assert await execute_again(shop, again(shop, opened)) == [False]
    await passes(dsn, 31)
    assert await execute_again(shop, again(shop, opened)) == [True]


async def test_an_unknown_commit_of_an_allowance(shop: Shop, opened: Opened, dsn: str) -> None:
    """An allowance whose commit was not heard of stands, with one event."""
    await in_doubt(shop, opened)
    await passes(dsn, 70)
    command = again(shop, opened)
    first, second = await shop.run_twice(lambda tx: two_steps.execute_again(tx, shop.shard, [command]))
    assert (first, second) == ([True], [True])
    assert (await shop.events(1)).count("payout.executed_again") == 1


async def test_only_its_own_operation(shop: Shop, opened: Opened) -> None:
    """Another operation than the remembered one is not executed, nor any of an attempt or payout that is not there."""
    await in_doubt(shop, opened)
    command = again(shop, opened, in_s=70)
    wrong = [replace(command, reference=OTHER_GUID), replace(command, number=2), replace(command, payout_id=shop.new_id())]
    assert await execute_again(shop, *wrong) == [False] * 3


@pytest.mark.parametrize("heard", [Settled(GUID), Rejected("provider_deleted"), Absent()])
async def test_what_ended_is_not_executed_again(shop: Shop, opened: Opened, heard: Verdict) -> None:
    """Once the doubt has ended, by whatever evidence, nobody executes the operation again."""
    await in_doubt(shop, opened)
    await shop.hear_of(opened, heard, kind="inquiry")
    assert await execute_again(shop, again(shop, opened, in_s=3600)) == [False]


async def test_the_frozen_are_not_executed_again(shop: Shop, opened: Opened) -> None:
    """A frozen payout is moved by persons alone."""
    await in_doubt(shop, opened)
    await shop.hear_of(opened, Settled("p", replace(opened.payout.amount, minor=1)), kind="inquiry")
    assert await execute_again(shop, again(shop, opened, in_s=3600)) == [False]
