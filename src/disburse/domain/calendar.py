"""When a rail pays: days, hours, holidays, a cut-off. Pure.

A payout that is executed while its rail is closed waits for the next opening; so does one whose own time falls outside. Closed are
days that are not business days, and hours before `opens` and from `cut_off` on, all by the clock of the rail's time zone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, tzinfo

_LONGEST = 370


@dataclass(frozen=True, slots=True)
class Calendar:
    """One rail's hours. `days`: business days, Monday is 0; `cut_off` is the first moment at which it is closed, None: midnight."""

    zone: tzinfo = UTC
    days: frozenset[int] = frozenset(range(7))
    opens: time = time(0)
    cut_off: time | None = None
    holidays: frozenset[date] = field(default=frozenset())

    def __post_init__(self) -> None:
        if not self.days or not self.days <= frozenset(range(7)):
            raise AssertionError("a rail pays on some days of the week")
        if self.cut_off is not None and self.cut_off <= self.opens:
            raise AssertionError("a rail opens before its cut-off")

    def next_open(self, at: datetime) -> datetime:
        """This moment if the rail is open then, else the next opening. Raises AssertionError where there is none within a year."""
        local = at.astimezone(self.zone)
        if self._business(local.date()) and self.opens <= local.time() and (self.cut_off is None or local.time() < self.cut_off):
            return at
        day = local.date() if local.time() < self.opens else local.date() + timedelta(days=1)
        for n in range(_LONGEST):
            if self._business(day + timedelta(days=n)):
                return datetime.combine(day + timedelta(days=n), self.opens, self.zone).astimezone(UTC)
        raise AssertionError("a calendar without a business day for a year")

    def _business(self, day: date) -> bool:
        return day.weekday() in self.days and day not in self.holidays


class Calendars:
    """The hours of all rails; a rail without a calendar is always open."""

    def __init__(self, by_rail: Mapping[str, Calendar]) -> None:
        self._by_rail = dict(by_rail)

    def __bool__(self) -> bool:
        return bool(self._by_rail)

    def next_open(self, rail: str, at: datetime) -> datetime:
        """This moment, or the rail's next opening after it."""
        calendar = self._by_rail.get(rail)
        return at if calendar is None else calendar.next_open(at)

    def time_for(self, rail: str, execute_at: datetime | None, now: datetime) -> datetime | None:
        """The time of a payout that is to be sent at `execute_at` or at once (None), while it is `now`: None is at once."""
        if rail not in self._by_rail:
            return execute_at
        at = now if execute_at is None else max(execute_at, now)
        opens = self.next_open(rail, at)
        return execute_at if opens == at else opens


NO_CALENDARS = Calendars({})
