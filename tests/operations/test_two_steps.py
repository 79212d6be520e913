"""Remembering an operation and executing it again, on real PostgreSQL: whoever may execute is decided under the merchant's lock."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest

from disburse.domain.outcomes import Absent, NotExecuted, NotSent, Rejected, Settled, Unknown, Verdict
from disburse.domain.payout import Payout
from disburse.operations import two_steps
from disburse.operations.attempts import NOBODY, Opened
from disburse.operations.two_steps import LONGEST_REFERENCE, ExecuteAgain, Remember, never_executed
from disburse.operations.verify import verify
from tests.operations.shop import Shop

GUID = "81fa5265-de0b-498d-be37-5d48f4aa3ba1"
OTHER_GUID = "a654fe39-42eb-4ac3-a3ec-76d148b2ba3a"


def remembering(shop: Shop, opened: Opened, reference: str = GUID, *, owner: str = "worker-a", epoch: int | None = None) -> Remember:
    payout = opened.payout
    return Remember(
        payout.payout_id, opened.attempt, payout.merchant_id, opened.connector, opened.end_to_end_id, owner,
        opened.epoch if epoch is None else epoch, reference, shop.now(), f"worker:{owner}",
    )  # fmt: skip


async def remember(shop: Shop, *commands: Remember) -> list[bool]:
    return await shop.database.run(lambda tx: two_steps.remember(tx, shop.shard, commands))


async def holds(shop: Shop) -> bool:
    """Whether every invariant stands. The shop's money came without a top-up, which is all that may be found."""
    found = (await verify(shop.database)).findings
    return {finding.check for finding in found} <= {"L7 each top-up has its posting", "L8 postings belong to their origin"}


async def reference_of(shop: Shop, payout: Payout) -> str | None:
    return (await shop.attempt(payout)).provider_reference


@pytest.fixture
async def opened(shop: Shop) -> Opened:
    """An attempt that `worker-a` is about."""
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
    assert (first, second) == ([True], [True])
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
async def test_the_fence(shop: Shop, opened: Opened, fence: dict[str, object]) -> None:
    """Another owner, or the same in another epoch, remembers nothing."""
    assert await remember(shop, remembering(shop, opened, **fence)) == [False]  # type: ignore[arg-type]
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
    for _ in range(20):
        opened = await shop.opened(await shop.paid_out(1))
        lapsed = shop.hear_of(opened, Unknown("the owner's lease ran out"), kind="lease")
        (allowed,), _ = await asyncio.gather(remember(shop, remembering(shop, opened)), lapsed)
        attempt = await shop.attempt(opened.payout)
        assert attempt.state == "unknown"
        assert (attempt.provider_reference == GUID) is allowed is not never_executed(attempt)


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


async def test_it_is_executed_again_after_a_pause(shop: Shop, opened: Opened) -> None:
    """Not before the pause is over; then once, told in an event that names the operation; the books still hold."""
    await in_doubt(shop, opened)
    assert await execute_again(shop, again(shop, opened, in_s=59)) == [False]
    assert await shop.events(1) == ["payout.queued", "payout.in_flight", "payout.in_doubt"]
    assert await execute_again(shop, again(shop, opened, in_s=70)) == [True]
    rows = await shop.rows("SELECT kind, detail, attempt FROM events ORDER BY number DESC LIMIT 1")
    assert tuple(rows[0]) == ("payout.executed_again", GUID, 1)
    assert await holds(shop)


async def test_the_next_one_waits_for_another_pause(shop: Shop, opened: Opened) -> None:
    """After an answer to one request the next goes out a pause later."""
    await in_doubt(shop, opened)
    heard = shop.message(opened, Unknown("time-out"), content="again")
    await shop.hear(replace(heard, at=shop.now() + timedelta(seconds=70)))
    assert await execute_again(shop, again(shop, opened, in_s=100)) == [False]
    assert await execute_again(shop, again(shop, opened, in_s=131)) == [True]


async def test_an_unknown_commit_of_an_allowance(shop: Shop, opened: Opened) -> None:
    """An allowance whose commit was not heard of stands, with one event."""
    await in_doubt(shop, opened)
    command = again(shop, opened, in_s=70)
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
