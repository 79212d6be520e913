"""How quickly events reach webhook receivers while others hang: real sockets, the embedded PostgreSQL, one process for everything.

    python -m scripts.couriers [RECEIVERS] [HANGING] [EVENTS A SECOND] [SECONDS]

Each receiver is one merchant's. Events are top-ups, through the desk. It prints, of the receivers that do not hang, how old events
were when they arrived, and whether all of them did. The receivers verify nothing: they stand for other machines.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

from disburse.connectors.webhooks import WebhookTransport
from disburse.domain.merchant import Merchant
from disburse.domain.money import Money
from disburse.domain.ports import World
from disburse.operations.merchants import add_merchant, draw_top_up
from disburse.operations.webhooks import add_webhook
from disburse.outgoing import SystemResolver, outgoing
from disburse.protocols.events import decode_event
from disburse.settings import Settings
from disburse.storage.database import assert_no_transaction
from disburse.wiring import House, open_house
from disburse.world import real_world

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class Receivers:
    """All receivers behind one port; the path says which one is meant, and whether it hangs."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.ages: list[float] = []
        self.got: Counter[str] = Counter()
        self.hung = 0
        self.url = ""
        self._tasks: dict[asyncio.Task[None] | None, None] = {}

    async def start(self, stack: AsyncExitStack) -> None:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=4096)
        stack.push_async_callback(self._stop)
        stack.callback(server.close)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    async def _stop(self) -> None:
        doomed = [task for task in self._tasks if task is not None]
        for task in doomed:
            task.cancel()
        await asyncio.gather(*doomed, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks[asyncio.current_task()] = None
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
                body = await reader.readexactly(int(fields[b"content-length"]))
                if head.startswith(b"POST /hang"):
                    self.hung += 1
                    await asyncio.Event().wait()
                event = decode_event(body)
                if self.got[event.id] == 0 and event.type == "top_up":
                    self.ages.append((self.world.clock.now() - event.at).total_seconds())
                self.got[event.id] += 1
                writer.write(OK)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.pop(asyncio.current_task(), None)
            writer.close()


async def measure(receivers: int, hanging: int, per_s: float, seconds: float) -> bool:
    world = real_world()
    with tempfile.TemporaryDirectory() as place:
        settings = Settings(data=str(Path(place) / "data"), webhooks_to_loopback=True)
        async with AsyncExitStack() as stack:
            house = await stack.enter_async_context(open_house(settings, world))
            them = Receivers(world)
            await them.start(stack)
            merchants = await _settle(house, them, receivers, hanging)
            transport = WebhookTransport(world.clock, SystemResolver(), to_loopback=True, outside=assert_no_transaction)
            stack.push_async_callback(transport.close)
            async with outgoing(house, api=False, workers=True, post=transport):
                await world.clock.sleep(3)  # everything is claimed, and those who hang do
                sent = await _load(house, merchants, per_s, seconds)
                expected = sum(sent[merchant.merchant_id] for merchant in merchants[hanging:])
                for _ in range(100):
                    if len(them.ages) >= expected:
                        break
                    await world.clock.sleep(0.1)
                return _tell(them, expected, sum(sent.values()), hanging, receivers, seconds)


async def _settle(house: House, them: Receivers, receivers: int, hanging: int) -> list[Merchant]:
    merchants = []
    for n in range(receivers):
        made = await add_merchant(house.database, house.world, house.vault, name="m", login=f"m{n}@example.com", actor="cli")
        path = "hang" if n < hanging else "take"
        await add_webhook(house.desk, made.merchant, f"{them.url}/{path}/{n}", actor="cli")
        merchants.append(made.merchant)
    return merchants


async def _load(house: House, merchants: list[Merchant], per_s: float, seconds: float) -> Counter[int]:
    """So many top-ups a second, evenly, each merchant in turn."""
    clock, sent, tasks = house.world.clock, Counter[int](), []
    began, n = clock.monotonic(), 0
    while n < per_s * seconds:
        while n < (clock.monotonic() - began) * per_s:
            merchant = merchants[n % len(merchants)]
            sent[merchant.merchant_id] += 1
            command = draw_top_up(house.world, merchant, Money(100, "RUB"), actor="cli")
            tasks.append(asyncio.create_task(house.desk.top_up(merchant, command)))
            n += 1
        await clock.sleep(0.005)
    await asyncio.gather(*tasks)
    return sent


def _tell(them: Receivers, expected: int, events: int, hanging: int, receivers: int, seconds: float) -> bool:
    ages = sorted(them.ages)
    if not ages:
        sys.stdout.write("nothing arrived\n")
        return False
    p50, p99 = ages[len(ages) // 2], ages[int(len(ages) * 0.99)]
    sys.stdout.write(
        f"{receivers} receivers, {hanging} hang; {events} events in {seconds:g} s ({events / seconds:.0f} a second): "
        f"{len(ages)} of {expected} arrived at the others, after p50 {p50:.3f} s, p99 {p99:.3f} s, at most {ages[-1]:.3f} s; "
        f"{sum(them.got.values()) - len(them.got)} came twice; tries that hung: {them.hung}\n"
    )
    return len(ages) == expected and ages[-1] <= 2.0


def main() -> None:
    given = [float(one) for one in sys.argv[1:]]
    receivers, hanging, per_s, seconds = [*given, *(100.0, 10.0, 500.0, 20.0)[len(given) :]]
    sys.exit(0 if asyncio.run(measure(int(receivers), int(hanging), per_s, seconds)) else 1)


if __name__ == "__main__":
    main()
