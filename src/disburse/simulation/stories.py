"""Days of a few kinds of fault that belong together, and of providers that they are about: what a crowd of other faults would hide.

Lives here: the table of such days, and drawing one. A story only says what may fall and how often; how it falls, and upon whom, is as on any
other day. May not live here: how a fault is done (`faults.py`, `nemesis.py`, `provider.py`), and whether anything broke.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from disburse.simulation.streams import log_uniform

FEWEST: Final = 8
"""A story needs payouts, so many at least."""

_EVERY: Final = 4
_ANY: Final = (("unitpay",), ("moneynew",), ("bank",))


@dataclass(frozen=True, slots=True)
class Story:
    """`rates`: kinds of fault, and between which rates; `providers`: the day has one of these lists of them.

    `scenes`: what it has beside its ordinary merchants. `late_s`: what a provider puts off may come so late at least; `long_s`: for so long at least the faults fall; seconds.
    """

    rates: Mapping[str, tuple[float, float]]
    providers: tuple[tuple[str, ...], ...]
    late_s: float = 0.0
    long_s: float = 120.0
    scenes: tuple[str, ...] = ()

    def draw(self, own: random.Random) -> dict[str, float]:
        """How often each kind falls on this day."""
        return {name: log_uniform(own, *between) for name, between in self.rates.items()}


STORIES: Final = (
    # It says that it could not send the money, tries again later, and pays; or a gateway says something in its place.
    Story({"stumbles": (0.4, 0.6), "refuses": (0.05, 0.2), "gateway": (0.4, 0.6)}, (("unitpay",), ("unitpay", "moneynew"))),
    # Money comes back, its bank says so once, and the database is away at that moment.
    Story({"deaf": (0.3, 0.6), "returns": (0.2, 0.3)}, (("bank",), ("guarded",))),
    # For minutes nobody hears a bank that takes its time: two persons decide, one of them by an old page.
    Story({"outage": (2.0, 4.0), "stumbles": (0.5, 0.6), "persons": (1.0, 2.0)}, (("bank",), ("guarded",)), 3600.0, 240.0),
    # An order comes late or never, it is sent again, and for that no connection is had.
    Story({"lost": (0.4, 0.6), "late": (0.1, 0.2), "refused": (0.4, 0.6)}, (("unitpay",),), long_s=200.0),
    # A bank says that it lacks our money, and pays after all, while the next attempt waits for another bank that is hard to reach.
    Story({"short": (0.3, 0.4), "relents": (0.3, 0.6), "refused": (0.3, 0.6)}, (("bank", "bank"), ("guarded", "bank"))),
    # A gateway sends an order twice, the copy is refused for want of what the first one cost, and the question after that is lost as well.
    Story({"doubled": (0.4, 0.6), "silent": (0.3, 0.6), "reset": (0.3, 0.6), "spoilt": (0.3, 0.6)}, (("unitpay",),)),
    # Who is about to send stands still, and wakes when its lease is over.
    Story({"zombie": (0.4, 0.6), "refused": (0.1, 0.3)}, (("bank",), ("bank", "bank"))),
    # What has a time, a limit or somebody who waits for news, and clocks that jump.
    Story({"clock": (3.0, 8.0), "silent": (0.2, 0.5)}, _ANY, scenes=("rules", "webhooks")),
    # Files and news, and whoever works at them dies in between.
    Story({"crash": (2.0, 6.0), "silent": (0.2, 0.5)}, _ANY, scenes=("webhooks", "registries")),
)


def story_of(seed: int) -> Story | None:
    """The story of a seed's day; most have none. They take turns, so that each is lived within any few dozen seeds."""
    turn, rest = divmod(seed, _EVERY)
    return None if rest else STORIES[turn % len(STORIES)]
