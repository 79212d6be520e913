"""One operation's id for two orders: IntellectMoney's connector at work in workers, and the alert of a wired installation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from disburse.assembly import Instruments
from disburse.domain.merchant import Merchant
from disburse.domain.money import Money
from disburse.domain.payout import Payout
from disburse.domain.ports import World
from disburse.operations.attempts import Claim
from disburse.operations.merchants import add_merchant, draw_top_up
from disburse.operations.payouts import Found
from disburse.operations.two_steps import ALERT, Remember
from disburse.settings import load_settings
from disburse.storage.database import Database
from disburse.wiring import House, open_house
from disburse.world import real_world
from tests.connectors.upstream import GUID, Upstream, state, upstream
from tests.workers.provider import CARD, Process, Town

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


async def test_the_alert_is_counted(dsn: str, tmp_path: Path) -> None:
    """In an installation as it is wired, an operation that another order has is one more of `disburse_alerts_total`."""
    instruments = Instruments(real_world())
    values = {"data": str(tmp_path / "data"), "database_url": dsn, "unsafe_database": True, "sandbox": True}
    async with open_house(load_settings(None, {}, values), real_world(), gauges=instruments.gauges) as house:
        made = await add_merchant(house.database, house.world, house.vault, name="m", login="m@example.com", actor="test")
        money = draw_top_up(house.world, made.merchant, Money(10**6, "RUB"), actor="test")
        await house.desk.top_up(made.merchant, money)
        commands = [await remembering(house, made.merchant) for _ in range(2)]
        assert [await house.desk.remember(0, one) for one in commands] == [True, False]
    labels = {"connector": "sandbox", "alert": ALERT}
    assert instruments.metrics.registry.get_sample_value("disburse_alerts_total", labels) == 1


async def remembering(house: House, merchant: Merchant) -> Remember:
    """A payout that a worker is about, and the command that would keep the id with it."""
    draft = house.desk.draft(
        merchant, CARD, Money(1000, "RUB"), surface="own", reference=None, amount_text="10.00", execute=True, actor="test"
    )
    found = await house.desk.create(merchant, draft)
    assert isinstance(found, Found)
    payout, now = found.payout, house.world.clock.now()
    [opened] = await house.desk.claim(0, [Claim(payout.payout_id, 1, payout.merchant_id, "w", 30.0, now)])
    assert opened is not None
    return Remember(
        payout.payout_id, 1, payout.merchant_id, opened.connector, opened.end_to_end_id, "w", opened.epoch, GUID, now, "worker:w"
    )
