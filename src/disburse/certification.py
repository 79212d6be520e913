"""Certifying one configured connector: its kind, its table, a provider on loopback in the place of the real one, and the certificate.

Lives here: how the parts of a certification are put together. May not live here: scenarios and judgement (`certify/`), printing
(`cli/certify.py`). The operator's own keys stay as they are, but for the provider's address, our keys there, and how it is reached.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import msgspec

from disburse.certificates import code_of
from disburse.certify.certificate import Certificate, Failure, grade_of, promises_of
from disburse.certify.run import Bench, Make, Result, certify
from disburse.certify.tls import make_tls
from disburse.connectors.contract import Connector
from disburse.connectors.kind import Kind
from disburse.domain.ports import Clock
from disburse.domain.refusals import Refusal
from disburse.kinds import kinds, make_one, read_table, surroundings, tables_of
from disburse.settings import Settings

NOBODY: Final = "http://127.0.0.1:1"


class NoSuchConnector(Refusal):
    """There is no connector of this name."""


class CannotBeCertified(Refusal):
    """This connector cannot be certified."""


@dataclass(frozen=True, slots=True)
class Certified:
    """What came of it."""

    certificate: Certificate
    results: list[Result]


async def certify_connector(settings: Settings, name: str, clock: Clock, directory: Path) -> Certified:
    """Run every scenario against a connector of these settings. `directory` is for files that nobody needs afterwards.

    Raises NoSuchConnector, CannotBeCertified, BadSettings.
    """
    table = tables_of(settings).get(name)
    if table is None:
        raise NoSuchConnector(f"There is no connector called {name}.")
    known = kinds()
    kind_name, kind, values, _ = read_table(name, table, known)
    return await certify_kind(kind_name, kind, known[kind_name], values, clock, directory, name=name)


async def certify_kind(
    kind_name: str, kind: Kind, entry: metadata.EntryPoint, values: Mapping[str, Any], clock: Clock, directory: Path,
    *, name: str = "certified",
) -> Certified:  # fmt: skip
    """The same for a kind and a table's keys. Raises CannotBeCertified, BadSettings."""
    simulate = kind.simulator
    if kind.in_process:
        raise CannotBeCertified(f"The provider of {name} lives in this process: there is no wire to be tried.")
    if simulate is None:
        raise CannotBeCertified(f"The kind {kind_name} brings no simulator of its provider, so {name} cannot be certified.")
    http = any(field.name == "http" for field in msgspec.structs.fields(kind.settings))
    kept = {key: value for key, value in values.items() if key != "http"}
    make = _maker(name, kind_name, kind, kept, directory)
    bench = Bench(make, lambda shifted: simulate(kept, shifted), clock, make_tls(directory, clock.now()), http)
    async with AsyncExitStack() as opened:
        able = make(simulate(kept, clock).table(NOBODY), clock, opened).capabilities
    results = await certify(bench)
    failed = [one for one in results if one.failed]
    certificate = Certificate(
        kind=kind_name,
        code=code_of(entry, kind),
        grade=grade_of(one.scenario.costs for one in failed),
        promises=promises_of(able),
        judged=sum(one.judged for one in results),
        failures=[Failure(one.scenario.name, one.fault or "", one.came) for one in failed],
        at=clock.now().isoformat(timespec="seconds"),
    )
    return Certified(certificate, results)


def _maker(name: str, kind_name: str, kind: Kind, kept: Mapping[str, Any], directory: Path) -> Make:
    def make(table: Mapping[str, Any], clock: Clock, opened: AsyncExitStack) -> Connector:
        around = surroundings(name, clock, directory, opened, _nobody_is_alerted)
        return make_one(name, kind_name, kind, {**kept, **table}, around, os.environ)

    return make


def _nobody_is_alerted(connector: str, alert: str, code: int | None = None, version: str | None = None) -> None:
    """The provider errs on purpose here."""
