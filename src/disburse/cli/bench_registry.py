"""`disburse bench --registry ROWS`: planning and applying one large registry, as figures. Everything on loopback, one server for all.

Lives here: the file of invented rows, `COPY` of the planned rows for comparison, and massPayment of another merchant meanwhile. Planning and applying
run as a user runs them, each a process of its own.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import asyncpg
from rich.console import Console
from rich.table import Table

from disburse.cli.bench import RICH, _load, _serving
from disburse.domain.checks import passes_luhn
from disburse.operations.merchants import add_merchant, draw_top_up
from disburse.settings import load_settings
from disburse.storage.embedded import EmbeddedServer
from disburse.storage.migrate import make_database
from disburse.wiring import open_house
from disburse.world import real_world

CALLS_PER_S = 50.0
"""massPayment calls of another merchant while the registry is applied."""


async def measure(rows: int, console: Console) -> dict[str, Any]:
    """The figures, once each."""
    with tempfile.TemporaryDirectory(prefix="disburse-bench-") as name:
        folder = Path(name)
        server = EmbeddedServer(folder / "server", options={"shared_buffers": "1GB", "max_connections": "200"})
        endpoint = server.start()
        try:
            await make_database(endpoint.dsn("postgres"), "bench_registry")
            return await _measure(folder, endpoint.dsn("bench_registry"), rows, console)
        finally:
            server.leave()


async def _measure(folder: Path, dsn: str, rows: int, console: Console) -> dict[str, Any]:
    world = real_world()
    found: dict[str, Any] = {"rows": rows}
    settings = load_settings(None, {}, {"data": str(folder / "data"), "database_url": dsn, "sandbox": True})
    async with open_house(settings, world) as house:
        keys = []
        for login in ("registry@example.org", "other@example.org"):
            made = await add_merchant(house.database, world, house.vault, name=login, login=login, actor="cli", settings={"answer_wait_ms": 0})
            await house.desk.top_up(made.merchant, draw_top_up(world, made.merchant, RICH, actor="cli"))
            keys.append((login, made.unitpay_secret_key))
    file, plan = folder / "wages.csv", folder / "plan.json"
    console.print(f"Writing {rows:,} rows ...")
    _write(file, rows)
    console.print("Planning ...")
    took, peak_mb, told = await _command(folder, dsn, "registry", "plan", str(file), "--merchant", "registry@example.org", "--out", str(plan))
    found |= {"plan_per_s": round(rows / took), "plan_mb": round(peak_mb), "good": told["good"]}
    console.print("COPY of the same rows ...")
    found["copy_per_s"] = round(await _copy(dsn, rows))
    found["of_copy"] = round(found["plan_per_s"] / found["copy_per_s"], 2)
    console.print("Applying, while another merchant pays ...")
    async with _serving(folder / "data", dsn, "api") as (port, _):
        load = asyncio.create_task(_load(port, keys[1:], 16, max(3.0, rows / 15_000), "calls", rate=CALLS_PER_S))
        await asyncio.sleep(1.5)
        took, _, told = await _command(folder, dsn, "registry", "apply", str(plan))
        report = await load
    found |= {"apply_per_s": round(told["made"] / took), "p99_ms": report.p99_ms}
    return found


def _write(file: Path, rows: int) -> None:
    """Cards that cannot be anybody's: one issuer's test range, with right check digits."""
    with file.open("w", encoding="utf-8") as out:
        out.write("reference,rail,destination,bank,amount,currency\n")
        for number in range(rows):
            front = f"411111{number % 10**9:09d}"
            card = next(f"{front}{digit}" for digit in range(10) if passes_luhn(f"{front}{digit}"))
            out.write(f"wage-{number},card,{card},,{100 + number % 900}.00,RUB\n")


async def _command(folder: Path, dsn: str, *arguments: str) -> tuple[float, float, Any]:
    """Run a command: its seconds from the moment it speaks to the database (its start does not count), its largest memory, its JSON."""
    environment = {**os.environ, "DISBURSE_SANDBOX": "true", "DISBURSE_LOG_LEVEL": "warning"}
    idle = time.monotonic()
    where = ("--data", str(folder / "data"), "--database-url", dsn, "--json")
    nothing = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "disburse", "registry", "list", "other@example.org", *where, stdout=subprocess.DEVNULL, env=environment
    )
    await nothing.wait()
    start_s = time.monotonic() - idle
    began = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "disburse", *arguments, *where, stdout=subprocess.PIPE, env=environment
    )
    reading, peak = asyncio.create_task(process.communicate()), 0.0
    while not reading.done():
        peak = max(peak, _peak_mb(process.pid))
        await asyncio.wait([reading], timeout=0.2)
    out, _ = reading.result()
    if process.returncode != 0:
        raise RuntimeError(f"{arguments[1]} ended with {process.returncode}")
    return time.monotonic() - began - start_s, peak, json.loads(out)


def _peak_mb(pid: int) -> float:
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0.0
    return int(found[1]) / 1024 if found else 0.0


async def _copy(dsn: str, rows: int) -> float:
    """Rows a second of one COPY of the planned rows into an empty table like theirs, indexes and all. At most 200,000 of them."""
    connection = await asyncpg.connect(dsn, server_settings={"search_path": "disburse"})
    try:
        await connection.execute("CREATE TABLE copied (LIKE registry_rows INCLUDING ALL)")
        content, count = io.BytesIO(), min(rows, 200_000)
        await connection.copy_from_query(
            "SELECT * FROM registry_rows ORDER BY registry_id, number LIMIT $1", count, output=content, format="binary"
        )
        content.seek(0)
        began = time.monotonic()
        await connection.copy_to_table("copied", source=content, format="binary")
        took = time.monotonic() - began
        await connection.execute("DROP TABLE copied")
        return count / took
    finally:
        await connection.close()


def registry_table(found: dict[str, Any]) -> Table:
    """The figures for people."""
    table = Table("registry", "measured", "wanted", title=f"{found['rows']:,} rows")
    table.add_row("plan", f"{found['plan_per_s']:,}/s", ">= 25,000/s")
    table.add_row("plan over COPY of the same rows", f"{found['of_copy']} of {found['copy_per_s']:,}/s", ">= 0.25")
    table.add_row("resident memory of plan", f"{found['plan_mb']} MB", "<= 400 MB")
    table.add_row("apply (hold, payout, attempt, event)", f"{found['apply_per_s']:,}/s", ">= 10,000/s")
    table.add_row("p99 of another merchant's massPayment meanwhile", f"{found['p99_ms']} ms", "<= 100 ms")
    return table
