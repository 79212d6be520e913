"""CSV registries: the separator, the quotes, and rows out of lines, a million of them in seconds.

Lives here: what RFC 4180 leaves open, and how it is decided here. May not live here: columns (`registry_layout.py`), bytes
(`registry_text.py`).

A row is one line. A quoted field that goes over the end of its line makes one faulty row of all the lines it covers: were they read as
rows of their own, whoever can write a comment could write a payout. A quote that is never closed costs its own line only; that it
never is, is known, because the quotes of the file were counted before.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import BinaryIO, Final, NamedTuple

from disburse.protocols.registry_layout import (
    ORDER,
    RAILS,
    SHORTEST,
    UNITPAY_ORDER,
    Layout,
    columns_of,
    control_row,
    unreadable,
)
from disburse.protocols.registry_rows import Declared, Found, Limits, Options, Refused, Row
from disburse.protocols.registry_text import ESCAPED, Block, Survey, blocks, survey

SEPARATORS: Final = (",", ";", "\t")
_NAMES: Final = {",": "comma", ";": "semicolon", "\t": "tab"}
_LOOKED_AT: Final = 20
_LONGEST_QUOTED: Final = 50  # lines that one quoted field may cover before the file is refused
_MOST_BLANK: Final = 100_000  # empty lines

Opened = tuple[Found, Iterator[list[Row]], list[Declared]]


class _Table(NamedTuple):
    separator: str
    columns: tuple[str, ...]
    header: bool
    header_line: int


def open_csv(file: BinaryIO, limits: Limits, options: Options, *, unitpay: bool) -> Opened:
    """What is found, the rows to come, and where control rows are put while they come. Raises Refused."""
    surveyed = survey(file, limits, options.encoding)
    first = next(blocks(file, surveyed, limits, tabs=True), None)
    if first is None:
        raise Refused("the file is empty")
    table = _look(first.lines, limits, options, unitpay)
    currency = options.currency or ("RUB" if unitpay else "")
    layout = Layout(table.columns, limits, decimal_comma=table.separator != ",", currency=currency)
    found = Found(
        "unitpay" if unitpay else "csv", surveyed.encoding, _NAMES[table.separator], table.header, table.columns
    )
    declared: list[Declared] = []
    return found, _Rows(file, surveyed, limits, table, layout, declared).chunks(), declared


# --- which separator, which columns ------------------------------------------------------------------------------


def _look(lines: Sequence[str], limits: Limits, options: Options, unitpay: bool) -> _Table:
    sample = [(at, line) for at, line in enumerate(lines, 1) if line.strip(" ,;\t") and not line.lstrip(' "').startswith("#")][:_LOOKED_AT]
    if not sample:
        raise Refused("there is no row in it")
    if options.separator is not None:
        if options.separator not in SEPARATORS:
            raise Refused("the option `separator` is a comma, a semicolon or a tab")
        return _table(sample, options.separator, limits, options, unitpay)
    fitting, refusals = [], []
    for separator in SEPARATORS:
        try:
            fitting.append(_table(sample, separator, limits, options, unitpay))
        except Refused as refused:
            refusals.append((len(_cells(sample[0][1], separator)), refused))
    if not fitting:
        raise max(refusals, key=lambda one: one[0])[1]
    if len(fitting) > 1:
        named = [table for table in fitting if table.header or _names_rails(sample, table)]
        if len(named) != 1:
            found = " or ".join(_NAMES[table.separator] for table in fitting)
            raise Refused(f"the separator could be {found}; say which with the option `separator`")
        fitting = named
    return fitting[0]


def _table(sample: list[tuple[int, str]], separator: str, limits: Limits, options: Options, unitpay: bool) -> _Table:
    """The columns with this separator. Raises Refused when it does not fit."""
    line, first = sample[0]
    order, shortest = (UNITPAY_ORDER, 3) if unitpay else (ORDER, SHORTEST)
    cells = _cells(first, separator)
    columns, header = columns_of(cells, order=order, shortest=1, header=options.header, line=line, limits=limits)
    if header:
        return _Table(separator, columns, True, line)
    # The first row may be a bad one; most of them are not.
    widths = Counter(len(_cells(text, separator)) for _, text in sample)
    wide = max((width for width in widths if shortest <= width <= len(order)), key=lambda width: (widths[width], width), default=0)
    if not wide:
        raise Refused(
            f"there is no header, and {len(cells)} columns (parted by {_NAMES[separator]}); without a header they are {', '.join(order)}: "
            f"{shortest} to {len(order)} of them", line=line,
        )  # fmt: skip
    return _Table(separator, tuple(order[:wide]), False, 0)


def _names_rails(sample: list[tuple[int, str]], table: _Table) -> bool:
    place = table.columns.index("rail")
    rows = [_cells(text, table.separator) for _, text in sample]
    return any(len(cells) > place and cells[place].strip().casefold() in RAILS for cells in rows)


def _cells(line: str, separator: str) -> list[str]:
    if '"' in line:
        try:
            return next(csv.reader([line], delimiter=separator, strict=True))
        except csv.Error:
            pass  # whatever is wrong with its quotes is told when it is read as a row
    return line.split(separator)


# --- rows --------------------------------------------------------------------------------------------------------


class _Rows:
    """The state between lines: numbers of rows, quotes that are still to come, and the quoted field that is open."""

    def __init__(self, file: BinaryIO, found: Survey, limits: Limits, table: _Table, layout: Layout, declared: list[Declared]) -> None:
        self._blocks = blocks(file, found, limits, tabs=table.separator == "\t")
        self._limits, self._table, self._layout, self._declared = limits, table, layout, declared
        self._number = self._blank = 0
        self._quotes_left = found.quotes
        self._opened: int | None = None  # the line of a quote that is open

    def chunks(self) -> Iterator[list[Row]]:
        for block in self._blocks:
            rows = self._read(block)
            for at in range(0, len(rows), 1000):
                yield rows[at : at + 1000]
        if self._opened is not None:
            yield [self._broken(self._opened, _NEVER_CLOSED)]

    def _read(self, block: Block) -> list[Row]:
        if block.escaped:
            # Some programs write a quote in a field so, and what follows it may be text or a row of its own: nobody can tell.
            line = next((at for at, text in enumerate(block.lines, block.first) if ESCAPED.search(text)), None)
            if line is not None:
                raise Refused('there is a quote behind a backslash; write a quote in a quoted field twice ("")', line=line)
        whole = self._whole(block) if self._opened is None else None
        if whole is not None:
            self._quotes_left -= block.quotes
            return self._rows(whole, block.first, block.suspect)
        rows: list[Row] = []
        for line, text in enumerate(block.lines, block.first):
            rows += self._careful(line, text, block.suspect)
        return rows

    def _whole(self, block: Block) -> list[list[str]] | None:
        """The cells of lines of which each is a row of its own; None when a quote goes over the end of one, or is misplaced."""
        separator = self._table.separator
        if not block.quotes:
            return [line.split(separator) for line in block.lines]
        try:
            cells = list(csv.reader(block.lines, delimiter=separator, strict=True))
        except csv.Error:
            return None
        return cells if len(cells) == len(block.lines) else None

    def _rows(self, cells_of: list[list[str]], first: int, suspect: bool) -> list[Row]:
        rows: list[Row] = []
        number, make, header = self._number, self._layout.row, self._table.header_line
        for line, cells in enumerate(cells_of, first):
            if (not cells or not cells[0] or cells[0].isspace()) and not "".join(cells).strip():
                self._blank += 1
                continue
            if line == header:
                continue
            if cells[0][:1] == "#":
                declared = control_row(cells, line)
                if declared is not None:
                    self._declared.append(declared)
                    continue
            number += 1
            rows.append(make(number, line, cells, suspect=suspect))
        self._number = number
        if self._blank > _MOST_BLANK:
            raise Refused(f"there are more than {_MOST_BLANK} empty lines; take them out", line=first)
        if number > self._limits.rows:
            raise Refused(f"there are more than {self._limits.rows} rows; split the file", line=first)
        return rows

    def _careful(self, line: int, text: str, suspect: bool) -> list[Row]:
        """The rows that end with this line, none or one."""
        if '"' not in text:
            if self._opened is None:
                return self._rows([text.split(self._table.separator)], line, suspect)
            if line - self._opened > _LONGEST_QUOTED:
                raise Refused(f"a quote is opened and not closed on the next {_LONGEST_QUOTED} lines; correct it", line=self._opened)
            return []
        self._quotes_left -= text.count('"')
        begun = self._opened
        try:
            cells = next(csv.reader([text if begun is None else f'"{text}'], delimiter=self._table.separator, strict=True))
        except csv.Error as error:
            return self._misquoted(line, "unexpected end of data" in str(error))
        if begun is None:
            return self._rows([cells], line, suspect)
        self._opened = None
        return [self._broken(begun, f"has a quoted field with a line break; lines {begun} to {line} were read as this one row")]

    def _misquoted(self, line: int, still_open: bool) -> list[Row]:
        begun = self._opened if self._opened is not None else line
        if still_open and self._quotes_left:
            self._opened = begun
            return []
        self._opened = None
        if begun != line:
            return [self._broken(begun, f"has a quoted field with a line break; lines {begun} to {line} were read as this one row")]
        return [self._broken(line, _NEVER_CLOSED if still_open else "has a quote in the middle of a quoted field; write it twice")]

    def _broken(self, line: int, why: str) -> Row:
        self._number += 1
        return unreadable(self._number, line, why)


_NEVER_CLOSED: Final = "has a quote that is opened and never closed"
