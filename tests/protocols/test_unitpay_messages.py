"""UnitPay's questions as messages: what each method requires, what is cleaned, what is out of bounds, and that nothing leaks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from disburse.protocols import unitpay
from disburse.protocols.unitpay import (
    METHODS,
    Call,
    Credentials,
    GetBinInfo,
    GetPartner,
    GetSbpBankList,
    MassPayment,
    MassPaymentAvailableAmount,
    MassPaymentCommissions,
    MassPaymentStatus,
    Question,
    Status,
    clean_comment,
    clean_purse,
    decode_call,
    encode_question,
    read_credentials,
    read_mass_payment,
    read_mass_payment_status,
    read_question,
    read_transaction_id,
)
from disburse.protocols.wire import Malformed

WHO = Credentials("partner@gmail.com", "hush-hush")
FULL = {
    "login": "partner@gmail.com",
    "secretKey": "hush-hush",
    "transactionId": "1782",
    "sum": "10.00",
    "purse": "79510000071",
    "paymentType": "sbp",
    "memberId": "100000000004",
    "bin": "477964",
}
REQUIRED = {
    "massPayment": {"login", "secretKey", "transactionId", "sum", "purse", "paymentType"},
    "massPaymentStatus": {"login", "secretKey", "transactionId"},
    "getSbpBankList": {"login", "secretKey"},
    "massPaymentAvailableAmount": {"login", "secretKey", "sum", "purse", "paymentType"},
    "massPaymentCommissions": {"login", "secretKey"},
    "getBinInfo": {"login", "secretKey", "bin"},
    "getPartner": {"login", "secretKey"},
}
QUESTIONS: list[Question] = [
    MassPayment(WHO, "1782", "10.00", "79510000071", "sbp", "100000000004", "135", "Выплата 1782, июль.", True),
    MassPayment(WHO, "payout-1782", "10.5", "4111111111111111", "card"),
    MassPaymentStatus(WHO, "F12358132134", True),
    MassPaymentStatus(WHO, "55cc4e3b-6f76-4f2c-9cba-1c7edc8a0808"),
    GetSbpBankList(WHO),
    MassPaymentAvailableAmount(WHO, "5", "79123456789", "sbp", "RUB"),
    MassPaymentAvailableAmount(WHO, "5", "R123456789012", "webmoney"),
    MassPaymentCommissions(WHO),
    GetBinInfo(WHO, "477964"),
    GetPartner(WHO),
]


def call(**params: str) -> Call:
    return Call("massPayment", FULL | params)


@pytest.mark.parametrize(
    "method, name", [(method, name) for method, names in REQUIRED.items() for name in sorted(names)]
)
@pytest.mark.parametrize("blank", [True, False])
def test_required_parameters(method: str, name: str, blank: bool) -> None:
    """A required parameter that is missing or blank is refused by name."""
    params = {key: value for key, value in FULL.items() if key != name} | ({name: ""} if blank else {})
    with pytest.raises(Malformed) as caught:
        read_question(Call(method, params))
    assert caught.value.name == name


@pytest.mark.parametrize("method", REQUIRED)
def test_nothing_else_is_required(method: str) -> None:
    """With its required parameters alone, each method is read as its message."""
    question = read_question(Call(method, {name: FULL[name] for name in REQUIRED[method]}))
    assert isinstance(question, METHODS[method][0])
    assert question.credentials == WHO


@pytest.mark.parametrize(
    "method", ["", "MassPayment", "masspayment", "getCommissions", "getCurrencyCourses", "initPayment"]
)
def test_other_methods(method: str) -> None:
    """Method names are compared as written; any other is refused, naming `method`."""
    with pytest.raises(Malformed) as caught:
        read_question(Call(method, FULL))
    assert caught.value.name == "method"


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("nested", [True, False])
@pytest.mark.parametrize("http_method", ["GET", "POST"])
def test_client_and_server_agree(question: Question, nested: bool, http_method: Any) -> None:
    """What our connector asks is what our server reads, in each of the four forms."""
    request = encode_question(question, nested=nested, http_method=http_method)
    assert (b"params%5B" in request.query + request.body) == nested
    assert (request.method, request.path) == (http_method, "/api")
    assert read_question(decode_call(request)) == question


@given(
    transaction_id=st.text(min_size=1, max_size=200).filter(
        lambda text: text.isprintable() and text.strip(" ") == text
    ),
    amount=st.decimals(min_value=0, max_value=10**12, places=2).map(str),
    comment=st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=60).map(clean_comment),
)
def test_order_round_trip(transaction_id: str, amount: str, comment: str) -> None:
    """An order's id, amount and comment arrive character for character."""
    order = MassPayment(WHO, transaction_id, amount, "79510000071", "sbp", comment=comment or None)
    assert read_mass_payment(decode_call(encode_question(order))) == order


def test_a_repeat_needs_less() -> None:
    """A massPayment whose other parameters are broken can still be looked up by its id."""
    broken = call(sum="x" * 1000, purse="", paymentType="", test="2")
    with pytest.raises(Malformed):
        read_mass_payment(broken)
    assert read_transaction_id(broken) == "1782" and read_credentials(broken) == WHO
    assert read_mass_payment_status(call(sum="x" * 1000, purse="", paymentType="")) == MassPaymentStatus(WHO, "1782")


@pytest.mark.parametrize(
    "payment_type, sent, purse",
    [
        ("sbp", "+79510000071", "79510000071"),
        ("sbp", "+7 (951) 000-00-71", "79510000071"),
        ("mc", "+79000000000", "79000000000"),
        ("qiwi", "7 901 234-56-78", "79012345678"),
        ("sbp", "++79510000071", "+79510000071"),  # only one plus leads; the domain refuses the rest
        ("card", "4111 1111 1111 1111", "4111111111111111"),
        ("card", "4111-1111-1111-1111", "4111-1111-1111-1111"),  # the domain judges hyphens
        ("card", "+4111111111111111", "+4111111111111111"),
        ("webmoney", "R123456789012", "R123456789012"),
        ("usdt", "T 1", "T 1"),
        ("other", "+7 (951)", "+7 (951)"),
    ],
)
def test_purse_is_cleaned_by_its_kind(payment_type: str, sent: str, purse: str) -> None:
    """Phones lose a plus and their punctuation, cards their spaces, and nothing else is touched."""
    assert clean_purse(sent, payment_type) == purse
    assert read_mass_payment(call(purse=sent, paymentType=payment_type)).purse == purse


def test_purse_of_punctuation_is_missing() -> None:
    """A phone that is nothing but punctuation was not given."""
    with pytest.raises(Malformed) as caught:
        read_mass_payment(call(purse="+ () -"))
    assert caught.value.name == "purse"


@pytest.mark.parametrize(
    "sent, kept",
    [
        ("Выплата 1782, июль.", "Выплата 1782, июль."),
        ("Привет, мир.", "Привет, мир."),
        ("a-b_c", "abc"),
        ("=cmd|' /C calc'!A0", "cmd C calcA0"),
        ("{{7*7}} ${jndi:ldap://x}", "77 jndildapx"),
        ("<b>жирно</b>", "bжирноb"),
        ("и\u0306од", "йод"),  # composed first, so nothing of a letter is lost
        ("Z\u0351\u036b\u0343a\u0321l", "Zal"),
        ("a\u202eb\u200bc\U0001f4b8", "abc"),
        ("  ... ", "..."),
        ("---", ""),
    ],
)
def test_comment_is_cleaned_not_refused(sent: str, kept: str) -> None:
    """A comment keeps letters, digits, dots, commas and spaces; one with nothing left was not given."""
    assert clean_comment(sent) == kept
    assert read_mass_payment(call(comment=sent)).comment == (kept or None)
    assert clean_comment(kept) == kept


@pytest.mark.parametrize(
    "name, longest",
    [
        ("login", 254),
        ("secretKey", 256),
        ("transactionId", 200),
        ("sum", 64),
        ("purse", 100),
        ("paymentType", 32),
        ("memberId", 32),
        ("projectId", 32),
        ("comment", 1000),
    ],
)
def test_lengths_are_bounded(name: str, longest: int) -> None:
    """The longest value is read, one character more is refused by name."""
    read_mass_payment(call(**{name: "a" * longest}))
    with pytest.raises(Malformed) as caught:
        read_mass_payment(call(**{name: "a" * (longest + 1)}))
    assert caught.value.name == name


@pytest.mark.parametrize("transaction_id", ["a\u200bb", "a\u202eb", "a\u00a0b", "\ufeff1782"])
def test_invisible_characters_in_ids(transaction_id: str) -> None:
    """Two ids that look alike are alike: characters nobody sees are refused."""
    with pytest.raises(Malformed) as caught:
        read_transaction_id(call(transactionId=transaction_id))
    assert caught.value.name == "transactionId"


@pytest.mark.parametrize("transaction_id", ["1", "payout-1782", "15 б", "a/b?c&d=e%5B#", "=cmd|", "'; DROP", "日本"])
def test_visible_characters_in_ids(transaction_id: str) -> None:
    """An id may be any visible text."""
    assert read_transaction_id(call(transactionId=transaction_id)) == transaction_id


@pytest.mark.parametrize("bin_, first_six", [("477964", "477964"), ("4779641", "477964"), ("47796412", "477964")])
def test_bin_is_six_digits(bin_: str, first_six: str) -> None:
    """6 to 8 digits are taken and the first six count."""
    assert read_question(Call("getBinInfo", FULL | {"bin": bin_})) == GetBinInfo(WHO, first_six)


@pytest.mark.parametrize(
    "bin_", ["47796", "477964123", "4111111111111111", "47796a", "４７７９６４", "477 964", "477964\n"]
)
def test_bin_is_never_a_card(bin_: str) -> None:
    """Anything else is refused, a whole card number above all."""
    with pytest.raises(Malformed) as caught:
        read_question(Call("getBinInfo", FULL | {"bin": bin_}))
    assert caught.value.name == "bin"


@pytest.mark.parametrize("sent, test", [("1", True), ("0", False), ("", False)])
def test_test_mode_is_asked_for_by_one(sent: str, test: bool) -> None:
    """Only `test=1` asks for the test mode."""
    assert read_mass_payment(call(test=sent)).test is test


@pytest.mark.parametrize("sent", ["2", "true", "yes", "01", "１"])
def test_test_mode_is_not_guessed(sent: str) -> None:
    """Any other value is refused: a payout meant as a test must not be made."""
    with pytest.raises(Malformed) as caught:
        read_mass_payment(call(test=sent))
    assert caught.value.name == "test"


def test_amount_stays_text() -> None:
    """The codec carries an amount as it was sent; the domain reads it."""
    for text in ("10", "10.0", "10.50000000", "1e999999", "-5", "１２", "1,5"):
        assert read_mass_payment(call(sum=text)).sum == text


@pytest.mark.parametrize(
    "transaction_id, payment, question",
    [
        ("F12358132134", Status.SUCCESS, Status.SUCCESS),
        ("F383117770", Status.ERROR, Status.ERROR),
        ("ANY123", Status.NOT_COMPLETED, None),
        ("f383117770", Status.NOT_COMPLETED, None),
    ],
)
def test_test_mode(transaction_id: str, payment: Status, question: Status | None) -> None:
    """In test mode two ids decide; any other is under way, and unknown when asked about."""
    assert unitpay.test_mode_status(transaction_id) is payment
    assert unitpay.test_mode_question(transaction_id) is question


@pytest.mark.parametrize("shown", [repr, str, "{}".format])
def test_nothing_secret_is_shown(shown: Callable[[object], str]) -> None:
    """No message shows a key, a login, a purse or a comment."""
    secrets = ("hush", "partner", "79510000071", "4111111111111111", "79123456789", "июль")
    for question in QUESTIONS:
        assert not any(secret in shown(question) for secret in secrets)
