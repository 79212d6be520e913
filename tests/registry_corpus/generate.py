"""The way from a seed to a corpus: merchants of each trade until there are rows enough, then failures, mishaps, ids.

Lives here: `generate` and how large and how different merchants are. May not live here: what any trade pays.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final

from tests.registry_corpus.assemble import assemble
from tests.registry_corpus.gigs import gig
from tests.registry_corpus.mishaps_files import look, plant
from tests.registry_corpus.shapes import Corpus
from tests.registry_corpus.trade import customer, lottery, programme, shop
from tests.registry_corpus.wages import employer
from tests.registry_corpus.world import Merchant, World, before, with_failures

Trade = Callable[[World, Merchant, int], None]

_TRADES: Final[dict[str, tuple[float, int, Trade | None]]] = {
    "employer": (0.34, 3, employer),
    "gig": (0.26, 4, None),  # its mode goes round, so that each occurs
    "shop": (0.12, 2, shop),
    "lottery": (0.10, 2, lottery),
    "programme": (0.08, 2, programme),
    "customer": (0.10, 2, customer),
}
"""Each trade's share of rows, how many merchants it has at least, and what such a merchant does."""

_LARGEST: Final = 3_000
"""Rows of one merchant in a month."""


def generate(seed: int, rows: int = 1_000) -> Corpus:
    """The corpus of a seed with about so many rows to judge, over twice as many payouts of the months before. Same seed and rows,
    same corpus, in every process.

    Raises ValueError for fewer than 1,000 rows: not every kind would find its place.
    """
    if rows < 1_000:
        raise ValueError("fewer than 1,000 rows cannot hold every kind")
    random = Random(f"registry corpus 1|{seed}|{rows}")
    last = (random.choice((2024, 2025, 2026)), random.randrange(1, 13))
    world = World(random, [before(last, 2), before(last), last], rows)
    for trade, (share, least, act) in _TRADES.items():
        left, made = rows * share, 0
        while left > rows * share * 0.05 or made < least:
            size = max(8, min(_LARGEST, int(rows * share / least * random.uniform(0.4, 1.0)), int(left) + 1))
            merchant = _merchant(world, trade, made)
            if act is None:
                gig(world, merchant, size, made)
            else:
                act(world, merchant, size)
            with_failures(world, merchant)
            left -= sum(len(sheet.drafts) for sheet in merchant.sheets if sheet.at >= world.judged_from and sheet.channel == "registry")
            made += 1
    plant(world)
    return assemble(world, seed)


def _merchant(world: World, trade: str, made: int) -> Merchant:
    number = len(world.merchants) + 1
    random = Random(world.random.getrandbits(64))
    references = random.choices(("none", "numbers", "suffix"), (30, 45, 25))[0]
    merchant = Merchant(f"m{number:04d}", trade, random, look(world), "column", references, made == 0)
    world.merchants.append(merchant)
    return merchant
