"""Which texts each field takes, and which combinations make a message."""

from __future__ import annotations

import pytest

from disburse.protocols.intellectmoney import Call, Generation, Method
from disburse.protocols.intellectmoney_messages import (
    CreateCard,
    CreateOperation,
    CreateWallet,
    Execute,
    GetState,
    GetUserToken,
    Message,
    PreferenceType,
    read_guid,
    read_message,
)
from disburse.protocols.wire import Malformed

GUID = "81fa5265-de0b-498d-be37-5d48f4aa3ba1"
MONEY = {"UserToken": "t0k+n/=", "Amount": "50", "Currency": "RUB"}
CARD = MONEY | {"Pan": "4111111111111111"}
WALLET = MONEY | {"Account": "70000000000"}
OUT_CARD = CARD | {"PreferenceType": "OutBankCard"}
OUT_SBP = MONEY | {"PreferenceType": "OutSbp", "Account": "79510000071", "BankId": "100000000004"}


def read(method: Method, params: dict[str, str]) -> Message:
    return read_message(Call(method, Generation.OLD, params, params, bearer=None, sign=None, wants_json=True))


@pytest.mark.parametrize(
    "method, params, message",
    [
        (Method.GET_USER_TOKEN, {"Login": "a@b", "Password": "p w"}, GetUserToken("a@b", "p w")),
        (Method.CREATE_CARD, CARD, CreateCard("t0k+n/=", "4111111111111111", "50", "RUB")),
        (Method.CREATE_CARD, CARD | {"Pan": "4111 1111-1111 1111"}, CreateCard("t0k+n/=", "4111111111111111", "50", "RUB")),
        (Method.CREATE_CARD, CARD | {"RecipientName": "Иван И."}, CreateCard("t0k+n/=", "4111111111111111", "50", "RUB", "Иван И.")),
        (Method.CREATE_CARD, CARD | {"EshopId": "x", "BankId": "y"}, CreateCard("t0k+n/=", "4111111111111111", "50", "RUB")),
        (Method.CREATE_WALLET, WALLET, CreateWallet("t0k+n/=", "70000000000", "50", "RUB")),
        (Method.CREATE_WALLET, WALLET | {"Account": "+7 (000) 000-00-00"}, CreateWallet("t0k+n/=", "+7 (000) 000-00-00", "50", "RUB")),
        (Method.CREATE_WALLET, CARD, CreateCard("t0k+n/=", "4111111111111111", "50", "RUB", documented_slip=True)),
        (Method.CREATE_OPERATION, OUT_CARD | {"EshopId": "465932"}, CreateOperation(
            "t0k+n/=", PreferenceType.OUT_BANK_CARD, "50", "RUB", pan="4111111111111111", eshop_id=465932)),
        (Method.CREATE_OPERATION, OUT_SBP, CreateOperation(
            "t0k+n/=", PreferenceType.OUT_SBP, "50", "RUB", account="79510000071", bank_id="100000000004")),
        (Method.EXECUTE, {"UserToken": "t", "PayoutOperationId": GUID.upper()}, Execute("t", GUID)),
        (Method.GET_STATE, {"UserToken": "t", "PayoutOperationId": "{" + GUID + "}"}, GetState("t", GUID)),
    ],
)  # fmt: skip
def test_read_message(method: Method, params: dict[str, str], message: Message) -> None:
    """Good texts make the method's message; fields of other methods are passed over unless they name a second destination."""
    assert read(method, params) == message


@pytest.mark.parametrize(
    "method, params, names",
    [
        (Method.GET_USER_TOKEN, {"Login": "a", "Password": "b"}, ["Login", "Password"]),
        (Method.CREATE_CARD, CARD, ["UserToken", "Pan", "Amount", "Currency"]),
        (Method.CREATE_WALLET, WALLET, ["UserToken", "Account", "Amount", "Currency"]),
        (Method.CREATE_OPERATION, OUT_CARD, ["UserToken", "PreferenceType", "Pan", "Amount", "Currency"]),
        (Method.CREATE_OPERATION, OUT_SBP, ["UserToken", "PreferenceType", "Account", "BankId", "Amount", "Currency"]),
        (Method.EXECUTE, {"UserToken": "t", "PayoutOperationId": GUID}, ["UserToken", "PayoutOperationId"]),
        (Method.GET_STATE, {"UserToken": "t", "PayoutOperationId": GUID}, ["UserToken", "PayoutOperationId"]),
    ],
)
def test_required_fields(method: Method, params: dict[str, str], names: list[str]) -> None:
    """Each required field is missed by name."""
    read(method, params)
    for name in names:
        with pytest.raises(Malformed) as caught:
            read(method, {n: v for n, v in params.items() if n != name})
        assert (caught.value.name, caught.value.why) == (name, "is required")


@pytest.mark.parametrize(
    "method, params, name",
    [
        (Method.CREATE_CARD, CARD | {"Account": "70000000000"}, "Account"),
        (Method.CREATE_WALLET, WALLET | {"Pan": "4111111111111111"}, "Pan"),
        (Method.CREATE_OPERATION, OUT_CARD | {"Account": "79510000071"}, "Account"),
        (Method.CREATE_OPERATION, OUT_CARD | {"BankId": "100000000004"}, "BankId"),
        (Method.CREATE_OPERATION, OUT_SBP | {"Pan": "4111111111111111"}, "Pan"),
    ],
)
def test_one_destination(method: Method, params: dict[str, str], name: str) -> None:
    """Money has one destination: a second one beside it is refused, never ignored."""
    with pytest.raises(Malformed) as caught:
        read(method, params)
    assert caught.value.name == name


GOOD = [
    ("Amount", ["0", "50", "50.0", "50.00", "0000000000050", "1234567890123", "1234567890.12"]),
    ("Currency", ["RUB", "TST", "RUR"]),
    ("Pan", ["4" * 12, "4" * 19, "41111111111111111111", "0" * 16, "4111-1111-1111-1111"]),
    (
        "RecipientName",
        ["Ян", "И" * 50, "O'Neil-Smith, Jr.", "=cmd|' /C calc'!A0", "%0d%0a", "{{7*7}}", "${jndi:x}", "🙂🙂"],
    ),
    ("EshopId", ["1", "465932"]),
]
BAD = [
    ("Amount", ["50,00", "5 0", " 50", "50 ", "50\n", "+50", "-50", "-0", ".5", "5.", "5.000", "5e1", "1e999999", "0x10", "1_000",
                "\uff11\uff12", "\u0661\u0662\u0663", "NaN", "sNaN", "Infinity", "12345678901234", "12345678901.12", "1\u00a0000",
                "\u200f50", "1.2.3", "50.00.", "٫5"]),
    ("Currency", ["rub", "643", "RU", "RUBL", "RU\u0412", "R B", "RUB\n", "\uff32\uff35\uff22"]),
    ("Pan", ["4" * 11, "4" * 21, "4111x1111111111", "\uff14" * 16, "\u0664" * 16, "4111.1111.1111.1111", "-" * 20, "4" * 12 + " " * 60,
             "4111\u00a01111111111111", "411111111111111\n"]),
    ("RecipientName", ["И", "И" * 51, "a\tb", "a\u202eb", "a\u200bb", "a\x1b[31mb", "a\u00a0b", "a\x7fb"]),
    ("EshopId", ["-1", "1.5", "x", "1" * 11, "\u0661"]),
    ("UserToken", ["t t", "т0кен", "t" * 513, "t\u00a0"]),
]  # fmt: skip


@pytest.mark.parametrize("name, value", [(name, value) for name, values in GOOD for value in values])
def test_texts_a_field_takes(name: str, value: str) -> None:
    """What the wire allows passes; whether it makes sense is the domain's question."""
    read(Method.CREATE_OPERATION, OUT_CARD | {name: value})


@pytest.mark.parametrize("name, value", [(name, value) for name, values in BAD for value in values])
def test_texts_a_field_refuses(name: str, value: str) -> None:
    """What the wire forbids is a fault that names the field and does not repeat the value."""
    with pytest.raises(Malformed) as caught:
        read(Method.CREATE_OPERATION, OUT_CARD | {name: value})
    assert caught.value.name == name
    assert value.strip() not in caught.value.why or len(value.strip()) < 4


@pytest.mark.parametrize(
    "name, value",
    [
        ("Account", "7951"),
        ("Account", "79510000071 ext. 5"),
        ("Account", "\uff17" * 11),
        ("Account", "7" * 33),
        ("BankId", "10000000000x"),
        ("BankId", "1" * 21),
        ("BankId", "+100000000004"),
        ("PreferenceType", "outsbp"),
        ("PreferenceType", "OutWallet"),
    ],
)
def test_sbp_fields(name: str, value: str) -> None:
    """Phone, bank and preference have an alphabet and a length; who they are is the domain's question."""
    with pytest.raises(Malformed) as caught:
        read(Method.CREATE_OPERATION, OUT_SBP | {name: value})
    assert caught.value.name == name


@pytest.mark.parametrize("params", [{"Login": "l" * 257, "Password": "p"}, {"Login": "l", "Password": "p" * 257}])
def test_credentials_are_bounded(params: dict[str, str]) -> None:
    """No credential is longer than 256 characters."""
    with pytest.raises(Malformed):
        read(Method.GET_USER_TOKEN, params)


@pytest.mark.parametrize(
    "text",
    [
        GUID,
        GUID.upper(),
        "81Fa5265-dE0b-498D-be37-5D48f4aa3bA1",
        "{" + GUID + "}",
        "{" + GUID.upper() + "}",
        GUID.replace("-", ""),
        GUID.replace("-", "").upper(),
    ],
)
def test_guid_forms(text: str) -> None:
    """Three forms, any case; lower case with hyphens comes out."""
    assert read_guid(text) == GUID


@pytest.mark.parametrize(
    "text",
    [
        "",
        "urn:uuid:" + GUID,
        "{" + GUID,
        GUID + "}",
        "{{" + GUID + "}}",
        "{" + GUID.replace("-", "") + "}",
        "(" + GUID + ")",
        "81fa-5265de0b-498d-be37-5d48f4aa3ba1",
        "81fa5265de0b-498d-be37-5d48f4aa3ba1",
        "81fa5265-de0b498dbe37-5d48f4aa3ba1",
        "-" + GUID,
        GUID + "-",
        GUID[:-1],
        GUID + "0",
        GUID[:-1] + "g",
        "\uff18" + GUID[1:],
        "\u0668" + GUID[1:],
        " " + GUID,
        GUID + " ",
        GUID + "\n",
        GUID.replace("-", "\u2010"),
        GUID.replace("-", "_"),
        GUID.replace("-", ":"),
        "{0x81fa5265,0xde0b,0x498d,{0xbe,0x37,0x5d,0x48,0xf4,0xaa,0x3b,0xa1}}",
        "8" * 100_000,
        "null",
        "1' OR '1'='1",
    ],
    ids=range(27),
)
def test_texts_that_are_no_guid(text: str) -> None:
    """Everything else that libraries take for a GUID is refused."""
    with pytest.raises(Malformed) as caught:
        read_guid(text)
    assert caught.value.name == "PayoutOperationId"


def test_messages_print_nothing_secret() -> None:
    """No repr of a message holds a token, a password, a card, a phone or a name."""
    secret = ["t0k+n/=", "4111111111111111", "79510000071", "70000000000", "Иван", "p@ss", "user@example.com"]
    name = {"RecipientName": "Иван"}
    messages = [
        read(Method.GET_USER_TOKEN, {"Login": "user@example.com", "Password": "p@ss"}),
        read(Method.CREATE_CARD, CARD | name),
        read(Method.CREATE_WALLET, WALLET | name),
        read(Method.CREATE_OPERATION, OUT_CARD | name),
        read(Method.CREATE_OPERATION, OUT_SBP | name),
        read(Method.EXECUTE, {"UserToken": "t0k+n/=", "PayoutOperationId": GUID}),
    ]
    assert not [text for text in secret for message in messages if text in repr(message)]
