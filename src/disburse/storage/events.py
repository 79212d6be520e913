"""Events as they are read: a merchant's, by number. SQL only, each read by a key within one bucket.

Whoever sees event N of a merchant sees every event before it: numbers are given out under the merchant's lock. So a reader that
asks for what comes after the last number it has misses nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from disburse.domain.money import Money
from disburse.storage.database import Transaction

_EVENT = """e.merchant_id, e.number, e.previous, e.payout_id, e.kind, e.state, e.attempt, e.detail, e.returned_minor, e.at,
    e.actor, p.reference, p.surface, p.rail, p.display, p.currency, p.amount_minor, p.fee_minor"""


@dataclass(frozen=True, slots=True)
class Told:
    """One event, with what never changes of its payout; the fields of the payout are None where it is about none."""

    merchant_id: int
    number: int
    previous: int | None
    payout_id: UUID | None
    kind: str
    state: str | None
    attempt: int | None
    detail: str | None
    returned_minor: int | None
    at: datetime
    actor: str
    reference: str | None
    surface: str | None
    rail: str | None
    display: str | None
    currency: str | None
    amount_minor: int | None
    fee_minor: int | None

    @property
    def amount(self) -> str | None:
        """The payout's amount, with all of its currency's digits."""
        return self._text(self.amount_minor)

    @property
    def fee(self) -> str | None:
        """The payout's fee, likewise."""
        return self._text(self.fee_minor)

    @property
    def returned(self) -> str | None:
        """What of the payout has come back so far, likewise; None: nothing."""
        return self._text(self.returned_minor)

    def _text(self, minor: int | None) -> str | None:
        return Money(minor, self.currency).text() if minor is not None and self.currency is not None else None


def _told(row: Any) -> Told:
    return Told(*row)


async def after(tx: Transaction, shard: int, merchant_id: int, number: int, limit: int) -> list[Told]:
    """A merchant's events after this number, in order, at most `limit`."""
    rows = await tx.fetch(
        f"""SELECT {_EVENT} FROM events e LEFT JOIN payouts p ON p.shard = $1 AND p.payout_id = e.payout_id
            WHERE e.shard = $1 AND e.merchant_id = $2 AND e.number > $3 ORDER BY e.number LIMIT $4""",
        shard,
        merchant_id,
        number,
        limit,
    )
    return [_told(row) for row in rows]


async def ranges(tx: Transaction, shard: int, wanted: Sequence[tuple[int, int, int]]) -> list[Told]:
    """Events of several merchants at once: for each (merchant, after this number, up to this one), in order."""
    rows = await tx.fetch(
        f"""SELECT {_EVENT}
            FROM unnest($2::int4[], $3::int8[], $4::int8[]) AS d (merchant_id, after, until)
            JOIN events e ON e.shard = $1 AND e.merchant_id = d.merchant_id AND e.number > d.after AND e.number <= d.until
            LEFT JOIN payouts p ON p.shard = $1 AND p.payout_id = e.payout_id
            ORDER BY e.merchant_id, e.number""",
        shard,
        *[list(column) for column in zip(*wanted, strict=True)],
    )
    return [_told(row) for row in rows]


async def last_numbers(tx: Transaction, shard: int, merchants: Sequence[int]) -> dict[int, int]:
    """The number of each merchant's last event; 0: it has none."""
    rows = await tx.fetch(
        "SELECT merchant_id, events FROM merchants WHERE shard = $1 AND merchant_id = ANY ($2::int4[])", shard, list(merchants)
    )
    return {row[0]: row[1] for row in rows}
