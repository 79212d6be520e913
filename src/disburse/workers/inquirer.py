"""The inquirer: asks providers about attempts whose end nobody knows, without end, and records what they say.

It also finds attempts whose owner fell silent (open, lease lapsed by the database's clock): those are in doubt from then on.
It sends nothing new: a new attempt starts only when stored evidence proves that the last one moved nothing. What it may do is
execute a two-step provider's operation again, the same one (`workers/two_steps.py`), and, where a provider deduplicates our id and
does not know it, send the same order again (`repeat.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from disburse.connectors.contract import Connector, Question
from disburse.domain.outcomes import Absent, Finding, NotExecuted, Unknown, Verdict
from disburse.domain.ports import World
from disburse.operations.attempts import Ask, ToAsk
from disburse.operations.desk import Desk, StoreUnavailable
from disburse.operations.evidence import Heard
from disburse.operations.two_steps import never_executed
from disburse.workers.pace import Pace
from disburse.workers.repeat import ask_or_repeat
from disburse.workers.two_steps import execute_again


@dataclass(frozen=True, slots=True)
class InquirerLimits:
    """`batch`: questions at a time. `call_s`: a whole question."""

    batch: int = 200
    call_s: float = 5.0
    poll_s: float = 0.25


class Inquirer:
    """One worker's asking loop over the buckets it is given."""

    def __init__(
        self,
        desk: Desk,
        connectors: Mapping[str, Connector],
        world: World,
        worker_id: str,
        *,
        shards: Sequence[int] = range(1),
        limits: InquirerLimits = InquirerLimits(),
        asked: Callable[[str, Finding], None] = lambda connector, finding: None,
    ) -> None:
        self._desk = desk
        self._connectors = connectors
        self._world = world
        self._worker_id = worker_id
        self._shards = shards
        self._limits = limits
        self._asked = asked
        self.pace = Pace(world.clock, limits.poll_s)

    async def run(self) -> None:
        """Ask until cancelled."""
        while True:
            found = 0
            try:
                for shard in self._shards:
                    found += await self._step(shard)
            except StoreUnavailable:
                found = 0
            if found < self._limits.batch:
                await self.pace.rest()

    async def _step(self, shard: int) -> int:
        waiting = await self._desk.questions_due(shard, self._limits.batch)
        if not waiting:
            return 0
        jitter = self._world.random.uniform
        asks = [Ask(payout, number, merchant, jitter(0.8, 1.2)) for payout, number, merchant in waiting]
        questions = [question for question in await self._desk.take_questions(shard, asks) if question is not None]
        await asyncio.gather(*[self._ask(question) for question in questions])
        return len(waiting)

    async def _ask(self, question: ToAsk) -> None:
        if question.lapsed:
            await self._hear(question, "lease", Unknown("the owner's lease ran out"))
        connector = self._connectors.get(question.connector)
        if connector is None:
            return  # its provider is no longer configured: the doubt stays, and stands in the books
        if connector.capabilities.two_step:
            if question.lapsed:
                return  # its owner may have remembered an operation until a moment ago: the next question is asked by it
            if never_executed(question.attempt):
                await self._hear(question, "inquiry", Absent("no operation was remembered, so none was executed"))
                return
        try:
            finding = await ask_or_repeat(self._desk, connector, question, self._world.clock, self._limits.call_s)
        except Exception as fault:  # a connector's mistake is no answer of the provider's
            finding = Unknown(f"connector fault: {type(fault).__name__}")
        self._asked(question.connector, finding)
        await self._hear(question, "inquiry", finding)
        if isinstance(finding, NotExecuted):
            asked = Question(question.end_to_end_id, question.attempt.provider_reference, self._limits.call_s)
            again = await execute_again(self._desk, self._world, connector, question, asked, self._worker_id)
            if again is not None:
                await self._hear(question, "answer", again, content=self._world.clock.now().isoformat())

    async def _hear(self, question: ToAsk, kind: str, finding: Verdict, *, content: str = "") -> None:
        payout = question.payout
        await self._desk.hear(
            Heard(
                connector=question.connector,
                end_to_end_id=question.end_to_end_id,
                kind=kind,
                verdict=finding,
                at=self._world.clock.now(),
                actor=f"worker:{self._worker_id}",
                content=content,
                payout=(payout.payout_id, question.attempt.number, payout.merchant_id),
            )
        )
