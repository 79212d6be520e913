"""Requests with an Idempotency-Key that do something beside payouts: webhook endpoints, API keys, payees, registries.

Lives here: `once`, which carries out a request under the merchant's lock and keeps what it came to in the same transaction, so that the
key is known exactly when its work is done. It means the same as for payouts (`keyed.py`): one request for ever; the look-up comes before
every other check; the same content has no effect and is told of what the first one did, as that stands now; a refusal is kept; other content
is KeyReused. May not live here: what the work is, what is told of it, what a secret is.

Such requests are rare, so they are carried out one by one and never hopefully.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Generic, TypeVar
from uuid import UUID

from disburse.domain.merchant import Merchant
from disburse.domain.refusals import Refusal
from disburse.operations.keyed import KeyReused, Remembered, RequestName
from disburse.operations.payouts import NoSuchMerchant
from disburse.storage import keys
from disburse.storage.database import Database, Transaction
from disburse.storage.keys import Known
from disburse.storage.unit import Unit

__all__ = ["PLAIN", "Asked", "Did", "Known", "RequestName", "known_as", "look_up", "once"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Asked:
    """How a request came. `objection`: what is wrong with it and may be right another day; a key that is known asks no such question, and none remembers it."""

    name: RequestName | None = None
    objection: Exception | None = None


PLAIN: Final = Asked()
"""Without a key, and nothing speaks against it."""


@dataclass(frozen=True, slots=True)
class Did(Generic[T]):
    """What a request did: to what (`subject`), and with a secret the SHA-256 of that (`proof`)."""

    value: T
    subject: UUID
    proof: bytes | None = None


Do = Callable[[Transaction, Unit], Awaitable[Did[T]]]
Again = Callable[[Transaction, Known], Awaitable[T]]


async def once(
    database: Database, merchant: Merchant, asked: Asked, at: datetime, actor: str, do: Do[T], again: Again[T], *,
    unkept: tuple[type[Refusal], ...] = (),
) -> T:  # fmt: skip
    """Do it under the merchant's lock, and keep what its key came to; or, where the key is known, what `again` finds.

    `do` must refuse before it writes anything; of its refusals `unkept` are not remembered. The transaction may have been run before: `again` then
    finds what this very command did. Raises what `do` refuses, KeyReused, Remembered, NoSuchMerchant, StoreUnavailable; and the objection.
    """

    async def work(tx: Transaction) -> T | Refusal:
        unit = await Unit.lock(tx, merchant.shard, [merchant.merchant_id])
        if not unit.knows(merchant.merchant_id):
            raise NoSuchMerchant()
        known = await known_as(tx, merchant, asked.name)
        if known is not None:
            return await again(tx, known)
        if asked.objection is not None:
            raise asked.objection
        try:
            did = await do(tx, unit)
        except unkept:
            raise
        except Refusal as refusal:
            if asked.name is None:
                raise
            await keys.add(tx, merchant.shard, merchant.merchant_id, asked.name.digest, Known(asked.name.fingerprint, None, refusal.name, str(refusal)), at, actor)
            return refusal
        if asked.name is not None:
            kept = Known(asked.name.fingerprint, None, None, None, did.subject, did.proof)
            await keys.add(tx, merchant.shard, merchant.merchant_id, asked.name.digest, kept, at, actor)
        return did.value

    result = await database.run(work)
    if isinstance(result, Refusal):
        raise result
    return result


async def known_as(tx: Transaction, merchant: Merchant, name: RequestName | None) -> Known | None:
    """What a key came to before, of a request that was done; None for a new one. Raises KeyReused, Remembered."""
    if name is None:
        return None
    found = await keys.by_digest(tx, merchant.shard, [(merchant.merchant_id, name.digest)])
    known = found.get((merchant.merchant_id, name.digest))
    if known is None:
        return None
    if known.fingerprint != name.fingerprint or known.payout_id is not None:
        raise KeyReused()
    if known.subject_id is None:
        raise Remembered(known.refusal or "", known.detail or "")
    return known


async def look_up(database: Database, merchant: Merchant, name: RequestName | None) -> UUID | None:
    """What a request with this key did it to; None for a new one. Raises KeyReused, Remembered, StoreUnavailable."""
    if name is None:
        return None
    known = await database.ask(lambda tx: known_as(tx, merchant, name))
    return known.subject_id if known is not None else None
