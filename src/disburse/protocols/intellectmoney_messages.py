"""IntellectMoney's messages. Lives here: one type for each method, and the reading of a call's texts into it, field by field.

Reading judges what the wire demands and no more (intellectmoney.md sections 6, 7, 9): presence, length, alphabet. Whether a
card passes the Luhn check, a bank is a member, an amount is money in that currency is the domain's to say; amounts, accounts
and bank numbers leave here as text. May not live here: where the texts came from (`intellectmoney.py`), any default.

Every fault is a `Malformed` that names the field and never its value. What is secret or personal is left out of every repr.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from disburse.protocols.intellectmoney import Call, Method
from disburse.protocols.wire import Malformed

Params = Mapping[str, str]


class PreferenceType(StrEnum):
    """Where a createOperation pays to."""

    OUT_BANK_CARD = "OutBankCard"
    OUT_SBP = "OutSbp"


@dataclass(frozen=True, slots=True)
class GetUserToken:
    """Asks for a token (section 4)."""

    login: str = field(repr=False)
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class CreateCard:
    """Makes a payout to a card, old generation. `pan`: 12 to 20 digits. `documented_slip`: it came on the wallet's path (I3)."""

    user_token: str = field(repr=False)
    pan: str = field(repr=False)
    amount: str
    currency: str
    recipient_name: str | None = field(default=None, repr=False)
    documented_slip: bool = False


@dataclass(frozen=True, slots=True)
class CreateWallet:
    """Makes a payout to a Qiwi wallet, old generation. `account`: the wallet's number as sent."""

    user_token: str = field(repr=False)
    account: str = field(repr=False)
    amount: str
    currency: str
    recipient_name: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class CreateOperation:
    """Makes a payout, new generation: `pan` is there with OutBankCard alone, `account` (a phone) and `bank_id` with OutSbp alone."""

    user_token: str = field(repr=False)
    preference_type: PreferenceType
    amount: str
    currency: str
    pan: str | None = field(default=None, repr=False)
    account: str | None = field(default=None, repr=False)
    bank_id: str | None = None
    recipient_name: str | None = field(default=None, repr=False)
    eshop_id: int | None = None


@dataclass(frozen=True, slots=True)
class Execute:
    """Sends a made payout. `payout_operation_id` is a GUID in lower case with hyphens."""

    user_token: str = field(repr=False)
    payout_operation_id: str


@dataclass(frozen=True, slots=True)
class GetState:
    """Asks for a payout's state. `payout_operation_id` is a GUID in lower case with hyphens."""

    user_token: str = field(repr=False)
    payout_operation_id: str


Message = GetUserToken | CreateCard | CreateWallet | CreateOperation | Execute | GetState


def read_message(call: Call) -> Message:
    """The call's message. Raises Malformed naming the first field, in the documented order, that is missing or wrong."""
    return _READERS[call.method](call.params)


def read_get_user_token(params: Params) -> GetUserToken:
    """Login and password: 1 to 256 printable characters each. Raises Malformed."""
    return GetUserToken(_matching(params, "Login", _CREDENTIAL), _matching(params, "Password", _CREDENTIAL))


def read_create_card(params: Params) -> CreateCard:
    """A card order on the card's path. Raises Malformed; an Account beside the Pan as well: money has one destination."""
    _absent(params, "Account", "has no place beside a card")
    return _card(params, slip=False)


def read_create_wallet(params: Params) -> CreateWallet | CreateCard:
    """A wallet order, or the documentation's card order on the wallet's path (quirk I3). Raises Malformed; for both at once too."""
    if is_documented_slip(params):
        return _card(params, slip=True)
    user_token = _token(params)
    account = _matching(params, "Account", _ACCOUNT)
    _absent(params, "Pan", "has no place beside a wallet")
    amount, currency = _money(params)
    return CreateWallet(user_token, account, amount, currency, _recipient_name(params))


def read_create_operation(params: Params) -> CreateOperation:
    """A new-generation order. Raises Malformed, also for a field that belongs to the other preference."""
    user_token = _token(params)
    try:
        preference_type = PreferenceType(_present(params, "PreferenceType"))
    except ValueError:
        raise Malformed("is neither OutBankCard nor OutSbp", "PreferenceType") from None
    pan = account = bank_id = None
    if preference_type is PreferenceType.OUT_BANK_CARD:
        pan = _pan(params)
        _absent(params, "Account", "goes with OutSbp")
        _absent(params, "BankId", "goes with OutSbp")
    else:
        _absent(params, "Pan", "goes with OutBankCard")
        account = _matching(params, "Account", _ACCOUNT)
        bank_id = _matching(params, "BankId", _BANK_ID)
    amount, currency = _money(params)
    return CreateOperation(
        user_token=user_token,
        preference_type=preference_type,
        pan=pan,
        account=account,
        bank_id=bank_id,
        amount=amount,
        currency=currency,
        recipient_name=_recipient_name(params),
        eshop_id=_eshop_id(params),
    )


def read_execute(params: Params) -> Execute:
    """Raises Malformed."""
    return Execute(_token(params), read_guid(_present(params, "PayoutOperationId")))


def read_get_state(params: Params) -> GetState:
    """Raises Malformed."""
    return GetState(_token(params), read_guid(_present(params, "PayoutOperationId")))


def is_documented_slip(params: Params) -> bool:
    """Whether parameters sent to the wallet's path are the documentation's card example: a Pan and no Account (quirk I3)."""
    return "Pan" in params and "Account" not in params


def read_guid(text: str, name: str = "PayoutOperationId") -> str:
    """A GUID in lower case with hyphens, from one in any case, in braces, or without hyphens (section 7, quirk I6).

    One ASCII pattern for three forms, because `uuid.UUID` takes far more than GUIDs. Raises Malformed with `name`.
    """
    match = _GUID.fullmatch(text)
    if match is None:
        raise Malformed("is not a GUID", name)
    digits = match[0].strip("{}").replace("-", "").lower()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


_READERS: dict[Method, Callable[[Params], Message]] = {
    Method.GET_USER_TOKEN: read_get_user_token,
    Method.CREATE_CARD: read_create_card,
    Method.CREATE_WALLET: read_create_wallet,
    Method.CREATE_OPERATION: read_create_operation,
    Method.EXECUTE: read_execute,
    Method.GET_STATE: read_get_state,
}


@dataclass(frozen=True, slots=True)
class _Rule:
    """Which texts a field takes, whole match, and what to say of others."""

    pattern: re.Pattern[str]
    why: str


_HYPHENED = "[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}"
_GUID = re.compile(f"{_HYPHENED}|\\{{{_HYPHENED}\\}}|[0-9A-Fa-f]{{32}}")

_CREDENTIAL = _Rule(re.compile("[^\x00-\x1f\x7f]{1,256}"), "is longer than 256 characters")
_TOKEN = _Rule(re.compile("[!-~]{1,512}"), "is no token")
_PAN = _Rule(re.compile("[0-9]{12,20}"), "must have 12 to 20 digits")
_ACCOUNT = _Rule(re.compile("[0-9+() -]{5,32}"), "must be a wallet's or phone number")
_BANK_ID = _Rule(re.compile("[0-9]{1,20}"), "must be an SBP bank number")
# At most 13 characters in all: the look-ahead counts, the rest is the grammar (section 9; narrower than the domain's own).
_AMOUNT = _Rule(
    re.compile(r"(?=.{1,13}\Z)[0-9]{1,13}(\.[0-9]{1,2})?"),
    "must be digits with at most two after a dot, 13 characters in all",
)
_CURRENCY = _Rule(re.compile("[A-Z]{3}"), "must be a currency's three capital letters")
_ESHOP_ID = _Rule(re.compile("[0-9]{1,10}"), "must be a whole number")
_LONGEST_PAN_AS_SENT = 64


def _present(params: Params, name: str) -> str:
    value = params.get(name)
    if not value:
        raise Malformed("is required", name)
    return value


def _absent(params: Params, name: str, why: str) -> None:
    if params.get(name):
        raise Malformed(why, name)


def _matching(params: Params, name: str, rule: _Rule) -> str:
    value = _present(params, name)
    if rule.pattern.fullmatch(value) is None:
        raise Malformed(rule.why, name)
    return value


def _token(params: Params) -> str:
    return _matching(params, "UserToken", _TOKEN)


def _card(params: Params, *, slip: bool) -> CreateCard:
    user_token = _token(params)
    pan = _pan(params)
    amount, currency = _money(params)
    return CreateCard(user_token, pan, amount, currency, _recipient_name(params), documented_slip=slip)


def _pan(params: Params) -> str:
    as_sent = _present(params, "Pan")
    digits = as_sent.replace(" ", "").replace("-", "")
    if len(as_sent) > _LONGEST_PAN_AS_SENT or _PAN.pattern.fullmatch(digits) is None:
        raise Malformed(_PAN.why, "Pan")
    return digits


def _money(params: Params) -> tuple[str, str]:
    return _matching(params, "Amount", _AMOUNT), _matching(params, "Currency", _CURRENCY)


def _recipient_name(params: Params) -> str | None:
    name = params.get("RecipientName")
    if not name:
        return None
    if not (2 <= len(name) <= 50 and name.isprintable()):
        raise Malformed("must have 2 to 50 printable characters", "RecipientName")
    return name


def _eshop_id(params: Params) -> int | None:
    return int(_matching(params, "EshopId", _ESHOP_ID)) if params.get("EshopId") else None
