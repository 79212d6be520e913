"""IntellectMoney sections 1 to 3 on a running server: methods and paths, bodies, names, formats of answers, the envelope."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from itertools import product
from typing import Any
from urllib.parse import quote
from uuid import UUID
from xml.etree import ElementTree

import pytest

from tests.conformance.intellectmoney_shop import (
    ACCEPT_JSON,
    NEW_CARD,
    NEW_PHONE,
    TO_CARD,
    TO_WALLET,
    Shop,
    path_of,
)
from tests.conformance.running import Running
from tests.conformance.wire import FORM, JSON, pairs, request, send, until

METHODS = {
    "CreateBankCardRussiaOperation": TO_CARD,
    "CreateQiviWalletOperation": TO_WALLET,
    "CreateQiwiWalletOperation": TO_WALLET,
    "createOperation": NEW_CARD,
    "createoperation": NEW_PHONE,
    "CREATEOPERATION": NEW_PHONE,
    "createqiwiWALLEToperation": TO_WALLET,
    "createBankCardRussiaOperation": TO_CARD,
    "ExecuteOperation": None,
    "executeOperation": None,
    "EXECUTEOPERATION": None,
    "GetOperationState": None,
    "getOperationState": None,
    "getoperationstate": None,
    "getUserToken": {"Login": "", "Password": "p@ss word"},
    "GetUserToken": {"Login": "", "Password": "p@ss word"},
}


@pytest.mark.parametrize("method", METHODS)
def test_methods(served: Running, method: str) -> None:
    """Every method of both generations stands under its path, its name in any case of letters."""
    shop = Shop(served)
    params = METHODS[method]
    if params is None:
        params = {"PayoutOperationId": shop.created()}
    elif "Login" in params:
        params = {**params, "Login": shop.merchant.login}
    assert shop.call(method, params).code == 0
    assert shop.call(f"{method}s", params).word == "UNKNOWN_METHOD"


@pytest.mark.parametrize("path", ["/Personal/Payout/CreateOperation", "/PERSONAL/PAYOUT/createOperation"])
def test_path_without_case(served: Running, path: str) -> None:
    """The rest of the path is read without case too."""
    shop = Shop(served)
    body = pairs({"UserToken": shop.token, **NEW_PHONE}.items())
    assert shop.post(path, body, ACCEPT_JSON, f"Content-Type: {FORM}").state == "Created"


GENERATIONS = {"ExecuteOperation": False, "executeOperation": True, "EXECUTEOPERATION": False, "eXECUTEoPERATION": True}


@pytest.mark.parametrize("method", GENERATIONS)
def test_generations(served: Running, method: str) -> None:
    """The first letter tells the generation: upper case is old and has no EshopId, lower case is new and has one, null here."""
    reply = Shop(served, funds="0").call(method, PayoutOperationId=str(UUID(int=1)))
    assert reply.body.get("EshopId", "absent") == (None if GENERATIONS[method] else "absent")


@pytest.mark.parametrize("verb", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_other_verbs(served: Running, verb: str) -> None:
    """A verb other than POST is HTTP 405, in the envelope, and does nothing."""
    shop = Shop(served)
    target = f"{path_of('createOperation')}?{pairs({'UserToken': shop.token, **NEW_PHONE}.items())}"
    answer = send(served.port, request(verb, target, ACCEPT_JSON))
    assert (answer.status, answer.json["OperationState"]["Code"], answer.json["Result"]) == (405, 2, None)
    assert send(served.port, request("HEAD", target)).status == 405
    assert shop.untouched()


# --- bodies -------------------------------------------------------------------------------------------------------


Written = Callable[[dict[str, str]], str]
"""How parameters become a body."""


def xml(root: str, params: dict[str, str]) -> str:
    children = "".join(f"<{name}>{value}</{name}>" for name, value in params.items())
    return f'<?xml version="1.0" encoding="utf-8"?><{root}>{children}</{root}>'


BODIES: dict[str, tuple[str, Written]] = {
    "form": (FORM, lambda p: pairs(p.items())),
    "form-utf8": (f"{FORM}; charset=utf-8", lambda p: pairs(p.items())),
    "json": (JSON, lambda p: json.dumps(p, ensure_ascii=False)),
    "json-text": ("text/json", lambda p: json.dumps(p)),
    "xml": ("application/xml", lambda p: xml("Request", p)),
    "xml-any-root": ("text/xml", lambda p: xml("ArrayOfAnything", p)),
    "no-type-form": ("", lambda p: pairs(p.items())),
    "no-type-json": ("", json.dumps),
    "no-type-xml": ("", lambda p: xml("r", p)),
}


@pytest.mark.parametrize("method", ["CreateBankCardRussiaOperation", "createOperation"])
@pytest.mark.parametrize("body", BODIES)
def test_bodies(served: Running, body: str, method: str) -> None:
    """Form, JSON and XML are read on old and new paths, with Cyrillic in UTF-8; Content-Type may be left out."""
    shop = Shop(served)
    kind, written = BODIES[body]
    order = TO_CARD if method.startswith("Create") else NEW_CARD
    params = {"UserToken": shop.token, **order, "RecipientName": "Иван Петров"}
    headers = [ACCEPT_JSON] + ([f"Content-Type: {kind}"] if kind else [])
    assert shop.post(path_of(method), written(params), *headers).state == "Created"
    assert shop.payouts() == 1


def test_other_types(served: Running) -> None:
    """A body of another type, or that is not what its type says, is refused."""
    shop = Shop(served)
    params = {"UserToken": shop.token, **NEW_PHONE}
    for kind, body in [
        ("text/plain", pairs(params.items())), ("multipart/form-data; boundary=x", "--x--"), (JSON, "[]"), (JSON, "{"),
        ("application/xml", "<a>"), ("application/xml", '<!DOCTYPE a [<!ENTITY e "x">]><a>&e;</a>'), (f"{FORM}; charset=windows-1251", pairs(params.items())),
    ]:  # fmt: skip
        assert shop.post(path_of("createOperation"), body, ACCEPT_JSON, f"Content-Type: {kind}").word == "BAD_REQUEST"
    assert shop.untouched()


def test_query_with_an_empty_body(served: Running) -> None:
    """A POST may have its parameters in the query and no body."""
    shop = Shop(served)
    query = pairs({"Login": shop.merchant.login, "Password": "p@ss word"}.items())
    token = shop.post(path_of("getUserToken"), "", ACCEPT_JSON, query=query).result["UserToken"]
    query = pairs({"UserToken": token, **NEW_PHONE}.items())
    assert shop.post(path_of("createOperation"), "", ACCEPT_JSON, query=query).state == "Created"


MERGED: dict[str, tuple[str, Written]] = {
    "query-and-form": (FORM, lambda p: pairs(p.items())),
    "query-and-json": (JSON, json.dumps),
    "query-and-xml": ("application/xml", lambda p: xml("a", p)),
}


@pytest.mark.parametrize("case", MERGED)
def test_merged(served: Running, case: str) -> None:
    """Query and body are one set of parameters; one name with two values is refused."""
    shop = Shop(served)
    kind, written = MERGED[case]
    headers = (ACCEPT_JSON, f"Content-Type: {kind}")
    in_query, in_body = pairs({"UserToken": shop.token, "Amount": "50"}.items()), {**NEW_PHONE, "UserToken": shop.token}
    assert shop.post(path_of("createOperation"), written(in_body), *headers, query=in_query).state == "Created"
    other = pairs([("Amount", "51")])
    assert shop.post(path_of("createOperation"), written(in_body), *headers, query=other).word == "BAD_REQUEST"
    assert shop.payouts() == 1


NAMES: dict[str, Callable[[str], str]] = {
    "lower": str.lower,
    "upper": str.upper,
    "camel": lambda name: name[0].lower() + name[1:],
}


@pytest.mark.parametrize("case", NAMES)
def test_names_without_case(served: Running, case: str) -> None:
    """Parameters are PascalCase and read in any case of letters."""
    shop = Shop(served)
    params = {NAMES[case](name): value for name, value in {"UserToken": shop.token, **NEW_PHONE}.items()}
    for kind, written in (BODIES["form"], BODIES["json"], BODIES["xml"]):
        assert (
            shop.post(path_of("createOperation"), written(params), ACCEPT_JSON, f"Content-Type: {kind}").state
            == "Created"
        )


TOKENS: dict[str, Callable[[str], str]] = {
    "escaped": lambda token: quote(token, safe=""),
    "nothing-escaped": lambda token: token,
    "plus-as-space": lambda token: token.replace("+", "%20"),
    "wrapped": lambda token: quote(f"{token[:30]}\r\n  {token[30:]}", safe=""),
    "wrapped-at-the-ends": lambda token: quote(f"\n{token}\r\n", safe=""),
}


@pytest.mark.parametrize("case", TOKENS)
def test_tokens_in_forms(served: Running, case: str) -> None:
    """A token's +, / and = come escaped; a client that forgets leaves spaces, which are + again; wrapped lines are joined."""
    shop = Shop(served)
    body = f"UserToken={TOKENS[case](shop.token)}&{pairs(NEW_PHONE.items())}"
    assert shop.post(path_of("createOperation"), body, ACCEPT_JSON, f"Content-Type: {FORM}").state == "Created"


@pytest.mark.parametrize("wrapped", ["\n", "\r\n\t", " \n ", "  "], ids=range(4))
def test_tokens_in_json(served: Running, wrapped: str) -> None:
    """White space inside a token of a JSON body is no part of it."""
    shop = Shop(served)
    token = shop.token[:20] + wrapped + shop.token[20:]
    assert shop.json("createOperation", {"UserToken": token, **NEW_PHONE}).state == "Created"


# --- formats of answers -------------------------------------------------------------------------------------------

ACCEPTS = {
    "text/json": True,
    "application/json": True,
    "application/json, text/plain, */*": True,
    "APPLICATION/JSON": True,
    "*/*": False,
    "application/xml": False,
    "text/html": False,
    "": False,
}
EVERYWHERE = [
    "getUserToken",
    "CreateBankCardRussiaOperation",
    "createOperation",
    "ExecuteOperation",
    "getOperationState",
]


@pytest.mark.parametrize("accept", ACCEPTS)
def test_accept(served: Running, accept: str) -> None:
    """JSON if Accept has `json` in it, XML otherwise and by default, on every path, for refusals too."""
    shop = Shop(served)
    headers = [f"Accept: {accept}"] if accept else []
    for method in EVERYWHERE:
        assert shop.post(path_of(method), "", *headers).is_json is ACCEPTS[accept], method
    body = pairs({"UserToken": shop.token, **NEW_PHONE}.items())
    assert shop.post(path_of("createOperation"), body, *headers).is_json is ACCEPTS[accept]


def test_json_by_default(served: Running) -> None:
    """An account may be switched to JSON on payout paths; the Personal API keeps its default, and who asks for XML gets it."""
    shop = Shop(served, json_by_default=True)
    body = pairs({"UserToken": shop.token, **NEW_PHONE}.items())
    assert shop.post(path_of("createOperation"), body).is_json
    assert not shop.post(path_of("createOperation"), body, "Accept: text/xml").is_json
    login = pairs({"Login": shop.merchant.login, "Password": "p@ss word"}.items())
    assert not shop.post(path_of("getUserToken"), login).is_json


def test_xml_shape(served: Running) -> None:
    """Root Response without namespace or attributes, children in order; a client's path and another's text pattern find the token."""
    shop = Shop(served)
    login = pairs({"Login": shop.merchant.login, "Password": "p@ss word"}.items())
    raw = shop.post(path_of("getUserToken"), login).answer
    assert raw.headers["content-type"] == "text/xml; charset=utf-8"
    root = ElementTree.fromstring(raw.body)
    assert root.tag == "Response" and not [one for one in root.iter() if one.attrib or "}" in one.tag]
    assert [child.tag for child in root] == ["OperationState", "OperationId", "Result"]
    assert [child.tag for child in root[0]] == ["Code", "Desc"]
    token = root.findtext("./Result/UserToken")
    assert re.findall(rb"<UserToken>([^<]+)</UserToken>", raw.body) == [token.encode() if token else b""]
    body = pairs({"UserToken": shop.token, **NEW_PHONE, "EshopId": "465932"}.items())
    made = ElementTree.fromstring(shop.post(path_of("createOperation"), body).answer.body)
    assert [child.tag for child in made] == ["OperationState", "OperationId", "EshopId", "Result"]
    assert [child.tag for child in made[3]] == ["State", "PayoutOperationId", "PayoutOperationState"]
    assert (made.findtext("EshopId"), made.findtext("./Result/State/Code")) == ("465932", "0")


WRONG = {
    "token": ({"UserToken": "nobody's"}, (), "TOKEN_EXPIRED"),
    "bearer": ({}, ("Authorization: Bearer nobody's",), "WRONG_BEARER"),
    "sign": ({}, ("Sign: 00",), "WRONG_SIGN"),
    "amount": ({"Amount": "-1"}, (), "BAD_REQUEST"),
    "method": ({}, (), "UNKNOWN_METHOD"),
}


@pytest.mark.parametrize("case", WRONG)
def test_refusals(served: Running, case: str) -> None:
    """Whatever is wrong, an unauthenticated Bearer call too, the answer is HTTP 200 with code 2, a short code and a null Result."""
    shop = Shop(served)
    changes, headers, word = WRONG[case]
    method = "createNothing" if case == "method" else "createOperation"
    reply = shop.call(method, {**NEW_PHONE, **changes}, *headers)
    assert (reply.answer.status, reply.code, reply.word, reply.body["Result"]) == (200, 2, word, None)
    assert shop.untouched()


# --- the envelope -------------------------------------------------------------------------------------------------


def test_the_flow(served: Running) -> None:
    """Token, create, take PayoutOperationId, execute, poll, on either generation's paths: Completed, once."""
    for create, execute, ask, order in [
        ("CreateBankCardRussiaOperation", "ExecuteOperation", "GetOperationState", TO_CARD),
        ("createOperation", "executeOperation", "getOperationState", NEW_PHONE),
    ]:
        shop = Shop(served)
        login = {"Login": shop.merchant.login, "Password": "p@ss word"}
        token = shop.call("getUserToken", login).result["UserToken"]
        guid = shop.call(create, {**order, "UserToken": token}).guid
        assert shop.call(execute, {"UserToken": token, "PayoutOperationId": guid}).guid == guid
        until(lambda: shop.state(guid, ask), lambda state: state == "Completed")  # noqa: B023 (called at once)
        assert served.balances(shop.merchant)["paid:sandbox"] == "50.00"


HANDLED = {
    "getUserToken": {"State", "UserToken"},
    "CreateBankCardRussiaOperation": {"State", "PayoutOperationId", "PayoutOperationState"},
    "createOperation": {"State", "PayoutOperationId", "PayoutOperationState"},
}


@pytest.mark.parametrize("method", HANDLED)
def test_handled(served: Running, method: str) -> None:
    """Code 0 comes with a Result whose first member is State with Code 0; codes are numbers, Desc texts, OperationId a GUID."""
    shop = Shop(served)
    order = {"Login": shop.merchant.login, "Password": "p@ss word"} if method == "getUserToken" else METHODS[method]
    reply = shop.call(method, order)
    assert reply.body["OperationState"]["Code"] == 0 and type(reply.body["OperationState"]["Code"]) is int
    state = reply.body["Result"]["State"]
    assert state["Code"] == 0 and type(state["Code"]) is int and type(state["Desc"]) is str and state["Desc"]
    assert next(iter(reply.body["Result"])) == "State" and set(reply.body["Result"]) == HANDLED[method]
    assert UUID(reply.body["OperationId"]).version == 4


def test_not_handled(served: Running) -> None:
    """Code 2 says why in Desc, never null, and Result is there and null; there is no third code of ours."""
    shop = Shop(served)
    codes = set()
    for method, params in product(
        EVERYWHERE, ({}, {"UserToken": "x"}, {"UserToken": shop.token}, {"UserToken": shop.token, **NEW_PHONE})
    ):
        body = shop.post(path_of(method), pairs(params.items()), ACCEPT_JSON).body
        codes.add(body["OperationState"]["Code"])
        assert type(body["OperationState"]["Desc"]) is str and body["OperationState"]["Desc"]
        assert "Result" in body and (body["Result"] is None) == (body["OperationState"]["Code"] == 2)
    assert codes == {0, 2}


def test_operation_id_is_of_the_call(served: Running) -> None:
    """OperationId is a fresh GUID for every call, refused ones too, and never the payout's."""
    shop = Shop(served)
    guid = shop.created()
    replies = [
        shop.call(method, PayoutOperationId=guid)
        for method in ("GetOperationState", "ExecuteOperation", "GetOperationState", "nothing")
    ]
    ids = {reply.body["OperationId"] for reply in replies}
    assert len(ids) == 4 and guid not in ids


ESHOPS: dict[str, tuple[str, dict[str, str], dict[str, Any], object]] = {
    "old-none": ("CreateBankCardRussiaOperation", TO_CARD, {}, "absent"),
    "old-known": ("CreateBankCardRussiaOperation", TO_CARD, {"eshop_id": 465932}, "absent"),
    "new-none": ("createOperation", NEW_CARD, {}, None),
    "new-known": ("createOperation", NEW_CARD, {"eshop_id": 465932}, 465932),
    "new-sent": ("createOperation", {**NEW_CARD, "EshopId": "7"}, {}, 7),
}


@pytest.mark.parametrize("case", ESHOPS)
def test_eshop_id(served: Running, case: str) -> None:
    """EshopId is left out on old paths; on new ones it is a number, or null when unknown."""
    method, order, settings, expected = ESHOPS[case]
    assert Shop(served, **settings).call(method, order).body.get("EshopId", "absent") == expected
