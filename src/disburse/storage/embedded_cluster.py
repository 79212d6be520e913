"""What lies in the data directory of an embedded server. Lives here: its record, first set-up, settings, socket.

    postgres/         the data themselves, the server user's alone
    postgres.log      the server's log (and .1, the part before); cut at 16 MiB
    embedded.json     our record: the administrator's password, and where the socket is (0600)
    embedded.lock     every process that uses the server holds a shared lock on it
    keeper.lock       whoever starts the server, then its keeper, holds this one alone
    socket/           the socket, when the path is short enough and open; else it has a directory in the temporary one

Half-made things never stand at these names: files and the first set-up are made aside and renamed into place.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import socket
import stat
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from disburse.storage.embedded_binaries import TEMPORARY, Binaries
from disburse.storage.embedded_failure import EmbeddedServerFailed, failure
from disburse.storage.embedded_keeper import by_descriptor
from disburse.storage.embedded_user import ServerUser, give, let_in, server_environment, walkable

ADMINISTRATOR = "disburse_admin"
PORT = 5432
SOCKET_PATH_LIMIT = 100  # bytes, with the socket's own name; Linux allows 107, others less
INIT_LIMIT_S = 180.0

INITDB = (
    f"--username={ADMINISTRATOR}",
    "--auth-local=scram-sha-256",
    "--auth-host=reject",
    "--encoding=UTF8",
    "--locale=C",
    "--data-checksums",
    "--no-instructions",
)
INCLUDED = """# Written by disburse at every start. What stands after this line wins, and so does ALTER SYSTEM.
include_if_exists = 'disburse.conf'"""
SETTINGS: Mapping[str, str] = {
    "synchronous_commit": "on",
    "jit": "off",
    "shared_buffers": "128MB",
    "max_connections": "100",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "wal_compression": "on",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_destination": "stderr",
    "logging_collector": "off",  # the keeper turns the log over
    "log_error_verbosity": "terse",  # statements and their values carry people's details: none of them in a log
    "log_min_error_statement": "panic",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
}


@dataclass(frozen=True, slots=True)
class Record:
    """What `embedded.json` holds. Written before the data are made, so a crash in between costs nothing."""

    password: str = field(repr=False)
    socket_dir: str = ""
    port: int = PORT
    user: str = ADMINISTRATOR


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths in a data directory."""

    data_dir: Path

    @property
    def pgdata(self) -> Path:
        return self.data_dir / "postgres"

    @property
    def log(self) -> Path:
        return self.data_dir / "postgres.log"

    @property
    def record(self) -> Path:
        return self.data_dir / "embedded.json"

    @property
    def users_lock(self) -> Path:
        return self.data_dir / "embedded.lock"

    @property
    def keeper_lock(self) -> Path:
        return self.data_dir / "keeper.lock"

    def made_by(self) -> int | None:
        """The major version of PostgreSQL that made the data; None when there are none yet."""
        try:
            return int((self.pgdata / "PG_VERSION").read_text().strip())
        except (FileNotFoundError, ValueError):
            return None


def open_ours(path: Path, flags: int, mode: int = 0o600) -> int:
    """Open or make a file in the data directory. Root leaves it to the directory's owner, who may be another user."""
    descriptor = os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    if os.geteuid() == 0:
        owner = path.parent.stat()
        if os.fstat(descriptor).st_uid != owner.st_uid:
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
    return descriptor


def read_record(layout: Layout) -> Record | None:
    """The record, None when there is none yet. Raises EmbeddedServerFailed when it cannot be understood."""
    try:
        fields = json.loads(layout.record.read_text())
        return Record(**fields)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError):
        raise EmbeddedServerFailed(f"{layout.record} is damaged: bring it back from a backup.") from None


def write_record(layout: Layout, record: Record) -> None:
    """Replace the record in one step, durably."""
    aside = layout.record.with_suffix(".json.new")
    aside.unlink(missing_ok=True)
    with os.fdopen(open_ours(aside, os.O_WRONLY | os.O_EXCL), "w") as file:
        json.dump(asdict(record), file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    aside.rename(layout.record)


def new_record() -> Record:
    """A new installation's record; 192 random bits of password."""
    return Record(password=secrets.token_urlsafe(24).replace("-", "a").replace("_", "b"))


def prepare(layout: Layout, user: ServerUser, binaries: Binaries, options: Mapping[str, str]) -> Record:
    """Bring into place what a start needs. The caller holds the keeper's lock and knows that nothing runs."""
    text = settings_text(options)
    record = read_record(layout)
    if record is None:
        if layout.made_by() is not None:
            raise EmbeddedServerFailed(
                f"{layout.record} is missing, and with it the password of the data: bring it back from a backup."
            )
        record = new_record()
    if walkable(user, layout.data_dir.parent):
        let_in(user, layout.data_dir)
    socket_dir = socket_directory(layout, user, record.socket_dir)
    try:
        record = replace(record, socket_dir=str(socket_dir))
        write_record(layout, record)
        if layout.made_by() is None:
            initialise(layout, user, binaries, record, durable=options.get("fsync") != "off")
        write_settings(layout, user, text)
    except BaseException:
        with suppress(OSError):
            socket_dir.rmdir()
        raise
    return record


def initialise(layout: Layout, user: ServerUser, binaries: Binaries, record: Record, *, durable: bool) -> None:
    """Make the data directory aside, then rename it. The password goes through a file without a name."""
    if layout.pgdata.exists() and any(layout.pgdata.iterdir()):
        raise EmbeddedServerFailed(
            f"{layout.pgdata} holds no data of PostgreSQL: move it away, or take another directory."
        )
    for abandoned in layout.data_dir.glob("postgres.making-*"):
        shutil.rmtree(abandoned, ignore_errors=True)
    aside = Path(tempfile.mkdtemp(prefix="postgres.making-", dir=layout.data_dir))
    descriptor = os.open(aside, os.O_RDONLY | os.O_DIRECTORY)
    try:
        give(descriptor, user)
        place = str(aside) if walkable(user, aside) else by_descriptor(descriptor)
        flags = [f"--pgdata={place}"] if durable else [f"--pgdata={place}", "--no-sync"]
        _run_initdb(layout, user, binaries, record.password, flags, descriptor)
        with os.fdopen(os.open(aside / "postgresql.conf", os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW), "a") as file:
            file.write(f"\n{INCLUDED}\n")
        if layout.pgdata.exists():
            layout.pgdata.rmdir()
        aside.rename(layout.pgdata)
        if durable:
            sync_directory(layout.data_dir)
    finally:
        os.close(descriptor)
        shutil.rmtree(aside, ignore_errors=True)


def _run_initdb(
    layout: Layout, user: ServerUser, binaries: Binaries, password: str, flags: list[str], directory: int
) -> None:
    what = f"PostgreSQL's data could not be made in {layout.data_dir}"
    with tempfile.TemporaryFile() as password_file:
        password_file.write(password.encode() + b"\n")
        password_file.seek(0)
        give(password_file.fileno(), user)
        try:
            done = subprocess.run(
                [str(binaries.bin / "initdb"), *flags, f"--pwfile=/dev/fd/{password_file.fileno()}", *INITDB],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                timeout=INIT_LIMIT_S,
                pass_fds=[directory, password_file.fileno()],
                env=server_environment(),
                cwd="/",
                umask=0o077,
                check=False,
                **user.as_popen_arguments(),
            )
        except subprocess.TimeoutExpired:
            raise EmbeddedServerFailed(
                f"{what}: initdb did not end in {INIT_LIMIT_S:.0f} s. Is the disk well?"
            ) from None
    if done.returncode != 0:
        raise failure(what, layout.data_dir, done.stdout)


def settings_text(options: Mapping[str, str]) -> str:
    """The settings file: ours, then the options, which win. Raises ValueError for what cannot be a setting's name."""
    for name, value in options.items():
        if not re.fullmatch(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)?", name) or any(ord(c) < 32 for c in value):
            raise ValueError(f"not a setting of PostgreSQL: {name}")
    merged = {**SETTINGS, **options}
    quoted = {name: value.replace("\\", "\\\\").replace("'", "''") for name, value in merged.items()}
    lines = [f"{name} = '{value}'\n" for name, value in quoted.items()]
    return "# Written by disburse at every start of the server.\n" + "".join(lines)


def write_settings(layout: Layout, user: ServerUser, text: str) -> None:
    """Replace the settings file. The directory is the server user's, so no name in it is followed as a link."""
    aside = layout.pgdata / "disburse.conf.new"
    aside.unlink(missing_ok=True)
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w") as file:
        give(descriptor, user)
        file.write(text)
    aside.rename(layout.pgdata / "disburse.conf")


def server_arguments(record: Record, name: str) -> tuple[str, ...]:
    """What no settings file may change: the private socket is the only way in, and we know the process by its name."""
    quoted = record.socket_dir.replace('"', '""')
    given = {
        "cluster_name": name,
        "listen_addresses": "",
        "unix_socket_directories": f'"{quoted}"',
        "unix_socket_permissions": "0700",
        "port": str(record.port),
    }
    return tuple(word for name, value in given.items() for word in ("-c", f"{name}={value}"))


def socket_directory(layout: Layout, user: ServerUser, recorded: str) -> Path:
    """A directory for the socket: the server user's alone (root reaches it too), short, and able to hold a socket."""
    inside = layout.data_dir / "socket"
    if fits(inside) and walkable(user, layout.data_dir):
        shutil.rmtree(inside, ignore_errors=True)  # nothing runs, so what is in it was left by a crash
        inside.mkdir(mode=0o700)
        if _made_fit(inside, user):
            return inside
    if recorded and recorded != str(inside) and _is_private(Path(recorded), user) and not _is_taken(Path(recorded)):
        return Path(recorded)
    for place in (*TEMPORARY, Path("/dev/shm"), Path("/run")):  # noqa: S108 - a private directory is made there
        if walkable(user, place) and fits(place / "disburse-12345678") and os.access(place, os.W_OK):
            outside = Path(tempfile.mkdtemp(prefix="disburse-", dir=place))
            if _made_fit(outside, user):
                return outside
    raise EmbeddedServerFailed(
        "There is no place for the server's socket: the data directory has a path too long or closed to the server's "
        "user, and so have the temporary directories. Set TMPDIR to a short one that all users can enter."
    )


def fits(directory: Path) -> bool:
    """Whether a socket in this directory has a path short enough for the system."""
    return len(os.fsencode(directory / f".s.PGSQL.{PORT}")) <= SOCKET_PATH_LIMIT


def _is_private(directory: Path, user: ServerUser) -> bool:
    try:
        found = directory.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == user.uid and stat.S_IMODE(found.st_mode) == 0o700


def _is_taken(directory: Path) -> bool:
    """Whether a server lives there: another one's, if this data directory is a copy of one that runs."""
    try:
        os.kill(int((directory / f".s.PGSQL.{PORT}.lock").read_text().split()[0]), 0)
    except (FileNotFoundError, ProcessLookupError, ValueError, IndexError):
        return False
    except OSError:
        return True
    return True


def _made_fit(directory: Path, user: ServerUser) -> bool:
    """Give the fresh directory to the server's user, if the file system can hold sockets (some shared ones cannot)."""
    probe = directory / "probe"
    try:
        with socket.socket(socket.AF_UNIX) as trial:
            trial.bind(str(probe))
        probe.unlink()
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            give(descriptor, user)
        finally:
            os.close(descriptor)
    except OSError:
        shutil.rmtree(directory, ignore_errors=True)
        return False
    return True


def sync_directory(directory: Path) -> None:
    """Make renames in the directory durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
