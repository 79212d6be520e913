"""A town whose every commit is shown to an auditor, its bank's book as the auditor reads one, and damage done by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, cast

import asyncpg

from disburse.simulation.auditor import Auditor, BookEntry, Violation
from disburse.storage.database import Database
from tests.operations.verify_town import Town

AT = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


class SeenDatabase:
    """The town's database, with the auditor called after every transaction. Nothing else of it is touched."""

    def __init__(self, database: Database, watched: Watched) -> None:
        self._database = database
        self._watched = watched

    async def run(self, work: Any, **more: Any) -> Any:
        result = await self._database.run(work, **more)
        await self._watched.look()
        return result

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)


@dataclass(slots=True)
class Watched:
    """A town, its auditor, and what the auditor said of each commit."""

    town: Town
    auditor: Auditor
    statements: list[str]
    commits: int = 0
    said: list[Violation] = field(default_factory=list)
    returned: list[BookEntry] = field(default_factory=list)
    """Lines of the bank's book beside those that the town keeps."""

    async def look(self) -> None:
        self.commits += 1
        self.said += await self.auditor.after_commit()

    def book(self) -> list[BookEntry]:
        """What the bank behind `sandbox` wrote down."""
        return [
            BookEntry(
                "sandbox", deed.end_to_end_id, int(Decimal(deed.amount or 0) * 100), deed.currency or "", AT, deed.did
            )
            for deed in self.town.deeds
            if deed.did in ("paid", "returned")
        ] + self.returned


def watch(database: Database, eyes: asyncpg.Connection, make: Callable[[Database], Town]) -> Watched:
    """A town that the auditor looks at after each commit, from the empty database on."""
    statements: list[str] = []

    async def fetch(sql: str, *values: Any) -> list[asyncpg.Record]:
        statements.append(sql)
        found: list[asyncpg.Record] = await eyes.fetch(sql, *values)
        return found

    auditor = Auditor(fetch, books_of=["sandbox"])
    watched = Watched(cast(Town, None), auditor, statements)
    watched.town = make(cast(Database, SeenDatabase(database, watched)))
    return watched


def invariants(found: Iterable[Violation]) -> list[str]:
    """Numbers of what was broken, each once, sorted."""
    return sorted({one.invariant for one in found})


async def hurt(doctor: asyncpg.Connection, town: Town, sql: str) -> None:
    """Run SQL in which `{story}` stands for the id of the story's payout."""
    for story, identifier in town.ids.items():
        sql = sql.replace(f"{{{story}}}", f"'{identifier}'")
    await doctor.execute(sql)


async def lied_about(doctor: asyncpg.Connection) -> list[str]:
    """The attempts of every payout that was ever frozen: of those the town's providers said what contradicts itself."""
    rows = await doctor.fetch(
        """SELECT end_to_end_id FROM attempts WHERE end_to_end_id IS NOT NULL AND payout_id IN (
               SELECT payout_id FROM events WHERE kind = 'payout.frozen') ORDER BY 1"""
    )
    return [row[0] for row in rows]
