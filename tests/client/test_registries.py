"""Registries through the client: a file is sent with a bar, looked at, applied, followed to its end; and the page's program does all of it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from zlib import crc32

import pytest

from disburse.api.allowance import Allowances
from disburse.api.registry_files import How
from disburse.api.rest_registries import RegistryDoor
from disburse.client import (
    AppliedBefore,
    BadFile,
    BlockingClient,
    Drifted,
    NewRegistryAsked,
    NotAllGood,
    NotFound,
    OutcomeUnknown,
    Registry,
    RegistryRowsAsked,
)
from disburse.data import accepted_member_ids
from disburse.operations import registries, registry_work
from disburse.operations.registry_apply import Applier
from disburse.operations.registry_rules import Terms
from tests.api.house import House
from tests.api.rest_client import MEMBERS, Program
from tests.api.served import served
from tests.client.lines import bad_line, client_of
from tests.connectors.loopback import serving
from tests.house.sources import ROOT

WAGES = "reference,amount,currency,rail,purse\n" + "".join(f"w-{n},10.00,RUB,webmoney,Z12345678901{n}\n" for n in range(3))
JSONL = NewRegistryAsked(kind="jsonl", name="wages.jsonl")


def lines(*rows: tuple[str, str]) -> bytes:
    """A file of JSON lines: (reference, amount), each to a purse of its own."""
    line = '{{' + " " * 900 + '"reference": "{0}", "amount": {{"amount": "{1}", "currency": "RUB"}}, "destination": {{"rail": "webmoney", "purse": "Z{2:012d}"}}}}\n'
    return "".join(line.format(*row, crc32(row[0].encode())) for row in rows).encode()


@pytest.fixture
async def town(house: House) -> AsyncIterator[Program]:
    """A merchant's program before the door of registries."""
    made = await house.merchant("shop@example.com")
    door = RegistryDoor(Terms(house.desk), How(accepted_member_ids(MEMBERS)), Allowances(house.world.clock, per_s=0, burst=1))
    async with served([("/v1/registries", door), ("/v1/registries/*", door)]) as running:
        yield Program(house, made, running)


async def carry_out(town: Program) -> None:
    """What a worker's registrar and the bank do, until nothing is left."""
    rows = await town.house.database.run(lambda tx: tx.fetch("SELECT registry_id FROM registries WHERE state = 'executing'"))
    for row in rows:
        found = await registries.find(town.house.database, row[0])
        assert await Applier(town.house.desk, found, "test", "test").run()
        while await town.house.settle():
            pass
        await registry_work.settle(Terms(town.house.desk), found, "test")


async def test_a_registry(town: Program) -> None:
    """Every byte is told on the way; bad rows are told with their faults; what was planned is done, once, and followed to its end."""
    sent: list[tuple[int, int]] = []
    content = lines(("a", "10.00"), ("b", "1O"), *[(f"c{n}", "0.10") for n in range(80)])
    async with client_of(town) as client:
        planned = await client.plan_registry(content, JSONL, told=lambda done, size: sent.append((done, size)))
        assert sent == [(done, len(content)) for done in (0, 65536, len(content))] and (planned.good, planned.bad) == (81, 1)
        (bad,) = [row async for row in client.registry_rows(planned.id, RegistryRowsAsked(verdict="bad"))]
        assert (bad.line, [fault.field for fault in bad.faults]) == (2, ["amount"])
        with pytest.raises(NotAllGood):
            await client.apply_registry(planned)
        for _ in range(2):
            assert (await client.apply_registry(planned, only_good=True)).state == "executing"
        looks: list[Registry] = []
        following = asyncio.create_task(client.follow_registry(planned.id, looks.append))
        async with asyncio.timeout(60):
            await carry_out(town)
            over = await following
        assert (over.state, over.paid, over.left) == ("completed_with_errors", 81, 0) and looks[-1] == over and await town.payouts() == 81
        assert len([row async for row in client.registry_rows(planned.id)]) == 82
        again = await client.plan_registry(lines(("a", "10.00"), *[(f"c{n}", "0.10") for n in range(80)]), JSONL)
        with pytest.raises(AppliedBefore):
            await client.apply_registry(again)
        assert (await client.cancel_registry(again.id)).state == "cancelled"
        assert [one.id async for one in client.registries()] == [again.id, planned.id]
        with pytest.raises(BadFile):
            await client.plan_registry(b"", JSONL)
        with pytest.raises(NotFound):
            await client.registry("01a201a0-a768-7ce6-8000-a3b4883706a1")


async def test_a_bad_line(town: Program) -> None:
    """Planning, applying and cancelling are sent again when an answer is lost; the bar begins again; each row still is one payout."""
    async with serving() as serve:
        line, sent = await bad_line(serve, town, ["lost", "cut", "through", "lost", "lost"]), list[int]()
        async with client_of(town, f"http://127.0.0.1:{line.port}") as client:
            planned = await client.plan_registry(lines(("a", "10.00")), JSONL, told=lambda done, _: sent.append(done))
            assert sent.count(0) == 3 and (await client.apply_registry(planned)).state == "executing"
        await carry_out(town)
        lost = await bad_line(serve, town, ["lost"] * 4)
        async with client_of(town, f"http://127.0.0.1:{lost.port}") as client:
            with pytest.raises(OutcomeUnknown):
                await client.apply_registry(planned)
    assert await town.payouts() == 1


async def test_drift(town: Program) -> None:
    """A plan that another digest is given for is refused by name."""
    async with client_of(town) as client:
        first, second = [await client.plan_registry(lines((name, "10.00")), JSONL) for name in "ab"]
        with pytest.raises(Drifted):
            await client.apply_registry(mixed(first, second))


def mixed(one: Registry, other: Registry) -> Registry:
    """One registry with the other's digest."""
    return type(one)(**{**{name: getattr(one, name) for name in one.__struct_fields__}, "digest": other.digest})


async def test_the_pages_program(town: Program, capsys: pytest.CaptureFixture[str]) -> None:
    """The page's program plans a file, shows what is bad, pays the rest, and ends with the registry; run again, it finds that."""
    sys.path.insert(0, str(ROOT / "docs/how-to"))
    try:
        import client_registry
    finally:
        sys.path.remove(str(ROOT / "docs/how-to"))

    def run() -> Registry:
        with BlockingClient(f"http://127.0.0.1:{town.served.port}", town.made.api_key) as client:
            return client_registry.pay(client, "wages.csv", (WAGES + "w-9,1O,RUB,webmoney,Z123456789012\n").encode(), every_s=0.01)

    running = asyncio.create_task(asyncio.to_thread(run))
    async with asyncio.timeout(60):
        while not running.done():
            await carry_out(town)
        over = await running
    assert (over.state, over.paid, await town.payouts()) == ("completed_with_errors", 3, 3)
    assert (await asyncio.to_thread(run)).id == over.id and await town.payouts() == 3
    out = capsys.readouterr().out
    assert "webmoney: 3 rows, 30.00 and 0.00 of fees in RUB" in out and "line 5: amount" in out
