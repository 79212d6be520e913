"""The workers' side of two-step providers: where an order's `remember` leads, and executing an operation again.

Lives here: what stands between a connector and `operations/two_steps.py`. When an operation may be executed again, and why that
pays nobody twice, is decided there and in the domain.
"""

from __future__ import annotations

from typing import TypeVar

from disburse.connectors.contract import Connector, Question
from disburse.connectors.two_steps import TwoStep
from disburse.domain.outcomes import Absent, NotSent, Outcome, Unknown
from disburse.domain.ports import World
from disburse.operations.attempts import Opened, ToAsk
from disburse.operations.desk import Desk, StoreUnavailable
from disburse.operations.group_commit import Withdrawn
from disburse.operations.two_steps import ExecuteAgain, Remember

T = TypeVar("T")

FRESH_S = 10.0
"""An allowance is used at once or not at all: a process that was frozen in between may wake up in another world."""


class Memory:
    """Where one order's `remember` leads: the row of its attempt."""

    def __init__(self, desk: Desk, world: World, opened: Opened, worker: str) -> None:
        self._desk = desk
        self._world = world
        self._opened = opened
        self._worker = worker
        self._called: str | None = None

    async def remember(self, provider_reference: str) -> bool:
        """True once the reference is stored with the attempt and the attempt still ours to execute."""
        self._called = provider_reference
        opened, payout = self._opened, self._opened.payout
        command = Remember(
            payout.payout_id, opened.attempt, payout.merchant_id, opened.connector, opened.end_to_end_id, self._worker,
            opened.epoch, provider_reference, self._world.clock.now(), f"worker:{self._worker}",
        )  # fmt: skip
        try:
            return await self._desk.remember(payout.shard, command)
        except (StoreUnavailable, Withdrawn):
            return False  # not known to be stored: it may be, and then it is asked about

    def believed(self, outcome: Outcome) -> Outcome:
        """The outcome as it may be recorded: once an operation may be stored, nobody can prove that nothing was sent for it.

        Whoever finds it stored may execute it again, also while its first owner still sleeps before its own call.
        """
        return outcome if self._called is None else about(self._called, never_not_sent(outcome))


def about(reference: str | None, told: T) -> T | Unknown:
    """What was told of the operation that is remembered. Whatever names another is about that one, and proves nothing of ours."""
    named = getattr(told, "provider_reference", None)
    if named is None or (reference is not None and named.lower() == reference.lower()):
        return told
    return Unknown("an answer about another operation")


def never_not_sent(outcome: Outcome) -> Outcome:
    """What speaks of one request alone is no proof about an operation that others may execute, or have."""
    return Unknown(outcome.why) if isinstance(outcome, NotSent | Absent) else outcome


async def execute_again(
    desk: Desk, world: World, connector: Connector, question: ToAsk, asked: Question, worker: str
) -> Outcome | None:
    """Execute the operation that was just called not executed, if that is allowed by now; None when it is not."""
    after_s, reference = connector.capabilities.execute_again_after_s, asked.provider_reference
    if after_s is None or reference is None or not isinstance(connector, TwoStep):
        return None
    payout, began = question.payout, world.clock.monotonic()
    command = ExecuteAgain(
        payout.payout_id, question.attempt.number, payout.merchant_id, reference, after_s, world.clock.now(),
        f"worker:{worker}",
    )  # fmt: skip
    if not await desk.execute_again(payout.shard, command) or world.clock.monotonic() - began > FRESH_S:
        return None
    try:
        return about(reference, never_not_sent(await connector.execute_again(asked)))
    except Exception as fault:  # a connector's mistake is no answer of the provider's
        return Unknown(f"connector fault: {type(fault).__name__}")
