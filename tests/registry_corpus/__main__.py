"""`python -m tests.registry_corpus --seed S [--rows N]`: counts by kind, for a reader who wants to see what a seed holds."""

from __future__ import annotations

import argparse
from collections import Counter

from tests.registry_corpus import generate
from tests.registry_corpus.kinds import DUPLICATES, HONEST


def main() -> None:
    """Print how many rows of each kind a seed has."""
    parser = argparse.ArgumentParser(prog="python -m tests.registry_corpus", description=main.__doc__)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--rows", type=int, default=1_000)
    asked = parser.parse_args()
    corpus = generate(asked.seed, asked.rows)
    counts = Counter(truth.kind for truth in corpus.truth.values())
    duplicates = sum(truth.duplicate for truth in corpus.truth.values())
    print(f"seed {corpus.seed}: {len(corpus.payouts)} payouts, {len(corpus.files)} files, {corpus.rows} rows, "
          f"{duplicates} duplicates ({duplicates / corpus.rows:.2%})")  # fmt: skip
    for title, kinds in (("duplicates", DUPLICATES), ("honest", HONEST)):
        print(f"\n{title}")
        for kind in sorted(kinds, key=lambda kind: -counts[kind]):
            print(f"{counts[kind]:8d}  {kind}: {kinds[kind].story}")


if __name__ == "__main__":
    main()
