"""A shop that speaks IntellectMoney: a merchant of a house, its token, and its calls as bytes to the door. Nothing is tested here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode
from uuid import UUID
from xml.etree import ElementTree

from disburse.api.intellectmoney import IntellectMoneyDoor
from disburse.data import accepted_member_ids, load_sbp_members
from disburse.domain.merchant import Merchant
from disburse.operations.merchants import NewMerchant
from disburse.operations.secrets import digest
from disburse.protocols.wire import FORM, WireAnswer, WireRequest
from disburse.storage import merchants
from tests.api.house import House

BANKS = accepted_member_ids(load_sbp_members())
CARD = "4111111111111111"
CARD_OF_20 = "41111111111111111111"
PHONE = "79510000071"
TBANK = "100000000004"
WALLET = "70000000000"
TO_CARD = {"Pan": CARD}
TO_WALLET = {"Account": WALLET}
TO_PHONE = {"PreferenceType": "OutSbp", "Account": PHONE, "BankId": TBANK}
MONEY = {"Amount": "50", "Currency": "RUB"}
AS_JSON = {"Accept": "application/json"}

CREATING = [  # method, parameters, rail
    ("CreateBankCardRussiaOperation", TO_CARD, "card"),
    ("createbankcardrussiaoperation", TO_CARD, "card"),
    ("CreateQiviWalletOperation", TO_WALLET, "qiwi"),
    ("CreateQiwiWalletOperation", TO_WALLET, "qiwi"),
    ("createqiwiWALLEToperation", TO_WALLET, "qiwi"),
    ("createOperation", {"PreferenceType": "OutBankCard", "Pan": CARD}, "card"),
    ("createOperation", TO_PHONE, "sbp"),
    ("CREATEOPERATION", TO_PHONE, "sbp"),
]


@dataclass(frozen=True)
class Reply:
    """An answer, read by other code than the codec's."""

    status: int
    content_type: str
    raw: bytes
    body: dict[str, Any] = field(repr=False)

    @property
    def code(self) -> int:
        return int(self.body["OperationState"]["Code"])

    @property
    def desc(self) -> str:
        desc = self.body["OperationState"]["Desc"]
        assert isinstance(desc, str)
        return desc

    @property
    def word(self) -> str:
        """The short code at the head of a refusal."""
        assert self.code == 2 and self.body["Result"] in (None, ""), self.raw
        head, bracket, text = self.desc.partition("] ")
        assert head.startswith("[") and bracket and text, self.desc
        return head[1:]

    @property
    def state(self) -> str:
        assert self.code == 0 and int(self.body["Result"]["State"]["Code"]) == 0, self.raw
        return str(self.body["Result"]["PayoutOperationState"])

    @property
    def guid(self) -> str:
        return str(self.body["Result"]["PayoutOperationId"])


def read(answer: WireAnswer) -> Reply:
    """Read an answer by its content type."""
    if answer.content_type == "application/json":
        body = json.loads(answer.body)
    else:
        assert answer.content_type == "text/xml; charset=utf-8"
        root = ElementTree.fromstring(answer.body)
        assert root.tag == "Response" and not root.attrib
        body = _tree(root)
    assert UUID(body["OperationId"]).version == 4
    return Reply(answer.status, answer.content_type, answer.body, body)


def _tree(element: ElementTree.Element) -> Any:
    return {child.tag: _tree(child) for child in element} if len(element) else element.text or ""


def post(
    path: str, *, body: bytes = b"", query: bytes = b"", headers: Mapping[str, str] = AS_JSON, verb: str = "POST"
) -> WireRequest:
    return WireRequest(verb, path, query, {name.lower(): value for name, value in headers.items()}, body)


def path_of(method: str) -> str:
    room = "user" if method.lower() == "getusertoken" else "payout"
    return f"/personal/{room}/{method}"


def form(method: str, params: Mapping[str, str], headers: Mapping[str, str] = AS_JSON) -> WireRequest:
    return post(path_of(method), body=urlencode(params).encode(), headers={"Content-Type": FORM, **headers})


def door_of(house: House) -> IntellectMoneyDoor:
    return IntellectMoneyDoor(house.desk, world=house.world, banks=BANKS)


@dataclass
class Shop:
    """A merchant with a token in its hand."""

    house: House
    door: IntellectMoneyDoor
    made: NewMerchant
    token: str

    @property
    def merchant(self) -> Merchant:
        return self.made.merchant

    async def send(self, request: WireRequest) -> Reply:
        return read(await self.door.answer(request))

    async def call(self, method: str, /, **params: str) -> Reply:
        """A call with the shop's token, as a form, answered in JSON."""
        return await self.send(form(method, {"UserToken": self.token, **params}))

    async def create(self, *, amount: str = "50", currency: str = "RUB", **params: str) -> Reply:
        """A payout by SBP, or to what `params` say."""
        if not params:
            params = {"PreferenceType": "OutSbp", "Account": PHONE, "BankId": TBANK}
        method = "createOperation" if "PreferenceType" in params else "CreateBankCardRussiaOperation"
        return await self.call(method, **params, Amount=amount, Currency=currency)

    async def executed(self, **params: str) -> str:
        """The GUID of a payout that was created and executed."""
        guid = (await self.create(**params)).guid
        assert (await self.call("ExecuteOperation", PayoutOperationId=guid)).code == 0
        return guid

    async def state(self, guid: str) -> str:
        return (await self.call("GetOperationState", PayoutOperationId=guid)).state

    async def untouched(self) -> bool:
        """Whether this merchant has no payout and no money is held."""
        balances = await self.house.balances(self.merchant)
        return not await self.house.payouts(self.merchant) and set(balances) <= {"funding", "available"}


async def plant_token(house: House, merchant: Merchant, token: str) -> None:
    """Make a token of the test's choosing a living one of this merchant's."""
    ends = house.world.clock.now() + timedelta(minutes=30)
    await house.database.run(
        lambda tx: merchants.add_token(tx, digest(token), merchant.shard, merchant.merchant_id, ends)
    )


async def open_shop(house: House, login: str = "shop@example.com", **wishes: Any) -> Shop:
    """A merchant of PCI DSS level with money, unless `wishes` say otherwise (see `House.merchant`), and a token of its own."""
    made = await house.merchant(login, **{"pci_dss": True, **wishes})
    return Shop(house, door_of(house), made, await house.desk.recognition.issue_token(made.merchant))
