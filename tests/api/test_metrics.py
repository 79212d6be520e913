"""What is measured and whether the house is ready, read from real databases and through the real pages."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import asyncpg
import pytest

from disburse.api.health import Health, pages
from disburse.api.metrics import Metrics
from disburse.domain.destinations import Destination, read_card, read_webmoney
from disburse.domain.merchant import Merchant
from disburse.domain.money import read_amount
from disburse.domain.outcomes import Accepted, Rejected, Settled, Unknown, Verdict
from disburse.domain.ports import World
from disburse.operations.evidence import Applied
from disburse.operations.payouts import Found
from disburse.storage import reports, workers
from disburse.storage.database import Database
from disburse.storage.migrate import migrations
from disburse.storage.workers import Beat
from tests.api.house import House
from tests.api.served import Obedient, get, post, served
from tests.clock import START, FakeClock

CARD, PURSE = read_card("4111111111111111", luhn=True), read_webmoney("R123456789012")


async def pay(house: House, merchant: Merchant, reference: str, to: Destination, *, execute: bool = True) -> None:
    draft = house.desk.draft(
        merchant, to, read_amount("10.00", "RUB"), surface="own", reference=reference, amount_text="10.00",
        execute=execute, actor="test",
    )  # fmt: skip
    assert isinstance(await house.desk.create(merchant, draft), Found)


# --- facts --------------------------------------------------------------------------------------------------------


async def test_facts(house: House) -> None:
    """Facts tell how many payouts are under way, where the money of all merchants is, and since when there is doubt."""
    made = [(await house.merchant(f"{name}@example.com", funds="1000.00")).merchant for name in ("a", "b")]
    await pay(house, made[0], "paid", PURSE)
    await house.settle()
    verdicts: list[Verdict] = [Accepted(), Rejected("no"), Unknown("silence")]
    for number, verdict in enumerate(verdicts):
        merchant = made[number // 2]
        await pay(house, merchant, f"card {number}", CARD)
        await house.settle(verdict)
    await pay(house, made[0], "queued", PURSE)
    await pay(house, made[1], "queued", PURSE)
    await pay(house, made[1], "created", CARD, execute=False)
    facts = await house.database.snapshot(reports.facts)
    assert facts.payouts == {
        ("created", "card"): 1,
        ("in_doubt", "card"): 1,
        ("in_flight", "card"): 1,
        ("queued", "webmoney"): 2,
    }
    assert facts.payouts_made == 7
    money = {account: minor for (account, currency), minor in facts.money.items() if minor and currency == "RUB"}
    assert money == {
        "available": 200000 - 7 * 1000 + 2 * 1000 - 2 * 3000,
        "funding": -200000,
        "held": 2 * 1000 + 2 * 3000,
        "in_doubt:bank": 1000,
        "in_flight:bank": 1000,
        "paid:bank": 1000,
    }
    assert facts.oldest_doubt is not None
    assert timedelta() <= house.world.clock.now() - facts.oldest_doubt < timedelta(minutes=1)


async def test_facts_of_an_empty_house(database: Database) -> None:
    """An installation in which nothing ever happened has facts too."""
    assert await database.snapshot(reports.facts) == reports.Facts({}, 0, {}, None)


async def test_facts_do_not_read_finished_payouts(database: Database, dsn: str) -> None:
    """However many payouts are finished, counting the others walks the partial indexes and looks up those alone."""
    connection = await asyncpg.connect(dsn)
    await connection.execute(FINISHED)
    await connection.execute("ANALYZE disburse.payouts, disburse.attempts, disburse.expiries")
    plan: list[str] = []

    class Explaining:
        async def fetch(self, sql: str) -> list[Any]:
            plan.extend(row[0] for row in await connection.fetch(f"EXPLAIN (COSTS OFF) {sql}"))
            return []

        async def fetchval(self, sql: str) -> Any:
            plan.extend(row[0] for row in await connection.fetch(f"EXPLAIN (COSTS OFF) {sql}"))

    await connection.execute("SET search_path = disburse")
    await reports.facts(Explaining())  # type: ignore[arg-type]
    await connection.close()
    scans = [line.strip(" ->") for line in plan if "Scan" in line]
    assert [scan for scan in scans if scan.startswith("Seq Scan") and ("attempts" in scan or "payouts" in scan)] == []
    assert any("attempts_due" in scan for scan in scans)
    assert any("attempts_to_ask" in scan for scan in scans)


FINISHED = """
    INSERT INTO disburse.payouts (shard, payout_id, merchant_id, number, surface, base, fingerprint, rail, currency, amount_minor,
        fee_minor, amount_text, display, destination_digest, sealed, state, attempts, created_at, expires_at, updated_at,
        first_event, last_event, actor)
    SELECT 0, uuid_in(md5(n::text)::cstring), 1, n, 'own', n::text, '\\x00', 'card', 'RUB', 1, 0, '0.01', '', '\\x00', '\\x00',
        'paid', 1, 'epoch', 'epoch', 'epoch', n, n, 'test'
    FROM generate_series(1, 20000) AS n;
    INSERT INTO disburse.attempts (shard, payout_id, number, merchant_id, state, due_at, connector, end_to_end_id, request_digest,
        owner, lease_until, opened_at, actor)
    SELECT 0, uuid_in(md5(n::text)::cstring), 1, 1, CASE WHEN n % 1000 = 0 THEN 'unknown' ELSE 'settled' END, 'epoch', 'x', n::text,
        '\\x00', 'x', 'epoch', 'epoch', 'test'
    FROM generate_series(1, 20000) AS n;
"""


# --- metrics ------------------------------------------------------------------------------------------------------


@dataclass
class Known:
    """Facts of a test's making; reading them takes as long as it says."""

    clock: FakeClock
    takes_s: float = 0.0
    fails: bool = False
    reads: int = 0
    payouts: Mapping[tuple[str, str], int] = field(default_factory=lambda: {("queued", "card"): 3})
    money: Mapping[tuple[str, str], int] = field(
        default_factory=lambda: {("in_doubt:bank", "RUB"): 1000, ("held", "RUB"): 50}
    )
    oldest_doubt: datetime | None = START - timedelta(seconds=60)
    oldest_undelivered: datetime | None = START - timedelta(seconds=5)

    @property
    def payouts_made(self) -> int:
        return self.reads

    async def read(self) -> Known:
        self.reads += 1
        if self.takes_s:
            await self.clock.sleep(self.takes_s)
        if self.fails:
            raise OSError
        return self


async def test_the_page() -> None:
    """Prometheus reads facts beside what was counted here, by the names the documentation gives."""
    clock = FakeClock()
    metrics = Metrics(clock, read_facts=Known(clock).read)
    metrics.batch("create", 17)
    metrics.called("bank", Settled())
    metrics.asked("bank", Unknown("x"))
    metrics.applied("bank", Applied(None, "unmatched"))
    metrics.applied("bank", Applied(None, "frozen:paid_after_refused"))
    metrics.finished("cancelled", "card")
    metrics.cut("slow", 3)
    metrics.delivered("delivered")
    metrics.delivered("failed")
    await clock.advance(30)
    page = (await metrics.page()).decode()
    for line in [
        'disburse_payouts{rail="card",state="queued"} 3.0',
        'disburse_money_minor{account="in_doubt",connector="bank",currency="RUB"} 1000.0',
        'disburse_money_minor{account="held",connector="",currency="RUB"} 50.0',
        "disburse_oldest_doubt_seconds 90.0",
        "disburse_oldest_undelivered_seconds 35.0",
        "disburse_facts_age_seconds 0.0",
        "disburse_payouts_made 1.0",
        'disburse_batch_size_bucket{le="20.0",operation="create"} 1.0',
        'disburse_calls_total{connector="bank",outcome="settled"} 1.0',
        'disburse_inquiries_total{connector="bank",finding="unknown"} 1.0',
        'disburse_unmatched_evidence_total{connector="bank"} 1.0',
        'disburse_contradictions_total{connector="bank"} 1.0',
        'disburse_payouts_finished_total{rail="card",state="cancelled"} 1.0',
        'disburse_connections_cut_total{why="slow"} 3.0',
        'disburse_webhooks_total{outcome="delivered"} 1.0',
        'disburse_webhooks_total{outcome="failed"} 1.0',
    ]:
        assert line in page.splitlines()


async def test_evidence_that_ends_a_payout_is_counted(house: House) -> None:
    """A payout that evidence made final is counted once, by its rail; the same evidence again is not."""
    metrics = Metrics(house.world.clock)
    merchant = (await house.merchant()).merchant
    await pay(house, merchant, "1", PURSE)
    [opened] = await house.claim()
    for _ in range(2):
        metrics.applied("bank", await house.tell(opened, Settled("ref", opened.payout.amount)))
    assert 'disburse_payouts_finished_total{rail="webmoney",state="paid"} 1.0' in (await metrics.page()).decode()


@pytest.mark.parametrize("takes_s, rest_s", [(0.0, 5.0), (0.1, 5.0), (1.0, 20.0)])
async def test_facts_are_not_read_at_every_scrape(takes_s: float, rest_s: float) -> None:
    """Facts are read at most every five seconds, and at most a twentieth of the time, however many scrape."""
    clock = FakeClock()
    known = Known(clock, takes_s)
    metrics = Metrics(clock, read_facts=known.read)
    scrapes = [asyncio.create_task(metrics.page()) for _ in range(5)]
    await clock.advance(takes_s)
    for scrape in scrapes:
        assert b"disburse_payouts_made 1.0" in await scrape
    await clock.advance(rest_s - takes_s - 0.01)
    await metrics.page()
    assert known.reads == 1
    await clock.advance(0.02)
    again = asyncio.create_task(metrics.page())
    await clock.advance(takes_s)
    await again
    assert known.reads == 2


async def test_a_database_that_does_not_answer_stops_no_scrape() -> None:
    """When facts cannot be had in time, or at all, a scrape tells the last ones and how old they are."""
    clock = FakeClock()
    known = Known(clock)
    metrics = Metrics(clock, read_facts=known.read)
    await metrics.page()
    known.takes_s, known.fails = 1000, True
    await clock.advance(10)
    scrape = asyncio.create_task(metrics.page())
    await clock.advance(2.9)
    assert not scrape.done()
    await clock.advance(0.2)
    page = (await scrape).decode().splitlines()
    assert 'disburse_payouts{rail="card",state="queued"} 3.0' in page
    assert any(line.startswith("disburse_facts_age_seconds 13.") for line in page)
    await clock.advance(1000)


# --- health -------------------------------------------------------------------------------------------------------


def health_of(
    database: Database, world: World, *, quarantined: bool = False, clock: FakeClock | None = None
) -> tuple[Health, FakeClock]:
    """Health as a process wires it, but for time: it looks again only after its clock has moved."""
    clock = clock or FakeClock()

    async def look() -> reports.Standing:
        return await database.run(reports.standing)

    return Health(clock, look=look, quarantined=lambda: quarantined), clock


async def lacks(health: Health) -> list[str]:
    return [lack["name"] for lack in await health.lacks()]


async def test_ready_needs_a_worker(database: Database, world: World) -> None:
    """Ready means that some worker was seen within ten seconds, of this process or another."""
    for seen, missing in [(None, ["worker"]), (timedelta(seconds=11), ["worker"]), (timedelta(seconds=9), [])]:
        if seen is not None:
            await database.run(partial(workers.seen, worker_id="w", beat=Beat(1, None)))
            await database.run(lambda tx, seen=seen: tx.execute("UPDATE workers SET seen_at = seen_at - $1::interval", seen))  # type: ignore[misc]
        health, _ = health_of(database, world)
        assert await lacks(health) == missing


async def test_ready_needs_the_tables_of_this_version(database: Database, world: World, dsn: str) -> None:
    """A database that lacks a migration is not ready, and the answer names it."""
    last = migrations()[-1].name
    admin = await asyncpg.connect(dsn)
    await admin.execute("DELETE FROM disburse.schema_migrations WHERE name = $1", last)
    await admin.close()
    health, _ = health_of(database, world)
    [lack] = await health.lacks()
    assert (lack["name"], last in lack["why"]) == ("migrations", True)


async def test_ready_needs_a_database(database: Database, world: World) -> None:
    """A database that is gone is told within two seconds."""
    await database.close()
    health, clock = health_of(database, world)
    asking = asyncio.create_task(lacks(health))
    await clock.advance(2.1)
    assert await asking == ["database"]


async def test_ready_needs_no_quarantine_and_no_stop(database: Database, world: World) -> None:
    """In quarantine, or when it stops, a process is not ready whatever else is well."""
    await database.run(lambda tx: workers.seen(tx, "w", Beat(1, None)))
    health, _ = health_of(database, world, quarantined=True)
    health.stopping = True
    assert await lacks(health) == ["running", "release from quarantine"]
    health = Health(FakeClock(), look=health._look, quarantined=lambda: False, unsettled=lambda: True)
    assert await lacks(health) == ["witness"]


async def test_the_database_is_asked_once_a_second() -> None:
    """A flood of questions about readiness is one question to the database a second."""
    asked = 0

    async def look() -> reports.Standing:
        nonlocal asked
        asked += 1
        return reports.Standing([], timedelta())

    clock = FakeClock()
    health = Health(clock, look=look, quarantined=lambda: False)
    assert await asyncio.gather(*(health.lacks() for _ in range(100))) == [[]] * 100
    assert asked == 1
    await clock.advance(1.1)
    await health.lacks()
    assert asked == 2


async def test_the_pages() -> None:
    """The three pages are read, not written; their statuses are what a load balancer needs."""

    async def look() -> reports.Standing:
        return reports.Standing([], timedelta(seconds=3600))

    clock = FakeClock()
    health, metrics = Health(clock, look=look, quarantined=lambda: False), Metrics(clock)
    async with served([("/api", Obedient())], pages=pages(health, metrics), clock=clock) as server:
        assert (await server.ask(get("/healthz"))).json == {"alive": True}
        ready = await server.ask(get("/readyz"))
        assert (ready.status, ready.json["ready"]) == (503, False)
        assert ready.json["lacks"] == [
            {"name": "worker", "why": "No worker was seen within 10 s; the last one 3600 s ago."}
        ]
        measured = await server.ask(get("/metrics"))
        assert measured.status == 200
        assert measured.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert b"process_resident_memory_bytes" in measured.body
        assert (await server.ask(post("/metrics", b""))).status == 405
