"""What our server answers to UnitPay calls, as JSON bytes. Every answer rides on HTTP 200, errors too (unitpay.md section 1).

Lives here: the shapes, and which values are strings and which are numbers. May not live here: what is true about a payout.
Amounts come in as exact decimal text and leave as they are; nothing here computes with them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

import msgspec

from disburse.protocols.unitpay_codes import Code, Language, Status, code_text
from disburse.protocols.wire import WireAnswer

CONTENT_TYPE = "application/json; charset=utf-8"
UNITPAY_TIME = timezone(timedelta(hours=3))
"""The zone of the dates, which name none: fixed UTC+3 (Q14)."""

_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?")
_write = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class PayoutAnswer:
    """The state of one payout, for massPayment and massPaymentStatus. Dates are aware; `sum` is the caller's own text."""

    message: str
    status: Status
    payout_id: int
    partner_balance: str
    create_date: datetime
    complete_date: datetime | None
    sum: str
    payout_commission: str
    partner_commission: str
    transaction_id: str


@dataclass(frozen=True, slots=True)
class Bank:
    """A bank in SBP: 12-digit id, Russian and English name."""

    member_id: str
    name: str
    name_en: str


@dataclass(frozen=True, slots=True)
class BinInfo:
    """What is known about a card's first six digits; unknown values are empty."""

    bin: str
    bank: str = ""
    country_code: str = ""
    brand: str = ""
    category: str = ""
    type: str = ""
    bank_url: str = ""
    bank_phone: str = ""


def answer(body: bytes) -> WireAnswer:
    """The HTTP answer around a body: always 200, since known clients do not read other answers."""
    return WireAnswer(200, CONTENT_TYPE, body)


def encode_payout(payout: PayoutAnswer, *, payout_id_as_number: bool = False) -> bytes:
    """A payout's state. `completeDate` is left out until there is one (Q13); payoutId is a string unless told (Q3)."""
    result: dict[str, object] = {
        "message": payout.message,
        "status": payout.status.value,
        "payoutId": payout.payout_id if payout_id_as_number else str(payout.payout_id),
        "partnerBalance": payout.partner_balance,
        "createDate": _date(payout.create_date),
    }
    if payout.complete_date is not None:
        result["completeDate"] = _date(payout.complete_date)
    result["sum"] = payout.sum
    result["payoutCommission"] = payout.payout_commission
    result["partnerCommission"] = payout.partner_commission
    result["transactionId"] = payout.transaction_id
    return _write({"result": result})


def encode_error(code: Code, message: str | None = None, language: Language = "ru") -> bytes:
    """An error envelope; the code is a JSON number (Q2), the text the code's own unless one is given."""
    return _write({"error": {"message": code_text(code, language) if message is None else message, "code": int(code)}})


def encode_banks(banks: Iterable[Bank]) -> bytes:
    """The answer of getSbpBankList, in the order given."""
    return _write({"result": [{"member_id": b.member_id, "name": b.name, "name_en": b.name_en} for b in banks]})


def encode_available_amount(amount: str, currency: str) -> bytes:
    """The answer of massPaymentAvailableAmount: the one amount that is a JSON number (Q11), written digit for digit."""
    return _write({"result": {"availableAmount": _raw_number(amount), "currency": currency}})


def encode_commissions(percent_by_payment_type: Mapping[str, str]) -> bytes:
    """The answer of massPaymentCommissions: method code to percent, as JSON numbers (section 7)."""
    return _write({"result": {name: _raw_number(percent) for name, percent in percent_by_payment_type.items()}})


def encode_bin_info(info: BinInfo) -> bytes:
    """The answer of getBinInfo: all eight keys, empty strings where nothing is known."""
    return _write(
        {
            "result": {
                "bin": info.bin,
                "bank": info.bank,
                "countryCode": info.country_code,
                "brand": info.brand,
                "category": info.category,
                "type": info.type,
                "bankUrl": info.bank_url,
                "bankPhone": info.bank_phone,
            }
        }
    )


def encode_partner(email: str, *, balance: str, available: str) -> bytes:
    """The answer of getPartner: today's shape with the two older keys beside it, since clients read those (section 9)."""
    return _write(
        {
            "result": {
                "email": email,
                "accounts": {"rub": {"balance": balance, "availableBalance": available}},
                "balance": balance,
                "balance_payout": available,
            }
        }
    )


def _date(moment: datetime) -> str:
    if moment.tzinfo is None:
        raise AssertionError("a date without a zone reached the codec")
    return moment.astimezone(UNITPAY_TIME).isoformat(" ", "seconds")[:19]


def _raw_number(text: str) -> msgspec.Raw:
    if not _NUMBER.fullmatch(text):
        raise AssertionError("an amount that is not plain decimal text reached the codec")
    return msgspec.Raw(text.encode("ascii"))
