"""The Sign header: the digest, what each method signs, and the texts a client may have signed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from disburse.protocols.intellectmoney import Call, Method, decode_call
from disburse.protocols.intellectmoney_sign import SIGN_ORDER, sign, sign_segments, two_decimals, verify_sign
from disburse.protocols.wire import WireRequest

VECTORS = json.loads(
    (Path(__file__).parents[1] / "vectors" / "intellectmoney" / "_sign-vectors.json").read_text("utf-8")
)["vectors"]
KEY = "signSecret0"
FORM = "application/x-www-form-urlencoded"


def call(path: str, body: str, signature: str | None, kind: str = "application/json") -> Call:
    headers = {"content-type": kind} | ({} if signature is None else {"sign": signature})
    return decode_call(WireRequest("POST", "/personal/payout/" + path, b"", headers, body.encode()))


@pytest.mark.parametrize("vector", VECTORS, ids=range(len(VECTORS)))
def test_vectors(vector: dict[str, object]) -> None:
    """The digest is SHA-256 over the segments joined by two colons, in lower-case hexadecimal digits."""
    segments = vector["segments"]
    assert isinstance(segments, list)
    assert "::".join(segments) == vector["string"]
    assert sign(segments) == vector["sha256"]


def test_every_method_has_an_order() -> None:
    """No method is without a signing order, and no order names the key."""
    assert set(SIGN_ORDER) == set(Method)


@pytest.mark.parametrize(
    "method, values, segments",
    [
        (Method.GET_USER_TOKEN, {"Login": "u", "Password": "p"}, ["", "u", "p", "", KEY]),
        (Method.EXECUTE, {"UserToken": "t", "PayoutOperationId": "g", "Pan": "x"}, ["t", "g", KEY]),
        (Method.GET_STATE, {"UserToken": "t", "PayoutOperationId": "g"}, ["t", "g", KEY]),
        (Method.CREATE_CARD, {"UserToken": "t", "Pan": "4", "Amount": "1"}, ["t", "4", "1", "", "", KEY]),
        (Method.CREATE_WALLET, {"UserToken": "t", "Account": "7", "Currency": "RUB"}, ["t", "7", "", "RUB", "", KEY]),
        (Method.CREATE_WALLET, {"UserToken": "t", "Pan": "4", "RecipientName": "n"}, ["t", "4", "", "", "n", KEY]),
        (Method.CREATE_OPERATION, {"BankId": "b", "EshopId": "e"}, ["", "", "", "", "b", "", "", "", "e", KEY]),
    ],
)
def test_segments(method: Method, values: dict[str, str], segments: list[str]) -> None:
    """Values stand in the method's order, a value not sent is empty, the key is last; a card is always covered."""
    assert sign_segments(method, values, KEY) == segments


def test_upper_case_digits_are_right_too() -> None:
    """A client may write the digest in capital letters."""
    right = sign(["t", "g", KEY])
    body = '{"UserToken": "t", "PayoutOperationId": "g"}'
    assert verify_sign(call("executeOperation", body, right), KEY)
    assert verify_sign(call("executeOperation", body, right.upper()), KEY)


@pytest.mark.parametrize(
    "signature", [None, "", "0" * 64, "é" * 64, "\udc80", "١" * 64, "a", "a" * 10_000, sign(["t", "g", "k"])]
)
def test_wrong_signs(signature: str | None) -> None:
    """Anything that is not the digest is wrong, and no text of it raises."""
    assert not verify_sign(call("executeOperation", '{"UserToken": "t", "PayoutOperationId": "g"}', signature), KEY)


@pytest.mark.parametrize(
    "literal, signed, right",
    [
        ('"50.00"', "50.00", True),
        ('"50"', "50", True),
        ('"50"', "50.00", False),  # a text has one form
        ("50", "50", True),
        ("50", "50.00", True),
        ("50.0", "50.0", True),
        ("50.0", "50.00", True),
        ("50.0", "50", False),
        ("5e1", "5e1", True),
        ("5e1", "50.00", False),
    ],
)
def test_amounts_are_signed_as_sent(literal: str, signed: str, right: bool) -> None:
    """Amounts enter as sent; a JSON number may have been signed with two decimals instead of its literal."""
    body = f'{{"UserToken": "t", "PreferenceType": "OutSbp", "Amount": {literal}}}'
    signature = sign(["t", "OutSbp", "", "", "", signed, "", "", "", KEY])
    assert verify_sign(call("createOperation", body, signature), KEY) is right


@pytest.mark.parametrize("signed", ["a+b", "a b"])
def test_a_token_that_lost_its_plus(signed: str) -> None:
    """A form that forgot to escape is right over the token that was meant, and over the text that came."""
    signature = sign([signed, "g", KEY])
    assert verify_sign(call("executeOperation", "UserToken=a+b&PayoutOperationId=g", signature, FORM), KEY)


def test_an_empty_value_is_one_not_sent() -> None:
    """An empty Account does not move a card out of what is signed."""
    body = "UserToken=t&Pan=4111111111111111&Account=&Amount=50&Currency=RUB"
    good = sign(["t", "4111111111111111", "50", "RUB", "", KEY])
    without_card = sign(["t", "", "50", "RUB", "", KEY])
    assert verify_sign(call("CreateQiwiWalletOperation", body, good, FORM), KEY)
    assert not verify_sign(call("CreateQiwiWalletOperation", body, without_card, FORM), KEY)


@pytest.mark.parametrize(
    "amount, then",
    [
        ("50", "50.00"),
        ("50.5", "50.50"),
        ("50.05", "50.05"),
        ("0", "0.00"),
        ("5e1", "5e1"),
        ("", ""),
        ("٥", "٥"),
        ("1.234", "1.234"),
    ],
)
def test_two_decimals(amount: str, then: str) -> None:
    """A plain amount gets two decimals, without arithmetic; any other text stays."""
    assert two_decimals(amount) == then
