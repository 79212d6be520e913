"""The Sign header of IntellectMoney. Lives here: the digest, what each method signs in which order, checking without leaking.

SHA-256 over the signed values and a secret key, joined by `::`, in UTF-8, as lower-case hexadecimal digits; a value that was not
sent is an empty segment (intellectmoney.md section 5). The joined string holds a card and a token: it is never logged, and
nothing here raises with it. May not live here: whose key it is, whether a Sign is required.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterator, Mapping, Sequence

from disburse.protocols.intellectmoney import Call, Method
from disburse.protocols.intellectmoney_messages import is_documented_slip
from disburse.protocols.wire import Number

SIGN_ORDER: dict[Method, tuple[str, ...]] = {
    # "" is a segment without a name that is always empty. The key comes after the last segment of each.
    Method.GET_USER_TOKEN: ("", "Login", "Password", ""),
    Method.CREATE_CARD: ("UserToken", "Pan", "Amount", "Currency", "RecipientName"),
    Method.CREATE_WALLET: ("UserToken", "Account", "Amount", "Currency", "RecipientName"),
    Method.CREATE_OPERATION: (
        "UserToken",
        "PreferenceType",
        "Pan",
        "Account",
        "BankId",
        "Amount",
        "Currency",
        "RecipientName",
        "EshopId",
    ),
    Method.EXECUTE: ("UserToken", "PayoutOperationId"),
    Method.GET_STATE: ("UserToken", "PayoutOperationId"),
}
"""What each method signs (section 5). The create methods of the old generation have no documented order: theirs is ours."""

_PLAIN_AMOUNT = re.compile(r"([0-9]{1,13})(?:\.([0-9]{1,2}))?")


def sign(segments: Sequence[str]) -> str:
    """The digest over all segments, the secret key being the last of them."""
    return hashlib.sha256("::".join(segments).encode("utf-8")).hexdigest()


def sign_segments(method: Method, values: Mapping[str, str], key: str) -> list[str]:
    """What a call of `method` with these values signs, key last. A card on the wallet's path (I3) is signed as a card."""
    if method is Method.CREATE_WALLET and is_documented_slip(values):
        method = Method.CREATE_CARD
    return [values.get(name, "") for name in SIGN_ORDER[method]] + [key]


def verify_sign(call: Call, key: str) -> bool:
    """Whether the call carries a Sign and it is right. Time does not depend on where a wrong one differs; never raises."""
    if call.sign is None:
        return False
    given = call.sign.encode("utf-8", "surrogatepass").lower()  # bytes, since comparing a non-ASCII str raises
    right = False
    for values in _readings(call):
        expected = sign(sign_segments(call.method, values, key)).encode("ascii")
        right |= hmac.compare_digest(expected, given)
    return right


def two_decimals(amount: str) -> str:
    """A plain amount with two digits after the dot: `50` and `50.0` become `50.00`. Any other text is returned as it is."""
    match = _PLAIN_AMOUNT.fullmatch(amount)
    return amount if match is None else f"{match[1]}.{match[2] or '':0<2}"


def _readings(call: Call) -> Iterator[dict[str, str]]:
    """What the client may have signed: its values as sent, or as it had them before the way here changed their text.

    A token loses its `+` when a form forgets to escape it, and a JSON number has no one text: its literal, or two decimals.
    """
    # An empty value is one that was not sent; without this, an empty Account would hide a Pan from the card's order.
    sent = {name: str(value) for name, value in call.raw.items() if name in call.params}
    tokens = {sent.get("UserToken", ""), call.params.get("UserToken", "")}
    amount = call.raw.get("Amount", "")
    amounts = {str(amount), two_decimals(amount)} if isinstance(amount, Number) else {amount}
    for token in tokens:
        for text in amounts:
            yield sent | {"UserToken": token, "Amount": text}
