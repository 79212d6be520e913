"""The table of states and steps, written out a second time from design.md section 3, and what it must never allow."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from importlib import resources
from uuid import UUID

import pytest

from disburse.domain.ledger import Books
from disburse.domain.money import Money
from disburse.domain.payout import FINAL, HOLDING, MOVES, Payout, PayoutState, Step, WrongState, advance

S = PayoutState

EXECUTED = {
    Step.QUEUE: S.QUEUED,
    Step.SCHEDULE: S.SCHEDULED,
    Step.ASK_APPROVAL: S.AWAITING_APPROVAL,
    Step.LACK_FUNDS: S.UNFUNDED,
}
PERSONS = {Step.COVER: S.PAID, Step.GIVE_UP: S.FAILED}  # two of them, decision 5
DESIGN: dict[PayoutState, dict[Step, PayoutState]] = {
    S.CREATED: {**EXECUTED, Step.CANCEL: S.CANCELLED, Step.EXPIRE: S.EXPIRED},
    S.UNFUNDED: {**EXECUTED, Step.CANCEL: S.CANCELLED, Step.EXPIRE: S.EXPIRED},
    S.AWAITING_APPROVAL: {
        Step.QUEUE: S.QUEUED,
        Step.SCHEDULE: S.SCHEDULED,
        Step.REFUSE: S.CANCELLED,
        Step.CANCEL: S.CANCELLED,
        Step.EXPIRE: S.EXPIRED,
    },
    S.SCHEDULED: {Step.QUEUE: S.QUEUED, Step.CANCEL: S.CANCELLED},
    S.QUEUED: {Step.CLAIM: S.IN_FLIGHT, Step.CANCEL: S.CANCELLED, Step.NO_ROUTE: S.FAILED, **PERSONS},
    S.IN_FLIGHT: {
        Step.SETTLE: S.PAID,
        Step.REJECT: S.FAILED,
        Step.TRY_AGAIN: S.QUEUED,
        Step.LOSE_SIGHT: S.IN_DOUBT,
        **PERSONS,
    },
    S.IN_DOUBT: {
        Step.HEAR_AGAIN: S.IN_FLIGHT,
        Step.SETTLE: S.PAID,
        Step.REJECT: S.FAILED,
        Step.TRY_AGAIN: S.QUEUED,
        **PERSONS,
    },
    S.PAID: {Step.RETURN: S.RETURNED},
    S.FAILED: {},
    S.CANCELLED: {},
    S.EXPIRED: {},
    S.RETURNED: {},
}


@pytest.mark.parametrize("step", list(Step))
@pytest.mark.parametrize("state", list(PayoutState))
def test_every_step_from_every_state(state: PayoutState, step: Step) -> None:
    """A step leads where the design says, or is refused with the state and step as facts."""
    then = DESIGN[state].get(step)
    if then is not None:
        assert advance(state, step) is then
        return
    with pytest.raises(WrongState) as refused:
        advance(state, step)
    assert (refused.value.state, refused.value.step) == (state, step)


def test_all_states_stand_in_the_table() -> None:
    """The table names every state, also those that allow nothing, and no step is without a use."""
    assert list(MOVES) == list(PayoutState)
    assert {step for moves in MOVES.values() for step in moves} == set(Step)


def test_every_state_can_be_reached() -> None:
    """From created, steps lead to every state there is."""
    reached, edge = {S.CREATED}, [S.CREATED]
    while edge:
        new = [then for state in edge for then in MOVES[state].values() if then not in reached]
        reached |= set(new)
        edge = new
    assert reached == set(PayoutState)


def test_final_states_stay() -> None:
    """Nothing follows a final state, but that paid money may come back."""
    assert {S.PAID, S.FAILED, S.CANCELLED, S.EXPIRED, S.RETURNED} == FINAL
    assert {(state, then) for state in FINAL for then in MOVES[state].values()} == {(S.PAID, S.RETURNED)}


def test_holding_states() -> None:
    """Money is set aside from execute to the end: what holds is neither final nor still to be executed."""
    assert set(PayoutState) - FINAL - {S.CREATED, S.UNFUNDED} == HOLDING


@pytest.mark.parametrize(
    "state, step, then",
    [
        (S.QUEUED, Step.CANCEL, S.CANCELLED),
        (S.IN_FLIGHT, Step.CANCEL, None),  # too late: it may have left the house
        (S.IN_DOUBT, Step.CANCEL, None),
        (S.IN_DOUBT, Step.EXPIRE, None),  # time proves nothing
        (S.IN_FLIGHT, Step.EXPIRE, None),
        (S.QUEUED, Step.EXPIRE, None),  # it was executed: money is promised
        (S.QUEUED, Step.SETTLE, None),  # nothing is paid that was not claimed
        (S.FAILED, Step.SETTLE, None),
        (S.PAID, Step.REJECT, None),
    ],
)
def test_what_hangs_on_it(state: PayoutState, step: Step, then: PayoutState | None) -> None:
    """A payout is cancelled until we begin to send it, doubt never ends by itself, and an end is not rewritten."""
    assert MOVES[state].get(step) is then


def test_the_refusal_reads_well() -> None:
    """The refusal has a stable name and says what cannot be done in a sentence."""
    refused = WrongState(S.IN_FLIGHT, Step.CANCEL)
    assert refused.name == "wrong_state"
    assert str(refused) == "A payout that is in_flight cannot cancel."


@pytest.mark.parametrize("state", list(PayoutState))
def test_a_payout_tells_of_itself(state: PayoutState) -> None:
    """A payout says whether it is over, what it is worth, and what the rules of posting need to know."""
    at, identifier = datetime(2026, 11, 21, tzinfo=UTC), UUID(int=7)
    payout = Payout(
        3, identifier, 42, 9, "own", "wage-1", "base", b"f", "card", "RUB", 10_000, 150, "100", "411111******1111", b"s",
        False, state, None, None, 1, 0, at, at, at, None, 1, 1,
    )  # fmt: skip
    assert payout.final is (state in {S.PAID, S.FAILED, S.CANCELLED, S.EXPIRED, S.RETURNED})
    assert (payout.amount, payout.fee) == (Money(10_000, "RUB"), Money(150, "RUB"))
    assert payout.books == Books(identifier, 42, "RUB", 10_000, 150)


def test_the_database_knows_the_same_states() -> None:
    """The constraint on `payouts.state` lists the states of the enum, in its order."""
    sql = (resources.files("disburse.storage") / "migrations" / "0001_first.sql").read_text(encoding="utf-8")
    table = sql.split("CREATE TABLE payouts", 1)[1].split("CREATE TABLE", 1)[0]
    listed = re.search(r"CHECK \(state IN \(([^)]*)\)", table)
    assert listed is not None
    assert re.findall(r"'(\w+)'", listed[1]) == [state.value for state in PayoutState]
