"""The desk: what doors and workers are given. Lives here: the queues in front of the operations, and drafting a payout.

A door decodes, recognises the merchant, drafts a payout (`Desk.draft`: ids, time, end-to-end base, sealed destination, all
drawn once) and hands it in; a worker claims and records. Everything goes through group commit. Whoever waits for a payout to
become final is told here, in this process at once and from other processes by NOTIFY, with polling behind it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar
from uuid import UUID

from disburse.domain.calendar import NO_CALENDARS, Calendars
from disburse.domain.destinations import Destination, Rail
from disburse.domain.fees import FeeRule, fee
from disburse.domain.identifiers import base_of, payout_id, read_end_to_end_id
from disburse.domain.merchant import Merchant
from disburse.domain.money import Money
from disburse.domain.payout import Payout, PayoutState
from disburse.domain.ports import World
from disburse.domain.refusals import Refusal
from disburse.domain.routing import Facts, Route, Rule, choose
from disburse.operations import attempts, evidence, looking, merchants, payouts, two_steps
from disburse.operations.alerts import tell_frozen, tell_poison
from disburse.operations.attempts import Ask, Claim, Opened, ToAsk
from disburse.operations.bell import Bell
from disburse.operations.evidence import Applied, Heard
from disburse.operations.group_commit import Batches, GroupCommit, in_halves
from disburse.operations.keyed import Keyed
from disburse.operations.looking import Look
from disburse.operations.merchants import TopUp
from disburse.operations.payouts import Act, CreatePayout, Found
from disburse.operations.providers import Providers
from disburse.operations.recognise import TOKEN_LIFE, Recognition
from disburse.operations.routing import Router
from disburse.operations.timely import Timely
from disburse.operations.two_steps import ExecuteAgain, Remember, Remembered
from disburse.operations.witness import Witness, Word
from disburse.storage import payouts as stored
from disburse.storage.database import Database, Hope, StoreUnavailable, Transaction
from disburse.storage.merchants import drop_tokens, highest_bucket
from disburse.storage.vault import SealBroken, Vault

__all__ = ["Batches", "Bell", "Desk", "SealBroken", "StoreUnavailable"]

C = TypeVar("C")
K = TypeVar("K")
R = TypeVar("R")

PutOff = Callable[[Transaction, int, Sequence[tuple[UUID, int, datetime]]], Awaitable[None]]

SURFACE = "own"  # so the payouts of REST, registries and the console, and their references, stand in the books (design, section 3)

DUE, FINAL = "disburse_due", "disburse_final"
"""NOTIFY channels: an attempt became due; a payout became final. Hints only."""


def content_of(payee: bytes, amount: Money) -> bytes:
    """What a payout's fingerprint is taken over: the same for every door, so that a reference means the same at each."""
    return b"%s\n%d %s" % (payee, amount.minor, amount.currency.encode())


class Desk:
    """Operations behind their queues. One per process; made by `disburse.wiring`."""

    def __init__(
        self,
        database: Database,
        world: World,
        vault: Vault,
        installation: UUID,
        *,
        routes: Sequence[Route],
        fees: Mapping[str, FeeRule],
        batches: Batches,
        token_life: timedelta = TOKEN_LIFE,
        rules: Sequence[Rule] = (),
        providers: Providers | None = None,
        absence: Mapping[str, float] = {},
        calendars: Calendars = NO_CALENDARS,
    ) -> None:
        self.database = database
        self.world = world
        self.vault = vault
        self.installation = installation
        self.routes = routes
        self.rules = rules
        self.providers = providers if providers is not None else Providers(database, world.clock, {})
        self.fees = fees
        self.absence = absence
        self.calendars, self.largest = calendars, batches.largest
        self.witness = Witness(database, world, installation)
        self.recognition = Recognition(database, world, token_life=token_life)
        self.time = self.recognition.time
        self.finals: Bell[UUID] = Bell()
        self.news: Bell[tuple[int, int]] = Bell()
        self.on_due: Callable[[], None] = _nobody
        self.on_final: Callable[[], None] = _nobody
        self.on_written: Callable[[], None] = _nobody
        self.on_applied: Callable[[str, Applied], None] = lambda connector, applied: None
        self.on_alert: Callable[[str, str], None] = lambda connector, alert: None
        queue = partial(batches.before, database, world.clock)
        self._create: GroupCommit[CreatePayout, Found | Refusal] = queue("create", payouts.create, hopeful=True)
        self._execute: GroupCommit[Act, Payout | Refusal] = queue("execute", payouts.execute, hopeful=True)
        # Apart, so that merchants with limits do not take the hopeful way from the others.
        self._create_ruled: GroupCommit[CreatePayout, Found | Refusal] = queue("create", payouts.create)
        self._execute_ruled: GroupCommit[Act, Payout | Refusal] = queue("execute", payouts.execute)
        self._cancel: GroupCommit[Act, Payout | Refusal] = queue("cancel", payouts.cancel)
        self._look: GroupCommit[Look, Found | Refusal] = queue("look", looking.look)
        self._look_again: GroupCommit[Look, Found | Refusal] = queue("look_again", looking.look_again)
        self._look_by_id: GroupCommit[Act, Payout | Refusal] = queue("look_by_id", looking.look_by_id)
        self._record: GroupCommit[Heard, Applied] = queue("record", self._record_heard, hopeful=True)
        self._top_up: GroupCommit[TopUp, bool | Refusal] = queue("top_up", merchants.top_up)
        self._remember: GroupCommit[Remember, Remembered] = queue("remember", two_steps.remember)
        self.timely = Timely(database, world.clock, calendars, lambda: self.on_due(), tell_poison)
        self.keyed = Keyed(batches, database, world.clock, lambda: self.on_due())
        self._claim_hope = Hope()

    def draft(
        self,
        merchant: Merchant,
        destination: Destination,
        amount: Money,
        *,
        surface: str,
        reference: str | None,
        amount_text: str,
        execute: bool,
        actor: str,
        comment: str | None = None,
        sandbox_only: bool = False,
        execute_at: datetime | None = None,
    ) -> CreatePayout:
        """A payout ready to be made: everything drawn, derived and sealed, once."""
        at = self.world.clock.now()
        identifier = payout_id(merchant.shard, at, self.world.random.bytes(10))
        number, rail = merchant.merchant_id, str(destination.rail)
        payee = destination.fingerprint_text()
        return CreatePayout(
            payout_id=identifier,
            merchant_id=number,
            surface=surface,
            reference=reference,
            base=self.base(merchant, surface, reference, identifier),
            fingerprint=self.vault.fingerprint(content_of(payee, amount), number),
            rail=rail,
            amount=amount,
            fee=fee(merchant.fee_rule(rail, self.fees), amount),
            amount_text=amount_text,
            display=destination.display(),
            destination_digest=self.vault.fingerprint(payee, number),
            sealed=self.vault.seal(destination.to_bytes(), merchant_id=number, payout_id=identifier.bytes),
            at=at,
            actor=actor,
            execute=execute,
            comment=comment,
            sandbox_only=sandbox_only,
            execute_at=self.calendars.time_for(rail, execute_at, self.time.now()) if execute else execute_at,
        )

    def base(self, merchant: Merchant, surface: str, reference: str | None, identifier: UUID) -> str:
        """The obligation's part of every end-to-end id of a payout."""
        return base_of(merchant.shard, self.installation, merchant.merchant_id, surface, reference, identifier)

    def has_route(self, rail: str, currency: str, *, sandbox_only: bool = False) -> bool:
        return choose(self.routes, rail, currency, sandbox_only=sandbox_only) is not None

    async def create(self, merchant: Merchant, command: CreatePayout, *, deadline: float | None = None) -> Found | Refusal:
        """Make a payout, or find the one its reference has. Returns once that is committed."""
        queue = self._create_ruled if merchant.ruled else self._create
        result = await queue.submit(merchant.shard, command, deadline=deadline, key=command.base)
        if command.execute and isinstance(result, Found) and result.fresh:
            self.on_due()
        return result

    def is_creating(self, base: str) -> bool:
        """Whether a create command for this obligation waits for its commit in this process."""
        return self._create.is_waiting(base) or self._create_ruled.is_waiting(base)

    @property
    def callers_wait(self) -> bool:
        return self._create.depth > 0 or self.keyed.depth > 0

    async def execute(self, merchant: Merchant, act: Act, *, deadline: float | None = None) -> Payout | Refusal:
        result = await (self._execute_ruled if merchant.ruled else self._execute).submit(merchant.shard, act, deadline=deadline)
        self.on_due()
        return result

    async def cancel(self, merchant: Merchant, act: Act, *, deadline: float | None = None) -> Payout | Refusal:
        return await self._cancel.submit(merchant.shard, act, deadline=deadline)

    async def look(self, merchant: Merchant, base: str, *, deadline: float | None = None) -> Found | Refusal:
        return await self._look.submit(merchant.shard, Look(base, merchant.merchant_id), deadline=deadline)

    async def look_again(self, merchant: Merchant, base: str, *, deadline: float | None = None) -> Found | Refusal:
        """As `look`, once no transaction of any process that might make this payout is under way: then "none" is true."""
        return await self._look_again.submit(merchant.shard, Look(base, merchant.merchant_id), deadline=deadline)

    async def look_by_id(self, merchant: Merchant, act: Act, *, deadline: float | None = None) -> Payout | Refusal:
        return await self._look_by_id.submit(merchant.shard, act, deadline=deadline)

    async def top_up(self, merchant: Merchant, command: TopUp) -> bool | Refusal:
        return await self._top_up.submit(merchant.shard, command)

    def act(self, merchant: Merchant, payout: UUID, actor: str) -> Act:
        return Act(payout, merchant.merchant_id, self.world.clock.now(), actor, self.calendars)

    async def claim(self, shard: int, claims: Sequence[Claim]) -> list[Opened | None]:
        """Open attempts for one owner: a list is a transaction. One that breaks it is left alone for ten minutes."""

        async def work(some: Sequence[Claim]) -> list[Opened | None]:
            router = self.router(self.providers.facts())
            opened = await self.database.run(
                lambda tx: attempts.claim(tx, shard, some, routes=self.routes, router=router), hope=self._claim_hope
            )
            self.providers.used(router.wanted, opened)
            return opened

        async def alone(one: Claim, fault: Exception) -> None:
            await self._rest("claim", shard, one.payout_id, one.number, fault, stored.postpone)

        return await in_halves(claims, work, alone)

    def router(self, facts: Facts | None = None) -> Router:
        """The routes and rules as they are now, with what stands against a provider."""
        return Router(self.routes, self.rules, facts, self._bank_of)

    def _bank_of(self, payout: Payout) -> str | None:
        try:
            return self.open_destination(payout).bank if payout.rail == Rail.SBP else None
        except SealBroken:
            return None  # whoever is to send it finds the same, and says so

    async def _record_heard(self, tx: Transaction, shard: int, messages: Sequence[Heard]) -> list[Applied]:
        return await evidence.record(tx, shard, messages, routes=self.routes, router=self.router(), absence=self.absence)

    async def take_questions(self, shard: int, asks: Sequence[Ask]) -> list[ToAsk | None]:
        """Take questions; one that breaks the list is put again in ten minutes."""

        async def work(some: Sequence[Ask]) -> list[ToAsk | None]:
            return await self.database.run(lambda tx: attempts.take_questions(tx, shard, some))

        async def alone(one: Ask, fault: Exception) -> None:
            await self._rest("ask", shard, one.payout_id, one.number, fault, stored.set_questions)

        return await in_halves(asks, work, alone)

    async def expire(self, shard: int, acts: Sequence[Act]) -> list[Payout | Refusal]:
        """Expire what nobody executed; one that breaks the list is looked at again in ten minutes."""

        async def work(some: Sequence[Act]) -> list[Payout | Refusal]:
            return await self.database.run(lambda tx: payouts.expire(tx, shard, some))

        async def alone(one: Act, fault: Exception) -> Payout | Refusal:
            await self._rest("expire", shard, one.payout_id, 0, fault, _expire_later)
            return payouts.NoSuchPayout()

        return await in_halves(acts, work, alone)

    async def _rest(
        self, what: str, shard: int, payout: UUID, number: int, fault: Exception, put_off: PutOff
    ) -> None:
        """Let an attempt rest that no list can be done with, and say so: a person has to look at it."""
        tell_poison(what, payout, fault)

        async def work(tx: Transaction) -> None:
            await put_off(tx, shard, [(payout, number, await tx.database_now() + attempts.FROZEN_REST)])

        await self.database.run(work)

    async def due(self, shard: int, limit: int) -> list[stored.Claimable]:
        """Attempts that may be claimed now, as they stand."""
        return await self.database.ask(lambda tx: stored.due(tx, shard, limit))

    async def questions_due(self, shard: int, limit: int) -> list[stored.QuestionDue]:
        """Attempts whose next question is due, by the database's clock."""

        async def work(tx: Transaction) -> list[stored.QuestionDue]:
            return await stored.to_ask(tx, shard, await tx.database_now(), limit)

        return await self.database.ask(work)

    async def expiries_due(self, shard: int, limit: int) -> list[tuple[UUID, int]]:
        """Payouts (with their merchants) that nobody executed in time, by the database's clock."""

        async def work(tx: Transaction) -> list[tuple[UUID, int]]:
            return await stored.to_expire(tx, shard, await tx.database_now(), limit)

        return await self.database.ask(work)

    async def states(self, shard: int, which: Sequence[UUID]) -> list[Payout]:
        """These payouts as they stand."""
        found = await self.database.ask(lambda tx: stored.by_id(tx, shard, which))
        return list(found.values())

    async def worker_seen(self, worker_id: str) -> bool:
        """Say that a worker lives; False while the database is none to work on (`witness.py`)."""
        return await self.witness.beat(worker_id) in (Word.SAME, Word.VOUCHED)

    async def highest_bucket(self) -> int:
        """The highest bucket in use."""
        return await self.database.ask(highest_bucket)

    async def forget_tokens(self) -> None:
        """Forget user tokens that ended more than a day ago."""

        async def work(tx: Transaction) -> None:
            await drop_tokens(tx, await tx.database_now() - timedelta(days=1))

        await self.database.run(work)

    def open_destination(self, payout: Payout) -> Destination:
        """Where the money goes, in clear: for the worker that sends. Raises SealBroken."""
        plain = self.vault.open(payout.sealed, merchant_id=payout.merchant_id, payout_id=payout.payout_id.bytes)
        return Destination.from_bytes(plain)

    async def hear(self, message: Heard) -> Applied:
        """Store and apply what a provider said. Returns once it is committed."""
        parts = read_end_to_end_id(message.end_to_end_id)
        applied = await self._record.submit(parts[0] if parts else 0, message)
        self.on_applied(message.connector, applied)
        if applied.contradicts:
            tell_frozen(message, applied)
        if applied.payout is not None:
            if applied.payout.final:
                self.finals.ring(applied.payout.payout_id)
                self.on_final()
            elif applied.effect == "queued":
                self.on_due()
        return applied

    async def remember(self, shard: int, command: Remember) -> bool:
        """Store a provider's reference with an open attempt before it is executed; False: do not execute. True is committed."""
        remembered = await self._remember.submit(shard, command)
        if remembered is Remembered.ANOTHERS:
            two_steps.tell_anothers(command)
            self.on_alert(command.connector, two_steps.ALERT)
        return remembered is Remembered.KEPT

    async def execute_again(self, shard: int, command: ExecuteAgain) -> bool:
        """Whether a remembered operation may be executed once more; True is committed."""
        return (await self.database.run(lambda tx: two_steps.execute_again(tx, shard, [command])))[0]

    async def create_and_wait(
        self, merchant: Merchant, command: CreatePayout, *, deadline: float, wait_s: float, until: float
    ) -> Found | Refusal:
        """Make and execute a payout and wait up to `wait_s` for its end: as it stands then, committed in either case.

        A known reference is answered at once. `deadline` (monotonic) bounds the beginning of the create command only,
        `until` the waiting: what is committed by then is told, even if its end cannot be.
        """
        if wait_s <= 0:
            return await self.create(merchant, command, deadline=deadline)
        ring = self.finals.enter(command.payout_id)  # before the payout exists, so that its end cannot be missed
        try:
            made = await self.create(merchant, command, deadline=deadline)
            if not isinstance(made, Found) or not made.fresh or made.payout.state is not PayoutState.QUEUED:
                return made
            seconds = max(min(wait_s, until - self.world.clock.monotonic()), 0)
            return await self._see_its_end(merchant, command.base, ring, seconds) or made
        finally:
            self.finals.leave(command.payout_id, ring)

    async def _see_its_end(
        self, merchant: Merchant, base: str, ring: asyncio.Future[None], seconds: float
    ) -> Found | None:
        """The payout once it is final; None when it is not in time, as far as this process has heard."""
        try:
            async with self.world.clock.timeout(seconds):
                await ring
                now = await self.look(merchant, base)
        except (TimeoutError, StoreUnavailable):
            return None
        return now if isinstance(now, Found) else None

    async def drain(self) -> None:
        """Wait until everything handed in was answered."""
        queues: list[Callable[[], Awaitable[None]]] = [
            self._create.drain, self._create_ruled.drain, self._execute.drain, self._execute_ruled.drain, self._cancel.drain, self._record.drain, self._top_up.drain,
            self._remember.drain, self.keyed.drain,
        ]  # fmt: skip
        for drain in queues:
            await drain()


async def _expire_later(tx: Transaction, shard: int, times: Sequence[tuple[UUID, int, datetime]]) -> None:
    await stored.settle_expiries(tx, shard, [], [(payout, at) for payout, _, at in times])


def _nobody() -> None:
    """Nobody to wake."""
