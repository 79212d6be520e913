"""Which core a day is lived on. Lives here: taking a core for a simulating process and its database sessions, and giving it back.

A day is one long chain: a step of the loop asks PostgreSQL, waits, and goes on. On two cores the one would wake the other for
every statement, which costs more than many statements do, so both stay on one. A core is taken by a name that the
kernel gives back when its holder dies, so that simulations beside each other take different ones. Where that cannot be had
(other systems, no core free, sessions of another user) nothing is bound, and a day is only dearer.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterable, Iterator


@contextlib.contextmanager
def one_core(processes: Iterable[int]) -> Iterator[int | None]:
    """Keep this process and those on one core meanwhile: which, or None when they go where they like."""
    if not hasattr(os, "sched_setaffinity"):
        yield None
        return
    allowed = os.sched_getaffinity(0)
    with socket.socket(socket.AF_UNIX) as name:
        core = next((one for one in sorted(allowed) if _taken(name, one)), None)
        if core is not None:
            _bind([0, *processes], {core})
        try:
            yield core
        finally:
            if core is not None:
                _bind([0, *processes], allowed)


def _taken(name: socket.socket, core: int) -> bool:
    try:
        name.bind(f"\0disburse-simulate-core-{core}")
    except OSError:
        return False
    return True


def _bind(processes: Iterable[int], cores: set[int]) -> None:
    for process in processes:
        with contextlib.suppress(OSError):  # another user's, or gone
            os.sched_setaffinity(process, cores)
