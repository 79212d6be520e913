"""A merchant's program over the REST surface: every request has a key, payouts may have a time, some are executed by others.

Lives here: how it asks, asks again and gives up, and the history that it keeps (`auditor/truths.py`). The bytes are written here by code
of their own. A refusal sticks to its key, so it comes again with a new one. May not live here: judgement, and what it wants (`ruled.py`).
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from disburse.protocols.wire import WireAnswer, WireRequest
from disburse.simulation.auditor.truths import Exchange
from disburse.simulation.clients import ANSWER_WITHIN_S, BANK, History
from disburse.simulation.faults import Faults
from disburse.simulation.network import Net
from disburse.simulation.process import Process

FINAL: Final = ("paid", "failed", "cancelled", "expired", "returned")
NOT_NOW: Final = (401, 404, 408, 429)
"""Statuses that say nothing about the payout that was asked for."""
ASK_AGAIN: Final = 60
NEW_KEYS: Final = 4


@dataclass(frozen=True, slots=True)
class RestAccount:
    """A merchant as its program knows it, and the bucket that it was put into."""

    number: int
    api_key: str
    bucket: int = 0


@dataclass(slots=True)
class Order:
    """One payout that the merchant wants. `way`: executed "at_once" with its making, "later" by the program, or by a "person".

    `cancels`: the program thinks better of it when it is so many seconds old. `key`: its id, once it was told; `request`: the last
    Idempotency-Key.
    """

    reference: str
    amount_minor: int
    card: bool
    where: str
    at: float
    execute_at: datetime | None
    way: str
    cancels: float | None = None
    key: str | None = None
    request: str = ""


@dataclass(frozen=True, slots=True)
class Told:
    """What an answer says. `known`: "acknowledged", "refused" or "unknown"; `problem`: why not, in a word."""

    known: str
    state: str | None = None
    key: str | None = None
    problem: str | None = None


NOTHING: Final = Told("unknown")


class RestProgram:
    """One merchant's program."""

    def __init__(
        self, process: Process, net: Net, account: RestAccount, history: History, stream: random.Random, faults: Faults,
        servers: Callable[[], list[str]], wanted: Sequence[Order],
    ) -> None:  # fmt: skip
        self.process = process
        self.account = account
        self.wanted = wanted
        self._net = net
        self._history = history
        self._stream = stream
        self._faults = faults
        self._servers = servers

    async def run(self) -> None:
        """Ask for everything, each in its time."""
        await asyncio.gather(*[self._pay(one) for one in self.wanted])

    async def read_all(self) -> None:
        """Ask once more about everything."""
        for one in self.wanted:
            if one.key is not None:
                await self.look(one)

    async def _pay(self, one: Order) -> None:
        await asyncio.sleep(max(0.0, one.at - self.process.loop.time()))
        made = await self._until_known(one, lambda key: self.make(one, key))
        if made.known != "acknowledged":
            return
        if self._stream.random() < 0.3:
            await asyncio.sleep(self._stream.choice((0.0, 20.0, 90.0)))
            await self.make(one, self._stream.choice((one.request, f"{one.reference}-once-more")))  # it is known, whatever is the matter now
        if self._faults.chance("changed"):
            await self._change(one)
        if one.way == "later":
            await self._until_known(one, lambda key: self.act(one, "execute", key))
        if one.cancels is not None:
            await asyncio.sleep(one.cancels)
            await self._until_known(one, lambda key: self.act(one, "cancel", key), keys=1)
        for turn in range(self._stream.randint(0, 3)):
            await asyncio.sleep(self._stream.uniform(0.5, 10.0) * (turn + 1))
            if (await self.look(one)).state in FINAL:
                return

    async def _until_known(self, one: Order, ask: Callable[[str], Any], *, keys: int = NEW_KEYS) -> Told:
        """The same request with the same key until it is answered; after a refusal, later, with a new key."""
        told = NOTHING
        for number in range(keys):
            key = one.request = f"{one.reference}-{self._stream.randrange(1 << 30)}"
            for turn in range(ASK_AGAIN):
                twice = [ask(key)] if self._faults.chance("twice") else []
                if twice:
                    self._faults.count("twice", "C", "twice")
                told, *_ = await asyncio.gather(ask(key), *twice)
                if told.known != "unknown":
                    break
                await asyncio.sleep(self._stream.uniform(0.2, 5.0) * min(turn + 1, 10))
            if told.known != "refused" or told.problem not in ("insufficient_funds", "limit_reached"):
                return told
            await asyncio.sleep(self._stream.uniform(2.0, 12.0) * (number + 1))
        return told

    async def _change(self, one: Order) -> None:
        """A known reference with another amount: that is somebody's mistake, and must change nothing."""
        self._faults.count("changed", "C", "changed")
        await self.make(one, f"{one.reference}-changed", more_minor=100)

    # --- requests ---

    async def make(self, one: Order, key: str, *, more_minor: int = 0) -> Told:
        """Make it, and have it executed if that is its way."""
        minor = one.amount_minor + more_minor
        to = {"rail": "card", "number": one.where} if one.card else {"rail": "sbp", "phone": one.where, "bank": BANK}
        body: dict[str, Any] = {
            "reference": one.reference, "amount": {"amount": f"{minor // 100}.{minor % 100:02d}", "currency": "RUB"}, "destination": to,
        }  # fmt: skip
        if one.way == "at_once":
            body["execute"] = True
        if one.execute_at is not None:
            body["execute_at"] = one.execute_at.isoformat()
        act = "pay" if one.way == "at_once" else "create"
        told = await self._ask(one, act, "POST", "/v1/payouts", body, key, minor)
        if told.key is not None and one.key is None and not more_minor:
            one.key = told.key
        return told

    async def act(self, one: Order, act: str, key: str) -> Told:
        """Execute it, or cancel it."""
        return await self._ask(one, act, "POST", f"/v1/payouts/{one.key}/{act}", {}, key, None)

    async def look(self, one: Order) -> Told:
        return await self._ask(one, "look", "GET", f"/v1/payouts/{one.key}", None, None, None)

    async def _ask(
        self, one: Order, act: str, method: str, path: str, body: dict[str, Any] | None, key: str | None, minor: int | None
    ) -> Told:
        headers = {"authorization": f"Bearer {self.account.api_key}"}
        if key is not None:
            headers["idempotency-key"] = key
        if body is not None:
            headers["content-type"] = "application/json"
        asked = self._history.tick()
        content = json.dumps(body).encode() if body is not None else b""
        told = read(await self._send(WireRequest(method, path, b"", headers, content)))
        if act == "look" and told.known == "refused":
            told = NOTHING
        heard = self._history.tick() if told.known != "unknown" else None
        self._history.exchanges.append(
            Exchange(asked, heard, "own", self.account.number, act, one.reference, told.key or one.key, minor, told.known, told.state)
        )
        return told

    async def _send(self, request: WireRequest) -> WireAnswer | None:
        within = 0.3 if self._faults.chance("impatient") else ANSWER_WITHIN_S
        if within < ANSWER_WITHIN_S:
            self._faults.count("impatient", "C", "impatient")
        answer = await self._net.exchange(self.process, self._stream.choice(self._servers()), request, deadline_s=within)
        return answer if isinstance(answer, WireAnswer) else None


def read(answer: WireAnswer | None) -> Told:
    """What an answer says; whatever cannot be read says nothing."""
    if answer is None:
        return NOTHING
    try:
        told = json.loads(answer.body)
        if answer.status in (200, 201):
            return Told("acknowledged", str(told["state"]), str(told["id"]))
        problem = str(told["type"]).rpartition(":")[2]
    except (ValueError, KeyError, TypeError):
        return NOTHING
    return Told("refused", problem=problem) if answer.status < 500 and answer.status not in NOT_NOW else NOTHING
