"""The bank of planted bugs still fits the product: a bug that no longer applies proves nothing about who looks for bugs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.bugbank import BANK, MOST_LINES, PACKAGE, SOURCE, BadBug, Bug, applied, bugs, planted, read, run_on, soon
from scripts.bughunt import judged

FEWEST = 44
_ONE = """name = "one"
from = "own"
why = "It is one."
expect = ["L1"]
file = "domain/ledger.py"
old = 'FEES = Account("fees")'
new = 'FEES = Account("funding")'
"""


@pytest.mark.parametrize("bug", bugs(), ids=lambda bug: bug.name)
def test_a_bug_applies(bug: Bug) -> None:
    """Each text that a bug replaces stands in its file once, at most five lines change, and the result compiles."""
    changed = applied(bug)
    assert changed
    assert 0 < bug.lines <= MOST_LINES


def test_there_are_enough() -> None:
    """The bank holds as many bugs as were promised, those that do no harm not counted."""
    assert sum(bug.counts for bug in bugs()) >= FEWEST


def test_what_masks_a_bug_is_said() -> None:
    """A bug that is not counted says which other guard makes it harmless."""
    assert all(bug.masked_by and bug.masked_by.strip() for bug in bugs() if not bug.counts)


@pytest.mark.parametrize("bug", [bug for bug in bugs() if bug.elsewhere is not None], ids=lambda bug: bug.name)
def test_what_is_met_elsewhere_is_there(bug: Bug) -> None:
    """A bug that no simulated day can show names the test that fails with it, which is there, and says why no day can."""
    place, _, why = (bug.elsewhere or "").partition(": ")
    path, _, name = place.partition("::")
    assert path.startswith("tests/") and re.fullmatch(r"test_\w+", name), place
    assert re.search(rf"^(?:async )?def {name}\(", (BANK.parent / path).read_text(encoding="utf-8"), re.MULTILINE)
    assert len(why.split()) >= 5


def test_what_is_hunted_with_every_change_is_there() -> None:
    """At least 25 bugs are hunted with every change, and each is one that a simulated day is to show."""
    wanted = {bug.name for bug in bugs() if bug.counts and bug.elsewhere is None}
    assert len(soon()) >= 25 and soon() <= wanted


def test_no_two_bugs_are_the_same() -> None:
    """Every bug changes something that no other bug changes in the same way."""
    changes = [frozenset((change.file, change.old, change.new) for change in bug.changes) for bug in bugs()]
    assert len(set(changes)) == len(changes)


def test_a_bug_is_planted(tmp_path: Path) -> None:
    """A scratch copy differs from the sources in the files that the bug names, and in nothing else."""
    bug = bugs()[0]
    source = planted(bug.name, tmp_path)
    ours = {path.relative_to(SOURCE): path for path in SOURCE.rglob("*") if path.suffix in (".py", ".sql", ".toml")}
    differ = {str(name) for name, path in ours.items() if (source / name).read_bytes() != path.read_bytes()}
    assert differ == {str(Path(PACKAGE, change.file)) for change in bug.changes}


def test_a_command_runs_on_the_copy() -> None:
    """A command is told which bug it has, imports the copy, and its own status comes back."""
    code = "import os, sys, disburse; sys.exit(7 if os.environ['DISBURSE_PLANTED_BUG'] and 'bugbank-' in disburse.__file__ else 1)"
    assert run_on(bugs()[0].name, [sys.executable, "-c", code]).returncode == 7


def test_the_command_lists_them() -> None:
    """`python -m scripts.bugbank` names every bug and ends well when all of them apply."""
    around = {**os.environ, "PYTHONPATH": str(BANK.parent)}
    done = subprocess.run(
        [sys.executable, "-m", "scripts.bugbank"], cwd=BANK.parent, env=around, capture_output=True, text=True
    )
    assert done.returncode == 0
    assert all(bug.name in done.stdout for bug in bugs())


@pytest.mark.parametrize(
    "text, why",
    [
        (_ONE.replace('"one"', '"two"'), "not the file's"),
        (_ONE.replace("from", "since"), "nobody knows since"),
        (_ONE.replace('expect = ["L1"]', "expect = []"), "expect"),
        (_ONE.replace("domain/ledger.py", "../ledger.py"), "from the package on"),
        (_ONE.replace("funding", "fees"), "must differ"),
        (_ONE.partition("file")[0], "changes nothing"),
        (_ONE + "]", "one.toml"),
    ],
)
def test_a_bug_that_cannot_be_read(tmp_path: Path, text: str, why: str) -> None:
    """A file that is no bug is refused in a sentence that names it."""
    path = tmp_path / "one.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BadBug, match="one.toml: .*" if why == "one.toml" else f"one.toml: .*{why}"):
        read(path)


@pytest.mark.parametrize(
    "text, why",
    [
        (_ONE.replace("ledger.py", "nothing.py"), "there is no domain/nothing.py"),
        (_ONE.replace('FEES = Account("fees")', "return"), "stands .* times"),
        (_ONE.replace("""'FEES = Account("funding")'""", """'FEES = ('"""), "cannot be read any more"),
        (_ONE.replace("""'FEES = Account("funding")'""", '"""' + "FEES = 0\n" * 6 + '"""'), "6 lines"),
    ],
)
def test_a_bug_that_does_not_apply(tmp_path: Path, text: str, why: str) -> None:
    """A bug whose place is gone, that is too large, or that no interpreter would take is refused."""
    path = tmp_path / "one.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BadBug, match=why):
        applied(read(path))


@pytest.mark.parametrize(
    "printed, complaint, caught, sentence",
    [
        ({"failed": [{"invariant": "E1", "sentence": "paid twice"}], "seeds": 3}, "", True, "paid twice"),
        ({"failed": [], "seeds": 3}, "", False, ""),
        ({"error": {"name": "system", "message": "No space left."}}, "", False, "the simulator gave up: No space left."),
        (None, "SyntaxError: no", True, "SyntaxError: no"),
    ],
)
def test_what_a_hunt_says(printed: object, complaint: str, caught: bool, sentence: str) -> None:
    """A day that broke something catches a bug, and so does a program that does not start; one that gave up says why, and catches none."""
    text = json.dumps(printed).encode() if printed is not None else b""
    catch = judged(bugs()[0], subprocess.CompletedProcess([], 1, text, complaint.encode()), 1.0)
    assert (catch.caught, catch.sentence) == (caught, sentence)
