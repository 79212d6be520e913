"""The processes of a chaos run: programs of the product that are started again whenever they end, and what the kernel says of them.

Every process here asks the kernel to end it with the run (`PR_SET_PDEATHSIG`), so a run that is killed leaves none behind. Doors
beside a server end with it, and PostgreSQL with its last user.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_SET_DEATH_SIGNAL = 1
REST_S = 0.2
READY_WITHIN_S = 60.0


def die_with_me() -> Callable[[], None]:
    """What a child does before it becomes its program."""
    option, parent = ctypes.CDLL(None).prctl, os.getpid()

    def in_child() -> None:
        if option(_SET_DEATH_SIGNAL, signal.SIGKILL) != 0 or os.getppid() != parent:
            os._exit(1)

    return in_child


def clean_environment() -> dict[str, str]:
    """Ours without any setting of the product's."""
    return {name: value for name, value in os.environ.items() if not name.startswith("DISBURSE_")}


def children_of(pid: int) -> list[int]:
    """Live processes whose parent this is."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
            if int(parent) == pid and state != "Z":
                found.append(int(stat.parent.name))
    return sorted(found)


def words_of(pid: int) -> str:
    """A process's command line, or its title where it has set one."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    return ""


def send(pid: int, number: int) -> bool:
    """Send a signal; False when nobody is there."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


class Timeline:
    """What happened when, one line each, for whoever wonders afterwards. Seconds count from the beginning of the faults."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.begun = time.monotonic()

    def note(self, what: str) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(f"{time.monotonic() - self.begun:8.2f} {what}\n")


@dataclass
class Program:
    """One program of the product, kept running. It is ready when it has said its first line.

    `restarts_s`: how long it took from each kill until it was ready again. `ended_by_itself`: exit codes that nobody caused.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    timeline: Timeline
    restarts_s: list[float] = field(default_factory=list)
    ended_by_itself: list[int] = field(default_factory=list)
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    frozen: bool = False
    _process: asyncio.subprocess.Process | None = None
    _killed_at: float | None = None
    _keeping: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """None while there is none."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    async def start(self) -> None:
        """Start it, keep it, and wait until it is ready. Raises TimeoutError."""
        self._keeping = asyncio.create_task(self._keep())
        async with asyncio.timeout(READY_WITHIN_S):
            await self.ready.wait()

    async def end(self) -> int | None:
        """End it as a person would, and by force when that takes too long; its exit code."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        process = self._process
        if process is None or process.returncode is not None:
            return None
        self.thaw()
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(30):
                return await process.wait()
        except TimeoutError:
            process.kill()
            return await process.wait()

    def kill(self) -> bool:
        """kill -9. False when there is nobody to kill."""
        if self.pid is None:
            return False
        self._killed_at, self.frozen = time.monotonic(), False
        return send(self.pid, signal.SIGKILL)

    def freeze(self) -> None:
        if self.pid is not None:
            self.frozen = send(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        self.frozen = False
        if self.pid is not None:
            send(self.pid, signal.SIGCONT)

    async def _keep(self) -> None:
        while True:
            with self.log.open("ab") as log:
                self._process = await asyncio.create_subprocess_exec(
                    *self.command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=log,
                    env={**clean_environment(), **self.environment}, preexec_fn=die_with_me(), start_new_session=True,
                )  # fmt: skip
            output = self._process.stdout
            if output is None:
                raise AssertionError("no output to read")
            while await output.readline():
                if not self.ready.is_set():
                    self._note_ready()
            code = await self._process.wait()
            self.ready.clear()
            self.timeline.note(f"{self.name} ended with {code}")
            if self._killed_at is None and code != -signal.SIGKILL:
                self.ended_by_itself.append(code)
            await asyncio.sleep(REST_S)

    def _note_ready(self) -> None:
        self.ready.set()
        self.timeline.note(f"{self.name} is at work")
        if self._killed_at is not None:
            self.restarts_s.append(time.monotonic() - self._killed_at)
            self._killed_at = None
