"""The inquirer: asks providers about attempts whose end nobody knows, without end, and records what they say.

It also finds attempts whose owner fell silent (open, lease lapsed by the database's clock): those are in doubt from then on.
It sends nothing new: a new attempt starts only when stored evidence proves that the last one moved nothing. What it may do is
execute a two-step provider's operation again, the same one (`workers/two_steps.py`), and, where a provider deduplicates our id and
does not know it, send the same order again (`repeat.py`).

No provider is asked more often than it allows (`allowance.py`): what has to wait is put off and does not count as asked. A
provider that answers after a silence is asked about everything it left open, at once, as fast as it allows; and what never
reached it meanwhile is due again.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from disburse.connectors.contract import Connector, Question
from disburse.domain.outcomes import Absent, Finding, NotExecuted, NotSent, Unknown, Verdict
from disburse.domain.ports import World
from disburse.domain.schedule import SILENT_AFTER, ask_again_in_s
from disburse.operations import questions
from disburse.operations.attempts import Ask, ToAsk
from disburse.operations.desk import Desk, StoreUnavailable
from disburse.operations.evidence import Heard
from disburse.operations.questions import Later
from disburse.operations.two_steps import never_executed
from disburse.workers.allowance import Allowance, ProcessAllowance
from disburse.workers.pace import Pace
from disburse.workers.repeat import ask_or_repeat
from disburse.workers.two_steps import about, execute_again

_TOGETHER = 500  # times moved in one transaction
_MOST_BROUGHT_FORWARD = 100_000


@dataclass(frozen=True, slots=True)
class InquirerLimits:
    """`batch`: questions at a time. `call_s`: a whole question.

    `soon_s`: what is asked about, or tried again, within so long anyway is not brought forward when a provider answers again; `rest_s`: after
    that was done for a provider it is not done again for so long.
    """

    batch: int = 200
    call_s: float = 5.0
    poll_s: float = 0.25
    soon_s: float = 2.0
    rest_s: float = 5.0


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
        allowance: Allowance | None = None,
    ) -> None:
        self._desk = desk
        self._connectors = connectors
        self._world = world
        self._worker_id = worker_id
        self._shards = shards
        self._limits = limits
        self._asked = asked
        self._per_s = {name: connector.capabilities.inquiries_per_s for name, connector in connectors.items()}
        limited = {name: per_s for name, per_s in self._per_s.items() if per_s is not None}
        self._allowance = allowance or ProcessAllowance(world.clock, limited)
        self._unanswered: dict[str, int] = {}
        self._answering: dict[str, None] = {}  # providers heard again whose doubts are to be brought forward
        self._brought_at: dict[str, float] = {}
        self.pace = Pace(world.clock, limits.poll_s)

    async def run(self) -> None:
        """Ask until cancelled."""
        while True:
            found = 0
            try:
                for connector in list(self._answering):
                    await self._bring_forward(connector)
                for shard in self._shards:
                    found += await self._step(shard)
            except StoreUnavailable:
                found = 0
            if found < self._limits.batch:
                await self.pace.rest()

    def heard_of(self, connector: str, verdict: Verdict) -> None:
        """A provider answered, or did not. Of what it was sent only an answer counts; silence is told by questions (`_ask`)."""
        if isinstance(verdict, Unknown | NotSent):
            return
        # A new worker knows nothing of before: the first answer it hears counts as one after a silence.
        if self._unanswered.get(connector, SILENT_AFTER) >= SILENT_AFTER:
            self._answering[connector] = None
            self.pace.wake()
        self._unanswered[connector] = 0

    async def _bring_forward(self, connector: str) -> None:
        """Everything open at a provider that answers again is asked about soon, spread over what it allows.

        And what never reached it is tried again: it rests the longer the oftener it was tried.
        """
        now = self._world.clock.monotonic()
        if now < self._brought_at.get(connector, now):
            return
        place, database, soon_s = 0, self._desk.database, self._limits.soon_s
        ways = ((questions.waiting, questions.bring_forward), (questions.resting, questions.try_sooner))
        for shard, (find, bring) in itertools.product(self._shards, ways):
            late = await database.run(
                lambda tx, shard=shard, find=find: find(tx, shard, connector, soon_s, _MOST_BROUGHT_FORWARD)  # type: ignore[misc]
            )
            sooner = []
            for payout, number, merchant in late:
                seconds = ask_again_in_s(place, self._per_s.get(connector), self._world.random.uniform(0, 1))
                sooner.append(Later(payout, number, merchant, seconds))
                place += 1
            for first in range(0, len(sooner), _TOGETHER):
                some = sooner[first : first + _TOGETHER]
                await database.run(lambda tx, shard=shard, some=some, bring=bring: bring(tx, shard, some))  # type: ignore[misc]
        self._answering.pop(connector, None)
        self._brought_at[connector] = now + self._limits.rest_s

    async def _step(self, shard: int) -> int:
        due = await self._desk.questions_due(shard, self._limits.batch)
        if not due:
            return 0
        later = await self._have_to_wait([(one.payout_id, one.number, one.merchant_id, one.connector) for one in due])
        lapsed = {(one.payout_id, one.number) for one in due if one.lapsed}
        put_off = [one for key, one in later.items() if key not in lapsed]
        if put_off:
            await self._desk.database.run(lambda tx: questions.put_off(tx, shard, put_off))
        jitter = self._world.random.uniform
        asks = [
            Ask(one.payout_id, one.number, one.merchant_id, jitter(0.8, 1.2))
            for one in due
            if one.lapsed or (one.payout_id, one.number) not in later
        ]
        taken = [question for question in await self._desk.take_questions(shard, asks) if question is not None]
        await asyncio.gather(
            *[self._ask(one, may_ask=(one.payout.payout_id, one.attempt.number) not in later) for one in taken]
        )
        return len(asks)

    async def _have_to_wait(self, due: Sequence[tuple[UUID, int, int, str]]) -> dict[tuple[UUID, int], Later]:
        """Questions that their provider does not allow now, by attempt; the most overdue are allowed first."""
        by_connector: dict[str, list[tuple[UUID, int, int]]] = {}
        for payout, number, merchant, connector in due:
            by_connector.setdefault(connector, []).append((payout, number, merchant))
        later: dict[tuple[UUID, int], Later] = {}
        for connector, some in by_connector.items():
            grant = await self._allowance.take(connector, len(some))
            for (payout, number, merchant), seconds in zip(some[grant.now :], grant.later_s, strict=True):
                later[payout, number] = Later(payout, number, merchant, seconds)
        return later

    async def _ask(self, question: ToAsk, *, may_ask: bool) -> None:
        if question.lapsed:
            await self._hear(question, "lease", Unknown("the owner's lease ran out"))
        connector = self._connectors.get(question.connector)
        if connector is None or not may_ask:
            return  # its provider is no longer configured, or may not be asked now: the doubt stays, and stands in the books
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
        if connector.capabilities.two_step:
            finding = about(question.attempt.provider_reference, finding)
        self._asked(question.connector, finding)
        await self._hear(question, "inquiry", finding)
        if isinstance(finding, NotExecuted):
            asked = Question(question.end_to_end_id, question.attempt.provider_reference, self._limits.call_s)
            again = await execute_again(self._desk, self._world, connector, question, asked, self._worker_id)
            if again is not None:
                await self._hear(question, "answer", again, content=self._world.clock.now().isoformat())
        if isinstance(finding, Unknown):
            self._unanswered[question.connector] = self._unanswered.get(question.connector, SILENT_AFTER) + 1
        else:
            self.heard_of(question.connector, finding)

    def _is_two_step(self, name: str) -> bool:
        connector = self._connectors.get(name)
        return connector is not None and connector.capabilities.two_step

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
                asked_at=question.at if kind == "inquiry" else None,
                two_step=self._is_two_step(question.connector),
            )
        )
