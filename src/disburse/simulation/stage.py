"""What one simulated day consists of. Lives here: the parts, put side by side for those who act on them, and nobody's deeds."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from disburse.simulation.auditor import Auditor, Rulebook, Violation
from disburse.simulation.auditor.hooks import Endpoint
from disburse.simulation.auditor.registries import File
from disburse.simulation.backend import Backend
from disburse.simulation.clients import History
from disburse.simulation.faults import Faults
from disburse.simulation.installation import Installation
from disburse.simulation.knobs import Knobs
from disburse.simulation.loop import Loop
from disburse.simulation.network import Net
from disburse.simulation.process import Process
from disburse.simulation.provider import Provider
from disburse.simulation.store import Store
from disburse.simulation.streams import Streams, Trace


class Numbered(Protocol):
    """A merchant as its program knows it."""

    @property
    def number(self) -> int: ...

    @property
    def bucket(self) -> int: ...


class Program(Protocol):
    """One merchant's program. `wanted`: the payouts that it wants."""

    process: Process

    @property
    def account(self) -> Numbered: ...

    @property
    def wanted(self) -> Sequence[Any]: ...

    async def run(self) -> None: ...

    async def read_all(self) -> None: ...


@dataclass(slots=True)
class Day:
    """What a day consists of. `most`: at most so many payouts of a program; `working`: who is waited for.

    `healed`: the faults are over for good; `closed`: persons went home.
    """

    seed: int
    knobs: Knobs
    streams: Streams
    trace: Trace
    loop: Loop
    backend: Backend
    faults: Faults
    net: Net
    store: Store
    house: Installation
    providers: dict[str, Provider]
    auditor: Auditor
    rulebook: Rulebook
    most: int | None = None
    healed: bool = False
    closed: bool = False
    history: History = field(default_factory=History)
    clients: list[Program] = field(default_factory=list)
    files: list[File] = field(default_factory=list)
    working: list[asyncio.Task[Any]] = field(default_factory=list)
    endpoints: list[Endpoint] = field(default_factory=list)
    violations: list[Violation] = field(default_factory=list)
    sometimes: Counter[str] = field(default_factory=Counter)
    misjudged: set[str] = field(default_factory=set)
    commits: int = 0
    calling: int = 0

    def look(self, found: list[Violation]) -> None:
        """Take in what the auditor found."""
        for one in found:
            self.trace.note(self.loop.time(), "auditor", f"{one.invariant}: {one.sentence}")
        self.violations += found

    @property
    def servers(self) -> list[str]:
        return [f"server-{number + 1}" for number in range(self.knobs.servers)]

    @property
    def buckets(self) -> list[int]:
        """The buckets that somebody is in."""
        return sorted({client.account.bucket for client in self.clients})

    @property
    def names(self) -> list[str]:
        """The processes that a day's faults may kill: servers, then workers."""
        return self.servers + [f"worker-{number + 1}" for number in range(self.knobs.workers)]
