"""Chance, by seed. Lives here: separate streams of randomness for separate questions, and the trace that two runs are compared by.

What one stream draws never moves another: a run whose faults are taken away has the same workload. May not live here: any
decision about what is drawn.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from typing import Final

STREAMS: Final = ("knobs", "schedule", "workload", "faults", "provider", "latency", "persons", "scenes", "rules", "approvers", "receivers", "registries")


class Streams:
    """The streams of one seed. A stream of a name is the same whenever and in whatever order it is asked for."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._made: dict[str, random.Random] = {}

    def __getitem__(self, name: str) -> random.Random:
        found = self._made.get(name)
        if found is None:
            found = self._made[name] = random.Random(f"{self.seed}/{name}")
        return found


def log_uniform(stream: random.Random, low: float, high: float) -> float:
    """A number between two positive ones, as likely small as large."""
    return float(low * (high / low) ** stream.random())


class Trace:
    """What happened, folded into one hash, and, when somebody listens, told line by line.

    `heard` gets virtual seconds, the process's name and what it did.
    """

    def __init__(self, heard: Callable[[float, str, str], None] | None = None) -> None:
        self._hash = hashlib.blake2b(digest_size=16)
        self.heard = heard
        self.steps = 0

    def turn(self, who: int) -> None:
        """A process was given a turn."""
        self.steps += 1
        self._hash.update(b"%d;" % who)

    def note(self, at: float, who: str, what: str) -> None:
        """Something that could be seen from outside happened."""
        self._hash.update(f"{at:.6f} {who} {what}\n".encode())
        if self.heard is not None:
            self.heard(at, who, what)

    def digest(self) -> str:
        return self._hash.hexdigest()
