"""`verify` says nothing about a healthy database, and names what was broken in a doctored one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import asyncpg
import msgspec
import pytest

from disburse.domain.ports import World
from disburse.operations.verify import BookSize, Deed, Report, UnreadableBook, read_bank_book, verify
from disburse.storage.database import Database, Transaction, open_database
from disburse.storage.verify import CHECKS
from disburse.world import real_world
from tests.databases import Databases
from tests.operations import verify_rules
from tests.operations.test_registries import DAMAGES as OF_REGISTRIES
from tests.operations.verify_rules import by_rules
from tests.operations.verify_town import Town, populate


@dataclass(frozen=True, slots=True)
class Inside:
    """All that `verify` asks of a database, inside a transaction that is never committed."""

    connection: asyncpg.Connection

    async def snapshot(self, work: Callable[[Transaction], Awaitable[Report]]) -> Report:
        await self.connection.execute("SET LOCAL ROLE disburse_app")
        return await work(Transaction(self.connection, rerun=False))


@dataclass(frozen=True, slots=True)
class Place:
    """A town, and somebody with a superuser's hands on its database."""

    town: Town
    doctor: asyncpg.Connection


@pytest.fixture(scope="module")
async def place(databases: Databases) -> AsyncIterator[Place]:
    """Payouts that went every way there is, by the real operations; made once, since nobody leaves a trace there."""
    name, world = await databases.lend(), real_world()
    database = await open_database(databases.server(name), world, unsafe=True)
    town = Town(database, world)
    await populate(town)
    await by_rules(town, database)
    await database.close()
    doctor = await asyncpg.connect(
        databases.server(name), statement_cache_size=1000, server_settings={"search_path": "disburse", "jit": "off"}
    )
    yield Place(town, doctor)
    await doctor.close()
    await databases.take_back(name)


@pytest.fixture
def town(place: Place) -> Town:
    return place.town


@pytest.fixture
async def doctor(place: Place) -> AsyncIterator[asyncpg.Connection]:
    """Whatever the doctor does is undone in the end."""
    deed = place.doctor.transaction(isolation="repeatable_read")
    await deed.start()
    yield place.doctor
    await deed.rollback()


@pytest.fixture
def seen(doctor: asyncpg.Connection) -> Database:
    """The town's database as `verify` sees it after what the doctor did."""
    return cast(Database, Inside(doctor))


def broken(report: Report) -> dict[str, int]:
    return {finding.check: finding.count for finding in report.findings}


# --- healthy -------------------------------------------------------------------------------------------------------------


async def test_a_fresh_database_holds(database: Database) -> None:
    """A database in which nothing happened yet breaks nothing."""
    report = await verify(database, deeds=list)
    assert report.holds, report.findings
    assert report.rows == {"merchants": 0, "payouts": 0, "postings": 0, "events": 0, "frozen": 0}


async def test_a_healthy_town_holds(seen: Database, town: Town) -> None:
    """Every outcome, second attempts, returns and frozen payouts leave books in which every check holds, the bank's too."""
    report = await verify(seen, deeds=lambda: town.deeds)
    assert report.holds, report.findings
    assert report.rows["payouts"] == len(town.ids) == 56
    assert report.rows["frozen"] == 8
    assert report.book == BookSize(payments=21, returns=4, unsettled=1)
    assert set(report.checks) > {check.name for check in CHECKS}


async def test_the_town_has_every_state(doctor: asyncpg.Connection) -> None:
    """The healthy town is no small talk: it has every state that payouts and attempts can be in today."""
    payouts = {row[0] for row in await doctor.fetch("SELECT DISTINCT state FROM payouts")}
    assert payouts == {
        "created", "unfunded", "awaiting_approval", "scheduled", "queued", "in_flight", "in_doubt", "paid", "failed", "cancelled",
        "expired", "returned",
    }  # fmt: skip
    attempts = {row[0] for row in await doctor.fetch("SELECT DISTINCT state FROM attempts")}
    assert attempts == {"due", "open", "accepted", "unknown", "settled", "rejected", "not_sent"}
    frozen = {row[0] for row in await doctor.fetch("SELECT DISTINCT state FROM payouts WHERE frozen IS NOT NULL")}
    assert frozen == {"failed", "queued", "in_flight", "in_doubt", "paid"}


# --- doctored ------------------------------------------------------------------------------------------------------------

# What was done with `{story}` standing for a payout's id, the check that must say so, how many others may say so too.
DAMAGES: dict[str, tuple[str, str, int]] = {
    "a balance changed": (
        "UPDATE balances SET balance_minor = balance_minor + 1 WHERE merchant_id = 2 AND account = 'available'",
        "L3 balances equal postings", 1,
    ),
    "money made out of nothing": (
        "UPDATE balances SET balance_minor = balance_minor + 1 WHERE merchant_id = 2 AND account = 'available'",
        "L2 all accounts together are zero", 1,
    ),
    "cached money moved to another account": (
        """UPDATE balances SET balance_minor = balance_minor - 7 WHERE merchant_id = 2 AND account = 'available';
           UPDATE balances SET balance_minor = balance_minor + 7 WHERE merchant_id = 2 AND account = 'fees'""",
        "H2 fees are those of paid payouts", 1,
    ),
    "a posting removed": (
        "DELETE FROM postings WHERE origin_id = {paid} AND reason = 'fee'",
        "L9 posting numbers have no gaps", 3,
    ),
    "a posting from an account to itself": (
        "ALTER TABLE postings DROP CONSTRAINT postings_check;"
        "UPDATE postings SET source = destination WHERE origin_id = {paid} AND reason = 'fee'",
        "L1 postings are whole", 4,
    ),
    "the limit of amounts dropped": (
        "ALTER TABLE postings DROP CONSTRAINT postings_amount_minor_check",
        "L4 check constraints stand", 0,
    ),
    "an unvalidated overdraft constraint": (
        "ALTER TABLE balances DROP CONSTRAINT no_overdraft;"
        "ALTER TABLE balances ADD CONSTRAINT no_overdraft CHECK (balance_minor >= 0) NOT VALID",
        "L4 check constraints stand", 0,
    ),
    "a fee posted from the merchant's available money": (
        "UPDATE postings SET source = 'available' WHERE origin_id = {paid} AND reason = 'fee'",
        "L1 postings go where their reason says", 2,
    ),
    "a payment posted to another provider": (
        "UPDATE postings SET destination = 'paid:second' WHERE origin_id = {paid} AND reason = 'paid'",
        "L1 postings go where their reason says", 1,
    ),
    "a hold numbered before the top-up that covers it": (
        """UPDATE postings SET number = 999 WHERE merchant_id = 2 AND number = 1;
           UPDATE postings SET number = 1 WHERE merchant_id = 2 AND number = 2;
           UPDATE postings SET number = 2 WHERE merchant_id = 2 AND number = 999""",
        "L4 no account was ever overdrawn", 0,
    ),
    "an append-only table that may be changed": (
        "GRANT UPDATE ON postings TO disburse_app", "L5 books and events are append-only", 0,
    ),
    "one column of an append-only table that may be changed": (
        "GRANT UPDATE (effect) ON evidence TO disburse_app", "L5 books and events are append-only", 0,
    ),
    "an append-only table that everybody may empty": (
        "GRANT DELETE, TRUNCATE ON events TO PUBLIC", "L5 books and events are append-only", 0,
    ),
    "a trigger": (
        """CREATE FUNCTION skim() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
           CREATE TRIGGER skim BEFORE INSERT ON postings FOR EACH ROW EXECUTE FUNCTION skim()""",
        "L5 no trigger or rule stands between", 0,
    ),
    "a function that forgets what was agreed to": (
        """CREATE OR REPLACE FUNCTION forget_unplanned(of_shard smallint, of_registry uuid, most integer) RETURNS bigint LANGUAGE sql SECURITY DEFINER
           AS 'DELETE FROM disburse.registry_rows WHERE registry_id = of_registry; SELECT 1::bigint'""",
        "L5 no trigger or rule stands between", 0,
    ),
    "a numeric column": (
        "ALTER TABLE top_ups ADD COLUMN exact_amount numeric(18, 2)", "L6 amounts are whole numbers", 0,
    ),
    "amounts in a shorter type": (
        "ALTER TABLE top_ups ALTER COLUMN amount_minor TYPE integer", "L6 amounts are whole numbers", 0,
    ),
    "a unique constraint dropped": (
        "ALTER TABLE postings DROP CONSTRAINT posted_once", "L7 unique indexes stand", 0,
    ),
    "the index of live attempts covers fewer rows": (
        """DROP INDEX one_live_attempt; CREATE UNIQUE INDEX one_live_attempt ON attempts (shard, payout_id)
           WHERE state NOT IN ('rejected', 'not_sent', 'settled')""",
        "L7 unique indexes stand", 0,
    ),
    "a table gone": ("DROP TABLE mismatches", "C3 one event a mismatch", 1),
    "a payment posted twice": (
        """ALTER TABLE postings DROP CONSTRAINT posted_once;
           INSERT INTO postings SELECT shard, merchant_id, number + 1, origin_id, phase, currency, source, destination,
               amount_minor, reason, at, actor FROM postings WHERE merchant_id = 2 ORDER BY number DESC LIMIT 1;
           UPDATE merchants SET postings = postings + 1 WHERE merchant_id = 2""",
        "L7 nothing is posted twice", 5,
    ),
    "a top-up without its row": (
        "DELETE FROM top_ups WHERE merchant_id = 2", "L7 each top-up has its posting", 2,
    ),
    "a top-up told by no event": (
        "UPDATE events SET kind = 'gift' WHERE merchant_id = 2 AND kind = 'top_up'", "W1 each top-up is told", 0,
    ),
    "a posting in another currency": (
        "UPDATE postings SET currency = 'EUR' WHERE origin_id = {paid} AND reason = 'hold'",
        "L8 postings belong to their origin", 2,
    ),
    "a posting of no payout": (
        "UPDATE postings SET origin_id = '00000000-0000-7000-8000-000000000001' WHERE origin_id = {paid} AND reason = 'hold'",
        "L8 postings belong to their origin", 2,
    ),
    "a hold larger than amount and fee": (
        """UPDATE postings SET amount_minor = amount_minor + 1 WHERE origin_id = {queued} AND reason = 'hold';
           UPDATE balances SET balance_minor = balance_minor - 1
               WHERE merchant_id = 1 AND currency = 'RUB' AND account = 'available';
           UPDATE balances SET balance_minor = balance_minor + 1
               WHERE merchant_id = 1 AND currency = 'RUB' AND account = 'held'""",
        "H1 one hold of amount and fee", 2,
    ),
    "half a hold released": (
        "UPDATE postings SET amount_minor = amount_minor - 1 WHERE origin_id = {cancelled held} AND reason = 'release'",
        "H2 a hold ends once and whole", 2,
    ),
    "held money that no payout owns": (
        """UPDATE balances SET balance_minor = balance_minor - 7 WHERE merchant_id = 2 AND account = 'available';
           INSERT INTO balances VALUES (0, 2, 'EUR', 'held', 7)""",
        "H3 held money equals payouts under way", 2,
    ),
    "a payout put back from doubt by hand": (
        "UPDATE payouts SET state = 'in_flight' WHERE payout_id = {doubt}",
        "H3 each payout's money lies where its state says", 2,
    ),
    "an attempt's doubt forgotten": (
        "UPDATE attempts SET state = 'accepted', doubt_since = NULL WHERE payout_id = {doubt}",
        "H3 money at providers equals attempts under way", 2,
    ),
    "a refused attempt brought back to life": (
        "UPDATE attempts SET state = 'open', ended_at = NULL, ask_at = opened_at WHERE payout_id = {failed}",
        "H4 no release while an attempt lives", 3,
    ),
    "a payout failed by hand after it was paid": (
        "UPDATE payouts SET state = 'failed' WHERE payout_id = {paid}", "H5 the last event names the state", 3,
    ),
    "a final payout without an end": (
        "UPDATE payouts SET finished_at = NULL WHERE payout_id = {failed}", "H5 final means finished", 0,
    ),
    "a waiting payout off the sweeper's list": (
        "DELETE FROM expiries WHERE payout_id = {created}", "H6 what waits will expire", 0,
    ),
    "a settled attempt that the books do not know": (
        "UPDATE attempts SET connector = 'second' WHERE payout_id = {paid}", "R1 paid money equals settled attempts", 1,
    ),
    "a return that never came": (
        "UPDATE payouts SET returned_minor = returned_minor - 1 WHERE payout_id = {returned in parts}",
        "E8 what came back was paid", 1,
    ),
    "a contradiction charged to the merchant": (
        """UPDATE postings SET source = 'available' WHERE reason = 'contradiction' AND origin_id = {frozen failed};
           UPDATE balances SET balance_minor = balance_minor
               - (SELECT amount_minor FROM payouts WHERE payout_id = {frozen failed})
               WHERE merchant_id = 1 AND currency = 'RUB' AND account = 'available';
           UPDATE balances SET balance_minor = balance_minor
               + (SELECT amount_minor FROM payouts WHERE payout_id = {frozen failed})
               WHERE merchant_id = 1 AND account = 'suspense:sandbox'""",
        "E11 suspense holds contradictions alone", 1,
    ),
    "a second payout of one reference": (
        """UPDATE payouts SET reference = (SELECT reference FROM payouts WHERE payout_id = {paid})
           WHERE payout_id = {queued}""",
        "C1 one payout a reference", 0,
    ),
    "a mismatch told by no event": (
        "DELETE FROM mismatches WHERE payout_id = {queued}", "C3 one event a mismatch", 0,
    ),
    "a payout number skipped": (
        "UPDATE payouts SET number = number + 1000 WHERE payout_id = {created}", "L9 payout numbers have no gaps", 0,
    ),
    "a base that names another bucket": (
        "UPDATE payouts SET base = 'b' || substr(base, 2) WHERE payout_id = {created}", "E4 ids carry their bucket", 0,
    ),
    "an attempt under another merchant": (
        "UPDATE attempts SET merchant_id = 2 WHERE payout_id = {queued}", "S3 a payout's rows are its merchant's", 0,
    ),
    "a route under another merchant": (
        """INSERT INTO routings (shard, payout_id, number, merchant_id, decision, since, at)
           VALUES (0, {paid}, 1, 2, '', 'epoch', 'epoch')""",
        "S3 a payout's rows are its merchant's", 0,
    ),
    "an attempt of no payout": (
        """INSERT INTO attempts (shard, payout_id, number, merchant_id, state, due_at, actor)
           VALUES (0, '00000000-0000-7000-8000-000000000001', 1, 1, 'due', 'epoch', 'doctor')""",
        "S3 a payout's rows are its merchant's", 0,
    ),
    "a second live attempt": (
        """DROP INDEX one_live_attempt;
           INSERT INTO attempts (shard, payout_id, number, merchant_id, state, due_at, actor)
           VALUES (0, {paid}, 2, 1, 'due', 'epoch', 'doctor')""",
        "E1 one live attempt", 3,
    ),
    "a paid payout without its attempt": (
        "DELETE FROM attempts WHERE payout_id = {paid}", "E1 attempts fit the payout's state", 4,
    ),
    "an attempt that was not counted": (
        "UPDATE payouts SET attempts = attempts + 1 WHERE payout_id = {failed}", "E3 attempts follow one another", 0,
    ),
    "an end-to-end id of another base": (
        """UPDATE attempts SET end_to_end_id = (SELECT base || '-1' FROM payouts WHERE payout_id = {paid})
           WHERE payout_id = {open}""",
        "E4 end-to-end ids derive from the base", 0,
    ),
    "an intent without a digest of what was sent": (
        "UPDATE attempts SET request_digest = '' WHERE payout_id = {open}", "E2 an intent is whole", 0,
    ),
    "an attempt that nobody will ask about": (
        "UPDATE attempts SET ask_at = NULL WHERE payout_id = {doubt}", "E15 nothing under way is forgotten", 0,
    ),
    "an event number skipped": (
        "UPDATE events SET number = number + 1 WHERE merchant_id = 2 AND number = 4;"
        "UPDATE payouts SET last_event = last_event + 1 WHERE payout_id = {paid by two}",
        "W1 event numbers have no gaps", 0,
    ),
    "a counter ahead of its events": (
        "UPDATE merchants SET events = events + 1 WHERE merchant_id = 3", "W1 event numbers have no gaps", 0,
    ),
    "an event that names a state out of turn": (
        "UPDATE events SET state = 'created' WHERE payout_id = {accepted} AND kind = 'payout.in_flight'",
        "E8 payouts move by the table", 0,
    ),
    "a payout that went on after its end": (
        """INSERT INTO events (shard, merchant_id, number, payout_id, kind, state, at, actor)
               SELECT 0, 2, events + 1, {paid by two}, 'payout.queued', 'queued', 'epoch', 'doctor' FROM merchants
               WHERE merchant_id = 2;
           INSERT INTO events (shard, merchant_id, number, payout_id, kind, state, at, actor)
               SELECT 0, 2, events + 2, {paid by two}, 'payout.paid', 'paid', 'epoch', 'doctor' FROM merchants
               WHERE merchant_id = 2;
           UPDATE merchants SET events = events + 2 WHERE merchant_id = 2;
           UPDATE payouts SET last_event = last_event + 2 WHERE payout_id = {paid by two}""",
        "W5 final stays final", 1,
    ),
    "an event without an actor": (
        "UPDATE events SET actor = ' ' WHERE payout_id = {paid}", "W1 every act names its actor", 0,
    ),
    "actors no longer asked for": (
        "ALTER TABLE postings ALTER COLUMN actor DROP NOT NULL", "W1 an actor is required", 0,
    ),
    "a settled attempt whose evidence is gone": (
        "DELETE FROM evidence WHERE payout_id = {paid}", "E3 every outcome rests on evidence", 0,
    ),
    "an outcome rewritten after its evidence": (
        "UPDATE attempts SET state = 'not_sent' WHERE payout_id = {failed}", "E9 what evidence changed still stands", 1,
    ),
    "evidence moved to another attempt": (
        "UPDATE evidence SET end_to_end_id = 'x' || end_to_end_id WHERE payout_id = {paid}",
        "E7 evidence speaks of its attempt", 0,
    ),
    "an operation that its attempt does not know": (
        """INSERT INTO evidence SELECT shard, end_to_end_id, '\\x00', merchant_id, payout_id, attempt, connector, 'answer', 'Made',
               'operation-1', 'nothing', heard_at, actor FROM evidence WHERE payout_id = {paid} LIMIT 1""",
        "E2 an operation is remembered", 1,
    ),
    "an operation given to another attempt": (
        "UPDATE provider_operations SET payout_id = {open}", "E2 an operation is one attempt's", 0,
    ),
    "two attempts asked about by one operation": (
        "UPDATE attempts SET provider_reference = 'operation-0' WHERE payout_id = {accepted}",
        "E2 an operation is one attempt's", 0,
    ),
    "an operation that is nobody's any more": ("DELETE FROM provider_operations", "E2 an operation is one attempt's", 0),
    "an operation of a payout that never was": (
        "INSERT INTO provider_operations VALUES ('second', 'x', '00000000-0000-7000-8000-000000000001', 1, 'epoch', 'doctor')",
        "E2 an operation is one attempt's", 0,
    ),
    "operations that may be given away": (
        "GRANT UPDATE ON provider_operations TO disburse_app", "L5 books and events are append-only", 0,
    ),
    "one operation for many": (
        "ALTER TABLE provider_operations DROP CONSTRAINT provider_operations_pkey", "L7 unique indexes stand", 0,
    ),
    "a frozen payout thawed by hand": (
        "UPDATE payouts SET frozen = NULL WHERE payout_id = {frozen failed}", "E11 a contradiction freezes", 0,
    ),
    "a contradiction of another amount": (
        """UPDATE postings SET amount_minor = amount_minor + 1 WHERE origin_id = {frozen failed} AND reason = 'contradiction';
           UPDATE balances SET balance_minor = balance_minor - 1 WHERE merchant_id = 1 AND account = 'suspense:sandbox';
           UPDATE balances SET balance_minor = balance_minor + 1
               WHERE merchant_id = 1 AND currency = 'RUB' AND account = 'paid:sandbox'""",
        "E11 money beyond proof is in suspense", 0,
    ),
    "a request answered by who asked": (
        "UPDATE decisions SET actor = 'operator:1' WHERE request_id = {request vouched paid}", "A1 two persons decide", 0,
    ),
    "a request answered by nobody that is known": (
        "UPDATE decisions SET actor = 'operator:9' WHERE request_id = {request vouched paid}", "A1 two persons decide", 0,
    ),
    "an answer to nothing": (
        """INSERT INTO decisions VALUES (0, '00000000-0000-7000-8000-000000000001', 1, 'refused', '', 'epoch', 'operator:2')""",
        "A1 two persons decide", 0,
    ),
    "a doubt ended by one": (
        "DELETE FROM decisions WHERE request_id = {request vouched paid}", "A1 persons' acts have their second yes", 0,
    ),
    "a top-up turned round by one": (
        "DELETE FROM decisions d USING requests r WHERE r.request_id = d.request_id AND r.kind = 'reverse'",
        "A1 persons' acts have their second yes", 0,
    ),
    "a withdrawal that nobody agreed to": (
        """UPDATE decisions d SET verdict = 'refused' FROM requests r
           WHERE r.request_id = d.request_id AND r.kind = 'withdraw'""",
        "A1 persons' acts have their second yes", 0,
    ),
    "what was agreed to and not done": (
        "DELETE FROM evidence WHERE kind = 'person' AND payout_id = {vouched paid}",
        "A1 persons' acts have their second yes", 1,
    ),
    "a withdrawal of another amount": (
        "UPDATE requests SET amount_minor = amount_minor + 1 WHERE kind = 'withdraw'", "L7 each withdrawal has its posting", 0,
    ),
    "a reversal of another amount": (
        """UPDATE postings SET amount_minor = amount_minor - 1 WHERE phase = 'reverse-top-up';
           UPDATE balances SET balance_minor = balance_minor + 1
               WHERE merchant_id = 1 AND currency = 'RUB' AND account = 'available';
           UPDATE balances SET balance_minor = balance_minor - 1
               WHERE merchant_id = 1 AND currency = 'RUB' AND account = 'funding'""",
        "L5 a reversal turns one posting round", 0,
    ),
    "a withdrawal told by no event": (
        "UPDATE events SET kind = 'gift' WHERE kind = 'withdrawal'", "W1 corrections are told", 0,
    ),
    "absence found once": (
        "DELETE FROM evidence WHERE payout_id = {not found twice} AND effect = 'nothing'",
        "E3 absence is found twice", 0,
    ),
    "two not-founds in one moment, the second first": (
        "UPDATE evidence SET clock_at = clock_at + interval '1 h' WHERE payout_id = {not found twice} AND effect = 'nothing'",
        "E3 absence is found twice", 0,
    ),
    "a thaw that nobody vouched for": (
        """UPDATE evidence SET kind = 'callback', verdict = 'Accepted' WHERE kind = 'person' AND payout_id = {given back}""",
        "E11 a contradiction freezes", 1,
    ),
    "what persons had covered charged again": (
        """UPDATE postings SET reason = 'paid', destination = 'paid:sandbox'
               WHERE origin_id = {covered} AND reason = 'covered';
           UPDATE balances SET balance_minor = balance_minor + (SELECT amount_minor FROM payouts WHERE payout_id = {covered})
               WHERE merchant_id = 1 AND currency = 'RUB' AND account = 'paid:sandbox';
           UPDATE balances SET balance_minor = balance_minor - (SELECT amount_minor FROM payouts WHERE payout_id = {covered})
               WHERE merchant_id = 1 AND account = 'suspense:sandbox'""",
        "R1 paid money equals settled attempts", 2,
    ),
    "requests that may be rewritten": (
        "GRANT UPDATE ON requests TO disburse_app", "L5 books and events are append-only", 0,
    ),
    **verify_rules.DAMAGES,
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_doctored_database_is_found_out(
    seen: Database, town: Town, doctor: asyncpg.Connection, damage: str
) -> None:
    """What was done to a healthy database is named by the check whose invariant it breaks, and by few others."""
    sql, name, others = DAMAGES[damage]
    requests = await doctor.fetch("SELECT origin_id, request_id FROM requests")
    names = {identifier: story for story, identifier in town.ids.items()}
    for origin, request in requests:
        sql = sql.replace(f"{{request {names.get(origin)}}}", f"'{request}'")
    for story, identifier in town.ids.items():
        sql = sql.replace(f"{{{story}}}", f"'{identifier}'")
    await doctor.execute(sql)
    report = await verify(seen)
    assert name in broken(report), report.findings
    assert len(report.findings) == 1 + others, [finding.check for finding in report.findings]


def test_every_check_was_shown_to_fail() -> None:
    """No check stands in the table that was never seen to find anything; no two have one name."""
    names = [check.name for check in CHECKS]
    assert len(set(names)) == len(names)
    assert {name for _, name, _ in DAMAGES.values()} | {name for _, name in OF_REGISTRIES.values()} == set(names)


async def test_all_are_counted_and_some_are_shown(seen: Database, doctor: asyncpg.Connection) -> None:
    """A finding counts every offending row and shows a few, in words and without what belongs to payees."""
    await doctor.execute("UPDATE payouts SET number = number + 1000 WHERE merchant_id = 1 AND state NOT IN ('paid', 'unfunded')")
    (finding,) = (await verify(seen)).findings
    assert finding.count > len(finding.examples) == 5
    assert finding.sentence.startswith("A merchant's payouts are numbered")
    assert finding.examples[0].startswith("merchant=1 what=counter found=46 expected=10")


# --- beside the bank's book ----------------------------------------------------------------------------------------------

Rewrite = Callable[[Town, list[Deed]], Iterable[Deed]]


def _first(deeds: list[Deed], did: str) -> Deed:
    return next(deed for deed in deeds if deed.did == did)


def _other(deed: Deed, suffix: str) -> Deed:
    return msgspec.structs.replace(deed, end_to_end_id=deed.end_to_end_id.rpartition("-")[0] + suffix)


BOOKS: dict[str, tuple[Rewrite, set[str]]] = {
    "the same id paid twice": (
        lambda _, deeds: [*deeds, _first(deeds, "paid")],
        {"R1 the bank paid each obligation once"},
    ),
    "one obligation paid under two ids": (
        lambda _, deeds: [*deeds, _other(_first(deeds, "paid"), "-2")],
        {"R1 the bank paid each obligation once", "E2 the bank paid nothing without our intent"},
    ),
    "a payment we never ordered": (
        lambda _, deeds: [*deeds, Deed("aa" + "b" * 26 + "-1", "paid", "1.00", "RUB")],
        {"E2 the bank paid nothing without our intent"},
    ),
    "a payment of what we call failed": (
        lambda _, deeds: [*deeds, msgspec.structs.replace(_first(deeds, "refused"), did="paid")],
        {"R1 the bank paid nothing we call unpaid"},
    ),
    "a payment of another amount": (
        lambda _, deeds: [msgspec.structs.replace(one, amount="1.00") if one == deeds[1] else one for one in deeds],
        {"E7 the bank paid what we ordered"},
    ),
    "a payment in another currency": (
        lambda _, deeds: [msgspec.structs.replace(one, currency="USD") if one == deeds[1] else one for one in deeds],
        {"E7 the bank paid what we ordered"},
    ),
    "a payment that the bank does not know": (
        lambda _, deeds: [one for one in deeds if one != deeds[2]],
        {"R1 the bank paid what we call paid"},
    ),
    "a return that the bank does not know": (
        lambda _, deeds: [one for one in deeds if one != _first(deeds, "returned")],
        {"R1 the bank returned what we call returned"},
    ),
    "another bank's book": (
        lambda _, deeds: [],
        {"R1 the bank paid what we call paid", "R1 the bank returned what we call returned"},
    ),
    "the payment of a payout still in doubt": (
        lambda town, deeds: [one for one in deeds if one != deeds[1]],
        set(),
    ),
}


@pytest.mark.parametrize("book", BOOKS)
async def test_a_book_that_disagrees_is_found_out(seen: Database, town: Town, book: str) -> None:
    """Where the bank's book and ours tell different stories, the difference has a name; what we doubt is no difference."""
    rewrite, names = BOOKS[book]
    deeds = list(rewrite(town, town.deeds))
    assert set(broken(await verify(seen, deeds=lambda: deeds))) == names


async def test_a_line_written_while_verify_runs_is_no_breach(seen: Database, town: Town) -> None:
    """A payment that the book gained after it was first read counts: a settled attempt is looked up in the newer book."""
    readings = iter([town.deeds[:-1], town.deeds])
    report = await verify(seen, deeds=lambda: next(readings))
    assert report.holds, report.findings


async def test_it_may_run_while_payouts_are_made(database: Database, world: World) -> None:
    """Looking while money moves finds nothing: it is one snapshot, and the bank's book is read around it.

    But for what the bank's book and the bank's words disagree about until we hear more: that is true, and soon over.
    """
    until_more_is_heard = {"R1 the bank paid nothing we call unpaid", "R1 the bank paid what we call paid"}
    town = Town(database, world)
    building = asyncio.create_task(populate(town))
    looked = 0
    while not building.done():
        report = await verify(database, deeds=lambda: list(town.deeds))
        if not report.holds:
            assert {one.check for one in report.findings} <= until_more_is_heard, report.findings
        looked += 1
    await building
    assert looked >= 1
    assert (await verify(database, deeds=lambda: list(town.deeds))).holds


async def test_a_book_in_a_file(seen: Database, town: Town, tmp_path: Path) -> None:
    """The sandbox bank's own file is read, its torn last line left out."""
    book = tmp_path / "sandbox-bank.jsonl"
    lines = [
        {"at": "2026-11-21T12:00:00.000000Z", "rail": "card", "last4": "1111", **msgspec.to_builtins(deed)}
        for deed in town.deeds
    ]
    book.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines) + b'{"at":"2026-11')
    report = await verify(seen, bank_book=book)
    assert report.holds, report.findings
    assert report.book == BookSize(payments=21, returns=4, unsettled=1)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"paid", "Line 1 of"),
        (b"[]", "Line 1 of"),
        (b'{"end_to_end_id": 1, "did": "paid"}', "Line 1 of"),
        (b"\xff", "Line 1 of"),
        (b'{"end_to_end_id": "a-1", "did": "paid"}', "names no amount for 'a-1'"),
        (b'{"end_to_end_id": "a-1", "did": "paid", "amount": "1e9", "currency": "RUB"}', "names no amount for 'a-1'"),
    ],
)
async def test_a_book_that_cannot_be_read(database: Database, tmp_path: Path, line: bytes, says: str) -> None:
    """A book is read whole or not at all: a line that is none stops `verify` and is named."""
    book = tmp_path / "book.jsonl"
    book.write_bytes(line + b"\n")
    with pytest.raises(UnreadableBook, match=says):
        await verify(database, bank_book=book)


def test_of_an_absent_id_nothing_is_known(tmp_path: Path) -> None:
    """The bank's lines without an amount are read as they are."""
    book = tmp_path / "book.jsonl"
    book.write_bytes(
        b'{"at":"x","end_to_end_id":"a-1","amount":null,"currency":null,"rail":null,"last4":null,"did":"absent"}\n'
    )
    assert list(read_bank_book(book)) == [Deed("a-1", "absent")]


async def test_who_waits_hears_what_is_checked(database: Database) -> None:
    """The name of each check is told before it is put, for whoever watches."""
    told: list[str] = []
    report = await verify(database, about_to=told.append)
    assert tuple(told) == report.checks == tuple(check.name for check in CHECKS)
