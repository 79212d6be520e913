"""Putting the parts together. Lives here: which real part stands behind which port, and in what order they start and stop.

`House` is an installation opened by one process: database (embedded or the user's own), keys, desk. `Works` are its
connectors and workers. Commands and tests open a House; `serve` opens both and puts the doors in front.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from disburse.calendar_settings import read_calendars
from disburse.connectors.contract import Callback, Connector, Hear
from disburse.connectors.sandbox import BOOK as BANK_BOOK
from disburse.domain.outcomes import Verdict
from disburse.domain.ports import World
from disburse.domain.refusals import Refusal
from disburse.domain.routing import TEST_CURRENCY, Limit, Price, Route
from disburse.hints import Hint
from disburse.kinds import alerting, make_connectors
from disburse.operations.desk import DUE, FINAL, Batches, Desk
from disburse.operations.evidence import Applied, Heard
from disburse.operations.installation import Installation, is_new, open_installation, wait_for_witness
from disburse.operations.providers import Providers
from disburse.operations.registry_rules import Terms
from disburse.operations.witness import Word
from disburse.routing_settings import check, read_routing
from disburse.settings import Settings
from disburse.storage.database import Database, StoreUnavailable, open_database
from disburse.storage.embedded import EmbeddedServer
from disburse.storage.embedded_minded import keeping
from disburse.storage.keyring import Keyring
from disburse.storage.migrate import make_database, migrate
from disburse.storage.statement import rehearse
from disburse.storage.vault import Vault
from disburse.workers.housekeeper import AGAIN_S, SEEN_EVERY_S, Housekeeper
from disburse.workers.inquirer import Inquirer, InquirerLimits
from disburse.workers.pulse import Pulse
from disburse.workers.registrar import Registrar
from disburse.workers.sender import Sender, SenderLimits
from disburse.workers.timekeeper import LOOK_EVERY_S, Timekeeper
from disburse.workers.watch import Watch

__all__ = ["BANK_BOOK", "DATABASE", "KEYS", "Gauges", "House", "KeyFileMissing", "Rhythm", "hearing", "listening", "make_desk", "open_house", "routes_of", "working"]

DATABASE = "disburse"
KEYS = "keys.json"
WARM = 4
"""Connections that are opened and taught before they are needed: the loops of one process seldom need more at once."""
REST_S = 0.002
"""After a transaction of several commands its writer rests so long: fewer, larger transactions (docs/performance.md)."""


def _nothing(*_: Any) -> None:
    """Nobody measures."""


@dataclass(slots=True)
class Gauges:
    """Where numbers are told; `api/metrics.py` listens."""

    batch: Callable[[str, int], None] = _nothing
    called: Callable[[str, Verdict], None] = _nothing
    asked: Callable[[str, Verdict], None] = _nothing
    applied: Callable[[str, Applied], None] = _nothing
    alerted: Callable[[str, str], None] = _nothing
    witnessed: Callable[[Word], None] = _nothing


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How often loops look for work when nobody wakes them, in seconds, and how much a sender and an inquirer take at a time.

    `poll_s`: sender and inquirer; `watch_s`: doors; `pulse_s`: what providers are like; `house_s`: housekeeping; `time_s`: the timekeeper.
    """

    poll_s: float = 0.25
    watch_s: float = 0.2
    pulse_s: float = 1.0
    house_s: float = SEEN_EVERY_S
    time_s: float = LOOK_EVERY_S
    claims: int = 500
    questions: int = 200


class KeyFileMissing(Refusal):
    """The installation's key file is not where it should be."""


@dataclass(slots=True)
class House:
    """An installation, opened. `sandbox_book` is where the sandbox bank in process writes.

    `in_process` names the connectors whose provider lives in the process that works; nobody calls those back by HTTP.
    `place`: the machine and process, by which its workers are called.
    """

    settings: Settings
    world: World
    data: Path
    server: EmbeddedServer | None
    dsn: str = field(repr=False)
    database: Database
    vault: Vault
    installation: Installation
    connectors: dict[str, Connector]
    desk: Desk
    gauges: Gauges
    in_process: frozenset[str] = frozenset()
    place: str = field(default_factory=lambda: f"{socket.gethostname()[:40]}-{os.getpid()}")

    @property
    def sandbox_book(self) -> Path:
        return self.data / BANK_BOOK


@contextlib.asynccontextmanager
async def open_house(
    settings: Settings, world: World, *, gauges: Gauges | None = None, patience_s: float = 0.0
) -> AsyncIterator[House]:
    """Open the installation that the settings name, making it when it is new; leave it as it was found running.

    `patience_s`: so long a database after a failover is given for a witness to accept it (`operations/witness.py`).
    """
    data = Path(settings.data)
    gauges = gauges or Gauges()
    read_routing(settings)  # what is wrong with it is said before anything is started
    read_calendars(settings.calendars)
    async with contextlib.AsyncExitStack() as stack:
        server, dsn = await _database_address(settings, data, stack)
        await migrate(dsn)
        database = await open_database(dsn, world, size=settings.pool, unsafe=settings.unsafe_database)
        stack.push_async_callback(database.close)
        vault = Vault(_keys(data, world, new=await database.ask(is_new)), world.random)
        key_check = vault.fingerprint(b"key check", 0)
        installation = await database.run(lambda tx: open_installation(tx, world, key_check))
        installation = await wait_for_witness(database, world, key_check, installation, patience_s)
        database.trusted = installation.lineage
        configured = make_connectors(settings, world.clock, data, stack, gauges.alerted)
        connectors = {name: one.connector for name, one in configured.items()}
        desk = make_desk(settings, world, database, vault, installation, connectors, gauges)
        in_process = frozenset(name for name, one in configured.items() if one.in_process)
        yield House(
            settings, world, data, server, dsn, database, vault, installation, connectors, desk, gauges, in_process
        )


def make_desk(
    settings: Settings,
    world: World,
    database: Database,
    vault: Vault,
    installation: Installation,
    connectors: dict[str, Connector],
    gauges: Gauges,
) -> Desk:
    """The operations of a house behind their queues. Raises BadSettings for routing rules that cannot be read."""
    routing = read_routing(settings)

    def written(operation: str, size: int) -> None:
        gauges.batch(operation, size)
        if not operation.startswith("look"):
            desk.on_written()

    desk = Desk(
        database,
        world,
        vault,
        installation.installation_id,
        routes=[routing.complete(route) for route in routes_of(list(connectors.values()))],
        fees=settings.fee_rules(),
        batches=Batches(written, largest=settings.largest, writers=settings.writers, rest_s=REST_S),
        token_life=timedelta(seconds=settings.token_life_s),
        rules=routing.rules,
        providers=Providers(database, world.clock, routing.terms_of(connectors)),
        absence=absence_of(connectors.values()),
        calendars=read_calendars(settings.calendars),
    )
    desk.on_applied = gauges.applied
    desk.on_alert = gauges.alerted
    desk.witness.on_word = gauges.witnessed
    return desk


async def _database_address(
    settings: Settings, data: Path, stack: contextlib.AsyncExitStack
) -> tuple[EmbeddedServer | None, str]:
    if settings.database_url is not None:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        return None, settings.database_url
    server = EmbeddedServer(data)
    endpoint = server.start()
    stack.callback(server.leave)
    await make_database(endpoint.dsn("postgres"), DATABASE)
    return server, endpoint.dsn(DATABASE)


def _keys(data: Path, world: World, *, new: bool) -> Keyring:
    """The key file, made with the installation and never again: a second one could read nothing that was sealed.

    It is not in the database: a dump alone opens nothing (invariant S5). Raises KeyFileMissing.
    """
    path = data / KEYS
    if not path.exists():
        if not new:
            raise KeyFileMissing(f"This database belongs to an installation whose key file is not in {data}.")
        with contextlib.suppress(FileExistsError):
            return Keyring.create(path, world.random)
    return Keyring.load(path)


def route_of(connector: Connector) -> Route:
    """A connector as routing sees it."""
    able = connector.capabilities
    limits = [(str(rail), currency, one) for (rail, currency), one in able.limits.items()]
    return Route(
        connector.name,
        frozenset(str(rail) for rail in able.rails),
        able.currencies,
        able.sandbox,
        tuple(Limit(rail, currency, one.minimum_minor, one.maximum_minor) for rail, currency, one in limits),
        tuple(Price(str(rail), currency, rule) for (rail, currency), rule in able.fees.items()),
        barred=not able.sends,
    )


def routes_of(connectors: Sequence[Connector]) -> list[Route]:
    """The routes, in the order they are tried. Beside a real provider a sandbox carries test money alone.

    Otherwise a wage that no real provider could carry would be "paid" by a bank that has no money.
    """
    routes = [route_of(connector) for connector in connectors]
    if all(route.sandbox for route in routes):
        return routes
    test_money = frozenset((TEST_CURRENCY,))
    return [replace(route, currencies=route.currencies & test_money) if route.sandbox else route for route in routes]


def absence_of(connectors: Iterable[Connector]) -> dict[str, float]:
    """After how many seconds two not-founds prove absence, by connector; those of which it is never true are left out."""
    promised = {connector.name: connector.capabilities.not_found_final_after_s for connector in connectors}
    return {name: seconds for name, seconds in promised.items() if seconds is not None}


@contextlib.asynccontextmanager
async def working(
    house: House, *, api: bool, workers: bool, rhythm: Rhythm = Rhythm()
) -> AsyncIterator[list[asyncio.Task[None]]]:
    """Run the house's loops: connectors and workers, the watch for doors, and the hints between processes.

    Raises BadSettings when a rule names a connector that is not configured, or asks for what none can carry.
    """
    check(read_routing(house.settings), house.desk.routes)
    desk, world = house.desk, house.world
    tasks: list[asyncio.Task[None]] = []
    due, final = Hint(house.database, house.world.clock, DUE), Hint(house.database, house.world.clock, FINAL)
    desk.on_due, desk.on_final = due.ring, final.ring
    loops: list[Callable[[], Coroutine[Any, Any, None]]] = [due.run, final.run]  # called once every connector has started
    paying: list[Callable[[], Coroutine[Any, Any, None]]] = []  # those that end when the database turns out to have lost something
    loops.append(partial(_warming, house))
    if house.server is not None:
        loops.append(partial(keeping, house.database, house.server, house.world.clock))
    async with contextlib.AsyncExitStack() as stack:
        if api and not workers:
            watch = Watch(desk, world, poll_s=rhythm.watch_s)
            loops += [watch.run, partial(listening, house, FINAL, watch.pace.wake)]
        if not house.installation.quarantined:
            if not workers:
                loops.append(partial(_looking, house, rhythm.house_s))
            for connector in house.connectors.values():
                calls_us = connector.capabilities.callbacks and connector.name not in house.in_process
                if workers or calls_us:  # callbacks come to every process with a port
                    await connector.start(hearing(house))
                    stack.push_async_callback(connector.stop)
        if workers and not house.installation.quarantined:
            for connector in house.connectors.values():
                if not connector.capabilities.sends:
                    alerting(house.gauges.alerted)(connector.name, "no_certificate")
            sender, inquirer, housekeeper, timekeeper, registrar = make_workers(house, rhythm)
            stack.push_async_callback(sender.finish)
            if api:
                desk.on_due, desk.on_final = sender.pace.wake, _nothing
            pulse = Pulse(desk, house.connectors, world, poll_s=rhythm.pulse_s)
            desk.providers.on_news = pulse.pace.wake
            paying += [inquirer.run, housekeeper.run, timekeeper.run, pulse.run, registrar.run]
            if house.connectors:  # one that has no provider at all says nothing about whether others have a route: it claims nothing
                paying += [sender.run, partial(listening, house, DUE, sender.pace.wake)]
        sending = [asyncio.create_task(loop()) for loop in paying]
        loops.append(partial(_minding, house, sending))
        tasks += [*[asyncio.create_task(loop()) for loop in loops], *sending]
        stack.push_async_callback(_stop, tasks)  # last in, first out: claim nothing more, then finish what is under way
        yield tasks


def make_workers(house: House, rhythm: Rhythm = Rhythm()) -> tuple[Sender, Inquirer, Housekeeper, Timekeeper, Registrar]:
    """One of each, under one name that no other process has, the registrar under another."""
    worker = f"{house.place}-{house.world.random.bytes(4).hex()}"
    settings, shards = house.settings, list(range(house.settings.buckets))  # one list: the housekeeper adds to it
    limits = SenderLimits(window=settings.window, batch=rhythm.claims, call_s=settings.call_s, poll_s=rhythm.poll_s, lease_s=settings.lease_s)
    inquirer = Inquirer(
        house.desk, house.connectors, house.world, worker, shards=shards,
        limits=InquirerLimits(batch=rhythm.questions, call_s=settings.call_s, poll_s=rhythm.poll_s), asked=house.gauges.asked,
    )  # fmt: skip

    def called(connector: str, outcome: Verdict) -> None:
        house.gauges.called(connector, outcome)
        inquirer.heard_of(connector, outcome)  # a provider that answers an order will answer questions too

    return (
        Sender(house.desk, house.connectors, house.world, worker, shards=shards, limits=limits, called=called),
        inquirer,
        Housekeeper(house.desk, house.world, worker, shards=shards, every_s=rhythm.house_s),
        Timekeeper(house.desk, house.world, worker, shards=shards, every_s=rhythm.time_s),
        Registrar(Terms(house.desk, settings.minimums), house.world, f"{house.place}-{house.world.random.bytes(4).hex()}", shards=shards),
    )  # fmt: skip


def hearing(house: House) -> Hear:
    """Where callbacks of this house's connectors are stored and applied. Raises StoreUnavailable."""

    async def hear(callback: Callback) -> None:
        await house.desk.hear(
            Heard(
                connector=callback.connector,
                end_to_end_id=callback.end_to_end_id,
                kind="callback",
                verdict=callback.finding,
                at=house.world.clock.now(),
                actor=f"provider:{callback.connector}",
                content=callback.content,
            )
        )

    return hear


async def listening(house: House, channel: str, heard: Callable[[], None]) -> None:
    """Listen for hints for as long as the process lives; a connection that breaks is made again. Polling goes on without."""
    while True:
        with contextlib.suppress(Exception):
            await house.database.listen(channel, heard)
        await house.world.clock.sleep(1)


async def _looking(house: House, every_s: float) -> None:
    """A process without heartbeats sees from the installation's row whether the database may be worked on."""
    witness = house.desk.witness
    while True:
        await house.world.clock.sleep(AGAIN_S if witness.unsettled else every_s)
        with contextlib.suppress(StoreUnavailable):
            await witness.look()


async def _minding(house: House, sending: Sequence[asyncio.Task[None]]) -> None:
    """When history was lost the process is in quarantine at once: it claims and sends nothing more. What is under way is still recorded."""
    await house.desk.witness.lost.wait()
    house.installation = replace(house.installation, quarantined=True)
    for task in sending:
        task.cancel()


async def _warming(house: House) -> None:
    """Open the connections that busy moments will want, and let them learn; who comes meanwhile is served beside it."""
    with contextlib.suppress(Exception):  # a database that is not well now is met again by whoever needs it
        await house.database.warm(min(WARM, house.settings.pool - 2), rehearse)


async def _stop(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    for task in tasks:
        with contextlib.suppress(asyncio.CancelledError, StoreUnavailable):
            await task
