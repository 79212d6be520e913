"""What a merchant has: a question about the books that changes nothing and locks nothing."""

from __future__ import annotations

from dataclasses import dataclass

from disburse.domain.ledger import AVAILABLE, HELD
from disburse.domain.merchant import Merchant
from disburse.domain.money import Money
from disburse.storage import merchants
from disburse.storage.database import Database, Transaction


@dataclass(frozen=True, slots=True)
class Funds:
    """`available` may be spent; `reserved` belongs to payouts that have no end yet: held, in flight and in doubt."""

    available: Money
    reserved: Money

    @property
    def whole(self) -> Money:
        """What is still on the account: available and reserved."""
        return self.available + self.reserved


async def read_funds(database: Database, merchant: Merchant, currency: str) -> Funds:
    """The merchant's money in a currency as one moment shows it. Raises StoreUnavailable."""

    async def work(tx: Transaction) -> list[tuple[str, str, int]]:
        return await merchants.balances(tx, merchant.shard, merchant.merchant_id)

    available = reserved = 0
    for of, account, minor in await database.run(work):
        if of == currency and account == AVAILABLE:
            available += minor
        elif of == currency and (account == HELD or account.startswith(("in_flight:", "in_doubt:"))):
            reserved += minor
    return Funds(Money(available, currency), Money(reserved, currency))
