"""IntellectMoney's connector at work in workers, against a provider on loopback that gives one operation's id to two orders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from disburse.domain.payout import Payout
from disburse.domain.ports import World
from disburse.storage.database import Database
from tests.connectors.upstream import GUID, Upstream, state, upstream
from tests.workers.provider import Process, Town

OTHER = "a654fe39-42eb-4ac3-a3ec-76d148b2ba3a"


async def life(town: Town, provider: Upstream, name: str, generation: str) -> Payout:
    """One payout, lived by a process that has heard of nothing before."""
    town.providers["im"] = provider.connector(generation)  # type: ignore[assignment]
    [payout] = await town.pay(0)
    process = Process(town, name).start()
    await town.until(town.all_final)
    await process.stop()
    return payout


@pytest.mark.parametrize("generation", ["new", "old"])
@pytest.mark.parametrize("again", [GUID, GUID.upper(), "{" + GUID.upper() + "}", GUID.replace("-", "")])
async def test_an_id_given_again(database: Database, world: World, tmp_path: Path, generation: str, again: str) -> None:
    """However it is spelled, and whichever process hears it, an id that was given before is not executed for a second order."""
    made: list[Any] = [state("Created", GUID), state("Created", again), state("Created", OTHER)]
    method = "createoperation" if generation == "new" else "createbankcardrussiaoperation"
    town = Town(database, world, tmp_path, [])
    done = [state("Completed", GUID), state("Completed", OTHER)]
    async with upstream(town.clock, **{method: made, "executeoperation": done}) as provider:
        town.providers["im"] = provider.connector(generation)  # type: ignore[assignment]
        await town.settle_in()
        first = await life(town, provider, "a", generation)
        second = await life(town, provider, "b", generation)
        executed = [one.params["PayoutOperationId"] for one in provider.sent if one.method.lower() == "executeoperation"]
    assert executed == [GUID, OTHER]
    assert await town.attempts(first) == ["settled"] and await town.attempts(second) == ["not_sent", "settled"]
    rows = await town.rows("SELECT reference, payout_id, number FROM provider_operations ORDER BY reference")
    assert [tuple(row) for row in rows] == [(GUID, first.payout_id, 1), (OTHER, second.payout_id, 2)]
