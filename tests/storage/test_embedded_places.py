"""The embedded PostgreSQL where things are not as one would like: paths, users, programs, disks, and what a person is told.

What only root can set up is tested when root runs this; what it then means for others is tested as such a user.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from disburse.storage import embedded_keeper
from disburse.storage.embedded import EmbeddedServer, EmbeddedServerFailed
from disburse.storage.embedded_binaries import candidates, copy_once, made_readable
from disburse.storage.embedded_cluster import SOCKET_PATH_LIMIT
from disburse.storage.embedded_failure import failure, passes_by_itself
from disburse.storage.embedded_user import ServerUser, choose_user, user_of, walkable
from tests.storage.embedded_tools import (
    FAST,
    LIMIT_S,
    ROOT,
    another_process,
    ask,
    kill,
    nothing_runs,
    postmaster,
    public_place,
    said,
    wait_for,
    wait_until_ready,
)


@pytest.fixture
def new_dir() -> Iterator[Path]:
    """A data directory that does not exist yet."""
    with public_place() as place:
        yield place


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
