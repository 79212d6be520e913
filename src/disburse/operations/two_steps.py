"""The engine's durable steps for two-step providers: remember an operation before it is executed, and execute it again.

Lives here: two operations, each one transaction over a list under the merchants' lock. Why they make every crash harmless is
told in `domain/two_steps.py`.

`remember` stores the provider's reference with the open attempt, fenced by owner and epoch. What makes it sound is that whatever
is heard of an attempt (its owner's answer, its lapsed lease, an inquiry) ends its being open under the same lock: from then on
nothing can be remembered, so nothing can be executed that is not remembered. An operation is one attempt's for ever: a provider
that gives its id to a second order is not believed about the second, whichever worker hears of it, and however much later.
`execute_again` allows one more request for a remembered operation and writes down that it did.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from uuid import UUID

import structlog

from disburse.domain import two_steps
from disburse.domain.attempt import Attempt, AttemptState
from disburse.domain.payout import Payout
from disburse.operations.attempts import NOBODY
from disburse.operations.evidence_text import fit_to_keep
from disburse.storage import payouts
from disburse.storage import two_steps as stored
from disburse.storage.database import Transaction
from disburse.storage.statement import Row
from disburse.storage.unit import Unit

MADE = "Made"
"""The verdict of a stored message that says: the provider made an operation. It moves nothing and changes nothing."""

MADE_FOR_ANOTHER = "MadeForAnother"
"""The verdict of one that says: the operation that the provider named had been made for another attempt. It changes nothing."""

ALERT = "operation_of_another"
"""The alert's word for that."""

LONGEST_REFERENCE = 200

_log = structlog.get_logger("disburse.operations.two_steps")


class Remembered(Enum):
    """Whether an operation may be executed: it is KEPT; it is not this attempt's to execute (any more); it is ANOTHERS."""

    KEPT = auto()
    REFUSED = auto()
    ANOTHERS = auto()


@dataclass(frozen=True, slots=True)
class Remember:
    """Keep the provider's reference of an attempt that is open and `owner`'s, in its `epoch`."""

    payout_id: UUID
    number: int
    merchant_id: int
    connector: str
    end_to_end_id: str
    owner: str
    epoch: int
    reference: str
    at: datetime
    actor: str

    @property
    def attempt(self) -> stored.Key:
        return (self.payout_id, self.number)

    @property
    def operation(self) -> stored.Operation:
        return (self.connector, self.reference)

    def made(self) -> stored.Made:
        """As it is stored."""
        return stored.Made(
            self.operation, self.attempt, self.end_to_end_id, self.owner, self.epoch, self.at, self.actor
        )

    def evidence(self, place: int, verdict: str, detail: str, clock: datetime) -> Row:
        """The row that says what the provider named. `place`: the merchant's in the unit; `clock`: the database's."""
        text = f"{self.connector}\nanswer\n{verdict}\n{detail}".encode("utf-8", "backslashreplace")
        return (self.end_to_end_id, hashlib.sha256(text).digest()[:16], place, self.payout_id, self.number,
                self.connector, "answer", verdict, detail, "nothing", self.at, self.actor, clock)  # fmt: skip


async def remember(tx: Transaction, shard: int, commands: Sequence[Remember]) -> list[Remembered]:
    """Store each reference; KEPT once it is this attempt's, and no other's, and the attempt still its owner's to execute.

    REFUSED for an attempt that is not open any more, is another owner's or epoch's, belongs to a frozen payout, or has another
    reference; and for a reference that cannot be kept as it is. ANOTHERS for an operation that was made for another attempt,
    also one of the same payout: nothing is stored but evidence that it was named. Only who gets KEPT may execute.
    """
    unit = await Unit.lock(tx, shard, [one.merchant_id for one in commands])
    fit = [one for one in commands if can_be_kept(one.reference)]
    if not fit:
        return [Remembered.REFUSED] * len(commands)
    whose = await stored.take_operations(tx, shard, [one.made() for one in fit])
    own = [one for one in fit if whose.get(one.operation) == one.attempt]
    kept = await stored.keep_references(tx, shard, [one.made() for one in own]) if own else {}
    news = {one.attempt: one for one in own if kept.get(one.attempt) == one.reference}
    others = [one.attempt for one in fit if kept.get(one.attempt) != one.reference]
    before = await payouts.with_attempts(tx, shard, others) if others else {}
    clock = await tx.database_now()
    for one in news.values():
        unit.add("evidence", one.evidence(unit.place(one.merchant_id), MADE, one.reference, clock))
    results = [_remembered(one, whose, news, before) for one in commands]
    for one, result in zip(commands, results, strict=True):
        if result is Remembered.ANOTHERS and _is_there(one, before):
            payout_id, number = whose[one.operation]
            detail = f"{one.reference}, made for attempt {number} of {payout_id}"
            unit.add("strays", one.evidence(unit.place(one.merchant_id), MADE_FOR_ANOTHER, detail, clock))
    await unit.write()
    return results


_Found = dict[stored.Key, tuple[Payout, Attempt]]


def _remembered(
    one: Remember, whose: dict[stored.Operation, stored.Key], news: dict[stored.Key, Remember], before: _Found
) -> Remembered:
    if whose.get(one.operation, one.attempt) != one.attempt:
        return Remembered.ANOTHERS
    if one.attempt in news and news[one.attempt].reference == one.reference:
        return Remembered.KEPT
    has = one.attempt in before and _has(*before[one.attempt], one)
    return Remembered.KEPT if has else Remembered.REFUSED


def _is_there(one: Remember, before: _Found) -> bool:
    """Whether the attempt that is spoken of exists, so that evidence may be kept with it."""
    if one.attempt not in before:
        return False
    payout, attempt = before[one.attempt]
    return (payout.merchant_id, attempt.connector, attempt.end_to_end_id) == (one.merchant_id, one.connector, one.end_to_end_id)


def tell_anothers(one: Remember) -> None:
    """The alert: a provider gave the id of one order to another; people have to ask it what it did."""
    _log.error(
        "a provider named the operation of another order", alert=ALERT, merchant=one.merchant_id, payout=str(one.payout_id),
        attempt=one.attempt[1], connector=one.connector,
    )  # fmt: skip


def _has(payout: Payout, attempt: Attempt, one: Remember) -> bool:
    """Whether this was remembered before and still may be executed: the same command again, or a commit nobody heard of."""
    fence = (attempt.state, attempt.owner, attempt.epoch, attempt.provider_reference)
    return payout.frozen is None and fence == (AttemptState.OPEN, one.owner, one.epoch, one.reference)


def can_be_kept(reference: str) -> bool:
    """Whether a provider's reference can be stored unchanged: else it could not be asked by later."""
    return 0 < len(reference) <= LONGEST_REFERENCE and fit_to_keep(reference) == reference


def never_executed(attempt: Attempt) -> bool:
    """Whether it is proven that nothing was or will be executed for this attempt of a two-step connector."""
    return two_steps.never_executed(attempt, handed_out=attempt.owner != NOBODY)


@dataclass(frozen=True, slots=True)
class ExecuteAgain:
    """Execute a remembered operation once more, that the provider just called not executed. `after_s` as the connector says."""

    payout_id: UUID
    number: int
    merchant_id: int
    reference: str
    after_s: float
    at: datetime
    actor: str


async def execute_again(tx: Transaction, shard: int, commands: Sequence[ExecuteAgain]) -> list[bool]:
    """Allow one more request for each operation, if its attempt is still in doubt and it was seen not executed long enough.

    What is allowed stands in an event, committed before the request goes out. A frozen payout is moved by persons only.
    """
    unit = await Unit.lock(tx, shard, [one.merchant_id for one in commands])
    found = await payouts.with_attempts(tx, shard, [(one.payout_id, one.number) for one in commands])
    ids = [attempt.end_to_end_id for _, attempt in found.values() if attempt.end_to_end_id is not None]
    said, clock = await stored.said_of(tx, shard, ids), await tx.database_now()
    results: list[bool] = []
    for one in commands:
        payout, attempt = found.get((one.payout_id, one.number), (None, None))
        if payout is None or attempt is None or payout.frozen is not None or attempt.provider_reference != one.reference:
            results.append(False)
        elif tx.rerun and payout.updated_at == one.at:
            results.append(True)  # this very request, whose commit we did not hear of
        elif two_steps.may_execute_again(attempt, said.get(attempt.end_to_end_id or "", ()), clock, one.after_s):
            payout.updated_at = one.at
            unit.tell(payout, "payout.executed_again", one.at, one.actor, attempt=one.number, detail=one.reference)
            unit.move(payout, payout.state)
            results.append(True)
        else:
            results.append(False)
    await unit.write()
    return results
