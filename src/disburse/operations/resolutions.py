"""The end of a doubt, or of a frozen payout, by two persons: what may be asked for, and what the second yes does.

Lives here: which attempt is meant, whether persons may decide about it now, and handing their word to the one rule as evidence
(`domain/vouched.py` says what it does to money). Asking, agreeing and refusing as such is `approvals.py`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from disburse.domain.attempt import ASKABLE, Attempt, AttemptState
from disburse.domain.outcomes import Vouched, VouchedNotMoved, VouchedPaid
from disburse.domain.payout import Payout
from disburse.domain.refusals import Refusal
from disburse.domain.vouched import NothingToResolve, attempt_of, objection
from disburse.operations.evidence import Applied, Heard, weigh
from disburse.operations.routing import Router
from disburse.storage import facts, payouts
from disburse.storage.database import Transaction
from disburse.storage.requests import Request
from disburse.storage.unit import Unit

PAID: Final = "paid"
NOT_MOVED: Final = "not-moved"
OUTCOMES: Final = (PAID, NOT_MOVED)


class WhichAttempt(Refusal):
    """Several attempts may have paid: say which one did."""

    def __init__(self, numbers: Sequence[int]) -> None:
        self.numbers = list(numbers)
        told = " or ".join(str(number) for number in numbers)
        super().__init__(f"More than one attempt of this payout may have paid ({told}): say which one did.")


class NoSuchAttempt(Refusal):
    """This payout has no such attempt that was ever sent."""


class RequestOutdated(Refusal):
    """The payout has moved since this was asked: look at it again, and ask anew if need be."""


@dataclass(frozen=True, slots=True)
class Subject:
    """The attempt that persons speak of, and how its payout stands."""

    payout: Payout
    attempt: Attempt


async def subject(
    tx: Transaction, shard: int, payout: Payout, outcome: str, number: int | None
) -> Subject | Refusal:
    """The attempt that is meant, when persons may decide about it now. Wants the merchant's lock."""
    tried = [one for one in await payouts.attempts_of(tx, shard, payout.payout_id) if one.connector is not None]
    attempt = await _pick(tx, shard, payout, tried, outcome, number)
    if isinstance(attempt, Refusal):
        return attempt
    refusal = await _objection(tx, shard, payout, attempt.number)
    return refusal if refusal is not None else Subject(payout, attempt)


async def _objection(tx: Transaction, shard: int, payout: Payout, attempt: int) -> Refusal | None:
    found = (await facts.live_attempts(tx, shard, [payout.payout_id])).get(payout.payout_id)
    live, lease = (found[0], found[2]) if found is not None else (None, None)
    is_open = live is not None and live.state is AttemptState.OPEN
    may_be_sent = is_open and (lease is None or lease > await tx.database_now())
    return objection(frozen=payout.frozen is not None, attempt=attempt, live=live, may_be_sent=may_be_sent)


async def _pick(
    tx: Transaction, shard: int, payout: Payout, tried: Sequence[Attempt], outcome: str, number: int | None
) -> Attempt | Refusal:
    """The attempt named, or the one that can only be meant."""
    if number is not None:
        return next((one for one in tried if one.number == number), NoSuchAttempt())
    if not tried:
        return NothingToResolve()
    live = next((one for one in tried if one.state in ASKABLE or one.state is AttemptState.SETTLED), None)
    if payout.frozen is None:
        return live or NothingToResolve()
    booked, turned = await facts.contradictions(tx, shard, [payout.payout_id])
    surprises = sorted({attempt_of(one) for one in booked if (one.origin_id, one.phase) not in turned})
    if live is not None and (live.state is AttemptState.SETTLED or outcome == NOT_MOVED or not surprises):
        return live
    may_have = [one for one in tried if one.number in surprises or one is live] or list(tried)
    no_matter = outcome == NOT_MOVED or (payout.final and surprises)  # what each paid is in suspense, and stays there
    if len(may_have) == 1 or no_matter:
        return may_have[-1]
    return WhichAttempt([one.number for one in may_have])


async def carry_out(unit: Unit, request: Request, heard: Heard) -> Applied | Refusal:
    """Apply what two persons vouch for, unless the payout has moved since one of them asked."""
    found = await payouts.by_id(unit.tx, unit.shard, [request.origin_id])
    payout = found[request.origin_id]
    if payout.last_event != request.seen_event:
        return RequestOutdated()
    refusal = await _objection(unit.tx, unit.shard, payout, heard.payout[1] if heard.payout else 0)
    if refusal is not None:
        return refusal
    (applied,) = await weigh(unit, [heard], router=Router([]))
    if applied.effect in ("nothing", "repeated", "unmatched"):
        raise AssertionError(f"what persons agreed to had the effect {applied.effect}")
    return applied


async def words_of(tx: Transaction, request: Request, actor: str, at: datetime) -> Heard:
    """What the two vouch for, as evidence about the attempt."""
    attempts = await payouts.attempts_of(tx, request.shard, request.origin_id)
    attempt = attempts[(request.attempt or 1) - 1]
    if attempt.connector is None or attempt.end_to_end_id is None:
        raise AssertionError("persons speak of an attempt that was never sent")
    name = str(request.request_id)
    verdict: Vouched = VouchedPaid(name) if request.outcome == PAID else VouchedNotMoved(name)
    return Heard(
        connector=attempt.connector, end_to_end_id=attempt.end_to_end_id, kind="person", verdict=verdict, at=at,
        actor=actor, payout=(request.origin_id, attempt.number, request.merchant_id),
    )  # fmt: skip
