"""The auditor says nothing about honest histories, looks with one statement, and shares no code with what it judges."""

from __future__ import annotations

import sys

import asyncpg

from disburse.simulation.auditor.rows import KEYS, READ, speaks_of
from tests.house.sources import in_rooms
from tests.house.test_rooms import imports
from tests.operations.verify_town import populate
from tests.simulation.auditor.watch import Watched, invariants, lied_about


async def test_an_honest_town_is_passed_in_silence(watched: Watched, doctor: asyncpg.Connection) -> None:
    """Every way that a payout can go leaves nothing to say, after each commit and in full."""
    await watched.auditor.after_commit()
    await populate(watched.town)
    assert watched.said == []
    assert watched.commits > 100
    found = await watched.auditor.in_full(watched.book(), [], converged=False, lied_about=await lied_about(doctor))
    assert found == []


async def test_a_look_is_one_statement(watched: Watched) -> None:
    """After a commit the auditor asks the database one thing, however much there is to see."""
    await watched.auditor.after_commit()
    await populate(watched.town)
    assert watched.statements == [READ] * (watched.commits + 1)


def test_only_what_cannot_be_seen_is_passed_over() -> None:
    """A commit is looked at when one of its statements names a table that is read, in whatever way it names it."""
    assert all(f"FROM disburse.{table} t" in READ and speaks_of(f"WITH a AS (DELETE FROM {table}) SELECT 1") for table in KEYS)
    assert speaks_of("INSERT INTO disburse.payouts (shard) SELECT 0")
    assert speaks_of("payouts")
    assert not speaks_of("INSERT INTO payout_payees (shard) SELECT 0")
    assert not speaks_of("UPDATE registries SET owner = NULL")


async def test_canaries_sing(watched: Watched, doctor: asyncpg.Connection) -> None:
    """A text that only the vault may hold is found in whatever row it stands."""
    watched.auditor._canaries = ("4111111111111111",)
    await watched.auditor.after_commit()
    await watched.town.merchant(1)
    await doctor.execute(
        """UPDATE merchants SET events = 1;
           INSERT INTO events VALUES (0, 1, 1, NULL, 'note', NULL, NULL, 'to 4111111111111111', 'epoch', 'doctor')"""
    )
    assert invariants(await watched.auditor.after_commit()) == ["S1"]


async def test_what_was_said_once_is_not_said_again(watched: Watched, doctor: asyncpg.Connection) -> None:
    """A breach is told by the look that sees it happen; a look at a commit that touched nothing of it is silent."""
    await watched.auditor.after_commit()
    await watched.town.merchant(1)
    await watched.town.merchant(2)
    await doctor.execute("UPDATE merchants SET postings = 1 WHERE merchant_id = 1")
    assert invariants(await watched.auditor.after_commit()) == ["L9"]
    await watched.town.top_up(2, 5, "RUB", "first")
    assert watched.said == []
    assert invariants(await watched.auditor.in_full([], [], converged=True)) == ["L9"]


async def test_a_later_look_remembers(watched: Watched, doctor: asyncpg.Connection) -> None:
    """What was seen at a commit and is not there at the end is named, row by row."""
    await watched.auditor.after_commit()
    await watched.town.merchant(1)
    await watched.town.top_up(1, 5, "RUB", "first")
    await doctor.execute(
        """DELETE FROM postings; DELETE FROM top_ups; DELETE FROM events; DELETE FROM balances;
           UPDATE merchants SET postings = 0, events = 0"""
    )
    found = await watched.auditor.in_full([], [], converged=True)
    named = [one.sentence for one in found if "not as it was seen" in one.sentence]
    assert [sentence.split()[3] for sentence in named] == ["top_ups", "postings", "balances", "balances", "events"]
    assert {one.invariant for one in found} == {"L5", "L9", "W1"}


def test_it_shares_no_code_with_what_it_judges() -> None:
    """The auditor imports the standard library and itself, nothing else of ours or of anybody's."""
    files = [source for source in in_rooms("simulation") if source.path.startswith("simulation/auditor/")]
    assert len(files) >= 8
    wrong = [
        f"{source.path}:{line} imports {imported}"
        for source in files
        for line, imported in imports(source.tree)
        if not (
            imported.split(".")[0] in sys.stdlib_module_names
            or f"{imported}.".startswith("disburse.simulation.auditor.")
        )
    ]
    assert wrong == []
