"""What the sandbox's tests share: a listener, orders, and reading the book as anybody would."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

from disburse.connectors.contract import Callback, Order, Question
from disburse.domain.destinations import Destination, Rail
from disburse.domain.money import Money, read_amount
from disburse.domain.outcomes import Finding
from disburse.world_spool import FileSpool
from tests.clock import turn

CARD = Destination(Rail.CARD, "4111111111111111")
BASE = "abcdefghijklmnopqrstuvwxyz23"
PATIENCE_S = 20.0  # real time within which a disk or a socket on this machine must have answered

Line = dict[str, str | None]


class Listener:
    """Hears callbacks; refuses the first `deaf` of them, as a database that is away would, and `slow` never comes back."""

    def __init__(self, deaf: int = 0, *, slow: bool = False) -> None:
        self.deaf = deaf
        self._slow = slow
        self._heard: asyncio.Queue[Callback] = asyncio.Queue()
        self._called: asyncio.Queue[None] = asyncio.Queue()

    async def hear(self, callback: Callback) -> None:
        self._called.put_nowait(None)
        if self._slow:
            await asyncio.Event().wait()
        if self.deaf > 0:
            self.deaf -= 1
            raise ConnectionError("not stored")
        self._heard.put_nowait(callback)

    async def next(self) -> Callback:
        """The next callback that was stored."""
        return await asyncio.wait_for(self._heard.get(), PATIENCE_S)

    async def called(self) -> None:
        """Wait for the next call, stored or not."""
        await asyncio.wait_for(self._called.get(), PATIENCE_S)

    @property
    def calls(self) -> int:
        return self._called.qsize()

    @property
    def waiting(self) -> int:
        return self._heard.qsize()


class CountingSpool(FileSpool):
    """The real file, with its syncs counted, held back, or refused as a full disk refuses them."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.syncs = 0
        self.full = False
        self.gate = asyncio.Event()
        self.gate.set()

    async def write(self, offset: int, data: bytes) -> None:
        await self.gate.wait()
        if self.full:
            await super().write(offset, data[: len(data) // 2])
            raise OSError(28, "No space left on device")
        await super().write(offset, data)
        self.syncs += 1


def money(text: str, currency: str = "RUB") -> Money:
    return read_amount(text, currency)


def order(
    amount: str,
    end_to_end_id: str = f"{BASE}-1",
    *,
    currency: str = "RUB",
    destination: Destination = CARD,
    deadline_s: float = 8.0,
) -> Order:
    return Order(end_to_end_id, money(amount, currency), destination, deadline_s)


def question(end_to_end_id: str = f"{BASE}-1") -> Question:
    return Question(end_to_end_id, None, 8.0)


def lines(book: Path) -> list[Line]:
    return [json.loads(line) for line in book.read_text().splitlines()]


def deeds(book: Path) -> list[str | None]:
    return [line["did"] for line in lines(book)]


async def written(book: Path, count: int) -> None:
    """Wait until so many lines are in the file."""
    async with asyncio.timeout(PATIENCE_S):
        while len(lines(book)) < count:
            await turn()


async def until(ask: Callable[[], Awaitable[Finding]], kind: type[Finding]) -> Finding:
    """Ask until the answer is of this kind; each question waits for disk or network, so nothing sleeps."""
    async with asyncio.timeout(PATIENCE_S):
        while not isinstance(finding := await ask(), kind):
            await turn()
        return finding
