"""The bank of planted bugs: reads it, checks that each still applies, plants one into a scratch copy, runs a command on it.

    python -m scripts.bugbank                        the list, and whether each applies
    python -m scripts.bugbank NAME                   one bug, in full
    python -m scripts.bugbank NAME into DIRECTORY    a scratch copy of src with it; prints what to put first on PYTHONPATH
    python -m scripts.bugbank NAME run COMMAND ...   runs a command on such a copy and ends as it does

What a bug is, and how one is added, is told in `bugbank/README.md`. Lives here: the files of the bank and the copy. May not live
here: whoever looks for the bugs. That is a command of the caller's choice: it is given the copy by PYTHONPATH, and the bug's name
as DISBURSE_PLANTED_BUG; that it fails means that the bug was caught. The sources in the repository are never touched.
"""

from __future__ import annotations

import difflib
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
BANK: Final = ROOT / "bugbank"
SOURCE: Final = ROOT / "src"
PACKAGE: Final = "disburse"
MOST_LINES: Final = 5
BUG: Final = "DISBURSE_PLANTED_BUG"
"""The environment variable by which a command is told which bug its sources have."""

_TEXTS: Final = ("name", "from", "why")
_CHANGE: Final = frozenset(("file", "old", "new"))
_KNOWN: Final = frozenset((*_TEXTS, *_CHANGE, "expect", "needs", "change", "masked_by", "elsewhere"))


class BadBug(Exception):
    """A bug of the bank cannot be read, or does not apply to the sources as they are."""


@dataclass(frozen=True, slots=True)
class Change:
    """One text of one file and what takes its place. `file` is relative to the package, as in `domain/money.py`."""

    file: str
    old: str
    new: str

    @property
    def lines(self) -> int:
        """How many lines differ: a line that is replaced counts once."""
        old, new = self.old.splitlines(), self.new.splitlines()
        steps = difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
        return sum(max(to - at, until - begin) for tag, at, to, begin, until in steps if tag != "equal")


@dataclass(frozen=True, slots=True)
class Bug:
    """One bug. `origin`: the idea it comes from; `expect`: the invariants it breaks; `needs`: what a run must have to meet it.

    `masked_by`: why it does no harm as the product is; such a bug shows a second line of defence and is not counted.
    `elsewhere`: which other proof meets it, and why a simulated day cannot.
    """

    name: str
    origin: str
    why: str
    expect: tuple[str, ...]
    changes: tuple[Change, ...]
    needs: Mapping[str, Any] = field(default_factory=dict)
    masked_by: str | None = None
    elsewhere: str | None = None

    @property
    def lines(self) -> int:
        return sum(change.lines for change in self.changes)

    @property
    def counts(self) -> bool:
        """Whether somebody has to catch it."""
        return self.masked_by is None


def soon() -> frozenset[str]:
    """The names of those that are met within a few simulated days."""
    lines = (BANK / "soon.txt").read_text(encoding="utf-8").splitlines()
    return frozenset(line for line in lines if line and not line.startswith("#"))


def bugs(bank: Path = BANK) -> list[Bug]:
    """Every bug of the bank, in the order of its files' paths. Raises BadBug."""
    found = [read(path) for path in sorted(bank.rglob("*.toml"))]
    names = [bug.name for bug in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise BadBug(f"{', '.join(twice)}: the name is taken twice")
    return found


def read(path: Path) -> Bug:
    """The bug in a file. Raises BadBug, with the file's name and what is wrong with it."""
    try:
        told = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as fault:
        raise BadBug(f"{path.name}: {fault}") from None
    unknown = sorted(set(told) - _KNOWN)
    if unknown:
        raise BadBug(f"{path.name}: nobody knows {', '.join(unknown)}")
    for name in _TEXTS:
        if not isinstance(told.get(name), str) or not told[name].strip():
            raise BadBug(f"{path.name}: {name} must be there, as text")
    if told["name"] != path.stem:
        raise BadBug(f"{path.name}: the name is not the file's")
    expect = told.get("expect")
    if not isinstance(expect, list) or not expect or not all(isinstance(one, str) for one in expect):
        raise BadBug(f"{path.name}: expect must be a list of texts")
    parts = [{key: told[key] for key in _CHANGE & told.keys()}] if _CHANGE & told.keys() else []
    changes = [_change(path.name, part) for part in [*parts, *told.get("change", [])]]
    if not changes:
        raise BadBug(f"{path.name}: it changes nothing")
    return Bug(
        told["name"], told["from"], " ".join(told["why"].split()), tuple(expect), tuple(changes), told.get("needs", {}),
        told.get("masked_by"),
        told.get("elsewhere"),
    )  # fmt: skip


def _change(name: str, told: Mapping[str, Any]) -> Change:
    if set(told) != _CHANGE or not all(isinstance(text, str) for text in told.values()):
        raise BadBug(f"{name}: a change is file, old and new, three texts")
    path = Path(told["file"])
    if path.is_absolute() or ".." in path.parts:
        raise BadBug(f"{name}: a file is named from the package on")
    if not told["old"] or told["old"] == told["new"]:
        raise BadBug(f"{name}: old and new must differ, and old must say where")
    return Change(told["file"], told["old"], told["new"])


def bug_named(name: str, bank: Path = BANK) -> Bug:
    """The bug of this name. Raises BadBug."""
    for bug in bugs(bank):
        if bug.name == name:
            return bug
    raise BadBug(f"{name}: there is no such bug")


def applied(bug: Bug, source: Path = SOURCE) -> dict[str, str]:
    """The files that the bug changes, by path, as they read with it. Raises BadBug when it does not apply, or does not compile."""
    if bug.lines > MOST_LINES:
        raise BadBug(f"{bug.name}: it changes {bug.lines} lines, and {MOST_LINES} are allowed")
    files: dict[str, str] = {}
    for change in bug.changes:
        path = source / PACKAGE / change.file
        if change.file not in files:
            if not path.is_file():
                raise BadBug(f"{bug.name}: there is no {change.file}")
            files[change.file] = path.read_text(encoding="utf-8")
        times = files[change.file].count(change.old)
        if times != 1:
            raise BadBug(f"{bug.name}: its old text stands {times} times in {change.file}: {change.old.strip()[:60]!r}")
        files[change.file] = files[change.file].replace(change.old, change.new)
    for name, text in files.items():
        _compile(bug, name, text)
    return files


def _compile(bug: Bug, name: str, text: str) -> None:
    try:
        if name.endswith(".py"):
            compile(text, name, "exec")
        elif name.endswith(".toml"):
            tomllib.loads(text)
    except (SyntaxError, tomllib.TOMLDecodeError) as fault:
        raise BadBug(f"{bug.name}: {name} cannot be read any more: {fault}") from None


def planted(name: str, into: Path) -> Path:
    """A copy of src with one bug in it; the directory to put first on PYTHONPATH. Raises BadBug.

    `into` is made when it is not there; the copy takes the place of an earlier one in it.
    """
    changed = applied(bug_named(name))
    copy = into / "src"
    if copy.exists():
        shutil.rmtree(copy)
    shutil.copytree(SOURCE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    for path, text in changed.items():
        (copy / PACKAGE / path).write_text(text, encoding="utf-8")
    return copy


def run_on(name: str, command: Sequence[str], *, timeout_s: float | None = None) -> subprocess.CompletedProcess[bytes]:
    """Run a command on a scratch copy with the bug, in the directory of the caller. A command that fails has caught it.

    Raises BadBug, OSError, and subprocess.TimeoutExpired when it runs longer than `timeout_s`.
    """
    with tempfile.TemporaryDirectory(prefix="bugbank-") as scratch:
        source = planted(name, Path(scratch))
        path = os.pathsep.join([str(source), *filter(None, [os.environ.get("PYTHONPATH")])])
        around = {**os.environ, "PYTHONPATH": path, BUG: name, "PYTHONDONTWRITEBYTECODE": "1"}
        return subprocess.run(list(command), env=around, timeout=timeout_s, check=False)


def _list() -> int:
    """Print the bank; 1 when a bug does not apply."""
    faults = 0
    found = bugs()
    for bug in found:
        try:
            applied(bug)
            said = f"{bug.lines} line{'s' if bug.lines > 1 else ''}"
        except BadBug as fault:
            faults, said = faults + 1, f"DOES NOT APPLY: {fault}"
        mark = " " if bug.counts else "-"
        print(f"{mark} {bug.name:<36} {said:<8} {', '.join(bug.expect)}")
    counted = sum(bug.counts for bug in found)
    print(f"{counted} bugs, and {len(found) - counted} (-) that something else in the product makes harmless")
    return 1 if faults else 0


def _show(bug: Bug) -> None:
    print(f"{bug.name}\nfrom: {bug.origin}\nwhy: {bug.why}\nexpect: {', '.join(bug.expect)}")
    if bug.masked_by is not None:
        print(f"masked by: {bug.masked_by}")
    if bug.elsewhere is not None:
        print(f"met elsewhere: {bug.elsewhere}")
    for need, value in bug.needs.items():
        print(f"needs {need}: {', '.join(map(str, value)) if isinstance(value, list) else value}")
    for path, text in applied(bug).items():
        before = (SOURCE / PACKAGE / path).read_text(encoding="utf-8")
        print(*difflib.unified_diff(before.splitlines(), text.splitlines(), path, path, lineterm="", n=2), sep="\n")


def main(arguments: Sequence[str]) -> int:
    """The command. The status is 2 for a bug that is not there or does not apply."""
    try:
        match list(arguments):
            case []:
                return _list()
            case [name]:
                _show(bug_named(name))
                return 0
            case [name, "into", directory]:
                print(planted(name, Path(directory)))
                return 0
            case [name, "run", *command] if command:
                return run_on(name, command).returncode
    except BadBug as fault:
        print(fault, file=sys.stderr)
        return 2
    print((__doc__ or "").partition("\n\n")[2].partition("\n\n")[0], file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
