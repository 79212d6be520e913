"""A proxy for UnitPay calls that spoils the first massPayment of chosen amounts, each in its own way, and passes everything else.

Lives here: the fates, and the server. It reads whole calls, so it knows what it spoils; what it passes on it sends as it came.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum

from disburse.domain.money import Money, read_amount
from tests.connectors.unitpay_house import call_of, error, http, result


class Fate(StrEnum):
    """What happens to a call."""

    PASS = "pass"
    RESET = "the connection is reset once the call is read"
    SWALLOW = "the call is read and goes nowhere; nobody answers"
    LOSE_ANSWER = "the call is passed on, its answer is not"
    CUT_ANSWER = "the call is passed on, half of its answer comes back"
    SAY_502 = "the call is passed on, a gateway's page comes back"
    SAY_500_REFUSED = "the call is passed on, HTTP 500 with a refusal comes back"
    SAY_REFUSED = "the call is passed on, HTTP 200 with a listed refusal comes back, as to the second copy of an order"
    SAY_HTML = "the call goes nowhere, a page comes back on HTTP 200"
    SAY_UNLISTED = "the call is passed on, an unlisted code comes back"
    SAY_ANOTHER_ID = "the call is passed on, a refusal of another id comes back"
    TWICE = "the call is passed on twice, the second answer comes back"


@dataclass
class Mischief:
    """The proxy. `plan`: by amount, the fate of its first massPayment. `calls` counts all, `met` remembers the fates."""

    port: int
    plan: Mapping[Money, Fate]
    calls: int = 0
    met: set[Fate] = field(default_factory=set)
    done: set[Money] = field(default_factory=set)
    url: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next((int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
                if not await self._answer(head + await reader.readexactly(length), writer):
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(self, request: bytes, writer: asyncio.StreamWriter) -> bool:
        self.calls += 1
        fate = self._fate(request)
        self.met.add(fate)
        answer = b""
        if fate not in (Fate.RESET, Fate.SWALLOW, Fate.SAY_HTML):
            answer = await self._pass_on(request)
        if fate is Fate.TWICE:
            answer = await self._pass_on(request)
        if fate is Fate.RESET:
            one = writer.get_extra_info("socket")
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return False
        if fate is Fate.SWALLOW:
            await asyncio.sleep(3600)
        said = {
            Fate.LOSE_ANSWER: b"",
            Fate.CUT_ANSWER: answer[: len(answer) // 2],
            Fate.SAY_502: http(b"<html>Bad Gateway</html>", 502),
            Fate.SAY_500_REFUSED: http(error(122), 500),
            Fate.SAY_REFUSED: http(error(103)),
            Fate.SAY_HTML: http(b"<html>Welcome</html>"),
            Fate.SAY_UNLISTED: http(error(777)),
            Fate.SAY_ANOTHER_ID: http(json.dumps(result("error", transactionId="another")).encode()),
        }.get(fate, answer)
        writer.write(said)
        await writer.drain()
        return fate not in (Fate.LOSE_ANSWER, Fate.CUT_ANSWER)

    def _fate(self, request: bytes) -> Fate:
        call = call_of(request)
        if call.method != "massPayment":
            return Fate.PASS
        amount = read_amount(call.params["sum"], "RUB")
        if amount in self.done:
            return Fate.PASS
        self.done.add(amount)
        return self.plan.get(amount, Fate.PASS)

    async def _pass_on(self, request: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
            return head + await reader.readexactly(length)
        finally:
            writer.close()


@asynccontextmanager
async def standing_between(port: int, plan: Mapping[Money, Fate]) -> AsyncIterator[Mischief]:
    """The proxy in front of a door on this machine's `port`."""
    line = Mischief(port, plan)
    listening = await asyncio.start_server(line.serve, "127.0.0.1", 0)
    line.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/api"
    try:
        yield line
    finally:
        listening.close()
