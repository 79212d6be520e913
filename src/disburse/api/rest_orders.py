"""From a `POST /v1/payouts` to a payout ready to be made. Lives here: what this surface takes as a destination and as an amount.

All that is wrong with the fields is told at once. May not live here: whether this merchant may be served now (`rest.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final, assert_never
from uuid import UUID

import msgspec

from disburse.domain.destinations import (
    BadDestination,
    Destination,
    read_account,
    read_card,
    read_qiwi,
    read_sbp,
    read_usdt,
    read_webmoney,
)
from disburse.domain.identifiers import shard_of_payout
from disburse.domain.merchant import Merchant
from disburse.domain.money import BadAmount, BadCurrency, Money, read_currency, read_positive_amount
from disburse.domain.routing import TEST_CURRENCY
from disburse.operations.desk import Desk
from disburse.operations.keyed import RequestName
from disburse.operations.payees import Target
from disburse.operations.payouts import CreatePayout
from disburse.operations.secrets import digest
from disburse.protocols.rest import LONGEST_COMMENT, LONGEST_REFERENCE, faulty, read_id
from disburse.protocols.rest_messages import (
    FieldFault,
    NewPayout,
    To,
    ToAccount,
    ToAddress,
    ToCard,
    ToPhone,
    ToPurse,
    ToWallet,
)
from disburse.protocols.rest_problems import Refused
from disburse.protocols.rest_routes import Name

SURFACE: Final = "own"
"""Under this name the payouts of this surface, and their references, stand in the books (design, section 3)."""

_FIELDS: Final = {"card": "number", "sbp": "phone", "webmoney": "purse", "qiwi": "wallet", "usdt": "address", "account": "account"}
_A_YEAR: Final = timedelta(days=366)
_YEARS: Final = range(2000, 3000)
"""Times outside of these are no times of payouts."""
DETAILS: Final = {rail: [field, *(["bank"] if rail == "sbp" else ["bik"] if rail == "account" else [])] for rail, field in _FIELDS.items()}
"""What a destination needs, by rail."""


def actor_of(merchant: Merchant) -> str:
    """The name under which this door's deeds stand in events and postings."""
    return f"merchant:{merchant.merchant_id}/{SURFACE}"


def name_of(desk: Desk, merchant: Merchant, key: str | None, act: Name, asked: Sequence[Any]) -> RequestName | None:
    """The Idempotency-Key, with a keyed digest of what was asked as it was understood: `10` and `10.00` are one. None without one."""
    if key is None:
        return None
    content = msgspec.json.encode(["request:1", act, *asked])
    return RequestName(digest(key), desk.vault.fingerprint(content, merchant.merchant_id))


def uuid_of(identifier: str) -> UUID:
    """The id in a path. Raises Refused for what can be no id: it looks like one that is not there."""
    text = read_id(identifier)
    if text is None:
        raise Refused("not_found")
    return UUID(text)


def own_id(merchant: Merchant, identifier: str) -> UUID:
    """As `uuid_of`, for ids with a bucket inside: those of another bucket are none of this merchant's."""
    found = uuid_of(identifier)
    if shard_of_payout(found) != merchant.shard:
        raise Refused("not_found")
    return found


def draft_order(desk: Desk, merchant: Merchant, order: NewPayout, saved: Target | None = None) -> tuple[CreatePayout, Destination]:
    """The payout that is asked for, drafted, and where it goes: to `saved` if there is one. Raises Refused naming every field that is wrong."""
    faults: list[FieldFault] = []
    money = read_money(order.amount.amount, order.amount.currency, faults, at="amount.amount", of="amount.currency")
    destination = saved.destination if saved is not None else None
    if order.destination is not None:
        destination = read_to(order.destination, merchant, faults)
    _judge_reference(order.reference, faults, "reference")
    if order.comment is not None and len(order.comment) > LONGEST_COMMENT:
        faults.append(FieldFault(field="comment", why=f"has more than {LONGEST_COMMENT} characters"))
    if order.execute_at is not None and order.execute_at.year not in _YEARS:
        faults.append(FieldFault(field="execute_at", why="is out of its range"))
    if faults or money is None or destination is None:
        raise faulty(faults)
    draft = desk.draft(
        merchant,
        destination,
        money,
        surface=SURFACE,
        reference=order.reference,
        amount_text=order.amount.amount,
        execute=order.execute,
        actor=actor_of(merchant),
        comment=order.comment or None,
        sandbox_only=money.currency == TEST_CURRENCY,
        execute_at=order.execute_at,
    )
    return (replace(draft, payee_id=saved.payee_id) if saved is not None else draft), destination


def is_within_a_year(at: datetime, now: datetime) -> bool:
    """Whether a new payout may have this time. Of one that is known it is not asked: its time passes, and its repeat must find it."""
    return abs(at - now) <= _A_YEAR


def read_money(text: str, currency: str, faults: list[FieldFault], *, at: str, of: str) -> Money | None:
    """More than nothing of a known currency; else None, and a fault at the field `at` or `of`."""
    try:
        return read_positive_amount(text, read_currency(currency))
    except BadCurrency as fault:
        faults.append(FieldFault(field=of, why=fault.why))
    except BadAmount as fault:
        faults.append(FieldFault(field=at, why=fault.why))
    return None


def check_reference(reference: str) -> None:
    """Raises Refused for what can be no reference."""
    faults: list[FieldFault] = []
    _judge_reference(reference, faults, "reference")
    if faults:
        raise faulty(faults)


def _judge_reference(reference: str | None, faults: list[FieldFault], field: str) -> None:
    """1 to 200 characters that can be seen, without white space at the ends: two that look alike must be alike."""
    if reference is None:
        return
    if not 1 <= len(reference) <= LONGEST_REFERENCE:
        faults.append(FieldFault(field=field, why=f"has not 1 to {LONGEST_REFERENCE} characters"))
    elif not reference.isprintable() or reference != reference.strip():
        faults.append(FieldFault(field=field, why="holds an invisible character, or white space at an end"))


def read_to(to: To, merchant: Merchant, faults: list[FieldFault]) -> Destination | None:
    """Where money is to go; None, and a fault at the field, for what can be no destination."""
    try:
        found = _reader(to, merchant)()
        return found.named(to.name) if to.name is not None else found
    except BadDestination as fault:
        rail = str(fault.rail)
        field = {"number": _FIELDS[rail], "bank": DETAILS[rail][-1], "name": "name"}[fault.field]
        faults.append(FieldFault(field=f"destination.{field}", why=fault.why))
        return None


def _reader(to: To, merchant: Merchant) -> Callable[[], Destination]:
    match to:
        case ToCard():
            return lambda: read_card(to.number, luhn=True)
        case ToPhone():
            return lambda: read_sbp(to.phone, to.bank if to.bank is not None else merchant.sbp_bank)
        case ToPurse():
            return lambda: read_webmoney(to.purse)
        case ToWallet():
            return lambda: read_qiwi(to.wallet)
        case ToAddress():
            return lambda: read_usdt(to.address)
        case ToAccount():
            return lambda: read_account(to.account, to.bik)
        case _:
            assert_never(to)
