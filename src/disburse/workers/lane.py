"""One endpoint's queue, as the courier that holds it knows it. Pure memory: no I/O, no clock; the courier brings both.

Lives here: what may be sent next, what an ended try means, and how far everything has come. The rules:

* events of one payout go one at a time and in order; other payouts go past one that is being tried again;
* what failed becomes *late*: a row of its own, tried again with growing pauses, and what comes of the same payout waits behind it;
* the window of tries at the same time begins at one, grows with each success and falls back to one, so a receiver that hangs
  holds one place and not the whole house. After `REST_AFTER` failures in a row the endpoint rests, and then one try finds out;
* `done_to` moves past an event once it was delivered, is not wanted, or is late. A crash forgets what came after: it is sent again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from disburse.operations.webhook_work import Held, Late, Progress, Told

Key = UUID | None
"""Whose order counts: a payout's; what is about no payout has an order of its own."""

LARGEST_WINDOW: Final = 8
READ_AHEAD: Final = 64
MOST_LATE: Final = 1000
REST_AFTER: Final = 3
GIVE_UP_AFTER: Final = timedelta(days=3)
_FIRST_S, _FACTOR, _LONGEST_S = 5.0, 4.0, 6 * 3600.0
_REST_S, _LONGEST_REST_S = 5.0, 600.0
LONGEST_ASKED_S: Final = 3600.0
"""A receiver may ask us to stay away for so long at most."""
_BELIEVED: Final = timedelta(seconds=1.5 * _LONGEST_S)
"""No pause is longer. A time beyond it was written while the database's clock was wrong: nobody waits for that."""


def try_again_in_s(tries: int) -> float:
    """The pause after so many tries in vain: 5 s, 20 s, 80 s and so on, at most six hours."""
    return min(_FIRST_S * _FACTOR ** min(tries - 1, 10), _LONGEST_S)


def rest_s(failures: int) -> float:
    """How long an endpoint rests after so many failures in a row; 0: not at all."""
    return min(_REST_S * 2 ** min(failures - REST_AFTER, 10), _LONGEST_REST_S) if failures >= REST_AFTER else 0.0


@dataclass(slots=True)
class Flight:
    """One try that is under way. `late`: the row it tries again."""

    told: Told
    again: bool = False
    late: Late | None = None

    @property
    def key(self) -> Key:
        return self.told.payout_id


class Lane:
    """What is known of an endpoint that is held. `last`: its merchant's last event, as far as is known; `slow`: tries under way that take long."""

    def __init__(self, held: Held) -> None:
        webhook = held.webhook
        self.held, self.closing = held, False
        self.read_to = self.last = webhook.done_to
        self.slow = 0
        self.again_to = webhook.resend_next - 1 if webhook.resend_next is not None else None
        self.window, self.failures = 1, webhook.failures
        self.rest_until = webhook.rest_until
        self.give_up: str | None = None
        self.flying: dict[Key, Flight] = {}
        self._ready: deque[Flight] = deque()
        self._behind: dict[Key, deque[Flight]] = {}
        self._late: dict[Key, deque[Late]] = {}
        self._late_count = len(held.late)
        self._due_from: datetime | None = None  # no late event is due before; None: not known
        self._texts: dict[int, Told] = {}
        self._open: dict[bool, dict[int, None]] = {False: {}, True: {}}  # numbers under way, in order; of a resend: True
        self._put: dict[int, Late] = {}
        self._gone: dict[int, None] = {}
        self.dirty = False
        self._last: tuple[str | None, datetime | None] = (None, None)
        for late in held.late:
            self._late.setdefault(late.payout_id, deque()).append(late)
        for waiting in self._late.values():
            if waiting[0].next_at is None:
                waiting[0] = replace(waiting[0], next_at=waiting[0].since)

    # --- reading ---

    def wants(self, kind: str) -> bool:
        """Whether the endpoint asked for events of this type."""
        types = self.held.webhook.types
        return types is None or kind in types or f"{kind.partition('.')[0]}.*" in types

    def rests(self, now: datetime) -> bool:
        return self.rest_until is not None and now < self.rest_until < now + _BELIEVED

    def room(self, now: datetime) -> int:
        """How many events may be read for it now."""
        if self.closing or self.rests(now) or self._late_count >= MOST_LATE:
            return 0
        return max(0, READ_AHEAD - len(self._ready) - sum(len(some) for some in self._behind.values()))

    def take(self, told: Iterable[Told], up_to: int, *, again: bool = False) -> None:
        """Events that were read for it, in order; with them everything up to this number is read."""
        for one in told:
            if self.wants(one.kind):
                self._open[again][one.number] = None
                self._ready.append(Flight(one, again))
        if again:
            self.again_to = up_to
        else:
            self.read_to = up_to
        self.dirty = True

    def late_to_read(self, now: datetime) -> list[int]:
        """Late events that are due and whose text is not here yet."""
        if self.closing or self.rests(now) or not self._late:
            return []
        return [late.number for late in self._due(now) if late.number not in self._texts][:READ_AHEAD]

    def have(self, told: Told) -> None:
        """The text of a late event."""
        self._texts[told.number] = told

    def _due(self, now: datetime) -> list[Late]:
        if self._due_from is not None and now < self._due_from < now + _BELIEVED:
            return []
        heads = [(some[0], some[0].next_at) for key, some in self._late.items() if key not in self.flying]
        due = [one for one, at in heads if at is not None and not now < at < now + _BELIEVED]
        self._due_from = now if due else min((at for _, at in heads if at is not None), default=None)
        return sorted(due, key=lambda one: one.number)

    # --- trying ---

    def pick(self, now: datetime) -> Flight | None:
        """The next try to begin, which is under way from now on; None: nothing may be begun."""
        allowed = 1 if self.failures >= REST_AFTER else self.window
        if self.closing or self.give_up is not None or self.rests(now) or len(self.flying) >= allowed:
            return None
        for late in self._due(now) if self._late else ():
            if late.number in self._texts:
                return self._fly(Flight(self._texts[late.number], late=late))
        while self._ready:
            flight = self._ready.popleft()
            if flight.key in self._late:
                self._put_late(flight, now, None)
            elif flight.key in self.flying:
                self._behind.setdefault(flight.key, deque()).append(flight)
            else:
                return self._fly(flight)
        return None

    def _fly(self, flight: Flight) -> Flight:
        self.flying[flight.key] = flight
        return flight

    def ended(self, flight: Flight, answer: str, now: datetime, *, again_in_s: float | None, rest_for_s: float = 0.0) -> None:
        """A try is over. `again_in_s`: None, it was delivered; else it failed, and is tried again after so long.

        `rest_for_s`: the receiver asked for so long a pause.
        """
        del self.flying[flight.key]
        self._last, self.dirty = (answer, now), True
        if flight.key in self._late:
            self._due_from = None
        if again_in_s is None:
            self._delivered(flight, now)
        else:
            self._failed(flight, now, again_in_s, rest_for_s)

    def _delivered(self, flight: Flight, now: datetime) -> None:
        was_down, self.failures, self.rest_until = self.failures >= REST_AFTER, 0, None
        self.window = min(self.window + 1, LARGEST_WINDOW)
        if flight.late is not None:
            self._late_over(flight, now)
        else:
            self._open[flight.again].pop(flight.told.number, None)
            self._next_of(flight.key)
        if was_down:  # it is back: nothing waits for a pause that was meant for a receiver that is down
            self._due_from = None
            for some in self._late.values():
                if some[0].next_at is not None and some[0].next_at > now:
                    some[0] = replace(some[0], next_at=now)

    def _late_over(self, flight: Flight, now: datetime) -> None:
        waiting, number = self._late[flight.key], flight.told.number
        waiting.popleft()
        self._late_count -= 1
        self._texts.pop(number, None)
        self._put.pop(number, None)
        self._gone[number] = None
        if waiting:
            waiting[0] = replace(waiting[0], next_at=now)
        else:
            del self._late[flight.key]

    def _next_of(self, key: Key) -> None:
        behind = self._behind.get(key)
        if behind is not None:
            self._ready.appendleft(behind.popleft())
            if not behind:
                del self._behind[key]

    def _failed(self, flight: Flight, now: datetime, again_in_s: float, rest_for_s: float) -> None:
        self.window = 1
        if rest_for_s > 0:
            again_in_s = max(again_in_s, rest_for_s)
            self.rest_until = now + timedelta(seconds=rest_for_s)
        else:
            self.failures += 1
            pause = rest_s(self.failures)
            self.rest_until = now + timedelta(seconds=pause) if pause else self.rest_until
        late = flight.late
        since, tries = (late.since, late.tries) if late is not None and late.tries else (now, 0)
        if now - since >= GIVE_UP_AFTER:
            self.give_up = "undelivered_for_3_days"
        self._put_late(flight, since, now + timedelta(seconds=again_in_s), tries + 1)
        for behind in self._behind.pop(flight.key, ()):
            self._put_late(behind, now, None)

    def _put_late(self, flight: Flight, since: datetime, next_at: datetime | None, tries: int = 0) -> None:
        """It waits as a row: at the head of its payout's late events when it was tried, else behind them."""
        told, waiting = flight.told, self._late.setdefault(flight.key, deque())
        late = Late(told.number, told.payout_id, tries, since, next_at, told.at)
        self.dirty, self._due_from = True, None
        if flight.late is None:
            self._open[flight.again].pop(told.number, None)
            if any(one.number == told.number for one in waiting):
                return  # it is sent once more, and was late already
            waiting.append(late)
            self._late_count += 1
        else:
            waiting[0] = late
        self._put[told.number] = late
        self._gone.pop(told.number, None)
        if tries:
            self._texts[told.number] = told

    # --- how far ---

    @property
    def quiet(self) -> bool:
        """There is nothing to try, now or later."""
        return not self._ready and not self._late

    @property
    def idle(self) -> bool:
        """There is nothing to do at all until something new happens to its merchant."""
        resent = self.again_to is None or self.again_to >= (self.held.webhook.resend_to or 0)
        return not self.flying and self.quiet and self.last <= self.read_to and resent

    def _numbers(self) -> tuple[int, int | None, int | None]:
        live, again, last = self._open[False], self._open[True], self.held.webhook.resend_to
        done_to = min(live) - 1 if live else self.read_to
        if self.again_to is None or last is None:
            return done_to, None, None
        following = min(again) if again else self.again_to + 1
        return (done_to, following, last) if following <= last else (done_to, None, None)

    def progress(self) -> Progress:
        """Everything that is to be recorded; what happens from now on makes the lane `dirty` again."""
        webhook, self.dirty = self.held.webhook, False
        return Progress(
            webhook.webhook_id, webhook.merchant_id, self.held.epoch, webhook.version, *self._numbers(), self.failures,
            self.rest_until, *self._last, tuple(self._put.values()), tuple(self._gone),
        )  # fmt: skip

    def recorded(self, told: Progress) -> None:
        """This was recorded; what happened meanwhile is not."""
        for late in told.put:
            if self._put.get(late.number) is late:
                del self._put[late.number]
        for number in told.gone:
            self._gone.pop(number, None)
