"""Where a UnitPay call may stand in a request, and which requests are refused because two readers would see two calls."""

from __future__ import annotations

import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from disburse.protocols.unitpay import Call, decode_call, encode_call
from disburse.protocols.unitpay_call import PARAMETERS
from disburse.protocols.wire import Malformed, WireRequest, trim

FORM = "application/x-www-form-urlencoded"
CARD = "4111111111111111"


def get(query: str) -> WireRequest:
    return WireRequest("GET", "/api", query.encode(), {}, b"")


def post(body: str | bytes, content_type: str | None = FORM, query: str = "") -> WireRequest:
    headers = {} if content_type is None else {"content-type": content_type}
    return WireRequest("POST", "/api", query.encode(), headers, body if isinstance(body, bytes) else body.encode())


@pytest.mark.parametrize(
    "request_",
    [
        get("method=getBinInfo&params[bin]=477964&params[login]=a@b.ru"),
        get("method=getBinInfo&params%5Bbin%5D=477964&params%5Blogin%5D=a%40b.ru"),
        get("method=getBinInfo&params%5bbin%5d=477964&login=a%40b.ru"),
        get("method=getBinInfo&bin=477964&login=a@b.ru"),
        get("bin=477964&login=a@b.ru&method=getBinInfo"),
        get("method=getBinInfo&bin=477964&params[bin]=477964&bin=+477964%20&login=a@b.ru"),  # equal values are one
        get("method=+getBinInfo%0D%0A&bin=%09477964+&login=a@b.ru"),  # white space at the ends
        get("method=getBinInfo&bin=477964&login=a@b.ru&params[__proto__]=1&utm=2&cvv=123&x[y][z]=1"),  # unknown names
        get("method=getBinInfo&&bin=477964&login=a@b.ru&"),
        post("method=getBinInfo&params[bin]=477964&login=a%40b.ru"),
        post("method=getBinInfo&bin=477964&login=a%40b.ru", "Application/X-WWW-Form-UrlEncoded; charset=UTF-8"),
        post("method=getBinInfo&bin=477964&login=a%40b.ru", None),
        post("bin=477964&method=getBinInfo", FORM, "login=a@b.ru"),  # half in the query, half in the body
        post("method=getBinInfo&bin=477964", FORM, "method=getBinInfo&login=a@b.ru"),
        post('{"method":"getBinInfo","params":{"bin":477964,"login":"a@b.ru"}}', "application/json"),
        post('{"method":"getBinInfo","bin":"477964","login":"a@b.ru","id":[1]}', "application/json; charset=utf-8"),
        post('{"params[bin]":477964,"bin":477964,"sum":null}', "application/json", "method=getBinInfo&login=a@b.ru"),
        WireRequest("GET", "/api", b"", {"content-type": FORM}, b"method=getBinInfo&bin=477964&login=a@b.ru"),
    ],
)
def test_one_call_in_many_forms(request_: WireRequest) -> None:
    """Nested, flat, mixed, escaped or not, in query, form or JSON: it is the same call."""
    assert decode_call(request_) == Call("getBinInfo", {"bin": "477964", "login": "a@b.ru"})


@pytest.mark.parametrize(
    "request_, name",
    [
        (get(""), "method"),
        (get("params[sum]=1"), "method"),
        (get("method=&sum=1"), "method"),
        (get("method=a&method=b"), "method"),
        (get("method=massPayment&sum=1&sum=9"), "sum"),
        (get("method=massPayment&params[sum]=1&params%5Bsum%5D=9"), "sum"),
        (get("method=massPayment&params[sum]=1&sum=9"), "sum"),
        (get("method=massPayment&sum=1&sum="), "sum"),
        (get("method=massPayment&sum=1&sum=1.0"), "sum"),  # equal money, unequal text
        (get("method=massPayment&utm=1&utm=2"), "utm"),
        (post("sum=9", FORM, "method=massPayment&sum=1"), "sum"),
        (post('{"sum":9}', "application/json", "method=massPayment&params[sum]=1"), "sum"),
        (post('{"method":"massPayment","sum":1,"sum":1}', "application/json"), "sum"),
        (post('{"method":"massPayment","sum":1,"params":{"sum":2}}', "application/json"), "sum"),
        (get("method=massPayment&params[sum][]=1"), "params[sum][]"),
        (get("method=massPayment&params[sum][a]=1"), "params[sum][a]"),
        (get("method=massPayment&params[]=1"), "params[]"),
        (get("method=massPayment&params[sum=1"), "params[sum"),
        (get("method=massPayment&params[sum]x=1"), "params[sum]x"),
        (get("method=massPayment&params=1"), "params"),
        (get("method=massPayment&sum[]=1"), "sum"),
        (get("method=massPayment&sum[a][b]=1"), "sum"),
        (get("method=massPayment&params" + "[a]" * 10_000 + "=1"), ""),
        (post('{"method":"massPayment","params":[1]}', "application/json"), "params"),
        (post('{"method":"massPayment","params":{"sum":{"a":1}}}', "application/json"), "sum"),
        (post('{"method":"massPayment","sum":[1]}', "application/json"), "sum"),
        (post('{"method":true}', "application/json"), "method"),
        (post('{"method":"massPayment","sum":NaN}', "application/json"), ""),
        (post("[" * 100_000, "application/json"), ""),
        (post('{"method":"massPayment"}'), "method"),  # JSON said to be a form
        (post("method=massPayment", "application/json"), ""),
        (post("method=massPayment", "multipart/form-data; boundary=x"), ""),
        (post("method=massPayment", "text/plain"), ""),
        (post("method=massPayment", f"{FORM}, application/json"), ""),
        (post("method=massPayment", f"{FORM}; charset=windows-1251"), ""),
        (get("method=massPayment&comment=%CF%F0%E8"), "comment"),  # windows-1251
        (get("method=massPayment&comment=%C0%AF"), "comment"),
        (get("method=massPayment&comment=100%"), "comment"),
        (get("method=massPayment&comment=a%0d%0ab"), "comment"),
        (get("method=massPayment&comment=%00"), "comment"),
        (get("&".join(f"a{n}=1" for n in range(10_000)) + "&method=massPayment"), ""),
        (WireRequest("HEAD", "/api", b"method=massPayment", {}, b""), ""),
        (WireRequest("PUT", "/api", b"method=massPayment", {}, b""), ""),
    ],
)
def test_unclear_call_is_refused(request_: WireRequest, name: str) -> None:
    """A call that could mean two things, or is not in one of the two forms, is refused at once, by parameter if one is to blame."""
    began = time.monotonic()
    with pytest.raises(Malformed) as caught:
        decode_call(request_)
    assert caught.value.name.removeprefix("params[").rstrip("]") == name.removeprefix("params[").rstrip("]")
    assert time.monotonic() - began < 1


def test_only_asked_for_parameters_go_on() -> None:
    """What no method reads, a CVV for one, is not in the call at all."""
    call = decode_call(get("method=massPayment&cvv=123&params[pin]=4567&sum=1"))
    assert call.params == {"sum": "1"}


def test_call_shows_no_value() -> None:
    """A call's repr names parameters only; a method name may be anything, so it is not shown either."""
    shown = repr(decode_call(get(f"method={CARD}&purse={CARD}&secretKey=hush")))
    assert CARD not in shown and "hush" not in shown and "purse" in shown


VALUES = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=30).map(trim)


@given(
    method=VALUES.filter(bool),
    params=st.dictionaries(st.sampled_from(PARAMETERS), VALUES),
    nested=st.booleans(),
    http_method=st.sampled_from(["GET", "POST"]),
)
def test_call_round_trip(method: str, params: dict[str, str], nested: bool, http_method: str) -> None:
    """Whatever our client writes, our server reads: any text, nested or flat, in the query or in a form."""
    call = Call(method, params)
    request = encode_call(call, nested=nested, http_method="GET" if http_method == "GET" else "POST")
    assert request.method == http_method and (request.body == b"") == (http_method == "GET")
    assert decode_call(request) == call


@given(st.binary(max_size=200), st.sampled_from([FORM, "application/json", "text/xml", ""]))
def test_any_bytes_are_a_call_or_malformed(body: bytes, content_type: str) -> None:
    """No bytes make the decoder fail in any other way."""
    with suppress(Malformed):
        decode_call(post(body, content_type, "method=massPayment"))
