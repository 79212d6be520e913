"""A failing seed made small: fewer kinds of fault, fewer scenes and payouts, one line to replay it. The seed itself stays as it is.

What one stream of randomness draws does not move another (`streams.py`), so that a run whose faults are fewer has the same wishes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from disburse.simulation.backend import Backend
from disburse.simulation.day import Options, Result
from disburse.simulation.many import one

MOST_RUNS = 60


def shrink(failed: Result, backend: Backend, options: Options, heard: Callable[[str], None] = lambda line: None) -> tuple[Options, Result]:
    """The smallest options found under which this seed still breaks the same invariant."""
    broken = failed.violations[0].invariant
    best, result = replace(options, only=sorted(failed.knobs.rates)), failed
    runs = 0

    def still(tried: Options) -> Result | None:
        nonlocal runs
        runs += 1
        found = one(failed.seed, backend, tried)
        return found if any(one.invariant == broken for one in found.violations) else None

    for kind in list(best.only or ()):
        if runs >= MOST_RUNS:
            break
        tried = replace(best, only=[name for name in best.only or () if name != kind])
        smaller = still(tried)
        if smaller is not None:
            best, result = tried, smaller
            heard(f"without {kind}")
    for name in failed.knobs.scenes:
        kept = best.scenes if best.scenes is not None else failed.knobs.scenes
        tried = replace(best, scenes=[one for one in kept if one != name])
        smaller = still(tried) if runs < MOST_RUNS else None
        if smaller is not None:
            best, result = tried, smaller
            heard(f"without {name}")
    payouts = result.payouts
    while payouts > 1 and runs < MOST_RUNS:
        tried = replace(best, payouts=payouts // 2)
        smaller = still(tried)
        if smaller is None:
            break
        best, result, payouts = tried, smaller, payouts // 2
        heard(f"with {payouts} payouts")
    return best, result


def line(seed: int, options: Options) -> str:
    """The command that replays it."""
    words = [f"disburse simulate --seed {seed}"]
    if options.only is not None:
        words.append(f"--faults {','.join(options.only) or 'none'}")
    if options.scenes is not None:
        words.append(f"--scenes {','.join(options.scenes) or 'none'}")
    if options.payouts is not None:
        words.append(f"--payouts {options.payouts}")
    return " ".join(words)
