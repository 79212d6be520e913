"""Forms and JSON are read strictly: what two readers could understand differently is refused, and nothing is rounded."""

from __future__ import annotations

import json
import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from disburse.protocols.wire import (
    Malformed,
    Number,
    WireAnswer,
    WireRequest,
    media_type,
    merge,
    read_json_object,
    read_pairs,
    scalar,
    scalar_pairs,
    trim,
    write_pairs,
)

SECRET = "4111111111111111"
PLAIN = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=20)


def request(content_type: str | None) -> WireRequest:
    headers = {} if content_type is None else {"content-type": content_type}
    return WireRequest("POST", "/api", f"purse={SECRET}".encode(), headers, f"token={SECRET}".encode())


@pytest.mark.parametrize(
    "raw, pairs",
    [
        (b"", []),
        (b"a=1", [("a", "1")]),
        (b"a=", [("a", "")]),  # a blank value is a value
        (b"a", [("a", "")]),
        (b"=a", [("", "a")]),
        (b"a=b=c", [("a", "b=c")]),
        (b"&&a=1&&", [("a", "1")]),
        (b"a=1;b=2", [("a", "1;b=2")]),  # a semicolon separates nothing
        (b"a=1&a=1", [("a", "1"), ("a", "1")]),
        (b"a+b=c+d", [("a b", "c d")]),
        (b"a=%2B%26%3D%25", [("a", "+&=%")]),
        (b"a=%255B", [("a", "%5B")]),  # decoded once, never twice
        (b"a=%25255B", [("a", "%255B")]),
        (b"params%5Bsum%5D=1", [("params[sum]", "1")]),
        (b"params%5bsum%5d=1", [("params[sum]", "1")]),
        (b"params[sum]=1", [("params[sum]", "1")]),
        (b"a=%D0%9F%d1%80", [("a", "Пр")]),
        ("a=Привет".encode(), [("a", "Привет")]),  # unescaped UTF-8
        (b"a=%0A%09x%20%0D%0A", [("a", "\n\tx \r\n")]),  # white space at the ends survives, for signatures
        (b"a=%F0%9F%92%B8", [("a", "\U0001f4b8")]),
        (b"a=%E2%80%AE%E2%80%8B", [("a", "\u202e\u200b")]),  # direction marks and zero width: the field judges
        (b"a=${jndi:ldap}", [("a", "${jndi:ldap}")]),
    ],
)
def test_form_is_read_as_sent(raw: bytes, pairs: list[tuple[str, str]]) -> None:
    """Every field comes out once, in order, with exactly the characters that were sent."""
    assert read_pairs(raw) == pairs


@pytest.mark.parametrize(
    "raw",
    [
        b"a=%",
        b"a=100%",
        b"a=%4",
        b"a=%zz",
        b"a=%%5B",
        b"a=%2%5B",
        b"a=%+1",
        b"a=% 1",
        b"%=1",
        "a=%１１".encode(),  # full-width digits are not hexadecimal
        b"a=%FF",
        b"a=\xff",
        b"a=\xcf\xf0\xe8",  # windows-1251
        b"a=%C0%80",  # overlong NUL
        b"a=%C0%AF",
        b"a=%E0%80%AF",
        b"a=%F0%80%80%AF",
        b"a=%ED%A0%80",  # a surrogate
        b"a=%F4%90%80%80",  # past the last code point
        b"a=%D0",
        b"a=%00",
        b"a=\x00",
        b"%00=a",
        b"a=x%0Ay",
        b"a=x%0D%0Ay",
        b"a=x%09y",
        b"a=%1B[31m",
        b"a=%7F",
        b"a=%C2%85",  # a C1 control
        b"a=%0B1",
    ],
)
def test_bad_form_is_refused(raw: bytes) -> None:
    """Lone percent signs, anything but UTF-8, and control characters inside a value are refused."""
    with pytest.raises(Malformed):
        read_pairs(raw)


def test_number_of_fields_is_bounded() -> None:
    """The cap counts separators, so empty fields cost as much as full ones."""
    assert len(read_pairs(b"&".join([b"a=1"] * 200))) == 200
    for raw in (b"&".join([b"a=1"] * 201), b"&" * 10_000, b"a=1&" * 10_000):
        with pytest.raises(Malformed, match="too many"):
            read_pairs(raw)
    with pytest.raises(Malformed):
        read_pairs(b"a=1&b=2&c=3", max_pairs=2)


@given(st.lists(st.tuples(PLAIN, PLAIN), max_size=12))
def test_form_round_trip(pairs: list[tuple[str, str]]) -> None:
    """What we write we read back, whatever the characters."""
    assert read_pairs(write_pairs(pairs)) == pairs


@given(st.binary(max_size=200))
def test_any_bytes_are_a_form_or_malformed(raw: bytes) -> None:
    """No bytes make the form reader fail in any other way, and what it yields holds neither NUL nor half characters."""
    try:
        pairs = read_pairs(raw)
    except Malformed:
        return
    assert "\x00" not in "".join(name + value for name, value in pairs)
    json.dumps(pairs, ensure_ascii=False).encode("utf-8")


@pytest.mark.parametrize(
    "raw, value",
    [
        (b"{}", {}),
        (b'\xef\xbb\xbf {"a":"b"}\r\n', {"a": "b"}),
        (
            b'{"a":10.50,"b":-0,"c":1e3,"d":12345678901234567890}',
            {"a": "10.50", "b": "-0", "c": "1e3", "d": "12345678901234567890"},
        ),
        (
            b'{"a":true,"b":null,"c":[1,"x"],"d":{"e":0.10}}',
            {"a": True, "b": None, "c": ["1", "x"], "d": {"e": "0.10"}},
        ),
        (b'{"a":"\\u041f\\ud83d\\udcb8 "}', {"a": "П\U0001f4b8 "}),
        (b'{"a":"[[[[[[[[[[[[[[[[[[[[[[[[[[[[\\"[[[[[[[["}', {"a": "[" * 28 + '"' + "[" * 8}),
    ],
)
def test_json_is_read_with_numbers_as_text(raw: bytes, value: object) -> None:
    """A number keeps the digits that were sent, trailing zeros and all."""
    assert read_json_object(raw) == value


def test_json_number_is_known_as_one() -> None:
    """A number and a string of the same digits can be told apart."""
    read = read_json_object(b'{"a":5,"b":"5"}')
    assert type(read["a"]) is Number and type(read["b"]) is str


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b'"a"',
        b"1",
        b"null",
        b"{",
        b'{"a":1}x',
        b'{"a":1}{"a":1}',
        b'{"a":1,}',
        b"{'a':1}",
        b"{a:1}",
        b'{"a":01}',
        b'{"a":+1}',
        b'{"a":.5}',
        b'{"a":5.}',
        b'{"a":0x10}',
        b'{"a":1_000}',
        b'{"a":\xef\xbc\x91}',  # a full-width one
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":-Infinity}',
        b'{"a":1e999999}',
        b'{"a":1E+400}',
        b'{"a":' + b"1" * 5000 + b"}",
        b'{"a":0.' + b"1" * 5000 + b"}",
        b'{"sum":1,"sum":9}',
        b'{"sum":1,"\\u0073um":1}',
        b'{"a":{"b":1,"b":1}}',
        b"[" * 100_000,
        b'{"a":' + b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"a":' + b"[" * 17 + b"]" * 17 + b"}",
        b'{"a":"x\ny"}',
        b'{"a":"x\\ny"}',
        b'{"a":"\\u0000"}',
        b'{"a":["\\u001b[31m"]}',
        b'{"\\u0000":1}',
        b'{"a":"\\ud800"}',
        b'{"a":"\\udc00\\ud800"}',
        b'{"a":[["\\ud800"]]}',
        b'{"\\ud800":1}',
        b'{"a":"\xff"}',
        b'{"a":"\xed\xa0\x80"}',
        '{"a":"b"}'.encode("utf-16"),
        '{"a":"b"}'.encode("utf-32"),
        b'{"a":"\\x"}',
        b'/*c*/{"a":1}',
    ],
)
def test_bad_json_is_refused(raw: bytes) -> None:
    """Whatever two JSON readers could take differently, or one could choke on, is refused at once."""
    began = time.monotonic()
    with pytest.raises(Malformed):
        read_json_object(raw)
    assert time.monotonic() - began < 1


def test_foreign_prose_may_hold_controls() -> None:
    """Without strict text, strings keep what they hold: somebody else's message must not hide their answer."""
    assert read_json_object(b'{"m":"a\\n\\u0000\\ud800"}', strict_text=False) == {"m": "a\n\x00\ud800"}


@given(st.binary(max_size=120) | st.text('[]{}",:\\u0d8 1e-.\n', max_size=120).map(str.encode))
def test_any_bytes_are_json_or_malformed(raw: bytes) -> None:
    """No bytes make the JSON reader fail in any other way."""
    with suppress(Malformed):
        assert isinstance(read_json_object(raw), dict)


@pytest.mark.parametrize("value", [True, False, None, ["1"], {"a": "1"}])
def test_only_strings_and_numbers_are_scalars(value: object) -> None:
    """A parameter is a string or a number; the refusal names the parameter, not the value."""
    with pytest.raises(Malformed) as caught:
        scalar(value, "sum")  # type: ignore[arg-type]
    assert caught.value.name == "sum"


def test_json_null_is_not_sent() -> None:
    """An object's members become form fields; null ones were not sent."""
    assert scalar_pairs(read_json_object(b'{"a":1.0,"b":null,"c":"x"}')) == [("a", "1.0"), ("c", "x")]


def test_merge() -> None:
    """One name with one value is one parameter however often it came; with two values it is refused by name."""
    assert merge([("a", "1"), ("b", "")], [("a", "1")], []) == {"a": "1", "b": ""}
    with pytest.raises(Malformed) as caught:
        merge([("sum", SECRET)], [("sum", "9")])
    assert caught.value.name == "sum"
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "header, kind",
    [
        (None, ""),
        ("application/x-www-form-urlencoded", "application/x-www-form-urlencoded"),
        ("Application/JSON ; Charset=UTF-8", "application/json"),
        ('text/xml; charset="utf-8"', "text/xml"),
        ("multipart/form-data; boundary=x", "multipart/form-data"),
    ],
)
def test_media_type(header: str | None, kind: str) -> None:
    """The type is what stands before the first semicolon, in lower case."""
    assert media_type(request(header)) == kind


@pytest.mark.parametrize(
    "header",
    [
        "application/x-www-form-urlencoded, application/json",
        "application/x-www-form-urlencoded; charset=windows-1251",
        "application/json; charset=utf-16",
    ],
)
def test_bad_media_type(header: str) -> None:
    """Two types at once, or text that is not UTF-8, are refused."""
    with pytest.raises(Malformed):
        media_type(request(header))


def test_nothing_secret_is_shown() -> None:
    """Neither a request, an answer nor a refusal shows a value, even one that stands where a name belongs."""
    shown = [repr(request(None)), repr(WireAnswer(200, "application/json", SECRET.encode()))]
    for raw in (f"{SECRET}=%00", f"a={SECRET}%00", f"a{SECRET}=%zz"):
        with pytest.raises(Malformed) as caught:
            read_pairs(raw.encode())
        shown += [repr(caught.value), str(caught.value), caught.value.name]
    assert SECRET not in " ".join(shown)


def test_trim_takes_plain_white_space_only() -> None:
    """Blanks, tabs and line ends go; a no-break space is a character like any other."""
    assert trim(" \t15 \r\n") == "15"
    assert trim("\u00a015") == "\u00a015"
