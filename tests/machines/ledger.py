"""The ledger in so few words that one can see that they are right: a list of entries, and what each deed adds to it.

Lives here: the model that `test_ledger.py` holds the books against, which shares no code with them, and the deeds. Money is one
number an account and currency, and an account is the sum of its entries. A deed says in a word how it ends. Two deeds at once must
end as one of them after the other; so a deed is applied to a copy of the model as readily as to the model.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field

Entry = tuple[str, str, str, int]
"""Currency, source, destination, minor units."""

HELD, FLYING, DOUBTED, PAID, RETURNED, FAILED, CANCELLED = "held", "flying", "doubted", "paid", "returned", "failed", "cancelled"
UNDER_WAY = (FLYING, DOUBTED)
ONE_PROVIDER = "RUB"
"""Payouts in this currency have a provider, named sandbox; in any other currency they have none."""


@dataclass
class Owed:
    """One payout."""

    minor: int
    fee: int
    currency: str
    state: str = HELD
    frozen: bool = False

    @property
    def lies_in(self) -> str:
        return {FLYING: "in_flight:sandbox", DOUBTED: "in_doubt:sandbox"}[self.state]


@dataclass
class Books:
    """One merchant's books."""

    entries: list[Entry] = field(default_factory=list)
    owed: dict[int, Owed] = field(default_factory=dict)
    top_ups: dict[str, tuple[str, int]] = field(default_factory=dict)
    reversed: list[str] = field(default_factory=list)

    def balance(self, currency: str, account: str) -> int:
        ins = sum(minor for of, _, to, minor in self.entries if (of, to) == (currency, account))
        return ins - sum(minor for of, source, _, minor in self.entries if (of, source) == (currency, account))

    def balances(self) -> dict[tuple[str, str], int]:
        """Every account that is not empty."""
        accounts = {(of, account) for of, source, to, _ in self.entries for account in (source, to)}
        return {key: minor for key in sorted(accounts) if (minor := self.balance(*key))}

    def move(self, currency: str, source: str, destination: str, minor: int) -> None:
        if minor:
            self.entries.append((currency, source, destination, minor))


@dataclass(frozen=True)
class TopUp:
    reference: str
    minor: int
    currency: str

    def apply(self, books: Books) -> str:
        if self.reference in books.top_ups:
            return "known" if books.top_ups[self.reference] == (self.currency, self.minor) else "reused"
        books.top_ups[self.reference] = (self.currency, self.minor)
        books.move(self.currency, "funding", "available", self.minor)
        return "booked"


@dataclass(frozen=True)
class Hold:
    """Make a payout and hold its money. `number` is its name here, always a new one."""

    number: int
    minor: int
    fee: int
    currency: str

    def apply(self, books: Books) -> str:
        if books.balance(self.currency, "available") < self.minor + self.fee:
            return "short"
        books.owed[self.number] = Owed(self.minor, self.fee, self.currency)
        books.move(self.currency, "available", "held", self.minor + self.fee)
        return "held"


@dataclass(frozen=True)
class Release:
    """Cancel a payout."""

    number: int

    def apply(self, books: Books) -> str:
        owed = books.owed[self.number]
        if owed.state == HELD:
            owed.state = CANCELLED
            books.move(owed.currency, "held", "available", owed.minor + owed.fee)
        return "cancelled" if owed.state == CANCELLED else "too late"


@dataclass(frozen=True)
class Send:
    """A worker claims a payout: what no provider can carry fails."""

    number: int

    def apply(self, books: Books) -> str:
        owed = books.owed[self.number]
        if owed.state != HELD:
            return "not sent"
        if owed.currency != ONE_PROVIDER:
            owed.state = FAILED
            books.move(owed.currency, "held", "available", owed.minor + owed.fee)
            return "not sent"
        owed.state = FLYING
        books.move(owed.currency, "held", "in_flight:sandbox", owed.minor)
        return "sent"


@dataclass(frozen=True)
class Tell:
    """The provider says what became of a payout that was sent: settle, refuse, doubt or give back."""

    number: int
    what: str

    def apply(self, books: Books) -> str:
        owed = books.owed[self.number]
        if owed.state in (HELD, CANCELLED) or owed.frozen or (owed.state == FAILED and owed.currency != ONE_PROVIDER):
            return "nothing"
        return {"settle": self._settle, "refuse": self._refuse, "doubt": self._doubt, "give back": self._give_back}[self.what](books, owed)

    def _settle(self, books: Books, owed: Owed) -> str:
        if owed.state in UNDER_WAY:
            books.move(owed.currency, owed.lies_in, "paid:sandbox", owed.minor)
            books.move(owed.currency, "held", "fees", owed.fee)
            owed.state = PAID
            return "paid"
        if owed.state == FAILED:  # the provider moved it all the same: not the merchant's loss
            books.move(owed.currency, "suspense:sandbox", "paid:sandbox", owed.minor)
            owed.frozen = True
            return "frozen:paid_after_refusal"
        return "nothing"

    def _refuse(self, books: Books, owed: Owed) -> str:
        if owed.state in UNDER_WAY:
            books.move(owed.currency, owed.lies_in, "available", owed.minor)
            books.move(owed.currency, "held", "available", owed.fee)
            owed.state = FAILED
            return "failed"
        if owed.state in (PAID, RETURNED):
            owed.frozen = True
            return "frozen:refused_after_paid"
        return "nothing"

    def _doubt(self, books: Books, owed: Owed) -> str:
        if owed.state != FLYING:
            return "nothing"
        books.move(owed.currency, "in_flight:sandbox", "in_doubt:sandbox", owed.minor)
        owed.state = DOUBTED
        return "in_doubt"

    def _give_back(self, books: Books, owed: Owed) -> str:
        if owed.state == RETURNED:
            return "nothing"
        if owed.state == FAILED:
            owed.frozen = True
            return "frozen:returned_but_never_paid"
        if owed.state in UNDER_WAY:
            self._settle(books, owed)
        books.move(owed.currency, "paid:sandbox", "available", owed.minor)
        owed.state = RETURNED
        return "returned"


@dataclass(frozen=True)
class Withdraw:
    """Two persons take money out. `reference` is always a new one."""

    reference: str
    minor: int
    currency: str

    def apply(self, books: Books) -> str:
        if books.balance(self.currency, "available") < self.minor:
            return "short"
        books.move(self.currency, "available", "funding", self.minor)
        return "withdrawn"


@dataclass(frozen=True)
class Reverse:
    """Two persons turn a top-up round."""

    reference: str

    def apply(self, books: Books) -> str:
        if self.reference not in books.top_ups:
            return "none"
        if self.reference in books.reversed:
            return "done"
        currency, minor = books.top_ups[self.reference]
        if books.balance(currency, "available") < minor:
            return "short"
        books.reversed.append(self.reference)
        books.move(currency, "available", "funding", minor)
        return "reversed"


Deed = TopUp | Hold | Release | Send | Tell | Withdraw | Reverse


def in_either_order(books: Books, first: Deed, second: Deed) -> list[tuple[str, str, Books]]:
    """How both deeds end, and the books after them, for each order in which they can be done."""

    def done(one: Deed, other: Deed, told: Callable[[str, str], tuple[str, str]]) -> tuple[str, str, Books]:
        after = deepcopy(books)
        return (*told(one.apply(after), other.apply(after)), after)

    return [done(first, second, lambda a, b: (a, b)), done(second, first, lambda b, a: (a, b))]
