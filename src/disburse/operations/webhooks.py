"""Webhook endpoints from the merchant's side: add, rotate, pause, resume, resend, remove. Each is one transaction.

Each is decided under the merchant's lock and told in an event that names who did it. The secret is made here, shown once and kept
sealed, since every message is signed with it. What a URL may be is the doors' to say (`protocols/webhook_address.py`), and the
courier judges it again at each try. All but removing take an Idempotency-Key (`repeats.py`).
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
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
from disburse.storage import webhooks
from disburse.storage.database import Transaction
from disburse.storage.unit import Unit
from disburse.storage.vault import SealBroken
from disburse.storage.webhooks import Behind, Webhook

__all__ = ["Behind", "NewWebhook", "Webhook", "add_webhook", "list_webhooks", "pause_webhook", "remove_webhook", "resend_events", "resume_webhook", "rotate_secret"]

MOST: Final = 20
"""Endpoints a merchant may have."""

OVERLAP: Final = timedelta(hours=24)
LONGEST_OVERLAP: Final = timedelta(days=30)
_KEY_BYTES: Final = 32


class NoSuchWebhook(Refusal):
    """The merchant has no such webhook endpoint."""


class TooManyWebhooks(Refusal):
    """A merchant has at most 20 webhook endpoints."""


class NoSuchEvents(Refusal):
    """There are no such events."""

    def __init__(self, last: int) -> None:
        self.last = last
        super().__init__(f"The merchant has events 1 to {last}.")


class ResendUnderWay(Refusal):
    """Events are being sent once more already."""

    def __init__(self, next_number: int, last: int) -> None:
        self.next_number, self.last = next_number, last
        super().__init__(f"Events up to {last} are being sent once more; {next_number} is next.")


@dataclass(frozen=True, slots=True)
class NewWebhook:
    """An endpoint with its new secret in clear: it is shown once, and again to a repeat of the request that made it, while it is live. Else it is "".

    `fresh`: this command made it.
    """

    webhook: Webhook
    secret: str = field(repr=False)
    fresh: bool = True


async def add_webhook(
    desk: Desk, merchant: Merchant, url: str, *, types: Sequence[str] | None = None, since: int | None = None, actor: str, asked: Asked = PLAIN
) -> NewWebhook:
    """Send the merchant's events after number `since` to this URL; None: those that happen from now on.

    Raises TooManyWebhooks, NoSuchEvents where `since` is ahead of what has happened; and what `repeats.once` raises.
    """
    at, key = desk.world.clock.now(), desk.world.random.bytes(_KEY_BYTES)
    identifier = payout_id(merchant.shard, at, desk.world.random.bytes(10))  # a time-ordered id with the bucket inside

    async def work(tx: Transaction, unit: Unit) -> Did[NewWebhook]:
        known = await webhooks.of_merchant(tx, merchant.shard, merchant.merchant_id)
        ours = next((one for one in known if one.webhook_id == identifier), None)
        if ours is not None:
            return told(ours)  # this very command, whose commit we did not hear of
        if len(known) >= MOST:
            raise TooManyWebhooks()
        last = await webhooks.last_event(tx, merchant.shard, merchant.merchant_id)
        if since is not None and not 0 <= since <= last:
            raise NoSuchEvents(last)
        sealed = desk.vault.seal_secret(key, merchant_id=merchant.merchant_id)
        made = Webhook(
            webhook_id=identifier, merchant_id=merchant.merchant_id, url=url, types=tuple(types) if types else None, state="active",
            reason=None, version=1, secret_sealed=sealed, previous_sealed=None, previous_until=None,
            since=last if since is None else since, done_to=last if since is None else since, resend_next=None, resend_to=None,
            failures=0, rest_until=None, last_answer=None, last_at=None, created_at=at,
        )  # fmt: skip
        await webhooks.insert(tx, merchant.shard, made, actor)
        await _tell(unit, merchant, "webhook.added", identifier, at, actor)
        return told(made)

    def told(made: Webhook) -> Did[NewWebhook]:
        return Did(NewWebhook(made, secret_text(key)), identifier, _proof(key))

    return await _once(desk, merchant, asked, at, actor, work, key)


async def _once(
    desk: Desk, merchant: Merchant, asked: Asked, at: datetime, actor: str, work: Callable[[Transaction, Unit], Awaitable[Did[NewWebhook]]], key: bytes
) -> NewWebhook:
    async def again(tx: Transaction, known: Known) -> NewWebhook:
        found = await webhooks.read(tx, merchant.shard, known.subject_id) if known.subject_id is not None else None
        if found is None:
            raise NoSuchWebhook()
        if known.proof == _proof(key):
            return NewWebhook(found, secret_text(key))  # this very command
        return NewWebhook(found, _shown_again(desk, found, known.proof, at), fresh=False)

    made = await repeats.once(desk.database, merchant, asked, at, actor, work, again, unkept=(NoSuchWebhook,))
    desk.on_written()
    return made


def _shown_again(desk: Desk, found: Webhook, proof: bytes | None, at: datetime) -> str:
    """The secret that a request made, as long as messages are signed with it; "" afterwards."""
    live = [found.secret_sealed]
    if found.previous_sealed is not None and found.previous_until is not None and found.previous_until > at:
        live.append(found.previous_sealed)
    for sealed in live:
        with contextlib.suppress(SealBroken):
            key = desk.vault.open_secret(sealed, merchant_id=found.merchant_id)
            if proof is not None and hmac.compare_digest(_proof(key), proof):
                return secret_text(key)
    return ""


def _proof(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def secret_text(key: bytes) -> str:
    """A secret as it is shown: the form that the receivers' libraries read."""
    return "whsec_" + base64.b64encode(key).decode("ascii")


async def rotate_secret(
    desk: Desk, merchant: Merchant, webhook_id: UUID, *, overlap: timedelta = OVERLAP, actor: str, asked: Asked = PLAIN
) -> NewWebhook:
    """Sign with a new secret from now on, and with the one before it for as long as `overlap`; an older one ends at once.

    Raises NoSuchWebhook; and what `repeats.once` raises.
    """
    at, key = desk.world.clock.now(), desk.world.random.bytes(_KEY_BYTES)
    sealed = desk.vault.seal_secret(key, merchant_id=merchant.merchant_id)
    both = min(max(overlap, timedelta()), LONGEST_OVERLAP)

    async def work(tx: Transaction, unit: Unit) -> Did[NewWebhook]:
        found = await _read(tx, merchant, webhook_id)
        if not (tx.rerun and found.secret_sealed.hex() == sealed.hex()):
            await webhooks.set_secrets(tx, merchant.shard, webhook_id, sealed, found.secret_sealed, unit.now + both)
            await _tell(unit, merchant, "webhook.rotated", webhook_id, at, actor)
        return Did(NewWebhook(await _read(tx, merchant, webhook_id), secret_text(key)), webhook_id, _proof(key))

    return await _once(desk, merchant, asked, at, actor, work, key)


async def pause_webhook(desk: Desk, merchant: Merchant, webhook_id: UUID, *, actor: str, asked: Asked = PLAIN) -> Webhook:
    """Send nothing there until it is resumed; nothing is lost meanwhile. One that is not active stays as it is. Raises NoSuchWebhook."""
    at = desk.world.clock.now()

    async def change(tx: Transaction, unit: Unit, found: Webhook) -> None:
        if found.state == "active":
            await webhooks.set_state(tx, merchant.shard, webhook_id, "paused", "asked_for")
            await _tell(unit, merchant, "webhook.paused", webhook_id, at, actor)

    return await _change(desk, merchant, webhook_id, change, asked, at, actor)


async def resume_webhook(desk: Desk, merchant: Merchant, webhook_id: UUID, *, actor: str, asked: Asked = PLAIN) -> Webhook:
    """Send again what happened meanwhile, from where it stopped. One that is active stays as it is. Raises NoSuchWebhook."""
    at = desk.world.clock.now()

    async def change(tx: Transaction, unit: Unit, found: Webhook) -> None:
        if found.state != "active":
            await webhooks.set_state(tx, merchant.shard, webhook_id, "active", None)
            await webhooks.due_afresh(tx, merchant.shard, webhook_id, unit.now)
            await _tell(unit, merchant, "webhook.resumed", webhook_id, at, actor)

    return await _change(desk, merchant, webhook_id, change, asked, at, actor)


async def resend_events(
    desk: Desk, merchant: Merchant, webhook_id: UUID, first: int, last: int, *, actor: str, asked: Asked = PLAIN
) -> Webhook:
    """Send events `first` to `last` once more, with the same ids. Raises NoSuchWebhook, NoSuchEvents, ResendUnderWay."""
    at = desk.world.clock.now()

    async def change(tx: Transaction, unit: Unit, found: Webhook) -> None:
        if found.resend_next is not None and found.resend_to is not None:
            if tx.rerun and (found.resend_next, found.resend_to) == (first, last):
                return
            raise ResendUnderWay(found.resend_next, found.resend_to)
        ends = await webhooks.last_event(tx, merchant.shard, merchant.merchant_id)
        if not 1 <= first <= last <= ends:
            raise NoSuchEvents(ends)
        await webhooks.set_resend(tx, merchant.shard, webhook_id, first, last)
        await _tell(unit, merchant, "webhook.resend", webhook_id, at, actor)

    return await _change(desk, merchant, webhook_id, change, asked, at, actor)


async def remove_webhook(desk: Desk, merchant: Merchant, webhook_id: UUID, *, actor: str) -> None:
    """Forget the endpoint and all that waits for it. Raises NoSuchWebhook."""
    at = desk.world.clock.now()

    async def work(tx: Transaction) -> None:
        unit = await _locked(tx, merchant)
        found = await webhooks.read(tx, merchant.shard, webhook_id)
        if tx.rerun and found is None:
            return
        await _read(tx, merchant, webhook_id)
        await webhooks.remove(tx, merchant.shard, webhook_id)
        await _tell(unit, merchant, "webhook.removed", webhook_id, at, actor)

    await desk.database.run(work)
    desk.on_written()


async def list_webhooks(desk: Desk, merchant: Merchant) -> list[tuple[Webhook, Behind]]:
    """The merchant's endpoints, and how far each is behind."""

    async def work(tx: Transaction) -> list[tuple[Webhook, Behind]]:
        found = await webhooks.of_merchant(tx, merchant.shard, merchant.merchant_id)
        late = await webhooks.behind(tx, merchant.shard, [one.webhook_id for one in found])
        return [(one, late[one.webhook_id]) for one in found]

    return await desk.database.run(work)


async def _locked(tx: Transaction, merchant: Merchant) -> Unit:
    unit = await Unit.lock(tx, merchant.shard, [merchant.merchant_id])
    if not unit.knows(merchant.merchant_id):
        raise NoSuchMerchant()
    return unit


async def _tell(unit: Unit, merchant: Merchant, kind: str, webhook_id: UUID, at: datetime, actor: str) -> None:
    unit.event(merchant.merchant_id, None, kind, at, actor, detail=str(webhook_id))
    await unit.write()


async def _read(tx: Transaction, merchant: Merchant, webhook_id: UUID) -> Webhook:
    """A merchant's endpoint. Somebody else's is none (invariant S3)."""
    found = await webhooks.read(tx, merchant.shard, webhook_id)
    if found is None or found.merchant_id != merchant.merchant_id:
        raise NoSuchWebhook()
    return found


async def _change(
    desk: Desk, merchant: Merchant, webhook_id: UUID, change: Callable[[Transaction, Unit, Webhook], Awaitable[None]], asked: Asked, at: datetime, actor: str
) -> Webhook:
    """Change an endpoint under its merchant's lock; the endpoint as it stands then."""

    async def work(tx: Transaction, unit: Unit) -> Did[Webhook]:
        await change(tx, unit, await _read(tx, merchant, webhook_id))
        return Did(await _read(tx, merchant, webhook_id), webhook_id)

    async def again(tx: Transaction, known: Known) -> Webhook:
        return await _read(tx, merchant, webhook_id)

    changed = await repeats.once(desk.database, merchant, asked, at, actor, work, again, unkept=(NoSuchWebhook,))
    desk.on_written()
    return changed
