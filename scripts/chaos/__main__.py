"""`make chaos`: the command line of a chaos run. Exit 0 only when every book agrees and every figure was reached."""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import shutil
import sys
import tempfile
from pathlib import Path

from scripts.chaos.postgres import give_back_disks
from scripts.chaos.report import Outcome
from scripts.chaos.run import run


def main() -> int:
    parser = argparse.ArgumentParser(prog="make chaos")
    parser.add_argument("--seconds", type=float, default=300, help="how long faults come; about a minute is added (default 300)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6), help="what the plan is drawn from")
    parser.add_argument("--callers", type=int, default=16, help="how many wages each of two merchants asks for at a time")
    parser.add_argument("--pause", type=float, default=0.5, help="how long a caller rests after a wage, seconds")
    parser.add_argument("--keep", type=Path, help="copy evidence and logs there; a run that fails keeps them anyway")
    parser.add_argument("--json", type=Path, help="write the figures there")
    options = parser.parse_args()
    if not 10 <= options.seconds <= 24 * 3600:
        parser.error("--seconds is 10 to 86,400")
    print(f"seed {options.seed}, {options.seconds:.0f} s", flush=True)
    told = Outcome(options.seed, options.seconds)
    folder = Path(tempfile.mkdtemp(prefix="disburse-chaos-"))
    kept = options.keep
    try:
        asyncio.run(run(folder, told, pause_s=options.pause, callers=options.callers))
    except BaseException:
        kept = kept or folder.with_name(f"{folder.name}-kept")
        raise
    finally:
        if told.wrong and kept is None:
            kept = folder.with_name(f"{folder.name}-kept")
        if kept is not None:
            for name in ("evidence", "log"):
                shutil.copytree(folder / name, kept / name, dirs_exist_ok=True)
            print(f"evidence and logs are in {kept}")
        give_back_disks(folder)
        shutil.rmtree(folder, ignore_errors=True)
    print("\n".join(told.lines()))
    if options.json is not None:
        options.json.write_text(json.dumps({name.strip(): value for name, value in told.rows()}) + "\n")
    for line in told.skipped:
        print(f"SKIPPED: {line}")
    for line in told.wrong:
        print(f"WRONG: {line}")
    return 1 if told.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
