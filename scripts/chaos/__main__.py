"""`make chaos`: the command line of a chaos run. Exit 0 only when every book agrees and every figure was reached."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from scripts.chaos.postgres import give_back_disks
from scripts.chaos.report import Outcome
from scripts.chaos.run import run
from scripts.chaos.words import place, words


def main() -> int:
    parser = words("make chaos", seconds=300, what="faults", callers=16)
    parser.add_argument("--json", type=Path, help="write the figures there")
    options = parser.parse_args()
    if not 10 <= options.seconds <= 24 * 3600:
        parser.error("--seconds is 10 to 86,400")
    print(f"seed {options.seed}, {options.seconds:.0f} s", flush=True)
    told = Outcome(options.seed, options.seconds)
    with place("disburse-chaos-", told, options.keep, give_back_disks) as folder:
        asyncio.run(run(folder, told, pause_s=options.pause, callers=options.callers))
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
