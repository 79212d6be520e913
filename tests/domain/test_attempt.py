"""How an attempt lives, written out a second time from design.md section 3, and the sentence it shares with the database."""

from __future__ import annotations

import re
from importlib import resources

import pytest

from disburse.domain.attempt import ASKABLE, ATTEMPT_MOVES, LIVE, MOVED_NOTHING, AttemptState

A = AttemptState

# What may follow what: each row a state, its columns in the order of the enum.
DESIGN = """
            due  open  accepted  unknown  settled  rejected  not_sent
due          .    x       .         .        .        .         x
open         .    .       x         x        x        x         x
accepted     .    .       .         .        x        x         .
unknown      .    .       x         .        x        x         x
settled      .    .       .         .        .        .         .
rejected     .    .       .         .        .        .         .
not_sent     .    .       .         .        .        .         .
"""
_HEAD, *_ROWS = [line.split() for line in DESIGN.strip().splitlines()]
MARKS = {(A(row[0]), A(then)): mark == "x" for row in _ROWS for then, mark in zip(_HEAD, row[1:], strict=True)}


@pytest.mark.parametrize("then", list(AttemptState))
@pytest.mark.parametrize("state", list(AttemptState))
def test_every_move(state: AttemptState, then: AttemptState) -> None:
    """An attempt goes from due to open, then to what the provider says of it, and never back."""
    assert (then in ATTEMPT_MOVES[state]) == MARKS[state, then]


def test_the_table_is_whole() -> None:
    """Every state stands in the table, in order."""
    assert list(ATTEMPT_MOVES) == list(AttemptState)


def test_an_attempt_never_returns() -> None:
    """No path of moves leads from a state back to itself, so an id is sent once and an end stays an end."""
    for start in AttemptState:
        reached, edge = set(ATTEMPT_MOVES[start]), set(ATTEMPT_MOVES[start])
        while edge:
            edge = {then for state in edge for then in ATTEMPT_MOVES[state]} - reached
            reached |= edge
        assert start not in reached


def test_the_sets() -> None:
    """Live is whatever is not proven to have moved nothing, paid ones too; asked about is what was sent and has no end."""
    assert {A.REJECTED, A.NOT_SENT} == MOVED_NOTHING
    assert {A.DUE, A.OPEN, A.ACCEPTED, A.UNKNOWN, A.SETTLED} == LIVE
    assert {A.OPEN, A.ACCEPTED, A.UNKNOWN} == ASKABLE
    assert {state for state in AttemptState if not ATTEMPT_MOVES[state]} == MOVED_NOTHING | {A.SETTLED}


def _first_migration() -> str:
    return (resources.files("disburse.storage") / "migrations" / "0001_first.sql").read_text(encoding="utf-8")


def _words(pattern: str) -> list[str]:
    found = re.search(pattern, _first_migration(), re.DOTALL)
    assert found is not None
    return re.findall(r"'(\w+)'", found[1])


def test_the_database_says_the_same() -> None:
    """The index `one_live_attempt` spares exactly the attempts that moved nothing, and the questions' index holds the askable."""
    assert (
        set(_words(r"one_live_attempt ON attempts \(shard, payout_id\) WHERE state NOT IN \(([^)]*)\)"))
        == MOVED_NOTHING
    )
    assert set(_words(r"attempts_to_ask ON attempts .*?WHERE state IN \(([^)]*)\)")) == ASKABLE
    assert _words(r"CREATE TABLE attempts \(.*?CHECK \(state IN \(([^)]*)\)") == [state.value for state in AttemptState]
