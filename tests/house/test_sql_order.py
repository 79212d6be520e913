"""Where the order of rows can be seen, SQL says it: the same question gives the same answer on any server, and a replay.

Lives here: which files must pass, what is excepted and why, and the tests of the lint itself (`sql_order.py`).
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tests.house import sql_order
from tests.house.determinism import Fault
from tests.house.sources import in_rooms
from tests.house.test_sql_lint import statements

ROOMS = ("operations", "storage", "workers", "api", "connectors", "simulation")
"""What the simulator runs, and the simulator."""

_HANDED_ON = "hands on the statement and the rows of whoever calls it, who is looked at"

EXCEPTIONS: dict[tuple[str, str], str] = {
    ("simulation/backend.py", "Backend.fetch"): "the auditor's one statement; what it finds is kept by key",
    ("simulation/backend.py", "Backend.look"): "counts, and what tests ask",
    ("storage/database.py", "Transaction.fetch"): _HANDED_ON,
    ("storage/payouts.py", "to_claim"): "a dict by payout and attempt; whichever row's clock is read, all rows are of one statement",
    ("storage/verify_check.py", "look"): "every check is put in order of all its columns, in the line above",
}
"""(file, function) that fetches rows in no order, and why nobody can see it."""

INNER: dict[tuple[str, str, str], str] = {
    ("storage/statement.py", "", "array_agg of rows in no order"): "reads a materialised CTE that is ordered by the same id: rows "
    "are read from it as they were put there; an order of its own would sort in every transaction",
    ("storage/statement.py", "", "LIMIT takes rows in no order"): "asks whether there is any",
    ("simulation/auditor/rows.py", "", "json_agg of rows in no order"): "the auditor's one statement; what it finds is kept by key",
}
"""(file, function, fault) inside a statement, and why."""


def _faults() -> Iterator[tuple[str, str, Fault]]:
    for source in in_rooms(*ROOMS):
        for function, fault in sql_order.faults(source.tree):
            yield source.path, function, fault


def _inner() -> Iterator[tuple[str, str, str, int]]:
    for statement in statements():
        if statement.path.startswith(tuple(f"{room}/" for room in ROOMS)):
            for what in sql_order.inner_faults(statement.text):
                yield statement.path, statement.function, what, statement.line


def test_rows_come_in_order() -> None:
    """Wherever the order of fetched rows can be seen, the statement says it; the exceptions are listed with their reasons."""
    wrong = [
        f"{path}:{fault.line} {fault.what}" for path, function, fault in _faults() if (path, function) not in EXCEPTIONS
    ]
    assert wrong == []


def test_rows_inside_statements_come_in_order() -> None:
    """Inside a statement nothing is cut off, gathered or numbered in an order that nobody said."""
    wrong = [f"{path}:{line} {what}" for path, function, what, line in _inner() if (path, function, what) not in INNER]
    assert wrong == []


def test_every_exception_is_needed() -> None:
    """An exception that nothing needs any more is taken off its list."""
    found = {(path, function) for path, function, _ in _faults()}
    assert [entry for entry in EXCEPTIONS if entry not in found] == []
    inside = {(path, function, what) for path, function, what, _ in _inner()}
    assert [entry for entry in INNER if entry not in inside] == []


# --- the lint's own tests ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sql, said",
    [
        ("SELECT a FROM t ORDER BY a", True),
        ("select a from t order by a", True),
        ("SELECT a FROM t", False),
        ("SELECT a FROM (SELECT a FROM t ORDER BY a) AS u", False),
        ("WITH u AS (SELECT a FROM t ORDER BY a) SELECT a FROM u", False),
        ("(SELECT a FROM t ORDER BY a) UNION ALL (SELECT a FROM u ORDER BY a)", False),
        ("(SELECT a FROM t ORDER BY a) UNION ALL (SELECT a FROM u) ORDER BY a", True),
        ("SELECT array_agg(a ORDER BY a) FROM t GROUP BY b", False),
        ("SELECT count(*) OVER (ORDER BY a) FROM t", False),
        ("UPDATE t SET a = 1 RETURNING b", False),
    ],
)
def test_what_is_ordered(sql: str, said: bool) -> None:
    """Only an ORDER BY outside all brackets, after the last part of the statement began, orders its rows."""
    assert sql_order.ordered(sql) is said


@pytest.mark.parametrize(
    "sql, wrong",
    [
        ("SELECT a FROM t LIMIT 1", 1),
        ("SELECT a FROM t ORDER BY a LIMIT 1", 0),
        ("SELECT a FROM (SELECT a FROM t LIMIT 5) AS u ORDER BY a", 1),
        ("(SELECT a FROM t ORDER BY a LIMIT $1) UNION ALL (SELECT a FROM u ORDER BY a LIMIT $1) LIMIT $1", 1),
        ("SELECT DISTINCT ON (a) a, b FROM t", 1),
        ("SELECT DISTINCT ON (a) a, b FROM t ORDER BY a, b", 0),
        ("SELECT string_agg(a, ',') FROM t ORDER BY b", 1),
        ("SELECT string_agg(a, ',' ORDER BY a) FROM t", 0),
        ("SELECT array_agg(f(a, g(b)) ORDER BY h(a)), json_agg(a) FROM t", 1),
        ("SELECT row_number() OVER (PARTITION BY a) FROM t", 1),
        ("SELECT row_number() OVER (PARTITION BY a ORDER BY b) FROM t", 0),
        ("SELECT count(*), sum(a), min(b), bool_or(c) FROM t GROUP BY d", 0),
    ],
)
def test_what_a_statement_does_inside(sql: str, wrong: int) -> None:
    """The lint tells what depends on an order nobody said from what does not."""
    assert len(sql_order.inner_faults(sql)) == wrong


_FETCH = 'await tx.fetch("SELECT a, b FROM t")'

SEEN = [
    f"return [row[0] for row in {_FETCH}]",
    f"return {_FETCH}",
    f"rows = {_FETCH}\n    return list(rows)",
    f"rows = {_FETCH}\n    return rows[0]",
    f"rows = {_FETCH}\n    if rows:\n        return rows",
    f"return f({_FETCH})",
    f"return sorted({_FETCH}, key=len)",
    f"return max(({_FETCH}), key=len)",
    f"for row in {_FETCH}:\n        kept.append(row)",
    f"for row in {_FETCH}:\n        kept.setdefault(row[0], []).append(row)",
    f"for row in {_FETCH}:\n        last = row\n        kept[row[0]] = row\n    return last",
    f"for row in {_FETCH}:\n        total = total + row[0]",
    f"return ','.join(row[0] for row in {_FETCH})",
    "return [row[0] for row in await tx.fetch(sql)]",
    'return [row[0] for row in await tx.fetch(f"SELECT a FROM (SELECT a FROM t ORDER BY {COLUMNS}) AS u")]',
]
UNSEEN = [
    f"return {{row[0]: row[1] for row in {_FETCH}}}",
    f"return {{row[0] for row in {_FETCH}}}",
    f"return len({_FETCH})",
    f"return dict({_FETCH})",
    f"return sorted(row[0] for row in {_FETCH})",
    f"return any(row[0] for row in {_FETCH})",
    f"rows = {_FETCH}\n    return len(rows), {{row[0]: row for row in rows}}",
    f"rows = {_FETCH}\n    return 1 if rows else 2",
    f"if not {_FETCH}:\n        raise ValueError",
    f"for row in {_FETCH}:\n        kept[row[0]] = row",
    f"for row in {_FETCH}:\n        one = f(row)\n        kept[one.key] = one",
    f"for row in {_FETCH}:\n        if row[1]:\n            kept.add(row[0])",
    'return [row[0] for row in await tx.fetch("SELECT a FROM t ORDER BY a")]',
    "return [row[0] for row in await tx.fetch(ORDERED)]",
    'return [row[0] for row in await tx.fetch(f"SELECT {COLUMNS} FROM t ORDER BY a")]',
    f"async def g():\n        return len({_FETCH})\n    return g",
    'return await tx.fetchrow("SELECT a FROM t WHERE a = $1")',
]


def _code(body: str) -> ast.Module:
    return ast.parse(f'ORDERED = "SELECT a FROM t ORDER BY a"\nCOLUMNS = "a, b"\nasync def f(tx, sql, kept, total):\n    {body}')


@pytest.mark.parametrize("body", SEEN)
def test_an_order_that_is_seen(body: str) -> None:
    """Rows in no order that are handed on, listed, joined, taken the first of, or compared with ties are caught."""
    assert [function for function, _ in sql_order.faults(_code(body))] == ["f"]


@pytest.mark.parametrize("body", UNSEEN)
def test_an_order_that_is_not_seen(body: str) -> None:
    """Rows that are kept by key, counted, sorted or asked for, and rows in a said order, pass."""
    assert sql_order.faults(_code(body)) == []
