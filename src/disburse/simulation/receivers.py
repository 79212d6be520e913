"""Merchants' webhook receivers, and the persons who look after them: they answer, hang, refuse, are down, ask for a pause, forget an answer.

Lives here: how a receiver behaves, and what couriers have instead of sockets. Every message is shown to the auditor as it arrives
(`auditor/hooks.py`). May not live here: judgement.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from disburse.domain.refusals import Refusal
from disburse.operations import webhooks
from disburse.operations.merchants import find_merchant
from disburse.protocols.wire import WireAnswer, WireRequest
from disburse.simulation.auditor.hooks import Endpoint
from disburse.simulation.stage import Day
from disburse.storage.database import StoreUnavailable
from disburse.wiring import House

PREFIX: Final = "hooks-"
"""How the hosts of receivers are called."""
_TYPES: Final = (None, None, ("payout.*",), ("payout.paid", "payout.failed"))


@dataclass(slots=True)
class Manners:
    """How often a receiver does what (0 to 1)."""

    hangs: float = 0.0
    fails: float = 0.0
    forgets: float = 0.0  # takes it, and its answer is never sent
    waits: float = 0.0  # asks to be left alone for some seconds
    goes: float = 0.0  # says that it is gone for good


class Receiver:
    """One receiver. `up`: whether it takes connections."""

    def __init__(self, day: Day, endpoint: Endpoint, manners: Manners, stream: random.Random) -> None:
        self.endpoint = endpoint
        self.manners = manners
        self.up = True
        self._day = day
        self._stream = stream

    def receive(self, request: WireRequest, reply: Callable[[WireAnswer | None], None]) -> None:
        """A message arrives."""
        self._day.look(self._day.auditor.told(self.endpoint, request.headers, request.body))
        self._day.sometimes["an event arrived at a receiver"] += 1
        bad = self._manner()
        if bad is not None:
            self._day.faults.count(f"webhook {bad}")
        if bad in (None, "forgets"):
            number = int(request.headers["webhook-id"].rpartition("_")[2])
            self.endpoint.taken.add(number)
        match bad:
            case "hangs" | "forgets":
                return
            case "fails":
                reply(WireAnswer(self._stream.choice((500, 502, 302, 404)), "text/plain", b""))
            case "waits":
                reply(WireAnswer(self._stream.choice((429, 503)), "text/plain", b"", (("retry-after", "7"),)))
            case "goes":
                reply(WireAnswer(410, "text/plain", b""))
            case _:
                reply(WireAnswer(self._stream.choice((200, 204)), "text/plain", b""))

    def _manner(self) -> str | None:
        if self._day.healed:
            return None
        for name in ("hangs", "fails", "forgets", "waits", "goes"):
            if self._stream.random() < getattr(self.manners, name):
                return name
        return None


async def set_up(day: Day, house: House) -> None:
    """In the morning: one or two merchants have an endpoint, which is told everything from the beginning."""
    stream = day.streams["receivers"]
    programs = stream.sample(day.clients, min(len(day.clients), stream.choice((1, 1, 2))))
    for place, program in enumerate(programs, 1):
        merchant = await find_merchant(house.database, str(program.account.number))
        host, types = f"{PREFIX}{place}", stream.choice(_TYPES)
        made = await webhooks.add_webhook(house.desk, merchant, f"https://{host}/in", types=types, since=0, actor="operator:clerk")
        endpoint = Endpoint(str(made.webhook.webhook_id), merchant.merchant_id, [made.secret], types, 0)
        receiver = Receiver(day, endpoint, _manners(day, stream), stream)
        day.net.hosts[host] = receiver
        day.endpoints.append(endpoint)
        if day.knobs.rates and stream.random() < 0.4:
            day.loop.create_task(_be_down(day, receiver, stream))


def _manners(day: Day, stream: random.Random) -> Manners:
    def rate(most: float, often: float = 0.5) -> float:
        return stream.uniform(0.0, most) if day.knobs.rates and stream.random() < often else 0.0

    return Manners(hangs=rate(0.3), fails=rate(0.5), forgets=rate(0.4), waits=rate(0.2, 0.3), goes=rate(0.05, 0.2))


async def _be_down(day: Day, receiver: Receiver, stream: random.Random) -> None:
    """It takes no connections for a while, at most until the day heals."""
    await asyncio.sleep(stream.uniform(5.0, day.knobs.safety_s * 0.7))
    receiver.up = False
    day.faults.count("webhook down")
    ends = day.loop.time() + stream.uniform(5.0, day.knobs.safety_s)
    while day.loop.time() < ends and not day.healed:
        await asyncio.sleep(2.0)
    receiver.up = True


async def look_after(day: Day, house: House, rotated: set[str]) -> None:
    """Persons pause, resume, rotate a secret once, have events sent again; when the day has healed they resume what stands still."""
    stream = day.streams["receivers"]
    while not day.closed:
        await asyncio.sleep(10.0 if day.healed else stream.expovariate(1 / 40.0))
        endpoint = stream.choice(day.endpoints)
        merchant, name = await find_merchant(house.database, str(endpoint.merchant)), UUID(endpoint.webhook_id)
        deed = "resume" if day.healed else stream.choice(("pause", "resume", "resume", "rotate", "resend"))
        if deed == "rotate" and "clock" in day.knobs.rates:
            continue  # to a worker years ahead the secret before is over before anybody heard of the new one
        with contextlib.suppress(StoreUnavailable, Refusal):
            await _do(deed, house, merchant, name, endpoint, rotated)


async def _do(deed: str, house: House, merchant: Any, name: UUID, endpoint: Endpoint, rotated: set[str]) -> None:
    actor = "operator:clerk"
    match deed:
        case "pause":
            await webhooks.pause_webhook(house.desk, merchant, name, actor=actor)
        case "resume":
            await webhooks.resume_webhook(house.desk, merchant, name, actor=actor)
        case "rotate" if endpoint.webhook_id not in rotated:
            rotated.add(endpoint.webhook_id)  # once: a second time would end a secret that was never heard of
            made = await webhooks.rotate_secret(house.desk, merchant, name, actor=actor)
            endpoint.secrets.append(made.secret)
        case "resend":
            await webhooks.resend_events(house.desk, merchant, name, 1, 3, actor=actor)
