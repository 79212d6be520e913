"""UnitPay's words in answers: error codes, statuses, and the texts people read, in Russian and English.

Lives here: the tables. Which refusal gets which code is the door's; what a code proves about a payout is the connector's.
Texts are ours; nobody may match on them (unitpay.md sections 2 and 11, Q20).
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Literal

Language = Literal["ru", "en"]


class Status(StrEnum):
    """The status of a payout (unitpay.md section 3)."""

    SUCCESS = "success"
    NOT_COMPLETED = "not_completed"
    ERROR = "error"


class Code(IntEnum):
    """Every error code in the merged table of unitpay.md section 11."""

    PAYOUTS_OFF = 100  # in getBinInfo the same number says that nothing was found
    ACCOUNT_NOT_ALLOWED = 101
    SUM_NOT_ABOVE_MINIMUM = 102
    SUM_ABOVE_BALANCE = 103
    COUNTRY_NOT_SERVED = 104
    WALLET_UNREADABLE_OLD = 105
    SUM_ABOVE_MAXIMUM = 106
    NO_ROUTE = 122
    NOT_DELIVERED = 201
    SUM_BELOW_MINIMUM = 1000
    WALLET_UNREADABLE = 1051
    CARD_UNREADABLE = 1052
    PHONE_UNREADABLE = 1053
    UNAUTHORIZED = -32000
    BAD_PARAMETERS = -32602
    INTERNAL = -32603


_CODE_TEXTS: dict[Code, tuple[str, str]] = {
    Code.PAYOUTS_OFF: ("Массовые выплаты сейчас отключены", "Mass payouts are switched off at the moment"),
    Code.ACCOUNT_NOT_ALLOWED: ("Этому аккаунту выплаты не разрешены", "This account may not make payouts"),
    Code.SUM_NOT_ABOVE_MINIMUM: ("Сумма выплаты не превышает минимум", "The sum does not exceed the minimum"),
    Code.SUM_ABOVE_BALANCE: (
        "На балансе не хватает средств для этой выплаты",
        "The balance does not cover this payout",
    ),
    Code.COUNTRY_NOT_SERVED: ("Телефоны этой страны не обслуживаются", "Phones of this country are not served"),
    Code.WALLET_UNREADABLE_OLD: ("Кошелёк получателя не прошёл проверку", "The recipient's wallet fails its check"),
    Code.SUM_ABOVE_MAXIMUM: ("Сумма больше разрешённой за один раз", "The sum is more than may be paid at once"),
    Code.NO_ROUTE: ("По этим реквизитам выплатить нельзя", "There is no way to pay to these details"),
    Code.NOT_DELIVERED: ("Деньги не удалось отправить", "The money could not be sent"),
    Code.SUM_BELOW_MINIMUM: ("Сумма меньше допустимой", "The sum is less than allowed"),
    Code.WALLET_UNREADABLE: ("Кошелёк получателя не прошёл проверку", "The recipient's wallet fails its check"),
    Code.CARD_UNREADABLE: ("Номер карты получателя не прошёл проверку", "The recipient's card number fails its check"),
    Code.PHONE_UNREADABLE: ("Телефон получателя не прошёл проверку", "The recipient's phone number fails its check"),
    Code.UNAUTHORIZED: ("Неверный login или secretKey", "Wrong login or secretKey"),
    Code.BAD_PARAMETERS: ("Неверные параметры запроса", "Bad request parameters"),
    Code.INTERNAL: (
        "Внутренний сбой: узнайте состояние выплаты через massPaymentStatus",
        "Internal fault: ask massPaymentStatus what became of the payout",
    ),
}

_STATUS_TEXTS: dict[Status, tuple[str, str]] = {
    Status.SUCCESS: ("Выплата проведена", "The payout is made"),
    Status.NOT_COMPLETED: ("Выплата принята, подтверждения ещё нет", "The payout is accepted and not yet confirmed"),
    Status.ERROR: (
        "Выплата не проведена, деньги снова на балансе",
        "The payout failed, the money is back on the balance",
    ),
}

_NOTHING_FOUND = ("По этому запросу ничего не нашлось", "There is nothing about this number")


def code_text(code: Code, language: Language = "ru") -> str:
    """What a code says to people."""
    return _CODE_TEXTS[code][language == "en"]


def status_text(status: Status, language: Language = "ru") -> str:
    """What a status says to people."""
    return _STATUS_TEXTS[status][language == "en"]


def nothing_found_text(language: Language = "ru") -> str:
    """What code 100 says in getBinInfo, where it does not speak of payouts (Q15)."""
    return _NOTHING_FOUND[language == "en"]


def parameter_text(name: str, language: Language = "ru") -> str:
    """What -32602 says when one parameter is to blame; without a name, what it always says."""
    return f"{code_text(Code.BAD_PARAMETERS, language)}: {name}" if name else code_text(Code.BAD_PARAMETERS, language)
