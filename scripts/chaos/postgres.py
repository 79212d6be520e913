"""The PostgreSQL of a chaos run: the product's embedded one, on a small disk and with a clock of its own.

Lives here: its processes, its disk, its clock, how long it is away, and the dump of raw tables that the checker reads.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import random
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import asyncpg

from disburse.storage.embedded import EmbeddedServer, EmbeddedServerFailed
from disburse.storage.embedded_binaries import find_binaries
from disburse.storage.embedded_keeper import find_postmaster
from disburse.storage.embedded_user import choose_user
from disburse.storage.migrate import make_database
from disburse.wiring import DATABASE
from scripts.chaos.clocks import Clocks
from scripts.chaos.processes import children_of, send, words_of

OPTIONS = {
    "wal_compression": "off",  # so that a leaked number would be found in the log of writes too
    "max_wal_size": "96MB",
    "min_wal_size": "32MB",
    "autovacuum_naptime": "5s",
}
DISK_MB = {"database": 4096, "bank": 256}
LOOK_S = 0.05
UNREACHABLE = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, TimeoutError)
"""What asking PostgreSQL may come to in a run: it is killed, full, ended or silent at any moment."""

_CLONE_NEWNS = 0x00020000
DUMPS = {
    "payouts": "payout_id, merchant_id, surface, reference, base, currency, amount_minor, fee_minor",
    "attempts": "payout_id, number, state, connector, end_to_end_id, opened_at",
    "postings": "merchant_id, number, origin_id, phase, currency, source, destination, amount_minor, reason",
    "balances": "merchant_id, currency, account, balance_minor",
}


def small_disks(folder: Path) -> str | None:
    """Mount two small file systems, seen by this process and its children alone: they go with them. Says why it could not."""
    if os.geteuid() != 0:
        return "small disks are mounted by root alone"
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNS) != 0:
        return "this root may not make a mount namespace"
    wishes = [["mount", "--make-rprivate", "/"]]
    for name, size in DISK_MB.items():
        wishes.append(["mount", "-t", "tmpfs", "-o", f"size={size}m,mode=711", "none", str(folder / name)])
    for wish in wishes:
        done = subprocess.run(wish, capture_output=True, text=True)
        if done.returncode != 0:
            return f"a small disk could not be mounted: {done.stderr.strip()}"
    return None


def give_back_disks(folder: Path) -> None:
    """Take the small file systems off again, with all that is on them."""
    for name in ("database", "bank"):
        if os.path.ismount(folder / name):
            subprocess.run(["umount", "--lazy", str(folder / name)], capture_output=True)


class Disk:
    """A small disk. It is full when it has shrunk to what is on it, and has room again at its old size."""

    def __init__(self, place: Path, size_mb: int) -> None:
        self._place, self._size_mb = place, size_mb

    def fill(self) -> None:
        """Raises OSError."""
        for _ in range(20):  # what is written meanwhile makes it too large for the size that was read
            found = os.statvfs(self._place)
            if self._resize(f"{(found.f_blocks - found.f_bfree) * found.f_frsize // 1024}k"):
                return
        raise OSError(f"{self._place} could not be made small")

    def free(self) -> None:
        self._resize(f"{self._size_mb}m")

    def _resize(self, size: str) -> bool:
        return subprocess.run(["mount", "-o", f"remount,size={size}", str(self._place)], capture_output=True).returncode == 0


class Postgres:
    """The embedded server, joined for as long as the run lasts."""

    def __init__(self, folder: Path, clocks: Clocks) -> None:
        self.data = folder / "database" / "data"
        self._clocks = clocks
        self._folder = folder
        self._server: EmbeddedServer | None = None
        self.dsn = ""
        self.socket = Path()
        self._login: tuple[str, str] = ("", "")
        self.away_s: list[float] = []
        self.version = ""

    async def start(self) -> None:
        self.data.mkdir(mode=0o700, parents=True)
        binaries = self._binaries()
        self._server = EmbeddedServer(self.data, options=OPTIONS, binaries=binaries)
        endpoint = await asyncio.to_thread(self._server.start)
        await make_database(endpoint.dsn("postgres"), DATABASE)
        self.dsn = endpoint.dsn(DATABASE)
        self.socket = Path(endpoint.socket_dir) / f".s.PGSQL.{endpoint.port}"
        self._login = (endpoint.user, endpoint.password)
        self.version = str(await self.ask("SHOW server_version"))

    def through(self, port: int) -> str:
        """The address of the database behind a line; it holds the password."""
        user, password = self._login
        return f"postgresql://{user}:{password}@127.0.0.1:{port}/{DATABASE}?sslmode=disable"

    def _binaries(self) -> Path | None:
        """The programs themselves, or a directory in which `postgres` is started with the clock that can be moved."""
        if self._clocks.lacking is not None:
            return None
        real = find_binaries(choose_user(self.data, self.data / "postgres"), major=None).bin
        place = self._folder / "bin"
        place.mkdir(mode=0o755)
        for program in real.iterdir():
            if program.name != "postgres":
                (place / program.name).symlink_to(program)
        set_to = " ".join(f"{name}='{value}'" for name, value in self._clocks.environment("database").items())
        (place / "postgres").write_text(f'#!/bin/sh\nexec env {set_to} \'{real / "postgres"}\' "$@"\n')
        (place / "postgres").chmod(0o755)
        return place

    async def connect(self) -> Any:
        """A session of the administrator's, not through any line. Raises what asyncpg raises."""
        return await asyncpg.connect(self.dsn, timeout=5)

    async def ask(self, sql: str, *values: Any) -> Any:
        """One value, as the administrator, not through any line. Raises what asyncpg raises."""
        connection = await self.connect()
        try:
            return await connection.fetchval(sql, *values, timeout=10)
        finally:
            await connection.close(timeout=2)

    async def end_session(self, draw: random.Random) -> bool:
        """End one session of the product, any one, wherever it is."""
        connection = await self.connect()
        try:
            rows = await connection.fetch("SELECT pid FROM pg_stat_activity WHERE application_name = 'disburse' ORDER BY pid")
            return bool(rows) and await connection.fetchval("SELECT pg_terminate_backend($1)", draw.choice(rows)["pid"])
        finally:
            await connection.close(timeout=2)

    def postmaster(self) -> int | None:
        found = find_postmaster(str(self.data / "postgres"))
        return found.pid if found is not None else None

    def keeper(self) -> int | None:
        """The embedded server's keeper, which is the postmaster's parent."""
        found = self.postmaster()
        with contextlib.suppress(OSError, IndexError):
            parent = int(Path(f"/proc/{found}/stat").read_text().rpartition(")")[2].split()[1])
            return parent if "embedded_keeper" in words_of(parent) else None
        return None

    def sessions(self) -> list[int]:
        """The processes of PostgreSQL that serve us: those a person would call connections."""
        found = self.postmaster()
        return [pid for pid in children_of(found) if "disburse_admin disburse" in words_of(pid)] if found else []

    async def kill(self, target: str, draw: random.Random) -> bool:
        """kill -9 of the postmaster, one of its children (which makes it start anew), or the keeper. Waits until it is back."""
        found = self.keeper() if target == "keeper" else self.postmaster()
        if found is not None and target == "child":
            children = children_of(found)
            found = draw.choice(children) if children else None
        if found is None or not send(found, signal.SIGKILL):
            return False
        await self._back(time.monotonic())
        return True

    async def _back(self, since: float) -> None:
        """Wait until the server answers again, starting a keeper where that was killed, and note how long that took."""
        await asyncio.sleep(LOOK_S)
        while True:
            try:
                await self.ask("SELECT 1")
            except UNREACHABLE:
                if time.monotonic() - since > 2 and self._server is not None:
                    with contextlib.suppress(EmbeddedServerFailed):
                        await asyncio.to_thread(self._server.start)
                await asyncio.sleep(LOOK_S)
            else:
                self.away_s.append(time.monotonic() - since)
                return

    async def dump(self, into: Path) -> None:
        """The raw tables, each a CSV file with its names on top, on one snapshot."""
        connection = await self.connect()
        try:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                for table, columns in DUMPS.items():
                    query = f"SELECT {columns} FROM disburse.{table} ORDER BY 1, 2"
                    await connection.copy_from_query(query, output=into / f"{table}.csv", format="csv", header=True)
        finally:
            await connection.close()

    async def left(self) -> dict[str, int]:
        """How many payouts are in each state that is not an end."""
        connection = await self.connect()
        try:
            rows = await connection.fetch(
                """SELECT state, count(*) AS count FROM disburse.payouts
                   WHERE state NOT IN ('paid', 'failed', 'returned') GROUP BY state ORDER BY state""", timeout=10
            )
            return {row["state"]: row["count"] for row in rows}
        finally:
            await connection.close(timeout=2)

    def leave(self) -> None:
        if self._server is not None:
            self._server.leave()
