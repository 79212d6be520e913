"""Payouts from the merchant's side: create, execute, cancel, expire. One function is one transaction over a list of commands.

Each reads like its sentence: lock the merchants, read, decide in memory command by command, write once. Because commands are
decided one after the other, two of one reference in one batch fold by themselves: the first makes the payout, the second
finds it. Ids and times are inside the commands, drawn once, so any of this may run twice (`storage/database.py`). A command's time is
told and shown; what is decided by a time is decided by the database's clock (`Unit.now`, decision 19).

The look-up of a reference comes before balance and every other check (invariant C5); a known reference changes nothing but
one `reference_mismatch` event for each differing content (design, section 3).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from disburse.domain.attempt import AttemptState
from disburse.domain.calendar import NO_CALENDARS, Calendars
from disburse.domain.limits import LimitReached
from disburse.domain.money import MAX_MINOR, Money
from disburse.domain.payout import Payout, PayoutState, Step, WrongState, advance
from disburse.domain.refusals import Refusal
from disburse.operations import rules
from disburse.operations.rules import Wish
from disburse.storage import payouts
from disburse.storage.database import Transaction
from disburse.storage.unit import Unit

EXECUTE_WITHIN = timedelta(hours=24)
"""A payout nobody executes expires so long after it was created, or after its last refused execute."""

APPROVE_WITHIN = timedelta(days=7)
"""A payout that persons must agree to expires so long after it was executed, and its money goes back."""


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
    """Make a payout; with `execute`, hold its money and queue it in the same transaction, or make nothing at all.

    `execute_at`: it is not sent before then. `approved`: what it is a part of (a registry) has the approvals that it needs. `payee_id`: the saved
    payee that was named; what else is said of the destination decides alone whether two commands are the same.
    """

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
    execute_at: datetime | None = None
    approved: bool = False
    payee_id: UUID | None = None

    @property
    def wish(self) -> Wish:
        """What limits and policies look at."""
        digest = self.destination_digest
        return Wish(self.merchant_id, self.rail, self.amount.currency, self.amount.minor, digest, self.execute_at, self.approved)


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
    await rules.prepare(unit, wishes_of(commands))
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
    rules.write(unit)
    await unit.write()
    return [
        one if isinstance(one, Refusal) else _found(unit, command, *one)
        for command, one in zip(commands, decided, strict=True)
    ]


def wishes_of(commands: Iterable[CreatePayout]) -> Iterator[Wish]:
    """What is to be judged by limits and policies. Nothing is made of it for merchants who have none."""
    return (command.wish for command in commands if command.execute)


def _found(unit: Unit, command: CreatePayout, payout: Payout, same: bool, available: int) -> Found:
    left = unit.truly(payout.merchant_id, payout.currency, available)
    return Found(payout, payout.payout_id == command.payout_id, same, left)


def make(unit: Unit, shard: int, command: CreatePayout) -> Payout | Refusal:
    """Make a payout of a new obligation, held if it is to be executed: due, or waiting for its time or for approval.

    Needs `rules.prepare`, and `rules.write` at the end.
    """
    merchant = command.merchant_id
    if not unit.knows(merchant):
        return NoSuchMerchant()
    wish = command.wish
    persons = rules.judge(unit, wish) if command.execute else 0
    if isinstance(persons, LimitReached):
        return persons
    if command.execute:
        currency, needed = command.amount.currency, command.amount.minor + command.fee.minor
        if not unit.covers(merchant, currency, needed):
            available = unit.available(merchant, currency)
            return InsufficientFunds(Money(min(needed, MAX_MINOR), currency), Money(available, currency))
    payout = Payout(
        shard, command.payout_id, merchant, 0, command.surface, command.reference, command.base, command.fingerprint,
        command.rail, command.amount.currency, command.amount.minor, command.fee.minor, command.amount_text, command.display,
        command.sealed, command.sandbox_only, PayoutState.CREATED, None, None, 0, 0, command.at,
        command.at + EXECUTE_WITHIN, command.at, None, 0, 0, command.execute_at, command.destination_digest,
        command.payee_id,
    )  # fmt: skip
    if command.execute:
        payout.state = advance(payout.state, rules.hold(unit, payout, wish, persons, command.at, command.actor))
    _begin(unit, payout, command.at, command.actor)
    unit.make(payout, destination_digest=command.destination_digest, comment=command.comment, actor=command.actor)
    if payout.state in EXPIRING:
        unit.add("expiries", (payout.payout_id, unit.place(merchant), unit.expires_in_s(payout)))
    if command.payee_id is not None:
        unit.add("payout_payees", (payout.payout_id, unit.place(merchant), command.payee_id))
    return payout


EXPIRING = frozenset({PayoutState.CREATED, PayoutState.UNFUNDED, PayoutState.AWAITING_APPROVAL})
"""States that end by themselves when nobody goes on with them."""


def _begin(unit: Unit, payout: Payout, at: datetime, actor: str) -> None:
    """What the state that a payout has come to asks for: an attempt, a time, or patience. `at`: when a new one was created; for others, now."""
    match payout.state:
        case PayoutState.QUEUED:
            payout.attempts = 1
            unit.attempt(payout, 0.0, actor)
        case PayoutState.AWAITING_APPROVAL:
            payout.expires_at = max(payout.expires_at, at + APPROVE_WITHIN)
        case _:
            pass
    if payout.execute_at is not None and payout.state is not PayoutState.QUEUED:
        unit.add("schedules", (payout.payout_id, unit.place(payout.merchant_id), payout.execute_at))


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
    """Something a merchant wants done with one of its payouts. `calendars`: when rails pay, for whoever executes."""

    payout_id: UUID
    merchant_id: int
    at: datetime
    actor: str
    calendars: Calendars = NO_CALENDARS


async def own(tx: Transaction, shard: int, commands: Sequence[Act]) -> tuple[Unit, dict[UUID, Payout]]:
    """Lock the merchants, and read what the commands are about."""
    unit = await Unit.lock(tx, shard, [command.merchant_id for command in commands])
    found, clock = await payouts.by_id_now(tx, shard, [command.payout_id for command in commands])
    unit.clock = unit.clock or clock
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

    def begin(self, payout: Payout, step: Step, at: datetime, actor: str) -> None:
        """Move a payout whose money is held to where it waits: for a worker, for its time, or for persons."""
        before = payout.state
        payout.state = advance(before, step)
        _begin(self._unit, payout, self._unit.now, actor)
        payout.state = before
        self.move(payout, step, at, actor)

    def add_rows(self) -> None:
        for before, payout in self._before.values():
            self._unit.move(payout, before)
            place, lacks = self._unit.place(payout.merchant_id), payout.state is PayoutState.UNFUNDED
            if lacks and before is not PayoutState.UNFUNDED:
                needed = payout.amount_minor + payout.fee_minor
                self._unit.add("unfunded", (payout.payout_id, place, payout.number, payout.currency, needed))
            elif before is PayoutState.UNFUNDED and not lacks:
                self._unit.add("funded", (payout.number, place))


async def execute(tx: Transaction, shard: int, commands: Sequence[Act]) -> list[Payout | Refusal]:
    """Hold the money and make each payout due. A payout that was executed before comes back as it stands, untouched.

    Too little money leaves it `unfunded`: the same payout may be executed again. One past its time expires instead. A limit that
    leaves no room is a refusal and changes nothing.
    """
    unit, found = await own(tx, shard, commands)
    await unit.read_funds([command.merchant_id for command in commands])
    await rules.prepare(unit, wishes_to_execute(unit, found, commands))
    moves = Moves(unit)
    results: list[Payout | Refusal] = []
    for command in commands:
        payout = belongs(found.get(command.payout_id), command)
        refused = None
        if payout is not None and payout.state in (PayoutState.CREATED, PayoutState.UNFUNDED):
            refused = execute_one(unit, moves, payout, command)
        results.append(NoSuchPayout() if payout is None else refused or payout)
    moves.add_rows()
    rules.write(unit)
    await unit.write()
    return results


def wishes_to_execute(unit: Unit, found: Mapping[UUID, Payout], commands: Sequence[Act]) -> list[Wish]:
    """What limits and policies look at when these payouts are executed."""
    return [_wish(payout, _when(unit, payout, command)) for command in commands if (payout := found.get(command.payout_id))]


def _wish(payout: Payout, when: datetime | None) -> Wish:
    return Wish(payout.merchant_id, payout.rail, payout.currency, payout.amount_minor, payout.payee, when)


def _when(unit: Unit, payout: Payout, command: Act) -> datetime | None:
    """The time at which a payout is to be sent; None: as soon as it can be."""
    return command.calendars.time_for(payout.rail, payout.execute_at, unit.now)


def execute_one(unit: Unit, moves: Moves, payout: Payout, command: Act) -> LimitReached | None:
    """Hold the money of a payout that waits for it, or let it lack funds, or expire. Needs `rules.prepare`, `rules.write`."""
    when, late = _when(unit, payout, command), payout.expires_at <= unit.now
    wish = _wish(payout, when)
    persons = 0 if late else rules.judge(unit, wish)
    if isinstance(persons, LimitReached):
        return persons
    if late:
        moves.move(payout, Step.EXPIRE, command.at, command.actor)
    elif not unit.covers(payout.merchant_id, payout.currency, payout.amount_minor + payout.fee_minor):
        payout.expires_at = max(payout.expires_at, unit.now + EXECUTE_WITHIN)  # the sweeper looks no earlier than it was told
        moves.move(payout, Step.LACK_FUNDS, command.at, command.actor)
    else:
        payout.execute_at = when
        step = rules.hold(unit, payout, wish, persons, command.at, command.actor)
        moves.begin(payout, step, command.at, command.actor)
    return None


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
                           command.at, None, None))  # fmt: skip
    return payout


async def expire(tx: Transaction, shard: int, commands: Sequence[Act]) -> list[Payout | Refusal]:
    """Expire what nobody executed in time, by the database's clock, and take it off the sweeper's list."""
    unit, found = await own(tx, shard, commands)
    moves = Moves(unit)
    done, later = [], []
    results: list[Payout | Refusal] = []
    for command in commands:
        payout = belongs(found.get(command.payout_id), command)
        waiting = payout is not None and payout.state in EXPIRING
        if payout is not None and waiting and payout.expires_at > unit.now:
            later.append((payout.payout_id, payout.expires_at))
        elif payout is not None:
            done.append(command.payout_id)
            if payout.state is PayoutState.AWAITING_APPROVAL:
                unit.post(payout.books.release(), command.at, command.actor)
            if waiting:
                moves.move(payout, Step.EXPIRE, command.at, command.actor)
        results.append(NoSuchPayout() if payout is None else payout)
    moves.add_rows()
    await unit.write()
    await payouts.settle_expiries(tx, shard, done, later)
    return results
