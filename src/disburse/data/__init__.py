"""Reference data that ships with the package: SBP's member banks, and what is known of card numbers' first six digits.

Lives here: the files and their loaders, called when a process starts. May not live here: anything that decides about a
payout (`domain/`), anything that changes while we run. Where the files come from is told in README.md beside them.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import lru_cache
from importlib import resources
from pathlib import Path

_VTB = frozenset({"100000000005", "110000000005"})
"""VTB has two numbers: the list's present one, and the older one that many programs still send."""

_SIX_DIGITS = re.compile(r"[0-9]{6}")


class DataFileError(Exception):
    """A reference file cannot be used. The text names the file, and every line at fault with the reason."""

    def __init__(self, file: str, faults: list[str]) -> None:
        self.file, self.faults = file, tuple(faults)
        super().__init__(f"{file}: " + "; ".join(faults))


@dataclass(frozen=True, slots=True)
class SbpMember:
    """A bank that takes part in SBP; `name` is in Russian, and names are labels, never keys.

    `status`: "current", another word of README.md, or "operator" for an id that only the settings know.
    """

    member_id: str
    name: str
    name_en: str
    status: str


@dataclass(frozen=True, slots=True)
class BinRow:
    """What is known of a card's first six digits (unitpay.md section 8); empty text is "not known"."""

    bin: str
    bank: str
    country_code: str
    brand: str
    category: str
    type: str
    bank_url: str
    bank_phone: str


def load_sbp_members(extra: Iterable[str] = ()) -> tuple[SbpMember, ...]:
    """The members to offer, by id: the current ones, and those of `extra` that the operator switches on.

    An id in `extra` that the list has never heard of (a provider's test member) is offered under its own number.
    Raises DataFileError when the package's files are damaged.
    """
    return _offered(tuple(extra))


@lru_cache(maxsize=8)
def _offered(extra: tuple[str, ...]) -> tuple[SbpMember, ...]:
    known = _known_members()
    wanted = {member_id for member_id in known if known[member_id].status == "current"}.union(extra)
    return tuple(known.get(one) or SbpMember(one, one, one, "operator") for one in sorted(wanted))


@lru_cache(maxsize=1)
def _known_members() -> dict[str, SbpMember]:
    status = {row["member_id"]: row["status"] for row in _rows_of_ours("sbp-members-provenance.csv")}
    return {
        row["member_id"]: SbpMember(row["member_id"], row["name"], row["name_en"], status[row["member_id"]])
        for row in _rows_of_ours("sbp-members.csv")
    }


def accepted_member_ids(members: Iterable[SbpMember]) -> frozenset[str]:
    """The ids a payout may name when these members are offered: theirs, and both of VTB's if either is among them."""
    ids = frozenset(member.member_id for member in members)
    return ids | _VTB if ids & _VTB else ids


def load_bin_rows(path: Path | None = None) -> dict[str, BinRow]:
    """Rows by their six digits, from the operator's file or the one that ships (it holds the documented example alone).

    The file: UTF-8 CSV with the header bin,bank,country_code,brand,category,type,bank_url,bank_phone.
    Raises DataFileError with every fault, OSError when the file cannot be opened.
    """
    if path is None:
        name, raw = "bins.csv", resources.files(__name__).joinpath("bins.csv").read_bytes()
    else:
        name, raw = str(path), path.read_bytes()
    header = [field.name for field in fields(BinRow)]
    rows: dict[str, BinRow] = {}
    faults: list[str] = []
    for line, row in _read_csv(name, raw, header):
        why = _fault_of(row, rows)
        if why is None:
            rows[row["bin"]] = BinRow(**row)
        else:
            faults.append(f"line {line}: {why}")
    if faults:
        raise DataFileError(name, faults)
    return rows


def _fault_of(row: dict[str, str], earlier: dict[str, BinRow]) -> str | None:
    if _SIX_DIGITS.fullmatch(row["bin"]) is None:
        return "bin is not six digits"
    if row["bin"] in earlier:
        return "bin stands in the file twice"
    unprintable = [field for field, value in row.items() if not value.isprintable()]
    return f"{unprintable[0]} has characters that cannot be printed" if unprintable else None


def _rows_of_ours(name: str) -> list[dict[str, str]]:
    raw = resources.files(__name__).joinpath(name).read_bytes()
    return [row for _, row in _read_csv(name, raw, None)]


def _read_csv(name: str, raw: bytes, header: list[str] | None) -> list[tuple[int, dict[str, str]]]:
    """The rows with their line numbers. A row must have exactly the header's columns."""
    try:
        reader = csv.reader(io.StringIO(raw.decode("utf-8-sig"), newline=""), strict=True)
        found = next(reader, [])
        if not found or (header is not None and found != header):
            raise DataFileError(name, [f"line 1: the header is not {','.join(header or ['there'])}"])
        rows = [(reader.line_num, row) for row in reader if row]
    except (UnicodeDecodeError, csv.Error) as problem:
        raise DataFileError(name, [f"is not CSV in UTF-8 ({type(problem).__name__})"]) from None
    short = [f"line {line}: has {len(row)} columns, not {len(found)}" for line, row in rows if len(row) != len(found)]
    if short:
        raise DataFileError(name, short)
    return [(line, dict(zip(found, row, strict=True))) for line, row in rows]
