"""Many seeds, over the machine's cores. Lives here: a throw-away server, one database a core, and what all results add up to.

The server runs without syncing: what is under test is what our transactions do, not PostgreSQL's crash recovery (the chaos run's
matter). May not live here: what a seed does (`day.py`), and what people are shown.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from disburse.simulation.auditor import Violation
from disburse.simulation.backend import Backend, make_scratch
from disburse.simulation.cores import one_core
from disburse.simulation.day import Options, Result, live
from disburse.simulation.grid import cells
from disburse.simulation.knobs import draw
from disburse.simulation.streams import Streams
from disburse.storage.embedded import EmbeddedServer

_SERVER: Final = {
    "fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "autovacuum": "off", "max_wal_size": "2GB",
}  # fmt: skip
_MEMORY: Final = Path("/dev/shm")  # noqa: S108 (files in it are in a directory of our own)

_backend: Backend | None = None
_kept: Final = contextlib.ExitStack()  # a process that lives days has its core until it ends


@dataclass(slots=True)
class Summary:
    """What seeds add up to. `failed`: the results that broke something, in the order they were run."""

    seeds: int = 0
    payouts: int = 0
    commits: int = 0
    virtual_s: float = 0.0
    wall_s: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    cells: Counter[tuple[str, str]] = field(default_factory=Counter)
    sometimes: Counter[str] = field(default_factory=Counter)
    traces: dict[int, str] = field(default_factory=dict)
    failed: list[Result] = field(default_factory=list)

    def add(self, result: Result) -> None:
        self.seeds += 1
        self.payouts += result.payouts
        self.commits += result.commits
        self.virtual_s += result.virtual_s
        self.wall_s += result.wall_s
        self.faults += result.faults
        self.cells += result.cells
        self.sometimes += result.sometimes
        self.traces[result.seed] = result.trace
        if result.violations:
            self.failed.append(result)

    @property
    def empty_cells(self) -> list[tuple[str, str]]:
        """Cells of the grid that no fault fell into."""
        return [cell for cell in cells() if not self.cells[cell]]


@contextlib.contextmanager
def scratch_server() -> Iterator[str]:
    """A server of its own in memory, gone afterwards: a URL with {} for the database's name."""
    place = _MEMORY if _MEMORY.is_dir() and os.access(_MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="disburse-simulate-", dir=place) as folder:
        server = EmbeddedServer(Path(folder) / "server", options=_SERVER)
        endpoint = server.start()
        try:
            yield endpoint.dsn("DATABASE").replace("DATABASE", "{}")
        finally:
            server.leave()


def open_backend(urls: str, name: str) -> Backend:
    """A backend on a database of that name, made if need be. `urls`: see `scratch_server`."""
    asyncio.run(make_scratch(urls.format("postgres"), name, urls.format(name)))
    backend = Backend()
    backend.open(urls.format(name))
    return backend


def one(seed: int, backend: Backend, options: Options) -> Result:
    """Run a seed; whatever it raises, an endless circle or a mistake of ours, is a violation."""
    try:
        return live(seed, backend, options)
    except Exception as fault:
        backend.reset()
        last = traceback.extract_tb(fault.__traceback__)[-1]
        where = f"{Path(last.filename).name}:{last.lineno}"
        told = Violation("crash", f"{type(fault).__name__} at {where}: {fault}")
        knobs = draw(Streams(seed), options.only, options.scenes)
        payouts = min(knobs.payouts, options.payouts or knobs.payouts)  # so many were to be: it can be made smaller
        return Result(seed, [told], Counter(), Counter(), Counter(), payouts, 0, 0, 0.0, 0.0, "", knobs)


def run(
    seeds: Iterable[int], urls: str, *, jobs: int, options: Options | None = None, enough: int | None = None
) -> Iterator[Result]:
    """Results as they come, at most `jobs` seeds at a time. Stops begin no more once `enough` have failed."""
    options = options or Options()
    if jobs <= 1:
        yield from _alone(seeds, urls, options, enough)
        return
    waiting, failed = iter(seeds), 0
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), _open, (urls,)) as pool:
        running: set[Future[Result]] = set()
        while True:
            while len(running) < jobs * 2 and (enough is None or failed < enough):
                seed = next(waiting, None)
                if seed is None:
                    break
                running.add(pool.submit(_run_here, seed, options))
            if not running:
                return
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in sorted(done, key=id):
                result = future.result()
                failed += bool(result.violations)
                yield result


def _alone(seeds: Iterable[int], urls: str, options: Options, enough: int | None) -> Iterator[Result]:
    backend, failed = open_backend(urls, "simulate_alone"), 0
    try:
        with one_core(backend.sessions()):
            for seed in seeds:
                result = one(seed, backend, options)
                failed += bool(result.violations)
                yield result
                if enough is not None and failed >= enough:
                    return
    finally:
        backend.close()


def _open(urls: str) -> None:
    global _backend
    _backend = open_backend(urls, f"simulate_{os.getpid()}")
    _kept.enter_context(one_core(_backend.sessions()))


def _run_here(seed: int, options: Options) -> Result:
    if _backend is None:
        raise AssertionError("this process was not opened")
    return one(seed, _backend, options)
