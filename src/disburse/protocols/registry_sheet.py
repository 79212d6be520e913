"""XLSX registries: one sheet of a workbook, read as a stream of rows.

Lives here: sheets, shared strings, which numbers are dates, and what a cell says as text. May not live here: the archive and XML as such
(`registry_archive.py`), columns (`registry_layout.py`).

A number in a sheet is a binary fraction, and programs keep 15 digits of it: a card number of 16 digits that was typed into a numeric
cell is already another card. So a number is taken only where it says exactly what was typed. A formula is refused, not computed and
not trusted: its stored value may be of yesterday, or somebody's choice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import BinaryIO, Final

from disburse.protocols.registry_archive import USE_CSV, Archive, Walk
from disburse.protocols.registry_layout import FIELDS, ORDER, Layout, columns_of, control_row, unreadable
from disburse.protocols.registry_rows import Declared, Fault, Found, Limits, Options, Refused, Row, shown

_STRINGS_TEXT: Final = 16 * 1024**2
_STRINGS: Final = 1_000_000
_ELEMENTS_A_ROW: Final = 30
_MOST_CELLS: Final = 1000
_MOST_SPILLED: Final = 20
_MOST_SMALL: Final = 200_000
_NUMBER: Final = re.compile(r"-?[0-9]{1,20}(?:\.[0-9]{1,30})?(?:[eE][+-]?[0-9]{1,3})?")
_REFERENCE: Final = re.compile(r"([A-Z]{1,3})([1-9][0-9]{0,6})")
_RANGE: Final = re.compile(r"([A-Z]{1,3})([1-9][0-9]{0,6})(?::([A-Z]{1,3})([1-9][0-9]{0,6}))?")
_DATES: Final = frozenset({*range(14, 23), *range(27, 37), *range(45, 48), *range(50, 59)})
_NOT_A_LETTER: Final = re.compile(r'"[^"]*"|\[[^\]]*\]|\\.')
_TEXTS: Final = ("n", "str", "inlineStr", "d")
_EXACT: Final = 10**15

Opened = tuple[Found, Iterator[list[Row]], list[Declared]]
Cell = tuple[str, str | None]
"""What a cell says, and what is wrong with it."""


def open_sheet(file: BinaryIO, limits: Limits, options: Options) -> Opened:
    """What is found, the rows to come, and where control rows are put while they come. Raises Refused."""
    book = _Book(Archive(file, limits), options.sheet)
    declared: list[Declared] = []
    rows = _Rows(book, limits, options, declared)
    rows.begin()
    return Found("xlsx", header=rows.header, columns=rows.columns, sheet=shown(book.sheet)), rows.chunks(), declared


# --- the workbook ------------------------------------------------------------------------------------------------


class _Book:
    """Which part is the sheet, the strings that its cells share, and the styles that make a number a date."""

    def __init__(self, archive: Archive, wanted: str | None) -> None:
        self.archive = archive
        self.since = datetime(1899, 12, 30)
        self.strings: list[str] = []
        self.dates: list[bool] = []
        self._sheets: list[tuple[str, str]] = []
        Walk(self._in_workbook, _nothing, _MOST_SMALL).through(archive.part("xl/workbook.xml"))
        targets: dict[str, tuple[str, str]] = {}

        def in_relations(name: str, attributes: Mapping[str, str]) -> None:
            if name == "Relationship":
                kind = attributes.get("Type", "").rpartition("/")[2]
                targets[attributes.get("Id", "")] = (kind, _path(attributes.get("Target", "")))

        Walk(in_relations, _nothing, _MOST_SMALL).through(archive.part("xl/_rels/workbook.xml.rels"))
        sheets = [(name, targets[key][1]) for name, key in self._sheets if targets.get(key, ("", ""))[0] == "worksheet"]
        self.sheet, self.part = _one_of(sheets, wanted)
        for kind, path in targets.values():
            if kind == "sharedStrings" and archive.has(path):
                _Strings(self.strings).read(archive.part(path))
            elif kind == "styles" and archive.has(path):
                self.dates = _Styles().read(archive.part(path))

    def _in_workbook(self, name: str, attributes: Mapping[str, str]) -> None:
        if name == "sheet":
            key = next((value for key, value in attributes.items() if key.endswith(" id")), "")
            self._sheets.append((attributes.get("name", ""), key))
        elif name == "workbookPr" and attributes.get("date1904") in ("1", "true"):
            self.since = datetime(1904, 1, 1)


def _one_of(sheets: list[tuple[str, str]], wanted: str | None) -> tuple[str, str]:
    if wanted is not None:
        sheets = [sheet for sheet in sheets if sheet[0] == wanted]
        if not sheets:
            raise Refused("there is no sheet of the name that the option `sheet` gives")
    if not sheets:
        raise Refused("there is no sheet in it")
    if len(sheets) > 1:
        names = ", ".join(repr(shown(name)) for name, _ in sheets[:5])
        raise Refused(f"there are {len(sheets)} sheets ({names}); say which with the option `sheet`, or delete the others")
    return sheets[0]


def _path(target: str) -> str:
    target = target.replace("\\", "/")
    return target[1:] if target.startswith("/") else f"xl/{target}"


def _nothing(*_: object) -> None:
    pass


class _Strings:
    """Shared strings; text set in several fonts is one string, and the readings over it are none of it."""

    def __init__(self, into: list[str]) -> None:
        self._into, self._runs, self._length = into, list[str](), 0
        self._aside = False

    def read(self, pieces: Iterator[bytes]) -> None:
        Walk(self._start, self._end, 4 * _STRINGS).through(pieces)

    def _start(self, name: str, _: Mapping[str, str]) -> None:
        if name == "si":
            self._runs = []
        elif name == "rPh":
            self._aside = True

    def _end(self, name: str, text: str) -> None:
        if name == "t" and not self._aside:
            self._runs.append(text)
            self._length += len(text)
        elif name == "rPh":
            self._aside = False
        elif name == "si":
            self._into.append("".join(self._runs))
            if len(self._into) > _STRINGS or self._length > _STRINGS_TEXT:
                raise Refused(f"there is too much text in the sheet; {USE_CSV}")


class _Styles:
    """For each style of cells, whether its numbers are dates."""

    def __init__(self) -> None:
        self._formats: dict[str, bool] = {}
        self._inside = False
        self._dates: list[bool] = []

    def read(self, pieces: Iterator[bytes]) -> list[bool]:
        Walk(self._start, self._end, _MOST_SMALL).through(pieces)
        return self._dates

    def _start(self, name: str, attributes: Mapping[str, str]) -> None:
        if name == "numFmt":
            letters = _NOT_A_LETTER.sub("", attributes.get("formatCode", "")[:255].lower())
            self._formats[attributes.get("numFmtId", "")] = any(letter in letters for letter in "ymdhs")
        elif name == "cellXfs":
            self._inside = True
        elif name == "xf" and self._inside:
            number = attributes.get("numFmtId", "0")
            known = self._formats.get(number)
            self._dates.append(known if known is not None else number.isascii() and number.isdecimal() and int(number[:9]) in _DATES)

    def _end(self, name: str, _: str) -> None:
        if name == "cellXfs":
            self._inside = False


# --- the sheet ---------------------------------------------------------------------------------------------------


class _Rows:
    """Rows as the walk through the sheet finds them."""

    def __init__(self, book: _Book, limits: Limits, options: Options, declared: list[Declared]) -> None:
        self._book, self._limits, self._options, self._declared = book, limits, options, declared
        self.header, self.columns = False, ()  # type: bool, tuple[str, ...]
        self._layout: Layout | None = None
        self._walk = Walk(self._start, self._end, _ELEMENTS_A_ROW * limits.sheet_rows).feed(book.archive.part(book.part))
        self._found: list[Row] = []
        self._number = self._line = self._cells_of_row = 0
        self._cells: list[Cell] = []
        self._hidden = False
        self._spilled: list[tuple[int, int, int, int]] = []  # what formulas of several cells fill: columns from, to, rows from, to
        self._column = -1
        self._kind, self._date, self._formula, self._aside = "n", False, False, False
        self._texts: list[str] = []

    def begin(self) -> None:
        """Walk until the columns are known. Raises Refused."""
        while self._layout is None:
            if next(self._walk, self) is self:
                raise Refused("there is no row in it")

    def chunks(self) -> Iterator[list[Row]]:
        for _ in self._walk:
            if len(self._found) >= 1000:
                yield self._found
                self._found = []
        if self._found:
            yield self._found

    def _start(self, name: str, attributes: Mapping[str, str]) -> None:
        if name == "c":
            self._open_cell(attributes)
        elif name == "row":
            self._open_row(attributes)
        elif name == "f":
            self._formula = True
            if attributes.get("t") in ("array", "dataTable") and "ref" in attributes:
                self._spilled.append(_range(attributes["ref"]))
                if len(self._spilled) > _MOST_SPILLED:
                    raise Refused("it is full of formulas; save values instead, or CSV")
        elif name == "rPh":
            self._aside = True
        elif name == "mergeCell":
            raise Refused(f"it has merged cells ({shown(attributes.get('ref', ''))}); part them")

    def _end(self, name: str, text: str) -> None:
        if name == "v" or (name == "t" and not self._aside):
            self._texts.append(text)
        elif name == "c":
            self._cells[self._column] = self._cell("".join(self._texts))
        elif name == "row":
            self._close_row()
        elif name == "rPh":
            self._aside = False

    def _open_row(self, attributes: Mapping[str, str]) -> None:
        given = attributes.get("r")
        line = int(given) if given is not None and given.isascii() and given.isdecimal() and len(given) <= 7 else self._line + 1
        if line <= self._line:
            raise Refused("its rows are out of order; save it again, or as CSV", line=line)
        self._line, self._cells, self._column, self._cells_of_row = line, [], -1, 0
        self._spilled = [one for one in self._spilled if one[3] >= line]
        self._hidden = attributes.get("hidden") in ("1", "true")

    def _open_cell(self, attributes: Mapping[str, str]) -> None:
        place = attributes.get("r")
        column = self._column + 1
        if place is not None:
            match = _REFERENCE.fullmatch(place)
            if match is None or int(match[2]) != self._line or _letters(match[1]) < column:
                raise Refused("its cells are out of order; save it again, or as CSV", line=self._line)
            column = _letters(match[1])
        self._cells_of_row += 1
        if self._cells_of_row > _MOST_CELLS:
            raise Refused(f"a row has more than {_MOST_CELLS} cells", line=self._line)
        # A far cell takes the place of the first beyond all columns: whatever is there, the row has too many.
        self._column = min(column, self._limits.columns)
        self._cells += [("", None)] * (self._column + 1 - len(self._cells))
        style = attributes.get("s", "")
        styles = self._book.dates
        self._date = style.isascii() and style.isdecimal() and int(style[:9]) < len(styles) and styles[int(style[:9])]
        self._kind = attributes.get("t", "n")
        self._formula = any(a <= column <= b and c <= self._line <= d for a, b, c, d in self._spilled)
        self._texts = []

    def _cell(self, text: str) -> Cell:
        """What the cell that ends here says."""
        why = None
        if self._kind == "s":
            if not (text.isascii() and text.isdecimal() and int(text[:9]) < len(self._book.strings)):
                raise Refused("a cell names a text that is not there; save it again, or as CSV", line=self._line)
            text = self._book.strings[int(text[:9])]
        elif self._kind == "e":
            text, why = "", "holds an error of the sheet"
        elif self._kind == "b":
            text = "FALSE" if text in ("0", "false") else "TRUE"
        elif self._kind == "n" and text:
            text, why = self._number_text(text)
        elif self._kind not in _TEXTS:
            text, why = "", "is of a kind that is not known"
        return text, "is a formula; write its value" if self._formula else why

    def _number_text(self, text: str) -> Cell:
        columns = self.columns or ORDER  # before a header is read: there may be none
        column = columns[self._column] if self._column < len(columns) else ""
        if _NUMBER.fullmatch(text) is None:
            return "", "is a number that cannot be read"
        value = float(text)
        if self._date:
            if column != "execute_at":
                return "", "is a date; format the column as text and type it again"
            if not 61 <= value < 2958466:
                return "", "is a date that cannot be read"
            seconds = timedelta(seconds=round(value * 86400))
            return (self._book.since + seconds).isoformat(timespec="seconds"), None
        # The shortest text that means the same binary fraction: what was typed, as long as it had 15 digits or fewer.
        if abs(value) < _EXACT and value == int(value):
            return str(int(value)), None
        plain = repr(value) if abs(value) < _EXACT else ""
        if column == "amount" and plain and "e" not in plain:
            return plain, None
        return plain, "is a number that lost digits, or has a fraction; format the column as text and type it again"

    def _close_row(self) -> None:
        cells = self._cells
        texts = [text for text, _ in cells]
        if not any(cell[0].strip() or cell[1] for cell in cells):
            return
        control = control_row(texts, self._line)
        if control is not None:
            self._declared.append(control)
            return
        if self._layout is None:
            options = self._options
            self.columns, self.header = columns_of(texts, header=options.header, line=self._line, limits=self._limits)
            if not self.header:
                self.columns = ORDER
            self._layout = Layout(self.columns, self._limits, decimal_comma=True, currency=options.currency)
            if self.header:
                return
        self._number += 1
        if self._number > self._limits.sheet_rows:
            raise Refused(f"there are more than {self._limits.sheet_rows} rows; {USE_CSV}", line=self._line)
        self._found.append(self._row(self._layout, cells, texts))

    def _row(self, layout: Layout, cells: list[Cell], texts: list[str]) -> Row:
        wide = len(self.columns)
        if self._hidden:
            return unreadable(self._number, self._line, "is hidden in the sheet; show it, or delete it")
        if any(text.strip() or why for text, why in cells[wide:]):
            return unreadable(self._number, self._line, f"has cells beyond its {wide} columns")
        texts = [*texts[:wide], *[""] * (wide - len(texts))]
        faults = [Fault(FIELDS.get(name, name), "", why) for name, (_, why) in zip(self.columns, cells, strict=False) if why is not None]
        return layout.row(self._number, self._line, texts, faults=faults)


_LETTERS: Final[dict[str, int]] = {}


def _letters(letters: str) -> int:
    """The place of a column, from 0. There are 18,278 of at most three letters."""
    place = _LETTERS.get(letters)
    if place is None:
        place = 0
        for letter in letters:
            place = place * 26 + ord(letter) - 64
        place = _LETTERS[letters] = place - 1
    return place


def _range(text: str) -> tuple[int, int, int, int]:
    match = _RANGE.fullmatch(text)
    if match is None:
        raise Refused("a formula fills cells that cannot be told; save values instead, or CSV")
    last, end = match[3] or match[1], match[4] or match[2]
    return _letters(match[1]), _letters(last), int(match[2]), int(end)
