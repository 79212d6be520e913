"""Every golden vector of IntellectMoney: requests read and written, answers read and written, down to the type of each member."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from disburse.protocols.intellectmoney import Call, Generation, Method, decode_call, find_method
from disburse.protocols.intellectmoney_answers import (
    Answer,
    PayoutOperationData,
    PayoutStateName,
    TokenData,
    decode_answer,
    encode_answer,
    read_state_word,
    state_word,
)
from disburse.protocols.intellectmoney_client import Access, encode_call
from disburse.protocols.intellectmoney_messages import CreateCard, read_message
from disburse.protocols.intellectmoney_sign import sign, verify_sign
from disburse.protocols.wire import WireRequest

FOLDER = Path(__file__).parents[1] / "vectors" / "intellectmoney"
VECTORS = [json.loads(path.read_text("utf-8")) for path in sorted(FOLDER.glob("[!_]*.json"))]
REQUESTS = [v for v in VECTORS if v["request"]]
SIGNED = [v for v in REQUESTS if "sign" in v]
ANSWERS = [v for v in VECTORS if "body" in v["response"]]
XML_ANSWERS = [v for v in VECTORS if v["response"]["match"] == "xml-shape"]
XML_BODY = next(v["response"]["body_xml"] for v in XML_ANSWERS if v["response"]["body_xml"].startswith("<"))
TYPES = {"number": int, "string": str, "null": type(None)}


def named(vectors: list[dict[str, Any]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("vector", vectors, ids=[v["id"].partition("/")[2] for v in vectors])


def request_of(vector: dict[str, Any]) -> WireRequest:
    sent = vector["request"]
    headers = {name.lower(): value for name, value in sent["headers"].items()}
    return WireRequest(
        sent["http_method"], sent["path"], sent["query_raw"].encode(), headers, sent["body_raw"].encode()
    )


def call_of(vector: dict[str, Any]) -> Call:
    return decode_call(request_of(vector))


def at(body: Any, pointer: str) -> Any:
    for step in pointer.split("/")[1:]:
        body = body[step]
    return body


def test_all_vectors_are_here() -> None:
    """The folder holds what the protocol page describes: no vector got lost."""
    assert (len(VECTORS), len(REQUESTS), len(SIGNED), len(ANSWERS), len(XML_ANSWERS)) == (25, 14, 5, 23, 2)


@named(REQUESTS)
def test_requests_are_read(vector: dict[str, Any]) -> None:
    """What came out of the bytes is what the vector says, and makes a message of the method that the path names."""
    call = call_of(vector)
    decoded = vector["request"]["decoded"]["params"]
    assert (call.params, call.raw) == (decoded, decoded)
    assert call.wants_json == vector["response"]["content_type"].startswith("application/json")
    message = read_message(call)
    slip = isinstance(message, CreateCard) and message.documented_slip
    assert slip == ("documented-path-slip" in vector["id"])
    if not slip:
        assert find_method("/personal/payout/" + vector["method"]) == (call.method, call.generation) or (
            call.method is Method.GET_USER_TOKEN
        )


@named(SIGNED)
def test_signs_are_checked(vector: dict[str, Any]) -> None:
    """The vector's Sign is right with its key, and wrong with any other."""
    call, key = call_of(vector), vector["sign"]["sign_secret_key"]
    assert sign([vector["sign"]["string"]]) == vector["sign"]["sha256"] == call.sign
    assert verify_sign(call, key)
    assert not verify_sign(call, key + "x")


@named(REQUESTS)
def test_requests_are_written(vector: dict[str, Any]) -> None:
    """Our client, told the same message, sends the same: path, parameters, Bearer and Sign. Forms are equal byte for byte."""
    theirs = request_of(vector)
    call = decode_call(theirs)
    access = Access(call.bearer or "", vector["sign"]["sign_secret_key"]) if "sign" in vector else None
    ours = encode_call(read_message(call), call.generation, access=access, qivi_spelling="Qivi" in theirs.path)
    assert (ours.method, ours.path) == (theirs.method, theirs.path)
    for header in ("authorization", "sign"):
        assert ours.headers.get(header) == theirs.headers.get(header)
    assert ours.headers["accept"] == "application/json"
    again = decode_call(ours)
    assert read_message(again) == read_message(call)
    assert {n.lower(): v.lower() for n, v in again.raw.items()} == {n.lower(): v.lower() for n, v in call.raw.items()}
    if theirs.headers.get("content-type", "").endswith("urlencoded"):
        assert ours.headers["content-type"] == theirs.headers["content-type"]
        assert ours.body.lower() == theirs.body.lower()  # an upper-case GUID is sent in lower case by us
    if call.generation is Generation.NEW and call.method is not Method.GET_USER_TOKEN:
        assert json.loads(ours.body) == json.loads(theirs.body)


@named(ANSWERS)
def test_answers_are_read(vector: dict[str, Any]) -> None:
    """Our client reads each answer without loss, those included that our server never sends."""
    body = vector["response"]["body"]
    result = body["Result"] or {}
    word = result.get("PayoutOperationState")
    assert decode_answer(json.dumps(body).encode(), vector["response"]["http_status"]) == Answer(
        code=body["OperationState"]["Code"],
        desc=body["OperationState"]["Desc"],
        operation_id=body["OperationId"],
        eshop_id=body.get("EshopId"),
        state_code=0 if result else None,
        state_desc="any text" if result else "",
        payout_operation_id=result.get("PayoutOperationId"),
        state=word and read_state_word(word),
        state_text=word or "",
        user_token=result.get("UserToken"),
    )
    assert word is None or read_state_word(word) is not PayoutStateName.UNKNOWN


@named(ANSWERS)
def test_answers_are_written(vector: dict[str, Any]) -> None:
    """Our server writes each answer's shape: its members and no other, with their types."""
    theirs = vector["response"]["body"]
    result: PayoutOperationData | TokenData | None = None
    if theirs["Result"] and "UserToken" in theirs["Result"]:
        result = TokenData(theirs["Result"]["UserToken"])
    elif theirs["Result"]:
        result = PayoutOperationData(theirs["Result"]["PayoutOperationId"], theirs["Result"]["PayoutOperationState"])
    answer = encode_answer(
        code=theirs["OperationState"]["Code"],
        desc=theirs["OperationState"]["Desc"],
        operation_id=theirs["OperationId"],
        result=result,
        eshop_id=theirs.get("EshopId"),
        with_eshop_id="EshopId" in theirs,
        as_json=True,
        state_desc="any text",
    )
    assert (answer.status, answer.content_type) == (200, vector["response"]["content_type"])
    ours = json.loads(answer.body)
    assert ours == theirs
    for pointer, kind in vector["response"]["types"].items():
        assert type(at(ours, pointer)) is TYPES[kind], pointer


@named([v for v in REQUESTS if v["response"].get("body", {}).get("Result", {}).get("PayoutOperationState")])
def test_the_word_each_method_answers(vector: dict[str, Any]) -> None:
    """The state's word is chosen by method and generation as the documented examples show it."""
    call, word = call_of(vector), vector["response"]["body"]["Result"]["PayoutOperationState"]
    assert state_word(read_state_word(word), call.generation, call.method) == word


@named(XML_ANSWERS)
def test_xml_answers(vector: dict[str, Any]) -> None:
    """The XML of the vectors is read, and ours is equal to it and is found by the same paths."""
    read = decode_answer(XML_BODY.encode(), 200)
    assert isinstance(read, Answer) and read.succeeded and read.user_token is not None
    ours = encode_answer(
        code=0,
        desc="any text",
        operation_id=read.operation_id or "",
        result=TokenData(read.user_token),
        eshop_id=None,
        with_eshop_id=False,
        as_json=call_of(vector).wants_json,
        state_desc="any text",
    )
    assert (ours.status, ours.content_type) == (200, vector["response"]["content_type"])
    assert ours.body.decode() == XML_BODY
    for path, text in vector["response"]["xpath"].items():
        assert ElementTree.fromstring(ours.body).findtext(path) == text
