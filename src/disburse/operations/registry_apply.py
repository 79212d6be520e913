"""Applying a registry: some rows at a time become payouts, and the registry's place moves with them, in one transaction.

Lives here: `apply_rows`, which makes the payouts of the rows after the place by `payouts.make` and nothing else, and `Applier`, which does so
until no row is left. It runs in whatever process has the lease; a second one that runs too finds the place moved and writes nothing.
May not live here: whether a registry may be applied (`registries.py`), what its rows say (`registry_plan.py`).

A row yields at most one payout: its base is unique, the place is guarded by what it was read as, and both are written by the same statement. Whoever
dies in between has written all of it or nothing. A batch is at most 500 rows (fewer where the settings say so), and smaller where the database is slow, so that callers of the
same merchant, who wait for the same lock, wait a moment only; and no batch begins while callers of this process wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from disburse.domain.money import Money
from disburse.domain.payout import Payout
from disburse.domain.refusals import Refusal
from disburse.domain.registry_states import RegistryState
from disburse.domain.routing import TEST_CURRENCY
from disburse.operations import rules
from disburse.operations.desk import SURFACE, Desk
from disburse.operations.payouts import CreatePayout, InsufficientFunds, make, tell_mismatches, wishes_of
from disburse.storage import payouts, registries, registry_work
from disburse.storage.database import Hope, Transaction
from disburse.storage.registries import Registry
from disburse.storage.registry_work import ToPay
from disburse.storage.unit import Unit

LARGEST: Final = 500
SMALLEST: Final = 50
SLOW_S: Final = 0.06
"""A batch that takes longer is made smaller."""
LEASE_S: Final = 10.0
WAITS_FOR_MONEY: Final = "money"

TimeFor = Callable[[str, datetime | None], datetime | None]
"""When a payout on a rail is sent that is to be sent at a time, or at once (None)."""


@dataclass(frozen=True, slots=True)
class ApplyRows:
    """Make the payouts of these rows, which are the good ones after `seen`. `at`, `actor`: drawn once."""

    registry_id: UUID
    merchant_id: int
    seen: int
    rows: Sequence[ToPay]
    commands: Sequence[CreatePayout]
    at: datetime
    actor: str


@dataclass(frozen=True, slots=True)
class AppliedRows:
    """How far it came. `place`: the last row that was dealt with; `short`: the row after it lacks money; `lost`: the place was another."""

    place: int
    made: int = 0
    found: int = 0
    refused: int = 0
    short: InsufficientFunds | None = None
    lost: bool = False


async def apply_rows(tx: Transaction, shard: int, command: ApplyRows) -> AppliedRows:
    """Make each row's payout, or find the one its reference has, or keep why not; stop before a row that lacks money.

    Hopefully, every reference is new, the money is there and the place is where it was read: then there is nothing to read.
    """
    merchant = command.merchant_id
    unit = await Unit.lock(tx, shard, [merchant])
    if not tx.hopeful:
        registry = await registries.by_id(tx, shard, command.registry_id)
        if registry is None or registry.state is not RegistryState.EXECUTING or registry.applied_to != command.seen or registry.given_up:
            return AppliedRows(registry.applied_to if registry is not None else command.seen, lost=True)
    known = {} if tx.hopeful else await payouts.by_base(tx, shard, [one.base for one in command.commands])
    await unit.read_funds([merchant])
    await rules.prepare(unit, wishes_of(command.commands))
    count = {"made": 0, "found": 0, "refused": 0}
    mismatches: list[tuple[Payout, CreatePayout]] = []
    place, short = command.seen, None
    for row, create in zip(command.rows, command.commands, strict=True):
        fate = known.get(create.base) or make(unit, shard, create)
        if isinstance(fate, InsufficientFunds):
            short = fate
            break
        place = row.number
        word = _word(fate, create)
        count[word] += 1
        if word != "made":
            _keep_fate(unit, command, row, fate, word)
        if isinstance(fate, Payout) and word == "refused":
            mismatches.append((fate, create))
    if mismatches:
        await tell_mismatches(unit, mismatches)
    if place != command.seen:
        unit.add("registry", (command.registry_id, command.seen, place, count["made"], count["found"], count["refused"],
                              RegistryState.EXECUTING, command.at))  # fmt: skip
        rules.write(unit)
        await unit.write()
    return AppliedRows(place, count["made"], count["found"], count["refused"], short)


def _word(fate: Payout | Refusal, create: CreatePayout) -> str:
    if isinstance(fate, Refusal):
        return "refused"
    if fate.payout_id == create.payout_id:
        return "made"
    return "found" if fate.fingerprint == create.fingerprint else "refused"


def _keep_fate(unit: Unit, command: ApplyRows, row: ToPay, fate: Payout | Refusal, word: str) -> None:
    payout = fate.payout_id if isinstance(fate, Payout) else None
    reason = None if word == "found" else fate.name if isinstance(fate, Refusal) else "reference_reused"
    unit.add("fates", (command.registry_id, row.number, word, payout, reason, command.at, command.actor))


def draft_rows(registry: Registry, seen: int, rows: Sequence[ToPay], at: datetime, actor: str, time_for: TimeFor) -> ApplyRows:
    """The commands of some rows. All that they need was drawn when the registry was planned, but when their rails pay."""
    merchant = registry.merchant_id
    commands = [
        CreatePayout(
            row.payout_id, merchant, SURFACE, row.reference, row.base, row.fingerprint, row.rail, Money(row.amount_minor, row.currency),
            Money(row.fee_minor, row.currency), row.amount_text, row.display, row.destination_digest, row.sealed, at, actor, True,
            row.comment, row.currency == TEST_CURRENCY, time_for(row.rail, row.execute_at), True,
        )
        for row in rows
    ]  # fmt: skip
    return ApplyRows(registry.registry_id, merchant, seen, rows, commands, at, actor)


class Applier:
    """Applies one registry that is being executed, for as long as this owner has the lease. `told` hears each batch that was written."""

    def __init__(
        self, desk: Desk, registry: Registry, owner: str, actor: str, *, told: Callable[[AppliedRows], None] = lambda applied: None
    ) -> None:
        self._desk = desk
        self._registry = registry
        self._owner = owner
        self._actor = actor
        self._told = told
        self._hope = Hope()
        self._largest = min(LARGEST, desk.largest)
        self._size = self._largest
        self._leased_at: float | None = None
        self._until: float | None = None
        self.short: InsufficientFunds | None = None

    async def run(self, turn_s: float | None = None) -> bool:
        """Apply until no row is left, the money runs short, the lease is another's, or `turn_s` seconds are over. Whether no row is left.

        Raises StoreUnavailable.
        """
        self.short = None
        self._until = self._desk.world.clock.monotonic() + turn_s if turn_s is not None else None
        while await self._keep_lease():
            registry = await self._read()
            if registry is None or registry.state is not RegistryState.EXECUTING or registry.left == 0:
                return registry is not None and registry.left == 0
            ended = await self._stretch(registry.applied_to)
            if ended:
                return self.short is None and not self._turn_is_over()
        return False

    def _turn_is_over(self) -> bool:
        return self._until is not None and self._desk.world.clock.monotonic() >= self._until

    async def _read(self) -> Registry | None:
        shard, identifier = self._registry.shard, self._registry.registry_id
        return await self._desk.database.ask(lambda tx: registries.by_id(tx, shard, identifier))

    async def _keep_lease(self) -> bool:
        clock = self._desk.world.clock
        if self._leased_at is not None and clock.monotonic() - self._leased_at < LEASE_S / 4:
            return True
        before, shard, identifier = clock.monotonic(), self._registry.shard, self._registry.registry_id
        ours = await self._desk.database.run(lambda tx: registry_work.take(tx, shard, identifier, self._owner, LEASE_S))
        self._leased_at = before if ours else None
        return ours

    async def let_go(self) -> None:
        """Give the lease back. Raises StoreUnavailable."""
        shard, identifier = self._registry.shard, self._registry.registry_id
        await self._desk.database.run(lambda tx: registry_work.let_go(tx, shard, identifier, self._owner))

    async def _stretch(self, place: int) -> bool:
        """Apply from a place on, one batch being written while the next is read and drafted. Whether there is nothing left to do now."""
        writing: asyncio.Task[AppliedRows] | None = None
        after = place
        try:
            while True:
                rows = await self._rows(after)
                batch = self._draft(after, rows) if rows else None
                if writing is not None:
                    done, writing = await writing, None
                    self._told(done)
                    if done.lost or done.short is not None:
                        self.short = done.short
                        return done.short is not None and await self._say_short()
                if batch is None or self._turn_is_over():
                    return True
                if not await self._keep_lease():
                    return False
                await self._yield()
                writing = asyncio.create_task(self._write(batch))
                after = rows[-1].number
        finally:
            if writing is not None:
                await asyncio.gather(writing, return_exceptions=True)

    async def _rows(self, after: int) -> list[ToPay]:
        shard, identifier, size = self._registry.shard, self._registry.registry_id, self._size
        return await self._desk.database.ask(lambda tx: registry_work.to_pay(tx, shard, identifier, after, size))

    def _draft(self, after: int, rows: Sequence[ToPay]) -> ApplyRows:
        desk, now = self._desk, self._desk.time.now()
        return draft_rows(
            self._registry, after, rows, desk.world.clock.now(), self._actor, lambda rail, at: desk.calendars.time_for(rail, at, now)
        )

    async def _write(self, batch: ApplyRows) -> AppliedRows:
        clock, shard = self._desk.world.clock, self._registry.shard
        began = clock.monotonic()
        done = await self._desk.database.run(lambda tx: apply_rows(tx, shard, batch), hope=self._hope)
        took = clock.monotonic() - began
        if took > SLOW_S:
            self._size = max(min(SMALLEST, self._largest), self._size * 3 // 4)
        elif took < SLOW_S / 2:
            self._size = min(self._largest, self._size + 25)
        self._desk.on_due()
        self._desk.on_written()
        return done

    async def _yield(self) -> None:
        """Let callers of this process go first, for a moment."""
        for _ in range(20):
            if not self._desk.callers_wait:
                return
            await self._desk.world.clock.sleep(0.002)

    async def _say_short(self) -> bool:
        shard, identifier = self._registry.shard, self._registry.registry_id
        await self._desk.database.run(lambda tx: registry_work.say_waits(tx, shard, identifier, WAITS_FOR_MONEY))
        return True
