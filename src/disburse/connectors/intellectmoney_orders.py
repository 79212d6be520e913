"""From an order to the message that makes an IntellectMoney operation. Lives here: the checks that a driver owes before it sends.

Nothing is sent for an order that fails them, so they refuse it outright. A card is a real one, with its check digit (section 9
of docs/protocols/intellectmoney.md), a phone and a wallet have 11 digits that begin with 7, an amount has at most 13 characters.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from disburse.connectors.contract import Order
from disburse.connectors.intellectmoney_settings import IntellectMoneySettings
from disburse.domain.checks import card_fault
from disburse.domain.destinations import Destination, Rail
from disburse.domain.outcomes import Rejected
from disburse.protocols.intellectmoney import Generation
from disburse.protocols.intellectmoney_messages import (
    CreateCard,
    CreateOperation,
    CreateWallet,
    PreferenceType,
)

LONGEST_AMOUNT: Final = 13
_DIGITS: Final = re.compile(r"[0-9]+")
_PHONE: Final = re.compile(r"7[0-9]{10}")
_BANK: Final = re.compile(r"[0-9]{1,20}")

Create = CreateCard | CreateWallet | CreateOperation


def create_of(settings: IntellectMoneySettings, order: Order) -> Callable[[str], Create] | Rejected:
    """What makes this order's operation, given a token; or why it cannot be sent here. Reasons are words of ours."""
    destination, amount = order.destination, order.amount.text()
    if destination.rail not in settings.able_rails() or order.amount.currency not in settings.currencies:
        return Rejected("not_carried_here", elsewhere=True)
    if order.amount.minor <= 0 or len(amount) > LONGEST_AMOUNT:
        return Rejected("amount_not_carried_here", elsewhere=True)
    why = _fault(destination)
    if why is not None:
        return why
    return _old(destination, amount, order) if settings.family is Generation.OLD else _new(settings, amount, order)


def _fault(destination: Destination) -> Rejected | None:
    match destination.rail:
        case Rail.CARD if not _DIGITS.fullmatch(destination.number) or card_fault(destination.number) is not None:
            return Rejected("bad_card")
        case Rail.SBP | Rail.QIWI if _PHONE.fullmatch(destination.number) is None:
            return Rejected("bad_account")
        case Rail.SBP if destination.bank is None or _BANK.fullmatch(destination.bank) is None:
            return Rejected("bank_not_carried_here", elsewhere=True)
        case _:
            return None


def _old(destination: Destination, amount: str, order: Order) -> Callable[[str], Create]:
    number, currency, name = destination.number, order.amount.currency, destination.name
    if destination.rail is Rail.CARD:
        return lambda token: CreateCard(token, number, amount, currency, name)
    return lambda token: CreateWallet(token, number, amount, currency, name)


def _new(settings: IntellectMoneySettings, amount: str, order: Order) -> Callable[[str], Create]:
    destination = order.destination
    is_card = destination.rail is Rail.CARD

    def create(token: str) -> Create:
        return CreateOperation(
            user_token=token,
            preference_type=PreferenceType.OUT_BANK_CARD if is_card else PreferenceType.OUT_SBP,
            amount=amount,
            currency=order.amount.currency,
            pan=destination.number if is_card else None,
            account=None if is_card else destination.number,
            bank_id=None if is_card else destination.bank,
            recipient_name=destination.name,
            eshop_id=settings.eshop_id,
        )

    return create
