"""A merchant's program in a chaos run: it pays wages and writes down what it asks, before it asks, and what it is told, durably.

`python -m scripts.chaos.merchant` reads one line of JSON from its standard input, then words: `stop` (ask for nothing more), `read`
(ask how everything stands at last, write it down, end). Its history is what the checker believes of the service's words.

    {"did": "asked", "reference": ..., "amount": ...}      on the disk before the first byte of the request leaves
    {"did": "told", "reference": ..., "status": ...}       success, error, not_completed
    {"did": "read", "reference": ..., "status": ...}       the last read; "unknown" when the service knows no such reference
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from scripts.merchant_calls import Wages, get

AGAIN_AFTER_S = 0.1
CALL_S = 4.0
READERS = 16
FINAL = ("success", "error")


class History:
    """A file of JSON lines, each on the disk when `write` returns."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def write(self, **line: str) -> None:
        os.write(self._file, json.dumps(line).encode() + b"\n")
        os.fsync(self._file)


class Merchant:
    """`port` is that of the line to the doors; `pause_s`: a caller rests so long after a wage, on average."""

    def __init__(self, told: dict[str, Any]) -> None:
        self.wages = Wages(told["login"], told["key"], told["prefix"], cards=tuple(told["cards"]), phones=tuple(told["phones"]))
        self._port, self._pause_s = int(told["port"]), float(told["pause_s"])
        self._history = History(Path(told["history"]))
        self._draw = random.Random(told["prefix"])
        self._open: dict[str, None] = {}
        self.stop = asyncio.Event()

    async def pay(self) -> None:
        """One wage after another. One without an answer is asked for again; some are looked at once more, later."""
        while not self.stop.is_set():
            reference, amount = self.wages.next()
            self._open[reference] = None
            self._history.write(did="asked", reference=reference, amount=amount)
            while not self.stop.is_set() and not await self._ask(reference, self.wages.query(reference, amount)):
                await self._rest(AGAIN_AFTER_S)
            if self._open and self._draw.random() < 0.5:
                await self._look(self._draw.choice(list(self._open)))
            await self._rest(self._draw.uniform(0, 2 * self._pause_s))

    async def _ask(self, reference: str, query: str, did: str = "told") -> bool:
        """Put one call and write down what is told; False when nothing was. Raises AssertionError for a refusal."""
        try:
            answer = json.loads(await get("127.0.0.1", self._port, f"/api?{query}", timeout_s=CALL_S))
        except (OSError, TimeoutError, EOFError, ValueError):
            return False
        if "result" in answer:
            status = str(answer["result"]["status"])
            self._history.write(did=did, reference=reference, status=status)
            self.wages.acknowledged[reference] = status
            if status in FINAL:
                self._open.pop(reference, None)
            return True
        if answer["error"]["code"] == -32603:  # the payout may exist, or not
            return False
        if answer["error"]["code"] == -32602 and did == "read":
            self._history.write(did="read", reference=reference, status="unknown")
            return True
        raise AssertionError(f"{reference} was refused: {answer}")

    async def _look(self, reference: str, did: str = "told") -> bool:
        if did == "told" and reference not in self.wages.acknowledged:
            return False
        fields = {"transactionId": reference, "login": self.wages.login, "secretKey": self.wages.key}
        query = urlencode({"method": "massPaymentStatus", **{f"params[{name}]": value for name, value in fields.items()}})
        return await self._ask(reference, query, did)

    async def _rest(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self.stop.wait()
        except TimeoutError:
            pass

    async def read_all(self) -> None:
        """Ask once more about every reference, until each has an answer."""
        left = list(self.wages.asked)

        async def read() -> None:
            while left:
                reference = left.pop()
                while not await self._look(reference, "read"):
                    await asyncio.sleep(AGAIN_AFTER_S)

        await asyncio.gather(*[read() for _ in range(READERS)])


async def main() -> None:
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    told = json.loads(await lines.readline())
    merchant = Merchant(told)
    callers = [asyncio.create_task(merchant.pay()) for _ in range(int(told["callers"]))]
    while word := (await lines.readline()).strip():
        if word == b"tell":
            print(json.dumps([len(merchant.wages.asked), len(merchant.wages.acknowledged)]), flush=True)
        elif word == b"stop":
            merchant.stop.set()
            await asyncio.gather(*callers)
            print("stopped", flush=True)
        elif word == b"read":
            await merchant.read_all()
            print("read", flush=True)
            return
    for caller in callers:
        caller.cancel()


if __name__ == "__main__":
    asyncio.run(main())
