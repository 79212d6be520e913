"""Events over `/v1`: a page of them, at once or as soon as there is one, and the same as a stream of server-sent events.

Lives here: for how long one may wait. May not live here: what an event tells (`protocols/events.py`), how waiting is done
(`operations/events.py`): it holds no connection to the database, and a process that is about to end lets everybody go.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from disburse.api.places import BEAT_S, STREAM_S, Places
from disburse.domain.merchant import Merchant
from disburse.operations.desk import Desk, StoreUnavailable
from disburse.operations.events import Told, read_events, wait_for_events
from disburse.protocols.events import encode_event, event_of
from disburse.protocols.rest import encode, read_last_event_id, read_query
from disburse.protocols.rest_event_messages import Events, EventsAsked, StreamAsked
from disburse.protocols.rest_routes import Route
from disburse.protocols.wire import EVENT_STREAM, WireAnswer, WireRequest

_PAGE: Final = 200
_READ_WITHIN_S: Final = 6.0


class EventDesk:
    """Answers `/v1/events` and its stream. One per door.

    `longest_s`: no answer waits longer, whatever was asked for.
    """

    def __init__(self, desk: Desk, *, longest_s: float = STREAM_S, places: Places | None = None) -> None:
        self._desk = desk
        self._clock = desk.world.clock
        self._longest_s = longest_s
        self._places = places or Places()

    async def answer(self, route: Route, merchant: Merchant, request: WireRequest) -> WireAnswer:
        """A page, or the beginning of a stream. Raises Refused, StoreUnavailable."""
        if route.stream:
            asked, told = read_query(request, StreamAsked), read_last_event_id(request)
            self._places.check(merchant)
            pieces = self._stream(merchant, told if told is not None else asked.after)
            return WireAnswer(200, EVENT_STREAM, b"", stream=pieces)
        return encode(200, await self._page(merchant, read_query(request, EventsAsked)))

    async def _page(self, merchant: Merchant, asked: EventsAsked) -> Events:
        deadline = self._clock.monotonic() + _READ_WITHIN_S
        found = await read_events(self._desk, merchant, asked.after, asked.limit, deadline=deadline)
        if not found and asked.wait:
            self._places.check(merchant)
            with self._places.taken(merchant):
                found = await wait_for_events(self._desk, merchant, asked.after, asked.limit, min(asked.wait, self._longest_s))
        items = [event_of(row) for row in found]
        return Events(items=items, next_after=items[-1].number if items else asked.after)

    async def _stream(self, merchant: Merchant, after: int) -> AsyncIterator[bytes]:
        """Events from there on, until it is time to end, the database is away, or this process is about to end."""
        ends = self._clock.monotonic() + self._longest_s
        with self._places.taken(merchant):
            yield b"retry: 1000\n\n"
            while (left := ends - self._clock.monotonic()) > 0 and not self._desk.news.closed:
                try:
                    found = await wait_for_events(self._desk, merchant, after, _PAGE, min(left, BEAT_S))
                except StoreUnavailable:
                    return
                after = found[-1].number if found else after
                yield b"".join(map(_piece, found)) or b": nothing new\n\n"


def _piece(row: Told) -> bytes:
    return b"id: %d\ndata: %b\n\n" % (row.number, encode_event(event_of(row)))
