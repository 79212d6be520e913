"""The webhook receivers of `disburse bench --webhooks`, all in a process of their own: each has a port, and some never answer.

Run as `python -m disburse.cli.bench_receivers RECEIVERS HANGING CERTIFICATE KEY`. It prints the ports as one JSON line; to each line on
its standard input, `count` or `report SINCE UNTIL` (Unix seconds), it answers with one JSON line. It verifies nothing and spends as little
as it can, since it stands for other machines and shares this one with what it measures. TLS is spoken as everywhere.

An event's age on arrival counts from the time in it, which was drawn before its transaction was committed.
"""

from __future__ import annotations

import asyncio
import json
import resource
import socket
import ssl
import sys
import time
from array import array
from datetime import datetime
from functools import partial
from typing import Any, cast

import uvloop

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
AT, PREVIOUS, LENGTH, MESSAGE = b'"at":"', b'"previous":', b"content-length: ", b"webhook-id: evt_"


class Book:
    """Everything that arrived: of each message the merchant, the number, the payout's event before, when it happened, when it came."""

    def __init__(self) -> None:
        self.merchants = array("q")
        self.numbers = array("q")
        self.previous = array("q")
        self.happened: list[bytes] = []
        self.came = array("d")
        self.connections = 0
        self.hung = 0

    def take(self, head: bytes, body: bytes) -> None:
        at = head.find(MESSAGE) + len(MESSAGE)
        merchant, _, number = head[at : head.find(b"\r", at)].partition(b"_")
        self.merchants.append(int(merchant))
        self.numbers.append(int(number))
        at = body.find(PREVIOUS) + len(PREVIOUS)
        before = body[at : body.find(b",", at)]
        self.previous.append(int(before) if before != b"null" else 0)
        at = body.find(AT) + len(AT)
        self.happened.append(body[at : body.find(b'"', at)])
        self.came.append(time.time())

    def report(self, since: float, until: float) -> dict[str, Any]:
        """Of what happened within these moments: how many events arrived, how old they were, and what came twice or out of order."""
        ages, seen, disorder, twice = list[float](), set[tuple[int, int]](), 0, 0
        for merchant, number, previous, happened, came in zip(
            self.merchants, self.numbers, self.previous, self.happened, self.came, strict=True
        ):
            if (merchant, number) in seen:
                twice += 1
                continue
            seen.add((merchant, number))
            at = datetime.fromisoformat(happened.decode()).timestamp()
            if since <= at < until:
                ages.append(came - at)
                disorder += previous > 0 and (merchant, previous) not in seen
        ages.sort()
        used = resource.getrusage(resource.RUSAGE_SELF)
        return {
            "arrived": len(ages), "p50_s": _at(ages, 0.5), "p99_s": _at(ages, 0.99), "most_s": _at(ages, 1.0), "twice": twice,
            "out_of_order": disorder, "hung": self.hung, "connections": self.connections, "cpu_s": round(used.ru_utime + used.ru_stime, 3),
        }  # fmt: skip


class Receiver(asyncio.Protocol):
    """One connection to one receiver."""

    def __init__(self, book: Book, hangs: bool) -> None:
        self._book = book
        self._hangs = hangs
        self._got = b""
        self._transport: asyncio.WriteTransport | None = None
        book.connections += 1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)  # uvloop's are none by inheritance

    def data_received(self, data: bytes) -> None:
        if self._hangs:
            self._book.hung += data.startswith(b"POST ")
            return
        got = self._got + data if self._got else data
        end = got.find(b"\r\n\r\n")
        if end < 0:
            self._got = got
            return
        head = got[: end + 2].lower()
        at = head.find(LENGTH) + len(LENGTH)
        whole = end + 4 + int(head[at : head.find(b"\r", at)])
        if len(got) < whole:
            self._got = got
            return
        self._got = got[whole:]
        self._book.take(head, got[end + 4 : whole])
        if self._transport is not None:
            self._transport.write(OK)


def _at(ages: list[float], part: float) -> float:
    return round(ages[min(int(len(ages) * part), len(ages) - 1)], 3) if ages else 0.0


async def run(receivers: int, hanging: int, certificate: str, key: str) -> None:
    """Listen, say where, and answer questions until the input ends."""
    loop, book, ports = asyncio.get_running_loop(), Book(), []
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate, key)
    for number in range(receivers):
        listening = socket.create_server(("127.0.0.1", 0), backlog=128)
        await loop.create_server(partial(Receiver, book, number < hanging), sock=listening, ssl=tls)
        ports.append(listening.getsockname()[1])
    print(json.dumps(ports), flush=True)
    questions = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(questions), sys.stdin)
    while line := await questions.readline():
        word, *values = line.split()
        told = book.report(*map(float, values)) if word == b"report" else {"came": len(book.came), "hung": book.hung}
        print(json.dumps(told), flush=True)


def main() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 20_000)), hard))
    uvloop.run(run(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:5]))


if __name__ == "__main__":
    main()
