"""Evidence, on real PostgreSQL: what a provider says, in any order and however often, and where the money lies afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from itertools import pairwise
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from disburse.domain.money import Money
from disburse.domain.outcomes import (
    Absent,
    Accepted,
    NotFound,
    NotSent,
    Rejected,
    Returned,
    Settled,
    Unknown,
    Verdict,
)
from disburse.domain.payout import HOLDING, PayoutState
from disburse.operations import evidence
from disburse.operations.evidence import Heard
from disburse.operations.evidence_text import LONGEST_TEXT, fit_to_keep
from disburse.operations.group_commit import GroupCommit
from disburse.operations.payouts import Found
from tests.operations.shop import OTHER, SANDBOX, Shop

PAID, FAILED, QUEUED, RETURNED = PayoutState.PAID, PayoutState.FAILED, PayoutState.QUEUED, PayoutState.RETURNED
IN_FLIGHT, IN_DOUBT = PayoutState.IN_FLIGHT, PayoutState.IN_DOUBT

HELD = {"available": 3970, "held": 1030}
FLYING = {"available": 3970, "held": 30, "in_flight:sandbox": 1000}
DOUBTED = {"available": 3970, "held": 30, "in_doubt:sandbox": 1000}
GONE = {"available": 3970, "fees": 30, "paid:sandbox": 1000}
BACK = {"available": 5000}


def rubles(minor: int) -> Money:
    return Money(minor, "RUB")


async def under_way(shop: Shop, merchant: int = 1) -> Any:
    """A payout of 10.00 with a fee of 0.30, claimed, of a merchant who had 50.00."""
    await shop.merchant(merchant, money=5000)
    return await shop.opened(await shop.paid_out(merchant, fee=30))


async def whole(shop: Shop, merchant: int = 1) -> None:
    """Money in doubt, under way and held is what the payouts that are not over say it is (H3); numbers have no gaps."""
    balances = await shop.balances(merchant)
    promised = sum(minor for account, minor in balances.items() if account.startswith(("held", "in_flight", "in_doubt")))
    rows = await shop.rows("SELECT state, amount_minor + fee_minor FROM payouts WHERE merchant_id = $1", merchant)
    assert promised == sum(row[1] for row in rows if PayoutState(row[0]) in HOLDING)
    assert sum(balances.values()) == 0
    for table in ("postings", "events"):
        numbers = await shop.rows(f"SELECT number FROM {table} WHERE merchant_id = $1 ORDER BY 1", merchant)
        assert [row[0] for row in numbers] == list(range(1, len(numbers) + 1))


# --- what each verdict does, alone and after others ---

LIVES: list[tuple[str, Sequence[Verdict], PayoutState, list[str], dict[str, int]]] = [
    ("paid", [Settled("p")], PAID, ["settled"], GONE),
    ("paid, and says how much", [Settled("p", rubles(1000))], PAID, ["settled"], GONE),
    ("taken", [Accepted("p")], IN_FLIGHT, ["accepted"], FLYING),
    ("taken and paid", [Accepted("p"), Settled("p")], PAID, ["settled"], GONE),
    ("taken and refused", [Accepted("p"), Rejected("no")], FAILED, ["rejected"], BACK),
    ("refused", [Rejected("no")], FAILED, ["rejected"], BACK),
    ("refused, late news of taking it", [Rejected("no"), Accepted("p")], FAILED, ["rejected"], BACK),
    ("not sent", [NotSent("no connection")], QUEUED, ["not_sent", "due"], HELD),
    ("no answer", [Unknown("time-out")], IN_DOUBT, ["unknown"], DOUBTED),
    ("not known there", [NotFound()], IN_DOUBT, ["unknown"], DOUBTED),
    ("doubt, taken", [Unknown("time-out"), Accepted("p")], IN_FLIGHT, ["accepted"], FLYING),
    ("doubt, taken, no answer", [Unknown("a"), Accepted("p"), Unknown("b")], IN_FLIGHT, ["accepted"], FLYING),
    ("doubt, not known there", [Unknown("a"), NotFound(), NotFound("b")], IN_DOUBT, ["unknown"], DOUBTED),
    ("doubt, paid", [Unknown("time-out"), Settled("p")], PAID, ["settled"], GONE),
    ("doubt, refused", [Unknown("time-out"), Rejected("no")], FAILED, ["rejected"], BACK),
    ("doubt, absent", [Unknown("time-out"), Absent()], QUEUED, ["not_sent", "due"], HELD),
    ("doubt, not sent after all", [Unknown("lease"), NotSent("too late")], QUEUED, ["not_sent", "due"], HELD),
    ("absent", [Absent()], QUEUED, ["not_sent", "due"], HELD),
    ("paid, late doubt", [Settled("p"), Unknown("time-out"), NotFound()], PAID, ["settled"], GONE),
    ("paid, late news of taking it", [Settled("p"), Accepted("p")], PAID, ["settled"], GONE),
    ("paid and back", [Settled("p"), Returned("r")], RETURNED, ["settled"],
     {"available": 4970, "fees": 30}),
    ("back before we heard that it was paid", [Unknown("a"), Returned("r"), Settled("p")], RETURNED, ["settled"],
     {"available": 4970, "fees": 30}),
    ("part of it back", [Settled("p"), Returned("r", rubles(400))], RETURNED, ["settled"],
     {"available": 4370, "fees": 30, "paid:sandbox": 600}),
    ("back in two parts", [Settled("p"), Returned("r", rubles(400)), Returned("s", rubles(600))], RETURNED, ["settled"],
     {"available": 4970, "fees": 30}),
]  # fmt: skip


@pytest.mark.parametrize(("heard", "state", "attempts", "balances"), [one[1:] for one in LIVES], ids=[one[0] for one in LIVES])
async def test_a_life(
    shop: Shop, heard: Sequence[Verdict], state: PayoutState, attempts: list[str], balances: dict[str, int]
) -> None:
    """What was heard decides state, attempts and balances; all of it heard once more changes nothing."""
    opened = await under_way(shop)
    for _ in range(2):
        for verdict in heard:
            await shop.hear_of(opened, verdict)
        now = await shop.read(opened.payout)
        assert (now.state, now.frozen) == (state, None)
        assert await shop.attempts(now) == attempts
        assert await shop.balances(1) == {"funding": -5000, **balances}
        await whole(shop)
    assert len(await shop.rows("SELECT 1 FROM evidence")) == len(heard)


ONE_REQUEST = [NotSent("too late"), Absent("our key is not taken"), Rejected("no money"), Rejected("no money", elsewhere=True)]
"""What a call may prove of its own request, without the provider's word about the order."""


@pytest.mark.parametrize("verdict", ONE_REQUEST, ids=str)
@pytest.mark.parametrize("slept", [True, False], ids=["slept", "in time"])
async def test_who_slept_speaks_for_one_request(shop: Shop, verdict: Verdict, slept: bool) -> None:
    """Where others may send an order again, proof about one request counts while its owner alone could have sent; later it is kept, and moves nothing."""
    opened = await under_way(shop)
    if slept:
        await shop.hear_of(opened, Unknown("the owner's lease ran out"), kind="lease")
    [applied] = await shop.hear(replace(shop.message(opened, verdict), repeatable=True))
    now = await shop.read(opened.payout)
    assert (await shop.attempts(now) == ["unknown"]) is slept
    assert (applied.effect == "nothing") is slept
    if slept:
        await shop.hear_of(opened, Settled("p"), kind="inquiry")
        assert (await shop.read(opened.payout)).state is PAID
    await whole(shop)


async def test_a_refused_order_is_refused_whoever_slept(shop: Shop) -> None:
    """A refusal with the provider's own id of the order is about the order, however often it was sent."""
    opened = await under_way(shop)
    await shop.hear_of(opened, Unknown("the owner's lease ran out"), kind="lease")
    await shop.hear(replace(shop.message(opened, Rejected("no", provider_reference="7")), repeatable=True))
    assert (await shop.read(opened.payout)).state is FAILED


@pytest.mark.parametrize(("heard", "state", "attempts", "balances"), [one[1:] for one in LIVES], ids=[one[0] for one in LIVES])
async def test_a_life_in_one_batch(
    shop: Shop, heard: Sequence[Verdict], state: PayoutState, attempts: list[str], balances: dict[str, int]
) -> None:
    """Several messages about one payout in one transaction do what they do one by one."""
    opened = await under_way(shop)
    messages = [shop.message(opened, verdict) for verdict in heard]
    applied = await shop.hear(*messages, *messages)
    assert {one.effect for one in applied[len(heard) :]} == {"repeated"}
    now = await shop.read(opened.payout)
    assert (now.state, now.frozen) == (state, None) and await shop.attempts(now) == attempts
    assert await shop.balances(1) == {"funding": -5000, **balances}
    await whole(shop)


async def test_a_final_payout_says_when_and_why(shop: Shop) -> None:
    """The end has its time, its reason, and the provider's own reference; the effect of each message stands beside it."""
    opened = await under_way(shop)
    await shop.hear_of(opened, Accepted("bank-7"))
    message = shop.message(opened, Rejected("card closed"), kind="callback")
    await shop.hear(message)
    now, attempt = await shop.read(opened.payout), await shop.attempt(opened.payout)
    assert (now.reason, now.finished_at, attempt.ended_at) == ("card closed", message.at, message.at)
    assert attempt.provider_reference == "bank-7" and attempt.ask_at is None
    rows = await shop.rows("SELECT kind, verdict, detail, effect FROM evidence ORDER BY heard_at")
    assert [tuple(row) for row in rows] == [
        ("answer", "Accepted", "", "in_flight"), ("callback", "Rejected", "card closed", "failed"),
    ]  # fmt: skip
    assert await shop.events(1) == ["payout.queued", "payout.in_flight", "payout.accepted", "payout.failed"]


@pytest.mark.parametrize("more", [Returned("r"), Rejected("no")], ids=["returned", "contradicted"])
async def test_an_end_keeps_its_time(shop: Shop, more: Verdict) -> None:
    """When a payout was over does not change with what is heard later."""
    opened = await under_way(shop)
    message = shop.message(opened, Settled("p"))
    await shop.hear(message)
    await shop.hear(replace(shop.message(opened, more), at=message.at + timedelta(days=3)))
    now = await shop.read(opened.payout)
    assert now.finished_at == message.at and now.updated_at == message.at + timedelta(days=3)


async def test_doubt_keeps_its_time(shop: Shop) -> None:
    """The books' doubt has a beginning; hearing of the attempt ends it, and nothing said in between moves it."""
    opened = await under_way(shop)
    await shop.hear_of(opened, Unknown("time-out"))
    began = (await shop.attempt(opened.payout)).doubt_since
    await shop.hear_of(opened, NotFound(), kind="inquiry")
    assert began is not None and (await shop.attempt(opened.payout)).doubt_since == began
    await shop.hear_of(opened, Accepted("p"), kind="inquiry")
    assert (await shop.attempt(opened.payout)).doubt_since is None


# --- contradictions ---

CONTRADICTIONS: list[tuple[Sequence[Verdict], str, PayoutState, dict[str, int]]] = [
    ([Rejected("no"), Settled("p")], "paid_after_refusal", FAILED,
     {**BACK, "paid:sandbox": 1000, "suspense:sandbox": -1000}),
    ([NotSent("x"), Settled("p")], "paid_after_refusal", QUEUED, {**HELD, "paid:sandbox": 1000, "suspense:sandbox": -1000}),
    ([Unknown("x"), Absent(), Settled("p")], "paid_after_refusal", QUEUED,
     {**HELD, "paid:sandbox": 1000, "suspense:sandbox": -1000}),
    ([Settled("p"), Rejected("no")], "refused_after_paid", PAID, GONE),
    ([Settled("p"), Absent()], "absent_after_paid", PAID, GONE),
    ([Settled("p", rubles(999))], "another_amount", IN_FLIGHT, FLYING),
    ([Unknown("x"), Settled("p", Money(1000, "TST"))], "another_amount", IN_DOUBT, DOUBTED),
    ([Accepted("p"), Absent()], "absent_after_accepted", IN_FLIGHT, FLYING),
    ([NotSent("x"), Accepted("p")], "accepted_but_never_sent", QUEUED, HELD),
    ([Rejected("no"), Returned("r")], "returned_but_never_paid", FAILED, BACK),
    ([Settled("p"), Returned("r", rubles(1001))], "returned_another_amount", PAID, GONE),
    ([Settled("p"), Returned("r", rubles(600)), Returned("s", rubles(600))], "returned_another_amount", RETURNED,
     {"available": 4570, "fees": 30, "paid:sandbox": 400}),
]  # fmt: skip


@pytest.mark.parametrize(("heard", "why", "state", "balances"), CONTRADICTIONS)
async def test_a_contradiction_freezes(
    shop: Shop, heard: Sequence[Verdict], why: str, state: PayoutState, balances: dict[str, int]
) -> None:
    """What contradicts itself freezes the payout where it is; money moved beyond proof is booked to suspense, never to the
    merchant; and whatever is heard afterwards is kept and moves nothing."""
    opened = await under_way(shop)
    effects = [(await shop.hear_of(opened, verdict)).effect for verdict in heard]
    assert effects[-1] == f"frozen:{why}"
    for more in (Settled("q"), Rejected("other"), Returned("z"), Absent("w"), Accepted("q"), Unknown("u")):
        assert (await shop.hear_of(opened, more)).effect == "nothing"
    now = await shop.read(opened.payout)
    assert (now.state, now.frozen) == (state, why)
    assert await shop.balances(1) == {"funding": -5000, **balances}
    assert (await shop.events(1))[-1] == "payout.frozen"
    await whole(shop)


async def test_a_late_payment_of_the_first_attempt_while_the_second_flies(shop: Shop) -> None:
    """Two attempts paid: the second payment the merchant did not order lies in suspense, and a person is needed."""
    shop.routes = [SANDBOX, OTHER]
    first = await under_way(shop)
    await shop.hear_of(first, Rejected("short", elsewhere=True))
    second = await shop.opened(first.payout, 2)
    await shop.hear_of(second, Settled("s"))
    applied = await shop.hear_of(first, Settled("f"))
    assert applied.contradicts and applied.payout is not None and applied.payout.state is PAID
    assert await shop.balances(1) == {
        "available": 3970, "fees": 30, "funding": -5000, "paid:other": 1000, "paid:sandbox": 1000, "suspense:sandbox": -1000,
    }  # fmt: skip
    await whole(shop)


# --- who says it, and how it finds its payout ---


async def test_a_callback_finds_its_payout_by_the_id_alone(shop: Shop) -> None:
    """A callback carries only the end-to-end id; bucket, payout and attempt are found from it."""
    opened = await under_way(shop)
    message = replace(shop.message(opened, Settled("p"), kind="callback"), payout=None)
    applied = (await shop.hear(message))[0]
    assert applied.effect == "paid" and applied.payout is not None
    assert applied.payout.payout_id == opened.payout.payout_id


@pytest.mark.parametrize(
    "change",
    [
        {"end_to_end_id": "whatever"},
        {"end_to_end_id": "aa" + "b" * 26 + "-1"},
        {"connector": "other"},
        {"attempt": "2"},
        {"attempt": "0"},
    ],
    ids=["not ours", "an id of ours, no payout", "another provider", "no such attempt", "attempt nought"],
)
async def test_what_matches_nothing_is_kept(shop: Shop, change: dict[str, str]) -> None:
    """A message about nothing we sent is stored as unmatched, once, and changes nothing."""
    opened = await under_way(shop)
    if "attempt" in change:
        change = {"end_to_end_id": opened.end_to_end_id[:-1] + change["attempt"]}
    message = replace(shop.message(opened, Settled("p"), kind="callback"), payout=None, **change)  # type: ignore[arg-type]
    assert [one.effect for one in await shop.hear(message, message)] == ["unmatched", "repeated"]
    assert (await shop.hear(message))[0].effect == "repeated"
    rows = await shop.rows("SELECT effect, payout_id, connector FROM evidence")
    assert [tuple(row) for row in rows] == [("unmatched", None, message.connector)]
    assert (await shop.read(opened.payout)).state is IN_FLIGHT and await shop.balances(1) == {"funding": -5000, **FLYING}


async def test_one_stray_heard_by_many_at_once(shop: Shop) -> None:
    """The same message about nothing of ours, told to several transactions at once, is kept once and refused to nobody."""
    queue = GroupCommit(shop.database, partial(evidence.record, routes=[]), shop.world.clock, largest=2, writers=4)
    strays = [Heard("bank", f"stray-{n % 3}", "callback", Settled(), shop.now(), "provider:bank") for n in range(24)]
    answers = await asyncio.gather(*[queue.submit(0, stray) for stray in strays])
    assert {answer.effect for answer in answers} <= {"unmatched", "repeated"}
    assert len(await shop.rows("SELECT 1 FROM evidence")) == 3


async def test_evidence_counts_whoever_heard_it(shop: Shop) -> None:
    """What the owner of a lapsed claim was answered is applied although somebody else has put the attempt in doubt."""
    opened = await under_way(shop)
    await shop.lapse(opened.payout)
    asked = await shop.ask(opened.payout)
    assert asked is not None and asked.lapsed
    inquirer = replace(shop.message(opened, Unknown("the owner's lease ran out"), kind="lease"), actor="worker:b")
    assert (await shop.hear(inquirer))[0].effect == "in_doubt"
    owner = replace(shop.message(opened, Settled("p")), actor="worker:a")
    assert (await shop.hear(owner))[0].effect == "paid"
    assert await shop.balances(1) == {"funding": -5000, **GONE}


async def test_time_proves_nothing(shop: Shop) -> None:
    """However often and for however long nobody knows, the payout stays in doubt and its money in doubt (E5)."""
    opened = await under_way(shop)
    await shop.hear_of(opened, Unknown("time-out"))
    for year in range(1, 30):
        later = shop.now() + timedelta(days=365 * year)
        silence: list[Verdict] = [Unknown(f"no answer in year {year}"), NotFound(f"not found in year {year}")]
        await shop.hear(*[replace(shop.message(opened, one, kind="inquiry"), at=later) for one in silence])
    now = await shop.read(opened.payout)
    assert now.state is IN_DOUBT and await shop.attempts(now) == ["unknown"]
    assert await shop.balances(1) == {"funding": -5000, **DOUBTED}


async def test_absent_starts_a_second_attempt_and_that_pays(shop: Shop) -> None:
    """Proven absent, the payout is due again under the next id, and pays once."""
    first = await under_way(shop)
    await shop.hear_of(first, Unknown("time-out"))
    await shop.hear_of(first, Absent(), kind="inquiry")
    second = await shop.opened(first.payout, 2)
    assert second.end_to_end_id == f"{first.payout.base}-2"
    await shop.hear_of(second, Settled("p"))
    now = await shop.read(first.payout)
    assert (now.state, now.attempts) == (PAID, 2) and await shop.attempts(now) == ["not_sent", "settled"]
    assert await shop.balances(1) == {"funding": -5000, **GONE}
    await whole(shop)


# --- returns ---


@pytest.mark.parametrize("amount", [None, rubles(1000), rubles(300)])
async def test_a_return_counts_once_by_the_providers_event(shop: Shop, amount: Money | None) -> None:
    """The same event in other words, by callback, inquiry or both in one batch, brings the money back once."""
    opened = await under_way(shop)
    await shop.hear_of(opened, Settled("p"))
    event: Verdict = Returned("r-1", amount)
    told = [
        shop.message(opened, event, kind=kind, content=content)
        for kind in ("callback", "inquiry") for content in ("at 10:00", "at 10:01")
    ]  # fmt: skip
    assert [one.effect for one in await shop.hear(*told[:2])] == ["returned", "nothing"]
    assert [(await shop.hear(one))[0].effect for one in told[2:]] == ["nothing", "nothing"]
    now, back = await shop.read(opened.payout), amount.minor if amount else 1000
    assert (now.state, now.frozen, now.returned_minor) == (RETURNED, None, back)
    assert (await shop.balances(1))["available"] == 3970 + back


async def test_both_parts_of_a_return_in_one_batch_before_the_payment(shop: Shop) -> None:
    """Two returns overtake the news of the payment: all of it is booked, in whatever order it comes."""
    opened = await under_way(shop)
    await shop.hear(*[shop.message(opened, one) for one in (Returned("b", rubles(1)), Returned("a", rubles(999)), Settled("p"))])
    now = await shop.read(opened.payout)
    assert (now.state, now.returned_minor) == (RETURNED, 1000)
    await whole(shop)


# --- runs twice, texts, the index ---


@pytest.mark.parametrize("verdict", [Settled("p"), Rejected("no"), NotSent("x"), Unknown("x"), Accepted("p"), Returned("r")])
async def test_an_unknown_commit_changes_nothing(shop: Shop, verdict: Verdict) -> None:
    """Recorded, the commit unknown, recorded again: the second run finds everything as the first left it."""
    opened = await under_way(shop)
    message = shop.message(opened, verdict)
    stray = replace(message, end_to_end_id="stray", payout=None)
    first, second = await shop.run_twice(lambda tx: evidence.record(tx, 0, [message, stray], routes=shop.routes))
    assert [one.effect for one in second] == ["repeated", "repeated"]
    assert first[0].payout is not None and second[0].payout is not None
    assert second[0].payout.state is first[0].payout.state
    await whole(shop)
    events = await shop.events(1)
    assert len(events) == 3 and len(await shop.rows("SELECT 1 FROM evidence")) == 2


ODD_TEXTS = ["nul \0 inside", "half \ud800 of a character", "long " * 500, "\U0001f4b8" * 3000, "й" * 9000]


@pytest.mark.parametrize("text", ODD_TEXTS, ids=["nul", "surrogate", "long", "four bytes each", "two bytes each"])
async def test_a_provider_may_say_what_no_column_takes(shop: Shop, text: str) -> None:
    """Texts that PostgreSQL cannot store or index are kept in a form that it can; what they say is applied all the same."""
    await shop.merchant(1, money=100_000)
    verdicts: list[tuple[Verdict, str]] = [
        (Rejected(text), "failed"), (Settled(text), "paid"), (Unknown(text), "in_doubt"), (NotSent(text), "queued"),
        (Returned(text), "returned"), (Accepted(text), "in_flight"), (Rejected(text, elsewhere=True), "failed"),
    ]  # fmt: skip
    for verdict, effect in verdicts:
        opened = await shop.opened(await shop.paid_out(1))
        assert (await shop.hear_of(opened, verdict)).effect == effect
        assert (await shop.hear_of(opened, verdict)).effect == "repeated"
    stray = Heard("bank", text, "callback", Settled(), shop.now(), "provider:bank")
    assert (await shop.hear(stray))[0].effect == "unmatched"
    assert (await shop.hear(stray))[0].effect == "repeated"


def test_unlike_texts_stay_unlike() -> None:
    """A text is shortened only together with its digest, and what can be kept is kept as it is."""
    assert fit_to_keep("Карта закрыта") == "Карта закрыта" and len(fit_to_keep("x" * LONGEST_TEXT)) == LONGEST_TEXT
    long = [fit_to_keep("x" * 10_000 + end) for end in "ab"]
    assert long[0] != long[1] and {len(one) for one in long} == {LONGEST_TEXT}


@pytest.mark.parametrize("state", ["due", "open", "accepted", "unknown", "settled"])
async def test_the_index_refuses_a_second_live_attempt(shop: Shop, dsn: str, state: str) -> None:
    """Whatever the program does, the database takes no second attempt beside one that moved money or may have."""
    opened = await under_way(shop)
    admin = await asyncpg.connect(dsn)
    try:
        with pytest.raises(asyncpg.UniqueViolationError) as refused:
            await admin.execute(
                f"""INSERT INTO disburse.attempts (shard, payout_id, number, merchant_id, state, due_at, connector,
                        end_to_end_id, request_digest, owner, lease_until, opened_at, actor)
                    SELECT shard, payout_id, 2, merchant_id, '{state}', due_at, connector, 'x', request_digest, owner,
                        lease_until, opened_at, actor FROM disburse.attempts"""
            )
        assert refused.value.constraint_name == "one_live_attempt"
        await shop.hear_of(opened, NotSent("x"))
        with pytest.raises(asyncpg.UniqueViolationError):  # the second is due: the first cannot come back to life
            await admin.execute("UPDATE disburse.attempts SET state = 'settled' WHERE number = 1")
    finally:
        await admin.close()


# --- any order ---

STORIES: dict[str, list[tuple[str, Verdict]]] = {
    "paid": [
        ("answer", Unknown("time-out")), ("inquiry", NotFound()), ("inquiry", Accepted("p")), ("callback", Settled("p")),
        ("inquiry", Settled("p", rubles(1000))), ("lease", Unknown("lease")),
    ],
    "returned": [
        ("answer", Accepted("p")), ("callback", Settled("p")), ("callback", Returned("a", rubles(400))),
        ("inquiry", Returned("a", rubles(400))), ("callback", Returned("b", rubles(600))), ("inquiry", Unknown("x")),
    ],
    "refused": [
        ("answer", Unknown("time-out")), ("inquiry", NotFound()), ("inquiry", Accepted("p")), ("callback", Rejected("no")),
        ("inquiry", Rejected("no", provider_reference="p")), ("lease", Unknown("lease")),
    ],
    "sent elsewhere": [
        ("answer", Unknown("time-out")), ("callback", Rejected("short", elsewhere=True)), ("inquiry", NotFound()),
        ("inquiry", Rejected("short", elsewhere=True)), ("inquiry", Accepted("p")),
    ],
    "absent": [("answer", Unknown("time-out")), ("inquiry", NotFound()), ("inquiry", Absent()), ("lease", Unknown("lease"))],
}  # fmt: skip


async def end_of(shop: Shop, merchant: int, told: Sequence[tuple[str, Verdict]], cuts: Sequence[int]) -> tuple[Any, ...]:
    """How a fresh payout of a merchant of its own stands after all that was told, cut into batches."""
    opened = await under_way(shop, merchant)
    messages = [shop.message(opened, verdict, kind=kind) for kind, verdict in told]
    edges = sorted({0, len(messages), *[cut % len(messages) for cut in cuts]})
    for first, last in pairwise(edges):
        await shop.hear(*messages[first:last])
    await whole(shop, merchant)
    now = await shop.read(opened.payout)
    return (now.state, now.frozen, now.returned_minor, await shop.attempts(now), await shop.balances(merchant))


@pytest.mark.parametrize("story", STORIES)
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
async def test_any_order_any_repetition(shop: Shop, story: str, data: st.DataObject) -> None:
    """Evidence that does not contradict itself ends in one state, whatever its order, repetition and batches (E9)."""
    shop.routes = [SANDBOX, OTHER]
    merchants = [row[0] for row in await shop.rows("SELECT merchant_id FROM merchants")]
    number = len(merchants) + 1
    expected = await end_of(shop, number, STORIES[story], [1, 2, 3, 4, 5])
    told = data.draw(st.permutations(STORIES[story] + data.draw(st.lists(st.sampled_from(STORIES[story]), max_size=4))))
    cuts = data.draw(st.lists(st.integers(0, 10), max_size=4))
    assert await end_of(shop, number + 1, told, cuts) == expected


async def test_evidence_and_group_commit(shop: Shop) -> None:
    """Many payouts' news through the queue at once, each told three times: each is applied once."""
    await shop.merchant(1, money=100_000)
    found = await shop.create(*[shop.draft(1, f"r{n}") for n in range(40)])
    opened = [await shop.opened(one.payout) for one in found if isinstance(one, Found)]
    queue = GroupCommit(shop.database, partial(evidence.record, routes=shop.routes), shop.world.clock, largest=9, writers=3)
    messages = [shop.message(one, Settled("p")) for one in opened] * 3
    applied = await asyncio.gather(*[queue.submit(0, message) for message in messages])
    assert sum(one.effect == "paid" for one in applied) == 40
    assert await shop.balances(1) == {"available": 60_000, "funding": -100_000, "paid:sandbox": 40_000}
    await whole(shop)
