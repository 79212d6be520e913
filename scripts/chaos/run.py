"""A chaos run from its beginning to its end. Lives here: the story; what each part does is in the files beside this one.

    merchants --line--> doors --line--> PostgreSQL <--line-- workers --line--> bank --line--> doors (callbacks) --line--> bank

Everything stands on loopback and in one throw-away directory. What the product says of itself is not what it is judged by: at the end
the checker compares the bank's book, the raw tables and the merchants' histories, as a program of its own.
"""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scripts.chaos import checker
from scripts.chaos.clocks import Clocks
from scripts.chaos.lines import Edge
from scripts.chaos.nemesis import Nemesis
from scripts.chaos.plan import LEASE_S, WORKERS, draw_plan
from scripts.chaos.postgres import DISK_MB, UNREACHABLE, Disk, Postgres, small_disks
from scripts.chaos.processes import Program, Timeline, clean_environment, die_with_me
from scripts.chaos.report import WITHIN_S, Outcome

MERCHANTS, CARDS = 2, 40
AFTER_S = 300.0
"""A run that is not over so long after its faults is ended."""

TELL_EVERY_S = 5.0
RETURNS_WITHIN_S = 90.0
"""The bank repeats a callback at most a minute later."""

CONNECTOR = "sandbox-http"
SETTINGS = {"DISBURSE_CALL_S": "1", "DISBURSE_LEASE_S": str(LEASE_S), "DISBURSE_PROCESSES": "2", "DISBURSE_LOG_LEVEL": "warning"}


@dataclass
class Stage:
    """What stands while a run lasts."""

    folder: Path
    told: Outcome
    draw: random.Random
    clocks: Clocks
    postgres: Postgres
    timeline: Timeline
    disks: dict[str, Disk] = field(default_factory=dict)
    lines: dict[str, Edge] = field(default_factory=dict)
    programs: dict[str, Program] = field(default_factory=dict)
    merchants: list[asyncio.subprocess.Process] = field(default_factory=list)
    secrets: list[str] = field(default_factory=list, repr=False)

    @property
    def evidence(self) -> Path:
        return self.folder / "evidence"

    @property
    def book(self) -> Path:
        return self.folder / "bank" / "book.jsonl"

    def environment(self, name: str, database_port: int | None = None, bank_port: int | None = None) -> dict[str, str]:
        """What a program of the product is told. The database's address holds a password, so it is nowhere else."""
        dsn = self.postgres.dsn if database_port is None else self.postgres.through(database_port)
        bank = {} if bank_port is None else {"DISBURSE_SANDBOX_BANK_URL": f"http://127.0.0.1:{bank_port}"}
        return {**SETTINGS, "DISBURSE_DATA": str(self.folder / "house"), "DISBURSE_DATABASE_URL": dsn, **bank, **self.clocks.environment(name)}


async def run(folder: Path, told: Outcome, *, pause_s: float, callers: int) -> None:
    """One run; `told` says afterwards how it went."""
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    folder.chmod(0o711)  # PostgreSQL's user must walk to its data
    try:
        async with asyncio.timeout(told.seconds + AFTER_S), _stage(folder, told) as stage:
            await _start(stage, pause_s, callers)
            await _storm(stage)
            await clear(stage)
            await last_words(stage)
    except TimeoutError:
        told.wrong.append("it was not over in time")
    await asyncio.to_thread(judge_books, folder, told)


@asynccontextmanager
async def _stage(folder: Path, told: Outcome) -> AsyncIterator[Stage]:
    """The directory, its disks, clocks and PostgreSQL; everything that was started is ended."""
    for name in ("database", "bank", "evidence", "house", "log"):
        (folder / name).mkdir(mode=0o711, exist_ok=True)
    lacking = small_disks(folder)
    clocks = Clocks(folder)
    told.skipped += [f"no full disks: {lacking}"] if lacking else []
    told.skipped += [f"no wrong clocks: {clocks.lacking}"] if clocks.lacking else []
    stage = Stage(folder, told, random.Random(f"{told.seed} stage"), clocks, Postgres(folder, clocks), Timeline(folder / "log" / "timeline.txt"))
    if not lacking:
        stage.disks = {name: Disk(folder / name, size_mb) for name, size_mb in DISK_MB.items()}
    try:
        await stage.postgres.start()
        yield stage
    finally:
        for merchant in stage.merchants:
            with suppress(ProcessLookupError):
                merchant.kill()
        await asyncio.gather(*[program.end() for program in reversed(stage.programs.values())])
        for line in stage.lines.values():
            await line.close()
        await asyncio.to_thread(stage.postgres.leave)
        with suppress(OSError):
            shutil.copyfile(stage.postgres.data / "postgres.log", folder / "log" / "postgres.log")


async def _start(stage: Stage, pause_s: float, callers: int) -> None:
    doors, bank = free_port(), free_port()
    for name, behind in plan_of_lines(doors, bank).items():
        draw = random.Random(f"{stage.told.seed} {name}")
        line = Edge(draw, socket=stage.postgres.socket) if behind is None else Edge(draw, behind)
        await line.open()
        stage.lines[name] = line
    ports = {name: line.port for name, line in stage.lines.items()}
    keys = await asyncio.to_thread(furnish, stage)
    disburse = (sys.executable, "-m", "disburse")
    back = f"http://127.0.0.1:{ports['bank-door']}/callbacks/{CONNECTOR}"
    add_program(stage, "bank", (*disburse, "sandbox-bank", "--listen", f"127.0.0.1:{bank}", "--book", str(stage.book), "--callback-url", back),
             stage.clocks.environment("bank"))  # fmt: skip
    for name in WORKERS:
        add_program(stage, name, (*disburse, "serve", "--role", "worker"), stage.environment(name, ports[f"{name}-database"], ports[f"{name}-bank"]))
    add_program(stage, "api", (*disburse, "serve", "--role", "api", "--listen", f"127.0.0.1:{doors}"),
             stage.environment("api", ports["door-database"], ports["door-bank"]))  # fmt: skip
    for program in stage.programs.values():
        await program.start()
    for number, key in enumerate(keys, 1):
        stage.merchants.append(await begin_merchant(stage, number, key, pause_s, callers))


def plan_of_lines(doors: int, bank: int) -> dict[str, int | None]:
    """Every edge, and the port behind it; None is PostgreSQL."""
    return {
        "merchants-door": doors, "bank-door": doors, "door-bank": bank, "door-database": None,
        **{f"{name}-bank": bank for name in WORKERS}, **{f"{name}-database": None for name in WORKERS},
    }  # fmt: skip


def add_program(stage: Stage, name: str, command: tuple[str, ...], environment: Mapping[str, str]) -> None:
    stage.programs[name] = Program(name, command, environment, stage.folder / "log" / f"{name}.log", stage.timeline)


def furnish(stage: Stage) -> list[dict[str, Any]]:
    """The merchants, with ample money; what each is given is a secret that may stand in no file."""
    made = []
    for number in range(1, MERCHANTS + 1):
        login = f"merchant-{number}@example.org"
        keys = _command(stage, "merchant", "add", f"Merchant {number}", "--login", login, "--pci-dss", "--sbp-bank", "100000000004")
        _command(stage, "merchant", "set", login, "--answer-wait", "0.3", "--fee", "card=150:100")
        _command(stage, "top-up", login, "100000000.00", "RUB", "--reference", "chaos")
        stage.secrets += [str(keys["unitpay_secret_key"]), str(keys["password"])]
        made.append(keys)
    return made


def _command(stage: Stage, *words: str, may_fail: bool = False) -> dict[str, Any]:
    """A command of the product, not through any line. Raises RuntimeError."""
    done = subprocess.run(
        [sys.executable, "-m", "disburse", *words, "--json"], capture_output=True, text=True, timeout=120,
        env={**clean_environment(), **stage.environment("command")},
    )  # fmt: skip
    if done.returncode != 0 and not (may_fail and done.returncode == 1):
        raise RuntimeError(f"disburse {words[0]} failed: {done.stdout[-1000:]}{done.stderr[-1000:]}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


async def begin_merchant(stage: Stage, number: int, keys: Mapping[str, Any], pause_s: float, callers: int) -> asyncio.subprocess.Process:
    with (stage.folder / "log" / f"merchant-{number}.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "scripts.chaos.merchant", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=log,
            env=clean_environment(), preexec_fn=die_with_me(), start_new_session=True,
        )  # fmt: skip
    cards, phones = canary_cards(stage.draw, CARDS), [f"79{stage.draw.randrange(10**9):09d}" for _ in range(CARDS)]
    stage.secrets += cards + phones
    told = {
        "login": keys["login"], "key": keys["unitpay_secret_key"], "prefix": f"m{number}", "cards": cards, "phones": phones,
        "port": stage.lines["merchants-door"].port, "pause_s": pause_s, "callers": callers,
        "history": str(stage.evidence / f"history-{number}.jsonl"),
    }  # fmt: skip
    await _say(process, json.dumps(told))
    return process


def canary_cards(draw: random.Random, count: int) -> list[str]:
    """Card numbers that are well-formed and nobody's but this run's."""
    made = []
    for _ in range(count):
        body = f"4276{draw.randrange(10**11):011d}"
        doubled = [int(digit) * (2 - at % 2) for at, digit in enumerate(body)]
        made.append(f"{body}{-sum(one - 9 * (one > 9) for one in doubled) % 10}")
    return made


async def _say(process: asyncio.subprocess.Process, word: str) -> None:
    if process.stdin is None:
        raise AssertionError("no input to write to")
    process.stdin.write(word.encode() + b"\n")
    await process.stdin.drain()


async def _hear(process: asyncio.subprocess.Process, word: str) -> str:
    """What a merchant answers to a word. Raises RuntimeError when it has ended."""
    with suppress(ConnectionError):
        await _say(process, word)
    if process.stdout is None:
        raise AssertionError("no output to read")
    if line := await process.stdout.readline():
        return line.decode()
    raise RuntimeError("a merchant's program ended; its log tells why")


async def _storm(stage: Stage) -> None:
    told = stage.told
    nemesis = Nemesis(stage.programs, stage.postgres, stage.lines, stage.clocks, stage.disks, random.Random(f"{told.seed} nemesis"),
                      stage.timeline, told.done, told.missed, told.targets)  # fmt: skip
    telling = asyncio.create_task(_tell(stage, time.monotonic()))
    try:
        await nemesis.run(draw_plan(told.seed, told.seconds), told.seconds)
    finally:
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)


async def count(stage: Stage) -> None:
    told = [json.loads(await _hear(merchant, "tell")) for merchant in stage.merchants]
    stage.told.asked, stage.told.acknowledged = sum(one[0] for one in told), sum(one[1] for one in told)


async def _tell(stage: Stage, started: float) -> None:
    """A line of progress every few seconds."""
    while True:
        await asyncio.sleep(TELL_EVERY_S)
        await count(stage)
        told = stage.told
        ready = [name for name, program in stage.programs.items() if program.ready.is_set() and not program.frozen]
        print(f"{time.monotonic() - started:5.0f} s: {told.asked} asked, {told.acknowledged} acknowledged; {told.process_kills} process "
              f"kills, {told.database_kills} PostgreSQL kills, {sum(told.done.values())} faults; at work: {', '.join(ready) or 'nobody'}",
              flush=True)  # fmt: skip


async def clear(stage: Stage) -> None:
    """The faults are over. How long until nothing is in doubt, all payouts have ended, and returned money has been heard of."""
    told, since = stage.told, time.monotonic()
    for program in stage.programs.values():
        program.thaw()
    for merchant in stage.merchants:
        await _hear(merchant, "stop")
    told.left_at_stop = await _until(stage.postgres.left, lambda left: True, since + WITHIN_S) or {}
    sure = await _until(stage.postgres.left, lambda left: not left.get("in_doubt"), since + 2 * WITHIN_S)
    told.sure_after_s = time.monotonic() - since if sure is not None else None
    over = await _until(stage.postgres.left, lambda left: not left, since + 2 * WITHIN_S)
    told.over_after_s = time.monotonic() - since if over is not None else None
    await asyncio.sleep(6)  # what the bank returns it returns after five seconds
    returned = stage.book.read_text("utf-8").count('"did":"returned"')
    query = "SELECT count(*) FROM disburse.payouts WHERE returned_minor > 0"
    heard = await _until(lambda: stage.postgres.ask(query), lambda found: found == returned, since + RETURNS_WITHIN_S)
    told.returns_after_s = time.monotonic() - since if heard is not None else None


async def _until(ask: Callable[[], Awaitable[Any]], true: Callable[[Any], bool], ends: float) -> Any:
    """Ask until it is true and say what the answer was; None when it was not in time."""
    while time.monotonic() < ends:
        with suppress(*UNREACHABLE):
            answer = await ask()
            if true(answer):
                return answer
        await asyncio.sleep(0.1)
    return None


async def last_words(stage: Stage) -> None:
    """The merchants' last reads, what the product finds wrong with itself, and the files for the checker."""
    told = stage.told
    await count(stage)
    for merchant in stage.merchants:
        await _hear(merchant, "read")
    for name, program in stage.programs.items():
        told.restarts_s[name], told.by_itself[name] = program.restarts_s, len(program.ended_by_itself)
    told.away_s, told.versions = stage.postgres.away_s, f"PostgreSQL {stage.postgres.version}"
    words = ("verify", "--bank-book", str(stage.book), "--connector", CONNECTOR)
    verified = await asyncio.to_thread(_command, stage, *words, may_fail=True)
    if not verified.get("holds"):
        told.wrong.append(f"disburse verify: {json.dumps(verified)[:1500]}")
    await stage.postgres.dump(stage.evidence)
    shutil.copyfile(stage.book, stage.evidence / "book.jsonl")
    (stage.evidence / "canaries.txt").write_text("\n".join(stage.secrets), encoding="utf-8")


def judge_books(folder: Path, told: Outcome) -> None:
    """Run the checker, as anybody might, over the evidence and every file that the run made."""
    told.judge()
    done = subprocess.run(
        [sys.executable, "-I", checker.__file__, str(folder / "evidence"), "--scan", str(folder)], capture_output=True, text=True, check=False
    )
    *wrong, summary = done.stdout.splitlines() or [done.stderr.strip()[-500:]]
    told.checker = summary
    told.wrong += wrong
    if done.returncode != 0 and not wrong:
        told.wrong.append(f"the checker failed: {done.stderr.strip()[-500:]}")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
