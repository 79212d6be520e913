"""What a planned registry stores of its rows: what the file said, byte for byte where money hangs on it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from disburse.domain.destinations import Destination
from disburse.domain.ports import World
from disburse.storage.database import Database
from tests.api.house import SANDBOX, build_house
from tests.operations.registry_house import HEADER, Registrars, csv, many


@pytest.fixture
async def registrars(database: Database, world: World, tmp_path: Path) -> AsyncIterator[Registrars]:
    house = await build_house(database, world, tmp_path, routes=(SANDBOX,), fees={})
    yield Registrars(house, (await house.merchant("shop@example.com")).merchant)
    await house.close()


async def test_rows_are_stored_as_they_were_read(registrars: Registrars) -> None:
    """What is copied as bytes is what the database reads: texts of any alphabet, moments, sums, and NULLs where nothing was said."""
    text = (
        "reference,rail,destination,bank,amount,currency,comment,execute_at\n"
        "wage-ё,card,4111111111111111,,10.50,RUB,зарплата № 1001,2026-12-01T10:00:00+03:00\n"
        ",sbp,79161234567,100000000004,7,RUB,,\n"
        "wage-ё,sbp,79161234567,100000000004,8.00,RUB,,\n"
        "bad,card,1,,1.00,RUB,,\n"
    )
    registry = await registrars.planned(text)
    rows = await registrars.rows(
        """SELECT line, verdict, reference, rail, currency, amount_minor, fee_minor, amount_text, display, comment, route, execute_at, faults, questions
           FROM registry_rows ORDER BY number"""
    )
    at = datetime(2026, 12, 1, 7, tzinfo=UTC)
    own = f"reg-{registry.file_digest.hex()[:32]}-2"
    assert [tuple(row) for row in rows[:2]] == [
        (2, "good", "wage-ё", "card", "RUB", 1050, 0, "10.50", "411111******1111", "зарплата № 1001", "sandbox", at, None, None),
        (3, "good", own, "sbp", "RUB", 700, 0, "7", "+7916*****67", None, "sandbox", None, None, None),
    ]
    assert [tuple(row)[:4] for row in rows[2:]] == [(4, "bad", "wage-ё", None), (5, "bad", "bad", None)]
    vault, number = registrars.house.vault, registrars.merchant.merchant_id
    (sealed,) = await registrars.rows("SELECT payout_id, sealed, destination_digest, octet_length(base) FROM registry_rows WHERE number = 1")
    to = Destination.from_bytes(vault.open(sealed[1], merchant_id=number, payout_id=sealed[0].bytes))
    assert (to.number, sealed[2], sealed[3]) == ("4111111111111111", vault.fingerprint(to.fingerprint_text(), number), 28)


async def test_a_reference_of_an_earlier_piece(registrars: Registrars) -> None:
    """A reference that stood a thousand rows above is a fault of the later row, whose number for people is right."""
    planned = await registrars.plan(many(1500) + csv(("w7", "10.00"), ("new", "1.00"), ("w1500", "2.00"))[len(HEADER) :])
    registry = planned.registry
    assert (registry.rows_read, registry.good, registry.bad) == (1503, 1501, 2)
    assert [(row["row"], row["faults"][0]["why"]) for row in planned.planner.shown] == [
        (1501, "is the same as in row 7"), (1503, "is the same as in row 1500"),
    ]  # fmt: skip
    assert (await registrars.verify()).holds
