"""`make chaos-ha`: failovers under the product. Exit 0 only when nothing was lost or paid twice, and each was over in time.

    merchants --line--> doors and two workers --> the leader of three PostgreSQL under Patroni and etcd;  workers --line--> bank

The programs reach PostgreSQL by an address with three hosts, as an operator would write it, without any line between.
"""

from __future__ import annotations

import asyncio
import random
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from scripts.chaos import run as chaos
from scripts.chaos.clocks import Clocks
from scripts.chaos.lines import Edge
from scripts.chaos.plan import WORKERS
from scripts.chaos.processes import Timeline
from scripts.chaos.report import Outcome
from scripts.chaos.words import place, words
from scripts.chaos_ha.cluster import Cluster
from scripts.chaos_ha.failovers import KINDS, WITHIN_S, Failover, Progress, fail_over
from scripts.chaos_ha.packages import lacking

CALM_S = 5.0
"""Between two failovers."""

AFTER_S = 900.0
"""A run that is not over so long after its time is ended."""


async def run(folder: Path, told: Outcome, done: list[Failover], *, pause_s: float, callers: int) -> None:
    """One run; `told` and `done` say afterwards how it went."""
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    folder.chmod(0o711)
    try:
        async with asyncio.timeout(told.seconds + AFTER_S), _stage(folder, told) as (stage, cluster):
            await _start(stage, pause_s, callers)
            try:
                await _storm(stage, cluster, done)
            except TimeoutError as fault:
                told.wrong.append(f"a failover did not end: {fault}")
            await chaos.clear(stage)
            await chaos.last_words(stage)
    except TimeoutError:
        told.wrong.append("it was not over in time")
    await asyncio.to_thread(chaos.judge_books, folder, told)


@asynccontextmanager
async def _stage(folder: Path, told: Outcome) -> AsyncIterator[tuple[chaos.Stage, Cluster]]:
    for name in ("database", "bank", "evidence", "house", "log"):
        (folder / name).mkdir(mode=0o711, exist_ok=True)
    clocks = Clocks(folder)
    cluster = Cluster(folder, clocks)
    stage = chaos.Stage(folder, told, random.Random(f"{told.seed} stage"), clocks, cluster, Timeline(folder / "log" / "timeline.txt"))
    try:
        await cluster.start()
        yield stage, cluster
    finally:
        for merchant in stage.merchants:
            if merchant.returncode is None:
                merchant.kill()
        await asyncio.gather(*[program.end() for program in reversed(stage.programs.values())])
        for line in stage.lines.values():
            await line.close()
        await cluster.end()
        cluster.leave()


async def _start(stage: chaos.Stage, pause_s: float, callers: int) -> None:
    doors, bank = chaos.free_port(), chaos.free_port()
    plan = {name: behind for name, behind in chaos.plan_of_lines(doors, bank).items() if behind is not None}
    for name, behind in plan.items():
        line = stage.lines[name] = Edge(random.Random(f"{stage.told.seed} {name}"), behind)
        await line.open()
    ports = {name: line.port for name, line in stage.lines.items()}
    keys = await asyncio.to_thread(chaos.furnish, stage)
    disburse = (sys.executable, "-m", "disburse")
    back = f"http://127.0.0.1:{ports['bank-door']}/callbacks/{chaos.CONNECTOR}"
    chaos.add_program(stage, "bank", (*disburse, "sandbox-bank", "--listen", f"127.0.0.1:{bank}", "--book", str(stage.book), "--callback-url", back), {})
    for name in WORKERS:
        chaos.add_program(stage, name, (*disburse, "serve", "--role", "worker"), stage.environment(name, None, ports[f"{name}-bank"]))
    words = (*disburse, "serve", "--role", "api", "--listen", f"127.0.0.1:{doors}")
    chaos.add_program(stage, "api", words, stage.environment("api", None, ports["door-bank"]))
    for program in stage.programs.values():
        await program.start()
    for number, key in enumerate(keys, 1):
        stage.merchants.append(await chaos.begin_merchant(stage, number, key, pause_s, callers))


async def _storm(stage: chaos.Stage, cluster: Cluster, done: list[Failover]) -> None:
    """Every kind once at least, in an order that the seed draws anew each time round, until the time is over."""
    progress = Progress(stage.book, [stage.evidence / f"history-{number}.jsonl" for number in range(1, chaos.MERCHANTS + 1)])
    draw, begun = random.Random(stage.told.seed), time.monotonic()
    stage.timeline.begun = begun
    while not done or time.monotonic() - begun < stage.told.seconds:
        for kind in draw.sample(KINDS, len(KINDS)):
            if len(done) >= len(KINDS) and time.monotonic() - begun >= stage.told.seconds:
                break
            await asyncio.sleep(CALM_S)
            one = await fail_over(kind, cluster, progress, stage.timeline)
            done.append(one)
            stage.told.done[f"failover: {kind}"] += 1
            await chaos.count(stage)
            print(f"{time.monotonic() - begun:5.0f} s: {kind}: {one.before} -> {one.after}, money moved again after {one.recovered_s:.1f} s, "
                  f"all servers whole {one.whole_s:.1f} s later; {stage.told.asked} asked, {stage.told.acknowledged} acknowledged", flush=True)  # fmt: skip


def judge(told: Outcome, done: list[Failover]) -> None:
    """What a run's failovers lack. Kills are not what it is about, so `Outcome.judge`'s wish for them is taken back."""
    told.wrong = [one for one in told.wrong if "kills" not in one]
    told.wrong += [f"{one.kind}: money moved again only after {one.recovered_s:.1f} s" for one in done if one.recovered_s > WITHIN_S]
    told.wrong += [f"{kind} was never done" for kind in KINDS if kind not in {one.kind for one in done}]


def main() -> int:
    parser = words("make chaos-ha", seconds=120, what="failovers, each kind once at least,", callers=12)
    options = parser.parse_args()
    if why := lacking():
        print(f"SKIPPED, NOTHING WAS PROVED: {why}")
        return 0
    print(f"seed {options.seed}, {options.seconds:.0f} s", flush=True)
    told = Outcome(options.seed, options.seconds)
    done: list[Failover] = []
    with place("disburse-chaos-ha-", told, options.keep) as folder:
        asyncio.run(run(folder, told, done, pause_s=options.pause, callers=options.callers))
        judge(told, done)
    for kind in KINDS:
        took = ", ".join(f"{one.recovered_s:.1f} s" for one in done if one.kind == kind)
        print(f"{kind:<22}  money moved again after {took or '-'}")
    print("\n".join(told.lines()))
    for line in told.wrong:
        print(f"WRONG: {line}")
    return 1 if told.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
