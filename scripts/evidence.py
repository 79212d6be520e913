"""The proof in figures: seeds, determinism, planted bugs and chaos, each run here and now, and `docs/evidence.md` made of them.

    python -m scripts.evidence [--seeds N] [--again N] [--soon] [--bug-seeds N] [--chaos SECONDS] [--beside] [--write]

Lives here: what is run with which numbers, and the page. `make prove` runs it with the numbers of every change, `make soak` with
those of a night. Ends 0 only if every part did. With `--write` the page is made anew, with the commit it is about.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
PAGE: Final = ROOT / "docs" / "evidence.md"
CORES: Final = os.cpu_count() or 1


@dataclass(slots=True)
class Proof:
    """What was found. `wrong`: sentences that say what does not hold."""

    seeds: dict[str, Any] = field(default_factory=dict)
    again: int = 0
    differing: list[int] = field(default_factory=list)
    bugs: list[dict[str, Any]] = field(default_factory=list)
    chaos: dict[str, Any] = field(default_factory=dict)
    took_s: dict[str, float] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)


def _simulate(seeds: int, hash_seed: str, jobs: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "disburse", "simulate", "--seeds", str(seeds), "--jobs", str(jobs), "--json"]
    done = subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": hash_seed}, stdout=subprocess.PIPE, check=False)
    told: dict[str, Any] = json.loads(done.stdout)
    if "error" in told:
        raise SystemExit(f"disburse simulate gave up: {told['error']['message']}")
    return told


def _seeds(proof: Proof, seeds: int, again: int, jobs: int) -> None:
    """Live the seeds; live the first of them again in other processes, with another hash seed."""
    proof.seeds = _simulate(seeds, "1", jobs)
    for broken in proof.seeds["failed"]:
        proof.wrong.append(f"seed {broken['seed']} broke {broken['invariant']}: {broken['replay']}")
    if proof.seeds["faults_per_seed"] < 30:
        proof.wrong.append(f"only {proof.seeds['faults_per_seed']} faults a seed")
    if proof.seeds["empty_cells"]:
        proof.wrong.append(f"cells of the grid without a fault: {', '.join(proof.seeds['empty_cells'])}")
    proof.wrong += [f"never happened: {what}" for what in SOMETIMES if not proof.seeds["sometimes"].get(what)]
    if again:
        traces = _simulate(again, "2", jobs)["traces"]
        proof.again = len(traces)
        proof.differing = [int(seed) for seed, trace in traces.items() if proof.seeds["traces"].get(seed) != trace]
        proof.wrong += [f"seed {seed} is not lived the same way twice" for seed in proof.differing]


SOMETIMES: Final = (
    "a bank declared an id absent", "a provider told an earlier state", "a question did not find what was there",
    "intellectmoney: an operation was executed again", "unitpay: a known id came again", "a person cancelled",
    "a request was approved", "a request was refused",
)  # fmt: skip
"""What has to happen now and then, or else the days are too gentle."""


def _bugs(proof: Proof, soon: bool, seeds: int, jobs: int) -> None:
    with tempfile.TemporaryDirectory(prefix="disburse-evidence-") as folder:
        told = Path(folder) / "bugs.json"
        command = [sys.executable, "-m", "scripts.bughunt", "--seeds", str(seeds), "--jobs", str(jobs), "--json", str(told)]
        command += ["--soon"] if soon else []
        subprocess.run(command, check=False)
        proof.bugs = json.loads(told.read_text())
    proof.wrong += [f"the planted bug {one['name']} was not caught{': ' + one['sentence'] if one['sentence'] else ''}" for one in proof.bugs if not one["caught"] and one["wanted"]]


def _chaos(proof: Proof, seconds: int) -> None:
    with tempfile.TemporaryDirectory(prefix="disburse-evidence-") as folder:
        told = Path(folder) / "chaos.json"
        done = subprocess.run([sys.executable, "-m", "scripts.chaos", "--seconds", str(seconds), "--json", str(told)], check=False)
        proof.chaos = json.loads(told.read_text()) if told.exists() else {}
    if done.returncode:
        proof.wrong.append("the chaos run failed")


def main() -> int:
    words = argparse.ArgumentParser(prog="evidence", description="Run the proofs and write their figures down.")
    words.add_argument("--seeds", type=int, default=1500)
    words.add_argument("--again", type=int, default=500, help="so many seeds are lived a second time")
    words.add_argument("--soon", action="store_true", help="only the planted bugs that are met within a few days; all without it")
    words.add_argument("--bug-seeds", type=int, default=200)
    words.add_argument("--chaos", type=int, default=300, help="seconds; 0: none")
    words.add_argument("--beside", action="store_true", help="chaos runs beside the rest, which leaves it a core")
    words.add_argument("--write", action="store_true", help="make docs/evidence.md anew")
    chosen = words.parse_args()
    proof, jobs = Proof(), max(1, CORES - 1) if chosen.beside else CORES
    parts: list[tuple[str, Callable[[], None]]] = [("seeds", lambda: _seeds(proof, chosen.seeds, chosen.again, jobs)), ("bugs", lambda: _bugs(proof, chosen.soon, chosen.bug_seeds, jobs))]
    if chosen.chaos:
        parts.append(("chaos", lambda: _chaos(proof, chosen.chaos)))
    beside = [parts.pop()] if chosen.chaos and chosen.beside else []
    with ThreadPoolExecutor(1) as pool:
        running = [pool.submit(_timed, proof, *part) for part in beside]
        for part in parts:
            _timed(proof, *part)
        for one in running:
            one.result()
    if chosen.write:
        PAGE.write_text(_page(proof), encoding="utf-8")
    for sentence in proof.wrong:
        print(f"WRONG: {sentence}")
    return 1 if proof.wrong else 0


def _timed(proof: Proof, name: str, part: Callable[[], None]) -> None:
    began = time.monotonic()
    part()
    proof.took_s[name] = round(time.monotonic() - began, 1)
    print(f"{name}: {proof.took_s[name]:.0f} s, {len(proof.wrong)} wrong so far", flush=True)


# --- the page ----------------------------------------------------------------------------------------------------


def _page(proof: Proof) -> str:
    commit = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=False)
    seeds = proof.seeds
    lines = [
        "# Evidence",
        "",
        f"Made by `python -m scripts.evidence --write` on {datetime.now(UTC):%Y-%m-%d}, of commit {commit.stdout.strip() or 'unknown'}, on {CORES} cores.",
        "",
        "## Can it pay twice?",
        "",
        f"{seeds['seeds']:,} simulated days ([how](how-to/simulate.md)), {seeds['payouts']:,} payouts, {seeds['commits']:,} commits each judged,",
        f"{seeds['faults_per_seed']} faults a day, {seeds['virtual_s'] / 86400:.1f} virtual days in {proof.took_s['seeds']:.0f} s.",
        f"Days that broke a promise: **{len(seeds['failed'])}**.",
        "",
        f"Lived a second time in other processes with another hash seed: {proof.again}; different: {len(proof.differing)}.",
        "",
        "## Where faults fell",
        "",
        "The rows are a payout's durable steps and exchanges (`simulation/grid.py` names them); the figures count faults.",
        "",
        *_grid(seeds["cells"]),
        "",
        "| fault | times |",
        "|---|---|",
        *[f"| {name} | {count:,} |" for name, count in seeds["faults"].items()],
        "",
        "## Planted bugs",
        "",
        *_hunted(proof.bugs),
    ]
    if proof.chaos:
        lines += ["", "## Chaos", "", "| | |", "|---|---|", *[f"| {name} | {value} |" for name, value in proof.chaos.items()]]
    lines += ["", "## What did not hold", "", *([f"* {one}" for one in proof.wrong] or ["Nothing."])]
    return "\n".join(lines) + "\n"


def _grid(cells: dict[str, int]) -> list[str]:
    gaps = sorted({cell.split()[0] for cell in cells})
    faults = sorted({cell.split()[1] for cell in cells})
    rows = [f"| | {' | '.join(faults)} |", f"|---|{'---|' * len(faults)}"]
    for gap in gaps:
        rows.append(f"| {gap} | {' | '.join(str(cells.get(f'{gap} {fault}', '')) for fault in faults)} |")
    return rows


def _hunted(bugs: list[dict[str, Any]]) -> list[str]:
    caught = [one for one in bugs if one["caught"]]
    median = statistics.median(one["seeds"] for one in caught) if caught else 0
    head = f"{len(caught)} of {len(bugs)} were caught, with a median of {median:g} seeds ([the bank](../bugbank/README.md))."
    rows = [
        f"| {one['name']} | {one['seeds'] if one['caught'] else 'not caught: ' + one['reason']} | {one['invariant']} |" for one in bugs
    ]
    return [head, "", "| bug | seeds | broke |", "|---|---|---|", *rows]


if __name__ == "__main__":
    sys.exit(main())
