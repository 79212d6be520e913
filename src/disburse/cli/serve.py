"""`disburse serve`: doors and workers of one installation, in one process or in several (`crew.py`)."""

from __future__ import annotations

import asyncio
import gc
import os
import re
import signal
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Final, Literal

import structlog
from cyclopts import Parameter

from disburse import __version__, logs, server
from disburse.api.listening import DEFAULT_LIMITS, listen_together, tls_context
from disburse.assembly import Front, Instruments, make_app
from disburse.cli import show
from disburse.cli.mistakes import BadUsage
from disburse.cli.place import HERE, Place, house_of
from disburse.crew import Crew, cores
from disburse.domain.ports import World
from disburse.outgoing import outgoing
from disburse.settings import BadSettings, Settings, plain_settings
from disburse.wiring import House, working
from disburse.world import real_world

Role = Literal["all", "api", "worker"]
Level = Literal["debug", "info", "warning", "error"]

MOST_BY_ITSELF: Final = 4
"""So many processes at most, unless the settings say how many: PostgreSQL needs cores too."""

STOP_WITHIN_S: Final = 3.0
"""So long may requests under way take to end; calls to providers then get their own time, and all of it is under 10 s."""

PATIENCE_S: Final = 20.0
"""A process that starts after a failover waits so long for a witness's word before it is in quarantine."""

RARELY: Final = (20_000, 20, 50)
"""The garbage collector's thresholds where no merchant waits at a door: a worker's objects leave no cycles, and live some 100 ms."""

AT_A_DOOR: Final = (10_000, 100, 20)
"""The same where merchants wait: requests leave no cycles either, and collecting the older objects stops everybody for 20 to 50 ms."""

_ADDRESS: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\[\]:/\s]+)):([0-9]{1,5})")


def serve(
    *,
    listen: Annotated[
        str | None, Parameter(help="HOST:PORT (default 127.0.0.1:8080); port 0 picks a free one.")
    ] = None,
    role: Annotated[Role, Parameter(help="Doors and workers, doors alone, or a worker alone.")] = "all",
    sandbox: Annotated[
        bool | None, Parameter(help="Pay through a sandbox bank in this process: no money moves.")
    ] = None,
    sandbox_guard: Annotated[bool | None, Parameter(help="The sandbox bank remembers ids and pays each once.")] = None,
    sandbox_bank_url: Annotated[
        str | None, Parameter(help="Pay through the sandbox bank that `disburse sandbox-bank` runs there.")
    ] = None,
    tls_cert: Annotated[Path | None, Parameter(help="Certificate with its chain (PEM): serve HTTPS.")] = None,
    tls_key: Annotated[Path | None, Parameter(help="Its key, where it is not in the same file.")] = None,
    unsafe_database: Annotated[
        bool | None, Parameter(help="Run on a database that may forget what it acknowledged.")
    ] = None,
    processes: Annotated[
        int | None,
        Parameter(help="How many processes share the work (default: one for each core, at most 4); 1: all in this one."),
    ] = None,
    log_level: Annotated[Level | None, Parameter(help="What is logged on standard error.")] = None,
    place: Place = HERE,
) -> None:
    """Serve the APIs and send payouts, until it is interrupted (SIGTERM or Ctrl-C).

    One port: /api (UnitPay), /personal/ (IntellectMoney), /v1 (REST, described at /docs), /healthz, /readyz, /metrics. A worker alone serves the last three,
    and only where --listen is given. With several processes the doors are beside the one that was started, which works;
    all of them end with it.
    """
    settings = place.load(
        listen=listen, sandbox=sandbox, sandbox_guard=sandbox_guard, sandbox_bank_url=sandbox_bank_url,
        tls_cert=_text(tls_cert), tls_key=_text(tls_key), unsafe_database=unsafe_database, processes=processes,
        log_level=log_level,
    )  # fmt: skip
    address = _address(settings)
    if settings.log_level not in ("debug", "info", "warning", "error"):
        raise BadSettings("log_level is debug, info, warning or error.")
    if settings.tls_key is not None and settings.tls_cert is None:
        raise BadUsage("--tls-key needs --tls-cert.")
    if settings.tls_cert is not None:
        tls_context(settings.tls_cert, settings.tls_key)  # before an installation is made or opened
    world = real_world()
    logs.configure(world.clock, level=settings.log_level)
    server.run(_serve(settings, world, role, address if role != "worker" or listen is not None else None, place.json))


@dataclass(frozen=True, slots=True)
class _Address:
    host: str
    port: int


async def _serve(settings: Settings, world: World, role: Role, address: _Address | None, as_json: bool) -> None:
    instruments = Instruments(world)
    logger = structlog.get_logger("serve")
    processes = 1 if role == "worker" else settings.processes or min(cores(), MOST_BY_ITSELF)
    apart = role == "all" and processes > 1  # this process works, and all doors are beside it
    doors = processes - 1
    async with house_of(settings, world, instruments.gauges, PATIENCE_S) as house:
        front = make_app(house, instruments, doors=role != "worker")
        logger.info("opened", version=__version__, role=role, data=str(house.data), pid=os.getpid())
        if house.installation.quarantined:
            logger.warning("in quarantine: the database was restored or copied, or lost something, and nothing is sent")
        sets = await listen_together(address.host, address.port, doors + (not apart)) if address is not None else []
        url = _url(settings, address, sets[0]) if address is not None else None
        own = None if apart or not sets else sets.pop()
        order = {"settings": plain_settings(house.settings)}
        async with (
            working(house, api=role != "worker" and not apart, workers=role != "api") as loops,
            outgoing(
                house, api=role != "worker" and not apart, workers=role != "api", delivered=instruments.metrics.delivered
            ) as couriers,
            Crew(world.clock, logger, sets, order, instruments.metrics.counted) as crew,
        ):
            front.metrics.others = crew.counted
            loops += [*couriers, *crew.loops]
            await serve_front(front, house, own, loops, lambda: _announce(house, role, url, as_json), crew.dismiss)


async def serve_front(
    front: Front, house: House, sockets: list[socket.socket] | None, loops: Sequence[asyncio.Task[None]],
    ready: Callable[[], None], on_stopping: Callable[[], None] = lambda: None,
) -> None:  # fmt: skip
    """Serve at these sockets, if any, until told to stop or a loop breaks; what broke it is raised."""
    logger, stop = structlog.get_logger("serve"), asyncio.Event()
    broken: list[BaseException] = []

    def ended(loop: asyncio.Task[None]) -> None:
        fault = None if loop.cancelled() else loop.exception()
        if fault is not None:
            broken.append(fault)
            logger.error("a loop broke, so the process ends", exc_info=fault)
            stop.set()

    def stopping() -> None:
        front.health.stopping = True
        house.desk.news.close()  # who waits for events is answered now, and asks another process
        on_stopping()

    for loop in loops:
        loop.add_done_callback(ended)
    gc.collect()
    gc.freeze()  # what is there now stays: later collections need not walk it while merchants wait
    gc.set_threshold(*(AT_A_DOOR if sockets is not None else RARELY))
    if sockets is None:
        ready()
        await _until_told(stop)
    else:
        await server.serve(
            front.app,
            host=sockets[0].getsockname()[0],
            port=sockets[0].getsockname()[1],
            world=house.world,
            metrics=front.metrics,
            logger=structlog.get_logger("server"),
            tls_cert=house.settings.tls_cert,
            tls_key=house.settings.tls_key,
            limits=replace(DEFAULT_LIMITS, stop_within_s=STOP_WITHIN_S),
            stop=stop,
            on_listening=lambda _: ready(),
            on_stopping=stopping,
            sockets=sockets,
        )
    if broken:
        raise broken[0]


def _url(settings: Settings, address: _Address, sockets: Sequence[socket.socket]) -> str:
    scheme = "https" if settings.tls_cert is not None else "http"
    host = f"[{address.host}]" if ":" in address.host else address.host
    return f"{scheme}://{host}:{sockets[0].getsockname()[1]}"


def _announce(house: House, role: Role, url: str | None, as_json: bool) -> None:
    """Say where it listens: the line that a person looks for, and a script that gave port 0."""
    connectors = list(house.connectors)
    if as_json:
        told = {"listening": url, "role": role, "pid": os.getpid(), "data": str(house.data), "connectors": connectors}
        show.say_json(told, indent=None)
        return
    show.say(f"Listening on {url}" if url is not None else "Working, without a port.")
    if not connectors:
        show.say("No provider is configured: payouts are refused or wait. For a sandbox bank: disburse serve --sandbox")
    if house.installation.quarantined:
        show.say(
            "In quarantine: this database was restored or copied, or lost something, so nothing is sent until persons have compared it."
        )


async def _until_told(stop: asyncio.Event) -> None:
    """Wait for SIGTERM, SIGINT, or a loop that broke."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()


def _address(settings: Settings) -> _Address:
    match = _ADDRESS.fullmatch(settings.listen)
    if match is None or int(match[3]) > 65535:
        raise BadUsage("--listen is HOST:PORT, such as 127.0.0.1:8080 or [::1]:8080.")
    return _Address(match[1] or match[2], int(match[3]))


def _text(path: Path | None) -> str | None:
    return str(path) if path is not None else None
