"""Whole days: a hundred seeds keep every promise, kept days too, and one seed gives one day in whatever process it is lived."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from disburse.simulation.backend import Backend
from disburse.simulation.day import Options, Result
from disburse.simulation.kept import kept
from disburse.simulation.many import one
from disburse.simulation.shrink import line
from tests.databases import Databases

KEPT = Path(__file__).with_name("kept.toml")
GROUP = 10
TWICE = (1, 7, 10, 23, 41, 58)
"""Seeds that are lived in two processes."""

LIVE = """
import json, sys
from disburse.simulation.backend import Backend
from disburse.simulation.day import Options
from disburse.simulation.many import one
backend = Backend()
backend.open(sys.argv[1])
print(json.dumps([one(int(seed), backend, Options()).trace for seed in sys.argv[2:]]))
backend.close()
"""


def _broken(result: Result, options: Options | None = None) -> list[str]:
    """What a day broke, each with the line that lives it again."""
    again = line(result.seed, options or Options())
    return [f"{found.invariant}: {found.sentence}  [{again}]" for found in result.violations]


@pytest.mark.parametrize("first", range(0, 100, GROUP))
def test_a_hundred_days(backend: Backend, first: int) -> None:
    """Whatever the faults, no day breaks a promise; each day's payouts are asked for and paid for in commits."""
    for seed in range(first, first + GROUP):
        result = one(seed, backend, Options())
        assert _broken(result) == []
        assert result.payouts > 0 and result.commits > result.payouts


def test_kept_days(backend: Backend) -> None:
    """A day that once broke something, and was kept with the faults it needs, breaks nothing any more."""
    assert KEPT.read_text(encoding="utf-8").startswith("# Days that once broke something")
    for seed, options in kept(KEPT):
        assert _broken(one(seed, backend, options), options) == []


async def test_one_seed_is_one_day(databases: Databases) -> None:
    """A seed's trace is the same in two processes whose sets and dicts hash differently, on databases of different pasts."""
    names = [await databases.lend() for _ in range(2)]
    try:
        running = [
            await asyncio.create_subprocess_exec(
                sys.executable, "-c", LIVE, databases.server(name), *map(str, seeds),
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "PYTHONHASHSEED": hashed},
            )  # fmt: skip
            for name, hashed, seeds in zip(names, ("1", "2"), (TWICE, (*TWICE[3:], *TWICE)), strict=True)
        ]
        said = [await process.communicate() for process in running]
    finally:
        for name in names:
            await databases.take_back(name)
    assert [process.returncode for process in running] == [0, 0], said
    first, second = (json.loads(out) for out, _ in said)
    assert second[3:] == first
    assert second[:3] == first[3:]
    assert len(set(first)) == len(TWICE)
    assert all(first)
