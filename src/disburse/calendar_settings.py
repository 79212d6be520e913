"""Reading `[calendars.RAIL]` of the settings: which days and hours a rail pays. Lives here: the reading, and what is said of mistakes.

    [calendars.account]
    time_zone = "Europe/Moscow"
    days = ["mon", "tue", "wed", "thu", "fri"]
    opens = "09:00"
    cut_off = "20:00"
    holidays = ["2027-01-01"]
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from typing import Any, Final

import msgspec

from disburse.domain.calendar import Calendar, Calendars
from disburse.settings import BadSettings, nearest
from disburse.storage.zones import zone_of

_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_NAMES: Final = ["time_zone", "days", "opens", "cut_off", "holidays"]


class _Table(msgspec.Struct, frozen=True):
    """One rail's table. TOML has times and dates of its own; they are taken as well as text."""

    time_zone: str = "UTC"
    days: list[str] = msgspec.field(default_factory=lambda: list(_DAYS))
    opens: str | time = "00:00"
    cut_off: str | time | None = None
    holidays: list[str | date] = []


def read_calendars(tables: Mapping[str, Mapping[str, Any]]) -> Calendars:
    """The calendars of the settings. Raises BadSettings, naming the rail and what is wrong."""
    return Calendars({rail: _read(rail, table) for rail, table in tables.items()})


def _read(rail: str, values: Mapping[str, Any]) -> Calendar:
    where = f"[calendars.{rail}]"
    for name in values:
        if name not in _NAMES:
            raise BadSettings(f"{where} has no setting {name}.{nearest(name, _NAMES)}")
    try:
        table = msgspec.convert(dict(values), _Table)
    except msgspec.ValidationError as error:
        raise BadSettings(f"{where} is wrong: {error}.") from None
    unknown = [day for day in table.days if day not in _DAYS]
    if unknown or not table.days:
        raise BadSettings(f"{where} days are some of {', '.join(_DAYS)}.")
    try:
        zone = zone_of(table.time_zone)
    except (KeyError, ValueError, OSError):
        raise BadSettings(f"{where} time_zone is a name such as Europe/Moscow, and known on this machine.") from None
    cut_off = _time(where, "cut_off", table.cut_off) if table.cut_off is not None else None
    days, holidays = frozenset(_DAYS.index(day) for day in table.days), frozenset(_date(where, one) for one in table.holidays)
    try:
        calendar = Calendar(zone, days, _time(where, "opens", table.opens), cut_off, holidays)
        calendar.next_open(datetime(2026, 1, 1, tzinfo=UTC))
    except AssertionError as fault:
        raise BadSettings(f"{where} is wrong: {fault}.") from None
    return calendar


def _time(where: str, name: str, text: str | time) -> time:
    try:
        found = text if isinstance(text, time) else time.fromisoformat(text)
    except ValueError:
        raise BadSettings(f'{where} {name} is a time of day such as "20:00".') from None
    if found.tzinfo is not None:
        raise BadSettings(f"{where} {name} is a time of day without a zone: time_zone has it.")
    return found


def _date(where: str, text: str | date) -> date:
    try:
        return text if isinstance(text, date) else date.fromisoformat(text)
    except ValueError:
        raise BadSettings(f'{where} holidays are days such as "2027-01-01".') from None
