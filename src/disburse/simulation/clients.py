"""Merchants' programs: what they ask for, what they are told, and how they behave when they hear nothing.

Lives here: one program a merchant, over both surfaces, that never gives up on a payout while its day lasts; it keeps its history
(`auditor/truths.py`) as the independent record. The bytes are written here by code of their own. May not live here: judgement.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final
from urllib.parse import quote, urlencode

from disburse.protocols.wire import WireAnswer, WireRequest
from disburse.simulation.auditor.truths import Exchange
from disburse.simulation.faults import Faults
from disburse.simulation.network import Net
from disburse.simulation.process import Process

ANSWER_WITHIN_S: Final = 9.0
CARDS: Final = ("4111111111111111", "5555555555554444", "2200000000000004", "4000000000000002")
PHONES: Final = ("79510000071", "79161234567")
BANK: Final = "100000000004"
GIVE_UP: Final = 60
NO_MONEY: Final = 103
REFUSED_FOR_GOOD: Final = (100, 101, 102, 104, 105, 106, 122, 1051, 1052, 1053, -32602, -32000)


@dataclass(slots=True)
class Account:
    """A merchant as its program knows it, and the bucket that it was put into."""

    number: int
    login: str
    password: str
    unitpay_key: str
    bucket: int = 0


@dataclass(slots=True)
class Wanted:
    """One payout that the merchant wants. `surface`: "unitpay" or "intellectmoney"; `at`: when it is first asked for."""

    surface: str
    reference: str
    amount_minor: int
    card: bool
    where: str
    at: float
    key: str | None = None


@dataclass(slots=True)
class History:
    """All that all programs asked and were told, in one order."""

    exchanges: list[Exchange] = field(default_factory=list)
    _ticks: int = 0

    def tick(self) -> int:
        self._ticks += 1
        return self._ticks


class Client:
    """One merchant's program."""

    def __init__(
        self, process: Process, net: Net, account: Account, history: History, stream: random.Random, faults: Faults,
        servers: Callable[[], list[str]],
    ) -> None:  # fmt: skip
        self.process = process
        self.account = account
        self.wanted: list[Wanted] = []
        self.done: set[str] = set()
        self.patience = GIVE_UP
        self._net = net
        self._history = history
        self._stream = stream
        self._faults = faults
        self._servers = servers
        self._token: str | None = None

    async def run(self) -> None:
        """Ask for everything, each in its time."""
        await asyncio.gather(*[self._pay(one) for one in self.wanted])

    async def read_all(self) -> None:
        """Ask once more about everything, so that what was not known is known."""
        for one in self.wanted:
            if one.surface == "unitpay":
                await self.ask_unitpay(one, pay=False)
            elif one.key is not None:
                await self.ask_money(one, one.key, execute=False)

    async def _pay(self, one: Wanted) -> None:
        await asyncio.sleep(max(0.0, one.at - self.process.loop.time()))
        way = self._unitpay if one.surface == "unitpay" else self._money
        again = [self._again(one, way) for _ in range(self._stream.randint(1, 2)) if self._faults.chance("twice")]
        await asyncio.gather(way(one), *again)
        self.done.add(one.reference)

    async def _again(self, one: Wanted, way: Callable[[Wanted], Any]) -> None:
        """The same wish once more, at once or much later, as a cautious program or an impatient person has it."""
        self._faults.count("twice", "C", "twice")
        await asyncio.sleep(self._stream.choice((0.0, 0.0, 0.01, 1.0, 30.0)))
        if one.surface == "unitpay":
            await way(one)

    # --- UnitPay ---

    async def _unitpay(self, one: Wanted) -> None:
        status = None
        for turn in range(self.patience):
            status = await self.ask_unitpay(one, pay=True)
            if status is not None:
                break
            await asyncio.sleep(self._stream.uniform(0.2, 5.0) * min(turn + 1, 10))
        for turn in range(self._stream.randint(0, 4)):
            if status in ("success", "error", "refused"):
                break
            await asyncio.sleep(self._stream.uniform(0.5, 10.0) * (turn + 1))
            pay = self._stream.random() < 0.3
            changed = pay and status != "refused" and self._faults.chance("changed")  # known by now: this must change nothing
            status = await self.ask_unitpay(one, pay=pay, changed=changed) or status

    async def ask_unitpay(self, one: Wanted, *, pay: bool, changed: bool = False) -> str | None:
        """massPayment, or massPaymentStatus. The status shown, "refused" for a refusal, None when nothing is known."""
        account = self.account
        fields = {"login": account.login, "secretKey": account.unitpay_key, "transactionId": one.reference}
        minor = one.amount_minor + (100 if changed else 0)
        if pay:
            fields |= {"sum": f"{minor // 100}.{minor % 100:02d}", "purse": one.where, "paymentType": "card" if one.card else "sbp"}
            if not one.card:
                fields["memberId"] = BANK
        if changed:
            self._faults.count("changed", "C", "changed")
        method = "massPayment" if pay else "massPaymentStatus"
        query = urlencode({"method": method, **{f"params[{name}]": value for name, value in fields.items()}}, quote_via=quote)
        asked = self._history.tick()
        answer = await self._send(WireRequest("GET", "/api", query.encode(), {}, b""))
        status, key, said, code = _read_unitpay(answer)
        if not pay and said == "refused":
            said, status = "unknown", None  # "nothing found" to a question says nothing about a payout still to come
        self._write(asked, one, "pay" if pay else "look", said, status, key, minor if pay else None)
        if code == NO_MONEY:
            return None  # a no for now: there may be money later, and a reference may be asked for again
        return status if said == "acknowledged" else "refused" if said == "refused" else None

    # --- IntellectMoney ---

    async def _money(self, one: Wanted) -> None:
        for turn in range(self.patience):
            if one.key is None:
                one.key = await self._create(one)
            if one.key is not None and await self.ask_money(one, one.key, execute=True) is not None:
                break
            await asyncio.sleep(self._stream.uniform(0.2, 5.0) * min(turn + 1, 10))
        for turn in range(self._stream.randint(0, 4)):
            if one.key is None:
                return
            await asyncio.sleep(self._stream.uniform(0.5, 10.0) * (turn + 1))
            await self.ask_money(one, one.key, execute=self._stream.random() < 0.3)

    async def _create(self, one: Wanted) -> str | None:
        fields = {"Pan": one.where, "Amount": f"{one.amount_minor / 100:.2f}", "Currency": "RUB"}
        asked = self._history.tick()
        _, key = await self._call("CreateBankCardRussiaOperation", fields)
        self._write(asked, one, "create", "acknowledged" if key else "unknown", None, key, one.amount_minor)
        return key

    async def ask_money(self, one: Wanted, key: str, *, execute: bool) -> str | None:
        """Execute, or ask for the state; the state shown, None when nothing is known."""
        asked = self._history.tick()
        state, told = await self._call("ExecuteOperation" if execute else "GetOperationState", {"PayoutOperationId": key})
        known = told == key and state is not None and state not in ("Created", "NotEnoughMoney")
        said = "acknowledged" if known else "unknown"
        self._write(asked, one, "execute" if execute else "look", said, state if told == key else None, key, None)
        return state if known else None

    async def _call(self, method: str, fields: dict[str, str]) -> tuple[str | None, str | None]:
        if self._token is None:
            login = {"Login": self.account.login, "Password": self.account.password}
            found = _read_money(await self._post("/personal/user/getUserToken", login))
            self._token = found.get("UserToken") if isinstance(found.get("UserToken"), str) else None
            if self._token is None:
                return None, None
        found = _read_money(await self._post(f"/personal/payout/{method}", {"UserToken": self._token, **fields}))
        if "TOKEN" in str(found.get("_desc")):
            self._token = None
        return found.get("PayoutOperationState"), found.get("PayoutOperationId")

    async def _post(self, path: str, fields: dict[str, str]) -> WireAnswer | None:
        headers = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}
        return await self._send(WireRequest("POST", path, b"", headers, urlencode(fields).encode()))

    # --- both ---

    async def _send(self, request: WireRequest) -> WireAnswer | None:
        within = 0.3 if self._faults.chance("impatient") else ANSWER_WITHIN_S
        if within < ANSWER_WITHIN_S:
            self._faults.count("impatient", "C", "impatient")
        server = self._stream.choice(self._servers())
        answer = await self._net.exchange(self.process, server, request, deadline_s=within)
        return answer if isinstance(answer, WireAnswer) else None

    def _write(
        self, asked: int, one: Wanted, act: str, said: str, status: str | None, key: str | None, amount: int | None
    ) -> None:
        told = self._history.tick() if said != "unknown" or status is not None else None
        reference = one.reference if one.surface == "unitpay" else None
        self._history.exchanges.append(
            Exchange(asked, told, one.surface, self.account.number, act, reference, key, amount, said, status)
        )


def _read_unitpay(answer: WireAnswer | None) -> tuple[str | None, str | None, str, int | None]:
    """Status, payoutId, whether that acknowledges, refuses, or leaves it unknown, and the code of an error."""
    if answer is None:
        return None, None, "unknown", None
    try:
        told = json.loads(answer.body)
        if "result" in told:
            result = told["result"]
            return result["status"], str(result["payoutId"]), "acknowledged", None
        code = int(told["error"]["code"])
    except (ValueError, KeyError, TypeError):
        return None, None, "unknown", None
    return None, None, "refused" if code in REFUSED_FOR_GOOD or code == NO_MONEY else "unknown", code


def _read_money(answer: WireAnswer | None) -> dict[str, Any]:
    if answer is None:
        return {}
    try:
        told = json.loads(answer.body)
        state, result = told["OperationState"], told.get("Result")
    except (ValueError, KeyError, TypeError):
        return {}
    if state.get("Code") != 0 or not isinstance(result, dict):
        return {"_desc": state.get("Desc")}
    return result


def minor_of(amount: str) -> int:
    """A provider's amount in minor units, read by code of our own."""
    return int(Decimal(amount) * 100)
