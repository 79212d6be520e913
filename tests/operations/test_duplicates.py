"""The duplicate guard on a real database: what it remembers of payouts, and what it asks about rows. Its judgement is measured in `tests/registry_corpus`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from disburse.domain.destinations import Destination, read_card, read_sbp
from disburse.domain.money import Money, read_amount
from disburse.domain.outcomes import Rejected, Verdict
from disburse.domain.payout import Payout
from disburse.domain.ports import World
from disburse.operations.duplicates import Guard, Question, catch_up, forget
from disburse.operations.payouts import Found
from disburse.storage.database import Database, Transaction
from tests.api.house import House, build_house
from tests.operations.registry_house import HEADER, Registrars

CARD = read_card("4111111111111111", luhn=True)
OTHER_CARD = read_card("5555555555554444", luhn=True)
PHONE = read_sbp("79161234567", "100000000004")
WAGE = "Зарплата за октябрь 2026"

Row = tuple[Destination, str, str | None]


@pytest.fixture
async def house(database: Database, world: World, tmp_path: Path) -> AsyncIterator[House]:
    built = await build_house(database, world, tmp_path)
    yield built
    await built.close()


class Paymaster:
    """A merchant that paid some people, and hands to judge its next file."""

    def __init__(self, house: House, login: str = "shop@example.com") -> None:
        self.house, self.login = house, login

    async def open(self) -> Paymaster:
        self.merchant = (await self.house.merchant(self.login)).merchant
        return self

    async def pays(self, to: Destination, amount: str, comment: str | None, *, ends: Verdict | None = None) -> Payout:
        """Make a payout as a door does, and let the bank end it: paid, unless told."""
        desk = self.house.desk
        drafted = desk.draft(
            self.merchant, to, read_amount(amount, "RUB"), surface="own", reference=None, amount_text=amount, execute=True, actor="test",
            comment=comment,
        )  # fmt: skip
        made = await desk.create(self.merchant, drafted)
        assert isinstance(made, Found)
        await self.house.settle(ends)
        return made.payout

    async def asked(self, *rows: Row) -> dict[int, Question]:
        """What is asked about a file of these rows now."""
        house, now = self.house, self.house.world.clock.now()
        await catch_up(house.database, house.vault, self.merchant, now)
        guard = Guard(house.vault, self.merchant, now)
        return await self.piece(guard, rows, 1)

    async def piece(self, guard: Guard, rows: Sequence[Row], first: int) -> dict[int, Question]:
        vault, number = self.house.vault, self.merchant.merchant_id
        traces = [
            guard.trace(place, to, vault.fingerprint(to.fingerprint_text(), number), read_amount(amount, "RUB"), comment)
            for place, (to, amount, comment) in enumerate(rows, first)
        ]
        past = await self.house.database.ask(lambda tx: guard.look(tx, traces))
        asked = guard.ask(traces, past)
        guard.passed([trace for trace in traces if trace.row not in asked])
        return asked


async def test_what_is_asked_about(house: House) -> None:
    """A row is asked about when a living payout to its payee says the same; the question names that payout and shows no number of a card."""
    paymaster = await Paymaster(house).open()
    paid = await paymaster.pays(CARD, "5000.00", WAGE)
    await paymaster.pays(OTHER_CARD, "5000.00", WAGE, ends=Rejected("no_such_card"))
    asked = await paymaster.asked(
        (CARD, "5000.00", "зп октябрь"), (OTHER_CARD, "5000.00", WAGE), (CARD, "5000.00", "Премия за октябрь 2026"), (CARD, "5001.00", WAGE),
        (PHONE, "70.00", "Возврат по заказу № 5512"), (PHONE, "70.00", "возврат заказ 5512"),
    )  # fmt: skip
    assert sorted(asked) == [1, 4, 6]
    assert asked[1] == Question(
        paid.payout_id, 0,
        f"Payout {paid.payout_id} pays 5000.00 RUB to 411111******1111: the same sum to the same destination, for the same time and purpose.",
    )  # fmt: skip
    assert (asked[6].payout, asked[6].row) == (None, 5)
    stranger = await Paymaster(house, "other@example.com").open()
    assert await stranger.asked((CARD, "5000.00", WAGE)) == {}


async def test_a_name_is_remembered_by_its_fingerprint(house: House) -> None:
    """A payee with another destination is known again by the name that stood in a registry, however it is spelled."""
    paymaster = await Paymaster(house).open()
    registrars = Registrars(house, paymaster.merchant)
    row = f"w-1,card,{CARD.number},,5000.00,RUB,{WAGE},Петрова Марина Алексеевна\n"
    await registrars.apply(await registrars.planned(HEADER.replace("comment", "comment,name") + row))
    (paid,) = await house.payouts(paymaster.merchant)
    asked = await paymaster.asked(
        (PHONE.named("Петорва Марина"), "5000.00", WAGE), (OTHER_CARD.named("Петрова Анна Алексеевна"), "5000.00", WAGE)
    )
    assert {row: question.payout for row, question in asked.items()} == {1: paid.payout_id}
    kept = await house.database.ask(lambda tx: tx.fetch("SELECT n::text FROM duplicate_names n UNION SELECT t::text FROM duplicate_traces t"))
    assert not any("етров" in row[0] or "4111" in row[0] for row in kept)


async def test_catching_up(house: House) -> None:
    """Each payout is remembered once, however often one catches up; beyond the window it is forgotten and asked about no more."""
    paymaster = await Paymaster(house).open()
    for _ in range(3):
        await paymaster.pays(CARD, "10.00", WAGE)
    now = house.world.clock.now()
    assert [await catch_up(house.database, house.vault, paymaster.merchant, now) for _ in range(2)] == [3, 0]
    await paymaster.pays(CARD, "10.00", WAGE)
    assert await catch_up(house.database, house.vault, paymaster.merchant, now) == 1
    assert await forget(house.database, paymaster.merchant.shard, now) == 0
    assert await forget(house.database, paymaster.merchant.shard, now + timedelta(days=63)) == 4
    assert await paymaster.asked((CARD, "10.00", WAGE)) == {}


async def test_pieces_of_one_file(house: House) -> None:
    """A row is compared with the rows above it in pieces before, too, unless that one was asked about itself."""
    paymaster = await Paymaster(house).open()
    guard = Guard(house.vault, paymaster.merchant, house.world.clock.now())
    assert await paymaster.piece(guard, [(CARD, "10.00", WAGE)], 1) == {}
    assert {row: one.row for row, one in (await paymaster.piece(guard, [(CARD, "10.00", WAGE)], 2)).items()} == {2: 1}
    assert {row: one.row for row, one in (await paymaster.piece(guard, [(CARD, "10.00", WAGE)], 3)).items()} == {3: 1}


async def test_a_destination_that_is_paid_all_the_time(house: House) -> None:
    """However often one destination was paid, what says exactly the same is found by a look-up: not by walking all payouts to it, nor another merchant's."""
    paymaster = await Paymaster(house).open()
    merchant, now = paymaster.merchant, house.world.clock.now()
    guard = Guard(house.vault, merchant, now)
    row = guard.trace(1, CARD, house.vault.fingerprint(CARD.fingerprint_text(), merchant.merchant_id), Money(10_00, "RUB"), "Счет № 777001")

    async def explained(tx: Transaction) -> str:
        await tx.execute(
            """INSERT INTO duplicate_traces (shard, payout_id, merchant_id, at, place, person, patronymic, short, number, detail, telling, words)
               SELECT 0, uuid_in(md5(n::text)::cstring), CASE WHEN n % 2 = 0 THEN $1::int4 ELSE 99 END, $2, CASE WHEN n % 2 = 0 THEN $3::int8 ELSE n END, 0, 0, 0,
                   CASE WHEN n % 2 = 0 THEN n ELSE $4::int8 END, 0, 0, 0 FROM generate_series(1, 4000) AS n""",
            merchant.merchant_id, now, row.place, row.number,
        )  # fmt: skip
        asked: list[tuple[str, tuple[object, ...]]] = []
        tx.connection.add_query_logger(lambda sent: asked.append((sent.query, tuple(sent.args))))
        assert await guard.look(tx, [row]) == []
        await tx.fetchval("SELECT 1")  # the driver tells of a statement a moment later
        sql, values = next(one for one in asked if "duplicate_traces" in one[0])
        return "\n".join(str(line[0]) for line in await tx.fetch(f"EXPLAIN (ANALYZE, TIMING OFF, COSTS OFF) {sql}", *values))

    plan = await house.database.run(explained)
    assert "duplicate_traces_by_debt" in plan and "Rows Removed by Filter" not in plan, plan
