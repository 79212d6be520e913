"""What simulated processes have instead of a network: requests that arrive or do not, answers that come back or do not.

Lives here: `Net`, which carries whole requests and answers between addresses, and `SimTransport`, which stands where connectors
have `HttpTransport` and keeps its promises (at most one sending; `NotSent` only when no byte went out). What goes wrong is
decided in `faults.py`. May not live here: what a provider answers.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from contextvars import Context
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Protocol
from urllib.parse import urlsplit

from disburse.domain.outcomes import NotSent, Unknown
from disburse.protocols.wire import WireAnswer, WireRequest
from disburse.simulation.loop import Loop
from disburse.simulation.process import Process
from disburse.storage.database import assert_no_transaction

MOST_BYTES: Final = 64 * 1024
_NOBODY: Final = Context()
_NONE: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Way:
    """How one exchange goes. `refused`: no connection is had; `unreachable`: nor any word about it. `lost`: the request never
    arrives whole. `silent`: the answer does not come back. `reset`: the connection breaks once the request arrived. `spoilt`: what
    comes back in the answer's place. `die`: the sender is killed "before" its first byte or "after" its last. `stands_s`: it stands
    still so long before its first byte. `doubled`: a gateway on the way repeats it by itself, and the second answer is what comes back.
    Seconds there and back.
    """

    refused: bool = False
    unreachable: bool = False
    lost: bool = False
    silent: bool = False
    reset: bool = False
    spoilt: WireAnswer | None = None
    die: str | None = None
    stands_s: float = 0.0
    doubled: bool = False
    there_s: float = 0.001
    back_s: float = 0.001


class Weather(Protocol):
    """Who decides how an exchange goes."""

    def way(self, sender: Process, host: str, request: WireRequest) -> Way: ...


class Host(Protocol):
    """Something with an address. `up`: whether connections are taken."""

    @property
    def up(self) -> bool: ...

    def receive(self, request: WireRequest, reply: Callable[[WireAnswer | None], None]) -> None:
        """Take a request in; `reply` is called once, or never."""
        ...


class Net:
    """Addresses and what stands at them. `sent_at`: of the request that a host is just handed, when its sender set about sending it."""

    def __init__(self, loop: Loop, weather: Weather) -> None:
        self.loop = loop
        self.weather = weather
        self.hosts: dict[str, Host] = {}
        self.sent_at = 0.0
        self.noted: Callable[[Process, str], None] = lambda process, what: None

    async def exchange(
        self, sender: Process, host: str, request: WireRequest, *, deadline_s: float
    ) -> WireAnswer | NotSent | Unknown:
        """One request and its answer. What is on its way when the deadline comes arrives all the same."""
        way, sent_at = self.weather.way(sender, host, request), self.loop.time()
        if way.die == "before":
            await sender.die_here()
        if way.stands_s:
            sender.stand_still(way.stands_s)
            await asyncio.sleep(0)
        target = self.hosts.get(host)
        if way.unreachable:
            await asyncio.sleep(deadline_s)
            return NotSent("no connection in time")
        if way.refused or target is None or not target.up:
            await asyncio.sleep(min(way.there_s, deadline_s))
            return NotSent("the connection is refused")
        answer: asyncio.Future[WireAnswer | Unknown] = self.loop.create_future()
        if not way.lost:
            self._carry(target, request, way, answer, sent_at)
        if way.die == "after":
            await asyncio.sleep(way.there_s)
            await sender.die_here()
        try:
            async with sender.clock.timeout(deadline_s):
                return await answer
        except TimeoutError:
            return Unknown("time-out")

    def _carry(
        self, target: Host, request: WireRequest, way: Way, answer: asyncio.Future[WireAnswer | Unknown], sent_at: float
    ) -> None:
        """Bring a request there and its answer back; nobody's process does that, so nobody's death ends it."""

        def back(said: WireAnswer | None) -> None:
            if said is None or way.silent:
                return
            told = Unknown("the connection broke") if way.reset else way.spoilt if way.spoilt is not None else said
            self.loop.call_later(way.back_s, arrive, told, context=_NOBODY)

        def arrive(told: WireAnswer | Unknown) -> None:
            if not answer.done():
                answer.set_result(told)

        def there() -> None:
            self.sent_at = sent_at
            if target.up and way.doubled:
                target.receive(request, lambda said: None)
            if target.up:
                target.receive(request, back)

        self.loop.call_later(way.there_s, there, context=_NOBODY)


class SimTransport:
    """A connector's transport in a simulated process."""

    def __init__(self, process: Process, net: Net) -> None:
        self._process = process
        self._net = net

    def open(self) -> None:
        """There is nothing to read."""

    async def close(self) -> None:
        """There is nothing to close."""

    async def send(
        self,
        method: str,
        url: str,
        *,
        deadline_s: float,
        headers: Mapping[str, str] = _NONE,
        body: bytes | None = None,
        most_bytes: int = MOST_BYTES,
    ) -> WireAnswer | NotSent | Unknown:
        """As `HttpTransport.send`."""
        assert_no_transaction()
        self._process.check()
        parts = urlsplit(url)
        lowered = {name.lower(): value for name, value in headers.items()}
        request = WireRequest(method, parts.path, parts.query.encode("ascii"), lowered, body or b"")
        host = parts.netloc
        self._net.noted(self._process, f"calls {host} {method} {parts.path}")
        answer: WireAnswer | NotSent | Unknown = NotSent("no connection in time")
        if deadline_s > 0:
            answer = await self._net.exchange(self._process, host, request, deadline_s=deadline_s)
        if isinstance(answer, WireAnswer) and len(answer.body) > most_bytes:
            answer = Unknown("the answer is too long")
        self._net.noted(self._process, f"hears {host} {_shown(answer)}")
        return answer


def _shown(answer: WireAnswer | NotSent | Unknown) -> str:
    return f"HTTP {answer.status}" if isinstance(answer, WireAnswer) else f"{type(answer).__name__}: {answer.why}"


def spoilt_answers() -> list[WireAnswer]:
    """What a gateway, a proxy or a broken program sends in an answer's place."""
    html = b"<html><body>502 Bad Gateway</body></html>"
    return [
        WireAnswer(500, "text/html", b"oops"),
        WireAnswer(502, "text/html", html),
        WireAnswer(503, "application/json", b'{"error":"busy"}'),
        WireAnswer(200, "text/html", html),
        WireAnswer(200, "application/json", b'{"result":{"status":"suc'),
        WireAnswer(200, "application/json", b"\x1f\x8b\x08\x00garbage"),
        WireAnswer(200, "application/json", b""),
        WireAnswer(200, "application/json", b"null"),
        WireAnswer(204, "application/json", b""),
        WireAnswer(301, "text/html", b""),
        WireAnswer(302, "text/html", b""),
        WireAnswer(404, "text/html", html),
        WireAnswer(404, "application/json", b'{"message":"no such route"}'),
        WireAnswer(429, "application/json", b"{}"),
    ]


def pick_spoilt(stream: random.Random) -> WireAnswer:
    return stream.choice(spoilt_answers())
