"""The embedded PostgreSQL, run for real: its ordinary life, who shares it, and who is killed.

Run by root, the server is another user's; run by anybody else, it is one's own: the file holds for both.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import asyncpg
import pytest

from disburse.storage.embedded import EmbeddedServer, EmbeddedServerFailed, Endpoint
from disburse.storage.embedded_keeper import LOG_LIMIT_BYTES, arguments_of, find_postmaster, read_pid_file
from disburse.storage.embedded_user import choose_user
from tests.storage.embedded_tools import (
    FAST,
    LIMIT_S,
    another_process,
    ask,
    at_work,
    kill,
    nothing_runs,
    parent_of,
    postmaster,
    public_place,
    said,
    wait_for,
    wait_until_gone,
    wait_until_ready,
)


@pytest.fixture(scope="module")
def used_dir() -> Iterator[Path]:
    """A data directory after its first start, with one table in it."""
    with public_place() as place:
        with EmbeddedServer(place, options=FAST) as endpoint:
            ask(endpoint, "CREATE TABLE written AS SELECT 1 AS one")
        yield place


@pytest.fixture
def data_dir(used_dir: Path) -> Iterator[Path]:
    """A data directory that has been used before; every test leaves it as quiet as it was (making one costs a second)."""
    yield used_dir
    wait_for(lambda: nothing_runs(used_dir))


@pytest.fixture
def new_dir() -> Iterator[Path]:
    """A data directory that does not exist yet."""
    with public_place() as place:
        yield place


# The ordinary life.


def test_first_start_leave_and_return(new_dir: Path) -> None:
    """The first start makes the data, the last to leave stops the server, and a second start finds what was written."""
    server = EmbeddedServer(new_dir, options=FAST)
    begun = time.monotonic()
    endpoint = server.start()
    assert time.monotonic() - begun < 10
    ask(endpoint, "CREATE TABLE written AS SELECT 1 AS one")
    assert server.start() == endpoint, "a second start changes nothing"
    server.leave()
    server.leave()
    assert nothing_runs(new_dir)

    with EmbeddedServer(new_dir, options=FAST) as again:
        assert again.password == endpoint.password
        assert ask(again, "SELECT one FROM written") == 1
    assert nothing_runs(new_dir)


def test_what_it_is_set_to(new_dir: Path) -> None:
    """The settings are safe by default, options win over them, and nothing opens a port."""
    expected = {
        "data_checksums": "on", "fsync": "on", "full_page_writes": "on", "synchronous_commit": "on", "jit": "off",
        "listen_addresses": "", "unix_socket_permissions": "0700", "shared_buffers": "16MB", "max_wal_size": "4GB",
        "max_connections": "100", "wal_compression": "pglz", "checkpoint_timeout": "15min", "TimeZone": "UTC",
        "lc_messages": "C", "server_encoding": "UTF8", "password_encryption": "scram-sha-256",
        "log_parameter_max_length": "0", "log_parameter_max_length_on_error": "0", "log_error_verbosity": "terse",
        "log_min_error_statement": "panic", "application_name": "it's a \\ name",
    }  # fmt: skip
    options = {"shared_buffers": "16MB", "application_name": "it's a \\ name"}
    with EmbeddedServer(new_dir, options=options) as endpoint:
        assert {name: ask(endpoint, f"SELECT current_setting('{name}')") for name in expected} == expected


def test_strangers_stay_outside(data_dir: Path) -> None:
    """Only the password opens the server, and neither it nor the values of a failing statement reach the log or repr."""
    with EmbeddedServer(data_dir, options=FAST) as endpoint:
        with pytest.raises(asyncpg.InvalidPasswordError):
            ask(endpoint, "SELECT 1", password="guess")
        with pytest.raises(asyncpg.DivisionByZeroError):
            ask(endpoint, "SELECT '4111111111111111', 1/0")
        with pytest.raises(asyncpg.DataError):
            ask(endpoint, "SELECT jsonb '{\"card\": 4111111111111111'")
        private = {path: path.stat().st_mode & 0o077 for path in data_dir.iterdir()}
        log = (data_dir / "postgres.log").read_text()
        commands = " ".join(arguments_of(postmaster(data_dir).pid) + arguments_of(parent_of(postmaster(data_dir).pid)))
    assert "password authentication failed" in log
    assert "4111" not in log
    assert all(endpoint.password not in shown for shown in (log, repr(endpoint), str(endpoint), commands))
    assert set(private.values()) == {0}
    assert data_dir.stat().st_mode & 0o067 == 0, "at most the server's group may pass through"


def test_an_address_reads_back() -> None:
    """A DSN carries what URLs would misread, and another login instead of the administrator's."""
    endpoint = Endpoint("/tmp/a b", 5432, "disburse_admin", "p@ss/word?")
    assert endpoint.dsn("x y") == "postgresql://disburse_admin:p%40ss%2Fword%3F@/x%20y?host=%2Ftmp%2Fa%20b&port=5432"
    assert endpoint.dsn("d", "app", "s:1") == "postgresql://app:s%3A1@/d?host=%2Ftmp%2Fa%20b&port=5432"
    assert endpoint.dsn("d", "app") == "postgresql://app@/d?host=%2Ftmp%2Fa%20b&port=5432", "no secret of another's"


@pytest.mark.parametrize("name, value", [("a b", "1"), ("fsync'", "off"), ("x", "1\ninclude 'y'"), ("", "1")])
def test_an_option_that_cannot_be_one(name: str, value: str) -> None:
    """What is no setting's name, or would begin a new line, is refused before anything is touched."""
    with pytest.raises(ValueError, match="not a setting"):
        EmbeddedServer(Path("/nonexistent/never/made"), options={name: value})


# More than one.


def test_two_processes_share_one_server(data_dir: Path) -> None:
    """A server started by one process serves another after the first has left, and ends with the last."""
    with another_process(data_dir) as child:
        socket_dir = said(child)
        server = EmbeddedServer(data_dir, options=FAST)
        endpoint = server.start()
        assert endpoint.socket_dir == socket_dir
        pid = postmaster(data_dir).pid
    assert ask(endpoint, "SELECT 1") == 1, "the process that started it is gone, and so is its lock"
    assert postmaster(data_dir).pid == pid
    server.leave()
    assert nothing_runs(data_dir)


def test_many_start_at_once(new_dir: Path) -> None:
    """However many begin on an empty directory at the same moment, one server comes of it."""
    with ExitStack() as stack:
        others = [stack.enter_context(another_process(new_dir)) for _ in range(4)]
        endpoint = stack.enter_context(EmbeddedServer(new_dir, options=FAST))
        assert {said(other) for other in others} == {endpoint.socket_dir}
        assert (new_dir / "postgres.log").read_text().count("starting PostgreSQL") == 1
    assert nothing_runs(new_dir)


def test_a_copy_is_another_installation(data_dir: Path, new_dir: Path) -> None:
    """A copy of a running data directory, pid file and all, does not join the server of the original."""
    with EmbeddedServer(data_dir, options=FAST) as endpoint:
        ask(endpoint, "CHECKPOINT")
        subprocess.run(["cp", "-a", str(data_dir), str(new_dir)], check=True, timeout=LIMIT_S)
        with EmbeddedServer(new_dir, options=FAST) as other:
            assert other.socket_dir != endpoint.socket_dir
            ask(other, "DROP TABLE written")
            assert ask(endpoint, "SELECT one FROM written") == 1


# Death.


def test_the_server_is_killed(data_dir: Path) -> None:
    """After kill -9 of the server, in the middle of work, it is back at the same address with all that was committed."""
    with EmbeddedServer(data_dir, options=FAST) as endpoint:
        already = len((data_dir / "postgres.log").read_text())
        killed = postmaster(data_dir).pid

        with at_work(endpoint):
            kill(killed)
            wait_until_ready(data_dir)
        log = (data_dir / "postgres.log").read_text()[already:]
        assert "still in use" in log, "a new server waits for the last process of the old one"
        assert ask(endpoint, "SELECT one FROM written") == 1
        assert postmaster(data_dir).pid != killed
    assert nothing_runs(data_dir)


def test_the_server_is_killed_while_it_starts(data_dir: Path) -> None:
    """A server that is killed before it was ever ready does not make the start fail: there is another."""
    with another_process(data_dir) as child:
        wait_for(lambda: find_postmaster(str(data_dir / "postgres")))
        os.kill(postmaster(data_dir).pid, signal.SIGKILL)
        assert said(child).endswith("socket")
        with EmbeddedServer(data_dir, options=FAST) as endpoint:
            wait_until_ready(data_dir)
            assert endpoint.socket_dir.endswith("socket")


def test_start_again_after_the_server_was_killed(data_dir: Path) -> None:
    """A user that lost its connections calls start() again and gets a server, whoever brings it back."""
    server = EmbeddedServer(data_dir, options=FAST)
    endpoint = server.start()
    kill(postmaster(data_dir).pid)
    assert server.start() == endpoint
    assert ask(endpoint, "SELECT 1") == 1
    server.leave()
    assert nothing_runs(data_dir)


def test_the_last_user_is_killed(data_dir: Path) -> None:
    """When the only process that uses it is killed, the server stops by itself, and is there again for the next."""
    with another_process(data_dir) as child:
        assert said(child)
        pid, keeper = postmaster(data_dir).pid, parent_of(postmaster(data_dir).pid)
        child.kill()
        child.wait(LIMIT_S)
        wait_until_gone(pid)
        wait_until_gone(keeper)
        assert nothing_runs(data_dir)
        with EmbeddedServer(data_dir, options=FAST) as endpoint:
            assert ask(endpoint, "SELECT 1") == 1


def test_a_killed_user_and_one_that_comes_at_once(data_dir: Path) -> None:
    """Whoever comes just after a kill gets the old server or a new one, and in any case one that serves."""
    with another_process(data_dir) as child:
        assert said(child)
        child.kill()
        child.wait(LIMIT_S)
        with EmbeddedServer(data_dir, options=FAST) as endpoint:
            assert ask(endpoint, "SELECT 1") == 1
    assert nothing_runs(data_dir)


def test_the_keeper_is_killed(data_dir: Path) -> None:
    """The kernel stops a server whose keeper is killed; start() brings both back, for the same user too."""
    server = EmbeddedServer(data_dir, options=FAST)
    server.start()
    pid = postmaster(data_dir).pid
    kill(parent_of(pid))
    assert ask(server.start(), "SELECT one FROM written") == 1
    wait_until_gone(pid)
    server.leave()
    assert nothing_runs(data_dir)


@contextmanager
def without_a_keeper(data_dir: Path, *, named: bool) -> Iterator[subprocess.Popen[bytes]]:
    """A server on these data that has no keeper; `named`: as a keeper would start it, else as a person would."""
    with EmbeddedServer(data_dir, options=FAST) as endpoint:
        command = arguments_of(postmaster(data_dir).pid)
        user = choose_user(data_dir, data_dir / "postgres")
    if not named:
        command = [word.replace("cluster_name=", "cluster_name=x") for word in command]
    Path(endpoint.socket_dir).mkdir(mode=0o700)
    os.chown(endpoint.socket_dir, user.uid, user.gid)
    server = subprocess.Popen(command, stderr=subprocess.DEVNULL, cwd="/", **user.as_popen_arguments())
    try:
        wait_for(lambda: (found := read_pid_file(str(data_dir / "postgres"))) is not None and found[1] == "ready")
        yield server
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(LIMIT_S)
        with suppress(FileNotFoundError):
            Path(endpoint.socket_dir).rmdir()


def pid_file_of(data_dir: Path) -> Path:
    return data_dir / "postgres" / "postmaster.pid"


def test_an_orphan_is_adopted(data_dir: Path) -> None:
    """A live server without a keeper is taken over as it is, and stopped by the last user like any other."""
    with without_a_keeper(data_dir, named=True) as orphan:
        with EmbeddedServer(data_dir, options=FAST) as endpoint:
            assert ask(endpoint, "SELECT one FROM written") == 1
            assert postmaster(data_dir).pid == orphan.pid
        assert orphan.wait(LIMIT_S) == 0


def test_an_adopted_server_is_killed(data_dir: Path) -> None:
    """A server that was taken over is started again like any other when it dies."""
    with without_a_keeper(data_dir, named=True) as orphan, EmbeddedServer(data_dir, options=FAST) as endpoint:
        kill(orphan.pid)
        wait_until_ready(data_dir)
        assert ask(endpoint, "SELECT one FROM written") == 1


def test_a_server_that_a_person_started(data_dir: Path) -> None:
    """A server that somebody runs on the data by hand is named and left alone."""
    with without_a_keeper(data_dir, named=False) as theirs:
        with pytest.raises(EmbeddedServerFailed, match=rf"started by hand \(pid {theirs.pid}\)"):
            EmbeddedServer(data_dir, options=FAST).start()
        assert pid_file_of(data_dir).exists()
        assert theirs.poll() is None


@pytest.mark.parametrize("pid", ["ours", "dead", "garbage"])
def test_a_stale_pid_file(data_dir: Path, pid: str) -> None:
    """A pid file left by a power cut is not believed: not when its pid is another process by now, and nothing is signalled."""
    with EmbeddedServer(data_dir, options=FAST):
        lines = pid_file_of(data_dir).read_text().split("\n")
    gone = subprocess.Popen(["true"])
    gone.wait()
    with subprocess.Popen(
        ["sleep", "60"], **choose_user(data_dir, data_dir / "postgres").as_popen_arguments()
    ) as other:
        lines[0] = {"ours": str(other.pid), "dead": str(gone.pid), "garbage": "?"}[pid]
        stale = pid_file_of(data_dir)
        stale.write_text("\n".join(lines))
        shutil.copystat(data_dir / "postgres" / "PG_VERSION", stale)
        os.chown(stale, (data_dir / "postgres").stat().st_uid, -1)
        if pid == "garbage":
            stale.write_text("")
        with EmbeddedServer(data_dir, options=FAST) as endpoint:
            assert ask(endpoint, "SELECT one FROM written") == 1
        assert other.poll() is None
        other.kill()


def test_the_log_is_turned_over(data_dir: Path) -> None:
    """A log that has grown too long becomes the older part, and the server writes on in a short one."""
    with EmbeddedServer(data_dir, options=FAST) as endpoint:
        log, older = data_dir / "postgres.log", data_dir / "postgres.log.1"
        os.truncate(log, LOG_LIMIT_BYTES + 1)
        wait_for(lambda: older.exists() and log.stat().st_size < 10_000)
        with pytest.raises(asyncpg.DivisionByZeroError):
            ask(endpoint, "SELECT 1/0")
        assert "division by zero" in log.read_text()
        assert b"ready to accept connections" in older.read_bytes()


def test_the_directory_is_deleted(new_dir: Path) -> None:
    """A server whose directory somebody deletes ends with its last user, and leaves no socket lying about."""
    place = new_dir.joinpath(*["a directory with a name of fifty characters, so to"] * 3)
    server = EmbeddedServer(place, options=FAST)
    endpoint = server.start()
    pid, keeper = postmaster(place).pid, parent_of(postmaster(place).pid)
    while new_dir.exists():  # the server may end, taking its own files along, while the rest is being deleted
        shutil.rmtree(new_dir, ignore_errors=True)
    server.leave()
    wait_until_gone(pid)
    wait_until_gone(keeper)
    assert not Path(endpoint.socket_dir).exists()
