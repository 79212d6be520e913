"""`disburse demo-two`: the small one as a user runs it, the comparison of three books, and the bad line between the houses."""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from disburse.cli.two import wages
from disburse.cli.two_books import WAYS, compare
from disburse.cli.two_line import Line, Weather
from disburse.cli.two_report import Lap, Outcome

SMALL = 80
WITHIN_S = 420.0

Book = list[dict[str, Any]]
Change = Callable[[Book, Book, Book, Book], object]


@pytest.mark.long
def test_two_houses(tmp_path: Path) -> None:
    """Through a line that cuts, with B killed in the middle, A, B and the bank agree on each payout; nothing is left behind."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DISBURSE_")}
    done = subprocess.run(
        [sys.executable, "-m", "disburse", "demo-two", "--payouts", str(SMALL), "--seed", "7", "--json"],
        capture_output=True, text=True, timeout=WITHIN_S, env={**kept, "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert (told["agrees"], told["wrong"], told["payouts"]) == (True, [], SMALL)
    assert (told["paid"], told["failed"]) == (SMALL * 7 // 10, SMALL * 3 // 10)
    assert told["attempts"] >= SMALL and told["lines_compared"] >= SMALL and told["open_or_in_doubt_at_the_kill"] > 0
    assert told["line"]["requests cut"] + told["line"]["answers cut"] > 0 and told["clear_after_s"] <= 60
    assert told["ratio"] is None and told["laps"] == []
    assert list(tmp_path.iterdir()) == []


def test_the_wages_are_all_there_is() -> None:
    """Eighty wages are every payee in every way of the bank, each once, and no two share a reference."""
    some = wages(SMALL, "x", WAYS)
    assert len({(name, wage.rail, wage.amount[-2:]) for name, wage in some}) == SMALL == len({wage.reference for _, wage in some})
    assert {wage.rail for _, wage in some} == {"card", "sbp", "webmoney", "usdt", "qiwi"}


@pytest.mark.parametrize("payouts", ["19", "100001"])
def test_a_count_that_makes_no_sense_is_refused(payouts: str) -> None:
    """Too few prove nothing and too many do not end in bounded time: a usage error, before anything is started."""
    done = subprocess.run([sys.executable, "-m", "disburse", "demo-two", "--payouts", payouts], capture_output=True, text=True)
    assert done.returncode == 2 and "--payouts is 20 to 100,000" in done.stderr


# --- three books ---------------------------------------------------------------------------------------------------------


def books() -> tuple[Book, Book, Book, Book]:
    """A payout by UnitPay that was paid, one by IntellectMoney that was refused; and an operation at B that nobody executed."""
    same = {"currency": "RUB", "rail": "card"}
    payouts = [
        {"payout_id": "a1", "reference": "w-1", "base": "one", "state": "paid", "amount_minor": 10_00, "frozen": None, **same},
        {"payout_id": "a2", "reference": "w-2", "base": "two", "state": "failed", "amount_minor": 10_22, "frozen": None, **same},
    ]
    attempts = [
        {"end_to_end_id": "one-1", "connector": "up", "provider_reference": "7", "state": "settled", "base": "one",
         "amount_minor": 10_00, "payout_state": "paid", **same},
        {"end_to_end_id": "two-1", "connector": "im", "provider_reference": "b2", "state": "rejected", "base": "two",
         "amount_minor": 10_22, "payout_state": "failed", **same},
    ]
    theirs = [
        {"payout_id": "b1", "surface": "unitpay", "reference": "one-1", "base": "uno", "state": "paid", "amount_minor": 10_00,
         "frozen": None, **same},
        {"payout_id": "b2", "surface": "own", "reference": None, "base": "due", "state": "failed", "amount_minor": 10_22,
         "frozen": None, **same},
        {"payout_id": "b3", "surface": "own", "reference": None, "base": "tre", "state": "created", "amount_minor": 10_22,
         "frozen": None, **same},
    ]
    book = [
        {"end_to_end_id": "uno-1", "amount": "10.00", "did": "paid", **same},
        {"end_to_end_id": "due-1", "amount": "10.22", "did": "refused", **same},
    ]
    return payouts, attempts, theirs, book  # fmt: skip


def test_books_that_agree() -> None:
    """Nothing is wrong, each line was looked at, and what was never executed is told as such."""
    found = compare(*books())
    assert (found.wrong, found.lines, found.attempts, found.orphans, found.paid_minor) == ([], 2, 2, 1, 10_00)
    assert found.ways[0] == (0, 1, 1, 1, 1, 0) and found.ways[2] == (22, 1, 0, 0, 0, 1)


@pytest.mark.parametrize("change, why", [
    (lambda p, a, t, b: b.append(dict(b[0])), "A's payout a1 was paid 2 times"),
    (lambda p, a, t, b: b.append({**b[0], "end_to_end_id": "uno-2"}), "B's payout b1 was paid 2 times"),
    (lambda p, a, t, b: b.pop(0), "A's payout a1 is called paid, and the bank did not pay it"),
    (lambda p, a, t, b: b[1].update(did="paid"), "A's payout a2 is called failed, and the bank paid it"),
    (lambda p, a, t, b: t[0].update(state="failed"), "B's payout b1 is called failed, and the bank paid it"),
    (lambda p, a, t, b: p[0].update(state="in_doubt"), "A's payout a1 is in_doubt"),
    (lambda p, a, t, b: p[1].update(frozen="paid_after_refusal"), "A's payout a2 is frozen"),
    (lambda p, a, t, b: b[0].update(amount="11.00"), "one-1: the bank has (1100, 'RUB', 'card')"),
    (lambda p, a, t, b: t[0].update(rail="sbp"), "one-1: the bank has (1000, 'RUB', 'card')"),
    (lambda p, a, t, b: b.append({**b[0], "end_to_end_id": "who-1"}), "the bank knows who-1, B does not"),
    (lambda p, a, t, b: t[2].update(state="failed"), "B's payout b3 is failed, and A did not send it"),
    (lambda p, a, t, b: a[0].update(end_to_end_id="one-9"), "A calls one-9 settled, B has no such payout"),
    (lambda p, a, t, b: b.append({**b[0], "end_to_end_id": "tre-1"}), "the bank knows B's payout b3, of which A knows nothing"),
    (lambda p, a, t, b: a.append({**a[1], "end_to_end_id": "two-2"}), "two attempts of A share B's payout b2"),
    (lambda p, a, t, b: a[0].update(state="unknown"), "the bank paid one-1, which A calls unknown (paid)"),
])  # fmt: skip
def test_books_that_do_not_agree(change: Change, why: str) -> None:
    """Paid twice, lost, wrongly called failed, altered on the way, or unknown to one of them: each is named."""
    three = books()
    change(*three)
    assert any(one.startswith(why) for one in compare(*three).wrong), compare(*three).wrong


def test_a_slow_line_fails_the_proof() -> None:
    """The ratio is of lives a second, cut over calm, and less than a half is a fault; so is a doubt that stays."""
    told = Outcome(1, 1000, laps=[Lap("calm", 100, 1.0, 2.0), Lap("cut", 100, 2.5, 9.0)])
    assert told.ratio == pytest.approx(0.4)
    assert any("less than 0.5" in fault for fault in told.faults) and any("in doubt 60 s" in fault for fault in told.faults)
    assert any("A's invariants were not checked" in fault for fault in told.faults)


# --- the line ------------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def echoing(weather: Weather, seed: int = 1) -> AsyncIterator[tuple[Line, list[bytes]]]:
    """A line in front of a server that answers each kilobyte with the same kilobyte, and everything that reached the server."""
    reached: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got = b""
        while part := await reader.read(1024):
            got += part
            reached.append(part)
            while len(got) >= 1024:
                writer.write(got[:1024])
                got = got[1024:]
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    line = Line(server.sockets[0].getsockname()[1], random.Random(seed))
    line.weather = weather
    await line.open()
    try:
        yield line, reached
    finally:
        await line.close()
        server.close()


async def call(port: int, times: int = 1) -> list[int]:
    """So many calls of a kilobyte on one connection; how many bytes of each answer came."""
    came = []
    async with asyncio.timeout(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            for _ in range(times):
                writer.write(b"x" * 1024)
                got = 0
                while got < 1024 and (part := await reader.read(1024 - got)):
                    got += len(part)
                came.append(got)
                if got < 1024:
                    break
        except ConnectionError:
            came.append(0)
        finally:
            writer.close()
    return came


async def test_a_calm_line_changes_nothing() -> None:
    """Every byte arrives, both ways, call after call on one connection."""
    async with echoing(Weather()) as (line, reached):
        assert await call(line.port, 20) == [1024] * 20
        assert sum(map(len, reached)) == 20 * 1024
        assert dict(line.met) == {"connections": 1, "calls": 20}


async def test_cuts_are_at_random_bytes_of_both_directions() -> None:
    """Where every call is cut, no answer is whole; some requests arrive in part, some whole with an answer that breaks off."""
    async with echoing(Weather(cut=1.0)) as (line, reached):
        came = [await call(line.port) for _ in range(60)]
        assert all(len(one) == 1 and one[0] < 1024 for one in came)
        assert line.met["requests cut"] + line.met["answers cut"] == 60
        assert min(line.met["requests cut"], line.met["answers cut"]) > 10
        assert len({one[0] for one in came}) > 10 and len({len(part) for part in reached}) > 10


async def test_a_share_of_the_calls_is_cut_also_on_one_connection() -> None:
    """A connection that lives long is hit as often as many short ones: faults are drawn for each call."""
    async with echoing(Weather(cut=0.1)) as (line, _):
        for _ in range(40):
            await call(line.port, 25)
        cut = line.met["requests cut"] + line.met["answers cut"]
        assert line.met["connections"] == 40 and 0.05 < cut / line.met["calls"] < 0.2


async def test_one_seed_is_one_line() -> None:
    """The same calls one after the other meet the same faults again."""
    met = []
    for _ in range(2):
        async with echoing(Weather(cut=0.3), seed=5) as (line, _):
            met.append([await call(line.port) == [1024] for _ in range(30)])
    assert met[0] == met[1] and len(set(met[0])) == 2


async def test_swallowed_and_delayed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is swallowed reaches nobody and its connection ends; what is delayed arrives whole."""
    monkeypatch.setattr("disburse.cli.two_line.SWALLOWED_FOR_S", 0.2)
    async with echoing(Weather(swallow=1.0)) as (line, reached):
        assert await call(line.port) == [0] and reached == [] and line.met["swallowed"] == 1
    async with echoing(Weather(delay=1.0, longest_delay_s=0.05)) as (line, _):
        assert await call(line.port, 3) == [1024] * 3 and line.met["delayed"] == 3


async def test_nobody_behind_the_line() -> None:
    """A house that is down takes connections all the same, as a gateway's would, and they end without a byte."""
    async with echoing(Weather()) as (line, _):
        line.target_port = 1
        assert await call(line.port) == [0] and line.met["nobody there"] == 1
