"""Which installation a command speaks to, and as whom. Lives here: the options every command shares, and opening the house.

The heavy parts are imported when a command runs, so that `--help` is quick.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from cyclopts import App, Group, Parameter

from disburse.cli import show
from disburse.domain.refusals import Refusal

if TYPE_CHECKING:
    from disburse.domain.ports import World
    from disburse.settings import Settings
    from disburse.wiring import Gauges, House

T = TypeVar("T")

INSTALLATION = Group("Installation", sort_key=90)


class NoInstallation(Refusal):
    """There is no installation here."""


@Parameter(name="*", group=INSTALLATION)
@dataclass(frozen=True)
class Place:
    """Which installation, and how to print."""

    data: Annotated[
        Path | None, Parameter(help="Data directory (environment: DISBURSE_DATA; default: ./disburse-data).")
    ] = None
    database_url: Annotated[
        str | None, Parameter(help="A PostgreSQL of your own instead of the embedded one (DISBURSE_DATABASE_URL).")
    ] = None
    settings: Annotated[
        Path | None, Parameter(help="Settings file (DISBURSE_SETTINGS; default: disburse.toml in the data directory).")
    ] = None
    json: Annotated[bool, Parameter(negative="", help="Print JSON, errors too.")] = False

    def load(self, **more: Any) -> Settings:
        """The settings, with these options and `more` on top. Raises BadSettings."""
        from disburse.settings import load_settings

        data = str(self.data) if self.data is not None else None
        return load_settings(self.settings, os.environ, {"data": data, "database_url": self.database_url, **more})


HERE = Place()


def group(name: str) -> App:
    """A command with commands of its own."""
    return App(name=name, help_format="plaintext", version_flags=[])


@asynccontextmanager
async def opened(place: Place, *, make: bool = False) -> AsyncIterator[House]:
    """The installation, opened. Unless it may be made, raises NoInstallation where there is none."""
    from disburse.wiring import KEYS
    from disburse.world import real_world

    settings = place.load()
    if not make and not (Path(settings.data) / KEYS).exists():
        raise NoInstallation(f"There is no installation in {settings.data}: it has no {KEYS}.")
    async with house_of(settings, real_world()) as house:
        yield house


@asynccontextmanager
async def house_of(
    settings: Settings, world: World, gauges: Gauges | None = None, patience_s: float = 0.0
) -> AsyncIterator[House]:
    """The house of these settings, made if there is none. Raises StoreUnavailable for an address that nobody answers at."""
    from disburse.storage.database import StoreUnavailable
    from disburse.wiring import open_house

    async with AsyncExitStack() as stack:
        with show.waiting("opening the installation"):
            try:
                house = await stack.enter_async_context(open_house(settings, world, gauges=gauges, patience_s=patience_s))
            except (ConnectionError, TimeoutError, socket.gaierror) as fault:
                raise StoreUnavailable(f"no connection ({type(fault).__name__})") from fault
        yield house


def run(place: Place, work: Callable[[House], Awaitable[T]], *, make: bool = False) -> T:
    """Open the installation, do the work, and leave everything as it was found running.

    SIGTERM ends it as an interrupt does, so that a server started for this command is stopped.
    """

    async def all_of_it() -> T:
        task = asyncio.current_task()
        if task is not None:
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        async with opened(place, make=make) as house:
            return await work(house)

    return asyncio.run(all_of_it())


async def actor(house: House) -> str:
    """Who acts: the person whose token DISBURSE_OPERATOR carries, else `cli`. Raises UnknownOperator."""
    from disburse.operations.operators import operator_by_token

    token = os.environ.get("DISBURSE_OPERATOR", "")
    if not token:
        return "cli"
    number, _ = await operator_by_token(house.database, token)
    return f"operator:{number}"
