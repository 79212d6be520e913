"""UnitPay's questions as typed messages: one dataclass for each method, read from a call and written back into one.

Lives here: which parameters a method requires, and the bounds that belong to the wire. May not live here: whether an amount,
a card or a bank is good (the domain reads those texts), who may ask, what is answered. Sources: unitpay.md sections 3-10.

Every `read_*` raises Malformed naming the first parameter that is missing (blank counts as missing) or out of bounds.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from disburse.protocols.unitpay_call import PATH, Call, encode_call
from disburse.protocols.wire import Malformed, WireRequest

# Longer than any of these is a mistake or an attack; nothing of the kind is documented.
_LONGEST = {
    "login": 254,
    "secretKey": 256,
    "transactionId": 200,
    "sum": 64,
    "purse": 100,
    "paymentType": 32,
    "memberId": 32,
    "projectId": 32,
    "comment": 1000,
    "recipientCurrency": 8,
}
_PHONE_TYPES = frozenset(("sbp", "qiwi", "mc"))
_PHONE_PUNCTUATION = str.maketrans("", "", " ()-")
_NOT_IN_COMMENTS = re.compile(r"[^\w., ]|_")
_BIN = re.compile(r"[0-9]{6,8}")


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who asks: the account's e-mail and its key."""

    login: str = field(repr=False)
    secret_key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class MassPayment:
    """Pay `sum` roubles (text as sent) to `purse`. `member_id` is the SBP bank; whether it may be missing is the door's."""

    credentials: Credentials
    transaction_id: str
    sum: str
    purse: str = field(repr=False)
    payment_type: str
    member_id: str | None = None
    project_id: str | None = None
    comment: str | None = field(default=None, repr=False)
    test: bool = False


@dataclass(frozen=True, slots=True)
class MassPaymentStatus:
    """What became of `transaction_id`? Also all that a repeated massPayment must carry (unitpay.md section 3, rule 5)."""

    credentials: Credentials
    transaction_id: str
    test: bool = False


@dataclass(frozen=True, slots=True)
class GetSbpBankList:
    """Which banks take part in SBP?"""

    credentials: Credentials


@dataclass(frozen=True, slots=True)
class MassPaymentAvailableAmount:
    """How much could be paid out this way?"""

    credentials: Credentials
    sum: str
    purse: str = field(repr=False)
    payment_type: str
    recipient_currency: str | None = None


@dataclass(frozen=True, slots=True)
class MassPaymentCommissions:
    """What do payouts cost?"""

    credentials: Credentials


@dataclass(frozen=True, slots=True)
class GetBinInfo:
    """Whose cards begin with these six digits?"""

    credentials: Credentials
    bin: str


@dataclass(frozen=True, slots=True)
class GetPartner:
    """How much is on the account?"""

    credentials: Credentials


Question = (
    MassPayment
    | MassPaymentStatus
    | GetSbpBankList
    | MassPaymentAvailableAmount
    | MassPaymentCommissions
    | GetBinInfo
    | GetPartner
)


def read_credentials(call: Call) -> Credentials:
    """Login and secretKey."""
    return Credentials(_required(call, "login"), _required(call, "secretKey"))


def read_mass_payment(call: Call) -> MassPayment:
    """A payout order. The purse comes without the punctuation of its kind, the comment with allowed characters only."""
    payment_type = _required(call, "paymentType")
    return MassPayment(
        credentials=read_credentials(call),
        transaction_id=read_transaction_id(call),
        sum=_required(call, "sum"),
        purse=_purse(call, payment_type),
        payment_type=payment_type,
        member_id=_optional(call, "memberId"),
        project_id=_optional(call, "projectId"),
        comment=clean_comment(_optional(call, "comment") or "") or None,
        test=_test(call),
    )


def read_mass_payment_status(call: Call) -> MassPaymentStatus:
    """A question about a payout; reads a repeated massPayment as well."""
    return MassPaymentStatus(read_credentials(call), read_transaction_id(call), _test(call))


def read_get_sbp_bank_list(call: Call) -> GetSbpBankList:
    """A question for the banks of SBP."""
    return GetSbpBankList(read_credentials(call))


def read_mass_payment_available_amount(call: Call) -> MassPaymentAvailableAmount:
    """A question for the money that can be paid out."""
    payment_type = _required(call, "paymentType")
    return MassPaymentAvailableAmount(
        credentials=read_credentials(call),
        sum=_required(call, "sum"),
        purse=_purse(call, payment_type),
        payment_type=payment_type,
        recipient_currency=_optional(call, "recipientCurrency"),
    )


def read_mass_payment_commissions(call: Call) -> MassPaymentCommissions:
    """A question for the fees of payouts."""
    return MassPaymentCommissions(read_credentials(call))


def read_get_bin_info(call: Call) -> GetBinInfo:
    """A question about a card's first digits: 6 to 8 of them, the first six count, so that nobody sends a whole card."""
    digits = call.params.get("bin", "")
    if not digits:
        raise Malformed("is missing", "bin")
    if not _BIN.fullmatch(digits):
        raise Malformed("must be 6 to 8 digits", "bin")
    return GetBinInfo(read_credentials(call), digits[:6])


def read_get_partner(call: Call) -> GetPartner:
    """A question for the account's balance."""
    return GetPartner(read_credentials(call))


def read_transaction_id(call: Call) -> str:
    """The caller's own id: 1 to 200 printable characters of any script.

    Characters that cannot be seen (direction marks, zero-width ones) are refused: two ids that look alike must be alike.
    """
    transaction_id = _required(call, "transactionId")
    if not transaction_id.isprintable():
        raise Malformed("holds an invisible character", "transactionId")
    return transaction_id


METHODS: dict[str, tuple[type[Question], Callable[[Call], Question]]] = {
    "massPayment": (MassPayment, read_mass_payment),
    "massPaymentStatus": (MassPaymentStatus, read_mass_payment_status),
    "getSbpBankList": (GetSbpBankList, read_get_sbp_bank_list),
    "massPaymentAvailableAmount": (MassPaymentAvailableAmount, read_mass_payment_available_amount),
    "massPaymentCommissions": (MassPaymentCommissions, read_mass_payment_commissions),
    "getBinInfo": (GetBinInfo, read_get_bin_info),
    "getPartner": (GetPartner, read_get_partner),
}
"""The methods there are, case as written. Any other, getCommissions and getCurrencyCourses too, is -32602."""

_NAMES = {kind: name for name, (kind, _) in METHODS.items()}


def read_question(call: Call) -> Question:
    """The call as its method's message. Raises Malformed, naming `method`, for a method that is not in `METHODS`."""
    known = METHODS.get(call.method)
    if known is None:
        raise Malformed("is not known", "method")
    return known[1](call)


def encode_question(
    question: Question, *, nested: bool = True, http_method: Literal["GET", "POST"] = "GET", path: str = PATH
) -> WireRequest:
    """Write a message as the request our connector sends: nested GET by default, switchable (unitpay.md Q8).

    Phones go out without `+` and comments with allowed characters only, whatever the message holds (Q16, Q17).
    """
    call = Call(_NAMES[type(question)], _parameters(question))
    return encode_call(call, nested=nested, http_method=http_method, path=path)


def clean_comment(text: str) -> str:
    """Letters, digits, dots, commas and spaces of a comment; the rest is dropped, not refused (Q16)."""
    # Composed first: a Cyrillic short i sent as two characters would lose its breve otherwise.
    return _NOT_IN_COMMENTS.sub("", unicodedata.normalize("NFC", text)).strip()


def clean_purse(purse: str, payment_type: str) -> str:
    """A phone without `+`, spaces, brackets and hyphens; a card without spaces; anything else as it is."""
    if payment_type in _PHONE_TYPES:
        return purse.removeprefix("+").translate(_PHONE_PUNCTUATION)
    return purse.replace(" ", "") if payment_type == "card" else purse


def _parameters(question: Question) -> dict[str, str]:
    params = {"login": question.credentials.login, "secretKey": question.credentials.secret_key}
    match question:
        case MassPayment():
            params |= {
                "transactionId": question.transaction_id,
                "sum": question.sum,
                "purse": clean_purse(question.purse, question.payment_type),
                "paymentType": question.payment_type,
                "memberId": question.member_id or "",
                "projectId": question.project_id or "",
                "comment": clean_comment(question.comment or ""),
                "test": "1" if question.test else "",
            }
        case MassPaymentStatus():
            params |= {"transactionId": question.transaction_id, "test": "1" if question.test else ""}
        case MassPaymentAvailableAmount():
            params |= {
                "sum": question.sum,
                "purse": clean_purse(question.purse, question.payment_type),
                "paymentType": question.payment_type,
                "recipientCurrency": question.recipient_currency or "",
            }
        case GetBinInfo():
            params["bin"] = question.bin
        case GetSbpBankList() | MassPaymentCommissions() | GetPartner():
            pass
    return {name: value for name, value in params.items() if value}


def _required(call: Call, name: str) -> str:
    value = call.params.get(name, "")
    if not value:
        raise Malformed("is missing", name)
    if len(value) > _LONGEST[name]:
        raise Malformed("is too long", name)
    return value


def _optional(call: Call, name: str) -> str | None:
    return _required(call, name) if call.params.get(name) else None


def _purse(call: Call, payment_type: str) -> str:
    purse = clean_purse(_required(call, "purse"), payment_type)
    if not purse:
        raise Malformed("is missing", "purse")
    return purse


def _test(call: Call) -> bool:
    value = call.params.get("test", "")
    if value not in ("", "0", "1"):
        raise Malformed("must be 1", "test")
    return value == "1"
