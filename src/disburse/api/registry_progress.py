"""The progress of one registry as server-sent events: what `GET /v1/registries/{id}` tells, whenever it has changed, until all is over.

Lives here: when one looks again, and when a stream ends. May not live here: what a registry tells (`rest_registries.py`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

import msgspec

from disburse.api.places import BEAT_S, STREAM_S, Places
from disburse.domain.merchant import Merchant
from disburse.domain.refusals import Refusal
from disburse.operations.desk import Desk, StoreUnavailable
from disburse.protocols.rest_registry_messages import Registry

LOOK_S: Final = 1.0


class Progress:
    """Streams of this process."""

    def __init__(self, desk: Desk, places: Places, *, longest_s: float = STREAM_S) -> None:
        self._desk = desk
        self._clock = desk.world.clock
        self._longest_s = longest_s
        self.places = places

    async def stream(self, merchant: Merchant, look: Callable[[], Awaitable[Registry]]) -> AsyncIterator[bytes]:
        """What `look` finds, as often as it differs. Ends with a final state, in time, or when the database is away or this process ends."""
        now = self._clock.monotonic()
        ends, beat, told = now + self._longest_s, now + BEAT_S, b""
        with self.places.taken(merchant):
            yield b"retry: 1000\n\n"
            while (now := self._clock.monotonic()) < ends and not self._desk.news.closed:
                try:
                    found = await look()
                except (StoreUnavailable, TimeoutError, Refusal):  # whoever comes again is told so by the status
                    return
                seen = msgspec.json.encode(found)
                if seen != told or now >= beat:
                    yield b"data: %b\n\n" % seen if seen != told else b": nothing new\n\n"
                    told, beat = seen, now + BEAT_S
                if found.final:
                    return
                await self._clock.sleep(min(LOOK_S, max(ends - now, 0.0)))
