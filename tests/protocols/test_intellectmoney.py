"""Which call a request is, and what was sent with it: paths, carriers, headers, and requests that must be refused."""

from __future__ import annotations

import pytest

from disburse.protocols.intellectmoney import (
    PARAMETERS,
    Call,
    Generation,
    Method,
    UnknownMethod,
    WrongVerb,
    decode_call,
    find_method,
    whole_token,
)
from disburse.protocols.wire import Malformed, Number, WireRequest

OLD, NEW = Generation.OLD, Generation.NEW
PAYOUT = "/personal/payout/"
FORM = {"content-type": "application/x-www-form-urlencoded"}
JSON = {"content-type": "application/json"}
XML = {"content-type": "application/xml"}
EXECUTE = PAYOUT + "ExecuteOperation"


def post(body: bytes = b"", headers: dict[str, str] | None = None, query: bytes = b"", path: str = EXECUTE) -> Call:
    return decode_call(WireRequest("POST", path, query, headers or {}, body))


@pytest.mark.parametrize(
    "path, method, generation",
    [
        ("/personal/user/getUserToken", Method.GET_USER_TOKEN, NEW),
        ("/personal/user/GetUserToken", Method.GET_USER_TOKEN, OLD),
        ("/Personal/User/GETUSERTOKEN", Method.GET_USER_TOKEN, OLD),
        (PAYOUT + "CreateBankCardRussiaOperation", Method.CREATE_CARD, OLD),
        (PAYOUT + "createbankcardrussiaoperation", Method.CREATE_CARD, NEW),
        (PAYOUT + "CreateQiviWalletOperation", Method.CREATE_WALLET, OLD),
        (PAYOUT + "CreateQiwiWalletOperation", Method.CREATE_WALLET, OLD),
        (PAYOUT + "createOperation", Method.CREATE_OPERATION, NEW),
        (PAYOUT + "CreateOperation", Method.CREATE_OPERATION, OLD),
        (PAYOUT + "ExecuteOperation", Method.EXECUTE, OLD),
        (PAYOUT + "executeOperation", Method.EXECUTE, NEW),
        (PAYOUT + "EXECUTEOPERATION", Method.EXECUTE, OLD),
        (PAYOUT + "GetOperationState", Method.GET_STATE, OLD),
        (PAYOUT + "getOperationState", Method.GET_STATE, NEW),
    ],
)
def test_find_method(path: str, method: Method, generation: Generation) -> None:
    """Methods are found without case; the first letter of the name tells the generation."""
    assert find_method(path) == (method, generation)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        PAYOUT,
        "/personal/user/",
        "/personal/user/ExecuteOperation",
        PAYOUT + "getUserToken",
        PAYOUT + "ExecuteOperation/",
        PAYOUT + "x/ExecuteOperation",
        PAYOUT + "Execute",
        "/personal/user/getUserTo\u212aen",
        PAYOUT + "\u0435xecuteOperation",
        "/v1" + EXECUTE,
    ],
)
def test_paths_that_are_no_method(path: str) -> None:
    """Any other path, a look-alike letter included, is no method."""
    assert find_method(path) is None
    with pytest.raises(UnknownMethod):
        post(path=path)


@pytest.mark.parametrize("verb", ["GET", "PUT", "HEAD", "DELETE", "OPTIONS", "post", ""])
def test_only_post(verb: str) -> None:
    """Every method is called by POST; the door answers 405 to the rest."""
    with pytest.raises(WrongVerb):
        decode_call(WireRequest(verb, EXECUTE, b"UserToken=t", {}, b""))


SAME = {"UserToken": "a+b/c=", "PayoutOperationId": "81FA5265-DE0B-498D-BE37-5D48F4AA3BA1"}


@pytest.mark.parametrize(
    "query, headers, body",
    [
        (b"UserToken=a%2Bb%2Fc%3D&PayoutOperationId=81FA5265-DE0B-498D-BE37-5D48F4AA3BA1", {}, b""),
        (b"", FORM, b"UserToken=a%2Bb%2Fc%3D&PayoutOperationId=81FA5265-DE0B-498D-BE37-5D48F4AA3BA1"),
        (b"", {}, b"UserToken=a%2Bb%2Fc%3D&PayoutOperationId=81FA5265-DE0B-498D-BE37-5D48F4AA3BA1"),
        (b"", JSON, b'{"UserToken":"a+b/c=","PayoutOperationId":"81FA5265-DE0B-498D-BE37-5D48F4AA3BA1"}'),
        (b"", {"content-type": "text/json; charset=UTF-8"}, b'{"usertoken":"a+b/c=","payoutOperationID":"81FA5265-DE0B-498D-BE37-5D48F4AA3BA1"}'),
        (b"", {}, b' {"UserToken":"a+b/c=","PayoutOperationId":"81FA5265-DE0B-498D-BE37-5D48F4AA3BA1","RecipientName":null}'),
        (b"", XML, b"<Any><UserToken>a+b/c=</UserToken><PayoutOperationId>81FA5265-DE0B-498D-BE37-5D48F4AA3BA1</PayoutOperationId></Any>"),
        (b"", {"content-type": "text/xml"}, b"<r xmlns='urn:x'>\n <UserToken a='b'>\n a+b/c= </UserToken>\n <PAYOUToperationId>81FA5265-DE0B-498D-BE37-5D48F4AA3BA1</PAYOUToperationId><Pan/></r>"),
        (b"", {}, b"<r><UserToken>a&#43;b/c=</UserToken><PayoutOperationId><![CDATA[81FA5265-DE0B-498D-BE37-5D48F4AA3BA1]]></PayoutOperationId></r>"),
        (b"UserToken=a%2Bb%2Fc%3D", JSON, b'{"PayoutOperationId":"81FA5265-DE0B-498D-BE37-5D48F4AA3BA1"}'),
        (b"userTOKEN=a%2Bb%2Fc%3D", FORM, b"UserToken=a%2Bb%2Fc%3D&Pan=&PayoutOperationId=81FA5265-DE0B-498D-BE37-5D48F4AA3BA1"),
        (b"UserToken=a%2Bb%2Fc%3D&_=1&utm=x", XML, b"<r><PayoutOperationId>81FA5265-DE0B-498D-BE37-5D48F4AA3BA1</PayoutOperationId></r>"),
    ],
)  # fmt: skip
def test_one_call_in_every_carrier(query: bytes, headers: dict[str, str], body: bytes) -> None:
    """Query, form, JSON, XML and mixtures say the same; names have no case, strangers are passed over, empty is not sent."""
    assert post(body, headers, query).params == SAME


def test_numbers_keep_their_literal() -> None:
    """A JSON number reaches us as the text that was sent, and is still known to have been a number."""
    call = post(b'{"Amount": 50.0, "EshopId": 465932}', JSON, path=PAYOUT + "createOperation")
    assert call.params == {"Amount": "50.0", "EshopId": "465932"}
    assert isinstance(call.raw["Amount"], Number)


@pytest.mark.parametrize(
    "query, headers, body, name",
    [
        (b"UserToken=a", FORM, b"UserToken=b", "UserToken"),
        (b"", FORM, b"Pan=1&pan=2", "Pan"),
        (b"", FORM, b"Pan=1&Pan=", "Pan"),
        (b"Amount=1", JSON, b'{"Amount": 1.0}', "Amount"),
        (b"", JSON, b'{"Amount": 1, "amount": 9}', "Amount"),
        (b"", JSON, b'{"Amount": 1, "Amount": 1}', "Amount"),
        (b"Amount=1", XML, b"<r><Amount>2</Amount></r>", "Amount"),
        (b"", XML, b"<r><Amount>1</Amount><amount>2</amount></r>", "Amount"),
    ],
)
def test_two_values_for_one_name(query: bytes, headers: dict[str, str], body: bytes, name: str) -> None:
    """One name with two values is refused, wherever they stand and however the name is written."""
    with pytest.raises(Malformed) as caught:
        post(body, headers, query)
    assert caught.value.name == name


@pytest.mark.parametrize(
    "value, url_encoded, token",
    [
        ("a+b/c=", True, "a+b/c="),
        ("a b c ", True, "a+b+c+"),
        ("  a", True, "++a"),
        ("a\r\nb", True, "ab"),
        ("a\n   b\tc", True, "abc"),
        ("a \n b c", True, "ab+c"),
        ("a b c ", False, "abc"),
        ("a\n   b+c", False, "ab+c"),
        (" " * 100_000, True, "+" * 100_000),
        (" " * 100_000 + "x\n", False, "x"),
    ],
    ids=range(10),
)
def test_whole_token(value: str, url_encoded: bool, token: str) -> None:
    """Line wraps go out of a token; a space is a `+` that nobody escaped, but only where spaces come from plus signs."""
    assert whole_token(value, url_encoded=url_encoded) == token


@pytest.mark.parametrize(
    "headers, body",
    [
        (FORM, b"UserToken=4t+5WK/V8 +&Pan=1"),
        (FORM, b"UserToken=4t%2B5WK%2FV8%2B%2B&Pan=1"),
        (FORM, b"Pan=1&UserToken=4t%2B5WK\r\n   %2FV8%2B%2B"),
        (FORM, b"usertoken=4t%2B5WK%0D%0A%2FV8%2B%2B%0a&Pan=1"),
        (JSON, b'{"UserToken": "4t+5WK/\\r\\n V8++", "Pan": "1"}'),
        (XML, b"<r><UserToken>\n4t+5WK/\n  V8++</UserToken><Pan>1</Pan></r>"),
    ],
)
def test_a_token_survives_its_way(headers: dict[str, str], body: bytes) -> None:
    """A forgotten escape and a wrapped line, in every carrier, still give the token that was meant."""
    assert post(body, headers).params == {"UserToken": "4t+5WK/V8++", "Pan": "1"}


def test_raw_keeps_what_was_sent() -> None:
    """A Sign covers values as sent, so they are kept beside the mended ones."""
    call = post(b"UserToken=a b%0Ac&Currency=RUB%20", FORM)
    assert call.raw == {"UserToken": "a b\nc", "Currency": "RUB "}
    assert call.params == {"UserToken": "a+bc", "Currency": "RUB"}


def test_an_amount_is_not_trimmed() -> None:
    """Spaces in an amount are to be refused by its grammar, so they are not hidden from it."""
    assert post(b"Amount=+5&Pan=+5", FORM).params == {"Amount": " 5", "Pan": "5"}


@pytest.mark.parametrize(
    "headers, bearer, sign, wants_json",
    [
        ({}, None, None, False),
        ({"accept": "*/*"}, None, None, False),
        ({"accept": "application/xml"}, None, None, False),
        ({"accept": "text/json"}, None, None, True),
        ({"accept": "text/html, Application/JSON;q=0.9"}, None, None, True),
        ({"authorization": "Bearer 80fe"}, "80fe", None, False),
        ({"authorization": "bearer   80fe "}, "80fe", None, False),
        ({"authorization": "Bearer"}, None, None, False),
        ({"authorization": "Basic dXNlcg=="}, None, None, False),
        ({"sign": " AB "}, None, "AB", False),
        ({"sign": ""}, None, "", False),
    ],
)
def test_headers(headers: dict[str, str], bearer: str | None, sign: str | None, wants_json: bool) -> None:
    """Accept chooses the format, Authorization and Sign are handed on; an empty Sign is there, and wrong."""
    call = post(b"", headers)
    assert (call.bearer, call.sign, call.wants_json) == (bearer, sign, wants_json)


BOMB = (
    b"<!DOCTYPE l [<!ENTITY a 'ha'><!ENTITY b '&a;&a;&a;&a;&a;&a;&a;&a;'><!ENTITY c '&b;&b;&b;&b;&b;&b;&b;&b;'>]>"
    b"<r><Pan>&c;&c;&c;</Pan></r>"
)


@pytest.mark.parametrize(
    "headers, body",
    [
        (XML, BOMB),
        ({}, b"<!DOCTYPE r><r><Pan>1</Pan></r>"),
        (XML, b"<!DOCTYPE r SYSTEM 'file:///etc/passwd'><r><Pan>1</Pan></r>"),
        (XML, b"<!DOCTYPE r [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><r><Pan>&x;</Pan></r>"),
        (XML, b"<r><Pan>&x;</Pan></r>"),
        (XML, b"<r><Pan><a>1</a></Pan></r>"),
        (XML, b"<r>" + b"<a>" * 5_000),
        (XML, b"<r>" + b"<a></a>" * 10_000 + b"</r>"),
        (XML, b"<r>" + b"<a/>" * 10_000 + b"</r>"),
        (XML, b"<r><Pan>" + b"1" * 100_000 + b"</Pan></r>"),
        (XML, b"<r><Pan>1</Pan>"),
        (XML, b"<r/><r/>"),
        (XML, b"{}"),
        (XML, "<?xml version='1.0' encoding='windows-1251'?><r><RecipientName>Иван</RecipientName></r>".encode("cp1251")),
        (XML, "<r><Pan>1</Pan></r>".encode("utf-16")),
        (XML, b"<r><Pan>1\xc0\xb1</Pan></r>"),
        (JSON, b'{"Pan": true}'),
        (JSON, b'{"Pan": ["1"]}'),
        (JSON, b'{"Pan": {"a": "1"}}'),
        (JSON, b'{"Pan": NaN}'),
        (JSON, b'{"Amount": 1e999999}'),
        (JSON, b'{"Amount": ' + b"9" * 5_000 + b"}"),
        (JSON, b'{"RecipientName": "\\ud800"}'),
        (JSON, b'{"RecipientName": "a\\u0000b"}'),
        (JSON, b'{"UserToken": "a\\u0000b"}'),
        (JSON, b'{"UserToken": "\\udc00"}'),
        (JSON, b'{"Pan": "1\\n1"}'),
        (JSON, b"[" * 100_000),
        (JSON, b'{"a":' * 100_000),
        (JSON, b"[]"),
        (JSON, b"UserToken=a"),
        (JSON, b'{"Pan": "1"} x'),
        (FORM, b"Pan=%"),
        (FORM, b"Pan=%zz"),
        (FORM, b"Pan=%C0%AF"),
        (FORM, b"Pan=%ED%A0%80"),
        (FORM, b"Pan=1%0A1"),
        (FORM, b"RecipientName=a\nb"),
        (FORM, b"UserToken=%%0A"),
        (FORM, b"UserToken=%2%0A"),
        (FORM, b"UserToken=a%0Ab&UserToken=ab"),
        (FORM, b"UserToken=a%0Ab%00"),
        (FORM, b"UserToken=a%0Ab&" * 10_000),
        (FORM, b"&".join(b"p%d=1" % n for n in range(10_000))),
        (FORM | {"content-type": FORM["content-type"] + "; charset=windows-1251"}, b"Pan=1"),
        ({"content-type": "multipart/form-data; boundary=x"}, b"--x\r\n\r\n--x--"),
        ({"content-type": "application/json, application/xml"}, b"{}"),
        ({"content-type": "text/plain"}, b"Pan=1"),
    ],
)  # fmt: skip
def test_hostile_bodies(headers: dict[str, str], body: bytes) -> None:
    """Whatever cannot be read for certain is Malformed, and nothing else is raised."""
    with pytest.raises(Malformed):
        post(body, headers)


@pytest.mark.parametrize("name", PARAMETERS)
@pytest.mark.parametrize(
    "body", [b'{"%s": ["secret-7"]}', b'{"%s": "secret-7\\u0001x"}', b'{"%s": "secret-7", "%s": "x"}']
)
def test_a_fault_names_the_field_and_never_its_value(name: str, body: bytes) -> None:
    """Every fault carries its field's documented name; the value is in no text of it."""
    with pytest.raises(Malformed) as caught:
        post(body.replace(b"%s", name.encode()), JSON)
    assert caught.value.name == name
    assert "secret" not in str(caught.value) + repr(caught.value)


def test_a_call_prints_nothing_secret() -> None:
    """A call's repr holds neither parameters nor headers."""
    call = post(b"UserToken=secret-1&Pan=4111", FORM | {"authorization": "Bearer secret-2", "sign": "secret-3"})
    assert "secret" not in repr(call) and "4111" not in repr(call)
