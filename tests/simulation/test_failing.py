"""What becomes of a day that breaks something: it is told, made small, kept, and enough of them end the search."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from disburse.simulation import loop
from disburse.simulation.auditor import Violation
from disburse.simulation.backend import Backend
from disburse.simulation.day import Options, Result
from disburse.simulation.grid import cells
from disburse.simulation.kept import keep, kept
from disburse.simulation.knobs import draw
from disburse.simulation.many import Summary, one, run
from disburse.simulation.shrink import line, shrink
from disburse.simulation.streams import Streams

QUIET = Options(only=(), payouts=1)


class NotLiked(Exception):
    """Somebody who reads the trace does not like what it says."""


def dislikes(text: str) -> Callable[[float, str, str], None]:
    """A reader of the trace that breaks a day, when its faults are over, in which something was said."""
    said = [False]

    def heard(at: float, who: str, what: str) -> None:
        if who == "-":
            disliked, said[0] = said[0], False
            if disliked:
                raise NotLiked(text)
        elif text in what:
            said[0] = True

    return heard


def hates(at: float, who: str, what: str) -> None:
    """A reader of the trace that breaks every day."""
    if who == "-":
        raise NotLiked("everything")


def _result(seed: int, invariant: str | None = None) -> Result:
    found = [Violation(invariant, "It is broken.")] if invariant else []
    return Result(seed, found, Counter(crash=2), Counter({("D1", "lost"): 1}), Counter(), 3, 7, 10, 60.0, 0.5, f"t{seed}", draw(Streams(seed)))


# --- one day -----------------------------------------------------------------------------------------------------


def test_a_day_that_raises_is_broken(backend: Backend) -> None:
    """Whatever a day raises is a violation that says what and where; the next day on the same database is as it always is."""
    before = one(3, backend, QUIET)
    broken = one(3, backend, replace(QUIET, heard=hates))
    assert [found.invariant for found in broken.violations] == ["crash"]
    assert broken.violations[0].sentence.startswith("NotLiked at test_failing.py:")
    assert broken.violations[0].sentence.endswith(": everything")
    after = one(3, backend, QUIET)
    assert after.violations == [] and after.trace == before.trace != ""


def test_a_day_without_an_end_is_told(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """A day that turns in a circle ends, what stands there is gone through, and the next day is as it always is."""
    before = one(3, backend, QUIET)
    monkeypatch.setattr(loop, "MOST_STEPS", 500)
    endless = one(3, backend, QUIET)
    assert [(found.invariant, found.sentence) for found in endless.violations] == [("crash", "it never became quiet: 500 steps")]
    assert endless.payouts == before.payouts > 0
    monkeypatch.undo()
    assert one(3, backend, QUIET).trace == before.trace


@pytest.mark.long
def test_a_failing_day_is_made_small(backend: Backend) -> None:
    """Of a failing day those faults are left without which it does not fail, and as few payouts as it needs."""
    both = Options(heard=dislikes("the connection broke"), payouts=4, only=("late", "reset"))
    failed = next(
        result
        for seed in range(1000)
        if set(draw(Streams(seed), both.only).rates) == {"late", "reset"}
        and one(seed, backend, replace(both, only=["reset"])).violations
        and (result := one(seed, backend, both)).violations
    )
    told: list[str] = []
    smaller, result = shrink(failed, backend, both, told.append)
    assert smaller.only == ["reset"] and told[0] == "without late"
    assert smaller.payouts is not None and 1 <= smaller.payouts <= 4
    assert [found.invariant for found in result.violations] == ["crash"]
    assert one(failed.seed, backend, smaller).violations == result.violations


@pytest.mark.long
def test_a_day_that_always_fails_is_made_nothing(backend: Backend) -> None:
    """A day that fails without any fault and with one payout is told as just that."""
    seed = next(seed for seed in range(1000) if 0 < len(draw(Streams(seed)).rates) <= 3)
    failed = one(seed, backend, Options(heard=hates))
    smaller, result = shrink(failed, backend, Options(heard=hates))
    assert (smaller.only, smaller.payouts) == ([], 1)
    assert [found.invariant for found in result.violations] == ["crash"]


@pytest.mark.parametrize(
    "options, words",
    [
        (Options(), "disburse simulate --seed 5"),
        (Options(only=[]), "disburse simulate --seed 5 --faults none"),
        (Options(only=["late", "lost"], payouts=2), "disburse simulate --seed 5 --faults late,lost --payouts 2"),
    ],
)
def test_the_line_that_lives_it_again(options: Options, words: str) -> None:
    """A failing day is told with the command that lives it again."""
    assert line(5, options) == words


# --- kept days ---------------------------------------------------------------------------------------------------


def test_kept_days_come_back(tmp_path: Path) -> None:
    """A day is kept with its faults and payouts and read back as it was, each day once; what stands in the file stays."""
    path = tmp_path / "kept.toml"
    first, second = Options(only=["late", "lost"], payouts=2), Options(only=[])
    keep(path, [(first, _result(5, "L1"))])
    keep(path, [(first, _result(5, "L1")), (second, _result(5, "R1")), (first, _result(6, "L1"))])
    assert [(seed, tuple(day.only or ()), day.payouts) for seed, day in kept(path)] == [
        (5, ("late", "lost"), 2), (5, (), None), (6, ("late", "lost"), 2),
    ]  # fmt: skip
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# Days that once broke something") and text.count("#") == 1
    assert text.count('broke = "L1"') == 2


def test_days_are_added_to_an_empty_list(tmp_path: Path) -> None:
    """The first day is added below the head of a file that has no days."""
    path = tmp_path / "kept.toml"
    head = Path(__file__).with_name("kept.toml").read_text(encoding="utf-8").partition("\n\n")[0]
    path.write_text(head, encoding="utf-8")
    keep(path, [(QUIET, _result(9, "C1"))])
    assert [(seed, day.payouts) for seed, day in kept(path)] == [(9, 1)]


# --- many days ---------------------------------------------------------------------------------------------------


def test_what_days_add_up_to() -> None:
    """Figures of days are added, failed days are kept in order, and a cell that no fault fell into is named."""
    summary = Summary()
    for result in (_result(1), _result(2, "L1"), _result(3), _result(4, "R1")):
        summary.add(result)
    assert (summary.seeds, summary.payouts, summary.commits, summary.virtual_s) == (4, 12, 28, 240.0)
    assert summary.faults == {"crash": 8}
    assert [result.seed for result in summary.failed] == [2, 4]
    assert summary.traces == {1: "t1", 2: "t2", 3: "t3", 4: "t4"}
    assert summary.empty_cells == [cell for cell in cells() if cell != ("D1", "lost")]


@pytest.mark.long
def test_enough_is_enough(server: Callable[[str], str], template: str) -> None:
    """Days come as they are asked for, in order, and no more are begun once enough of them broke something."""
    urls = server("DATABASE").replace("DATABASE", "{}")
    found = [(one.seed, bool(one.violations)) for one in run(range(10, 13), urls, jobs=1, options=QUIET, enough=2)]
    assert found == [(seed, False) for seed in range(10, 13)]
    hated = replace(QUIET, heard=hates)
    assert [one.seed for one in run(range(10, 13), urls, jobs=1, options=hated, enough=2)] == [10, 11]


@pytest.mark.long
def test_days_side_by_side_are_the_same_days(server: Callable[[str], str], backend: Backend) -> None:
    """Days that several processes live, each on a database of its own, are those that one lives after the other."""
    urls = server("DATABASE").replace("DATABASE", "{}")
    together = {one.seed: one.trace for one in run(range(30, 32), urls, jobs=2, options=QUIET)}
    assert together == {seed: one(seed, backend, QUIET).trace for seed in range(30, 32)}
    assert len(set(together.values())) == 2
