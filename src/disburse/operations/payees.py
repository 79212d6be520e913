"""Payees: whom a merchant pays, by a reference of its own, with saved destinations. Each operation is one transaction under the lock.

A payout may name a payee in the place of a destination. So that a request which is sent again always means the same payment, nothing that
a name leads to ever changes: a destination is added and retired, never edited, and a payee named alone means its first destination, for
ever. A retired one speaks against a new payout only; a repeat of one that was made finds it.

Adding takes an Idempotency-Key (`repeats.py`): a repeat adds nothing, also after the destination was retired.
Destinations are sealed here as a payout's are, each for its own id, and opened only to be sealed again for a payout.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from disburse.domain.destinations import Destination
from disburse.domain.identifiers import payout_id
from disburse.domain.merchant import Merchant
from disburse.domain.refusals import Refusal
from disburse.operations import repeats
from disburse.operations.desk import Desk
from disburse.operations.payouts import NoSuchMerchant
from disburse.operations.repeats import PLAIN, Asked, Did, Known
from disburse.storage import payees
from disburse.storage.database import Transaction
from disburse.storage.payees import Payee, SavedDestination
from disburse.storage.unit import Unit

__all__ = ["MOST", "Payee", "SavedDestination", "Target", "add_destination", "add_payee", "find_payee", "list_payees", "read_payee", "retire_destination", "target_of"]

MOST: Final = 20
"""Destinations that a payee may ever have had."""


class NoSuchPayee(Refusal):
    """The merchant has no such payee."""


class NoSuchDestination(Refusal):
    """The payee has no such destination."""


class PayeeReused(Refusal):
    """This reference belongs to a payee whose first destination is another."""


class TooManyDestinations(Refusal):
    """A payee has at most 20 destinations, those that are retired included."""


class DestinationRetired(Refusal):
    """The payee is not paid there any more."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a payout to a payee goes, in clear; `retired`: no new one does."""

    payee_id: UUID
    destination: Destination
    retired: bool


async def add_payee(
    desk: Desk, merchant: Merchant, reference: str, destination: Destination, *, actor: str, asked: Asked = PLAIN
) -> tuple[Payee, bool]:
    """The payee of this reference, and whether this call made it. Raises PayeeReused; and what `repeats.once` raises."""
    at = desk.world.clock.now()
    identifier = _draw_id(desk, merchant, at)
    first = _save(desk, merchant, identifier, 1, destination, at)
    made = Payee(identifier, merchant.merchant_id, reference, at, (first,))

    async def work(tx: Transaction, unit: Unit) -> Did[tuple[Payee, bool]]:
        known = await payees.by_reference(tx, merchant.shard, merchant.merchant_id, reference)
        if known is not None:
            if not hmac.compare_digest(known.destinations[0].destination_digest, first.destination_digest):
                raise PayeeReused()
            return Did((known, known.payee_id == identifier), known.payee_id)
        await payees.insert(tx, merchant.shard, made, actor)
        await _tell(unit, merchant, "payee.added", identifier, at, actor)
        return Did((made, True), identifier)

    async def again(tx: Transaction, known: Known) -> tuple[Payee, bool]:
        return await _read(tx, merchant, _subject(known)), known.subject_id == identifier

    result = await repeats.once(desk.database, merchant, asked, at, actor, work, again)
    desk.on_written()
    return result


async def add_destination(
    desk: Desk, merchant: Merchant, payee_id: UUID, destination: Destination, *, actor: str, asked: Asked = PLAIN
) -> Payee:
    """A further destination; one that the payee has and that is not retired is not added again.

    Raises NoSuchPayee, TooManyDestinations; and what `repeats.once` raises.
    """
    at = desk.world.clock.now()
    drawn = _save(desk, merchant, payee_id, 0, destination, at)

    async def work(tx: Transaction, unit: Unit) -> Did[Payee]:
        known = await _read(tx, merchant, payee_id)
        if any(hmac.compare_digest(one.destination_digest, drawn.destination_digest) and one.retired_at is None for one in known.destinations):
            return Did(known, payee_id)
        if len(known.destinations) >= MOST:
            raise TooManyDestinations()
        further = SavedDestination(
            payee_id, len(known.destinations) + 1, drawn.destination_id, drawn.rail, drawn.display, drawn.destination_digest, drawn.sealed, at, None
        )
        await payees.add(tx, merchant.shard, merchant.merchant_id, further, actor)
        await _tell(unit, merchant, "payee.destination_added", payee_id, at, actor)
        return Did(await _read(tx, merchant, payee_id), payee_id)

    async def again(tx: Transaction, known: Known) -> Payee:
        return await _read(tx, merchant, _subject(known))

    result = await repeats.once(desk.database, merchant, asked, at, actor, work, again, unkept=(NoSuchPayee,))
    desk.on_written()
    return result


async def retire_destination(desk: Desk, merchant: Merchant, payee_id: UUID, destination_id: UUID, *, actor: str) -> Payee:
    """Pay nothing new there; what was made goes on. One that is retired stays so. Raises NoSuchPayee, NoSuchDestination."""
    at = desk.world.clock.now()

    async def work(tx: Transaction) -> Payee:
        unit = await _locked(tx, merchant)
        found = _destination_of(await _read(tx, merchant, payee_id), destination_id)
        if found.retired_at is None:
            await payees.retire(tx, merchant.shard, payee_id, destination_id, at)
            await _tell(unit, merchant, "payee.destination_retired", payee_id, at, actor)
        return await _read(tx, merchant, payee_id)

    result = await desk.database.run(work)
    desk.on_written()
    return result


async def read_payee(desk: Desk, merchant: Merchant, payee_id: UUID) -> Payee:
    """A payee as it stands. Raises NoSuchPayee, StoreUnavailable."""
    return await desk.database.ask(lambda tx: _read(tx, merchant, payee_id))


async def find_payee(desk: Desk, merchant: Merchant, reference: str) -> Payee | None:
    """The payee of a reference. Raises StoreUnavailable."""
    return await desk.database.ask(lambda tx: payees.by_reference(tx, merchant.shard, merchant.merchant_id, reference))


async def list_payees(desk: Desk, merchant: Merchant, before: int | None, limit: int) -> list[Payee]:
    """Payees whose id is below `before` (an id as a number), newest first. Raises StoreUnavailable."""
    place = UUID(int=before) if before is not None else None
    return await desk.database.ask(lambda tx: payees.page(tx, merchant.shard, merchant.merchant_id, place, limit))


async def target_of(desk: Desk, merchant: Merchant, payee_id: UUID, destination_id: UUID | None) -> Target:
    """Where a payout to this payee goes: the destination that is named, else the first. Raises NoSuchPayee, NoSuchDestination, SealBroken."""
    known = await read_payee(desk, merchant, payee_id)
    found = _destination_of(known, destination_id) if destination_id is not None else known.destinations[0]
    plain = desk.vault.open(found.sealed, merchant_id=merchant.merchant_id, payout_id=found.destination_id.bytes)
    return Target(payee_id, Destination.from_bytes(plain), found.retired_at is not None)


def _subject(known: Known) -> UUID:
    if known.subject_id is None:
        raise AssertionError("a request about a payee was kept without one")
    return known.subject_id


def _destination_of(payee: Payee, destination_id: UUID) -> SavedDestination:
    for one in payee.destinations:
        if one.destination_id == destination_id:
            return one
    raise NoSuchDestination()


def _draw_id(desk: Desk, merchant: Merchant, at: datetime) -> UUID:
    return payout_id(merchant.shard, at, desk.world.random.bytes(10))  # a time-ordered id with the bucket inside


def _save(desk: Desk, merchant: Merchant, payee_id: UUID, number: int, destination: Destination, at: datetime) -> SavedDestination:
    identifier, owner = _draw_id(desk, merchant, at), merchant.merchant_id
    return SavedDestination(
        payee_id=payee_id, number=number, destination_id=identifier, rail=str(destination.rail), display=destination.display(),
        destination_digest=desk.vault.fingerprint(destination.fingerprint_text(), owner),
        sealed=desk.vault.seal(destination.to_bytes(), merchant_id=owner, payout_id=identifier.bytes), created_at=at, retired_at=None,
    )  # fmt: skip


async def _read(tx: Transaction, merchant: Merchant, payee_id: UUID) -> Payee:
    found = await payees.by_id(tx, merchant.shard, merchant.merchant_id, payee_id)
    if found is None:
        raise NoSuchPayee()
    return found


async def _locked(tx: Transaction, merchant: Merchant) -> Unit:
    unit = await Unit.lock(tx, merchant.shard, [merchant.merchant_id])
    if not unit.knows(merchant.merchant_id):
        raise NoSuchMerchant()
    return unit


async def _tell(unit: Unit, merchant: Merchant, kind: str, payee_id: UUID, at: datetime, actor: str) -> None:
    unit.event(merchant.merchant_id, None, kind, at, actor, detail=str(payee_id))
    await unit.write()
