"""What one simulated day consists of. Lives here: the parts, put side by side for those who act on them, and nobody's deeds."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from disburse.simulation.auditor import Auditor, Violation
from disburse.simulation.backend import Backend
from disburse.simulation.clients import Client, History
from disburse.simulation.faults import Faults
from disburse.simulation.installation import Installation
from disburse.simulation.knobs import Knobs
from disburse.simulation.loop import Loop
from disburse.simulation.network import Net
from disburse.simulation.provider import Provider
from disburse.simulation.store import Store
from disburse.simulation.streams import Streams, Trace


@dataclass(slots=True)
class Day:
    """What a day consists of."""

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
    history: History = field(default_factory=History)
    clients: list[Client] = field(default_factory=list)
    violations: list[Violation] = field(default_factory=list)
    sometimes: Counter[str] = field(default_factory=Counter)
    misjudged: set[str] = field(default_factory=set)
    commits: int = 0
    calling: int = 0

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
