"""Results of a registry: what goes out as CSV and XLSX comes back the same, and no text becomes a formula."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from itertools import islice

import pytest
from python_calamine import CalamineWorkbook

from disburse.protocols.registry_results import COLUMNS, Result, write_csv, write_xlsx

AT = datetime(2026, 11, 22, 6, 30, 15, tzinfo=UTC)
HOSTILE = ["=1+1", "+7951*****71", "-5", "@SUM(A1)", "\tx", "\rx", "'x", "＝1+1", "a,b;c", 'say "hi"', "line\nbreak", "{{7*7}}", "%0d%0a", "5"]
RESULTS = [
    Result(number, number + 1, f"r-{number}", "card", "411111******1111", "10.50", "0.07", "RUB", "paid", "01a2", text, AT)
    for number, text in enumerate(HOSTILE, 1)
] + [Result(99, 100, why="amount is not a plain number"), Result(100, 101, amount="1234567890123.45", fee="-5", currency="RUB")]


def cells(out: io.BytesIO) -> list[list[object]]:
    """The first sheet, as another library reads it."""
    out.seek(0)
    return CalamineWorkbook.from_filelike(out).get_sheet_by_index(0).to_python()  # type: ignore[return-value]


@pytest.mark.parametrize("separator", [",", ";"])
def test_csv_comes_back(separator: str) -> None:
    """Rows come back in their order and numbers as numbers; dangerous text has one apostrophe in front, and nothing else is changed."""
    written = b"".join(write_csv(iter(RESULTS), separator=separator))  # type: ignore[arg-type]
    assert written.startswith(b"\xef\xbb\xbf") and written.count(b"\r\n") >= len(RESULTS) + 1
    header, *lines = list(csv.reader(io.StringIO(written.decode("utf-8-sig"), newline=""), delimiter=separator, strict=True))
    assert tuple(header) == COLUMNS
    assert [line[COLUMNS.index("why")].removeprefix("'") for line in lines] == [result.why for result in RESULTS]
    assert all(line[COLUMNS.index("why")].startswith("'") for line in lines[:8])
    assert [line[0] for line in lines] == [str(result.number) for result in RESULTS]
    assert (lines[0][5], lines[0][11], lines[-1][6], lines[-2][5]) == ("10.50", "2026-11-22T06:30:15Z", "-5", "")


def test_csv_is_a_stream() -> None:
    """Pieces come while rows are taken: a thousand rows at a time, and no more are asked for."""
    taken = 0

    def endless() -> object:
        nonlocal taken
        while True:
            taken += 1
            yield RESULTS[0]

    assert len(list(islice(write_csv(endless()), 3))) == 3  # type: ignore[arg-type]
    assert taken == 3000


def test_a_workbook_comes_back() -> None:
    """Numbers, times and strings are what they were, read by another library; a number too long for a sheet stays text."""
    out = io.BytesIO()
    write_xlsx(iter(RESULTS), out, created=AT)
    again = io.BytesIO()
    write_xlsx(iter(RESULTS), again, created=AT)
    assert out.getvalue() == again.getvalue()
    header, *lines = cells(out)
    assert tuple(header) == COLUMNS and len(lines) == len(RESULTS)
    assert [line[10] for line in lines] == [result.why for result in RESULTS]
    assert lines[0][:9] == [1.0, 2.0, "r-1", "card", "411111******1111", 10.5, 0.07, "RUB", "paid"]
    assert (lines[0][11], lines[-1][5], lines[-1][6]) == (datetime(2026, 11, 22, 6, 30, 15), 1234567890123.45, -5.0)
    long = io.BytesIO()
    write_xlsx([Result(1, 1, amount="12345678901234.56")], long, created=AT)
    assert cells(long)[1][5] == "12345678901234.56"


def test_no_results() -> None:
    """Without rows there is still a header."""
    out = io.BytesIO()
    write_xlsx([], out, created=AT)
    assert cells(out) == [list(COLUMNS)]
    assert b"".join(write_csv([])).decode("utf-8-sig") == ",".join(COLUMNS) + "\r\n"
