"""What the tests of the embedded server share: asking it, seeing its processes, killing them, and waiting for it.

Everything is real; every wait is bounded by `LIMIT_S`.
"""

from __future__ import annotations

import asyncio
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import asyncpg

from disburse.storage.embedded import Endpoint
from disburse.storage.embedded_keeper import Postmaster, arguments_of, find_postmaster

FAST = {"fsync": "off", "shared_buffers": "16MB"}
ROOT = os.geteuid() == 0
LIMIT_S = 20.0

USER_OF_THE_SERVER = """
import sys
from pathlib import Path
from disburse.storage.embedded import EmbeddedServer, EmbeddedServerFailed
binaries = Path(sys.argv[2]) if len(sys.argv) > 2 else None
server = EmbeddedServer(Path(sys.argv[1]), options={"fsync": "off", "shared_buffers": "16MB"}, binaries=binaries)
try:
    print(server.start().socket_dir, flush=True)
except EmbeddedServerFailed as failed:
    print(failed, flush=True)
sys.stdin.readline()
server.leave()
"""


@contextmanager
def public_place() -> Iterator[Path]:
    """A path for a data directory that does not exist yet, in a directory open to all."""
    with tempfile.TemporaryDirectory(prefix="embedded-", ignore_cleanup_errors=True) as parent:
        os.chmod(parent, 0o755)
        yield Path(parent) / "data"


def ask(endpoint: Endpoint, sql: str, *, password: str | None = None, database: str = "postgres") -> object:
    """The first value that a statement gives."""

    async def run() -> object:
        dsn = endpoint.dsn(database) if password is None else endpoint.dsn(database, endpoint.user, password)
        connection = await asyncpg.connect(dsn, timeout=LIMIT_S)
        try:
            return await connection.fetchval(sql, timeout=LIMIT_S)
        finally:
            await connection.close(timeout=LIMIT_S)

    return asyncio.run(run())


@contextmanager
def at_work(endpoint: Endpoint) -> Iterator[None]:
    """A connection in the middle of two seconds of computing, which notices nothing meanwhile."""
    work = "DO $$ DECLARE until timestamptz := clock_timestamp() + interval '2 s';"
    work += " BEGIN WHILE clock_timestamp() < until LOOP END LOOP; END $$"
    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(ask, endpoint, work)
        wait_for(lambda: ask(endpoint, "SELECT count(*) FROM pg_stat_activity WHERE state = 'active'") == 2)
        yield
        with suppress(asyncpg.PostgresError, OSError):
            working.result(LIMIT_S)


def postmaster(data_dir: Path) -> Postmaster:
    """The server that runs there."""
    found = find_postmaster(str(data_dir / "postgres"))
    assert found is not None
    return found


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def wait_until_gone(pid: int) -> None:
    """Wait for the end of any process."""
    with suppress(ProcessLookupError):
        descriptor = os.pidfd_open(pid)
        try:
            assert select.select([descriptor], [], [], LIMIT_S)[0], f"process {pid} did not end"
        finally:
            os.close(descriptor)


def kill(pid: int) -> None:
    """kill -9, and see it dead."""
    os.kill(pid, signal.SIGKILL)
    wait_until_gone(pid)


def wait_until_ready(data_dir: Path) -> None:
    """Wait until a server accepts connections there."""
    wait_for(lambda: (found := find_postmaster(str(data_dir / "postgres"))) is not None and found.ready)


def wait_for(condition: Callable[[], object]) -> None:
    """Wait for what another process is to bring about."""
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.005)


def nothing_runs(data_dir: Path) -> bool:
    """No server, no keeper, no socket."""
    keeper = f'"pgdata": "{data_dir}/postgres"'
    commands = [" ".join(arguments_of(int(p.name))) for p in Path("/proc").iterdir() if p.name.isdigit()]
    return (
        not (data_dir / "postgres" / "postmaster.pid").exists()
        and not (data_dir / "socket").exists()
        and not any(keeper in c or f"{data_dir}/postgres " in c for c in commands)
    )


@contextmanager
def another_process(
    data_dir: Path, *more: str, python: str = sys.executable, path: Path | None = None, uid: int | None = None
) -> Iterator[subprocess.Popen[str]]:
    """A second user of the same directory, which stays until the end of the block."""
    child = subprocess.Popen(
        [python, "-c", USER_OF_THE_SERVER, str(data_dir), *more],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd="/",
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path) if path is None else str(path)},
        user=uid,
        group=uid,
        extra_groups=None if uid is None else [],
    )
    try:
        yield child
        child.communicate("leave\n", timeout=LIMIT_S)
    finally:
        child.kill()
        child.wait()


def said(child: subprocess.Popen[str]) -> str:
    """The line that a second user says once it has started: where the socket is."""
    assert child.stdout is not None
    return child.stdout.readline().strip()
