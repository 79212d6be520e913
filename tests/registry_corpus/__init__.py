"""A corpus for the duplicate guard: payouts of merchants over months, files to judge, and the truth of each row. README.md says more."""

from __future__ import annotations

from tests.registry_corpus.generate import generate
from tests.registry_corpus.shapes import Corpus, File, Payout, Place, Row, RowKey, Truth

__all__ = ["Corpus", "File", "Payout", "Place", "Row", "RowKey", "Truth", "generate"]
