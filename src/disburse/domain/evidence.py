"""The one rule by which evidence changes a payout: answers, inquiries and callbacks alike, in any order, however late.

Lives here: `rule`, from what is known and what was heard to what changes. It is pure, and it is confluent: any order and
any repetition of a set of evidence that does not contradict itself ends in the same state (invariant E9). Of two different
proofs that nothing moved (refused, absent) the first heard decides what comes next; either way no money has moved. Evidence that does
contradict (paid after refused, refused after paid, another amount, two attempts paid) never overwrites: it freezes the payout,
is kept, and what the provider moved beyond proof is booked to suspense (E11). Silence proves nothing (E5).
"""

from __future__ import annotations

from typing import assert_never

from disburse.domain import ledger
from disburse.domain.attempt import ASKABLE, MOVED_NOTHING, AttemptState
from disburse.domain.ledger import Account, Posting
from disburse.domain.money import Money
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
from disburse.domain.payout import PayoutState, Step, advance
from disburse.domain.ruling import Case, Live, Ruling
from disburse.domain.ruling import unchanged as _unchanged
from disburse.domain.vouched import attempt_of, vouched

__all__ = ["Case", "Live", "Ruling", "rule"]

A = AttemptState


def rule(case: Case, heard: Verdict) -> Ruling:
    """Apply one piece of evidence. A frozen payout is moved by persons only: the evidence is kept and changes nothing."""
    if isinstance(heard, VouchedPaid | VouchedNotMoved):
        return vouched(case, heard)
    if case.frozen:
        return _unchanged(case)
    match heard:
        case Settled():
            return _settled(case, heard)
        case Returned():
            return _returned(case, heard)
        case Accepted():
            return _accepted(case)
        case Rejected():
            return _rejected(case, heard)
        case NotSent(why=why) | Absent(why=why):
            return _moved_nothing(case, why)
        case Unknown() | NotExecuted():
            return _lost_sight(case)
        case NotFound():
            return _not_found(case)
        case _:
            assert_never(heard)


def _freeze(case: Case, why: str, postings: list[Posting] | None = None) -> Ruling:
    return Ruling(
        case.state,
        case.attempt_state,
        postings or [],
        freeze=why,
        doubt_turns=case.doubt_turns,
        returned_minor=case.returned_minor,
    )


def _lies_in(case: Case) -> Account:
    """The account that holds the amount of an attempt under way."""
    if case.attempt_state is A.UNKNOWN:
        return ledger.in_doubt(case.connector)
    return ledger.in_flight(case.connector)


def _settled(case: Case, heard: Settled) -> Ruling:
    books = case.books
    told = Money(books.amount_minor, books.currency) if heard.amount is None else heard.amount
    same = (told.minor, told.currency) == (books.amount_minor, books.currency)
    if not same and (case.attempt_state not in MOVED_NOTHING or told.currency != books.currency or told.minor <= 0):
        return _freeze(case, "another_amount")
    match case.attempt_state:
        case A.SETTLED:
            return _unchanged(case)
        case A.OPEN | A.ACCEPTED | A.UNKNOWN:
            return Ruling(
                advance(case.state, Step.SETTLE),
                A.SETTLED,
                books.settle(_lies_in(case), case.connector),
                doubt_turns=case.doubt_turns,
            )
        case A.REJECTED | A.NOT_SENT:
            return _paid_after_all(case, told.minor)
        case A.DUE:
            return _freeze(case, "paid_before_intent")
        case _:
            assert_never(case.attempt_state)


def _paid_after_all(case: Case, minor: int) -> Ruling:
    """Paid after proof that it would not be. What stands in suspense already is no news, unless the amount is another."""
    standing = [posting.amount_minor for posting in case.suspended if attempt_of(posting) == case.attempt]
    if standing:
        return _unchanged(case) if standing == [minor] else _freeze(case, "another_amount")
    booked = case.books.contradiction(case.connector, minor, case.attempt, case.contradictions)
    return _freeze(case, "paid_after_refusal", booked)


def _returned(case: Case, heard: Returned) -> Ruling:
    amount = case.books.amount_minor if heard.amount is None else heard.amount.minor
    postings: list[Posting] = []
    state = case.state
    if case.attempt_state in ASKABLE:  # the news of the payment itself is still on its way: a return says it happened
        postings += case.books.settle(_lies_in(case), case.connector)
        state = advance(state, Step.SETTLE)
    elif case.attempt_state is not A.SETTLED:
        return _freeze(case, "returned_but_never_paid")
    back = case.returned_minor + amount
    other_currency = heard.amount is not None and heard.amount.currency != case.books.currency
    if back > case.books.amount_minor or amount <= 0 or other_currency:
        return _freeze(case, "returned_another_amount")
    if state is PayoutState.PAID:
        state = advance(state, Step.RETURN)
    postings += case.books.come_back(case.connector, amount, heard.event_id)
    return Ruling(state, A.SETTLED, postings, doubt_turns=case.doubt_turns, returned_minor=back)


def _accepted(case: Case) -> Ruling:
    match case.attempt_state:
        case A.OPEN:
            return Ruling(case.state, A.ACCEPTED, doubt_turns=case.doubt_turns)
        case A.UNKNOWN:
            postings = case.books.heard(case.connector, case.attempt, case.doubt_turns)
            return Ruling(advance(case.state, Step.HEAR_AGAIN), A.ACCEPTED, postings, doubt_turns=case.doubt_turns)
        case A.ACCEPTED | A.SETTLED | A.REJECTED:
            return _unchanged(case)  # late news
        case A.NOT_SENT:
            return _freeze(case, "accepted_but_never_sent")
        case A.DUE:
            return _freeze(case, "accepted_before_intent")
        case _:
            assert_never(case.attempt_state)


def _rejected(case: Case, heard: Rejected) -> Ruling:
    match case.attempt_state:
        case A.OPEN | A.ACCEPTED | A.UNKNOWN:
            if heard.elsewhere and case.another_route:
                return _next_attempt(case, A.REJECTED, heard.reason)
            reason = "no_route" if heard.elsewhere else heard.reason
            postings = case.books.fail(_lies_in(case))
            return Ruling(
                advance(case.state, Step.REJECT), A.REJECTED, postings, reason=reason, doubt_turns=case.doubt_turns
            )
        case A.REJECTED | A.NOT_SENT:
            return _unchanged(case)
        case A.SETTLED:
            return _freeze(case, "refused_after_paid")
        case A.DUE:
            return _freeze(case, "refused_before_intent")
        case _:
            assert_never(case.attempt_state)


def _moved_nothing(case: Case, why: str) -> Ruling:
    """Proof that the attempt moved no money: nothing was written, or the provider never will carry it out."""
    match case.attempt_state:
        case A.OPEN | A.UNKNOWN:
            return _next_attempt(case, A.NOT_SENT, why)
        case A.NOT_SENT | A.REJECTED | A.DUE:
            return _unchanged(case)
        case A.ACCEPTED:
            return _freeze(case, "absent_after_accepted")
        case A.SETTLED:
            return _freeze(case, "absent_after_paid")
        case _:
            assert_never(case.attempt_state)


def _not_found(case: Case) -> Ruling:
    """Not found proves nothing, but for a second one so long after the first that the provider's contract calls it final.

    Only of an attempt in doubt: nobody can still send it, and no provider ever had it.
    """
    final, apart = case.not_found_final_after_s, case.not_found_for_s
    if case.attempt_state is A.UNKNOWN and final is not None and apart is not None and apart >= final:
        return _moved_nothing(case, f"not found twice, {apart:.0f} s apart")
    return _lost_sight(case)


def _next_attempt(case: Case, attempt_state: AttemptState, reason: str) -> Ruling:
    return Ruling(
        advance(case.state, Step.TRY_AGAIN),
        attempt_state,
        case.books.try_again(_lies_in(case), case.attempt),
        new_attempt=True,
        reason=reason,
        doubt_turns=case.doubt_turns,
    )


def _lost_sight(case: Case) -> Ruling:
    """No answer, or an answer that says nothing. What is known stays known; only an open attempt becomes unknown."""
    if case.attempt_state is not A.OPEN:
        return _unchanged(case)
    turn = case.doubt_turns + 1
    postings = case.books.doubt(case.connector, case.attempt, turn)
    return Ruling(advance(case.state, Step.LOSE_SIGHT), A.UNKNOWN, postings, doubt_turns=turn)
