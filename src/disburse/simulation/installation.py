"""The installation under simulation: servers and workers made of the product's own parts, each in a process that can die.

Lives here: how a simulated process is put together and started again. Doors are `assembly.make_app`, loops `wiring.working`, the
operations `wiring.make_desk`, connectors the shipped kinds; only the ports under them are simulated. May not live here: faults.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any, Final

from disburse.assembly import make_app
from disburse.connectors import intellectmoney, sandbox_remote, unitpay
from disburse.connectors.contract import Connector
from disburse.connectors.kind import Kind, Surroundings
from disburse.domain.ports import World
from disburse.kinds import make_one
from disburse.operations.installation import open_installation
from disburse.outgoing import make_courier
from disburse.protocols.wire import WireAnswer, WireRequest
from disburse.settings import Settings
from disburse.simulation.knobs import Knobs
from disburse.simulation.loop import Loop
from disburse.simulation.network import Net, SimTransport
from disburse.simulation.posting import SimPost
from disburse.simulation.process import Process
from disburse.simulation.store import SimPool, Store
from disburse.simulation.streams import Streams
from disburse.storage.database import Database, StoreUnavailable
from disburse.storage.keyring import Keyring
from disburse.storage.vault import Vault
from disburse.wiring import Gauges, House, Rhythm, make_desk, working
from disburse.workers.courier import CourierLimits

KINDS: Final[Mapping[str, tuple[str, Kind]]] = {
    "unitpay": ("unitpay", unitpay.KIND),
    "moneynew": ("intellectmoney", intellectmoney.KIND),
    "moneyold": ("intellectmoney", intellectmoney.KIND),
    "bank": ("sandbox-http", sandbox_remote.KIND),
    "guarded": ("sandbox-http", sandbox_remote.KIND),
}
CALM: Final = Rhythm(poll_s=6.0, watch_s=2.0, pulse_s=30.0, house_s=240.0, time_s=240.0)
"""How the healthy core works after the faults: quick enough, and few questions to the database in hours of virtual time."""


COURIER: Final = CourierLimits(together=10, call_s=4.0, lease_s=40.0, poll_s=3.0, gather_s=0.5, claim_s=5.0, buckets_s=60.0)


class Silent:
    """A logger that keeps what was said, for the search for secrets."""

    def __init__(self, said: list[str]) -> None:
        self._said = said

    def _say(self, event: str, **fields: Any) -> None:
        fault = fields.pop("exc_info", None)
        self._said.append(f"{event} {sorted(fields.items())} {fault!r}")

    info = warning = error = _say


class ServerHost:
    """A server's address: requests become tasks of its process."""

    def __init__(self, process: Process, app: Any) -> None:
        self._process = process
        self._app = app

    @property
    def up(self) -> bool:
        return not self._process.dead

    def receive(self, request: WireRequest, reply: Callable[[WireAnswer | None], None]) -> None:
        self._process.start(self._answer(request, reply))

    async def _answer(self, request: WireRequest, reply: Callable[[WireAnswer | None], None]) -> None:
        said: list[dict[str, Any]] = []
        headers = [(name.encode(), value.encode()) for name, value in request.headers.items()]
        if request.body:
            headers.append((b"content-length", b"%d" % len(request.body)))
        scope = {
            "type": "http", "method": request.method, "raw_path": request.path.encode(), "query_string": request.query,
            "headers": headers,
        }  # fmt: skip

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": request.body, "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            said.append(message)

        await self._app(scope, receive, send)
        if len(said) == 2 and not self._process.dead:
            reply(WireAnswer(said[0]["status"], "", said[1]["body"]))


class Installation:
    """Everything that processes of one installation share, and a way to start them."""

    def __init__(self, loop: Loop, net: Net, store: Store, streams: Streams, knobs: Knobs, providers: list[str]) -> None:
        self.loop = loop
        self.net = net
        self.store = store
        self.knobs = knobs
        self.logged: list[str] = []
        self.alerts: list[tuple[str, str]] = []
        self.processes: dict[str, Process] = {}
        self.every: list[Process] = []
        self.crashes: list[str] = []
        self.ending: dict[Process, float] = {}
        self._running: dict[Process, asyncio.Task[Any]] = {}
        self._streams = streams
        self._providers = providers
        self._incarnations = 0
        keys = random.Random(f"{streams.seed}/keys")
        name = keys.randbytes(4)
        self._keyring = Keyring({name: keys.randbytes(32)}, current=name, fingerprint=name)
        self.settings = Settings(
            data="simulated", lease_s=knobs.lease_s, call_s=knobs.call_s, window=knobs.window, largest=knobs.largest,
            writers=knobs.writers, pool=knobs.pool, providers={name: _terms(knobs) for name in providers},
        )  # fmt: skip

    def process(self, name: str, *, mortal: bool = True) -> Process:
        """A fresh process under a name; the one before of that name is dead or never was."""
        self._incarnations += 1
        stream = random.Random(f"{self._streams.seed}/process/{self._incarnations}")
        made = Process(self.loop, name, self._incarnations, stream, mortal=mortal)
        self.every.append(made)
        if mortal:
            self.processes[name] = made
        return made

    def start(self, name: str, rhythm: Rhythm | None = None) -> Process:
        """Start a server or a worker, by its name."""
        process = self.process(name)
        task = process.start(self._run(process, rhythm or self.knobs.rhythm))
        self._running[process] = task
        task.add_done_callback(lambda done: self._fell(name, process, done))
        return process

    def end(self, process: Process) -> None:
        """Ask a process to end, as whoever deploys or shuts down a machine does. It ends what it began, and is gone."""
        if process in self._running and process not in self.ending and not process.dead:
            self.ending[process] = self.loop.time()
            self._running[process].cancel()

    def still_ending(self) -> list[Process]:
        """Processes that were asked to end and have not yet."""
        return [process for process in self.ending if not process.dead]

    def _fell(self, name: str, process: Process, task: asyncio.Task[Any]) -> None:
        """A program that ended by itself: that must not happen, whatever the world does."""
        if process.dead:
            return
        fault = None if task.cancelled() else task.exception()
        if fault is not None and not isinstance(fault, StoreUnavailable):
            self.crashes.append(f"{name} ended: {type(fault).__name__}: {fault}")
        process.kill()

    async def _run(self, process: Process, rhythm: Rhythm) -> None:
        async with self.house(process) as house:
            server = process.name.startswith("server")
            if server:
                front = make_app(house, logger=Silent(self.logged))
                self.net.hosts[process.name] = ServerHost(process, front.app)
            async with working(house, api=server, workers=not server, rhythm=rhythm) as tasks:
                if "webhooks" in self.knobs.scenes and not server:
                    courier = make_courier(house, SimPost(process, self.net), lambda outcome: None, COURIER)
                    tasks.append(asyncio.create_task(courier.run()))
                await asyncio.gather(*tasks)

    @contextlib.asynccontextmanager
    async def house(self, process: Process) -> AsyncIterator[House]:
        """The product's house in a process, over simulated ports. Raises StoreUnavailable when the database cannot be reached."""
        world = process.world
        database = Database(SimPool(self.store, process, self.knobs.pool), world.clock, world.random.uniform, set())
        vault = Vault(self._keyring, world.random)
        key_check = vault.fingerprint(b"key check", 0)
        installation = await database.run(lambda tx: open_installation(tx, world, key_check))
        connectors = {name: self._connector(name, process, world) for name in self._providers}
        gauges = Gauges(alerted=lambda connector, alert: self.alerts.append((connector, alert)))
        desk = make_desk(self.settings, world, database, vault, installation, connectors, gauges)
        yield House(
            self.settings, world, Path("simulated"), None, "", database, vault, installation, connectors, desk, gauges,
            place=f"simulated-{process.index:06d}",
        )  # fmt: skip

    def forget(self) -> None:
        """Let go of every process."""
        self.processes.clear()
        self.every.clear()
        self.ending.clear()
        self._running.clear()

    def _connector(self, name: str, process: Process, world: World) -> Connector:
        kind = name.partition("-")[0]
        entry, made_by = KINDS[kind]
        around = Surroundings(
            world.clock, lambda http: SimTransport(process, self.net), self._alert, _no_spool  # type: ignore[arg-type, return-value]
        )
        return make_one(name, entry, made_by, self._table(kind, name, process), around, {})

    def _alert(self, connector: str, alert: str, code: int | None = None, version: str | None = None) -> None:
        self.alerts.append((connector, alert))

    def _table(self, kind: str, name: str, process: Process) -> dict[str, Any]:
        rails = ["card"] if self.knobs.narrow and process.name.startswith("worker") else ["card", "sbp"]
        account = {"login": "house@example.com"}
        match kind:
            case "unitpay":
                return {**account, "secret_key": "simulated", "url": f"https://{name}/api", "rails": rails}
            case "moneynew" | "moneyold":
                new = kind == "moneynew"
                signed = {"bearer": "simulated", "sign_secret_key": "simulated"} if new else {}
                return {
                    **account, **signed, "password": "simulated", "base_url": f"https://{name}", "rails": ["card"],
                    "generation": "new" if new else "old", "execute_again_after_s": self.knobs.again_s,
                }  # fmt: skip
            case _:
                return {"url": f"http://{name}", "guard": kind == "guarded"}


def _terms(knobs: Knobs) -> dict[str, Any]:
    return {} if knobs.nervous is None else {"failures": knobs.nervous, "percent": 50, "trials": 1}


def _no_spool(file: str) -> Any:
    raise AssertionError("no simulated connector keeps a book of its own")
