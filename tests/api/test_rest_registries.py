"""Registries over REST, from bytes to bytes: a file is planned, looked at, applied by its digest, and stopped. Every answer is a documented one."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any
from zlib import crc32

import pytest

from disburse.api.allowance import Allowances
from disburse.api.registry_files import How
from disburse.api.rest_registries import BODY_LIMIT, RegistryDoor
from disburse.data import accepted_member_ids
from disburse.operations import registries, registry_work
from disburse.operations.registry_apply import Applier
from disburse.operations.registry_rules import Terms
from tests.api.house import House
from tests.api.rest_client import MEMBERS, Program, Stream, problem
from tests.api.served import Answer, served

LINE = '{{"reference": "{0}", "amount": {{"amount": "{1}", "currency": "RUB"}}, "destination": {{"rail": "webmoney", "purse": "Z{2:012d}"}}}}\n'


@pytest.fixture
async def shop(house: House) -> AsyncIterator[Program]:
    """A merchant's program with 100,000 roubles, before the door of registries."""
    made = await house.merchant("shop@example.com")
    door = RegistryDoor(Terms(house.desk), How(accepted_member_ids(MEMBERS)), Allowances(house.world.clock, per_s=1000, burst=1000))
    async with served([("/v1/registries", door), ("/v1/registries/*", door)]) as running:
        yield Program(house, made, running)


def lines(*rows: tuple[str, str]) -> bytes:
    """A file of JSON lines: (reference, amount), each to a purse of its own."""
    return "".join(LINE.format(*row, crc32(row[0].encode())) for row in rows).encode()


async def upload(shop: Program, content: bytes, query: str = "kind=jsonl&name=wages.jsonl") -> Answer:
    return await shop.ask("POST", f"/v1/registries?{query}", raw=content, kind="application/x-ndjson")


async def planned(shop: Program, *rows: tuple[str, str]) -> dict[str, Any]:
    answer = await upload(shop, lines(*rows))
    assert answer.status == 201, answer
    told: dict[str, Any] = answer.json
    return told


async def apply(shop: Program, registry: dict[str, Any], **more: Any) -> Answer:
    return await shop.ask("POST", f"/v1/registries/{registry['id']}/apply", {"digest": registry["digest"], **more})


async def test_a_file_is_planned_applied_and_looked_at(shop: Program) -> None:
    """Planning tells totals and every fault and pays nothing; apply starts it, the registrar's work makes the payouts, and rows tell their ends."""
    registry = await planned(shop, ("a", "10.00"), ("b", "1O"), ("c", "5.50"))
    assert (registry["state"], registry["good"], registry["bad"], registry["funding_gap"]) == ("planned", 2, 1, [])
    assert registry["totals"] == [{"rail": "webmoney", "rows": 2, "amount": {"amount": "15.50", "currency": "RUB"}, "fee": {"amount": "0.00", "currency": "RUB"}}]
    bad = await shop.ask("GET", f"/v1/registries/{registry['id']}/rows?verdict=bad")
    assert [(row["row"], row["faults"][0]["field"]) for row in bad.json["items"]] == [(2, "amount")]
    assert problem(await apply(shop, registry)) == "not_all_good" and await shop.payouts() == 0
    assert (await apply(shop, registry, only_good=True)).json["state"] == "executing"
    assert (await apply(shop, registry, only_good=True)).json["state"] == "executing"
    found = await registries.find(shop.house.database, await _id(shop))
    assert await Applier(shop.house.desk, found, "test", "test").run()
    await shop.house.settle()
    await registry_work.settle(Terms(shop.house.desk), found, "test")
    over = (await shop.ask("GET", f"/v1/registries/{registry['id']}")).json
    assert (over["state"], over["final"], over["made"], over["paid"], over["left"]) == ("completed_with_errors", True, 2, 2, 0)
    first = (await shop.ask("GET", f"/v1/registries/{registry['id']}/rows?limit=2")).json
    rest = (await shop.ask("GET", f"/v1/registries/{registry['id']}/rows?limit=2&cursor={first['next_cursor']}")).json
    assert [row["outcome"] for row in first["items"] + rest["items"]] == ["paid", "bad", "paid"]
    listed = (await shop.ask("GET", "/v1/registries?limit=1")).json
    assert [one["id"] for one in listed["items"]] == [registry["id"]]
    again = await planned(shop, ("a", "10.00"), ("c", "5.50"))
    assert problem(await apply(shop, again)) == "applied_before"


async def test_progress_is_told_as_it_happens(shop: Program) -> None:
    """A stream tells each change once, and ends with the final state; of a registry that is none there is no stream."""
    registry = await planned(shop, ("a", "10.00"), ("c", "5.50"))
    stream = await Stream.open(shop, path=f"/v1/registries/{registry['id']}/stream")
    told = (json.loads(piece["data"]) async for piece in stream.pieces() if "data" in piece)
    assert (await anext(told))["state"] == "planned"
    await apply(shop, registry)
    await shop.served.clock.advance(1)
    assert (await anext(told))["state"] == "executing"
    found = await registries.find(shop.house.database, await _id(shop))
    assert await Applier(shop.house.desk, found, "test", "test").run()
    await shop.house.settle()
    await registry_work.settle(Terms(shop.house.desk), found, "test")
    await shop.served.clock.advance(1)
    last = [one async for one in told][-1]
    assert (last["state"], last["final"], last["paid"]) == ("completed", True, 2)
    assert problem(await shop.ask("GET", "/v1/registries/0/stream")) == "not_found"


async def _id(shop: Program) -> Any:
    rows = await shop.house.database.run(lambda tx: tx.fetch("SELECT registry_id FROM registries"))
    return rows[0][0]


async def test_a_held_row_is_asked_about_and_answered(shop: Program) -> None:
    """A second row to one purse is held and tells why; named with the file it is let pass; what names no rows is refused."""
    content = lines(("a", "10.00")) + lines(("a", "10.00")).replace(b'"a"', b'"b"')
    answer = await upload(shop, content)
    assert (answer.json["good"], answer.json["held"]) == (1, 1)
    (held,) = (await shop.ask("GET", f"/v1/registries/{answer.json['id']}/rows?verdict=held")).json["items"]
    assert (held["row"], held["outcome"], held["payout"], held["faults"][0]["field"]) == (2, "held", None, "duplicate")
    assert held["faults"][0]["why"].startswith("Row 1 of this file pays 10.00 RUB: the same sum to the same destination")
    paid = await upload(shop, content, "kind=jsonl&pay=2")
    assert (paid.json["good"], paid.json["held"]) == (2, 0)
    assert [problem(await upload(shop, content, f"kind=jsonl&pay={rows}")) for rows in ("x", "3-2")] == ["bad_request"] * 2


async def test_what_is_refused(shop: Program, house: House) -> None:
    """Drift, a stranger's registry, too little money and files that are none get their own problem, and nothing is paid."""
    registry = await planned(shop, ("a", "10.00"))
    assert problem(await apply(shop, {**registry, "digest": "0" * 64})) == "drifted"
    assert problem(await apply(shop, {**registry, "digest": "x"})) == "bad_request"
    stranger = await house.merchant("other@example.com")
    for path in (f"/v1/registries/{registry['id']}", "/v1/registries/00000000-0000-7000-8000-000000000000", "/v1/registries/x"):
        assert problem(await shop.ask("GET", path, bearer=stranger.api_key)) == "not_found"
    assert problem(await shop.ask("POST", f"/v1/registries/{registry['id']}/cancel", bearer=stranger.api_key)) == "not_found"
    rich = await planned(shop, ("b", "200000.00"))
    assert rich["funding_gap"] == [{"amount": "100000.00", "currency": "RUB"}]
    assert problem(await apply(shop, rich)) == "insufficient_funds"
    assert problem(await upload(shop, b"")) == "bad_file"
    assert problem(await upload(shop, b'"', "name=x")) == "bad_file"
    assert problem(await upload(shop, b"x", "kind=doc")) == "bad_request"
    assert problem(await shop.ask("GET", "/v1/registries", bearer=None)) == "unauthorized"
    cancelled = await shop.ask("POST", f"/v1/registries/{registry['id']}/cancel")
    assert cancelled.json["state"] == "cancelled"
    assert problem(await apply(shop, registry)) == "wrong_state"
    assert await shop.payouts() == 0


async def test_large_bodies(shop: Program) -> None:
    """A file of several hundred kilobytes is taken here; one beyond the bound is refused before it is read."""
    content = lines(*[(f"w{number}", "0.01") for number in range(2500)])
    assert len(content) > 300_000
    assert (await upload(shop, content)).json["good"] == 2500
    wire = await shop.served.wire()
    await wire.send(f"POST /v1/registries HTTP/1.1\r\nHost: t\r\nContent-Length: {BODY_LIMIT + 1}\r\n\r\n".encode())
    assert problem(await wire.answer()) == "too_large"
    wire.close()
