"""One obligation, one payout, as a state machine: creates that repeat, change, collide, crash and come again, on real PostgreSQL.

The model is a dict from obligation to payout. Payouts of the UnitPay surface have a reference and are executed at once; those
of the IntellectMoney surface have none, and are executed by a call of its own. Bodies are drafted as the doors do it, so that
the same order spelled in another way is the same. A transaction may be rolled back before its end, or be committed and its
answer lost; any command may come again at any later time. How to let it walk for hours is told in `ground.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from disburse.domain.destinations import read_card
from disburse.domain.fees import FeeRule
from disburse.domain.merchant import Merchant
from disburse.domain.money import Money, read_amount
from disburse.domain.outcomes import Rejected, Settled
from disburse.operations import merchants, payouts
from disburse.operations.desk import Batches, Desk
from disburse.operations.merchants import ReferenceReused, add_merchant, draw_top_up
from disburse.operations.payouts import CreatePayout, Found, InsufficientFunds
from disburse.storage.database import Hope, Transaction
from disburse.storage.keyring import Keyring
from disburse.storage.vault import Vault
from tests.machines.ground import Ground, bounds
from tests.operations.shop import OTHER, SANDBOX

T = TypeVar("T")

FEE = 30
SPELLINGS: list[tuple[str, str]] = [  # of one order
    ("4111 1111 1111 1111", "10.00"), ("4111111111111111", "10"), ("4111-1111-1111-1111", "10.0"), ("4111111111111111", "0010.000"),
]  # fmt: skip
OTHERS: list[tuple[str, str]] = [("4111111111111111", "10.01"), ("5555555555554444", "10"), ("4111111111111111", "9")]
BODIES = st.sampled_from(SPELLINGS + OTHERS)
REFERENCES = st.sampled_from(["wage 1", "wage 2", "wage 3", "Wage 1"])
FATES = st.sampled_from(["heard", "heard", "rolled back", "lost", "lost for good"])
ENDED = {"cancel": "cancelled", "settle": "paid", "refuse": "failed"}


class Crash(Exception):
    """The process ended here."""


@dataclass
class Row:
    """One payout as the model knows it."""

    payout_id: UUID
    content: tuple[str, int]
    state: str
    fee: int

    @property
    def cost(self) -> int:
        return self.content[1] + self.fee


@dataclass
class Model:
    """What stands for which obligation, and what is left to spend."""

    rows: dict[str, Row] = field(default_factory=dict)
    told: list[tuple[str, tuple[str, int]]] = field(default_factory=list)
    available: int = 0
    holds: int = 0
    top_ups: dict[str, int] = field(default_factory=dict)

    def create(self, command: CreatePayout, content: tuple[str, int]) -> tuple[Any, ...]:
        row = self.rows.get(command.base)
        if row is None:
            row = Row(command.payout_id, content, "created", command.fee.minor)
            if command.execute and self.available < row.cost:
                return ("short", row.cost, self.available)
            self.rows[command.base] = row
            if command.execute:
                self._hold(row)
        elif row.content != content and (command.base, content) not in self.told:
            self.told.append((command.base, content))
        fresh = row.payout_id == command.payout_id
        return ("found", row.payout_id, fresh, row.content == content, row.state, self.available)

    def execute(self, row: Row) -> str:
        if row.state in ("created", "unfunded"):
            if self.available < row.cost:
                row.state = "unfunded"
            else:
                self._hold(row)
        return row.state

    def end(self, row: Row, how: str) -> None:
        if row.state == "queued":
            row.state = ENDED[how]
            self.available += 0 if how == "settle" else row.cost

    def _hold(self, row: Row) -> None:
        row.state = "queued"
        self.available -= row.cost
        self.holds += 1


class Idempotency(RuleBasedStateMachine):
    """One merchant that repeats itself."""

    def __init__(self, ground: Ground, desk: Desk) -> None:
        super().__init__()
        self.ground, self.desk = ground, desk
        self.model = Model()
        self.sent: list[tuple[CreatePayout, tuple[str, int]]] = []

    @initialize(hopeful=st.booleans(), minor=st.sampled_from([0, 1100, 5000]))
    def begin(self, hopeful: bool, minor: int) -> None:
        self.shop = self.ground.shop(hopeful=hopeful)
        self.merchant = self.ground.run(self._new_merchant())
        if minor:
            self.top_up("first", minor)

    async def _new_merchant(self) -> Merchant:
        login = f"{self.shop.new_id()}@example.com"
        desk = self.desk
        made = await add_merchant(desk.database, desk.world, desk.vault, name="Shop", login=login, actor="test")
        return made.merchant

    # --- how a transaction may end ---

    def _carry_out(self, work: Callable[[Transaction], Awaitable[T]], fate: str) -> T | None:
        """The result, or None where nobody heard of it."""
        try:
            return self.ground.run(self._with_fate(work, fate))
        except Crash:
            return None

    async def _with_fate(self, work: Callable[[Transaction], Awaitable[T]], fate: str) -> T:
        hopeful = self.shop.hopeful and fate != "rolled back"  # a hopeful statement is whole, or is not

        async def doomed(tx: Transaction) -> T:
            result = await work(tx)
            if fate == "heard" or tx.rerun:
                return result
            if fate != "rolled back" and not tx.hopeful:
                await tx.execute("COMMIT")
            if fate == "lost":
                raise ConnectionResetError("the answer to COMMIT did not come")
            raise Crash

        return await self.shop.database.run(doomed, hope=Hope() if hopeful else None)

    # --- creating ---

    def _draft(self, reference: str | None, body: tuple[str, str]) -> tuple[CreatePayout, tuple[str, int]]:
        card, amount = read_card(body[0], luhn=True), read_amount(body[1], "RUB")
        surface = "intellectmoney" if reference is None else "unitpay"
        command = self.desk.draft(
            self.merchant, card, amount, surface=surface, reference=reference, amount_text=body[1],
            execute=reference is not None, actor="merchant:test",
        )  # fmt: skip
        return command, (card.number, amount.minor)

    def _create(self, orders: Sequence[tuple[CreatePayout, tuple[str, int]]], fate: str) -> None:
        self.sent += orders
        commands = [command for command, _ in orders]
        results = self._carry_out(lambda tx: payouts.create(tx, self.merchant.shard, commands), fate)
        if fate == "rolled back":
            assert results is None
            return
        expected = [self.model.create(command, content) for command, content in orders]
        if fate == "lost":  # the run that was heard of found what the first one made and had spent
            expected = [self.model.create(command, content) for command, content in orders]
        if results is not None:
            assert [_said(one) for one in results] == expected

    @rule(reference=REFERENCES, body=BODIES, fate=FATES)
    def create_with_a_reference(self, reference: str, body: tuple[str, str], fate: str) -> None:
        self._create([self._draft(reference, body)], fate)

    @rule(body=BODIES, fate=FATES)
    def create_without_one(self, body: tuple[str, str], fate: str) -> None:
        self._create([self._draft(None, body)], fate)

    @rule(orders=st.lists(st.tuples(st.none() | REFERENCES, BODIES), min_size=2, max_size=4), fate=FATES)
    def create_many(self, orders: list[tuple[str | None, tuple[str, str]]], fate: str) -> None:
        self._create([self._draft(reference, body) for reference, body in orders], fate)

    @precondition(lambda self: self.sent)
    @rule(which=st.integers(0, 30), fate=FATES)
    def replay(self, which: int, fate: str) -> None:
        """The very same command once more, whatever became of it and however much later."""
        self._create([self.sent[which % len(self.sent)]], fate)

    @rule(reference=REFERENCES, first=BODIES, second=BODIES)
    def create_twice_at_once(self, reference: str, first: tuple[str, str], second: tuple[str, str]) -> None:
        """Two connections with one reference: one makes it, if anybody can, and both are told of it."""
        orders = [self._draft(reference, first), self._draft(reference, second)]
        self.sent += orders
        known = orders[0][0].base in self.model.rows

        async def both() -> list[Any]:
            return [one[0] for one in await asyncio.gather(*[self.shop.create(command) for command, _ in orders])]

        results = self.ground.run(both())
        won = next((n for n, one in enumerate(results) if isinstance(one, Found) and one.fresh), None)
        assert known or won is not None or any(isinstance(one, InsufficientFunds) for one in results)
        if known or won is not None:
            for command, content in orders if won != 1 else reversed(orders):
                self.model.create(command, content)
        made = self.model.rows.get(orders[0][0].base)
        found = {one.payout.payout_id for one in results if isinstance(one, Found)}
        assert found <= ({made.payout_id} if made is not None else set())

    # --- what comes after ---

    def _rows(self, states: Sequence[str]) -> list[Row]:
        return [row for row in self.model.rows.values() if row.state in states]

    @precondition(lambda self: self.model.rows)
    @rule(which=st.integers(0, 10), fate=FATES)
    def execute(self, which: int, fate: str) -> None:
        """Execute any payout: one that was executed before comes back as it stands."""
        rows = list(self.model.rows.values())
        row = rows[which % len(rows)]
        act = payouts.Act(row.payout_id, self.merchant.merchant_id, self.shop.now(), "merchant:test")
        results = self._carry_out(lambda tx: payouts.execute(tx, self.merchant.shard, [act]), fate)
        if fate != "rolled back":
            state = self.model.execute(row)
            assert results is None or [str(one.state) for one in results] == [state]  # type: ignore[union-attr]

    @precondition(lambda self: self._rows(["queued"]))
    @rule(which=st.integers(0, 10), how=st.sampled_from(list(ENDED)))
    def come_to_an_end(self, which: int, how: str) -> None:
        rows = self._rows(["queued"])
        row = rows[which % len(rows)]
        self.ground.run(self._end(row, how))
        self.model.end(row, how)

    async def _end(self, row: Row, how: str) -> None:
        found = await self.desk.states(self.merchant.shard, [row.payout_id])
        if how == "cancel":
            await self.shop.cancel(self.shop.act(found[0]))
        else:
            verdict = Settled("p") if how == "settle" else Rejected("no")
            await self.shop.hear_of(await self.shop.opened(found[0]), verdict)

    @rule(reference=st.sampled_from(["t1", "t2", "t3"]), minor=st.sampled_from([500, 1100]))
    def top_up(self, reference: str, minor: int) -> None:
        """Money comes in, once a reference: what was refused for want of it may be asked for again."""
        amount = Money(minor, "RUB")
        command = draw_top_up(self.shop.world, self.merchant, amount, actor="cli", reference=reference)
        booked = self._carry_out(lambda tx: merchants.top_up(tx, self.merchant.shard, [command]), "heard")
        assert booked is not None
        if reference not in self.model.top_ups:
            self.model.top_ups[reference] = minor
            self.model.available += minor
            assert booked == [True]
        else:
            same = self.model.top_ups[reference] == minor
            assert booked == [False] if same else isinstance(booked[0], ReferenceReused)

    # --- what must hold after every rule ---

    @invariant()
    def the_rows_are_the_dict(self) -> None:
        rows = self.ground.run(
            self.shop.rows(
                "SELECT base, payout_id, state FROM payouts WHERE shard = 0 AND merchant_id = $1 ORDER BY number",
                self.merchant.merchant_id,
            )
        )
        assert [tuple(row) for row in rows] == [(base, row.payout_id, row.state) for base, row in self.model.rows.items()]

    @invariant()
    def money_is_held_once_and_mismatches_are_told_once(self) -> None:
        counted = self.ground.run(
            self.shop.rows(
                """SELECT (SELECT count(*) FROM postings WHERE shard = 0 AND merchant_id = $1 AND reason = 'hold'),
                          (SELECT count(*) FROM events WHERE shard = 0 AND merchant_id = $1 AND kind = 'payout.reference_mismatch'),
                          (SELECT coalesce(sum(balance_minor), 0) FROM balances
                           WHERE shard = 0 AND merchant_id = $1 AND account = 'available')""",
                self.merchant.merchant_id,
            )
        )
        assert tuple(counted[0]) == (self.model.holds, len(self.model.told), self.model.available)


def _said(result: Any) -> tuple[Any, ...]:
    if isinstance(result, InsufficientFunds):
        return ("short", result.needed.minor, result.available.minor)
    assert isinstance(result, Found), result
    return ("found", result.payout.payout_id, result.fresh, result.same_content, str(result.payout.state), result.available_minor)


@pytest.fixture
def desk(ground: Ground, tmp_path: Path) -> Desk:
    """What drafts payouts, with a key of its own."""
    world = ground.world
    vault = Vault(Keyring.create(tmp_path / "keys", world.random), world.random)
    return Desk(
        ground.database, world, vault, UUID(int=1), routes=(SANDBOX, OTHER), fees={"card": FeeRule(minimum_minor=FEE)},
        batches=Batches(lambda operation, size: None),
    )  # fmt: skip


def test_idempotency(ground: Ground, desk: Desk) -> None:
    """However often, in whatever words and with whatever crashes an order comes, it is one payout, and its money is held once."""
    ground.walk(partial(Idempotency, desk=desk), bounds(16, 25))
