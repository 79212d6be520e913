"""Two operators and what they ask for and answer, on a shop's database. Lives here: the few lines that tests of persons share."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from disburse.domain.handed_in import hand_in
from disburse.domain.identifiers import payout_id
from disburse.domain.money import Money
from disburse.domain.payout import Payout
from disburse.domain.refusals import Refusal
from disburse.operations import approvals
from disburse.operations.approvals import Answer, Answered, Ask, Asked, Resolve, ReverseTopUp, Withdraw
from disburse.operations.installation import open_installation
from disburse.operations.operators import add_operator
from tests.operations.shop import Shop

ANNA, BORIS = "operator:1", "operator:2"
PAID, NOT_MOVED = "paid", "not-moved"


class Persons:
    """Anna and Boris, at one shop. `ask` and `answer` are one transaction each."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop

    async def come(self) -> Persons:
        """Make the two operators, of an installation."""
        await self.shop.database.run(lambda tx: open_installation(tx, self.shop.world, b"key check"))
        for name in ("Anna", "Boris"):
            await add_operator(self.shop.database, self.shop.world, name=name, actor="test")
        return self

    def new(self) -> tuple[UUID, datetime]:
        return payout_id(self.shop.shard, self.shop.now(), self.shop.world.random.bytes(10)), self.shop.now()

    def resolve(
        self, payout: Payout, outcome: str, *, attempt: int | None = None, by: str = ANNA, evidence: str = "statement"
    ) -> Resolve:
        identifier, at = self.new()
        handed_in = hand_in(evidence.encode())
        return Resolve(identifier, payout.merchant_id, payout.payout_id, outcome, attempt, handed_in, at, by)

    def reverse(self, merchant: int, reference: str, *, by: str = ANNA) -> ReverseTopUp:
        identifier, at = self.new()
        return ReverseTopUp(identifier, merchant, reference, hand_in(b"booked twice"), at, by)

    def withdraw(self, merchant: int, minor: int, reference: str, *, by: str = ANNA, currency: str = "RUB") -> Withdraw:
        identifier, at = self.new()
        return Withdraw(identifier, merchant, reference, Money(minor, currency), hand_in(b""), at, by)

    async def ask(self, command: Ask) -> Asked | Refusal:
        return await self.shop.database.run(lambda tx: approvals.ask(tx, self.shop.shard, command))

    async def asked(self, command: Ask) -> Asked:
        asked = await self.ask(command)
        assert isinstance(asked, Asked), asked
        return asked

    def word(self, request: UUID, *, yes: bool = True, by: str = BORIS, why: str = "") -> Answer:
        return Answer(request, yes, why, self.shop.now(), by)

    async def answer(self, request: UUID, *, yes: bool = True, by: str = BORIS, why: str = "") -> Answered | Refusal:
        word = self.word(request, yes=yes, by=by, why=why)
        return await self.shop.database.run(lambda tx: approvals.answer(tx, self.shop.shard, word))

    async def agree(self, command: Ask) -> str:
        """Asked for by one and agreed to by the other; the effect."""
        asked = await self.asked(command)
        answered = await self.answer(asked.request.request_id)
        assert isinstance(answered, Answered), answered
        return answered.decision.effect
