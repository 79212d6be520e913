"""`make kills`: kill -9 the server again and again under load, and see that nobody was paid twice and nobody forgotten.

Twenty times (or `--kills N`) a serving process is killed at a random moment while at least 200 payouts a second arrive and at
least five attempts are open or unknown; it is started again at once. When the load is over: every acknowledged reference exists,
the bank's book and ours hold the same multiset of (base, amount) paid, nothing is in doubt, `disburse verify` holds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg

from disburse.settings import load_settings
from disburse.wiring import open_house
from disburse.world import real_world
from scripts.merchant_calls import Wages, get, pay

WANTED_PER_S, WANTED_OPEN = 200, 5
CALLERS = 48


@dataclass
class Killed:
    """One kill: when, and how many payouts a second were arriving."""

    at: datetime
    per_s: float
    open: int = 0


@dataclass
class Trial:
    data: Path
    port: int
    wages: Wages
    kills: list[Killed] = field(default_factory=list)


def disburse(*arguments: str, data: Path) -> dict[str, Any]:
    """Run a command of the product and read its JSON."""
    done = subprocess.run(
        [sys.executable, "-m", "disburse", *arguments, "--data", str(data), "--json"], capture_output=True, text=True
    )
    if done.returncode not in (0, 1):
        raise RuntimeError(f"disburse {arguments[0]} failed: {done.stdout[-2000:]} {done.stderr[-2000:]}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


async def serve(data: Path, port: int) -> tuple[asyncio.subprocess.Process, int]:
    """Start `disburse serve`; returns it and its port once it is ready."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "disburse", "serve", "--sandbox", "--data", str(data), "--listen", f"127.0.0.1:{port}",
        stdout=subprocess.PIPE, stderr=(data.parent / "serve.log").open("ab"), env={**os.environ, "DISBURSE_LOG_LEVEL": "warning"},
    )  # fmt: skip
    if process.stdout is None:
        raise AssertionError("no output to read")
    async with asyncio.timeout(90):
        while not (found := re.search(rb"https?://[^:\s]+:([0-9]+)", await process.stdout.readline())):
            if process.returncode is not None:
                raise RuntimeError("the server did not start")
        port = int(found[1])
        while True:
            try:
                if json.loads(await get("127.0.0.1", port, "/readyz")).get("ready"):
                    return process, port
            except (OSError, EOFError, ValueError):
                pass
            await asyncio.sleep(0.05)


async def trial(kills: int, seed: int) -> list[str]:
    """The whole proof; returns what is wrong."""
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="disburse-kills-") as folder:
        data = Path(folder) / "data"
        merchant = disburse("merchant", "add", "Kills", "--login", "kills@example.org", data=data)
        disburse("merchant", "set", "kills@example.org", "--answer-wait", "0", data=data)
        disburse("top-up", "kills@example.org", "100000000.00", "RUB", data=data)
        wages = Wages("kills@example.org", merchant["unitpay_secret_key"], "wage")
        process, port = await serve(data, 0)
        run = Trial(data, port, wages)
        stop = asyncio.Event()
        callers = [asyncio.create_task(pay(wages, "127.0.0.1", port, stop)) for _ in range(CALLERS)]
        for number in range(kills):
            process = await _kill_once(run, process, draw, number + 1)
        await asyncio.sleep(1)
        stop.set()
        for caller in callers:
            await caller
        wrong = await _wait_for_the_end(run)
        process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(process.wait(), 60)
        wrong += await _compare(run)
        verified = disburse("verify", "--bank-book", str(data / "sandbox-bank.jsonl"), data=data)
        if not verified.get("holds"):
            wrong.append(f"verify: {json.dumps(verified)[:1500]}")
        return wrong


async def _kill_once(
    run: Trial, process: asyncio.subprocess.Process, draw: random.Random, number: int
) -> asyncio.subprocess.Process:
    """Let it work a while, kill it at a random moment, start it again on the same port."""
    await asyncio.sleep(draw.uniform(1.0, 3.0))
    until = time.monotonic() + 20
    while _arriving(run) < WANTED_PER_S * 1.1 and time.monotonic() < until:  # a busy machine warms up slowly
        await asyncio.sleep(draw.uniform(0.05, 0.3))
    process.kill()
    recent, at = _arriving(run), datetime.now(UTC)
    run.kills.append(Killed(at, float(recent)))
    await process.wait()
    print(f"kill {number}: {recent} payouts in the last second, {len(run.wages.acknowledged)} in all", flush=True)
    again, _ = await serve(run.data, run.port)
    return again


def _arriving(run: Trial) -> int:
    """Payouts acknowledged within the last second."""
    now = time.monotonic()
    return sum(moment > now - 1 for moment in run.wages.answered_at[-5000:])


async def _wait_for_the_end(run: Trial, limit_s: float = 120) -> list[str]:
    """Until every payout is final; the doubts of the bank's own making take seconds."""
    world = real_world()
    async with open_house(load_settings(None, {}, {"data": str(run.data)}), world) as house:
        connection = await asyncpg.connect(house.dsn)
        try:
            until = time.monotonic() + limit_s
            while time.monotonic() < until:
                left = await connection.fetchval(
                    "SELECT count(*) FROM disburse.payouts WHERE state NOT IN ('paid', 'failed', 'returned')"
                )
                if left == 0:
                    await asyncio.sleep(6)  # what comes back later (.99) comes within five seconds
                    return []
                await asyncio.sleep(0.5)
            rows = await connection.fetch("SELECT state, count(*) FROM disburse.payouts GROUP BY 1 ORDER BY 1")
            return [f"not all final after {limit_s:.0f} s: {[tuple(row) for row in rows]}"]
        finally:
            await connection.close()


async def _compare(run: Trial) -> list[str]:
    """Our rows against what the merchant was told and what the bank's book says."""
    wrong: list[str] = []
    world = real_world()
    async with open_house(load_settings(None, {}, {"data": str(run.data)}), world) as house:
        connection = await asyncpg.connect(house.dsn)
        rows = await connection.fetch("SELECT reference, base, amount_minor, state FROM disburse.payouts")
        attempts = await connection.fetch(
            """SELECT a.opened_at, least(a.ended_at, (SELECT min(e.heard_at) FROM disburse.evidence e WHERE e.shard = a.shard
                   AND e.end_to_end_id = a.end_to_end_id AND e.verdict = 'Accepted')) AS known_at
               FROM disburse.attempts a WHERE a.opened_at IS NOT NULL"""
        )
        await connection.close()
    ours = {row["reference"] for row in rows}
    lost = set(run.wages.acknowledged) - ours
    if lost:
        wrong.append(f"{len(lost)} acknowledged references do not exist, such as {sorted(lost)[:3]}")
    doubts = [row["reference"] for row in rows if row["state"] == "in_doubt"]
    if doubts:
        wrong.append(f"{len(doubts)} payouts are still in doubt")
    paid = Counter((row["base"], row["amount_minor"]) for row in rows if row["state"] in ("paid", "returned"))
    bank: Counter[tuple[str, int]] = Counter()
    for line in (run.data / "sandbox-bank.jsonl").read_text().splitlines():
        deed = json.loads(line)
        if deed["did"] == "paid":
            bank[deed["end_to_end_id"].rpartition("-")[0], int(deed["amount"].replace(".", ""))] += 1
    if paid != bank:
        wrong.append(f"books differ: bank only {list((bank - paid).items())[:3]}, ours only {list((paid - bank).items())[:3]}")
    for kill in run.kills:
        kill.open = sum(row["opened_at"] <= kill.at and (row["known_at"] is None or row["known_at"] > kill.at) for row in attempts)
        if kill.per_s < WANTED_PER_S or kill.open < WANTED_OPEN:
            wrong.append(f"a kill came too early to prove anything: {kill.per_s:.0f}/s, {kill.open} open")
    print(f"{len(rows)} payouts, {len(run.wages.acknowledged)} acknowledged, {sum(bank.values())} paid by the bank,")
    print(f"at the kills: {min(k.per_s for k in run.kills):.0f} payouts/s or more arriving, "
          f"{min(k.open for k in run.kills)} attempts or more open or unknown")  # fmt: skip
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(prog="make kills")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    wrong = asyncio.run(trial(options.kills, options.seed))
    for line in wrong:
        print(f"WRONG: {line}")
    failed = 1 if wrong else 0
    print(f"{options.kills if not failed else 0} kills survived, {failed} proofs failed")
    sys.exit(failed)


if __name__ == "__main__":
    main()
