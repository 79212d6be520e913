"""What every chaos run's command line shares: its options, and the folder of a run, whose evidence is kept when it fails."""

from __future__ import annotations

import argparse
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from scripts.chaos.report import Outcome


def words(prog: str, *, seconds: float, what: str, callers: int) -> argparse.ArgumentParser:
    """The options, with these defaults. `what` comes for so many `seconds`."""
    parser = argparse.ArgumentParser(prog=prog)
    parser.add_argument("--seconds", type=float, default=seconds, help=f"how long {what} come (default {seconds:.0f})")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6), help="what the plan is drawn from")
    parser.add_argument("--callers", type=int, default=callers, help="how many wages each of two merchants asks for at a time")
    parser.add_argument("--pause", type=float, default=0.5, help="how long a caller rests after a wage, seconds")
    parser.add_argument("--keep", type=Path, help="copy evidence and logs there; a run that fails keeps them anyway")
    return parser


@contextmanager
def place(prefix: str, told: Outcome, keep: Path | None, leaving: Callable[[Path], None] = lambda folder: None) -> Iterator[Path]:
    """A folder for one run, gone afterwards. What the checker read, and the logs, are copied out if told to or if something is wrong."""
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    beside = folder.with_name(f"{folder.name}-kept")
    try:
        yield folder
    except BaseException:
        keep = keep or beside
        raise
    finally:
        kept = keep or (beside if told.wrong else None)
        if kept is not None:
            for name in ("evidence", "log"):
                shutil.copytree(folder / name, kept / name, dirs_exist_ok=True)
            print(f"evidence and logs are in {kept}")
        leaving(folder)
        shutil.rmtree(folder, ignore_errors=True)
