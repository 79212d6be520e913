"""An IntellectMoney that a test writes the lines of: real HTTP on loopback, answers by method, and everything it was sent.

Lives here: `Upstream`, which answers each method with the test's bytes, in order, the last for ever; and readers of what was
sent that are no code of ours.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from disburse.connectors.contract import Order
from disburse.connectors.intellectmoney import IntellectMoneyConnector
from disburse.connectors.intellectmoney_settings import IntellectMoneySettings
from disburse.connectors.kind import Secret
from disburse.connectors.transport import HttpTransport
from disburse.domain.destinations import Destination, read_card
from disburse.domain.money import Money
from disburse.domain.ports import Clock
from disburse.world import RealClock
from tests.connectors.loopback import Server, serving

GUID = "81fa5265-de0b-498d-be37-5d48f4aa3ba1"
CARD = read_card("4111111111111111", luhn=True)
TOKEN = "4t+5WKHtcey4Ch7P2jodi3s2B4a36wnEX4pi+BxCbimJLYgRpQa4QXJ202Mit4LxG"
SECRETS = {"login": "user@example.com", "password": "p@ss-LEAK", "bearer": "bearer-LEAK", "sign_secret_key": "sign-LEAK"}
CLOSE = b""
"""Instead of an answer: the connection is closed."""


def http(body: bytes, status: str = "200 OK") -> bytes:
    return b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (status.encode(), len(body), body)


def envelope(result: Any, code: int = 0, desc: str = "any text") -> bytes:
    """An answer as the page shows it."""
    body = {"OperationState": {"Code": code, "Desc": desc}, "OperationId": "4d7f6669-fc7a-48fa-b761-1500e1930441", "Result": result}
    return http(json.dumps(body).encode())


def state(word: str, guid: str | None = GUID, inner: int = 0, desc: str = "any text") -> bytes:
    result: dict[str, Any] = {"State": {"Code": inner, "Desc": desc}, "PayoutOperationState": word}
    return envelope(result | ({"PayoutOperationId": guid} if guid is not None else {}))


def token(value: str = TOKEN) -> bytes:
    return envelope({"State": {"Code": 0, "Desc": ""}, "UserToken": value})


def refusal(desc: str) -> bytes:
    return envelope(None, 2, desc)


@dataclass(frozen=True)
class Sent:
    """A request as it came: the method's name as its path spells it, its headers in lower case, its parameters."""

    method: str
    headers: dict[str, str]
    params: dict[str, str]


def read(raw: bytes) -> Sent:
    head, _, body = raw.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
    kind = headers.get("content-type", "")
    params = json.loads(body) if kind == "application/json" else dict(parse_qsl(body.decode()))
    return Sent(lines[0].split(" ")[1].rpartition("/")[2], headers, params)


def secret_of(text: str | None) -> Secret | None:
    """As the settings file's text becomes one."""
    return None if text is None else Secret(lambda: text)


Remembered = list[str]


@dataclass
class Upstream:
    """The provider and a connector to it. `says` maps a method (without case) to its answers. `remembers`: what remember says."""

    server: Server
    transport: HttpTransport
    clock: Clock
    says: dict[str, list[bytes]]
    remembers: bool = True
    remembered: Remembered = field(default_factory=list)

    @property
    def sent(self) -> list[Sent]:
        return [read(raw) for raw in self.server.requests]

    @property
    def methods(self) -> list[str]:
        return [one.method for one in self.sent]

    def settings(self, generation: str = "new", **more: Any) -> IntellectMoneySettings:
        given: dict[str, Any] = {"base_url": f"http://127.0.0.1:{self.server.port}", "generation": generation, **SECRETS, **more}
        made: dict[str, Any] = {name: secret_of(value) if name in SECRETS else value for name, value in given.items()}
        return IntellectMoneySettings(**made)

    def connector(self, generation: str = "new", *, name: str = "im", **more: Any) -> IntellectMoneyConnector:
        return IntellectMoneyConnector(self.settings(generation, **more), self.transport, self.clock, name=name)

    async def remember(self, reference: str) -> bool:
        self.remembered.append(reference)
        return self.remembers

    def order(self, destination: Destination = CARD, amount: str = "50.00", currency: str = "RUB", *, deadline_s: float = 5.0) -> Order:
        whole, _, rest = amount.partition(".")
        return Order("id-1", Money(int(whole) * 100 + int(rest or 0), currency), destination, deadline_s, self.remember)


PLAIN = {
    "getusertoken": [token()],
    "createoperation": [state("Created")],
    "createbankcardrussiaoperation": [state("Created")],
    "createqiwiwalletoperation": [state("Created")],
    "createqiviwalletoperation": [state("Created")],
    "executeoperation": [state("InProcess")],
    "getoperationstate": [state("Completed")],
}
"""A provider with which nothing goes wrong."""


@asynccontextmanager
async def upstream(clock: Clock | None = None, /, **says: bytes | list[bytes] | dict[str, bytes]) -> AsyncIterator[Upstream]:
    """A provider that answers as PLAIN does but for what a test says: one answer, several in their order, or one for each token."""
    clock = clock or RealClock()
    lines = {method: list(answers) for method, answers in PLAIN.items()}
    by_token = {method.lower(): answers for method, answers in says.items() if isinstance(answers, dict)}
    lines |= {method.lower(): [said] if isinstance(said, bytes) else said for method, said in says.items() if not isinstance(said, dict)}

    async def answer(number: int, writer: asyncio.StreamWriter) -> bool:
        request = read(server.requests[number - 1])
        if request.method.lower() in by_token:
            raw = by_token[request.method.lower()][request.params["UserToken"]]
        else:
            left = lines[request.method.lower()]
            raw = left.pop(0) if len(left) > 1 else left[0]
        writer.write(raw)
        await writer.drain()
        return raw != CLOSE

    transport = HttpTransport(clock)
    async with serving() as serve:
        server = await serve(answer)
        try:
            yield Upstream(server, transport, clock, lines)
        finally:
            await transport.close()
