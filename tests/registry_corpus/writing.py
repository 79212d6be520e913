"""How a file of the corpus looks as bytes: CSV of one fixed list of columns, in the file's separator and encoding.

Lives here: writing numbers and sums as different programs do, and whole files. Sums carry no spaces between thousands.
"""

from __future__ import annotations

import csv
import io
from typing import Final

from tests.registry_corpus.shapes import File, Place

COLUMNS: Final = ("rail", "number", "bank", "name", "amount", "currency", "comment", "reference")
_DIGITS: Final = {"USDT": 6}


def amount_text(minor: int, currency: str, separator: str) -> str:
    """The sum as a program with this separator writes it: a comma before kopecks beside semicolons, no kopecks beside tabs if none."""
    digits = _DIGITS.get(currency, 2)
    whole, rest = divmod(minor, 10**digits)
    if separator == "\t":
        return f"{whole}.{rest:0{digits}d}".rstrip("0").rstrip(".")
    return f"{whole}{',' if separator == ';' else '.'}{rest:0{digits}d}"


def number_text(place: Place, separator: str) -> str:
    """The number as a program with this separator writes it: cards in fours beside tabs, phones with their marks beside semicolons."""
    number = place.number
    if place.rail == "card" and separator == "\t":
        return " ".join(number[at : at + 4] for at in range(0, len(number), 4))
    if place.rail == "sbp" and separator == ";":
        return f"+7 ({number[1:4]}) {number[4:7]}-{number[7:9]}-{number[9:]}"
    return number


def content(file: File) -> bytes:
    """The file as it is uploaded."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter=file.separator, lineterminator="\r\n")
    if file.header:
        writer.writerow(COLUMNS)
    for row in file.rows:
        place = row.place
        writer.writerow((place.rail, row.number_text, place.bank or "", row.name or "", row.amount_text, row.currency, row.comment,
                         row.reference or ""))  # fmt: skip
    return text.getvalue().encode(file.encoding, "strict")
