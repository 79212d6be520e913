"""A second yes: what one person asks for and only another can make happen.

Lives here: asking (a row), agreeing and refusing (another row), and what an agreement does, in the same transaction and under
the merchant's lock, one at a time as persons act: the end of a doubt or of a frozen payout (`resolutions.py`), a top-up turned round, a withdrawal. A request
asks for nothing but itself: whoever agrees sees the same row, and what has changed since is a reason to ask anew. Rows are
only added to, so who asked, who agreed, when, and on what evidence stays. One person cannot be both; the command line as such
is nobody.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from disburse.domain import ledger
from disburse.domain.handed_in import HandedIn, without_cards
from disburse.domain.money import Money
from disburse.domain.refusals import Refusal
from disburse.operations import resolutions
from disburse.operations.merchants import ReferenceReused
from disburse.operations.operators import NeedsOperator, is_person
from disburse.operations.payouts import NoSuchMerchant, NoSuchPayout
from disburse.storage import payouts, requests
from disburse.storage.database import Transaction
from disburse.storage.requests import Asked as Stored
from disburse.storage.requests import Decision, Request
from disburse.storage.unit import Unit


class NoSuchRequest(Refusal):
    """There is no such request."""


class NoSuchTopUp(Refusal):
    """This merchant has no top-up with this reference."""


class SamePerson(Refusal):
    """The person who asked cannot agree as well: a second person has to."""


class AlreadyDecided(Refusal):
    """This request was answered before."""

    def __init__(self, verdict: str) -> None:
        super().__init__(f"This request was {verdict} before.")


class RequestWaits(Refusal):
    """Something else is asked for already about this payout."""

    def __init__(self, request: UUID) -> None:
        self.request = request
        super().__init__(f"Another request about this payout waits for its second yes: {request}.")


class NotAvailable(Refusal):
    """The available balance does not cover this."""

    def __init__(self, needed: Money, available: Money) -> None:
        self.needed, self.available = needed, available
        super().__init__(f"This takes {needed}; {available} is available.")


@dataclass(frozen=True, slots=True)
class Resolve:
    """Ask that a payout end so. `attempt`: the one that is spoken of, None where there is no choice."""

    request_id: UUID
    merchant_id: int
    payout_id: UUID
    outcome: str
    attempt: int | None
    evidence: HandedIn
    at: datetime
    actor: str


@dataclass(frozen=True, slots=True)
class ReverseTopUp:
    """Ask that a top-up be turned round."""

    request_id: UUID
    merchant_id: int
    reference: str
    evidence: HandedIn
    at: datetime
    actor: str


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Ask that money leave a merchant's account. A known reference asks for nothing new."""

    request_id: UUID
    merchant_id: int
    reference: str
    amount: Money
    evidence: HandedIn
    at: datetime
    actor: str


Ask = Resolve | ReverseTopUp | Withdraw


@dataclass(frozen=True, slots=True)
class Asked:
    """The request that stands for what was asked. `fresh`: this command made it; `done`: it was approved before."""

    request: Request
    fresh: bool
    done: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """Agree to a request, or refuse it. `why`: the reason of a refusal."""

    request_id: UUID
    yes: bool
    why: str
    at: datetime
    actor: str


@dataclass(frozen=True, slots=True)
class Answered:
    """A request and its answer."""

    request: Request
    decision: Decision


# --- asking --------------------------------------------------------------------------------------------------------------


async def ask(tx: Transaction, shard: int, command: Ask) -> Asked | Refusal:
    """Store a request, or find the one that asks for the same, or refuse; nothing else happens. Persons only."""
    unit = await Unit.lock(tx, shard, [command.merchant_id])
    await unit.read_balances([command.merchant_id])
    return await _ask(unit, command)


async def _ask(unit: Unit, command: Ask) -> Asked | Refusal:
    if not is_person(command.actor):
        return NeedsOperator()
    if not unit.knows(command.merchant_id):
        return NoSuchMerchant()
    ours = await requests.by_id(unit.tx, unit.shard, command.request_id) if unit.tx.rerun else None
    if ours is not None:
        return Asked(ours[0], True)  # ours, from a run whose commit we did not hear of
    match command:
        case Resolve():
            made = await _resolve(unit, command)
        case ReverseTopUp():
            made = await _reverse(unit, command)
        case Withdraw():
            made = await _withdraw(unit, command)
    if isinstance(made, Request):
        await requests.add(unit.tx, made)
        return Asked(made, True)
    return made


def _request(unit: Unit, command: Ask, kind: str, origin: UUID, amount: Money, **more: object) -> Request:
    rest = {"reference": None, "attempt": None, "outcome": None, "seen_event": None, **more}
    return Request(
        shard=unit.shard, request_id=command.request_id, merchant_id=command.merchant_id, kind=kind, origin_id=origin,
        currency=amount.currency, amount_minor=amount.minor, evidence=command.evidence.text,
        evidence_digest=command.evidence.digest, evidence_bytes=command.evidence.size, at=command.at, actor=command.actor,
        **rest,  # type: ignore[arg-type]
    )  # fmt: skip


async def _resolve(unit: Unit, command: Resolve) -> Request | Asked | Refusal:
    payout = (await payouts.by_id(unit.tx, unit.shard, [command.payout_id])).get(command.payout_id)
    if payout is None or payout.merchant_id != command.merchant_id:
        return NoSuchPayout()
    subject = await resolutions.subject(unit.tx, unit.shard, payout, command.outcome, command.attempt)
    if isinstance(subject, Refusal):
        return subject
    content = (command.outcome, subject.attempt.number, command.evidence.digest)
    for one, decision in await requests.of_origin(unit.tx, unit.shard, payout.payout_id):
        if decision is None and one.seen_event == payout.last_event:
            same = (one.outcome, one.attempt, one.evidence_digest) == content
            return Asked(one, False) if same else RequestWaits(one.request_id)
    return _request(
        unit, command, "resolve", payout.payout_id, payout.amount, attempt=subject.attempt.number, outcome=command.outcome,
        seen_event=payout.last_event,
    )  # fmt: skip


async def _reverse(unit: Unit, command: ReverseTopUp) -> Request | Asked | Refusal:
    found = await requests.top_up(unit.tx, unit.shard, command.merchant_id, command.reference)
    if found is None:
        return NoSuchTopUp()
    top_up, currency, minor = found
    before = _standing(await requests.of_origin(unit.tx, unit.shard, top_up))
    if before is not None:
        return before
    short = _short(unit, command.merchant_id, Money(minor, currency))
    if short is not None:
        return short
    return _request(unit, command, "reverse", top_up, Money(minor, currency), reference=command.reference)


async def _withdraw(unit: Unit, command: Withdraw) -> Request | Asked | Refusal:
    before = _standing(await requests.of_reference(unit.tx, unit.shard, command.merchant_id, command.reference))
    if before is not None:
        same = (before.request.amount_minor, before.request.currency) == (command.amount.minor, command.amount.currency)
        return before if same else ReferenceReused("A withdrawal with this reference and another amount or currency exists.")
    short = _short(unit, command.merchant_id, command.amount)
    if short is not None:
        return short
    return _request(unit, command, "withdraw", command.request_id, command.amount, reference=command.reference)


def _standing(asked: Sequence[Stored]) -> Asked | None:
    """The request that waits or was approved; what was refused may be asked for again."""
    for request, decision in asked:
        if decision is None or decision.verdict == "approved":
            return Asked(request, False, decision is not None)
    return None


def _short(unit: Unit, merchant: int, needed: Money) -> NotAvailable | None:
    available = unit.available(merchant, needed.currency)
    return NotAvailable(needed, Money(available, needed.currency)) if available < needed.minor else None


# --- answering -----------------------------------------------------------------------------------------------------------


async def answer(tx: Transaction, shard: int, command: Answer) -> Answered | Refusal:
    """Agree to a request or refuse it; what is agreed to happens in this transaction, or the refusal says why not."""
    if not is_person(command.actor):
        return NeedsOperator()
    known = await requests.by_id(tx, shard, command.request_id)
    if known is None:
        return NoSuchRequest()
    unit = await Unit.lock(tx, shard, [known[0].merchant_id])
    request, before = await requests.by_id(tx, shard, command.request_id) or known
    if before is not None:
        ours = tx.rerun and (before.actor, before.at) == (command.actor, command.at)
        return Answered(request, before) if ours else AlreadyDecided(before.verdict)
    if not command.yes:
        return await _store(unit, request, Decision(request.request_id, "refused", without_cards(command.why), command.at, command.actor))
    if request.actor == command.actor:
        return SamePerson()
    await unit.read_balances([request.merchant_id])
    effect = await _carry_out(unit, request, command)
    if isinstance(effect, Refusal):
        return effect
    await unit.write()
    return await _store(unit, request, Decision(request.request_id, "approved", effect, command.at, command.actor))


async def _store(unit: Unit, request: Request, decision: Decision) -> Answered:
    await requests.answer(unit.tx, request, decision)
    return Answered(request, decision)


async def _carry_out(unit: Unit, request: Request, command: Answer) -> str | Refusal:
    """Do what was agreed to; its effect in a word."""
    if request.kind == "resolve":
        heard = await resolutions.words_of(unit.tx, request, command.actor, command.at)
        applied = await resolutions.carry_out(unit, request, heard)
        return applied if isinstance(applied, Refusal) else applied.effect
    amount = Money(request.amount_minor, request.currency)
    short = _short(unit, request.merchant_id, amount)
    if short is not None:
        return short
    told = f"{amount} {request.reference} (asked for by {request.actor})"
    if request.kind == "reverse":
        booked = ledger.top_up(request.merchant_id, request.currency, request.amount_minor, request.origin_id)
        unit.post([ledger.reverse(booked)], command.at, command.actor)
        unit.event(request.merchant_id, None, "top_up.reversed", command.at, command.actor, detail=told)
        return "reversed"
    posting = ledger.withdrawal(request.merchant_id, request.currency, request.amount_minor, request.origin_id)
    unit.post([posting], command.at, command.actor)
    unit.event(request.merchant_id, None, "withdrawal", command.at, command.actor, detail=told)
    return "withdrawn"
