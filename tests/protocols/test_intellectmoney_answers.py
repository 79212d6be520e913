"""Answers: what we write, to the letter, and what we make of whatever a provider writes."""

from __future__ import annotations

import json
import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from disburse.protocols.intellectmoney import Generation, Method
from disburse.protocols.intellectmoney_answers import (
    STATE_WORDS,
    Answer,
    PayoutOperationData,
    PayoutStateName,
    TokenData,
    Unreadable,
    decode_answer,
    encode_answer,
    read_state_word,
    refusal_desc,
    state_word,
)

OLD, NEW = Generation.OLD, Generation.NEW
CALL_ID = "4d7f6669-fc7a-48fa-b761-1500e1930441"
GUID = "81fa5265-de0b-498d-be37-5d48f4aa3ba1"
PAYOUT = PayoutOperationData(GUID, "Created")


@pytest.mark.parametrize(
    "name, generation, method, forced, word",
    [
        (PayoutStateName.CREATED, OLD, Method.CREATE_CARD, None, "Created"),
        (PayoutStateName.SENT_TO_BANK, OLD, Method.EXECUTE, None, "SentToBank"),
        (PayoutStateName.COMPLETED, NEW, Method.GET_STATE, "InProgress", "Completed"),
        (PayoutStateName.FAILED, OLD, Method.GET_STATE, None, "Failed"),
        (PayoutStateName.ERROR, OLD, Method.GET_STATE, None, "Error"),
        (PayoutStateName.CANCELLED, OLD, Method.GET_STATE, None, "Canceled"),
        (PayoutStateName.DELETED, OLD, Method.GET_STATE, None, "Deleted"),
        (PayoutStateName.NOT_ENOUGH_MONEY, NEW, Method.EXECUTE, None, "NotEnoughMoney"),
        (PayoutStateName.IN_PROCESS, OLD, Method.EXECUTE, None, "InProgress"),
        (PayoutStateName.IN_PROCESS, OLD, Method.GET_STATE, None, "InProcess"),
        (PayoutStateName.IN_PROCESS, NEW, Method.EXECUTE, None, "InProcess"),
        (PayoutStateName.IN_PROCESS, NEW, Method.GET_STATE, None, "InProcess"),
        (PayoutStateName.IN_PROCESS, OLD, Method.EXECUTE, "InProcess", "InProcess"),
        (PayoutStateName.IN_PROCESS, NEW, Method.GET_STATE, "InProgress", "InProgress"),
    ],
)
def test_state_word(
    name: PayoutStateName, generation: Generation, method: Method, forced: str | None, word: str
) -> None:
    """Each state has one word, but a payout under way is `InProgress` in the old ExecuteOperation alone, or as a setting says."""
    assert state_word(name, generation, method, forced) == word
    assert read_state_word(word) is name


def test_words_nobody_may_send() -> None:
    """Sending an unknown state, or forcing a word that is neither of the two, is a mistake of ours."""
    with pytest.raises(AssertionError):
        state_word(PayoutStateName.UNKNOWN, OLD, Method.EXECUTE)
    with pytest.raises(AssertionError):
        state_word(PayoutStateName.CREATED, OLD, Method.EXECUTE, "Completed")
    assert set(STATE_WORDS) == set(PayoutStateName) - {PayoutStateName.UNKNOWN}


@pytest.mark.parametrize("word", ["", "Paid", "Cancelled!", "сompleted", "Complete d"])
def test_foreign_state_words(word: str) -> None:
    """A word that is not in the table is unknown, never guessed."""
    assert read_state_word(word) is PayoutStateName.UNKNOWN


def encoded(**changes: object) -> bytes:
    fields: dict[str, object] = {
        "code": 0, "desc": "done", "operation_id": CALL_ID, "result": PAYOUT, "eshop_id": None, "with_eshop_id": False,
        "as_json": True,
    }  # fmt: skip
    answer = encode_answer(**(fields | changes))  # type: ignore[arg-type]
    assert answer.status == 200
    assert answer.content_type == ("application/json" if (fields | changes)["as_json"] else "text/xml; charset=utf-8")
    return answer.body


PAYOUT_JSON = {
    "State": {"Code": 0, "Desc": "Success"},
    "PayoutOperationId": GUID,
    "PayoutOperationState": "Created",
}
STATE_XML = "<OperationState><Code>0</Code><Desc>done</Desc></OperationState>"
RESULT_XML = (
    "<Result><State><Code>0</Code><Desc>Success</Desc></State>"
    f"<PayoutOperationId>{GUID}</PayoutOperationId><PayoutOperationState>Created</PayoutOperationState></Result>"
)
PROLOG = '<?xml version="1.0" encoding="utf-8"?>'


@pytest.mark.parametrize(
    "changes, rest",
    [
        ({}, {"Result": PAYOUT_JSON}),
        ({"with_eshop_id": True}, {"EshopId": None, "Result": PAYOUT_JSON}),
        ({"with_eshop_id": True, "eshop_id": 465932}, {"EshopId": 465932, "Result": PAYOUT_JSON}),
        ({"eshop_id": 465932}, {"Result": PAYOUT_JSON}),
        ({"result": TokenData("a+/=")}, {"Result": {"State": {"Code": 0, "Desc": "Success"}, "UserToken": "a+/="}}),
        ({"state_code": 2, "state_desc": "no"}, {"Result": PAYOUT_JSON | {"State": {"Code": 2, "Desc": "no"}}}),
    ],
)
def test_encode_json(changes: dict[str, object], rest: dict[str, object]) -> None:
    """The envelope holds exactly the documented members; EshopId is null or left out as the generation wants it."""
    assert (
        json.loads(encoded(**changes))
        == {
            "OperationState": {"Code": 0, "Desc": "done"},
            "OperationId": CALL_ID,
        }
        | rest
    )


@pytest.mark.parametrize(
    "changes, text",
    [
        ({}, f"<Response>{STATE_XML}<OperationId>{CALL_ID}</OperationId>{RESULT_XML}</Response>"),
        ({"with_eshop_id": True}, f"<Response>{STATE_XML}<OperationId>{CALL_ID}</OperationId>{RESULT_XML}</Response>"),
        (
            {"with_eshop_id": True, "eshop_id": 7},
            f"<Response>{STATE_XML}<OperationId>{CALL_ID}</OperationId><EshopId>7</EshopId>{RESULT_XML}</Response>",
        ),
        (
            {"code": 2, "desc": "<[A] & Б\r\x00", "result": None},
            "<Response><OperationState><Code>2</Code><Desc>&lt;[A] &amp; Б&#13;?</Desc></OperationState>"
            f"<OperationId>{CALL_ID}</OperationId><Result /></Response>",
        ),
    ],
)
def test_encode_xml(changes: dict[str, object], text: str) -> None:
    """XML has the same members under `Response`, without a namespace; what is null is empty or left out."""
    assert encoded(as_json=False, **changes).decode() == PROLOG + text


def test_public_xml_readers_find_the_token() -> None:
    """The two ways in which public clients take the token out of the XML both work."""
    body = encoded(as_json=False, result=TokenData("4t+5WKHt/="))
    assert ElementTree.fromstring(body).findtext("./Result/UserToken") == "4t+5WKHt/="
    assert re.findall(b"<UserToken>(.*?)</UserToken>", body) == [b"4t+5WKHt/="]


@pytest.mark.parametrize("code, desc", [(1, "Process"), (2, "Error")])
def test_unhandled_answers_have_a_null_result(code: int, desc: str) -> None:
    """Queued and refused answers hold Result, as null, and a Desc that is never null or empty."""
    assert json.loads(encoded(code=code, desc="", result=None)) == {
        "OperationState": {"Code": code, "Desc": desc},
        "OperationId": CALL_ID,
        "Result": None,
    }


@pytest.mark.parametrize("changes", [{"code": 2}, {"code": 1}, {"code": 0, "result": None}])
def test_a_result_goes_with_code_0(changes: dict[str, object]) -> None:
    """A refusal with a Result, or a success without one, is a mistake of ours."""
    with pytest.raises(AssertionError):
        encoded(**changes)


def test_refusal_desc() -> None:
    """A refusal's Desc begins with a stable short code in square brackets."""
    assert refusal_desc("TOKEN_EXPIRED", "the token has expired") == "[TOKEN_EXPIRED] the token has expired"
    for word in ("", "token", "A B", "A]"):
        with pytest.raises(AssertionError):
            refusal_desc(word, "x")


GOOD = {"OperationState": {"Code": 0, "Desc": "d"}, "OperationId": CALL_ID, "Result": PAYOUT_JSON}
READ = Answer(0, "d", CALL_ID, None, 0, "Success", GUID, PayoutStateName.CREATED, "Created")


@pytest.mark.parametrize(
    "body, answer",
    [
        (GOOD, READ),
        (GOOD | {"OperationState": {"Code": "0", "Desc": "d"}}, READ),
        (GOOD | {"OperationId": CALL_ID.upper(), "New": [1, {"a": None}]}, READ),
        ({"operationState": {"CODE": 0, "desc": "d"}, "OPERATIONID": CALL_ID, "result": PAYOUT_JSON}, READ),
        ({"OperationState": {"Code": 2, "Desc": "no"}, "OperationId": CALL_ID, "Result": None}, Answer(2, "no", CALL_ID)),
        ({"OperationState": {"Code": 2, "Desc": None}, "OperationId": None}, Answer(2, "")),
        ({"OperationState": {"Code": 2, "Desc": "a\r\nb\u0000\ud800"}}, Answer(2, "a  b")),
        ({"OperationState": {"Code": 2}, "Result": {"State": {"Code": 2, "Desc": "r"}}}, Answer(2, "", None, None, 2, "r")),
        ({"OperationState": {"Code": 1, "Desc": "q"}, "OperationId": "?", "EshopId": "465932"}, Answer(1, "q", None, 465932)),
        ({"OperationState": {"Code": 0}, "Result": {"PayoutOperationId": GUID.upper()}}, Answer(0, "", payout_operation_id=GUID)),
        (
            {"OperationState": {"Code": 0}, "Result": {"State": {"Code": 0}, "PayoutOperationState": "Teleported"}},
            Answer(0, "", state_code=0, state=PayoutStateName.UNKNOWN, state_text="Teleported"),
        ),
        (
            {"OperationState": {"Code": 0}, "Result": {"State": {"Code": 0}, "UserToken": "a+\r\nb"}},
            Answer(0, "", state_code=0, user_token="a+b"),
        ),
    ],
)  # fmt: skip
def test_decode_json(body: dict[str, object], answer: Answer) -> None:
    """Codes as numbers or digits, Result absent, null or an object, names in any case, members we do not know."""
    assert decode_answer(json.dumps(body).encode(), 200) == answer
    assert decode_answer(b"\xef\xbb\xbf \r\n" + json.dumps(body).encode(), 200) == answer


@pytest.mark.parametrize(
    "text, answer",
    [
        (f"<Response>{STATE_XML}<Result/></Response>", Answer(0, "done")),
        (f"<Response xmlns='urn:x' a='b'>{STATE_XML}\n{RESULT_XML}</Response>",
         Answer(0, "done", None, None, 0, "Success", GUID, PayoutStateName.CREATED, "Created")),
        ("<?xml version='1.0' encoding='utf-16'?><r><operationstate><code> 2 </code><desc/></operationstate></r>", Answer(2, "")),
    ],
)  # fmt: skip
def test_decode_xml(text: str, answer: Answer) -> None:
    """XML is known by its first character, whatever was asked for."""
    assert decode_answer(text.encode(), 200) == answer


@pytest.mark.parametrize(
    "raw, http_status",
    [
        (json.dumps(GOOD).encode(), 500),
        (json.dumps(GOOD).encode(), 201),
        (json.dumps(GOOD).encode(), 401),
        (b"", 200),
        (b"null", 200),
        (b"[]", 200),
        (b"{}", 200),
        (b'{"OperationState": 0}', 200),
        (b'{"OperationState": {"Code": true}}', 200),
        (b'{"OperationState": {"Code": 0.5}}', 200),
        (b'{"OperationState": {"Code": "zero"}}', 200),
        (b'{"OperationState": {"Code": 0, "Desc": 1.5, "code": 2}}', 200),
        (b'{"OperationState": {"Code": 0, "Desc": []}}', 200),
        (b'{"OperationState": {"Code": 0}, "Result": []}', 200),
        (b'{"OperationState": {"Code": 0}, "Result": "x"}', 200),
        (b'{"OperationState": {"Code": 0}, "Result": {"State": 0}}', 200),
        (b'{"OperationState": {"Code": 0}, "Result": {"PayoutOperationId": "x"}}', 200),
        (b'{"OperationState": {"Code": 0}, "Result": {"UserToken": 7.5e1, "UserToken": 1}}', 200),
        (b'{"OperationState": {"Code": 0}, "Result": {"UserToken": ["a"]}}', 200),
        (b'{"OperationState": {"Code": 0}, "Result": {"UserToken": "\xd1\x82"}}', 200),
        (b'{"OperationState": {"Code": 0}} trailing', 200),
        (b"[" * 60_000, 200),
        (b'{"a":' * 10_000, 200),
        (b" " * 100_000, 200),
        (b"<html><body>Bad gateway</body></html>", 200),
        (b"<r>0</r>", 200),
        (b"<!DOCTYPE r [<!ENTITY a 'b'>]><r>&a;</r>", 200),
        (b"<a>" * 10_000, 200),
        (f"<R>{STATE_XML}{STATE_XML}</R>".encode(), 200),
        (f"<R>{STATE_XML}text</R>".encode(), 200),
        (b"\xff\xfe<\x00", 200),
    ],
)
def test_unreadable_answers(raw: bytes, http_status: int) -> None:
    """What is no certain answer is Unreadable, with a short reason; nothing is raised."""
    answer = decode_answer(raw, http_status)
    assert isinstance(answer, Unreadable)
    assert len(answer.why) < 80


@pytest.mark.parametrize(
    "code, state_code, succeeded",
    [(0, 0, True), (0, 1, False), (0, 2, False), (0, None, False), (2, 0, False), (1, None, False)],
)
def test_success_needs_both_codes(code: int, state_code: int | None, succeeded: bool) -> None:
    """A call succeeded only if both codes are 0."""
    assert Answer(code, "", state_code=state_code).succeeded is succeeded


def test_long_texts_are_cut() -> None:
    """A provider's prose is bounded before anybody stores it."""
    answer = decode_answer(json.dumps({"OperationState": {"Code": 2, "Desc": "x" * 60_000}}).encode(), 200)
    assert answer == Answer(2, "x" * 500)


def test_answers_print_no_token() -> None:
    """The token is in no repr."""
    answer = decode_answer(encoded(result=TokenData("secret-1")), 200)
    assert isinstance(answer, Answer) and answer.user_token == "secret-1"
    assert "secret" not in repr(answer) + repr(TokenData("secret-1"))


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["OperationState", "operationstate", "Code", "Desc", "Result", "State", "UserToken", "EshopId"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(
    st.binary(max_size=60)
    | st.builds(lambda b: b"<" + b, st.binary(max_size=60))
    | JUNK.map(lambda v: json.dumps(v).encode())
)
def test_reading_never_raises(raw: bytes) -> None:
    """Any bytes at all become an Answer or Unreadable."""
    assert isinstance(decode_answer(raw, 200), Answer | Unreadable)


@given(
    code=st.sampled_from([0, 1, 2]),
    desc=st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=40),
    eshop_id=st.none() | st.integers(0, 10**9),
    with_eshop_id=st.booleans(),
    as_json=st.booleans(),
    name=st.sampled_from(sorted(STATE_WORDS)),
    token=st.none() | st.text("ABCxyz019+/=", min_size=1, max_size=88),
    ids=st.tuples(st.uuids(), st.uuids()),
)
def test_what_we_write_we_read(
    code: int,
    desc: str,
    eshop_id: int | None,
    with_eshop_id: bool,
    as_json: bool,
    name: PayoutStateName,
    token: str | None,
    ids: tuple[object, object],
) -> None:
    """Our own client reads every answer of our own server without loss."""
    result: TokenData | PayoutOperationData | None
    result = PayoutOperationData(str(ids[1]), STATE_WORDS[name]) if token is None else TokenData(token)
    if code:
        result = None
    body = encode_answer(
        code=code,
        desc=desc,
        operation_id=str(ids[0]),
        result=result,
        eshop_id=eshop_id,
        with_eshop_id=with_eshop_id,
        as_json=as_json,
    ).body
    payout = isinstance(result, PayoutOperationData)
    assert decode_answer(body, 200) == Answer(
        code=code,
        desc=desc,
        operation_id=str(ids[0]),
        eshop_id=eshop_id if with_eshop_id else None,
        state_code=None if result is None else 0,
        state_desc="" if result is None else "Success",
        payout_operation_id=str(ids[1]) if payout else None,
        state=name if payout else None,
        state_text=STATE_WORDS[name] if payout else "",
        user_token=token if isinstance(result, TokenData) else None,
    )
