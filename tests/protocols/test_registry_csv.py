"""Registries as CSV, UnitPay's layout and JSON lines: every way of writing one table gives the same rows, and nothing is guessed in silence."""

from __future__ import annotations

import io
import itertools
import json
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from disburse.domain.registry import Rules, Tally, TotalsDisagree, judge
from disburse.protocols.registry_read import Reading, read
from disburse.protocols.registry_rows import DEFAULT_LIMITS, DEFAULT_OPTIONS, Limits, Options, Refused, Row, shown
from tests.house.sources import ROOT

VECTORS = ROOT / "tests/vectors/registry"
RULES = Rules(frozenset({"100000000004"}))
CARD, PHONE, BANK = "4111111111111111", "79510000071", "100000000004"
GOOD = f"r1,card,{CARD},,10.50,RUB"
Kind = Literal["auto", "csv", "xlsx", "unitpay", "jsonl"]


def opened(text: str | bytes, kind: Kind = "auto", limits: Limits = DEFAULT_LIMITS, **options: Any) -> Reading:
    raw = text.encode() if isinstance(text, str) else text
    return read(io.BytesIO(raw), kind=kind, limits=limits, options=Options(**options) if options else DEFAULT_OPTIONS)


def rows(text: str | bytes, kind: Kind = "auto", **options: Any) -> list[Row]:
    return [row for chunk in opened(text, kind, **options) for row in chunk]


def faults(row: Row) -> list[tuple[str, str]]:
    return [(fault.field, fault.why) for fault in judge(row, RULES).faults]


def refusal(text: str | bytes, kind: Kind = "auto", **options: Any) -> str:
    with pytest.raises(Refused) as caught:
        rows(text, kind, **options)
    return str(caught.value)


# --- one table, written in many ways -----------------------------------------------------------------------------

TABLE = [
    ["Референс", "Способ", "Реквизит", "Банк", "Сумма", "Валюта", "ФИО"],
    ["w-1", "СБП", "+7 951 000-00-71", BANK, "10,50", "RUB", "Пётр Ёлкин"],
    ["w-2", "card", "4111 1111 1111 1111", "", "7", "RUB", "Anna Орлова"],
]


def written(separator: str, end: str, *, last: bool = True, quoted: bool = False) -> str:
    return end.join(separator.join(f'"{text}"' if quoted or separator in text else text for text in line) for line in TABLE) + (end if last else "")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1251", "utf-16-be"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("quoted", [False, True])
def test_one_table_in_every_spelling(encoding: str, separator: str, end: str, quoted: bool) -> None:
    """Encoding, separator, line end, quotes and a missing last line end change nothing; what was found is said."""
    raw = written(separator, end, last=end == "\n", quoted=quoted).replace("10,50", "10.50" if separator == "," else "10,50").encode(encoding)
    if encoding == "utf-16-be":
        raw = b"\xfe\xff" + raw
    reading = opened(raw)
    first, second = [row for chunk in reading for row in chunk]
    assert (first.number, first.line, second.number, second.line) == (1, 2, 2, 3)
    assert dict(first.destination) == {"phone": "+7 951 000-00-71", "bank": BANK, "name": "Пётр Ёлкин"}
    assert (first.rail, first.amount_text, second.rail, second.reference) == ("sbp", "10.50", "card", "w-2")
    assert judge(first, RULES).money == judge(Row(1, 1, None, "card", {}, "10.50", "RUB"), RULES).money
    assert faults(first) == faults(second) == []
    found = reading.found
    assert (found.separator, found.header) == ({",": "comma", ";": "semicolon", "\t": "tab"}[separator], True)
    assert found.encoding == {"utf-8-sig": "utf-8", "cp1251": "windows-1251", "utf-16": "utf-16-le"}.get(encoding, encoding)


def test_columns_of_their_own() -> None:
    """A header may have a column a rail, in any order; what is given for another rail is a fault."""
    text = f"sum,currency,bik,phone,rail,card\n5,RUB,,,card,{CARD}\n5,RUB,,{PHONE},card,{CARD}\n5,RUB,044525225,{PHONE},sbp,\n"
    first, second, third = rows(text)
    assert faults(first) == []
    assert faults(second) == [("destination", "has a phone, but the rail is not sbp")]
    assert ("bank", "is a BIK, but the rail is not account") in faults(third)


def test_unitpay_layout() -> None:
    """UnitPay's columns, with ours behind them, roubles, and the kinds nobody carries any more named as faults."""
    text = f"card;{CARD};10,50;зарплата\nsbp;{PHONE};100;;{BANK};tx-2\nyandex;412345678901234;1\n".replace(";1\n", ";1;;;\n")
    text = text.replace("зарплата", "зарплата;;")
    first, second, third = rows(text.encode("cp1251"), "unitpay")
    assert (first.amount_text, first.currency, first.comment, faults(first)) == ("10.50", "RUB", "зарплата", [])
    assert (second.reference, dict(second.destination), faults(second)) == ("tx-2", {"phone": PHONE, "bank": BANK}, [])
    assert faults(third) == [("rail", "is not known")]


def test_json_lines() -> None:
    """JSON lines have the fields of the REST surface; every fault of an object is told, and a number is no amount."""
    good = {"reference": "a", "amount": {"amount": "10.50", "currency": "RUB"}, "destination": {"rail": "card", "number": CARD}}
    bad = {"amount": {"amount": 10.5, "currency": "RUB"}, "destination": {"rail": "sbp", "phone": "1", "x": ""}, "test": True}
    first, second, third = rows("\n".join([json.dumps(good), json.dumps(bad), "", '{"a":1,"a":2}']))
    assert faults(first) == []
    assert dict(faults(second)) == {
        "test": "is not a field here", "destination.x": "is not a field here", "amount": "must be a string",
        "destination.phone": "is not a phone of 11 digits that begins with 7", "destination.bank": "is missing",
    }  # fmt: skip
    assert (third.line, faults(third)[0][0]) == (4, "row")
    assert "JSON lines are UTF-8" in refusal('{"comment": "привет"}'.encode("cp1251"), "jsonl")


# --- nothing is guessed wrongly in silence -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, options, told",
    [
        ("a;1,b;2,c;3,d;4,e;5,f\n", {}, "the option `separator`"),
        ("", {}, "the file is empty"),
        (" \n \n", {}, "the file is empty"),
        (",,,,,\n;;;\n", {}, "there is no row"),
        ("rail,amount,colour\n", {}, "columns that are not known: 'colour'"),
        ("rail,amount,amount,number\n", {}, "the column amount twice"),
        ("rail,number\n", {}, "lacks the column amount"),
        ("rail,amount\n", {}, "lacks the column destination"),
        ("Сумма 1,rail,currency,number\n", {}, "the option `header`"),
        (f"{GOOD}\n#total,x\n", {}, "Line 2: a control row is"),
        (f"{GOOD}\n", {"separator": "|"}, "the option `separator` is"),
        (f"{GOOD}\n", {"encoding": "koi8-r"}, "the option `encoding` is"),
        (f"{GOOD}\n".encode("utf-16"), {"encoding": "utf-8"}, "begins with the mark of utf-16-le"),
        (f"{GOOD}\n".encode("utf-16-le"), {}, "the option `encoding`: utf-16-le or"),
        (f"{GOOD},".encode() + "ПФ".encode() * 3 + b"\xcf\xf0\xe8\n", {}, "neither UTF-8 nor plainly Windows-1251"),
        (f"{GOOD},Привет мир\n".encode("cp866"), {}, "neither UTF-8 nor plainly Windows-1251"),
        (b"PK\x03\x04" + b"x" * 100, {}, "no XLSX file, or a damaged one"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", {}, "an old .xls"),
        (",".join(["x"] * 300) + "\n", {}, "300 columns; at most 100"),
        (f"{GOOD}," + "x" * 70_000 + "\n", {}, "Line 1: the line has more than 65536 characters"),
        (f"{GOOD}\n" + "x" * 3_000_000, {}, "there is a line of more than 65536 characters"),
    ],
)
def test_one_clear_refusal(text: str | bytes, options: dict[str, Any], told: str) -> None:
    """What cannot be told by looking is refused as a whole, and the refusal names the option to give or the thing to change."""
    assert told in refusal(text, **options)


def test_an_option_ends_the_doubt() -> None:
    """With the option that a refusal names, the same file is read."""
    assert rows(f"{GOOD}\n".encode("utf-16-le"), encoding="utf-16-le")[0].reference == "r1"
    assert rows(f"{GOOD},x;y;z;a;b;c\n", separator=",")[0].comment == "x;y;z;a;b;c"
    assert len(rows("rail,sum,1,2,3,4\n", header=False)) == 1


@pytest.mark.parametrize("wide", [7, 5])
def test_a_row_of_another_width(wide: int) -> None:
    """A row with more or fewer cells than the others has a fault, and its cells are not read as if they were others."""
    text = f"{GOOD}\n{GOOD}\n{','.join('x' * wide)}\n{GOOD},,\n"
    assert [faults(row) for row in rows(text)] == [[], [], [("row", f"has {wide} columns and not 6")], []]


def test_300_columns_in_one_row() -> None:
    """One row of 300 columns is one faulty row."""
    assert faults(rows(f"{GOOD}\n{','.join(['x'] * 300)}\n")[1]) == [("row", "has 300 columns and not 6")]


# --- quotes ------------------------------------------------------------------------------------------------------


def test_a_lone_quote_costs_its_own_line() -> None:
    """A quote that is never closed makes its line a faulty row; the rows after it are read."""
    found = rows(f'{GOOD},x\nr2,card,{CARD},,1,RUB,"x\n{GOOD},ООО "Ромашка"\n'.replace(' "Ромашка"', "") + f"{GOOD},y\n")
    assert [row.line for row in found] == [1, 2, 3, 4]
    assert [faults(row) for row in found] == [[], [("row", "has a quote that is opened and never closed")], [], []]


def test_no_row_comes_out_of_a_quoted_field() -> None:
    """Whoever writes a comment cannot write a payout: lines inside a quoted field are never rows, however the field ends."""
    evil = f"evil,card,{CARD},,999.00,RUB,x"
    for end in ('y"', 'y"z', 'y","z'):
        found = rows(f'{GOOD},a\nr2,card,{CARD},,1,RUB,"hello\n{evil}\n{end}\n{GOOD},b\n')
        assert [row.reference for row in found] == ["r1", None, "r1"]
        assert "lines 2 to 4 were read as this one row" in faults(found[1])[0][1]
    assert "backslash" in refusal(f'r2,card,{CARD},,1,RUB,"hello \\"\n{evil}\nend\\""\n')
    assert faults(rows(f'r2,card,{CARD},,1,RUB,"hello \\""x"\n')[0]) == []
    long = f"{evil}\n" * 60
    assert "Line 1: a quote is opened and not closed" in refusal(f'r2,card,{CARD},,1,RUB,"hello\n{long}"\n')


def test_quotes_that_are_right() -> None:
    """Quoted separators, doubled quotes, and quotes in the middle of a field without quotes are text."""
    text = f'r1,card,{CARD},,1,RUB,"a, ""b"""\nr2,card,{CARD},,1,RUB,ООО "Ромашка"\nr3,card,{CARD},,1,RUB,"a"b\n'
    first, second, third = rows(text)
    assert (first.comment, second.comment) == ('a, "b"', 'ООО "Ромашка"')
    assert faults(third) == [("row", "has a quote in the middle of a quoted field; write it twice")]


# --- form of cells -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "cell, why",
    [
        (b"a\0b", "holds a NUL"),
        (b"a\x1b[31mb", "holds a line break, a tab or another control character"),
        (b"a\tb", "holds a line break, a tab or another control character"),
        ("a\u0085b".encode(), "holds a line break, a tab or another control character"),
        (b"x" * 2001, "has more than 2000 characters"),
        ("Привет".encode() + b"\xff" + "мир".encode(), "has bytes that are not of the file's encoding"),
        ("a\ufffdb".encode(), "has bytes that are not of the file's encoding"),
    ],
)
def test_a_bad_cell_costs_its_row(cell: bytes, why: str) -> None:
    """NUL, control characters, broken bytes and too long cells are faults of their field, and the next row is read."""
    first, second = rows(f"{GOOD},".encode() + cell + f"\n{GOOD},ok\n".encode())
    assert ("comment", why) in faults(first) and faults(second) == []


def test_what_is_shown_is_masked() -> None:
    """A card number that slipped into another column is not repeated by a fault, a refusal or the row's repr."""
    row = rows(f"r1,card,,{CARD},{CARD},{CARD},\x1b{CARD}\n")[0]
    told = f"{row!r} {[fault for fault in row.faults]} {judge(row, RULES)!r} {refusal(f'rail,amount,number,a{CARD}', header=True)}"
    assert CARD not in told and CARD[6:] not in told and len(judge(row, RULES).faults) >= 4
    assert shown("4111 1111-1111 1111") == shown("４１１１１１１１１１１１１１１１") == "***"
    assert shown("a\nb\x00") == "a\\u000ab\\u0000" and len(shown("ab " * 50)) <= 40


# --- control rows ------------------------------------------------------------------------------------------------


def checked(text: str) -> None:
    reading, tally = opened(text), Tally()
    for chunk in reading:
        for row in chunk:
            tally.add(row.line, judge(row, RULES))
    for one in reading.declared:
        tally.check(one.line, one.count, one.sum_text, one.currency)


@pytest.mark.parametrize(
    "text, told",
    [
        (f"#total,2,21.00,RUB\n{GOOD}\n{GOOD}\n", ""),
        (f"{GOOD}\n{GOOD}\n#ИТОГО,2\n", ""),
        (f"{GOOD}\nr2,usdt,x,,3,USDT\n#total,2,10.5,RUB\n#total,2,3,USDT\n", ""),
        (f"{GOOD}\n#total,2\n", "Line 2: the control row counts 2 rows, the file has 1."),
        (f"{GOOD}\n#total,1,10.51,RUB\n", "the control row says 10.51 RUB, the rows sum up to 10.50."),
        (f"{GOOD}\n#total,1,10.50,EUR\n", "the control row says 10.50 EUR, the rows sum up to 0.00."),
        (f"{GOOD}\n#total,1,1e9,RUB\n", "the sum of the control row cannot be used"),
        (f"{GOOD}\nr2,card,{CARD},,1O,RUB\n#total,2,20.50,RUB\n", "1 amounts cannot be read (the first on line 2)"),
    ],
)
def test_control_rows(text: str, told: str) -> None:
    """A control row that disagrees in count or sum refuses the file and says both figures."""
    if not told:
        checked(text)
        return
    with pytest.raises(TotalsDisagree) as caught:
        checked(text)
    assert told in str(caught.value)


# --- size, and anything at all -----------------------------------------------------------------------------------


def test_chunks_are_small() -> None:
    """Rows come about a thousand at once, in order, numbered without gaps, also when all of them are the same; limits hold."""
    text = f"{GOOD}\n" * 5000
    chunks = list(opened(text))
    assert [row.number for chunk in chunks for row in chunk] == list(range(1, 5001)) and max(map(len, chunks)) <= 1000
    with pytest.raises(Refused, match="more than 4000 rows; split the file"):
        list(opened(text, limits=Limits(rows=4000)))
    with pytest.raises(Refused, match="at most 1000 are read"):
        opened(text, limits=Limits(bytes=1000))
    assert "empty lines" in refusal(f"{GOOD}\n" + "\n" * 200_000)


SNIPPETS = st.sampled_from(
    ['"', '\\"', "\n", "\r", ",", ";", "\t", "\0", "#total", "=1+1", GOOD, "rail", "amount", "number", "Сумма", "1e999", "\u0661", "\u202e",
     "\ud7ff", "{", '{"amount":{"amount":"1","currency":"RUB"}}', "10,50", "sbp", PHONE, " ", "\ufeff", "²"]
)  # fmt: skip
TEXTS = st.lists(SNIPPETS | st.text(max_size=5), max_size=40).map("".join)
BYTES = st.binary(max_size=200) | st.tuples(TEXTS, st.sampled_from(["utf-8", "utf-16", "utf-16-be"])).map(lambda two: two[0].encode(two[1]))


@settings(max_examples=300, deadline=2000)
@given(BYTES | st.tuples(BYTES, st.binary(max_size=20), BYTES).map(b"".join), st.sampled_from(["auto", "csv", "unitpay", "jsonl", "xlsx"]))
def test_any_bytes(raw: bytes, kind: Kind) -> None:
    """Whatever the bytes, they are rows with verdicts or one refusal; a row without faults has money and a destination."""
    try:
        found = rows(raw, kind)
    except Refused as refused:
        assert refused.why
        return
    assert [row.number for row in found] == list(range(1, len(found) + 1)) and all(a.line < b.line for a, b in itertools.pairwise(found))
    for row in found:
        judged = judge(row, RULES)
        assert judged.faults or (judged.money is not None and judged.destination is not None)
        assert len(judged.faults) >= len(row.faults)


def test_the_golden_file() -> None:
    """A file with everything that people get wrong gives exactly these verdicts, line by line."""
    with (VECTORS / "messy.csv").open("rb") as file:
        reading = read(file)
        found = {str(row.line): [f"{f.field} [{f.value}] {f.why}" for f in judge(row, RULES).faults] for chunk in reading for row in chunk}
    expected = json.loads((VECTORS / "messy.verdicts.json").read_text(encoding="utf-8"))
    assert (found, reading.found.separator, reading.found.encoding) == (expected, "semicolon", "windows-1251")
