"""API keys from the merchant's side: make a further one, replace one, end one. Each is one transaction under the merchant's lock.

The key is made here, shown once and kept as a digest. Nobody can lock themselves out by mistake: a key cannot end itself, and what
asks for an end must itself be good when the lock is had. So of two keys that end each other at once one is left. An operator, who
comes without a key, may end any. Every process forgets what it remembers of keys when one ends (`recognise.py`).

Making and replacing take an Idempotency-Key (`repeats.py`). A repeat is told of the key that was made and never shown it: its text is nowhere.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from disburse.domain.identifiers import payout_id
from disburse.domain.merchant import Merchant
from disburse.domain.refusals import Refusal
from disburse.operations import repeats
from disburse.operations.desk import Desk
from disburse.operations.payouts import NoSuchMerchant
from disburse.operations.repeats import PLAIN, Asked, Did, Known
from disburse.operations.secrets import digest, new_secret
from disburse.storage import api_keys, merchants
from disburse.storage.api_keys import ApiKey
from disburse.storage.database import Transaction
from disburse.storage.unit import Unit

__all__ = ["MOST", "OVERLAP", "ApiKey", "NewApiKey", "add_key", "end_key", "list_keys", "rotate_key"]

PREFIX: Final = "dsb_"
MOST: Final = 20
"""Keys a merchant may have that have not ended."""
OVERLAP: Final = timedelta(hours=24)
LONGEST_OVERLAP: Final = timedelta(days=30)


class NoSuchApiKey(Refusal):
    """The merchant has no such API key."""


class TooManyApiKeys(Refusal):
    """A merchant has at most 20 API keys that have not ended."""


class OwnApiKey(Refusal):
    """A key cannot end itself at once: use another one, or replace it with an overlap."""


class ApiKeyEnded(Refusal):
    """The key ended."""


@dataclass(frozen=True, slots=True)
class NewApiKey:
    """A key with its text in clear: it is shown once, and can be replaced but never read again. To a repeat of the request that made it the text is "".

    `fresh`: this command made it.
    """

    key: ApiKey
    secret: str = field(repr=False)
    fresh: bool = True


async def add_key(desk: Desk, merchant: Merchant, name: str, *, actor: str, asked: Asked = PLAIN) -> NewApiKey:
    """Make a further key. Raises TooManyApiKeys; and what `repeats.once` raises."""
    drawn = _draw(desk, merchant, name)

    async def make(tx: Transaction, unit: Unit) -> Did[ApiKey]:
        known = await api_keys.of_merchant(tx, merchant.shard, merchant.merchant_id)
        if drawn.key not in known:
            _check_room(known, unit.now)
            await _add(tx, unit, merchant, drawn.key, actor)
            await unit.write()
        return Did(drawn.key, drawn.key.key_id)

    return await _made_once(desk, merchant, asked, drawn, make, actor)


async def rotate_key(
    desk: Desk, merchant: Merchant, key_id: UUID, *, overlap: timedelta = OVERLAP, by: UUID | None = None, actor: str, asked: Asked = PLAIN
) -> NewApiKey:
    """Replace a key: a new one of the same name, and the old one ends after `overlap`. `by`: the key that asks.

    The new one is good before the old one ends. Raises NoSuchApiKey, ApiKeyEnded, OwnApiKey, TooManyApiKeys; and what `repeats.once` raises.
    """
    drawn = _draw(desk, merchant, "")
    both = min(max(overlap, timedelta()), LONGEST_OVERLAP)

    async def make(tx: Transaction, unit: Unit) -> Did[ApiKey]:
        if by == key_id and overlap <= timedelta():
            raise OwnApiKey()
        known = await api_keys.of_merchant(tx, merchant.shard, merchant.merchant_id)
        ours = next((one for one in known if one.key_id == drawn.key.key_id), None)
        if ours is not None:
            return Did(ours, ours.key_id)
        old = _good(known, key_id, by, unit.now)
        if old.ends_at is not None and old.ends_at <= unit.now:
            raise ApiKeyEnded()
        _check_room(known, unit.now)
        key = replace(drawn.key, name=old.name)
        await _add(tx, unit, merchant, key, actor)
        await unit.write()
        return Did(key, key.key_id)

    made = await _made_once(desk, merchant, asked, drawn, make, actor)
    if made.fresh:  # whoever is told nothing of the new key keeps the old one
        await _end(desk, merchant, key_id, both, by=None, actor=actor)
    return made


async def _made_once(
    desk: Desk, merchant: Merchant, asked: Asked, drawn: NewApiKey, make: Callable[[Transaction, Unit], Awaitable[Did[ApiKey]]], actor: str
) -> NewApiKey:
    """The key that is drawn, made and good; or the one that this request made before, of which nobody has the text any more."""

    async def again(tx: Transaction, known: Known) -> ApiKey:
        found = [one for one in await api_keys.of_merchant(tx, merchant.shard, merchant.merchant_id) if one.key_id == known.subject_id]
        if not found:
            raise NoSuchApiKey()
        return found[0]

    made = await repeats.once(desk.database, merchant, asked, drawn.key.created_at, actor, make, again, unkept=(NoSuchApiKey,))
    if made.key_id != drawn.key.key_id:
        return NewApiKey(made, "", fresh=False)
    return await _findable(desk, merchant, NewApiKey(made, drawn.secret))


async def end_key(desk: Desk, merchant: Merchant, key_id: UUID, *, by: UUID | None = None, actor: str) -> ApiKey:
    """End a key now; one that ended stays as it is. `by`: the key that asks. Raises NoSuchApiKey, OwnApiKey, ApiKeyEnded (of `by`)."""
    if by == key_id:
        raise OwnApiKey()
    return await _end(desk, merchant, key_id, timedelta(), by=by, actor=actor)


async def list_keys(desk: Desk, merchant: Merchant) -> list[ApiKey]:
    """The merchant's keys, those that ended too, the oldest first."""
    return await desk.database.ask(lambda tx: api_keys.of_merchant(tx, merchant.shard, merchant.merchant_id))


async def _end(desk: Desk, merchant: Merchant, key_id: UUID, after: timedelta, *, by: UUID | None, actor: str) -> ApiKey:
    at = desk.world.clock.now()

    async def work(tx: Transaction) -> ApiKey:
        unit, known = await _locked(tx, merchant)
        old, until = _good(known, key_id, by, unit.now), unit.now + after
        if old.ends_at is not None and old.ends_at <= until:
            return old
        await api_keys.end(tx, merchant.shard, key_id, until)
        unit.event(merchant.merchant_id, None, "api_key.ended", at, actor, detail=str(key_id))
        await unit.write()
        await merchants.settings_changed(tx)
        return replace(old, ends_at=until)

    ended = await desk.database.run(work)
    desk.recognition.forget()
    desk.on_written()
    return ended


async def _locked(tx: Transaction, merchant: Merchant) -> tuple[Unit, list[ApiKey]]:
    unit = await Unit.lock(tx, merchant.shard, [merchant.merchant_id])
    if not unit.knows(merchant.merchant_id):
        raise NoSuchMerchant()
    return unit, await api_keys.of_merchant(tx, merchant.shard, merchant.merchant_id)


def _good(known: list[ApiKey], key_id: UUID, by: UUID | None, at: datetime) -> ApiKey:
    """The key that is meant, once the key that asks is good itself. Somebody else's is none (invariant S3)."""
    asking = next((one for one in known if one.key_id == by), None)
    if asking is not None and asking.ends_at is not None and asking.ends_at <= at:
        raise ApiKeyEnded()
    for one in known:
        if one.key_id == key_id:
            return one
    raise NoSuchApiKey()


def _check_room(known: list[ApiKey], at: datetime) -> None:
    if sum(one.ends_at is None or one.ends_at > at for one in known) >= MOST:
        raise TooManyApiKeys()


async def _add(tx: Transaction, unit: Unit, merchant: Merchant, key: ApiKey, actor: str) -> None:
    await api_keys.insert(tx, merchant.shard, key, actor)
    unit.event(merchant.merchant_id, None, "api_key.added", key.created_at, actor, detail=str(key.key_id))


def _draw(desk: Desk, merchant: Merchant, name: str) -> NewApiKey:
    at, secret = desk.world.clock.now(), new_secret(desk.world.random, PREFIX)
    identifier = payout_id(merchant.shard, at, desk.world.random.bytes(10))  # a time-ordered id with the bucket inside
    return NewApiKey(ApiKey(identifier, merchant.merchant_id, name, digest(secret), secret[-4:], at, None), secret)


async def _findable(desk: Desk, merchant: Merchant, made: NewApiKey) -> NewApiKey:
    """Let the key lead to its merchant: in a transaction of its own, since that row may lie in another bucket."""
    await desk.database.run(
        lambda tx: merchants.add_lookup(tx, "api_key", made.key.key_digest, merchant.shard, merchant.merchant_id)
    )
    desk.on_written()
    return made
