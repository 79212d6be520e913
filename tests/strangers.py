"""A stranger's package on the path for as long as a test lasts: a module, and the metadata that an installer would have written."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def installed(directory: Path, package: str, source: str, entry_points: dict[str, str]) -> Iterator[None]:
    """Make the package in `directory`, with entry points of the group `disburse.connectors`: name to `module:object`."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f"{package}.py").write_text(source, encoding="utf-8")
    info = directory / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n", encoding="utf-8")
    lines = ["[disburse.connectors]", *(f"{name} = {value}" for name, value in entry_points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    sys.path.insert(0, str(directory))
    try:
        yield
    finally:
        sys.path.remove(str(directory))
        sys.modules.pop(package, None)
