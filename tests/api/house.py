"""A whole house behind a door: desk, merchants with money, and a bank that this file plays by hand. Real database, no network.

Lives here: what the doors' tests share. `build_house` makes one; the fixture `house` of
`tests/api/conftest.py` has the default routes. Nobody works in this house but the test: it claims due attempts
and tells their outcomes through the desk, exactly as workers do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from disburse.domain.fees import FeeRule
from disburse.domain.merchant import Merchant
from disburse.domain.money import Money, read_amount
from disburse.domain.outcomes import Settled, Verdict
from disburse.domain.payout import Payout
from disburse.domain.ports import World
from disburse.domain.routing import Route
from disburse.operations.attempts import Claim, Opened
from disburse.operations.desk import Batches, Desk
from disburse.operations.evidence import Applied, Heard
from disburse.operations.installation import open_installation
from disburse.operations.merchants import NewMerchant, add_merchant, draw_top_up, set_merchant
from disburse.operations.once import Once
from disburse.storage import merchants, payouts
from disburse.storage.database import Database, Transaction
from disburse.storage.keyring import Keyring
from disburse.storage.vault import Vault

RUB = frozenset({"RUB"})
BANK = Route("bank", frozenset({"card", "sbp", "webmoney", "usdt"}), RUB)
"""A provider of the seed's four kinds of payment, in roubles."""
SANDBOX = Route(
    "sandbox", frozenset({"card", "sbp", "webmoney", "qiwi", "usdt", "account"}), RUB | {"TST"}, sandbox=True
)
"""A sandbox that takes everything, test money too."""
CARD_FEE = FeeRule(150, 30_00)
FEES: Mapping[str, FeeRule] = {"card": CARD_FEE, "sbp": FeeRule(70)}
"""What the installation charges: 1.5 % and at least 30.00 for cards, 0.7 % for SBP, nothing for the rest."""

LEASE_S = 60.0
OWNER = "test"


class House:
    """Everything a door needs, and hands to see and change what lies behind it."""

    def __init__(self, database: Database, world: World, vault: Vault, desk: Desk) -> None:
        self.database, self.world, self.vault, self.desk = database, world, vault, desk
        self._bank: list[asyncio.Task[list[Applied]]] = []

    async def merchant(
        self,
        login: str = "shop@example.com",
        *,
        funds: str = "100000.00",
        currency: str = "RUB",
        secrets: Mapping[str, str] | None = None,
        pci_dss: bool = False,
        **settings: Any,
    ) -> NewMerchant:
        """A merchant with money. `secrets` as in `add_merchant`; `settings` are columns of its settings (`SETTABLE`)."""
        made = await add_merchant(
            self.database, self.world, self.vault, name=login, login=login, actor="test", pci_dss=pci_dss,
            settings={"answer_wait_ms": 0, **settings}, secrets=secrets,
        )  # fmt: skip
        if read_amount(funds, currency).minor:
            await self.top_up(made.merchant, funds, currency)
        return made

    async def top_up(self, merchant: Merchant, amount: str, currency: str = "RUB") -> None:
        await self.desk.top_up(merchant, draw_top_up(self.world, merchant, read_amount(amount, currency), actor="test"))

    async def set(self, merchant: Merchant, **settings: Any) -> None:
        """Change settings, known to the doors at once."""
        await set_merchant(self.database, merchant, settings, at=self.world.clock.now(), actor="test")
        self.desk.recognition.forget()

    # --- the bank, played by hand ---

    async def claim(self, shard: int = 0) -> list[Opened]:
        """Claim every attempt that is due, as a worker would."""
        now = self.world.clock.now()
        found = await self.desk.due(shard, 500)
        claims = [
            Claim(one.payout.payout_id, one.attempt.number, one.payout.merchant_id, OWNER, LEASE_S, now, Once(one)) for one in found
        ]
        return [opened for opened in await self.desk.claim(shard, claims) if opened is not None]

    async def tell(self, opened: Opened, verdict: Verdict, *, kind: str = "answer", content: str = "") -> Applied:
        """What the bank says about an attempt."""
        where = (opened.payout.payout_id, opened.attempt, opened.payout.merchant_id)
        at, actor = self.world.clock.now(), f"worker:{OWNER}"
        heard = Heard(opened.connector, opened.end_to_end_id, kind, verdict, at, actor, content, payout=where)
        return await self.desk.hear(heard)

    async def settle(self, verdict: Verdict | None = None) -> list[Applied]:
        """Claim all that is due and let the bank say one thing about it: paid, unless told."""
        return [
            await self.tell(opened, verdict if verdict is not None else Settled("bank-1", opened.payout.amount))
            for opened in await self.claim()
        ]

    def answer_at_once(self, verdict: Verdict | None = None) -> None:
        """From now on the bank answers as soon as something is due: paid, unless told."""
        self.desk.on_due = lambda: self._bank.append(asyncio.get_running_loop().create_task(self.settle(verdict)))

    async def close(self) -> None:
        """Wait for whatever is under way."""
        while self._bank:
            await self._bank.pop()
        await self.desk.drain()

    # --- what can be seen in the books ---

    async def balances(self, merchant: Merchant, currency: str = "RUB") -> dict[str, str]:
        """Amounts by account, without those that are zero."""

        async def read(tx: Transaction) -> list[tuple[str, str, int]]:
            return await merchants.balances(tx, merchant.shard, merchant.merchant_id)

        rows = await self.database.run(read)
        return {account: Money(minor, currency).text() for of, account, minor in rows if of == currency and minor}

    async def payouts(self, merchant: Merchant) -> list[Payout]:
        """All payouts of a merchant, in the order they were made."""

        async def read(tx: Transaction) -> list[Payout]:
            rows = await tx.fetch(
                "SELECT payout_id FROM payouts WHERE shard = $1 AND merchant_id = $2 ORDER BY number",
                merchant.shard,
                merchant.merchant_id,
            )
            ids = [row[0] for row in rows]
            found = await payouts.by_id(tx, merchant.shard, ids)
            return [found[one] for one in ids]

        return await self.database.run(read)

    async def events(self, merchant: Merchant, kind: str) -> int:
        """How many events of a kind a merchant has."""

        async def read(tx: Transaction) -> int:
            count: int = await tx.fetchval(
                "SELECT count(*) FROM events WHERE shard = $1 AND merchant_id = $2 AND kind = $3",
                merchant.shard,
                merchant.merchant_id,
                kind,
            )
            return count

        return await self.database.run(read)


async def build_house(
    database: Database,
    world: World,
    directory: Path,
    *,
    routes: Sequence[Route] = (BANK,),
    fees: Mapping[str, FeeRule] = FEES,
    sizes: Callable[[str, int], None] = lambda operation, size: None,
) -> House:
    """A house on a migrated database; its key file goes into `directory`. `sizes` hears operation and batch length."""
    vault = Vault(Keyring.create(directory / "keys", world.random), world.random)
    installation = await database.run(lambda tx: open_installation(tx, world, b"a key check"))
    desk = Desk(
        database, world, vault, installation.installation_id, routes=tuple(routes), fees=fees, batches=Batches(sizes)
    )
    return House(database, world, vault, desk)
