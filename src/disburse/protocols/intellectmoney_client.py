"""IntellectMoney as its client. Lives here: a typed message as the request that our connector sends, in either generation.

The old generation takes forms, the new one JSON with a Bearer and a Sign header (intellectmoney.md sections 1, 5, 10). All values
are sent as text, money with two decimals on the new paths, GUIDs in lower case, and JSON is asked for always (I7). May not live
here: addresses, transport, the checks a driver owes before it sends (a card's Luhn digit, the length of an amount).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

import msgspec

from disburse.protocols.intellectmoney import PAYOUT_PATH, USER_PATH, Generation, Method
from disburse.protocols.intellectmoney_messages import (
    CreateCard,
    CreateOperation,
    CreateWallet,
    Execute,
    GetState,
    GetUserToken,
    Message,
)
from disburse.protocols.intellectmoney_sign import sign, sign_segments, two_decimals
from disburse.protocols.intellectmoney_xml import write_xml
from disburse.protocols.wire import FORM, JSON, WireRequest, write_pairs


@dataclass(frozen=True, slots=True)
class Access:
    """What the provider's operator hands out for signed calls (section 5)."""

    bearer: str = field(repr=False)
    sign_secret_key: str = field(repr=False)


class Carrier(Enum):
    """Where in the request the parameters travel."""

    QUERY = "query"
    FORM = FORM
    JSON = JSON
    XML = "application/xml"


def encode_call(
    message: Message,
    generation: Generation,
    *,
    access: Access | None = None,
    carrier: Carrier | None = None,
    qivi_spelling: bool = False,
) -> WireRequest:
    """The request for a message. With `access` it bears a token and a signature of what it sends.

    `carrier`: by default a form for the old generation and for getUserToken, as the known clients send it, and JSON otherwise.
    `qivi_spelling`: the wallet's path as the documentation's headings write it (quirk I1).
    """
    method = method_of(message)
    values = {name: value for name, value in _fields(message, generation) if value is not None}
    if carrier is None:
        form = generation is Generation.OLD or method is Method.GET_USER_TOKEN
        carrier = Carrier.FORM if form else Carrier.JSON
    headers = {"accept": JSON}
    if carrier is not Carrier.QUERY:
        headers["content-type"] = carrier.value
    if access is not None:
        headers["authorization"] = f"Bearer {access.bearer}"
        headers["sign"] = sign(sign_segments(method, values, access.sign_secret_key))
    return WireRequest(
        method="POST",
        path=_path(method, generation, qivi_spelling=qivi_spelling),
        query=write_pairs(values.items()) if carrier is Carrier.QUERY else b"",
        headers=headers,
        body=_body(values, carrier),
    )


def method_of(message: Message) -> Method:
    """The method a message calls. A card that came on the wallet's path (I3) goes there again."""
    match message:
        case GetUserToken():
            return Method.GET_USER_TOKEN
        case CreateCard():
            return Method.CREATE_WALLET if message.documented_slip else Method.CREATE_CARD
        case CreateWallet():
            return Method.CREATE_WALLET
        case CreateOperation():
            return Method.CREATE_OPERATION
        case Execute():
            return Method.EXECUTE
        case GetState():
            return Method.GET_STATE


Values = list[tuple[str, str | None]]


def _fields(message: Message, generation: Generation) -> Values:
    """Names and texts in the documented order; None is not sent."""
    match message:
        case GetUserToken():
            return [("Login", message.login), ("Password", message.password)]
        case CreateCard():
            return [("UserToken", message.user_token), ("Pan", message.pan), *_money(message, generation)]
        case CreateWallet():
            return [("UserToken", message.user_token), ("Account", message.account), *_money(message, generation)]
        case CreateOperation():
            return [
                ("UserToken", message.user_token),
                ("PreferenceType", message.preference_type.value),
                ("Pan", message.pan),
                ("Account", message.account),
                ("BankId", message.bank_id),
                *_money(message, generation),
                ("EshopId", None if message.eshop_id is None else str(message.eshop_id)),
            ]
        case Execute() | GetState():
            return [("UserToken", message.user_token), ("PayoutOperationId", message.payout_operation_id)]


def _money(message: CreateCard | CreateWallet | CreateOperation, generation: Generation) -> Values:
    amount = two_decimals(message.amount) if generation is Generation.NEW else message.amount
    return [("Amount", amount), ("Currency", message.currency), ("RecipientName", message.recipient_name)]


def _path(method: Method, generation: Generation, *, qivi_spelling: bool) -> str:
    if method is Method.GET_USER_TOKEN:
        return USER_PATH + "getUserToken"
    name = method.value
    if method is Method.CREATE_WALLET and qivi_spelling:
        name = name.replace("Qiwi", "Qivi")
    return PAYOUT_PATH + (name if generation is Generation.OLD else name[0].lower() + name[1:])


def _body(values: Mapping[str, str], carrier: Carrier) -> bytes:
    match carrier:
        case Carrier.QUERY:
            return b""
        case Carrier.FORM:
            return write_pairs(values.items())
        case Carrier.JSON:
            return msgspec.json.encode(values)
        case Carrier.XML:
            return write_xml("Request", list(values.items()))
