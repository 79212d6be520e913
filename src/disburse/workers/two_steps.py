"""The workers' side of two-step providers: where an order's `remember` leads, and executing an operation again.

Lives here: what stands between a connector and `operations/two_steps.py`. When an operation may be executed again, and why that
pays nobody twice, is decided there and in the domain.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from disburse.connectors.contract import Connector, Question
from disburse.connectors.two_steps import TwoStep
from disburse.domain.outcomes import Outcome, Unknown
from disburse.domain.ports import World
from disburse.operations.attempts import Opened, ToAsk
from disburse.operations.desk import Desk, StoreUnavailable
from disburse.operations.group_commit import Withdrawn
from disburse.operations.two_steps import ExecuteAgain, Remember

FRESH_S = 10.0
"""An allowance is used at once or not at all: a process that was frozen in between may wake up in another world."""


def rememberer(desk: Desk, world: World, opened: Opened, worker: str) -> Callable[[str], Awaitable[bool]]:
    """What an order is given as `remember`: True once the reference is stored with the attempt and the attempt still ours."""
    payout = opened.payout

    async def remember(provider_reference: str) -> bool:
        command = Remember(
            payout.payout_id, opened.attempt, payout.merchant_id, opened.connector, opened.end_to_end_id, worker,
            opened.epoch, provider_reference, world.clock.now(), f"worker:{worker}",
        )  # fmt: skip
        try:
            return await desk.remember(payout.shard, command)
        except (StoreUnavailable, Withdrawn):
            return False  # not known to be stored: it may be, and then it is asked about

    return remember


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
        return await connector.execute_again(asked)
    except Exception as fault:  # a connector's mistake is no answer of the provider's
        return Unknown(f"connector fault: {type(fault).__name__}")
