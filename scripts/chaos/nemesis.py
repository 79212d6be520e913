"""Does what the plan says: each fault at its time, however many are under way. Counts what was done, and to whom it came too late."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from disburse.cli.two_line import Way
from scripts.chaos.clocks import Clocks
from scripts.chaos.lines import BOTH, Edge
from scripts.chaos.plan import WORKERS, Fault
from scripts.chaos.postgres import UNREACHABLE, Disk, Postgres
from scripts.chaos.processes import Program, Timeline, children_of, send, words_of

READY_S = 20.0
"""A kill waits so long for its victim to be at work; then it is killed wherever it is."""

WORKS_S = 1.5
"""A victim has worked at most so long when it is killed, if kills of it are waiting."""


@dataclass
class Nemesis:
    """Everything that can be harmed. `missed` are faults that found nobody, or whose means are lacking."""

    programs: Mapping[str, Program]
    postgres: Postgres
    lines: Mapping[str, Edge]
    clocks: Clocks
    disks: Mapping[str, Disk]
    draw: random.Random
    timeline: Timeline
    done: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)
    targets: Counter[str] = field(default_factory=Counter)
    _turns: dict[str, asyncio.Lock] = field(default_factory=dict)

    async def run(self, plan: list[Fault], seconds: float) -> None:
        """Carry out the whole plan; returns when its last fault is over, `seconds` after the start or a little later."""
        started = self.timeline.begun = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for fault in plan:
                group.create_task(self._at(fault, started, seconds))

    async def _at(self, fault: Fault, started: float, seconds: float) -> None:
        await asyncio.sleep(started + fault.at_s - time.monotonic())
        told = f"{fault.kind}: {fault.target} for {fault.for_s:.1f} s, {fault.size:.1f}"
        self.timeline.note(f"begins {told}")
        try:
            async with asyncio.timeout_at(asyncio.get_running_loop().time() + started + seconds + 1 - time.monotonic()):
                happened = await self._do(fault)
        except UNREACHABLE:
            happened = False
        self.timeline.note(f"{'ends' if happened else 'found nobody:'} {told}")
        (self.done if happened else self.missed)[fault.kind] += 1
        if happened:
            self.targets[f"{fault.kind}: {fault.target}"] += 1

    async def _do(self, fault: Fault) -> bool:
        match fault.kind:
            case "kill":
                return await self._kill(fault.target)
            case "kill while it starts":
                return await self._kill_twice(self.programs[fault.target])
            case "kill database" | "kill keeper":
                async with self._turn("database"):
                    return await self.postgres.kill(fault.target, self.draw)
            case "freeze past the lease" | "freeze":
                return await self._freeze(fault)
            case "end sessions":
                return await self.postgres.end_session(self.draw)
            case "partition" | "one way" | "half-open":
                return await self._silence(fault)
            case "refused":
                async with self._turn(fault.target):
                    await self.lines[fault.target].refuse(fault.for_s)
            case "cut":
                await self.lines[fault.target].cut(fault.size, fault.for_s)
            case "slices":
                await self.lines[fault.target].slice(int(fault.size), fault.for_s)
            case "full disk":
                return await self._fill(fault)
            case "clock":
                return await self._jump(fault)
            case _:
                raise AssertionError(f"nobody knows how to do {fault.kind}")
        return True

    def _turn(self, name: str) -> asyncio.Lock:
        return self._turns.setdefault(name, asyncio.Lock())

    async def _kill(self, target: str) -> bool:
        if target == "door":
            return await self._kill_door()
        victim = self.programs[target]
        if victim.frozen and target in WORKERS:
            victim = self.programs[WORKERS[1 - WORKERS.index(target)]]
        async with self._turn(victim.name):
            await self._wait_ready(victim)
            return victim.kill()

    async def _kill_twice(self, victim: Program) -> bool:
        """Once at work, and once more before it is at work again."""
        async with self._turn(victim.name):
            await self._wait_ready(victim)
            victim.kill()
            while victim.ready.is_set() or victim.pid is None:
                await asyncio.sleep(0.05)
            await asyncio.sleep(self.draw.uniform(0, 1))
            return victim.kill()

    async def _kill_door(self) -> bool:
        """A door beside the serving process, which is ready only when its doors are; the process starts another."""
        api = self.programs["api"]
        async with self._turn(api.name):
            await self._wait_ready(api)
            doors = [pid for pid in children_of(api.pid or 0) if "disburse.door" in words_of(pid)]
            return api.ready.is_set() and bool(doors) and send(self.draw.choice(doors), signal.SIGKILL)

    async def _wait_ready(self, program: Program) -> None:
        try:
            async with asyncio.timeout(READY_S):
                await program.ready.wait()
            await asyncio.sleep(self.draw.uniform(0, WORKS_S))
        except TimeoutError:
            pass

    async def _freeze(self, fault: Fault) -> bool:
        """A frozen process does nothing and holds everything; when it goes on, it believes that no time has passed."""
        if fault.target == "sessions":
            some = [pid for pid in self.postgres.sessions() if send(pid, signal.SIGSTOP)]
            try:
                await asyncio.sleep(fault.for_s)
            finally:
                for pid in some:
                    send(pid, signal.SIGCONT)
            return bool(some)
        victim = self.programs[fault.target]
        async with self._turn(f"freeze {fault.target}"):
            async with self._turn(victim.name):
                await self._wait_ready(victim)
                victim.freeze()
            frozen = victim.pid
            try:
                await asyncio.sleep(fault.for_s)
                return frozen is not None and victim.pid == frozen
            finally:
                victim.thaw()

    async def _silence(self, fault: Fault) -> bool:
        line = self.lines[fault.target]
        ways = (self.draw.choice((Way.THERE, Way.BACK)),) if fault.kind == "one way" else BOTH
        if fault.kind == "half-open":
            line.orphan()
        else:
            line.hush(*ways)
        try:
            await asyncio.sleep(fault.for_s)
        finally:
            line.heal(*ways)
        return True

    async def _fill(self, fault: Fault) -> bool:
        if fault.target not in self.disks:
            return False
        async with self._turn(f"disk {fault.target}"):
            disk = self.disks[fault.target]
            try:
                disk.fill()
                await asyncio.sleep(fault.for_s)
            finally:
                disk.free()
        return True

    async def _jump(self, fault: Fault) -> bool:
        if self.clocks.lacking is not None:
            return False
        async with self._turn(f"clock {fault.target}"):
            try:
                self.clocks.set(fault.target, fault.size)
                await asyncio.sleep(fault.for_s)
            finally:
                self.clocks.set(fault.target, 0)
        return True
