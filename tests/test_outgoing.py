"""Events leave a house as it is wired: the courier posts, whoever waits is woken, names are resolved in threads of their own."""

from __future__ import annotations

import asyncio
import threading
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from disburse.domain.money import Money
from disburse.operations.events import wait_for_events
from disburse.operations.merchants import add_merchant, draw_top_up
from disburse.operations.webhooks import add_webhook, list_webhooks
from disburse.outgoing import SystemResolver, outgoing
from disburse.protocols.webhooks import read_secret
from disburse.settings import Settings
from disburse.wiring import House, open_house
from disburse.world import real_world
from tests.workers.receivers import Receiver


async def _topped_up(house: House, receiver: Receiver) -> int:
    """A merchant whose events go to the receiver, and its last event, which came about with the loops running."""
    made = await add_merchant(house.database, house.world, house.vault, name="m", login="m@example.com", actor="cli")
    new = await add_webhook(house.desk, made.merchant, receiver.url, since=0, actor="cli")
    receiver.keys.append(read_secret(new.secret))
    waiting = asyncio.create_task(wait_for_events(house.desk, made.merchant, 1, 10, 30))
    while not house.desk.news.waiting():
        await asyncio.sleep(0)
    await house.desk.top_up(made.merchant, draw_top_up(house.world, made.merchant, Money(100, "RUB"), actor="cli"))
    (told,) = await waiting
    return told.number


async def test_events_leave_the_house(dsn: str, tmp_path: Path) -> None:
    """A running house posts what happens to the merchant's endpoint and wakes who waits for it; leaving, it lets go of the endpoint."""
    settings = Settings(data=str(tmp_path), database_url=dsn, webhooks_to_loopback=True, unsafe_database=True)
    told: list[str] = []
    async with AsyncExitStack() as stack:
        receiver = await Receiver().start(stack, lambda: real_world().clock.now().timestamp())
        house = await stack.enter_async_context(open_house(settings, real_world()))
        async with outgoing(house, api=True, workers=True, delivered=told.append) as loops:
            last = await _topped_up(house, receiver)
            async with asyncio.timeout(30):
                while receiver.numbers() != list(range(1, last + 1)):
                    await house.database.ping(deadline=house.world.clock.monotonic() + 5)
            assert not any(loop.done() for loop in loops)
        rows = await house.database.run(lambda tx: tx.fetch("SELECT owner, done_to FROM webhooks"))
        assert [tuple(row) for row in rows] == [(None, last)]
        assert told == ["delivered"] * last and receiver.wrong == []


async def test_this_machine_is_not_called_by_default(dsn: str, tmp_path: Path) -> None:
    """Without the setting an endpoint on this machine is refused at each try, whatever stands in its row."""
    settings = Settings(data=str(tmp_path), database_url=dsn, unsafe_database=True)
    told: list[str] = []
    async with AsyncExitStack() as stack:
        receiver = await Receiver().start(stack, lambda: 0.0)
        house = await stack.enter_async_context(open_house(settings, real_world()))
        async with outgoing(house, api=True, workers=True, delivered=told.append):
            await _topped_up(house, receiver)
            async with asyncio.timeout(30):
                while not told:
                    await house.database.ping(deadline=house.world.clock.monotonic() + 5)
        merchant = await house.desk.recognition.by_login("m@example.com")
        assert merchant is not None
        ((webhook, _),) = await list_webhooks(house.desk, merchant)
        assert set(told) == {"failed"} and receiver.seen == []
        assert webhook.last_answer == "the address is not allowed: it is not https"


async def test_dead_names_delay_nobody() -> None:
    """However many names have servers that are silent, others are resolved meanwhile: once it is known, dead ones have few threads for them all."""
    silence, asked = threading.Event(), list[str]()

    def look_up(host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
        if host.startswith("dead"):
            asked.append(host)
            if len(asked) > 200:
                silence.wait(30)
            raise OSError("no answer")
        return [(None, None, None, "", ("192.0.2.1", port))]

    resolve = SystemResolver(look_up)
    dead = [f"dead{n}.example" for n in range(200)]
    assert all(isinstance(one, OSError) for one in await asyncio.gather(*[resolve(one, 443) for one in dead], return_exceptions=True))
    again = [asyncio.create_task(resolve(one, 443)) for one in dead]
    async with asyncio.timeout(20):
        assert list(await resolve("good.example", 443)) == ["192.0.2.1"]
    silence.set()
    assert all(isinstance(one, OSError) for one in await asyncio.gather(*again, return_exceptions=True))
    resolve.close()


async def test_names_are_resolved_once_at_a_time() -> None:
    """All addresses of a name are told, to all who ask at the same time; a name that does not exist is an OSError."""
    resolve = SystemResolver()
    first, second = await asyncio.gather(resolve("localhost", 443), resolve("localhost", 443))
    assert list(first) == list(second) and set(first) <= {"127.0.0.1", "::1"} and first
    with pytest.raises(OSError):
        await resolve("does-not-exist.invalid", 443)
    resolve.close()
