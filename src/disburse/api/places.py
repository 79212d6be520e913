"""Places for requests that wait: how many may, of all merchants and of one, and for how long. Lives here: the counting; nothing about what they wait for.

A request that waits holds nothing but memory, so there may be many; but not as many as somebody likes to open.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from disburse.domain.merchant import Merchant
from disburse.protocols.rest_problems import Refused

MOST: Final = 500
MOST_OF_ONE: Final = 50
"""Requests that wait, of all merchants and of one, in this process."""
STREAM_S: Final = 50.0
"""A stream ends by itself: the server gives no answer longer than a minute."""
BEAT_S: Final = 15.0
"""After so long without anything new a stream says that it is alive, so that nobody on the way takes it for dead."""


class Places:
    """The places of one process."""

    def __init__(self, most: int = MOST, of_one: int = MOST_OF_ONE) -> None:
        self._most, self._of_one = most, of_one
        self._waiting: Counter[int] = Counter()

    @property
    def waiting(self) -> int:
        """How many wait now."""
        return self._waiting.total()

    def check(self, merchant: Merchant) -> None:
        """Raises Refused when there is no place left."""
        if self.waiting >= self._most or self._waiting[merchant.merchant_id] >= self._of_one:
            raise Refused("too_many_requests", "Too many requests wait already.", after_s=5)

    @contextmanager
    def taken(self, merchant: Merchant) -> Iterator[None]:
        """While somebody waits."""
        self._waiting[merchant.merchant_id] += 1
        try:
            yield
        finally:
            self._waiting[merchant.merchant_id] -= 1
            if not self._waiting[merchant.merchant_id]:
                del self._waiting[merchant.merchant_id]
