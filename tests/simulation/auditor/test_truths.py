"""The provider's book and the clients' histories beside our rows: honest ones pass in silence, each doctored one is named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, NamedTuple

import asyncpg
import pytest

from disburse.domain.outcomes import NotFound, Rejected, Settled, Unknown
from disburse.simulation.auditor import BookEntry, Exchange
from disburse.simulation.auditor.truths import Violation
from tests.simulation.auditor.damages import say
from tests.simulation.auditor.small_town import Ended, ask, live
from tests.simulation.auditor.watch import AT, Watched, hurt, invariants, lied_about


async def test_an_ended_town_is_passed_in_silence(watched: Watched, doctor: asyncpg.Connection) -> None:
    """Where everything came to its end, three honest truths agree to the last line."""
    ended = await live(watched, doctor)
    assert watched.said == []
    assert len(ended.book) == 6
    assert await watched.auditor.in_full(ended.book, ended.histories, converged=True, now=watched.town.now()) == []


# --- the provider's book -------------------------------------------------------------------------------------------------


class Book(NamedTuple):
    """A doctored book, and what must be said of it."""

    entries: Sequence[BookEntry]
    invariant: str


def doctored_books(ended: Ended) -> dict[str, Book]:
    """Every way in which a provider's book and our rows can part."""
    book = ended.book
    paid = next(one for one in book if one.key == ended.sent["paid"])
    others = [one for one in book if one is not paid]
    first_try = replace(paid, key=ended.sent["twice"].replace("-2", "-1"), amount_minor=1_300)
    back = next(one for one in book if one.kind == "returned")
    return {
        "paid twice by one id": Book([*book, paid], "E1"),
        "paid by two attempts": Book([*book, first_try], "E1"),
        "paid what was proven unsent": Book([*book, first_try], "E5"),
        "paid what was refused": Book([*book, replace(paid, key=ended.sent["failed"], amount_minor=1_100)], "E5"),
        "paid what we never wrote down": Book([*book, replace(paid, key="stranger-1")], "E2"),
        "paid more": Book([*others, replace(paid, amount_minor=1_001)], "E7"),
        "paid in another currency": Book([*others, replace(paid, currency="USD")], "E7"),
        "paid somebody else": Book([*others, replace(paid, destination="2200********0000")], "E7"),
        "did not pay": Book(others, "R1"),
        "nothing came back": Book([one for one in book if one is not back], "R1"),
        "more came back": Book([*book, replace(back, key=paid.key, amount_minor=1)], "R1"),
    }


async def test_a_doctored_book_is_found_out(watched: Watched, doctor: asyncpg.Connection) -> None:
    """Whatever a provider did that our rows do not know is named by its invariant."""
    ended = await live(watched, doctor)
    missed = {}
    for name, one in doctored_books(ended).items():
        found = await watched.auditor.in_full(one.entries, ended.histories, converged=True)
        if one.invariant not in invariants(found):
            missed[name] = found
    assert missed == {}


async def test_a_book_may_say_where_it_paid_to(watched: Watched, doctor: asyncpg.Connection) -> None:
    """A destination is compared as it is shown, or by its digest."""
    ended = await live(watched, doctor)
    digest = (b"d" * 32).hex()
    for told in ("411111******1111", digest):
        book = [replace(one, destination=told) for one in ended.book]
        assert await watched.auditor.in_full(book, ended.histories, converged=True) == []


async def test_a_scripted_lie_is_excused(watched: Watched, doctor: asyncpg.Connection) -> None:
    """A provider that paid what it had refused broke its word and not ours, if the script says so; else the proof was none."""
    ended = await live(watched, doctor)
    lie = replace(ended.book[0], key=ended.sent["failed"], amount_minor=1_100)
    book = [*ended.book, lie]
    assert await watched.auditor.in_full(book, ended.histories, converged=True, lied_about=[lie.key]) == []
    found = await watched.auditor.in_full(book, ended.histories, converged=True)
    assert {"E5", "R1"} <= set(invariants(found))


async def test_orders_are_looked_at_when_they_arrive(watched: Watched, doctor: asyncpg.Connection) -> None:
    """An order was written down and committed before it arrives, asks for what it should, and does not come again."""
    auditor, town = watched.auditor, watched.town
    await live(watched, doctor)
    await town.create(town.command("early", 1_000))
    base = await doctor.fetchval("SELECT base FROM payouts WHERE payout_id = $1", town.ids["early"])
    order = BookEntry("sandbox", f"{base}-1", 1_000, "RUB", AT, "received")
    assert invariants(auditor.received(order)) == ["E2"]
    assert (await town.claim("early")).end_to_end_id == order.key
    assert invariants(auditor.received(replace(order, amount_minor=2))) == ["E14", "E7"]
    assert invariants(auditor.received(replace(order, connector="second"))) == ["E2"]


async def test_an_order_leaves_while_its_lease_runs(watched: Watched, doctor: asyncpg.Connection) -> None:
    """An order whose first byte left after its owner's lease is named, where its provider promises nothing of a second one."""
    ended = await live(watched, doctor)
    order = replace(ended.book[0], kind="received")
    lease = await doctor.fetchval("SELECT lease_until FROM attempts WHERE end_to_end_id = $1", order.key)
    for seconds, named in ((0, []), (1, ["E10"])):
        watched.auditor._first.clear()
        assert invariants(watched.auditor.received(replace(order, sent_at=lease + timedelta(seconds=seconds)))) == named


@pytest.mark.parametrize("after_s, named", [(-1, ["H4"]), (1, [])])
async def test_persons_wait_for_the_lease(watched: Watched, doctor: asyncpg.Connection, after_s: int, named: list[str]) -> None:
    """Persons who end an attempt while its owner may be sending it are named; once the lease is over they may."""
    auditor, town = watched.auditor, watched.town
    await live(watched, doctor)
    await town.create(town.command("hasty", 1_000))
    opened = await town.claim("hasty")
    lease = await doctor.fetchval("SELECT lease_until FROM attempts WHERE end_to_end_id = $1", opened.end_to_end_id)
    await hurt(doctor, town, say("hasty", "person", "VouchedNotMoved", "failed"))
    await hurt(doctor, town, "UPDATE attempts SET state = 'rejected', ask_at = NULL, ended_at = 'epoch' WHERE payout_id = {hasty}")
    auditor._clock = lambda: lease + timedelta(seconds=after_s)
    found = invariants(await auditor.after_commit())
    assert [one for one in found if one == "H4"] == named


async def test_another_sum_settles_nothing(watched: Watched, doctor: asyncpg.Connection) -> None:
    """A provider that moved another sum than was ordered, and says so, did not pay what we call settled."""
    ended = await live(watched, doctor)
    paid = next(one for one in ended.book if one.key == ended.sent["paid"])
    cheated = [replace(one, amount_minor=10) if one is paid else one for one in ended.book]
    found = await watched.auditor.in_full(cheated, ended.histories, converged=True, lied_about=[paid.key])
    assert invariants(found) == ["E7"]
    assert await watched.auditor.in_full(ended.book, ended.histories, converged=True, lied_about=[paid.key]) == []


async def test_an_order_may_come_again_where_its_provider_lets_it(watched: Watched, doctor: asyncpg.Connection) -> None:
    """A provider that takes an order twice without harm takes it for so long, and no longer."""
    watched.auditor._repeats["sandbox"] = 60.0
    ended = await live(watched, doctor)
    order = replace(ended.book[0], kind="received")
    later = [replace(order, at=AT + timedelta(seconds=seconds)) for seconds in (0, 59, 60)]
    assert [invariants(watched.auditor.received(one)) for one in later] == [[], [], ["E14"]]


async def test_a_payment_for_a_payout_that_is_gone(watched: Watched, doctor: asyncpg.Connection) -> None:
    """A provider paid what we forgot: the payout that its order was made for is missed."""
    ended = await live(watched, doctor)
    await doctor.execute("DELETE FROM disburse.payouts WHERE payout_id = $1", watched.town.ids["paid"])
    found = await watched.auditor.in_full(ended.book, [], converged=True)
    assert Violation("C7", f"{ended.sent['paid']} was sent for a payout that is not there", ended.ids["paid"]) in found


# --- the end -------------------------------------------------------------------------------------------------------------


async def test_what_has_no_end_needs_a_reason(watched: Watched, doctor: asyncpg.Connection) -> None:
    """After convergence a payout under way is a breach, unless it was scripted to stay and somebody still asks about it."""
    auditor, town = watched.auditor, watched.town
    ended = await live(watched, doctor)
    await town.create(town.command("under way", 1_000))
    opened = await town.claim("under way")
    town.wrote(opened, "paid")

    async def said(**more: Any) -> list[Violation]:
        return await auditor.in_full(watched.book(), [], converged=True, **more)

    assert invariants(await said()) == ["E15", "R1"]
    for name in (opened.end_to_end_id, str(opened.payout.payout_id), opened.payout.base):
        assert await said(may_stay=[name]) == []
    await doctor.execute("UPDATE disburse.attempts SET ask_at = ask_at + interval '3 days' WHERE state = 'open'")
    assert invariants(await said(may_stay=[opened.end_to_end_id], now=town.now())) == ["E15"]
    assert ended.ids["left"] in [one.payout for one in await said(now=town.now() + timedelta(days=3))]


async def test_a_frozen_payout_needs_somebody_who_lied(watched: Watched, doctor: asyncpg.Connection) -> None:
    """A payout is frozen by its provider's contradiction; where nobody lied, the contradiction is ours."""

    auditor, town = watched.auditor, watched.town
    ended = await live(watched, doctor)
    await town.create(town.command("contradicted", 1_000))
    opened = await town.claim("contradicted")
    town.wrote(opened, "paid")
    await town.hear(opened, Rejected("refused"))
    await town.hear(opened, Settled("ref"), kind="callback")
    assert watched.said == []
    book = watched.book()
    assert await auditor.in_full(book, [], converged=True, lied_about=await lied_about(doctor)) == []
    assert {"E5", "E11"} <= set(invariants(await auditor.in_full(book, ended.histories, converged=True)))


async def test_absence_takes_its_time(watched: Watched, doctor: asyncpg.Connection) -> None:
    """Two not-founds prove absence when they are as far apart as the provider's contract wants, and no sooner."""

    auditor, town = watched.auditor, watched.town
    await live(watched, doctor)
    await town.create(town.command("absent", 1_000))
    opened = await town.claim("absent")
    await town.hear(opened, Unknown("time-out"))
    for seconds in (0, 61):
        await town.hear(opened, NotFound(), kind="inquiry", asked_in_s=seconds)
    assert watched.said == []
    auditor._absence["sandbox"] = 60.0  # what the town says of its own haste is that the second question was put later
    assert invariants(await auditor.in_full(watched.book(), [], converged=False)) == ["E5"]
    await doctor.execute(
        "UPDATE disburse.evidence SET clock_at = clock_at + interval '61 s' WHERE effect = 'queued' AND verdict = 'NotFound'"
    )
    assert "E5" not in invariants(await auditor.in_full(watched.book(), [], converged=False))


# --- the clients' histories ----------------------------------------------------------------------------------------------


class History(NamedTuple):
    """Doctored histories, and what must be said of them."""

    exchanges: Sequence[Exchange]
    invariant: str


def doctored_histories(ended: Ended) -> dict[str, History]:
    """Every way in which what clients were told and our rows can part."""
    honest, numbers, ids = ended.histories, ended.numbers, ended.ids
    without_left = [one for one in honest if one.reference != "left"]
    return {
        "acknowledged and lost": History([*honest, ask(90, "pay", "gone", 1, "acknowledged")], "C7"),
        "acknowledged by an id and lost": History(
            [*honest, ask(90, "look", None, None, "acknowledged", key=str(99 * 2**20 + 1))], "C7"
        ),
        "acknowledged by no id": History([*honest, ask(90, "look", None, None, "acknowledged", key="x")], "C7"),
        "executed and not": History([*honest, ask(90, "execute", "left", None, "acknowledged")], "C7"),
        "cancelled and not": History([*honest, ask(90, "cancel", "paid", None, "acknowledged", "success")], "C7"),
        "refused and made": History([*without_left, ask(90, "create", "left", 1_500, "refused")], "C7"),
        "made for another amount than ever asked": History(
            [*without_left, ask(90, "create", "left", 1_501, "unknown", told=None)], "C7"
        ),
        "another merchant's": History(
            [*honest, ask(90, "look", None, None, "acknowledged", "success", key=numbers["other's"])], "S3"
        ),
        "asked for by nobody": History(without_left, "S3"),
        "without a reference, and by nobody": History(
            [replace(one, answer="refused", key=None) if one.act == "create" and one.reference is None else one for one in honest],
            "C4",
        ),
        "another reference's": History(
            [*honest, ask(90, "pay", "lost", 1_000, "acknowledged", "success", key=numbers["paid"])], "C2"
        ),
        "two payouts of one reference": History(
            [*honest, ask(90, "pay", "paid", 1_000, "acknowledged", "error", key=ids["failed"])], "C2"
        ),
        "another amount, told by no event": History(
            [*honest, ask(90, "pay", "failed", 1_101, "acknowledged", "error")], "C3"
        ),
        "known, and refused": History([*honest, ask(90, "pay", "paid", 1_000, "refused")], "C5"),
        "shown paid, and failed": History([*honest, ask(7, "look", "failed", None, "acknowledged", "success")], "W5"),
        "shown final, then under way": History(
            [*honest, ask(90, "look", "paid", None, "acknowledged", "not_completed")], "W5"
        ),
    }  # fmt: skip


async def test_a_broken_word_is_found_out(watched: Watched, doctor: asyncpg.Connection) -> None:
    """Whatever clients were told that is not so, or not so any more, is named by its invariant."""
    ended = await live(watched, doctor)
    missed = {}
    for name, one in doctored_histories(ended).items():
        found = await watched.auditor.in_full(ended.book, one.exchanges, converged=True)
        if one.invariant not in invariants(found):
            missed[name] = found
    assert missed == {}


async def test_answers_that_crossed_break_no_word(watched: Watched, doctor: asyncpg.Connection) -> None:
    """Who asked before a final word was told may hear of the time before it, however late."""
    ended = await live(watched, doctor)
    crossed = ask(2, "look", "paid", None, "acknowledged", "not_completed", told=80)
    assert await watched.auditor.in_full(ended.book, [*ended.histories, crossed], converged=True) == []
