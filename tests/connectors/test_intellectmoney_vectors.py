"""Every IntellectMoney vector, served to the connector over real HTTP: it yields what the page says that the answer means."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

import pytest

from disburse.connectors.contract import Question
from disburse.domain.destinations import Destination, Rail, read_card
from disburse.domain.outcomes import Accepted, Finding, NotExecuted, NotSent, Outcome, Rejected, Settled, Unknown
from tests.conformance.vectors import Vector, load
from tests.connectors.upstream import GUID, TOKEN, envelope, http, upstream

VECTORS = load("intellectmoney")
STATES: dict[str, Finding] = {  # the page's section 7, last column
    "Created": NotExecuted("state Created"),
    "SentToBank": Accepted(GUID),
    "InProcess": Accepted(GUID),
    "InProgress": Accepted(GUID),
    "Completed": Settled(GUID),
    "Failed": Rejected("provider_failed", provider_reference=GUID),
    "NotEnoughMoney": NotExecuted("state NotEnoughMoney"),
    "Canceled": Rejected("provider_cancelled", provider_reference=GUID),
    "Error": Unknown("ask: state Error"),
    "Deleted": Rejected("provider_deleted", provider_reference=GUID),
}
QUESTION = Question("id-1", GUID, 5.0)


def of(*methods: str) -> list[str]:
    return [name for name, vector in VECTORS.items() if vector["method"].lower() in [one.lower() for one in methods]]


def served(vector: Vector, word: str | None = None) -> bytes:
    response = vector["response"]
    if response.get("body_xml"):
        elsewhere = re.fullmatch(r"\(as in (.+)\)", response["body_xml"])
        xml = VECTORS[elsewhere[1]]["response"]["body_xml"] if elsewhere else response["body_xml"]
        return http(xml.encode()).replace(b"application/json", response["content_type"].encode())
    body = copy.deepcopy(response["body"])
    if word is not None:
        body["Result"]["PayoutOperationState"] = word
    return http(json.dumps(body).encode())


def generation_of(vector: Vector) -> str:
    sent = vector["request"]
    return "old" if sent is None or sent["path"].rpartition("/")[2][0].isupper() else "new"


def destination_of(params: dict[str, str]) -> Destination:
    """The vector's payee, or one that a driver may send to: the documented card has no check digit (I4), a wallet 11 digits (I5)."""
    if "BankId" in params:
        return Destination(Rail.SBP, params["Account"], params["BankId"], params.get("RecipientName"))
    if "Account" in params:
        return Destination(Rail.QIWI, params["Account"], name=params.get("RecipientName"))
    pan = params["Pan"] if len(params["Pan"]) < 20 else "4111111111111111"
    card = read_card(pan, luhn=True)
    return card.named(params["RecipientName"]) if "RecipientName" in params else card


@pytest.mark.parametrize("name", of("getUserToken"))
async def test_tokens(name: str) -> None:
    """A token is read out of JSON and XML, and the next call carries it whole."""
    vector = VECTORS[name]
    whole = "4t+5WKHtcey4Ch7P2jodi/3RyaG74giGEooE5HXngVt/32V8amsmdClb8fx6hj+"
    params = vector["request"]["decoded"]["params"]
    keys: dict[str, Any] = {"login": params["Login"], "password": params["Password"]}
    if "sign" in vector:
        keys["sign_secret_key"] = vector["sign"]["sign_secret_key"]
    async with upstream(getusertoken=served(vector)) as provider:
        assert await provider.connector(**keys).inquire(QUESTION) == Settled(GUID)
        asked, then = provider.sent
        assert (asked.method, then.params["UserToken"]) == ("getUserToken", whole)
        assert asked.params == params
        assert "sign" not in vector or asked.headers["sign"] == vector["sign"]["sha256"]


@pytest.mark.parametrize(
    "name", of("createOperation", "CreateBankCardRussiaOperation", "CreateQiwiWalletOperation", "CreateQiviWalletOperation")
)
async def test_creates(name: str) -> None:
    """What was made is remembered by the id in the answer and executed; the request is the vector's own where a driver may send it."""
    vector = VECTORS[name]
    params, generation = vector["request"]["decoded"]["params"], generation_of(vector)
    spelled = vector["request"]["path"].rpartition("/")[2]
    destination = destination_of(params)
    keys: dict[str, Any] = {"qivi_spelling": "Qivi" in spelled}
    if "sign" in vector:
        bearer = vector["request"]["headers"]["Authorization"].removeprefix("Bearer ")
        keys |= {"bearer": bearer, "sign_secret_key": vector["sign"]["sign_secret_key"]}
    if "EshopId" in params:
        keys["eshop_id"] = int(params["EshopId"])
    answer = envelope({"State": {"Code": 0, "Desc": ""}, "UserToken": params["UserToken"]})
    async with upstream(getusertoken=answer, **{spelled: served(vector)}) as provider:
        outcome = await provider.connector(generation, **keys).submit(provider.order(destination, params["Amount"]))
        _, create, execute = provider.sent
    assert outcome == Accepted(GUID) and provider.remembered == [GUID]
    assert execute.params["PayoutOperationId"] == GUID and execute.params["UserToken"] == params["UserToken"]
    if destination.rail is Rail.CARD:
        assert create.method in ("createOperation", "CreateBankCardRussiaOperation")  # I3: never by the wallet's path
    else:
        assert create.method == spelled
    wanted = {**params, "Pan": destination.number} if "Pan" in params else params
    assert create.params == {**wanted, "Amount": "50.00"}
    if "sign" in vector:
        assert create.headers["sign"] == vector["sign"]["sha256"]
        assert create.headers["authorization"] == vector["request"]["headers"]["Authorization"]


@pytest.mark.parametrize("name", of("ExecuteOperation"))
async def test_executes(name: str) -> None:
    """An operation under way is accepted, by whichever word of those the vector allows."""
    vector = VECTORS[name]
    words = vector["response"]["alternatives"]["/Result/PayoutOperationState"]
    for word in words:
        async with upstream(executeoperation=served(vector, word)) as provider:
            connector = provider.connector(generation_of(vector))
            assert await connector.submit(provider.order()) == Accepted(GUID)
            assert provider.remembered == [GUID] and provider.methods[-1].lower() == "executeoperation"


@pytest.mark.parametrize("generation", ["old", "new"])
@pytest.mark.parametrize("name", of("GetOperationState"))
async def test_states(name: str, generation: str) -> None:
    """A state means what the page's table says, asked about in either generation."""
    word = VECTORS[name]["response"]["body"]["Result"]["PayoutOperationState"]
    async with upstream(getoperationstate=served(VECTORS[name])) as provider:
        assert await provider.connector(generation).inquire(QUESTION) == STATES[word]
        assert provider.sent[-1].params == {"UserToken": TOKEN, "PayoutOperationId": GUID}


@pytest.mark.parametrize("name", of("GetOperationState"))
async def test_states_after_an_execute(name: str) -> None:
    """The same word in an execute's answer means the same; what leaves it open whether money moves is Unknown."""
    finding = STATES[VECTORS[name]["response"]["body"]["Result"]["PayoutOperationState"]]
    async with upstream(executeoperation=served(VECTORS[name])) as provider:
        outcome = await provider.connector().submit(provider.order())
    if isinstance(finding, Accepted | Settled | Rejected):
        assert outcome == finding
    else:
        assert isinstance(outcome, Unknown)


@pytest.mark.parametrize("name", [name for name in of("executeOperation", "getOperationState") if "sign" in VECTORS[name]])
async def test_what_is_signed(name: str) -> None:
    """With the vector's token, operation and key, execute and state go out with the vector's own Sign and Authorization."""
    vector = VECTORS[name]
    params, headers = vector["request"]["decoded"]["params"], vector["request"]["headers"]
    reference = params["PayoutOperationId"]
    keys = {"sign_secret_key": vector["sign"]["sign_secret_key"], "bearer": headers["Authorization"].removeprefix("Bearer ")}
    made = envelope({"State": {"Code": 0, "Desc": ""}, "PayoutOperationId": reference, "PayoutOperationState": "Created"})
    given = envelope({"State": {"Code": 0, "Desc": ""}, "UserToken": params["UserToken"]})
    async with upstream(getusertoken=given, createoperation=made) as provider:
        connector = provider.connector(**keys)
        if vector["method"] == "executeOperation":
            await connector.submit(provider.order())
        else:
            await connector.inquire(Question("id-1", reference, 5.0))
        asked = provider.sent[-1]
    assert (asked.method, asked.params) == (vector["method"], params)
    assert (asked.headers["sign"], asked.headers["authorization"]) == (vector["sign"]["sha256"], headers["Authorization"])


def test_every_state_is_shown() -> None:
    """The vectors hold each word of the page's table."""
    assert {VECTORS[name]["response"]["body"]["Result"]["PayoutOperationState"] for name in of("GetOperationState")} == set(STATES)


async def neutral(method: str, raw: bytes) -> Outcome | Finding:
    """What the connector makes of these bytes as the answer to one method."""
    async with upstream(**{method: raw}) as provider:
        connector = provider.connector()
        return await (connector.inquire(QUESTION) if method == "getoperationstate" else connector.submit(provider.order()))


def refusals() -> list[Any]:
    """code 2 with Result null, absent, and an object."""
    body = VECTORS["any.error-code-2"]["response"]["body"]
    absent = {name: value for name, value in body.items() if name != "Result"}
    return [body, absent, {**body, "Result": {"State": {"Code": 2, "Desc": "reason text"}}}]


@pytest.mark.parametrize("body", refusals(), ids=["null", "absent", "object"])
async def test_refused(body: Any) -> None:
    """Code 2 refuses a create, says nothing after an execute, is no answer to a question, and stops the channel at the token."""
    raw = http(json.dumps(body).encode())
    assert await neutral("createoperation", raw) == Rejected("refused_by_provider")
    assert isinstance(await neutral("executeoperation", raw), Unknown)
    assert isinstance(await neutral("getoperationstate", raw), Unknown)
    assert isinstance(await neutral("getusertoken", raw), NotSent)


async def test_queued() -> None:
    """Code 1 is an unknown outcome wherever a payout is concerned."""
    raw = served(VECTORS["any.queued-code-1"])
    for method in ("createoperation", "executeoperation", "getoperationstate"):
        assert isinstance(await neutral(method, raw), Unknown), method


def test_none_is_left_out() -> None:
    """Each vector was served above."""
    methods = ("getUserToken", "createOperation", "CreateBankCardRussiaOperation", "CreateQiwiWalletOperation",
               "CreateQiviWalletOperation", "ExecuteOperation", "GetOperationState")  # fmt: skip
    assert {*of(*methods), "any.error-code-2", "any.queued-code-1"} == set(VECTORS) and len(VECTORS) == 25
