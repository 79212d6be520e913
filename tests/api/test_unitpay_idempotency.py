"""One transactionId, one payout, for ever: the rules of unitpay.md section 3, alone and in a crowd, with a database that stalls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from disburse.domain.destinations import read_card
from disburse.domain.money import read_amount
from disburse.domain.outcomes import Rejected
from disburse.operations.desk import Batches, Desk
from disburse.operations.payouts import CreatePayout, create
from disburse.storage.database import Transaction
from tests.api.house import BANK, FEES, SANDBOX, House
from tests.api.unitpay_client import (
    CALLS,
    CARD_CALL,
    FREE_CALL,
    PHONE,
    SBP_CALL,
    Client,
    blamed,
    code,
    open_door,
)

MISMATCH = "payout.reference_mismatch"


def another_process(house: House) -> Desk:
    """A second desk on the same database and keys, with queues of its own, as another process has."""
    return Desk(
        house.database, house.world, house.vault, house.desk.installation, routes=(BANK,), fees=FEES,
        batches=Batches(lambda operation, size: None),
    )  # fmt: skip


@asynccontextmanager
async def stalled(dsn: str) -> AsyncIterator[asyncpg.Connection[Any]]:
    """The database does nothing for any merchant: somebody else holds the one lock. Yields a connection to watch it by."""
    holder, watcher = await asyncpg.connect(dsn), await asyncpg.connect(dsn)
    try:
        async with holder.transaction():
            await holder.execute("SELECT 1 FROM disburse.merchants FOR UPDATE")
            yield watcher
    finally:
        await holder.close()
        await watcher.close()


async def somebody_waits(watcher: asyncpg.Connection[Any], count: int) -> None:
    """Until so many transactions wait for the lock."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    while await watcher.fetchval(waiting) < count:
        await asyncio.sleep(0)


@asynccontextmanager
async def open_transaction(dsn: str) -> AsyncIterator[asyncpg.Connection[Any]]:
    """A connection of another process with a transaction under way; it commits at the end."""
    connection = await asyncpg.connect(dsn, server_settings={"search_path": "disburse"})
    try:
        async with connection.transaction():
            yield connection
    finally:
        await connection.close()


def draft_of(house: House, shop: Client) -> CreatePayout:
    """What another process makes of a massPayment with the id `made elsewhere`."""
    return another_process(house).draft(
        shop.merchant, read_card("4111111111111111", luhn=True), read_amount("10.00", "RUB"), surface="unitpay",
        reference="made elsewhere", amount_text="10.00", execute=True, actor="test",
    )  # fmt: skip


# --- a known transactionId ----------------------------------------------------------------------------------------


async def test_repeat_answers_the_stored_payout(house: House, shop: Client) -> None:
    """A repeat gets the stored payout's present state, at any time, and makes nothing."""
    first = await shop.paid()
    assert await shop.paid() == first == (await shop.status())["result"]
    await house.settle()
    done = await shop.paid()
    assert (done["status"], done["payoutId"]) == ("success", first["payoutId"])
    assert len(await house.payouts(shop.merchant)) == 1
    assert await house.events(shop.merchant, MISMATCH) == 0


async def test_repeat_of_a_failed_payout(house: House, shop: Client) -> None:
    """A repeat of a payout that failed gets `result` with `error`, never the error envelope, and no second try."""
    await shop.paid()
    await house.settle(Rejected("refused by the bank"))
    again = await shop.paid()
    assert again["status"] == "error"
    assert again == (await shop.status())["result"]
    assert [str(payout.state) for payout in await house.payouts(shop.merchant)] == ["failed"]


WHATEVER_ELSE: list[dict[str, str | None]] = [
    {"sum": "999.00"},
    {"sum": "-1"},
    {"sum": None},
    {"sum": "1e999999"},
    {"sum": "9999999999999.99"},
    {"sum": "0.50"},
    {"purse": None},
    {"purse": "4111111111111112"},
    {"purse": "5" * 101},
    {"paymentType": None},
    {"paymentType": "sberpay"},
    {"paymentType": "yandex"},
    {"paymentType": "sbp", "purse": PHONE},
    {"paymentType": "sbp", "purse": PHONE, "memberId": "1"},
    {"comment": "x" * 1001},
    {"projectId": "not a number"},
    {"test": "2"},
    {"sum": None, "purse": None, "paymentType": None},
]


async def test_whatever_else_a_repeat_sends(shop: Client) -> None:
    """A known id gets its payout's state whatever the other parameters are: different, wrong or missing."""
    first = await shop.paid()
    for changes in WHATEVER_ELSE:
        assert await shop.paid({**CARD_CALL, **changes}) == first, changes


async def test_repeat_under_any_circumstances(house: House, shop: Client) -> None:
    """The look-up comes before every check: payouts off or denied, no route, no money, a new minimum do not change the answer."""
    first = await shop.paid()
    for payouts in ("off", "denied", "on"):
        await house.set(shop.merchant, payouts=payouts)
        assert await shop.paid() == first == (await shop.status())["result"]
    for routes in ((), (SANDBOX,), (BANK,)):
        house.desk.routes = routes
        assert await shop.paid() == first
    strict = Client(open_door(house, minimums={"card": 10**9}), shop.made)
    assert await strict.paid() == first
    await shop.paid(FREE_CALL, transactionId="the rest", sum="99960.00")
    assert await shop.paid() == first | {"partnerBalance": "0.00"}


async def test_repeat_needs_the_three(shop: Client) -> None:
    """Even on a repeat, login and key must be right and there must be one transactionId."""
    await shop.paid()
    assert code(await shop.pay(secretKey="wrong")) == -32000
    assert code(await shop.pay(login="x@example.com")) == -32000
    assert blamed(await shop.pay(transactionId=None)) == "transactionId"
    query = shop.request("massPayment", CARD_CALL).query + b"&sum=11.00"
    document = await shop.door.answer(type(shop.request("x", {}))("GET", "/api", query, {}, b""))
    assert b"-32602" in document.body  # one name with two values, on a repeat too


async def test_test_mode_is_not_a_repeat(shop: Client) -> None:
    """A known id with test=1 is a question to the test mode: it needs the test key, and shows nothing of the payout."""
    await shop.paid()
    assert code(await shop.pay(test="1")) == -32000
    tested = await shop.paid(test="1", secretKey=shop.made.unitpay_test_key)
    assert tested["payoutId"] == str(shop.merchant.merchant_id)


async def test_differing_content_is_told_once_each(house: House, shop: Client) -> None:
    """A known id with other valid content gets the stored state, and one event for each content that differs."""
    first = await shop.paid()
    told = []
    for changes in ({"sum": "11.00"}, {"sum": "11"}, {"sum": "12.00"}, SBP_CALL, SBP_CALL, {"sum": "10"}):
        assert await shop.paid({**CARD_CALL, **changes}) == first
        told.append(await house.events(shop.merchant, MISMATCH))
    assert told == [1, 1, 2, 3, 3, 3]
    assert len(await house.payouts(shop.merchant)) == 1


async def test_differing_content_while_payouts_are_off(house: House, shop: Client) -> None:
    """Differing content is told even when it could not be paid now; content that cannot be read is not."""
    first = await shop.paid()
    await house.set(shop.merchant, payouts="off")
    for changes in ({"sum": "11.00"}, {"sum": "11.00"}, {"sum": "0.50"}, {"sum": "x"}, FREE_CALL | {"purse": "x"}):
        assert await shop.paid({**CARD_CALL, **changes}) == first
    assert await house.events(shop.merchant, MISMATCH) == 2


async def test_refusals_do_not_use_up_an_id(house: House, shop: Client) -> None:
    """However an id was refused, it may be used when the cause is gone."""
    await house.set(shop.merchant, payouts="off")
    assert code(await shop.pay()) == 100
    await house.set(shop.merchant, payouts="denied")
    assert code(await shop.pay()) == 101
    await house.set(shop.merchant, payouts="on")
    house.desk.routes = (SANDBOX.__class__("x", frozenset({"sbp"}), frozenset({"RUB"})),)
    assert code(await shop.pay()) == 122
    house.desk.routes = (BANK,)
    for changes, expected in (
        ({"secretKey": "x"}, -32000), ({"sum": "1,0"}, -32602), ({"sum": "1.00"}, 102), ({"sum": "100000.00"}, 103),
        ({"purse": "4111111111111112"}, 1052), (CALLS["sbp"] | {"purse": "7"}, 1053), (FREE_CALL | {"purse": "Z1"}, 1051),
    ):  # fmt: skip
        assert code(await shop.pay({**CARD_CALL, **changes})) == expected
    assert blamed(await shop.status()) == "transactionId"
    assert (await shop.paid())["status"] == "not_completed"


async def test_unknown_transaction_id(shop: Client) -> None:
    """massPaymentStatus for an id that no payout has is -32602, naming transactionId."""
    assert blamed(await shop.status("never seen")) == "transactionId"
    assert blamed(await shop.ask("massPaymentStatus")) == "transactionId"


async def test_ids_are_texts(house: House, shop: Client) -> None:
    """transactionIds are texts: what is written differently is another payout; white space at the ends is not written."""
    texts = ["a", "A", "1", "01", "é", "e\u0301", "1 2", "12", "x" * 200]
    for text in texts:
        await shop.paid(FREE_CALL, transactionId=text)
        await shop.paid(FREE_CALL, transactionId=f" {text} ")
    assert [payout.reference for payout in await house.payouts(shop.merchant)] == texts


# --- in a crowd ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer_wait_ms", [0, 6000])
async def test_fifty_at_once_with_one_id(house: House, answer_wait_ms: int) -> None:
    """50 simultaneous calls with one transactionId, to two processes, make one payout, one payoutId and no error."""
    made = await house.merchant(answer_wait_ms=answer_wait_ms)
    house.answer_at_once()
    other = another_process(house)
    other.on_due, other.on_final = house.desk.on_due, lambda: None
    other.finals = house.desk.finals  # what a worker in one process ends is told to the other within a moment
    shops = [Client(open_door(house), made), Client(open_door(house, desk=other), made)]
    answers = await asyncio.gather(*(shops[number % 2].paid() for number in range(50)))
    assert len({answer["payoutId"] for answer in answers}) == 1
    assert {answer["status"] for answer in answers} <= {"success", "not_completed"}
    [payout] = await house.payouts(made.merchant)
    assert payout.number == 1
    await house.close()
    balances = await house.balances(made.merchant)
    assert balances == {"available": "99960.00", "fees": "30.00", "funding": "-100000.00", "paid:bank": "10.00"}


async def test_fifty_at_once_with_one_id_and_other_contents(house: House, shop: Client) -> None:
    """50 simultaneous calls with one transactionId and 50 sums make one payout, whose sum all of them are told."""
    answers = await asyncio.gather(*(shop.paid(FREE_CALL, sum=f"10.{cents:02d}") for cents in range(50)))
    assert len({(answer["payoutId"], answer["sum"]) for answer in answers}) == 1
    assert len(await house.payouts(shop.merchant)) == 1
    assert await house.events(shop.merchant, MISMATCH) == 49


async def test_fifty_racing_for_the_last_money(house: House) -> None:
    """50 ids racing, in two processes, for money that is enough for 20: 20 payouts, 30 times 103, and no overdraft."""
    made = await house.merchant(funds="200.00")
    shops = [Client(open_door(house), made), Client(open_door(house, desk=another_process(house)), made)]
    answers = await asyncio.gather(
        *(shops[number % 2].pay(FREE_CALL, transactionId=str(number)) for number in range(50))
    )
    refused = [answer for answer in answers if "error" in answer]
    assert [code(answer) for answer in refused] == [103] * 30
    assert len(await house.payouts(made.merchant)) == 20
    assert await house.balances(made.merchant) == {"held": "200.00", "funding": "-200.00"}
    left = {answer["result"]["partnerBalance"] for answer in answers if "result" in answer}
    assert left == {f"{rest}.00" for rest in range(0, 200, 10)}


# --- a database that stalls ---------------------------------------------------------------------------------------


async def test_answer_comes_in_time(house: House, dsn: str) -> None:
    """While the database stalls, the answer is -32603 in time; afterwards the payout is there, once, and a repeat finds it."""
    shop = Client(open_door(house, answer_within_s=0.3), await house.merchant())
    async with stalled(dsn):
        began = house.world.clock.monotonic()
        assert code(await shop.pay()) == -32603
        assert house.world.clock.monotonic() - began < 1.0
    await house.desk.drain()
    [payout] = await house.payouts(shop.merchant)
    patient = Client(open_door(house), shop.made)
    assert (await patient.paid())["payoutId"] == str(payout.number * 2**20 + shop.merchant.merchant_id)


async def test_status_of_what_is_being_made(house: House, dsn: str, shop: Client) -> None:
    """While a create command waits for its commit here, massPaymentStatus says -32603, not "unknown"; so does a bad repeat."""
    async with stalled(dsn) as watcher:
        making = asyncio.create_task(shop.paid())
        await somebody_waits(watcher, 1)
        assert code(await shop.status()) == -32603
        assert code(await shop.pay(sum="x")) == -32603
    made = await making
    assert (await shop.status())["result"] == made
    assert blamed(await shop.status("another")) == "transactionId"


async def test_status_of_what_another_process_is_making(house: House, dsn: str, shop: Client) -> None:
    """What another process has written and not yet committed is not called unknown: its commit is waited for, as long as may be."""
    here, hasty = Client(open_door(house), shop.made), Client(open_door(house, answer_within_s=0.3), shop.made)
    draft = draft_of(house, shop)
    async with open_transaction(dsn) as elsewhere:
        await create(Transaction(elsewhere, rerun=False), 0, [draft])
        assert code(await hasty.status("made elsewhere")) == -32603
        asking = asyncio.create_task(here.status("made elsewhere"))
        repeating = asyncio.create_task(here.pay(transactionId="made elsewhere", sum="x"))
    assert (await asking)["result"]["status"] == (await repeating)["result"]["status"] == "not_completed"


async def test_status_of_what_is_known_while_it_is_repeated(dsn: str, shop: Client) -> None:
    """While a repeat of a known id waits, massPaymentStatus tells the stored state."""
    made = await shop.paid()
    async with stalled(dsn) as watcher:
        repeating = asyncio.create_task(shop.paid(sum="11.00"))
        await somebody_waits(watcher, 1)
        assert (await shop.status())["result"] == made
    assert await repeating == made


async def test_what_never_began_is_never_made(house: House, dsn: str) -> None:
    """A call whose transaction did not begin in its time is answered -32603 and is not carried out later."""
    made = await house.merchant()
    patient, hasty = Client(open_door(house), made), Client(open_door(house, answer_within_s=0.3), made)
    async with stalled(dsn) as watcher:
        ahead = asyncio.create_task(patient.paid(transactionId="ahead"))  # the bucket's writer is busy with it
        await somebody_waits(watcher, 1)
        assert code(await hasty.pay(transactionId="late")) == -32603
    await ahead
    await house.desk.drain()
    assert [payout.reference for payout in await house.payouts(made.merchant)] == ["ahead"]
    assert blamed(await patient.status("late")) == "transactionId"


async def test_database_away(house: House) -> None:
    """With the database away everything that needs it is answered -32603, in time."""
    shop = Client(open_door(house, answer_within_s=0.3), await house.merchant())
    await shop.ask("getSbpBankList")
    await house.database.close()
    for method in ("massPaymentStatus", "getPartner", "massPaymentAvailableAmount"):
        assert code(await shop.ask(method, CARD_CALL)) == -32603
    house.desk.recognition.forget()
    assert code(await shop.ask("getSbpBankList")) == -32603  # who asks is not known either


async def test_a_wait_that_is_cut_short(house: House) -> None:
    """However long a merchant wants to wait for the end, the answer of a committed payout comes in time: `not_completed`."""
    shop = Client(open_door(house, answer_within_s=1.0), await house.merchant(answer_wait_ms=6000))
    assert (await shop.paid())["status"] == "not_completed"


async def test_a_caller_that_hangs_up(house: House, dsn: str, shop: Client) -> None:
    """A caller that goes away does not take its payout along: it is made, and a repeat finds it."""
    async with stalled(dsn) as watcher:
        calling = asyncio.create_task(shop.paid())
        await somebody_waits(watcher, 1)
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
    await house.desk.drain()
    assert len(await house.payouts(shop.merchant)) == 1
    assert (await shop.paid())["status"] == "not_completed"
