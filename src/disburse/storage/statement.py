"""The one statement that writes a transaction. Lives here: its branches, how it is put together, and what it guards.

Rows go out as arrays through `unnest`, each table in its own branch. The statement first locks the rows of its merchants, in id
order (the one lock rule), and draws numbers from them: a row carries its number counted from the merchant's last one, and
the place of its merchant in the sorted list of merchants. So whoever writes need not have read any counter before, and a
transaction that had nothing to read is this statement alone.

What is to happen after a while (a try, a question, an expiry) is handed in as seconds, and the statement adds them to the database's clock, which it
reads once it has its locks: the one clock that all processes share (decision 19).

Every branch is guarded: an update names the state it expects, and a branch that wrote fewer rows than it was given fails the
whole statement (`GuardFailed`), as a unique key or a balance below zero does. Nothing is ever half written.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import asyncpg

from disburse.storage.database import GuardFailed, Transaction

Row = tuple[Any, ...]

_EVIDENCE = """INSERT INTO evidence (shard, end_to_end_id, digest, merchant_id, payout_id, attempt, connector, kind, verdict, detail,
               effect, heard_at, actor, clock_at)
           SELECT $1, d.id, d.digest, $2[d.m], d.payout_id, d.attempt, d.connector, d.kind, d.verdict, d.detail, d.effect,
               d.at, d.actor, d.clock
           FROM unnest({}) AS d (id, digest, m, payout_id, attempt, connector, kind, verdict, detail, effect, at, actor, clock)
           WHERE (SELECT held FROM base)"""
_EVIDENCE_TYPES = ("text", "bytea", "int4", "uuid", "int4", "text", "text", "text", "text", "text", "timestamptz", "text",
                   "timestamptz")  # fmt: skip

# name, statement with a gap for the arrays, their types. Every branch returns one row a written row, so that they can be counted.
# The state that a row must have comes as a value: written as 'due', it would let the planner walk the index of all that is due.
# What a provider spoke of is opened for nobody, and an attempt changes only as it was opened when it was read.
# `held` stands in every branch, so that nothing is touched before every lock is had.
_BRANCHES: dict[str, tuple[str, tuple[str, ...]]] = {
    "payouts": (
        """INSERT INTO payouts (shard, payout_id, merchant_id, number, surface, reference, base, fingerprint, rail, currency,
               amount_minor, fee_minor, amount_text, display, destination_digest, sealed, comment, sandbox_only, state,
               attempts, created_at, expires_at, updated_at, first_event, last_event, actor)
           SELECT $1, d.payout_id, $2[d.m], (SELECT payouts FROM base)[d.m] + d.number, d.surface, d.reference, d.base,
               d.fingerprint, d.rail, d.currency, d.amount, d.fee, d.amount_text, d.display, d.destination, d.sealed, d.comment,
               d.sandbox_only, d.state, d.attempts, d.at, (SELECT clock FROM base) + d.expires_in * interval '1 second', d.at,
               (SELECT events FROM base)[d.m] + d.event,
               (SELECT events FROM base)[d.m] + d.event, d.actor
           FROM unnest({}) AS d (payout_id, m, number, surface, reference, base, fingerprint, rail, currency, amount, fee,
               amount_text, display, destination, sealed, comment, sandbox_only, state, attempts, at, expires_in, event, actor)
           WHERE (SELECT held FROM base) RETURNING 1""",
        ("uuid", "int4", "int8", "text", "text", "text", "bytea", "text", "text", "int8", "int8", "text", "text", "bytea",
         "bytea", "text", "bool", "text", "int4", "timestamptz", "float8", "int8", "text"),
    ),
    "moves": (
        """UPDATE payouts p SET state = d.state, frozen = d.frozen, reason = d.reason, attempts = d.attempts,
               returned_minor = d.returned, updated_at = d.at, finished_at = d.finished, expires_at = d.expires,
               last_event = (SELECT events FROM base)[d.m] + d.event
           FROM unnest({}) AS d (payout_id, m, seen, before, state, frozen, reason, attempts, returned, at, finished, expires,
               event)
           WHERE p.shard = $1 AND p.payout_id = d.payout_id AND p.state = d.before AND p.last_event = d.seen
               AND (SELECT held FROM base) RETURNING 1""",
        ("uuid", "int4", "int8", "text", "text", "text", "text", "int4", "int8", "timestamptz", "timestamptz", "timestamptz",
         "int8"),
    ),
    "attempts": (
        """INSERT INTO attempts (shard, payout_id, number, merchant_id, state, due_at, actor)
           SELECT $1, d.payout_id, d.number, $2[d.m], 'due', (SELECT clock FROM base) + d.due_in * interval '1 second', d.actor
           FROM unnest({}) AS d (payout_id, number, m, due_in, actor) WHERE (SELECT held FROM base) RETURNING 1""",
        ("uuid", "int4", "int4", "float8", "text"),
    ),
    "opened": (
        """UPDATE attempts a SET state = 'open', connector = d.connector, end_to_end_id = d.id, request_digest = d.digest,
               owner = d.owner, epoch = a.epoch + 1, lease_until = d.lease, opened_at = d.at, ask_at = d.lease
           FROM unnest({}) AS d (payout_id, number, before, connector, id, digest, owner, lease, at)
           WHERE a.shard = $1 AND a.payout_id = d.payout_id AND a.number = d.number AND a.state = d.before
               AND (SELECT held FROM base) AND (d.owner = 'nobody' OR (
                   SELECT e.digest FROM evidence e WHERE e.shard = $1 AND e.end_to_end_id = d.id LIMIT 1) IS NULL) RETURNING 1""",
        ("uuid", "int4", "text", "text", "text", "bytea", "text", "timestamptz", "timestamptz"),
    ),
    "heard": (
        """UPDATE attempts a SET state = d.state, reason = d.reason, doubt_turns = d.turns,
               doubt_since = CASE WHEN d.state <> 'unknown' THEN NULL WHEN d.before = 'unknown' THEN a.doubt_since
                   ELSE (SELECT clock FROM base) END,
               ask_at = CASE WHEN d.state = d.before THEN a.ask_at ELSE (SELECT clock FROM base) + d.ask_in * interval '1 second' END,
               ended_at = d.ended, provider_reference = coalesce(a.provider_reference, d.reference),
               asked = CASE WHEN d.state = d.before THEN a.asked ELSE 0 END
           FROM unnest({}) AS d (payout_id, number, before, state, reason, turns, ask_in, ended, reference, opened)
           WHERE a.shard = $1 AND a.payout_id = d.payout_id AND a.number = d.number AND a.state = d.before
               AND (d.opened IS NULL OR a.opened_at = d.opened) AND (SELECT held FROM base) RETURNING 1""",
        ("uuid", "int4", "text", "text", "text", "int4", "float8", "timestamptz", "text", "timestamptz"),
    ),
    "postings": (
        """INSERT INTO postings (shard, merchant_id, number, origin_id, phase, currency, source, destination, amount_minor,
               reason, at, actor)
           SELECT $1, $2[d.m], (SELECT postings FROM base)[d.m] + d.number, d.origin, d.phase, d.currency, d.source,
               d.destination, d.amount, d.reason, d.at, d.actor
           FROM unnest({}) AS d (m, number, origin, phase, currency, source, destination, amount, reason, at, actor)
           WHERE (SELECT held FROM base) RETURNING 1""",
        ("int4", "int8", "uuid", "text", "text", "text", "text", "int8", "text", "timestamptz", "text"),
    ),
    "balances": (
        """UPDATE balances b SET balance_minor = b.balance_minor + d.change
           FROM unnest({}) WITH ORDINALITY AS d (m, currency, account, change, place)
           WHERE b.shard = $1 AND b.merchant_id = $2[d.m] AND b.currency = d.currency AND b.account = d.account
               AND (SELECT held FROM base) RETURNING b.balance_minor, d.place""",
        ("int4", "text", "text", "int8"),
    ),
    "events": (
        """INSERT INTO events (shard, merchant_id, number, payout_id, kind, state, attempt, detail, at, actor, previous,
               returned_minor)
           SELECT $1, $2[d.m], (SELECT events FROM base)[d.m] + d.number, d.payout_id, d.kind, d.state, d.attempt, d.detail,
               d.at, d.actor, CASE WHEN d.previous < 0 THEN (SELECT events FROM base)[d.m] - d.previous ELSE d.previous END,
               d.returned
           FROM unnest({}) AS d (m, number, payout_id, kind, state, attempt, detail, at, actor, previous, returned)
           WHERE (SELECT held FROM base) RETURNING 1""",
        ("int4", "int8", "uuid", "text", "text", "int4", "text", "timestamptz", "text", "int8", "int8"),
    ),
    "evidence": (f"{_EVIDENCE} RETURNING 1", _EVIDENCE_TYPES),
    # What matches no payout is written without a merchant's lock, so another transaction may be keeping the same message. And what
    # changes nothing may have been kept before.
    "strays": (f"{_EVIDENCE} ON CONFLICT DO NOTHING RETURNING 1", _EVIDENCE_TYPES),
    "expiries": (
        """INSERT INTO expiries (shard, payout_id, merchant_id, expires_at)
           SELECT $1, d.payout_id, $2[d.m], (SELECT clock FROM base) + d.expires_in * interval '1 second'
           FROM unnest({}) AS d (payout_id, m, expires_in) WHERE (SELECT held FROM base) RETURNING 1""",
        ("uuid", "int4", "float8"),
    ),
    "payout_payees": (
        """INSERT INTO payout_payees (shard, payout_id, merchant_id, payee_id)
           SELECT $1, d.payout_id, $2[d.m], d.payee FROM unnest({}) AS d (payout_id, m, payee)
           WHERE (SELECT held FROM base) RETURNING 1""",
        ("uuid", "int4", "uuid"),
    ),
    "schedules": (
        """INSERT INTO schedules (shard, payout_id, merchant_id, execute_at, look_at)
           SELECT $1, d.payout_id, $2[d.m], d.at, d.at FROM unnest({}) AS d (payout_id, m, at)
           WHERE (SELECT held FROM base)
           ON CONFLICT (shard, payout_id) DO UPDATE
           SET execute_at = excluded.execute_at, look_at = excluded.look_at, done_at = NULL RETURNING 1""",
        ("uuid", "int4", "timestamptz"),
    ),
    "unfunded": (
        """INSERT INTO unfunded (shard, merchant_id, number, payout_id, currency, needed_minor, look_at)
           SELECT $1, $2[d.m], d.number, d.payout_id, d.currency, d.needed, (SELECT clock FROM base)
           FROM unnest({}) AS d (payout_id, m, number, currency, needed) WHERE (SELECT held FROM base) RETURNING 1""",
        ("uuid", "int4", "int8", "text", "int8"),
    ),
    "funded": (
        """DELETE FROM unfunded u USING unnest({}) AS d (number, m)
           WHERE u.shard = $1 AND u.merchant_id = $2[d.m] AND u.number = d.number AND (SELECT held FROM base) RETURNING 1""",
        ("int8", "int4"),
    ),
    "limit_uses": (
        """INSERT INTO limit_uses (shard, payout_id, merchant_id, currency, amount_minor, rail, payee, on_day)
           SELECT $1, d.payout_id, $2[d.m], d.currency, d.amount, d.rail, d.payee, d.day
           FROM unnest({}) AS d (payout_id, m, currency, amount, rail, payee, day) WHERE (SELECT held FROM base) RETURNING 1""",
        ("uuid", "int4", "text", "int8", "text", "bytea", "date"),
    ),
    "limit_counters": (
        """INSERT INTO limit_counters (shard, merchant_id, currency, period, starts_on, scope, payouts, amount_minor)
           SELECT $1, $2[d.m], d.currency, d.period, d.starts, d.scope, d.payouts, d.amount
           FROM unnest({}) AS d (scope, m, currency, period, starts, payouts, amount) WHERE (SELECT held FROM base)
           ON CONFLICT (shard, merchant_id, currency, period, starts_on, scope) DO UPDATE
           SET payouts = limit_counters.payouts + excluded.payouts,
               amount_minor = limit_counters.amount_minor + excluded.amount_minor RETURNING 1""",
        ("text", "int4", "text", "text", "date", "int8", "int8"),
    ),
    # What gave its money back gives back what it used; of a merchant without limits nothing is found.
    "given_back": (
        """UPDATE limit_counters c SET payouts = c.payouts - back.payouts, amount_minor = c.amount_minor - back.amount
           FROM (SELECT u.merchant_id, u.currency, k.period, k.starts_on, k.scope, count(*) AS payouts,
                     sum(u.amount_minor)::int8 AS amount
                 FROM unnest({}) AS d (payout_id) JOIN limit_uses u ON u.shard = $1 AND u.payout_id = d.payout_id
                 CROSS JOIN LATERAL (SELECT p.period, p.starts_on, s.scope
                     FROM (VALUES ('day', u.on_day), ('month', date_trunc('month', u.on_day::timestamp)::date)) AS p (period, starts_on),
                          (VALUES (''), ('rail:' || u.rail), ('payee:' || encode(u.payee, 'hex'))) AS s (scope)) AS k
                 GROUP BY 1, 2, 3, 4, 5) AS back
           WHERE c.shard = $1 AND c.merchant_id = back.merchant_id AND c.currency = back.currency AND c.period = back.period
               AND c.starts_on = back.starts_on AND c.scope = back.scope AND (SELECT held FROM base) RETURNING 1""",
        ("uuid",),
    ),
    "approval_needs": (
        """INSERT INTO approval_needs (shard, subject_id, digest, merchant_id, kind, needed, summary, maker, at, actor)
           SELECT $1, d.subject, d.digest, $2[d.m], d.kind, d.needed, d.summary, d.maker, d.at, d.actor
           FROM unnest({}) AS d (subject, m, digest, kind, needed, summary, maker, at, actor)
           WHERE (SELECT held FROM base) RETURNING 1""",
        ("uuid", "int4", "bytea", "text", "int4", "text", "text", "timestamptz", "text"),
    ),
    "approvals": (
        """INSERT INTO approvals (shard, subject_id, digest, actor, merchant_id, verdict, why, at)
           SELECT $1, d.subject, d.digest, d.actor, $2[d.m], d.verdict, d.why, d.at
           FROM unnest({}) AS d (subject, m, digest, actor, verdict, why, at) WHERE (SELECT held FROM base) RETURNING 1""",
        ("uuid", "int4", "bytea", "text", "text", "text", "timestamptz"),
    ),
    "top_ups": (
        """INSERT INTO top_ups (shard, merchant_id, reference, top_up_id, currency, amount_minor, at, actor)
           SELECT $1, $2[d.m], d.reference, d.id, d.currency, d.amount, d.at, d.actor
           FROM unnest({}) AS d (m, reference, id, currency, amount, at, actor) WHERE (SELECT held FROM base) RETURNING 1""",
        ("int4", "text", "uuid", "text", "int8", "timestamptz", "text"),
    ),
    "mismatches": (
        """INSERT INTO mismatches (shard, payout_id, fingerprint, at)
           SELECT $1, d.* FROM unnest({}) AS d (payout_id, fingerprint, at) WHERE (SELECT held FROM base) RETURNING 1""",
        ("uuid", "bytea", "timestamptz"),
    ),
    "keys": (
        """INSERT INTO idempotency_keys (shard, merchant_id, key_digest, fingerprint, payout_id, refusal, detail, at, actor)
           SELECT $1, $2[d.m], d.digest, d.fingerprint, d.payout_id, d.refusal, d.detail, d.at, d.actor
           FROM unnest({}) AS d (digest, m, fingerprint, payout_id, refusal, detail, at, actor)
           WHERE (SELECT held FROM base) RETURNING 1""",
        ("bytea", "int4", "bytea", "uuid", "text", "text", "timestamptz", "text"),
    ),
    "routings": (
        """INSERT INTO routings (shard, payout_id, number, merchant_id, decision, since, at)
           SELECT $1, d.payout_id, d.number, $2[d.m], d.decision, d.since, d.at
           FROM unnest({}) AS d (payout_id, number, m, decision, since, at) WHERE (SELECT held FROM base)
           ON CONFLICT (shard, payout_id, number) DO UPDATE
           SET decision = excluded.decision, at = excluded.at, looked = routings.looked + 1 RETURNING 1""",
        ("uuid", "int4", "int4", "text", "timestamptz", "timestamptz"),
    ),
    # A registry's place: rows from the one after `seen` to `last` are dealt with by this transaction, and by no other.
    "registry": (
        """UPDATE registries r SET applied_to = d.last, made = r.made + d.made, found = r.found + d.found, refused = r.refused + d.refused,
               waits = NULL, updated_at = d.at
           FROM unnest({}) AS d (registry_id, seen, last, made, found, refused, before, at)
           WHERE r.shard = $1 AND r.registry_id = d.registry_id AND r.applied_to = d.seen AND r.state = d.before AND r.given_up = 0
               AND (SELECT held FROM base) RETURNING 1""",
        ("uuid", "int4", "int4", "int4", "int4", "int4", "text", "timestamptz"),
    ),
    "fates": (
        """INSERT INTO registry_fates (shard, registry_id, number, fate, payout_id, reason, at, actor)
           SELECT $1, d.registry_id, d.number, d.fate, d.payout_id, d.reason, d.at, d.actor
           FROM unnest({}) AS d (registry_id, number, fate, payout_id, reason, at, actor) WHERE (SELECT held FROM base) RETURNING 1""",
        ("uuid", "int4", "text", "uuid", "text", "timestamptz", "text"),
    ),
    "counters": (
        """UPDATE merchants w SET payouts = w.payouts + d.payouts, postings = w.postings + d.postings, events = w.events + d.events
           FROM unnest({}) AS d (m, payouts, postings, events)
           WHERE w.shard = $1 AND w.merchant_id = $2[d.m] AND (SELECT held FROM base) RETURNING 1""",
        ("int4", "int8", "int8", "int8"),
    ),
}  # fmt: skip
_MAY_BE_THERE = frozenset({"strays", "given_back"})

# A guard that does not hold turns into a cast that fails and names it: a constant error would be raised by the planner.
_OPENING = """WITH locked AS MATERIALIZED (
        SELECT payouts, postings, events, ruled FROM merchants
        WHERE shard = $1 AND merchant_id = ANY ($2::int4[]) ORDER BY merchant_id FOR NO KEY UPDATE),
    base AS MATERIALIZED (
        SELECT array_agg(payouts) AS payouts, array_agg(postings) AS postings, array_agg(events) AS events,
            bool_or(ruled) AS ruled, (CASE WHEN count(*) = cardinality($2::int4[]) THEN 'true' ELSE 'merchants' END)::boolean AS held
        FROM locked)"""
_TIMED_OPENING = _OPENING.replace("AS ruled,", "AS ruled, clock_timestamp() AS clock,")  # of the one row of `base`: read once, after the locks
_TIMED = frozenset(name for name, (sql, _) in _BRANCHES.items() if "(SELECT clock FROM base)" in sql)

_ROWS = re.compile(r"unnest\(\{\}\) AS d \(([^)]*)\)")
_NARROWED = frozenset(name for name, (sql, _) in _BRANCHES.items() if _ROWS.search(sql))
"""Branches whose columns may be said once: all but those that count their rows by their places."""

_statements: dict[tuple[tuple[str, ...], bool], str] = {}


def _filled(sql: str, types: Sequence[str], first: int) -> str:
    """A branch with its arrays in the gap. Of a column that says the same in every row its array holds one value, for all."""
    arrays = [f"${first + n}::{kind}[]" for n, kind in enumerate(types)]
    names = _ROWS.search(sql)
    if names is None:
        return sql.format(", ".join(arrays))
    columns = [name.strip() for name in names[1].split(",")]
    wide = [f"u.{columns[0]}"]
    for name, array in zip(columns[1:], arrays[1:], strict=True):
        wide.append(f"CASE WHEN cardinality({array}) = 1 THEN ({array})[1] ELSE u.{name} END AS {name}")
    rows = f"(SELECT {', '.join(wide)} FROM unnest({', '.join(arrays)}) AS u ({', '.join(columns)})) AS d"
    return f"{sql[: names.start()]}{rows}{sql[names.end() :]}"


def statement_of(branches: tuple[str, ...], unruled: bool = False) -> str:
    """The one statement that writes these branches; `unruled`: only for merchants without limits and policies."""
    if (branches, unruled) not in _statements:
        timed = not _TIMED.isdisjoint(branches)
        parts, guards, first = [_TIMED_OPENING if timed else _OPENING], ["(CASE WHEN ruled THEN 'ruled' ELSE '1' END)::int"] if unruled else [], 3
        for branch in branches:
            sql, types = _BRANCHES[branch]
            parts.append(f"{branch}_w AS ({_filled(sql, types, first)})")
            if branch not in _MAY_BE_THERE:
                count = f"(SELECT count(*) FROM {branch}_w) = cardinality(${first}::{types[0]}[])"
                guards.append(f"(CASE WHEN {count} THEN '1' ELSE '{branch}' END)::int")
            first += len(types)
        balances = "(SELECT array_agg(balance_minor ORDER BY place) FROM balances_w)" if "balances" in branches else "NULL"
        told = f"payouts, postings, events, {balances}, {'clock' if timed else 'NULL'}, {' + '.join(guards) or '0'}"
        _statements[branches, unruled] = f"{', '.join(parts)} SELECT {told} FROM base"
    return _statements[branches, unruled]


def _columns(rows: Sequence[Row]) -> list[Sequence[Any]]:
    """Rows as columns; one that says the same in every row is said once. The first column never is: it tells how many rows."""
    first, *more = zip(*rows, strict=True)
    return [first, *[column[:1] if _same(column) else column for column in more]]


def _same(column: Sequence[Any]) -> bool:
    return column[0] == column[-1] and column.count(column[0]) == len(column)  # most that differ do so at their ends already


async def write_rows(
    tx: Transaction, shard: int, merchants: Sequence[int], rows: dict[str, list[Row]], *, unruled: bool = False
) -> Any:
    """Write what is there; `unruled`: if none of the merchants has limits or policies. Returns the merchants' last payout, posting and event numbers before it, the new balances,
    and the database's clock, where it was read.

    `merchants` are sorted; rows name them by their place in it, from one. Raises GuardFailed, and what the keys raise.
    """
    branches = tuple(name for name in _BRANCHES if rows.get(name))
    if not branches:
        return None
    arrays: list[Any] = []
    for branch in branches:
        arrays += _columns(rows[branch]) if branch in _NARROWED else zip(*rows[branch], strict=True)
    try:
        return await tx.fetchrow(statement_of(branches, unruled), shard, merchants, *arrays)
    except asyncpg.exceptions.InvalidTextRepresentationError as failed:
        raise GuardFailed(str(failed).rpartition('"')[0].rpartition('"')[2]) from None


_USUAL: tuple[tuple[str, ...], ...] = (
    ("payouts", "attempts", "postings", "balances", "events", "counters"),
    ("moves", "opened", "postings", "balances", "events", "counters"),
    ("moves", "heard", "postings", "balances", "events", "evidence", "counters"),
)
"""What nearly every payout's three transactions write: when it is made, claimed, and answered for."""


async def rehearse(tx: Transaction) -> None:
    """Have a connection prepare and plan the usual statements, by writing no row with each."""
    for branches in _USUAL:
        sql = statement_of(branches, unruled="payouts" in branches)  # as a hopeful transaction writes them
        await tx.fetchrow(sql, 0, [], *[[] for branch in branches for _ in _BRANCHES[branch][1]])
