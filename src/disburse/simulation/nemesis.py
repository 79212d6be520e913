"""Harm that comes with time: crashes, freezes, clocks that jump, a database that goes away, partitions, providers that fall over.

Lives here: when, and what is mended again after a while. It acts from outside every process. What happens at a port is in
`faults.py`.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from disburse.protocols.wire import WireRequest
from disburse.simulation.faults import Faults
from disburse.simulation.installation import Installation
from disburse.simulation.knobs import ADDED
from disburse.simulation.provider import Provider
from disburse.simulation.streams import log_uniform

TIMED: Final = ("crash", "freeze", "clock", "store_away", "store_clock", "partition", "provider_crash", "forged", "outage")


class Nemesis:
    """One day's harm. `over` is set when the day heals. `apart` is drawn from for kinds that came later, so that the others stay."""

    def __init__(
        self, house: Installation, providers: dict[str, Provider], faults: Faults, stream: random.Random, names: list[str],
        apart: random.Random,
    ) -> None:  # fmt: skip
        self._house = house
        self._providers = providers
        self._faults = faults
        self._stream = stream
        self._apart = apart
        self._names = names
        self._tasks: list[asyncio.Task[None]] = []
        self.over = False

    def start(self) -> None:
        """Let the harm begin, and see to it that what died is started again."""
        loop = self._house.loop
        self._tasks.append(loop.create_task(self._mind()))
        for kind in TIMED:
            rate = self._faults.rates.get(kind, 0.0)
            if rate > 0:
                self._tasks.append(loop.create_task(self._again_and_again(kind, 60.0 / rate)))

    def end(self) -> None:
        """All harm is over; what was harmed is mended."""
        self.over = True
        for task in self._tasks:
            task.cancel()
        self._faults.database_away = False
        self._faults.database_clock_off = timedelta()
        self._faults.apart.clear()
        for process in self._house.processes.values():
            process.frozen = False
            process.clock.off = timedelta()

    async def _mind(self) -> None:
        """Start again what is dead, after a while."""
        due: dict[str, float] = {}
        while True:
            await asyncio.sleep(0.5)
            now = self._house.loop.time()
            for name in self._names:
                process = self._house.processes.get(name)
                if process is None or process.dead:
                    at = due.setdefault(name, now + log_uniform(self._stream, 0.2, 20.0))
                    if now >= at:
                        del due[name]
                        self._house.start(name)

    async def _again_and_again(self, kind: str, mean_s: float) -> None:
        harm: Callable[[], None] = getattr(self, f"_{kind}")
        stream = self._apart if kind in ADDED else self._stream
        while True:
            await asyncio.sleep(stream.expovariate(1 / mean_s))
            harm()

    def _victim(self) -> str:
        return self._stream.choice(self._names)

    def _later(self, low: float, high: float, mend: Callable[[], None], stream: random.Random | None = None) -> None:
        def mended() -> None:
            if not self.over:
                mend()

        self._house.loop.call_later(log_uniform(stream or self._stream, low, high), mended)

    def _crash(self) -> None:
        process = self._house.processes.get(self._victim())
        if process is not None and not process.dead:
            self._faults.count("crash")
            process.kill()

    def _freeze(self) -> None:
        process = self._house.processes.get(self._victim())
        if process is None or process.dead or process.frozen:
            return
        self._faults.count("freeze")
        process.frozen = True

        def thaw() -> None:
            process.frozen = False

        self._later(0.1, 120.0, thaw)

    def _clock(self) -> None:
        process = self._house.processes.get(self._victim())
        if process is not None and not process.dead:
            self._faults.count("clock")
            years = self._stream.choice((0, 0, 0, 10, -10))
            process.clock.off = timedelta(days=365 * years, seconds=self._stream.uniform(-600, 600))

    def _store_away(self) -> None:
        self._faults.count("store_away")
        self._faults.database_away = True
        self._house.store.cut_all()

        def back() -> None:
            self._faults.database_away = False

        self._later(0.05, 20.0, back)

    def _store_clock(self) -> None:
        """The database's own clock is set: leases and pauses count by it, safety must not."""
        self._faults.count("store_clock")
        self._faults.database_clock_off = timedelta(seconds=self._stream.uniform(-120, 120))

    def _partition(self) -> None:
        pair = (self._victim(), self._stream.choice(sorted(self._providers)))
        both = {pair, (pair[1], pair[0])} if self._stream.random() < 0.5 else {self._stream.choice((pair, (pair[1], pair[0])))}
        self._faults.apart |= both
        self._later(1.0, 60.0, lambda: self._faults.apart.difference_update(both))

    def _provider_crash(self) -> None:
        provider = self._providers[self._stream.choice(sorted(self._providers))]
        if provider.up:
            self._faults.count("provider_crash")
            provider.crash()
            self._later(0.1, 60.0, provider.recover)

    def _outage(self) -> None:
        """A provider takes what it is sent and does it, and for minutes nobody hears a word of it."""
        provider = self._providers[self._apart.choice(sorted(self._providers))]
        if provider.mute:
            return
        self._faults.count("outage")
        provider.mute = True

        def heard_again() -> None:
            provider.mute = False

        self._later(30.0, 300.0, heard_again, self._apart)

    def _forged(self) -> None:
        """Somebody who is not the provider says that an order was paid, or was not."""
        name = self._stream.choice(sorted(self._providers))
        orders = list(self._providers[name].orders)
        server = next((one for one in self._names if one.startswith("server")), None)
        host = self._house.net.hosts.get(server or "")
        if not orders or host is None or not host.up:
            return
        self._faults.count("forged")
        told = {
            "end_to_end_id": self._stream.choice(orders), "state": self._stream.choice(("paid", "refused", "absent")),
            "amount": "1.00", "currency": "RUB", "provider_reference": "SB999", "reason": "forged", "elsewhere": True,
        }  # fmt: skip
        body = json.dumps(told).encode()
        host.receive(WireRequest("POST", f"/callbacks/{name}", b"", {"content-type": "application/json"}, body), lambda _: None)
