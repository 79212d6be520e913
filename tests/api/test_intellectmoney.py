"""The IntellectMoney door: methods in every spelling and carrier, answers in both formats, from create to the end of a payout."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from itertools import product
from pathlib import Path
from urllib.parse import urlencode

import asyncpg
import pytest

from disburse.api.intellectmoney import IntellectMoneyDoor
from disburse.api.kernel import Why
from disburse.domain.destinations import read_card
from disburse.domain.money import read_amount
from disburse.domain.ports import World
from disburse.operations.payouts import Found
from disburse.protocols.wire import FORM, JSON, WireRequest
from disburse.storage.database import Database
from tests.api.house import SANDBOX, House, build_house
from tests.api.intellectmoney_shop import (
    AS_JSON,
    BANKS,
    CARD,
    CREATING,
    MONEY,
    TO_CARD,
    TO_PHONE,
    Shop,
    form,
    open_shop,
    path_of,
    post,
    read,
)

NOBODYS = "81fa5265-de0b-498d-be37-5d48f4aa3ba1"


@pytest.fixture
async def shop(house: House) -> Shop:
    """A shop whose payouts go to a provider of real money."""
    return await open_shop(house)


@pytest.fixture
async def sandbox_shop(database: Database, world: World, tmp_path: Path) -> Shop:
    """A shop in a house that has a sandbox alone."""
    return await open_shop(await build_house(database, world, tmp_path, routes=(SANDBOX,)))


# --- methods, carriers, formats ---


async def test_creating(sandbox_shop: Shop) -> None:
    """Every create method, however spelled, makes one payout that holds nothing and says Created."""
    for method, params, rail in CREATING:
        reply = await sandbox_shop.call(method, **params, **MONEY)
        payout = (await sandbox_shop.house.payouts(sandbox_shop.merchant))[-1]
        assert (reply.status, reply.state, reply.guid) == (200, "Created", str(payout.payout_id)), method
        assert (payout.rail, payout.amount_minor, payout.amount_text) == (rail, 50_00, "50"), method
        assert (payout.surface, payout.reference) == ("intellectmoney", None), method
    assert len(await sandbox_shop.house.payouts(sandbox_shop.merchant)) == len(CREATING)
    assert set(await sandbox_shop.house.balances(sandbox_shop.merchant)) == {"funding", "available"}


async def test_the_three_steps(shop: Shop) -> None:
    """Create, execute and ask, in both generations: InProgress is the old ExecuteOperation's word alone."""
    for execute, ask, word in [
        ("ExecuteOperation", "GetOperationState", "InProgress"),
        ("executeOperation", "getOperationState", "InProcess"),
    ]:
        guid = (await shop.create()).guid
        assert (await shop.call(ask, PayoutOperationId=guid)).state == "Created"
        reply = await shop.call(execute, PayoutOperationId=guid)
        assert (reply.state, reply.guid) == (word, guid)
        assert (await shop.call(ask, PayoutOperationId=guid)).state == "InProcess"
        await shop.house.settle()
        assert (await shop.call(ask, PayoutOperationId=guid)).state == "Completed"
        assert (await shop.call(execute, PayoutOperationId=guid)).state == "Completed"


async def test_the_books_of_a_payout(shop: Shop) -> None:
    """Execute holds amount and fee in the merchant's name; create does not."""
    guid = (await shop.create(amount="100.00")).guid
    assert "held" not in await shop.house.balances(shop.merchant)
    await shop.call("executeOperation", PayoutOperationId=guid)
    assert (await shop.house.balances(shop.merchant))["held"] == "100.70"
    [payout] = await shop.house.payouts(shop.merchant)
    actor = await shop.house.database.run(
        lambda tx: tx.fetchval("SELECT actor FROM postings WHERE origin_id = $1", payout.payout_id)
    )
    assert actor == f"merchant:{shop.merchant.merchant_id}/intellectmoney"


FORM_HEADERS = {"Content-Type": FORM, **AS_JSON}


def xml_of(params: dict[str, str]) -> bytes:
    return f"<Any>{''.join(f'<{name}>{value}</{name}>' for name, value in params.items())}</Any>".encode()


CARRIERS: dict[str, Callable[[str, dict[str, str]], WireRequest]] = {
    "form": lambda path, params: post(path, body=urlencode(params).encode(), headers=FORM_HEADERS),
    "json": lambda path, params: post(
        path, body=json.dumps(params).encode(), headers={"Content-Type": JSON, **AS_JSON}
    ),
    "json without a type": lambda path, params: post(path, body=json.dumps(params).encode()),
    "xml": lambda path, params: post(path, body=xml_of(params), headers={"Content-Type": "application/xml", **AS_JSON}),
    "query": lambda path, params: post(path, query=urlencode(params).encode()),
    "query and form": lambda path, params: post(
        path, query=urlencode(params).encode(), body=urlencode(params).encode(), headers=FORM_HEADERS
    ),
    "names in lower case": lambda path, params: post(
        path, query=urlencode({name.lower(): value for name, value in params.items()}).encode()
    ),
}


async def test_carriers(shop: Shop) -> None:
    """Parameters come as a form, JSON, XML or in the query, and the whole life works in each."""
    who = {"Login": "shop@example.com", "Password": shop.made.password}
    for name, carry in CARRIERS.items():
        token = (await shop.send(carry(path_of("getUserToken"), who))).body["Result"]["UserToken"]
        created = await shop.send(carry(path_of("createOperation"), {"UserToken": token, **TO_PHONE, **MONEY}))
        which = {"UserToken": token, "PayoutOperationId": created.guid}
        assert (await shop.send(carry(path_of("executeOperation"), which))).state == "InProcess", name
        assert (await shop.send(carry(path_of("getOperationState"), which))).state == "InProcess", name


FORMATS = [
    # Accept, the account's switch; payout paths, Personal API
    ("application/json", False, "json", "json"),
    ("text/json", False, "json", "json"),
    ("text/html, application/JSON;q=0.1", False, "json", "json"),
    ("*/*", False, "xml", "xml"),
    (None, False, "xml", "xml"),
    ("application/xml", False, "xml", "xml"),
    ("*/*", True, "json", "xml"),
    (None, True, "json", "xml"),
    ("text/xml", True, "xml", "xml"),
]


async def test_formats(shop: Shop) -> None:
    """JSON when Accept holds it, else XML; an account may switch its payout paths to JSON, which an Accept of XML overrides."""
    types = {"json": "application/json", "xml": "text/xml; charset=utf-8"}
    params = {"UserToken": shop.token, **TO_PHONE, **MONEY}
    who = {"Login": shop.merchant.login, "Password": shop.made.password}
    for accept, switched, payout_format, token_format in FORMATS:
        await shop.house.set(shop.merchant, json_by_default=switched)
        headers = {"Accept": accept} if accept is not None else {}
        created = await shop.send(form("CreateOperation", params, headers))
        refused = await shop.send(form("CreateOperation", params | {"Amount": "0"}, headers))
        token = await shop.send(form("getUserToken", who, headers))
        assert created.content_type == refused.content_type == types[payout_format], (accept, switched)
        assert token.content_type == types[token_format], (accept, switched)
        assert (created.state, refused.word, token.code) == ("Created", "BAD_AMOUNT", 0)


async def test_the_envelope(shop: Shop) -> None:
    """Every answer has a fresh OperationId; EshopId stands on new paths alone; on code 2 Result is null, on 0 State comes first."""
    done, again, no = [await shop.create(), await shop.create(), await shop.create(amount="0")]
    assert len({one.body["OperationId"] for one in (done, again, no)}) == 3
    assert list(done.body) == ["OperationState", "OperationId", "EshopId", "Result"]
    assert done.body["EshopId"] is None and no.body["Result"] is None and no.code == 2
    assert list(done.body["Result"]) == ["State", "PayoutOperationId", "PayoutOperationState"]
    assert done.body["OperationState"] == done.body["Result"]["State"] == {"Code": 0, "Desc": "Success"}
    old = await shop.call("GetOperationState", PayoutOperationId=done.guid)
    assert list(old.body) == ["OperationState", "OperationId", "Result"]


async def test_the_shops_number(shop: Shop) -> None:
    """EshopId is the account's own; a create that names one gets it back; old paths leave it out all the same."""
    await shop.house.set(shop.merchant, eshop_id=465932)
    made = await shop.create()
    assert made.body["EshopId"] == 465932
    named = await shop.call("createOperation", **TO_PHONE, **MONEY, EshopId="7")
    assert named.body["EshopId"] == 7
    asked = await shop.call("getOperationState", PayoutOperationId=made.guid)
    assert asked.body["EshopId"] == 465932
    assert "EshopId" not in (await shop.call("GetOperationState", PayoutOperationId=made.guid)).body


async def test_the_forced_word(shop: Shop) -> None:
    """One setting of the account makes every method say the same word while a payout is under way."""
    guid = await shop.executed()
    for forced in ("InProcess", "InProgress"):
        await shop.house.set(shop.merchant, state_word=forced)
        for method in ("ExecuteOperation", "executeOperation", "GetOperationState", "getOperationState"):
            assert (await shop.call(method, PayoutOperationId=guid)).state == forced


async def test_other_verbs(shop: Shop) -> None:
    """Anything but POST is HTTP 405, in the envelope, and nothing is done."""
    query = urlencode({"UserToken": shop.token, **TO_PHONE, **MONEY}).encode()
    for verb in ("GET", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "post"):
        reply = await shop.send(post(path_of("createOperation"), query=query, verb=verb))
        assert (reply.status, reply.word) == (405, "WRONG_VERB"), verb
    assert await shop.untouched()


OTHER_PATHS = [
    "/personal/", "/personal/payout/", "/personal/payout/CancelOperation", "/personal/payout/createOperation/",
    "/personal/user/createOperation", "/personal/payout/getUserToken", "/personal/payout/create%4Fperation",
    "/personal/payout/ createOperation", "/personal/../payout/createOperation", "/personal/payout/createOperation\u212a",
]  # fmt: skip


async def test_other_paths(shop: Shop) -> None:
    """A path that is no method's is refused in the envelope."""
    query = urlencode({"UserToken": shop.token, **TO_PHONE, **MONEY}).encode()
    for path in OTHER_PATHS:
        reply = await shop.send(post(path, query=query))
        assert (reply.status, reply.word) == (200, "UNKNOWN_METHOD"), path
    assert await shop.untouched()


# --- execute and state ---


async def test_guids(shop: Shop) -> None:
    """A GUID is read in any case, in braces or without hyphens, and answered in lower case with hyphens (I6)."""
    guid = (await shop.create()).guid
    for written in (guid.upper(), guid.lower(), "{" + guid + "}", guid.replace("-", "")):
        for method in ("ExecuteOperation", "GetOperationState"):
            assert (await shop.call(method, PayoutOperationId=written)).guid == guid == guid.lower()


async def test_executing_twice(shop: Shop) -> None:
    """The second execute answers with the present state and holds nothing more, whatever happened in between."""
    guid = (await shop.create()).guid
    assert (await shop.call("ExecuteOperation", PayoutOperationId=guid)).state == "InProgress"
    once = await shop.house.balances(shop.merchant)
    assert (await shop.call("ExecuteOperation", PayoutOperationId=guid)).state == "InProgress"
    assert await shop.house.balances(shop.merchant) == once
    await shop.house.settle()
    assert (await shop.call("ExecuteOperation", PayoutOperationId=guid)).state == "Completed"
    assert [one.attempts for one in await shop.house.payouts(shop.merchant)] == [1]


async def test_executing_at_once(house: House) -> None:
    """Twenty executes of one operation at one moment hold its money once; of twenty operations the last money pays for one."""
    shop = await open_shop(house, funds="100.00")
    one, *others = [(await shop.create()).guid for _ in range(20)]
    replies = await asyncio.gather(*[shop.call("ExecuteOperation", PayoutOperationId=one) for _ in range(20)])
    assert {reply.state for reply in replies} == {"InProgress"}
    assert (await house.balances(shop.merchant))["held"] == "50.35"
    await house.top_up(shop.merchant, "0.70")
    replies = await asyncio.gather(*[shop.call("ExecuteOperation", PayoutOperationId=guid) for guid in others])
    assert sorted(reply.state for reply in replies) == ["InProgress"] + ["NotEnoughMoney"] * 18
    assert (await house.balances(shop.merchant)).get("available") is None


async def test_nobodys_and_somebody_elses(shop: Shop) -> None:
    """An id that does not exist and one of another merchant get the same answer, and nothing happens to either."""
    other = await open_shop(shop.house, "other@example.com")
    theirs = (await other.create()).guid
    for method in ("ExecuteOperation", "GetOperationState", "executeOperation", "getOperationState"):
        replies = [await shop.call(method, PayoutOperationId=guid) for guid in (NOBODYS, theirs)]
        assert replies[0].desc == replies[1].desc and replies[0].word == "UNKNOWN_OPERATION"
        assert replies[0].body["Result"] is replies[1].body["Result"] is None
    assert await other.state(theirs) == "Created"


async def test_not_enough_money(house: House) -> None:
    """Too little money is no refusal: the same operation is executed again after a top-up, and paid once."""
    shop = await open_shop(house, funds="50.00")
    guid = (await shop.create()).guid
    assert (await shop.call("ExecuteOperation", PayoutOperationId=guid)).state == "NotEnoughMoney"
    assert await shop.state(guid) == "NotEnoughMoney"
    assert "held" not in await house.balances(shop.merchant)
    await house.top_up(shop.merchant, "0.35")  # the fee of 0.7 %
    assert (await shop.call("ExecuteOperation", PayoutOperationId=guid)).state == "InProgress"
    assert await house.settle() and await shop.state(guid) == "Completed"


async def test_payouts_switched_off(shop: Shop) -> None:
    """With payouts off nothing is created and nothing new is sent; what was sent before can be asked about and executed again."""
    waiting, sent = (await shop.create()).guid, await shop.executed()
    for setting, word in [("off", "PAYOUTS_OFF"), ("denied", "PAYOUTS_DENIED")]:
        await shop.house.set(shop.merchant, payouts=setting)
        assert (await shop.create()).word == word
        assert (await shop.call("ExecuteOperation", PayoutOperationId=waiting)).word == word
        assert (await shop.call("ExecuteOperation", PayoutOperationId=NOBODYS)).word == "UNKNOWN_OPERATION"
        assert (await shop.call("ExecuteOperation", PayoutOperationId=sent)).state == "InProgress"
        assert (await shop.state(waiting), await shop.state(sent)) == ("Created", "InProcess")
    await shop.house.set(shop.merchant, payouts="on")
    assert (await shop.call("ExecuteOperation", PayoutOperationId=waiting)).state == "InProgress"


async def test_a_payout_of_another_surface(shop: Shop) -> None:
    """A merchant may ask for any payout of its own by its GUID, and execute again what was executed elsewhere: to no effect."""
    draft = shop.house.desk.draft(
        shop.merchant, read_card(CARD, luhn=True), read_amount("10", "RUB"), surface="own", reference="1",
        amount_text="10", execute=True, actor="test",
    )  # fmt: skip
    made = await shop.house.desk.create(shop.merchant, draft)
    assert isinstance(made, Found)
    before = await shop.house.balances(shop.merchant)
    guid = str(made.payout.payout_id)
    assert await shop.state(guid) == "InProcess"
    assert (await shop.call("executeOperation", PayoutOperationId=guid)).state == "InProcess"
    assert await shop.house.balances(shop.merchant) == before


# --- when the house cannot answer ---


REFUSING: list[tuple[Why, str]] = [
    ("too_large", "TOO_LARGE"),
    ("too_slow", "TOO_SLOW"),
    ("bad_encoding", "BAD_ENCODING"),
    ("overloaded", "TRY_LATER"),
    ("late", "TRY_LATER"),
    ("broken", "INTERNAL_ERROR"),
]


async def test_refusing_for_the_kernel(shop: Shop) -> None:
    """Whatever stops a request, it is answered in the envelope and in the caller's format; an execute is sent to ask the state."""
    formats = [("text/json", "application/json"), ("*/*", "text/xml; charset=utf-8")]
    methods = ["getUserToken", "CreateOperation", "executeOperation", "GetOperationState", "Nothing"]
    for method, (why, word), (accept, content_type) in product(methods, REFUSING, formats):
        reply = read(shop.door.refuse(post(path_of(method), headers={"Accept": accept}), why))
        assert (reply.status, reply.word, reply.content_type) == (200, word, content_type)
        asks = "ask for its state" in reply.desc
        assert asks == (method == "executeOperation" and why in ("late", "broken"))


async def test_the_database_keeps_us_waiting(shop: Shop, dsn: str) -> None:
    """Every method is answered in time: try later, and for an execute: ask for the state. What was begun is done all the same."""
    guid = (await shop.create()).guid
    hasty = IntellectMoneyDoor(shop.house.desk, world=shop.house.world, banks=BANKS, answer_within_s=0.3)
    own = {"UserToken": shop.token}
    requests = {
        "token": form("getUserToken", {"Login": shop.merchant.login, "Password": shop.made.password}),
        "create": form("CreateBankCardRussiaOperation", own | TO_CARD | MONEY),
        "state": form("GetOperationState", own | {"PayoutOperationId": guid}),
        "execute": form("ExecuteOperation", own | {"PayoutOperationId": guid}),
    }
    connection = await asyncpg.connect(dsn)
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE disburse.payouts, disburse.tokens, disburse.lookups")
            replies = dict(zip(requests, await asyncio.gather(*map(hasty.answer, requests.values())), strict=True))
    finally:
        await connection.close()
    assert {read(reply).word for reply in replies.values()} == {"TRY_LATER"}
    assert [name for name, reply in replies.items() if "ask for its state" in read(reply).desc] == ["execute"]
    await shop.house.desk.drain()
    assert await shop.state(guid) == "InProcess"
    assert len(await shop.house.payouts(shop.merchant)) == 2  # the other was made for nobody, and holds nothing


async def test_a_deadline_that_has_passed(shop: Shop) -> None:
    """A command that could not begin in time is withdrawn, and the answer says to try later."""
    guid = (await shop.create()).guid
    late = IntellectMoneyDoor(shop.house.desk, world=shop.house.world, banks=BANKS, begin_within_s=-1)
    for method, params in [
        ("CreateBankCardRussiaOperation", TO_CARD | MONEY),
        ("ExecuteOperation", {"PayoutOperationId": guid}),
    ]:
        assert read(await late.answer(form(method, {"UserToken": shop.token, **params}))).word == "TRY_LATER"
    assert [str(one.state) for one in await shop.house.payouts(shop.merchant)] == ["created"]
