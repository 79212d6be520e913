"""The promises that everything hangs on, before any other test: who breaks one is told within a minute (conftest.py puts these first).

One live attempt a payout, by the database's own index; the intent stands, committed, before the first byte leaves; what nobody
knows is not called failed. Each of them is tested more deeply elsewhere.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest

from disburse.connectors.contract import Order
from disburse.connectors.transport import HttpTransport
from disburse.domain.outcomes import Outcome, Unknown
from disburse.domain.ports import World
from disburse.storage.database import Database
from tests.workers.provider import LOSE, PAY, Process, Provider, Town


class Watching(Provider):
    """A provider that looks into our database, by a connection of its own, whenever an order arrives."""

    def __init__(self, dsn: str) -> None:
        super().__init__()
        self._dsn = dsn
        self.seen: list[tuple[str, str]] = []

    async def submit(self, order: Order) -> Outcome:
        looking = await asyncpg.connect(self._dsn)
        try:
            rows = await looking.fetch(
                "SELECT a.state, p.state FROM disburse.attempts a JOIN disburse.payouts p USING (shard, payout_id) WHERE a.end_to_end_id = $1",
                order.end_to_end_id,
            )
        finally:
            await looking.close()
        self.seen += [(row[0], row[1]) for row in rows]
        return await super().submit(order)


class Mute(Provider):
    """A provider that pays and never says so, and cannot be asked either."""

    def __init__(self) -> None:
        super().__init__()
        self.capabilities = replace(self.capabilities, not_found_final_after_s=None)
        self.deaf = True

    async def submit(self, order: Order) -> Outcome:
        self.paid.append((order.end_to_end_id, order.amount.minor))
        return Unknown("time-out")


async def town_of(provider: Provider, database: Database, world: World, directory: Path) -> Town:
    return await Town(database, world, directory, [provider]).settle_in()


async def test_the_database_allows_one_live_attempt(database: Database, world: World, dsn: str, tmp_path: Path) -> None:
    """A second attempt beside one that may have paid is refused by the database itself, whoever writes it."""
    provider = Mute()
    town = await town_of(provider, database, world, tmp_path)
    [payout] = await town.pay(PAY)
    process = Process(town, "w").start()
    await town.until(lambda: _left_open(town))
    await process.stop()
    assert await town.attempts(payout) == ["unknown"]
    superuser = await asyncpg.connect(dsn)
    try:
        with pytest.raises(asyncpg.UniqueViolationError):
            await superuser.execute(
                """INSERT INTO disburse.attempts (shard, payout_id, number, merchant_id, state, due_at, actor)
                   SELECT shard, payout_id, 2, merchant_id, 'due', due_at, actor FROM disburse.attempts WHERE payout_id = $1""",
                payout.payout_id,
            )
    finally:
        await superuser.close()


async def test_the_intent_is_committed_before_the_order_leaves(database: Database, world: World, dsn: str, tmp_path: Path) -> None:
    """When an order reaches a provider, another connection already sees its attempt open and its payout in flight."""
    provider = Watching(dsn)
    town = await town_of(provider, database, world, tmp_path)
    await town.pay(PAY, PAY, LOSE)
    process = Process(town, "w").start()
    await town.until(town.all_final)
    await process.stop()
    assert len(provider.seen) == len(provider.calls) == 4
    assert set(provider.seen) == {("open", "in_flight")}
    await town.agrees()


async def test_what_nobody_knows_is_not_failed(database: Database, world: World, tmp_path: Path) -> None:
    """An order whose answer is lost stays in doubt, with its money, however long nobody can say what became of it."""
    provider = Mute()
    town = await town_of(provider, database, world, tmp_path)
    await town.pay(PAY)
    process = Process(town, "w").start()
    await town.until(lambda: _asked(town, provider))
    await process.stop()
    assert await town.rows("SELECT state FROM payouts") == [("in_doubt",)]
    assert (await town.balances())["in_doubt:bank"] == provider.paid[0][1]
    assert len(provider.paid) == 1


async def test_a_silent_provider_is_doubt(world: World) -> None:
    """A request that was written and not answered in time is unknown, and not "not sent"."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    transport = HttpTransport(world.clock)
    try:
        answer = await transport.send("POST", f"http://127.0.0.1:{port}/", deadline_s=0.2, body=b"pay")
    finally:
        await transport.close()
        server.close()
        await server.wait_closed()
    assert isinstance(answer, Unknown)


async def _left_open(town: Town) -> bool:
    """Whether the one attempt is no longer its owner's."""
    rows = await town.rows("SELECT state FROM attempts")
    return len(rows) >= 1 and rows[0][0] not in ("due", "open")


async def _asked(town: Town, provider: Provider) -> bool:
    """Whether the provider was asked often enough, or somebody believes to know."""
    return provider.asked >= 5 or await town.all_final()
