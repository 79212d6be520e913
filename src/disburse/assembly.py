"""The doors of a house, put together: which surface stands at which path, behind one kernel. Nothing is decided here.

`serve`, tests, the demo and the benchmark all assemble the same application, so what is measured and tested is what runs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from disburse.api.health import Health, pages
from disburse.api.intellectmoney import IntellectMoneyDoor
from disburse.api.kernel import Door, Kernel, Logger, Why, plain_refusal
from disburse.api.metrics import Metrics
from disburse.api.registry_files import How
from disburse.api.rest import RestDoor
from disburse.api.rest_registries import RegistryDoor
from disburse.api.unitpay import UnitPayDoor
from disburse.connectors.contract import Connector, Hear
from disburse.data import accepted_member_ids, load_bin_rows, load_sbp_members
from disburse.domain.ports import World
from disburse.operations.desk import StoreUnavailable
from disburse.operations.registry_rules import Terms
from disburse.protocols.rest_openapi import openapi
from disburse.protocols.rest_page import docs_page
from disburse.protocols.wire import JSON, WireAnswer, WireRequest
from disburse.storage import reports
from disburse.storage.database import Database
from disburse.wiring import Gauges, House, hearing

CALLBACKS = "/callbacks/"
"""Where providers call back: /callbacks/NAME, by the connector's name."""

CONFIRM_WITHIN_S = 8.0
"""A connector that must ask its provider about a callback has so long."""


@dataclass(frozen=True, slots=True)
class Front:
    """What stands before a house: the application, what it measures, and its health (say there when it stops)."""

    app: Kernel
    metrics: Metrics
    health: Health


class Instruments:
    """What a process measures. Made before the house is opened, since the house tells its figures to `gauges`."""

    def __init__(self, world: World) -> None:
        self._database: Database | None = None
        self.metrics = Metrics(world.clock, read_facts=self._facts)
        m = self.metrics
        self.gauges = Gauges(batch=m.batch, called=m.called, asked=m.asked, applied=m.applied, alerted=m.alerted, witnessed=m.witnessed)

    def join(self, house: House) -> None:
        """From now on a scrape reads the facts of this house."""
        self._database = house.database

    async def _facts(self) -> reports.Facts:
        if self._database is None:
            raise AssertionError("a scrape before the house was opened")
        return await self._database.snapshot(reports.facts, timeout_s=10)


def make_app(
    house: House, instruments: Instruments | None = None, *, doors: bool = True, logger: Logger | None = None
) -> Front:
    """The application in front of a house. Without `doors` it serves health and metrics alone, as a worker does.

    Raises DataFileError, and OSError, when the operator's file of card numbers is wrong.
    """
    world, database = house.world, house.database
    instruments = instruments if instruments is not None else Instruments(world)
    instruments.join(house)
    health = Health(
        world.clock,
        look=lambda: database.run(reports.standing),
        quarantined=lambda: house.installation.quarantined,
        unsettled=lambda: house.desk.witness.unsettled,
    )
    app = Kernel(
        doors=doors_of(house, merchants=doors),
        pages={**pages(health, instruments.metrics), **({"/openapi.json": openapi_page, "/docs": read_page} if doors else {})},
        world=world,
        metrics=instruments.metrics,
        logger=logger if logger is not None else structlog.get_logger("disburse"),
    )
    return Front(app, instruments.metrics, health)


def doors_of(house: House, *, merchants: bool) -> list[tuple[str, Door]]:
    """The doors and their paths: those for `merchants`' programs, and one for each provider that calls us."""
    doors: list[tuple[str, Door]] = []
    if merchants:
        unitpay, intellectmoney, rest = _unitpay(house), _intellectmoney(house), _rest(house)
        doors += [("/api", unitpay), ("/api/", unitpay), ("/personal/*", intellectmoney)]
        registry = _registries(house, rest)
        doors += [("/v1/registries", registry), ("/v1/registries/*", registry), ("/v1", rest), ("/v1/*", rest)]
    if not house.installation.quarantined:  # what a provider says would move payouts that persons have yet to compare
        doors += [
            (f"{CALLBACKS}{name}", CallbackDoor(connector, hearing(house), lambda: house.installation.quarantined))
            for name, connector in house.connectors.items()
            if connector.capabilities.callbacks and name not in house.in_process
        ]
    return doors


def _unitpay(house: House) -> UnitPayDoor:
    settings = house.settings
    members = load_sbp_members(settings.sbp_members)
    return UnitPayDoor(
        house.desk,
        world=house.world,
        members=members,
        accepted_members=accepted_member_ids(members),
        bins=load_bin_rows(Path(settings.bins) if settings.bins is not None else None),
        minimums=settings.minimums,
    )


def _intellectmoney(house: House) -> IntellectMoneyDoor:
    banks = accepted_member_ids(load_sbp_members(house.settings.sbp_members))
    return IntellectMoneyDoor(house.desk, world=house.world, banks=banks)


def _rest(house: House) -> RestDoor:
    members = load_sbp_members(house.settings.sbp_members)
    return RestDoor(
        house.desk,
        world=house.world,
        members=members,
        accepted=accepted_member_ids(members),
        minimums=house.settings.minimums,
        to_loopback=house.settings.webhooks_to_loopback,
        per_s=house.settings.requests_per_s,
        burst=house.settings.requests_burst,
    )


def _registries(house: House, rest: RestDoor) -> RegistryDoor:
    members = accepted_member_ids(load_sbp_members(house.settings.sbp_members))
    return RegistryDoor(Terms(house.desk, house.settings.minimums), How(members), rest.allowances, places=rest.places)


async def openapi_page(request: WireRequest) -> WireAnswer:
    """The description of `/v1`, for programs. It tells nothing about this installation, so anybody may read it."""
    return WireAnswer(200, JSON, openapi())


async def read_page(request: WireRequest) -> WireAnswer:
    """The same for people."""
    return docs_page()


class CallbackDoor:
    """Where one provider calls back: 200 once what was believed of it is stored, else it may call again."""

    def __init__(self, connector: Connector, hear: Hear, quarantined: Callable[[], bool] = lambda: False) -> None:
        self._connector = connector
        self._hear = hear
        self._quarantined = quarantined

    async def answer(self, request: WireRequest) -> WireAnswer:
        if request.method != "POST":
            return WireAnswer(405, JSON, b'{"error":"method_not_allowed"}')
        if self._quarantined():
            return _NOT_STORED
        callback = await self._connector.read_callback(request, CONFIRM_WITHIN_S)
        if callback is None:
            return _NOT_STORED
        try:
            await self._hear(callback)
        except StoreUnavailable:
            return _NOT_STORED
        return WireAnswer(200, JSON, b'{"stored":true}')

    def refuse(self, request: WireRequest, why: Why) -> WireAnswer:
        return plain_refusal(why)


_NOT_STORED = WireAnswer(409, JSON, b'{"stored":false}')
