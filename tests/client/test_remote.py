"""`disburse remote`: a merchant's terminal against a running server, through the client alone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from disburse.api.allowance import Allowances
from disburse.api.registry_files import How
from disburse.api.rest_registries import RegistryDoor
from disburse.cli.main import main
from disburse.data import accepted_member_ids
from disburse.operations.registry_rules import Terms
from tests.api.house import House
from tests.api.rest_client import MEMBERS, Program, open_rest
from tests.api.served import served
from tests.client.test_registries import carry_out, lines


@pytest.fixture
async def town(house: House) -> AsyncIterator[Program]:
    """A merchant's program before all doors of `/v1`."""
    made = await house.merchant("shop@example.com")
    door = RegistryDoor(Terms(house.desk), How(accepted_member_ids(MEMBERS)), Allowances(house.world.clock, per_s=0, burst=1))
    async with served([("/v1/registries", door), ("/v1/registries/*", door), ("/v1/*", open_rest(house))]) as running:
        yield Program(house, made, running)


@pytest.fixture
def url(town: Program, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("API_KEY", town.made.api_key)
    return f"http://127.0.0.1:{town.served.port}"


async def run(*arguments: str) -> int:
    """The exit code of a command, which runs in a thread of its own as it does in a process."""

    def command() -> int:
        try:
            main(arguments)
        except SystemExit as ended:
            return int(ended.code or 0)
        return 0

    return await asyncio.to_thread(command)


async def test_a_file_goes_out_and_comes_back_paid(town: Program, url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file is sent and judged, its digest applied and followed to the end; the events tell of it in order, from where one left off."""
    file = tmp_path / "wages.jsonl"
    file.write_bytes(lines(("a", "10.00"), ("b", "1O"), ("c", "5.00")))
    assert await run("remote", "upload", url, str(file), "--kind", "jsonl", "--json") == 1
    planned = json.loads(capsys.readouterr().out)
    assert (planned["good"], planned["bad"], [row["line"] for row in planned["rows_not_good"]]) == (2, 1, [2])
    assert await run("remote", "apply", url, planned["id"], "--digest", planned["digest"]) == 1
    assert "not_all_good" in capsys.readouterr().err and await town.payouts() == 0
    applying = asyncio.create_task(run("remote", "apply", url, planned["id"], "--digest", planned["digest"], "--only-good", "--json"))
    async with asyncio.timeout(60):
        while not await town.payouts():
            await carry_out(town)
        assert await applying == 0
    over = json.loads(capsys.readouterr().out)
    assert (over["state"], over["paid"]) == ("completed_with_errors", 2)
    assert await run("remote", "events", url, "--after", "1", "--json") == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["number"] for one in told] == list(range(2, len(told) + 2)) and {"registry.executing", "payout.paid"} <= {one["type"] for one in told}


async def test_what_goes_wrong(town: Program, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong key, none at all, a server that is not there and a URL that can be none are told in a line, without the key."""
    monkeypatch.setenv("API_KEY", "dsb_wrong")
    assert await run("remote", "events", url, "--json") == 1
    assert json.loads(capsys.readouterr().out)["error"]["name"] == "unauthorized"
    assert await run("remote", "events", "ftp://x") == 2
    monkeypatch.delenv("API_KEY")
    assert await run("remote", "events", url) == 2
    told = capsys.readouterr()
    assert "API_KEY" in told.err and "dsb_wrong" not in told.err + told.out and "Traceback" not in told.err
