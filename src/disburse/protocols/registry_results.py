"""Results of a registry as CSV or XLSX: one line a row of the file that came in, in its order.

Lives here: which columns, which cells are numbers, and how text is kept from becoming a formula. May not live here: where rows come
from (`operations/`), what a state is called (the domain's words go out as they are), a full card number (`destination` is masked already).

Rows are taken as they come and given on, so memory does not grow with them. XLSX is put together by its library, which keeps the sheet in a
file of its own for temporary things until it is packed.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import BinaryIO, Final, Literal

import msgspec
import xlsxwriter
from xlsxwriter.worksheet import Worksheet

SHEET_ROWS: Final = 1_000_000
"""A sheet holds 1,048,576 rows; the next million goes to the next sheet."""

_AT_ONCE: Final = 1000
_LONGEST_CELL: Final = 32_767
_SAFE_NUMBER: Final = 15  # digits that a sheet keeps of a number
_DANGEROUS: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠", "'")


class Result(msgspec.Struct, frozen=True, gc=False):
    """What became of one row. Amounts are text with the currency's digits, "" when the row has none that can be read.

    `destination` is masked. `why` tells faults, a refusal or a reason for failure. `finished_at` is set for what is final.
    """

    number: int
    line: int
    reference: str = ""
    rail: str = ""
    destination: str = ""
    amount: str = ""
    fee: str = ""
    currency: str = ""
    state: str = ""
    payout_id: str = ""
    why: str = ""
    finished_at: datetime | None = None


COLUMNS: Final = Result.__struct_fields__
"""The header: the names of `Result`, in its order."""

_NUMBERS: Final = frozenset({"number", "line", "amount", "fee"})
_MONEY: Final = frozenset({"amount", "fee"})


def write_csv(results: Iterable[Result], *, separator: Literal[",", ";"] = ",") -> Iterator[bytes]:
    """CSV by RFC 4180 in UTF-8 with its mark, in pieces. Text that a sheet would take for a formula gets an apostrophe in front.

    So does text that begins with an apostrophe: taking one away from every text cell that has one gives back what was meant. Numbers
    are never touched: -5 stays a number.
    """
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=separator, lineterminator="\r\n")
    out.write("\ufeff")
    writer.writerow(COLUMNS)
    for number, result in enumerate(results, 1):
        writer.writerow([_csv_cell(name, value) for name, value in _cells(result)])
        if number % _AT_ONCE == 0:
            yield _taken(out)
    yield _taken(out)


def write_xlsx(results: Iterable[Result], file: BinaryIO, *, created: datetime) -> None:
    """A workbook written to `file`, with `created` as its date. Strings are written as strings, whatever they begin with."""
    book = xlsxwriter.Workbook(
        file,
        {
            "constant_memory": True, "strings_to_formulas": False, "strings_to_urls": False, "strings_to_numbers": False,
            "default_date_format": "yyyy-mm-dd hh:mm:ss", "remove_timezone": True,
        },
    )  # fmt: skip
    try:
        book.set_properties({"created": created.astimezone(UTC).replace(tzinfo=None)})
        formats = {digits: book.add_format({"num_format": "0" if digits == 0 else f"0.{'0' * digits}"}) for digits in range(9)}
        sheet, at = None, 0
        for result in results:
            if sheet is None or at > SHEET_ROWS:
                sheet, at = book.add_worksheet(f"results {len(book.worksheets()) + 1}"), 1
                sheet.freeze_panes(1, 0)
                for column, name in enumerate(COLUMNS):
                    sheet.write_string(0, column, name)
            for column, (name, value) in enumerate(_cells(result)):
                _write_cell(sheet, at, column, name, value, formats)
            at += 1
        if sheet is None:
            sheet = book.add_worksheet("results 1")
            for column, name in enumerate(COLUMNS):
                sheet.write_string(0, column, name)
    finally:
        book.close()


def _write_cell(sheet: Worksheet, row: int, column: int, name: str, value: str | int | datetime | None, formats: dict[int, object]) -> None:
    if value is None or value == "":
        return
    if isinstance(value, datetime):
        sheet.write_datetime(row, column, value.astimezone(UTC))
    elif name in _NUMBERS and len(str(value).strip("-").replace(".", "")) <= _SAFE_NUMBER:
        digits = len(str(value).partition(".")[2])
        sheet.write_number(row, column, float(value), formats[digits] if name in _MONEY else None)
    else:  # a longer number would lose digits
        sheet.write_string(row, column, str(value)[:_LONGEST_CELL])


def _cells(result: Result) -> Iterator[tuple[str, str | int | datetime | None]]:
    return ((name, getattr(result, name)) for name in COLUMNS)


def _csv_cell(name: str, value: str | int | datetime | None) -> str | int:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if isinstance(value, str) and name not in _NUMBERS and value.startswith(_DANGEROUS):
        return f"'{value}"
    return value


def _taken(out: io.StringIO) -> bytes:
    written = out.getvalue().encode("utf-8")
    out.seek(0)
    out.truncate()
    return written
