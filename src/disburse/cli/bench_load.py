"""The load generator of `disburse bench`, a process of its own: UnitPay massPayment over keep-alive connections, and a stopwatch.

Run as `python -m disburse.cli.bench_load` with one JSON object on standard input (see `Order`); prints one JSON object.
Closed loop: each connection sends its next request when the last is answered. With `rate` it is open loop: requests leave at
fixed times whatever the answers do, and latency counts from the time a request should have left. It spends as little as it can,
since it shares the machine with what it measures.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import asdict, dataclass
from typing import cast

import uvloop

OK = (b'"status":"not_completed"', b'"status":"success"')


@dataclass(frozen=True)
class Order:
    """`keys`: (login, secretKey) pairs, used in turn. `rate`: requests a second, or null for a closed loop."""

    host: str
    port: int
    connections: int
    seconds: float
    warm_s: float
    prefix: str
    keys: list[tuple[str, str]]
    rate: float | None = None
    amount: str = "10.00"


@dataclass(frozen=True)
class Report:
    """What was measured after the warm-up: answers of accepted payouts a second, and latencies in milliseconds."""

    accepted: int
    refused: int
    seconds: float
    per_s: float
    p50_ms: float
    p99_ms: float
    first_refusal: str = ""


class Load:
    """All connections together: whose turn it is, and what came back when."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.number = 0
        self.took: list[float] = []
        self.refused = 0
        self.first_refusal = ""
        self.measuring = False
        self.over = False
        self._heads = [
            (
                f"GET /api?method=massPayment&params%5Bsum%5D={order.amount}&params%5Bpurse%5D=4111111111111111"
                f"&params%5BpaymentType%5D=card&params%5Blogin%5D={login.replace('@', '%40')}&params%5BsecretKey%5D={key}"
                f"&params%5BtransactionId%5D={order.prefix}-"
            ).encode()
            for login, key in order.keys
        ]
        self._tail = f" HTTP/1.1\r\nHost: {order.host}\r\nAccept: */*\r\n\r\n".encode()

    def next_request(self) -> bytes:
        self.number += 1
        return self._heads[self.number % len(self._heads)] + str(self.number).encode() + self._tail

    def answered(self, body: bytes, since: float) -> None:
        if not self.measuring:
            return
        if OK[0] in body or OK[1] in body:
            self.took.append(time.monotonic() - since)
        else:
            self.refused += 1
            self.first_refusal = self.first_refusal or body[-300:].decode(errors="replace")


class Caller(asyncio.Protocol):
    """One connection."""

    def __init__(self, load: Load, idle: list[Caller]) -> None:
        self._load = load
        self._idle = idle
        self._since = 0.0
        self._got = b""
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)  # uvloop's are none by inheritance
        if self._load.order.rate is None:
            self.send(time.monotonic())
        else:
            self._idle.append(self)

    def send(self, since: float) -> None:
        self._since = since
        if self._transport is not None:
            self._transport.write(self._load.next_request())

    def data_received(self, data: bytes) -> None:
        self._got += data
        head = self._got.find(b"\r\n\r\n")
        if head < 0:
            return
        at = self._got.lower().find(b"content-length:", 0, head)
        length = int(self._got[at + 15 : self._got.find(b"\r\n", at)])
        if len(self._got) < head + 4 + length:
            return
        body, self._got = self._got[head + 4 : head + 4 + length], self._got[head + 4 + length :]
        self._load.answered(body, self._since)
        if self._load.over:
            return
        if self._load.order.rate is None:
            self.send(time.monotonic())
        else:
            self._idle.append(self)


async def run(order: Order) -> Report:
    """Warm up, measure for so many seconds, stop."""
    loop = asyncio.get_running_loop()
    load, idle = Load(order), list[Caller]()
    connections = [
        await loop.create_connection(lambda: Caller(load, idle), order.host, order.port) for _ in range(order.connections)
    ]
    pacing = asyncio.create_task(_pace(load, idle, order.rate)) if order.rate else None
    await asyncio.sleep(order.warm_s)
    load.measuring = True
    started = time.monotonic()
    await asyncio.sleep(order.seconds)
    load.measuring = False
    seconds = time.monotonic() - started
    load.over = True
    if pacing is not None:
        pacing.cancel()
    await asyncio.sleep(0.3)
    for transport, _ in connections:
        transport.close()
    took = sorted(load.took)
    per_s = round(len(took) / seconds, 1)
    return Report(
        len(took), load.refused, round(seconds, 3), per_s, _at(took, 0.5), _at(took, 0.99), load.first_refusal
    )


def _at(took: list[float], part: float) -> float:
    """The latency, in milliseconds, that this part of all answers did not exceed."""
    return round(took[min(int(len(took) * part), len(took) - 1)] * 1000, 2) if took else 0.0


async def _pace(load: Load, idle: list[Caller], rate: float) -> None:
    """Requests leave on time; one for which no connection is free waits, and its latency with it."""
    due = time.monotonic()
    while True:
        now = time.monotonic()
        while due <= now and idle:
            idle.pop().send(due)
            due += 1 / rate
        await asyncio.sleep(0.001)


def main() -> None:
    order = json.load(sys.stdin)
    order["keys"] = [tuple(pair) for pair in order["keys"]]
    print(json.dumps(asdict(uvloop.run(run(Order(**order))))))


if __name__ == "__main__":
    main()
