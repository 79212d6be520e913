"""Clients that do not really sleep, and a bad line before a real server: requests arrive, answers may not."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Literal

from disburse.client import Client, Retries
from tests.api.rest_client import Program
from tests.connectors.loopback import Serve, Server

Fate = Literal["through", "lost", "cut"]
"""What becomes of a request: all is well; it is done and its answer is lost; or it is lost before it is read."""


class Naps:
    """Sleeps that take no time, and are written down."""

    def __init__(self) -> None:
        self.taken: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.taken.append(seconds)
        await asyncio.sleep(0)


def client_of(shop: Program, url: str = "", **how: Any) -> Client:
    """A client of the merchant. `url` "" is the server itself."""
    how = {"sleep": Naps(), "retries": Retries(tries=4, jitter=lambda: 1.0), **how}
    return Client(url or f"http://127.0.0.1:{shop.served.port}", shop.made.api_key, **how)


async def bad_line(serve: Serve, shop: Program, fates: Sequence[Fate]) -> Server:
    """A line on which requests meet these fates in order; after the last one all is well."""

    async def answer(number: int, writer: asyncio.StreamWriter) -> bool:
        fate = fates[number - 1] if number <= len(fates) else "through"
        if fate == "cut":
            return False
        wire = await shop.served.wire()
        await wire.send(server.requests[number - 1])
        answer = await wire.answer()
        wire.close()
        if fate == "lost":
            return False
        fields = "".join(f"{name}: {value}\r\n" for name, value in answer.headers.items())
        writer.write(f"HTTP/1.1 {answer.status} Said\r\n{fields}\r\n".encode() + answer.body)
        await writer.drain()
        return True

    server: Server = await serve(answer)
    return server


def field(request: bytes, name: str) -> str | None:
    """A header field of a request; None where it has none."""
    for line in request.split(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")[1:]:
        if line.lower().startswith(f"{name.lower()}: "):
            return line.split(": ", 1)[1]
    return None
