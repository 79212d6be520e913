"""What persons vouch for, among everything providers may say: nobody pays twice, and nothing is set right behind the books."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from disburse.domain import ledger
from disburse.domain.attempt import LIVE, AttemptState
from disburse.domain.ledger import AVAILABLE, FEES, FUNDING
from disburse.domain.outcomes import Rejected, Settled, Unknown, Verdict, Vouched, VouchedNotMoved, VouchedPaid
from disburse.domain.payout import FINAL, HOLDING, PayoutState
from disburse.domain.ruling import Live
from disburse.domain.vouched import NothingToResolve, StillOpen, objection
from tests.domain.life import AMOUNT, FEE, Life, opened
from tests.domain.test_ledger import VERDICTS

A, S = AttemptState, PayoutState

moves = st.one_of(
    st.sampled_from(["claim", "claim", "cancel", "lapse"]),
    st.tuples(st.integers(1, 4), st.sampled_from(VERDICTS)),
    st.tuples(st.integers(1, 4), st.sampled_from([VouchedPaid, VouchedNotMoved])),
)
Move = str | tuple[int, Verdict] | tuple[int, type[Vouched]]


def walk(life: Life, steps: list[Move]) -> None:
    """Take each step that can be taken; `Life` checks the books after every one. Each word of persons is a request of its own."""
    for place, step in enumerate(steps):
        if isinstance(step, tuple):
            number, heard = step
            if number <= len(life.attempts) and life.attempts[number - 1].connector is not None:
                life.hear(number, heard(f"q{place}") if isinstance(heard, type) else heard)
        elif step == "lapse":
            life.lapse()
        elif life.state is S.QUEUED and life.frozen is None:
            life.claim() if step == "claim" else life.cancel()


@settings(max_examples=400)
@given(st.lists(moves, max_size=40), st.sampled_from([0, FEE]), st.integers(1, 3))
def test_the_merchant_pays_once_on_any_way(steps: list[Move], fee: int, routes: int) -> None:
    """Whatever providers say and persons vouch for, in any order, a merchant pays amount and fee once or not at all."""
    life = Life([f"bank-{n}" for n in range(routes)], fee)
    life.execute()
    walk(life, steps)
    ours, available = AMOUNT + fee, life.balances.get(AVAILABLE, 0)
    assert life.balances[FUNDING] == -ours
    if life.state in HOLDING:
        assert (life.set_aside(), available) == (ours, 0)
    elif life.state in (S.PAID, S.RETURNED):
        assert (available, life.balances.get(FEES, 0)) == (life.returned_minor, fee)
    else:
        assert (available, life.balances.get(FEES, 0)) == (ours, 0)
    assert life.sum_of("paid:") + life.sum_of("suspense:") + life.balances.get(FEES, 0) in (0, ours - life.returned_minor)


@settings(max_examples=400)
@given(st.lists(moves, max_size=40), st.integers(1, 3))
def test_persons_end_a_payout(steps: list[Move], routes: int) -> None:
    """A payout that persons moved is final, is frozen no more by their word, and has no attempt that anybody could send."""
    life = Life([f"bank-{n}" for n in range(routes)])
    life.execute()
    for place, step in enumerate(steps):
        before = (life.state, life.frozen, dict(life.balances))
        walk(life, [step] if not isinstance(step, tuple) or not isinstance(step[1], type) else [(step[0], step[1])])
        if isinstance(step, tuple) and isinstance(step[1], type) and (life.state, life.frozen, life.balances) != before:
            assert life.state in FINAL and life.frozen is None, place
            assert not [one for one in life.attempts if one.state in LIVE - {A.SETTLED}]
            return  # one word: the requests of later ones would have other names


@pytest.mark.parametrize(
    "frozen, live, attempt, may_be_sent, no",
    [
        (False, None, 1, False, NothingToResolve),
        (False, Live(1, A.UNKNOWN, "bank"), 1, False, None),
        (False, Live(1, A.ACCEPTED, "bank"), 1, False, None),
        (False, Live(2, A.UNKNOWN, "bank"), 1, False, NothingToResolve),  # attempt 1 is over
        (False, Live(1, A.DUE, None), 1, False, NothingToResolve),  # cancel it
        (False, Live(1, A.SETTLED, "bank"), 1, False, NothingToResolve),
        (False, Live(1, A.OPEN, "bank"), 1, True, StillOpen),
        (False, Live(1, A.OPEN, "bank"), 1, False, None),  # its lease ran out
        (True, None, 1, False, None),
        (True, Live(2, A.OPEN, "bank"), 1, True, StillOpen),
        (True, Live(2, A.OPEN, "bank"), 1, False, None),
        (True, Live(1, A.SETTLED, "bank"), 1, False, None),
    ],
)
def test_when_persons_may_decide(
    frozen: bool, live: Live | None, attempt: int, may_be_sent: bool, no: type[Exception] | None
) -> None:
    """Persons decide about a doubt or a frozen payout, and about nothing that somebody may still send."""
    told = objection(frozen=frozen, attempt=attempt, live=live, may_be_sent=may_be_sent)
    assert (type(told) if told is not None else None) is no


@pytest.mark.parametrize("heard", [VouchedPaid("q"), VouchedNotMoved("q")])
def test_what_they_may_not_decide_changes_nothing(heard: Vouched) -> None:
    """A word about a payout that is neither in doubt nor frozen, or may still be sent, moves nothing."""
    for told in ([], [Settled()], [Rejected("no")]):
        life = opened()
        for verdict in told:
            life.hear(1, verdict)
        before = life.standing()
        ruling = life.hear(1, heard)
        assert ruling is not None and not ruling.postings and not ruling.thaw
        assert life.standing() == before


def test_a_payment_in_suspense_is_covered_once() -> None:
    """The first attempt paid after all while the second is in doubt: the merchant's money goes to suspense, and pays it."""
    life = opened(["one", "two"])
    life.hear(1, Rejected("limit", elsewhere=True))
    life.claim()
    life.hear(2, Unknown("time-out"))
    life.hear(1, Settled())
    assert life.frozen == "paid_after_refusal"
    life.hear(1, VouchedPaid("q"))
    assert life.standing()[:2] == (S.PAID, None)
    assert {account: minor for account, minor in life.balances.items() if minor} == {
        FUNDING: -AMOUNT - FEE, FEES: FEE, ledger.paid("one"): AMOUNT,
    }  # fmt: skip
    life.hear(2, Settled())  # the second paid too: the house's loss, not the merchant's
    assert life.balances[ledger.suspense("two")] == -AMOUNT
    assert life.standing()[1] == "paid_after_refusal"
    assert life.balances.get(AVAILABLE, 0) == 0


def test_a_word_has_its_own_return() -> None:
    """What comes back by persons' word is booked under the request's own phase, beside any return of the provider's."""
    life = opened()
    for heard in (Settled(), Rejected("no"), VouchedNotMoved("q-1")):
        life.hear(1, heard)
    assert (life.state, life.returned_minor) == (S.RETURNED, AMOUNT)
    assert (life.books.payout_id, "return-person-q-1") in life.phases
