"""The provider that a certification puts in the place of the real one: what a kind brings so that its connectors can be tried.

Lives here: the contract of a simulator and the words it is spoken to in. May not live here: sockets, faults of the network,
or any judgement (`disburse/certify` does those). A simulator is the provider's manual as code: it knows the protocol, keeps a
book of what it paid, and, when told to, strays in one way that a real provider might. It never guesses about the connector.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from disburse.domain.destinations import Destination
from disburse.domain.money import Money
from disburse.protocols.wire import WireAnswer, WireRequest


class Step(StrEnum):
    """What a request is for. A provider that is not two-step has no MAKE."""

    PREPARE = "prepare"  # a token, say: it is about no order
    MAKE = "make"  # makes an order and cannot move money
    MOVE = "move"  # can move money
    ASK = "ask"  # what became of an order
    OTHER = "other"  # anything else: a balance, a page that does not exist


class Twist(StrEnum):
    """How the provider behaves once. PAID to LATER are honest; the others do what PAID does, or nothing, and answer strangely."""

    PAID = "paid"  # it pays at once; asked, it tells the truth
    LATER = "later"  # it takes the order, and pays or refuses it when `finish` is called
    REFUSED = "refused"  # it refuses this order for good
    SHORT = "short"  # it refuses it for want of our money there
    OTHER_AMOUNT = "other_amount"  # pays, and tells of another sum
    OTHER_ID = "other_id"  # pays, and tells of another order
    OTHER_DESTINATION = "other_destination"  # pays, and tells of another card
    UNLISTED_CODE = "unlisted_code"  # pays, and answers with a code that its manual does not list
    UNLISTED_STATE = "unlisted_state"  # pays, and names a state that its manual does not list
    INTERNAL = "internal"  # pays, and says in its own words that it had a fault
    HALF = "half"  # pays, and leaves the state out of its answer
    NOT_KNOWN = "not_known"  # to a question: says that it does not know the order, whether or not it does
    TURNED_AWAY = "turned_away"  # does nothing, and says that our key is wrong
    STALE = "stale"  # does nothing, and says that our session is over
    RETURNED = "returned"  # to a question: says that the money came back


@dataclass
class Book:
    """What the provider did, for the judge: one entry for each time money moved, and what it still owes or never will do.

    `taken`: it has the order and may yet pay it. `refused`: it refused it for good.
    """

    paid: list[Money] = field(default_factory=list)
    taken: bool = False
    refused: bool = False


class Simulator(Protocol):
    """One provider with one account of ours, in memory. It is made anew for each scenario, in which one order is sent.

    `amount` and `destination` are what that order will be.
    """

    book: Book
    amount: Money
    destination: Destination

    def table(self, url: str) -> Mapping[str, Any]:
        """The keys of `[connectors.NAME]` by which a connector finds this provider at `url`: address, keys, one rail.

        They replace the operator's; what else the operator set stays, and is certified with the code.
        """
        ...

    def step(self, request: WireRequest) -> Step:
        """What a request is for. Never raises: what cannot be read is OTHER."""
        ...

    def answer(self, request: WireRequest, twist: Twist) -> WireAnswer | None:
        """Carry a request out and answer it. None, with nothing done, when this protocol has no way to behave so."""
        ...

    def callback(self, twist: Twist, *, forged: bool = False) -> WireRequest | None:
        """What the provider would send to our callback address about the order. `forged`: somebody who does not have the key sends it.

        None when it never calls, or has no way to say so. A callback does nothing to the order itself.
        """
        ...

    def finish(self, *, pays: bool) -> None:
        """Pay what was taken LATER, or refuse it."""
        ...

    def restart(self) -> None:
        """Start again: sessions are gone, what it promised to remember is not."""
        ...

    def forget(self) -> None:
        """Lose all that was known of orders, as after a restore from an old copy. The book stays: money does not come back."""
        ...
