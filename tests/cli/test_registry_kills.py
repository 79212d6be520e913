"""`make registries`, small: a registry is killed on its way, twice, and every figure still agrees."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from scripts.registries import trial


@pytest.mark.long
def test_a_registry_survives_kills(tmp_path: Path) -> None:
    """Apply and serve are killed with -9 in the middle of a registry; each good row is paid once, and rows by state add up."""
    run = asyncio.run(trial(2000, 2, 7, tmp_path))
    assert run.wrong == []
