"""An IntellectMoney client that writes its calls as bytes by hand and looks at every answer for what all answers have in common."""

from __future__ import annotations

import hashlib
import itertools
import json
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID
from xml.etree import ElementTree

from disburse.operations.merchants import NewMerchant
from tests.conformance.running import Running
from tests.conformance.wire import FORM, JSON, Answer, pairs, request, send

CARD = "4111111111111111"
CARD_OF_20 = "41111111111111111111"
PHONE = "79510000071"
MEMBER = "100000000004"
WALLET = "70000000000"

MONEY = {"Amount": "50", "Currency": "RUB"}
TO_CARD = {"Pan": CARD, **MONEY}
TO_WALLET = {"Account": WALLET, **MONEY}
NEW_CARD = {"PreferenceType": "OutBankCard", "Pan": CARD, **MONEY}
NEW_PHONE = {"PreferenceType": "OutSbp", "Account": PHONE, "BankId": MEMBER, **MONEY}

KEY, BEARER = "signSecret0", "808e1cc4630440858f5199e4c0a3e706"
ACCEPT_JSON = f"Accept: {JSON}"

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Reply:
    """An answer, read by its content type: JSON as it is, XML as texts by name."""

    answer: Answer
    body: dict[str, Any] = field(repr=False)

    @property
    def is_json(self) -> bool:
        return self.answer.headers["content-type"] == JSON

    @property
    def code(self) -> int:
        return int(self.body["OperationState"]["Code"])

    @property
    def desc(self) -> str:
        desc = self.body["OperationState"]["Desc"]
        assert type(desc) is str
        return desc

    @property
    def word(self) -> str:
        """The short code at the head of a refusal, which has no Result."""
        assert self.code == 2 and self.body["Result"] in (None, ""), self.body
        head, bracket, text = self.desc.partition("] ")
        assert head.startswith("[") and bracket and text, self.desc
        return head[1:]

    @property
    def result(self) -> dict[str, Any]:
        assert self.code == 0 and int(self.body["Result"]["State"]["Code"]) == 0, self.body
        found: dict[str, Any] = self.body["Result"]
        return found

    @property
    def state(self) -> str:
        return str(self.result["PayoutOperationState"])

    @property
    def guid(self) -> str:
        return str(self.result["PayoutOperationId"])


def read(answer: Answer) -> Reply:
    """Every answer is HTTP 200 with OperationState, OperationId (a GUID) and Result, in JSON or in XML."""
    assert answer.status == 200
    if answer.headers["content-type"] == JSON:
        body = answer.json
    else:
        assert answer.headers["content-type"] == "text/xml; charset=utf-8"
        body = _tree(ElementTree.fromstring(answer.body))
    assert (
        {"OperationState", "OperationId", "Result"}
        <= set(body)
        <= {"OperationState", "OperationId", "EshopId", "Result"}
    )
    assert str(UUID(body["OperationId"])) == body["OperationId"]
    assert type(body["OperationState"]["Desc"]) is str and body["OperationState"]["Desc"]
    return Reply(answer, body)


def _tree(element: ElementTree.Element) -> Any:
    return {child.tag: _tree(child) for child in element} if len(element) else element.text or ""


def path_of(method: str) -> str:
    room = "user" if method.lower() == "getusertoken" else "payout"
    return f"/personal/{room}/{method}"


def sign(*segments: str, key: str = KEY) -> str:
    """The digest as the provider's page describes it."""
    return hashlib.sha256("::".join([*segments, key]).encode()).hexdigest()


class Shop:
    """A fresh merchant's program, with a token in its hand. `settings` are the merchant's (`Running.merchant`)."""

    def __init__(
        self, served: Running, made: NewMerchant | None = None, *, minutes: float = 30, **settings: Any
    ) -> None:
        self.served = served
        number = next(_numbers)
        self.bearer = f"{BEARER[:-6]}{number:06}"
        secrets = {"sign_secret_key": KEY, "bearer_token": self.bearer, "password": "p@ss word"}
        self.made = made or served.merchant(**{"secrets": secrets, **settings})
        self.merchant = self.made.merchant
        self.token = f"4t+5WKHtcey4Ch7P2jodi/3RyaG74giGEooE5HXngVt/32V8amsmdClb8+{number:04}="
        served.plant_token(self.merchant, self.token, minutes=minutes)

    def send(self, raw: bytes) -> Reply:
        return read(send(self.served.port, raw))

    def post(self, path: str, body: str | bytes, *headers: str, query: str = "") -> Reply:
        """A POST whose headers are these and no others."""
        octets = body if isinstance(body, bytes) else body.encode()
        return self.send(request("POST", path + (f"?{query}" if query else ""), *headers, body=octets))

    def call(self, method: str, /, params: dict[str, str] | None = None, *headers: str, **more: str) -> Reply:
        """A form with the shop's token, answered in JSON."""
        whole = {"UserToken": self.token, **(params or {}), **more}
        return self.post(path_of(method), pairs(whole.items()), ACCEPT_JSON, f"Content-Type: {FORM}", *headers)

    def json(self, method: str, whole: dict[str, Any] | str, *headers: str) -> Reply:
        """A JSON body, answered in JSON."""
        body = whole if isinstance(whole, str) else json.dumps(whole, ensure_ascii=False)
        return self.post(path_of(method), body, ACCEPT_JSON, f"Content-Type: {JSON}", *headers)

    def created(self, params: dict[str, str] | None = None, **more: str) -> str:
        """The GUID of a payout that was created: by SBP, unless `params` say otherwise."""
        whole = {**(params or NEW_PHONE), **more}
        method = "createOperation" if "PreferenceType" in whole else "CreateBankCardRussiaOperation"
        reply = self.call(method, whole)
        assert reply.state == "Created"
        return reply.guid

    def executed(self, params: dict[str, str] | None = None, **more: str) -> str:
        """The GUID of a payout that was created and executed."""
        guid = self.created(params, **more)
        assert self.call("ExecuteOperation", PayoutOperationId=guid).code == 0
        return guid

    def state(self, guid: str, method: str = "GetOperationState") -> str:
        return self.call(method, PayoutOperationId=guid).state

    def payouts(self) -> int:
        return self.served.count(self.merchant)

    def untouched(self) -> bool:
        """Whether this merchant has no payout and none of its money is held."""
        return self.payouts() == 0 and set(self.served.balances(self.merchant)) <= {"funding", "available"}
