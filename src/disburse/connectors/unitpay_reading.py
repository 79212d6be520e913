"""What UnitPay's answers prove about an order. Pure: an answer and what was asked go in, an outcome comes out.

Lives here: how the table `unitpay_table.py` is applied, and what is compared before anything is believed. The rules, which
come from unitpay.md sections 1, 3, 4 and 11:

* an answer is about our order only if the id, the destination and the provider's own id that it repeats are ours; the sum of
  a success is handed on, and the books compare it;
* a status is believed on any HTTP status, an error code only on 2xx and 4xx: a gateway's 5xx may stand for an order that went
  through, and a redirect is nobody's answer. (The page would read any. Doubt is cheaper than a wrong "refused".)
* whatever is not listed is doubt, and a person is told.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from disburse.connectors.contract import Order, Question
from disburse.connectors.unitpay_table import REFUSED_STATUS, TABLE, UNKNOWN_ID, VERSION, Proves, Row
from disburse.domain.destinations import Destination
from disburse.domain.money import BadAmount, Money, read_amount
from disburse.domain.outcomes import Absent, Accepted, NotFound, Outcome, Rejected, Settled, Unknown
from disburse.protocols import unitpay
from disburse.protocols.unitpay import ErrorAnswer, PayoutResult, ResultAnswer, Status, Unreadable
from disburse.protocols.wire import WireAnswer

_CURRENCY: Final = "RUB"
_OTHER_MATTERS: Final = frozenset((-32603, -32000, 201))
_HIDDEN: Final = frozenset("*xX•.…")
"""What stands for a character in a number that is shown masked."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What an answer established, and what a person should be told: `alert` in a word, with the provider's code."""

    finding: Accepted | Settled | Rejected | Unknown | NotFound | Absent
    alert: str | None = None
    code: int | None = None
    version: str = VERSION

    @property
    def outcome(self) -> Outcome:
        """The same as the outcome of a call."""
        if isinstance(self.finding, NotFound):
            raise AssertionError("an order is not asked about when it is sent")
        return self.finding


def read_order_answer(answer: WireAnswer, order: Order) -> Reading:
    """The answer to the one massPayment that bore this id."""
    match unitpay.decode_answer(answer.body, answer.status):
        case ResultAnswer() as result:
            payout = unitpay.payout_of(result)
            why = _not_ours(payout, order.end_to_end_id) or _other_purse(payout, order.destination)
            if why is None and payout.status is not Status.SUCCESS:
                why = _other_sum(payout, order.amount)
            return Reading(Unknown(why), "echo_differs") if why is not None else _payout(payout)
        case ErrorAnswer(code=code):
            return _refusal(code, answer.status, known=None)
        case Unreadable(why=why):
            return Reading(Unknown(why))


def read_status_answer(answer: WireAnswer, question: Question) -> Reading:
    """The answer to a massPaymentStatus. An order whose reference we have is one that the provider took."""
    match unitpay.decode_answer(answer.body, answer.status):
        case ResultAnswer() as result:
            payout = unitpay.payout_of(result)
            why = _not_ours(payout, question.end_to_end_id) or _other_payout(payout, question.provider_reference)
            return Reading(Unknown(why), "echo_differs") if why is not None else _payout(payout)
        case ErrorAnswer(code=code):
            return _refusal(code, answer.status, known=question.provider_reference is not None)
        case Unreadable(why=why):
            return Reading(Unknown(why))


def shows_nothing(answer: WireAnswer) -> bool:
    """Whether the answer to a massPaymentStatus says in the provider's own words that it has nothing to show under the id.

    No page names the code of an id that is not known (section 4). So any error will do, but those that speak of another matter:
    its own fault, our key, money that it could not send. Nobody's silence will, nor a gateway's answer.
    """
    match unitpay.decode_answer(answer.body, answer.status):
        case ErrorAnswer(code=code):
            return code not in _OTHER_MATTERS and _is_its_own(answer.status)
        case _:
            return False


def _is_its_own(http_status: int) -> bool:
    """Whether an error code on this HTTP status is the provider's word, and not a gateway's."""
    return 200 <= http_status < 300 or 400 <= http_status < 500


def _payout(payout: PayoutResult) -> Reading:
    """A result that is about our order, as far as it says."""
    if payout.payout_id is None and payout.transaction_id is None and payout.status in (Status.SUCCESS, Status.ERROR):
        return Reading(Unknown("an end without any payout's id"), "echo_differs")
    match payout.status:
        case Status.SUCCESS:
            amount = _sum(payout)
            if amount is None and payout.sum_told:
                return Reading(Unknown("paid, with a sum that cannot be read"), "echo_differs")
            return Reading(Settled(payout.payout_id, amount))
        case Status.NOT_COMPLETED:
            return Reading(Accepted(payout.payout_id))
        case Status.ERROR:
            return Reading(Rejected(REFUSED_STATUS, provider_reference=payout.payout_id))
        case None:
            return Reading(Unknown("a status that is not listed"), "unlisted_status")


def _refusal(code: int, http_status: int, *, known: bool | None) -> Reading:
    """An error envelope. `known` is None for an order's answer, else whether the provider is known to have taken the order."""
    row = TABLE.get(code)
    if row is None:
        return Reading(Unknown(f"error {code}, which is not listed"), "unlisted_code", code)
    alert = row.alert if known is None or row.everywhere else None
    if not _is_its_own(http_status):
        return Reading(Unknown(f"HTTP {http_status} with error {code}"), alert, code)
    if known is False and code == UNKNOWN_ID:
        return Reading(NotFound(f"error {code}"))
    proves = row.order if known is None else row.known if known else Proves.NOTHING
    return Reading(_proven(row, proves), alert, code)


def _proven(row: Row, proves: Proves) -> Rejected | Absent | Unknown:
    match proves:
        case Proves.REFUSED:
            return Rejected(row.reason)
        case Proves.REFUSED_HERE:
            return Rejected(row.reason, elsewhere=True)
        case Proves.TURNED_AWAY:
            return Absent(row.reason)
        case Proves.NOTHING:
            return Unknown(f"error {row.code}")


def _not_ours(payout: PayoutResult, end_to_end_id: str) -> str | None:
    """The id is repeated in production alone (Q12); where it is, it must be ours."""
    return "an answer about another id" if payout.transaction_id not in (None, end_to_end_id) else None


def _other_payout(payout: PayoutResult, provider_reference: str | None) -> str | None:
    if provider_reference is None or payout.payout_id in (None, provider_reference):
        return None
    return "an answer about another payout"


def _other_purse(payout: PayoutResult, destination: Destination) -> str | None:
    """No page has the purse in an answer. One that is there must be ours, as far as it is not masked."""
    if payout.purse is None:
        return None
    told = unitpay.clean_purse(payout.purse, str(destination.rail)).replace(" ", "")
    same = len(told) == len(destination.number) and all(
        one in _HIDDEN or one == ours for one, ours in zip(told, destination.number, strict=True)
    )
    return None if same else "an answer about another destination"


def _other_sum(payout: PayoutResult, amount: Money) -> str | None:
    if not payout.sum_told or _sum(payout) == amount:
        return None
    return "an answer about another sum"


def _sum(payout: PayoutResult) -> Money | None:
    if payout.sum is None:
        return None
    try:
        return read_amount(payout.sum, _CURRENCY)
    except BadAmount:
        return None
