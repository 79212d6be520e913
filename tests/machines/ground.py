"""The ground that state machines walk on: one event loop, one database, as many merchants as there are examples.

Lives here: `Ground`, and how far machines walk. Hypothesis calls rules without an event loop, so the ground owns one and
every operation runs on it to its end. A database for each example would cost more than the example does: each takes a merchant of
its own instead, and what a merchant owns nobody else touches.

DISBURSE_SOAK=1 lets every machine walk 20,000 times 100 steps, each time other ways (`derandomize` is off; what fails is made
as short as it can be, and prints the blob that replays it). Without it the ways are always the same ones, and few, and a failure is shown as it
was found, within seconds: they belong to every run of the tests.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from itertools import count
from typing import Any, TypeVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from disburse.domain.ports import World
from disburse.operations.verify import verify
from disburse.storage.database import Database
from tests.operations.persons import Persons
from tests.operations.shop import OTHER, SANDBOX, Shop

T = TypeVar("T")

SOAK = os.environ.get("DISBURSE_SOAK") == "1"


def bounds(examples: int, steps: int) -> settings:
    """How far a machine walks: so many examples of so many steps, or a soak."""
    phases = [Phase.explicit, Phase.generate]
    if SOAK:
        examples, steps, phases = 20_000, 100, [*phases, Phase.shrink]
    return settings(
        max_examples=examples, stateful_step_count=steps, derandomize=not SOAK, print_blob=SOAK, deadline=None,
        database=None, suppress_health_check=list(HealthCheck), phases=phases, report_multiple_bugs=False,
    )  # fmt: skip


class Ground:
    """One database, with two operators. `careful` and `hopeful` are the two ways of writing (decision 9)."""

    def __init__(self, runner: asyncio.Runner, database: Database, world: World) -> None:
        self._runner = runner
        self._numbers = count(1)
        self.database = database
        self.world = world
        self.careful = Shop(database, world, routes=[SANDBOX, OTHER])
        self.hopeful = Shop(database, world, routes=[SANDBOX, OTHER], hopeful=True)
        self.persons = Persons(self.careful)
        self.run(self.persons.come())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Carry something out, to its end."""
        return self._runner.run(work)

    def shop(self, *, hopeful: bool) -> Shop:
        return self.hopeful if hopeful else self.careful

    def merchant(self) -> int:
        """A merchant of one's own, without money."""
        return self.run(self.careful.merchant(next(self._numbers)))

    def walk(self, machine: Callable[[Ground], RuleBasedStateMachine], how_far: settings) -> None:
        """Let a machine walk; afterwards every invariant of `disburse verify` holds of all that it left behind."""
        run_state_machine_as_test(lambda: machine(self), settings=how_far)  # type: ignore[arg-type]
        report = self.run(verify(self.database))
        assert report.holds, report.findings
