"""Columns of a registry: their names in two languages, their order when nobody names them, and how cells become a row.

Lives here: what every kind of table (CSV, XLSX) shares once there are cells. May not live here: bytes, separators, sheets, and whether
an amount or a card is right (`domain/`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from operator import itemgetter
from typing import Final

from disburse.protocols.registry_rows import DEFAULT_LIMITS, Declared, Fault, Limits, Refused, Row, shown

COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "reference": ("reference", "transactionid", "transaction id", "референс", "идентификатор", "id выплаты"),
    "rail": ("rail", "paymenttype", "payment type", "способ", "способ выплаты", "тип реквизита"),
    "destination": ("destination", "number", "requisite", "реквизит", "реквизиты", "номер"),
    "card": ("card", "card number", "карта", "номер карты"),
    "phone": ("phone", "телефон", "номер телефона"),
    "purse": ("purse", "кошелек webmoney"),
    "wallet": ("wallet", "кошелек", "номер кошелька"),
    "address": ("address", "адрес"),
    "account": ("account", "счет", "номер счета", "расчетный счет"),
    "bank": ("bank", "memberid", "member id", "банк", "id банка"),
    "bik": ("bik", "бик"),
    "name": ("name", "payee", "фио", "имя", "получатель"),
    "amount": ("amount", "sum", "сумма"),
    "currency": ("currency", "валюта"),
    "comment": ("comment", "комментарий", "назначение", "назначение платежа"),
    "execute_at": ("execute at", "исполнить", "дата исполнения"),
}
"""Each column and the names that a header may give it; case, underscores and repeated spaces do not matter, ё is е."""

ORDER: Final = ("reference", "rail", "destination", "bank", "amount", "currency", "comment", "name", "execute_at")
"""The columns of a file without a header. The last three may be left out, from the end."""

SHORTEST: Final = 6
"""So many of `ORDER` must be there."""

UNITPAY_ORDER: Final = ("rail", "destination", "amount", "comment", "bank", "reference")
"""UnitPay's layout (unitpay.md section 13) with our two columns behind; three or more of them."""

RAILS: Final[dict[str, str]] = {
    "card": "card", "карта": "card", "на карту": "card",
    "sbp": "sbp", "сбп": "sbp",
    "webmoney": "webmoney", "вебмани": "webmoney",
    "qiwi": "qiwi", "киви": "qiwi",
    "usdt": "usdt",
    "account": "account", "счет": "account", "на счет": "account",
}  # fmt: skip
"""How a cell may name a rail."""

_FIELD: Final = {"card": "number", "sbp": "phone", "webmoney": "purse", "qiwi": "wallet", "usdt": "address", "account": "account"}
_BANK: Final = {"sbp": "bank", "account": "bik"}
_SPECIFIC: Final = {"card": "card", "phone": "sbp", "purse": "webmoney", "wallet": "qiwi", "address": "usdt", "account": "account"}
FIELDS: Final = {"destination": "destination", "bik": "bank", **dict.fromkeys(_SPECIFIC, "destination")}
"""How faults call columns that are a payee's number under one name or another. Nothing of what they hold is shown."""

_NAMES: Final = {name: column for column, names in COLUMNS.items() for name in names}
_TOTAL: Final = ("#total", "#итого")


class Layout:
    """Which cell of a row is what. `columns` are names of `COLUMNS`, in the file's order; a row has exactly so many cells.

    `decimal_comma`: whether 10,50 is an amount here, since the comma parts no cells. `currency`: what every row has when no column says.
    """

    def __init__(self, columns: Sequence[str], limits: Limits, *, decimal_comma: bool = False, currency: str = "") -> None:
        self.columns = tuple(columns)
        self._limits, self._decimal_comma, self._currency = limits, decimal_comma, currency
        place = {column: index for index, column in enumerate(columns)}
        nowhere = len(columns)  # rows get one empty cell behind the others
        self._pick = itemgetter(*(place.get(name, nowhere) for name in ORDER))
        self._specific = [(place[name], name, rail) for name, rail in _SPECIFIC.items() if name in place]
        self._bik = place.get("bik")

    def row(self, number: int, line: int, cells: list[str], *, suspect: bool = True, faults: Sequence[Fault] = ()) -> Row:
        """The row of these cells. `suspect`: look for control characters and too long cells, unless somebody knows that there are none."""
        wide = len(self.columns)
        if len(cells) != wide:
            if len(cells) < wide or any(cell.strip() for cell in cells[wide:]):
                return unreadable(number, line, f"has {len(cells)} columns and not {wide}")
            cells = cells[:wide]
        found = list(faults) if faults else []
        if suspect:
            found += self._form(cells)
        cells = [*map(str.strip, cells), ""]
        reference, rail, to, bank, amount, currency, comment, name, at = self._pick(cells)
        rail = RAILS.get(rail) or RAILS.get(_folded(rail), rail)
        if self._specific or self._bik is not None:
            to, bank = self._chosen(cells, rail, to, bank, found)
        if self._decimal_comma and "," in amount:
            amount = _with_dot(amount)
        return Row(
            number, line, reference or None, rail, _destination(rail, to, bank, name, found), amount,
            currency or self._currency, comment or None, at or None, tuple(found) if found else (),
        )  # fmt: skip

    def _form(self, cells: list[str]) -> list[Fault]:
        found = []
        for column, cell in zip(self.columns, cells, strict=True):
            why = fault_of_text(cell, self._limits.field)
            if why is not None:
                found.append(Fault(FIELDS.get(column, column), "" if column in FIELDS else shown(cell), why))
        return found

    def _chosen(self, cells: list[str], rail: str, to: str, bank: str, found: list[Fault]) -> tuple[str, str]:
        """Destination and bank where a file has columns of their own for some rails."""
        for place, column, its in self._specific:
            text = cells[place]
            if not text:
                continue
            if its != rail:
                found.append(Fault("destination", "", f"has a {column}, but the rail is not {its}"))
            elif to:
                found.append(Fault("destination", "", f"is given twice: as {column} too"))
            else:
                to = text
        if self._bik is not None and cells[self._bik]:
            if bank or rail != "account":
                found.append(Fault("bank", "", "is given twice: as bik too" if bank else "is a BIK, but the rail is not account"))
            else:
                bank = cells[self._bik]
        return to, bank




def unreadable(number: int, line: int, why: str) -> Row:
    """A row whose cells cannot be told apart. Its one fault is of the field "row", and nobody judges it further."""
    return Row(number, line, None, "", {}, "", "", None, None, (Fault("row", "", why),))


def fault_of_text(text: str, longest: int) -> str | None:
    """What is wrong with a text as such: too long, NUL, control characters; None when nothing is."""
    if len(text) > longest:
        return f"has more than {longest} characters"
    if _BROKEN.search(text) is not None:
        return "has bytes that are not of the file's encoding"
    if text.isprintable():
        return None
    if "\0" in text:
        return "holds a NUL"
    return "holds a line break, a tab or another control character" if _CONTROLS.search(text) is not None else None


_BROKEN: Final = re.compile("[\ud800-\udfff\ufffd]")
_CONTROLS: Final = re.compile("[\x00-\x1f\x7f-\x9f]")


def _destination(rail: str, to: str, bank: str, name: str, found: list[Fault]) -> dict[str, str]:
    field = _FIELD.get(rail)
    if field is None:
        given = {"number": to, "bank": bank, "name": name}
        return {key: text for key, text in given.items() if text}
    destination = {field: to} if to else {}
    if bank:
        key = _BANK.get(rail)
        if key is None:
            found.append(Fault("bank", shown(bank), f"is given, but the rail {rail} has none"))
        else:
            destination[key] = bank
    if name:
        destination["name"] = name
    return destination


def _with_dot(amount: str) -> str:
    whole, _, decimals = amount.partition(",")
    return f"{whole}.{decimals}" if whole.isdecimal() and decimals.isdecimal() else amount


def _folded(text: str) -> str:
    return " ".join(text.replace("_", " ").replace("ё", "е").replace("Ё", "е").split()).casefold()


# --- which columns -----------------------------------------------------------------------------------------------


def columns_of(cells: Sequence[str], *, order: Sequence[str] = ORDER, shortest: int = SHORTEST, header: bool | None = None,
               line: int = 1, limits: Limits = DEFAULT_LIMITS) -> tuple[tuple[str, ...], bool]:  # fmt: skip
    """The columns that the first cells of a file tell of, and whether those cells were a header.

    A header holds no digits, since every row that can be paid does. Raises Refused: when it cannot be told which of both it is, when a
    header has a name that nobody knows or one twice or lacks one, when cells without a header do not fit `order`.
    """
    names = [_folded(cell) for cell in cells]
    while names and not names[-1]:
        names.pop()
    if len(names) > limits.columns:
        raise Refused(f"there are {len(names)} columns; at most {limits.columns} are read", line=line)
    if header is None:
        digits = any(character.isdigit() for name in names for character in name)
        # A row can hold the word "account": it is a rail too.
        known = sum(name in _NAMES and name not in RAILS for name in names)
        if digits and known > 1:
            raise Refused("it looks like a header and like a row; say which with the option `header`", line=line)
        header = not digits
    if header:
        return _named(names, line), True
    if not shortest <= len(names) <= len(order):
        raise Refused(
            f"there is no header, and {len(names)} columns; without a header they are {', '.join(order)} ({shortest} or more of them)", line=line
        )
    return tuple(order[: max(len(cells), shortest)]) if len(cells) <= len(order) else tuple(order[: len(names)]), False


def _named(names: list[str], line: int) -> tuple[str, ...]:
    unknown = [shown(name) for name in names if name not in _NAMES]
    if unknown:
        told = ", ".join(repr(name) for name in unknown[:5])
        raise Refused(f"the header names columns that are not known: {told}; known are {', '.join(COLUMNS)}", line=line)
    columns = tuple(_NAMES[name] for name in names)
    twice = sorted({column for column in columns if columns.count(column) > 1})
    if twice:
        raise Refused(f"the header names the column {twice[0]} twice", line=line)
    missing = [name for name in ("rail", "amount") if name not in columns]
    if not {"destination", *_SPECIFIC} & set(columns):
        missing.append("destination")
    if missing:
        raise Refused(f"the header lacks the column {missing[0]}", line=line)
    return columns


def control_row(cells: Sequence[str], line: int) -> Declared | None:
    """The control row that these cells are (`#total`, rows, sum, currency), or None. Raises Refused for one that cannot be read."""
    if not cells or not cells[0].lstrip().startswith("#") or _folded(cells[0]) not in _TOTAL:
        return None
    given = [cell.strip() for cell in cells[1:]]
    while given and not given[-1]:
        given.pop()
    if not given or len(given) > 3 or not (given[0].isascii() and given[0].isdecimal() and len(given[0]) <= 9) or len(given) == 2:
        raise Refused("a control row is #total, the number of rows and, if wanted, a sum and its currency", line=line)
    return Declared(line, int(given[0]), *(given[1:] or ("", "")))
