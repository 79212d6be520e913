"""Streams of chance: each question has its own, so that a day whose faults are taken away has the same wishes."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from disburse.simulation.backend import Backend
from disburse.simulation.day import Options
from disburse.simulation.knobs import FAULTS, draw
from disburse.simulation.many import one
from disburse.simulation.streams import STREAMS, Streams, Trace, log_uniform


def test_a_stream_stands_alone() -> None:
    """A stream draws the same whether others were asked before or not, and no two streams or seeds draw alike."""
    alone = {name: Streams(7)[name].random() for name in STREAMS}
    together = Streams(7)
    for name in reversed(STREAMS):
        for _ in range(3):
            together[name].randbytes(5)
    again = Streams(7)
    assert {name: again[name].random() for name in reversed(STREAMS)} == alone
    assert len({*alone.values(), *(Streams(8)[name].random() for name in STREAMS)}) == 2 * len(STREAMS)


def test_a_stream_goes_on() -> None:
    """Who asks for a stream again gets the one that was drawn from, not a fresh one."""
    streams = Streams(7)
    assert streams["faults"].random() != streams["faults"].random()


def test_small_is_as_likely_as_large() -> None:
    """A log-uniform draw stays between its ends and falls below their geometric middle half of the time."""
    stream = random.Random(1)
    drawn = [log_uniform(stream, 0.01, 100.0) for _ in range(2000)]
    assert min(drawn) >= 0.01 and max(drawn) <= 100.0
    assert 900 < sum(one < 1.0 for one in drawn) < 1100


def test_a_trace_is_what_happened() -> None:
    """Two traces are equal when the same happened in the same order, and differ by whom, when, what or turn."""

    def told(*notes: tuple[float, str, str] | int) -> str:
        trace = Trace()
        for note in notes:
            trace.turn(note) if isinstance(note, int) else trace.note(*note)
        return trace.digest()

    base = told(1, (0.5, "a", "x"), 2)
    assert base == told(1, (0.5, "a", "x"), 2)
    others = [
        told(2, (0.5, "a", "x"), 1), told(1, (0.6, "a", "x"), 2), told(1, (0.5, "b", "x"), 2), told(1, (0.5, "a", "y"), 2),
        told(1, (0.5, "a", "x")), told(1, 2, (0.5, "a", "x")),
    ]  # fmt: skip
    assert len({base, *others}) == 7


@pytest.mark.parametrize("kind", ["crash", "spoilt", "commit"])
def test_fewer_faults_leave_the_day(kind: str) -> None:
    """Taking a kind of fault away changes nothing else that is drawn for the day."""
    seed = next(seed for seed in range(100) if kind in draw(Streams(seed)).rates)
    whole, less = draw(Streams(seed)), draw(Streams(seed), [name for name in FAULTS if name != kind])
    assert less.rates == {name: rate for name, rate in whole.rates.items() if name != kind}
    assert replace(less, rates=whole.rates) == whole


def test_fewer_faults_leave_the_wishes(backend: Backend) -> None:
    """A day without its faults wants the same payouts of the same sums, from the same merchants, and is another day all the same."""
    days = ((seed, draw(Streams(seed))) for seed in range(100))  # where money lacks for good, weather decides who gives up
    seed = next(seed for seed, day in days if len(day.rates) >= 5 and day.patience is None and not day.scenes)
    asked: list[list[tuple[object, ...]]] = []
    traces = []
    for only in (None, ()):
        traces.append(one(seed, backend, Options(only=only)).trace)
        asked.append([tuple(row) for row in backend.look(_ASKED_FOR)])
    assert asked[0] == asked[1] != []
    assert traces[0] != traces[1]


_ASKED_FOR = "SELECT merchant_id, reference, amount_minor FROM payouts WHERE reference IS NOT NULL ORDER BY merchant_id, reference"
