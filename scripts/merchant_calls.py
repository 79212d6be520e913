"""A merchant's program for the longer proofs: it pays wages by UnitPay's massPayment and never gives up on a reference.

A call without an answer is repeated with the same transactionId, as the protocol asks. Everything goes to loopback.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from dataclasses import dataclass, field
from urllib.parse import urlencode

OUTCOMES = (0, 11, 22, 33, 44, 55, 66, 77, 88, 99)
"""Minor units that make the sandbox bank behave in each of its ways."""

CARD, PHONE, BANK = "4111111111111111", "79510000071", "100000000004"


@dataclass
class Wages:
    """What one merchant has asked for: references with their amounts, and those the server acknowledged.

    Wages go to these cards and phones in turn.
    """

    login: str
    key: str
    prefix: str
    asked: dict[str, str] = field(default_factory=dict)
    acknowledged: dict[str, str] = field(default_factory=dict)
    answered_at: list[float] = field(default_factory=list)
    cards: tuple[str, ...] = (CARD,)
    phones: tuple[str, ...] = (PHONE,)
    errors: dict[str, int] = field(default_factory=dict)

    def next(self) -> tuple[str, str]:
        """A fresh reference and amount; all outcomes in turn."""
        number = len(self.asked)
        reference = f"{self.prefix}-{number}"
        amount = f"{10 + number % 7}.{OUTCOMES[number % len(OUTCOMES)]:02d}"
        self.asked[reference] = amount
        return reference, amount

    def query(self, reference: str, amount: str) -> str:
        turn, by_card = divmod(hash_of(reference), 2)
        card = {"purse": self.cards[turn % len(self.cards)], "paymentType": "card"}
        phone = {"purse": self.phones[turn % len(self.phones)], "paymentType": "sbp", "memberId": BANK}
        where = card if by_card else phone
        fields = {"sum": amount, "transactionId": reference, "login": self.login, "secretKey": self.key, **where}
        return urlencode({"method": "massPayment", **{f"params[{name}]": value for name, value in fields.items()}})


def hash_of(text: str) -> int:
    """A number of a text that is the same in every process."""
    return sum(text.encode())


async def get(host: str, port: int, path: str, *, timeout_s: float = 10, tls: ssl.SSLContext | None = None) -> bytes:
    """The body of one GET on a connection of its own. Raises OSError, TimeoutError, EOFError."""
    async with asyncio.timeout(timeout_s):
        reader, writer = await asyncio.open_connection(host, port, ssl=tls)
        try:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            await writer.drain()
            answer = await reader.read()
        finally:
            writer.close()
    head, found, body = answer.partition(b"\r\n\r\n")
    if not found or not head.startswith(b"HTTP/1."):
        raise EOFError("no answer")
    return body


async def pay(wages: Wages, host: str, port: int, stop: asyncio.Event, *, pause_s: float = 0.0) -> None:
    """Ask for one wage after another until told to stop; each is repeated until it is acknowledged."""
    while not stop.is_set():
        reference, amount = wages.next()
        while reference not in wages.acknowledged:
            try:
                answer = json.loads(await get(host, port, f"/api?{wages.query(reference, amount)}"))
            except (OSError, TimeoutError, EOFError, ValueError):
                await asyncio.sleep(0.05)
                if stop.is_set():
                    return
                continue
            if "result" in answer:
                wages.acknowledged[reference] = answer["result"]["status"]
                wages.answered_at.append(time.monotonic())
            else:
                code = str(answer["error"]["code"])
                wages.errors[code] = wages.errors.get(code, 0) + 1
                if code != "-32603":
                    raise AssertionError(f"{reference} was refused: {answer}")
                await asyncio.sleep(0.05)
        if pause_s:
            await asyncio.sleep(pause_s)
