"""What goes wrong at the ports, as the seed says. Lives here: the decisions at statements, commits and exchanges, and their count.

Everything that is done to a process is counted by kind, and, where it has one, by its cell of the grid: between which two durable
steps of a payout's life which fault fell (`grid.py`). May not live here: faults that come with time (`nemesis.py`).
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Final

from disburse.protocols.wire import WireRequest
from disburse.simulation.grid import gap_of_call, gap_of_statement
from disburse.simulation.network import Way, pick_spoilt
from disburse.simulation.process import Process
from disburse.simulation.streams import log_uniform

_FAR_AHEAD: Final = timedelta(minutes=5)


class Faults:
    """One day's faults. `on`: they fall; turned off for the beginning, and for good when the day heals.

    `apart` is drawn from for kinds that came later, so that the others fall as they did.
    """

    def __init__(self, rates: Mapping[str, float], stream: random.Random, apart: random.Random | None = None) -> None:
        self.rates = rates
        self.on = False
        self.counted: Counter[str] = Counter()
        self.cells: Counter[tuple[str, str]] = Counter()
        self.database_away = False
        self.database_clock_off = timedelta()
        self.end: Callable[[Process], None] = lambda process: None
        self.apart: set[tuple[str, str]] = set()
        self._stream = stream
        self._apart = apart or stream
        self._gap: dict[Process, str] = {}

    def count(self, kind: str, gap: str | None = None, how: str | None = None) -> None:
        self.counted[kind] += 1
        if gap is not None:
            self.cells[gap, how or kind] += 1

    def _falls(self, kind: str, share: float = 1.0) -> bool:
        rate = self.rates.get(kind, 0.0) * share
        return self.on and rate > 0 and self._stream.random() < rate

    def _leaps(self) -> bool:
        """The database's clock is set ahead while an operation is being made, and that takes long: its lease is over, its maker is not."""
        if self.database_clock_off > _FAR_AHEAD or not self._falls_apart("leap"):
            return False
        self.database_clock_off += timedelta(seconds=self._apart.uniform(31, 90))
        return True

    def _falls_apart(self, kind: str) -> bool:
        rate = self.rates.get(kind, 0.0)
        return self.on and rate > 0 and self._apart.random() < rate

    def chance(self, kind: str) -> bool:
        """Whether a merchant's program does this now."""
        return self._falls(kind)

    # --- at the store ---

    def away(self) -> bool:
        return self.database_away

    def at_statement(self, process: Process, statement: str, *, writes: bool) -> str | None:
        gap = gap_of_statement(statement) if writes else None
        if gap is not None:
            self._gap[process] = gap
        often = 1.0 if writes else 0.1
        how = None
        if self._falls("statement", often):
            how = self._stream.choice(("before", "after"))
        elif writes and self._falls("deadlock"):
            how = "deadlock"
        elif process.mortal and self._falls("crash_at_port", often):
            how = self._stream.choice(("die_before", "die_after"))
        elif process.mortal and self._falls("stop", often):
            self.count("stop", gap)
            self.end(process)
        elif gap == "D4" and process.mortal and self._falls("zombie"):
            self._stand_still(process, gap)
        if how is not None:
            kind = {"deadlock": "deadlock", "before": "statement", "after": "statement"}.get(how, "crash_at_port")
            self.count(kind, gap, how)
        return how

    def at_commit(self, process: Process) -> str | None:
        gap = self._gap.get(process)
        how = None
        if self._falls("commit"):
            how = self._stream.choice(("lost", "unknown"))
        elif process.mortal and self._falls("crash_at_port"):
            how = self._stream.choice(("die_before", "die_after"))
        if how is not None:
            self.count("crash_at_port" if how.startswith("die") else "commit", gap, how)
        return how

    # --- on the way ---

    def way(self, sender: Process, host: str, request: WireRequest) -> Way:
        gap = gap_of_call(host, request)
        latency = log_uniform(self._stream, 0.0005, 0.2)
        back = log_uniform(self._stream, 0.0005, 0.2)
        if not self.on:
            return Way(there_s=latency, back_s=back)
        if gap == "N1c" and self._leaps():
            self.count("leap", gap)
            return Way(there_s=latency, back_s=self._apart.uniform(0.5, 4.8))
        if gap == "N1" and request.method == "GET" and self._falls_apart("doubled"):
            self.count("doubled", gap)
            return Way(doubled=True, there_s=latency, back_s=back)
        if (sender.name, host) in self.apart:
            self.count("partition", gap)
            return Way(unreachable=True)
        if (host, sender.name) in self.apart:
            self.count("partition", gap)
            return Way(silent=True, there_s=latency)
        if sender.mortal and self._falls("crash_at_port"):
            how = self._stream.choice(("before", "after"))
            self.count("crash_at_port", gap, f"die_{how}")
            return Way(die=how, there_s=latency, back_s=back)
        if gap == "N1" and sender.mortal and self._falls("zombie"):
            self.count("zombie", gap)
            return Way(stands_s=self._past_a_lease(), refused=self._stream.random() < 0.5, there_s=latency, back_s=back)
        for kind in ("refused", "unreachable", "lost", "silent", "reset", "spoilt"):
            if self._falls(kind, 0.5):
                kind = "reset" if gap == "D8" and kind == "spoilt" else kind  # a 2xx in its place would be an answer
                self.count(kind, gap)
                return self._harmed(kind, latency, back)
        if gap == "N1" and self._falls("slow"):
            self.count("slow", gap)
            return Way(there_s=latency, back_s=log_uniform(self._stream, 0.2, 8.0))
        if self._falls("late"):
            self.count("late", gap)
            return Way(there_s=log_uniform(self._stream, 0.5, 600.0), back_s=log_uniform(self._stream, 0.5, 60.0))
        return Way(there_s=latency, back_s=back)

    def _stand_still(self, process: Process, gap: str) -> None:
        """Who has just written that it will send stands still, and wakes when others may have taken its order for lost."""
        self.count("zombie", gap)
        process.stand_still(self._past_a_lease())

    def _past_a_lease(self) -> float:
        return log_uniform(self._stream, 10.0, 120.0)

    def _harmed(self, kind: str, there: float, back: float) -> Way:
        match kind:
            case "refused":
                return Way(refused=True, there_s=there)
            case "unreachable":
                return Way(unreachable=True)
            case "lost":
                return Way(lost=True, there_s=there)
            case "silent":
                return Way(silent=True, there_s=there)
            case "reset":
                return Way(reset=True, there_s=there, back_s=back)
            case _:
                return Way(spoilt=pick_spoilt(self._stream), there_s=there, back_s=back)
