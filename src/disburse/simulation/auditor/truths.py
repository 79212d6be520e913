"""The three truths in plain shapes: what a breach is, what a provider wrote down, what a client asked and was told.

Lives here: frozen records without behaviour. Whoever makes a simulation fills them in; nobody else's types come in here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

Fetch = Callable[..., Awaitable[Sequence[Any]]]
"""`fetch(sql, *values)`: the rows of a statement, each of which answers `row["column"]`. It may read every table."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One breach. Nothing of a payee stands in it.

    `invariant`: its number in docs of reliability, such as "E1". `sentence`: what is wrong, for a person.
    `payout`: the payout's id as text; None where the breach is not one payout's.
    """

    invariant: str
    sentence: str
    payout: str | None = None


@dataclass(frozen=True, slots=True)
class BookEntry:
    """One line of a provider's own book, or an order that has just reached it.

    `connector`: the provider, by the name that we call it. `key`: our end-to-end id, or the provider's own reference where it
    knows us by that alone. `amount_minor`, `currency`: what it moved, or was asked to. `at`: when, by the provider's clock.
    `kind`: "received" (an order that could move money), "paid" or "returned". `destination`: where to, as our tables may be
    compared with it: the masked text (`display`) or the hex of `destination_digest`; None when the book does not say. `sent_at`: when the order's
    first byte left us, by the database's clock; None where that clock may have been set meanwhile.
    """

    connector: str
    key: str
    amount_minor: int
    currency: str
    at: datetime
    kind: str
    destination: str | None = None
    sent_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Exchange:
    """One thing that a merchant's program asked, and what it was told.

    `asked`, `told`: places of both moments in the one order of everything that happened (any counter that only rises);
    `told` is None where no answer came. `surface`: "unitpay", "intellectmoney" or "own". `merchant`: its number.
    `act`: "pay" (create and execute at once), "create", "execute", "cancel" or "look". `reference`: the merchant's own id of
    the payout, None where the surface has none. `key`: our id of the payout, as the program was told it or asked by it (the
    payout's UUID, or UnitPay's number), None while it knows none. `amount_minor`: what it asked to pay; None where it does
    not say. `answer`: "acknowledged" (the payout is there and stands so), "refused" (a no, for good), "unknown" (anything
    else: no answer, a fault, "try later"). `status`: the word for the payout's state that it was shown, None when none was.
    """

    asked: int
    told: int | None
    surface: str
    merchant: int
    act: str
    reference: str | None
    key: str | None
    amount_minor: int | None
    answer: str
    status: str | None = None
