"""Wrong clocks for a chaos run. Lives here: a preload that is compiled for the run, and one small file a process that says how wrong.

Only wall clocks jump, at any moment and both ways, as they do when somebody sets them; monotonic ones go on.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).with_name("clock.c")


class Clocks:
    """The clocks of a run. `lacking` says why there are none, and is None when there are."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.preload = folder / "clock.so"
        self.lacking = self._make()

    def _make(self) -> str | None:
        compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
        if not sys.platform.startswith("linux"):
            return "clocks are moved on Linux alone"
        if compiler is None:
            return "no C compiler (cc) to make the preload that moves clocks"
        done = subprocess.run(
            [compiler, "-O2", "-shared", "-fPIC", "-o", str(self.preload), str(SOURCE), "-ldl"], capture_output=True, text=True
        )
        if done.returncode != 0:
            return f"the preload that moves clocks does not compile: {done.stderr.strip()[-200:]}"
        self.preload.chmod(0o755)
        return None

    def environment(self, name: str) -> dict[str, str]:
        """What a process is started with so that its clock can be moved."""
        if self.lacking is not None:
            return {}
        file = self._folder / f"clock-{name}"
        if not file.exists():
            file.write_bytes(struct.pack("q", 0))
            file.chmod(0o644)
        return {"LD_PRELOAD": str(self.preload), "CHAOS_CLOCK": str(file)}

    def set(self, name: str, off_s: float) -> None:
        """Let this clock be wrong by so many seconds from now on."""
        with (self._folder / f"clock-{name}").open("r+b") as file:
            file.write(struct.pack("q", int(off_s * 1e9)))
