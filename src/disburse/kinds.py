"""The connectors of an installation: found by entry points, made of the settings file's `[connectors.NAME]` tables.

Lives here: finding kinds (group `disburse.connectors`), reading a table into its kind's settings, secrets out of files and the
environment, and what connectors are made in. May not live here: any kind. Those that ship are registered in pyproject.toml
just as strangers' are in theirs.

A table is read when the house is opened, so every mistake in it is told at once; secrets and files are read when the
connector starts, so that commands that pay nothing do not need them.
"""

from __future__ import annotations

import contextlib
import difflib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
import structlog

from disburse.certificates import Standing, standing_of
from disburse.certify.narrow import narrow
from disburse.connectors.contract import Connector
from disburse.connectors.kind import GROUP, LONGEST_NAME, Alert, Http, Kind, Secret, Surroundings, is_name
from disburse.connectors.transport import HttpTransport, tls_context
from disburse.domain.ports import Clock
from disburse.settings import BadSettings, ConnectorTable, Settings
from disburse.storage.database import assert_no_transaction
from disburse.world_spool import FileSpool

UNCERTIFIED: Final = "uncertified"
"""The key of every table by which an operator lets a connector send that has no certificate."""

LONGEST_SECRET: Final = 64 * 1024

_log = structlog.get_logger("disburse.connectors")


@dataclass(frozen=True, slots=True)
class Configured:
    """A connector as it is configured: its kind by name, and what was made of its table, with the freedom that its grade leaves.

    `made` is the connector as its kind made it, for questions that people ask; `standing` its grade and why.
    """

    kind: str
    in_process: bool
    connector: Connector
    made: Connector
    standing: Standing


def kinds() -> dict[str, metadata.EntryPoint]:
    """The kinds that are installed, by name, none of them imported. Raises BadSettings when two packages have one name."""
    found: dict[str, metadata.EntryPoint] = {}
    for entry in metadata.entry_points(group=GROUP):
        earlier = found.setdefault(entry.name, entry)
        if earlier.value != entry.value:
            raise BadSettings(f"Two packages bring a kind of connector called {entry.name}: {earlier.value} and {entry.value}.")
    return found


def tables_of(settings: Settings) -> dict[str, ConnectorTable]:
    """Every connector's table by name, in the order routes are tried: the configured ones, then the sandboxes of the switches."""
    tables = dict(settings.connectors)
    switched: dict[str, dict[str, Any]] = {}
    if settings.sandbox_bank_url is not None:
        switched["sandbox-http"] = {
            "kind": "sandbox-http", "url": settings.sandbox_bank_url, "guard": settings.sandbox_guard,
        }  # fmt: skip
    if settings.sandbox:
        switched["sandbox"] = {"kind": "sandbox", "guard": settings.sandbox_guard}
    for name, values in switched.items():
        if name in tables:
            raise BadSettings(f"A connector called {name} is configured and switched on as well: leave one of them out.")
        tables[name] = ConnectorTable(values)
    return tables


def make_connectors(
    settings: Settings,
    clock: Clock,
    data: Path,
    opened: contextlib.AsyncExitStack,
    alerted: Callable[[str, str], None] = lambda connector, alert: None,
    environment: Mapping[str, str] = os.environ,
) -> dict[str, Configured]:
    """The configured connectors by name. Nothing is opened yet; transports are closed with `opened`. Raises BadSettings."""
    tables = tables_of(settings)
    if not tables:
        return {}
    known = kinds()
    made: dict[str, Configured] = {}
    for name, table in tables.items():
        around = surroundings(name, clock, data, opened, alerting(alerted))
        made[name] = _configure(name, table, known, around, environment, data)
    return made


def surroundings(name: str, clock: Clock, data: Path, opened: contextlib.AsyncExitStack, alert: Alert) -> Surroundings:
    """What a connector is made in; its transports are closed with `opened`."""
    return Surroundings(clock, _transports(name, clock, opened), alert, lambda file: FileSpool(data / file))


def _configure(
    name: str,
    table: ConnectorTable,
    known: Mapping[str, metadata.EntryPoint],
    around: Surroundings,
    environment: Mapping[str, str],
    data: Path,
) -> Configured:
    kind_name, kind, values, uncertified = read_table(name, table, known)
    connector = make_one(name, kind_name, kind, values, around, environment)
    able = connector.capabilities
    standing = standing_of(name, kind_name, kind, known[kind_name], able, data, uncertified=uncertified)
    return Configured(kind_name, kind.in_process, narrow(connector, standing.grade), connector, standing)


def read_table(
    name: str, table: ConnectorTable, known: Mapping[str, metadata.EntryPoint]
) -> tuple[str, Kind, dict[str, Any], bool]:
    """A connector's kind by name and as such, the keys that are its kind's, and whether it may send without a certificate.

    Raises BadSettings.
    """
    where = f"[connectors.{name}]"
    if not is_name(name):
        raise BadSettings(
            f"{name!r} is no name for a connector: small letters, digits and single hyphens, a letter first, at most {LONGEST_NAME}."
        )
    values = dict(table.values)
    kind_name = values.pop("kind", None)
    if not isinstance(kind_name, str):
        raise BadSettings(f"{where} does not say its kind. Known: {', '.join(sorted(known)) or 'none'}.")
    uncertified = values.pop(UNCERTIFIED, False)
    if not isinstance(uncertified, bool):
        raise BadSettings(f"A setting in {where} is wrong: {UNCERTIFIED} is true or false.")
    return kind_name, _load(where, kind_name, known), values, uncertified


def make_one(
    name: str, kind_name: str, kind: Kind, values: Mapping[str, Any], around: Surroundings, environment: Mapping[str, str]
) -> Connector:
    """A connector of a kind's own keys. Raises BadSettings for what is wrong in them."""
    where = f"[connectors.{name}]"
    _refuse_unknown(where, values, _shape(kind.settings))
    try:
        read = msgspec.convert(values, kind.settings, dec_hook=_reader(environment))
        connector = kind.make(name, read, around)
    except msgspec.ValidationError as wrong:
        raise BadSettings(f"A setting in {where} is wrong: {wrong}.") from None
    except ValueError as wrong:
        raise BadSettings(f"A setting in {where} is wrong: {wrong}.") from None
    if connector.name != name:
        raise BadSettings(f"The kind {kind_name} gives its connectors names of its own; {where} cannot be used.")
    return connector


@cache
def _shape(settings: type[Any]) -> Any:
    """What a kind's settings consist of, worked out once: a kind is imported once."""
    return msgspec.inspect.type_info(settings)


def _load(where: str, name: str, known: Mapping[str, metadata.EntryPoint]) -> Kind:
    entry = known.get(name)
    if entry is None:
        near = difflib.get_close_matches(name, known, 1)
        hint = f"Did you mean {near[0]}?" if near else f"Installed: {', '.join(sorted(known)) or 'none; install disburse anew'}."
        raise BadSettings(f"{where} is of a kind that is not installed: {name}. {hint}")
    try:
        kind = entry.load()
    except Exception as fault:  # a stranger's package: whatever it raises, this installation cannot use it
        raise BadSettings(f"The kind {name} cannot be loaded from {entry.value}: {type(fault).__name__}.") from fault
    if not isinstance(kind, Kind):
        raise BadSettings(f"The kind {name} is no Kind: {entry.value}.")
    return kind


def _refuse_unknown(where: str, values: Mapping[str, Any], known: Any) -> None:
    """Refuse a key that the kind does not have, at any depth, naming the nearest it has."""
    fields = {field.encode_name: field.type for field in known.fields}
    for key, value in values.items():
        if key not in fields:
            near = difflib.get_close_matches(key, fields, 1)
            hint = f"Did you mean {near[0]}?" if near else f"Known: {', '.join(sorted(fields))}."
            raise BadSettings(f"There is no key {key} in {where}. {hint}")
        _refuse_unknown_inside(f"{where[:-1]}.{key}]", value, fields[key])


def _refuse_unknown_inside(where: str, value: Any, kind: Any) -> None:
    if not isinstance(value, dict):
        return
    match kind:
        case msgspec.inspect.StructType():
            _refuse_unknown(where, value, kind)
        case msgspec.inspect.UnionType(types=types):
            for one in types:
                _refuse_unknown_inside(where, value, one)
        case msgspec.inspect.DictType(value_type=inner):
            for key, table in value.items():
                _refuse_unknown_inside(f"{where[:-1]}.{key}]", table, inner)


# --- secrets -----------------------------------------------------------------------------------------------------


def _reader(environment: Mapping[str, str]) -> Callable[[type, Any], Any]:
    def read(wanted: type, value: Any) -> Any:
        if wanted is Secret:
            return _secret(value, environment)
        raise AssertionError(f"a kind's settings hold a {wanted.__name__}, which no settings file can hold")

    return read


def _secret(value: Any, environment: Mapping[str, str]) -> Secret:
    """A secret as it may be written: the text, or where it is. Raises ValueError, which never repeats it."""
    if isinstance(value, str) and value:
        return Secret(lambda: value)
    if isinstance(value, dict) and len(value) == 1:
        [(source, place)] = value.items()
        if isinstance(place, str) and place:
            if source == "file":
                return Secret(lambda: _from_file(Path(place)), f"the file {place}")
            if source == "environment":
                return Secret(lambda: _from_environment(place, environment), f"the variable {place}")
    raise ValueError('a secret is text, { file = "PATH" } or { environment = "NAME" }')


def _from_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(LONGEST_SECRET + 1)
        text = raw.decode("utf-8").strip()
    except OSError as fault:
        raise BadSettings(f"The secret in {path} cannot be read: {fault.strerror}.") from None
    except UnicodeDecodeError:
        raise BadSettings(f"The secret in {path} is no text.") from None
    if not text or len(raw) > LONGEST_SECRET:
        raise BadSettings(f"The secret in {path} is empty or far too long.")
    return text


def _from_environment(name: str, environment: Mapping[str, str]) -> str:
    text = environment.get(name, "").strip()
    if not text:
        raise BadSettings(f"The variable {name}, which should hold a secret, is not set.")
    return text


# --- surroundings ------------------------------------------------------------------------------------------------


def _transports(name: str, clock: Clock, opened: contextlib.AsyncExitStack) -> Callable[[Http], HttpTransport]:
    def transport(http: Http) -> HttpTransport:
        _check(http)
        tls = None
        if http.ca_file is not None or http.certificate_file is not None:

            def tls() -> Any:
                try:
                    return tls_context(http.ca_file, http.certificate_file, http.key_file)
                except OSError as fault:  # ssl.SSLError is one
                    why = fault.strerror or type(fault).__name__
                    raise BadSettings(f"The certificates of [connectors.{name}.http] cannot be used: {why}.") from None

        login = http.proxy_login.reveal if http.proxy_login is not None else None
        made = HttpTransport(
            clock, tls=tls, connections=http.connections, proxy=http.proxy, proxy_login=login, outside=assert_no_transaction
        )
        opened.push_async_callback(made.close)
        return made

    return transport


def _check(http: Http) -> None:
    """Raises ValueError for what no transport can be made of."""
    if not 1 <= http.connections <= 10_000:
        raise ValueError("connections is 1 to 10,000")
    if http.key_file is not None and http.certificate_file is None:
        raise ValueError("key_file needs certificate_file")
    if http.proxy_login is not None and http.proxy is None:
        raise ValueError("proxy_login needs proxy")
    if http.proxy is None:
        return
    try:
        parts = urlsplit(http.proxy)
        right = parts.scheme == "http" and parts.hostname and parts.port
    except ValueError:
        right = None
    if not right or parts.username is not None or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError("proxy is http://HOST:PORT; a name and password go into proxy_login")


def alerting(alerted: Callable[[str, str], None]) -> Alert:
    """Where connectors' alerts go: a line of the log, and a figure."""

    def alert(connector: str, alert: str, code: int | None = None, version: str | None = None) -> None:
        _log.error("a provider needs a person", connector=connector, alert=alert, code=code, version=version)
        alerted(connector, alert)

    return alert
