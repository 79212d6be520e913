"""The simulator's parts without a day around them: a loop, processes, and faults that a test names one by one. No tests live here."""

from __future__ import annotations

import asyncio
import gc
import random
import sys
import warnings
from collections.abc import Coroutine
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

from disburse.protocols.wire import WireRequest
from disburse.simulation.backend import Backend
from disburse.simulation.loop import Loop
from disburse.simulation.network import Net, Way
from disburse.simulation.process import DAWN, Process
from disburse.simulation.store import Store
from disburse.simulation.streams import Streams, Trace

T = TypeVar("T")


@dataclass(slots=True)
class Planned:
    """Harm as a test plans it: the word for each statement, COMMIT and exchange to come; then none."""

    statements: list[str | None] = field(default_factory=list)
    commits: list[str | None] = field(default_factory=list)
    ways: list[Way] = field(default_factory=list)
    gone: bool = False
    asked_at_commit: int = 0

    def away(self) -> bool:
        return self.gone

    def at_statement(self, process: Process, statement: str, *, writes: bool) -> str | None:
        return self.statements.pop(0) if self.statements else None

    def at_commit(self, process: Process) -> str | None:
        self.asked_at_commit += 1
        return self.commits.pop(0) if self.commits else None

    def way(self, sender: Process, host: str, request: WireRequest) -> Way:
        return self.ways.pop(0) if self.ways else Way()


class Bare:
    """A loop of a seed, and what a test puts on it."""

    def __init__(self, seed: int) -> None:
        self.streams = Streams(seed)
        self.trace = Trace()
        self.loop = Loop(self.streams["schedule"], self.trace)
        self.harm = Planned()
        self.net = Net(self.loop, self.harm)
        self.processes: list[Process] = []
        self.committed: list[str] = []

    def process(self, name: str) -> Process:
        index = len(self.processes) + 1
        made = Process(self.loop, name, index, random.Random(index))
        self.processes.append(made)
        return made

    def store(self, backend: Backend) -> Store:
        """A store over a backend, which tells `committed` whose commits it saw."""
        made = Store(backend, self.loop, lambda: DAWN + timedelta(seconds=self.loop.time()), self.harm, self.streams["latency"])
        made.committed = lambda process: self.committed.append(process.name)
        return made

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine, in nobody's process, to its end."""
        return self.loop.run_until_complete(work)

    def within(self, process: Process, work: Coroutine[Any, Any, T], seconds: float = 60.0) -> T | str:
        """Run a coroutine in a process for so long: what it gave, or "dead" or "waits" when it did not end."""

        async def watch() -> T | str:
            task = process.start(work)
            await asyncio.wait([task], timeout=seconds)
            if not task.done():
                return "dead" if process.dead else "waits"
            result: T = task.result()
            return result

        return self.run(watch())

    def close(self) -> None:
        """Let go of everything; what unfinished work says on its way out is nobody's business."""
        hook, sys.unraisablehook = sys.unraisablehook, lambda told: None
        self.loop.set_exception_handler(lambda loop, told: None)
        for process in self.processes:
            process.kill()
        with warnings.catch_warnings(action="ignore"):  # work that was given to the dead was never begun
            self.loop.close()
            gc.collect()
        sys.unraisablehook = hook
