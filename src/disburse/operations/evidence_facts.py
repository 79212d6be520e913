"""What a batch of messages needs to know beside its payouts: contradictions in suspense, live attempts, first not-founds.

Lives here: which of it a batch asks for (an ordinary one: nothing), and reading it under the merchants' lock. What it means is
the rule's (`domain/evidence.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol
from uuid import UUID

from disburse.domain.attempt import MOVED_NOTHING, Attempt, AttemptState
from disburse.domain.ledger import Posting
from disburse.domain.outcomes import NotExecuted, NotFound, Settled, Verdict, VouchedNotMoved, VouchedPaid
from disburse.domain.payout import Payout
from disburse.domain.ruling import Live
from disburse.domain.vouched import attempt_of
from disburse.storage import facts
from disburse.storage.database import Transaction

Key = tuple[UUID, int]


class Message(Protocol):
    """As much of `evidence.Heard` as is read here."""

    @property
    def connector(self) -> str: ...
    @property
    def end_to_end_id(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def verdict(self) -> Verdict: ...
    @property
    def asked_at(self) -> datetime | None: ...
    @property
    def payout(self) -> tuple[UUID, int, int] | None: ...
    @property
    def two_step(self) -> bool: ...


@dataclass(slots=True)
class Facts:
    """`absence`: after how many seconds two not-founds are final, by connector. `clock`: the database's, None when not asked."""

    absence: Mapping[str, float]
    contradictions: dict[Key, int] = field(default_factory=dict)
    suspended: dict[UUID, list[Posting]] = field(default_factory=dict)
    live: dict[UUID, tuple[Live, int, datetime | None]] = field(default_factory=dict)
    not_found: dict[str, datetime] = field(default_factory=dict)
    missed: set[str] = field(default_factory=set)
    clock: datetime | None = None

    def apart_s(self, message: Message) -> float | None:
        """Seconds from the first stored not-found to the question that this message answers; None when there is no pair."""
        first = self.not_found.get(message.end_to_end_id)
        if first is None or message.asked_at is None or not isinstance(message.verdict, NotFound):
            return None
        return (message.asked_at - first).total_seconds()

    def completes_a_pair(self, message: Message) -> bool:
        """Whether this not-found is the second of two that prove absence: news, though the words are the same."""
        apart, final = self.apart_s(message), self.absence.get(message.connector)
        return apart is not None and final is not None and apart >= final

    def told_apart(self, message: Message) -> str | None:
        """What is added to a not-found that counts, so that the first of them and the one that ends it are two rows; else None.

        All between them are repeated: however often a provider does not find an order, two rows are kept.
        """
        if message.kind != "inquiry" or message.end_to_end_id not in self.missed:
            return None
        return "again" if self.completes_a_pair(message) else "first"

    def may_be_sent(self, payout: UUID) -> bool:
        """Whether somebody may still send the payout's live attempt."""
        live, _, lease = self.live.get(payout, (None, 0, None))
        if live is None or live.state is not AttemptState.OPEN:
            return False
        return lease is None or self.clock is None or lease > self.clock


async def read_facts(
    tx: Transaction,
    shard: int,
    messages: Sequence[Message],
    found: Mapping[Key, tuple[Payout, Attempt]],
    absence: Mapping[str, float],
) -> Facts:
    """What these messages need. Asks nothing for a batch in which nobody speaks of what is over, vouches or does not find."""
    known = Facts(absence)
    ended, vouched, missed, timed = [], [], [], False
    for message in messages:
        if message.payout is None or message.payout[:2] not in found:
            continue
        payout, attempt = found[message.payout[:2]]
        if isinstance(message.verdict, VouchedPaid | VouchedNotMoved):
            vouched.append(payout.payout_id)
        elif isinstance(message.verdict, Settled) and attempt.state in MOVED_NOTHING:
            ended.append(payout.payout_id)
        elif _counts(message, attempt):
            missed.append(message.end_to_end_id)
        timed = timed or _of_an_operation(message)
    if ended or vouched:
        booked, turned = await facts.contradictions(tx, shard, ended + vouched)
        for posting in booked:
            key = (posting.origin_id, attempt_of(posting))
            known.contradictions[key] = known.contradictions.get(key, 0) + 1
            if (posting.origin_id, posting.phase) not in turned:
                known.suspended.setdefault(posting.origin_id, []).append(posting)
    if vouched:
        known.live = await facts.live_attempts(tx, shard, vouched)
    if missed:
        known.missed = set(missed)
        known.not_found = await facts.first_not_founds(tx, shard, missed)
    if vouched or missed or timed:
        known.clock = await tx.database_now()
    return known


def _counts(message: Message, attempt: Attempt) -> bool:
    """A not-found counts when the provider was asked while the attempt was in doubt: then nobody can still send it."""
    asked = message.kind == "inquiry" and message.asked_at is not None
    return asked and isinstance(message.verdict, NotFound) and attempt.state is AttemptState.UNKNOWN


def _of_an_operation(message: Message) -> bool:
    """Whether what was heard decides when a remembered operation is executed again (`domain/two_steps.py`)."""
    return message.two_step and (message.kind == "answer" or isinstance(message.verdict, NotExecuted))


def stored_at(known: Facts, message: Message, attempt: Attempt) -> datetime | None:
    """What `evidence.clock_at` of a message is: the database's clock, where it matters how long ago something was heard."""
    return known.clock if _counts(message, attempt) or _of_an_operation(message) else None
