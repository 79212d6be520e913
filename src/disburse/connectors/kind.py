"""Kinds of connectors: what an entry point of the group `disburse.connectors` names, and what it is given to make one.

Lives here: `Kind`, the surroundings a connector is made in, secrets and HTTP settings that all kinds share, and the grammar
of names. May not live here: how entry points are found and files are read (`disburse/kinds.py` does that).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import msgspec

from disburse.connectors.contract import Connector, Limit
from disburse.connectors.sandbox_book import Spool
from disburse.connectors.simulator import Simulator
from disburse.connectors.transport import HttpTransport
from disburse.domain.destinations import Rail
from disburse.domain.fees import FeeRule
from disburse.domain.ports import Clock

GROUP: Final = "disburse.connectors"

_NAME: Final = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")
LONGEST_NAME: Final = 30


def is_name(text: str) -> bool:
    """Whether a connector may be called so: small letters, digits and single hyphens, a letter first, at most 30 characters.

    The name stands in account names, events and evidence for as long as the books are kept, and in a URL.
    """
    return len(text) <= LONGEST_NAME and _NAME.fullmatch(text) is not None


class Secret:
    """A key or password of ours at a provider. It shows nowhere but where `reveal` is called.

    It is read when it is first needed: commands that pay nothing need no secrets. `where` says where it comes from.
    """

    __slots__ = ("_read", "_text", "where")

    def __init__(self, read: Callable[[], str], where: str = "the settings file") -> None:
        self._read = read
        self._text: str | None = None
        self.where = where

    def reveal(self) -> str:
        """The secret itself. Raises what reading it raises."""
        if self._text is None:
            self._text = self._read()
        return self._text

    def __repr__(self) -> str:
        return f"Secret(from {self.where})"


class Http(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """How a provider is reached. Files are PEM.

    `proxy`: http://HOST:PORT, without a name and password, which stand in `proxy_login` as NAME:PASSWORD.
    `ca_file`: trust the authorities in it and no others. `certificate_file` and `key_file`: who we are (mutual TLS).
    """

    proxy: str | None = None
    proxy_login: Secret | None = None
    ca_file: str | None = None
    certificate_file: str | None = None
    key_file: str | None = None
    connections: int = 256


class Bounds(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What one order may be, in minor units, both included."""

    minimum_minor: int = 1
    maximum_minor: int | None = None

    def limit(self) -> Limit:
        return Limit(self.minimum_minor, self.maximum_minor)


class Tariff(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What the provider charges for an order: basis points of the sum, at least and at most so many minor units."""

    basis_points: int = 0
    minimum_minor: int = 0
    maximum_minor: int | None = None

    def rule(self) -> FeeRule:
        return FeeRule(self.basis_points, self.minimum_minor, self.maximum_minor)


class Alert(Protocol):
    """Tells people that a connector met something nobody has decided about: a log line at level error, and a figure.

    `alert` is one of a few words; `code` the provider's, where there is one. Nothing of an order is in either.
    """

    def __call__(self, connector: str, alert: str, code: int | None = None, version: str | None = None) -> None: ...


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a connector is made of: time, transports, alerts, and files in the data directory (for kinds that keep a book).

    Whoever opened the house closes the transports.
    """

    clock: Clock
    transport: Callable[[Http], HttpTransport]
    alert: Alert
    spool: Callable[[str], Spool]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of connector: its settings, a msgspec Struct, and how one is made of them.

    `make` gets the connector's name and its settings. It opens nothing and reveals no secret; it raises ValueError, with a
    sentence for people that repeats no secret, for settings that cannot be right. `in_process`: there is nobody to be reached.
    `simulator` makes the provider that a certification tries a connector against, from the operator's table; without one the
    kind cannot be certified.
    """

    settings: type[msgspec.Struct]
    make: Callable[[str, Any, Surroundings], Connector]
    in_process: bool = False
    simulator: Callable[[Mapping[str, Any], Clock], Simulator] | None = None


def by_rail_and_currency(table: dict[Rail, Bounds], currency: str) -> dict[tuple[Rail, str], Limit]:
    """Limits as capabilities hold them."""
    return {(rail, currency): bounds.limit() for rail, bounds in table.items()}


def fees_by_rail(table: dict[Rail, Tariff], currency: str) -> dict[tuple[Rail, str], FeeRule]:
    """Fees as capabilities hold them. Raises ValueError for what is no fee."""
    try:
        return {(rail, currency): tariff.rule() for rail, tariff in table.items()}
    except AssertionError as wrong:
        raise ValueError(f"a fee is wrong: {wrong}") from None
