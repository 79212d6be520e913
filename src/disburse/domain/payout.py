"""The heart: how a payout lives. One table of states and steps; nothing here does I/O, reads a clock or draws a number.

A payout is one obligation to one payee. It owns attempts (one try through one connector each, `domain/attempt.py`); what a
provider says reaches it as evidence (`domain/evidence.py`), and every step moves money as `domain/ledger.py` says. Steps
that the table does not list do not exist: no code assigns a state by hand.

`frozen` is a mark beside the state: contradictory evidence sets it, and only a person with evidence clears it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from disburse.domain.ledger import Books
from disburse.domain.money import Money
from disburse.domain.refusals import Refusal


class PayoutState(StrEnum):
    CREATED = "created"
    UNFUNDED = "unfunded"
    AWAITING_APPROVAL = "awaiting_approval"
    SCHEDULED = "scheduled"
    QUEUED = "queued"
    IN_FLIGHT = "in_flight"
    IN_DOUBT = "in_doubt"
    PAID = "paid"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    RETURNED = "returned"


class Step(StrEnum):
    QUEUE = "queue"  # execute, approve or due: the money is held and the payout may be claimed
    SCHEDULE = "schedule"
    ASK_APPROVAL = "ask_approval"
    LACK_FUNDS = "lack_funds"
    CANCEL = "cancel"
    EXPIRE = "expire"
    REFUSE = "refuse"  # an approver says no
    CLAIM = "claim"
    NO_ROUTE = "no_route"
    SETTLE = "settle"
    REJECT = "reject"
    TRY_AGAIN = "try_again"  # the attempt moved nothing, proven: another may start
    LOSE_SIGHT = "lose_sight"
    HEAR_AGAIN = "hear_again"
    RETURN = "return"
    COVER = "cover"  # two persons: an attempt that was held to be over has paid, and the money set aside covers it
    GIVE_UP = "give_up"  # two persons: nothing reached the payee, and nothing more is sent


S = PayoutState
MOVES: dict[PayoutState, dict[Step, PayoutState]] = {
    S.CREATED: {
        Step.QUEUE: S.QUEUED,
        Step.SCHEDULE: S.SCHEDULED,
        Step.ASK_APPROVAL: S.AWAITING_APPROVAL,
        Step.LACK_FUNDS: S.UNFUNDED,
        Step.CANCEL: S.CANCELLED,
        Step.EXPIRE: S.EXPIRED,
    },
    S.UNFUNDED: {
        Step.QUEUE: S.QUEUED,
        Step.SCHEDULE: S.SCHEDULED,
        Step.ASK_APPROVAL: S.AWAITING_APPROVAL,
        Step.LACK_FUNDS: S.UNFUNDED,
        Step.CANCEL: S.CANCELLED,
        Step.EXPIRE: S.EXPIRED,
    },
    S.AWAITING_APPROVAL: {
        Step.QUEUE: S.QUEUED,
        Step.SCHEDULE: S.SCHEDULED,
        Step.REFUSE: S.CANCELLED,
        Step.CANCEL: S.CANCELLED,
        Step.EXPIRE: S.EXPIRED,
    },
    S.SCHEDULED: {Step.QUEUE: S.QUEUED, Step.CANCEL: S.CANCELLED},
    S.QUEUED: {
        Step.CLAIM: S.IN_FLIGHT,
        Step.CANCEL: S.CANCELLED,
        Step.NO_ROUTE: S.FAILED,
        Step.COVER: S.PAID,
        Step.GIVE_UP: S.FAILED,
    },
    S.IN_FLIGHT: {
        Step.SETTLE: S.PAID,
        Step.REJECT: S.FAILED,
        Step.TRY_AGAIN: S.QUEUED,
        Step.LOSE_SIGHT: S.IN_DOUBT,
        Step.COVER: S.PAID,
        Step.GIVE_UP: S.FAILED,
    },
    S.IN_DOUBT: {
        Step.HEAR_AGAIN: S.IN_FLIGHT,
        Step.SETTLE: S.PAID,
        Step.REJECT: S.FAILED,
        Step.TRY_AGAIN: S.QUEUED,
        Step.COVER: S.PAID,
        Step.GIVE_UP: S.FAILED,
    },
    S.PAID: {Step.RETURN: S.RETURNED},
    S.FAILED: {},
    S.CANCELLED: {},
    S.EXPIRED: {},
    S.RETURNED: {},
}

FINAL = frozenset({S.PAID, S.FAILED, S.CANCELLED, S.EXPIRED, S.RETURNED})
"""States shown to a merchant as the end. `paid` may still be followed by `returned`: a new fact, not a rewrite."""

HOLDING = frozenset({S.AWAITING_APPROVAL, S.SCHEDULED, S.QUEUED, S.IN_FLIGHT, S.IN_DOUBT})
"""States in which the payout's amount and fee lie in held, in_flight or in_doubt (invariant H3)."""


class WrongState(Refusal):
    """The payout is not in a state that allows this."""

    def __init__(self, state: PayoutState, step: Step) -> None:
        self.state, self.step = state, step
        super().__init__(f"A payout that is {state} cannot {step.replace('_', ' ')}.")


def advance(state: PayoutState, step: Step) -> PayoutState:
    """The state after a step. Raises WrongState when the table has no such move."""
    try:
        return MOVES[state][step]
    except KeyError:
        raise WrongState(state, step) from None


@dataclass(slots=True)
class Payout:
    """One payout as it stands. What identifies the payee is sealed; `display` is all that may be shown.

    `execute_at` (when it is to be sent, if a time was asked for), `payee` (the digest of where its money goes) and `payee_id` (the saved payee
    that it was made for, if it named one) are read with a payout that may still be executed or is shown (`storage/payouts.by_id`, `by_base`);
    whoever claims it does not need them.
    """

    shard: int
    payout_id: UUID
    merchant_id: int
    number: int
    surface: str
    reference: str | None
    base: str
    fingerprint: bytes
    rail: str
    currency: str
    amount_minor: int
    fee_minor: int
    amount_text: str
    display: str
    sealed: bytes
    sandbox_only: bool
    state: PayoutState
    frozen: str | None
    reason: str | None
    attempts: int
    returned_minor: int
    created_at: datetime
    expires_at: datetime
    updated_at: datetime
    finished_at: datetime | None
    first_event: int
    last_event: int
    execute_at: datetime | None = None
    payee: bytes = b""
    payee_id: UUID | None = None

    @property
    def amount(self) -> Money:
        return Money(self.amount_minor, self.currency)

    @property
    def fee(self) -> Money:
        return Money(self.fee_minor, self.currency)

    @property
    def books(self) -> Books:
        return Books(self.payout_id, self.merchant_id, self.currency, self.amount_minor, self.fee_minor)

    @property
    def final(self) -> bool:
        return self.state in FINAL
