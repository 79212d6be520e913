"""A file drafted in a second process: the same pieces arrive, and whatever ends the process is told."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from disburse.api.registry_files import BadFile
from disburse.cli.registry_helper import HelperDied, in_a_helper, is_worth_it
from disburse.domain.registry import TotalsDisagree
from disburse.operations.registry_draft import Piece

PIECES = [
    Piece(first, rows=[os.urandom(900) for _ in range(1000)], texts=[f"{first + row}|bad" for row in range(1000)], bases=[""] * 1000,
          contents=[b"\n"] * 1000, totals=[("card", "RUB", 1000, 10**18, 0)], digest=b"\0" * 32)
    for first in (1, 1001, 2001)
]  # fmt: skip


def _fails(fault: Exception) -> Iterator[Piece]:
    yield PIECES[0]
    raise fault


def _dies() -> Iterator[Piece]:
    yield PIECES[0]
    os._exit(9)


async def _through(drafted: Iterator[Piece], path: Path) -> list[Piece]:
    path.write_text("x")
    with path.open("rb") as file:
        return [piece async for piece in in_a_helper(file, drafted)]


async def test_pieces_arrive(tmp_path: Path) -> None:
    """Pieces arrive whole and in order, though all of them together are larger than the pipe."""
    assert await _through(iter(PIECES), tmp_path / "f") == PIECES


@pytest.mark.parametrize("fault", [BadFile("Line 3: it is wrong."), TotalsDisagree("Line 9: it counts otherwise.")], ids=["file", "totals"])
async def test_what_refuses_the_file_is_told(fault: Exception, tmp_path: Path) -> None:
    """A refusal of the file is the same one here, with its text."""
    with pytest.raises(type(fault), match=str(fault)):
        await _through(_fails(fault), tmp_path / "f")


@pytest.mark.parametrize("drafted", [_dies(), _fails(KeyError("4111111111111111"))], ids=["killed", "failed"])
async def test_a_helper_that_died_is_told(drafted: Iterator[Piece], tmp_path: Path) -> None:
    """A process that ends before its time is no end of the file, and nothing of the file is in what is said."""
    with pytest.raises(HelperDied) as told:
        await _through(drafted, tmp_path / "f")
    assert "4111" not in str(told.value)


def test_small_files_need_none() -> None:
    """A small file is not worth a process."""
    assert not is_worth_it(10_000)
