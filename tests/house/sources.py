"""The house's own source files, read once for the lints beside this file. Lives here: finding and parsing; no rules."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "disburse"

Function = ast.FunctionDef | ast.AsyncFunctionDef
_NOT_OURS = frozenset({".git", ".venv", "__pycache__", ".hypothesis", ".mypy_cache", ".ruff_cache", "disburse-data"})


@dataclass(frozen=True, slots=True, repr=False)
class Source:
    """One Python file. `path` is relative to the package, as in `domain/money.py`; `room` is its first part."""

    path: str
    text: str
    tree: ast.Module

    @property
    def room(self) -> str:
        """The directory under the package, or the file's own name without its ending when it stands at the top."""
        first, slash, _ = self.path.partition("/")
        return first if slash else first.removesuffix(".py")

    @property
    def module(self) -> str:
        """The name it is imported by."""
        return ".".join(
            ["disburse", *self.path.removesuffix(".py").removesuffix("__init__").strip("/").split("/")]
        ).rstrip(".")

    def __repr__(self) -> str:
        return self.path


@cache
def paths() -> tuple[str, ...]:
    """The path of every Python file of the package, in their order. Finding them costs little; reading them does not."""
    return tuple(path.relative_to(PACKAGE).as_posix() for path in sorted(PACKAGE.rglob("*.py")))


@cache
def source_of(path: str) -> Source:
    text = (PACKAGE / path).read_text(encoding="utf-8")
    return Source(path, text, ast.parse(text))


def sources() -> tuple[Source, ...]:
    """Every Python file of the package, in order of path."""
    return tuple(map(source_of, paths()))


def in_rooms(*rooms: str) -> list[Source]:
    """The files of these rooms."""
    return [source for source in sources() if source.room in rooms]


@cache
def tracked_files() -> tuple[Path, ...]:
    """Every file that belongs to the repository: what git tracks, or without git what lies here and is not made by tools."""
    try:
        listed = subprocess.run(
            ["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, check=True, text=True
        ).stdout.split("\0")
        files = [ROOT / name for name in listed if name]
    except (OSError, subprocess.CalledProcessError):
        files = [path for path in ROOT.rglob("*") if not _NOT_OURS.intersection(path.relative_to(ROOT).parts)]
    return tuple(sorted(path for path in files if path.is_file()))


def functions(tree: ast.AST, within: str = "") -> Iterator[tuple[str, Function]]:
    """Every function with its dotted name, such as `Unit.lock`, inner ones too."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, Function):
            name = f"{within}{node.name}"
            yield name, node
            yield from functions(node, f"{name}.")
        elif isinstance(node, ast.ClassDef):
            yield from functions(node, f"{within}{node.name}.")
        else:
            yield from functions(node, within)


def docstrings(tree: ast.AST) -> set[int]:
    """The identities of the constants that are docstrings, or bare text after a name that explains it."""
    return {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    }


def owner_of(source: Source) -> dict[int, str]:
    """The innermost function's name of each node, by the node's identity; nodes outside functions are not in it."""
    owners: dict[int, str] = {}
    for name, function in functions(source.tree):  # outer ones first, so inner ones overwrite
        for node in ast.walk(function):
            owners[id(node)] = name
    return owners
