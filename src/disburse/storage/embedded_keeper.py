"""The keeper: a small process, the parent of one embedded PostgreSQL. Lives here: it, and what it knows of a server.

Why a process of its own. The server has to outlive whoever started it (a command starts it, `serve` joins, the command
leaves) and must not outlive the last of its users, however they ended. Only one who is none of them can see to both.
So the first user starts a keeper, and the keeper

* starts the server, or takes over one that lost its keeper, and starts it again when it crashes while it has users;
* tries now and then to take alone the lock that every user shares. When it can, the last user is gone, `kill -9`
  included: it stops the server and ends;
* asks the kernel to stop the server when the keeper itself is killed (`PR_SET_PDEATHSIG`, from its only thread, after
  the privileges are dropped).

It is run by path, isolated (`python -I -S embedded_keeper.py TASK`): only the standard library may be imported here.
`embedded.py` tells the whole arrangement of locks; `embedded_cluster.py` uses this file's view of a running server.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

POLL_S = 0.25
STOP_FAST_S = 60.0
STOP_AT_ONCE_S = 15.0
LONGEST_PAUSE_S = 10.0
LOG_LIMIT_BYTES = 16 * 1024 * 1024
PR_SET_PDEATHSIG = 1
IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Task:
    """What a keeper is told. No secrets: it stands on a command line."""

    pgdata: str
    postgres: str
    arguments: tuple[str, ...]
    users_lock: str
    keeper_lock_fd: int
    log: str
    socket_dir: str
    environment: dict[str, str]
    uid: int | None = None
    gid: int | None = None
    by_descriptor: bool = False
    """The server's uid cannot walk to `pgdata`: hand it an open descriptor of the directory instead of the path."""
    adopt: int | None = None
    """The pid of a running server to take over."""

    def to_text(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> Task:
        fields = json.loads(text)
        return cls(**{**fields, "arguments": tuple(fields["arguments"])})


@dataclass(frozen=True, slots=True)
class Postmaster:
    """A server process of ours that is alive. `status` as in `postmaster.pid`: starting, ready, standby, stopping."""

    pid: int
    status: str

    @property
    def ready(self) -> bool:
        return self.status in ("ready", "standby")


def read_pid_file(pgdata: str) -> tuple[int, str] | None:
    """Pid and status written in `postmaster.pid`; None when there is none, or it is not yet written out."""
    try:
        with Path(pgdata, "postmaster.pid").open(encoding="utf-8", errors="replace") as file:
            lines = file.read(8192).split("\n")
        pid = int(lines[0])
    except (FileNotFoundError, ValueError):
        return None
    return (pid, lines[7].strip() if len(lines) > 7 else "starting") if pid > 1 else None


def cluster_name(pgdata: str) -> str:
    """What a server is called on its command line. A moved directory keeps the name, a copied one has another."""
    found = Path(pgdata).stat()
    return f"disburse-{found.st_dev:x}-{found.st_ino:x}"


def find_postmaster(pgdata: str) -> Postmaster | None:
    """The live server on these data, or None. A pid file proves nothing: its pid may be anybody's by now."""
    found = read_pid_file(pgdata)
    if found is None or f"cluster_name={cluster_name(pgdata)}" not in arguments_of(found[0]):
        return None
    return Postmaster(*found)


def started_by_hand(pgdata: str) -> int | None:
    """The pid of a live server on these data that we did not start, such as a person's `pg_ctl start`."""
    found = read_pid_file(pgdata)
    words = arguments_of(found[0]) if found is not None else []
    if found is None or "-D" not in words[:-1] or Path(words[0]).name not in ("postgres", "postmaster"):
        return None
    directory = Path(words[words.index("-D") + 1])
    same = not directory.is_absolute() or directory.resolve() == Path(pgdata).resolve()
    return found[0] if same and find_postmaster(pgdata) is None else None


def forget_dead_server(pgdata: str, socket_dir: str) -> None:
    """Remove the lock files of a server that is known to be gone.

    PostgreSQL would take any process with the pid in them for a server, a zombie too, and stop at an empty file. What is
    left of a killed server it finds without them as well, by the directory's shared memory.
    """
    Path(pgdata, "postmaster.pid").unlink(missing_ok=True)
    for left in Path(socket_dir).glob(".s.PGSQL.*"):
        left.unlink(missing_ok=True)


def arguments_of(pid: int) -> list[str]:
    """The command line of a process; empty when it is gone or only waits to be reaped."""
    try:
        return os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes()).split("\0")[:-1]
    except OSError:
        if Path("/proc/self").is_dir():
            return []
    shown = subprocess.run(["ps", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return shown.stdout.split()


def stop_postmaster(pgdata: str, reap: Callable[[], object] = lambda: None) -> bool:
    """Stop the server: fast, then, when it does not listen, at once. True when it is gone. Takes 75 s at worst."""
    for how, patience_s in ((signal.SIGINT, STOP_FAST_S), (signal.SIGQUIT, STOP_AT_ONCE_S)):
        deadline = time.monotonic() + patience_s
        running = find_postmaster(pgdata)
        if running is not None:
            send(running.pid, how)
        while running is not None and time.monotonic() < deadline:
            time.sleep(0.01)
            reap()
            if not arguments_of(running.pid):
                running = None
        if running is None:
            return True
    return False


def by_descriptor(directory: int) -> str:
    """A path to an open directory that needs no permission on its parents: on Linux a jump there, not a walk."""
    return f"/proc/self/fd/{directory}"


def send(pid: int, signal_number: int) -> None:
    """Send a signal to a process that may be gone."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal_number)


def lock_now(descriptor: int, kind: int) -> bool:
    """Take a lock (`LOCK_EX` or `LOCK_SH`) if nobody is in the way."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class Keeper:
    """One keeper at work."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.users = os.open(task.users_lock, os.O_RDWR | os.O_CLOEXEC)
        self.child: subprocess.Popen[bytes] | None = None
        self.was_ready = False
        self.alone = False
        self._pause_s = 0.1
        self._next_try_at = 0.0

    def run(self) -> int:
        """Keep the server until it has no users; the exit code is 1 when it would not come up."""
        if self.task.adopt is None:
            self._launch()
        while True:
            self._wait(POLL_S)
            self._look()
            self.alone = lock_now(self.users, fcntl.LOCK_EX)
            if self.alone:
                self._stop()
                break
            if self._alive():
                self._trim_log()
            elif self._ended_on_purpose() or self._failed_to_start() or self._being_stopped():
                break
            elif time.monotonic() >= self._next_try_at:
                self._launch_again()
        return self._finish()

    def _launch_again(self) -> None:
        """After a crash. As long as it has users, at growing pauses: a full disk may have room again at any time."""
        self._say("the server ended unexpectedly; starting it again")
        self._next_try_at = time.monotonic() + self._pause_s
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
        try:
            if started_by_hand(self.task.pgdata) is None:
                forget_dead_server(self.task.pgdata, self.task.socket_dir)
                self._launch()
        except (OSError, subprocess.SubprocessError) as problem:
            self._say(f"that failed: {problem}")

    def _launch(self) -> None:
        """Start the server as its own user. It reads its directory through a descriptor when it may not walk there."""
        task, keeper = self.task, os.getpid()
        set_option = ctypes.CDLL(None).prctl if sys.platform == "linux" else None

        def in_child() -> None:  # runs after the privileges are dropped, which would clear the death signal
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
            for ignored in IGNORED:
                signal.signal(ignored, signal.SIG_DFL)
            if set_option is not None and (set_option(PR_SET_PDEATHSIG, signal.SIGINT) != 0 or os.getppid() != keeper):
                os._exit(1)

        directory = os.open(task.pgdata, os.O_RDONLY | os.O_DIRECTORY)
        try:
            self.child = subprocess.Popen(
                [task.postgres, "-D", by_descriptor(directory) if task.by_descriptor else task.pgdata, *task.arguments],
                stdin=subprocess.DEVNULL,
                env=task.environment,
                cwd="/",
                umask=0o077,
                start_new_session=True,
                pass_fds=[directory] if task.by_descriptor else [],
                preexec_fn=in_child,
                user=task.uid,
                group=task.gid,
                extra_groups=None if task.uid is None else [],
            )
        finally:
            os.close(directory)

    def _look(self) -> None:
        """Remember whether the server ever accepted connections: one that never did is not started again."""
        found = read_pid_file(self.task.pgdata)
        expected = self.task.adopt if self.child is None else self.child.pid
        if found is not None and found[0] == expected and Postmaster(*found).ready:
            self.was_ready = True
            if self._alive():
                self._pause_s = 0.1

    def _alive(self) -> bool:
        if self.child is not None:
            return self.child.poll() is None
        return find_postmaster(self.task.pgdata) is not None

    def _stop(self) -> None:
        """Stop the server for good. One whose directory was deleted is still our child, though no pid file tells of it."""
        stop_postmaster(self.task.pgdata, self._reap)
        if self.child is not None and self.child.poll() is None:
            send(self.child.pid, signal.SIGQUIT)
            with suppress(subprocess.TimeoutExpired):
                self.child.wait(STOP_AT_ONCE_S)

    def _ended_on_purpose(self) -> bool:
        """A child that was told to stop says so. An adopted server may have been stopped by its first keeper's death."""
        return self.child is not None and self.child.returncode == 0

    def _failed_to_start(self) -> bool:
        """It gave up by itself before it was ever ready: trying again is the user's business. (A killed one did not.)"""
        return self.child is not None and not self.was_ready and self.child.returncode not in (0, -signal.SIGKILL)

    def _being_stopped(self) -> bool:
        """The last user holds the lock alone, and is stopping the server itself."""
        if not lock_now(self.users, fcntl.LOCK_SH):
            return True
        fcntl.flock(self.users, fcntl.LOCK_UN)
        return False

    def _finish(self) -> int:
        """Leave no socket directory behind when nobody is left to use it."""
        if self.alone or self._being_stopped():
            with suppress(OSError):
                if not self._alive():
                    forget_dead_server(self.task.pgdata, self.task.socket_dir)
                Path(self.task.socket_dir).rmdir()
        return 1 if self._failed_to_start() else 0

    def _wait(self, seconds: float) -> None:
        """Until a child ends, or so long."""
        if hasattr(signal, "sigtimedwait"):
            signal.sigtimedwait({signal.SIGCHLD}, seconds)
        else:
            time.sleep(seconds)

    def _reap(self) -> None:
        if self.child is not None:
            self.child.poll()

    def _trim_log(self) -> None:
        """Keep the log and one older part of it. The server appends, so cutting the file under it is safe."""
        with suppress(OSError):
            log = Path(self.task.log)
            if log.stat().st_size <= LOG_LIMIT_BYTES:
                return
            try:
                shutil.copyfile(log, f"{log}.1")
                Path(f"{log}.1").chmod(0o600)
            finally:  # on a full disk: better no old log than no room
                os.truncate(log, 0)

    def _say(self, text: str) -> None:
        stamp = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
        with suppress(OSError):
            print(f"{stamp} [{os.getpid()}] KEEPER:  {text}", file=sys.stderr, flush=True)


def main() -> int:
    """Signals meant for a whole group or service must not end the keeper before its server: only the lock does."""
    for ignored in IGNORED:
        signal.signal(ignored, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    return Keeper(Task.from_text(sys.argv[1])).run()


if __name__ == "__main__":
    sys.exit(main())
