"""The Debian packages that a cluster needs. Lives here: whether they are there, getting them, and saying why they cannot be had."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

POSTGRES = Path("/usr/lib/postgresql/15/bin")
PACKAGES = ("patroni", "etcd-server", "postgresql-15")


def lacking() -> str | None:
    """None when everything is there, installed if need be; else why this machine cannot do it."""
    if os.geteuid() != 0:
        return "only root may run PostgreSQL and etcd as another user, and install packages"
    if _there():
        return None
    if shutil.which("apt-get") is None:
        return f"there is no apt-get to install {', '.join(PACKAGES)} with"
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}  # at runlevel 1 no service is started
    for words in (["apt-get", "update"], ["apt-get", "install", "-y", "--no-install-recommends", *PACKAGES]):
        done = subprocess.run(words, env=quiet, capture_output=True, text=True, timeout=600, check=False)
    return None if _there() else f"{', '.join(PACKAGES)} could not be installed: {done.stderr.strip()[-300:]}"


def _there() -> bool:
    return all(shutil.which(name) for name in ("patroni", "patronictl", "etcd")) and (POSTGRES / "pg_rewind").exists()
