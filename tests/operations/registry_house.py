"""What the tests of registries share: a house with a merchant, and a file's way from text to payouts. No fixtures live here."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from zlib import crc32

from disburse.api.registry_files import How, Planned, plan_file
from disburse.domain.merchant import Merchant
from disburse.domain.registry_states import LetPass
from disburse.operations import registries, registry_work
from disburse.operations.operators import add_operator
from disburse.operations.policies import Answered, Say
from disburse.operations.registries import Registry, Start
from disburse.operations.registry_apply import Applier
from disburse.operations.registry_rules import Terms
from disburse.operations.verify import Report, verify
from tests.api.house import House

MEMBERS = frozenset({"100000000004"})
HEADER = "reference,rail,destination,bank,amount,currency,comment\n"
ROW = "{reference},card,4111111111111111,,{amount},RUB,invoice {invoice}\n"


def csv(*rows: tuple[str, str]) -> str:
    """A file of payouts to one card: (reference, amount). Each is for an invoice of its own, so that none seems to repeat another."""
    return HEADER + "".join(
        ROW.format(reference=reference, amount=amount, invoice=crc32(f"{reference or place}".encode()) + 10**6)
        for place, (reference, amount) in enumerate(rows)
    )


def many(count: int, *, first: int = 1, prefix: str = "w") -> str:
    """A file of so many good rows with references."""
    return csv(*[(f"{prefix}{number}", "10.00") for number in range(first, first + count)])


@dataclass
class Registrars:
    """A house with one merchant, and hands to plan and apply."""

    house: House
    merchant: Merchant

    @property
    def terms(self) -> Terms:
        return Terms(self.house.desk)

    async def plan(self, text: str, *, again: bool = False, pay: str = "", actor: str = "operator:1", name: str = "wages.csv") -> Planned:
        return await plan_file(
            self.terms, self.merchant, io.BytesIO(text.encode()), name, How(MEMBERS), actor=actor, again=again, pay=LetPass(pay)
        )

    async def planned(self, text: str, **more: Any) -> Registry:
        return (await self.plan(text, **more)).registry

    async def start(self, registry: Registry, *, only_good: bool = False, again: bool = False, actor: str = "operator:1") -> Registry:
        return await registries.start(self.terms, Start(registry.registry_id, registry.digest or b"", only_good, actor, again))

    def applier(self, registry: Registry, owner: str = "a") -> Applier:
        return Applier(self.house.desk, registry, owner, "operator:1")

    async def apply(self, registry: Registry, **more: Any) -> Registry:
        """Start it and make all its payouts."""
        started = await self.start(registry, **more)
        applier = self.applier(started)
        await applier.run()
        await applier.let_go()
        return await self.read(registry)

    async def read(self, registry: Registry) -> Registry:
        return await registries.find(self.house.database, registry.registry_id)

    async def settle(self, registry: Registry) -> Registry:
        return await registry_work.settle(self.terms, registry, "worker:test")

    async def say(self, registry: Registry, actor: str, *, yes: bool = True) -> Answered:
        now = self.house.world.clock.now()
        return await registries.answer(self.terms, Say(registry.registry_id, registry.digest or b"", yes, "", now, actor))

    async def persons(self, *names: str) -> None:
        for name in names:
            await add_operator(self.house.database, self.house.world, name=name, actor="cli")

    async def outcomes(self, registry: Registry) -> list[str]:
        """What became of each row, in order."""
        rows = await registries.page(self.house.database, await self.read(registry), 0, 1000)
        return [registries.outcome_of(row) for row in rows]

    async def verify(self) -> Report:
        return await verify(self.house.database)

    async def rows(self, sql: str, *values: Any) -> Sequence[Any]:
        return await self.house.database.run(lambda tx: tx.fetch(sql, *values))
