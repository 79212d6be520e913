"""Lists of payouts: newest first, every payout once however the pages are cut, filters, and a bound on what one page costs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from disburse.api import rest_words as words
from disburse.domain.outcomes import Rejected, Settled, Unknown, Verdict
from disburse.operations.balances import balances_as_of
from disburse.operations.listing import STRETCH, STRETCHES, Filters, list_payouts
from disburse.storage.database import Transaction
from tests.api.house import House
from tests.api.rest_client import CARD_TO, ORDER, Program, problem, program

CARD_ORDER = {**ORDER, "destination": CARD_TO}


@pytest.fixture
async def shop(house: House) -> AsyncIterator[Program]:
    """A merchant's program with 100,000 roubles."""
    async with program(house) as made:
        yield made


async def every(shop: Program, query: str) -> list[dict[str, Any]]:
    """All pages, to the end."""
    seen: list[dict[str, Any]] = []
    page = await shop.list(query)
    while True:
        seen += page["items"]
        if page["next_cursor"] is None:
            return seen
        page = await shop.list(f"{query}&cursor={page['next_cursor']}")


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 200])
async def test_every_payout_once(shop: Program, limit: int) -> None:
    """Pages of any length hold every payout of the merchant once, newest first, whatever happened to them since."""
    made = [await shop.made_one(reference=f"r{n}", execute=bool(n % 2)) for n in range(7)]
    await shop.act(made[1]["id"], "cancel")
    await shop.act(made[0]["id"], "execute")
    await shop.house.settle()
    stranger = Program(shop.house, await shop.house.merchant("other@example.com"), shop.served)
    await stranger.made_one()
    listed = await every(shop, f"limit={limit}")
    assert [one["reference"] for one in listed] == [f"r{n}" for n in reversed(range(7))]
    assert [one["state"] for one in listed] == ["created", "paid", "created", "paid", "created", "cancelled", "paid"]


async def test_a_list_goes_on_where_it_was(shop: Program) -> None:
    """Payouts made between two pages neither repeat nor hide what was there."""
    for n in range(4):
        await shop.made_one(reference=f"old{n}")
    first = await shop.list("limit=2")
    for n in range(3):
        await shop.made_one(reference=f"new{n}")
    second = await shop.list(f"limit=2&cursor={first['next_cursor']}")
    assert [one["reference"] for one in first["items"] + second["items"]] == ["old3", "old2", "old1", "old0"]


async def test_filters(shop: Program) -> None:
    """State, rail and surface each leave what fits, alone and together."""
    card = await shop.made_one(reference="card", destination=CARD_TO)
    purse = await shop.made_one(reference="purse")
    created = await shop.made_one(reference="created", execute=False)
    one, two = await shop.house.claim()
    await shop.house.tell(one, Settled("p"))
    await shop.house.tell(two, Unknown("x"))

    async def ids(query: str) -> list[str]:
        return [one["id"] for one in await every(shop, query)]

    assert await ids("rail=card") == [card["id"]]
    assert await ids("rail=webmoney") == [created["id"], purse["id"]]
    assert await ids("state=created") == [created["id"]]
    assert sorted([*await ids("state=paid"), *await ids("state=in_doubt")]) == sorted([card["id"], purse["id"]])
    assert await ids("rail=card&state=created") == []
    assert await ids("surface=unitpay") == [] and len(await ids("surface=own")) == 3


async def test_times(shop: Program) -> None:
    """`created_from` is included and `created_to` is not; a time zone is minded; times nobody lived in bound nothing."""
    made = [await shop.made_one(reference=f"r{n}") for n in range(3)]
    at = [one["created_at"] for one in made]

    async def references(query: str) -> list[str]:
        return [one["reference"] for one in await every(shop, query)]

    assert await references(f"created_from={at[1]}") == ["r2", "r1"]
    assert await references(f"created_to={at[1]}") == ["r0"]
    assert await references(f"created_from={at[1]}&created_to={at[2]}") == ["r1"]
    moscow = datetime.fromisoformat(at[1]).astimezone(UTC) + timedelta(hours=3)
    assert await references(f"created_from={moscow.isoformat().removesuffix('+00:00')}%2B03:00") == ["r2", "r1"]
    assert len(await references("created_from=0001-01-01T00:00:00%2B14:00&created_to=9999-12-31T23:59:59-14:00")) == 3


async def made_by_hand(house: House, merchant: Any, days: list[int], events_each: int) -> None:
    """Payouts made so many days ago, in order, each with further events behind its first."""
    now = house.world.clock.now()

    async def work(tx: Transaction) -> None:
        last: int = await tx.fetchval("SELECT events FROM merchants WHERE merchant_id = $1", merchant.merchant_id)
        for n, ago in enumerate(days):
            identifier, at, number = UUID(int=n + 1), now - timedelta(days=ago), last + 1
            for _ in range(events_each):
                last += 1
                await tx.execute(
                    "INSERT INTO events (shard, merchant_id, number, payout_id, kind, at, actor) VALUES (0, $1, $2, $3, 'x', $4, 't')",
                    merchant.merchant_id, last, identifier, at,
                )  # fmt: skip
            await tx.execute(
                """INSERT INTO payouts (shard, payout_id, merchant_id, number, surface, base, fingerprint, rail, currency, amount_minor, fee_minor, amount_text,
                    display, destination_digest, sealed, state, attempts, created_at, expires_at, updated_at, first_event, last_event, actor)
                   VALUES (0, $1, $2, $3, 'own', $4, '', $5, 'RUB', 100, 0, '1', '', '', '', 'paid', 1, $6, $6, $6, $7, $8, 't')""",
                identifier, merchant.merchant_id, n + 1, f"b{n}", "card" if n % 5 == 0 else "sbp", at, number, last,
            )  # fmt: skip
        await tx.execute("UPDATE merchants SET events = $2 WHERE merchant_id = $1", merchant.merchant_id, last)

    await house.database.run(work)


@pytest.mark.parametrize("stretch", [1, 2, 3, 5, 8, 1000])
async def test_stretches(house: House, stretch: int) -> None:
    """However short the stretches of events that are read at a time, a list is the same; and a page ends after a few of them."""
    merchant = (await house.merchant()).merchant
    await made_by_hand(house, merchant, [40 - n for n in range(40)], 3)
    now = house.world.clock.now()
    whole = Filters(rail="card", created_from=now - timedelta(days=30.5), created_to=now - timedelta(days=9.5))
    for filters, expected in [(Filters(rail="card"), [36, 31, 26, 21, 16, 11, 6, 1]), (whole, [31, 26, 21, 16, 11])]:
        found, before, pages = [], None, 0
        while True:
            page = await list_payouts(house.database, merchant, filters, before, 3, stretch=stretch)
            found += [one.number for one in page.payouts]
            assert before is None or page.next_before is None or page.next_before < before
            before, pages = page.next_before, pages + 1
            if before is None:
                break
        assert found == expected
        assert pages <= 2 + len(expected) // 3 + 121 // (stretch * STRETCHES)


async def test_a_page_has_a_bound(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that finds nothing reads a bounded stretch of history, and says where to go on."""
    merchant = (await house.merchant()).merchant
    await made_by_hand(house, merchant, [1] * 30, 2)
    page = await list_payouts(house.database, merchant, Filters(state="failed"), None, 10, stretch=4)
    assert page.payouts == [] and page.next_before == 61 + 1 - 4 * STRETCHES
    assert STRETCH * STRETCHES == 10_000


@pytest.mark.parametrize(
    "query, field",
    [
        ("limit=0", "limit"), ("limit=201", "limit"), ("limit=ten", "limit"), ("limit=1&limit=1", "limit"), ("limit=%D9%A1", "limit"),
        ("state=PAID", "state"), ("state=", "state"), ("rail=cards", "rail"), ("surface=rest", "surface"), ("cursor=", "cursor"), ("cursor=xyz", "cursor"),
        ("cursor=-1", "cursor"), ("cursor=ffffffffffffffff", "cursor"), ("cursor=" + "1" * 33, "cursor"), ("created_from=yesterday", "created_from"),
        ("created_from=2026-01-01", "created_from"), ("created_to=2026-01-01T00:00:00", "created_to"), ("created_to=2026-13-01T00:00:00Z", "created_to"),
        ("reference=", "reference"), ("reference=" + "x" * 201, "reference"), ("reference=a%E2%80%8Bb", "reference"), ("reference=a&state=paid", "reference"),
        ("page=2", "page"), ("state%00=x", None), ("reference=%", "reference"), ("reference=%FF", "reference"), ("limit", "limit"),
    ],
)  # fmt: skip
async def test_bad_queries(shop: Program, query: str, field: str | None) -> None:
    """A query that cannot be read is 400 naming the field."""
    answer = await shop.ask("GET", f"/v1/payouts?{query}")
    assert (answer.status, problem(answer), answer.json.get("field")) == (400, "bad_request", field)


async def test_paths_that_take_no_query(shop: Program) -> None:
    """A path that takes nothing refuses a query and a body."""
    made = await shop.made_one()
    for path in ("/v1/balances", "/v1/rails", "/v1/banks", f"/v1/payouts/{made['id']}", f"/v1/payouts/{made['id']}/explain"):
        assert (await shop.ask("GET", f"{path}?x=1")).status == 400
        assert (await shop.ask("GET", path, {"x": 1})).status == 400
    assert (await shop.ask("POST", f"/v1/payouts/{made['id']}/cancel?x=1", {})).status == 400


# --- what a merchant had -------------------------------------------------------------------------------------------


async def test_balances_as_of_a_time(shop: Program) -> None:
    """What a merchant had at any moment is what it was told then, whichever end the postings are added up from, and stays so."""
    told: list[tuple[datetime, Any]] = []

    async def look() -> None:
        told.append((shop.house.world.clock.now(), (await shop.ask("GET", "/v1/balances")).json["items"]))

    ends: list[Verdict] = [Settled("r"), Unknown("x"), Rejected("no"), Settled("r"), Settled("r")]
    for n, verdict in enumerate(ends):
        await look()
        await shop.made_one(CARD_ORDER, reference=f"r{n}")
        await look()
        for opened in await shop.house.claim():
            await look()
            await shop.house.tell(opened, verdict)
    await look()
    for at, had in told:
        answer = await shop.ask("GET", f"/v1/balances?at={at.isoformat().replace('+00:00', 'Z')}")
        assert answer.status == 200 and answer.json["items"] == had and datetime.fromisoformat(answer.json["at"]) == at
        for apart in (timedelta(microseconds=1), timedelta(milliseconds=5), timedelta(days=1)):
            books = await balances_as_of(shop.house.database, shop.merchant, at, clocks_differ=apart)
            assert words.balances(books, at).items == words.balances(await balances_as_of(shop.house.database, shop.merchant, at), at).items
    before = (await shop.ask("GET", "/v1/balances?at=2001-01-01T00:00:00Z")).json["items"]
    assert all(part["amount"] == "0.00" for one in before for part in one.values())
    for wrong in ("now", "2026-11-21T12:00:00", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"):
        assert problem(await shop.ask("GET", f"/v1/balances?at={wrong}")) == "bad_request"
