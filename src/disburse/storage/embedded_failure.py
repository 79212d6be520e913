"""What to tell a person when the embedded server does not come up. Lives here: the exception, and causes read from logs."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

LINES_SHOWN = 6
FULL_DISK = ("No space left on device", "Disk quota exceeded")
LITTLE_MEMORY = ("could not resize shared memory", "could not map anonymous shared memory")
TELLING = (
    "unrecognized",
    "invalid value",
    "FATAL",
    "PANIC",
    "ERROR",
    "error:",
    "HINT",
    "KEEPER",
    "could not",
    "Error:",
)


class EmbeddedServerFailed(Exception):
    """The embedded PostgreSQL could not be started, joined or stopped. The text says why and what to do next."""


def failure(what: str, place: Path, output: str) -> EmbeddedServerFailed:
    """The exception for a program that failed with this output, with advice where the cause is known."""
    if any(sign in output for sign in LITTLE_MEMORY):
        advice = "There is too little shared memory: lower shared_buffers, or give the container a larger /dev/shm."
    elif any(sign in output for sign in FULL_DISK):
        return EmbeddedServerFailed(f"{what}: {full_disk(place)}")
    elif "Permission denied" in output or "has wrong ownership" in output or "has invalid permissions" in output:
        advice = f"The server's user may not use a file: see who owns {place}, or take another data directory."
    elif "incompatible with server" in output:
        advice = "The data were made by another version of PostgreSQL: install that one again."
    elif "unrecognized configuration parameter" in output or "invalid value for parameter" in output:
        advice = "One of the options given to the server is wrong."
    else:
        advice = f"The whole log is in {place / 'postgres.log'}."
    return EmbeddedServerFailed(f"{what}. {advice}\n{telling_lines(output)}".rstrip())


def passes_by_itself(output: str) -> bool:
    """Whether a start failed on what a killed server left: its processes end within moments, and take it along."""
    return "is still in use" in output or ('lock file "' in output and "already exists" in output)


def telling_lines(output: str) -> str:
    """The last lines that name a cause, else the last lines."""
    lines = [line.rstrip() for line in output.splitlines() if line.strip()]
    told = [line for line in lines if any(word in line for word in TELLING)]
    return "\n".join(f"  {line[:300]}" for line in (told or lines)[-LINES_SHOWN:])


def full_disk(place: Path) -> str:
    """The sentence for a disk without room."""
    try:
        free = f"{shutil.disk_usage(place).free // (1024 * 1024)} MiB free"
    except OSError:
        free = "free space unknown"
    return (
        f"the disk that holds {place} is full ({free}). Nothing is lost: make room there (some 200 MiB to begin with), "
        "or take a data directory on another disk, and run the same again."
    )


def of_system(what: str, place: Path, problem: OSError) -> EmbeddedServerFailed:
    """The exception for a system call that failed."""
    if problem.errno in (errno.ENOSPC, errno.EDQUOT):
        return EmbeddedServerFailed(f"{what}: {full_disk(place)}")
    if problem.errno == errno.EROFS:
        return EmbeddedServerFailed(f"{what}: {place} is on a read-only file system. Take another data directory.")
    if problem.errno in (errno.EACCES, errno.EPERM):
        return EmbeddedServerFailed(
            f"{what}: {problem}. Run as the user who owns {place}, or take another data directory."
        )
    return EmbeddedServerFailed(f"{what}: {problem}.")
