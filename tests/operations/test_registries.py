"""Registries: each row is paid at most once, whoever applies it, how often and however it dies; and apply does exactly what was planned."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from disburse.api.registry_files import BadFile, How, drift_of_file
from disburse.domain.calendar import Calendar, Calendars
from disburse.domain.outcomes import Rejected
from disburse.domain.ports import World
from disburse.domain.registry import TotalsDisagree
from disburse.domain.registry_states import Drifted, RegistryState, WrongRegistryState
from disburse.operations import registries
from disburse.operations.merchants import find_merchant
from disburse.operations.operators import NeedsOperator
from disburse.operations.policies import OwnWork
from disburse.operations.registries import AppliedBefore, FundingGap, NotAllGood
from disburse.operations.registry_apply import apply_rows, draft_rows
from disburse.storage import registry_work as stored
from disburse.storage.database import Database
from tests.api.house import SANDBOX, build_house
from tests.operations.registry_house import MEMBERS, Registrars, csv, many

S = RegistryState


@pytest.fixture
async def registrars(database: Database, world: World, tmp_path: Path) -> Registrars:
    house = await build_house(database, world, tmp_path, routes=(SANDBOX,))
    registrars = Registrars(house, (await house.merchant()).merchant)
    await registrars.persons("Anna", "Boris")
    return registrars


async def test_a_file_is_planned_and_paid(registrars: Registrars) -> None:
    """Good rows are paid, bad ones are told with every fault, and the registry is over when every payout is."""
    text = csv(("a", "10.00"), ("b", "1O.00"), ("", "12.00"), ("", "12.00"), ("a", "13.00")) + "d,card,4111111111111112,,0.00,RUR,\n"
    planned = await registrars.plan(text)
    registry = planned.registry
    assert (registry.state, registry.rows_read, registry.good, registry.bad) == (S.PLANNED, 6, 3, 3)
    assert [(row["row"], [fault["field"] for fault in row["faults"]]) for row in planned.planner.shown] == [
        (2, ["amount"]), (5, ["reference"]), (6, ["currency", "amount", "destination.number"]),
    ]  # fmt: skip
    assert registries.totals_of(registry) == [("card", "RUB", 3, 34_00, 90_00)]
    with pytest.raises(NotAllGood):
        await registrars.start(registry)
    assert await registrars.house.payouts(registrars.merchant) == []
    registry = await registrars.apply(registry, only_good=True)
    assert (registry.state, registry.made, registry.left) == (S.EXECUTING, 3, 0)
    assert (await registrars.settle(registry)).state is S.EXECUTING
    await registrars.house.settle()
    assert (await registrars.settle(registry)).state is S.COMPLETED_WITH_ERRORS
    assert await registrars.outcomes(registry) == ["paid", "bad", "paid", "paid", "bad", "bad"]
    assert (await registrars.verify()).holds


async def test_a_whole_file_is_completed_and_names_its_rows(registrars: Registrars) -> None:
    """Where every row was paid there are no errors; a row without a reference is called after its file and its place."""
    registry = await registrars.apply(await registrars.planned(csv(("a", "1.00"), ("", "2.00"))))
    await registrars.house.settle()
    assert (await registrars.settle(registry)).state is S.COMPLETED
    references = [payout.reference for payout in await registrars.house.payouts(registrars.merchant)]
    assert references == ["a", f"reg-{registry.file_digest.hex()[:32]}-2"]
    assert await registrars.house.events(registrars.merchant, "registry.completed") == 1


async def test_rows_wait_for_their_rails(registrars: Registrars) -> None:
    """Applied while their rail is closed, rows become payouts that wait for its opening, with their money held; other rails' rows are sent."""
    house, now = registrars.house, registrars.house.desk.time.now()
    house.desk.calendars = Calendars({"card": Calendar(days=frozenset({(now + timedelta(days=3)).weekday()}))})
    text = csv(("a", "10.00")) + f"b,sbp,79001234567,{next(iter(MEMBERS))},11.00,RUB,\n"
    await registrars.apply(await registrars.planned(text))
    waits, goes = sorted(await house.payouts(registrars.merchant), key=lambda one: one.reference or "")
    assert waits.state == "scheduled" and waits.execute_at is not None
    assert waits.execute_at.date() == (now + timedelta(days=3)).date()
    assert (goes.state, goes.execute_at) == ("queued", None)
    assert (await registrars.verify()).holds


async def test_two_persons_at_once(registrars: Registrars) -> None:
    """The same file planned and applied by two at once is paid once: one is told that it was applied before."""
    plans = [await registrars.planned(many(30) + ",card,4111111111111111,,5.00,RUB,\n") for _ in range(2)]
    started = await asyncio.gather(*[registrars.start(one) for one in plans], return_exceptions=True)
    assert [type(one) for one in started].count(AppliedBefore) == 1
    registry = next(one for one in started if not isinstance(one, BaseException))
    done = await asyncio.gather(*[registrars.applier(registry, owner).run() for owner in ("a", "b")])
    assert done.count(True) >= 1
    assert len(await registrars.house.payouts(registrars.merchant)) == 31
    assert (await registrars.verify()).holds


async def test_a_batch_whose_commit_nobody_heard_of(registrars: Registrars) -> None:
    """An unknown commit runs again and finds its place moved: the rows are not made twice, and the rest goes on."""
    registry = await registrars.start(await registrars.planned(many(40)))
    database = registrars.house.database
    rows = await database.run(lambda tx: stored.to_pay(tx, 0, registry.registry_id, 0, 25))
    batch = draft_rows(registry, 0, rows, registrars.house.world.clock.now(), "operator:1", lambda rail, at: at)

    async def work(tx: Any) -> Any:
        done = await apply_rows(tx, 0, batch)
        if not tx.rerun:
            await tx.execute("COMMIT")
            raise ConnectionResetError("the answer to COMMIT did not come")
        return done

    again = await database.run(work)
    assert again.lost and again.place == 25
    assert await registrars.applier(registry).run()
    assert (await registrars.read(registry)).made == 40
    assert len(await registrars.house.payouts(registrars.merchant)) == 40
    assert (await registrars.verify()).holds


async def test_a_dead_worker(registrars: Registrars) -> None:
    """Whoever dies on the way leaves whole batches and a lease; after the lease another goes on from there."""
    registry = await registrars.start(await registrars.planned(many(120)))
    applier = registrars.applier(registry, "dead")
    applier._size = 50
    await applier._keep_lease()
    await applier._write(applier._draft(0, await applier._rows(0)))
    assert not await registrars.applier(registry, "other").run()
    await registrars.rows("UPDATE registries SET lease_until = clock_timestamp() - interval '1 s' WHERE shard = 0 RETURNING 1")
    assert await registrars.applier(registry, "other").run()
    assert (await registrars.read(registry)).made == 120
    assert (await registrars.verify()).holds


async def test_the_same_rows_again(registrars: Registrars) -> None:
    """The same content again needs a second operator; then what was paid is found, and only what was left is made up for."""
    text = csv(("a", "1.00"), ("", "2.00"), ("", "3.00"))
    first = await registrars.apply(await registrars.planned(text))
    second = await registrars.plan(text)
    assert second.planner.known == 3
    with pytest.raises(AppliedBefore):
        await registrars.start(second.registry)
    with pytest.raises(NeedsOperator):
        await registrars.start(second.registry, again=True, actor="cli")
    assert (await registrars.start(second.registry, again=True)).state is S.AWAITING_APPROVAL
    with pytest.raises(OwnWork):
        await registrars.say(second.registry, "operator:1")
    assert (await registrars.say(second.registry, "operator:2")).effect == "approved"
    again = await registrars.apply(second.registry, actor="worker:test")
    assert (again.made, again.found, first.made) == (0, 3, 3)
    assert len(await registrars.house.payouts(registrars.merchant)) == 3
    assert (await registrars.verify()).holds


async def test_paid_again_on_purpose(registrars: Registrars) -> None:
    """Planned with `again`, rows without references are paid once more; a row with a reference never is; two persons agree to it."""
    text = csv(("a", "1.00"), ("", "2.00"))
    await registrars.apply(await registrars.planned(text))
    again = await registrars.planned(text, again=True)
    assert (await registrars.start(again)).state is S.AWAITING_APPROVAL
    await registrars.say(again, "operator:2")
    done = await registrars.apply(again)
    assert (done.made, done.found) == (1, 1)
    assert (await registrars.verify()).holds


async def test_a_refused_registry_is_cancelled(registrars: Registrars) -> None:
    """One no ends it, and nothing of it is paid."""
    await registrars.house.set(registrars.merchant, policies='[["any", "RUB", 0, 1]]')
    registrars.merchant = await find_merchant(registrars.house.database, str(registrars.merchant.merchant_id))
    registry = await registrars.planned(csv(("a", "1.00")))
    assert (await registrars.start(registry)).state is S.AWAITING_APPROVAL
    assert (await registrars.say(registry, "operator:2", yes=False)).effect == "cancelled"
    with pytest.raises(WrongRegistryState):
        await registrars.start(registry)
    assert await registrars.house.payouts(registrars.merchant) == []
    assert (await registrars.verify()).holds


async def test_money_runs_short_on_the_way(registrars: Registrars) -> None:
    """Too little money refuses a start; when it runs short on the way the registry waits there, and goes on after a top-up."""
    poor = (await registrars.house.merchant("poor@example.com", funds="40.00", fees='{"card": [0, 0, null]}')).merchant
    registrars.merchant = poor = await find_merchant(registrars.house.database, str(poor.merchant_id))
    with pytest.raises(FundingGap, match=r"10\.00 RUB"):
        await registrars.start(await registrars.planned(many(5, prefix="x")))
    registry = await registrars.start(await registrars.planned(many(4)))
    await registrars.house.desk.create(poor, registrars.house.desk.draft(
        poor, (await _card()), _rub(15_00), surface="own", reference="other", amount_text="15.00", execute=True, actor="test"
    ))  # fmt: skip
    applier = registrars.applier(registry)
    assert not await applier.run() and applier.short is not None
    registry = await registrars.read(registry)
    assert (registry.made, registry.left, registry.waits) == (2, 2, "money")
    await registrars.house.top_up(poor, "100.00")
    assert await applier.run()
    registry = await registrars.read(registry)
    assert (registry.made, registry.left, registry.waits) == (4, 0, None)
    assert (await registrars.verify()).holds


async def _card() -> Any:
    from disburse.domain.destinations import read_card

    return read_card("4111111111111111", luhn=True)


def _rub(minor: int) -> Any:
    from disburse.domain.money import Money

    return Money(minor, "RUB")


async def test_a_reference_with_other_content_is_refused(registrars: Registrars) -> None:
    """A payout made in between under a row's reference: with the same content it stands for the row, with other content the row is refused."""
    registry = await registrars.planned(csv(("a", "1.00"), ("b", "2.00"), ("c", "3.00")))
    desk, merchant = registrars.house.desk, registrars.merchant
    for reference, minor in (("a", 1_00), ("b", 9_00)):
        draft = desk.draft(merchant, await _card(), _rub(minor), surface="own", reference=reference, amount_text="1", execute=True, actor="test")
        await desk.create(merchant, draft)
    registry = await registrars.apply(registry)
    assert (registry.made, registry.found, registry.refused) == (1, 1, 1)
    await registrars.house.settle()
    assert (await registrars.settle(registry)).state is S.COMPLETED_WITH_ERRORS
    assert await registrars.outcomes(registry) == ["paid", "refused", "paid"]
    assert await registrars.house.events(merchant, "payout.reference_mismatch") == 1
    assert (await registrars.verify()).holds


async def test_stopped_on_the_way(registrars: Registrars) -> None:
    """A stopped registry gives up the rest of its rows, keeps what was made, and ends with errors once that is final."""
    registry = await registrars.start(await registrars.planned(many(60)))
    applier = registrars.applier(registry)
    applier._size = 50
    await applier._keep_lease()
    await applier._write(applier._draft(0, await applier._rows(0)))
    registry = await registries.cancel(registrars.terms, registry.registry_id, "operator:1")
    assert (registry.state, registry.made, registry.given_up, registry.left) == (S.EXECUTING, 50, 10, 0)
    assert await registrars.applier(registry).run()
    await registrars.house.settle(Rejected("closed"))
    assert (await registrars.settle(registry)).state is S.COMPLETED_WITH_ERRORS
    outcomes = await registrars.outcomes(registry)
    assert (outcomes.count("failed"), outcomes.count("not_applied")) == (50, 10)
    assert (await registrars.verify()).holds


# --- drift ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change, told",
    [
        ({"fees": '{"card": [200, 0, null]}'}, "fee on card"),
        ({"limits": '[["payout", "RUB", "", null, 500]]'}, "limits"),
        ({"policies": '[["any", "RUB", 0, 2]]'}, "approval policies"),
        ({"payouts": "off"}, "payouts"),
    ],
)
async def test_a_changed_rule_is_named(registrars: Registrars, change: dict[str, str], told: str) -> None:
    """A fee, a limit, a policy or a switch that was touched since the plan stops apply, which names it; nothing is held."""
    registry = await registrars.planned(many(3))
    await registrars.house.set(registrars.merchant, **change)
    with pytest.raises(Drifted) as drifted:
        await registrars.start(registry)
    assert [one.what for one in drifted.value.drift] == [told]
    assert await registrars.house.payouts(registrars.merchant) == []
    assert (await registrars.read(registry)).state is S.PLANNED


async def test_a_changed_file_is_named_row_by_row(registrars: Registrars) -> None:
    """An amount that was touched in the file is named with its row, what it was and what it is."""
    registry = await registrars.planned(csv(("a", "1.00"), ("b", "2.00"), ("c", "3.00")))
    changed = io.BytesIO(csv(("a", "1.00"), ("b", "2.50"), ("x", "3.00")).encode())
    drift = await drift_of_file(registrars.terms, registrars.merchant, registry, changed, How(MEMBERS))
    assert [one.what for one in drift] == ["file", "row 2 of the file (line 3)", "row 3 of the file (line 4)"]
    assert (drift[1].was, drift[1].now) == ("2.00 RUB to 411111******1111", "2.50 RUB to 411111******1111")
    same = io.BytesIO(csv(("a", "1.00"), ("b", "2.00"), ("c", "3.00")).encode())
    assert await drift_of_file(registrars.terms, registrars.merchant, registry, same, How(MEMBERS)) == []


async def test_a_changed_row_is_named(registrars: Registrars, dsn: str) -> None:
    """A row touched in the database itself stops apply, since its digest is computed anew."""
    registry = await registrars.planned(many(3))
    connection = await asyncpg.connect(dsn, server_settings={"search_path": "disburse"})
    await connection.execute("UPDATE registry_rows SET amount_minor = 100000 WHERE number = 2")
    await connection.close()
    with pytest.raises(Drifted, match="rows of piece 1"):
        await registrars.start(registry)
    assert await registrars.house.payouts(registrars.merchant) == []


async def test_a_file_that_cannot_be_read_leaves_no_plan(registrars: Registrars) -> None:
    """A file refused half-way was never planned: it cannot be applied, and nothing of it is paid."""
    with pytest.raises(TotalsDisagree, match="counts 3 rows, the file has 2"):
        await registrars.plan(many(2) + "#total,3,,,,,\n")
    with pytest.raises(BadFile, match="Line 3"):
        await registrars.plan(many(1) + "x" * 70_000)  # found before a row was stored
    rows = await registrars.rows("SELECT state FROM registries")
    assert [row[0] for row in rows] == ["cancelled"]
    assert (await registrars.verify()).holds


# --- what verify would say -----------------------------------------------------------------------------------------------

DAMAGES: dict[str, tuple[str, str]] = {
    "a payout of a row is gone": ("UPDATE registry_rows SET payout_id = gen_random_uuid() WHERE number = 2", "A3 each applied row has its one payout"),
    "a row says another amount": ("UPDATE registry_rows SET amount_minor = amount_minor + 1 WHERE number = 2", "A3 each applied row has its one payout"),
    "a place moved back": ("UPDATE registries SET applied_to = 1", "A3 no row is paid before its turn"),
    "a counter is off": ("UPDATE registries SET made = made - 1, refused = refused + 1", "A3 rows by state add up"),
    "a row is gone": ("DELETE FROM registry_rows WHERE number = 4", "A3 rows by state add up"),
    "the digest of a piece": ("UPDATE registry_chunks SET digest = sha256('x')", "A2 rows are what was planned"),
    "the plan was edited": ("UPDATE registries SET plan = replace(plan, '\"bad\":1', '\"bad\":2')", "A2 rows are what was planned"),
    "completed too early": ("UPDATE registries SET state = 'completed'", "A3 completed means final"),
    "a second of the same content": (
        """DROP INDEX one_registry_a_content; INSERT INTO registries SELECT (r).* FROM (SELECT jsonb_populate_record(registries,
           jsonb_build_object('registry_id', gen_random_uuid())) AS r FROM registries) AS copies""",
        "A3 one registry a content",
    ),
    "again without a yes": ("UPDATE registries SET again = true", "A3 one registry a content"),
    "rows may be changed": ("GRANT UPDATE ON registry_rows TO disburse_app", "L5 books and events are append-only"),
}


async def test_verify_names_what_was_broken(registrars: Registrars, dsn: str) -> None:
    """Each damage done to a healthy registry is named by its check."""
    await registrars.apply(await registrars.planned(many(3) + "d,card,1,,1.00,RUB,\n"), only_good=True)
    assert (await registrars.verify()).holds
    connection = await asyncpg.connect(dsn, server_settings={"search_path": "disburse"})
    dump: Callable[[str], Any] = connection.execute
    try:
        for name, (sql, check) in DAMAGES.items():
            await dump("CREATE SCHEMA IF NOT EXISTS kept; CREATE TABLE kept.a AS TABLE registries; CREATE TABLE kept.b AS TABLE registry_rows; "
                       "CREATE TABLE kept.c AS TABLE registry_chunks")  # fmt: skip
            await dump(sql)
            found = {finding.check for finding in (await registrars.verify()).findings}
            assert check in found, f"{name}: {found}"
            await dump("TRUNCATE registries, registry_rows, registry_chunks; INSERT INTO registries TABLE kept.a; INSERT INTO registry_rows TABLE kept.b; "
                       "INSERT INTO registry_chunks TABLE kept.c; DROP SCHEMA kept CASCADE; REVOKE UPDATE ON registry_rows FROM disburse_app")  # fmt: skip
    finally:
        await connection.close()
