"""`disburse simulate`: the whole payout path under a seeded scheduler, a virtual clock and faults, on a throw-away PostgreSQL.

Lives here: the command and what it shows. What a seed does is `simulation/day.py`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from disburse.cli.mistakes import BadUsage
from disburse.cli.show import json_text, plain, say_json
from disburse.simulation.day import Options, Result
from disburse.simulation.kept import keep
from disburse.simulation.knobs import FAULTS, SCENES
from disburse.simulation.many import Summary, one, open_backend, run, scratch_server
from disburse.simulation.shrink import line, shrink


def simulate(
    *,
    seeds: int = 100,
    first: int = 0,
    seed: int | None = None,
    trace: bool = False,
    faults: str | None = None,
    scenes: str | None = None,
    payouts: int | None = None,
    jobs: int = 0,
    enough: int = 5,
    small: bool = True,
    keep_in: Path | None = None,
    json: bool = False,
) -> int:
    """Run days of faults by seed and judge each. Ends 1 when any day broke an invariant, with the line that replays it.

    Args:
        seeds: how many days, from `--first` on.
        first: the first seed.
        seed: this one alone.
        trace: with `--seed`: print everything that happens, with virtual seconds.
        faults: kinds of faults that may fall, with commas between; `none` for a quiet day.
        scenes: what days have beside the ordinary, with commas between; `none` for ordinary days. Without it the seed decides.
        payouts: no more payouts a day than these.
        jobs: seeds at a time; 0: one a core.
        enough: stop after so many days that broke something.
        small: make failing days smaller before they are told.
        keep_in: a file that shrunk failing seeds are added to; the tests replay `tests/simulation/kept.toml`.
        json: print one JSON object.
    """
    if seeds < 1 or first < 0 or jobs < 0 or enough < 1 or (payouts is not None and payouts < 1):
        raise BadUsage("Numbers of seeds, payouts and failures are at least 1; the first seed and jobs at least 0.")
    options = Options(only=_known(faults, FAULTS, "fault"), payouts=payouts, scenes=_known(scenes, SCENES, "scene"))
    console = Console(stderr=json)
    began = time.perf_counter()
    with scratch_server() as urls:
        if seed is not None:
            return _replay(seed, urls, options, trace=trace, json=json, console=console)
        summary = Summary()
        with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
            bar = progress.add_task("days", total=seeds)
            for result in run(range(first, first + seeds), urls, jobs=jobs or os.cpu_count() or 1, options=options, enough=enough):
                summary.add(result)
                progress.advance(bar)
        failed = [_made_small(one, urls, options) if small else (options, one) for one in summary.failed]
    told = _told(summary, failed, time.perf_counter() - began)
    if keep_in is not None and failed:
        keep(keep_in, failed)
    if json:
        say_json(told)
    else:
        console.print(_table(told))
        for broken in told["failed"]:
            console.print(f"[bold red]{broken['invariant']}[/]: {plain(broken['sentence'])}\n    {broken['replay']}", highlight=False)
    return 1 if failed else 0


def _known(text: str | None, names: Sequence[str], what: str) -> list[str] | None:
    """The names in a list with commas between. Raises BadUsage for one that is not known."""
    if text is None:
        return None
    chosen = [] if text == "none" else text.split(",")
    strange = [one for one in chosen if one not in names]
    if strange:
        raise BadUsage(f"There is no {what} called {strange[0]}. Known: none, {', '.join(names)}.")
    return chosen


def _made_small(failed: Result, urls: str, options: Options) -> tuple[Options, Result]:
    backend = open_backend(urls, "simulate_alone")
    try:
        return shrink(failed, backend, options)
    finally:
        backend.close()


def _replay(seed: int, urls: str, options: Options, *, trace: bool, json: bool, console: Console) -> int:
    def heard(at: float, who: str, what: str) -> None:
        console.print(f"{at:12.6f}  {who:<12} {plain(what)}", highlight=False, markup=False, soft_wrap=True)

    if trace:
        options.heard = heard
    backend = open_backend(urls, "simulate_alone")
    try:
        result = one(seed, backend, options)
    finally:
        backend.close()
    told: dict[str, Any] = {
        "seed": seed, "trace": result.trace, "virtual_s": round(result.virtual_s, 3), "faults": dict(sorted(result.faults.items())),
        "payouts": result.payouts, "commits": result.commits, "providers": list(result.knobs.providers), "scenes": list(result.knobs.scenes),
        "violations": [{"invariant": one.invariant, "sentence": one.sentence, "payout": one.payout} for one in result.violations],
    }  # fmt: skip
    if json:
        say_json(told)
    else:
        console.print(json_text(told), highlight=False, markup=False)
    return 1 if result.violations else 0


def _told(summary: Summary, failed: list[tuple[Options, Result]], wall_s: float) -> dict[str, Any]:
    seeds = max(summary.seeds, 1)
    return {
        "seeds": summary.seeds, "failed": [_of_failed(options, result) for options, result in failed], "payouts": summary.payouts,
        "commits": summary.commits, "faults_per_seed": round(sum(summary.faults.values()) / seeds, 1),
        "faults": dict(sorted(summary.faults.items())), "virtual_s": round(summary.virtual_s), "wall_s": round(wall_s, 1),
        "empty_cells": [" ".join(cell) for cell in summary.empty_cells],
        "cells": {" ".join(cell): count for cell, count in sorted(summary.cells.items())},
        "sometimes": dict(sorted(summary.sometimes.items())),
        "traces": {str(seed): trace for seed, trace in sorted(summary.traces.items())},
    }  # fmt: skip


def _of_failed(options: Options, result: Result) -> dict[str, Any]:
    first = result.violations[0]
    return {
        "seed": result.seed, "invariant": first.invariant, "sentence": first.sentence, "payout": first.payout,
        "replay": line(result.seed, options),
    }  # fmt: skip


def _table(told: dict[str, Any]) -> Table:
    table = Table(title="Simulated days", show_header=False)
    rows = {
        "seeds": told["seeds"], "of them broken": len(told["failed"]), "payouts": told["payouts"], "commits": told["commits"],
        "faults a seed": told["faults_per_seed"], "virtual time": f"{told['virtual_s'] / 3600:.1f} h", "real time": f"{told['wall_s']:.0f} s",
        "cells of the grid without a fault": ", ".join(told["empty_cells"]) or "none",
    }  # fmt: skip
    for name, value in rows.items():
        table.add_row(name, str(value))
    return table
