"""The one rule of evidence: every verdict on every attempt as a table, and that order and repetition do not matter."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from disburse.domain import ledger
from disburse.domain.attempt import ATTEMPT_MOVES, AttemptState
from disburse.domain.evidence import Case, Ruling, rule
from disburse.domain.ledger import Account, Books
from disburse.domain.outcomes import (
    Absent,
    Accepted,
    NotExecuted,
    NotFound,
    NotSent,
    Rejected,
    Returned,
    Settled,
    Unknown,
    Verdict,
    VouchedNotMoved,
    VouchedPaid,
)
from disburse.domain.payout import PayoutState
from tests.domain.life import AMOUNT, FEE, MERCHANT, PAYOUT, Life, money, opened

A, S = AttemptState, PayoutState
BOOKS = Books(PAYOUT, MERCHANT, "RUB", AMOUNT, FEE)
HALF = AMOUNT // 2

# --- the table ---------------------------------------------------------------------------------------------------

# `-`: nothing changes. `!why`: frozen, and nothing else changes. `!!why`: frozen, and booked to suspense.
# `retry`: a next attempt, after a refusal. `next`: a next attempt, after proof that nothing was done.
TABLE = """
heard             | due                      | open                     | accepted                 | unknown                  | settled                  | rejected                 | not_sent
settled           | !paid_before_intent      | paid                     | paid                     | paid                     | -                        | !!paid_after_refusal     | !!paid_after_refusal
settled exactly   | !paid_before_intent      | paid                     | paid                     | paid                     | -                        | !!paid_after_refusal     | !!paid_after_refusal
settled less      | !another_amount          | !another_amount          | !another_amount          | !another_amount          | !another_amount          | !<paid_after_refusal     | !<paid_after_refusal
settled dollars   | !another_amount          | !another_amount          | !another_amount          | !another_amount          | !another_amount          | !another_amount          | !another_amount
returned          | !returned_but_never_paid | paid and back            | paid and back            | paid and back            | back                     | !returned_but_never_paid | !returned_but_never_paid
returned half     | !returned_but_never_paid | paid, half back          | paid, half back          | paid, half back          | half back                | !returned_but_never_paid | !returned_but_never_paid
returned more     | !returned_but_never_paid | !returned_another_amount | !returned_another_amount | !returned_another_amount | !returned_another_amount | !returned_but_never_paid | !returned_but_never_paid
returned nothing  | !returned_but_never_paid | !returned_another_amount | !returned_another_amount | !returned_another_amount | !returned_another_amount | !returned_but_never_paid | !returned_but_never_paid
returned less     | !returned_but_never_paid | !returned_another_amount | !returned_another_amount | !returned_another_amount | !returned_another_amount | !returned_but_never_paid | !returned_but_never_paid
returned dollars  | !returned_but_never_paid | !returned_another_amount | !returned_another_amount | !returned_another_amount | !returned_another_amount | !returned_but_never_paid | !returned_but_never_paid
accepted          | !accepted_before_intent  | taken                    | -                        | heard again              | -                        | -                        | !accepted_but_never_sent
refused           | !refused_before_intent   | failed                   | failed                   | failed                   | !refused_after_paid      | -                        | -
refused elsewhere | !refused_before_intent   | retry                    | retry                    | retry                    | !refused_after_paid      | -                        | -
refused, no route | !refused_before_intent   | no_route                 | no_route                 | no_route                 | !refused_after_paid      | -                        | -
not sent          | -                        | next                     | !absent_after_accepted   | next                     | !absent_after_paid       | -                        | -
absent            | -                        | next                     | !absent_after_accepted   | next                     | !absent_after_paid       | -                        | -
unknown           | -                        | lost                     | -                        | -                        | -                        | -                        | -
not found         | -                        | lost                     | -                        | -                        | -                        | -                        | -
not executed      | -                        | lost                     | -                        | -                        | -                        | -                        | -
"""

HEARD: dict[str, Verdict] = {
    "settled": Settled("p-1"),
    "settled exactly": Settled("p-1", money(AMOUNT)),
    "settled less": Settled("p-1", money(AMOUNT - 1)),
    "settled dollars": Settled("p-1", money(AMOUNT, "USD")),
    "returned": Returned("R"),
    "returned half": Returned("R", money(HALF)),
    "returned more": Returned("R", money(AMOUNT + 1)),
    "returned nothing": Returned("R", money(0)),
    "returned less": Returned("R", money(-1)),
    "returned dollars": Returned("R", money(HALF, "USD")),
    "accepted": Accepted("p-1"),
    "refused": Rejected("card closed"),
    "refused elsewhere": Rejected("card closed", elsewhere=True),
    "refused, no route": Rejected("card closed", elsewhere=True),
    "not sent": NotSent("why"),
    "absent": Absent("why"),
    "unknown": Unknown("why"),
    "not found": NotFound("why"),
    "not executed": NotExecuted("why"),
}

STANDS = {  # how the payout stands while its attempt stands so
    A.DUE: S.QUEUED,
    A.OPEN: S.IN_FLIGHT,
    A.ACCEPTED: S.IN_FLIGHT,
    A.UNKNOWN: S.IN_DOUBT,
    A.SETTLED: S.PAID,
    A.REJECTED: S.FAILED,
    A.NOT_SENT: S.QUEUED,
}


def _cells() -> list[tuple[str, AttemptState, str]]:
    head, *lines = [[cell.strip() for cell in line.split("|")] for line in TABLE.strip().splitlines()]
    return [
        (heard, AttemptState(state), cell)
        for heard, *cells in lines
        for state, cell in zip(head[1:], cells, strict=True)
    ]


def _lies_in(state: AttemptState) -> Account:
    return ledger.in_doubt("bank") if state is A.UNKNOWN else ledger.in_flight("bank")


def expected(cell: str, attempt_state: AttemptState) -> Ruling:
    """The ruling that a word of the table stands for."""
    state, lies_in = STANDS[attempt_state], _lies_in(attempt_state)
    turns = 1 if attempt_state is A.UNKNOWN else 0
    settled, all_back = BOOKS.settle(lies_in, "bank"), BOOKS.come_back("bank", AMOUNT, "R")
    half_back = BOOKS.come_back("bank", HALF, "R")
    again = BOOKS.try_again(lies_in, 3)
    if cell.startswith("!!"):
        return Ruling(state, attempt_state, BOOKS.contradiction("bank", AMOUNT, 3), freeze=cell[2:])
    if cell.startswith("!<"):
        return Ruling(state, attempt_state, BOOKS.contradiction("bank", AMOUNT - 1, 3), freeze=cell[2:])
    if cell.startswith("!"):
        return Ruling(state, attempt_state, freeze=cell[1:], doubt_turns=turns)
    words = {
        "-": Ruling(state, attempt_state, doubt_turns=turns),
        "paid": Ruling(S.PAID, A.SETTLED, settled, doubt_turns=turns),
        "paid and back": Ruling(S.RETURNED, A.SETTLED, settled + all_back, doubt_turns=turns, returned_minor=AMOUNT),
        "paid, half back": Ruling(S.RETURNED, A.SETTLED, settled + half_back, doubt_turns=turns, returned_minor=HALF),
        "back": Ruling(S.RETURNED, A.SETTLED, all_back, returned_minor=AMOUNT),
        "half back": Ruling(S.RETURNED, A.SETTLED, half_back, returned_minor=HALF),
        "taken": Ruling(S.IN_FLIGHT, A.ACCEPTED),
        "heard again": Ruling(S.IN_FLIGHT, A.ACCEPTED, BOOKS.heard("bank", 3, 1), doubt_turns=1),
        "failed": Ruling(S.FAILED, A.REJECTED, BOOKS.fail(lies_in), reason="card closed", doubt_turns=turns),
        "no_route": Ruling(S.FAILED, A.REJECTED, BOOKS.fail(lies_in), reason="no_route", doubt_turns=turns),
        "retry": Ruling(S.QUEUED, A.REJECTED, again, new_attempt=True, reason="card closed", doubt_turns=turns),
        "next": Ruling(S.QUEUED, A.NOT_SENT, again, new_attempt=True, reason="why", doubt_turns=turns),
        "lost": Ruling(S.IN_DOUBT, A.UNKNOWN, BOOKS.doubt("bank", 3, 1), doubt_turns=1),
    }
    return words[cell]


def case(
    attempt_state: AttemptState,
    state: PayoutState | None = None,
    *,
    another_route: bool = True,
    frozen: bool = False,
    returned_minor: int = 0,
) -> Case:
    """The third attempt of a payout, through the connector `bank`."""
    return Case(
        BOOKS,
        STANDS[attempt_state] if state is None else state,
        frozen,
        3,
        attempt_state,
        "bank",
        1 if attempt_state is A.UNKNOWN else 0,
        returned_minor,
        another_route,
    )


@pytest.mark.parametrize("heard, attempt_state, cell", _cells())
def test_every_verdict_on_every_attempt(heard: str, attempt_state: AttemptState, cell: str) -> None:
    """What is heard of an attempt does what the table says: states, postings, next attempt, reason, freeze."""
    ruled = rule(case(attempt_state, another_route=heard != "refused, no route"), HEARD[heard])
    assert ruled == expected(cell, attempt_state)
    assert ruled.attempt_state is attempt_state or ruled.attempt_state in ATTEMPT_MOVES[attempt_state]


def test_the_table_is_whole() -> None:
    """Every verdict there is stands in the table, on every state of an attempt; what persons vouch for is in test_vouched.py."""
    cells = _cells()
    assert {heard for heard, _, _ in cells} == set(HEARD)
    assert {type(heard) for heard in HEARD.values()} == set(Verdict.__args__) - {VouchedPaid, VouchedNotMoved}
    assert len(cells) == len(HEARD) * len(AttemptState)


@pytest.mark.parametrize("attempt_state", list(AttemptState))
@pytest.mark.parametrize("heard", list(HEARD))
def test_the_frozen_stay(heard: str, attempt_state: AttemptState) -> None:
    """A frozen payout is moved by persons alone, whatever is heard."""
    frozen = case(attempt_state, frozen=True, returned_minor=7)
    assert rule(frozen, HEARD[heard]) == Ruling(
        frozen.state, attempt_state, doubt_turns=frozen.doubt_turns, returned_minor=7
    )


@pytest.mark.parametrize("ended", [A.REJECTED, A.NOT_SENT])
@pytest.mark.parametrize("state", [S.QUEUED, S.IN_FLIGHT, S.IN_DOUBT, S.PAID, S.FAILED, S.CANCELLED, S.RETURNED])
@pytest.mark.parametrize("heard", list(HEARD))
def test_news_of_an_ended_attempt(heard: str, state: PayoutState, ended: AttemptState) -> None:
    """An attempt that ended can freeze its payout, never move it: what moves it is the attempt after."""
    ruled = rule(case(ended, state), HEARD[heard])
    assert (ruled.state, ruled.attempt_state, ruled.new_attempt) == (state, ended, False)
    assert all(posting.source == ledger.suspense("bank") for posting in ruled.postings)


@pytest.mark.parametrize(
    "back_before, back, then, freeze",
    [
        (0, HALF, HALF, None),
        (HALF, AMOUNT - HALF, AMOUNT, None),
        (AMOUNT - 1, 1, AMOUNT, None),
        (AMOUNT, 1, AMOUNT, "returned_another_amount"),
        (HALF, None, HALF, "returned_another_amount"),
        (0, None, AMOUNT, None),
    ],
)
def test_returns_in_parts(back_before: int, back: int | None, then: int, freeze: str | None) -> None:
    """Money may come back in parts, all of them at most what was paid; a part more is a contradiction."""
    heard = Returned("R-9", None if back is None else money(back))
    ruled = rule(case(A.SETTLED, S.RETURNED if back_before else S.PAID, returned_minor=back_before), heard)
    assert (ruled.returned_minor, ruled.freeze) == (then, freeze)
    assert [posting.amount_minor for posting in ruled.postings] == ([] if freeze else [then - back_before])


# --- order and repetition (reliability.md, E9 and E11) ------------------------------------------------------------

NOISE: list[Verdict] = [Unknown("time-out"), Unknown("HTTP 500"), NotFound()]
TAKEN: list[Verdict] = [Accepted(), Accepted("p-1")]
PAID: list[Verdict] = [Settled(), Settled("p-1"), Settled("p-1", money(AMOUNT))]
BACK: list[Verdict] = [Returned("R-1", money(HALF)), Returned("R-2", money(AMOUNT - HALF))]
WRONG: list[Verdict] = [
    Settled("p-1", money(AMOUNT - 1)),
    Settled("p-1", money(AMOUNT, "EUR")),
    Returned("R-9", money(AMOUNT + 1)),
    Returned("R-9", money(0)),
]
REFUSED: list[Verdict] = [Rejected("card closed"), Rejected("card closed", provider_reference="p-1")]
ELSEWHERE: list[Verdict] = [Rejected("no balance", elsewhere=True), Rejected("limit", elsewhere=True)]
NOTHING_DONE: list[Verdict] = [NotSent("the connection is refused"), Absent()]

STORIES = {  # what may be heard of one attempt without contradiction, and what must be among it
    "nothing certain": (NOISE + TAKEN, []),
    "paid": (NOISE + TAKEN + PAID, PAID),
    "paid and returned": (NOISE + TAKEN + PAID + BACK, BACK),
    "refused": (NOISE + TAKEN + REFUSED, REFUSED),
    "refused here": (NOISE + TAKEN + ELSEWHERE, ELSEWHERE),
    "nothing was done": (NOISE + NOTHING_DONE, NOTHING_DONE),
}


def heard_in_order(messages: list[Verdict], routes: int = 2) -> Life:
    """A payout whose first attempt is open, after these messages about it."""
    life = opened([f"bank-{n}" for n in range(routes)])
    for message in messages:
        life.hear(1, message)
    return life


@st.composite
def stories(draw: st.DrawFn) -> tuple[list[Verdict], list[Verdict]]:
    """Messages that go together, and the same ones in another order, some of them told several times."""
    may, must = STORIES[draw(st.sampled_from(list(STORIES)))]
    told = draw(st.lists(st.sampled_from(may), unique=True, max_size=6))
    if must and not any(message in must for message in told):
        told.append(draw(st.sampled_from(must)))
    again = draw(st.lists(st.sampled_from(told), max_size=6)) if told else []
    return told, draw(st.permutations(told + again))


@given(stories(), st.integers(1, 3))
def test_order_and_repetition_do_not_matter(story: tuple[list[Verdict], list[Verdict]], routes: int) -> None:
    """A set of evidence that does not contradict itself ends in one state, in whatever order and however often it comes."""
    told, retold = story
    first, second = heard_in_order(told, routes), heard_in_order(retold, routes)
    assert first.frozen is None
    assert first.standing() == second.standing()


CONTRADICTIONS: dict[str, list[Verdict]] = {
    "paid and refused": [Settled(), Rejected("card closed")],
    "paid and refused for another route": [Settled(), Rejected("limit", elsewhere=True)],
    "paid and never sent": [Settled(), NotSent("no connection")],
    "paid and absent": [Settled(), Absent()],
    "accepted and never sent": [Accepted(), NotSent("no connection")],
    "accepted and absent": [Accepted(), Absent()],
    "returned and refused": [Returned("R-1"), Rejected("card closed")],
    "returned and absent": [Returned("R-1"), Absent()],
    "too much came back": [Returned("R-1"), Returned("R-2", money(1))],
    **{f"another amount, {number}": [heard] for number, heard in enumerate(WRONG)},
}


@pytest.mark.parametrize("contradiction", list(CONTRADICTIONS))
def test_contradictions_freeze_in_every_order(contradiction: str) -> None:
    """Evidence that contradicts itself freezes the payout in every order, with anything uncertain heard between."""
    for order in permutations([*CONTRADICTIONS[contradiction], Unknown("time-out"), NotFound()]):
        assert heard_in_order(list(order)).frozen is not None, order


@given(
    st.sampled_from([name for name in CONTRADICTIONS if not name.startswith("accepted")]),
    st.lists(st.sampled_from(NOISE + TAKEN + PAID + BACK + REFUSED + ELSEWHERE + NOTHING_DONE), max_size=6),
    st.randoms(use_true_random=False),
    st.integers(1, 3),
)
def test_more_evidence_does_not_thaw(contradiction: str, more: list[Verdict], order: Random, routes: int) -> None:
    """With payment, return or another amount in the contradiction, whatever else is heard the payout ends frozen."""
    messages = CONTRADICTIONS[contradiction] + more
    order.shuffle(messages)
    assert heard_in_order(messages, routes).frozen is not None


@pytest.mark.parametrize("after", REFUSED + ELSEWHERE + NOTHING_DONE)
def test_a_surprise_is_not_the_merchants(after: Verdict) -> None:
    """A payment after proof that there was none is booked to suspense; the merchant has its money, or its next attempt."""
    life = heard_in_order([after])
    before = dict(life.balances)
    life.hear(1, Settled("p-1", money(AMOUNT)))
    assert life.frozen == "paid_after_refusal"
    assert life.balances == before | {ledger.suspense("bank-0"): -AMOUNT, ledger.paid("bank-0"): AMOUNT}


@pytest.mark.parametrize("refusal", REFUSED + ELSEWHERE)
@pytest.mark.parametrize("nothing", NOTHING_DONE)
def test_two_proofs_of_nothing_agree(refusal: Verdict, nothing: Verdict) -> None:
    """A refusal and an absence of one attempt are no contradiction: the first heard decides what follows, the second nothing."""
    for first, second in ((refusal, nothing), (nothing, refusal)):
        alone, both = heard_in_order([first]), heard_in_order([first, second])
        assert both.frozen is None
        assert alone.standing() == both.standing()


def test_two_attempts_cannot_both_be_paid() -> None:
    """When the provider of a refused attempt pays after all, the payout freezes, even when the next attempt was paid."""
    life = heard_in_order([Rejected("limit", elsewhere=True)])
    life.claim()
    life.hear(2, Settled())
    assert (life.state, life.frozen) == (S.PAID, None)
    life.hear(1, Settled())
    assert (life.state, life.frozen) == (S.PAID, "paid_after_refusal")
    assert (life.sum_of("paid:"), life.sum_of("suspense:")) == (2 * AMOUNT, -AMOUNT)


def test_silence_proves_nothing() -> None:
    """However often a provider does not know, the payout stays in doubt and its money where it is."""
    life = heard_in_order([Unknown("time-out"), *[NotFound()] * 100])
    assert life.state is S.IN_DOUBT
    assert life.sum_of("in_doubt:") == AMOUNT


@pytest.mark.parametrize(
    "state, apart, final, then",
    [
        (A.UNKNOWN, 60.0, 60.0, A.NOT_SENT),
        (A.UNKNOWN, 3600.0, 60.0, A.NOT_SENT),
        (A.UNKNOWN, 59.9, 60.0, A.UNKNOWN),
        (A.UNKNOWN, 3600.0, None, A.UNKNOWN),  # its contract promises nothing
        (A.UNKNOWN, None, 60.0, A.UNKNOWN),  # the first one
        (A.OPEN, 3600.0, 60.0, A.UNKNOWN),  # somebody may still send it
        (A.ACCEPTED, 3600.0, 60.0, A.ACCEPTED),  # the provider had it
        (A.SETTLED, 3600.0, 60.0, A.SETTLED),
        (A.REJECTED, 3600.0, 60.0, A.REJECTED),
    ],
)
def test_two_not_founds(state: AttemptState, apart: float | None, final: float | None, then: AttemptState) -> None:
    """Two not-founds prove absence when they are as far apart as the provider's contract says, and only of a doubt."""
    told = replace(case(state), not_found_for_s=apart, not_found_final_after_s=final)
    ruled = rule(told, NotFound())
    assert (ruled.attempt_state, ruled.freeze) == (then, None)
    assert ruled.new_attempt is (then is A.NOT_SENT)


def test_paid_again_is_no_news_while_it_is_in_suspense() -> None:
    """A surprise that stands in suspense is booked once; turned round and told again, it is another; another amount freezes."""
    booked = BOOKS.contradiction("bank", AMOUNT, 3)
    standing = replace(case(A.REJECTED, S.FAILED), suspended=booked, contradictions=1)
    assert rule(standing, Settled("p-2")) == Ruling(S.FAILED, A.REJECTED)
    assert rule(standing, Settled("p-2", money(1))).freeze == "another_amount"
    turned = replace(case(A.REJECTED, S.FAILED), contradictions=1)
    again = rule(turned, Settled("p-2"))
    assert again.freeze == "paid_after_refusal"
    assert [posting.phase for posting in again.postings] == ["contradiction-3-2"]
    elsewhere = replace(case(A.REJECTED, S.FAILED), suspended=BOOKS.contradiction("bank", AMOUNT, 2))
    assert rule(elsewhere, Settled("p-2")).freeze == "paid_after_refusal"
