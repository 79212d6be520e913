"""The embedded PostgreSQL's supervisor. Lives here: joining, starting and leaving the one server of a data directory.

A data directory has at most one server and any number of users (processes of ours: `serve`, commands, workers).

* Every user holds a **shared lock on `embedded.lock`** while it uses the server. Whoever can take it alone on leaving
  was the last, and stops the server. The kernel gives a killed process's lock back, so nobody is trusted to leave.
* Whoever starts the server holds **`keeper.lock` alone**, and hands that lock, still held, to the *keeper*: the process
  that is the server's parent until the end (`embedded_keeper.py` says why there is one). So never do two start it.

What happens to whom:

* a user is killed: the keeper stops the server when no other user is left;
* the server is killed: the keeper starts it again; connections are lost, the address stays;
* the keeper is killed: the kernel tells the server to stop, and the next `start()` starts both. Where the server lives on
  all the same (systems without a death signal), the next `start()` gives it a new keeper;
* the power fails: a pid file is left, with a pid that may be anybody's by now. It is believed only if that process
  carries our name on its command line.

The parts: who runs it (`embedded_user.py`), with which programs (`embedded_binaries.py`), on which files
(`embedded_cluster.py`), and what to say when it fails (`embedded_failure.py`). Nothing here is asynchronous: it is
called at start-up and at the end.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType, TracebackType
from urllib.parse import quote

from disburse.storage import embedded_keeper
from disburse.storage.embedded_binaries import find_binaries
from disburse.storage.embedded_cluster import (
    Layout,
    Record,
    open_ours,
    prepare,
    read_record,
    server_arguments,
    settings_text,
)
from disburse.storage.embedded_failure import EmbeddedServerFailed, failure, of_system, passes_by_itself, telling_lines
from disburse.storage.embedded_keeper import (
    Task,
    cluster_name,
    find_postmaster,
    forget_dead_server,
    lock_now,
    started_by_hand,
    stop_postmaster,
)
from disburse.storage.embedded_user import choose_user, server_environment, walkable

__all__ = ["EmbeddedServer", "EmbeddedServerFailed", "Endpoint"]

POLL_S = 0.01
LOCK_LIMIT_S = 120.0  # somebody may be stopping the server: 75 s at worst
NOTHING_RUNS_LIMIT_S = 60.0
RECOVERY_LIMIT_S = 900.0  # replaying max_wal_size of log after a crash, on a slow disk
KEEPER_ENDS_LIMIT_S = 10.0
PAUSE_S = 0.1
WOULD_NOT_START = 1  # a keeper's exit code, also when it cannot itself run


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to connect: a socket in `socket_dir`, as a superuser. The password is not shown."""

    socket_dir: str
    port: int
    user: str
    password: str = field(repr=False)

    def dsn(self, database: str, user: str | None = None, password: str | None = None) -> str:
        """A connection URL for asyncpg and libpq. It carries the password: never log it."""
        who = self.user if user is None else user
        secret = self.password if user is None and password is None else password
        login = quote(who, safe="") + (f":{quote(secret, safe='')}" if secret is not None else "")
        where = f"host={quote(self.socket_dir, safe='')}&port={self.port}"
        return f"postgresql://{login}@/{quote(database, safe='')}?{where}"


class EmbeddedServer:
    """One user of the server of a data directory.

    `options` are settings of PostgreSQL, such as `{"shared_buffers": "1GB"}`; ValueError for what cannot be one. They count
    when this user starts the server, not when it joins a running one. `binaries` is a `bin` directory to use instead of
    the one we would find.
    """

    def __init__(
        self, data_dir: Path, *, options: Mapping[str, str] = MappingProxyType({}), binaries: Path | None = None
    ) -> None:
        self.data_dir = data_dir.resolve()
        self.options = dict(options)
        settings_text(self.options)
        self.binaries = binaries
        self._layout = Layout(self.data_dir)
        self._users: int | None = None
        self._keeper: subprocess.Popen[bytes] | None = None
        self._log_from = 0
        self._pid = 0

    def __enter__(self) -> Endpoint:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.leave()

    def start(self) -> Endpoint:
        """Join the server, starting it if need be; returns when it accepts connections.

        May be called again at any time, such as when connections are lost: it makes sure that the server runs.
        Takes a fraction of a second for data that are there, about one more for the first set-up, longer while
        PostgreSQL recovers from a crash; gives up after a minute without a server. Raises EmbeddedServerFailed.
        """
        joined_before = self._users is not None
        try:
            self._join()
            return self._ensure()
        except OSError as problem:
            self._give_up(joined_before)
            raise of_system(self._not_started(), self.data_dir, problem) from problem
        except BaseException:
            self._give_up(joined_before)
            raise

    def leave(self) -> None:
        """Stop using the server; the last user stops it and waits for its end. Does nothing when not joined.

        Where the directory was deleted meanwhile there is nothing to wait for: the keeper ends the server by itself.
        Raises EmbeddedServerFailed when the server does not stop within 75 s.
        """
        users, self._users = self._users, None
        if users is None:
            return
        try:
            if self._pid == os.getpid() and self.data_dir.exists() and self._is_last(users):
                self._stop()
        finally:
            os.close(users)
            self._keeper_ended(within_s=0)

    def _join(self) -> None:
        """Take the shared lock; make the data directory if it is not there."""
        if self._users is not None:
            return
        try:
            self.data_dir.mkdir(mode=0o700, parents=True)
        except FileExistsError:
            if not self.data_dir.is_dir():
                raise EmbeddedServerFailed(f"{self.data_dir} is not a directory: take another.") from None
        users = open_ours(self._layout.users_lock, os.O_RDWR)
        deadline = time.monotonic() + LOCK_LIMIT_S
        while not lock_now(users, fcntl.LOCK_SH):
            if time.monotonic() > deadline:
                os.close(users)
                raise EmbeddedServerFailed(
                    f"Another process has been stopping the server in {self.data_dir} for {LOCK_LIMIT_S:.0f} s: "
                    f"see {self._layout.log}."
                )
            time.sleep(POLL_S)
        self._users, self._pid = users, os.getpid()

    def _ensure(self) -> Endpoint:
        """Wait until a kept server is ready, doing what is missing."""
        begun = time.monotonic()
        while True:
            self._start_what_is_missing()
            running = find_postmaster(str(self._layout.pgdata))
            if running is not None and running.ready:
                return self._endpoint()
            waited_s = time.monotonic() - begun
            if waited_s > (NOTHING_RUNS_LIMIT_S if running is None else RECOVERY_LIMIT_S):
                state = "there is no server" if running is None else f"the server is {running.status}"
                raise failure(f"After {waited_s:.0f} s {state} in {self.data_dir}", self.data_dir, self._log_tail())
            time.sleep(POLL_S)

    def _start_what_is_missing(self) -> None:
        """If there is no keeper, start one: for the server that runs without, or for a new one."""
        lock = open_ours(self._layout.keeper_lock, os.O_RDWR)
        try:
            if not lock_now(lock, fcntl.LOCK_EX):
                return
            self._check_last_keeper()
            running = find_postmaster(str(self._layout.pgdata))
            if running is not None:  # an orphan: its keeper's death has told it to stop, if the system does such things
                time.sleep(PAUSE_S)
                running = find_postmaster(str(self._layout.pgdata))
            if running is None or running.status != "stopping":
                self._launch(lock, adopt=running.pid if running is not None else None)
        finally:
            os.close(lock)  # a keeper, if there is one now, has its own share of it

    def _check_last_keeper(self) -> None:
        """A keeper whose server would not come up left the reason in the log; what a killed server left may pass by itself."""
        if self._keeper_ended(within_s=KEEPER_ENDS_LIMIT_S) == WOULD_NOT_START:
            output = self._log_tail()
            if not passes_by_itself(output):
                with suppress(OSError):
                    Path(self._record().socket_dir).rmdir()
                raise failure(self._not_started(), self.data_dir, output)
            time.sleep(PAUSE_S)

    def _launch(self, lock: int, adopt: int | None) -> None:
        """Start a keeper, which starts or adopts the server. We hold the keeper's lock."""
        task = self._task(lock, adopt)
        log = open_ours(self._layout.log, os.O_WRONLY | os.O_APPEND)
        try:
            self._log_from = os.fstat(log).st_size
            self._keeper = subprocess.Popen(
                [sys.executable, "-I", "-S", embedded_keeper.__file__, task.to_text()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env=server_environment(),
                pass_fds=[lock],
                start_new_session=True,
            )
        except (FileNotFoundError, PermissionError) as problem:
            raise EmbeddedServerFailed(
                f"This Python cannot be run a second time by uid {os.geteuid()}: {problem}."
            ) from None
        finally:
            os.close(log)

    def _task(self, lock: int, adopt: int | None) -> Task:
        """Prepare the data (unless a server runs on them) and describe what the keeper is to do."""
        layout = self._layout
        user = choose_user(layout.data_dir, layout.pgdata)
        binaries = find_binaries(user, major=layout.made_by(), only=self.binaries)
        if adopt is None:
            self._refuse_another()
            record = prepare(layout, user, binaries, self.options)
            forget_dead_server(str(layout.pgdata), record.socket_dir)
        else:
            record = self._record()
        return Task(
            pgdata=str(layout.pgdata),
            postgres=str(binaries.bin / "postgres"),
            arguments=server_arguments(record, cluster_name(str(layout.pgdata))),
            users_lock=str(layout.users_lock),
            keeper_lock_fd=lock,
            log=str(layout.log),
            socket_dir=record.socket_dir,
            environment=server_environment(),
            uid=user.uid if user.dropped else None,
            gid=user.gid if user.dropped else None,
            by_descriptor=not walkable(user, layout.pgdata),
            adopt=adopt,
        )

    def _refuse_another(self) -> None:
        """Somebody's own server on these data is left alone."""
        pid = started_by_hand(str(self._layout.pgdata))
        if pid is not None:
            raise EmbeddedServerFailed(
                f"A PostgreSQL that was started by hand (pid {pid}) runs on {self._layout.pgdata}: stop it, then run the same again."
            )

    def _is_last(self, users: int) -> bool:
        """Whether nobody else uses the server. Waits while somebody is stopping it, so that it is gone afterwards."""
        deadline = time.monotonic() + LOCK_LIMIT_S
        while not lock_now(users, fcntl.LOCK_EX):
            if lock_now(users, fcntl.LOCK_SH) or time.monotonic() > deadline:
                return False
            time.sleep(POLL_S)
        return True

    def _stop(self) -> None:
        """Stop the server and see its keeper go. We hold the users' lock alone."""
        if not stop_postmaster(str(self._layout.pgdata)):
            told = telling_lines(self._log_tail())
            raise EmbeddedServerFailed(f"The server in {self.data_dir} does not stop: see {self._layout.log}.\n{told}")
        deadline = time.monotonic() + KEEPER_ENDS_LIMIT_S
        lock = open_ours(self._layout.keeper_lock, os.O_RDWR)
        try:
            while not lock_now(lock, fcntl.LOCK_EX) and time.monotonic() < deadline:
                time.sleep(POLL_S)
        finally:
            os.close(lock)
        self._keeper_ended(within_s=KEEPER_ENDS_LIMIT_S)

    def _give_up(self, joined_before: bool) -> None:
        """After a failure: do not keep others' server from stopping because we could not use it."""
        users = self._users
        if users is not None and not joined_before:
            self._users = None
            os.close(users)

    def _keeper_ended(self, within_s: float) -> int | None:
        """The exit code of a keeper that we started, once; so it does not stay a zombie. None while it runs."""
        if self._keeper is None:
            return None
        try:
            code = self._keeper.wait(within_s)
        except subprocess.TimeoutExpired:
            return None
        self._keeper = None
        return code

    def _record(self) -> Record:
        record = read_record(self._layout)
        if record is None:
            raise EmbeddedServerFailed(f"{self._layout.record} is missing: bring it back from a backup.")
        return record

    def _not_started(self) -> str:
        return f"The embedded PostgreSQL in {self.data_dir} could not be started"

    def _endpoint(self) -> Endpoint:
        record = self._record()
        return Endpoint(record.socket_dir, record.port, record.user, record.password)

    def _log_tail(self) -> str:
        """What the log says since our attempt began, at most the last 16 KiB."""
        try:
            with self._layout.log.open("rb") as log:
                size = log.seek(0, os.SEEK_END)
                log.seek(max(size - 16384, self._log_from if self._log_from <= size else 0))
                return log.read().decode(errors="replace")
        except OSError:
            return ""
