"""What UnitPay answers to us, read so that nothing it says is lost and nothing it sends can hurt.

Lives here: every documented and captured variant of the answers, as neutral values. May not live here: what an answer proves
about money (the connector decides that). Nothing here raises: what cannot be read is `Unreadable`, a field that cannot be
read is None. Amounts and ids stay text, numbers by their literal. Sources: unitpay.md sections 1, 3-9, 11, 14.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from disburse.protocols.unitpay_answers import UNITPAY_TIME, Bank, BinInfo
from disburse.protocols.unitpay_codes import Code, Status
from disburse.protocols.wire import JsonValue, Malformed, read_json_object, trim

LARGEST = 1 << 20
"""No answer is read past so many bytes; the list of SBP banks, the longest there is, takes a tenth."""

_MISPRINTS = {3200: int(Code.UNAUTHORIZED), 32000: int(Code.UNAUTHORIZED), -3200: int(Code.UNAUTHORIZED)}
_CODE = re.compile(r"-?[0-9]{1,9}")
_AMOUNT = re.compile(r"-?[0-9]{1,18}(?:\.[0-9]{1,8})?")
_DATE = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})[ T]([0-9]{2}):([0-9]{2}):([0-9]{2})")
_UNSHOWN = re.compile("[\x00-\x1f\x7f-\x9f]+")
_HALVES = re.compile("[\ud800-\udfff]")
_STATUSES: Mapping[str, Status] = {status.value: status for status in Status}


@dataclass(frozen=True, slots=True)
class ResultAnswer:
    """The provider answered with a result: its members, or for a list (`getSbpBankList`) its items."""

    fields: Mapping[str, JsonValue] = field(default_factory=dict, repr=False)
    items: tuple[JsonValue, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class ErrorAnswer:
    """The provider answered with an error. The message may quote what we sent, so it is not shown."""

    code: int
    message: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Something answered, and it cannot be told what it says. `why` holds nothing of the answer."""

    why: str


Answer = ResultAnswer | ErrorAnswer | Unreadable


@dataclass(frozen=True, slots=True)
class PayoutResult:
    """A payout as the provider sees it. `status` is None when it is missing or unlisted.

    `sum_told`: whether there is a sum at all, readable or not. `purse` is on no page: read so that an echo can be compared.
    """

    status: Status | None
    payout_id: str | None
    sum: str | None
    payout_commission: str | None
    partner_commission: str | None
    partner_balance: str | None = field(repr=False)
    create_date: datetime | None
    complete_date: datetime | None
    transaction_id: str | None
    message: str = field(repr=False)
    sum_told: bool = False
    purse: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class AvailableAmount:
    """What can be paid out, in `currency`."""

    amount: str | None
    currency: str


@dataclass(frozen=True, slots=True)
class PartnerBalance:
    """The account's balance and the part of it that can be paid out."""

    email: str
    balance: str | None
    available: str | None


def decode_answer(raw: bytes, http_status: int) -> Answer:
    """Read an answer of any HTTP status; only the envelope decides (unitpay.md section 1)."""
    if len(raw) > LARGEST:
        return Unreadable(f"HTTP {http_status}: the answer is too long")
    try:
        envelope = read_json_object(raw, strict_text=False)
    except Malformed as malformed:
        return Unreadable(f"HTTP {http_status}: {malformed.why}")
    result, error = envelope.get("result"), envelope.get("error")
    if (result is None) == (error is None):
        return Unreadable(f"HTTP {http_status}: neither a result nor an error, or both")
    if isinstance(error, dict):
        return _error(error, http_status)
    if isinstance(result, dict):
        return ResultAnswer(fields=result)
    if isinstance(result, list):
        return ResultAnswer(items=tuple(result))
    return Unreadable(f"HTTP {http_status}: the envelope holds no object")


def payout_of(answer: ResultAnswer) -> PayoutResult:
    """The result of massPayment or massPaymentStatus."""
    fields = answer.fields
    return PayoutResult(
        status=_STATUSES.get(_text(fields, "status")),
        payout_id=_identifier(fields, "payoutId"),
        sum=_amount(fields, "sum"),
        payout_commission=_amount(fields, "payoutCommission"),
        partner_commission=_amount(fields, "partnerCommission"),
        partner_balance=_amount(fields, "partnerBalance"),
        create_date=_date(fields, "createDate"),
        complete_date=_date(fields, "completeDate"),
        transaction_id=_identifier(fields, "transactionId"),
        message=_text(fields, "message"),
        sum_told=fields.get("sum") not in (None, ""),
        purse=_identifier(fields, "purse"),
    )


def banks_of(answer: ResultAnswer) -> list[Bank]:
    """The result of getSbpBankList; items without an id are left out."""
    found = [item for item in answer.items if isinstance(item, dict)]
    banks = [Bank(_text(item, "member_id"), _text(item, "name"), _text(item, "name_en")) for item in found]
    return [bank for bank in banks if bank.member_id]


def available_amount_of(answer: ResultAnswer) -> AvailableAmount:
    """The result of massPaymentAvailableAmount; a number or a string (Q11)."""
    return AvailableAmount(_amount(answer.fields, "availableAmount"), _text(answer.fields, "currency"))


def commissions_of(answer: ResultAnswer) -> dict[str, str]:
    """What can be read of massPaymentCommissions' undocumented result: names with a number, as decimal text."""
    amounts = {name: _amount(answer.fields, name) for name in answer.fields}
    return {_clean(name): amount for name, amount in amounts.items() if amount is not None}


def bin_info_of(answer: ResultAnswer) -> BinInfo:
    """The result of getBinInfo; what is missing or null is empty."""
    fields = answer.fields
    return BinInfo(
        bin=_text(fields, "bin"),
        bank=_text(fields, "bank"),
        country_code=_text(fields, "countryCode"),
        brand=_text(fields, "brand"),
        category=_text(fields, "category"),
        type=_text(fields, "type"),
        bank_url=_text(fields, "bankUrl"),
        bank_phone=_text(fields, "bankPhone"),
    )


def partner_of(answer: ResultAnswer) -> PartnerBalance:
    """The result of getPartner, whichever of its three generations (section 9)."""
    fields = answer.fields
    accounts = fields.get("accounts")
    roubles = accounts.get("rub") if isinstance(accounts, dict) else None
    if isinstance(roubles, dict):
        balance, available = _amount(roubles, "balance"), _amount(roubles, "availableBalance")
    else:
        balance, available = _amount(fields, "balance"), _amount(fields, "balance_payout")
    return PartnerBalance(_text(fields, "email"), balance, available)


def _error(error: Mapping[str, JsonValue], http_status: int) -> ErrorAnswer | Unreadable:
    text = _text(error, "code")
    if not _CODE.fullmatch(text):
        return Unreadable(f"HTTP {http_status}: an error without a code")
    code = int(text)
    return ErrorAnswer(_MISPRINTS.get(code, code), _text(error, "message"))


def _text(fields: Mapping[str, JsonValue], name: str) -> str:
    value = fields.get(name)
    return _clean(value) if isinstance(value, str) else ""


def _clean(text: str) -> str:
    """Somebody else's prose, safe to store and show on one line: at most 500 characters, no controls, no half characters."""
    return trim(_HALVES.sub("\ufffd", _UNSHOWN.sub(" ", text[:500])))


def _identifier(fields: Mapping[str, JsonValue], name: str) -> str | None:
    value = fields.get(name)
    if not isinstance(value, str):
        return None
    text = trim(value)
    return text if 0 < len(text) <= 200 and text.isprintable() else None


def _amount(fields: Mapping[str, JsonValue], name: str) -> str | None:
    value = fields.get(name)
    if not isinstance(value, str):
        return None
    text = trim(value)
    return text if _AMOUNT.fullmatch(text) else None


def _date(fields: Mapping[str, JsonValue], name: str) -> datetime | None:
    match = _DATE.fullmatch(_text(fields, name))
    if match is None:
        return None
    year, month, day, hour, minute, second = (int(part) for part in match.groups())
    try:
        return datetime(year, month, day, hour, minute, second, tzinfo=UNITPAY_TIME)
    except ValueError:
        return None
