"""Failing days that are kept: a file of seeds with the faults they need, which tests replay. Lives here: reading and adding."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from pathlib import Path

from disburse.simulation.day import Options, Result

_HEAD = "# Days that once broke something, as `disburse simulate --keep-in` found and shrank them. Each is replayed by the tests.\n"


def keep(path: Path, found: Iterable[tuple[Options, Result]]) -> None:
    """Add days to a file, each once."""
    known = {(seed, tuple(options.only or ())) for seed, options in kept(path)} if path.exists() else set()
    lines = [] if path.exists() else [_HEAD]
    for options, result in found:
        if (result.seed, tuple(options.only or ())) in known:
            continue
        first = result.violations[0]
        lines += ["\n[[day]]\n", f"seed = {result.seed}\n", f"faults = [{_names(options.only or ())}]\n"]
        if options.scenes is not None:
            lines.append(f"scenes = [{_names(options.scenes)}]\n")
        if options.payouts is not None:
            lines.append(f"payouts = {options.payouts}\n")
        lines.append(f'broke = "{first.invariant}"\n')
    with path.open("a", encoding="utf-8") as file:
        file.writelines(lines)


def _names(which: Iterable[str]) -> str:
    return ", ".join([f'"{one}"' for one in which])


def kept(path: Path) -> list[tuple[int, Options]]:
    """The days of a file."""
    days = tomllib.loads(path.read_text(encoding="utf-8")).get("day", [])
    return [(day["seed"], Options(only=day["faults"], payouts=day.get("payouts"), scenes=day.get("scenes"))) for day in days]
