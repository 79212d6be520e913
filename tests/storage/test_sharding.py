"""Hot statements stay hot: each touches one bucket's partition, and finds its rows by key whatever the tables hold.

A whole life of payouts runs on tables that are split by hash of `shard`, as a cluster would hold them, and on tables that
are not. Every statement that the program sends meanwhile is caught and explained, right after migration and when the tables
are full: nobody has to list the hot statements, and a new one is looked at by itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from disburse.domain.destinations import read_card
from disburse.domain.identifiers import base_of
from disburse.domain.limits import Limit, Period, limits_text
from disburse.domain.merchant import Merchant
from disburse.domain.money import Money
from disburse.domain.outcomes import (
    Absent,
    Accepted,
    NotExecuted,
    NotSent,
    Rejected,
    Returned,
    Settled,
    Unknown,
    Verdict,
)
from disburse.domain.payout import Payout, PayoutState
from disburse.domain.ports import World
from disburse.domain.routing import Fact, Route, Why
from disburse.operations import api_keys, attempts, payees
from disburse.operations.attempts import Ask, Claim, Opened
from disburse.operations.balances import balances_as_of
from disburse.operations.evidence import Applied, Heard
from disburse.operations.keyed import ActOnce, CreateOnce, Made, RequestName
from disburse.operations.listing import Filters, list_payouts
from disburse.operations.merchants import add_merchant, draw_top_up, set_merchant
from disburse.operations.payouts import Found, InsufficientFunds
from disburse.operations.routing import Router
from disburse.operations.two_steps import ExecuteAgain, Remember
from disburse.storage.database import Database, open_database
from disburse.storage.migrate import migrate
from tests.api.house import SANDBOX, House, build_house
from tests.storage.plans import Net, Reading, readings, session_like_the_programs

PARTITIONS = 8
BUCKETS = (0, 5)
OTHER = Route("other", frozenset({"card"}), frozenset({"RUB"}))
CARD = read_card("4111111111111111", luhn=True)

HOT = {
    "merchants", "merchant_settings", "lookups", "tokens", "payouts", "expiries", "attempts", "postings", "balances", "top_ups",
    "events", "evidence", "mismatches", "routings", "provider_operations",
    "idempotency_keys", "schedules", "limit_uses", "limit_counters", "api_keys", "payees", "payee_destinations",
}  # fmt: skip

FULL = """
INSERT INTO merchants (shard, merchant_id, payouts, postings, events)
    SELECT {shard}, {first} + m, 1000, 4000, 3000 FROM generate_series(1, 100) AS m;
INSERT INTO balances (shard, merchant_id, currency, account, balance_minor)
    SELECT {shard}, {first} + m, 'RUB', a, 1000 FROM generate_series(1, 100) AS m,
        unnest(ARRAY['funding', 'available', 'held', 'fees', 'in_flight:sandbox', 'in_doubt:sandbox', 'paid:sandbox']) AS a;
INSERT INTO payouts (shard, payout_id, merchant_id, number, surface, reference, base, fingerprint, rail, currency, amount_minor,
        fee_minor, amount_text, display, destination_digest, sealed, state, attempts, created_at, expires_at, updated_at,
        first_event, last_event, actor)
    SELECT {shard}, md5({shard} || 'p' || n)::uuid, {first} + 1 + n % 100, n / 100 + 1, 'unitpay', 'r' || n, '{letters}' || md5({shard} || 'b' || n), '\\x00', 'card', 'RUB',
        1000, 0, '10.00', '411111******1111', '\\x00', '\\x00', 'paid', 1, t, t, t, 1, 3, 'bulk'
    FROM generate_series(1, {count}) AS n, LATERAL (SELECT timestamptz 'epoch' + n * interval '1 min' AS t) AS x;
INSERT INTO attempts (shard, payout_id, number, merchant_id, state, due_at, connector, end_to_end_id, request_digest, owner,
        lease_until, opened_at, ended_at, actor)
    SELECT {shard}, md5({shard} || 'p' || n)::uuid, 1, {first} + 1 + n % 100, 'settled', t, 'sandbox', '{letters}' || md5({shard} || 'b' || n) || '-1', '\\x00', 'w', t, t,
        t, 'bulk'
    FROM generate_series(1, {count}) AS n, LATERAL (SELECT timestamptz 'epoch' + n * interval '1 min' AS t) AS x;
INSERT INTO evidence (shard, end_to_end_id, digest, merchant_id, payout_id, attempt, connector, kind, verdict, detail, effect,
        heard_at, actor)
    SELECT {shard}, '{letters}' || md5({shard} || 'b' || n) || '-1', '\\x01', {first} + 1 + n % 100, md5({shard} || 'p' || n)::uuid, 1, 'sandbox', 'answer', 'Settled', '',
        'paid', timestamptz 'epoch' + n * interval '1 min', 'bulk'
    FROM generate_series(1, {count}) AS n;
INSERT INTO postings (shard, merchant_id, number, origin_id, phase, currency, source, destination, amount_minor, reason, at, actor)
    SELECT {shard}, {first} + 1 + n % 100, n / 100 * 3 + k + 1, md5({shard} || 'p' || n)::uuid, 'phase-' || k, 'RUB', 'available', 'held', 1000, 'hold',
        timestamptz 'epoch' + n * interval '1 min', 'bulk'
    FROM generate_series(1, {count}) AS n, generate_series(0, 2) AS k;
INSERT INTO events (shard, merchant_id, number, payout_id, kind, state, at, actor)
    SELECT {shard}, {first} + 1 + n % 100, n / 100 * 3 + k + 1, md5({shard} || 'p' || n)::uuid, 'payout.paid', 'paid',
        timestamptz 'epoch' + n * interval '1 min', 'bulk'
    FROM generate_series(1, {count}) AS n, generate_series(0, 2) AS k;
INSERT INTO mismatches (shard, payout_id, fingerprint, at)
    SELECT {shard}, md5({shard} || 'p' || n)::uuid, '\\x00', 'epoch' FROM generate_series(1, 5000) AS n;
INSERT INTO routings (shard, payout_id, number, merchant_id, decision, since, at)
    SELECT {shard}, md5({shard} || 'p' || n)::uuid, 1, {first} + 1 + n % 100, '', 'epoch', 'epoch' FROM generate_series(1, 5000) AS n;
INSERT INTO expiries (shard, payout_id, merchant_id, expires_at)
    SELECT {shard}, md5({shard} || 'e' || n)::uuid, {first} + 1 + n % 100, now() + n * interval '1 min' FROM generate_series(1, 5000) AS n;
INSERT INTO top_ups (shard, merchant_id, reference, top_up_id, currency, amount_minor, at, actor)
    SELECT {shard}, {first} + 1 + n % 100, 'bank-' || n, md5({shard} || 't' || n)::uuid, 'RUB', 1000, 'epoch', 'bulk' FROM generate_series(1, 5000) AS n;
INSERT INTO provider_operations (connector, reference, payout_id, number, at, actor)
    SELECT 'sandbox', '{shard}-' || n, md5({shard} || 'p' || n)::uuid, 1, 'epoch', 'bulk' FROM generate_series(1, 20000) AS n;
INSERT INTO idempotency_keys (shard, merchant_id, key_digest, fingerprint, payout_id, at, actor)
    SELECT {shard}, {first} + 1 + n % 100, sha256(('{shard}' || n)::bytea), '\\x00', md5({shard} || 'p' || n)::uuid, 'epoch', 'bulk' FROM generate_series(1, 20000) AS n;
INSERT INTO schedules (shard, payout_id, merchant_id, execute_at, look_at, done_at)
    SELECT {shard}, md5({shard} || 'p' || n)::uuid, {first} + 1 + n % 100, t, t, CASE WHEN n % 2 = 0 THEN t END
    FROM generate_series(1, 10000) AS n, LATERAL (SELECT now() + n * interval '1 min' AS t) AS x;
INSERT INTO limit_uses (shard, payout_id, merchant_id, currency, amount_minor, rail, payee, on_day)
    SELECT {shard}, md5({shard} || 'p' || n)::uuid, {first} + 1 + n % 100, 'RUB', 1000, 'card', '\\x00', 'epoch' FROM generate_series(1, 20000) AS n;
INSERT INTO limit_counters (shard, merchant_id, currency, period, starts_on, scope, payouts, amount_minor)
    SELECT {shard}, {first} + 1 + n % 100, 'RUB', 'day', 'epoch', 'payee:' || n, 1, 1000 FROM generate_series(1, 20000) AS n;
INSERT INTO api_keys (shard, key_id, merchant_id, name, key_digest, ending, created_at, actor)
    SELECT {shard}, md5({shard} || 'k' || n)::uuid, {first} + 1 + n % 100, 'k', sha256(('{shard}' || n)::bytea), '', 'epoch', 'bulk' FROM generate_series(1, 2000) AS n;
INSERT INTO payees (shard, payee_id, merchant_id, reference, created_at, actor)
    SELECT {shard}, md5({shard} || 'y' || n)::uuid, {first} + 1 + n % 100, n::text, 'epoch', 'bulk' FROM generate_series(1, 20000) AS n;
INSERT INTO payee_destinations (shard, payee_id, number, destination_id, merchant_id, rail, display, destination_digest, sealed, created_at, actor)
    SELECT {shard}, md5({shard} || 'y' || n)::uuid, 1, md5({shard} || 'd' || n)::uuid, {first} + 1 + n % 100, 'card', '', '\\x00', '\\x00', 'epoch', 'bulk'
    FROM generate_series(1, 20000) AS n;
INSERT INTO lookups (shard, kind, key_digest, merchant_shard, merchant_id)
    SELECT n % 1024, 'login', sha256(('{shard}' || n)::bytea), 0, {first} + 1 + n % 100 FROM generate_series(1, 5000) AS n;
INSERT INTO tokens (shard, token_digest, merchant_shard, merchant_id, expires_at)
    SELECT n % 1024, sha256(('{shard}' || n)::bytea), 0, {first} + 1 + n % 100, now() + interval '1 h' FROM generate_series(1, 20000) AS n;
"""


Plans = dict[str, dict[int | None, list[Reading]]]
"""By statement and bucket, what is read."""


class Life:
    """Everything that can happen to payouts of one bucket, through the desk, as doors and workers do it."""

    def __init__(self, house: House, merchant: Merchant, mark: str) -> None:
        self.house, self.desk, self.merchant, self.mark = house, house.desk, merchant, mark
        self.shard = merchant.shard

    def draft(self, reference: str | None, minor: int = 1000, *, execute: bool = True) -> Any:
        return self.desk.draft(
            self.merchant, CARD, Money(minor, "RUB"), surface="unitpay", reference=reference and self.mark + reference,
            amount_text="10.00", execute=execute, actor="test",
        )  # fmt: skip

    async def made(self, reference: str | None, *, execute: bool = True) -> Payout:
        found = await self.desk.create(self.merchant, self.draft(reference, execute=execute))
        assert isinstance(found, Found) and found.fresh
        return found.payout

    async def claimed(self, payout: Payout, number: int = 1) -> Opened:
        """Find the attempt among those due and claim it."""
        at = self.house.world.clock.now()
        assert (payout.payout_id, number, payout.merchant_id) in await self.due()
        claim = Claim(payout.payout_id, number, payout.merchant_id, "w", 30.0, at)
        (opened,) = await self.desk.claim(self.shard, [claim])
        assert opened is not None
        return opened

    async def due(self) -> list[Any]:
        found = await self.desk.due(self.shard, 500)
        return [(one.payout.payout_id, one.attempt.number, one.payout.merchant_id) for one in found]

    async def told(
        self, opened: Opened, verdict: Verdict, kind: str = "answer", *, placed: bool = True
    ) -> Applied:
        payout, at = opened.payout, self.house.world.clock.now()
        where = (payout.payout_id, opened.attempt, payout.merchant_id) if placed else None
        return await self.desk.hear(
            Heard(opened.connector, opened.end_to_end_id, kind, verdict, at, "w", payout=where)
        )

    async def run(self) -> None:
        """Live it all."""
        await self.recognise()
        await self.merchants_side()
        await self.workers_side()
        await self.desk.drain()

    async def recognise(self) -> None:
        recognition = self.desk.recognition
        recognition.forget()
        assert (await recognition.by_login(self.merchant.login)) is not None
        token = await recognition.issue_token(self.merchant)
        recognition.forget()
        assert (await recognition.by_token(token)) is not None

    async def merchants_side(self) -> None:
        house, desk, merchant = self.house, self.desk, self.merchant
        for _ in range(2):
            top_up = draw_top_up(house.world, merchant, Money(10**7, "RUB"), actor="test", reference=self.mark + "bank")
            await desk.top_up(merchant, top_up)
        await set_merchant(house.database, merchant, {"language": "en"}, at=house.world.clock.now(), actor="test")
        first = await self.made("a")
        again = await desk.create(merchant, self.draft("a", 2000))
        assert isinstance(again, Found) and not again.same_content
        assert isinstance(await desk.create(merchant, self.draft("dear", 10**12)), InsufficientFunds)
        assert isinstance(await desk.look(merchant, first.base), Found)
        assert isinstance(await desk.look_by_id(merchant, desk.act(merchant, first.payout_id, "test")), Payout)
        assert await desk.states(self.shard, [first.payout_id])
        cancelled = await desk.cancel(merchant, desk.act(merchant, first.payout_id, "test"))
        assert isinstance(cancelled, Payout) and cancelled.state is PayoutState.CANCELLED
        created = await self.made(None, execute=False)
        assert isinstance(await desk.execute(merchant, desk.act(merchant, created.payout_id, "test")), Payout)
        await desk.cancel(merchant, desk.act(merchant, created.payout_id, "test"))
        await self.expiring(created)
        await self.keyed()
        await self.rules()
        await self.beside_payouts()

    async def rules(self) -> None:
        """A payout that limits count and give back, and one that waits for its time."""
        house, merchant, limits = self.house, self.merchant, limits_text([Limit(Period.DAY, "all", "RUB", 10**9, 10**6)])
        await set_merchant(house.database, merchant, {"limits": limits}, at=house.world.clock.now(), actor="test")
        counted = await self.made("counted")
        await self.desk.cancel(merchant, self.desk.act(merchant, counted.payout_id, "test"))
        draft = replace(self.draft("at its time"), execute_at=house.world.clock.now() - timedelta(days=1))
        assert isinstance(await self.desk.create(merchant, draft), Found)
        await self.desk.timely.keep_time(self.shard, "worker:w")
        (timed,) = await self.desk.states(self.shard, [draft.payout_id])
        assert timed.state is PayoutState.QUEUED
        await self.desk.cancel(merchant, self.desk.act(merchant, timed.payout_id, "test"))
        await set_merchant(house.database, merchant, {"limits": "[]"}, at=house.world.clock.now(), actor="test")

    async def beside_payouts(self) -> None:
        """Keys that are made, used and ended; payees that are saved, found and paid; what the merchant had."""
        desk, merchant = self.desk, self.merchant
        key = await api_keys.add_key(desk, merchant, "k", actor="test")
        desk.recognition.forget()
        assert (await desk.recognition.by_api_key(key.secret)) is not None
        await api_keys.end_key(desk, merchant, key.key.key_id, actor="test")
        for _ in range(2):
            payee, _ = await payees.add_payee(desk, merchant, self.mark + "payee", CARD, actor="test")
        more = await payees.add_destination(desk, merchant, payee.payee_id, read_card("5555555555554444", luhn=True), actor="test")
        await payees.retire_destination(desk, merchant, payee.payee_id, more.destinations[1].destination_id, actor="test")
        assert not (await payees.target_of(desk, merchant, payee.payee_id, None)).retired
        assert await payees.find_payee(desk, merchant, self.mark + "payee") is not None
        for before in (None, 2**127):
            await payees.list_payees(desk, merchant, before, 10)
        for ago in (timedelta(), timedelta(days=3)):
            await balances_as_of(self.house.database, merchant, self.house.world.clock.now() - ago)

    async def keyed(self) -> None:
        """A payout with a key, again, refused, executed, cancelled and listed."""
        merchant, keyed = self.merchant, self.desk.keyed
        request = RequestName(f"{self.mark}-{self.shard}".encode(), b"content")
        ids = []
        for _ in range(2):
            made = await keyed.create(self.shard, CreateOnce(self.draft("keyed", execute=False), request), deadline=float("inf"))
            assert isinstance(made, Made)
            ids.append(made.payout.payout_id)
        assert ids[0] == ids[1]
        objected = CreateOnce(self.draft("objected"), replace(request, digest=request.digest + b"o"), InsufficientFunds(Money(2, "RUB"), Money(1, "RUB")))
        assert isinstance(await keyed.create(self.shard, objected, deadline=float("inf")), InsufficientFunds)
        for n, act in enumerate((keyed.execute, keyed.cancel)):
            name = replace(request, digest=request.digest + bytes([n]))
            done = await act(self.shard, ActOnce(self.desk.act(merchant, ids[0], "test"), name), deadline=float("inf"))
            assert isinstance(done, Payout)
        since = self.house.world.clock.now() - timedelta(days=3)
        page = await list_payouts(self.house.database, merchant, Filters(rail="card", created_from=since, created_to=since + timedelta(days=4)), None, 3)
        assert len(page.payouts) == 3

    async def expiring(self, executed: Payout) -> None:
        desk, old = self.desk, await self.made(None, execute=False)
        assert await desk.expiries_due(self.shard, 500) is not None
        acts = [self.desk.act(self.merchant, one.payout_id, "w") for one in (old, executed)]
        early = await desk.expire(self.shard, acts)
        assert [one.state for one in early if isinstance(one, Payout)] == [PayoutState.CREATED, PayoutState.CANCELLED]
        for table in ("payouts", "expiries"):
            await self.earlier(table, "expires_at", old)
        (expired,) = await desk.expire(self.shard, [acts[0]])
        assert isinstance(expired, Payout) and expired.state is PayoutState.EXPIRED

    async def earlier(self, table: str, column: str, payout: Payout) -> None:
        """Let a time that was to come be past."""
        sql = f"UPDATE {table} SET {column} = {column} - interval '2 days' WHERE shard = $1 AND payout_id = $2"
        await self.house.database.run(lambda tx: tx.execute(sql, self.shard, payout.payout_id))

    async def workers_side(self) -> None:
        lives: list[tuple[list[Verdict], str]] = [
            ([Settled("p")], "paid"),
            ([Accepted("p"), Settled("p"), Returned("r")], "returned"),
            ([Unknown("x"), Rejected("no")], "failed"),
        ]
        for verdicts, effect in lives:
            opened = await self.claimed(await self.made(f"w-{effect}"))
            for verdict in verdicts:
                applied = await self.told(opened, verdict)
            assert applied.effect == effect
            assert (await self.told(opened, verdicts[0], "callback", placed=False)).effect == "nothing"
        stray = Heard("other", opened.end_to_end_id, "callback", Settled(self.mark), self.house.world.clock.now(), "p")
        assert (await self.desk.hear(stray)).effect == "unmatched"
        await self.second_attempts()
        await self.questions()
        await self.two_steps()

    async def second_attempts(self) -> None:
        first = await self.claimed(await self.made("elsewhere"))
        assert (await self.told(first, Rejected("short", elsewhere=True))).effect == "queued"
        second = await self.waited(first.payout, 2)
        assert second.connector == "other" and (await self.told(second, Settled("q"))).effect == "paid"
        frozen = await self.claimed(await self.made("frozen"))
        await self.told(frozen, NotSent("x"))
        assert (await self.told(frozen, Settled("p"))).contradicts
        claim = Claim(frozen.payout.payout_id, 2, self.merchant.merchant_id, "w", 30.0, self.house.world.clock.now())
        claimed = await self.desk.claim(self.shard, [claim])
        assert claimed == [None]

    async def waited(self, payout: Payout, number: int) -> Opened:
        """Claimed only once its provider is no longer left alone: an attempt that waits is put off, with its reason kept."""
        at = self.house.world.clock.now()
        claims = [Claim(payout.payout_id, number, payout.merchant_id, "w", 30.0, at)]
        router = Router(self.desk.routes, facts={"other": Fact(calls=0, why=Why.BREAKER, until=at)})
        run = self.desk.database.run
        assert await run(lambda tx: attempts.claim(tx, self.shard, claims, routes=self.desk.routes, router=router)) == [None]
        (opened,) = await self.desk.claim(self.shard, claims)
        assert opened is not None
        return opened

    async def questions(self) -> None:
        asked = await self.claimed(await self.made("asked"))
        await self.told(asked, Unknown("x"))
        await self.earlier("attempts", "ask_at", asked.payout)
        waiting = [one for one in await self.desk.questions_due(self.shard, 500) if one[0] == asked.payout.payout_id]
        (question,) = await self.desk.take_questions(self.shard, [Ask(*waiting[0][:3], 1.0)])
        assert question is not None and not question.lapsed
        assert (await self.told(asked, Absent(), "inquiry")).effect == "queued"

    async def two_steps(self) -> None:
        """An operation is remembered, refused to another attempt, found not executed, and executed again."""
        opened = await self.claimed(await self.made("two steps"))
        payout, now, made = opened.payout, self.house.world.clock.now(), f"{self.mark}-{self.shard}"
        remembered = Remember(
            payout.payout_id, 1, payout.merchant_id, opened.connector, opened.end_to_end_id, "w", opened.epoch, made, now, "w"
        )
        assert await self.desk.remember(self.shard, remembered)
        assert await self.desk.remember(self.shard, remembered)
        other = await self.claimed(await self.made("the same operation"))
        anothers = replace(remembered, payout_id=other.payout.payout_id, end_to_end_id=other.end_to_end_id, epoch=other.epoch)
        assert not await self.desk.remember(self.shard, anothers)
        await self.told(other, Rejected("no"))
        await self.told(opened, NotExecuted(), "inquiry")
        again = ExecuteAgain(payout.payout_id, 1, payout.merchant_id, made, 0.0, now + timedelta(seconds=1), "w")
        assert await self.desk.execute_again(self.shard, again)
        assert (await self.told(opened, Settled(made), "inquiry")).effect == "paid"


@asynccontextmanager
async def fresh(
    server: Callable[[str], str], world: World, directory: Path, partitions: int, of: str = "sharding"
) -> AsyncIterator[tuple[str, House, Net]]:
    """A database of one's own, migrated, with a house on it whose statements are caught."""
    name = f"disburse_{of}_{partitions}"
    admin = await asyncpg.connect(server("postgres"))
    await admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    await admin.execute(f"CREATE DATABASE {name}")
    database: Database | None = None
    try:
        await migrate(server(name), partitions=partitions)
        database = await open_database(server(name), world, unsafe=True, size=1)
        house, net = await build_house(database, world, directory, routes=(SANDBOX, OTHER), fees={}), Net(HOT)
        await net.cast(database)
        yield server(name), house, net
    finally:
        if database is not None:
            await database.close()
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await admin.close()


async def live(house: House, mark: str) -> None:
    """A merchant in each of the buckets, and a whole life for each."""
    for shard in BUCKETS:
        made = await add_merchant(
            house.database, house.world, house.vault, name="m", login=f"{mark}{shard}@example.com", actor="test", shard=shard
        )
        await Life(house, made.merchant, mark).run()


async def explained(dsn: str, net: Net) -> Plans:
    """For every statement caught and each bucket it was sent for, what its plan reads of the hot tables."""
    connection = await session_like_the_programs(dsn)
    plans: Plans = {}
    try:
        for (sql, bucket), caught in net.caught.items():
            found = await readings(connection, caught)
            plans.setdefault(sql, {})[bucket] = [reading for reading in found if reading.table in HOT]
    finally:
        await connection.close()
    return plans


async def keys_of(dsn: str) -> dict[str, list[str]]:
    """The columns of every index."""
    connection = await asyncpg.connect(dsn)
    rows = await connection.fetch(
        """SELECT i.indexrelid::regclass::text AS name, array_agg(a.attname::text ORDER BY k.place) AS columns
           FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid, unnest(i.indkey) WITH ORDINALITY AS k (attnum, place), pg_attribute a
           WHERE c.relnamespace = 'disburse'::regnamespace AND a.attrelid = i.indrelid AND a.attnum = k.attnum GROUP BY 1"""
    )
    await connection.close()
    return {row[0].removeprefix("disburse."): row[1] for row in rows}


ALL_OF_IT = {"lookups": 3, "tokens": 2, "payouts": 2, "attempts": 2, "expiries": 2, "top_ups": 3, "idempotency_keys": 3, "limit_counters": 6}
"""How many columns of an index a reading must be searched by, where it is not two."""


def faults(plans: Plans, keys: dict[str, list[str]], *, but_of: int | None = None) -> list[str]:
    """Readings that would walk a whole bucket: anything but a search of an index by more than the bucket."""
    found = []
    for sql, by_bucket in plans.items():
        for reading in (one for bucket, readings_ in by_bucket.items() if bucket != but_of for one in readings_):
            columns = keys.get(reading.index or "", [])
            needed = set(columns[: ALL_OF_IT.get(reading.table, 2)])
            if not needed or not needed <= reading.columns:
                found.append(f"{reading} in {' '.join(sql.split())}")
    return found


async def fill(dsn: str) -> None:
    """100,000 payouts and all that belongs to them, half in each bucket."""
    connection = await asyncpg.connect(dsn, server_settings={"search_path": "disburse", "synchronous_commit": "off"})
    for shard in BUCKETS:
        letters = base_of(shard, UUID(int=0), 1, "own", None, UUID(int=0))[:2]
        await connection.execute(FULL.format(shard=shard, letters=letters, count=50_000, first=1000 * (shard + 1)))
    await connection.close()


async def analyze(dsn: str) -> None:
    connection = await asyncpg.connect(dsn, server_settings={"search_path": "disburse"})
    await connection.execute("ANALYZE")
    await connection.close()


@pytest.mark.parametrize("partitions", [0, PARTITIONS], ids=["whole tables", "split by bucket"])
async def test_hot_statements(server: Callable[[str], str], world: World, tmp_path: Path, partitions: int) -> None:
    """Every hot statement of a whole life searches by key, in one bucket's partition where there are partitions: right after
    migration, with 100,000 payouts that the planner has not seen, and when it has seen them.

    What the planner is told at migration is of bucket 0. Where buckets are apart, it gets to know the others as they fill.
    """
    unseen = BUCKETS[1] if partitions else None
    async with fresh(server, world, tmp_path, partitions) as (dsn, house, net):
        await live(house, "empty")
        keys = await keys_of(dsn)
        plans = await explained(dsn, net)
        assert {one.table for by in plans.values() for found in by.values() for one in found} >= HOT - {"events", "routings"}
        assert any("INSERT INTO routings" in sql for sql in plans), "a decision is kept in the claim's own statement"
        assert faults(plans, keys, but_of=unseen) == []
        if partitions:
            one_partition_each(plans)
        await fill(dsn)
        assert faults(await explained(dsn, net), keys, but_of=unseen) == []
        await live(house, "full")
        await analyze(dsn)
        await live(house, "measured")
        plans = await explained(dsn, net)
        assert faults(plans, keys) == []
        if partitions:
            one_partition_each(plans)


def one_partition_each(plans: Plans) -> None:
    """Each statement reads the partition of its own bucket and no other, and two buckets are two partitions."""
    of_bucket: dict[int | None, set[int | None]] = {}
    for sql, by_bucket in plans.items():
        for bucket, found in by_bucket.items():
            touched = {reading.partition for reading in found}
            assert len(touched) <= 1, f"{touched} in {sql}"
            of_bucket.setdefault(bucket, set()).update(touched)
    assert all(len(partitions) <= 1 for partitions in of_bucket.values()), of_bucket
    assert len(of_bucket[BUCKETS[0]] | of_bucket[BUCKETS[1]]) == 2
