"""Registries as XLSX: what cells say, what is refused, and that a hostile archive costs neither memory nor time."""

from __future__ import annotations

import io
import random
import zipfile
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from functools import cache
from typing import Any

import pytest
import xlsxwriter
from hypothesis import given, settings
from hypothesis import strategies as st

from disburse.domain.registry import Rules, judge
from disburse.protocols.registry_read import read
from disburse.protocols.registry_rows import DEFAULT_LIMITS, DEFAULT_OPTIONS, Limits, Options, Refused, Row

RULES = Rules(frozenset({"100000000004"}), zone=timezone(timedelta(hours=3)))
HEADER = ["Референс", "Способ", "Реквизит", "Банк", "Сумма", "Валюта", "Исполнить", "Комментарий"]
GOOD = ["r1", "card", "4111111111111111", "", 10.5, "RUB"]
MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"

Fill = Callable[[Any, Any], object]


def book(fill: Fill, **options: Any) -> bytes:
    """A workbook; `fill` is given it and its first sheet, which has the header."""
    out = io.BytesIO()
    workbook = xlsxwriter.Workbook(out, {"in_memory": True, **options})
    sheet = workbook.add_worksheet()
    sheet.write_row(0, 0, HEADER)
    fill(workbook, sheet)
    workbook.close()
    return out.getvalue()


PARTS = (lambda archive: {name: archive.read(name) for name in archive.namelist()})(
    zipfile.ZipFile(io.BytesIO(book(lambda _, sheet: sheet.write_row(1, 0, GOOD))))
)


def packed(changed: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """The workbook with some parts changed or added."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, raw in {**PARTS, **changed}.items():
            archive.writestr(name, raw)
    return out.getvalue()


def sheet_of(inside: str, before: str = "") -> bytes:
    xml = f'{before}<worksheet xmlns="{MAIN}"><sheetData>{inside}</sheetData></worksheet>'
    return packed({"xl/worksheets/sheet1.xml": xml.encode()})


def rows(raw: bytes, limits: Limits = DEFAULT_LIMITS, **options: Any) -> list[Row]:
    return [row for chunk in read(io.BytesIO(raw), limits=limits, options=Options(**options) if options else DEFAULT_OPTIONS) for row in chunk]


def faults(row: Row) -> list[tuple[str, str]]:
    return [(fault.field, fault.why) for fault in judge(row, RULES).faults]


def refusal(raw: bytes, limits: Limits = DEFAULT_LIMITS, **options: Any) -> str:
    with pytest.raises(Refused) as caught:
        rows(raw, limits, **options)
    return str(caught.value)


# --- cells -------------------------------------------------------------------------------------------------------

LOST = "is a number that lost digits, or has a fraction; format the column as text and type it again"


@pytest.mark.parametrize("constant_memory", [False, True])
def test_what_cells_say(constant_memory: bool) -> None:
    """Text, numbers that kept their digits, rich text and dates are read; shared strings or not, it is the same."""

    def fill(workbook: Any, sheet: Any) -> None:
        day = workbook.add_format({"num_format": "dd.mm.yyyy hh:mm"})
        sheet.write_row(1, 0, [17, "СБП", 79510000071, 100000000004, 1.1, "RUB"])
        sheet.write_datetime(1, 6, datetime(2026, 12, 1, 10, 30), day)
        sheet.write_rich_string(1, 7, "за ", workbook.add_format({"bold": True}), "ноябрь", " 2026")
        sheet.write_row(4, 0, GOOD)
        sheet.write_row(5, 0, ["#total", 2, 11.6, "RUB"])

    reading = read(io.BytesIO(book(fill, constant_memory=constant_memory)))
    first, second = [row for chunk in reading for row in chunk]
    assert (first.line, first.reference, dict(first.destination)) == (2, "17", {"phone": "79510000071", "bank": "100000000004"})
    assert (first.amount_text, first.comment, faults(first)) == ("1.1", "за ноябрь 2026", [])
    judged = judge(first, RULES)
    assert judged.execute_at is not None and judged.execute_at.isoformat() == "2026-12-01T10:30:00+03:00"
    assert (second.line, second.number, faults(second)) == (5, 2, [])
    assert (reading.found.sheet, reading.found.header) == ("Sheet1", True)
    assert [(one.count, one.sum_text, one.currency) for one in reading.declared] == [(2, "11.6", "RUB")]


@pytest.mark.parametrize(
    "column, write, fault",
    [
        (2, lambda book, sheet: sheet.write_number(1, 2, 4111111111111111), ("destination", LOST)),
        (2, lambda book, sheet: sheet.write_number(1, 2, 4.2e18), ("destination", LOST)),
        (0, lambda book, sheet: sheet.write_number(1, 0, 1.5), ("reference", LOST)),
        (4, lambda book, sheet: sheet.write_number(1, 4, 1e20), ("amount", LOST)),
        (4, lambda book, sheet: sheet.write_number(1, 4, 10.505), ("amount", "has more digits after the dot than the 2 of RUB")),
        (4, lambda book, sheet: sheet.write_formula(1, 4, "=5+5", None, 10), ("amount", "is a formula; write its value")),
        (4, lambda book, sheet: sheet.write_array_formula(1, 3, 1, 4, "{=A1:B1}", None, 10), ("amount", "is a formula; write its value")),
        (4, lambda book, sheet: sheet.write_boolean(1, 4, True), ("amount", "is not a plain number such as 10 or 10.50")),
        (4, lambda book, sheet: sheet.write_datetime(1, 4, datetime(2026, 1, 1), book.add_format({"num_format": 14})),
         ("amount", "is a date; format the column as text and type it again")),
        (7, lambda book, sheet: sheet.write_string(1, 7, "x" * 2001), ("comment", "has more than 2000 characters")),
        (8, lambda book, sheet: sheet.write_string(1, 8, "x"), ("row", "has cells beyond its 8 columns")),
        (0, lambda book, sheet: sheet.set_row(1, None, None, {"hidden": True}), ("row", "is hidden in the sheet; show it, or delete it")),
    ],
)  # fmt: skip
def test_a_cell_that_is_no_text(column: int, write: Fill, fault: tuple[str, str]) -> None:
    """Formulas, dates, and numbers that may have lost digits cost their row, and the next row is read."""

    def fill(workbook: Any, sheet: Any) -> None:
        sheet.write_row(1, 0, GOOD)
        write(workbook, sheet)
        sheet.write_row(2, 0, GOOD)

    first, second = rows(book(fill))
    assert fault in faults(first) and faults(second) == []
    assert not any(field.startswith("destination") and "missing" in why for field, why in faults(first))


def test_without_a_header() -> None:
    """Without a header the columns are the documented ones; empty cells at a row's end need not be there."""
    raw = sheet_of(
        '<row r="1"><c r="A1" t="inlineStr"><is><t>r1</t><rPh><t>x</t></rPh></is></c><c r="B1" t="str"><v>card</v></c>'
        '<c r="C1" t="str"><v>4111111111111111</v></c><c r="E1"><v>1.1000000000000001</v></c><c r="F1" t="str"><v>RUB</v></c></row>'
        '<row><c t="str"><v>r2</v></c><c t="e"><v>#REF!</v></c></row>'
    )
    first, second = rows(raw)
    assert (first.reference, first.amount_text, faults(first)) == ("r1", "1.1", [])
    assert second.reference == "r2" and ("rail", "holds an error of the sheet") in faults(second)


# --- whole files -------------------------------------------------------------------------------------------------


def _two_sheets(workbook: Any, sheet: Any) -> None:
    sheet.write_row(1, 0, GOOD)
    workbook.add_worksheet("Второй").write(0, 0, "x")


def test_several_sheets() -> None:
    """A workbook of several sheets is refused until one is named."""
    raw = book(_two_sheets)
    assert "2 sheets ('Sheet1', 'Второй'); say which with the option `sheet`" in refusal(raw)
    assert len(rows(raw, sheet="Sheet1")) == 1
    assert "no sheet of the name" in refusal(raw, sheet="Third")


@cache
def noise() -> str:
    return random.Random(1).randbytes(1_500_000).hex().translate(str.maketrans("0123456789", "ghijklmnop"))


MANY = "".join(f"<c/>{n * 7919 % 1000003}" for n in range(1200))


@pytest.mark.parametrize(
    "make, told",
    [
        (lambda: book(lambda _, sheet: sheet.merge_range("A3:C3", "x")), "merged cells (A3:C3)"),
        (lambda: packed({"xl/vbaProject.bin": b"x"}), "macros"),
        (lambda: packed({"xl/externalLinks/externalLink1.xml": b"x"}), "values from other files"),
        (lambda: packed({"xl/connections.xml": b"x"}), "values from other files"),
        (lambda: sheet_of("", '<!DOCTYPE a [<!ENTITY a "aaaa">]>'), "document type"),
        (lambda: sheet_of(" " * 30_000_000), "more than 100 times its size"),
        (lambda: packed({f"x{n}": b"" for n in range(2000)}), "no XLSX file, or a damaged one"),
        (lambda: sheet_of("<a>" * 100), "no XLSX file, or a damaged one"),
        (lambda: sheet_of("".join(f"<a{n}/>" for n in range(1000))), "no XLSX file, or a damaged one"),
        (lambda: sheet_of("".join(f'<c a{n}="1"/>' for n in range(1000))), "no XLSX file, or a damaged one"),
        (lambda: sheet_of(f'<c a="{noise()}"/>'), "no XLSX file, or a damaged one"),
        (lambda: sheet_of(f"<row><c><v>{noise()}</v></c></row>"), "no XLSX file, or a damaged one"),
        (lambda: sheet_of(f"<row>{MANY}</row>"), "Line 1: a row has more than 1000 cells"),
        (lambda: sheet_of('<row r="2"/><row r="1"/>'), "Line 1: its rows are out of order"),
        (lambda: sheet_of('<row r="2"><c r="B2"/><c r="A2"/></row>'), "Line 2: its cells are out of order"),
        (lambda: sheet_of('<row><c t="s"><v>999</v></c></row>'), "Line 1: a cell names a text that is not there"),
        (lambda: packed({}, zipfile.ZIP_BZIP2), "no XLSX file, or a damaged one"),
        (lambda: packed({})[:-30], "no XLSX file, or a damaged one"),
        (lambda: packed({}) + b"x", "no XLSX file, or a damaged one"),
        (lambda: packed({"xl/workbook.xml": b'<?xml version="1.0" encoding="rot13"?><a/>'}), "no XLSX file, or a damaged one"),
        (lambda: book(lambda book, sheet: None), "no row"),
    ],
)
def test_one_clear_refusal(make: Callable[[], bytes], told: str) -> None:
    """Bombs, macros, links, merged cells, broken and dishonest archives are refused, before they cost anything."""
    raw = make()
    if told == "no row":
        assert rows(raw) == []
    else:
        assert told in refusal(raw)


def test_limits_of_a_sheet() -> None:
    """A sheet that is too large is refused, and told to be CSV."""
    raw = book(lambda _, sheet: [sheet.write_row(line, 0, GOOD) for line in range(1, 50)])
    for limits in (Limits(sheet_rows=48), Limits(sheet_bytes=1000), Limits(sheet_unpacked=1000)):
        assert "save it as CSV, which may be of any size" in refusal(raw, limits)


SNIPPETS = st.sampled_from(
    [b"<f>1</f>", b't="s"', b'r="XFD1048576"', b"<row>", b"</row>", b"<v>1E300</v>", b"<v>-0</v>", b"&#0;", b"<!--", b"]]>", b's="99"', b"9" * 30,
     b'<f t="array" ref="A1:Z99"/>', b'<mergeCell ref="A1"/>', "\u0661".encode(), b"\xff", b"<is><t>x</t></is>"]
)  # fmt: skip


@settings(max_examples=150, deadline=2000)
@given(st.sampled_from(sorted(PARTS)), st.lists(st.tuples(st.floats(0, 1), SNIPPETS | st.binary(max_size=8), st.integers(0, 30)), max_size=6))
def test_any_change_of_a_workbook(name: str, changes: list[tuple[float, bytes, int]]) -> None:
    """However a part of a workbook is damaged, there are rows with verdicts or one refusal."""
    part = PARTS[name]
    for place, piece, cut in changes:
        at = int(place * len(part))
        part = part[:at] + piece + part[at + cut :]
    try:
        found = rows(packed({name: part}))
    except Refused as refused:
        assert refused.why
        return
    for row in found:
        judged = judge(row, RULES)
        assert judged.faults or (judged.money is not None and judged.destination is not None)


@settings(max_examples=100, deadline=2000)
@given(st.integers(0, len(packed({})) - 1), st.integers(0, 255), st.binary(max_size=4))
def test_any_change_of_an_archive(at: int, byte: int, piece: bytes) -> None:
    """However the archive itself is damaged, there are rows or one refusal."""
    raw = packed({})
    try:
        found = rows(raw[:at] + bytes([byte]) + piece + raw[at + 1 :])
    except Refused as refused:
        assert refused.why
        return
    assert len(found) <= 2
