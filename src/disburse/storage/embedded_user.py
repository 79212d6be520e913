"""Whose processes and files the embedded server's are. Lives here: choosing the user, and what that user can reach.

PostgreSQL refuses uid 0, so root hands its server to somebody else: the owner of the data when there are data, the
owner of the data directory when that is not root, else `postgres`, else `nobody`. Anybody else runs it as himself.
"""

from __future__ import annotations

import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from disburse.storage.embedded_failure import EmbeddedServerFailed

UNPRIVILEGED = ("postgres", "nobody")


class PopenArguments(TypedDict, total=False):
    """How `subprocess` changes to another user."""

    user: int
    group: int
    extra_groups: list[int]


@dataclass(frozen=True, slots=True)
class ServerUser:
    """The uid and gid of the server; `dropped` when they are not our own."""

    uid: int
    gid: int
    name: str
    dropped: bool

    def as_popen_arguments(self) -> PopenArguments:
        return {"user": self.uid, "group": self.gid, "extra_groups": []} if self.dropped else {}


def choose_user(data_dir: Path, pgdata: Path) -> ServerUser:
    """Who runs the server. Raises EmbeddedServerFailed when the data are another user's, or the uid has no name."""
    ours = os.geteuid()
    owner = pgdata.stat().st_uid if pgdata.is_dir() else None
    if ours != 0:
        if owner is not None and owner != ours:
            raise EmbeddedServerFailed(
                f"The data in {pgdata} belong to uid {owner}, and this is uid {ours}: run as that user, or as root, "
                "or take another data directory."
            )
        return user_of(ours, dropped=False)
    if owner == 0:
        raise EmbeddedServerFailed(
            f"{pgdata} belongs to root, and PostgreSQL does not run as root: give it to another user (chown -R)."
        )
    owner = owner or data_dir.stat().st_uid or None
    if owner is not None:
        return user_of(owner, dropped=True)
    for name in UNPRIVILEGED:
        try:
            return user_of(pwd.getpwnam(name).pw_uid, dropped=True)
        except KeyError:
            continue
    raise EmbeddedServerFailed(
        "PostgreSQL does not run as root, and there is neither a user postgres nor a user nobody to run it as: add one "
        "(useradd --system postgres), run as another user, or use a server of your own with --database-url."
    )


def user_of(uid: int, *, dropped: bool) -> ServerUser:
    """The user with this uid. Raises EmbeddedServerFailed when the system has no name for it: PostgreSQL would not run."""
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        raise EmbeddedServerFailed(
            f"uid {uid} has no entry in /etc/passwd, and PostgreSQL wants one: add the entry (in a container: run as a "
            "listed user), or use a server of your own with --database-url."
        ) from None
    return ServerUser(uid, entry.pw_gid, entry.pw_name, dropped)


def walkable(user: ServerUser, path: Path) -> bool:
    """Whether the user may pass through every directory of this path, by permission bits. False when it is not there."""
    try:
        return all(_may_enter(user, directory) for directory in (path, *path.parents))
    except OSError:
        return False


def _may_enter(user: ServerUser, directory: Path) -> bool:
    found = directory.stat()
    if not user.dropped:
        return os.access(directory, os.X_OK)
    if found.st_uid == user.uid:
        return bool(found.st_mode & stat.S_IXUSR)
    return bool(found.st_mode & (stat.S_IXGRP if found.st_gid == user.gid else stat.S_IXOTH))


def let_in(user: ServerUser, directory: Path) -> None:
    """Let the server's user pass through a private directory of ours, but not list or change anything there."""
    found = directory.stat()
    if user.dropped and not _may_enter(user, directory) and found.st_uid == os.geteuid() and not found.st_mode & 0o077:
        os.chown(directory, -1, user.gid)
        directory.chmod(stat.S_IMODE(found.st_mode) | stat.S_IXGRP)


def give(descriptor: int, user: ServerUser) -> None:
    """Make the open file the server's user's."""
    if user.dropped:
        os.fchown(descriptor, user.uid, user.gid)


def server_environment() -> dict[str, str]:
    """What our programs of PostgreSQL see: nothing of ours but where libraries are, so no PGDATA, PGPORT or secrets."""
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH") if name in os.environ}
    return {"PATH": "/usr/local/bin:/usr/bin:/bin", "TZ": "UTC", "LC_ALL": "C", **kept}
