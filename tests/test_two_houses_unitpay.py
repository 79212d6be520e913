"""Two installations: A pays through its UnitPay connector to B, which serves the UnitPay door and pays through its sandbox bank.

Everything is real: two databases, two houses, HTTP between them, the bank's book. Where a test needs a bad line, a proxy of
`tests/mischief.py` stands between. A's books, B's books and the bank's book must agree, line by line.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from disburse.domain.destinations import Destination, read_card, read_sbp
from disburse.domain.identifiers import read_end_to_end_id
from disburse.domain.merchant import Merchant
from disburse.domain.money import Money, read_amount
from disburse.operations.merchants import NewMerchant, add_merchant, draw_top_up
from disburse.operations.payouts import Found
from disburse.operations.verify import verify
from disburse.settings import load_settings
from disburse.wiring import House, open_house, working
from disburse.world import real_world
from tests.conformance.running import Running, running
from tests.mischief import Fate, standing_between

WITHIN_S = 60.0
CARD = read_card("4111111111111111", luhn=True)
PHONE = read_sbp("+79510000071", "100000000004")

OUTCOMES = {
    "00": "paid", "11": "paid", "22": "failed", "33": "paid", "44": "failed", "55": "paid", "66": "failed", "77": "paid",
    "88": "paid", "99": "paid",
}  # fmt: skip
"""How A's payout ends for each behaviour of B's bank; of money that came back (.99) UnitPay tells nobody."""


@pytest.fixture
def far(server: Callable[[str], str], template: str, tmp_path: Path) -> Iterator[Running]:
    """Installation B."""
    with running(server, template, tmp_path / "far", window=200) as one:
        yield one


class Near:
    """Installation A, at work, with a merchant that has money."""

    def __init__(self, house: House, merchant: Merchant) -> None:
        self.house, self.merchant = house, merchant

    async def pay(self, amounts: list[str], to: Destination = CARD) -> None:
        desk = self.house.desk
        drafts = [
            desk.draft(
                self.merchant, to, read_amount(amount, "RUB"), surface="own", reference=f"wage {amount} {to.rail}",
                amount_text=amount, execute=True, actor="test",
            )
            for amount in amounts
        ]  # fmt: skip
        for found in await asyncio.gather(*[desk.create(self.merchant, draft) for draft in drafts]):
            assert isinstance(found, Found)

    async def rows(self, sql: str, *values: Any) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(self.house.dsn, server_settings={"search_path": "disburse"})
        try:
            found: list[asyncpg.Record] = await connection.fetch(sql, *values)
            return found
        finally:
            await connection.close()

    async def states(self) -> dict[str, str]:
        """The state of every payout, by its amount."""
        rows = await self.rows("SELECT amount_minor, state FROM payouts")
        return {Money(row[0], "RUB").text(): row[1] for row in rows}

    async def until_final(self, *, hurry: bool = False) -> dict[str, str]:
        """Wait until every payout is final. `hurry`: doubts are an hour old, and asked about at once."""
        async with asyncio.timeout(WITHIN_S):
            while set((states := await self.states()).values()) - {"paid", "failed"}:
                if hurry:
                    await self.rows(
                        """UPDATE attempts SET ask_at = clock_timestamp(), opened_at = opened_at - interval '1 hour'
                           WHERE state = 'unknown' AND ask_at > clock_timestamp()"""
                    )
                await asyncio.sleep(0.2)
        return states


@asynccontextmanager
async def near(
    dsn: str, data: Path, url: str, made: NewMerchant, key: str = "", table: dict[str, Any] | None = None, **settings: Any
) -> AsyncIterator[Near]:
    """Installation A, with a connector called `up` that has an account of B's merchant."""
    whole = {
        "kind": "unitpay", "url": url, "login": made.merchant.login, "secret_key": key or made.unitpay_secret_key,
        **(table or {}),
    }  # fmt: skip
    values = {"call_s": 8.0, "connectors": {"up": whole}, **settings}
    given = load_settings(None, {}, {"data": str(data), "database_url": dsn, "unsafe_database": True, **values})
    async with open_house(given, real_world()) as house, working(house, api=True, workers=True):
        own = await add_merchant(house.database, house.world, house.vault, name="A", login="a@example.com", actor="test")
        funds = draw_top_up(house.world, own.merchant, Money(10**9, "RUB"), actor="test")
        await house.desk.top_up(own.merchant, funds)
        yield Near(house, own.merchant)


async def agree(one: Near, far: Running) -> None:
    """A's books, B's books and the bank's book say the same; nobody is paid twice; both houses' books hold."""
    ours = await one.rows("SELECT a.end_to_end_id, p.amount_minor, p.state FROM payouts p JOIN attempts a USING (shard, payout_id)")
    theirs = far.rows("SELECT reference, amount_minor, state FROM payouts")
    paid_here = Counter((row[0], row[1]) for row in ours if row[2] == "paid")
    paid_there = Counter((row[0], row[1]) for row in theirs if row[2] in ("paid", "returned"))
    assert paid_here == paid_there
    book = [json.loads(line) for line in far.house.sandbox_book.read_text("utf-8").splitlines()]
    by_bank = Counter((_base(line["end_to_end_id"]), line["amount"]) for line in book if line["did"] == "paid")
    assert max(by_bank.values(), default=0) <= 1, "paid twice"
    bases = {row[0]: row[1] for row in far.rows("SELECT reference, base FROM payouts")}
    assert by_bank == Counter((bases[reference], Money(minor, "RUB").text()) for reference, minor in paid_here.elements())
    for report in (await verify(one.house.database), far.run(verify(far.house.database))):
        assert report.holds, report.findings


def _base(end_to_end_id: str) -> str:
    parts = read_end_to_end_id(end_to_end_id)
    assert parts is not None
    return parts[1]


@pytest.mark.parametrize("to", [CARD, PHONE], ids=lambda to: str(to.rail))
async def test_all_that_a_bank_does(dsn: str, tmp_path: Path, far: Running, to: Destination) -> None:
    """Each of the sandbox's ten behaviours, seen through B's door, ends at A as it ended at the bank."""
    made = far.merchant(answer_wait_ms=3000)
    async with near(dsn, tmp_path / "near", f"http://127.0.0.1:{far.port}/api", made) as one:
        await one.pay([f"{10 + n}.{minor}" for n, minor in enumerate(OUTCOMES)], to)
        states = await one.until_final()
        assert {amount[-2:]: state for amount, state in states.items()} == OUTCOMES
        await agree(one, far)


@pytest.mark.parametrize("http_method, spelling", [("POST", "flat"), ("GET", "flat"), ("POST", "nested")])
async def test_every_way_of_calling(dsn: str, tmp_path: Path, far: Running, http_method: str, spelling: str) -> None:
    """The other spellings and POST reach the same door and end the same way."""
    made = far.merchant()
    ways = {"http_method": http_method, "spelling": spelling}
    async with near(dsn, tmp_path / "near", f"http://127.0.0.1:{far.port}/api/", made, table=ways) as one:
        await one.pay(["10.00", "11.22"])
        assert await one.until_final() == {"10.00": "paid", "11.22": "failed"}
        await agree(one, far)


FATES = {
    Fate.PASS: "10.00", Fate.RESET: "12.00", Fate.SWALLOW: "13.00", Fate.LOSE_ANSWER: "14.00",
    Fate.CUT_ANSWER: "15.00", Fate.SAY_502: "16.00", Fate.SAY_500_REFUSED: "17.00", Fate.SAY_HTML: "18.00",
    Fate.SAY_UNLISTED: "19.00", Fate.SAY_ANOTHER_ID: "20.00", Fate.TWICE: "21.00",
    Fate.SAY_REFUSED: "22.00",
}  # fmt: skip
"""What happens to the first massPayment of each amount on its way."""


async def test_a_bad_line(dsn: str, tmp_path: Path, far: Running) -> None:
    """Orders that never arrive, arrive twice, or whose answers are lost, cut, or replaced by lies: all are paid, each once."""
    made = far.merchant(answer_wait_ms=500)
    plan = {read_amount(amount, "RUB"): fate for fate, amount in FATES.items()}
    async with (
        standing_between(far.port, plan) as line,
        near(dsn, tmp_path / "near", line.url, made, call_s=2.0) as one,
    ):
        await one.pay(list(FATES.values()))
        states = await one.until_final(hurry=True)
        assert states == dict.fromkeys(FATES.values(), "paid")
        await agree(one, far)
    assert line.met == set(plan.values())


async def test_a_refused_key_keeps_payouts_waiting(dsn: str, tmp_path: Path, far: Running) -> None:
    """With a wrong key nothing fails and nothing is paid: payouts wait, and the provider is not hammered."""
    made = far.merchant()
    async with (
        standing_between(far.port, {}) as line,
        near(dsn, tmp_path / "near", line.url, made, key="wrong") as one,
    ):
        await one.pay(["10.00", "11.00", "12.00"])
        async with asyncio.timeout(WITHIN_S):
            while len(await one.rows("SELECT 1 FROM attempts WHERE state = 'not_sent'")) < 6:
                await asyncio.sleep(0.1)
        assert not set((await one.states()).values()) - {"queued", "in_flight"}
        assert line.calls <= 4  # those that were under way when the first was turned away, and one question for the balance
        report = await verify(one.house.database)
        assert report.holds, report.findings
    assert far.rows("SELECT 1 FROM payouts") == []


async def test_balance_and_banks_of_our_own_door(dsn: str, tmp_path: Path, far: Running) -> None:
    """The questions that are about no order are answered by our own door, and read by our connector."""
    made = far.merchant(funds="1234.50")
    async with near(dsn, tmp_path / "near", f"http://127.0.0.1:{far.port}/api", made) as one:
        connector = one.house.connectors["up"]
        assert await connector.balance(5) == (Money(1234_50, "RUB"),)
        banks = await connector.banks(5)
        assert isinstance(banks, tuple) and len(banks) >= 192


def test_the_plan_covers_every_fate() -> None:
    """Each thing that the proxy can do to a call is done above."""
    assert set(FATES) == set(Fate)
