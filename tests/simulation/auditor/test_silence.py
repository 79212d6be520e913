"""The auditor says nothing about honest histories, looks with one statement, and shares no code with what it judges."""

from __future__ import annotations

import ast
import sys

import asyncpg
import pytest

from disburse.simulation.auditor.rows import READ
from tests.house.sources import in_rooms
from tests.house.test_rooms import imports
from tests.operations.verify_town import populate
from tests.simulation.auditor.watch import Watched, invariants, lied_about


async def test_an_honest_town_is_passed_in_silence(watched: Watched, doctor: asyncpg.Connection) -> None:
    """Every way that a payout can go leaves nothing to say, after each commit and in full."""
    await watched.auditor.after_commit()
    await populate(watched.town)
    assert watched.said == []
    assert watched.commits > 100
    found = await watched.auditor.in_full(watched.book(), [], converged=False, lied_about=await lied_about(doctor))
    assert found == []
