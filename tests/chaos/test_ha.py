"""What a run with failovers is judged by: progress as the outside sees it, and what makes a run prove too little."""

from __future__ import annotations

import re
from pathlib import Path

from disburse.storage.sessions import hosts_of
from scripts.chaos.report import Outcome
from scripts.chaos_ha import failovers
from scripts.chaos_ha.__main__ import judge
from scripts.chaos_ha.cluster import NODES, SETTINGS
from scripts.chaos_ha.failovers import KINDS, WITHIN_S, Failover, Progress

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "high-availability.md"


def test_progress_is_what_was_written_whole(tmp_path: Path) -> None:
    """Payments and answers are counted, each once, as soon as their line has ended."""
    book, history = tmp_path / "book", tmp_path / "history"
    progress = Progress(book, [history])
    assert progress.count() == (0, 0)
    book.write_text('{"did":"accepted"}\n{"did":"paid","n":1}\n{"did":"pa')
    history.write_text('{"did": "asked"}\n{"did": "told"}\n')
    assert progress.count() == (1, 1)
    with book.open("a") as file:
        file.write('id","n":2}\n')
    assert progress.count() == (2, 1) == progress.count()


def test_a_slow_or_missing_failover_is_wrong() -> None:
    """A run fails when a kind was not done, and when one took too long; kills of processes are not what it is about."""
    done = [Failover(kind, "a", "b", WITHIN_S, 1.0) for kind in KINDS]
    good = Outcome(1, 60, wrong=["3 process kills prove too little"])
    judge(good, done)
    assert good.wrong == []
    bad = Outcome(1, 60)
    judge(bad, [Failover(KINDS[0], "a", "b", WITHIN_S + 0.1, 1.0)])
    assert len(bad.wrong) == len(KINDS)


def test_somebody_knows_how_to_do_each_failover() -> None:
    """Each kind has its case."""
    cases = re.findall(r'case "([^"]+)"', Path(failovers.__file__).read_text("utf-8"))
    assert sorted(cases) == sorted(KINDS)


def test_the_page_says_what_was_run() -> None:
    """The settings that the page recommends are those of the run, and its address names as many hosts."""
    text = PAGE.read_text("utf-8")
    for name, value in SETTINGS.items():
        assert re.search(rf"^    {name}: {str(value).lower()}$", text, re.MULTILINE), name
    [address] = re.findall(r"postgresql://\S+?(?=')", text)
    assert len(hosts_of(address)) == NODES
