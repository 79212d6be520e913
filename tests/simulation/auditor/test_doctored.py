"""Every kind of damage to a town's rows is named by the invariant it breaks: at once, and by an auditor who comes later."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import asyncpg

from disburse.domain.ports import World
from disburse.simulation.auditor import Auditor, Violation
from disburse.storage.database import Database
from tests.operations.verify_town import Town, populate
from tests.simulation.auditor.damages import DAMAGES, Damage
from tests.simulation.auditor.watch import hurt, invariants, lied_about


async def _examined(doctor: asyncpg.Connection, town: Town, damage: Damage) -> tuple[list[Violation], list[Violation]]:
    """What an auditor says who saw it happen, and one who did not. All of it is rolled back."""

    async def fetch(sql: str, *values: Any) -> Sequence[asyncpg.Record]:
        found: Sequence[asyncpg.Record] = await doctor.fetch(sql, *values)
        return found

    undone = doctor.transaction()
    await undone.start()
    try:
        witness = Auditor(fetch, books_of=[])
        assert await witness.after_commit() == []
        await hurt(doctor, town, damage.sql)
        at_once = await witness.after_commit()
        lied = await lied_about(doctor)
        return at_once, await Auditor(fetch, books_of=[]).in_full([], [], converged=False, lied_about=lied)
    finally:
        await undone.rollback()


async def test_damage_is_named(database: Database, world: World, doctor: asyncpg.Connection) -> None:
    """Whatever was done to honest rows is named by its invariant, whenever the auditor comes."""
    town = Town(database, world)
    await populate(town)
    missed = {}
    for name, damage in DAMAGES.items():
        at_once, in_full = await _examined(doctor, town, damage)
        if damage.at_once not in (None, *invariants(at_once)):
            missed[f"{name}, at once"] = (damage.at_once, at_once)
        if damage.in_full not in (None, *invariants(in_full)):
            missed[f"{name}, in full"] = (damage.in_full, in_full)
    assert missed == {}
