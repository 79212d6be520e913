"""Money in the books: which posting each event makes, and that nothing is made or lost on any way through a life."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from disburse.domain import ledger
from disburse.domain.ledger import (
    AVAILABLE,
    FEES,
    FUNDING,
    HELD,
    Account,
    Books,
    Posting,
    Reason,
    changes,
    may_be_negative,
    top_up,
)
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
from tests.domain.life import AMOUNT, FEE, MERCHANT, PAYOUT, TOP_UP, Life, money

BOOKS = Books(PAYOUT, MERCHANT, "RUB", AMOUNT, FEE)
FLIGHT, DOUBT, PAID, SUSPENSE = (
    ledger.in_flight("bank"),
    ledger.in_doubt("bank"),
    ledger.paid("bank"),
    ledger.suspense("bank"),
)

Row = tuple[str, str, int, Reason, str]


def rows(postings: list[Posting]) -> list[Row]:
    """Postings as the design writes them."""
    assert all((p.merchant_id, p.currency, p.origin_id) == (MERCHANT, "RUB", PAYOUT) for p in postings)
    return [(p.source, p.destination, p.amount_minor, p.reason, p.phase) for p in postings]


# --- the table of design.md section 4 ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "event, written",
    [
        (lambda b: b.hold(), [(AVAILABLE, HELD, AMOUNT + FEE, Reason.HOLD, "hold")]),
        (lambda b: b.release(), [(HELD, AVAILABLE, AMOUNT + FEE, Reason.RELEASE, "end")]),
        (lambda b: b.claim("bank", 1), [(HELD, FLIGHT, AMOUNT, Reason.CLAIM, "claim-1")]),
        (lambda b: b.claim("bank", 2), [(HELD, FLIGHT, AMOUNT, Reason.CLAIM, "claim-2")]),
        (lambda b: b.doubt("bank", 1, 1), [(FLIGHT, DOUBT, AMOUNT, Reason.DOUBT, "doubt-1-1")]),
        (lambda b: b.heard("bank", 1, 1), [(DOUBT, FLIGHT, AMOUNT, Reason.HEARD, "heard-1-1")]),
        (lambda b: b.settle(FLIGHT, "bank"), [(FLIGHT, PAID, AMOUNT, Reason.PAID, "end"), (HELD, FEES, FEE, Reason.FEE, "end-fee")]),
        (lambda b: b.settle(DOUBT, "bank"), [(DOUBT, PAID, AMOUNT, Reason.PAID, "end"), (HELD, FEES, FEE, Reason.FEE, "end-fee")]),
        (lambda b: b.try_again(FLIGHT, 1), [(FLIGHT, HELD, AMOUNT, Reason.TRY_AGAIN, "back-1")]),
        (lambda b: b.try_again(DOUBT, 2), [(DOUBT, HELD, AMOUNT, Reason.TRY_AGAIN, "back-2")]),
        (
            lambda b: b.fail(DOUBT),
            [(DOUBT, AVAILABLE, AMOUNT, Reason.RELEASE, "end"), (HELD, AVAILABLE, FEE, Reason.RELEASE, "end-fee")],
        ),
        (lambda b: b.come_back("bank", 400, "R-1"), [(PAID, AVAILABLE, 400, Reason.RETURNED, "return-R-1")]),
        (lambda b: b.contradiction("bank", AMOUNT, 3), [(SUSPENSE, PAID, AMOUNT, Reason.CONTRADICTION, "contradiction-3")]),
    ],
)  # fmt: skip
def test_what_an_event_posts(event: Callable[[Books], list[Posting]], written: list[Row]) -> None:
    """Each event moves the amount, and with it the fee, between the accounts that the design names."""
    assert rows(event(BOOKS)) == written


def test_a_top_up_comes_from_outside() -> None:
    """A top-up is money from the outside world, under its own origin."""
    posting = top_up(MERCHANT, "RUB", 500, TOP_UP)
    assert (posting.source, posting.destination, posting.amount_minor) == (FUNDING, AVAILABLE, 500)
    assert (posting.origin_id, posting.phase, posting.reason) == (TOP_UP, "top-up", Reason.TOP_UP)


@pytest.mark.parametrize("lies_in", [FLIGHT, DOUBT])
def test_no_fee_moves_nothing(lies_in: Account) -> None:
    """A payout without a fee has no posting of nothing."""
    free = Books(PAYOUT, MERCHANT, "RUB", AMOUNT, 0)
    assert [p.amount_minor for p in free.hold() + free.settle(lies_in, "bank") + free.fail(lies_in)] == [AMOUNT] * 3


def test_a_hold_resolves_once() -> None:
    """Whatever ends a hold has the phase `end`, and (origin, phase) is unique for ever: settled or released, never both."""
    ends = [BOOKS.release(), BOOKS.settle(FLIGHT, "bank"), BOOKS.settle(DOUBT, "other"), BOOKS.fail(FLIGHT)]
    assert [postings[0].phase for postings in ends] == ["end"] * 4
    assert [postings[0].origin_id for postings in ends] == [PAYOUT] * 4


# --- postings and accounts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("amount", [0, -1, 1.0, True, "1", None])
def test_a_posting_moves_something(amount: object) -> None:
    """A posting of nothing, of less, or of anything but an int cannot be built."""
    with pytest.raises(AssertionError):
        Posting(MERCHANT, "RUB", HELD, FEES, amount, Reason.FEE, PAYOUT, "x")  # type: ignore[arg-type]


def test_a_posting_goes_somewhere() -> None:
    """A posting from an account to itself cannot be built."""
    with pytest.raises(AssertionError):
        Posting(MERCHANT, "RUB", HELD, HELD, 1, Reason.FEE, PAYOUT, "x")


@pytest.mark.parametrize(
    "account, may",
    [
        (FUNDING, True),
        (SUSPENSE, True),
        (AVAILABLE, False),
        (HELD, False),
        (FEES, False),
        (FLIGHT, False),
        (DOUBT, False),
        (PAID, False),
        ("suspense", False),
        ("paid:suspense:", False),
        ("funding:bank", False),
    ],
)
def test_only_two_kinds_may_be_negative(account: str, may: bool) -> None:
    """The outside world and what we cannot explain may be below zero, nothing of the merchant's."""
    assert may_be_negative(account) is may


def test_accounts_of_a_provider_carry_its_name() -> None:
    """The accounts of a provider are told by its connector's name."""
    assert (FLIGHT, DOUBT, PAID, SUSPENSE) == ("in_flight:bank", "in_doubt:bank", "paid:bank", "suspense:bank")


accounts = st.sampled_from([FUNDING, AVAILABLE, HELD, FEES, FLIGHT, DOUBT, PAID, SUSPENSE])


@st.composite
def postings(draw: st.DrawFn) -> Posting:
    """Any posting of three merchants in two currencies."""
    source = draw(accounts)
    destination = draw(accounts.filter(lambda account: account != source))
    merchant, currency = draw(st.integers(1, 3)), draw(st.sampled_from(["RUB", "USDT"]))
    amount = draw(st.integers(1, 10**15))
    return Posting(merchant, currency, source, destination, amount, Reason.HOLD, UUID(int=1), "x")


@given(st.lists(postings(), max_size=20))
def test_changes_sum_to_nothing(written: list[Posting]) -> None:
    """For each merchant and currency, what postings do to the accounts sums to zero, and no account is named in vain."""
    sums = changes(written)
    assert 0 not in sums.values()
    for merchant in (1, 2, 3):
        for currency in ("RUB", "USDT"):
            assert sum(change for key, change in sums.items() if key[:2] == (merchant, currency)) == 0
    for (merchant, currency, account), change in sums.items():
        mine = [p for p in written if (p.merchant_id, p.currency) == (merchant, currency)]
        into = sum(p.amount_minor for p in mine if p.destination == account)
        out = sum(p.amount_minor for p in mine if p.source == account)
        assert change == into - out


# --- any way through a life --------------------------------------------------------------------------------------

VERDICTS: list[Verdict] = [
    Accepted(),
    Accepted("p-1"),
    Settled(),
    Settled("p-1", money(AMOUNT)),
    Settled("p-1", money(AMOUNT - 1)),
    Settled("p-1", money(AMOUNT, "USD")),
    Rejected("no such card"),
    Rejected("provider balance short", elsewhere=True),
    NotSent("the connection is refused"),
    Unknown("time-out"),
    NotFound(),
    Absent(),
    Returned("R-1"),
    Returned("R-2", money(AMOUNT)),
    Returned("R-3", money(AMOUNT // 2)),
    Returned("R-4", money(AMOUNT // 2)),
    Returned("R-5", money(AMOUNT + 1)),
    Returned("R-6", money(0)),
    Returned("R-7", money(1, "USD")),
]

moves = st.one_of(
    st.just("claim"),
    st.just("claim"),
    st.just("cancel"),
    st.tuples(st.integers(1, 4), st.sampled_from(VERDICTS)),
)


def walk(life: Life, steps: list[str | tuple[int, Verdict]]) -> None:
    """Take each step that can be taken; `Life` checks the books after every one."""
    for step in steps:
        if isinstance(step, tuple):
            number, heard = step
            if number <= len(life.attempts) and life.attempts[number - 1].connector is not None:
                life.hear(number, heard)
        elif life.state is PayoutState.QUEUED and life.frozen is None:
            life.claim() if step == "claim" else life.cancel()


@given(st.lists(moves, max_size=30), st.sampled_from([0, FEE]), st.integers(0, 3))
def test_money_is_kept_on_any_way(steps: list[str | tuple[int, Verdict]], fee: int, routes: int) -> None:
    """Held, in flight and in doubt are the amount and fee until the end and nothing after it, and only suspense goes below zero."""
    life = Life([f"bank-{n}" for n in range(routes)], fee)
    life.execute()
    walk(life, steps)
    ours = AMOUNT + fee
    available = life.balances.get(AVAILABLE, 0)
    if life.state in HOLDING:
        assert (life.set_aside(), available) == (ours, 0)
    elif life.state in (PayoutState.PAID, PayoutState.RETURNED):
        assert (available, life.balances.get(FEES, 0)) == (life.returned_minor, fee)
    else:
        assert available == ours
    assert life.balances[FUNDING] == -ours
    assert life.sum_of("suspense:") in (0, -AMOUNT), "a merchant's payout can surprise us once, then it is frozen"


@given(st.lists(moves, max_size=30))
def test_the_merchant_pays_once(steps: list[str | tuple[int, Verdict]]) -> None:
    """Whatever providers say in whatever order, a merchant is never charged more than the amount and fee of the payout."""
    life = Life(["bank-0", "bank-1"])
    life.execute()
    walk(life, steps)
    charged = life.sum_of("paid:") + life.balances.get(FEES, 0) + life.sum_of("suspense:")
    assert 0 <= charged <= AMOUNT + FEE


def test_a_reversal_turns_a_posting_round_once() -> None:
    """What was moved goes back whence it came, under a phase that only one reversal of it can have."""
    posting = BOOKS.hold()[0]
    back = ledger.reverse(posting)
    assert (back.source, back.destination, back.amount_minor) == (posting.destination, posting.source, posting.amount_minor)
    assert (back.origin_id, back.phase, back.reason) == (posting.origin_id, "reverse-hold", ledger.Reason.REVERSAL)
