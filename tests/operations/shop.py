"""A small shop of real operations for tests: merchants with money, commands drawn as the desk draws them, rows read back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

from disburse.domain.attempt import Attempt
from disburse.domain.identifiers import base_of, payout_id
from disburse.domain.ledger import top_up
from disburse.domain.money import Money
from disburse.domain.outcomes import Settled, Verdict
from disburse.domain.payout import Payout
from disburse.domain.ports import World
from disburse.domain.routing import Route
from disburse.operations import attempts, evidence, payouts, two_steps
from disburse.operations.attempts import Ask, Claim, Opened, ToAsk
from disburse.operations.evidence import Applied, Heard
from disburse.operations.once import Once
from disburse.operations.payouts import Act, CreatePayout, Found
from disburse.operations.two_steps import Remember, Remembered
from disburse.storage import payouts as stored
from disburse.storage.database import Database, Hope, Transaction
from disburse.storage.unit import Unit
from tests.clock import Told

T = TypeVar("T")

INSTALLATION = UUID("00000000-0000-7000-8000-000000000001")
SANDBOX = Route("sandbox", frozenset({"card", "sbp"}), frozenset({"RUB"}), sandbox=True)
OTHER = Route("other", frozenset({"card"}), frozenset({"RUB"}))


class Shop:
    """Operations on one bucket, each call a transaction of its own; `hopeful`: as doors and workers run them, else carefully.

    `off`: by how much the database's clock is ahead of the true one.
    """

    def __init__(
        self, database: Database, world: World, *, shard: int = 0, routes: Sequence[Route] = (SANDBOX,), hopeful: bool = False
    ) -> None:
        self.database, self.world, self.shard, self.routes = database, world, shard, list(routes)
        self.hopeful = hopeful
        self.two_step = False  # whether what is heard comes from a two-step provider
        self.off = timedelta()

    async def write(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        """Run a writing operation in a transaction."""
        return await self.run(work, hope=Hope() if self.hopeful else None)

    async def run(self, work: Callable[[Transaction], Awaitable[T]], *, hope: Hope | None = None) -> T:
        """Run a transaction, by the clock that the database has in this shop."""

        async def told(tx: Transaction) -> T:
            if self.off:
                tx.connection = Told(tx.connection, lambda: self.now() + self.off)
            return await work(tx)

        return await self.database.run(told, hope=hope)

    def now(self) -> datetime:
        return self.world.clock.now()

    def new_id(self) -> UUID:
        return payout_id(self.shard, self.now(), self.world.random.bytes(10))

    async def merchant(self, number: int, money: int = 0, currency: str = "RUB") -> int:
        async def work(tx: Transaction) -> None:
            await tx.execute("INSERT INTO merchants (shard, merchant_id) VALUES ($1, $2)", self.shard, number)
            unit = await Unit.lock(tx, self.shard, [number])
            if money:
                unit.post([top_up(number, currency, money, self.new_id())], self.now(), "test")
            await unit.write()

        await self.run(work)
        return number

    def draft(
        self, merchant: int, reference: str | None, amount: int = 1000, *, fee: int = 0, execute: bool = True,
        content: bytes = b"content", rail: str = "card", surface: str = "unitpay", currency: str = "RUB",
    ) -> CreatePayout:  # fmt: skip
        identifier = self.new_id()
        return CreatePayout(
            payout_id=identifier, merchant_id=merchant, surface=surface, reference=reference,
            base=base_of(self.shard, INSTALLATION, merchant, surface, reference, identifier),
            fingerprint=content + str(amount).encode(), rail=rail, amount=Money(amount, currency), fee=Money(fee, currency),
            amount_text=Money(amount, currency).text(), display="411111******1111", destination_digest=b"payee",
            sealed=b"sealed", at=self.now(), actor="merchant:test", execute=execute,
        )  # fmt: skip

    async def create(self, *commands: CreatePayout) -> list[Any]:
        return await self.write(lambda tx: payouts.create(tx, self.shard, commands))

    async def paid_out(self, merchant: int, reference: str | None = None, amount: int = 1000, **more: Any) -> Payout:
        """A payout made and queued."""
        found = (await self.create(self.draft(merchant, reference or str(self.new_id()), amount, **more)))[0]
        assert isinstance(found, Found), found
        return found.payout

    def act(self, payout: Payout, *, at: datetime | None = None, merchant: int | None = None) -> Act:
        return Act(payout.payout_id, merchant or payout.merchant_id, at or self.now(), "merchant:test")

    async def execute(self, *acts: Act) -> list[Any]:
        return await self.write(lambda tx: payouts.execute(tx, self.shard, acts))

    async def cancel(self, *acts: Act) -> list[Any]:
        return await self.run(lambda tx: payouts.cancel(tx, self.shard, acts))

    async def expire(self, *acts: Act) -> list[Any]:
        return await self.run(lambda tx: payouts.expire(tx, self.shard, acts))

    async def claim(self, payout: Payout, number: int = 1, *, owner: str = "worker-a", lease_s: float = 30) -> Opened | None:
        one = Claim(payout.payout_id, number, payout.merchant_id, owner, lease_s, self.now())
        return (await self.write(lambda tx: attempts.claim(tx, self.shard, [one], routes=self.routes)))[0]

    async def opened(self, payout: Payout, number: int = 1) -> Opened:
        opened = await self.claim(payout, number)
        assert opened is not None
        return opened

    def message(self, opened: Opened, verdict: Verdict, *, kind: str = "answer", content: str = "") -> Heard:
        payout = opened.payout
        where = (payout.payout_id, opened.attempt, payout.merchant_id)
        sent = Once((payout, opened.row)) if kind == "answer" else None
        at = opened.row.opened_at if kind == "answer" else None
        return Heard(
            opened.connector, opened.end_to_end_id, kind, verdict, self.now(), "worker:test", content, where, sent=sent, opened_at=at,
            two_step=self.two_step,
        )  # fmt: skip

    async def hear(self, *messages: Heard) -> list[Applied]:
        return await self.write(lambda tx: evidence.record(tx, self.shard, messages, routes=self.routes))

    async def hear_of(self, opened: Opened, verdict: Verdict, **more: Any) -> Applied:
        return (await self.hear(self.message(opened, verdict, **more)))[0]

    async def settled(self, merchant: int, amount: int = 1000, *, fee: int = 0) -> Payout:
        """A payout paid through the sandbox."""
        payout = await self.paid_out(merchant, amount=amount, fee=fee)
        await self.hear_of(await self.opened(payout), Settled("p"))
        return await self.read(payout)

    def remembering(
        self, opened: Opened, reference: str, *, owner: str = "worker-a", epoch: int | None = None
    ) -> Remember:
        """The command that keeps the id of an operation with an attempt."""
        payout = opened.payout
        return Remember(
            payout.payout_id, opened.attempt, payout.merchant_id, opened.connector, opened.end_to_end_id, owner,
            opened.epoch if epoch is None else epoch, reference, self.now(), f"worker:{owner}",
        )  # fmt: skip

    async def remember(self, *commands: Remember) -> list[Remembered]:
        return await self.run(lambda tx: two_steps.remember(tx, self.shard, commands))

    async def ask(self, payout: Payout, number: int = 1, *, jitter: float = 1.0) -> ToAsk | None:
        """Take an attempt's next question."""
        one = Ask(payout.payout_id, number, payout.merchant_id, jitter)
        return (await self.run(lambda tx: attempts.take_questions(tx, self.shard, [one])))[0]

    async def due(self, limit: int = 500) -> list[tuple[UUID, int, int]]:
        found = await self.run(lambda tx: stored.due(tx, self.shard, limit))
        return [(one.payout.payout_id, one.attempt.number, one.payout.merchant_id) for one in found]

    async def run_twice(self, work: Callable[[Transaction], Awaitable[T]]) -> tuple[T, T]:
        """An unknown commit: the work is committed, nobody hears of it, and it runs again. Both results, in order."""
        results: list[T] = []

        async def work_and_break(tx: Transaction) -> T:
            results.append(await work(tx))
            if not tx.rerun:
                await tx.execute("COMMIT")
                raise ConnectionResetError("the answer to COMMIT did not come")
            return results[-1]

        await self.run(work_and_break)
        first, second = results
        return first, second

    async def lapse(self, payout: Payout, number: int = 1) -> None:
        """Let the owner's lease have run out a second ago, by the database's clock."""
        await self.rows(
            """UPDATE attempts SET lease_until = clock_timestamp() - interval '1 s', ask_at = clock_timestamp() - interval '1 s'
               WHERE shard = $1 AND payout_id = $2 AND number = $3 AND state = 'open' RETURNING 1""",
            self.shard, payout.payout_id, number,
        )  # fmt: skip

    async def ask_now(self, payout: Payout, number: int = 1) -> None:
        """Let the next question of an attempt be due."""
        await self.rows(
            "UPDATE attempts SET ask_at = clock_timestamp() WHERE shard = $1 AND payout_id = $2 AND number = $3 RETURNING 1",
            self.shard, payout.payout_id, number,
        )  # fmt: skip

    async def attempt(self, payout: Payout, number: int = 1) -> Attempt:
        """One attempt as it stands."""
        found = await self.run(lambda tx: stored.attempts_of(tx, self.shard, payout.payout_id))
        return found[number - 1]

    async def database_now(self) -> datetime:
        return await self.run(lambda tx: tx.database_now())

    async def read(self, payout: Payout) -> Payout:
        return (await self.run(lambda tx: stored.by_id(tx, self.shard, [payout.payout_id])))[payout.payout_id]

    async def attempts(self, payout: Payout) -> list[str]:
        found = await self.run(lambda tx: stored.attempts_of(tx, self.shard, payout.payout_id))
        return [str(attempt.state) for attempt in found]

    async def balances(self, merchant: int) -> dict[str, int]:
        """Every account of a merchant that is not empty, in minor units."""
        rows = await self.rows("SELECT account, balance_minor FROM balances WHERE merchant_id = $1 ORDER BY 1", merchant)
        return {row[0]: row[1] for row in rows if row[1]}

    async def events(self, merchant: int) -> list[str]:
        rows = await self.rows("SELECT kind FROM events WHERE merchant_id = $1 ORDER BY number", merchant)
        return [row[0] for row in rows]

    async def rows(self, sql: str, *values: Any) -> list[Any]:
        return await self.run(lambda tx: tx.fetch(sql, *values))
