"""Limits, times and approvals at the doors: each protocol tells them in its own documented words, and REST in full."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from disburse.domain.limits import Limit, limits_text
from disburse.domain.merchant import Merchant
from disburse.domain.policies import Policy, policies_text
from disburse.world import RealClock
from tests.api.house import House
from tests.api.intellectmoney_shop import open_shop
from tests.api.rest_client import CARD_TO, Program, problem, program
from tests.api.unitpay_client import Client, code, open_door
from tests.operations.ruled import limit

DAY = timedelta(days=1)


@pytest.fixture
async def shop(house: House) -> AsyncIterator[Program]:
    """A merchant's program with 100,000 roubles."""
    async with program(house) as made:
        yield made


async def ruled_of(house: House, merchant: Merchant, *limits: Limit, policies: tuple[Policy, ...] = ()) -> None:
    """Give a merchant these rules."""
    await house.set(merchant, limits=limits_text(limits), policies=policies_text(policies), time_zone="Europe/Moscow")


async def ruled(shop: Program, *limits: Limit, policies: tuple[Policy, ...] = ()) -> None:
    await ruled_of(shop.house, shop.merchant, *limits, policies=policies)


async def test_limits_over_rest(shop: Program) -> None:
    """A payout beyond a limit is a problem with a name of its own, which sticks to the key and not to the reference; the room is told."""
    assert (await shop.ask("GET", "/v1/limits")).json == {"time_zone": "UTC", "items": []}
    await ruled(shop, limit("day:RUB", 2500, 9), limit("payout/card:RUB", 100), limit("month/payee:RUB", None, 2))
    await shop.made_one(reference="a")
    made = await shop.made_one(reference="b", execute=False)
    assert (await shop.act(made["id"], "execute")).json["state"] == "queued"
    refused = await shop.create(reference="c", key="k-1")
    assert (refused.status, problem(refused)) == (409, "limit_reached") and "5.00 RUB and 7 payouts left" in refused.json["detail"]
    assert problem(await shop.create(reference="card", destination=CARD_TO, amount={"amount": "2", "currency": "RUB"})) == "limit_reached"
    told = (await shop.ask("GET", "/v1/limits")).json
    day, payee, card = told["items"]
    assert (told["time_zone"], day["name"], day["sum_used"]["amount"], day["sum_left"]["amount"], day["count_left"]) == (
        "Europe/Moscow", "day:RUB", "20.00", "5.00", 7,
    )  # fmt: skip
    assert (payee["name"], payee["count_used"], payee["count_left"], payee["sum_left"]) == ("month/payee:RUB", 2, 0, None)
    assert (card["name"], card["since"], card["sum_left"]["amount"]) == ("payout/card:RUB", None, "1.00")
    assert day["since"] == str((datetime.now(UTC) + timedelta(hours=3)).date())
    await ruled(shop)
    assert problem(await shop.create(reference="c", key="k-1")) == "limit_reached"
    assert (await shop.create(reference="c", key="k-2")).status == 201


async def test_times_over_rest(shop: Program) -> None:
    """`execute_at` holds the money and waits; the time is told until it is queued, in answers to repeats and in lists too."""
    at = (datetime.now(UTC) + DAY).replace(microsecond=0)
    made = await shop.made_one(key="k-1", execute_at=at.isoformat())
    assert (made["state"], datetime.fromisoformat(made["execute_at"]), made["expires_at"]) == ("scheduled", at, None)
    assert await shop.get(made["id"]) == made == (await shop.ask("GET", "/v1/payouts")).json["items"][0]
    assert (await shop.create(key="k-1", execute_at=at.isoformat())).json == made
    assert problem(await shop.create(key="k-1", execute_at=(at + DAY).isoformat())) == "key_reused"
    assert "held" in await shop.house.balances(shop.merchant)
    waits = await shop.made_one(reference="later", execute=False, execute_at=at.isoformat())
    assert (waits["state"], datetime.fromisoformat(waits["execute_at"])) == ("created", at)
    assert (await shop.act(waits["id"], "execute")).json["state"] == "scheduled"
    assert (await shop.act(made["id"], "cancel")).json["execute_at"] is None
    for wrong in ((at + 400 * DAY).isoformat(), "2026-11-30T06:00:00", "9999-12-31T23:59:59Z", "soon"):
        answer = await shop.create(reference="wrong", execute_at=wrong)
        assert (answer.status, answer.json["field"]) == (400, "execute_at")


class Moved(RealClock):
    """The clock of a door that is set forward."""

    forward = timedelta()

    def now(self) -> datetime:
        return super().now() + self.forward


async def test_a_repeat_after_its_time(house: House) -> None:
    """A request with a time finds its payout also when that time lies years back; a new payout may not have such a time, and no key remembers that."""
    clock, at = Moved(), (datetime.now(UTC) + DAY).replace(microsecond=0).isoformat()
    house.world = house.desk.world = replace(house.world, clock=clock)
    async with program(house) as shop:
        made = await shop.made_one(key="k-1", execute_at=at)
        clock.forward = 800 * DAY
        for key in ("k-1", "k-2", None):
            again = await shop.create(key=key, execute_at=at)
            assert (again.status, again.json["id"]) == (200, made["id"])
        fresh = await shop.create(key="k-3", reference="new", execute_at=at)
        assert (fresh.status, fresh.json["field"]) == (400, "execute_at")
        clock.forward = timedelta()
        assert (await shop.create(key="k-3", reference="new", execute_at=at)).status == 201


async def test_approvals_over_rest(shop: Program) -> None:
    """A payout above the policy waits with its money held; its merchant sees until when, may cancel it, and learns why it waits."""
    await ruled(shop, policies=(Policy("any", "RUB", 900, 2),))
    made = await shop.made_one()
    assert made["state"] == "awaiting_approval" and made["expires_at"] is not None and not made["final"]
    told = (await shop.ask("GET", f"/v1/payouts/{made['id']}/explain")).json
    assert "2 more operators have to agree" in told["why"]
    assert (await shop.act(made["id"], "cancel")).json["state"] == "cancelled"
    assert (await shop.house.balances(shop.merchant))["available"] == "100000.00"


async def test_unfunded_is_executed(shop: Program) -> None:
    """Once there is money, a payout that lacked it is executed for the merchant who asked for that, by the timekeeper's hand."""
    made = await shop.made_one(execute=False, amount={"amount": "200000", "currency": "RUB"})
    assert problem(await shop.act(made["id"], "execute")) == "insufficient_funds"
    await shop.house.set(shop.merchant, execute_unfunded=True)
    await shop.house.desk.timely.spend(0, "worker:test")
    assert (await shop.get(made["id"]))["state"] == "unfunded"
    await shop.house.top_up(shop.merchant, "100000.00")
    await shop.house.desk.timely.spend(0, "worker:test")
    assert (await shop.get(made["id"]))["state"] == "queued"


async def test_the_documented_protocols(house: House) -> None:
    """UnitPay: not_completed while persons are waited for, 103 for a limit of a day, 122 for one of a payout, and a known id is answered."""
    client = Client(open_door(house), await house.merchant())
    await ruled_of(house, client.merchant, limit("day:RUB", 200_000), limit("payout:RUB", 150_000), policies=(Policy("card", "RUB", 100_000, 1),))
    large = await client.paid(sum="1200.00")
    assert (large["status"], large["payoutId"]) == ("not_completed", (await client.status())["result"]["payoutId"])
    assert code(await client.pay(sum="1600.00", transactionId="a")) == 122
    assert code(await client.pay(sum="900.00", transactionId="b")) == 103
    assert (await client.paid(sum="1200.00"))["payoutId"] == large["payoutId"]
    assert len(await house.payouts(client.merchant)) == 1


async def test_two_steps_with_rules(house: House) -> None:
    """IntellectMoney: InProcess while persons or a time are waited for; a limit is a refusal, and the operation stays as it was."""
    shop = await open_shop(house)
    await ruled_of(house, shop.merchant, limit("day:RUB", 15_000), policies=(Policy("any", "RUB", 6_000, 1),))
    waits, other = [(await shop.create(amount=amount)).guid for amount in ("100", "60")]
    assert (await shop.call("executeOperation", PayoutOperationId=waits)).state == await shop.state(waits) == "InProcess"
    refused = await shop.call("executeOperation", PayoutOperationId=other)
    assert (refused.code, refused.word) == (2, "LIMIT_REACHED") and await shop.state(other) == "Created"
