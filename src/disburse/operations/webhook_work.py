"""What a courier does in the database: claims endpoints, looks what is new, reads events, records how far it came. Each for many at once.

A claim is a lease by the database's clock, as for attempts. Progress is written without a merchant's lock, guarded by owner and
epoch; only pausing or disabling an endpoint takes the lock, since it is told in an event.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from disburse.operations.desk import Desk
from disburse.storage import events, webhook_work, webhooks
from disburse.storage.database import Transaction
from disburse.storage.events import Told
from disburse.storage.unit import Unit
from disburse.storage.webhook_work import Held, Late, Progress

__all__ = ["Held", "Late", "Progress", "Told", "WebhookWork"]

SEEN_WITHIN_S = 10.0
"""A worker that was seen within so long takes part in sharing the endpoints."""

_KIND = {"paused": "webhook.paused", "disabled": "webhook.disabled"}


@dataclass(frozen=True, slots=True)
class WebhookWork:
    """One courier's hands. `owner` is a name that no other process has; everything raises StoreUnavailable."""

    desk: Desk
    owner: str
    lease_s: float

    async def share(self, shard: int) -> int:
        """How many endpoints of the bucket are this courier's fair part. The desk is told what the database's clock shows."""
        began = self.desk.world.clock.monotonic()
        active, workers, now = await self.desk.database.ask(lambda tx: webhook_work.share(tx, shard, SEEN_WITHIN_S))
        self.desk.time.saw(now, began)
        return -(-active // max(workers, 1))

    async def claim(self, shard: int, held: Sequence[UUID], limit: int) -> list[Held]:
        """Take free endpoints, at most `limit`, beside those that are held."""

        async def work(tx: Transaction) -> list[Held]:
            now = await tx.database_now()
            found = await webhook_work.free(tx, shard, self.owner, held, now, limit)
            if not found:
                return []
            return await webhook_work.claim(tx, shard, found, self.owner, now, now + timedelta(seconds=self.lease_s))

        return await self.desk.database.run(work)

    async def look(self, shard: int, *, all_of_them: bool) -> dict[UUID, tuple[int, int, int]]:
        """Epoch, version and the merchant's last event: of all endpoints that are ours, or of those for which there is something new."""
        return await self.desk.database.ask(lambda tx: webhook_work.look(tx, shard, self.owner, all_of_them=all_of_them))

    async def read(self, shard: int, wanted: Sequence[tuple[int, int, int]]) -> list[Told]:
        """Events: for each (merchant, after this number, up to this one)."""
        return await self.desk.database.ask(lambda tx: events.ranges(tx, shard, wanted))

    async def record(self, shard: int, made: Sequence[Progress], *, prolong: bool) -> frozenset[UUID]:
        """Store progress; those endpoints that are still ours. `prolong`: and the leases begin anew."""

        async def work(tx: Transaction) -> frozenset[UUID]:
            until = await tx.database_now() + timedelta(seconds=self.lease_s) if prolong else None
            return await webhook_work.record(tx, shard, self.owner, made, until)

        # One writing statement, which is a transaction of its own; written twice it changes nothing.
        return await self.desk.database.run(work, begin=False)

    async def release(self, shard: int, which: Sequence[tuple[UUID, int]]) -> None:
        """Let go of endpoints (id, epoch)."""
        await self.desk.database.run(lambda tx: webhook_work.release(tx, shard, self.owner, which))

    async def stop(self, shard: int, merchant: int, webhook_id: UUID, epoch: int, state: str, reason: str) -> bool:
        """Pause or disable an endpoint that is ours, and tell it in an event; False where it is not ours any more."""
        at = self.desk.world.clock.now()

        async def work(tx: Transaction) -> bool:
            unit = await Unit.lock(tx, shard, [merchant])
            if not await webhook_work.held_by(tx, shard, webhook_id, self.owner, epoch):
                return False
            await webhooks.set_state(tx, shard, webhook_id, state, reason)
            unit.event(merchant, None, _KIND[state], at, f"worker:{self.owner}", detail=str(webhook_id))
            await unit.write()
            return True

        return await self.desk.database.run(work)

    def keys(self, held: Held) -> list[bytes]:
        """The secrets to sign with now, the newest first. Raises SealBroken."""
        webhook, vault = held.webhook, self.desk.vault
        sealed, until = [webhook.secret_sealed], webhook.previous_until
        if webhook.previous_sealed is not None and until is not None and self.desk.time.now() < until:
            sealed.append(webhook.previous_sealed)
        return [vault.open_secret(one, merchant_id=webhook.merchant_id) for one in sealed]
