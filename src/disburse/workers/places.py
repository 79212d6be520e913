"""How many tries a courier has under way, so that a receiver that hangs never holds a place that another needs. Pure memory.

Lives here: whether one more may begin. A try begins as a quick one. When it takes long it is slow: it gives its place to another, and its
endpoint begins no more until it ended. Quick ones are bounded for the sake of this process, all of them by the connections that it may have.
Of either, the last half is for first tries at endpoints that answer: whoever failed, or has a try under way already, takes none of it.
Which try is next is `lane.py`'s.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from disburse.workers.lane import Lane


@dataclass(slots=True, eq=False)
class Try:
    """One try that is under way, since `began` (monotonic seconds). `failing`: the endpoint's last one failed."""

    lane: Lane
    began: float
    failing: bool
    slow: bool = False


class Places:
    """Places for `quick` tries, and for as many slow ones as make `in_all` with them. A try is slow after `slow_s`."""

    def __init__(self, quick: int, in_all: int, slow_s: float) -> None:
        self._most = {False: quick, True: in_all}
        self._slow_s = slow_s
        self._quick: dict[Try, None] = {}  # in the order in which they were begun
        self._taken = {False: 0, True: 0}  # of the quick; of all
        self._failing = {False: 0, True: 0}

    def free(self, lane: Lane) -> bool:
        """Whether a try of this endpoint may begin."""
        if lane.slow:
            return False
        for which, most in self._most.items():
            if self._taken[which] >= most or (lane.flying and self._taken[which] * 2 >= most):
                return False
            if lane.failures and self._failing[which] * 2 >= most:
                return False
        return True

    def take(self, lane: Lane, began: float) -> Try:
        """A try begins. They must be taken in the order of time."""
        one = Try(lane, began, lane.failures > 0)
        self._quick[one] = None
        for which in (False, True):
            self._count(one, which, 1)
        return one

    def leave(self, one: Try) -> None:
        """A try ended."""
        if one.slow:
            one.lane.slow -= 1
        else:
            del self._quick[one]
            self._count(one, False, -1)
        self._count(one, True, -1)

    def see_slow(self, now: float) -> None:
        """From now on, those that began long ago are slow."""
        for one in list(itertools.takewhile(lambda one: now - one.began > self._slow_s, self._quick)):
            del self._quick[one]
            self._count(one, False, -1)
            one.slow = True
            one.lane.slow += 1

    def _count(self, one: Try, which: bool, more: int) -> None:
        self._taken[which] += more
        self._failing[which] += more if one.failing else 0
