"""Whom each statement binds (`bindings.toml`), which tests there are, and everything that does not fit together between the two.

Lives here: reading and checking, pure but for the files of this folder. What comes of it is written by `generate.py`.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.conformance.pages import Statement

FOLDER: Final = Path(__file__).parent
CONNECTORS: Final = FOLDER.parent / "connectors"
"""Where the tests are that hold our connectors to what binds a driver."""
APART: Final = ("driver", "source", "registry", "nobody")
"""Whom a statement may bind beside the server, each with a reason."""

_KEYS = frozenset({"says", "server", "connector", "exception", *APART})
_RUNS = frozenset({"served", "server"})
_SERVER = re.compile(r"\b(?:Server|our server|Our server)\b")
_REFERENCE = re.compile(r"(test_\w+\.py)::(test_\w+)(?:\[(.+)\])?")


@dataclass(frozen=True, slots=True)
class Binding:
    """`says` are the statement's first words, `server` its tests, `apart` reasons by class, `exception` what no test shows.

    `connector` are tests of `tests/connectors/`: a driver's statement that our connector is held to.
    """

    says: str
    server: tuple[str, ...]
    apart: Mapping[str, str]
    exception: str | None
    connector: tuple[str, ...] = ()


def load(path: Path = FOLDER / "bindings.toml") -> tuple[dict[str, Binding], dict[str, str]]:
    """The bindings by statement number, and the notes on vectors. Raises AssertionError for a key that is not known."""
    document = tomllib.loads(path.read_text(encoding="utf-8"))
    notes: dict[str, str] = document.pop("vectors")
    bindings = {}
    for section, table in document.items():
        for number, entry in table.items():
            unknown = set(entry) - _KEYS
            if unknown:
                raise AssertionError(f"{section}.{number}: {sorted(unknown)} is not known")
            bindings[f"{section}.{number}"] = _binding(entry)
    return bindings, notes


def _binding(entry: Mapping[str, Any]) -> Binding:
    apart = {kind: entry[kind] for kind in APART if kind in entry}
    return Binding(
        entry["says"], tuple(entry.get("server", ())), apart, entry.get("exception"), tuple(entry.get("connector", ()))
    )


def collect_tests(folder: Path = FOLDER, takes: frozenset[str] = _RUNS) -> dict[str, frozenset[str]]:
    """The tests of a folder that talk to a running server, `file::name`, with the ids of their cases if the source spells them out.

    Such a test takes the fixture `served`, or starts an installation of its own on `server`. Where `takes` is empty, all tests count.
    """
    found = {}
    for path in sorted(folder.glob("test_*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        tables = dict(_table(node) for node in tree.body if isinstance(node, ast.Assign | ast.AnnAssign))
        for node in tree.body:
            if (
                isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
                and node.name.startswith("test_")
                and (not takes or takes & {a.arg for a in node.args.args})
            ):
                found[f"{path.name}::{node.name}"] = frozenset(
                    one for decorator in node.decorator_list for one in _cases(decorator, tables)
                )
    return found


def _table(node: ast.Assign | ast.AnnAssign) -> tuple[str, list[str]]:
    """A module's variable and the case ids it would give."""
    target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
    return ast.unparse(target), _ids(node.value, {}) if node.value is not None else []


def _cases(decorator: ast.expr, tables: Mapping[str, list[str]]) -> list[str]:
    """The case ids of a `parametrize`, when they are plain texts."""
    if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.parametrize":
        return [] if decorator.keywords else _ids(decorator.args[1], tables)
    return []


def _ids(value: ast.expr, tables: Mapping[str, list[str]]) -> list[str]:
    match value:
        case ast.Name(id=name):
            return tables.get(name, [])
        case ast.Dict(keys=keys):
            items: Sequence[ast.expr | None] = keys
        case ast.List(elts=elts) | ast.Tuple(elts=elts):
            items = elts
        case _:
            return []
    texts = [item.value for item in items if isinstance(item, ast.Constant) and isinstance(item.value, str)]
    return texts if len(texts) == len(items) else []


def faults(
    statements: Sequence[Statement],
    bindings: Mapping[str, Binding],
    tests: Mapping[str, frozenset[str]],
    connector: Mapping[str, frozenset[str]],
) -> list[str]:
    """Everything that is wrong: a statement that binds nobody known, a test that is not there, a binding that is left over."""
    found = []
    numbers = {statement.number for statement in statements}
    found += [f"{number} is bound and is no statement" for number in bindings if number not in numbers]
    for statement in statements:
        binding = bindings.get(statement.number)
        if binding is None:
            found.append(f"{statement.number} binds nobody: {statement.text}")
            continue
        found += [f"{statement.number} {fault}" for fault in _faults_of(statement, binding)]
        found += [f"{statement.number} {fault}" for fault in _missing(binding.server, tests)]
        found += [f"{statement.number} {fault}" for fault in _missing(binding.connector, connector)]
    return found


def _faults_of(statement: Statement, binding: Binding) -> list[str]:
    found = []
    if not binding.says or not statement.text.startswith(binding.says):
        found.append(f"says something else: {statement.text}")
    if not binding.server and not binding.apart:
        found.append("has no class")
    if not binding.server and _SERVER.search(statement.text):
        found.append("says Server and has no test")
    if not all(reason.strip() for reason in binding.apart.values()):
        found.append("has a class without a reason")
    if binding.exception is not None and not binding.server:
        found.append("has an exception and no test")
    if binding.connector and "driver" not in binding.apart:
        found.append("has a connector's test and binds no driver")
    return found


def _missing(named: Sequence[str], tests: Mapping[str, frozenset[str]]) -> list[str]:
    found = []
    for test in named:
        match = _REFERENCE.fullmatch(test)
        name = f"{match[1]}::{match[2]}" if match else test
        if name not in tests:
            found.append(f"is bound to {test}, which is not there")
        elif match and match[3] is not None and match[3] not in tests[name]:
            found.append(f"is bound to {test}, which has no such case")
    return found
