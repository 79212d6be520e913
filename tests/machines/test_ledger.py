"""The ledger as a state machine: deeds alone and two at a time, on real PostgreSQL, against a list of entries.

After every rule the postings are the model's entries in the model's order, and the balances are their sums. Both ways of
writing are walked. How to let it walk for hours is told in `ground.py`.
"""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from disburse.domain.money import Money
from disburse.domain.outcomes import Rejected, Returned, Settled, Unknown, Verdict
from disburse.domain.refusals import Refusal
from disburse.operations import merchants
from disburse.operations.approvals import AlreadyDecided, Answered, Asked, NoSuchTopUp, NotAvailable
from disburse.operations.merchants import ReferenceReused
from disburse.operations.payouts import Found, InsufficientFunds
from tests.machines.ground import Ground, bounds
from tests.machines.ledger import Books, Deed, Hold, Release, Reverse, Send, Tell, TopUp, Withdraw, in_either_order

CURRENCIES = st.sampled_from(["RUB", "RUB", "RUB", "KZT"])
AMOUNTS = st.sampled_from([1, 300, 700, 1000])
FEES = st.sampled_from([0, 0, 30])
REFERENCES = st.sampled_from(["a", "b", "c"])
VERDICTS: dict[str, Verdict] = {
    "settle": Settled("p"), "refuse": Rejected("no"), "doubt": Unknown("time-out"), "give back": Returned("R")
}  # fmt: skip


class Hands:
    """Does deeds with the real operations, and says in a word how each ended."""

    def __init__(self, ground: Ground, merchant: int, *, hopeful: bool) -> None:
        self.shop, self.persons, self.merchant = ground.shop(hopeful=hopeful), ground.persons, merchant
        self.payouts: dict[int, Any] = {}
        self.opened: dict[int, Any] = {}
        self.told = 0

    async def do(self, deed: Deed) -> str:
        match deed:
            case TopUp():
                return await self._top_up(deed)
            case Hold():
                return await self._hold(deed)
            case Release(number):
                ended = (await self.shop.cancel(self.shop.act(self.payouts[number])))[0]
                return "too late" if isinstance(ended, Refusal) else str(ended.state)
            case Send(number):
                opened = await self.shop.claim(self.payouts[number])
                self.opened |= {number: opened} if opened is not None else {}
                return "sent" if opened is not None else "not sent"
            case Tell(number, what):
                return await self._tell(number, what)
            case Withdraw(reference, minor, currency):
                return await self._agree(self.persons.withdraw(self.merchant, minor, f"w {reference}", currency=currency))
            case Reverse(reference):
                return await self._agree(self.persons.reverse(self.merchant, reference))

    async def _top_up(self, deed: TopUp) -> str:
        shop, money = self.shop, Money(deed.minor, deed.currency)
        command = merchants.TopUp(shop.new_id(), self.merchant, deed.reference, money, shop.now(), "cli")
        booked = (await shop.database.run(lambda tx: merchants.top_up(tx, shop.shard, [command])))[0]
        if isinstance(booked, ReferenceReused):
            return "reused"
        assert isinstance(booked, bool), booked
        return "booked" if booked else "known"

    async def _hold(self, deed: Hold) -> str:
        draft = self.shop.draft(self.merchant, f"{deed.number}", deed.minor, fee=deed.fee, currency=deed.currency)
        made = (await self.shop.create(draft))[0]
        if isinstance(made, InsufficientFunds):
            return "short"
        assert isinstance(made, Found) and made.fresh, made
        self.payouts[deed.number] = made.payout
        return "held"

    async def _tell(self, number: int, what: str) -> str:
        if number not in self.opened:
            return "nothing"
        self.told += 1
        message = self.shop.message(self.opened[number], VERDICTS[what], kind="callback", content=f"{self.told}")
        return (await self.shop.hear(message))[0].effect

    async def _agree(self, command: Any) -> str:
        asked = await self.persons.ask(command)
        match asked:
            case NoSuchTopUp():
                return "none"
            case NotAvailable():
                return "short"
            case Asked(done=True):
                return "done"
            case Asked():
                answered = await self.persons.answer(asked.request.request_id)
                if isinstance(answered, NotAvailable | AlreadyDecided):
                    return "short" if isinstance(answered, NotAvailable) else "done"
                assert isinstance(answered, Answered), answered
                return answered.decision.effect
            case _:
                raise AssertionError(asked)


class Ledger(RuleBasedStateMachine):
    """One merchant's books and the model of them."""

    def __init__(self, ground: Ground) -> None:
        super().__init__()
        self.ground = ground
        self.books = Books()
        self.numbers = 0

    @initialize(hopeful=st.booleans(), minor=st.sampled_from([0, 900, 3000]))
    def begin(self, hopeful: bool, minor: int) -> None:
        self.hands = Hands(self.ground, self.ground.merchant(), hopeful=hopeful)
        if minor:
            self._alone(TopUp("first", minor, "RUB"))

    # --- deeds ---

    def _payout(self, which: int) -> int:
        known = list(self.books.owed)
        return known[which % len(known)]

    def _new(self) -> int:
        self.numbers += 1
        return self.numbers

    def _deed(self, data: st.DataObject, *, payouts: bool) -> Deed:
        kinds = ["top up", "hold", "hold", "withdraw", "reverse"]
        if payouts and self.books.owed:
            kinds += ["release", "send", "send", "tell", "tell", "tell"]
        kind = data.draw(st.sampled_from(kinds), label="deed")
        match kind:
            case "top up":
                return TopUp(data.draw(REFERENCES), data.draw(AMOUNTS), data.draw(CURRENCIES))
            case "hold":
                return Hold(self._new(), data.draw(AMOUNTS), data.draw(FEES), data.draw(CURRENCIES))
            case "withdraw":
                return Withdraw(f"{self._new()}", data.draw(AMOUNTS), data.draw(CURRENCIES))
            case "reverse":
                return Reverse(data.draw(REFERENCES))
        number = self._payout(data.draw(st.integers(0, 5)))
        match kind:
            case "release":
                return Release(number)
            case "send":
                return Send(number)
            case _:
                return Tell(number, data.draw(st.sampled_from(list(VERDICTS))))

    def _alone(self, deed: Deed) -> None:
        expected = deed.apply(self.books)
        assert self.ground.run(self.hands.do(deed)) == expected, deed

    @rule(minor=AMOUNTS, fee=FEES, currency=CURRENCIES)
    def hold(self, minor: int, fee: int, currency: str) -> None:
        self._alone(Hold(self._new(), minor, fee, currency))

    @precondition(lambda self: self.books.owed)
    @rule(which=st.integers(0, 5))
    def send(self, which: int) -> None:
        self._alone(Send(self._payout(which)))

    @precondition(lambda self: self.books.owed)
    @rule(which=st.integers(0, 5), what=st.sampled_from(list(VERDICTS)))
    def tell(self, which: int, what: str) -> None:
        self._alone(Tell(self._payout(which), what))

    @rule(data=st.data())
    def any_deed(self, data: st.DataObject) -> None:
        self._alone(self._deed(data, payouts=True))

    @rule(data=st.data())
    def two_at_once(self, data: st.DataObject) -> None:
        """Whatever two connections do at once ends as one after the other, in words and in entries."""
        first, second = self._deed(data, payouts=True), self._deed(data, payouts=True)

        async def both() -> list[str]:
            return list(await asyncio.gather(self.hands.do(first), self.hands.do(second)))

        words, entries = self.ground.run(both()), self._entries()
        for one, other, books in in_either_order(self.books, first, second):
            if words == [one, other] and books.entries == entries:
                self.books = books
                return
        raise AssertionError((first, second, words, entries))

    # --- what must hold after every rule ---

    def _entries(self) -> list[tuple[str, str, str, int]]:
        rows = self.ground.run(
            self.hands.shop.rows(
                """SELECT number, currency, source, destination, amount_minor FROM postings
                   WHERE shard = 0 AND merchant_id = $1 ORDER BY number""",
                self.hands.merchant,
            )
        )
        assert [row[0] for row in rows] == list(range(1, len(rows) + 1)), "a number is missing"
        return [tuple(row[1:]) for row in rows]

    @invariant()
    def the_postings_are_the_entries(self) -> None:
        assert self._entries() == self.books.entries

    @invariant()
    def the_balances_are_their_sums(self) -> None:
        rows = self.ground.run(
            self.hands.shop.rows(
                "SELECT currency, account, balance_minor FROM balances WHERE shard = 0 AND merchant_id = $1",
                self.hands.merchant,
            )
        )
        balances = {(row[0], row[1]): row[2] for row in rows if row[2]}
        assert balances == self.books.balances()
        below = {key for key, minor in balances.items() if minor < 0}
        assert all(account in ("funding", "suspense:sandbox") for _, account in below)


def test_ledger(ground: Ground) -> None:
    """On any way, alone and two at a time, the books are the model's list of entries."""
    ground.walk(Ledger, bounds(16, 25))
