"""Requests that carry an Idempotency-Key, or a reference that must not be asked for in two ways: the REST surface's writing operations.

Lives here: what a key means (invariants C2 to C6). A key names one request for ever. Known and the same content: its payout as it
stands, or the refusal it met then, and nothing else happens. Known and other content: KeyReused. The look-up of the key, then of
the reference, comes before every other check, and an `objection` (payouts switched off, no route ...) is weighed only after both.
A refusal is kept with the key and never with the reference: the same wage may be asked for again, with a new key.

The row of a key is written by the unit that does the work, under the merchant's lock, so of any number of simultaneous requests
with one key one is carried out and the others find its row. May not live here: what is sent over the wire, who may ask.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

from disburse.domain.money import MAX_MINOR, Money
from disburse.domain.payout import Payout, PayoutState
from disburse.domain.ports import Clock
from disburse.domain.refusals import Refusal
from disburse.operations import rules
from disburse.operations.group_commit import Batches, GroupCommit
from disburse.operations.payouts import (
    Act,
    CreatePayout,
    InsufficientFunds,
    Moves,
    NoSuchMerchant,
    NoSuchPayout,
    belongs,
    cancel_one,
    execute_one,
    make,
    own,
    tell_mismatches,
    wishes_of,
    wishes_to_execute,
)
from disburse.storage import keys, payouts
from disburse.storage.database import Database, GuardFailed, Transaction
from disburse.storage.keys import Known
from disburse.storage.unit import Unit


class KeyReused(Refusal):
    """This Idempotency-Key was used for another request."""


class ReferenceReused(Refusal):
    """This reference belongs to a payout with other content."""


class NotExecutable(Refusal):
    """The payout ended before it was executed."""

    def __init__(self, state: PayoutState) -> None:
        super().__init__(f"A payout that is {state} cannot be executed.")


class Remembered(Refusal):
    """The refusal that this key met before. `name` is that one's."""

    def __init__(self, name: str, text: str) -> None:
        self._name = name
        super().__init__(text)

    @property
    def name(self) -> str:
        return self._name


@dataclass(frozen=True, slots=True)
class RequestName:
    """An Idempotency-Key: its digest, and a keyed fingerprint of all that was asked."""

    digest: bytes
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class CreateOnce:
    """Make a payout, once. `objection`: why a new one may not be made, if it may not; `sticks`: the key remembers that."""

    create: CreatePayout
    request: RequestName | None = None
    objection: Refusal | None = None
    sticks: bool = True


@dataclass(frozen=True, slots=True)
class ActOnce:
    """Execute or cancel a payout, once. `objection`: why it may not be executed now, if it may not."""

    act: Act
    request: RequestName | None = None
    objection: Refusal | None = None


@dataclass(frozen=True, slots=True)
class Made:
    """The payout of a request. `fresh`: this request made it."""

    payout: Payout
    fresh: bool


class _Keys:
    """The keys of one transaction: those that were known, and those that it adds."""

    def __init__(self, unit: Unit, known: dict[tuple[int, bytes], Known]) -> None:
        self._unit = unit
        self._known = known

    @property
    def payouts(self) -> list[UUID]:
        """The payouts that known keys stand for."""
        return [known.payout_id for known in self._known.values() if known.payout_id is not None]

    def find(self, merchant: int, request: RequestName | None) -> UUID | Refusal | None:
        """What a request came to before: its payout, or a refusal. None for a new one."""
        known = self._known.get((merchant, request.digest)) if request is not None else None
        if known is None or request is None:
            return None
        if known.fingerprint != request.fingerprint or known.subject_id is not None:
            return KeyReused()
        if known.payout_id is not None:
            return known.payout_id
        return Remembered(known.refusal or "", known.detail or "")

    def keep(self, request: RequestName | None, command: CreatePayout | Act, result: Payout | Refusal) -> None:
        """Remember what a new request came to."""
        if request is None:
            return
        merchant = command.merchant_id
        known = (
            Known(request.fingerprint, result.payout_id, None, None) if isinstance(result, Payout)
            else Known(request.fingerprint, None, result.name, str(result))
        )  # fmt: skip
        self._known[merchant, request.digest] = known
        self._unit.add("keys", (request.digest, self._unit.place(merchant), *known[:4], command.at, command.actor))


async def _keys(tx: Transaction, unit: Unit, commands: Sequence[CreateOnce] | Sequence[ActOnce]) -> _Keys:
    """Hopefully no key is known: the table's own key decides whether that was true."""
    if tx.hopeful:
        return _Keys(unit, {})
    asked = [(_merchant(command), command.request.digest) for command in commands if command.request is not None]
    return _Keys(unit, await keys.by_digest(tx, unit.shard, asked))


def _merchant(command: CreateOnce | ActOnce) -> int:
    return (command.create if isinstance(command, CreateOnce) else command.act).merchant_id


async def create(tx: Transaction, shard: int, commands: Sequence[CreateOnce]) -> list[Made | Refusal]:
    """Make each payout, or answer with what its key or its reference has, or refuse; the others go on."""
    if tx.hopeful and any(command.objection is not None for command in commands):
        raise GuardFailed("keys")  # that nobody has made this payout must be read before it is refused
    merchants = [command.create.merchant_id for command in commands]
    unit = await Unit.lock(tx, shard, merchants)
    known_keys = await _keys(tx, unit, commands)
    bases = [command.create.base for command in commands]
    known = {} if tx.hopeful else await payouts.by_base(tx, shard, bases)
    by_id = await payouts.by_id(tx, shard, known_keys.payouts) if known_keys.payouts else {}
    by_id |= {payout.payout_id: payout for payout in known.values()}
    await unit.read_funds(merchants)
    await rules.prepare(unit, wishes_of(command.create for command in commands))
    mismatches: list[tuple[Payout, CreatePayout]] = []
    decided: list[Payout | Refusal] = []
    for command in commands:
        before = known_keys.find(command.create.merchant_id, command.request)
        if before is not None:
            decided.append(before if isinstance(before, Refusal) else by_id[before])
            continue
        result = _decide(unit, command, known, mismatches)
        if isinstance(result, Payout):
            by_id[result.payout_id] = known[result.base] = result
        if isinstance(result, Payout) or not (isinstance(result, NoSuchMerchant) or (result is command.objection and not command.sticks)):
            known_keys.keep(command.request, command.create, result)
        decided.append(result)
    if mismatches:
        await tell_mismatches(unit, mismatches)
    rules.write(unit)
    await unit.write()
    return [
        Made(one, one.payout_id == command.create.payout_id) if isinstance(one, Payout) else one
        for command, one in zip(commands, decided, strict=True)
    ]


def _decide(
    unit: Unit, command: CreateOnce, known: dict[str, Payout], mismatches: list[tuple[Payout, CreatePayout]]
) -> Payout | Refusal:
    payout = known.get(command.create.base)
    if payout is None:
        return command.objection or make(unit, unit.shard, command.create)
    if payout.fingerprint != command.create.fingerprint:
        mismatches.append((payout, command.create))
        return ReferenceReused()
    return payout


_Do = Callable[[Unit, Moves, Payout, ActOnce], Payout | Refusal]


async def execute(tx: Transaction, shard: int, commands: Sequence[ActOnce]) -> list[Payout | Refusal]:
    """Hold the money and make each payout due. One that was executed before is answered as it stands.

    Too little money leaves it `unfunded` and is a refusal; one past its time expires, which is a refusal too.
    """
    return await _act(tx, shard, commands, _execute)


async def cancel(tx: Transaction, shard: int, commands: Sequence[ActOnce]) -> list[Payout | Refusal]:
    """Cancel what we have not begun to send; its money goes back."""
    return await _act(tx, shard, commands, lambda unit, moves, payout, command: cancel_one(unit, moves, payout, command.act))


async def _act(tx: Transaction, shard: int, commands: Sequence[ActOnce], do: _Do) -> list[Payout | Refusal]:
    unit, found = await own(tx, shard, [command.act for command in commands])
    known_keys = await _keys(tx, unit, commands)
    found |= await payouts.by_id(tx, shard, [one for one in known_keys.payouts if one not in found])
    await unit.read_funds([command.act.merchant_id for command in commands])
    await rules.prepare(unit, wishes_to_execute(unit, found, [command.act for command in commands]))
    moves = Moves(unit)
    results: list[Payout | Refusal] = []
    for command in commands:
        before = known_keys.find(command.act.merchant_id, command.request)
        payout = belongs(found.get(command.act.payout_id), command.act)
        if before is not None:
            results.append(before if isinstance(before, Refusal) else found[before])
        elif payout is None:
            results.append(NoSuchPayout())
        else:
            results.append(do(unit, moves, payout, command))
            known_keys.keep(command.request, command.act, results[-1])
    moves.add_rows()
    rules.write(unit)
    await unit.write()
    return results


def _execute(unit: Unit, moves: Moves, payout: Payout, command: ActOnce) -> Payout | Refusal:
    if payout.state in (PayoutState.CANCELLED, PayoutState.EXPIRED):
        return NotExecutable(payout.state)
    if payout.state not in (PayoutState.CREATED, PayoutState.UNFUNDED):
        return payout
    if command.objection is not None:
        return command.objection
    reached = execute_one(unit, moves, payout, command.act)
    if reached is not None:
        return reached
    match payout.state:
        case PayoutState.EXPIRED as state:
            return NotExecutable(state)
        case PayoutState.UNFUNDED:
            needed = Money(min(payout.amount_minor + payout.fee_minor, MAX_MINOR), payout.currency)
            return InsufficientFunds(needed, Money(unit.available(payout.merchant_id, payout.currency), payout.currency))
        case _:
            return payout


class Keyed:
    """These operations behind their queues. One a process, in the desk."""

    def __init__(self, batches: Batches, database: Database, clock: Clock, on_due: Callable[[], None]) -> None:
        self._on_due = on_due
        self._create: GroupCommit[CreateOnce, Made | Refusal] = batches.before(database, clock, "create_once", create, hopeful=True)
        # Apart, so that a merchant who may not pay, or has limits, does not take the hopeful way from the others.
        self._careful: GroupCommit[CreateOnce, Made | Refusal] = batches.before(database, clock, "create_once", create)
        self._execute: GroupCommit[ActOnce, Payout | Refusal] = batches.before(database, clock, "execute_once", execute)
        self._cancel: GroupCommit[ActOnce, Payout | Refusal] = batches.before(database, clock, "cancel_once", cancel)

    async def create(self, shard: int, command: CreateOnce, *, deadline: float, ruled: bool = False) -> Made | Refusal:
        """Make a payout, or find it. `ruled`: the merchant has limits or policies. Raises Withdrawn, StoreUnavailable.

        Returns once that is committed.
        """
        queue = self._careful if command.objection is not None or ruled else self._create
        made = await queue.submit(shard, command, deadline=deadline, key=command.create.base)
        if isinstance(made, Made) and made.fresh and command.create.execute:
            self._on_due()
        return made

    def is_creating(self, base: str) -> bool:
        """Whether a create command for this obligation waits for its commit in this process."""
        return self._create.is_waiting(base) or self._careful.is_waiting(base)

    async def execute(self, shard: int, command: ActOnce, *, deadline: float) -> Payout | Refusal:
        """Execute a payout. Raises Withdrawn, StoreUnavailable."""
        payout = await self._execute.submit(shard, command, deadline=deadline)
        if isinstance(payout, Payout) and payout.state is PayoutState.QUEUED:
            self._on_due()
        return payout

    async def cancel(self, shard: int, command: ActOnce, *, deadline: float) -> Payout | Refusal:
        """Cancel a payout. Raises Withdrawn, StoreUnavailable."""
        return await self._cancel.submit(shard, command, deadline=deadline)

    @property
    def depth(self) -> int:
        """How many new payouts wait for their transaction to begin."""
        return self._create.depth + self._careful.depth

    async def drain(self) -> None:
        """Wait until everything handed in was answered."""
        for queue in (self._create, self._careful, self._execute, self._cancel):
            await queue.drain()
