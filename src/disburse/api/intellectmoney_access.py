"""Who is calling through the IntellectMoney door. Lives here: credentials, user tokens, Bearer, Sign, and the access level.

Two proofs exist (intellectmoney.md sections 4 and 5). The UserToken in the body names the account, as it always did; getUserToken
has Login and Password instead. `Authorization: Bearer` and `Sign` came later: they are demanded of accounts that switched
`require_sign` on, and whenever one of them is sent it must be right. A wrong login and a wrong password take one path and
get one answer. Nothing here keeps, logs or raises with a token, a key or the text that a Sign covers.
"""

from __future__ import annotations

from disburse.api.intellectmoney_words import NotHandled
from disburse.domain.merchant import Merchant
from disburse.operations.desk import Desk
from disburse.operations.secrets import matches
from disburse.protocols.intellectmoney import Call, Method
from disburse.protocols.intellectmoney_messages import read_get_user_token
from disburse.protocols.intellectmoney_sign import verify_sign
from disburse.protocols.wire import Malformed


async def caller_of(desk: Desk, call: Call) -> Merchant:
    """The merchant that a call's UserToken, or Login and Password, belong to.

    Raises NotHandled when they are wrong or the token's time is over, and Malformed when they are missing.
    """
    if call.method is Method.GET_USER_TOKEN:
        return await _by_credentials(desk, call)
    token = call.params.get("UserToken")
    if not token:
        raise Malformed("is required", "UserToken")
    merchant = await desk.recognition.by_token(token)
    if merchant is None:
        raise NotHandled("TOKEN_EXPIRED", "The UserToken is not known or its time is over: get a new one.")
    return merchant


async def _by_credentials(desk: Desk, call: Call) -> Merchant:
    message = read_get_user_token(call.params)
    merchant = await desk.recognition.by_credentials(
        message.login, message.password, lambda found: found.password_digest
    )
    if merchant is None:
        raise NotHandled("WRONG_CREDENTIALS", "The Login or the Password is wrong.")
    return merchant


def check_proofs(desk: Desk, merchant: Merchant, call: Call) -> None:
    """Check Bearer and Sign: required when the account says so, and right whenever they are there. Raises NotHandled."""
    if call.bearer is None:
        if merchant.require_sign:
            raise NotHandled(
                "BEARER_REQUIRED", "This account's calls carry an Authorization header with a Bearer token."
            )
    elif not matches(call.bearer, merchant.bearer_digest):
        raise NotHandled("WRONG_BEARER", "The Bearer token is not this account's.")
    if call.sign is None:
        if merchant.require_sign:
            raise NotHandled("SIGN_REQUIRED", "This account's calls carry a Sign header.")
    else:
        key = desk.vault.open_secret(merchant.sign_key_sealed, merchant_id=merchant.merchant_id).decode()
        if not verify_sign(call, key):
            raise NotHandled("WRONG_SIGN", "The Sign header does not fit the request.")


def check_payouts(merchant: Merchant) -> None:
    """Whether the account may make payouts at all. Raises NotHandled."""
    if merchant.payouts == "off":
        raise NotHandled("PAYOUTS_OFF", "Payouts are switched off for this account.")
    if merchant.payouts != "on":
        raise NotHandled("PAYOUTS_DENIED", "Payouts are not allowed for this account.")


def check_card_level(merchant: Merchant) -> None:
    """Whether the account has the level at which cards may be sent (section 5). Raises NotHandled."""
    if not merchant.pci_dss:
        raise NotHandled("PCI_DSS_REQUIRED", "Payouts to cards need the access level PCI DSS.")
