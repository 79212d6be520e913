"""What every file of the house owes its reader: a first sentence, a length one can read, nothing left to do, nothing of a machine."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.house.sources import ROOT, functions, paths, source_of, sources, tracked_files

LONGEST_FILE = 400
LONGEST_FUNCTION = 60

LONGER: dict[str, str] = {}
"""Files or functions (`path:name`) that are longer, and why they are not two things."""

# A letter in brackets keeps each word from being found here; the samples below are put together from halves.
UNFINISHED = re.compile(
    r"""\b(?:TO[D]O|FIX[M]E|HA[C]K|Not[I]mplementedError)\b"""
    r"""|(?<![\w"'])XX[X](?![\w"'])"""  # in quotes it is a currency
)
OF_A_MACHINE = re.compile(
    r"(?<![\w.])/(?:[w]ork|[h]ome|[r]oot|[U]sers|[m]nt|[m]edia)/[\w.]|[A-Z]:\\[U]sers|/[t]mp/w/|\.\./[s]hared\b"
)
OF_A_REGISTRY = re.compile(
    r"\b(?:pypi\.org|[p]ythonhosted|npmjs\.(?:org|com)|registry\.yarnpkg|unpkg\.com|[j]sdelivr|crates\.io|rubygems\.org"
    r"|proxy\.golang|docker\.io|ghcr\.io|quay\.io|deb\.debian\.org|archive\.ubuntu)\b"
    r"|--(?:extra-)?[i]ndex-url|--[f]ind-links|--[t]rusted-host"
)


def _texts() -> list[tuple[str, str]]:
    found = []
    for path in tracked_files():
        try:
            found.append((path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")))
        except UnicodeDecodeError:
            continue  # a picture, say
    return found


def _found(pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{path}:{text.count(chr(10), 0, match.start()) + 1} {match[0]}"
        for path, text in _texts()
        for match in pattern.finditer(text)
    ]


def test_nothing_is_left_to_do() -> None:
    """No tracked file says that something is still to be done or not implemented."""
    assert _found(UNFINISHED) == []


def test_nothing_of_this_machine() -> None:
    """No tracked file names a place of the machine that it was written on."""
    assert _found(OF_A_MACHINE) == []


def test_nothing_of_a_registry() -> None:
    """No tracked file names the host of a package registry or tells an installer where to look."""
    assert _found(OF_A_REGISTRY) == []


@pytest.mark.parametrize(
    "pattern, text, caught",
    [
        (UNFINISHED, "# TO" + "DO: later", True),
        (UNFINISHED, "XX" + "X: look again", True),
        (UNFINISHED, 'currency="XX' + 'X"', False),
        (UNFINISHED, "raise Not" + "ImplementedError", True),
        (UNFINISHED, "todos, fixtures and a maxxxed value", False),
        (OF_A_MACHINE, "see /wo" + "rk/main/x.py", True),
        (OF_A_MACHINE, "cd /ho" + "me/me", True),
        (OF_A_MACHINE, "../sha" + "red/design.md", True),
        (OF_A_MACHINE, "https://example.com/wo" + "rk/it", False),
        (OF_A_MACHINE, "api/home/ and src/opt/x", False),
        (OF_A_REGISTRY, "https://pypi.o" + "rg/simple", True),
        (OF_A_REGISTRY, "pip install --index-u" + "rl x", True),
        (OF_A_REGISTRY, "the registry of payouts", False),
    ],
)
def test_the_patterns(pattern: re.Pattern[str], text: str, caught: bool) -> None:
    """The patterns tell what they forbid from what they do not."""
    assert (pattern.search(text) is not None) is caught


def _python_tests() -> list[Path]:
    return [path for path in tracked_files() if path.suffix == ".py" and "tests" in path.relative_to(ROOT).parts]


@pytest.mark.parametrize("path", paths())
def test_a_source_file(path: str) -> None:
    """A source file opens with what lives there, begins its annotations late, and is short, as are its functions."""
    source = source_of(path)
    opening = ast.get_docstring(source.tree)
    assert opening is not None and len(opening.split()) >= 4, "no first sentence"
    assert len(source.text.splitlines()) <= LONGEST_FILE or source.path in LONGER
    assert _late_annotations(source.tree), "annotations are read when the file is"
    for name, function in functions(source.tree):
        length = (function.end_lineno or function.lineno) - function.lineno + 1
        assert length <= LONGEST_FUNCTION or f"{source.path}:{name}" in LONGER, f"{name} has {length} lines"


def _late_annotations(tree: ast.Module) -> bool:
    if not any(isinstance(node, ast.AnnAssign | ast.arg | ast.FunctionDef) for node in ast.walk(tree)):
        return True
    return any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in tree.body[:2])


@pytest.mark.parametrize("path", _python_tests(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_test_file(path: Path) -> None:
    """A test file says what it is about, each test says in its docstring what is true, and none is skipped."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), "no first sentence"
    for name, function in functions(tree):
        if function.name.startswith("test_") and "." not in name:
            assert ast.get_docstring(function), f"{name} does not say what is true"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in ("skip", "skipif", "xfail", "importorskip"):
            raise AssertionError(f"line {node.lineno}: a test that may not run proves nothing")


def test_no_exception_is_left_over() -> None:
    """What is listed as longer is there."""
    known = {source.path for source in sources()} | {
        f"{s.path}:{name}" for s in sources() for name, _ in functions(s.tree)
    }
    assert set(LONGER) <= known
