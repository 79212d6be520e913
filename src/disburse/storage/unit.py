"""What one transaction will write, gathered and then written in one statement. Lives here: the lock, the numbers, the books.

Every writing operation takes the same path: `Unit.lock` (the rows of its merchants, in id order, and nothing else: the one
lock rule), reads, decisions in memory, `Unit.write` (`statement.py`). All of it concerns one bucket (`shard`).

A *hopeful* transaction (decision 9) is that statement alone, which takes the lock itself. What the operation read before, it read
without the lock; the statement's guards hold it to that, and where one fails the operation runs again, the careful way.
Numbers are counted from the merchant's last ones in either case, which only the statement knows: what was stamped with a
number gets its true one when the unit is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from disburse.domain.ledger import AVAILABLE, Account, Posting, Reason
from disburse.domain.payout import Payout, PayoutState
from disburse.domain.rules import RuleBook
from disburse.storage.database import GuardFailed, Transaction
from disburse.storage.statement import Row, write_rows

_PLENTY: Final = 2**62
"""The balance that a hopeful unit takes for granted: the table's own check decides whether it was there."""

_PAYOUTS, _POSTINGS, _EVENTS, _BALANCES, _CLOCK = range(5)

_AccountKey = tuple[int, str, Account]
"""Merchant, currency, account."""


class Unit:
    """One transaction's work on one bucket: its merchants locked, what they own, and what will be written.

    `lock` makes one. Payouts, postings and events are numbered by the locked merchants, so their numbers have no gaps.
    `clock`: the database's, read with the lock; a hopeful unit has none, unless what it read told it.
    `ruled`: the merchants that have limits or policies, `book` what these say (`operations/rules.py`); a hopeful unit knows neither.
    """

    __slots__ = ("_balances", "_changes", "_counters", "_holds", "_made", "_merchants", "_places", "_read", "_real", "_rows", "_seen", "_told", "book", "clock", "ruled", "shard", "tx")

    def __init__(self, tx: Transaction, shard: int, merchants: Iterable[int]) -> None:
        self.tx = tx
        self.shard = shard
        self._merchants = sorted(set(merchants))
        self._places = {merchant: place for place, merchant in enumerate(self._merchants, 1)}
        self._counters: dict[int, list[int]] = {}  # merchant to [payouts, postings, events] that this unit adds
        self._rows: dict[str, list[Row]] = {}
        self._balances: dict[tuple[int, str, Account], int] = {}  # as they were read
        self._changes: dict[tuple[int, str, Account], int] = {}
        self._real: dict[tuple[int, str, Account], int] = {}
        self._read = False  # whether balances were read: then an account that was not found is empty
        self._seen: dict[UUID, int] = {}
        self._told: dict[UUID, Payout] = {}
        self._made: list[Payout] = []
        self._holds = False
        self.ruled: frozenset[int] = frozenset()
        self.book: RuleBook | None = None
        self.clock: datetime | None = None

    @classmethod
    async def lock(cls, tx: Transaction, shard: int, merchants: Iterable[int]) -> Unit:
        """The one lock: these merchants' rows, in id order. A merchant that does not exist is simply not in the unit."""
        if tx.hopeful:
            return cls(tx, shard, merchants)
        found = await tx.fetch(
            """SELECT merchant_id, ruled, clock_timestamp() FROM (SELECT merchant_id, ruled FROM merchants
               WHERE shard = $1 AND merchant_id = ANY ($2::int4[]) ORDER BY merchant_id FOR NO KEY UPDATE) AS locked ORDER BY merchant_id""",
            shard,
            sorted(set(merchants)),
        )
        unit = cls(tx, shard, [row[0] for row in found])
        unit.ruled = frozenset(row[0] for row in found if row[1])
        unit.clock = found[-1][2] if found else None
        return unit

    @property
    def now(self) -> datetime:
        """What the database's clock showed when the lock was had, or when what this unit decides about was read."""
        if self.clock is None:
            raise AssertionError("this unit decides by a time that nobody has read")
        return self.clock

    def knows(self, merchant_id: int) -> bool:
        return merchant_id in self._places

    def place(self, merchant_id: int) -> int:
        """How a row names its merchant."""
        return self._places[merchant_id]

    async def read_balances(self, merchants: Sequence[int]) -> None:
        """Read the available and held money of these merchants, all currencies, under the lock if it is had."""
        found = await self.tx.fetch(
            """SELECT merchant_id, currency, account, balance_minor FROM balances
               WHERE shard = $1 AND merchant_id = ANY ($2::int4[]) AND account IN ('available', 'held')""",
            self.shard,
            sorted(set(merchants)),
        )
        for row in found:
            self._balances[row[0], row[1], row[2]] = row[3]
        self._read = True

    async def read_funds(self, merchants: Sequence[int]) -> None:
        """As `read_balances`, but a hopeful unit takes it for granted that there is enough."""
        if not self.tx.hopeful:
            await self.read_balances(merchants)

    def available(self, merchant_id: int, currency: str) -> int:
        """What may still be spent, minor units, this unit's own postings included. Needs `read_balances` or `read_funds`."""
        key = (merchant_id, currency, AVAILABLE)
        return self._balances.get(key, self._granted) + self._changes.get(key, 0)

    @property
    def _granted(self) -> int:
        """The balance of an account that no row was read of: nothing, unless no row was looked for."""
        return _PLENTY if self.tx.hopeful and not self._read else 0

    def covers(self, merchant_id: int, currency: str, needed: int) -> bool:
        """Whether so much may be spent: asked before money is held. A hopeful unit never says no: what it read may be old. Raises GuardFailed."""
        self._holds = True
        if needed <= self.available(merchant_id, currency):
            return True
        if self.tx.hopeful:
            raise GuardFailed("balances")
        return False

    def truly(self, merchant_id: int, currency: str, available: int) -> int:
        """What `available` said, as the database saw it when the unit was written."""
        return available + self._real.get((merchant_id, currency, AVAILABLE), 0)

    def _next(self, merchant_id: int, which: int) -> int:
        counters = self._counters.setdefault(merchant_id, [0, 0, 0])
        counters[which] += 1
        return counters[which]

    def add(self, branch: str, row: Row) -> None:
        self._rows.setdefault(branch, []).append(row)

    def make(self, payout: Payout, *, destination_digest: bytes, comment: str | None, actor: str) -> None:
        """Write a new payout, and tell of it. It expires as long after it is written as it says that it does after it was created."""
        payout.number = self._next(payout.merchant_id, _PAYOUTS)
        self._made.append(payout)
        self.tell(payout, f"payout.{payout.state}", payout.created_at, actor)
        payout.first_event = payout.last_event
        self.add("payouts", (
            payout.payout_id, self._places[payout.merchant_id], payout.number, payout.surface, payout.reference, payout.base,
            payout.fingerprint, payout.rail, payout.currency, payout.amount_minor, payout.fee_minor, payout.amount_text,
            payout.display, destination_digest, payout.sealed, comment, payout.sandbox_only, payout.state, payout.attempts,
            payout.created_at, self.expires_in_s(payout), payout.last_event, actor,
        ))  # fmt: skip

    @staticmethod
    def expires_in_s(payout: Payout) -> float:
        """How long after it is made a new payout expires."""
        return (payout.expires_at - payout.created_at).total_seconds()

    def move(self, payout: Payout, before: PayoutState) -> None:
        """Store a payout as it now stands, if it still stands as it was read. It must have been told of."""
        self.add("moves", (
            payout.payout_id, self._places[payout.merchant_id], self._seen[payout.payout_id], before, payout.state,
            payout.frozen, payout.reason, payout.attempts, payout.returned_minor, payout.updated_at, payout.finished_at,
            payout.expires_at, payout.last_event,
        ))  # fmt: skip

    def attempt(self, payout: Payout, due_in_s: float, actor: str) -> None:
        """Write the payout's newest attempt, which is due so long after it is written."""
        self.add("attempts", (payout.payout_id, payout.attempts, self._places[payout.merchant_id], due_in_s, actor))

    def post(self, postings: Iterable[Posting], at: datetime, actor: str) -> None:
        """Write postings under the merchants' next numbers and change the balances with them."""
        rows, changes = self._rows.setdefault("postings", []), self._changes
        for p in postings:
            merchant, currency, amount = p.merchant_id, p.currency, p.amount_minor
            if p.reason is Reason.RELEASE and p.phase == "end":
                self.add("given_back", (p.origin_id,))
            rows.append((self._places[merchant], self._next(merchant, _POSTINGS), p.origin_id, p.phase, currency, p.source,
                         p.destination, amount, p.reason, at, actor))  # fmt: skip
            source, destination = (merchant, currency, p.source), (merchant, currency, p.destination)
            changes[source] = changes.get(source, 0) - amount
            changes[destination] = changes.get(destination, 0) + amount

    def tell(
        self,
        payout: Payout,
        kind: str,
        at: datetime,
        actor: str,
        *,
        attempt: int | None = None,
        detail: str | None = None,
    ) -> None:
        """Tell what happened to a payout, under its merchant's next event number, which becomes the payout's last event."""
        self._seen.setdefault(payout.payout_id, payout.last_event)
        # Told of by this unit already, its event before this one has no true number yet: it is counted from the merchant's last.
        previous = -payout.last_event if payout.payout_id in self._told else payout.last_event or None
        self._told[payout.payout_id] = payout
        payout.last_event = self._next(payout.merchant_id, _EVENTS)
        self.add("events", (self._places[payout.merchant_id], payout.last_event, payout.payout_id, kind, payout.state, attempt,
                            detail, at, actor, previous, payout.returned_minor or None))  # fmt: skip

    def event(
        self, merchant_id: int, payout: UUID | None, kind: str, at: datetime, actor: str, *, detail: str | None = None
    ) -> None:
        """Tell what happened to a merchant, or beside a payout, which it does not change."""
        number = self._next(merchant_id, _EVENTS)
        row = (self._places[merchant_id], number, payout, kind, None, None, detail, at, actor, None, None)
        self.add("events", row)

    async def write(self) -> None:
        """Write all that was gathered, and stamp it with its true numbers. The unit is spent afterwards."""
        rows = self._rows
        rows["counters"] = [(self._places[merchant], *added) for merchant, added in sorted(self._counters.items())]
        sums = [item for item in self._changes.items() if item[1]]
        if sums:
            places = self._places
            rows["balances"] = [(places[key[0]], key[1], key[2], change) for key, change in sums]
            await self._make_accounts(sums)
        rows.get("strays", []).sort(key=lambda row: (row[0], row[1]))  # one order for all who keep the same messages
        later = rows.pop("attempts", []) if rows.get("heard") else []  # after the old attempt has ended, not beside it
        if later and self.tx.hopeful:
            raise GuardFailed("attempts")
        if rows.get("given_back") and rows.get("limit_counters"):
            raise AssertionError("one statement cannot both count payouts and give counts back")
        unruled = self.tx.hopeful and self._holds  # nobody read what such a merchant's payouts go by
        self._stamp(await write_rows(self.tx, self.shard, self._merchants, rows, unruled=unruled), sums)
        if later:
            await write_rows(self.tx, self.shard, self._merchants, {"attempts": later})
        self._rows = {}

    def _stamp(self, told: Any, sums: list[tuple[_AccountKey, int]]) -> None:
        """Give everything its true number, new payouts the time at which they expire, and find out how far balances that were taken for granted were off."""
        if told is None:
            return
        for payout in self._told.values():
            payout.last_event += told[_EVENTS][self._places[payout.merchant_id] - 1]
        for payout in self._made:
            at = self._places[payout.merchant_id] - 1
            payout.number += told[_PAYOUTS][at]
            payout.first_event += told[_EVENTS][at]
            payout.expires_at = told[_CLOCK] + (payout.expires_at - payout.created_at)
        if self._made:
            for (key, change), balance in zip(sums, told[_BALANCES] or (), strict=True):
                self._real[key] = balance - change - self._balances.get(key, self._granted)

    async def _make_accounts(self, sums: list[tuple[_AccountKey, int]]) -> None:
        """Accounts come into being when money first touches them; those seen committed are not asked for again."""
        known, shard = self.tx.known_accounts, self.shard
        fresh = sorted((shard, *key) for key, _ in sums if (shard, *key) not in known)  # one order, whoever makes them too
        if fresh:
            await self.tx.execute(
                """INSERT INTO balances (shard, merchant_id, currency, account)
                   SELECT $1, * FROM unnest($2::int4[], $3::text[], $4::text[]) ON CONFLICT DO NOTHING""",
                self.shard,
                *[list(column) for column in list(zip(*fresh, strict=True))[1:]],
            )
            self.tx.learned_accounts.update(fresh)
