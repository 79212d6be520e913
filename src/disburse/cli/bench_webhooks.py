"""`disburse bench --webhooks N`: how quickly events reach N webhook receivers of which a tenth hang. Everything on loopback, over TLS.

Lives here: the installation with a merchant and an endpoint for each receiver, payouts through massPayment at a steady rate (three events each: queued,
in flight, paid), and the CPU that each part took. `serve`, the load and the receivers (`bench_receivers.py`) are processes of their own.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from disburse.certify.tls import make_tls
from disburse.cli.bench import RICH, Keys, _load, _serving
from disburse.operations.merchants import add_merchant, draw_top_up
from disburse.operations.webhooks import add_webhook
from disburse.settings import load_settings
from disburse.storage.embedded import EmbeddedServer
from disburse.storage.migrate import make_database
from disburse.wiring import House, open_house
from disburse.world import real_world

EVENTS_PER_S = 500.0
SECONDS = 60.0
EVENTS_A_PAYOUT = 3
WITHIN_S = 2.0
_CONNECTIONS = 32
_PATIENCE_S = 30.0
_PROC_STAT = Path("/proc/stat")


@dataclass(frozen=True, slots=True)
class _Installed:
    """`keys`: each merchant's, for massPayment. `good`: the merchants whose receivers answer."""

    keys: Keys
    good: list[int]


async def measure(receivers: int, seconds: float, console: Console) -> dict[str, Any]:
    """The figures, once each."""
    hanging = receivers // 10
    with tempfile.TemporaryDirectory(prefix="disburse-bench-") as name:
        folder = Path(name)
        server = EmbeddedServer(folder / "server", options={"shared_buffers": "1GB", "max_connections": "200"})
        endpoint = server.start()
        try:
            dsn, trusted = endpoint.dsn("bench_webhooks"), make_tls(folder, datetime.now(UTC)).ca_file
            await make_database(endpoint.dsn("postgres"), "bench_webhooks")
            async with _receiving(folder, receivers, hanging) as (asked, ports), open_house(_settings(folder, dsn), real_world()) as house:
                console.print(f"Making {receivers:,} merchants, each with an endpoint ...")
                installed = await _install(house, ports, hanging)
                found = await _measure(folder, dsn, house, installed, asked, seconds, {"SSL_CERT_FILE": str(trusted)}, console)
        finally:
            server.leave()
    return {"receivers": receivers, "hanging": hanging, **found}


def _settings(folder: Path, dsn: str) -> Any:
    return load_settings(None, {}, {"data": str(folder / "data"), "database_url": dsn, "sandbox": True})


async def _install(house: House, ports: Sequence[int], hanging: int) -> _Installed:
    world = house.world

    async def make(number: int, port: int) -> tuple[tuple[str, str], int]:
        made = await add_merchant(
            house.database, world, house.vault, name=f"Bench {number}", login=f"hooks{number}@example.org", actor="cli",
            settings={"answer_wait_ms": 0},
        )  # fmt: skip
        await house.desk.top_up(made.merchant, draw_top_up(world, made.merchant, RICH, actor="cli"))
        await add_webhook(house.desk, made.merchant, f"https://127.0.0.1:{port}/hooks", actor="cli")
        return (made.merchant.login, made.unitpay_secret_key), made.merchant.merchant_id

    made: list[tuple[tuple[str, str], int]] = []
    for first in range(0, len(ports), 50):
        made += await asyncio.gather(*[make(first + n, port) for n, port in enumerate(ports[first : first + 50])])
    return _Installed([keys for keys, _ in made], [merchant for _, merchant in made[hanging:]])


async def _measure(
    folder: Path, dsn: str, house: House, installed: _Installed, asked: _Asked, seconds: float, environment: dict[str, str], console: Console
) -> dict[str, Any]:
    async with _serving(folder / "data", dsn, "all", {"DISBURSE_WEBHOOKS_TO_LOOPBACK": "true", **environment}) as (port, pid):
        console.print("Waiting until each receiver heard that it was added, and those that hang do ...")
        hanging = len(installed.keys) - len(installed.good)
        await _until(asked, lambda told: told["came"] >= len(installed.good) and told["hung"] >= hanging)
        worker, *doors = _tree(pid)
        groups = {"worker": [worker], "doors": doors, "postgres": _tree(_postmaster(folder / "server")), "receivers": [asked.pid], "machine": []}
        console.print(f"{EVENTS_PER_S:g} events a second for {seconds:g} s ...")
        before, came_before = {name: _cpu_s(pids) for name, pids in groups.items()}, (await asked("count"))["came"]
        since = time.time()
        report = await _load(port, installed.keys, _CONNECTIONS, seconds, "hooks", rate=EVENTS_PER_S / EVENTS_A_PAYOUT)
        until = time.time()
        after, came = {name: _cpu_s(pids) for name, pids in groups.items()}, (await asked("count"))["came"] - came_before
        expected = await _count(house, installed.good, since, until)
        every = await _count(house, None, since, until)
        with contextlib.suppress(TimeoutError):
            await _until(asked, lambda told: told["came"] - came_before >= expected)
        told = await asked(f"report {since} {until}")
    used = {f"{name}_cpu": round((after[name] - before[name]) / (until - since), 2) for name in groups}
    return {
        "seconds": round(until - since, 1), "events_per_s": round(every / (until - since), 1), "expected": expected, **told, **used,
        "deliveries_per_s": round(came / (until - since), 1), "p99_ms": report.p99_ms,
    }  # fmt: skip


async def _count(house: House, merchants: Sequence[int] | None, since: float, until: float) -> int:
    """How many events happened between two moments; None: to anybody."""
    count: int = await house.database.snapshot(
        lambda tx: tx.fetchval(
            """SELECT count(*) FROM events WHERE shard = 0 AND at >= to_timestamp($1) AND at < to_timestamp($2)
                   AND ($3::int4[] IS NULL OR merchant_id = ANY ($3))""",
            since, until, merchants,
        )  # fmt: skip
    )
    return count


# --- the receivers' process ---


class _Asked:
    """The receivers, who can be asked what came."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.pid = process.pid

    async def __call__(self, question: str) -> dict[str, Any]:
        if self._process.stdin is None or self._process.stdout is None:
            raise AssertionError("nobody to ask")
        self._process.stdin.write(question.encode() + b"\n")
        told: dict[str, Any] = json.loads(await self._process.stdout.readline())
        return told


@contextlib.asynccontextmanager
async def _receiving(folder: Path, receivers: int, hanging: int) -> AsyncIterator[tuple[_Asked, list[int]]]:
    """Receivers that listen, and their ports."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "disburse.cli.bench_receivers", str(receivers), str(hanging),
        str(folder / "right.crt"), str(folder / "right.key"),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, limit=1 << 20,
    )  # fmt: skip
    try:
        if process.stdout is None:
            raise AssertionError("no output to read")
        yield _Asked(process), json.loads(await process.stdout.readline())
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _until(asked: _Asked, done: Any) -> None:
    """Ask every half second, for a while. Raises TimeoutError."""
    async with asyncio.timeout(_PATIENCE_S):
        while not done(await asked("count")):
            await asyncio.sleep(0.5)


# --- who spends what ---


def _postmaster(data: Path) -> int:
    (file,) = data.rglob("postmaster.pid")
    return int(file.read_text().splitlines()[0])


def _tree(pid: int) -> list[int]:
    """A process and everything that it started."""
    parents: dict[int, int] = {}
    for stat in sorted(Path("/proc").glob("[0-9]*/stat")):
        with contextlib.suppress(OSError):  # it ended meanwhile
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found


def _cpu_s(pids: Sequence[int]) -> float:
    """The CPU that these processes have used; of none: that everything on this machine has."""
    ticks = 0 if pids else sum(int(field) for at, field in enumerate(_PROC_STAT.read_text().split("\n", 1)[0].split()[1:9]) if at not in (3, 4))
    for pid in pids:
        with contextlib.suppress(OSError):
            ticks += sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


def webhooks_table(found: dict[str, Any]) -> Table:
    """The figures for people."""
    table = Table("webhooks", "measured", "wanted", title=f"{found['receivers']:,} receivers of which {found['hanging']} hang")
    table.add_row("events a second", f"{found['events_per_s']:,} for {found['seconds']:g} s", f"{EVENTS_PER_S:g}")
    table.add_row("arrived at the others", f"{found['arrived']:,} of {found['expected']:,}", "all")
    table.add_row("age on arrival: p50, p99, most", f"{found['p50_s']} s, {found['p99_s']} s, {found['most_s']} s", f"<= {WITHIN_S:g} s")
    table.add_row("out of order, twice", f"{found['out_of_order']}, {found['twice']}", "0, 0")
    table.add_row("tries that hung, connections", f"{found['hung']:,}, {found['connections']:,}", "")
    table.add_row(
        "cores: worker, doors, PostgreSQL, receivers, the whole machine",
        ", ".join(str(found[f"{name}_cpu"]) for name in ("worker", "doors", "postgres", "receivers", "machine")), "",
    )  # fmt: skip
    table.add_row("p99 of massPayment meanwhile", f"{found['p99_ms']} ms", "")
    return table
