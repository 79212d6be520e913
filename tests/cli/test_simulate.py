"""`disburse simulate`: what it says of good days and of broken ones, to persons and to scripts, and how it ends."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from disburse.simulation.kept import kept
from disburse.simulation.knobs import FAULTS
from scripts.bugbank import planted
from tests.cli.conftest import Commands
from tests.cli.test_program import environment


@pytest.fixture
def simulate(tmp_path: Path) -> Callable[..., object]:
    """The command, in this process."""
    return Commands(tmp_path / "data")


@pytest.mark.parametrize(
    "words, why",
    [
        (["--seeds", "0"], "at least 1"),
        (["--first", "-1"], "at least 1"),
        (["--jobs", "-1"], "jobs at least 0"),
        (["--payouts", "0"], "at least 1"),
        (["--enough", "0"], "at least 1"),
        (["--faults", "crash,earthquake"], "no fault called earthquake. Known: none, statement"),
        (["--scenes", "rules,opera"], "no scene called opera. Known: none, rules"),
    ],
)
def test_what_cannot_be(tmp_path: Path, words: list[str], why: str) -> None:
    """Numbers and faults that cannot be are refused with exit code 2 before anything is started."""
    error = Commands(tmp_path / "data").no("simulate", *words, code=2)
    assert why in error["message"]


def test_days_in_figures(tmp_path: Path) -> None:
    """With --json one object has every figure of the days; quiet days end 0 and no fault fell."""
    told = Commands(tmp_path / "data").ok("simulate", "--seeds", "2", "--first", "4", "--jobs", "1", "--faults", "none", "--payouts", "2")
    assert (told["seeds"], told["failed"], told["faults"], told["faults_per_seed"]) == (2, [], {}, 0.0)
    assert told["payouts"] == 4 and told["commits"] > 4 and told["virtual_s"] > 40
    assert sorted(told["traces"]) == ["4", "5"]
    assert told["empty_cells"] and set(told["cells"]) == set()


def test_one_day_with_its_trace(tmp_path: Path) -> None:
    """One seed is told with every thing that happened, in virtual seconds that never go back; only the named faults fall."""
    done = Commands(tmp_path / "data")("simulate", "--seed", "4", "--trace", "--payouts", "2", "--faults", "late,silent,reset", COLUMNS="300")
    assert done.code == 0, done.out
    lines, brace, told = done.out.partition("\n{")
    times = [float(line.split()[0]) for line in lines.splitlines()]
    assert len(times) > 20 and times == sorted(times)
    assert "the faults are over" in lines
    day = json.loads(brace + told)
    assert (day["seed"], day["violations"], day["payouts"]) == (4, [], 2)
    assert set(day["faults"]) <= {"late", "silent", "reset"} < set(FAULTS)


@pytest.mark.long
def test_a_broken_day(tmp_path: Path) -> None:
    """Over a product that takes a time-out for a failure the command ends 1, tells what was broken and how to live it again,
    and keeps the day; the line alone ends 1 too.
    """
    with tempfile.TemporaryDirectory(prefix="bugbank-") as scratch:
        around = environment(PYTHONPATH=str(planted(BUG, Path(scratch))))

        def run(*words: str) -> subprocess.CompletedProcess[str]:
            command = [sys.executable, "-m", "disburse", "simulate", *words, "--json"]
            return subprocess.run(command, capture_output=True, text=True, env=around)

        done = run("--seeds", "60", "--jobs", "1", "--enough", "1", "--keep-in", str(tmp_path / "kept.toml"))
        assert done.returncode == 1, done.stderr
        broken = json.loads(done.stdout)["failed"]
        assert len(broken) == 1 and broken[0]["invariant"] and broken[0]["sentence"]
        (seed, options), = kept(tmp_path / "kept.toml")
        words = broken[0]["replay"].split()
        assert words[:4] == ["disburse", "simulate", "--seed", str(seed)] and options.only
        again = run(*words[2:])
        assert again.returncode == 1
        assert broken[0]["invariant"] in {one["invariant"] for one in json.loads(again.stdout)["violations"]}


BUG = "doubt_is_failure"
