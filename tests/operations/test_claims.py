"""Claims and questions, on real PostgreSQL: the intent is whole before anything is sent, and one worker has it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from disburse.domain.identifiers import read_end_to_end_id
from disburse.domain.outcomes import Accepted, NotSent, Rejected, Settled, Unknown, Verdict
from disburse.domain.payout import PayoutState
from disburse.domain.ports import World
from disburse.domain.routing import Route
from disburse.domain.schedule import ASKED_ANEW, ask_in_s, try_again_in_s
from disburse.operations import attempts, questions
from disburse.operations.attempts import FROZEN_REST, Ask, Claim, Opened, request_digest
from disburse.storage import payouts as stored
from disburse.storage.database import Database
from tests.clock import FakeClock
from tests.operations.shop import OTHER, SANDBOX, Shop

NEAR = timedelta(seconds=20)  # between two moments of one test on a slow machine


def claim_of(shop: Shop, payout_id: object, number: int = 1, merchant: int = 1, owner: str = "worker-a") -> Claim:
    return Claim(payout_id, number, merchant, owner, 30, shop.now())  # type: ignore[arg-type]


async def test_the_intent_is_whole(shop: Shop) -> None:
    """A claim writes provider, id, digest, owner, epoch and lease, moves the amount to in_flight and tells it, at once."""
    await shop.merchant(1, money=5000)
    payout = await shop.paid_out(1, fee=30)
    opened = await shop.opened(payout)
    attempt = await shop.attempt(payout)
    now = await shop.database_now()
    assert opened.payout.state is PayoutState.IN_FLIGHT
    assert (opened.connector, opened.end_to_end_id) == ("sandbox", f"{payout.base}-1")
    assert (attempt.state, attempt.connector, attempt.end_to_end_id) == ("open", "sandbox", f"{payout.base}-1")
    assert (attempt.owner, attempt.epoch) == ("worker-a", 1)
    assert attempt.opened_at is not None and attempt.lease_until is not None
    assert abs(attempt.lease_until - now - timedelta(seconds=30)) < NEAR and attempt.ask_at == attempt.lease_until
    digests = await shop.rows("SELECT request_digest FROM attempts")
    assert digests[0][0] == request_digest(payout, opened.end_to_end_id, "sandbox")
    assert await shop.balances(1) == {"available": 3970, "funding": -5000, "held": 30, "in_flight:sandbox": 1000}
    assert await shop.events(1) == ["payout.queued", "payout.in_flight"]


async def test_two_workers_race_for_one_attempt(shop: Shop) -> None:
    """However many claim one attempt at once, one has it, and the money moves once."""
    await shop.merchant(1, money=100_000)
    for turn in range(1, 8):
        payout = await shop.paid_out(1)
        claims = [shop.claim(payout, owner=f"worker-{n}") for n in range(4)]
        won = [opened for opened in await asyncio.gather(*claims) if opened is not None]
        assert len(won) == 1 and (await shop.attempt(payout)).epoch == 1
        assert (await shop.balances(1))["in_flight:sandbox"] == turn * 1000


async def test_a_batch_claims_what_can_be_claimed(shop: Shop) -> None:
    """Of one list, each claim is decided by itself: due ones open, the others do not disturb them."""
    await shop.merchant(1, money=5000)
    await shop.merchant(2, money=5000)
    mine, other, gone, taken = await shop.paid_out(1), await shop.paid_out(2), await shop.paid_out(1), await shop.paid_out(1)
    await shop.cancel(shop.act(gone))
    await shop.opened(taken)
    wanted = [
        claim_of(shop, mine.payout_id), claim_of(shop, other.payout_id, merchant=2), claim_of(shop, gone.payout_id),
        claim_of(shop, taken.payout_id), claim_of(shop, mine.payout_id, 2), claim_of(shop, shop.new_id()),
    ]  # fmt: skip
    got = await shop.database.run(lambda tx: attempts.claim(tx, 0, wanted, routes=shop.routes))
    assert [opened.payout.payout_id if opened else None for opened in got] == [
        mine.payout_id, other.payout_id, None, None, None, None,
    ]  # fmt: skip


async def test_a_claim_whose_commit_was_not_heard_of_is_ours(shop: Shop) -> None:
    """Run again after an unknown commit, a claim finds its own intent and goes on with it; nothing moves twice."""
    await shop.merchant(1, money=5000)
    payout = await shop.paid_out(1)
    one = [claim_of(shop, payout.payout_id)]
    first, second = await shop.run_twice(lambda tx: attempts.claim(tx, 0, one, routes=shop.routes))
    assert isinstance(first[0], Opened) and isinstance(second[0], Opened)
    assert (first[0].end_to_end_id, first[0].connector) == (second[0].end_to_end_id, second[0].connector)
    assert (await shop.attempt(payout)).epoch == 1 and (await shop.balances(1))["in_flight:sandbox"] == 1000
    assert await shop.events(1) == ["payout.queued", "payout.in_flight"]


async def test_only_an_unknown_commit_makes_an_open_attempt_ours(shop: Shop) -> None:
    """The same owner asking once more, and another owner after a broken connection, both find it taken."""
    await shop.merchant(1, money=5000)
    payout = await shop.paid_out(1)
    await shop.opened(payout)
    assert await shop.claim(payout) is None
    stranger = [claim_of(shop, payout.payout_id, owner="worker-b")]
    assert await shop.run_twice(lambda tx: attempts.claim(tx, 0, stranger, routes=shop.routes)) == ([None], [None])


@pytest.mark.parametrize("routes", [[], [Route("sandbox", frozenset({"sbp"}), frozenset({"RUB"}))]])
async def test_what_no_provider_can_carry_fails_with_its_money_back(shop: Shop, routes: list[Route]) -> None:
    """Without a route the payout fails, all of its money comes back, and its attempt was not sent."""
    shop.routes = routes
    await shop.merchant(1, money=5000)
    payout = await shop.paid_out(1, fee=30)
    assert await shop.claim(payout) is None
    now = await shop.read(payout)
    assert (now.state, now.reason, now.finished_at is not None) == (PayoutState.FAILED, "no_route", True)
    assert await shop.balances(1) == {"available": 5000, "funding": -5000}
    assert await shop.attempts(payout) == ["not_sent"] and await shop.due() == []
    assert await shop.events(1) == ["payout.queued", "payout.failed"]


@pytest.mark.parametrize(
    ("currency", "sandbox_only", "connector"), [("RUB", False, "other"), ("RUB", True, "sandbox"), ("TST", False, "sandbox")]
)
async def test_test_money_goes_to_a_sandbox(shop: Shop, currency: str, sandbox_only: bool, connector: str) -> None:
    """Test money and test calls are never given to a provider of real money, whichever stands first."""
    both = frozenset({"RUB", "TST"})
    shop.routes = [replace(OTHER, currencies=both), replace(SANDBOX, currencies=both)]
    await shop.merchant(1, money=5000, currency=currency)
    draft = replace(shop.draft(1, "r", currency=currency), sandbox_only=sandbox_only)
    found = (await shop.create(draft))[0]
    assert (await shop.opened(found.payout)).connector == connector


async def test_a_frozen_payout_is_not_claimed_and_rests(shop: Shop) -> None:
    """A due attempt of a frozen payout is not opened, and is looked at again only after a rest."""
    await shop.merchant(1, money=5000)
    payout = await shop.paid_out(1)
    opened = await shop.opened(payout)
    await shop.hear_of(opened, NotSent("refused"))
    await shop.hear_of(opened, Settled("p"))
    frozen = await shop.read(payout)
    assert (frozen.state, frozen.frozen) == (PayoutState.QUEUED, "paid_after_refusal")
    assert await shop.due() == [(payout.payout_id, 2, 1)]
    assert await shop.claim(payout, 2) is None
    assert await shop.due() == [] and await shop.attempts(payout) == ["not_sent", "due"]
    rested = (await shop.attempt(payout, 2)).due_at - await shop.database_now()
    assert abs(rested - FROZEN_REST) < NEAR


async def test_a_second_route_after_a_refusal_of_the_providers_own(shop: Shop) -> None:
    """Refused for a cause of the provider's own, a payout goes to the next route, and fails when none is left."""
    shop.routes = [SANDBOX, OTHER]
    await shop.merchant(1, money=5000)
    payout = await shop.paid_out(1, fee=30)
    first = await shop.opened(payout)
    assert (await shop.hear_of(first, Rejected("short of money", elsewhere=True))).effect == "queued"
    assert await shop.balances(1) == {"available": 3970, "funding": -5000, "held": 1030}
    second = await shop.opened(payout, 2)
    assert [first.connector, second.connector] == ["sandbox", "other"]
    assert (await shop.hear_of(second, Rejected("short of money", elsewhere=True))).effect == "failed"
    assert (await shop.read(payout)).reason == "no_route"
    assert await shop.balances(1) == {"available": 5000, "funding": -5000}
    assert await shop.attempts(payout) == ["rejected", "rejected"]


async def test_what_was_not_sent_may_go_the_same_way_again(shop: Shop) -> None:
    """A route that could not be reached is not struck off: nothing was refused."""
    shop.routes = [SANDBOX, OTHER]
    await shop.merchant(1, money=5000)
    payout = await shop.paid_out(1)
    await shop.hear_of(await shop.opened(payout), NotSent("connection refused"))
    assert (await shop.opened(payout, 2)).connector == "sandbox"


async def test_every_attempt_has_an_id_of_its_own(shop: Shop) -> None:
    """Attempts share the obligation's base and differ by number; the id finds bucket, base and attempt again."""
    await shop.merchant(1, money=5000)
    payout = await shop.paid_out(1)
    seen = []
    for number in (1, 2, 3):
        opened = await shop.opened(payout, number)
        seen.append(opened.end_to_end_id)
        await shop.hear_of(opened, NotSent(f"try {number}"))
    assert seen == [f"{payout.base}-{number}" for number in (1, 2, 3)]
    assert [read_end_to_end_id(one) for one in seen] == [(0, payout.base, number) for number in (1, 2, 3)]


def changes() -> list[dict[str, object]]:
    return [{"fingerprint": b"another payee"}, {"amount_minor": 1001}, {"currency": "TST"}, {"rail": "sbp"}]


@pytest.mark.parametrize("change", changes(), ids=lambda change: next(iter(change)))
async def test_the_digest_tells_requests_apart(shop: Shop, change: dict[str, object]) -> None:
    """The digest of an intent changes with whatever would make it another payment (E7), and with nothing else."""
    await shop.merchant(1, money=5000)
    payout = await shop.paid_out(1)
    digest = request_digest(payout, "id-1", "sandbox")
    assert request_digest(replace(payout, state=PayoutState.PAID, attempts=7), "id-1", "sandbox") == digest
    assert request_digest(replace(payout, **change), "id-1", "sandbox") != digest  # type: ignore[arg-type]
    assert request_digest(payout, "id-2", "sandbox") != digest != request_digest(payout, "id-1", "other")


@pytest.mark.parametrize("years", [-10, 10])
async def test_leases_read_the_databases_clock(database: Database, world: World, years: int) -> None:
    """A worker whose clock is ten years off still takes a lease of thirty seconds; the rest is told by its own clock."""
    wrong = FakeClock(world.clock.now() + timedelta(days=365 * years))
    shop = Shop(database, World(wrong, world.random))
    await shop.merchant(1, money=5000)
    payout = await shop.paid_out(1)
    await shop.opened(payout)
    attempt = await shop.attempt(payout)
    assert attempt.lease_until is not None and attempt.opened_at == wrong.now()
    assert abs(attempt.lease_until - await shop.database_now() - timedelta(seconds=30)) < NEAR


async def test_what_waits_longest_is_first(shop: Shop) -> None:
    """Due attempts come in the order of their time, none before it, and no more than asked for."""
    await shop.merchant(1, money=9000)
    made = [(await shop.paid_out(1)).payout_id for _ in range(4)]
    for payout, seconds in zip(made, (-10, -30, -20, 9), strict=True):
        await shop.rows("UPDATE attempts SET due_at = clock_timestamp() + $2 WHERE payout_id = $1 RETURNING 1", payout, timedelta(seconds=seconds))
    assert [one[0] for one in await shop.due()] == [made[1], made[2], made[0]]
    assert [one[0] for one in await shop.due(limit=1)] == [made[1]]
    shop.off = timedelta(seconds=-60)
    assert await shop.due() == []


# --- questions ---


@pytest.mark.parametrize(("verdict", "accepted"), [(Accepted("p"), True), (Unknown("no answer"), False)])
async def test_questions_keep_their_times(shop: Shop, verdict: Verdict, accepted: bool) -> None:
    """The first question comes a while after the answer, each next one later; none is handed out before its time."""
    await shop.merchant(1, money=5000)
    opened = await shop.opened(await shop.paid_out(1))
    at = shop.now()
    await shop.hear_of(opened, verdict)
    first = (await shop.attempt(opened.payout)).ask_at
    assert first is not None and timedelta() <= first - at - timedelta(seconds=ask_in_s(0, accepted=accepted)) < NEAR
    if accepted:
        assert await shop.ask(opened.payout) is None
    for asked in range(4):
        await shop.ask_now(opened.payout)
        question = await shop.ask(opened.payout, jitter=1000.0)
        assert question is not None and not question.lapsed
        assert (question.end_to_end_id, question.connector) == (opened.end_to_end_id, "sandbox")
        attempt = await shop.attempt(opened.payout)
        assert attempt.asked == asked + 1 and attempt.ask_at is not None
        wait = timedelta(seconds=1000 * ask_in_s(asked, accepted=accepted))
        assert abs(attempt.ask_at - await shop.database_now() - wait) < NEAR
        assert await shop.ask(opened.payout) is None


async def test_a_lease_that_ran_out_is_a_question(shop: Shop) -> None:
    """While an owner's lease runs nobody asks about its attempt; afterwards the first question says that it lapsed."""
    await shop.merchant(1, money=5000)
    opened = await shop.opened(await shop.paid_out(1))
    assert await shop.ask(opened.payout) is None
    await shop.lapse(opened.payout)
    question = await shop.ask(opened.payout)
    assert question is not None and question.lapsed


@pytest.mark.parametrize("verdict", [Settled("p"), Rejected("no"), NotSent("refused")])
async def test_nobody_asks_about_what_is_over(shop: Shop, verdict: Verdict) -> None:
    """An attempt whose end is known is never asked about again."""
    await shop.merchant(1, money=5000)
    opened = await shop.opened(await shop.paid_out(1))
    await shop.hear_of(opened, verdict)
    await shop.ask_now(opened.payout)
    assert await shop.ask(opened.payout) is None
    far = shop.now() + timedelta(days=365)
    assert await shop.database.run(lambda tx: stored.to_ask(tx, 0, far, 10)) == []


async def test_nobody_asks_about_a_frozen_payout(shop: Shop) -> None:
    """A frozen payout waits for a person: no question is handed out, and its attempt is looked at ever more rarely."""
    await shop.merchant(1, money=5000)
    opened = await shop.opened(await shop.paid_out(1))
    await shop.hear_of(opened, Accepted("p"))
    await shop.hear_of(opened, NotSent("so it says"))
    assert (await shop.read(opened.payout)).frozen == "absent_after_accepted"
    await shop.ask_now(opened.payout)
    assert await shop.ask(opened.payout) is None
    attempt = await shop.attempt(opened.payout)
    assert attempt.asked == 1 and attempt.ask_at is not None and attempt.ask_at > await shop.database_now()


async def test_a_question_is_put_by_one(shop: Shop) -> None:
    """Two inquirers that see the same question do not both put it."""
    await shop.merchant(1, money=100_000)
    for _ in range(5):
        opened = await shop.opened(await shop.paid_out(1))
        await shop.lapse(opened.payout)
        asked = await asyncio.gather(*[shop.ask(opened.payout) for _ in range(3)])
        assert sum(question is not None for question in asked) == 1


@pytest.mark.parametrize("years, due", [(10, True), (0, False)])
async def test_a_wrong_clock_postpones_nothing_for_years(shop: Shop, years: int, due: bool) -> None:
    """A second try whose time was written while the database's clock was years ahead is due; one that rests for a minute is not."""
    await shop.merchant(1, money=5000)
    opened = await shop.opened(await shop.paid_out(1))
    await shop.hear_of(opened, NotSent("refused"))
    at = shop.now() + timedelta(days=365 * years, minutes=1)
    await shop.rows("UPDATE attempts SET due_at = $1 WHERE number = 2 RETURNING 1", at)
    found = await shop.database.run(lambda tx: stored.due(tx, 0, 9))
    assert [(one.payout.payout_id, one.attempt.number) for one in found] == [(opened.payout.payout_id, 2)] * due


async def test_questions_come_by_time_too(shop: Shop) -> None:
    """The most overdue questions are found first, those to come not at all."""
    await shop.merchant(1, money=9000)
    ids = []
    for minutes in (1, 3, 2, -5):
        opened = await shop.opened(await shop.paid_out(1))
        ids.append(opened.payout.payout_id)
        await shop.rows("UPDATE attempts SET ask_at = $2 WHERE payout_id = $1 RETURNING 1",
                        ids[-1], shop.now() - timedelta(minutes=minutes))  # fmt: skip
    found = await shop.database.run(lambda tx: stored.to_ask(tx, 0, shop.now(), 2))
    assert [one[:3] for one in found] == [(ids[1], 1, 1), (ids[2], 1, 1)]
    assert {one[3:] for one in found} == {("sandbox", True)}
    assert len(await shop.database.run(lambda tx: stored.to_ask(tx, 0, shop.now(), 9))) == 3


async def test_a_question_whose_commit_was_not_heard_of_is_put(shop: Shop) -> None:
    """Taken, and the commit unknown: the question is handed out all the same, for asking twice harms nobody."""
    await shop.merchant(1, money=5000)
    opened = await shop.opened(await shop.paid_out(1))
    await shop.lapse(opened.payout)
    one = [Ask(opened.payout.payout_id, 1, 1, 1.0)]
    first, second = await shop.run_twice(lambda tx: attempts.take_questions(tx, 0, one))
    assert first[0] is not None and second[0] is not None


OFF = [timedelta(minutes=13), timedelta(minutes=-13), timedelta(days=3650), timedelta(days=-3650)]


@pytest.mark.parametrize("off", OFF, ids=str)
async def test_a_clock_that_leapt_delays_nothing(shop: Shop, off: timedelta) -> None:
    """What a door or worker whose clock is off hands in is due, asked about and tried again by the database's clock, neither later nor sooner."""
    await shop.merchant(1, money=5000)
    doubted, refused = [found.payout for found in await shop.create(*[replace(shop.draft(1, name), at=shop.now() + off) for name in "ab"])]
    assert {one[0] for one in await shop.due()} == {doubted.payout_id, refused.payout_id}
    await shop.hear(replace(shop.message(await shop.opened(doubted), Unknown("time-out")), at=shop.now() + off))
    now, attempt = await shop.database_now(), await shop.attempt(doubted)
    assert attempt.doubt_since is not None and timedelta() <= now - attempt.doubt_since < NEAR
    assert attempt.ask_at == attempt.doubt_since + timedelta(seconds=ask_in_s(0, accepted=False))
    for tried in (1, 2, 3):
        opened = await shop.opened(refused, tried)
        await shop.hear(replace(shop.message(opened, NotSent("refused")), at=shop.now() + off))
        rests = (await shop.attempt(refused, tried + 1)).due_at - await shop.database_now()
        assert rests <= timedelta(seconds=try_again_in_s(tried)) < rests + NEAR


async def test_a_doubt_brought_forward_begins_anew(shop: Shop) -> None:
    """When its provider is heard again an attempt is asked about soon, and soon once more: not once, and then not for hours."""
    await shop.merchant(1, money=5000)
    payout = await shop.paid_out(1)
    await shop.hear_of(await shop.opened(payout), Unknown("time-out"))
    await shop.rows("UPDATE attempts SET asked = 30, ask_at = clock_timestamp() + interval '4 h' WHERE shard = 0 RETURNING 1")
    later = [questions.Later(payout.payout_id, 1, 1, 0.0)]
    await shop.database.run(lambda tx: questions.bring_forward(tx, 0, later))
    assert await shop.ask(payout) is not None
    attempt = await shop.attempt(payout)
    assert attempt.asked == ASKED_ANEW + 1 and attempt.ask_at is not None
    assert attempt.ask_at - await shop.database_now() < timedelta(seconds=10)
