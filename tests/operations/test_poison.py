"""A payout that no list can be done with rests, and the others go on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from disburse.domain.payout import PayoutState
from disburse.operations import attempts
from disburse.operations.attempts import Claim, Opened
from disburse.operations.desk import Batches, Desk
from disburse.operations.group_commit import in_halves
from disburse.storage.database import StoreUnavailable
from disburse.storage.keyring import Keyring
from disburse.storage.vault import Vault
from tests.operations.shop import INSTALLATION, Shop


async def test_what_breaks_a_list_stands_alone() -> None:
    """Seven items are done and the eighth is given apart, in the order they came."""

    async def work(some: Sequence[int]) -> list[str]:
        if 5 in some:
            raise ValueError("five")
        return [f"done {one}" for one in some]

    async def alone(one: int, fault: Exception) -> str:
        return f"alone {one}: {fault}"

    results = await in_halves(range(8), work, alone)
    assert results == [f"done {one}" if one != 5 else "alone 5: five" for one in range(8)]


async def test_a_missing_database_is_not_a_poisoned_row() -> None:
    """When the database is away nothing is set aside."""

    async def work(some: Sequence[int]) -> list[str]:
        raise StoreUnavailable("gone")

    async def alone(one: int, fault: Exception) -> str:
        raise AssertionError("nothing stands alone here")

    with pytest.raises(StoreUnavailable):
        await in_halves([1, 2], work, alone)


async def test_a_poisoned_claim_rests_and_the_others_are_opened(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One payout that breaks every claim it is part of is due again in ten minutes; its neighbours are claimed now."""
    await shop.merchant(1, money=10_000)
    made = [await shop.paid_out(1, f"r{number}") for number in range(4)]
    vault = Vault(Keyring.create(tmp_path / "keys", shop.world.random), shop.world.random)
    desk = Desk(
        shop.database, shop.world, vault, INSTALLATION, routes=shop.routes, fees={}, batches=Batches(lambda name, size: None)
    )
    real = attempts._open

    def broken(unit: object, one: Claim, *more: object, **named: object) -> Opened | None:
        if one.payout_id == made[2].payout_id:
            raise ZeroDivisionError
        return real(unit, one, *more, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(attempts, "_open", broken)
    claims = [Claim(payout.payout_id, 1, 1, "worker", 30, shop.now()) for payout in made]
    opened = await desk.claim(0, claims)
    assert [one is not None for one in opened] == [True, True, False, True]
    assert await desk.due(0, 10) == []
    assert (await shop.read(made[2])).state is PayoutState.QUEUED
