"""The embedded PostgreSQL, run for real: who shares it, who is killed, and what it survives.

Every test bounds its waits. Run by root, the server is another user's; run by anybody else, it is one's own: both are
tested by running the file as both, and the part that needs root to set it up says so.
"""

from __future__ import annotations

import asyncio
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import asyncpg
import pytest

from disburse.storage import embedded_keeper
from disburse.storage.embedded import EmbeddedServer, EmbeddedServerFailed, Endpoint
from disburse.storage.embedded_binaries import candidates, copy_once, made_readable
from disburse.storage.embedded_cluster import SOCKET_PATH_LIMIT
from disburse.storage.embedded_failure import failure, passes_by_itself
from disburse.storage.embedded_keeper import LOG_LIMIT_BYTES, Postmaster, arguments_of, find_postmaster, read_pid_file
from disburse.storage.embedded_user import ServerUser, choose_user, user_of, walkable

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


@pytest.fixture(scope="module")
def used_dir() -> Iterator[Path]:
    """A data directory after its first start, with one table in it."""
    with tempfile.TemporaryDirectory(prefix="embedded-", ignore_cleanup_errors=True) as parent:
        os.chmod(parent, 0o755)
        with EmbeddedServer(Path(parent) / "data", options=FAST) as endpoint:
            ask(endpoint, "CREATE TABLE written AS SELECT 1 AS one")
        yield Path(parent) / "data"


@pytest.fixture
def data_dir(used_dir: Path) -> Iterator[Path]:
    """A data directory that has been used before; every test leaves it as quiet as it was (making one costs a second)."""
    yield used_dir
    wait_for(lambda: nothing_runs(used_dir))


@pytest.fixture
def new_dir() -> Iterator[Path]:
    """A data directory that does not exist yet, in a directory open to all."""
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


# Places and users.


def test_a_long_path(new_dir: Path) -> None:
    """A data directory whose path is too long for a socket has its socket elsewhere, in a directory that is gone afterwards."""
    deep = new_dir.joinpath(*['a directory with a name, of fifty characters, "so"'] * 5)
    assert len(str(deep)) > 200
    with EmbeddedServer(deep, options=FAST) as endpoint:
        assert len(endpoint.socket_dir) < SOCKET_PATH_LIMIT
        assert Path(endpoint.socket_dir).stat().st_mode & 0o077 == 0
        assert ask(endpoint, "SELECT 1") == 1
    assert not Path(endpoint.socket_dir).exists()


@pytest.mark.parametrize("binaries", list(candidates()), ids=str)
def test_behind_closed_doors(tmp_path: Path, binaries: Path) -> None:
    """Every PostgreSQL of this machine serves data in a directory under a private one, even as a user who may not walk there."""
    closed = tmp_path / "home"
    closed.mkdir(mode=0o700)
    with EmbeddedServer(closed / "data", options=FAST, binaries=binaries) as endpoint:
        assert ask(endpoint, "SELECT 1") == 1
        uid = Path(f"/proc/{postmaster(closed / 'data').pid}").stat().st_uid
        assert uid != 0
        assert (uid == os.geteuid()) != ROOT
        kill(postmaster(closed / "data").pid)
        wait_until_ready(closed / "data")
        assert ask(endpoint, "SELECT 1") == 1
    assert closed.stat().st_mode & 0o077 == 0


def test_programs_under_a_private_home(tmp_path: Path, new_dir: Path) -> None:
    """Programs that the server's user cannot reach are copied once, with their libraries, and a damaged copy is replaced."""
    original = next(iter(candidates()))
    hidden = hide(original, tmp_path)
    user = server_user(new_dir)
    if not ROOT:
        assert made_readable(hidden, user) == hidden, "whoever runs its own server needs no copy"
        return
    copied = made_readable(hidden, user)
    try:
        assert walkable(user, copied)
        with EmbeddedServer(new_dir, options=FAST, binaries=hidden) as endpoint:
            assert ask(endpoint, "SELECT 1") == 1
            assert os.readlink(f"/proc/{postmaster(new_dir).pid}/exe") == str(copied / "postgres")
        before = (copied / "postgres").stat().st_ino
        assert made_readable(hidden, user) == copied
        assert (copied / "postgres").stat().st_ino == before, "one copy is enough"
        (copied / "initdb").unlink()
        assert made_readable(hidden, user) == copied
        assert (copied / "initdb").is_file()
    finally:
        shutil.rmtree(copied.parent.parent.parent)


def hide(binaries: Path, under: Path) -> Path:
    """A copy of an installation, with the libraries beside it, where only its owner can walk."""
    install = binaries.parent
    libraries = install.parent.parent / f"{install.parent.name}.libs"
    home = under / "home"
    home.mkdir(mode=0o700)
    copy_once(install, home / install.parent.name / install.name)
    if libraries.is_dir():
        copy_once(libraries, home / libraries.name)
    return home / install.parent.name / install.name / "bin"


def server_user(data_dir: Path) -> ServerUser:
    """Who would run the server there."""
    data_dir.mkdir(exist_ok=True)
    return choose_user(data_dir, data_dir / "postgres")


def test_as_an_unprivileged_user(new_dir: Path) -> None:
    """A user without privileges runs its own server, and is told whose the data are when they are another's."""
    nobody = user_of(65534, dropped=True) if ROOT else user_of(os.geteuid(), dropped=False)
    python = next((p for p in pythons() if can_run(p, nobody)), None)
    if python is None:
        assert ROOT, "one can always run what one runs"
        return
    with readable_source() as source:
        more = (str(made_readable(next(iter(candidates())), nobody)),)
        uid = nobody.uid if ROOT else None
        own = new_dir.with_name("own")
        own.mkdir(mode=0o700)
        os.chown(own, nobody.uid, nobody.gid)
        with another_process(own, *more, python=python, path=source, uid=uid) as child:
            assert said(child) == str(own / "socket")
            assert Path(f"/proc/{postmaster(own).pid}").stat().st_uid == nobody.uid
            with EmbeddedServer(own) as endpoint:
                assert ask(endpoint, "SELECT 1") == 1, "root, or the user itself, joins it"
        assert nothing_runs(own)
        with EmbeddedServer(own, options=FAST) as endpoint:
            assert ask(endpoint, "SELECT 1") == 1, "root runs it as the user who owns it"
            assert Path(f"/proc/{postmaster(own).pid}").stat().st_uid == nobody.uid
        assert {path.stat().st_uid for path in own.iterdir()} == {nobody.uid}, (
            "and leaves nothing that the user cannot use"
        )


def test_data_of_another_user(new_dir: Path) -> None:
    """Data that belong to somebody else are not touched by an unprivileged user, and root does not run as itself."""
    theirs = Path("/usr") if not ROOT else new_dir
    new_dir.mkdir()
    with pytest.raises(EmbeddedServerFailed, match=r"belong.* to (uid 0|root)"):
        choose_user(new_dir, theirs)


def test_a_user_without_a_name() -> None:
    """A uid that /etc/passwd does not know is refused with the way out."""
    with pytest.raises(EmbeddedServerFailed, match=r"uid 54321 has no entry in /etc/passwd.*--database-url"):
        user_of(54321, dropped=False)


def pythons() -> list[str]:
    """Interpreters that may be there, this one first."""
    return [sys.executable, *(f"{place}/python3" for place in ("/usr/local/bin", "/usr/bin"))]


def can_run(python: str, user: ServerUser) -> bool:
    """Whether the user can run this interpreter, and it is new enough for us."""
    check = "import sys; sys.exit(sys.version_info < (3, 11))"
    with suppress(OSError):
        return (
            subprocess.run([python, "-c", check], cwd="/", timeout=LIMIT_S, **user.as_popen_arguments()).returncode == 0
        )
    return False


@contextmanager
def readable_source() -> Iterator[Path]:
    """A copy of the supervisor's own files that everybody can read: it needs no others, and no packages."""
    with tempfile.TemporaryDirectory(prefix="source-") as directory:
        os.chmod(directory, 0o755)
        package = Path(directory) / "disburse"
        (package / "storage").mkdir(parents=True)
        ours = Path(embedded_keeper.__file__).parent
        for file in [ours.parent / "__init__.py", ours / "__init__.py", *ours.glob("embedded*.py")]:
            target = package / file.relative_to(ours.parent)
            shutil.copyfile(file, target)
        subprocess.run(["chmod", "-R", "a+rX", directory], check=True, timeout=LIMIT_S)
        yield Path(directory)


# What goes wrong, and what is said.


@pytest.mark.parametrize(
    "output, told",
    [
        ("initdb: error: could not write file: No space left on device", "is full .* Nothing is lost: make room"),
        ('FATAL: could not write lock file "postmaster.pid": No space left on device', "is full .* make room"),
        ("PANIC: could not write to file: Disk quota exceeded", "is full"),
        ("FATAL: could not resize shared memory segment: No space left on device", "lower shared_buffers"),
        ("FATAL: could not map anonymous shared memory: Cannot allocate memory", "lower shared_buffers"),
        ('FATAL: data directory "x" has invalid permissions', "see who owns"),
        ("FATAL: database files are incompatible with server", "another version"),
        ('LOG: unrecognized configuration parameter "x"', "options"),
        ("FATAL: something new", r"postgres\.log.\n  FATAL: something new"),
    ],
)
def test_what_a_person_is_told(tmp_path: Path, output: str, told: str) -> None:
    """A failure names its cause and the next step."""
    assert re.search(told, str(failure("It failed", tmp_path, output)), re.DOTALL)


@pytest.mark.parametrize(
    "output, passes",
    [
        ("FATAL: pre-existing shared memory block (key 1, ID 2) is still in use", True),
        ('FATAL: lock file "postmaster.pid" already exists', True),
        ('FATAL: could not write lock file "postmaster.pid": No space left on device', False),
        ('ERROR: relation "x" already exists', False),
    ],
)
def test_what_passes_by_itself(output: str, passes: bool) -> None:
    """A start is tried again only when a killed server's remains were in the way."""
    assert passes_by_itself(output) is passes


def test_an_unknown_setting(new_dir: Path) -> None:
    """A setting that PostgreSQL does not know is named, at once, and nothing keeps running."""
    with pytest.raises(EmbeddedServerFailed, match=r"(?s)options.*no_such_setting"):
        EmbeddedServer(new_dir, options={**FAST, "no_such_setting": "1"}).start()
    wait_for(lambda: nothing_runs(new_dir))
    with EmbeddedServer(new_dir, options=FAST) as endpoint:
        assert ask(endpoint, "SELECT 1") == 1


def test_directories_that_will_not_do(new_dir: Path) -> None:
    """A file, a foreign directory, a lost or a damaged record: each is refused by its name, and left as it was."""
    new_dir.write_text("a file")
    with pytest.raises(EmbeddedServerFailed, match="is not a directory"):
        EmbeddedServer(new_dir).start()
    new_dir.unlink()
    (new_dir / "postgres").mkdir(parents=True)
    (new_dir / "postgres" / "letter").write_text("dear reader")
    user = user_of(65534, dropped=True) if ROOT else user_of(os.geteuid(), dropped=False)
    os.chown(new_dir / "postgres", user.uid, user.gid)
    with pytest.raises(EmbeddedServerFailed, match="holds no data of PostgreSQL"):
        EmbeddedServer(new_dir).start()
    assert (new_dir / "postgres" / "letter").read_text() == "dear reader"
    (new_dir / "embedded.json").write_text("{")
    with pytest.raises(EmbeddedServerFailed, match=r"embedded\.json is damaged"):
        EmbeddedServer(new_dir).start()
    (new_dir / "postgres" / "PG_VERSION").write_text("14\n")
    with pytest.raises(EmbeddedServerFailed, match=r"PostgreSQL 14, which made these data, .* was not found"):
        EmbeddedServer(new_dir).start()


def test_a_full_disk(tmp_path: Path) -> None:
    """On a full disk a person is told so; when there is room again, the same command works and nothing is lost."""
    with small_disk(tmp_path) as disk:
        if disk is None:  # no right to mount one here: the texts are still tested above
            return
        ballast = disk / "ballast"
        with pytest.raises(EmbeddedServerFailed, match=r"is full .* Nothing is lost: make room"):
            ballast.write_bytes(b"x" * (100 << 20))
            EmbeddedServer(disk / "data", options=FAST).start()
        ballast.unlink()
        with EmbeddedServer(disk / "data", options=FAST) as endpoint:
            ask(endpoint, "CREATE TABLE written AS SELECT 1 AS one")
        with suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)
        with pytest.raises(EmbeddedServerFailed, match="is full"):
            EmbeddedServer(disk / "data", options=FAST).start()
        ballast.unlink()
        with EmbeddedServer(disk / "data", options=FAST) as endpoint:
            assert ask(endpoint, "SELECT one FROM written") == 1


@contextmanager
def small_disk(tmp_path: Path) -> Iterator[Path | None]:
    """A file system of 110 MiB, where we may mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=110m,mode=755", "tmpfs", str(place)]
    mounted = (
        shutil.which("mount") is not None and subprocess.run(mount, capture_output=True, check=False).returncode == 0
    )
    try:
        yield place if mounted else None
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(place)], check=True, timeout=LIMIT_S)


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
