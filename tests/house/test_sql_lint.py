"""SQL in the open, as design.md section 5 wants it: written by hand, values as parameters, one bucket a hot statement."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import pytest

from tests.house.sources import PACKAGE, Source, docstrings, owner_of, sources

# --- finding SQL in Python ---------------------------------------------------------------------------------------

SQL = re.compile(
    r"\s*(?:SELECT|INSERT INTO|UPDATE|DELETE FROM|WITH|CREATE|ALTER|DROP|GRANT|REVOKE|TRUNCATE|SET|BEGIN|COMMIT|ROLLBACK"
    r"|LISTEN|NOTIFY|COPY|ANALYZE|VACUUM|LOCK|EXPLAIN|RESET)\b(?!:)"
)
CONSTANT = re.compile(r"_?[A-Z][A-Z0-9_]*")


@dataclass(frozen=True, slots=True)
class Statement:
    """A text that is SQL, what is interpolated into it standing as `{expression}`, and where it stands."""

    path: str
    line: int
    function: str
    text: str
    filled: tuple[ast.expr, ...] = ()


def statements_of(source: Source) -> Iterator[Statement]:
    """Every text of a file that begins as SQL does, docstrings apart."""
    apart, owners = docstrings(source.tree), owner_of(source)
    joined = [node for node in ast.walk(source.tree) if isinstance(node, ast.JoinedStr)]
    apart |= {id(part) for node in joined for part in node.values}
    for node in ast.walk(source.tree):
        filled: tuple[ast.expr, ...] = ()
        if isinstance(node, ast.JoinedStr):
            filled = tuple(part.value for part in node.values if isinstance(part, ast.FormattedValue))
            text = "".join(
                str(part.value) if isinstance(part, ast.Constant) else f"{{{ast.unparse(part.value)}}}"  # type: ignore[attr-defined]
                for part in node.values
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in apart:
            text = node.value
        else:
            continue
        if SQL.match(text):
            yield Statement(source.path, node.lineno, owners.get(id(node), ""), text, filled)


@cache
def statements() -> tuple[Statement, ...]:
    """All SQL of the package."""
    return tuple(statement for source in sources() for statement in statements_of(source))


# --- where it may stand ------------------------------------------------------------------------------------------

BESIDE_ITS_OPERATION = {
    "operations/evidence.py": "which messages were heard before: asked nowhere else",
    "operations/payouts.py": "which mismatches were told before: asked nowhere else",
    "operations/merchants.py": "top-ups known by reference, a merchant a person names by id alone: asked nowhere else",
    "operations/standing.py": "what the attempts tell of a payout: asked nowhere else",
    "operations/installation.py": "the installation's one row",
    "operations/operators.py": "operators: a few rows, no bucket",
    "cli/": "the demo and the bench look at the database from beside us",
    "simulation/backend.py": "a database made empty, and a clock put before PostgreSQL's",
    "simulation/grid.py": "knows a writing statement by its words",
    "simulation/store.py": "knows a transaction's beginning and end by their words",
    "simulation/persons.py": "what a simulated person sees on the screen, read from beside the product",
    "simulation/visitors.py": "the same, for those who decide too early",
    "simulation/day.py": "whether anything is left undecided",
    "simulation/nights.py": "when what nobody executed expires",
    "simulation/scenes.py": "whether a scene of the day is still under way",
    "simulation/approvers.py": "what simulated persons see on the screen, read from beside the product",
    "simulation/registries.py": "what simulated persons see on the screen, read from beside the product",
    "simulation/auditor/": "the auditor of a simulated run reads raw rows by SQL of its own, and shares none of ours",
}
"""Files outside storage with SQL, and why it stands there: style.md section 7 wants it beside the function that uses it."""


def test_sql_stands_in_storage() -> None:
    """SQL stands in storage, and beside the few operations that alone ask a question; nowhere else."""
    found = {statement.path for statement in statements() if not statement.path.startswith("storage/")}
    assert [path for path in sorted(found) if not path.startswith(tuple(BESIDE_ITS_OPERATION))] == []
    assert [entry for entry in BESIDE_ITS_OPERATION if not any(path.startswith(entry) for path in found)] == []


# --- values are parameters ---------------------------------------------------------------------------------------

FILLED_IN: dict[tuple[str, str, str], str] = {
    ("storage/database.py", "Database.snapshot", "int(timeout_s * 1000)"): "SET takes no parameters; an int",
    ("storage/database.py", "Database.snapshot", "name"): "the names of a constant table",
    ("simulation/backend.py", "Backend._open", "table"): "names that the database itself told",
    ("storage/merchants.py", "insert", "places"): "numbered places alone",
    ("storage/merchants.py", "update", "sets"): "names that were checked against SETTABLE",
    ("storage/migrate.py", "make_database", "name"): "CREATE DATABASE takes no parameters; the name is checked",
    ("storage/migrate.py", "_make_roles", "role"): "two constant names",
    ("storage/migrate.py", "_partition", "table"): "a name out of our own migration, for tests of sharding",
    ("storage/migrate.py", "_partition", "n"): "a count, for tests of sharding",
    ("storage/migrate.py", "_partition", "count"): "a count, for tests of sharding",
    ("storage/verify_books.py", "_accounts", "expected"): "checks are texts of constants, made once",
    ("storage/verify_books.py", "_accounts", "which"): "checks are texts of constants, made once",
    ("storage/verify_check.py", "gapless", "table"): "checks are texts of constants, made once",
    ("storage/verify_check.py", "gapless", "counter"): "checks are texts of constants, made once",
    ("storage/verify_check.py", "look", "check.sql"): "checks are texts of constants, made once",
    ("storage/verify_check.py", "prepare", "name"): "the names of a constant table",
    ("storage/verify_check.py", "prepare", "value"): "the values of a constant table",
}
"""(file, function, expression) that is no constant and stands in SQL all the same, and why no value can get in by it."""

FORMATTED = {("storage/statement.py", "_filled"): "numbered places of a constant table"}
"""Functions that make SQL with `str.format`, `%` or `+`."""


def _filled_in() -> Iterator[tuple[Statement, ast.expr]]:
    for source in sources():
        yield from filled_in(source)


def filled_in(source: Source) -> Iterator[tuple[Statement, ast.expr]]:
    """What a file fills into SQL that is not one of its constants."""
    constants = _constants(source)
    for statement in statements_of(source):
        for expression in statement.filled:
            if not (isinstance(expression, ast.Name) and expression.id in constants):
                yield statement, expression


def _constants(source: Source) -> set[str]:
    """Names in capitals that a file binds at its top, or imports."""
    names = set()
    for node in source.tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
    return {name for name in names if CONSTANT.fullmatch(name)}


def test_only_constants_are_filled_into_sql() -> None:
    """An f-string of SQL holds constants of its file; whatever else it holds is listed with the reason why it is no value."""
    wrong = [
        f"{statement.path}:{statement.line} {{{ast.unparse(expression)}}}"
        for statement, expression in _filled_in()
        if (statement.path, statement.function, ast.unparse(expression)) not in FILLED_IN
    ]
    assert wrong == []


def test_sql_is_not_glued_together() -> None:
    """No other way of putting text into SQL is used but the one that is listed."""
    found = {(source.path, owner) for source in sources() for owner in glued(source)}
    assert found == set(FORMATTED)


def glued(source: Source) -> Iterator[str]:
    """Functions in which SQL meets `%` or `+`, or in a file with SQL any text is formatted by `format`."""
    owners = owner_of(source)
    has_sql = source.room in ("storage", "operations") and any(True for _ in statements_of(source))
    for node in ast.walk(source.tree):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod | ast.Add):
            sides = [side.value for side in (node.left, node.right) if isinstance(side, ast.Constant)]
            if any(isinstance(side, str) and SQL.match(side) for side in sides):
                yield owners.get(id(node), "")
        elif has_sql and isinstance(node, ast.Attribute) and node.attr in ("format", "format_map"):
            yield owners.get(id(node), "")


def test_every_exception_is_needed() -> None:
    """What no statement needs any more is taken off the lists."""
    needed = {(statement.path, statement.function, ast.unparse(expression)) for statement, expression in _filled_in()}
    assert [entry for entry in FILLED_IN if entry not in needed] == []


@pytest.mark.parametrize(
    "code, caught",
    [
        ('C = "x"\ndef f(): return f"SELECT {C} FROM payouts"', False),
        ('from other import C\ndef f(): return f"SELECT {C} FROM payouts"', False),
        ('def f(x): return f"SELECT {x} FROM payouts"', True),
        ('def f(C): return f"SELECT {C} FROM payouts"', True),
        ('C = "x"\ndef f(): return f"SELECT {C.lower()} FROM payouts"', True),
        ('def f(x): return f"""\n  UPDATE payouts SET state = \'{x}\'"""', True),
        ('def f(x): return "SELECT * FROM payouts WHERE id = %s" % x', True),
        ('def f(x): return "SELECT * FROM " + x', True),
        ('def f(x): return "SELECT * FROM {}".format(x)', True),
        ('def f(x): return f"{x} is no statement"', False),
        ('def f(x): return "Select one of " + x', False),
        ('def f(x):\n    """SELECT is told of here."""', False),
    ],
)
def test_the_check_of_values(code: str, caught: bool) -> None:
    """The check tells SQL that is made of constants from SQL that something else got into."""
    source = Source("storage/sample.py", code, ast.parse(code))
    assert bool([*filled_in(source), *glued(source)]) is caught


# --- one bucket a statement --------------------------------------------------------------------------------------

REPORTS = ("storage/verify", "storage/reports", "cli/", "simulation/auditor/", "simulation/day.py", "simulation/nights.py", "simulation/persons.py")
"""Reports look at all buckets, on a snapshot, off the hot path."""

WITHOUT_BUCKET = {
    ("storage/merchants.py", "insert"): "writes its bucket first, by a constant list of columns",
    ("storage/merchants.py", "drop_tokens"): "housekeeping forgets tokens of all buckets",
    ("storage/merchants.py", "highest_bucket"): "housekeeping asks which buckets there are, by the first column of the key",
    ("operations/merchants.py", "find_merchant.work"): "a person at the command line names a merchant by id alone",
}
"""(file, function) whose statement on a hot table does not say its bucket where this file can read it, and why."""


def _bare(name: str) -> str:
    return re.sub(r"--[^\n]*", "", (PACKAGE / "storage" / "migrations" / name).read_text(encoding="utf-8"))


@cache
def migrations() -> tuple[str, ...]:
    """Names of all migrations."""
    return tuple(sorted(path.name for path in (PACKAGE / "storage" / "migrations").iterdir() if path.suffix == ".sql"))


@cache
def tables() -> dict[str, str]:
    """Every table that a migration makes, with what stands in its brackets and after, up to the semicolon."""
    found = {}
    for name in migrations():
        for table, body in re.findall(r"CREATE TABLE\s+(?:IF NOT EXISTS\s+)?(\w+)\s*\((.*?);", _bare(name), re.DOTALL):
            found[table] = body
    return found


COLD = {
    "installation": "one row",
    "operators": "a few people, who belong to no merchant",
    "workers": "a few processes, which serve all buckets",
    "connector_facts": "a row a provider, which workers of all buckets share",
    "connector_balances": "a few rows a provider, which workers of all buckets share",
    "provider_operations": "whose an operation is, whichever buckets are served (decision 6)",
}
"""Tables without a bucket, and why."""


def hot() -> list[str]:
    """Tables that have a bucket."""
    return [table for table in tables() if table not in COLD]


def open_buckets(text: str, hot_tables: list[str]) -> int:
    """How many of a statement's mentions of hot tables leave the bucket open."""
    names = "|".join(hot_tables)
    read = len(re.findall(rf"\b(?:FROM|JOIN|UPDATE(?: ONLY)?)\s+(?:disburse\.)?(?:{names})\b", text))
    written = re.findall(
        rf"\bINSERT INTO\s+(?:disburse\.)?(?:{names})\s*\(shard\b.*?(SELECT|VALUES \()\s*\$1\b", text, re.DOTALL
    )
    inserts = len(re.findall(rf"\bINSERT INTO\s+(?:disburse\.)?(?:{names})\b", text))
    return max(0, read - len(re.findall(r"\bshard = \$1\b", text))) + inserts - len(written)


def test_hot_statements_name_one_bucket() -> None:
    """Every statement on a hot table says `shard = $1` for each table it touches, and writes the bucket first."""
    wrong = {
        (statement.path, statement.function): statement.line
        for statement in statements()
        if not statement.path.startswith(REPORTS) and open_buckets(statement.text, hot())
    }
    assert {f"{path}:{line}" for (path, name), line in wrong.items() if (path, name) not in WITHOUT_BUCKET} == set()
    assert [entry for entry in WITHOUT_BUCKET if entry not in wrong] == []


@pytest.mark.parametrize(
    "text, left_open",
    [
        ("SELECT 1 FROM payouts WHERE shard = $1", 0),
        ("SELECT 1 FROM payouts", 1),
        ("SELECT 1 FROM payouts WHERE shard = $2", 1),
        ("SELECT 1 FROM payouts p JOIN attempts a ON a.shard = $1 WHERE p.shard = $1", 0),
        ("SELECT 1 FROM payouts p JOIN attempts a USING (payout_id) WHERE p.shard = $1", 1),
        ("UPDATE payouts p SET state = $2 FROM unnest($3::uuid[]) AS d (id) WHERE p.shard = $1", 0),
        ("DELETE FROM payouts WHERE payout_id = $1", 1),
        ("INSERT INTO payouts (shard, payout_id) VALUES ($1, $2)", 0),
        ("INSERT INTO payouts (shard, payout_id) SELECT $1, * FROM unnest($2::uuid[])", 0),
        ("INSERT INTO payouts (payout_id, shard) VALUES ($1, $2)", 1),
        ("SELECT 1 FROM workers", 0),
        ("SELECT 1 FROM payouts_of_others", 0),
    ],
)
def test_the_check_of_buckets(text: str, left_open: int) -> None:
    """The check counts the mentions of hot tables that leave the bucket open."""
    assert open_buckets(text, ["payouts", "attempts"]) == left_open


def test_one_statement_locks_rows() -> None:
    """Rows are locked in two places, the merchants' rows in id order, and nothing else is (design.md section 4)."""
    lock = re.compile(
        r"\bFOR (?:NO KEY )?UPDATE\b|\bFOR (?:KEY )?SHARE\b|\bLOCK TABLE\b|\bSKIP LOCKED\b|pg_\w*advisory\w*"
    )
    found = {(statement.path, statement.function) for statement in statements() if lock.search(statement.text)}
    ours = {("storage/unit.py", "Unit.lock"), ("storage/statement.py", "")}
    assert found == ours | {("storage/migrate.py", "migrate")}


# --- migrations --------------------------------------------------------------------------------------------------


def test_migrations_are_numbered() -> None:
    """Migrations are numbered from one without gaps, each with a name that says what it does."""
    assert [int(name[:4]) for name in migrations()] == list(range(1, len(migrations()) + 1))
    assert all(re.fullmatch(r"[0-9]{4}_[a-z0-9_]+\.sql", name) for name in migrations())


FUNCTIONS = {
    "0014_plans_that_broke_off.sql": ("forget_unplanned", "plain SQL on one bucket, for housekeeping alone: rows that the program must not delete by itself")
}
"""The functions there are, and why each is no burden to a cluster."""


@pytest.mark.parametrize("name", migrations())
def test_what_a_cluster_refuses(name: str) -> None:
    """No triggers, sequences, enum types, procedures, deferrable constraints or foreign keys (design.md section 5)."""
    refused = re.compile(
        r"\b(?:TRIGGER|SEQUENCE|(?:BIG|SMALL)?SERIAL|IDENTITY|ENUM|PLPGSQL|DEFERRABLE|DEFERRED|FUNCTION|PROCEDURE|RULE"
        r"|REFERENCES|FOREIGN KEY|EXCLUDE|INHERITS|UNLOGGED)\b|\bDO\s+\$",
        re.IGNORECASE,
    )
    text = _bare(name)
    if name in FUNCTIONS:
        assert len(re.findall(rf"CREATE FUNCTION {FUNCTIONS[name][0]}\([^)]*\) RETURNS \w+\s+LANGUAGE sql\b", text)) == 1
        text = text.replace(f"FUNCTION {FUNCTIONS[name][0]}", "")
    assert refused.findall(text) == []


@pytest.mark.parametrize("name", migrations())
def test_money_is_whole(name: str) -> None:
    """Money is bigint minor units: no column is a fraction, a float or the money type."""
    assert re.findall(r"\b(?:NUMERIC|DECIMAL|REAL|FLOAT\d?|DOUBLE PRECISION|MONEY)\b", _bare(name), re.IGNORECASE) == []
    assert {kind for kind in re.findall(r"\b\w+_minor\s+(\w+)\s+NOT NULL", _bare(name))} <= {"bigint"}


def test_every_table_has_a_bucket_or_a_reason() -> None:
    """Each table is marked to be split by its bucket, or is one of the few without."""
    assert set(COLD) <= set(tables())
    for table, body in tables().items():
        assert ("/* PARTITION BY HASH (shard) */" in body) == (table not in COLD), table


@pytest.mark.parametrize("table", hot())
def test_keys_begin_with_the_bucket(table: str) -> None:
    """The bucket is a hot table's first column, and the first of its primary key, its unique constraints and its indexes."""
    body = tables()[table]
    assert re.match(r"\s*shard smallint NOT NULL\b", body)
    keys = re.findall(r"\b(?:PRIMARY KEY|UNIQUE)\b\s*(\([^)]*\))?", body)
    assert keys and all(key.startswith("(shard, ") for key in keys), "a key of one column, or another first column"
    indexes = [columns for name in migrations() for columns in _indexes(_bare(name), table)]
    assert all(columns.startswith("shard, ") for columns in indexes)


def _indexes(sql: str, table: str) -> list[str]:
    found: list[str] = re.findall(rf"CREATE (?:UNIQUE )?INDEX\s+\w+\s+ON\s+{table}\s*\(([^)]*)\)", sql)
    return found
