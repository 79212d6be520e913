"""What the database itself forbids: the locks on the doors that the product's promises lean on. Read from the catalog.

Lives here: indexes, checks and grants that must stand. A database without one of them may behave for a whole run, and is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from disburse.simulation.auditor.truths import Fetch, Violation

CATALOG: Final = """
    SELECT 'index' AS what, c.relname AS place, pg_get_indexdef(i.indexrelid) AS text
    FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
    WHERE c.relnamespace = 'disburse'::regnamespace AND i.indisunique AND i.indisvalid
    UNION ALL
    SELECT 'check', c.relname, pg_get_constraintdef(k.oid) FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
    WHERE c.relnamespace = 'disburse'::regnamespace AND k.contype = 'c' AND k.convalidated
    UNION ALL
    SELECT 'grant', t, p FROM unnest(ARRAY['postings', 'events', 'evidence', 'requests', 'decisions', 'top_ups',
        'idempotency_keys']) AS t,
        unnest(ARRAY['UPDATE', 'DELETE', 'TRUNCATE']) AS p WHERE has_table_privilege('disburse_app', 'disburse.' || t, p)
        OR (p = 'UPDATE' AND has_any_column_privilege('disburse_app', 'disburse.' || t, 'UPDATE'))
    UNION ALL
    SELECT 'trigger', c.relname, g.tgname FROM pg_trigger g JOIN pg_class c ON c.oid = g.tgrelid
    WHERE c.relnamespace = 'disburse'::regnamespace
    UNION ALL
    SELECT 'trigger', tablename, rulename FROM pg_rules WHERE schemaname = 'disburse'
    UNION ALL
    SELECT 'actor', c.relname, a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
    WHERE c.relnamespace = 'disburse'::regnamespace AND c.relkind = 'r' AND a.attname = 'actor' AND NOT a.attnotnull
    UNION ALL
    SELECT 'money', c.relname, a.attname || ' ' || format_type(a.atttypid, a.atttypmod) FROM pg_attribute a
    JOIN pg_class c ON c.oid = a.attrelid
    WHERE c.relnamespace = 'disburse'::regnamespace AND c.relkind = 'r' AND NOT a.attisdropped
      AND (a.attname LIKE '%\\_minor' OR format_type(a.atttypid, NULL) IN ('numeric', 'money', 'real', 'double precision'))"""

UNIQUE: Final = {
    ("payouts", "(shard, base)"): "C1",
    ("postings", "(shard, origin_id, phase)"): "L7",
    ("postings", "(shard, merchant_id, number)"): "L9",
    ("events", "(shard, merchant_id, number)"): "W1",
    ("evidence", "(shard, end_to_end_id, digest)"): "W4",
    ("top_ups", "(shard, merchant_id, reference)"): "L7",
    ("decisions", "(shard, request_id)"): "A1",
    ("idempotency_keys", "(shard, merchant_id, key_digest)"): "C4",
}
"""Columns that no two rows of a table share, and the invariant that leans on it."""

WAITING: Final = """
    SELECT p.payout_id::text AS payout FROM disburse.payouts p LEFT JOIN disburse.expiries e USING (shard, payout_id)
    WHERE p.state IN ('created', 'unfunded') AND (e.expires_at <= p.expires_at) IS NOT TRUE"""
"""Payouts that wait for their merchant and that nobody will expire in time."""


async def stands(fetch: Fetch) -> list[Violation]:
    """The catalog, and the sweeper's list."""
    found = await fetch(CATALOG)
    waiting = [
        Violation("H6", "it waits for its merchant and will not expire in time", row["payout"])
        for row in await fetch(WAITING)
    ]
    return [*_judge([(row["what"], row["place"], row["text"]) for row in found]), *waiting]


def _judge(found: list[tuple[Any, Any, Any]]) -> Iterator[Violation]:
    indexes = [(place, text) for what, place, text in found if what == "index"]
    if not any(place == "attempts" and _forbids_a_second(text) for place, text in indexes):
        yield Violation("E1", "no index forbids a second live attempt of a payout")
    whole = {(place, text.partition(" btree ")[2]) for place, text in indexes}
    for lock, invariant in UNIQUE.items():
        if lock not in whole:
            yield Violation(invariant, f"nothing keeps {lock[1]} of {lock[0]} unique")
    checks = [(place, text) for what, place, text in found if what == "check"]
    if not any(place == "balances" and "balance_minor >= 0" in text for place, text in checks):
        yield Violation("L4", "nothing keeps balances from falling below zero")
    if not any(place == "postings" and "amount_minor >= 1" in text for place, text in checks):
        yield Violation("L6", "nothing keeps postings of nothing away")
    for what, place, text in found:
        if what == "grant":
            yield Violation("L5", f"the program may {text} {place}")
        elif what == "trigger":
            yield Violation("L5", f"{text} stands between the program and {place}")
        elif what == "actor":
            yield Violation("W1", f"a row of {place} need not name who did it")
        elif what == "money" and not text.endswith(" bigint"):
            yield Violation("L6", f"{place} has {text}")


def _forbids_a_second(definition: str) -> bool:
    """Whether a unique index holds every attempt but those that are proven to have moved nothing."""
    columns, _, where = definition.partition(" WHERE ")
    named = set(re.findall(r"'(\w+)'", where))
    return columns.endswith("(shard, payout_id)") and "<> ALL" in where and named <= {"rejected", "not_sent"}
