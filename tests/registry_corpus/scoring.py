"""How a guard is judged: the rows it asks about, against the truth.

Lives here: counting, and which seeds are for what. May not live here: any idea of how a guard decides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Set
from dataclasses import dataclass
from typing import Final

from tests.registry_corpus.kinds import DUPLICATES
from tests.registry_corpus.shapes import Corpus, RowKey

FIRST_MEASURING_SEED: Final = 1_000
"""Seeds below it are for building and trying a guard; figures are told of others, which its author has not looked into."""


@dataclass(frozen=True, slots=True)
class Score:
    """Counts of rows. `asked_by_kind` has, of each kind that occurs, how many rows were asked about and how many there are."""

    hits: int
    missed: int
    needless: int
    asked_by_kind: dict[str, tuple[int, int]]

    @property
    def precision(self) -> float:
        """Of the rows asked about, how many are duplicates; 1 when nothing was asked."""
        asked = self.hits + self.needless
        return self.hits / asked if asked else 1.0

    @property
    def recall(self) -> float:
        """Of the duplicates, how many were asked about; 1 when there are none."""
        duplicates = self.hits + self.missed
        return self.hits / duplicates if duplicates else 1.0

    def __add__(self, other: Score) -> Score:
        """Several corpora counted as one: rows are added up, not percentages."""
        kinds = {
            kind: (one[0] + two[0], one[1] + two[1])
            for kind in sorted({*self.asked_by_kind, *other.asked_by_kind})
            for one, two in [(self.asked_by_kind.get(kind, (0, 0)), other.asked_by_kind.get(kind, (0, 0)))]
        }
        return Score(self.hits + other.hits, self.missed + other.missed, self.needless + other.needless, kinds)

    def lines(self) -> list[str]:
        """A report: the two figures, each kind of duplicate with its recall, and the honest kinds that were asked about."""
        told = [f"precision {self.precision:.4f}, recall {self.recall:.4f} "
                f"({self.hits} hits, {self.missed} missed, {self.needless} needless)"]  # fmt: skip
        for kind, (asked, rows) in sorted(self.asked_by_kind.items()):
            if kind in DUPLICATES:
                told.append(f"  {kind}: {asked} of {rows}")
            elif asked:
                told.append(f"  honest {kind}: asked about {asked} of {rows}")
        return told


def score(corpus: Corpus, asked: Set[RowKey]) -> Score:
    """Judge the rows that a guard asked about. Raises ValueError when one of them is no row of the corpus."""
    if not corpus.truth.keys() >= asked:
        raise ValueError("asked about a row that the corpus does not have")
    rows: Counter[str] = Counter()
    told: Counter[str] = Counter()
    hits = duplicates = 0
    for key, truth in corpus.truth.items():
        rows[truth.kind] += 1
        told[truth.kind] += key in asked
        duplicates += truth.duplicate
        hits += truth.duplicate and key in asked
    return Score(hits, duplicates - hits, len(asked) - hits, {kind: (told[kind], rows[kind]) for kind in sorted(rows)})
