"""What a seed's day is like: swarms of faults, ugly settings, and nothing that could not be."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, replace

import pytest

from disburse.simulation import knobs
from disburse.simulation.knobs import (
    ADDED,
    BESIDE_COPIES,
    BESIDE_LEAPS,
    COPIES,
    FAULTS,
    LEAP,
    NET,
    PROCESS,
    PROVIDER,
    RARE,
    SCENES,
    STORE,
    Knobs,
    draw,
)
from disburse.simulation.nemesis import TIMED
from disburse.simulation.stories import STORIES
from disburse.simulation.streams import Streams

SEEDS = range(400)


def _is_of_story(day: Knobs) -> bool:
    return any(set(story.rates) == set(day.rates) for story in STORIES)


def test_a_seed_is_one_day() -> None:
    """A seed draws the same day every time, and hardly two seeds the same one."""
    days = [draw(Streams(seed)) for seed in SEEDS]
    assert days == [draw(Streams(seed)) for seed in SEEDS]
    assert len({repr(day) for day in days}) == len(days)


def test_days_are_swarms() -> None:
    """About one day in five has no fault; each kind falls on many days and is missing on many, so none hides another."""
    days = [draw(Streams(seed)).rates for seed in SEEDS]
    quiet = sum(not rates for rates in days)
    assert 0.14 < quiet / len(days) < 0.26
    often = Counter(name for rates in days for name in rates)
    assert set(often) == set(FAULTS)
    assert all(0.12 < count / len(days) < 0.5 for name, count in often.items() if name not in RARE)


def test_copies_have_days_of_their_own() -> None:
    """On a day on which requests come twice nothing falls that could hide the one look which tells a refused copy from a refusal, one story aside."""
    days, (of_copies,) = [draw(Streams(seed)).rates for seed in SEEDS], [story for story in STORIES if COPIES in story.rates]
    doubled = [rates for rates in days if COPIES in rates and set(rates) != set(of_copies.rates)]
    assert len(doubled) > 10 and all(set(rates) <= {COPIES, *BESIDE_COPIES} for rates in doubled)


def test_leaps_have_days_of_their_own() -> None:
    """On a day of leaps some provider makes operations, and nothing falls that keeps a worker from writing down what it found."""
    days = [draw(Streams(seed)) for seed in SEEDS]
    leaps = [day for day in days if LEAP in day.rates]
    assert len(leaps) > 10 and all(set(day.rates) <= {LEAP, *BESIDE_LEAPS} for day in leaps)
    assert all(any(name.startswith("money") for name in day.providers) for day in leaps)


def test_stories_are_lived() -> None:
    """Each story has days of its own: its kinds of fault and no others, and one of its lists of providers."""
    days = [draw(Streams(seed)) for seed in SEEDS]
    for story in STORIES:
        lived = [day for day in days if set(day.rates) == set(story.rates) and day.providers in story.providers]
        assert len(lived) > 5, story
        assert all(day.safety_s >= story.long_s and set(day.scenes) == set(story.scenes) for day in lived)
        assert all(low <= day.rates[name] <= high for day in lived for name, (low, high) in story.rates.items())


def test_rates_are_rates() -> None:
    """What falls at each chance falls at most every time, what comes with time comes at most some times a minute, none never."""
    timed = {*TIMED, "persons"}
    for seed in SEEDS:
        for name, rate in draw(Streams(seed)).rates.items():
            assert 0 < rate <= (8.0 if name in timed else 0.6), name


def test_only_these() -> None:
    """A day that may have only some faults has no others, and a provider's temper has none that is not among them."""
    for seed in SEEDS:
        assert set(draw(Streams(seed), NET).rates) <= set(NET)
        quiet = draw(Streams(seed), [])
        assert quiet.rates == {}
        temper = quiet.temper
        assert temper.calls == 1
        rates = {name: rate for name, rate in asdict(temper).items() if name not in ("calls", "longest_s", "hides_s")}
        assert len(rates) >= 8 and not any(rates.values())


def test_settings_can_be() -> None:
    """Every day has somebody for each part, at most one kind of truth about money, and a lease that outlives a call."""
    for seed in SEEDS:
        day = draw(Streams(seed))
        assert min(day.servers, day.workers, day.merchants, day.payouts, len(day.providers), day.pool, day.writers) >= 1
        assert day.lease_s > day.call_s
        sandbox = {name in ("bank", "guarded") for name in day.providers}
        assert len(sandbox) == 1
        assert len(set(day.providers)) == len(day.providers) or sandbox == {True}


def test_extremes_are_met() -> None:
    """Among some hundred days every small and every large setting is found: one at a time and hundreds, one process and several."""
    days = [draw(Streams(seed)) for seed in SEEDS]
    assert {day.largest for day in days} >= {1, 500} and {day.window for day in days} >= {1, 1000}
    assert {day.servers for day in days} >= {1, 2} and {day.workers for day in days} >= {1, 3}
    assert {name for day in days for name in day.providers} == {"bank", "guarded", "unitpay", "moneynew", "moneyold"}
    assert {day.rhythm.claims for day in days} >= {1, 500}
    assert {day.bucket for day in days} == {0, 1} and {day.narrow for day in days} == {True, False}
    assert {day.again_s for day in days} == {6.0, 15.0, 60.0}


def test_a_new_kind_of_fault_leaves_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kinds that came later draw from streams of their own: without one of them all days are what they were, but for it."""
    days = [draw(Streams(seed)).rates for seed in SEEDS]
    for name in ADDED:
        monkeypatch.setattr(knobs, "ADDED", {one: rates for one, rates in ADDED.items() if one != name})
        without = [draw(Streams(seed)).rates for seed in SEEDS]
        for day, other in zip(days, without, strict=True):
            of_story = any(set(story.rates) == set(day) for story in STORIES)  # it says itself which kinds it has
            assert other == (day if of_story else {kind: rate for kind, rate in day.items() if kind != name})
        assert any(name in day for day in days) and not any(name in day for day in days if len(day) < 2)


def test_persons_come_where_providers_take_their_time() -> None:
    """Where nobody decides at once there are doubts for persons to end."""
    days = [day.rates for seed in SEEDS if "persons" in (day := draw(Streams(seed))).rates]
    assert 0.6 < sum("later" in day for day in days) / len(days) < 0.9


def test_scenes_come_now_and_then() -> None:
    """About one day in six has each scene, most have none; with other scenes it is the same day, but for how many payouts it has, and how often clocks jump."""
    days = {seed: draw(Streams(seed)) for seed in SEEDS}
    often = Counter(name for day in days.values() for name in day.scenes)
    assert set(often) == set(SCENES) and all(0.1 < count / len(days) < 0.22 for count in often.values())
    for seed, day in days.items():
        for scenes in ((), SCENES):
            other = draw(Streams(seed), scenes=scenes)
            assert other.scenes == scenes
            if _is_of_story(day):
                continue  # of those a story has as many as it needs
            assert other.payouts in (day.payouts, day.payouts // 2, day.payouts * 2, day.payouts * 2 + 1)
            assert replace(other, scenes=day.scenes, rhythm=day.rhythm, payouts=day.payouts, rates=day.rates) == day


def test_every_fault_has_one_name() -> None:
    """No two kinds of fault share a name."""
    assert len(set(FAULTS)) == len(FAULTS) >= len(STORE) + len(PROCESS) + len(NET) + len(PROVIDER)
