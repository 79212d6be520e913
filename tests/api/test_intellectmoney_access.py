"""Who may come in through the IntellectMoney door: credentials, tokens and their time, Bearer, Sign. Time is moved, not waited for."""

from __future__ import annotations

import asyncio
import hashlib
import json
from itertools import pairwise
from urllib.parse import quote, urlencode

import pytest

from disburse.api.intellectmoney import IntellectMoneyDoor
from disburse.domain.ports import World
from disburse.operations.recognise import REFUSED_EVERY_S, TOKEN_LIFE
from disburse.operations.secrets import digest
from disburse.protocols.wire import JSON
from disburse.storage import merchants
from disburse.storage.database import Database
from disburse.world import RealRandom
from tests.api.house import House
from tests.api.intellectmoney_shop import (
    AS_JSON,
    BANKS,
    PHONE,
    TBANK,
    Reply,
    Shop,
    door_of,
    form,
    open_shop,
    path_of,
    plant_token,
    post,
    read,
)
from tests.clock import FakeClock, told_by

KEY, BEARER = "signSecret0", "808e1cc4630440858f5199e4c0a3e706"
ORDER = {"PreferenceType": "OutSbp", "Account": PHONE, "BankId": TBANK, "Amount": "50.00", "Currency": "RUB"}
TOKEN = "4t+5WKHtcey4Ch7P2jodi/3RyaG74giGEooE5HXngVt/32V8amsmdClb8fx6hj+"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def world(clock: FakeClock) -> World:
    """Time moves by the test's hand alone."""
    return World(clock, RealRandom())


@pytest.fixture
def database(database: Database, clock: FakeClock) -> Database:
    """The database's clock, too, shows what the test says."""
    return told_by(database, clock.now)


@pytest.fixture
async def shop(house: House) -> Shop:
    """A shop whose signing key and bearer token are known."""
    return await open_shop(house, secrets={"sign_secret_key": KEY, "bearer_token": BEARER, "password": "p@ss word"})


def signed(*segments: str) -> str:
    """The digest as the provider's page describes it, by other code than the codec's."""
    return hashlib.sha256("::".join([*segments, KEY]).encode()).hexdigest()


def sign_of(token: str) -> str:
    return signed(token, "OutSbp", "", PHONE, TBANK, "50.00", "RUB", "", "")


# --- tokens ---


@pytest.mark.parametrize("path", ["/personal/user/getUserToken", "/personal/user/GETUSERTOKEN"])
async def test_a_token_is_given_and_works(shop: Shop, path: str) -> None:
    """The cabinet's credentials, the login in any case, get a token; each call gives another and all of them live."""
    tokens = []
    for login in ("shop@example.com", " SHOP@example.com "):
        body = urlencode({"Login": login, "Password": "p@ss word"}).encode()
        reply = await shop.send(post(path, body=body))
        assert reply.body["OperationState"]["Code"] == reply.body["Result"]["State"]["Code"] == 0
        assert list(reply.body["Result"]) == ["State", "UserToken"]
        tokens.append(reply.body["Result"]["UserToken"])
    assert len(set(tokens)) == 2
    for token in (*tokens, shop.token):
        assert (await shop.send(form("CreateOperation", {"UserToken": token, **ORDER}))).state == "Created"


async def test_wrong_credentials(shop: Shop, clock: FakeClock) -> None:
    """A wrong password and an unknown login get one answer, OperationState 2, and so does another merchant's password.

    They get it at one moment too, though the merchant is in memory by then and strangers are looked for in the database.
    """
    other = await open_shop(shop.house, "other@example.com")
    wrong = [
        (shop.merchant.login, "wrong"), (shop.merchant.login, "P@SS WORD"), ("nobody@example.com", "p@ss word"),
        (shop.merchant.login, other.made.password), ("' OR 1=1 --", "' OR 1=1 --"), (shop.merchant.login, "пароль"),
    ]  # fmt: skip
    assert (await shop.send(form("getUserToken", {"Login": shop.merchant.login, "Password": "p@ss word"}))).code == 0
    for login, password in wrong:
        request, asleep = form("getUserToken", {"Login": login, "Password": password}), clock.asleep
        asking = asyncio.get_running_loop().create_task(shop.send(request))
        async with asyncio.timeout(5):
            while clock.asleep == asleep:  # the database has been asked by then, if it is asked at all
                await asyncio.sleep(0.001)
        await clock.advance(REFUSED_EVERY_S - 0.001)
        assert not asking.done(), login
        await clock.advance(0.001)
        reply = await asking
        assert reply.desc == "[WRONG_CREDENTIALS] The Login or the Password is wrong."
    for missing in ({"Login": shop.merchant.login}, {"Password": "p@ss word"}, {}):
        assert (await shop.send(form("getUserToken", missing))).word == "BAD_REQUEST"


async def test_a_token_ends(shop: Shop, clock: FakeClock) -> None:
    """A token nobody uses lives for half an hour and not a moment longer."""
    await clock.advance(TOKEN_LIFE.total_seconds() - 1)
    guid = (await shop.create()).guid
    await clock.advance(TOKEN_LIFE.total_seconds())
    for method in ("CreateOperation", "ExecuteOperation", "GetOperationState", "executeOperation"):
        reply = await shop.call(method, **ORDER, PayoutOperationId=guid)
        assert reply.desc.startswith("[TOKEN_EXPIRED] ")
    assert [str(payout.state) for payout in await shop.house.payouts(shop.merchant)] == ["created"]


async def test_a_token_that_is_used_lives_on(shop: Shop, clock: FakeClock) -> None:
    """Every use begins the half hour anew, and it is written once a minute at most."""

    async def ends() -> object:
        return await shop.house.database.run(lambda tx: merchants.find_token(tx, digest(shop.token)))

    written = [await ends()]
    for seconds in (10, 40, 20, 30):
        await clock.advance(seconds)
        await shop.create()
        written.append(await ends())
    assert [before != after for before, after in pairwise(written)] == [False, False, True, False]
    for _ in range(4):
        await clock.advance(20 * 60)
        assert (await shop.create()).state == "Created"


MENDED = [
    f"UserToken={quote(TOKEN, safe='')}",
    f"UserToken={TOKEN}",  # nobody escaped the plus signs: they arrive as spaces
    f"usertoken={quote(TOKEN[:40] + chr(13) + chr(10) + TOKEN[40:], safe='')}",
    f"UserToken=%20%20%0A{quote(TOKEN, safe='')}%0D%0A%20",
]


async def test_a_token_is_mended(shop: Shop) -> None:
    """Spaces in a form's token become plus signs again, and line breaks fall out of it (I12)."""
    await plant_token(shop.house, shop.merchant, TOKEN)
    for written in MENDED:
        reply = await shop.send(post(path_of("CreateOperation"), body=f"{written}&{urlencode(ORDER)}".encode()))
        assert reply.state == "Created", written


async def test_strangers(shop: Shop) -> None:
    """Without a token, with one nobody gave out, or with bytes that are none, nothing happens."""
    for token in ("", "nobody's", shop.token + "x", shop.token[:-1], shop.token.lower(), "я" * 80, "x" * 100_000):
        for method in ("CreateOperation", "ExecuteOperation", "GetOperationState"):
            reply = await shop.send(form(method, {"UserToken": token, **ORDER}))
            assert reply.word in ("TOKEN_EXPIRED", "BAD_REQUEST"), token[:80]
    assert await shop.untouched()


# --- Bearer and Sign ---

RIGHT = {"Authorization": f"Bearer {BEARER}"}
PROOFS = [
    # headers without the Sign, the Sign; an account that requires both, one that does not
    (RIGHT, "right", None, None),
    (RIGHT, "upper", None, None),
    ({"authorization": f"bearer   {BEARER} "}, "right", None, None),
    ({}, None, "BEARER_REQUIRED", None),
    ({}, "right", "BEARER_REQUIRED", None),
    (RIGHT, None, "SIGN_REQUIRED", None),
    ({"Authorization": "Basic c2hvcDpwYXNz"}, "right", "BEARER_REQUIRED", None),
    ({"Authorization": "Bearer wrong"}, "right", "WRONG_BEARER", "WRONG_BEARER"),
    ({"Authorization": "Bearer я"}, None, "WRONG_BEARER", "WRONG_BEARER"),
    (RIGHT, "wrong", "WRONG_SIGN", "WRONG_SIGN"),
    (RIGHT, "", "WRONG_SIGN", "WRONG_SIGN"),
    ({}, "wrong", "BEARER_REQUIRED", "WRONG_SIGN"),
    (RIGHT, "я", "WRONG_SIGN", "WRONG_SIGN"),
    (RIGHT, "right, right", "WRONG_SIGN", "WRONG_SIGN"),  # the header came twice
]


@pytest.mark.parametrize("require_sign", [True, False])
async def test_the_proofs(house: House, require_sign: bool) -> None:
    """Bearer and Sign are demanded of accounts that say so, and must be right whenever they are there."""
    secrets = {"sign_secret_key": KEY, "bearer_token": BEARER}
    shop = await open_shop(house, secrets=secrets, require_sign=require_sign)
    right = sign_of(shop.token)
    signs = {"right": right, "upper": right.upper(), "wrong": "0" * 64, "right, right": f"{right}, {right}"}
    made = 0
    for headers, sign, strict, lax in PROOFS:
        sent = {**AS_JSON, **headers} | ({"Sign": signs.get(sign, sign)} if sign is not None else {})
        reply = await shop.send(form("createOperation", {"UserToken": shop.token, **ORDER}, sent))
        wanted = strict if require_sign else lax
        assert (reply.state if wanted is None else reply.word) == (wanted or "Created"), (headers, sign)
        made += wanted is None
    assert len(await house.payouts(shop.merchant)) == made


async def test_every_method_is_protected(house: House) -> None:
    """An account that requires both proofs requires them of every method, getUserToken too."""
    secrets = {"sign_secret_key": KEY, "bearer_token": BEARER, "password": "p@ss"}
    shop = await open_shop(house, secrets=secrets, require_sign=True)
    token, login = shop.token, shop.merchant.login

    async def send(method: str, params: dict[str, str], sign: str) -> Reply:
        bare = await shop.send(form(method, params))
        half = await shop.send(form(method, params, AS_JSON | RIGHT))
        wrong = await shop.send(form(method, params, AS_JSON | RIGHT | {"Sign": signed("another")}))
        assert [bare.word, half.word, wrong.word] == ["BEARER_REQUIRED", "SIGN_REQUIRED", "WRONG_SIGN"]
        return await shop.send(form(method, params, AS_JSON | RIGHT | {"Sign": sign}))

    own, money = {"UserToken": token}, {"Amount": "50", "Currency": "RUB"}
    given = await send("getUserToken", {"Login": login, "Password": "p@ss"}, signed("", login, "p@ss", ""))
    assert given.code == 0
    guid = (await send("createOperation", own | ORDER, sign_of(token))).guid
    pan = "4111111111111111"
    card = await send("CreateBankCardRussiaOperation", own | money | {"Pan": pan}, signed(token, pan, "50", "RUB", ""))
    slip = await send("CreateQiviWalletOperation", own | money | {"Pan": pan}, signed(token, pan, "50", "RUB", ""))
    assert card.state == slip.state == "Created"
    wallet = await send(
        "CreateQiwiWalletOperation", own | money | {"Account": PHONE}, signed(token, PHONE, "50", "RUB", "")
    )
    assert wallet.word == "NO_ROUTE"  # it was let in
    which = own | {"PayoutOperationId": guid.upper()}
    for method, word in [
        ("executeOperation", "InProcess"),
        ("getOperationState", "InProcess"),
        ("ExecuteOperation", "InProgress"),
    ]:
        assert (await send(method, which, signed(token, guid.upper()))).state == word


AMOUNTS = [
    ('"50.00"', "50.00", True),
    ('"50"', "50", True),
    ('"50"', "50.00", False),  # text enters as it was sent
    ("50", "50", True),
    ("50", "50.00", True),  # a number has no one text: its literal, or two decimals
    ("50.0", "50.0", True),
    ("50.0", "50.00", True),
    ("50.0", "50", False),
]


async def test_sign_covers_amounts_as_sent(shop: Shop) -> None:
    """A Sign covers the amount as it was sent; for a JSON number its literal text, or two decimals."""
    members = {"UserToken": shop.token, **{name: value for name, value in ORDER.items() if name != "Amount"}}
    for literal, covered, right in AMOUNTS:
        body = json.dumps(members)[:-1] + f', "Amount": {literal}}}'
        sign = signed(shop.token, "OutSbp", "", PHONE, TBANK, covered, "RUB", "", "")
        headers = {"Content-Type": JSON, "Sign": sign, **AS_JSON}
        reply = await shop.send(post(path_of("createOperation"), body=body.encode(), headers=headers))
        assert (reply.state if right else reply.word) == ("Created" if right else "WRONG_SIGN"), (literal, covered)


async def test_a_sign_covers_names(shop: Shop) -> None:
    """Names in any script are signed as UTF-8."""
    sign = signed(shop.token, "OutSbp", "", PHONE, TBANK, "50.00", "RUB", "Иван И.", "465932")
    params = {"UserToken": shop.token, **ORDER, "RecipientName": "Иван И.", "EshopId": "465932"}
    assert (await shop.send(form("createOperation", params, AS_JSON | {"Sign": sign}))).body["EshopId"] == 465932


async def test_tokens_of_two_merchants(shop: Shop) -> None:
    """A Bearer token and a Sign of one merchant do nothing for the UserToken of another."""
    other = await open_shop(shop.house, "other@example.com")
    params = {"UserToken": other.token, **ORDER}
    theirs = await shop.send(form("createOperation", params, AS_JSON | RIGHT))
    signed_by_us = await shop.send(form("createOperation", params, AS_JSON | {"Sign": sign_of(other.token)}))
    assert (theirs.word, signed_by_us.word) == ("WRONG_BEARER", "WRONG_SIGN")
    assert await shop.untouched() and await other.untouched()


# --- time ---


async def test_what_nobody_executes_expires(shop: Shop, clock: FakeClock) -> None:
    """A day after its creation an operation is Deleted: execute itself finds that, and never sends it."""
    guids = [(await shop.create()).guid for _ in range(2)]
    await clock.advance(24 * 3600 - 1)
    shop.token = await shop.house.desk.recognition.issue_token(shop.merchant)
    assert (await shop.call("ExecuteOperation", PayoutOperationId=guids[0])).state == "InProgress"
    await clock.advance(1)
    assert await shop.state(guids[1]) == "Created"  # the sweeper may be late; execute is not
    for _ in range(2):
        assert (await shop.call("ExecuteOperation", PayoutOperationId=guids[1])).state == "Deleted"
    assert (await shop.state(guids[0]), await shop.state(guids[1])) == ("InProcess", "Deleted")
    assert (await shop.house.balances(shop.merchant))["held"] == "50.35"


async def test_a_refused_execute_gives_another_day(house: House, clock: FakeClock) -> None:
    """An operation that lacked money lives a day from its last execute, so a top-up is not too late."""
    shop = await open_shop(house, funds="10.00")
    guid = (await shop.create()).guid
    for _ in range(3):
        await clock.advance(23 * 3600)
        shop.token = await house.desk.recognition.issue_token(shop.merchant)
        assert (await shop.call("ExecuteOperation", PayoutOperationId=guid)).state == "NotEnoughMoney"
    await house.top_up(shop.merchant, "100.00")
    assert (await shop.call("ExecuteOperation", PayoutOperationId=guid)).state == "InProgress"


async def test_a_database_that_is_gone(shop: Shop, clock: FakeClock) -> None:
    """With no database at all the answer is to try later."""
    patient = IntellectMoneyDoor(shop.house.desk, world=shop.house.world, banks=BANKS, answer_within_s=100)
    await shop.house.database.close()
    request = form("getUserToken", {"Login": shop.merchant.login, "Password": "p@ss word"})
    answer = asyncio.get_running_loop().create_task(patient.answer(request))
    await clock.advance(90)
    assert read(await answer).word == "TRY_LATER"
    hasty = asyncio.get_running_loop().create_task(door_of(shop.house).answer(request))
    await clock.advance(7)
    assert read(await hasty).word == "TRY_LATER"
