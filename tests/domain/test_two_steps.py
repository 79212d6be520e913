"""What two-step attempts prove: nothing remembered and not open means never executed; anything else is asked about."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from disburse.domain.attempt import Attempt, AttemptState
from disburse.domain.two_steps import Said, may_execute_again, never_executed

A = AttemptState
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
ATTEMPT = Attempt(1, A.UNKNOWN, NOW, "im", "id-1", "worker-a", 1, NOW, NOW, None, 1, NOW, 0, NOW, None, None)
AFTER_S = 60.0


def said(verdict: str, ago_s: float, kind: str = "inquiry") -> Said:
    return Said(kind, verdict, NOW - timedelta(seconds=ago_s))


@pytest.mark.parametrize("state", list(AttemptState))
@pytest.mark.parametrize("reference", [None, "op"])
@pytest.mark.parametrize("handed_out", [True, False])
def test_never_executed(state: AttemptState, reference: str | None, handed_out: bool) -> None:
    """Proven only of an attempt in doubt, handed out in this life, that remembered no operation."""
    attempt = replace(ATTEMPT, state=state, provider_reference=reference)
    proven = never_executed(attempt, handed_out=handed_out)
    assert proven is (state is A.UNKNOWN and reference is None and handed_out)


@pytest.mark.parametrize(
    "told, allowed",
    [
        ([], False),
        ([said("NotExecuted", 59)], False),
        ([said("NotExecuted", 60)], True),
        ([said("NotExecuted", 3600)], True),
        ([said("NotFound", 3600), said("Unknown", 3600)], False),
        ([said("NotExecuted", 3600), said("Unknown", 30, "answer")], False),
        ([said("NotExecuted", 3600), said("Unknown", 60, "answer")], True),
        ([said("NotExecuted", 3600), said("Unknown", 30)], True),
        ([said("Made", 61, "answer"), said("NotExecuted", 60)], True),
    ],
)
def test_when_it_may_be_executed_again(told: list[Said], allowed: bool) -> None:
    """It was seen not executed a pause ago, and no request of ours was answered or given up within the pause."""
    attempt = replace(ATTEMPT, provider_reference="op")
    assert may_execute_again(attempt, told, NOW, AFTER_S) is allowed


@pytest.mark.parametrize("state", [state for state in AttemptState if state is not A.UNKNOWN])
def test_only_doubt_is_executed_again(state: AttemptState) -> None:
    """An attempt that is open is its owner's, one that the provider accepted is under way, and one that ended stays ended."""
    attempt = replace(ATTEMPT, state=state, provider_reference="op")
    assert not may_execute_again(attempt, [said("NotExecuted", 3600)], NOW, AFTER_S)


def test_what_is_not_remembered_is_not_executed_again() -> None:
    """Without an operation of its own an attempt has nothing to execute."""
    assert not may_execute_again(ATTEMPT, [said("NotExecuted", 3600)], NOW, AFTER_S)
