"""`make registries`: a million rows, one in a hundred bad, planned, applied, killed with -9 five times on the way, and every figure compared.

The file is made by `scripts/registry_file.py`. `disburse registry plan`, then `apply --only-good` beside a serving process; at random places of the
way the applying or the serving process is killed, and started again. When all payouts are final: rows by state add up, each good row has one
payout, the bank's book holds one payment for each, `disburse verify` holds. `--rows N` does the same with fewer.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg

from disburse.settings import load_settings
from disburse.wiring import open_house
from disburse.world import real_world
from scripts.kills import serve
from scripts.registry_file import write

LOGIN = "registry@example.org"
FEW = 10_000
"""Of so few rows one batch may be the last, so that a kill comes late: then it is no proof, and no fault."""
ENVIRONMENT = {**os.environ, "DISBURSE_SANDBOX": "true", "DISBURSE_LOG_LEVEL": "warning"}


@dataclass
class Run:
    """One proof under way: what was measured, and what is wrong."""

    folder: Path
    connection: Any
    figures: dict[str, float] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    @property
    def data(self) -> Path:
        return self.folder / "data"


async def command(run: Run, *arguments: str) -> tuple[int, Any]:
    """Run a command of the product; its exit code and its JSON."""
    process = await begin(run, *arguments)
    out, _ = await process.communicate()
    return process.returncode or 0, json.loads(out) if out else None


async def begin(run: Run, *arguments: str) -> asyncio.subprocess.Process:
    """Begin a command of the product."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "disburse", *arguments, "--data", str(run.data), "--json", stdout=asyncio.subprocess.PIPE,
        stderr=(run.folder / "commands.log").open("ab"), env=ENVIRONMENT,
    )  # fmt: skip


async def trial(rows: int, kills: int, seed: int, folder: Path) -> Run:
    """The whole proof."""
    settings = load_settings(None, {}, {"data": str(folder / "data"), "sandbox": True})
    async with open_house(settings, real_world()) as house:
        connection = await asyncpg.connect(house.dsn, server_settings={"search_path": "disburse"})
        run = Run(folder, connection)
        try:
            await _prove(run, rows, kills, random.Random(seed), seed)
        finally:
            await connection.close()
    return run


async def _prove(run: Run, rows: int, kills: int, draw: random.Random, seed: int) -> None:
    file, plan = run.folder / "wages.csv", run.folder / "plan.json"
    with file.open("w", encoding="utf-8", newline="") as out:
        write(out, rows, bad=1.0, seed=seed, rails=["card", "sbp"], separator=",")
    await command(run, "merchant", "add", "Registry", "--login", LOGIN)
    for _ in range(max(1, rows // 300_000)):
        await command(run, "top-up", LOGIN, "999999999.00", "RUB")
    began = time.monotonic()
    code, planned = await command(run, "registry", "plan", str(file), "--merchant", LOGIN, "--out", str(plan))
    run.figures["plan_rows_per_s"] = rows / (time.monotonic() - began)
    say(f"planned: {planned.get('good')} good, {planned.get('bad')} bad, {planned.get('held')} held of {planned.get('rows')}; "
        f"{run.figures['plan_rows_per_s']:,.0f} rows/s")
    bad = rows // 100
    if (code, planned.get("rows"), planned.get("bad"), planned.get("held")) != (1, rows, bad, 0):
        run.wrong.append(f"the plan ended with {code} and says {planned}"[:500])
        return
    server, port = await serve(run.data, 0)
    registry = planned["registry_id"]
    try:
        began = time.monotonic()
        server = await _apply(run, registry, plan, rows - bad, kills, draw, server, port)
        run.figures["applied_s"] = time.monotonic() - began
        await _wait(run, registry, max(60.0, rows / 200))
        run.figures["over_s"] = time.monotonic() - began
    finally:
        if server.returncode is None:
            server.terminate()
        await asyncio.wait_for(server.wait(), 60)
    await _compare(run, registry, rows - bad, bad)


async def _apply(
    run: Run, registry: str, plan: Path, good: int, kills: int, draw: random.Random, server: asyncio.subprocess.Process, port: int
) -> asyncio.subprocess.Process:
    """Apply, killing one of the two processes at random places, until a run of it ends by itself.

    Each place is drawn from what is left when the kill before is over, so that none comes after the last row: a killed server starts again while
    `apply` goes on.
    """
    applying = await begin(run, "registry", "apply", str(plan), "--only-good")
    starting: asyncio.Task[tuple[asyncio.subprocess.Process, int]] | None = None
    for number in range(1, kills + 1):
        had = await _made(run, registry)
        place = had + draw.uniform(0.1, 0.8) * (good - had) / (kills + 1 - number)
        while (made := await _made(run, registry)) < place:
            if applying.returncode is not None and made < good:
                raise RuntimeError(f"apply ended too early with {applying.returncode}")
            await asyncio.sleep(0.005)
        which = "apply" if number % 2 and applying.returncode is None else "serve"
        if which == "apply":
            applying.kill()
            await applying.wait()
        else:
            server = (await starting)[0] if starting is not None else server
            server.kill()
            await server.wait()
            starting = asyncio.create_task(serve(run.data, port))
        made = await _made(run, registry)
        say(f"kill {number}: {which} at {made:,} of {good:,} rows")
        if made >= good >= FEW:
            run.wrong.append(f"kill {number} came after the last row")
        if which == "apply":
            applying = await begin(run, "registry", "apply", str(plan), "--only-good")
    if starting is not None:
        server, _ = await starting
    await applying.communicate()
    code, told = await command(run, "registry", "apply", str(plan), "--only-good")
    if code != 0 or told["left"]:
        run.wrong.append(f"apply ended with {code}: {told}")
    return server


async def _made(run: Run, registry: str) -> int:
    made: int = await run.connection.fetchval("SELECT made + found + refused FROM registries WHERE registry_id = $1::text::uuid", registry)
    return made


async def _wait(run: Run, registry: str, limit_s: float) -> None:
    until, last = time.monotonic() + limit_s, ""
    while time.monotonic() < until:
        last = await run.connection.fetchval("SELECT state FROM registries WHERE registry_id = $1::text::uuid", registry)
        if last in ("completed", "completed_with_errors"):
            return
        await asyncio.sleep(0.25)
    run.wrong.append(f"the registry is still {last} after {limit_s:.0f} s")


async def _compare(run: Run, registry: str, good: int, bad: int) -> None:
    """Rows by state, our payouts and the bank's book."""
    _, shown = await command(run, "registry", "show", registry)
    expected = {"state": "completed_with_errors", "good": good, "bad": bad, "made": good, "found": 0, "refused": 0, "left": 0, "paid": good, "open": 0}
    for name, value in expected.items():
        if shown[name] != value:
            run.wrong.append(f"{name} is {shown[name]} and not {value}")
    payouts: Counter[str] = Counter()
    for row in await run.connection.fetch("SELECT state, count(*) FROM payouts GROUP BY 1"):
        payouts[row[0]] = row[1]
    if payouts != Counter({"paid": good}):
        run.wrong.append(f"payouts by state: {dict(payouts)}")
    paid: Counter[str] = Counter()
    with (run.data / "sandbox-bank.jsonl").open("rb") as book:
        for line in book:
            deed = json.loads(line)
            if deed["did"] == "paid":
                paid[deed["end_to_end_id"].rpartition("-")[0]] += 1
    if len(paid) != good or any(times != 1 for times in paid.values()):
        run.wrong.append(f"the bank paid {sum(paid.values())} times for {len(paid)} obligations; there are {good} good rows")
    code, verified = await command(run, "verify", "--bank-book", str(run.data / "sandbox-bank.jsonl"))
    if code or not verified.get("holds"):
        run.wrong.append(f"verify: {json.dumps(verified)[:1500]}")


def say(line: str) -> None:
    print(line, flush=True)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make registries")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    options = parser.parse_args(arguments)
    say(f"seed {options.seed}")
    with tempfile.TemporaryDirectory(prefix="disburse-registries-") as folder:
        run = asyncio.run(trial(options.rows, options.kills, options.seed, Path(folder)))
    for line in run.wrong:
        say(f"WRONG: {line}")
    say(json.dumps({name: round(value, 1) for name, value in run.figures.items()}))
    say(f"{options.kills if not run.wrong else 0} kills survived, {len(run.wrong)} proofs failed")
    return 1 if run.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
