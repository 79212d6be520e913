"""`disburse bench`: how fast, as ratios measured in one run on one machine, alternating, medians of several rounds.

Lives here: the figures (a) to (f) and the servers and databases they need. The load generator is a process of its own
(`bench_load.py`); everything it sends goes to loopback, is bounded in time, and ends by itself.

(a) payouts durably accepted a second over HTTP over pgbench's TPC-B transactions a second, same server, same settings;
(b) the same with one merchant over 1,000; (c) whole lives over (a) at 256 connections; (d) p99 of massPayment at half the load
of (c), workers on; (e) group commit over one transaction a payout; (f) resident memory of our processes afterwards.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
from rich.console import Console
from rich.table import Table

from disburse.cli.bench_load import Order, Report
from disburse.domain.money import Money
from disburse.operations.merchants import add_merchant, draw_top_up
from disburse.settings import load_settings
from disburse.storage.embedded import EmbeddedServer, Endpoint
from disburse.storage.embedded_binaries import candidates
from disburse.storage.migrate import make_database
from disburse.wiring import open_house
from disburse.world import real_world

MERCHANTS = 1000
SECONDS = 5.0
WARM_S = 1.0
"""Of every load the first second does not count."""
RICH = Money(10**14, "RUB")

Keys = list[tuple[str, str]]


@dataclass(slots=True)
class Figures:
    """What the rounds measured, per second unless the name says otherwise."""

    tpcb: list[float] = field(default_factory=list)
    a32: list[float] = field(default_factory=list)
    a256: list[float] = field(default_factory=list)
    one256: list[float] = field(default_factory=list)
    one32: list[float] = field(default_factory=list)
    single32: list[float] = field(default_factory=list)
    lives: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)
    rss_mb: float = 0.0


def bench(*, rounds: int = 5, seconds: float | None = None, json_only: bool = False, registry: int = 0, webhooks: int = 0) -> None:
    """Measure accepted payouts, whole lives and latencies against pgbench on the same server. Takes about eight minutes.

    Args:
        rounds: how often each figure is measured; medians are printed.
        seconds: how long each measurement lasts (default 5, with --webhooks 60).
        json_only: print the closing JSON line alone.
        registry: measure a registry of so many rows instead, once: planning, applying, and another merchant's massPayment meanwhile.
        webhooks: measure events on their way to so many webhook receivers instead, once: 500 events a second, and a tenth of the receivers hang.
    """
    console = Console(stderr=json_only)
    if registry:
        from disburse.cli.bench_registry import measure, registry_table

        found = asyncio.run(measure(registry, console))
        console.print(registry_table(found))
        print(json.dumps(found))
        return
    if webhooks:
        from disburse.cli import bench_webhooks

        found = asyncio.run(bench_webhooks.measure(webhooks, seconds or bench_webhooks.SECONDS, console))
        console.print(bench_webhooks.webhooks_table(found))
        print(json.dumps(found))
        return
    with tempfile.TemporaryDirectory(prefix="disburse-bench-") as folder:
        figures = asyncio.run(_measure(Path(folder), rounds, seconds or SECONDS, console))
    ratios = _ratios(figures)
    console.print(_table(figures, ratios))
    print(json.dumps(ratios))


async def _measure(folder: Path, rounds: int, seconds: float, console: Console) -> Figures:
    figures = Figures()
    server = EmbeddedServer(folder / "server", options={"shared_buffers": "1GB", "max_connections": "200"})
    endpoint = server.start()
    try:
        console.print("Making databases, merchants and pgbench's tables ...")
        for name in ("bench_api", "bench_all", "pgbench"):
            await make_database(endpoint.dsn("postgres"), name)
        api, everything = endpoint.dsn("bench_api"), endpoint.dsn("bench_all")
        keys = await _make_merchants(folder / "api", api)
        other_keys = await _make_merchants(folder / "all", everything)
        _pgbench(endpoint, "-i", "-s", "50", "-q")
        for number in range(rounds):
            console.print(f"Round {number + 1} of {rounds}")
            await _round(figures, folder, api, everything, keys, other_keys, endpoint, seconds, number)
    finally:
        server.leave()
    return figures


async def _round(
    figures: Figures, folder: Path, api: str, everything: str, keys: Keys, other_keys: Keys, endpoint: Endpoint,
    seconds: float, number: int,
) -> None:  # fmt: skip
    figures.tpcb.append(_tpcb(endpoint, seconds))
    async with _serving(folder / "api", api, "api") as (port, _):
        a32 = await _load(port, keys, 32, seconds, f"a{number}")
        a256 = await _load(port, keys, 256, seconds, f"b{number}")
        one256 = await _load(port, keys[:1], 256, seconds, f"c{number}")
        one32 = await _load(port, keys[:1], 32, seconds, f"d{number}")
    figures.a32.append(a32.per_s)
    figures.a256.append(a256.per_s)
    figures.one256.append(one256.per_s)
    figures.one32.append(one32.per_s)
    alone = {"DISBURSE_LARGEST": "1", "DISBURSE_WRITERS": "32", "DISBURSE_POOL": "40"}
    async with _serving(folder / "api", api, "api", alone) as (port, _):
        figures.single32.append((await _load(port, keys[:1], 32, seconds, f"e{number}")).per_s)
    async with _serving(folder / "all", everything, "all") as (port, pid):
        lives = await _lives(port, everything, other_keys, seconds, f"f{number}")
        figures.lives.append(lives)
        calm = await _load(port, other_keys, 256, seconds, f"g{number}", rate=lives / 2)
        figures.p99_ms.append(calm.p99_ms)
        figures.rss_mb = max(figures.rss_mb, _resident_mb(pid))


async def _make_merchants(data: Path, dsn: str) -> Keys:
    """A thousand merchants with money and `answer_wait` 0; returns (login, secretKey) of each."""
    world = real_world()
    settings = load_settings(None, {}, {"data": str(data), "database_url": dsn})
    async with open_house(settings, world) as house:

        async def make(number: int) -> tuple[str, str]:
            made = await add_merchant(
                house.database, world, house.vault, name=f"Bench {number}", login=f"bench{number}@example.org",
                actor="cli", settings={"answer_wait_ms": 0},
            )  # fmt: skip
            await house.desk.top_up(made.merchant, draw_top_up(world, made.merchant, RICH, actor="cli"))
            return made.merchant.login, made.unitpay_secret_key

        keys: Keys = []
        for first in range(0, MERCHANTS, 50):
            keys += await asyncio.gather(*[make(first + n) for n in range(50)])
        return keys


@contextlib.asynccontextmanager
async def _serving(
    data: Path, dsn: str, role: str, environment: dict[str, str] | None = None
) -> AsyncIterator[tuple[int, int]]:
    """`disburse serve` as a user runs it: (port, process id)."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "disburse", "serve", "--listen", "127.0.0.1:0", "--data", str(data), "--database-url", dsn,
        "--role", role, "--sandbox", stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        env={**os.environ, "DISBURSE_LOG_LEVEL": "warning", **(environment or {})},
    )  # fmt: skip
    try:
        if process.stdout is None:
            raise AssertionError("no output to read")
        while True:
            line = await asyncio.wait_for(process.stdout.readline(), 30)
            if not line:
                raise RuntimeError("the server did not start")
            found = re.search(rb"https?://[^:\s]+:([0-9]+)", line)
            if found:
                break
        yield int(found[1]), process.pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), 30)
        except TimeoutError:
            process.kill()


async def _load(
    port: int, keys: Keys, connections: int, seconds: float, prefix: str, rate: float | None = None
) -> Report:
    order = Order("127.0.0.1", port, connections, seconds, WARM_S, f"{prefix}{time.monotonic_ns():x}", keys, rate)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "disburse.cli.bench_load", stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    output, _ = await process.communicate(json.dumps(_plain(order)).encode())
    report = Report(**json.loads(output))
    if report.refused:
        raise RuntimeError(f"{report.refused} payouts were not accepted: {report.first_refusal}")
    return report


def _plain(order: Order) -> dict[str, Any]:
    return {name: getattr(order, name) for name in order.__dataclass_fields__}


async def _lives(port: int, dsn: str, keys: Keys, seconds: float, prefix: str) -> float:
    """Whole lives a second, by their rows: of what was accepted after the warm-up, until the last of it was settled.

    So, as in (a), neither the load generator's own start and end count nor the first second of a server that was just started.
    """
    connection = await asyncpg.connect(dsn)
    try:
        began = datetime.now(UTC)
        await _load(port, keys, 256, seconds, prefix)
        while await connection.fetchval(
            "SELECT EXISTS (SELECT FROM disburse.attempts WHERE state IN ('due', 'open', 'accepted', 'unknown'))"
        ):
            await asyncio.sleep(0.05)
        per_s: float = await connection.fetchval(
            """WITH sent AS (SELECT * FROM disburse.payouts WHERE created_at >= $1),
                 warm AS (SELECT min(created_at) + make_interval(secs => $2) AS since FROM sent)
               SELECT count(*) FILTER (WHERE state = 'paid') / extract(epoch FROM max(finished_at) - min(since))::float8
               FROM sent, warm WHERE created_at >= since""",
            began,
            WARM_S,
        )
        return per_s
    finally:
        await connection.close()


def _pgbench(endpoint: Endpoint, *arguments: str) -> str:
    program = next(path / "pgbench" for path in candidates() if (path / "pgbench").exists())
    environment = {**os.environ, "PGPASSWORD": endpoint.password}
    done = subprocess.run(
        [str(program), "-h", endpoint.socket_dir, "-p", str(endpoint.port), "-U", endpoint.user, *arguments, "pgbench"],
        check=True, capture_output=True, text=True, env=environment,
    )  # fmt: skip
    return done.stdout


def _tpcb(endpoint: Endpoint, seconds: float) -> float:
    """pgbench's TPC-B-like transactions a second: scale 50, 16 clients, prepared statements."""
    output = _pgbench(endpoint, "-n", "-M", "prepared", "-c", "16", "-j", "2", "-T", str(int(seconds)))
    found = re.search(r"tps = ([0-9.]+)", output)
    if found is None:
        raise RuntimeError("pgbench printed no figure")
    return float(found[1])


def _resident_mb(pid: int) -> float:
    """The memory of a process and of those it started, all in all."""
    total_kb, wanted = 0, {pid}
    for status in sorted(Path("/proc").glob("[0-9]*/status"), key=lambda path: int(path.parent.name)):
        with contextlib.suppress(OSError):  # it ended meanwhile
            fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
            if int(fields["Pid"]) == pid or int(fields["PPid"]) in wanted:
                wanted.add(int(fields["Pid"]))
                total_kb += int(fields.get("VmRSS", "0").split()[0])
    return total_kb / 1024


def _ratios(figures: Figures) -> dict[str, float]:
    middle = {name: statistics.median(getattr(figures, name)) for name in _lists(figures)}
    return {
        "a32": round(middle["a32"] / middle["tpcb"], 2),
        "a256": round(middle["a256"] / middle["tpcb"], 2),
        "b": round(middle["one256"] / middle["a256"], 2),
        "c": round(middle["lives"] / middle["a256"], 2),
        "d_ms": round(middle["p99_ms"], 1),
        "e": round(middle["one32"] / middle["single32"], 2),
        "f_mb": round(figures.rss_mb, 1),
    }


def _lists(figures: Figures) -> Iterator[str]:
    return (name for name in figures.__dataclass_fields__ if isinstance(getattr(figures, name), list))


def _table(figures: Figures, ratios: dict[str, float]) -> Table:
    table = Table("figure", "measured (median, least to most)", "ratio", "wanted")

    def absolute(name: str, unit: str = "/s") -> str:
        values = getattr(figures, name)
        return f"{statistics.median(values):,.0f}{unit} ({min(values):,.0f} to {max(values):,.0f})"

    table.add_row("pgbench TPC-B, 16 clients", absolute("tpcb"), "1", "")
    table.add_row("(a) accepted, 32 connections", absolute("a32"), f"{ratios['a32']}", ">= 0.6, aim 0.9")
    table.add_row("(a) accepted, 256 connections", absolute("a256"), f"{ratios['a256']}", ">= 1.1, aim 1.5")
    table.add_row("(b) one merchant, 256 connections", absolute("one256"), f"{ratios['b']}", ">= 0.9 of (a)")
    table.add_row("(c) whole lives, 256 connections", absolute("lives"), f"{ratios['c']}", ">= 0.5 of (a)")
    table.add_row("(d) p99 of massPayment at half of (c)", absolute("p99_ms", " ms"), "", "<= 40 ms")
    table.add_row("(e) group commit, one merchant, 32 connections", absolute("one32"), f"{ratios['e']}", ">= 5")
    table.add_row("    one transaction a payout", absolute("single32"), "1", "")
    table.add_row("(f) resident memory afterwards", f"{figures.rss_mb:.0f} MB", "", "<= 250 MB")
    return table
