"""A provider and worker processes for the workers' tests: honest, small, and stopped wherever a test wants.

Lives here: `Provider`, whose book is the truth that ours is compared with, and `Process`, one worker process on the test's
database, which can be killed at any point. Time is a FakeClock's in the workers and the database's own in the database.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from disburse.connectors.contract import Bank, Callback, Capabilities, Hear, Order, Question
from disburse.domain.destinations import Rail, read_card
from disburse.domain.identifiers import read_end_to_end_id
from disburse.domain.merchant import Merchant
from disburse.domain.money import Money
from disburse.domain.outcomes import Absent, Accepted, Finding, NotSent, Outcome, Rejected, Settled, Unknown
from disburse.domain.payout import FINAL, Payout
from disburse.domain.ports import World
from disburse.operations.desk import Batches, Desk
from disburse.operations.installation import open_installation
from disburse.operations.merchants import add_merchant, draw_top_up
from disburse.operations.payouts import Found
from disburse.operations.verify import verify
from disburse.protocols.wire import WireRequest
from disburse.storage.database import Database
from disburse.storage.keyring import Keyring
from disburse.storage.vault import Vault
from disburse.wiring import route_of
from disburse.workers.inquirer import Inquirer, InquirerLimits
from disburse.workers.sender import Sender, SenderLimits
from tests.clock import FakeClock

CARD = read_card("4111111111111111", luhn=True)
INSTALLATION = UUID("00000000-0000-7000-8000-000000000002")
PATIENCE_S = 180.0

PAY, PAY_SILENTLY, TAKE, REFUSE, SHORT, LOSE, CLOSED, BREAK = 0, 11, 22, 33, 44, 55, 66, 77
"""What the last two digits of an amount ask the provider to do; `Provider.submit` says what each is."""
FATES = (PAY, PAY_SILENTLY, TAKE, REFUSE, SHORT, LOSE, CLOSED, BREAK)


class Provider:
    """Pays whatever it is sent, as often as it is sent. Keeps a book; asked about an id it does not know, it never will pay it."""

    def __init__(self, name: str = "bank") -> None:
        self.name = name
        self.capabilities = Capabilities(frozenset({Rail.CARD}), frozenset({"RUB"}), not_found_final_after_s=0)
        self.calls: list[str] = []
        self.paid: list[tuple[str, int]] = []
        self.refused: set[str] = set()
        self.absent: set[str] = set()
        self.door = asyncio.Event()
        self.exit = asyncio.Event()
        self.door.set()
        self.exit.set()
        self.inside = self.most = self.asked = 0
        self.deaf = self.closed = False

    async def start(self, hear: Hear) -> None:
        """It never calls back."""

    async def stop(self) -> None:
        """Nothing runs."""

    async def submit(self, order: Order) -> Outcome:
        """The order goes in by the door, is carried out, and its answer leaves by the exit: a test may close either."""
        self.calls.append(order.end_to_end_id)
        self.inside += 1
        self.most = max(self.most, self.inside)
        try:
            await self.door.wait()
            outcome = self._carry_out(order)
            await self.exit.wait()
            if isinstance(outcome, Exception):
                raise outcome
            return outcome
        finally:
            self.inside -= 1

    def _carry_out(self, order: Order) -> Outcome | Exception:
        identifier, minor = order.end_to_end_id, order.amount.minor
        if self.closed:
            return NotSent("connection refused")
        if identifier in self.absent:
            return Rejected("withdrawn")
        first = identifier.endswith("-1")
        match minor % 100:
            case 33:
                self.refused.add(identifier)
                return Rejected("card closed")
            case 44 if first:
                self.refused.add(identifier)
                return Rejected("no money here", elsewhere=True)
            case 55 if first:
                return Unknown("never arrived")
            case 66 if first:
                return NotSent("connection refused")
        self.paid.append((identifier, minor))
        match minor % 100:
            case 11:
                return Unknown("the answer was lost")
            case 22:
                return Accepted(f"ref-{identifier}")
            case 77:
                return RuntimeError("a bug in the connector")
        return Settled(f"ref-{identifier}")

    async def inquire(self, question: Question) -> Finding:
        self.asked += 1
        if self.deaf:
            raise ConnectionError("nobody answers")
        identifier = question.end_to_end_id
        if identifier in [one for one, _ in self.paid]:
            return Settled(f"ref-{identifier}")
        if identifier in self.refused:
            return Rejected("card closed")
        self.absent.add(identifier)
        return Absent()

    async def read_callback(self, request: WireRequest, deadline_s: float) -> Callback | None:
        return None

    async def balance(self, deadline_s: float) -> tuple[Money, ...] | Unknown:
        return Unknown("it has no end of money")

    async def banks(self, deadline_s: float) -> tuple[Bank, ...] | Unknown:
        return Unknown("it keeps no list")

    def paid_bases(self) -> Counter[tuple[str, int]]:
        """How often each obligation was paid, whatever the attempt."""
        return Counter((_base(identifier), minor) for identifier, minor in self.paid)


def _base(identifier: str) -> str:
    parts = read_end_to_end_id(identifier)
    assert parts is not None
    return parts[1]


class Town:
    """The test's database with one merchant in it, a clock, and providers: what outlives a process."""

    def __init__(self, database: Database, world: World, directory: Path, providers: Sequence[Provider]) -> None:
        self.database = database
        self.clock = FakeClock(world.clock.now())
        self.world = World(self.clock, world.random)
        self.vault = Vault(Keyring.create(directory / "keys", world.random), world.random)
        self.providers = {provider.name: provider for provider in providers}
        self.merchant: Merchant
        self.processes: list[Process] = []

    async def settle_in(self) -> Town:
        """Make the installation and its merchant, with money."""
        await self.database.run(lambda tx: open_installation(tx, self.world, b"key check"))
        made = await add_merchant(self.database, self.world, self.vault, name="m", login="m@example.com", actor="test")
        self.merchant = made.merchant
        money = Money(10**9, "RUB")
        await self.desk().top_up(self.merchant, draw_top_up(self.world, self.merchant, money, actor="test"))
        return self

    def desk(self, database: Database | None = None, *, kind: type[Desk] = Desk) -> Desk:
        """A process's desk."""
        return kind(
            database or self.database, self.world, self.vault, INSTALLATION, fees={}, batches=Batches(_nothing),
            routes=[route_of(provider) for provider in self.providers.values()],
        )  # fmt: skip

    async def pay(self, *fates: int) -> list[Payout]:
        """Payouts made and queued, one for each fate; the amounts differ."""
        desk, made = self.desk(), []
        drafts = [
            desk.draft(
                self.merchant, CARD, Money(1000 + n * 100 + fate, "RUB"), surface="own", reference=None, amount_text="x",
                execute=True, actor="test",
            )
            for n, fate in enumerate(fates)
        ]  # fmt: skip
        for found in await asyncio.gather(*[desk.create(self.merchant, draft) for draft in drafts]):
            assert isinstance(found, Found)
            made.append(found.payout)
        return made

    # --- what is seen ---

    async def rows(self, sql: str, *values: Any) -> list[Any]:
        return await self.database.run(lambda tx: tx.fetch(sql, *values))

    async def states(self) -> Counter[str]:
        return Counter(row[0] for row in await self.rows("SELECT state FROM payouts"))

    async def attempts(self, payout: Payout) -> list[str]:
        rows = await self.rows("SELECT state FROM attempts WHERE payout_id = $1 ORDER BY number", payout.payout_id)
        return [row[0] for row in rows]

    async def balances(self) -> dict[str, int]:
        rows = await self.rows("SELECT account, balance_minor FROM balances WHERE balance_minor <> 0")
        return {row[0]: row[1] for row in rows}

    # --- time ---

    async def lapse(self) -> None:
        """Every lease ran out a second ago, and every next question is due, by the database's clock."""
        await self.rows(
            """UPDATE attempts SET ask_at = clock_timestamp() - interval '1 s',
                   lease_until = least(lease_until, clock_timestamp() - interval '1 s')
               WHERE shard = 0 AND state IN ('open', 'accepted', 'unknown') RETURNING 1"""
        )

    async def until(self, done: Callable[[], Awaitable[bool]], *, step_s: float = 0.02) -> None:
        """Let time pass in the workers, and for what rests or is in doubt in the database (not for leases), until so it is. Questions are due.

        A step is small beside a lease: the database works in real time, and a busy machine is slow.
        """
        async with asyncio.timeout(PATIENCE_S):
            while not await done():
                for process in self.processes:
                    process.check()
                await self.rows(
                    """UPDATE attempts SET ask_at = least(ask_at, clock_timestamp()), due_at = due_at - $1::interval, doubt_since = doubt_since - $1::interval
                       WHERE shard = 0 AND state IN ('due', 'accepted', 'unknown') RETURNING 1""",
                    timedelta(seconds=step_s),
                )
                await self.clock.advance(step_s)

    async def all_final(self) -> bool:
        return not set(await self.states()) - {str(state) for state in FINAL}

    async def agrees(self) -> None:
        """Our books and the providers' are the same, line by line; nothing is paid twice or left under way; `verify` holds."""
        told: Counter[tuple[str, int]] = Counter()
        for provider in self.providers.values():
            told += provider.paid_bases()
        assert max(told.values(), default=1) == 1, "paid twice"
        rows = await self.rows("SELECT base, amount_minor FROM payouts WHERE state = 'paid' AND frozen IS NULL")
        assert Counter((row[0], row[1]) for row in rows) == told
        paid = sum(minor for _, minor in told)
        balances = await self.balances()
        assert sum(minor for account, minor in balances.items() if account.startswith("paid:")) == paid
        rest = {account: minor for account, minor in balances.items() if not account.startswith("paid:")}
        assert rest == {"funding": -(10**9), "available": 10**9 - paid}
        report = await verify(self.database)
        assert report.holds, report.findings


def _nothing(*_: Any) -> None:
    """Nobody counts."""


class Process:
    """One worker process: its own desk and loops, as the town's providers see them. `crash` is kill -9."""

    def __init__(
        self, town: Town, name: str, *, desk: Desk | None = None, database: Database | None = None, sends: bool = True,
        asks: bool = True, window: int = 1000, batch: int = 500,
    ) -> None:  # fmt: skip
        self.town = town
        self.desk = desk or town.desk(database)
        connectors = dict(town.providers)
        self.sender = Sender(self.desk, connectors, town.world, name, limits=SenderLimits(window=window, batch=batch))
        self.inquirer = Inquirer(self.desk, connectors, town.world, name, limits=InquirerLimits())
        self.desk.on_due = self.sender.pace.wake
        self._wanted = (sends, asks)
        self._before: set[asyncio.Task[Any]] = set()
        self.tasks: list[asyncio.Task[None]] = []

    def start(self) -> Process:
        self._before = set(asyncio.all_tasks())
        sends, asks = self._wanted
        loops = ([self.sender.run()] if sends else []) + ([self.inquirer.run()] if asks else [])
        self.tasks = [asyncio.create_task(loop) for loop in loops]
        self.town.processes.append(self)
        return self

    async def crash(self) -> None:
        """Everything that began since the start ends where it stands; the next line does not run."""
        self.town.processes.remove(self)
        doomed = [task for task in asyncio.all_tasks() if task not in self._before and task is not asyncio.current_task()]
        for task in doomed:
            task.cancel()
        await asyncio.gather(*doomed, return_exceptions=True)

    async def stop(self) -> None:
        """An orderly end: claim nothing more, finish what is under way."""
        self.check()
        self.town.processes.remove(self)
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.sender.finish()

    def check(self) -> None:
        """No loop has ended by itself."""
        for task in self.tasks:
            if task.done():
                task.result()
                raise AssertionError("a loop ended")
