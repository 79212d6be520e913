"""From an IntellectMoney create message to a payout ready to be made. Lives here: what this door accepts as a destination.

Cards (intellectmoney.md section 9, quirk I4): the protocol knows 12 to 20 digits and no check digit; a provider that moves real
money wants a real card. So a card that is none is taken only where no live route could carry it, and marked for sandboxes
alone, now and for ever: a mistyped card never reaches a live provider, nor is it quietly paid by a sandbox in its place. Short
wallet numbers (quirk I5) get the same waiver; both are how the documented examples work against a sandbox.
"""

from __future__ import annotations

from collections.abc import Collection

from disburse.api.intellectmoney_access import check_card_level, check_payouts
from disburse.api.intellectmoney_words import NotHandled
from disburse.domain.destinations import BadDestination, Destination, Rail, read_card, read_qiwi, read_sbp
from disburse.domain.merchant import Merchant
from disburse.domain.money import read_currency, read_positive_amount
from disburse.domain.routing import TEST_CURRENCY, choose
from disburse.operations.desk import Desk
from disburse.operations.payouts import CreatePayout
from disburse.protocols.intellectmoney_messages import CreateCard, CreateOperation, CreateWallet

SURFACE = "intellectmoney"
Order = CreateCard | CreateWallet | CreateOperation


def draft_order(desk: Desk, banks: Collection[str], merchant: Merchant, order: Order) -> CreatePayout:
    """The payout that an order asks for, drafted. `banks`: the SBP members that may be named.

    Raises a Refusal: of the account's level, the amount, the currency, the destination, or for want of a route.
    """
    check_payouts(merchant)
    if _pan(order) is not None:
        check_card_level(merchant)
    currency = read_currency(order.currency)
    amount = read_positive_amount(order.amount, currency, max_decimals=2)
    destination, waived = _destination(desk, banks, order, currency)
    if order.recipient_name is not None:
        destination = destination.named(order.recipient_name)
    sandbox_only = waived or currency == TEST_CURRENCY
    if not desk.has_route(str(destination.rail), currency, sandbox_only=sandbox_only):
        raise NotHandled("NO_ROUTE", "No provider is set up for payouts of this kind in this currency.")
    return desk.draft(
        merchant,
        destination,
        amount,
        surface=SURFACE,
        reference=None,  # this API has no id of the client's
        amount_text=str(order.amount),
        execute=False,
        actor=actor_of(merchant),
        sandbox_only=sandbox_only,
    )


def actor_of(merchant: Merchant) -> str:
    """The name under which this door's deeds stand in events and postings."""
    return f"merchant:{merchant.merchant_id}/{SURFACE}"


def _pan(order: Order) -> str | None:
    return None if isinstance(order, CreateWallet) else order.pan


def _destination(desk: Desk, banks: Collection[str], order: Order, currency: str) -> tuple[Destination, bool]:
    """Where the money lands, and whether it may go there through a sandbox alone."""
    match order:
        case CreateCard(pan=str(pan)) | CreateOperation(pan=str(pan)):
            return _card(desk, pan, currency)
        case CreateWallet(account=account):
            return _wallet(desk, account, currency)
        case CreateOperation(account=str(account), bank_id=bank):
            return _phone(banks, account, bank), False
        case _:
            raise AssertionError("an order without a destination was read")


def _card(desk: Desk, pan: str, currency: str) -> tuple[Destination, bool]:
    try:
        return read_card(pan, luhn=True), False
    except BadDestination:
        if not _sandbox_alone(desk, Rail.CARD, currency):
            raise
    return read_card(pan, luhn=False), True


def _wallet(desk: Desk, account: str, currency: str) -> tuple[Destination, bool]:
    """A Qiwi wallet is a phone number: 11 digits that begin with 7. Ten digits, as the documented table shows, go to a sandbox."""
    destination = read_qiwi(account)
    number = destination.number
    if len(number) == 11 and number[0] == "7":
        return destination, False
    if len(number) == 10 and number[0] in "79" and _sandbox_alone(desk, Rail.QIWI, currency):
        return destination, True
    raise BadDestination(Rail.QIWI, "number", "is not 11 digits that begin with 7")


def _phone(banks: Collection[str], account: str, bank: str | None) -> Destination:
    destination = read_sbp(account, bank)
    if destination.bank not in banks:
        raise BadDestination(Rail.SBP, "bank", "is not a member of SBP that is known here")
    return destination


def _sandbox_alone(desk: Desk, rail: Rail, currency: str) -> bool:
    """Whether a sandbox can carry this and nobody who moves real money can."""
    live = [route for route in desk.routes if not route.sandbox]
    return choose(live, str(rail), currency) is None and desk.has_route(str(rail), currency, sandbox_only=True)
