"""Payouts from the merchant's side: create, execute, cancel, expire. One function is one transaction over a list of commands.

Each reads like its sentence: lock the merchants, read, decide in memory command by command, write once. Because commands are
decided one after the other, two of one reference in one batch fold by themselves: the first makes the payout, the second
finds it. Ids and times are inside the commands, drawn once, so any of this may run twice (`storage/database.py`).

The look-up of a reference comes before balance and every other check (invariant C5); a known reference changes nothing but
one `reference_mismatch` event for each differing content (design, section 3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from disburse.domain.attempt import AttemptState
from disburse.domain.money import MAX_MINOR, Money
from disburse.domain.payout import Payout, PayoutState, Step, WrongState, advance
from disburse.domain.refusals import Refusal
from disburse.storage import payouts
from disburse.storage.database import Transaction
from disburse.storage.unit import Unit

EXECUTE_WITHIN = timedelta(hours=24)
"""A payout nobody executes expires so long after it was created, or after its last refused execute."""


class InsufficientFunds(Refusal):
    """The available balance does not cover the payout and its fee."""

    def __init__(self, needed: Money, available: Money) -> None:
        self.needed, self.available = needed, available
        super().__init__(f"The payout needs {needed} with its fee; {available} is available.")


class NoSuchPayout(Refusal):
    """There is no such payout."""


class NoSuchMerchant(Refusal):
    """There is no such merchant."""


@dataclass(frozen=True, slots=True)
class CreatePayout:
    """Make a payout; with `execute`, hold its money and queue it in the same transaction, or make nothing at all."""

    payout_id: UUID
    merchant_id: int
    surface: str
    reference: str | None
    base: str
    fingerprint: bytes
    rail: str
    amount: Money
    fee: Money
    amount_text: str
    display: str
    destination_digest: bytes
    sealed: bytes
    at: datetime
    actor: str
    execute: bool = False
    comment: str | None = None
    sandbox_only: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """The payout that stands for the command's obligation. `fresh`: this command made it. `available_minor`: what is left."""

    payout: Payout
    fresh: bool
    same_content: bool
    available_minor: int


async def create(tx: Transaction, shard: int, commands: Sequence[CreatePayout]) -> list[Found | Refusal]:
    """Make each payout, or answer with the one its reference has, or refuse; the others go on.

    Hopefully, every reference is new and every merchant has the money: then there is nothing to read.
    """
    merchants = [command.merchant_id for command in commands]
    unit = await Unit.lock(tx, shard, merchants)
    known = {} if tx.hopeful else await payouts.by_base(tx, shard, [command.base for command in commands])
    await (unit.read_funds if all(command.execute for command in commands) else unit.read_balances)(merchants)
    decided: list[tuple[Payout, bool, int] | Refusal] = []
    mismatches: list[tuple[Payout, CreatePayout]] = []
    for command in commands:
        payout = known.get(command.base)
        if payout is None:
            made = make(unit, shard, command)
            if isinstance(made, Payout):
                known[command.base] = payout = made
            else:
                decided.append(made)
                continue
        same = payout.fingerprint == command.fingerprint
        if not same:
            mismatches.append((payout, command))
        decided.append((payout, same, unit.available(payout.merchant_id, payout.currency)))
    if mismatches:
        await tell_mismatches(unit, mismatches)
    await unit.write()
    return [
        one if isinstance(one, Refusal) else _found(unit, command, *one)
        for command, one in zip(commands, decided, strict=True)
    ]


def _found(unit: Unit, command: CreatePayout, payout: Payout, same: bool, available: int) -> Found:
    left = unit.truly(payout.merchant_id, payout.currency, available)
    return Found(payout, payout.payout_id == command.payout_id, same, left)


def make(unit: Unit, shard: int, command: CreatePayout) -> Payout | Refusal:
    """Make a payout of a new obligation, held and due if it is to be executed."""
    merchant = command.merchant_id
    if not unit.knows(merchant):
        return NoSuchMerchant()
    state = PayoutState.CREATED
    if command.execute:
        currency, needed = command.amount.currency, command.amount.minor + command.fee.minor
        if not unit.covers(merchant, currency, needed):
            available = unit.available(merchant, currency)
            return InsufficientFunds(Money(min(needed, MAX_MINOR), currency), Money(available, currency))
        state = advance(state, Step.QUEUE)
    payout = Payout(
        shard, command.payout_id, merchant, 0, command.surface, command.reference, command.base, command.fingerprint,
        command.rail, command.amount.currency, command.amount.minor, command.fee.minor, command.amount_text, command.display,
        command.sealed, command.sandbox_only, state, None, None, int(command.execute), 0, command.at,
        command.at + EXECUTE_WITHIN, command.at, None, 0, 0,
    )  # fmt: skip
    unit.make(payout, destination_digest=command.destination_digest, comment=command.comment, actor=command.actor)
    if command.execute:
        unit.post(payout.books.hold(), command.at, command.actor)
        unit.attempt(payout, command.at, command.actor)
    else:
        unit.add("expiries", (payout.payout_id, unit.place(merchant), payout.expires_at))
    return payout


async def tell_mismatches(unit: Unit, mismatches: Sequence[tuple[Payout, CreatePayout]]) -> None:
    """One event for each content that differs from the stored one, however often it comes."""
    told = {
        (row[0], row[1])
        for row in await unit.tx.fetch(
            "SELECT payout_id, fingerprint FROM mismatches WHERE shard = $1 AND payout_id = ANY ($2::uuid[])",
            unit.shard,
            [payout.payout_id for payout, _ in mismatches],
        )
    }
    for payout, command in mismatches:
        key = (payout.payout_id, command.fingerprint)
        if key not in told:
            told.add(key)
            unit.add("mismatches", (*key, command.at))
            unit.event(payout.merchant_id, payout.payout_id, "payout.reference_mismatch", command.at, command.actor)


@dataclass(frozen=True, slots=True)
class Act:
    """Something a merchant wants done with one of its payouts."""

    payout_id: UUID
    merchant_id: int
    at: datetime
    actor: str


async def own(tx: Transaction, shard: int, commands: Sequence[Act]) -> tuple[Unit, dict[UUID, Payout]]:
    """Lock the merchants, and read what the commands are about."""
    unit = await Unit.lock(tx, shard, [command.merchant_id for command in commands])
    found = await payouts.by_id(tx, shard, [command.payout_id for command in commands])
    return unit, found


def belongs(payout: Payout | None, command: Act) -> Payout | None:
    """Somebody else's payout and none at all look the same (invariant S3)."""
    return payout if payout is not None and payout.merchant_id == command.merchant_id else None


class Moves:
    """Payouts changed in this transaction, each written once with the state it had before."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit
        self._before: dict[UUID, tuple[PayoutState, Payout]] = {}

    def move(self, payout: Payout, step: Step, at: datetime, actor: str, reason: str | None = None) -> None:
        before, payout.state = payout.state, advance(payout.state, step)
        self._before.setdefault(payout.payout_id, (before, payout))
        payout.reason = reason if reason is not None else payout.reason
        payout.updated_at = at
        payout.finished_at = at if payout.final else None
        self._unit.tell(payout, f"payout.{payout.state}", at, actor, detail=reason)

    def add_rows(self) -> None:
        for before, payout in self._before.values():
            self._unit.move(payout, before)


async def execute(tx: Transaction, shard: int, commands: Sequence[Act]) -> list[Payout | Refusal]:
    """Hold the money and make each payout due. A payout that was executed before comes back as it stands, untouched.

    Too little money leaves it `unfunded`: the same payout may be executed again. One past its time expires instead.
    """
    unit, found = await own(tx, shard, commands)
    await unit.read_funds([command.merchant_id for command in commands])
    moves = Moves(unit)
    results: list[Payout | Refusal] = []
    for command in commands:
        payout = belongs(found.get(command.payout_id), command)
        if payout is not None and payout.state in (PayoutState.CREATED, PayoutState.UNFUNDED):
            execute_one(unit, moves, payout, command)
        results.append(NoSuchPayout() if payout is None else payout)
    moves.add_rows()
    await unit.write()
    return results


def execute_one(unit: Unit, moves: Moves, payout: Payout, command: Act) -> PayoutState:
    """Queue a payout that waits for it, or let it lack funds, or expire: the state that it is in then."""
    if payout.expires_at <= command.at:
        moves.move(payout, Step.EXPIRE, command.at, command.actor)
    elif not unit.covers(payout.merchant_id, payout.currency, payout.amount_minor + payout.fee_minor):
        payout.expires_at = command.at + EXECUTE_WITHIN
        moves.move(payout, Step.LACK_FUNDS, command.at, command.actor)
    else:
        payout.attempts = 1
        moves.move(payout, Step.QUEUE, command.at, command.actor)
        unit.post(payout.books.hold(), command.at, command.actor)
        unit.attempt(payout, command.at, command.actor)
    return payout.state


async def cancel(tx: Transaction, shard: int, commands: Sequence[Act]) -> list[Payout | Refusal]:
    """Cancel what we have not begun to send; its money goes back. Too late is WrongState (invariant E13)."""
    unit, found = await own(tx, shard, commands)
    moves = Moves(unit)
    results: list[Payout | Refusal] = []
    for command in commands:
        payout = belongs(found.get(command.payout_id), command)
        results.append(NoSuchPayout() if payout is None else cancel_one(unit, moves, payout, command))
    moves.add_rows()
    await unit.write()
    return results


def cancel_one(unit: Unit, moves: Moves, payout: Payout, command: Act) -> Payout | Refusal:
    """Cancel a payout, or say why not."""
    if payout.state is PayoutState.CANCELLED:
        return payout
    before = payout.state
    if payout.frozen is not None:
        return WrongState(before, Step.CANCEL)
    try:
        moves.move(payout, Step.CANCEL, command.at, command.actor)
    except WrongState as refusal:
        return refusal
    if before in (PayoutState.QUEUED, PayoutState.SCHEDULED, PayoutState.AWAITING_APPROVAL):
        unit.post(payout.books.release(), command.at, command.actor)
    if before is PayoutState.QUEUED:
        unit.add("heard", (payout.payout_id, payout.attempts, AttemptState.DUE, AttemptState.NOT_SENT, "cancelled", 0, None,
                           None, command.at, None, None))  # fmt: skip
    return payout


async def expire(tx: Transaction, shard: int, commands: Sequence[Act]) -> list[Payout | Refusal]:
    """Expire what nobody executed in time, and take it off the sweeper's list."""
    unit, found = await own(tx, shard, commands)
    moves = Moves(unit)
    done, later = [], []
    results: list[Payout | Refusal] = []
    for command in commands:
        payout = belongs(found.get(command.payout_id), command)
        waiting = payout is not None and payout.state in (PayoutState.CREATED, PayoutState.UNFUNDED)
        if payout is not None and waiting and payout.expires_at > command.at:
            later.append((payout.payout_id, payout.expires_at))
        elif payout is not None:
            done.append(command.payout_id)
            if waiting:
                moves.move(payout, Step.EXPIRE, command.at, command.actor)
        results.append(NoSuchPayout() if payout is None else payout)
    moves.add_rows()
    await unit.write()
    await payouts.settle_expiries(tx, shard, done, later)
    return results


@dataclass(frozen=True, slots=True)
class Look:
    """Ask for the payout of an obligation, with what its merchant can still spend."""

    base: str
    merchant_id: int


async def look(tx: Transaction, shard: int, questions: Sequence[Look]) -> list[Found | Refusal]:
    """Present states by obligation; changes nothing and locks nothing."""
    found = await payouts.by_base(tx, shard, [question.base for question in questions])
    unit = Unit(tx, shard, {})
    await unit.read_balances([question.merchant_id for question in questions])
    return [_looked(unit, found.get(question.base)) for question in questions]


async def look_again(tx: Transaction, shard: int, questions: Sequence[Look]) -> list[Found | Refusal]:
    """As `look`, after every transaction that has begun for these merchants: what is not found now was not made by any of them."""
    await Unit.lock(tx, shard, [question.merchant_id for question in questions])
    return await look(tx, shard, questions)


async def look_by_id(tx: Transaction, shard: int, questions: Sequence[Act]) -> list[Payout | Refusal]:
    """Present states by id; somebody else's payout is no payout."""
    found = await payouts.by_id(tx, shard, [question.payout_id for question in questions])
    owned = [belongs(found.get(question.payout_id), question) for question in questions]
    return [NoSuchPayout() if payout is None else payout for payout in owned]


def _looked(unit: Unit, payout: Payout | None) -> Found | Refusal:
    if payout is None:
        return NoSuchPayout()
    return Found(payout, False, True, unit.available(payout.merchant_id, payout.currency))
