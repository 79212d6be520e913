"""A cluster on this machine: etcd, and three PostgreSQL servers each under a Patroni. Lives here: its processes, and who is its leader.

Everything is throw-away and on loopback. Each Patroni reaches etcd through a line of its own, so that one can be cut off. A Patroni that
ends is started again after a while, as a service manager would. Servers run as another user than root.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from disburse.storage import sessions
from disburse.storage.embedded_user import ServerUser, choose_user
from disburse.storage.migrate import make_database
from disburse.wiring import DATABASE
from scripts.chaos.clocks import Clocks
from scripts.chaos.lines import Edge
from scripts.chaos.postgres import Postgres
from scripts.chaos.processes import children_of, clean_environment, die_with_me, send
from scripts.chaos_ha.packages import POSTGRES
from scripts.merchant_calls import get

NODES = 3
READY_S = 90.0
SETTINGS = {
    "ttl": 20, "loop_wait": 2, "retry_timeout": 3, "synchronous_mode": True, "synchronous_mode_strict": True, "primary_start_timeout": 0,
    "maximum_lag_on_failover": 0,
}  # fmt: skip
"""What Patroni is told for the whole cluster; docs/how-to/high-availability.md says why."""


@dataclass
class Node:
    """One server with its Patroni. `down_until`: nobody starts its Patroni before then (monotonic seconds)."""

    name: str
    folder: Path
    port: int
    api: int
    line: Edge
    down_until: float = 0.0
    process: subprocess.Popen[bytes] | None = None
    frozen: list[int] = field(default_factory=list)

    @property
    def config(self) -> Path:
        return self.folder / "patroni.json"

    def postmaster(self) -> int | None:
        with contextlib.suppress(OSError, ValueError, IndexError):
            return int((self.folder / "data" / "postmaster.pid").read_text().split()[0])
        return None

    def freeze(self) -> None:
        """Stop all of it, as a machine that is suspended."""
        found = self.postmaster()
        self.frozen = [self.process.pid] if self.process is not None else []
        self.frozen += [found, *children_of(found)] if found is not None else []
        for pid in self.frozen:
            send(pid, signal.SIGSTOP)

    def reset(self) -> None:
        """End all of what was suspended, as a watchdog does to a machine whose Patroni is not heard of before its lock runs out.

        A Patroni that wakes up after that takes the lock back, and the others then throw away what they acknowledged meanwhile.
        """
        for pid in self.frozen:
            send(pid, signal.SIGKILL)
        self.frozen = []


class Cluster(Postgres):
    """The cluster, as `scripts/chaos` knows its one PostgreSQL."""

    def __init__(self, folder: Path, clocks: Clocks) -> None:
        super().__init__(folder, clocks)
        self._place = folder / "database"
        self._password = secrets.token_hex(16)
        self._user: ServerUser | None = None
        self._etcd: subprocess.Popen[bytes] | None = None
        self._keeping: asyncio.Task[None] | None = None
        self.nodes: list[Node] = []

    async def start(self) -> None:
        """Start everything and wait until all servers follow one leader. Raises TimeoutError."""
        self._user = choose_user(self._place, self._place / "none")
        os.chown(self._place, self._user.uid, self._user.gid)
        self._place.chmod(0o700)
        etcd, peers = _free_port(), _free_port()
        url, peer = f"http://127.0.0.1:{etcd}", f"http://127.0.0.1:{peers}"
        words = ["etcd", "--name", "one", "--data-dir", str(self._place / "etcd"), "--listen-client-urls", url, "--advertise-client-urls", url,
                 "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"one={peer}"]  # fmt: skip
        self._etcd = self._run(words, "etcd")
        for number in range(1, NODES + 1):
            line = Edge(random.Random(number), etcd)
            await line.open()
            node = Node(f"node{number}", self._place / f"node{number}", _free_port(), _free_port(), line)
            node.folder.mkdir(mode=0o700)
            os.chown(node.folder, self._user.uid, self._user.gid)
            node.config.write_text(json.dumps(self._settings(node)))
            node.config.chmod(0o600)
            os.chown(node.config, self._user.uid, self._user.gid)
            self.nodes.append(node)
        self._keeping = asyncio.create_task(self._keep())
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)
        self.dsn = f"postgresql://postgres:{self._password}@{hosts}/{DATABASE}?sslmode=disable&target_session_attrs=read-write"
        await self.whole(READY_S)
        await make_database(self.dsn.replace(f"/{DATABASE}?", "/postgres?"), DATABASE)
        self.version = str(await self.ask("SHOW server_version"))

    async def connect(self) -> Any:
        """A session at the leader, whichever it is."""
        return await sessions.connect(self.dsn, timeout=5)

    def through(self, port: int) -> str:
        raise AssertionError("a cluster's programs know all of its hosts")

    def _settings(self, node: Node) -> dict[str, Any]:
        here, login = "127.0.0.1", {"username": "postgres", "password": self._password}
        return {
            "scope": "disburse", "name": node.name, "restapi": {"listen": f"{here}:{node.api}", "connect_address": f"{here}:{node.api}"},
            "etcd3": {"host": f"{here}:{node.line.port}", "use_proxies": True},
            "bootstrap": {
                "dcs": {**SETTINGS, "postgresql": {"use_pg_rewind": True, "parameters": {
                    "wal_keep_size": "512MB", "shared_buffers": "64MB", "max_connections": 100, "wal_compression": "off"}}},
                "initdb": [{"encoding": "UTF8"}, "data-checksums"],
            },
            "postgresql": {
                "listen": f"{here}:{node.port}", "connect_address": f"{here}:{node.port}", "data_dir": str(node.folder / "data"),
                "bin_dir": str(POSTGRES), "pgpass": str(node.folder / "pgpass"),
                "authentication": {"superuser": login, "rewind": login, "replication": {"username": "replicator", "password": self._password}},
                "parameters": {"unix_socket_directories": str(node.folder)},
                "pg_hba": ["local all all scram-sha-256", "host all all 127.0.0.1/32 scram-sha-256",
                           "host replication all 127.0.0.1/32 scram-sha-256"],
                "remove_data_directory_on_rewind_failure": True, "remove_data_directory_on_diverged_timelines": True,
            },
            "watchdog": {"mode": "off"},
        }  # fmt: skip

    def _run(self, words: list[str], log: str) -> subprocess.Popen[bytes]:
        if self._user is None:
            raise AssertionError("started before it is known as whom")
        with (self._folder / "log" / f"{log}.log").open("ab") as out:
            return subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env={**_plain(), "HOME": str(self._place)}, cwd="/",
                start_new_session=True, preexec_fn=die_with_me(), **self._user.as_popen_arguments(),
            )  # fmt: skip

    async def _keep(self) -> None:
        while True:
            for node in self.nodes:
                ended = node.process is None or node.process.poll() is not None
                if ended and time.monotonic() >= node.down_until:
                    node.process = self._run(["patroni", str(node.config)], node.name)
            await asyncio.sleep(0.2)

    async def members(self) -> list[dict[str, Any]]:
        """What the first Patroni that answers says of all of them; none where none answers."""
        for node in self.nodes:
            with contextlib.suppress(OSError, TimeoutError, EOFError, ValueError, KeyError):
                if not node.frozen:
                    found: list[dict[str, Any]] = json.loads(await get("127.0.0.1", node.api, "/cluster", timeout_s=2))["members"]
                    return found
        return []

    async def leader(self) -> Node | None:
        """Who holds the leader's key and runs as it."""
        for one in await self.members():
            if one["role"] == "leader" and one["state"] == "running":
                return next(node for node in self.nodes if node.name == one["name"])
        return None

    async def whole(self, within_s: float) -> float:
        """Wait until there is a leader with a synchronous standby, and all others follow it. Raises TimeoutError."""
        since = time.monotonic()
        async with asyncio.timeout(within_s):
            while True:
                members = await self.members()
                roles = sorted(one["role"] for one in members if one["state"] in ("running", "streaming"))
                if len(roles) == NODES and "leader" in roles and "sync_standby" in roles and len({one.get("timeline") for one in members}) == 1:
                    return time.monotonic() - since
                await asyncio.sleep(0.3)

    async def switchover(self, leader: Node) -> bool:
        """Ask Patroni to make another one the leader, as a person would."""
        words = ["patronictl", "-c", str(leader.config), "switchover", "disburse", "--leader", leader.name, "--force"]
        done = await asyncio.to_thread(subprocess.run, words, env=_plain(), capture_output=True, text=True, timeout=60, check=False)
        (self._folder / "log" / "patronictl.log").open("a").write(done.stdout + done.stderr)
        return done.returncode == 0

    async def end(self) -> None:
        """End everything that was started, by its number."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        for node in self.nodes:
            node.reset()
        ending = [node.process for node in self.nodes if node.process is not None] + ([self._etcd] if self._etcd is not None else [])
        servers = [pid for node in self.nodes if (pid := node.postmaster()) is not None]
        for process in ending:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # a copy that it was making, too
            await asyncio.to_thread(process.wait)
        for pid in servers:
            send(pid, signal.SIGQUIT)
        for node in self.nodes:
            await node.line.close()
        for _ in range(100):
            if not any(Path(f"/proc/{pid}").exists() for pid in servers):
                break
            await asyncio.sleep(0.1)

    def leave(self) -> None:
        """Servers' logs are kept beside the others."""
        for node in self.nodes:
            for log in (node.folder / "data" / "log").glob("*") if (node.folder / "data" / "log").is_dir() else ():
                shutil.copyfile(log, self._folder / "log" / f"{node.name}-{log.name}")


def _plain() -> Mapping[str, str]:
    path = "/usr/sbin:/usr/bin:/sbin:/bin"
    return {**{name: value for name, value in clean_environment().items() if not name.startswith(("PYTHON", "PG", "VIRTUAL_ENV"))}, "PATH": path}


def _free_port() -> int:
    """A port below those that outgoing connections are given: a server that starts again must find its own free."""
    for _ in range(1000):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", secrets.choice(range(16_000, 32_000)))) as listener:
            port: int = listener.getsockname()[1]
            return port
    raise OSError("no free port was found")
