"""The duplicate guard in a plan: rows that it asks about are held, a person's word lets them pass, and nothing that is paid already is asked about."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from disburse.domain.ports import World
from disburse.domain.registry_states import BadRowNumbers, Drifted, LetPass, RegistryState
from disburse.storage.database import Database
from tests.api.house import build_house
from tests.operations.registry_house import HEADER, Registrars

CARDS = ("4111111111111111", "5555555555554444")


def wages(*rows: tuple[str, str, str]) -> str:
    """A file of wages for one month: (reference, card, amount)."""
    return HEADER + "".join(f"{reference},card,{card},,{amount},RUB,зарплата за октябрь\n" for reference, card, amount in rows)


@pytest.fixture
async def registrars(database: Database, world: World, tmp_path: Path) -> AsyncIterator[Registrars]:
    house = await build_house(database, world, tmp_path, fees={})
    yield Registrars(house, (await house.merchant("shop@example.com")).merchant)
    await house.close()


async def test_a_wage_under_another_reference_is_held(registrars: Registrars) -> None:
    """The same wage in another file is asked about, with the payout that it repeats; the others are paid, and it is not."""
    await registrars.apply(await registrars.planned(wages(("a-1", CARDS[0], "500.00"))))
    planned = await registrars.plan(wages(("b-1", CARDS[0], "500.00"), ("b-2", CARDS[1], "500.00"), ("b-3", CARDS[1], "500.00")), name="b.csv")
    registry, (earlier,) = planned.registry, await registrars.house.payouts(registrars.merchant)
    assert (registry.good, registry.bad, registry.held) == (1, 0, 2)
    assert [(row["row"], row["verdict"], row["faults"][0]["value"]) for row in planned.planner.shown] == [
        (1, "held", str(earlier.payout_id)), (3, "held", "row 2"),
    ]  # fmt: skip
    assert "4111111111111111" not in json.dumps(planned.planner.shown)
    assert json.loads(registry.plan or "")["totals"] == [["card", "RUB", 1, 50_000, 0]]
    await registrars.apply(registry, only_good=True)
    assert await registrars.outcomes(registry) == ["held", "queued", "held"]
    assert (await registrars.verify()).holds


async def test_a_person_lets_a_row_pass(registrars: Registrars) -> None:
    """Rows that are named with the plan are paid although they were asked about; the plan says so, and others stay held."""
    text = wages(("a-1", CARDS[0], "500.00"), ("a-2", CARDS[0], "500.00"), ("a-3", CARDS[0], "500.00"))
    first = await registrars.planned(text)
    second = await registrars.planned(text, pay="2")
    assert [(one.good, one.held) for one in (first, second)] == [(1, 2), (2, 1)]
    assert json.loads(second.plan or "")["pay"] == "2" and first.digest != second.digest
    await registrars.apply(second, only_good=True)
    assert await registrars.outcomes(second) == ["queued", "queued", "held"]
    assert (await registrars.planned(text, pay="all")).held == 0
    assert (await registrars.verify()).holds


async def test_what_has_a_payout_is_not_asked_about(registrars: Registrars) -> None:
    """The same file again is known row by row; meant to be paid again on purpose, its rows are held against each other alone."""
    text = wages(("", CARDS[0], "500.00"), ("", CARDS[1], "500.00"))
    await registrars.apply(await registrars.planned(text))
    again = await registrars.plan(text)
    assert (again.registry.good, again.registry.held, again.planner.known) == (2, 0, 2)
    anew = await registrars.plan(text, again=True)
    assert (anew.registry.good, anew.registry.held, anew.planner.known) == (2, 0, 0)


@pytest.mark.parametrize("text, has, lacks", [("17,23-25", (17, 23, 25), (1, 18, 22, 26)), ("all", (1, 10**6), ()), ("", (), (0, 1))])
def test_rows_are_named(text: str, has: tuple[int, ...], lacks: tuple[int, ...]) -> None:
    """Rows are named by numbers and ranges, or all of them."""
    rows = LetPass(text)
    assert all(number in rows for number in has) and not any(number in rows for number in lacks)
    assert str(LetPass(str(rows))) == str(rows)


@pytest.mark.parametrize("text", ["x", "1-", "-1", "5-3", "1;2", "99999999999"])
def test_what_names_no_rows(text: str) -> None:
    """What is neither a number nor a range is refused."""
    with pytest.raises(BadRowNumbers):
        LetPass(text)


async def test_two_that_were_planned_side_by_side(registrars: Registrars) -> None:
    """Once one of them was applied, the other's rows are held against its payouts: apply names what would be asked about, and planned again it is held."""
    house = registrars.house
    one = await registrars.planned(wages(("a-1", CARDS[0], "500.00"), ("a-2", CARDS[1], "700.00")))
    other = await registrars.planned(wages(("b-1", CARDS[1], "700.00"), ("b-2", "4242424242424242", "500.00")), name="b.csv")
    let_pass = await registrars.planned(wages(("c-1", CARDS[1], "700.00"), ("c-2", CARDS[0], "9.00")), name="c.csv", pay="1")
    same = await registrars.planned(wages(("a-1", CARDS[0], "500.00"), ("d-2", "4242424242424242", "5.00")), name="d.csv")
    assert other.held == 0
    await registrars.apply(one)
    paid = {payout.reference: payout.payout_id for payout in await house.payouts(registrars.merchant)}
    with pytest.raises(Drifted, match=rf"row 1 \(line 2\): it was good, it is asked about: Payout {paid['a-2']} pays 700.00 RUB"):
        await registrars.start(other)
    assert len(await house.payouts(registrars.merchant)) == 2 and (await registrars.read(other)).state is RegistryState.PLANNED
    assert (await registrars.planned(wages(("b-1", CARDS[1], "700.00")), name="b.csv")).held == 1
    assert (await registrars.apply(same)).found == 1  # its reference has that payout: nothing would be paid twice
    assert (await registrars.apply(let_pass)).made == 2
    assert (await registrars.verify()).holds


async def test_the_same_name_since(registrars: Registrars) -> None:
    """A payee at another destination is found by the name, too; another sum, or another's name, stops nothing."""
    head = HEADER.replace("comment", "comment,name")
    first, second, other = [
        await registrars.planned(f"{head}{reference},card,{card},,{amount},RUB,зарплата за октябрь,{name}\n", name=reference)
        for reference, card, amount, name in (
            ("a", CARDS[0], "500.00", "Петрова Марина Алексеевна"), ("b", CARDS[1], "500.00", "Петрова Марина Алексеевна"),
            ("c", CARDS[1], "500.00", "Сидоров Иван Петрович"),
        )
    ]  # fmt: skip
    await registrars.apply(first)
    with pytest.raises(Drifted, match="to the same name at another destination"):
        await registrars.start(second)
    assert (await registrars.apply(other)).made == 1
