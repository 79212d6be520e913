"""One key, one request; one reference, one payout; both for ever: alone, in a crowd, with other content, in any later state."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

from disburse.domain.outcomes import Rejected, Settled
from disburse.operations.desk import Batches, Desk
from tests.api.house import BANK, FEES, House
from tests.api.rest_client import CARD_TO, ORDER, PHONE_TO, Program, open_rest, problem, program, without
from tests.api.served import served
from tests.api.test_unitpay_idempotency import somebody_waits, stalled

MANY = 50
NO_REFERENCE = without(ORDER, "reference")


@pytest.fixture
async def shop(house: House) -> AsyncIterator[Program]:
    """A merchant's program with 100,000 roubles."""
    async with program(house) as made:
        yield made


@pytest.mark.parametrize("order, key", [(ORDER, None), (ORDER, "k-1"), (NO_REFERENCE, "k-1")])
@pytest.mark.parametrize("end", ["queued", "paid", "failed", "cancelled"])
async def test_a_repeat_is_answered_in_any_later_state(shop: Program, order: dict[str, Any], key: str | None, end: str) -> None:
    """The same request again is answered with the same payout as it stands then, and does nothing; also when there is no money left."""
    made = await shop.made_one(order, key=key, amount={"amount": "100000", "currency": "RUB"})
    if end == "cancelled":
        await shop.act(made["id"], "cancel")
    elif end != "queued":
        await shop.house.settle(Settled("p") if end == "paid" else Rejected("no"))
    before = await shop.house.balances(shop.merchant)
    for amount in ("100000", "100000.00", "0100000.0"):
        again = await shop.create(order, key=key, amount={"amount": amount, "currency": "RUB"})
        assert (again.status, again.json["id"], again.json["state"]) == (200, made["id"], end)
    assert await shop.house.balances(shop.merchant) == before and await shop.payouts() == 1
    assert await shop.keys_kept() == (0 if key is None else 1)
    assert await shop.house.events(shop.merchant, "payout.reference_mismatch") == 0


OTHERS: list[dict[str, Any]] = [
    {"amount": {"amount": "10.01", "currency": "RUB"}},
    {"destination": CARD_TO},
    {"destination": {"rail": "webmoney", "purse": "Z123456789013"}},
]


@pytest.mark.parametrize("change", OTHERS)
async def test_other_content_is_refused(shop: Program, change: dict[str, Any]) -> None:
    """A known reference, and a known key, with another amount or payee is 422; nothing changes but one event for the reference."""
    made = await shop.made_one(key="k-1")
    for _ in range(2):
        answer = await shop.create(key="k-1", **change)
        assert (answer.status, problem(answer)) == (422, "key_reused")
        answer = await shop.create(**change)
        assert (answer.status, problem(answer)) == (422, "reference_reused")
    assert await shop.get(made["id"]) == made and await shop.payouts() == 1
    assert await shop.house.events(shop.merchant, "payout.reference_mismatch") == 1


@pytest.mark.parametrize("change", [{"reference": "1783"}, {"execute": False}, {"comment": "other"}, {"destination": {**ORDER["destination"], "name": "Other"}}])
async def test_a_key_covers_the_whole_request(shop: Program, change: dict[str, Any]) -> None:
    """A key with another reference, comment, name or `execute` is another request."""
    await shop.made_one(key="k-1")
    answer = await shop.create(key="k-1", **change)
    assert (answer.status, problem(answer)) == (422, "key_reused")
    assert await shop.payouts() == 1


async def test_keys_in_quotes_are_the_same(shop: Program) -> None:
    """A key is the same with and without double quotes; its letters' case counts."""
    made = await shop.made_one(NO_REFERENCE, key='"Key-1"')
    assert (await shop.create(NO_REFERENCE, key="Key-1")).json["id"] == made["id"]
    assert (await shop.create(NO_REFERENCE, key="key-1")).status == 201


async def test_two_keys_of_one_reference(shop: Program) -> None:
    """A reference known under another key is answered with its payout, and both keys stand for it."""
    made = await shop.made_one(key="k-1")
    for _ in range(2):
        again = await shop.create(key="k-2")
        assert (again.status, again.json["id"]) == (200, made["id"])
    assert await shop.payouts() == 1 and await shop.keys_kept() == 2


async def test_an_executing_repeat_does_not_execute(shop: Program) -> None:
    """A payout that was made without `execute` is not executed by a repeat with it: the repeat is answered with what is there."""
    made = await shop.made_one(execute=False)
    again = await shop.create(execute=True)
    assert (again.status, again.json["id"], again.json["state"]) == (200, made["id"], "created")


async def test_a_refusal_sticks_to_the_key_alone(shop: Program) -> None:
    """After "too little money" the same key is refused for ever, in the same words; the same reference is paid with a new key."""
    dear = {**ORDER, "amount": {"amount": "100000.01", "currency": "RUB"}}
    first = await shop.create(dear, key="k-1")
    assert (first.status, problem(first)) == (409, "insufficient_funds") and "100000.01 RUB" in first.json["detail"]
    assert await shop.payouts() == 0 and await shop.keys_kept() == 1
    await shop.house.top_up(shop.merchant, "1.00")
    late = await shop.create(dear, key="k-1")
    assert (late.status, late.body) == (409, first.body)
    assert await shop.payouts() == 0
    made = await shop.made_one(dear, key="k-2")
    assert (await shop.create(dear, key="k-1")).body == first.body
    assert (await shop.create(dear, key="k-2")).json["id"] == made["id"] and await shop.payouts() == 1


async def test_without_a_key_a_refusal_is_forgotten(shop: Program) -> None:
    """A reference without a key may be asked for again as soon as the cause is gone."""
    dear = {**ORDER, "amount": {"amount": "100000.01", "currency": "RUB"}}
    assert problem(await shop.create(dear)) == "insufficient_funds"
    assert await shop.keys_kept() == 0
    await shop.house.top_up(shop.merchant, "1.00")
    assert (await shop.create(dear)).status == 201


@pytest.mark.parametrize("payouts, name", [("off", "payouts_off"), ("denied", "payouts_denied")])
async def test_the_look_up_comes_before_every_other_check(shop: Program, payouts: str, name: str) -> None:
    """With payouts switched off and no route left, what was made is answered as it stands; a new payout is refused, and its key remembers."""
    by_reference, by_key = await shop.made_one(), await shop.made_one(NO_REFERENCE, key="k-1")
    waiting = await shop.made_one(reference="1783", execute=False)
    executed = await shop.made_one(reference="1784", execute=False)
    assert (await shop.act(executed["id"], "execute", key="x-1")).status == 200
    await shop.house.set(shop.merchant, payouts=payouts)
    shop.house.desk.routes = ()
    assert (await shop.create()).json["id"] == by_reference["id"]
    assert (await shop.create(NO_REFERENCE, key="k-1")).json["id"] == by_key["id"]
    assert problem(await shop.create(amount={"amount": "11", "currency": "RUB"})) == "reference_reused"
    assert problem(await shop.create(reference="1785", key="k-2")) == name
    assert problem(await shop.act(waiting["id"], "execute", key="x-2")) == name
    assert (await shop.act(executed["id"], "execute", key="x-1")).status == (await shop.act(executed["id"], "execute")).status == 200
    await shop.house.set(shop.merchant, payouts="on")
    shop.house.desk.routes = (BANK,)
    assert problem(await shop.create(reference="1785", key="k-2")) == name
    assert problem(await shop.act(waiting["id"], "execute", key="x-2")) == name
    assert (await shop.create(reference="1785", key="k-3")).status == 201
    assert (await shop.act(waiting["id"], "execute")).status == 200


async def test_a_bank_that_left_does_not_hide_its_payouts(house: House) -> None:
    """A payout to a bank that is a member no more is still found by its reference and key; a new one is refused, and nothing is kept."""
    async with program(house, open_rest(house, also=frozenset({"TESTBANK"}))) as before:
        order = {**ORDER, "destination": {**PHONE_TO, "bank": "TESTBANK"}}
        made = await before.made_one(order, key="k-1")
        async with served([("/v1/*", open_rest(house))]) as running:
            after = Program(house, before.made, running)
            for key in ("k-1", None, "k-2"):
                assert (await after.create(order, key=key)).json["id"] == made["id"]
            kept = await after.keys_kept()
            answer = await after.create(order, key="k-3", reference="1783")
            assert (answer.status, answer.json["field"]) == (400, "destination.bank")
            assert await after.keys_kept() == kept == 2


# --- execute and cancel -------------------------------------------------------------------------------------------


async def test_a_late_execute_does_not_pay(shop: Program) -> None:
    """An execute that was refused for want of money stays refused by its key after a top-up; a new one pays."""
    dear = {**ORDER, "amount": {"amount": "100000.01", "currency": "RUB"}}
    made = await shop.made_one(dear, execute=False)
    first = await shop.act(made["id"], "execute", key="x-1")
    assert (first.status, problem(first)) == (409, "insufficient_funds")
    assert (await shop.get(made["id"]))["state"] == "unfunded"
    await shop.house.top_up(shop.merchant, "1.00")
    assert (await shop.act(made["id"], "execute", key="x-1")).body == first.body
    assert (await shop.get(made["id"]))["state"] == "unfunded"
    assert (await shop.act(made["id"], "execute", key="x-2")).json["state"] == "queued"
    assert (await shop.act(made["id"], "execute", key="x-1")).body == first.body


async def test_a_key_of_another_act(shop: Program) -> None:
    """A key that executed a payout neither cancels it, nor executes another, nor makes one."""
    one, two = [await shop.made_one(reference=name, execute=False) for name in ("1", "2")]
    assert (await shop.act(one["id"], "execute", key="x-1")).status == 200
    for answer in (await shop.act(one["id"], "cancel", key="x-1"), await shop.act(two["id"], "execute", key="x-1"), await shop.create(key="x-1")):
        assert (answer.status, problem(answer)) == (422, "key_reused")
    assert (await shop.get(one["id"]))["state"] == "queued" and (await shop.get(two["id"]))["state"] == "created"
    await shop.house.settle()
    assert (await shop.act(one["id"], "execute", key="x-1")).json["state"] == "paid"


async def test_a_cancel_and_its_key(shop: Program) -> None:
    """A cancel that came too late stays so by its key; one that was in time is answered again."""
    one, two = [await shop.made_one(reference=name) for name in ("1", "2")]
    assert (await shop.act(one["id"], "cancel", key="c-1")).json["state"] == "cancelled"
    await shop.house.claim()
    late = await shop.act(two["id"], "cancel", key="c-2")
    assert problem(late) == "wrong_state"
    assert (await shop.act(one["id"], "cancel", key="c-1")).json["state"] == "cancelled"
    assert (await shop.act(two["id"], "cancel", key="c-2")).body == late.body
    over = await shop.act(one["id"], "execute", key="x-1")
    assert problem(over) == "wrong_state" and (await shop.act(one["id"], "execute", key="x-1")).body == over.body


# --- races --------------------------------------------------------------------------------------------------------


def another_process(house: House) -> Desk:
    """A second desk on the same database and keys, as another process has."""
    return Desk(
        house.database, house.world, house.vault, house.desk.installation, routes=(BANK,), fees=FEES,
        batches=Batches(lambda operation, size: None),
    )  # fmt: skip


@pytest.mark.parametrize("order, key", [(NO_REFERENCE, "k-1"), (ORDER, None), (ORDER, "k-1")], ids=["key", "reference", "both"])
async def test_many_at_once(shop: Program, order: dict[str, Any], key: str | None) -> None:
    """Fifty simultaneous requests over two processes with one key or one reference: one makes the payout, the others get it."""
    async with served([("/v1/*", open_rest(shop.house, desk=another_process(shop.house)))]) as second:
        other = Program(shop.house, shop.made, second)
        answers = await asyncio.gather(*[(shop, other)[n % 2].create(order, key=key) for n in range(MANY)])
    assert Counter(one.status for one in answers) == {201: 1, 200: MANY - 1}
    assert len({one.json["id"] for one in answers}) == 1
    assert await shop.payouts() == 1 and (await shop.house.balances(shop.merchant))["held"] == "10.00"


async def test_many_different_at_once(shop: Program) -> None:
    """Fifty simultaneous requests with one key and fifty amounts: one is carried out, the others are told that the key is taken."""
    answers = await asyncio.gather(
        *[shop.create(NO_REFERENCE, key="k-1", amount={"amount": f"{n + 1}.00", "currency": "RUB"}) for n in range(MANY)]
    )
    assert Counter(one.status for one in answers) == {201: 1, 422: MANY - 1}
    assert await shop.payouts() == 1 and await shop.keys_kept() == 1


async def test_many_poor_at_once(shop: Program) -> None:
    """Fifty simultaneous requests with one key and too little money get one refusal, in the same words."""
    dear = {"amount": "100000.01", "currency": "RUB"}
    answers = await asyncio.gather(*[shop.create(key="k-1", amount=dear) for _ in range(MANY)])
    assert {one.body for one in answers} == {answers[0].body} and problem(answers[0]) == "insufficient_funds"
    assert await shop.payouts() == 0 and await shop.keys_kept() == 1


async def test_the_last_money(shop: Program) -> None:
    """Fifty simultaneous payouts on money for ten: ten are made, and no more is held than there is."""
    dear = {"amount": "10000.00", "currency": "RUB"}
    answers = await asyncio.gather(*[shop.create(reference=f"r{n}", key=f"k{n}", amount=dear) for n in range(MANY)])
    assert Counter(one.status for one in answers) == {201: 10, 409: MANY - 10}
    assert (await shop.house.balances(shop.merchant)) == {"held": "100000.00", "funding": "-100000.00"}


async def test_execute_and_cancel_at_once(shop: Program) -> None:
    """Fifty simultaneous executes and cancels of one payout end in one state, with its money where that state has it."""
    made = await shop.made_one(execute=False)
    answers = await asyncio.gather(*[shop.act(made["id"], ("execute", "cancel")[n % 2], key=f"k{n}") for n in range(MANY)])
    assert {one.status for one in answers} <= {200, 409}
    assert (await shop.get(made["id"]))["state"] == "cancelled"
    assert (await shop.house.balances(shop.merchant)) == {"available": "100000.00", "funding": "-100000.00"}


# --- a database that stalls ---------------------------------------------------------------------------------------


async def test_an_answer_that_was_not_in_time(house: House, dsn: str) -> None:
    """While the database does nothing the answer is 503 and "not known"; the repeat finds the one payout."""
    async with program(house, open_rest(house, answer_within_s=0.4)) as shop:
        await shop.ask("GET", "/v1/balances")
        async with stalled(dsn) as watcher:
            answer, _ = await asyncio.gather(shop.create(key="k-1"), somebody_waits(watcher, 1))
            assert (answer.status, problem(answer)) == (503, "outcome_unknown")
        await house.desk.drain()
        again = await shop.create(key="k-1")
        assert again.status == 200 and await shop.payouts() == 1


async def test_a_command_that_was_not_begun(house: House, dsn: str) -> None:
    """A request that waited behind others until it was too late to begin is not carried out afterwards."""
    desk = Desk(
        house.database, house.world, house.vault, house.desk.installation, routes=(BANK,), fees=FEES,
        batches=Batches(lambda operation, size: None, largest=1, writers=1),
    )  # fmt: skip
    async with program(house, open_rest(house, desk=desk, answer_within_s=2.0)) as shop:
        await shop.ask("GET", "/v1/balances")
        async with stalled(dsn) as watcher:
            first = asyncio.create_task(shop.create(reference="first"))
            await somebody_waits(watcher, 1)
            second = await shop.create(reference="second")
            assert (second.status, problem(second)) == (503, "outcome_unknown")
            assert (await first).status == 503
        await desk.drain()
        assert [one.reference for one in await house.payouts(shop.merchant)] == ["first"]
