"""The end of a doubt and of a frozen payout, by two persons: where the money lies afterwards, in every way there is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from disburse.domain.attempt import AttemptState
from disburse.domain.money import Money
from disburse.domain.outcomes import Absent, Accepted, NotSent, Rejected, Returned, Settled, Unknown, Verdict
from disburse.domain.payout import Payout, PayoutState
from disburse.domain.vouched import NothingToResolve, StillOpen
from disburse.operations import approvals
from disburse.operations.approvals import Answered, Asked, RequestWaits
from disburse.operations.evidence import Heard
from disburse.operations.merchants import TopUp, top_up
from disburse.operations.payouts import NoSuchPayout
from disburse.operations.resolutions import NoSuchAttempt, RequestOutdated, WhichAttempt
from disburse.operations.verify import verify
from tests.operations.persons import NOT_MOVED, PAID, Persons
from tests.operations.shop import OTHER, SANDBOX, Shop

S = PayoutState
ELSEWHERE = Rejected("limit", elsewhere=True)
FRESH = {"available": 3970, "held": 30}
WHOLE = {"available": 5000}
CHARGED = {"available": 3970, "fees": 30}


@pytest.fixture
async def persons(shop: Shop) -> Persons:
    """A merchant with 50.00, two providers, and two operators."""
    shop.routes = [SANDBOX, OTHER]
    await shop.merchant(1)
    command = TopUp(shop.new_id(), 1, "first", Money(5000, "RUB"), shop.now(), "cli")
    await shop.database.run(lambda tx: top_up(tx, 0, [command]))
    return await Persons(shop).come()


async def frozen_or_doubted(shop: Shop, told: Sequence[tuple[int, Verdict]]) -> Payout:
    """A payout of 10.00 with a fee of 0.30 after these messages about its attempts; an attempt is claimed when it is spoken of."""
    payout = await shop.paid_out(1, "wage", fee=30)
    opened: dict[int, Any] = {}
    for number, verdict in told:
        if number not in opened:
            opened[number] = await shop.opened(payout, number)
        await shop.hear_of(opened[number], verdict, kind="callback", content=str(len(opened)))
    return await shop.read(payout)


async def holds(shop: Shop) -> None:
    report = await verify(shop.database)
    assert report.holds, report.findings


# What was heard of which attempt; what persons vouch for; how payout, attempts and books stand then.
CASES: dict[str, tuple[list[tuple[int, Verdict]], str, int | None, PayoutState, list[str], dict[str, int]]] = {
    "a doubt that was paid": (
        [(1, Unknown("x"))], PAID, None, S.PAID, ["settled"], {**CHARGED, "paid:sandbox": 1000}),
    "a doubt in which nothing moved": ([(1, Unknown("x"))], NOT_MOVED, None, S.FAILED, ["rejected"], WHOLE),
    "an accepted order that was paid": (
        [(1, Accepted("p"))], PAID, None, S.PAID, ["settled"], {**CHARGED, "paid:sandbox": 1000}),
    "an accepted order that was dropped": ([(1, Accepted("p"))], NOT_MOVED, None, S.FAILED, ["rejected"], WHOLE),
    "frozen in doubt, paid": (
        [(1, Unknown("x")), (1, Settled("p", Money(1, "RUB")))], PAID, None, S.PAID, ["settled"],
        {**CHARGED, "paid:sandbox": 1000}),
    "frozen in doubt, not moved": (
        [(1, Unknown("x")), (1, Settled("p", Money(1, "RUB")))], NOT_MOVED, None, S.FAILED, ["rejected"], WHOLE),
    "paid after refusal, and it was": (
        [(1, Rejected("no")), (1, Settled("p"))], PAID, None, S.FAILED, ["rejected"],
        {**WHOLE, "paid:sandbox": 1000, "suspense:sandbox": -1000}),
    "paid after refusal, and it was not": (
        [(1, Rejected("no")), (1, Settled("p"))], NOT_MOVED, None, S.FAILED, ["rejected"], WHOLE),
    "paid after it was never sent, next one waits": (
        [(1, NotSent("x")), (1, Settled("p"))], PAID, None, S.PAID, ["not_sent", "not_sent"],
        {**CHARGED, "paid:sandbox": 1000}),
    "not paid after it was never sent, next one waits": (
        [(1, NotSent("x")), (1, Settled("p"))], NOT_MOVED, None, S.FAILED, ["not_sent", "not_sent"], WHOLE),
    "accepted but never sent": (
        [(1, NotSent("x")), (1, Accepted("p"))], NOT_MOVED, None, S.FAILED, ["not_sent", "not_sent"], WHOLE),
    "accepted but never sent, and it paid": (
        [(1, NotSent("x")), (1, Accepted("p"))], PAID, None, S.PAID, ["not_sent", "not_sent"],
        {**CHARGED, "paid:sandbox": 1000}),
    "the first paid, the second is in doubt": (
        [(1, ELSEWHERE), (2, Unknown("x")), (1, Settled("p"))], PAID, 1, S.PAID, ["rejected", "rejected"],
        {**CHARGED, "paid:sandbox": 1000}),
    "the second paid, the first did too": (
        [(1, ELSEWHERE), (2, Unknown("x")), (1, Settled("p"))], PAID, 2, S.PAID, ["rejected", "settled"],
        {**CHARGED, "paid:other": 1000, "paid:sandbox": 1000, "suspense:sandbox": -1000}),
    "neither paid": (
        [(1, ELSEWHERE), (2, Accepted("x")), (1, Settled("p"))], NOT_MOVED, None, S.FAILED, ["rejected", "rejected"], WHOLE),
    "paid twice": (
        [(1, ELSEWHERE), (2, Settled("q")), (1, Settled("p"))], PAID, None, S.PAID, ["rejected", "settled"],
        {**CHARGED, "paid:other": 1000, "paid:sandbox": 1000, "suspense:sandbox": -1000}),
    "refused after it was paid, and it was paid": (
        [(1, Settled("p")), (1, Rejected("no"))], PAID, None, S.PAID, ["settled"], {**CHARGED, "paid:sandbox": 1000}),
    "refused after it was paid, and it was not": (
        [(1, Settled("p")), (1, Rejected("no"))], NOT_MOVED, None, S.RETURNED, ["settled"], {"available": 4970, "fees": 30}),
    "half came back, then it was refused": (
        [(1, Settled("p")), (1, Returned("R", Money(400, "RUB"))), (1, Rejected("no"))], NOT_MOVED, None, S.RETURNED,
        ["settled"], {"available": 4970, "fees": 30}),
    "more came back than was paid": (
        [(1, Settled("p")), (1, Returned("R", Money(4000, "RUB")))], PAID, None, S.PAID, ["settled"],
        {**CHARGED, "paid:sandbox": 1000}),
    "absent after it was accepted": (
        [(1, Accepted("p")), (1, Absent())], NOT_MOVED, None, S.FAILED, ["rejected"], WHOLE),
    "came back and was never paid": (
        [(1, Rejected("no")), (1, Returned("R"))], NOT_MOVED, None, S.FAILED, ["rejected"], WHOLE),
    "came back and was never paid, but it was": (
        [(1, Rejected("no")), (1, Returned("R"))], PAID, None, S.FAILED, ["rejected"],
        {**WHOLE, "paid:sandbox": 1000, "suspense:sandbox": -1000}),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
async def test_two_persons_end_it(persons: Persons, name: str) -> None:
    """What two persons vouch for moves the payout and its money as decision 5 says, and breaks no invariant."""
    told, outcome, attempt, state, attempts, books = CASES[name]
    shop = persons.shop
    payout = await frozen_or_doubted(shop, told)
    await holds(shop)
    asked = await persons.asked(persons.resolve(payout, outcome, attempt=attempt))
    before = await shop.balances(1)
    assert (await shop.read(payout)) == payout and await shop.balances(1) == before  # nothing happens on one word
    await persons.answer(asked.request.request_id)
    payout = await shop.read(payout)
    assert (payout.state, payout.frozen, await shop.attempts(payout)) == (state, None, attempts)
    assert payout.final and payout.finished_at is not None
    balances = await shop.balances(1)
    assert balances.pop("funding") == -5000
    assert balances == books
    await holds(shop)


@pytest.mark.parametrize("name", CASES)
async def test_what_providers_say_later(persons: Persons, name: str) -> None:
    """After persons have ended it, news that agrees changes nothing, news that contradicts freezes; the merchant never pays twice."""
    told, outcome, attempt, *_ = CASES[name]
    shop = persons.shop
    payout = await frozen_or_doubted(shop, told)
    await persons.agree(persons.resolve(payout, outcome, attempt=attempt))
    rows = await shop.rows("SELECT number, connector, end_to_end_id FROM attempts WHERE connector IS NOT NULL ORDER BY number")
    late: list[Verdict] = [Settled("late"), Rejected("late"), Accepted("late"), Settled("later"), Absent("late")]
    for n, verdict in enumerate(late):
        for number, connector, identifier in rows:
            where = (payout.payout_id, number, 1)
            await shop.hear(Heard(connector, identifier, "callback", verdict, shop.now(), "bank", f"late {n}", where))
        await holds(shop)
        balances = await shop.balances(1)
        charged = 5000 - balances.get("available", 0)
        assert charged in (0, 30, 1030) and not any(account.startswith(("held", "in_")) for account in balances)
        now = await shop.read(payout)
        if now.frozen is not None:  # and persons can end that too
            again = persons.resolve(now, NOT_MOVED if now.state is S.FAILED else PAID)
            assert (await persons.agree(again)).startswith("thawed:")
    await holds(shop)


# --- what cannot be asked for, or not any more ---


async def refused(persons: Persons, payout: Payout, outcome: str, **more: Any) -> object:
    return await persons.ask(persons.resolve(payout, outcome, **more))


@pytest.mark.parametrize(
    "told",
    [[], [(1, Settled("p"))], [(1, Rejected("no"))], [(1, NotSent("x"))]],
    ids=["queued", "paid", "failed", "queued again"],
)
@pytest.mark.parametrize("outcome", [PAID, NOT_MOVED])
async def test_what_is_not_in_doubt_is_not_resolved(persons: Persons, told: list[tuple[int, Verdict]], outcome: str) -> None:
    """A payout that is neither in doubt nor frozen is nothing for persons: they cannot pay it, and not fail it."""
    payout = await frozen_or_doubted(persons.shop, told)
    assert isinstance(await refused(persons, payout, outcome), NothingToResolve)


@pytest.mark.parametrize("frozen", [False, True])
async def test_what_may_still_be_sent_waits(persons: Persons, frozen: bool) -> None:
    """While an owner's lease runs its attempt may be sent, so persons wait; when it has run out they may decide."""
    shop = persons.shop
    payout = await shop.paid_out(1, fee=30)
    opened = await shop.opened(payout)
    if frozen:
        await shop.hear_of(opened, Settled("p", Money(1, "RUB")))
    assert isinstance(await refused(persons, payout, NOT_MOVED), StillOpen)
    await shop.lapse(payout)
    assert await persons.agree(persons.resolve(payout, NOT_MOVED)) == ("thawed:failed" if frozen else "failed")
    await holds(shop)


async def test_which_attempt_paid_has_to_be_said(persons: Persons) -> None:
    """Where two attempts may have paid, persons say which; an attempt that was never sent cannot have."""
    payout = await frozen_or_doubted(persons.shop, [(1, ELSEWHERE), (2, Unknown("x")), (1, Settled("p"))])
    told = await refused(persons, payout, PAID)
    assert isinstance(told, WhichAttempt) and told.numbers == [1, 2]
    assert isinstance(await refused(persons, payout, PAID, attempt=3), NoSuchAttempt)


async def test_a_payout_that_moved_is_another_question(persons: Persons) -> None:
    """What is heard between the request and the second yes makes the request void: it can only be refused."""
    shop = persons.shop
    payout = await shop.paid_out(1, fee=30)
    opened = await shop.opened(payout)
    await shop.hear_of(opened, Unknown("x"))
    asked = await persons.asked(persons.resolve(payout, NOT_MOVED))
    await shop.hear_of(opened, Settled("p"), kind="inquiry")
    assert isinstance(await persons.answer(asked.request.request_id), RequestOutdated)
    assert (await shop.read(payout)).state is S.PAID
    await persons.answer(asked.request.request_id, yes=False, why="it was paid")
    await holds(shop)


async def test_one_request_at_a_time(persons: Persons) -> None:
    """The same request asked for again is the same; another about the same payout waits until the first is answered."""
    payout = await frozen_or_doubted(persons.shop, [(1, Unknown("x"))])
    first = await persons.asked(persons.resolve(payout, PAID))
    again = await persons.asked(persons.resolve(payout, PAID))
    assert (first.fresh, again.fresh, again.request.request_id) == (True, False, first.request.request_id)
    for other in (persons.resolve(payout, NOT_MOVED), persons.resolve(payout, PAID, evidence="another paper")):
        told = await persons.ask(other)
        assert isinstance(told, RequestWaits) and told.request == first.request.request_id
    await persons.answer(first.request.request_id, yes=False)
    assert await persons.agree(persons.resolve(payout, NOT_MOVED)) == "failed"


async def test_somebody_elses_payout_is_none(persons: Persons) -> None:
    """A payout is resolved under its own merchant alone (S3)."""
    await persons.shop.merchant(2)
    payout = await frozen_or_doubted(persons.shop, [(1, Unknown("x"))])
    command = persons.resolve(payout, PAID)
    assert isinstance(await persons.ask(replace(command, merchant_id=2)), NoSuchPayout)


async def test_their_word_is_evidence(persons: Persons) -> None:
    """What persons vouch for is a row of evidence of its own kind, made by the second, naming the request of the first."""
    payout = await frozen_or_doubted(persons.shop, [(1, Unknown("x"))])
    asked = await persons.asked(persons.resolve(payout, PAID))
    await persons.answer(asked.request.request_id)
    [row] = await persons.shop.rows("SELECT verdict, detail, effect, actor FROM evidence WHERE kind = 'person'")
    assert tuple(row) == ("VouchedPaid", str(asked.request.request_id), "paid", "operator:2")
    assert (await persons.shop.attempt(payout)).state is AttemptState.SETTLED


async def test_an_answer_whose_commit_was_not_heard_of(persons: Persons) -> None:
    """Agreed to, and the commit unknown: it happened once, and whoever agreed is told so."""
    shop = persons.shop
    payout = await frozen_or_doubted(shop, [(1, Unknown("x"))])
    command = persons.resolve(payout, PAID)
    first, second = await shop.run_twice(lambda tx: approvals.ask(tx, 0, command))
    assert isinstance(first, Asked) and isinstance(second, Asked) and first.request == second.request
    word = persons.word(command.request_id)
    done, again = await shop.run_twice(lambda tx: approvals.answer(tx, 0, word))
    assert isinstance(done, Answered) and done == again
    await holds(shop)
