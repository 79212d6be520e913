"""What a massPayment call asks for, in the domain's words: a destination and an amount, or the code that refuses them.

Lives here: which paymentType is which rail, which refusal of the domain has which code (unitpay.md section 11, "What our server
emits"). May not live here: whether this merchant may be served now (`unitpay.py`), where parameters stand (`protocols/`).
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final

from disburse.api.unitpay_words import CURRENCY, Refused
from disburse.domain.destinations import (
    BadDestination,
    Destination,
    Rail,
    read_card,
    read_qiwi,
    read_sbp,
    read_usdt,
    read_webmoney,
)
from disburse.domain.money import BadAmount, Money, read_positive_amount
from disburse.protocols.unitpay import Code, MassPayment

RAILS: Final[dict[str, Rail | None]] = {
    "card": Rail.CARD,
    "sbp": Rail.SBP,
    "webmoney": Rail.WEBMONEY,
    "usdt": Rail.USDT,
    "qiwi": Rail.QIWI,
    "yandex": None,
    "mc": None,
}
"""The seed's four kinds of payment and the aliases of earlier years; None is a kind that nobody carries any more (Q18)."""

_UNREADABLE: Final = {Rail.CARD: Code.CARD_UNREADABLE, Rail.SBP: Code.PHONE_UNREADABLE}


@dataclass(frozen=True, slots=True)
class Order:
    """Pay `amount` to `destination`."""

    destination: Destination
    amount: Money


def read_rail(payment_type: str) -> Rail | None:
    """The rail behind a paymentType, None for a kind that is known and not carried. Raises Refused naming the parameter."""
    try:
        return RAILS[payment_type]
    except KeyError:
        raise Refused(Code.BAD_PARAMETERS, "paymentType") from None


def read_sum(text: str) -> Money:
    """The sum, in roubles and more than zero. Raises Refused naming `sum`."""
    try:
        return read_positive_amount(text, CURRENCY)
    except BadAmount:
        raise Refused(Code.BAD_PARAMETERS, "sum") from None


def read_order(
    message: MassPayment, *, default_bank: str | None, accepted_members: AbstractSet[str], qiwi_routed: bool
) -> Order:
    """The order in a call. Raises Refused: 105x for the payee's number, 122 for a kind nobody carries, -32602 for the rest.

    Cards must be real ones here (13 to 19 digits, Luhn). An SBP payee needs a member bank: the call's, else `default_bank`.
    """
    rail = read_rail(message.payment_type)
    amount = read_sum(message.sum)
    if rail is None or (rail is Rail.QIWI and not qiwi_routed):
        raise Refused(Code.NO_ROUTE)
    try:
        destination = _read_destination(rail, message.purse, message.member_id or default_bank)
    except BadDestination as bad:
        if bad.field == "bank":
            raise Refused(Code.BAD_PARAMETERS, "memberId") from None
        raise Refused(_UNREADABLE.get(rail, Code.WALLET_UNREADABLE)) from None
    if rail is Rail.SBP and destination.bank not in accepted_members:
        raise Refused(Code.BAD_PARAMETERS, "memberId")
    return Order(destination, amount)


def _read_destination(rail: Rail, purse: str, bank: str | None) -> Destination:
    match rail:
        case Rail.CARD:
            return read_card(purse, luhn=True)
        case Rail.SBP:
            return read_sbp(purse, bank)
        case Rail.WEBMONEY:
            return read_webmoney(purse)
        case Rail.USDT:
            return read_usdt(purse)
        case Rail.QIWI:
            return read_qiwi(purse)
        case Rail.ACCOUNT:
            raise AssertionError("no paymentType is a bank account")
