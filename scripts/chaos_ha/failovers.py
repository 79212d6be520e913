"""The five ways in which the primary is lost, and how long it takes until money moves again. Lives here: doing them, and the watch."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from scripts.chaos.lines import BOTH
from scripts.chaos.processes import Timeline, send
from scripts.chaos_ha.cluster import Cluster, Node

WITHIN_S = 30.0
"""So long after a fault doors must answer, and workers send, again."""

PATIENCE_S = 120.0
ENOUGH = 5
"""So many payments and acknowledgements after the fault show that both go on."""

DOWN_S = 30.0
"""A Patroni that was killed is started again so much later: its lock runs out meanwhile, while its server goes on without it."""

LOOK_S = 0.1
KINDS = ("kill postmaster", "switchover", "kill Patroni", "freeze", "partition from etcd")


@dataclass(frozen=True, slots=True)
class Failover:
    """One of them: which server was the leader and which is, how long nothing went on, how long until all servers were whole again."""

    kind: str
    before: str
    after: str
    recovered_s: float
    whole_s: float


@dataclass
class Progress:
    """How far things are, as the outside sees it: payments in the bank's book, answers in the merchants' histories."""

    book: Path
    histories: list[Path]
    _seen: dict[Path, tuple[int, int]] = field(default_factory=dict)

    def count(self) -> tuple[int, int]:
        told = sum(self._lines(path, b'"did": "told"') for path in self.histories)
        return self._lines(self.book, b'"did":"paid"'), told

    def _lines(self, path: Path, word: bytes) -> int:
        at, count = self._seen.get(path, (0, 0))
        if path.exists():
            with path.open("rb") as file:
                file.seek(at)
                fresh = file.read()
                whole = fresh.rfind(b"\n") + 1
                at, count = at + whole, count + fresh[:whole].count(word)
        self._seen[path] = (at, count)
        return count


async def fail_over(kind: str, cluster: Cluster, progress: Progress, timeline: Timeline) -> Failover:
    """Lose the primary in one way, and wait until everything goes on and is whole. Raises TimeoutError."""
    leader = await cluster.leader()
    if leader is None:
        raise TimeoutError("there is no leader to lose")
    timeline.note(f"begins {kind} of {leader.name}")
    since = time.monotonic()
    undo = await _lose(kind, cluster, leader)
    try:
        after = await _another_leader(cluster, leader, since)
        recovered_s = await _goes_on(progress, since)
    finally:
        await undo()
    whole_s = await cluster.whole(PATIENCE_S)
    timeline.note(f"ends {kind} of {leader.name}: {after.name} leads, money moved after {recovered_s:.1f} s")
    return Failover(kind, leader.name, after.name, recovered_s, whole_s)


async def _lose(kind: str, cluster: Cluster, leader: Node) -> Callable[[], asyncio.Future[None]]:
    async def nothing() -> None:
        return None

    async def reset() -> None:
        leader.reset()

    async def heal() -> None:
        leader.line.heal(*BOTH)

    undo = nothing
    match kind:
        case "kill postmaster":
            found = leader.postmaster()
            if found is None or not send(found, signal.SIGKILL):
                raise TimeoutError("the primary was not there")
        case "switchover":
            if not await cluster.switchover(leader):
                raise TimeoutError("patronictl could not switch over")
        case "kill Patroni":
            leader.down_until = time.monotonic() + DOWN_S
            if leader.process is not None:
                send(leader.process.pid, signal.SIGKILL)
        case "freeze":
            leader.freeze()
            undo = reset
        case "partition from etcd":
            leader.line.hush(*BOTH)
            undo = heal
        case _:
            raise AssertionError(f"nobody knows how to do {kind}")
    return lambda: asyncio.ensure_future(undo())


async def _another_leader(cluster: Cluster, before: Node, since: float) -> Node:
    while time.monotonic() - since < PATIENCE_S:
        found = await cluster.leader()
        if found is not None and found is not before:
            return found
        await asyncio.sleep(LOOK_S)
    raise TimeoutError("nobody else became the leader")


async def _goes_on(progress: Progress, since: float) -> float:
    """Seconds from the fault until both the bank and the merchants saw enough happen under the new leader."""
    paid, told = progress.count()
    while time.monotonic() - since < PATIENCE_S:
        now_paid, now_told = progress.count()
        if now_paid - paid >= ENOUGH and now_told - told >= ENOUGH:
            return time.monotonic() - since
        await asyncio.sleep(LOOK_S)
    raise TimeoutError("money did not move again")
