"""UnitPay's answers: what our server writes, what our connector reads of anything a provider may send, and the two as a pair."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from disburse.protocols import unitpay
from disburse.protocols.unitpay import (
    Bank,
    BinInfo,
    Code,
    ErrorAnswer,
    Language,
    PayoutAnswer,
    ResultAnswer,
    Status,
    Unreadable,
    code_text,
    decode_answer,
    encode_available_amount,
    encode_banks,
    encode_bin_info,
    encode_commissions,
    encode_error,
    encode_partner,
    encode_payout,
    payout_of,
)

NIGHT = datetime(2026, 12, 31, 21, 30, 5, 999_999, tzinfo=UTC)  # already the new year in Moscow


def payout(**changes: Any) -> PayoutAnswer:
    fields: dict[str, Any] = {
        "message": "Выплата проведена",
        "status": Status.SUCCESS,
        "payout_id": 114233,
        "partner_balance": "15733.00",
        "create_date": NIGHT,
        "complete_date": NIGHT + timedelta(seconds=1),
        "sum": "300",
        "payout_commission": "6.00",
        "partner_commission": "0.00",
        "transaction_id": "1782",
    }
    return PayoutAnswer(**(fields | changes))


def result(raw: bytes) -> ResultAnswer:
    answer = decode_answer(raw, 200)
    assert isinstance(answer, ResultAnswer)
    return answer


# ---- what our server writes


def test_payout_is_written_as_documented() -> None:
    """Amounts and the id are strings, dates are Moscow's without a zone, and the caller's id is echoed."""
    assert json.loads(encode_payout(payout())) == {
        "result": {
            "message": "Выплата проведена",
            "status": "success",
            "payoutId": "114233",
            "partnerBalance": "15733.00",
            "createDate": "2027-01-01 00:30:05",
            "completeDate": "2027-01-01 00:30:06",
            "sum": "300",
            "payoutCommission": "6.00",
            "partnerCommission": "0.00",
            "transactionId": "1782",
        }
    }


def test_payout_variants() -> None:
    """A payout without an end has no completeDate key; its id is a number where the account is set so."""
    assert "completeDate" not in json.loads(encode_payout(payout(complete_date=None)))["result"]
    assert json.loads(encode_payout(payout(), payout_id_as_number=True))["result"]["payoutId"] == 114233
    largest = 2**53 - 1
    assert f'"payoutId":{largest},'.encode() in encode_payout(payout(payout_id=largest), payout_id_as_number=True)


def test_date_without_zone_is_our_mistake() -> None:
    """A naive date would be answered hours off, so it is a bug and not an answer."""
    with pytest.raises(AssertionError):
        encode_payout(payout(create_date=datetime(2026, 1, 1)))


def test_text_is_utf8_and_escaped() -> None:
    """Whatever stands in an id or message, the answer is one JSON document in UTF-8."""
    nasty = 'a"\\</script>\u2028 Пр \U0001f4b8'
    raw = encode_payout(payout(transaction_id=nasty))
    assert json.loads(raw)["result"]["transactionId"] == nasty
    assert "Пр".encode() in raw


@pytest.mark.parametrize("language", get_args(Language))
@pytest.mark.parametrize("code", list(Code))
def test_error_is_an_envelope_with_a_number(code: Code, language: Language) -> None:
    """Every code is a JSON number beside a text in the language asked for."""
    error = json.loads(encode_error(code, language=language))["error"]
    assert type(error["code"]) is int and error["code"] == code
    assert error["message"] == code_text(code, language)
    assert any("а" <= letter <= "я" for letter in error["message"].lower()) == (language == "ru")


def test_error_with_its_own_text() -> None:
    """A text can be given: the parameter to blame, or what code 100 means in getBinInfo."""
    named = unitpay.parameter_text("memberId")
    assert json.loads(encode_error(Code.BAD_PARAMETERS, named))["error"]["message"].endswith(": memberId")
    assert unitpay.parameter_text("", "en") == code_text(Code.BAD_PARAMETERS, "en")
    assert unitpay.nothing_found_text("en") != code_text(Code.PAYOUTS_OFF, "en")


def test_codes_are_the_merged_table() -> None:
    """The table holds every code of the pages, the misprint excepted."""
    expected = {100, 101, 102, 103, 104, 105, 106, 122, 201, 1000, 1051, 1052, 1053, -32000, -32602, -32603}
    assert {int(code) for code in Code} == expected


def test_available_amount_is_an_exact_number() -> None:
    """The one amount that is a JSON number is written digit for digit."""
    assert encode_available_amount("1057.36", "RUB") == b'{"result":{"availableAmount":1057.36,"currency":"RUB"}}'
    assert b":9999999999999.10," in encode_available_amount("9999999999999.10", "RUB")


@pytest.mark.parametrize("text", ["", "1e3", "NaN", "007", ".5", "5.", "1,5", "１", "1\n", '1,"x":2'])
def test_only_plain_decimal_text_becomes_a_number(text: str) -> None:
    """Anything else here would be broken JSON, and is our mistake."""
    with pytest.raises(AssertionError):
        encode_available_amount(text, "RUB")
    with pytest.raises(AssertionError):
        encode_commissions({"card": text})


def test_bin_info_has_all_keys() -> None:
    """All eight keys are there, empty where nothing is known."""
    assert json.loads(encode_bin_info(BinInfo("477964"))) == {
        "result": {
            "bin": "477964",
            "bank": "",
            "countryCode": "",
            "brand": "",
            "category": "",
            "type": "",
            "bankUrl": "",
            "bankPhone": "",
        }
    }


def test_answers_ride_on_200() -> None:
    """Known clients read no other status, so errors too are HTTP 200."""
    wrapped = unitpay.answer(encode_error(Code.INTERNAL))
    assert (wrapped.status, wrapped.content_type) == (200, "application/json; charset=utf-8")


# ---- the pair


@given(
    status=st.sampled_from(Status),
    payout_id=st.integers(1, 2**53 - 1),
    amount=st.decimals(min_value=0, max_value=10**12, places=2).map(str),
    created=st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),
    done=st.booleans(),
    transaction_id=st.text(min_size=1, max_size=200).filter(lambda text: text.isprintable() and text.strip() == text),
    as_number=st.booleans(),
)
def test_our_connector_reads_our_server(
    status: Status, payout_id: int, amount: str, created: datetime, done: bool, transaction_id: str, as_number: bool
) -> None:
    """What our server says of a payout, our connector hears, to the second and to the digit."""
    said = payout(
        status=status,
        payout_id=payout_id,
        sum=amount,
        create_date=created,
        complete_date=created if done else None,
        transaction_id=transaction_id,
    )
    heard = payout_of(result(encode_payout(said, payout_id_as_number=as_number)))
    assert (heard.status, heard.payout_id, heard.sum) == (status, str(payout_id), amount)
    assert heard.create_date == created.replace(microsecond=0)
    assert heard.complete_date == (created.replace(microsecond=0) if done else None)
    assert (heard.transaction_id, heard.message) == (transaction_id, said.message)
    assert (heard.payout_commission, heard.partner_commission, heard.partner_balance) == ("6.00", "0.00", "15733.00")


def test_our_connector_reads_our_other_answers() -> None:
    """Errors, banks, available amount, fees, BIN data and balance come back as they were said."""
    assert decode_answer(encode_error(Code.NO_ROUTE), 200) == ErrorAnswer(122, code_text(Code.NO_ROUTE))
    banks = [Bank("100000000001", "Газпромбанк", "Gazprombank"), Bank("100000000004", "Т-Банк", "T-Bank")]
    assert unitpay.banks_of(result(encode_banks(banks))) == banks
    available = unitpay.available_amount_of(result(encode_available_amount("9999999999999.10", "RUB")))
    assert (available.amount, available.currency) == ("9999999999999.10", "RUB")
    rates = {"card": "3.5", "card_not_rf": "10", "sbp": "0.7", "webmoney": "2"}
    assert unitpay.commissions_of(result(encode_commissions(rates))) == rates
    info = BinInfo("477964", "Alfa Bank", "RU", "VISA", "CLASSIC", "DEBIT", "http://alfabank.com/", "7 495 620-91-91")
    assert unitpay.bin_info_of(result(encode_bin_info(info))) == info
    partner = unitpay.partner_of(result(encode_partner("a@b.ru", balance="1060.76", available="960.76")))
    assert (partner.email, partner.balance, partner.available) == ("a@b.ru", "1060.76", "960.76")


# ---- what our connector reads


@pytest.mark.parametrize(
    "code, read",
    [
        ("122", 122),
        ('"122"', 122),
        ('" 122 "', 122),
        ("-32000", -32000),
        ('"-32000"', -32000),
        ("3200", -32000),
        ("32000", -32000),
        ("-3200", -32000),
        ('"3200"', -32000),
        ("777", 777),
        ("-32601", -32601),
    ],
)
def test_error_codes_are_read(code: str, read: int) -> None:
    """A code is a number or numeric text, and the misprints of -32000 are that code."""
    raw = f'{{"error":{{"message":"Нет","code":{code}}}}}'.encode()
    assert decode_answer(raw, 200) == ErrorAnswer(read, "Нет")
    assert decode_answer(raw, 502) == ErrorAnswer(read, "Нет")  # the envelope decides, not the HTTP status


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"OK",
        b"<html>502 Bad Gateway</html>",
        b"[]",
        b"null",
        b"{}",
        b'{"result":null}',
        b'{"result":null,"error":null}',
        b'{"result":{},"error":{}}',
        b'{"result":{"status":"success"},"error":{"code":100}}',
        b'{"result":{"status":"success"},"result":{"status":"error"}}',
        b'{"result":{"status":"success","status":"error"}}',
        b'{"result":"success"}',
        b'{"result":true}',
        b'{"result":1}',
        b'{"error":"no"}',
        b'{"error":[]}',
        b'{"error":{}}',
        b'{"error":{"message":"no"}}',
        b'{"error":{"code":null}}',
        b'{"error":{"code":true}}',
        b'{"error":{"code":"E100"}}',
        b'{"error":{"code":1e2}}',
        b'{"error":{"code":100.0}}',
        '{"error":{"code":"１００"}}'.encode(),
        b'{"error":{"code":99999999999999999999}}',
        b'{"error":{"code":' + b"9" * 5000 + b"}}",
        b'{"result":{"status":"success"',
        b'{"result":{"status":"success"}}}',
        b'{"result":' + b"[" * 100_000,
        b'{"result":{"status":"success","sum":NaN}}',
        b'\xff\xfe{"result":{}}',
        b'{"result":{"message":"' + b"a" * (1 << 20) + b'"}}',
    ],
)
def test_anything_else_is_unreadable(raw: bytes) -> None:
    """What is not one clear envelope is no knowledge at all; the reason quotes nothing of it."""
    began = time.monotonic()
    answer = decode_answer(raw, 502)
    assert isinstance(answer, Unreadable)
    assert answer.why.startswith("HTTP 502") and "success" not in answer.why
    assert time.monotonic() - began < 1


@given(st.binary(max_size=200) | st.text('{}[]",:resultcode10\\ud8', max_size=100).map(str.encode))
def test_nothing_a_provider_sends_raises(raw: bytes) -> None:
    """Any bytes become an answer, and any result can be looked at by every reader."""
    answer = decode_answer(raw, 200)
    if isinstance(answer, ResultAnswer):
        look_at_all(answer)


NAMES = st.sampled_from(
    ["status", "payoutId", "sum", "createDate", "message", "accounts", "rub", "balance", "email", "member_id", "card"]
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, width=16)
    | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5),
    max_leaves=12,
)


@given(st.dictionaries(NAMES, JSON) | st.lists(JSON, max_size=4))
def test_no_result_raises(value: Any) -> None:
    """Values of any kind in any place leave the readers calm."""
    answer = decode_answer(json.dumps({"result": value}).encode(), 200)
    if isinstance(answer, ResultAnswer):
        look_at_all(answer)


def look_at_all(answer: ResultAnswer) -> None:
    payout_of(answer)
    unitpay.banks_of(answer)
    unitpay.available_amount_of(answer)
    unitpay.commissions_of(answer)
    unitpay.bin_info_of(answer)
    unitpay.partner_of(answer)


@pytest.mark.parametrize(
    "sent, status",
    [
        ('"success"', Status.SUCCESS),
        ('"not_completed "', Status.NOT_COMPLETED),
        ('" error\\n"', Status.ERROR),
        ('"SUCCESS"', None),
        ('"paid"', None),
        ('""', None),
        ("null", None),
        ("1", None),
        ('["success"]', None),
    ],
)
def test_status_is_read_exactly(sent: str, status: Status | None) -> None:
    """White space around a status means nothing; any other spelling is no status we know."""
    assert payout_of(result(f'{{"result":{{"status":{sent}}}}}'.encode())).status is status


@pytest.mark.parametrize(
    "sent, read",
    [
        ('"300"', "300"),
        ("300", "300"),
        ("30.00", "30.00"),
        ("1057.360000000000001", None),
        ("0.1", "0.1"),
        ('" 30.00 "', "30.00"),
        ("-5.00", "-5.00"),
        ("1e2", None),
        ('"1,50"', None),
        ('"1 000.00"', None),
        ('"NaN"', None),
        ("true", None),
        ("null", None),
        ('""', None),
        ("{}", None),
    ],
)
def test_amounts_are_read_by_their_literal(sent: str, read: str | None) -> None:
    """An amount is the text that was sent, number or string, and never went through a float; another text is none."""
    assert payout_of(result(f'{{"result":{{"sum":{sent}}}}}'.encode())).sum == read


@pytest.mark.parametrize(
    "sent, read",
    [
        ("193186721", "193186721"),
        ('"114233"', "114233"),
        ("12345678901234567890", "12345678901234567890"),
        ("null", None),
        ('""', None),
        ('"a\\nb"', None),
        ("[1]", None),
    ],
)
def test_payout_id_stays_text(sent: str, read: str | None) -> None:
    """The provider's id is a number or a string, and text to us."""
    assert payout_of(result(f'{{"result":{{"payoutId":{sent}}}}}'.encode())).payout_id == read


@pytest.mark.parametrize(
    "member, read",
    [
        (
            '"completeDate":"2019-08-26 13:30:55"',
            datetime(2019, 8, 26, 13, 30, 55, tzinfo=timezone(timedelta(hours=3))),
        ),
        ('"completeDate":""', None),
        ('"completeDate":null', None),
        ('"other":1', None),
        ('"completeDate":"0000-00-00 00:00:00"', None),
        ('"completeDate":"2019-02-30 00:00:00"', None),
        ('"completeDate":"26.08.2019"', None),
    ],
)
def test_dates_are_moscow_time(member: str, read: datetime | None) -> None:
    """A date is fixed UTC+3; absent, null, empty or impossible is none."""
    assert payout_of(result(f'{{"result":{{{member}}}}}'.encode())).complete_date == read


def test_foreign_message_is_made_safe() -> None:
    """Controls, half characters and length in a message cost nothing but themselves."""
    raw = b'{"error":{"code":201,"message":"a\\u0000\\r\\n\\u001b[31mb\\ud800' + b"x" * 1000 + b'"}}'
    answer = decode_answer(raw, 200)
    assert isinstance(answer, ErrorAnswer)
    assert answer.message.startswith("a [31mb\ufffdx") and len(answer.message) <= 500
    answer.message.encode("utf-8")


def test_nothing_of_an_answer_is_shown() -> None:
    """A provider may quote a card back at us, so messages and raw fields stay out of every repr."""
    card = "4111111111111111"
    shown = [repr(decode_answer(f'{{"error":{{"code":1,"message":"{card}"}}}}'.encode(), 200))]
    answer = result(f'{{"result":{{"message":"{card}"}}}}'.encode())
    shown += [repr(answer), repr(payout_of(answer)), repr(decode_answer(card.encode(), 200))]
    assert card not in "".join(shown)
