"""An endpoint's queue by itself: what may be sent next, what a failure means, and how far everything has come."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

from disburse.storage.events import Told
from disburse.storage.webhook_work import Held, Late
from disburse.storage.webhooks import Webhook
from disburse.workers.lane import LARGEST_WINDOW, MOST_LATE, REST_AFTER, Flight, Lane, rest_s, try_again_in_s
from tests.clock import START

NAME = UUID(int=7)


def lane(*, done_to: int = 0, late: tuple[Late, ...] = (), **more: object) -> Lane:
    webhook = Webhook(
        webhook_id=NAME, merchant_id=1, url="https://shop.example/", types=None, state="active", reason=None, version=1,
        secret_sealed=b"", previous_sealed=None, previous_until=None, since=0, done_to=done_to, resend_next=None, resend_to=None,
        failures=0, rest_until=None, last_answer=None, last_at=None, created_at=START,
    )  # fmt: skip
    return Lane(Held(replace(webhook, **more), 1, late))  # type: ignore[arg-type]


def told(number: int, payout: int, kind: str = "payout.paid") -> Told:
    return Told(1, number, None, UUID(int=payout), kind, "paid", 1, None, None, START, "x", None, "own", "card", "", "RUB", 1, 0)


def test_the_pauses_grow() -> None:
    """A failed event is tried again after ever longer pauses, six hours at most; an endpoint rests from the third failure on."""
    pauses = [try_again_in_s(tries) for tries in range(1, 30)]
    assert pauses[:4] == [5, 20, 80, 320] and pauses == sorted(pauses) and pauses[-1] == 6 * 3600
    assert [rest_s(failures) for failures in range(REST_AFTER + 3)] == [0, 0, 0, 5, 10, 20] and rest_s(100) == 600


def test_the_window_opens_with_success() -> None:
    """One try at first, more with each success, one again after a failure."""
    one = lane()
    one.take([told(n, n) for n in range(1, 41)], 40)
    sizes = []
    while flight := one.pick(START):
        while more := one.pick(START):
            del more
        sizes.append(len(one.flying))
        assert flight in one.flying.values()
        for flying in list(one.flying.values()):
            one.ended(flying, "200", START, again_in_s=None)
    assert sizes[:3] == [1, 2, 4] and max(sizes) == LARGEST_WINDOW
    one.take([told(41, 1), told(42, 2), told(43, 3)], 43)
    flight = one.pick(START)
    assert flight is not None
    one.ended(flight, "500", START, again_in_s=5)
    assert one.window == 1 and one.pick(START) is not None and one.pick(START) is None


def test_progress_stops_at_what_is_under_way() -> None:
    """`done_to` moves past what was delivered or is late, and not past what is under way; what is not wanted is passed at once."""
    one = lane(types=("payout.paid",))
    one.take([told(1, 1), told(2, 2), told(3, 3, "payout.queued"), told(4, 1)], 5)
    first = one.pick(START)
    assert first is not None and one.progress().done_to == 0
    one.ended(first, "500", START, again_in_s=5)
    assert (one.progress().done_to, [late.number for late in one.progress().put]) == (1, [1])
    second = one.pick(START)
    assert second is not None and second.told.number == 2
    one.ended(second, "200", START, again_in_s=None)
    assert one.pick(START) is None  # 4 is of the payout whose event is late
    progress = one.progress()
    assert (progress.done_to, [(late.number, late.next_at is None) for late in progress.put]) == (5, [(1, False), (4, True)])


def test_nothing_is_read_beyond_what_is_late() -> None:
    """An endpoint with very many late events gets no new ones before those are done."""
    late = tuple(Late(n, UUID(int=n), 1, START, START, START) for n in range(1, MOST_LATE + 1))
    assert lane(done_to=MOST_LATE, late=late).room(START) == 0 and lane(done_to=MOST_LATE, late=late[1:]).room(START) > 0


def _crash(one: Lane, rows: dict[int, Late]) -> Lane:
    """A new courier's lane, from what the last one recorded."""
    progress = one.progress()
    rows |= {late.number: late for late in progress.put}
    for number in progress.gone:
        rows.pop(number, None)
    return lane(done_to=progress.done_to, late=tuple(rows[number] for number in sorted(rows)))


def test_in_order_and_at_least_once_whatever_happens() -> None:
    """By chance failing, crashing and recording: each event is delivered, and never after a later one of its payout for the first time."""
    for seed in range(60):
        draw, now = random.Random(seed), START
        events = [told(n, draw.randint(1, 5)) for n in range(1, 61)]
        rows: dict[int, Late] = {}
        one = lane()
        got: list[int] = []
        for _ in range(3000):
            now += timedelta(seconds=draw.choice([0, 1, 60, 3600]))
            if one.read_to < len(events) and one.room(now):
                up_to = min(len(events), one.read_to + draw.randint(1, 9))
                one.take(events[one.read_to : up_to], up_to)
            for number in one.late_to_read(now):
                one.have(events[number - 1])
            while one.pick(now):
                pass
            for flight in sorted(one.flying.values(), key=lambda _: draw.random()):
                _end(one, flight, draw, now, got)
            one.give_up = None
            if draw.random() < 0.05:
                one = _crash(one, rows)
            elif draw.random() < 0.5:
                progress = one.progress()
                rows |= {late.number: late for late in progress.put}
                for number in progress.gone:
                    rows.pop(number, None)
                one.recorded(progress)
            if len(set(got)) == len(events) and one.quiet:
                break
        assert set(got) == set(range(1, 61)), seed
        for payout in range(1, 6):
            first = [n for n in dict.fromkeys(got) if events[n - 1].payout_id == UUID(int=payout)]
            assert first == sorted(first), seed


def _end(one: Lane, flight: Flight, draw: random.Random, now: object, got: list[int]) -> None:
    match draw.random():
        case chance if chance < 0.6:
            got.append(flight.told.number)
            one.ended(flight, "200", now, again_in_s=None)  # type: ignore[arg-type]
        case chance if chance < 0.8:
            one.ended(flight, "500", now, again_in_s=draw.uniform(1, 100))  # type: ignore[arg-type]
        case chance if chance < 0.9:
            one.ended(flight, "429", now, again_in_s=1.0, rest_for_s=30.0)  # type: ignore[arg-type]


def test_a_wrong_clock_parks_nothing() -> None:
    """Times that a worker wrote whose clock was years ahead are not waited for; honest pauses are, also the longest ones."""
    years, hours = START + timedelta(days=3650), START + timedelta(hours=7)
    parked = Late(1, UUID(int=1), 1, START, years, START)
    one = lane(done_to=1, late=(parked,), rest_until=years)
    assert not one.rests(START) and one.late_to_read(START) == [1]
    one.have(told(1, 1))
    flight = one.pick(START)
    assert flight is not None and flight.told.number == 1
    assert lane(done_to=1, late=(replace(parked, next_at=hours),)).late_to_read(START) == []
    assert lane(rest_until=START + timedelta(hours=1)).rests(START)
