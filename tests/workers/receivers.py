"""Merchants' webhook receivers on loopback, good and evil, and couriers that a test may kill. Real sockets, real database.

Lives here: `Receiver`, which verifies each message and behaves as the test says; `Post`, a house with couriers whose clock the test
moves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from disburse.connectors.webhooks import WebhookTransport
from disburse.domain.destinations import read_card
from disburse.domain.merchant import Merchant
from disburse.domain.money import Money
from disburse.domain.outcomes import Settled, Verdict
from disburse.domain.payout import Payout
from disburse.domain.ports import World
from disburse.operations.events import Told, read_events
from disburse.operations.payouts import Found
from disburse.operations.shared_time import SharedTime
from disburse.operations.webhooks import add_webhook
from disburse.protocols.events import Event, decode_event
from disburse.protocols.webhooks import ID, SIGNATURE, read_secret, verify
from disburse.storage.database import Database, assert_no_transaction
from disburse.workers.courier import Courier, CourierLimits
from tests.api.house import House, build_house
from tests.clock import FakeClock

CARD = read_card("4111111111111111", luhn=True)
PATIENCE_S = 180.0
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

Behaviour = Callable[[Event, asyncio.StreamWriter], Awaitable[bool]]
"""Answers an event; True: the message was taken, and the connection goes on."""


async def takes(event: Event, writer: asyncio.StreamWriter) -> bool:
    writer.write(OK)
    return True


def answers(status: int, *more: str) -> Behaviour:
    """Answers with this status, and takes nothing."""

    async def answer(event: Event, writer: asyncio.StreamWriter) -> bool:
        lines = [f"HTTP/1.1 {status} X", *more, "Content-Length: 0", "", ""]
        writer.write("\r\n".join(lines).encode())
        return False

    return answer


async def hangs(event: Event, writer: asyncio.StreamWriter) -> bool:
    await asyncio.Event().wait()
    return False


async def closes(event: Event, writer: asyncio.StreamWriter) -> bool:
    writer.close()
    return False


async def floods(event: Event, writer: asyncio.StreamWriter) -> bool:
    """Takes the message and answers with ten megabytes."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10485760\r\n\r\n")
    try:
        for _ in range(160):
            writer.write(b"x" * 65536)
            await writer.drain()
    except ConnectionError:
        pass
    return True


class Receiver:
    """One merchant's program. `got` are the events that it took, in order; `seen` all that came; `tries` every signature header."""

    def __init__(self) -> None:
        self.keys: list[bytes] = []
        self.behaviour: Behaviour = takes
        self.got: list[Event] = []
        self.seen: list[Event] = []
        self.tries: list[str] = []
        self.ids: list[str] = []
        self.inside = self.most = 0
        self.wrong: list[BaseException] = []
        self.now: Callable[[], float]
        self.url = ""
        self._tasks: dict[asyncio.Task[None], None] = {}

    async def start(self, stack: AsyncExitStack, now: Callable[[], float]) -> Receiver:
        self.now = now
        server = await asyncio.start_server(self._begin, "127.0.0.1", 0, backlog=1000)
        stack.callback(server.close)
        stack.callback(self._stop)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hooks"
        return self

    def _stop(self) -> None:
        for task in self._tasks:
            task.cancel()

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks[task] = None
        task.add_done_callback(lambda one: self._tasks.pop(one, None))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._one(reader, writer):
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        except Exception as fault:
            self.wrong.append(fault)
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[1:-2]
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head)}
        body = await reader.readexactly(int(headers["content-length"]))
        message = verify(self.keys, headers, body, self.now())
        event = decode_event(body)
        assert message == event.id
        self.tries.append(headers[SIGNATURE])
        self.ids.append(headers[ID])
        self.seen.append(event)
        self.inside += 1
        self.most = max(self.most, self.inside)
        try:
            taken = await self.behaviour(event, writer)
        finally:
            self.inside -= 1
        if taken:
            self.got.append(event)
        return taken and self.behaviour is takes

    def numbers(self) -> list[int]:
        return [event.number for event in self.got]

    def in_order(self) -> bool:
        """Whether each payout's events came in order, those that came again aside."""
        last: dict[UUID | None, int] = {}
        known: set[int] = set()
        for event in self.got:
            key = event.payout.id if event.payout is not None else None
            if event.number not in known and event.number < last.get(key, 0):
                return False
            known.add(event.number)
            last[key] = max(last.get(key, 0), event.number)
        return True


class RoomTime(SharedTime):
    """What couriers take for the database's clock: the room's, whatever the database told them. Leases alone go by its own."""

    def saw(self, shown: datetime, asked_at: float) -> None:
        """It was told."""


class PostRoom:
    """A house, merchants with receivers, and couriers in a time that the test moves. Close it at the end."""

    def __init__(self, house: House, clock: FakeClock) -> None:
        self.house, self.clock = house, clock
        self.stack = AsyncExitStack()
        self.receivers: list[Receiver] = []
        self.couriers: dict[Courier, asyncio.Task[None]] = {}
        self.told: list[str] = []
        self.alerts: list[str] = []
        self.house.desk.on_alert = lambda connector, alert: self.alerts.append(alert)

    @classmethod
    async def open(cls, database: Database, world: World, directory: Path) -> PostRoom:
        clock = FakeClock(world.clock.now())
        house = await build_house(database, World(clock, world.random), directory)
        house.desk.time = RoomTime(clock)
        return cls(house, clock)

    async def receiver(
        self, merchant: Merchant, *, since: int | None = 0, types: Sequence[str] | None = None
    ) -> tuple[Receiver, UUID]:
        """A receiver of a merchant's events, and its endpoint's id."""
        made = await Receiver().start(self.stack, lambda: self.clock.now().timestamp())
        new = await add_webhook(self.house.desk, merchant, made.url, since=since, types=types, actor="operator:1")
        made.keys.append(read_secret(new.secret))
        self.receivers.append(made)
        return made, new.webhook.webhook_id

    def courier(self, name: str = "courier-1", *, limits: CourierLimits | None = None) -> Courier:
        """A courier at work. `kill` ends it."""
        world = self.house.world
        transport = WebhookTransport(world.clock, _nowhere, to_loopback=True, outside=assert_no_transaction)
        self.stack.push_async_callback(transport.close)
        made = Courier(
            self.house.desk, transport, world, name, limits=limits or CourierLimits(gather_s=0.02), told=self.told.append
        )
        self.house.desk.on_written = made.pace.wake
        self.couriers[made] = asyncio.get_running_loop().create_task(made.run())
        return made

    async def kill(self, courier: Courier) -> None:
        """kill -9: the next line does not run, and nothing is recorded or let go."""
        loop = self.couriers.pop(courier)
        doomed = [loop, *courier._under_way]
        for task in doomed:
            task.cancel()
        await asyncio.gather(*doomed, return_exceptions=True)

    async def stop(self, courier: Courier) -> None:
        """An orderly end."""
        loop = self.couriers.pop(courier)
        loop.cancel()
        await asyncio.gather(loop, return_exceptions=True)
        finishing = asyncio.create_task(courier.finish())
        while not finishing.done():
            await self.pass_time(0.05)
        await finishing

    async def close(self) -> None:
        for courier in list(self.couriers):
            await self.kill(courier)
        await self.stack.aclose()
        for receiver in self.receivers:
            assert receiver.wrong == []

    async def lapse(self) -> None:
        """Every lease ran out a second ago, by the database's clock."""
        await self.rows("UPDATE webhooks SET lease_until = clock_timestamp() - interval '1 s' WHERE shard = 0 RETURNING 1")

    async def rows(self, sql: str, *values: Any) -> list[Any]:
        return await self.house.database.run(lambda tx: tx.fetch(sql, *values))

    async def pass_time(self, seconds: float) -> None:
        """So much time passes, and whatever the network and the database have for anybody arrives."""
        await self.rows("SELECT 1")
        await self.clock.advance(seconds)

    async def until(self, done: Callable[[], bool], *, step_s: float = 0.05) -> None:
        """Let time pass until so it is; while a try is under way in small steps, since the network is slower than a test."""
        async with asyncio.timeout(PATIENCE_S):
            while not done():
                for loop in self.couriers.values():
                    assert not loop.done(), loop.result()
                await self.pass_time(0.05 if any(courier._under_way for courier in self.couriers) else step_s)

    # --- what happens ---

    async def pay(self, merchant: Merchant, *verdicts: Verdict, minor: int = 10_000) -> Payout:
        """A payout, made, claimed, and ended as the bank says: paid, unless told."""
        desk = self.house.desk
        draft = desk.draft(
            merchant, CARD, Money(minor, "RUB"), surface="own", reference=None, amount_text="100.00", execute=True, actor="merchant:1"
        )
        found = await desk.create(merchant, draft)
        assert isinstance(found, Found)
        for opened in await self.house.claim():
            for verdict in verdicts or (Settled("ref"),):
                await self.house.tell(opened, verdict)
        return found.payout

    async def events(self, merchant: Merchant) -> list[Told]:
        return await read_events(self.house.desk, merchant, 0, 1000)

    async def all_of(self, merchant: Merchant) -> list[int]:
        return [event.number for event in await self.events(merchant)]


async def _nowhere(host: str, port: int) -> Sequence[str]:
    raise OSError("there are no names here")
