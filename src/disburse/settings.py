"""Settings of an installation: a TOML file, then the environment (`DISBURSE_*`), then the command line; the later wins.

Unknown keys are refused with the nearest valid name. Lives here: what may be set and how it is read; nothing acts on it here.
The file is `disburse.toml` in the data directory, or the one `--settings` (environment `DISBURSE_SETTINGS`) names.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_type_hints

import msgspec

from disburse.domain.destinations import Rail
from disburse.domain.fees import FeeRule
from disburse.domain.refusals import Refusal

DEFAULT_DATA = Path("disburse-data")
LEASE_BEYOND_CALL_S = 5.0
"""A call is begun only while its whole time fits into the lease; a lease that leaves no time to begin lets nothing be sent."""


class BadSettings(Refusal):
    """The settings cannot be used."""


class Fee(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A rail's fee: basis points of the sum, at least and at most so many minor units."""

    basis_points: int = 0
    minimum_minor: int = 0
    maximum_minor: int | None = None


class ConnectorTable:
    """One `[connectors.NAME]` as it was written. It may hold secrets, so it shows its kind alone; `disburse/kinds.py` reads it."""

    __slots__ = ("values",)

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = dict(values)

    def __repr__(self) -> str:
        return f"ConnectorTable({self.values.get('kind')!r})"


class Settings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Everything that can be set. Times in seconds, sums in minor units.

    `largest` and `writers`: commands in one transaction, and transactions of one bucket at a time, of a group commit.
    `routes` and `providers` are read by `disburse/routing_settings.py`.
    `minimums`: a massPayment must be above it, by rail (UnitPay code 102). `buckets`: over how many logical buckets new
    merchants are spread; 1 unless the database is a cluster. `processes`: of one `serve`, one for each core (at most four)
    where it is 0. `sandbox_bank_url`: use the stand-alone sandbox bank there.
    `connectors`: the providers, by name, in the order routes are tried; read by `disburse/kinds.py`.
    `calendars`: when rails pay, `[calendars.RAIL]`; read by `disburse/calendar_settings.py`.
    `requests_per_s`, `requests_burst`: what one API key may send to `/v1`, to each process that serves it; 0 a second: no limit.
    `webhooks_to_loopback`: webhook endpoints on this machine may be called, for tests and demonstrations.
    """

    data: str = str(DEFAULT_DATA)
    database_url: str | None = None
    unsafe_database: bool = False
    listen: str = "127.0.0.1:8080"
    tls_cert: str | None = None
    tls_key: str | None = None
    sandbox: bool = False
    sandbox_guard: bool = False
    sandbox_bank_url: str | None = None
    connectors: dict[str, ConnectorTable] = {}
    fees: dict[str, Fee] = {}
    minimums: dict[str, int] = {}
    routes: list[dict[str, Any]] = []
    calendars: dict[str, dict[str, Any]] = {}
    providers: dict[str, dict[str, Any]] = {}
    sbp_members: list[str] = []
    bins: str | None = None
    token_life_s: float = 1800.0
    call_s: float = 5.0
    lease_s: float = 30.0
    window: int = 1000
    pool: int = 10
    buckets: int = 1
    largest: int = 500
    writers: int = 1
    processes: int = 0
    webhooks_to_loopback: bool = False
    requests_per_s: float = 1000.0
    requests_burst: int = 2000
    log_level: str = "info"

    def fee_rules(self) -> dict[str, FeeRule]:
        """The installation's fees by rail."""
        return {rail: FeeRule(fee.basis_points, fee.minimum_minor, fee.maximum_minor) for rail, fee in self.fees.items()}


def load_settings(
    path: Path | None, environment: Mapping[str, str] = os.environ, overrides: Mapping[str, Any] | None = None
) -> Settings:
    """Settings from file, environment and command line. Raises BadSettings, naming what is wrong and what would be right."""
    overrides = {name: value for name, value in (overrides or {}).items() if value is not None}
    values: dict[str, Any] = {}
    named = path or (Path(environment["DISBURSE_SETTINGS"]) if environment.get("DISBURSE_SETTINGS") else None)
    data = overrides.get("data") or environment.get("DISBURSE_DATA") or str(DEFAULT_DATA)
    file = named or Path(data) / "disburse.toml"
    if named is not None or file.is_file():
        values |= _read_file(file)
    values |= _read_environment(environment)
    values |= overrides
    _refuse_unknown(values, "setting", _NAMES)
    for table in ("fees", "minimums", "calendars"):
        if isinstance(values.get(table), dict):
            _refuse_unknown(values[table], f"rail in [{table}]", [str(rail) for rail in Rail])
    try:
        settings = msgspec.convert(values, Settings, dec_hook=_table)
        settings.fee_rules()
    except msgspec.ValidationError as error:
        raise BadSettings(f"A setting is wrong: {error}.") from None
    except AssertionError as error:
        raise BadSettings(f"A fee is wrong: {error}.") from None
    if not 1 <= settings.buckets <= 1024:
        raise BadSettings("buckets is 1 to 1024.")
    if not 0 <= settings.processes <= 64:
        raise BadSettings("processes is 1 to 64, or 0 for one for each core.")
    _refuse_standstill(settings)
    return settings


def plain_settings(settings: Settings) -> dict[str, Any]:
    """Settings as plain values, for a process of ours that needs the same. Secrets that stand in them are in clear: never log it."""
    plain: dict[str, Any] = msgspec.to_builtins(settings, enc_hook=lambda table: table.values)
    return plain


def settings_from(plain: Mapping[str, Any]) -> Settings:
    """The settings of `plain_settings`."""
    return msgspec.convert(plain, Settings, dec_hook=_table)


def _table(wanted: type, value: Any) -> Any:
    if wanted is not ConnectorTable or not isinstance(value, dict):
        raise ValueError("a connector is a table, [connectors.NAME]")  # msgspec adds where, and nothing of the value
    return ConnectorTable(value)


def _refuse_standstill(settings: Settings) -> None:
    """Refuse what would let nothing ever be sent, or written."""
    for name in ("window", "largest", "writers"):
        if getattr(settings, name) < 1:
            raise BadSettings(f"{name} is at least 1.")
    if not 0 <= settings.requests_per_s <= 1_000_000 or not 1 <= settings.requests_burst <= 1_000_000:
        raise BadSettings("requests_per_s is 0 (no limit) to a million, and requests_burst is 1 to a million.")
    if settings.pool < 3:  # one connection listens, for good
        raise BadSettings("pool is at least 3.")
    if not 0 < settings.call_s <= settings.lease_s - LEASE_BEYOND_CALL_S <= 3600:
        beyond = f"call_s and {LEASE_BEYOND_CALL_S:g} seconds"
        raise BadSettings(f"lease_s is at least {beyond} and at most an hour, and call_s is more than 0.")


_NAMES = list(Settings.__struct_fields__)
_NOT_SETTINGS = {"DISBURSE_SETTINGS", "DISBURSE_OPERATOR", "DISBURSE_TEST_DATABASE_URL", "DISBURSE_DEBUG"}


def _read_file(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadSettings(f"There is no settings file {file}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise BadSettings(f"The settings file {file} cannot be read: {error}.") from None


def _read_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    """DISBURSE_NAME for every setting that is one value; numbers and yes/no as people write them."""
    hints = get_type_hints(Settings)
    values: dict[str, Any] = {}
    for key in sorted(environment):
        if not key.startswith("DISBURSE_") or key in _NOT_SETTINGS or key.startswith("DISBURSE_TEST_"):
            continue
        name = key.removeprefix("DISBURSE_").lower()
        values[name] = _typed(key, environment[key], hints.get(name))
    return values


def _typed(key: str, text: str, hint: Any) -> Any:
    if hint is bool:
        if text.lower() not in ("1", "0", "true", "false", "yes", "no", "on", "off"):
            raise BadSettings(f"{key} is yes or no.")
        return text.lower() in ("1", "true", "yes", "on")
    if hint in (int, float):
        try:
            return hint(text)
        except ValueError:
            raise BadSettings(f"{key} is a number.") from None
    if hint == list[str]:
        return [part.strip() for part in text.split(",") if part.strip()]
    return text


def _refuse_unknown(values: Mapping[str, Any], what: str, valid: list[str]) -> None:
    for name in values:
        if name not in valid:
            raise BadSettings(f"There is no {what} called {name}.{nearest(name, valid)}")


def nearest(name: str, valid: Sequence[str]) -> str:
    """What may have been meant by a name that does not exist, as a sentence to put behind the refusal."""
    near = difflib.get_close_matches(name, valid, 1)
    if near:
        return f" Did you mean {near[0]}?"
    return f" Known: {', '.join(valid)}." if valid else " There is none."
