"""Reading a registry: a file in, rows in chunks out, whatever its kind; and what was found about the file on the way.

Lives here: how the kind is told, `read` and `Reading`. May not live here: one kind's own rules (`registry_csv.py`, `registry_sheet.py`,
`registry_jsonl.py`). Nothing here opens a file: the caller does, in binary, and closes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, Final, Literal

from disburse.protocols.registry_csv import open_csv
from disburse.protocols.registry_jsonl import open_json_lines
from disburse.protocols.registry_rows import (
    DEFAULT_LIMITS,
    DEFAULT_OPTIONS,
    Declared,
    Found,
    Limits,
    Options,
    Refused,
    Row,
)
from disburse.protocols.registry_sheet import open_sheet

_ZIP: Final = b"PK\x03\x04"
_OLD: Final = b"\xd0\xcf\x11\xe0"
_MARK: Final = b"\xef\xbb\xbf"


class Reading(Iterator[list[Row]]):
    """A file being read. Iterate it for rows; `found` is there from the beginning, `declared` is whole when the rows are through."""

    def __init__(self, found: Found, chunks: Iterator[list[Row]], declared: list[Declared]) -> None:
        self.found = found
        self.declared = declared
        self.rows = 0
        self._chunks = chunks

    def __iter__(self) -> Reading:
        return self

    def __next__(self) -> list[Row]:
        """The next rows, never an empty list. Raises Refused: then all rows given before are void too."""
        chunk = next(self._chunks)
        self.rows += len(chunk)
        return chunk


def read(
    file: BinaryIO,
    *,
    kind: Literal["auto", "csv", "xlsx", "unitpay", "jsonl"] = "auto",
    limits: Limits = DEFAULT_LIMITS,
    options: Options = DEFAULT_OPTIONS,
) -> Reading:
    """Begin to read a registry from a binary file that can be sought in. Memory does not grow with the file.

    `auto` tells XLSX and JSON lines by their first bytes, and takes the rest for CSV; UnitPay's layout must be named. Control rows are
    given in `declared`; whoever judges the rows compares them (`domain/registry.Tally`). Raises Refused, here and while iterating.
    """
    file.seek(0)
    head = file.read(1024)
    if head.startswith(_OLD):
        raise Refused("it is an old .xls, or protected by a password; save it as XLSX without a password, or as CSV")
    if kind == "auto":
        begins = head.removeprefix(_MARK).lstrip()
        kind = "xlsx" if head.startswith(_ZIP) else "jsonl" if begins.startswith(b"{") else "csv"
    if kind == "xlsx":
        return Reading(*open_sheet(file, limits, options))
    if head.startswith(_ZIP):
        raise Refused("it is an archive and no text; if it is a sheet, say so with the option `kind`")
    if kind == "jsonl":
        return Reading(*open_json_lines(file, limits, options))
    return Reading(*open_csv(file, limits, options, unitpay=kind == "unitpay"))
