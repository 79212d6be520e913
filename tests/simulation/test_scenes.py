"""Scenes: what some days have beside the ordinary happens on them, keeps every promise, and moves nothing on other days."""

from __future__ import annotations

import pytest

from disburse.simulation.backend import Backend
from disburse.simulation.day import Options
from disburse.simulation.many import one


@pytest.mark.parametrize(
    ("scene", "happens"),
    [("rules", "a person agreed"), ("webhooks", "an event arrived at a receiver"), ("registries", "a file was applied")],
)
def test_a_scene_happens(backend: Backend, scene: str, happens: str) -> None:
    """On one of a few days with nothing but this scene its people do what they are there for, and no day breaks a promise."""
    for seed in range(6):
        result = one(seed, backend, Options(only=(), payouts=3, scenes=[scene]))
        assert result.violations == []
        if result.sometimes[happens]:
            return
    raise AssertionError(f"nothing happens: {happens}")


def test_all_scenes_in_one_day(backend: Backend) -> None:
    """A day of faults may have all scenes at once, and is the same day each time."""
    days = [one(5, backend, Options(payouts=3, scenes=["rules", "webhooks", "registries"])) for _ in range(2)]
    assert [day.violations for day in days] == [[], []]
    assert days[0].trace == days[1].trace != ""
