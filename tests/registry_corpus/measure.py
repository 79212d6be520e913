"""How good the duplicate guard is: `python -m tests.registry_corpus.measure`.

Lives here: a memory of payouts with the same keys and bounds as the stored one, and the loop that judges a corpus with the guard, piece by
piece as the planner does. May not live here: any rule of the guard.

Names are known only of payouts that came by a registry, or stood in a comment: the engine keeps no name of what a program ordered.
"""

from __future__ import annotations

import argparse
import hmac
import sys
import time
from collections import defaultdict
from collections.abc import Iterable
from functools import partial
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

from msgspec.structs import replace

from disburse.domain.destinations import Destination, Rail
from disburse.domain.duplicates import FEW, WINDOW_DAYS, Trace, trace_of
from disburse.domain.money import Money
from disburse.operations.duplicates import Guard
from tests.registry_corpus import generate
from tests.registry_corpus.scoring import Score, score
from tests.registry_corpus.shapes import DEAD, Corpus, File, Payout, Row, RowKey

PIECE = 1_000
"""Rows that are judged at once, as the planner does."""


def keyed(merchant: str, text: bytes) -> bytes:
    """A keyed fingerprint, as the vault makes it."""
    return hmac.digest(merchant.encode(), text, "sha256")[:16]


def trace(merchant: str, order: Payout | Row, at: int, row: int, *, named: bool) -> Trace:
    """What the guard may compare of a payout or row."""
    place = order.place
    to = Destination(Rail(place.rail), place.number, place.bank, order.name if named else None)
    key = partial(keyed, merchant)
    return trace_of(to, key(to.fingerprint_text()), Money(order.amount_minor, order.currency), order.comment, key, at=at, row=row)


class Keys:
    """Stands for the vault: the guard takes fingerprints from it and nothing else."""

    def __init__(self, merchant: str) -> None:
        self.merchant = merchant

    def fingerprint(self, text: bytes, merchant_id: int) -> bytes:
        return keyed(self.merchant, text)


class Memory:
    """The payouts of one corpus by key, added in order of time."""

    def __init__(self) -> None:
        self.keys: tuple[dict[int, list[Trace]], ...] = (defaultdict(list), defaultdict(list), defaultdict(list))
        self.ends: dict[UUID, Payout] = {}

    def add(self, payout: Payout) -> None:
        """One payout more, newer than all before."""
        identifier = UUID(int=len(self.ends) + 1)
        self.ends[identifier] = payout
        one = trace(payout.merchant, payout, int(payout.created_at.timestamp()), 0, named=payout.channel == "registry")
        self.put(replace(one, payout=identifier))

    def put(self, one: Trace) -> None:
        """A trace under its keys."""
        for by, key in zip(self.keys, (one.place, one.person, one.number), strict=True):
            if key:
                by[key].append(one)

    def about(self, rows: Iterable[Trace], file: File) -> list[Trace]:
        """What is known under the keys of these rows, newest first: of each key the newest few, and of a place those that say exactly the same."""
        found: dict[UUID | None, Trace] = {}
        for row in rows:
            for place, key in enumerate((row.place, row.person, row.number)):
                past = self.keys[place].get(key) if key else None
                if past:
                    newest = past[: -FEW - 1 : -1]
                    if place == 0 and (row.number or row.detail):
                        newest = [*newest, *[one for one in reversed(past[:-FEW]) if (one.number, one.detail) == (row.number, row.detail)][:FEW]]
                    found.update((one.payout, one) for one in newest if row.at - one.at <= WINDOW_DAYS * 86_400)
        return [self.seen(one, file) for one in sorted(found.values(), key=lambda one: -one.at)]

    def seen(self, one: Trace, file: File) -> Trace:
        """A trace with the state that its payout had when the file came in."""
        payout = self.ends.get(one.payout) if one.payout else None
        if payout is None or payout.state_at(file.uploaded_at) not in DEAD:
            return one
        return replace(one, alive=False)


def asked_about(corpus: Corpus) -> tuple[set[RowKey], float]:
    """The rows of a corpus that the guard asks about, and the seconds that judging took (without looking up)."""
    memories: dict[str, Memory] = defaultdict(Memory)
    asked: set[RowKey] = set()
    spent = 0.0
    payouts = iter(corpus.payouts)
    waiting = next(payouts, None)
    for file in corpus.files:
        while waiting is not None and waiting.created_at < file.uploaded_at:
            memories[waiting.merchant].add(waiting)
            waiting = next(payouts, None)
        memory = memories[file.merchant]
        at = int(file.uploaded_at.timestamp())
        guard = Guard(cast(Any, Keys(file.merchant)), cast(Any, SimpleNamespace(merchant_id=0)), file.uploaded_at)
        for first in range(0, len(file.rows), PIECE):
            began = time.process_time()
            rows = [trace(file.merchant, row, at, row.line, named=True) for row in file.rows[first : first + PIECE]]
            spent += time.process_time() - began
            past = memory.about(rows, file)
            began = time.process_time()
            told = guard.ask(rows, past)
            guard.passed([row for row in rows if row.row not in told])
            spent += time.process_time() - began
            asked |= {(file.id, line) for line in told}
    return asked, spent


def measure(seeds: Iterable[int], rows: int) -> tuple[Score, float]:
    """The score over several corpora, and the guard's own seconds a row."""
    total: Score | None = None
    spent, count = 0.0, 0
    for seed in seeds:
        corpus = generate(seed, rows)
        asked, seconds = asked_about(corpus)
        one = score(corpus, asked)
        total = one if total is None else total + one
        spent, count = spent + seconds, count + corpus.rows
    if total is None:
        raise ValueError("no seed was given")
    return total, spent / count


def main() -> int:
    """Print the figures; 1 when they are below the aims."""
    parser = argparse.ArgumentParser(prog="python -m tests.registry_corpus.measure", description="How good the duplicate guard is.")
    parser.add_argument("--first-seed", type=int, default=2_000)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=10_000)
    given = parser.parse_args()
    total, each = measure(range(given.first_seed, given.first_seed + given.seeds), given.rows)
    print("\n".join(total.lines()))
    print(f"the guard's own time: {each * 1e6:.1f} us a row")
    return 0 if total.precision >= 0.99 and total.recall >= 0.95 else 1


if __name__ == "__main__":
    sys.exit(main())
