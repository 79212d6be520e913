"""Whether a registry's row can be paid: every fault of it, or its money and destination.

Lives here: what amounts, destinations, references, comments and times of a row must be, and the sums that a file's control rows are held
against. May not live here: how files are read (`protocols/registry_*`), limits, fees, routes and duplicates (`operations/`).

There is one road: `domain/money.py` reads amounts and `domain/destinations.py` destinations, here as at every door.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Final, Protocol

import msgspec

from disburse.domain.destinations import (
    BadDestination,
    Destination,
    Rail,
    mask,
    read_account,
    read_card,
    read_qiwi,
    read_sbp,
    read_usdt,
    read_webmoney,
)
from disburse.domain.money import (
    DIGITS,
    BadAmount,
    BadCurrency,
    Money,
    minor_text,
    read_amount,
    read_currency,
    read_positive_amount,
)
from disburse.domain.refusals import Fault, Refusal

LONGEST_REFERENCE: Final = 200
LONGEST_COMMENT: Final = 1000


class _FormFault(Protocol):
    @property
    def field(self) -> str: ...
    @property
    def value(self) -> str: ...
    @property
    def why(self) -> str: ...


class RowText(Protocol):
    """What is judged: a row as `protocols/registry_rows.Row` holds it."""

    @property
    def line(self) -> int: ...
    @property
    def reference(self) -> str | None: ...
    @property
    def rail(self) -> str: ...
    @property
    def destination(self) -> Mapping[str, str]: ...
    @property
    def amount_text(self) -> str: ...
    @property
    def currency(self) -> str: ...
    @property
    def comment(self) -> str | None: ...
    @property
    def execute_at(self) -> str | None: ...
    @property
    def faults(self) -> Sequence[_FormFault]: ...


@dataclass(frozen=True, slots=True)
class Rules:
    """What the judge must be told of the merchant and the house.

    `members`: the SBP banks that a payout may name. `default_bank`: the one of rows that name none. `currency`: of rows that name none
    (None: they have a fault). `zone`: of times that name none (None: they have a fault).
    """

    members: frozenset[str]
    default_bank: str | None = None
    currency: str | None = None
    zone: tzinfo | None = None


class Judged(msgspec.Struct, frozen=True, gc=False):
    """What became of one row. Without faults `money` and `destination` are there; with faults whatever could still be read is."""

    money: Money | None
    destination: Destination | None
    execute_at: datetime | None
    faults: tuple[Fault, ...]


def judge(row: RowText, rules: Rules) -> Judged:
    """Read a row's meaning. Every fault of it is told, those of form first; values are masked, and may be logged."""
    faults: list[Fault] = []
    if row.faults:
        faults += [Fault(fault.field, fault.why, fault.value, row.line) for fault in row.faults]
        if faults[0].field == "row":  # its cells cannot be told apart
            return Judged(None, None, None, tuple(faults))
    money = _money(row.amount_text, row.currency or rules.currency, row.line, faults)
    reader = _READERS.get(row.rail)
    destination = None
    if reader is None:
        faults.append(Fault("rail", "is not known" if row.rail else _MISSING, _shown(row.rail), row.line))
    else:
        destination = _destination(reader, row, rules, faults)
    reference = row.reference
    if reference is not None:
        if not 1 <= len(reference) <= LONGEST_REFERENCE:
            faults.append(Fault("reference", f"has not 1 to {LONGEST_REFERENCE} characters", _shown(reference), row.line))
        elif not reference.isprintable() or reference != reference.strip():
            faults.append(Fault("reference", "holds an invisible character, or white space at an end", _shown(reference), row.line))
    if row.comment is not None and len(row.comment) > LONGEST_COMMENT:
        faults.append(Fault("comment", f"has more than {LONGEST_COMMENT} characters", "", row.line))
    at = _time(row.execute_at, rules.zone, row.line, faults) if row.execute_at is not None else None
    if row.faults:
        faults = _without_echoes(faults, len(row.faults))
    return Judged(money, destination, at, tuple(faults))


def _without_echoes(faults: list[Fault], of_form: int) -> list[Fault]:
    """The faults without those that only say that something is missing which could not be read: that was told before."""
    told = {fault.field for fault in faults[:of_form]}

    def echoes(fault: Fault) -> bool:
        area, _, detail = fault.field.partition(".")
        return fault.why == _MISSING and bool(told & {fault.field, ("bank" if detail in ("bank", "bik") else area)})

    return faults[:of_form] + [fault for fault in faults[of_form:] if not echoes(fault)]


_MISSING: Final = "is missing"


def _money(text: str, currency: str | None, line: int, faults: list[Fault]) -> Money | None:
    if not currency:
        faults.append(Fault("currency", _MISSING, "", line))
        currency = None
    else:
        try:
            return read_positive_amount(text, read_currency(currency))
        except BadCurrency as fault:
            faults.append(Fault("currency", fault.why, _shown(currency), line))
            currency = None
        except BadAmount as fault:
            faults.append(Fault("amount", fault.why if text else _MISSING, _shown(text), line))
            return None
    try:
        read_positive_amount(text, _WIDEST)  # no currency to hold it against, and it can be wrong in itself
    except BadAmount as fault:
        faults.append(Fault("amount", fault.why if text else _MISSING, _shown(text), line))
    return None


_WIDEST: Final = max((code for code in DIGITS), key=lambda code: (DIGITS[code], code))


def _destination(reader: _Reader, row: RowText, rules: Rules, faults: list[Fault]) -> Destination | None:
    given = row.destination
    found: Destination | None = None
    banked: Destination | None = None
    try:
        found = banked = reader.read(given, rules)
    except BadDestination as fault:
        faults.append(_told(reader, fault, given, row.line))
        banked = _with_sample(reader, row, rules, faults) if fault.field == "number" and reader.bank is not None else None
    if banked is not None and banked.rail is Rail.SBP and banked.bank not in rules.members:
        faults.append(Fault(f"destination.{reader.bank}", "is not one of the banks of SBP", mask(Rail.QIWI, banked.bank or ""), row.line))
        found = None
    name = given.get("name")
    if name is not None:
        try:
            named = (found or Destination(reader.rail, "")).named(name)
            found = named if found is not None else None
        except BadDestination as fault:
            faults.append(Fault("destination.name", fault.why, "", row.line))
            found = None
    return found


def _with_sample(reader: _Reader, row: RowText, rules: Rules, faults: list[Fault]) -> Destination | None:
    """The row's bank beside a right number: whether it is wrong too is told although the row's own number is."""
    try:
        return reader.read({**row.destination, reader.number: reader.sample}, rules)
    except BadDestination as fault:
        if fault.field == "bank":
            faults.append(_told(reader, fault, row.destination, row.line))
        return None


def _told(reader: _Reader, fault: BadDestination, given: Mapping[str, str], line: int) -> Fault:
    field = reader.number if fault.field == "number" else reader.bank or fault.field
    text = "".join(given.get(field, "").split()).replace("-", "")
    shown = mask(reader.rail if fault.field == "number" else Rail.QIWI, text) if len(text) <= 64 and text.isprintable() else ""
    return Fault(f"destination.{field}", fault.why if text else _MISSING, shown, line)


@dataclass(frozen=True, slots=True)
class _Reader:
    """How a rail's fields are read. `sample` is a number of the right form, to have the bank judged when the number is wrong."""

    rail: Rail
    number: str
    read: Callable[[Mapping[str, str], Rules], Destination]
    bank: str | None = None
    sample: str = ""


_READERS: Final[dict[str, _Reader]] = {
    "card": _Reader(Rail.CARD, "number", lambda given, _: read_card(given.get("number", ""), luhn=True)),
    "sbp": _Reader(
        Rail.SBP, "phone", lambda given, rules: read_sbp(given.get("phone", ""), given.get("bank", rules.default_bank)), "bank", "79000000000"
    ),
    "webmoney": _Reader(Rail.WEBMONEY, "purse", lambda given, _: read_webmoney(given.get("purse", ""))),
    "qiwi": _Reader(Rail.QIWI, "wallet", lambda given, _: read_qiwi(given.get("wallet", ""))),
    "usdt": _Reader(Rail.USDT, "address", lambda given, _: read_usdt(given.get("address", ""))),
    "account": _Reader(Rail.ACCOUNT, "account", lambda given, _: read_account(given.get("account", ""), given.get("bik")), "bik", "4" * 20),
}


# --- times -------------------------------------------------------------------------------------------------------

_ISO: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2})?(?:Z|[+-][0-9]{2}:[0-9]{2})?")
_RUSSIAN: Final = re.compile(r"([0-9]{2})\.([0-9]{2})\.([0-9]{4}) ([0-9]{2}:[0-9]{2}(?::[0-9]{2})?)")


def _time(text: str, zone: tzinfo | None, line: int, faults: list[Fault]) -> datetime | None:
    russian = _RUSSIAN.fullmatch(text)
    iso = f"{russian[3]}-{russian[2]}-{russian[1]}T{russian[4]}" if russian is not None else text
    why = "is not a time such as 2026-12-01T10:00:00+03:00"
    if _ISO.fullmatch(iso) is not None:
        try:
            at = datetime.fromisoformat(iso)
            if at.tzinfo is None:
                if zone is not None:
                    return at.replace(tzinfo=zone)
                why = "names no zone: write 2026-12-01T10:00:00+03:00"
            else:
                return at
        except ValueError:
            why = "is no time of any day"
    shown = text if _ISO.fullmatch(iso) is not None else _shown(text)
    faults.append(Fault("execute_at", why, shown, line))
    return None


def _shown(text: str) -> str:
    """A short value as it may be logged; nothing of what could be a payee's number that slipped into another column."""
    if len(text) > 24 or sum(c.isdigit() for c in text) > 8:
        return "***"
    return "".join(c if c.isprintable() else "?" for c in text)


# --- control rows ------------------------------------------------------------------------------------------------


class TotalsDisagree(Refusal):
    """A control row of the file says something else than its rows. The file is refused as a whole."""


class Tally:
    """Counts and sums of a file's rows, to hold its control rows against. Its size does not grow with the rows."""

    def __init__(self) -> None:
        self.rows = 0
        self.minor: dict[str, int] = {}
        self._unreadable = 0
        self._first_unreadable: int | None = None

    def add(self, line: int, judged: Judged) -> None:
        """One row more, good or bad."""
        self.rows += 1
        money = judged.money
        if money is not None:
            self.minor[money.currency] = self.minor.get(money.currency, 0) + money.minor
        else:
            self._unreadable += 1
            if self._first_unreadable is None:
                self._first_unreadable = line

    def add_all(self, rows: Sequence[tuple[RowText, Judged]]) -> None:
        """Some rows more."""
        minor, get = self.minor, self.minor.get
        for row, judged in rows:
            money = judged.money
            if money is None:
                self.add(row.line, judged)
            else:
                self.rows += 1
                minor[money.currency] = get(money.currency, 0) + money.minor

    def check(self, line: int, count: int, sum_text: str, currency: str) -> None:
        """Hold one control row against the rows. Raises TotalsDisagree, whose text says which figure and what both are."""
        if count != self.rows:
            raise TotalsDisagree(f"Line {line}: the control row counts {count} rows, the file has {self.rows}.")
        if not sum_text and not currency:
            return
        try:
            declared = read_sum(sum_text, currency)
        except (BadAmount, BadCurrency) as fault:
            raise TotalsDisagree(f"Line {line}: the sum of the control row cannot be used: {fault}") from None
        if self._unreadable:
            raise TotalsDisagree(
                f"Line {line}: the sum cannot be compared, since {self._unreadable} amounts cannot be read (the first on line "
                f"{self._first_unreadable}). Correct them, or leave the sum out of the control row."
            )
        if declared != self.minor.get(currency, 0):
            ours = minor_text(self.minor.get(currency, 0), currency)
            raise TotalsDisagree(f"Line {line}: the control row says {minor_text(declared, currency)} {currency}, the rows sum up to {ours}.")


def read_sum(text: str, currency: str) -> int:
    """A sum of many amounts, in minor units. Raises BadAmount, BadCurrency."""
    return read_amount(text, read_currency(currency)).minor
