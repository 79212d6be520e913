"""A two-step provider for the workers' tests: operations that are made, then executed, and calls that stop where a test wants.

Lives here: `Machine`, a provider and its connector in one, whose book (`paid`) is the truth. It keeps the one promise that all
hangs on: an operation is carried out at most once, however often and however late it is executed.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from uuid import uuid4

from disburse.connectors.contract import Order, Question
from disburse.domain.outcomes import (
    Accepted,
    Finding,
    NotExecuted,
    NotSent,
    Outcome,
    Rejected,
    Settled,
    Unknown,
)
from tests.workers.provider import Provider

POINTS = ("creating", "made", "remembered", "executing", "executed")
"""Where a call may stop: before the create call arrives, before its answer is heard, before the execute call is sent, while it is
on its way, before its answer is heard."""

PAY, LOSE_CREATE, LOSE_MADE, LOSE_EXECUTE, LOSE_ANSWER, REFUSE, FAIL, TAKE, CLOSED, CLOSED_LATER = 0, 11, 22, 33, 44, 55, 66, 77, 88, 99
"""What the last two digits of an amount ask for; the connector's methods say what each is."""
FATES = (PAY, LOSE_CREATE, LOSE_MADE, LOSE_EXECUTE, LOSE_ANSWER, REFUSE, FAIL, TAKE, CLOSED, CLOSED_LATER)


@dataclass
class Operation:
    identifier: str
    minor: int
    state: str = "created"
    executions: int = 0


class Machine(Provider):
    """The first attempt of each order meets its fate; later ones are paid, so that every order but a refused one has an end."""

    def __init__(self, name: str = "machine", *, again_after_s: float | None = 0.05) -> None:
        super().__init__(name)
        self.capabilities = replace(
            self.capabilities, two_step=True, status_by_our_id=False, not_found_final_after_s=None,
            execute_again_after_s=again_after_s,
        )  # fmt: skip
        self.operations: dict[str, Operation] = {}
        self.on_the_way: list[str] = []
        self.stop_at: str | None = None
        self.stopped: Counter[str] = Counter()
        self.go = asyncio.Event()
        self.never_remembered: list[str] = []
        self.remembered: list[str] = []
        self.given_again: Callable[[], str | None] = lambda: None
        self.crossed = 0  # so many more answers are about an operation of somebody else, which failed

    # --- the connector ---

    async def submit(self, order: Order) -> Outcome:
        self.calls.append(order.end_to_end_id)
        fate = order.amount.minor % 100 if order.end_to_end_id.endswith("-1") else PAY
        await self._point("creating")
        if fate == CLOSED:
            return NotSent("connection refused")
        if fate == LOSE_CREATE:
            return Unknown("time-out")
        if fate == REFUSE:
            return Rejected("card closed")
        reference = self.make(order.end_to_end_id, order.amount.minor)
        await self._point("made")
        if fate == LOSE_MADE:
            return Unknown("time-out")
        if not await order.remember(reference):
            self.never_remembered.append(reference)
            return Unknown("not ours")
        self.remembered.append(reference)
        await self._point("remembered")
        if fate == CLOSED_LATER:
            return NotSent("connection refused")  # true of the request, and no proof: others may execute it
        if fate == LOSE_EXECUTE:
            return Unknown("time-out")
        self.on_the_way.append(reference)
        await self._point("executing")
        self.arrive(reference)
        await self._point("executed")
        return Unknown("time-out") if fate == LOSE_ANSWER else self._outcome(reference)

    async def inquire(self, question: Question) -> Finding:
        self.asked += 1
        assert question.provider_reference is not None, "the engine proves by itself what was never executed"
        if self.operations[question.provider_reference].state == "created":
            return NotExecuted()
        outcome = self._outcome(question.provider_reference)
        if isinstance(outcome, Accepted):
            self.operations[question.provider_reference].state = "paid"
        return outcome

    async def execute_again(self, question: Question) -> Outcome:
        assert question.provider_reference is not None
        self.arrive(question.provider_reference)
        return self._outcome(question.provider_reference)

    async def _point(self, name: str) -> None:
        if self.stop_at == name:
            self.stopped[name] += 1
            await self.go.wait()

    def _outcome(self, reference: str) -> Accepted | Settled | Rejected:
        if self.crossed:
            self.crossed -= 1
            return Rejected("provider_failed", provider_reference="somebody-elses")
        match self.operations[reference].state:
            case "taken":
                return Accepted(reference)
            case "failed" | "deleted":
                return Rejected("provider_failed", provider_reference=reference)
            case _:
                return Settled(reference)

    # --- the provider ---

    def make(self, identifier: str, minor: int) -> str:
        """A new operation's id; or, where a test says so, the id of one that was made before, and no operation."""
        known = self.given_again()
        if known is not None:
            return known
        reference = str(uuid4())
        self.operations[reference] = Operation(identifier, minor)
        return reference

    def arrive(self, reference: str) -> None:
        """A request to execute arrives: what is made is carried out, once; anything else stays as it is."""
        operation = self.operations[reference]
        operation.executions += 1
        if reference in self.on_the_way:
            self.on_the_way.remove(reference)
        if operation.state != "created":
            return
        fate = operation.minor % 100
        operation.state = "failed" if fate == FAIL else "taken" if fate == TAKE else "paid"
        if operation.state != "failed":
            self.paid.append((operation.identifier, operation.minor))

    def delete_unexecuted(self) -> None:
        """Operations that nobody executed in time are gone for good."""
        for operation in self.operations.values():
            if operation.state == "created":
                operation.state = "deleted"
