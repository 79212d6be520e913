"""What the auditor reads and remembers: raw rows, by its own statement, and what a commit changed of them.

Lives here: the one statement, `Memory` (every row as it was last seen, and where to find a payout's) and `News` (what is new or
different since). May not live here: any judgement about it.

A commit's rows are found by their `xmin`: every version of a row that was written since the last look has a newer one. What was
deleted shows in the counts of rows alone, so each table is counted too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

Row = dict[str, Any]
"""A row as JSON tells it: ids, times and bytes are texts, money is whole numbers."""

Key = tuple[Any, ...]

KEYS: Final[dict[str, tuple[str, ...]]] = {
    "merchants": ("shard", "merchant_id"),
    "top_ups": ("shard", "merchant_id", "reference"),
    "payouts": ("shard", "payout_id"),
    "attempts": ("shard", "payout_id", "number"),
    "postings": ("shard", "merchant_id", "number"),
    "balances": ("shard", "merchant_id", "currency", "account"),
    "events": ("shard", "merchant_id", "number"),
    "evidence": ("shard", "end_to_end_id", "digest"),
    "mismatches": ("shard", "payout_id", "fingerprint"),
    "requests": ("shard", "request_id"),
    "decisions": ("shard", "request_id"),
    "routings": ("shard", "payout_id", "number"),
}
ONLY_ADDED_TO: Final = ("top_ups", "postings", "events", "evidence", "mismatches", "requests", "decisions")
_WHOSE: Final = {"postings": "origin_id", "payouts": "payout_id", "attempts": "payout_id", "events": "payout_id",
                 "evidence": "payout_id", "mismatches": "payout_id", "routings": "payout_id"}  # fmt: skip
"""The column that says whose payout a row is."""

FROM_THE_BEGINNING: Final = "1"
"""A transaction older than every other."""

READ: Final = """
    WITH since AS MATERIALIZED (SELECT age($1::text::xid) AS age)
    SELECT 'merchants' AS name, count(*) AS rows,
        json_agg(t) FILTER (WHERE age(t.xmin) <= (SELECT age FROM since))::text AS changed FROM disburse.merchants t
    UNION ALL SELECT 'top_ups', count(*), json_agg(t) FILTER (WHERE age(t.xmin) <= (SELECT age FROM since))::text FROM disburse.top_ups t
    UNION ALL SELECT 'payouts', count(*), json_agg(t) FILTER (WHERE age(t.xmin) <= (SELECT age FROM since))::text FROM disburse.payouts t
    UNION ALL SELECT 'attempts', count(*), json_agg(t) FILTER (WHERE age(t.xmin) <= (SELECT age FROM since))::text FROM disburse.attempts t
    UNION ALL SELECT 'postings', count(*), json_agg(t) FILTER (WHERE age(t.xmin) <= (SELECT age FROM since))::text FROM disburse.postings t
    UNION ALL SELECT 'balances', count(*), json_agg(t) FILTER (WHERE age(t.xmin) <= (SELECT age FROM since))::text FROM disburse.balances t
    UNION ALL SELECT 'events', count(*), json_agg(t) FILTER (WHERE age(t.xmin) <= (SELECT age FROM since))::text FROM disburse.events t
    UNION ALL SELECT 'evidence', count(*), json_agg(t) FILTER (WHERE age(t.xmin) <= (SELECT age FROM since))::text FROM disburse.evidence t
    UNION ALL SELECT 'mismatches', count(*), json_agg(t) FILTER (WHERE age(t.xmin) <= (SELECT age FROM since))::text FROM disburse.mismatches t
    UNION ALL SELECT 'requests', count(*), json_agg(t) FILTER (WHERE age(t.xmin) <= (SELECT age FROM since))::text FROM disburse.requests t
    UNION ALL SELECT 'decisions', count(*), json_agg(t) FILTER (WHERE age(t.xmin) <= (SELECT age FROM since))::text FROM disburse.decisions t
    UNION ALL SELECT 'routings', count(*), json_agg(t) FILTER (WHERE age(t.xmin) <= (SELECT age FROM since))::text FROM disburse.routings t
    UNION ALL SELECT '', 0, pg_snapshot_xmin(pg_current_snapshot())::xid::text"""
"""How many rows each table has, and those whose last version is of this transaction or a later one; and from which on to read next."""

_NAMES: Final = re.compile(rf"\b(?:{'|'.join(KEYS)})\b")


@cache
def speaks_of(statement: str) -> bool:
    """Whether a statement names a table that is read here. One that does not cannot change any: nothing stands between a statement
    and its tables that would (`schema.py`), and what were changed all the same is found in the end to be other than it was seen.
    """
    return _NAMES.search(statement) is not None


def nobody(row: Row) -> bool:
    """Whether a row names no actor."""
    return not (row["actor"] or "").strip()


@dataclass(slots=True)
class News:
    """What one look found: rows never seen before, rows that were otherwise (before, now), and how many of a table are gone."""

    fresh: dict[str, list[Row]] = field(default_factory=dict)
    changed: dict[str, list[tuple[Row, Row]]] = field(default_factory=dict)
    gone: dict[str, int] = field(default_factory=dict)
    texts: list[tuple[str, str]] = field(default_factory=list)
    """Tables of which rows were read, and the JSON of those."""

    def new(self, table: str) -> list[Row]:
        return self.fresh.get(table, [])

    def now(self, table: str) -> list[Row]:
        """Fresh and changed rows, as they are now."""
        return [*self.new(table), *[after for _, after in self.changed.get(table, [])]]

    def payouts(self) -> list[str]:
        """Every payout, or whatever money was posted for, that a row of this news speaks of; each once."""
        found = (row[column] for table, column in _WHOSE.items() for row in self.now(table))
        return [one for one in dict.fromkeys(found) if one is not None]

    def merchants(self) -> list[tuple[int, int]]:
        """Every merchant (shard, number) whose books, numbers or counters moved."""
        tables = ("merchants", "payouts", "postings", "balances", "events")
        return list(dict.fromkeys((row["shard"], row["merchant_id"]) for table in tables for row in self.now(table)))


@dataclass(slots=True)
class Memory:
    """Every row as it was last seen, what belongs to a payout, and what the auditor reckoned itself."""

    since: str = FROM_THE_BEGINNING
    tables: dict[str, dict[Key, Row]] = field(default_factory=lambda: {name: {} for name in KEYS})
    payouts: dict[str, Row] = field(default_factory=dict)
    by_obligation: dict[Key, dict[str, None]] = field(default_factory=dict)
    """Payouts by (merchant, surface, reference), and by (base,)."""
    by_key: dict[tuple[str, str], Row] = field(default_factory=dict)
    """Attempts by connector and end-to-end id, and by connector and provider's reference."""
    sums: dict[tuple[int, int, str, str], int] = field(default_factory=dict)
    """Own balances: shard, merchant, currency, account to minor units."""
    numbers: dict[tuple[str, int, int], int] = field(default_factory=dict)
    """The last number of a table's rows: table, shard, merchant."""
    phases: dict[tuple[str, str], Row] = field(default_factory=dict)
    """Postings by origin and phase."""
    origins: dict[str, Row] = field(default_factory=dict)
    """Top-ups and requests by their ids."""
    told: dict[str, str] = field(default_factory=dict)
    """The state that a payout's last event named."""
    seen: dict[str, int] = field(default_factory=dict)
    """The number of the last event of a request's payout when it was asked for, by the request's id."""
    _of: dict[tuple[str, str], dict[Key, Row]] = field(default_factory=dict)

    def of(self, table: str, payout: str) -> list[Row]:
        """A payout's rows of a table, in the order they came."""
        return list(self._of.get((table, payout), {}).values())

    def last_event(self, payout: str, *, before: News | None = None) -> int:
        """The number of a payout's last event that names a state, of those that stood `before`; 0 when there is none."""
        fresh = {row["number"] for row in before.new("events") if row["payout_id"] == payout} if before is not None else ()
        told = (row["number"] for row in self.of("events", payout) if row["state"] is not None)
        return max((number for number in told if number not in fresh), default=0)

    def attempts(self, payout: str) -> list[Row]:
        return sorted(self.of("attempts", payout), key=lambda row: int(row["number"]))

    def take(self, rows: Iterable[Any]) -> News:
        """Remember what was read; what was new or different in it."""
        news = News()
        for one in rows:
            name, count, changed = one["name"], one["rows"], one["changed"]
            if not name:
                self.since = changed
                continue
            for row in json.loads(changed) if changed is not None else ():
                self._compare(name, row, news)
            if changed is not None:
                news.texts.append((name, changed))
            if len(self.tables[name]) != count:
                news.gone[name] = len(self.tables[name]) - count
        return news

    def _compare(self, name: str, row: Row, news: News) -> None:
        key = tuple([row[column] for column in KEYS[name]])
        before = self.tables[name].get(key)
        if before is None:
            news.fresh.setdefault(name, []).append(row)
        elif before != row:
            news.changed.setdefault(name, []).append((before, row))
        else:
            return
        self._keep(name, key, row)

    def _keep(self, name: str, key: Key, row: Row) -> None:
        self.tables[name][key] = row
        if name in _WHOSE and row[_WHOSE[name]] is not None:
            self._of.setdefault((name, row[_WHOSE[name]]), {})[key] = row
        if name == "payouts":
            self.payouts[row["payout_id"]] = row
            self.by_obligation.setdefault((row["base"],), {})[row["payout_id"]] = None
            if row["reference"] is not None:
                obligation = (row["merchant_id"], row["surface"], row["reference"])
                self.by_obligation.setdefault(obligation, {})[row["payout_id"]] = None
        elif name == "attempts":
            for known_by in (row["end_to_end_id"], row["provider_reference"]):
                if known_by is not None:
                    self.by_key[row["connector"], known_by] = row
        elif name in ("top_ups", "requests"):
            self.origins[row["top_up_id" if name == "top_ups" else "request_id"]] = row
