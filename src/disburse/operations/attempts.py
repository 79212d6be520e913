"""Claims and questions: the worker's side before a call. `operations/evidence.py` is its side after one.

A claim writes the intent (connector, end-to-end id, request digest, owner, epoch, lease) and moves the money to in_flight, in
one transaction, before anything is sent. It re-checks under the merchants' lock what it found without one.

An id that a provider has spoken of before its intent was written was sent by a database that forgot it since (a lost tail, an
older copy). Such an attempt is opened with that provider and without a lease, and handed to nobody: it is asked about, not sent.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from disburse.domain.attempt import ASKABLE, Attempt, AttemptState
from disburse.domain.identifiers import end_to_end_id
from disburse.domain.payout import Payout, PayoutState, Step, advance
from disburse.domain.routing import Decision, Route
from disburse.domain.schedule import ask_in_s
from disburse.operations.once import Once
from disburse.operations.routing import Router, keep_decision, stored_before
from disburse.storage import payouts
from disburse.storage.database import Transaction
from disburse.storage.payouts import Claimable
from disburse.storage.unit import Unit

FROZEN_REST = timedelta(minutes=10)
"""A due attempt of a frozen payout is looked at again only so often: a person moves it, not we."""


NOBODY = "nobody"
"""The owner of an attempt that is asked about and never sent."""


@dataclass(frozen=True, slots=True)
class Claim:
    """Take a due attempt. `lease_s`: how long the owner may be about it, by the database's clock.

    `found`: as it was read when it was found due; a hopeful claim takes it for true, and the statement's guards decide.
    """

    payout_id: UUID
    number: int
    merchant_id: int
    owner: str
    lease_s: float
    at: datetime
    found: Once[Claimable] | None = None


@dataclass(frozen=True, slots=True)
class Opened:
    """A committed intent: what may now be sent, by its owner alone, in this epoch, once. `row`: the attempt as it was written."""

    payout: Payout
    attempt: int
    connector: str
    end_to_end_id: str
    epoch: int
    row: Attempt


def request_digest(payout: Payout, identifier: str, connector: str) -> bytes:
    """What an attempt is about to ask for: destination, amount, currency, id and provider (invariant E7)."""
    text = f"{connector}\n{identifier}\n{payout.rail}\n{payout.currency}\n{payout.amount_minor}\n".encode()
    return hashlib.sha256(text + payout.fingerprint).digest()


async def claim(
    tx: Transaction, shard: int, claims: Sequence[Claim], *, routes: Sequence[Route], router: Router | None = None
) -> list[Opened | None]:
    """Open each attempt that is still due; None for one that is not to be sent.

    That is one that somebody else has, that no route can carry (it fails), that waits for a provider (it stays due, later), or
    that a provider spoke of already (it is asked about). `router` knows rules and facts; by default there are none.
    """
    router = router if router is not None else Router(routes)
    router.begin()
    unit = await Unit.lock(tx, shard, [one.merchant_id for one in claims])
    found = await _found(tx, shard, claims)
    again = [one.payout_id for one in claims if one.number > 1]
    refused = await payouts.refused_by(tx, shard, again) if again else {}
    results: list[Opened | None] = []
    later: list[tuple[UUID, int, datetime]] = []
    for one in claims:
        it = found.get((one.payout_id, one.number))
        if it is None:
            results.append(None)
        elif tx.rerun and it.attempt.state is AttemptState.OPEN and _ours(it.attempt, one):
            results.append(_opened(it.payout, it.attempt))  # this very claim, whose commit we did not hear of
        elif it.attempt.state is AttemptState.DUE and it.payout.state is PayoutState.QUEUED and it.payout.frozen is None:
            tried, sent_before = refused.get(one.payout_id, set()), it.spoken_of_by
            decision = stored_before(sent_before) if sent_before else router.route(it.payout, tried)
            keep_decision(unit, it.payout, one.number, decision, one.at)
            if decision.waits:
                later.append((one.payout_id, one.number, router.look_again(decision, it.clock)))
                results.append(None)
            else:
                results.append(_open(unit, one, it, decision))
        else:
            if it.payout.frozen is not None and it.attempt.state is AttemptState.DUE:
                later.append((one.payout_id, one.number, it.clock + FROZEN_REST))
            results.append(None)
    await unit.write()
    await payouts.postpone(tx, shard, later)
    return results


async def _found(tx: Transaction, shard: int, claims: Sequence[Claim]) -> dict[tuple[UUID, int], Claimable]:
    """What is to be claimed, as it stands; a hopeful claim believes what was read when it was found due."""
    found, unseen = {}, []
    for one in claims:
        seen = one.found.take() if tx.hopeful and one.found is not None else None
        if seen is not None:
            found[one.payout_id, one.number] = seen
        else:
            unseen.append((one.payout_id, one.number))
    return found | await payouts.to_claim(tx, shard, unseen) if unseen else found


def _ours(attempt: Attempt, one: Claim) -> bool:
    return (attempt.owner, attempt.opened_at) == (one.owner, one.at)


def _opened(payout: Payout, attempt: Attempt) -> Opened:
    if attempt.connector is None or attempt.end_to_end_id is None:
        raise AssertionError("an open attempt without its intent")
    return Opened(payout, attempt.number, attempt.connector, attempt.end_to_end_id, attempt.epoch, attempt)


def _open(unit: Unit, one: Claim, it: Claimable, decision: Decision) -> Opened | None:
    payout, sent_before = it.payout, it.spoken_of_by
    before, actor, connector = payout.state, f"worker:{one.owner}", decision.chosen
    step = Step.CLAIM if connector is not None else Step.NO_ROUTE
    payout.state = advance(before, step)
    payout.updated_at = one.at
    if connector is None:
        payout.reason, payout.finished_at = "no_route", one.at
        unit.post(payout.books.release(), one.at, actor)
        unit.add("heard", (payout.payout_id, one.number, AttemptState.DUE, AttemptState.NOT_SENT, "no_route", 0, None, one.at,
                           None, None))  # fmt: skip
    unit.tell(payout, f"payout.{payout.state}", one.at, actor, attempt=one.number, detail=payout.reason)
    unit.move(payout, before)
    if connector is None:
        return None
    identifier = end_to_end_id(payout.base, one.number)
    unit.post(payout.books.claim(connector, one.number), one.at, actor)
    owner, lease = (NOBODY, it.clock) if sent_before else (one.owner, it.clock + timedelta(seconds=one.lease_s))
    digest = request_digest(payout, identifier, connector)
    unit.add("opened", (payout.payout_id, one.number, AttemptState.DUE, connector, identifier, digest, owner, lease,
                        one.at))  # fmt: skip
    if sent_before:
        return None
    row = it.attempt
    row.state, row.connector, row.end_to_end_id, row.owner = AttemptState.OPEN, connector, identifier, owner
    row.epoch, row.lease_until, row.opened_at, row.ask_at = row.epoch + 1, lease, one.at, lease
    return _opened(payout, row)


@dataclass(frozen=True, slots=True)
class Ask:
    """Take an attempt's next question. `jitter`: a factor around one for the question after it."""

    payout_id: UUID
    number: int
    merchant_id: int
    jitter: float


@dataclass(frozen=True, slots=True)
class ToAsk:
    """A question to put to a provider. `lapsed`: the attempt is still open and its owner's lease has run out.

    `at`: when it was taken, by the database's clock.
    """

    payout: Payout
    attempt: Attempt
    connector: str
    end_to_end_id: str
    lapsed: bool
    at: datetime


async def take_questions(tx: Transaction, shard: int, asks: Sequence[Ask]) -> list[ToAsk | None]:
    """Set each attempt's next question and hand out this one; None where it is not due, or its payout is frozen."""
    await Unit.lock(tx, shard, [ask.merchant_id for ask in asks])
    found = await payouts.with_attempts(tx, shard, [(ask.payout_id, ask.number) for ask in asks])
    clock = await tx.database_now()
    results: list[ToAsk | None] = []
    next_times: list[tuple[UUID, int, datetime]] = []
    for ask in asks:
        payout, attempt = found.get((ask.payout_id, ask.number), (None, None))
        if payout is None or attempt is None or attempt.state not in ASKABLE or attempt.ask_at is None:
            results.append(None)
            continue
        if clock < attempt.ask_at <= clock + payouts.TOO_LATE and not tx.rerun:
            results.append(None)
            continue
        wait = ask_in_s(attempt.asked, accepted=attempt.state is AttemptState.ACCEPTED) * ask.jitter
        next_times.append((ask.payout_id, ask.number, clock + timedelta(seconds=wait)))
        opened = _opened(payout, attempt)
        lapsed = attempt.state is AttemptState.OPEN
        question = ToAsk(payout, attempt, opened.connector, opened.end_to_end_id, lapsed, clock)
        results.append(question if payout.frozen is None else None)
    await payouts.set_questions(tx, shard, next_times)
    return results
