"""How strong the simulator is: every planted bug is hunted with it, and the seeds that it took are told.

    python -m scripts.bughunt [--seeds N] [--jobs N] [--only NAME ...] [--soon] [--json FILE]

Each bug goes into a scratch copy of the sources (`scripts/bugbank.py`), and `disburse simulate` lives one seed after another there
until one breaks something. Ends 0 when every bug that counts was caught. Lives here: the hunt; no bug and no judgement.
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
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from scripts.bugbank import BUG, Bug, bugs, planted, soon

_HOUR: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Catch:
    """What became of one hunt. `seeds`: how many were lived, the one that caught it included.

    `wanted`: whether the simulator should catch it; where it cannot, `reason` says why not.
    """

    name: str
    caught: bool
    seeds: int
    seconds: float
    invariant: str
    sentence: str
    wanted: bool = True
    reason: str = ""


def hunt(bug: Bug, seeds: int) -> Catch:
    """Look for one bug with as many seeds as that takes, at most so many."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="disburse-hunt-") as folder:
        source = planted(bug.name, Path(folder))
        command = [sys.executable, "-m", "disburse", "simulate", "--seeds", str(seeds), "--enough", "1", "--jobs", "1", "--no-small", "--json"]
        environment = {**os.environ, "PYTHONPATH": str(source), BUG: bug.name, "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, timeout=_HOUR, check=False)
    return judged(bug, done, time.monotonic() - began)


def judged(bug: Bug, done: subprocess.CompletedProcess[bytes], seconds: float) -> Catch:
    """What a hunt's simulator printed, and how it ended, say about the bug."""
    try:
        told = json.loads(done.stdout)
    except ValueError:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["no words"]
        return Catch(bug.name, done.returncode != 0, 0, seconds, "does not start", last[0][:200])
    if "failed" not in told:  # the command gave up, and says why: nobody knows whether the bug had a part in it
        why = f"the simulator gave up: {told.get('error', {}).get('message', told)}"[:200]
        return Catch(bug.name, False, 0, seconds, "", why, bug.elsewhere is None, bug.elsewhere or "")
    found = told["failed"]
    first = found[0] if found else {"invariant": "", "sentence": ""}
    return Catch(
        bug.name, bool(found), told["seeds"], seconds, first["invariant"], first["sentence"][:200], bug.elsewhere is None, bug.elsewhere or ""
    )


def main() -> int:
    words = argparse.ArgumentParser(prog="bughunt", description="Hunt the planted bugs with the simulator.")
    words.add_argument("--seeds", type=int, default=400, help="seeds a bug at most")
    words.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="bugs at a time")
    words.add_argument("--only", nargs="*", default=[], help="these bugs alone")
    words.add_argument("--soon", action="store_true", help="only bugs that are met within a few days (bugbank/soon.txt)")
    words.add_argument("--json", type=Path, help="write what was found there")
    chosen = words.parse_args()
    known = [bug for bug in bugs() if bug.counts]
    if chosen.only:
        known = [bug for bug in known if bug.name in chosen.only]
    if chosen.soon:
        known = [bug for bug in known if bug.name in soon()]
    with ThreadPoolExecutor(chosen.jobs) as pool:
        catches = []
        for catch in pool.map(lambda bug: hunt(bug, chosen.seeds), known):
            catches.append(catch)
            how = f"seed {catch.seeds:4}  {catch.invariant:<16} {catch.sentence}" if catch.caught else f"NOT CAUGHT {catch.sentence}"
            print(f"{catch.name:<40} {catch.seconds:6.1f} s  {how}", flush=True)
    caught = [one for one in catches if one.caught]
    median = statistics.median(one.seeds for one in caught) if caught else 0
    print(f"{len(caught)} of {len(catches)} planted bugs caught, median {median:g} seeds")
    if chosen.json is not None:
        chosen.json.write_text(json.dumps([asdict(one) for one in catches], indent=1) + "\n")
    return 0 if all(one.caught for one in catches if one.wanted) else 1


if __name__ == "__main__":
    sys.exit(main())
