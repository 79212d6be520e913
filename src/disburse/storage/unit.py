"""What one transaction will write, gathered and then written in one statement. Lives here: the lock, the numbers, the books.

Every writing operation takes the same path: `Unit.lock` (the rows of its merchants, in id order, and nothing else: the one
lock rule), reads, decisions in memory, `Unit.write`. All of it concerns one bucket (`shard`). Rows go out as arrays through
`unnest`, each table in its own branch of one statement, so that a transaction costs few round trips whatever its length.
Updates are guarded by the state they expect; a guard that matched no row stops the transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from disburse.domain.ledger import AVAILABLE, Account, Posting
from disburse.storage.database import Transaction

Row = tuple[Any, ...]

# name, statement with a gap for the arrays, their types. Every branch returns one row a written row, so that they can be counted.
# The state that a row must have comes as a value: written as 'due', it would let the planner walk the index of all that is due.
_BRANCHES: dict[str, tuple[str, tuple[str, ...]]] = {
    "payouts": (
        """INSERT INTO payouts (shard, payout_id, merchant_id, number, surface, reference, base, fingerprint, rail, currency,
               amount_minor, fee_minor, amount_text, display, destination_digest, sealed, comment, sandbox_only, state,
               reason, attempts, created_at, expires_at, updated_at, finished_at, first_event, last_event, actor)
           SELECT $1, * FROM unnest({}) RETURNING 1""",
        ("uuid", "int4", "int8", "text", "text", "text", "bytea", "text", "text", "int8", "int8", "text", "text", "bytea",
         "bytea", "text", "bool", "text", "text", "int4", "timestamptz", "timestamptz", "timestamptz", "timestamptz", "int8",
         "int8", "text"),
    ),  # fmt: skip
    "moves": (
        """UPDATE payouts p SET state = d.state, frozen = d.frozen, reason = d.reason, attempts = d.attempts,
               returned_minor = d.returned, updated_at = d.at, finished_at = d.finished, expires_at = d.expires,
               last_event = d.event
           FROM unnest({}) AS d (payout_id, before, state, frozen, reason, attempts, returned, at, finished, expires, event)
           WHERE p.shard = $1 AND p.payout_id = d.payout_id AND p.state = d.before RETURNING 1""",
        ("uuid", "text", "text", "text", "text", "int4", "int8", "timestamptz", "timestamptz", "timestamptz", "int8"),
    ),
    "attempts": (
        """INSERT INTO attempts (shard, payout_id, number, merchant_id, state, due_at, actor)
           SELECT $1, d.payout_id, d.number, d.merchant_id, 'due', d.due_at, d.actor
           FROM unnest({}) AS d (payout_id, number, merchant_id, due_at, actor) RETURNING 1""",
        ("uuid", "int4", "int4", "timestamptz", "text"),
    ),
    "opened": (
        """UPDATE attempts a SET state = 'open', connector = d.connector, end_to_end_id = d.id, request_digest = d.digest,
               owner = d.owner, epoch = a.epoch + 1, lease_until = d.lease, opened_at = d.at, ask_at = d.lease
           FROM unnest({}) AS d (payout_id, number, before, connector, id, digest, owner, lease, at)
           WHERE a.shard = $1 AND a.payout_id = d.payout_id AND a.number = d.number AND a.state = d.before RETURNING 1""",
        ("uuid", "int4", "text", "text", "text", "bytea", "text", "timestamptz", "timestamptz"),
    ),
    "heard": (
        """UPDATE attempts a SET state = d.state, reason = d.reason, doubt_turns = d.turns, doubt_since = d.since,
               ask_at = d.ask, ended_at = d.ended, provider_reference = coalesce(d.reference, a.provider_reference)
           FROM unnest({}) AS d (payout_id, number, before, state, reason, turns, since, ask, ended, reference)
           WHERE a.shard = $1 AND a.payout_id = d.payout_id AND a.number = d.number AND a.state = d.before RETURNING 1""",
        ("uuid", "int4", "text", "text", "text", "int4", "timestamptz", "timestamptz", "timestamptz", "text"),
    ),
    "postings": (
        """INSERT INTO postings (shard, merchant_id, number, origin_id, phase, currency, source, destination, amount_minor,
               reason, at, actor)
           SELECT $1, * FROM unnest({}) RETURNING 1""",
        ("int4", "int8", "uuid", "text", "text", "text", "text", "int8", "text", "timestamptz", "text"),
    ),
    "balances": (
        """UPDATE balances b SET balance_minor = b.balance_minor + d.change
           FROM unnest({}) AS d (merchant_id, currency, account, change)
           WHERE b.shard = $1 AND b.merchant_id = d.merchant_id AND b.currency = d.currency AND b.account = d.account
           RETURNING 1""",
        ("int4", "text", "text", "int8"),
    ),
    "events": (
        """INSERT INTO events (shard, merchant_id, number, payout_id, kind, state, attempt, detail, at, actor)
           SELECT $1, * FROM unnest({}) RETURNING 1""",
        ("int4", "int8", "uuid", "text", "text", "int4", "text", "timestamptz", "text"),
    ),
    "evidence": (
        """INSERT INTO evidence (shard, end_to_end_id, digest, merchant_id, payout_id, attempt, connector, kind, verdict,
               detail, effect, heard_at, actor, clock_at)
           SELECT $1, * FROM unnest({}) RETURNING 1""",
        ("text", "bytea", "int4", "uuid", "int4", "text", "text", "text", "text", "text", "timestamptz", "text", "timestamptz"),
    ),
    "expiries": (
        """INSERT INTO expiries (shard, payout_id, merchant_id, expires_at) SELECT $1, * FROM unnest({}) RETURNING 1""",
        ("uuid", "int4", "timestamptz"),
    ),
    "top_ups": (
        """INSERT INTO top_ups (shard, merchant_id, reference, top_up_id, currency, amount_minor, at, actor)
           SELECT $1, * FROM unnest({}) RETURNING 1""",
        ("int4", "text", "uuid", "text", "int8", "timestamptz", "text"),
    ),
    "mismatches": (
        """INSERT INTO mismatches (shard, payout_id, fingerprint, at) SELECT $1, * FROM unnest({}) RETURNING 1""",
        ("uuid", "bytea", "timestamptz"),
    ),
    "counters": (
        """UPDATE merchants m SET payouts = d.payouts, postings = d.postings, events = d.events
           FROM unnest({}) AS d (merchant_id, payouts, postings, events)
           WHERE m.shard = $1 AND m.merchant_id = d.merchant_id RETURNING 1""",
        ("int4", "int8", "int8", "int8"),
    ),
}

# What matches no payout is written without a merchant's lock, so another transaction may be keeping the same message.
_BRANCHES["strays"] = (_BRANCHES["evidence"][0].replace("RETURNING", "ON CONFLICT DO NOTHING RETURNING"), _BRANCHES["evidence"][1])
_MAY_BE_THERE = frozenset({"strays"})

_statements: dict[tuple[str, ...], str] = {}


def statement_of(branches: tuple[str, ...]) -> str:
    """The one statement that writes these branches; each yields the count of its rows."""
    if branches not in _statements:
        parts, counts, first = [], [], 2
        for branch in branches:
            sql, types = _BRANCHES[branch]
            arrays = ", ".join(f"${first + n}::{kind}[]" for n, kind in enumerate(types))
            parts.append(f"{branch}_w AS ({sql.format(arrays)})")
            counts.append(f"(SELECT count(*) FROM {branch}_w)")
            first += len(types)
        _statements[branches] = f"WITH {', '.join(parts)} SELECT {', '.join(counts)}"
    return _statements[branches]


async def write_rows(tx: Transaction, shard: int, rows: dict[str, list[Row]]) -> None:
    """Write what is there, branch by branch in one statement. A row that was not written is a broken assumption."""
    branches = tuple(name for name in _BRANCHES if rows.get(name))
    if not branches:
        return
    arrays: list[list[Any]] = []
    for branch in branches:
        arrays += [list(column) for column in zip(*rows[branch], strict=True)]
    counts = await tx.fetchrow(statement_of(branches), shard, *arrays)
    if counts is None:
        raise AssertionError("the write statement returned nothing")
    for branch, count in zip(branches, counts, strict=True):
        if count != len(rows[branch]) and branch not in _MAY_BE_THERE:
            raise AssertionError(f"{branch}: {count} rows written where {len(rows[branch])} were meant")


class Unit:
    """One transaction's work on one bucket: its merchants locked, what they own, and what will be written.

    `lock` makes one. Numbers of payouts, postings and events are drawn from the locked merchants, so they have no gaps.
    """

    __slots__ = ("_balances", "_changed", "_counters", "_rows", "shard", "tx")

    def __init__(self, tx: Transaction, shard: int, counters: dict[int, list[int]]) -> None:
        self.tx = tx
        self.shard = shard
        self._counters = counters  # merchant id to [payouts, postings, events]
        self._changed: set[int] = set()
        self._rows: dict[str, list[Row]] = {}
        self._balances: dict[tuple[int, str, Account], int] = {}

    @classmethod
    async def lock(cls, tx: Transaction, shard: int, merchants: Iterable[int]) -> Unit:
        """The one lock: these merchants' rows, in id order. A merchant that does not exist is simply not in the unit."""
        found = await tx.fetch(
            """SELECT merchant_id, payouts, postings, events FROM merchants
               WHERE shard = $1 AND merchant_id = ANY ($2::int4[]) ORDER BY merchant_id FOR NO KEY UPDATE""",
            shard,
            sorted(set(merchants)),
        )
        return cls(tx, shard, {row[0]: [row[1], row[2], row[3]] for row in found})

    def knows(self, merchant_id: int) -> bool:
        return merchant_id in self._counters

    async def read_balances(self, merchants: Sequence[int]) -> None:
        """Read the available and held money of these merchants, all currencies, under the lock."""
        found = await self.tx.fetch(
            """SELECT merchant_id, currency, account, balance_minor FROM balances
               WHERE shard = $1 AND merchant_id = ANY ($2::int4[]) AND account IN ('available', 'held')""",
            self.shard,
            sorted(set(merchants)),
        )
        for row in found:
            self._balances[row[0], row[1], row[2]] = row[3]

    def available(self, merchant_id: int, currency: str) -> int:
        """What may still be spent, minor units, this unit's own postings included. Needs `read_balances`."""
        return self._balances.get((merchant_id, currency, AVAILABLE), 0)

    def next_payout(self, merchant_id: int) -> int:
        return self._next(merchant_id, 0)

    def _next(self, merchant_id: int, which: int) -> int:
        counters = self._counters[merchant_id]
        counters[which] += 1
        self._changed.add(merchant_id)
        return counters[which]

    def add(self, branch: str, row: Row) -> None:
        self._rows.setdefault(branch, []).append(row)

    def post(self, postings: Iterable[Posting], at: datetime, actor: str) -> None:
        """Write postings under the merchants' next numbers and change the balances with them."""
        rows = self._rows.setdefault("postings", [])
        for p in postings:
            number = self._next(p.merchant_id, 1)
            rows.append((p.merchant_id, number, p.origin_id, p.phase, p.currency, p.source, p.destination, p.amount_minor,
                         p.reason, at, actor))  # fmt: skip
            source, destination = (p.merchant_id, p.currency, p.source), (p.merchant_id, p.currency, p.destination)
            self._balances[source] = self._balances.get(source, 0) - p.amount_minor
            self._balances[destination] = self._balances.get(destination, 0) + p.amount_minor

    def event(
        self,
        merchant_id: int,
        payout: UUID | None,
        kind: str,
        at: datetime,
        actor: str,
        *,
        state: str | None = None,
        attempt: int | None = None,
        detail: str | None = None,
    ) -> int:
        """Tell what happened, under the merchant's next event number, which is returned."""
        number = self._next(merchant_id, 2)
        self.add("events", (merchant_id, number, payout, kind, state, attempt, detail, at, actor))
        return number

    async def write(self) -> None:
        """Write all that was gathered. The unit is spent afterwards."""
        rows = self._rows
        if self._changed:
            rows["counters"] = [(merchant, *self._counters[merchant]) for merchant in sorted(self._changed)]
        sums = self._sums()
        if sums:
            rows["balances"] = sums
            await self._make_accounts(sums)
        rows.get("strays", []).sort(key=lambda row: (row[0], row[1]))  # one order for all who keep the same messages
        later = rows.pop("attempts", []) if rows.get("heard") else []  # after the old attempt has ended, not beside it
        await write_rows(self.tx, self.shard, rows)
        if later:
            await write_rows(self.tx, self.shard, {"attempts": later})
        self._rows = {}

    def _sums(self) -> list[Row]:
        sums: dict[tuple[int, str, str], int] = {}
        for row in self._rows.get("postings", ()):
            merchant, currency, amount = row[0], row[4], row[7]
            sums[merchant, currency, row[5]] = sums.get((merchant, currency, row[5]), 0) - amount
            sums[merchant, currency, row[6]] = sums.get((merchant, currency, row[6]), 0) + amount
        return [(*key, change) for key, change in sorted(sums.items()) if change]

    async def _make_accounts(self, sums: list[Row]) -> None:
        """Accounts come into being when money first touches them; those seen committed are not asked for again."""
        accounts = [(self.shard, *row[:3]) for row in sums]
        fresh = [account for account in accounts if account not in self.tx.known_accounts]
        if fresh:
            await self.tx.execute(
                """INSERT INTO balances (shard, merchant_id, currency, account)
                   SELECT $1, * FROM unnest($2::int4[], $3::text[], $4::text[]) ON CONFLICT DO NOTHING""",
                self.shard,
                *[list(column) for column in list(zip(*fresh, strict=True))[1:]],
            )
            self.tx.learned_accounts.update(fresh)
