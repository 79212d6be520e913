"""What two persons vouch for, on evidence, as the one rule applies it (`evidence.rule`). Pure.

Lives here: the end of a doubt by persons, and the only way by which a frozen payout moves. Both outcomes end the payout:

    paid       the named attempt paid the payee. Under way: it is settled. Held to be over (refused, never sent): its payment
               stands in suspense, and the merchant's money, if it is still set aside, covers it, once. A payout that was shown
               to have failed stays so: its merchant has the money back, so the payment stays in suspense, for the house to settle.
    not-moved  the payee has nothing of it. Money set aside goes back with the fee; money that was charged comes back as a
               return; whatever stands in suspense is turned round. Nothing more is sent: who wants to pay makes a new payout.

May not live here: who the persons are and whether they may (`operations/approvals.py`).
"""

from __future__ import annotations

from disburse.domain import ledger
from disburse.domain.attempt import ASKABLE, MOVED_NOTHING, AttemptState
from disburse.domain.ledger import HELD, Account, Posting
from disburse.domain.outcomes import Vouched, VouchedPaid
from disburse.domain.payout import PayoutState, Step, advance
from disburse.domain.refusals import Refusal
from disburse.domain.ruling import Case, Live, Ruling, unchanged

A, S = AttemptState, PayoutState

REASON = "not_moved"
"""The reason of a payout that ended because two persons vouched that nothing reached the payee."""


class NothingToResolve(Refusal):
    """The payout is neither in doubt nor frozen: there is nothing for a person to decide."""


class StillOpen(Refusal):
    """The attempt may still be sent: its owner's lease has not run out."""


def objection(*, frozen: bool, attempt: int, live: Live | None, may_be_sent: bool) -> Refusal | None:
    """Why persons cannot decide about this attempt, or None. Asked before the request and again before the second yes."""
    if live is not None and live.state is A.OPEN and may_be_sent:
        return StillOpen()
    if frozen or (live is not None and live.number == attempt and live.state in ASKABLE):
        return None
    return NothingToResolve()


def vouched(case: Case, heard: Vouched) -> Ruling:
    """Apply what persons vouch for. What cannot be decided changes nothing."""
    no = objection(frozen=case.frozen, attempt=case.attempt, live=case.live, may_be_sent=case.may_be_sent)
    if no is not None:
        return unchanged(case)
    return _paid(case) if isinstance(heard, VouchedPaid) else _not_moved(case, f"person-{heard.request}")


def _lies_in(live: Live) -> Account:
    """Where the amount of a payout under way lies."""
    if live.state is A.DUE or live.connector is None:
        return HELD
    return ledger.in_doubt(live.connector) if live.state is A.UNKNOWN else ledger.in_flight(live.connector)


def _ruling(
    case: Case,
    state: PayoutState,
    attempt_state: AttemptState,
    postings: list[Posting],
    *,
    ends_live: AttemptState | None = None,
    reason: str | None = None,
    returned_minor: int | None = None,
) -> Ruling:
    back = case.returned_minor if returned_minor is None else returned_minor
    return Ruling(
        state, attempt_state, postings, reason=reason, doubt_turns=case.doubt_turns, returned_minor=back,
        thaw=case.frozen, ends_live=ends_live,
    )  # fmt: skip


def _ended(live: Live) -> AttemptState:
    return A.NOT_SENT if live.state is A.DUE else A.REJECTED


def _paid(case: Case) -> Ruling:
    live = case.live
    if case.attempt_state in ASKABLE:
        if live is None:
            raise AssertionError("an attempt under way that is not live")
        postings = case.books.settle(_lies_in(live), case.connector)
        return _ruling(case, advance(case.state, Step.SETTLE), A.SETTLED, postings)
    booked: list[Posting] = []
    if case.attempt_state in MOVED_NOTHING and not _in_suspense(case):
        booked = case.books.contradiction(case.connector, case.books.amount_minor, case.attempt, case.contradictions)
    if live is None or live.state is A.SETTLED:
        return _ruling(case, case.state, case.attempt_state, booked)  # the merchant's money is where it was shown to be
    booked += case.books.cover(_lies_in(live), case.connector)
    return _ruling(case, advance(case.state, Step.COVER), case.attempt_state, booked, ends_live=_ended(live))


def _in_suspense(case: Case) -> bool:
    """Whether this attempt's payment stands in suspense."""
    return any(attempt_of(posting) == case.attempt for posting in case.suspended)


def attempt_of(contradiction: Posting) -> int:
    """The attempt that a posting of a contradiction speaks of."""
    return int(contradiction.phase.split("-")[1])


def _not_moved(case: Case, event: str) -> Ruling:
    live = case.live
    turned = [ledger.reverse(posting) for posting in case.suspended]
    if live is not None and live.state is not A.SETTLED:
        back = case.books.release() if live.state is A.DUE else case.books.fail(_lies_in(live))
        state = advance(case.state, Step.GIVE_UP)
        if live.number == case.attempt:
            return _ruling(case, state, _ended(live), back + turned, reason=REASON)
        return _ruling(case, state, case.attempt_state, back + turned, reason=REASON, ends_live=_ended(live))
    if case.state not in (S.PAID, S.RETURNED):
        return _ruling(case, case.state, case.attempt_state, turned)
    rest = case.books.amount_minor - case.returned_minor
    lies_in = ledger.paid(case.connector) if live is not None else ledger.suspense(case.connector)
    back = case.books.give_back(lies_in, rest, event)
    state = advance(case.state, Step.RETURN) if case.state is S.PAID else case.state
    return _ruling(case, state, case.attempt_state, back + turned, returned_minor=case.books.amount_minor)
