"""How a payout and a refusal look to a UnitPay client: our state as its status, our reasons as sentences for people.

Lives here: the tables of design.md section 3 for this surface, and `Refused`, the error envelope as an exception. May not live
here: what is refused and when (`unitpay_order.py`, `unitpay.py`), the JSON (`protocols/unitpay_answers.py`).
"""

from __future__ import annotations

from typing import Final

from disburse.domain.identifiers import unitpay_number
from disburse.domain.merchant import Merchant
from disburse.domain.money import Money
from disburse.domain.payout import Payout, PayoutState
from disburse.domain.refusals import Refusal
from disburse.protocols.unitpay import (
    Code,
    Language,
    PayoutAnswer,
    Status,
    code_text,
    encode_payout,
    nothing_found_text,
    parameter_text,
    status_text,
)

CURRENCY: Final = "RUB"
"""Sums of this protocol are roubles (unitpay.md section 3)."""

NO_FEE: Final = "0.00"
_LONGEST_REASON: Final = 200

_STATUS: Final[dict[PayoutState, Status]] = {
    PayoutState.CREATED: Status.NOT_COMPLETED,
    PayoutState.UNFUNDED: Status.NOT_COMPLETED,  # not made at this door: too little money is error 103 and no payout
    PayoutState.AWAITING_APPROVAL: Status.NOT_COMPLETED,
    PayoutState.SCHEDULED: Status.NOT_COMPLETED,
    PayoutState.QUEUED: Status.NOT_COMPLETED,
    PayoutState.IN_FLIGHT: Status.NOT_COMPLETED,
    PayoutState.IN_DOUBT: Status.NOT_COMPLETED,
    PayoutState.PAID: Status.SUCCESS,
    PayoutState.RETURNED: Status.SUCCESS,
    PayoutState.FAILED: Status.ERROR,
    PayoutState.CANCELLED: Status.ERROR,
    PayoutState.EXPIRED: Status.ERROR,
}

_REASONS: Final[dict[str, tuple[str, str]]] = {
    "no_route": ("по этим реквизитам выплатить нельзя", "there is no way to pay to these details"),
    "details_unreadable": ("реквизиты не читаются", "the details cannot be read"),
    "destination cannot receive": ("получатель не может принять перевод", "the recipient cannot receive it"),
    "refused by the bank": ("отказал банк", "the bank refused it"),
    "cancelled": ("выплата отменена", "the payout was cancelled"),
    "expired": ("срок выплаты истёк", "the payout has expired"),
}


class Refused(Refusal):
    """The call gets an error envelope. `parameter` is what -32602 blames, when one thing is to blame."""

    def __init__(self, code: Code, parameter: str = "") -> None:
        self.code, self.parameter = code, parameter
        super().__init__(f"UnitPay error {int(code)} {parameter}".rstrip())

    def text(self, language: Language) -> str:
        """What the envelope says."""
        if self.code is Code.BAD_PARAMETERS:
            return parameter_text(self.parameter, language)
        return code_text(self.code, language)


class NothingFound(Refused):
    """getBinInfo knows nothing about this number: code 100 once more, in another meaning (Q15)."""

    def __init__(self) -> None:
        super().__init__(Code.PAYOUTS_OFF)

    def text(self, language: Language) -> str:
        return nothing_found_text(language)


def language_of(merchant: Merchant) -> Language:
    """Russian unless the merchant wants English (Q20)."""
    return "en" if merchant.language == "en" else "ru"


def encode_state(payout: Payout, available_minor: int, merchant: Merchant) -> bytes:
    """The answer that tells a stored payout's state, with what the merchant can still spend."""
    status, language = _STATUS[payout.state], language_of(merchant)
    message = status_text(status, language)
    if status is Status.ERROR:
        reason = reason_text(payout, language)
        message = f"{message}: {reason}" if reason else message
    shown = PayoutAnswer(
        message=message,
        status=status,
        payout_id=unitpay_number(payout.number, payout.merchant_id),
        partner_balance=Money(available_minor, payout.currency).text(),
        create_date=payout.created_at,
        complete_date=payout.finished_at if status is not Status.NOT_COMPLETED else None,
        sum=payout.amount_text,
        payout_commission=NO_FEE if status is Status.ERROR else payout.fee.text(),
        partner_commission=NO_FEE,
        transaction_id=payout.reference or "",
    )
    return encode_payout(shown, payout_id_as_number=merchant.payout_id_as_number)


def reason_text(payout: Payout, language: Language) -> str:
    """Why a payout ended without paying, for people; '' when there is nothing to say.

    A provider's own words are shown only without digits: they may repeat the payee's number.
    """
    reason = payout.reason or (str(payout.state) if payout.state is not PayoutState.FAILED else "")
    known = _REASONS.get(reason)
    if known is not None:
        return known[language == "en"]
    plain = reason.isprintable() and len(reason) <= _LONGEST_REASON and not any(c.isdigit() for c in reason)
    return reason if plain else ""
