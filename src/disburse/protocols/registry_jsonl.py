"""Registries as JSON lines: one object a line, with the fields of `POST /v1/payouts`.

Lives here: the form of such an object, with every fault of it told. May not live here: what a card or an amount must look like
(`domain/`), how JSON is parsed (`wire.py` does, for every surface).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, Final

from disburse.protocols.registry_layout import fault_of_text, unreadable
from disburse.protocols.registry_rows import Declared, Fault, Found, Limits, Options, Refused, Row, shown
from disburse.protocols.registry_text import blocks, survey
from disburse.protocols.wire import JsonValue, Malformed, Number, read_json_object

DESTINATIONS: Final = {
    "card": ("number", "name"),
    "sbp": ("phone", "bank", "name"),
    "webmoney": ("purse", "name"),
    "qiwi": ("wallet", "name"),
    "usdt": ("address", "name"),
    "account": ("account", "bik", "name"),
}
"""The fields of a destination, by rail."""

_FIELDS: Final = ("reference", "amount", "destination", "comment", "execute_at")

Opened = tuple[Found, Iterator[list[Row]], list[Declared]]


def open_json_lines(file: BinaryIO, limits: Limits, options: Options) -> Opened:
    """What is found, the rows to come, and where control lines are put while they come. Raises Refused."""
    surveyed = survey(file, limits, options.encoding)
    if surveyed.encoding != "utf-8":
        raise Refused("JSON lines are UTF-8, and this is not")
    declared: list[Declared] = []

    def chunks() -> Iterator[list[Row]]:
        number = 0
        for block in blocks(file, surveyed, limits, tabs=True):
            rows: list[Row] = []
            for line, text in enumerate(block.lines, block.first):
                if not text.strip():
                    continue
                control = _control(text, line)
                if control is not None:
                    declared.append(control)
                    continue
                number += 1
                if number > limits.rows:
                    raise Refused(f"there are more than {limits.rows} rows; split the file", line=line)
                rows.append(_row(number, line, text, limits, options.currency))
                if len(rows) == 1000:
                    yield rows
                    rows = []
            if rows:
                yield rows

    return Found("jsonl", "utf-8"), chunks(), declared


def _row(number: int, line: int, text: str, limits: Limits, currency: str) -> Row:
    try:
        given = read_json_object(text.encode("utf-8", "surrogateescape"))
    except Malformed as malformed:
        return unreadable(number, line, f"cannot be read: {malformed.name} {malformed.why}" if malformed.name else f"cannot be read: {malformed.why}")
    faults: list[Fault] = []
    _only(given, _FIELDS, "", faults)
    amount = _object(given, "amount", faults)
    _only(amount, ("amount", "currency"), "amount.", faults)
    destination = _object(given, "destination", faults)
    rail = _text(destination, "rail", "destination.", limits, faults) or ""
    fields = DESTINATIONS.get(rail)
    if fields is not None:
        _only(destination, ("rail", *fields), "destination.", faults)
    details = {name: _text(destination, name, "destination.", limits, faults) for name in fields or ()}
    return Row(
        number, line, _text(given, "reference", "", limits, faults), rail,
        {name: text for name, text in details.items() if text},
        _text(amount, "amount", "", limits, faults) or "",
        _text(amount, "currency", "", limits, faults) or currency,
        _text(given, "comment", "", limits, faults), _text(given, "execute_at", "", limits, faults), tuple(faults),
    )  # fmt: skip


def _only(given: dict[str, JsonValue], known: tuple[str, ...], path: str, faults: list[Fault]) -> None:
    for name in given:
        if name not in known:
            faults.append(Fault(f"{path}{shown(name)}", "", "is not a field here"))


def _object(given: dict[str, JsonValue], name: str, faults: list[Fault]) -> dict[str, JsonValue]:
    found = given.get(name)
    if isinstance(found, dict):
        return found
    faults.append(Fault(name, "", "must be an object" if name in given else "is missing"))
    return {}


def _text(given: dict[str, JsonValue], name: str, path: str, limits: Limits, faults: list[Fault]) -> str | None:
    """The text of a field; None when it is not there, null or empty. Numbers are no text: what wrote them may have rounded them."""
    found = given.get(name)
    if found is None:
        return None
    if not isinstance(found, str) or isinstance(found, Number):
        faults.append(Fault(f"{path}{name}", "", "must be a string"))
        return None
    why = fault_of_text(found, limits.field)
    if why is not None:
        faults.append(Fault(f"{path}{name}", "", why))
    return found or None


def _control(text: str, line: int) -> Declared | None:
    """The control line that this is: `{"total": {"count": 2, "sum": "20.00", "currency": "RUB"}}`, sum and currency if wanted."""
    if '"total"' not in text:
        return None
    try:
        given = read_json_object(text.encode("utf-8", "surrogateescape"))
    except Malformed:
        return None  # it is told as a row
    total = given.get("total")
    if set(given) != {"total"}:
        return None
    if isinstance(total, dict) and set(total) in ({"count"}, {"count", "sum", "currency"}):
        count, amount, currency = total["count"], total.get("sum", ""), total.get("currency", "")
        if isinstance(count, Number) and count.isdecimal() and len(count) <= 9 and isinstance(amount, str) and isinstance(currency, str):
            return Declared(line, int(count), str(amount), currency)
    raise Refused("a control line has a count and, if wanted, a sum and its currency", line=line)
