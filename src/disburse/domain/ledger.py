"""Money in the books: accounts, and which posting each event makes. Pure; who writes them is `storage/ledger.py`.

A posting names a source, a destination and an amount, so an unbalanced one cannot be written. Accounts are kept per merchant
and currency; those of a provider carry the connector's name (`in_flight:sandbox`). Only `funding` and `suspense` may be
negative. Each posting has a phase, and (origin, phase) is unique for ever: that is how a hold resolves once (H2) and nothing
is posted twice (L7).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NewType
from uuid import UUID

Account = NewType("Account", str)

FUNDING = Account("funding")
AVAILABLE = Account("available")
HELD = Account("held")
FEES = Account("fees")


def in_flight(connector: str) -> Account:
    return Account(f"in_flight:{connector}")


def in_doubt(connector: str) -> Account:
    return Account(f"in_doubt:{connector}")


def paid(connector: str) -> Account:
    return Account(f"paid:{connector}")


def suspense(connector: str) -> Account:
    return Account(f"suspense:{connector}")


def may_be_negative(account: str) -> bool:
    """Only the outside world (`funding`) and what we cannot explain (`suspense`) may be below zero."""
    return account == FUNDING or account.startswith("suspense:")


class Reason(StrEnum):
    TOP_UP = "top_up"
    HOLD = "hold"
    CLAIM = "claim"
    DOUBT = "doubt"
    HEARD = "heard"
    PAID = "paid"
    FEE = "fee"
    TRY_AGAIN = "try_again"
    RELEASE = "release"
    RETURNED = "returned"
    CONTRADICTION = "contradiction"
    REVERSAL = "reversal"
    COVERED = "covered"
    WITHDRAWAL = "withdrawal"


@dataclass(frozen=True, slots=True)
class Posting:
    """One movement. `amount_minor` in minor units of `currency`, more than zero, or it cannot be built."""

    merchant_id: int
    currency: str
    source: Account
    destination: Account
    amount_minor: int
    reason: Reason
    origin_id: UUID
    phase: str

    def __post_init__(self) -> None:
        if type(self.amount_minor) is not int or self.amount_minor <= 0:
            raise AssertionError(f"a posting of {self.amount_minor!r} minor units")
        if self.source == self.destination:
            raise AssertionError(f"a posting from {self.source} to itself")


@dataclass(frozen=True, slots=True)
class Books:
    """What the posting rules need to know of one payout."""

    payout_id: UUID
    merchant_id: int
    currency: str
    amount_minor: int
    fee_minor: int

    def _post(self, source: Account, destination: Account, amount: int, reason: Reason, phase: str) -> list[Posting]:
        if amount == 0:
            return []  # a fee of nothing moves nothing
        return [
            Posting(self.merchant_id, self.currency, source, destination, amount, reason, self.payout_id, phase)
        ]

    def hold(self) -> list[Posting]:
        return self._post(AVAILABLE, HELD, self.amount_minor + self.fee_minor, Reason.HOLD, "hold")

    def release(self) -> list[Posting]:
        """Cancelled or expired after a hold, or failed with nothing ever sent: all of it goes back."""
        return self._post(HELD, AVAILABLE, self.amount_minor + self.fee_minor, Reason.RELEASE, "end")

    def claim(self, connector: str, attempt: int) -> list[Posting]:
        return self._post(HELD, in_flight(connector), self.amount_minor, Reason.CLAIM, f"claim-{attempt}")

    def doubt(self, connector: str, attempt: int, turn: int) -> list[Posting]:
        return self._post(
            in_flight(connector), in_doubt(connector), self.amount_minor, Reason.DOUBT, f"doubt-{attempt}-{turn}"
        )

    def heard(self, connector: str, attempt: int, turn: int) -> list[Posting]:
        return self._post(
            in_doubt(connector), in_flight(connector), self.amount_minor, Reason.HEARD, f"heard-{attempt}-{turn}"
        )

    def settle(self, lies_in: Account, connector: str) -> list[Posting]:
        """Paid: the amount leaves for good and the fee is ours."""
        return [
            *self._post(lies_in, paid(connector), self.amount_minor, Reason.PAID, "end"),
            *self._post(HELD, FEES, self.fee_minor, Reason.FEE, "end-fee"),
        ]

    def fail(self, lies_in: Account) -> list[Posting]:
        """Refused with no route left: amount and fee go back to the merchant."""
        return [
            *self._post(lies_in, AVAILABLE, self.amount_minor, Reason.RELEASE, "end"),
            *self._post(HELD, AVAILABLE, self.fee_minor, Reason.RELEASE, "end-fee"),
        ]

    def try_again(self, lies_in: Account, attempt: int) -> list[Posting]:
        return self._post(lies_in, HELD, self.amount_minor, Reason.TRY_AGAIN, f"back-{attempt}")

    def come_back(self, connector: str, amount_minor: int, event_id: str) -> list[Posting]:
        """Paid money returned by the provider: once per provider event."""
        return self._post(paid(connector), AVAILABLE, amount_minor, Reason.RETURNED, f"return-{event_id}")

    def contradiction(self, connector: str, amount_minor: int, attempt: int, before: int = 0) -> list[Posting]:
        """A provider paid what we had proof it would not: booked to suspense, never to the merchant's money.

        `before`: how often that was booked for this attempt already (and turned round since).
        """
        phase = f"contradiction-{attempt}" + (f"-{before + 1}" if before else "")
        return self._post(suspense(connector), paid(connector), amount_minor, Reason.CONTRADICTION, phase)

    def cover(self, lies_in: Account, connector: str) -> list[Posting]:
        """Two persons say that a payment held in suspense is this payout's: the merchant's money takes its place, once."""
        return [
            *self._post(lies_in, suspense(connector), self.amount_minor, Reason.COVERED, "end"),
            *self._post(HELD, FEES, self.fee_minor, Reason.FEE, "end-fee"),
        ]

    def give_back(self, lies_in: Account, amount_minor: int, event_id: str) -> list[Posting]:
        """Two persons say that what the merchant paid for never reached the payee: it is the merchant's again."""
        return self._post(lies_in, AVAILABLE, amount_minor, Reason.RETURNED, f"return-{event_id}")


def top_up(merchant_id: int, currency: str, amount_minor: int, origin_id: UUID) -> Posting:
    return Posting(merchant_id, currency, FUNDING, AVAILABLE, amount_minor, Reason.TOP_UP, origin_id, "top-up")


def withdrawal(merchant_id: int, currency: str, amount_minor: int, origin_id: UUID) -> Posting:
    """Money that leaves the merchant's account for outside."""
    return Posting(merchant_id, currency, AVAILABLE, FUNDING, amount_minor, Reason.WITHDRAWAL, origin_id, "withdrawal")


def reverse(posting: Posting) -> Posting:
    """The posting turned round. Its phase names the one it reverses, so nothing is reversed twice."""
    return replace(
        posting,
        source=posting.destination,
        destination=posting.source,
        reason=Reason.REVERSAL,
        phase=f"reverse-{posting.phase}",
    )


def changes(postings: Iterable[Posting]) -> dict[tuple[int, str, Account], int]:
    """What the postings do to each account, summed: (merchant, currency, account) to minor units; zeros are left out."""
    sums: dict[tuple[int, str, Account], int] = {}
    for posting in postings:
        source = (posting.merchant_id, posting.currency, posting.source)
        destination = (posting.merchant_id, posting.currency, posting.destination)
        sums[source] = sums.get(source, 0) - posting.amount_minor
        sums[destination] = sums.get(destination, 0) + posting.amount_minor
    return {key: change for key, change in sums.items() if change}
