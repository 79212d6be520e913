"""Time zones by name, as this machine knows them. Lives here and not in the domain, since their rules are read from files."""

from __future__ import annotations

from datetime import UTC, tzinfo
from zoneinfo import ZoneInfo


def zone_of(name: str) -> tzinfo:
    """A time zone such as Europe/Moscow. Raises KeyError, ValueError or OSError for one that is not known here; UTC always is."""
    return UTC if name == "UTC" else ZoneInfo(name)
