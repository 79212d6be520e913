"""The Sign header (IntellectMoney section 5) on a running server: what is signed, in which order, from which texts."""

from __future__ import annotations

import json

import pytest

from tests.conformance.conftest import Log
from tests.conformance.intellectmoney_shop import (
    CARD,
    KEY,
    MEMBER,
    NEW_CARD,
    NEW_PHONE,
    PHONE,
    TO_CARD,
    TO_WALLET,
    WALLET,
    Shop,
    sign,
)
from tests.conformance.running import Running

T, G, L = "the token", "the payout's id", "the login"
ORDERS = {
    "createOperation-phone": ("createOperation", NEW_PHONE, (T, "OutSbp", "", PHONE, MEMBER, "50", "RUB", "", "")),
    "createOperation-card": ("createOperation", NEW_CARD, (T, "OutBankCard", CARD, "", "", "50", "RUB", "", "")),
    "createOperation-whole": (
        "createOperation",
        {**NEW_PHONE, "Amount": "50.00", "RecipientName": "Иван И.", "EshopId": "465932"},
        (T, "OutSbp", "", PHONE, MEMBER, "50.00", "RUB", "Иван И.", "465932"),
    ),
    "executeOperation": ("executeOperation", {"PayoutOperationId": G}, (T, G)),
    "getOperationState": ("getOperationState", {"PayoutOperationId": G}, (T, G)),
    "old-card": ("CreateBankCardRussiaOperation", {**TO_CARD, "RecipientName": "Ivan"}, (T, CARD, "50", "RUB", "Ivan")),
    "old-card-without-name": ("CreateBankCardRussiaOperation", TO_CARD, (T, CARD, "50", "RUB", "")),
    "old-wallet": ("CreateQiwiWalletOperation", TO_WALLET, (T, WALLET, "50", "RUB", "")),
    "old-execute": ("ExecuteOperation", {"PayoutOperationId": G}, (T, G)),
    "old-state": ("GetOperationState", {"PayoutOperationId": G}, (T, G)),
    "getUserToken": ("getUserToken", {"Login": L, "Password": "p@ss word"}, ("", L, "p@ss word", "")),
}


@pytest.mark.parametrize("case", ORDERS)
def test_orders(served: Running, case: str) -> None:
    """The digest over the documented values in their order is right; upper-case hex too; any other order or key is wrong."""
    shop = Shop(served)
    method, params, segments = ORDERS[case]
    known = {T: shop.token, G: shop.created() if G in params.values() else "", L: shop.merchant.login}
    params = {name: known.get(value, value) for name, value in params.items()}
    values = [known.get(one, one) for one in segments]
    good = sign(*values)
    for right in (good, good.upper()):
        assert shop.call(method, params, f"Sign: {right}").code == 0
    for wrong in (sign(*reversed(values)), sign(*values, ""), sign(*values, key="another key"), good[:-1], ""):
        assert shop.call(method, params, f"Sign: {wrong}").word == "WRONG_SIGN"


def test_values_as_sent(served: Running) -> None:
    """Values enter the digest as sent: that of `50.00` does not fit `50`, nor an upper-case id's a lower-case one."""
    shop = Shop(served)
    signed = sign(shop.token, "OutSbp", "", PHONE, MEMBER, "50.00", "RUB", "", "")
    assert shop.call("createOperation", NEW_PHONE, f"Sign: {signed}").word == "WRONG_SIGN"
    assert shop.call("createOperation", {**NEW_PHONE, "Amount": "50.00"}, f"Sign: {signed}").code == 0
    guid = shop.created()
    signed = f"Sign: {sign(shop.token, guid.upper())}"
    assert shop.call("getOperationState", None, signed, PayoutOperationId=guid).word == "WRONG_SIGN"
    assert shop.call("getOperationState", None, signed, PayoutOperationId=guid.upper()).code == 0


NUMBERS = {
    "literal": ("50", "50", True),
    "two-decimals": ("50", "50.00", True),
    "one-decimal-literal": ("50.5", "50.5", True),
    "one-decimal-padded": ("50.5", "50.50", True),
    "another-text": ("50", "50.0", False),
    "as-text": ('"50"', "50.00", False),
}


@pytest.mark.parametrize("case", NUMBERS)
def test_an_amount_that_is_a_json_number(served: Running, case: str) -> None:
    """For an Amount that is a JSON number, the literal is signed, or two decimals; for one that is a text, that text."""
    shop = Shop(served)
    literal, signed, right = NUMBERS[case]
    order = {"UserToken": shop.token, **NEW_PHONE}
    body = json.dumps(order).replace('"50"', literal)
    good = sign(shop.token, "OutSbp", "", PHONE, MEMBER, signed, "RUB", "", "")
    reply = shop.json("createOperation", body, f"Sign: {good}")
    assert reply.code == 0 if right else reply.word == "WRONG_SIGN"


def test_nothing_signed_is_logged(served: Running, log: Log) -> None:
    """Right or wrong, of a signed call neither the text, nor its parts, nor the digest are in the log or in the answer."""
    shop = Shop(served)
    good = sign(shop.token, "OutBankCard", CARD, "", "", "50", "RUB", "", "")
    answers = [
        shop.call("createOperation", NEW_CARD, f"Sign: {one}", f"Authorization: Bearer {shop.bearer}").answer.body
        for one in (good, good[::-1])
    ]
    told = log.text + b"".join(answers).decode()
    assert not [one for one in (shop.token, CARD, CARD[:12], KEY, good, good[::-1], shop.bearer, "::") if one in told]
