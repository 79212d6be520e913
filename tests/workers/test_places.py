"""Places for tries: whoever hangs or fails leaves room for those who answer."""

from __future__ import annotations

from disburse.workers.places import Places
from tests.clock import START
from tests.workers.test_lane import lane, told


def test_who_hangs_gives_its_place_away() -> None:
    """A try that takes long frees its place, and its endpoint begins no other until it ended; all together have a bound of their own."""
    places, hung = Places(2, 4, 1.0), [lane() for _ in range(4)]
    tries = [places.take(one, 0.0) for one in hung[:2]]
    assert not places.free(hung[2])
    places.see_slow(1.0)
    assert not places.free(hung[2])
    places.see_slow(1.1)
    assert places.free(hung[2]) and not places.free(hung[0])
    tries += [places.take(one, 1.1) for one in hung[2:]]
    places.see_slow(3.0)
    assert not places.free(lane())
    places.leave(tries[0])
    assert places.free(hung[0]) and not places.free(hung[1])
    for one in tries[1:]:
        places.leave(one)
    assert [places.free(one) for one in hung] == [True] * 4


def test_a_second_try_leaves_half_to_first_ones() -> None:
    """An endpoint with a try under way takes none of the last half of the places."""
    places, busy = Places(4, 8, 1.0), lane()
    busy.take([told(n, n) for n in range(1, 9)], 8)
    while places.free(busy):
        assert busy.pick(START)
        places.take(busy, 0.0)
        busy.window = 8
    assert len(busy.flying) == 2 and places.free(lane())


def test_who_fails_leaves_half_to_others() -> None:
    """Endpoints whose last try failed hold half of the places at most, among the quick and among all."""
    places, good = Places(4, 8, 1.0), lane()
    for now in (0.0, 2.0):
        places.see_slow(now)
        for _ in range(2):
            fails = lane(failures=1)
            assert places.free(fails)
            places.take(fails, now)
        assert not places.free(lane(failures=1)) and places.free(good)
    places.see_slow(4.0)
    assert not places.free(lane(failures=1)) and places.free(good)
