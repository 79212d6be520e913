"""The duplicate guard on corpora that nobody looked into: it asks about nearly every duplicate, and about nearly nothing else."""

from __future__ import annotations

from tests.registry_corpus.measure import measure


def test_precision_and_recall() -> None:
    """Over two corpora, at least 99 of 100 questions are due and at least 95 of 100 duplicates are asked about."""
    total, _ = measure((3_001, 3_002), 2_000)
    assert total.precision >= 0.99 and total.recall >= 0.95, "\n".join(total.lines())
