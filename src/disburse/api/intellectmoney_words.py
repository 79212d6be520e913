"""What the IntellectMoney door says. Lives here: the short codes of its refusals, and our states in the protocol's terms.

A refusal is OperationState 2 with a Desc that begins with a stable code in square brackets (intellectmoney.md section 8).
Its text never repeats what was sent. May not live here: who is asking, any I/O, the bytes of an answer (the codec's).
"""

from __future__ import annotations

from disburse.api.kernel import Why
from disburse.domain.destinations import BadDestination, Rail
from disburse.domain.limits import LimitReached
from disburse.domain.money import BadAmount, BadCurrency
from disburse.domain.payout import PayoutState
from disburse.domain.refusals import Refusal
from disburse.operations.payouts import NoSuchPayout
from disburse.operations.standing import Standing
from disburse.protocols.intellectmoney import Method
from disburse.protocols.intellectmoney_answers import PayoutStateName

ASK_THE_STATE = (
    "Whether the operation was executed is not known here at this moment: ask for its state before anything else."
)

UNDONE: dict[Why, tuple[str, str]] = {
    "too_large": ("TOO_LARGE", "The request is too large."),
    "too_slow": ("TOO_SLOW", "The request did not arrive in time."),
    "bad_encoding": ("BAD_ENCODING", "The request's body is encoded in a way that is not read here."),
    "overloaded": ("TRY_LATER", "There is too much to do at this moment: try again a little later."),
    "late": ("TRY_LATER", "The answer was not ready in time: try again a little later."),
    "broken": ("INTERNAL_ERROR", "Something went wrong on our side: try again a little later."),
}
"""What goes out, short code and text, for each reason why a request is not answered by its method."""

_MAYBE_DONE: frozenset[Why] = frozenset({"late", "broken"})


class NotHandled(Refusal):
    """The call is refused: OperationState 2. `word` is the short code, the text is what stands behind it."""

    def __init__(self, word: str, why: str) -> None:
        self.word = word
        super().__init__(why)


def undone(why: Why, method: Method | None) -> NotHandled:
    """What to say of a request that its method did not answer. After an execute that may have begun: ask for the state."""
    word, text = UNDONE[why]
    if method is Method.EXECUTE and why in _MAYBE_DONE:
        text = ASK_THE_STATE
    return NotHandled(word, text)


def refused(refusal: Refusal) -> NotHandled:
    """A refusal of the domain or of an operation in this protocol's terms."""
    match refusal:
        case NotHandled():
            return refusal
        case BadDestination(rail=rail, field=field):
            return NotHandled(_field_word(rail, field), str(refusal))
        case BadAmount():
            return NotHandled("BAD_AMOUNT", str(refusal))
        case BadCurrency():
            return NotHandled("BAD_CURRENCY", str(refusal))
        case NoSuchPayout():  # an unknown id and somebody else's read the same (section 7)
            return NotHandled("UNKNOWN_OPERATION", "There is no operation with this PayoutOperationId.")
        case LimitReached():
            return NotHandled("LIMIT_REACHED", str(refusal))
        case _:
            return NotHandled("REFUSED", str(refusal))


def _field_word(rail: Rail, field: str) -> str:
    if field == "name":
        return "BAD_RECIPIENT_NAME"
    if field == "bank":
        return "BAD_BANK_ID"
    return "BAD_PAN" if rail is Rail.CARD else "BAD_ACCOUNT"


S = PayoutState
_NAMES: dict[PayoutState, PayoutStateName] = {
    S.CREATED: PayoutStateName.CREATED,
    S.UNFUNDED: PayoutStateName.NOT_ENOUGH_MONEY,
    S.AWAITING_APPROVAL: PayoutStateName.IN_PROCESS,
    S.SCHEDULED: PayoutStateName.IN_PROCESS,
    S.QUEUED: PayoutStateName.IN_PROCESS,
    S.IN_FLIGHT: PayoutStateName.IN_PROCESS,
    S.IN_DOUBT: PayoutStateName.IN_PROCESS,
    S.PAID: PayoutStateName.COMPLETED,
    S.RETURNED: PayoutStateName.COMPLETED,
    S.FAILED: PayoutStateName.ERROR,
    S.CANCELLED: PayoutStateName.CANCELLED,
    S.EXPIRED: PayoutStateName.DELETED,
}

ATTEMPTS_TELL = frozenset({S.IN_FLIGHT, S.FAILED})
"""States whose word depends on the attempts: what a provider confirmed or refused."""


def state_name(standing: Standing) -> PayoutStateName:
    """Our state in the protocol's terms (design, section 3). A frozen payout is in process, unless it was final before."""
    payout = standing.payout
    if payout.frozen is not None and not payout.final:
        return PayoutStateName.IN_PROCESS
    if payout.state is S.IN_FLIGHT and standing.accepted:
        return PayoutStateName.SENT_TO_BANK
    if payout.state is S.FAILED and standing.refused:
        return PayoutStateName.FAILED
    return _NAMES[payout.state]
