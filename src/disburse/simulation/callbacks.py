"""Banks that call back: as often as their temper says, late, in any order, and again until somebody hears them."""

from __future__ import annotations

import json

from disburse.protocols.wire import WireAnswer, WireRequest
from disburse.simulation import provider_faces
from disburse.simulation.provider import Ordered, Provider
from disburse.simulation.stage import Day
from disburse.simulation.streams import log_uniform


def tell(day: Day, provider: Provider, order: Ordered) -> None:
    """A bank calls back, as often as its temper says, each time at a moment of its own; a copy may overtake another.

    Like the real one it calls again until it is heard.
    """
    if not provider.name.startswith(("bank", "guarded")):
        return
    if provider.temper.calls > 1:
        day.faults.count("callbacks")
    for _ in range(provider.temper.calls):
        body = json.dumps(provider_faces.standing(provider, order)).encode()
        day.calling += 1
        _call_later(day, provider, WireRequest("POST", f"/callbacks/{provider.name}", b"", {"content-type": "application/json"}, body))


def _call_later(day: Day, provider: Provider, request: WireRequest) -> None:
    seconds = log_uniform(provider.stream, 0.001, 60.0 if day.faults.on else 1.0)
    day.loop.call_later(seconds, _call_back, day, provider, request)


def _call_back(day: Day, provider: Provider, request: WireRequest) -> None:
    host = day.net.hosts.get(provider.stream.choice(day.servers))
    heard: list[bool] = []

    def reply(said: WireAnswer | None) -> None:
        heard.append(said is not None and said.status == 200)

    def again() -> None:
        if any(heard):
            day.calling -= 1
        else:
            _call_later(day, provider, request)

    if day.faults.chance("deaf"):
        _hide_the_database(day)
    if host is not None and host.up and provider.up:
        host.receive(request, reply)
    day.loop.call_later(10.0, again)


def _hide_the_database(day: Day) -> None:
    """The database goes away in the very moment in which a bank calls, for longer than anybody waits for it."""

    def back() -> None:
        day.faults.database_away = False

    day.faults.count("deaf", "N4", "deaf")
    day.faults.database_away = True
    day.store.cut_all()
    day.loop.call_later(log_uniform(day.streams["deaf"], 8.0, 30.0), back)
