"""Limits and approvals from the command line: set, shown with their room, and a payout that two persons agree to."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from tests.cli.conftest import Commands
from tests.cli.test_payouts import LOGIN, house_of, pay


@pytest.fixture(scope="module")
def office(commands: Commands) -> dict[str, str]:
    """A merchant with money and two operators: their tokens."""
    commands.ok("merchant", "add", "Wages", "--login", LOGIN)
    commands.ok("top-up", LOGIN, "100000.00", "RUB")
    return {name: commands.ok("operator", "add", name)["token"] for name in ("Anna", "Boris")}


def test_limits_are_set_and_shown(commands: Commands, office: dict[str, str]) -> None:
    """Each option changes one limit and leaves the others; what is left is told in sums and counts; what makes no sense is refused."""
    assert "No limits" in commands("limits", LOGIN).out
    commands.ok("merchant", "set", LOGIN, "--limit", "day:RUB=5000.00", "--limit", "day:RUB=#10", "--limit", "month/payee:RUB=#3", "--time-zone", "Europe/Moscow")

    async def one() -> None:
        async with house_of(commands) as house:
            await pay(house, "w-1", "12.50")

    asyncio.run(one())
    told = commands.ok("limits", LOGIN)
    day, payee = told["limits"]
    assert (told["time_zone"], day["name"], day["count"]) == ("Europe/Moscow", "day:RUB", {"allowed": 10, "used": 1, "left": 9})
    assert day["sum"] == {"allowed": "5000.00", "used": "12.50", "left": "4987.50"}
    assert (payee["name"], payee["count"]["left"], payee["sum"]["left"]) == ("month/payee:RUB", 2, None)
    assert "4987.50 RUB, 9" in commands("limits", LOGIN).out
    shown = commands.ok("merchant", "set", LOGIN, "--limit", "month/payee:RUB=none", "--execute-unfunded")
    assert (shown["limits"], shown["execute_unfunded"]) == ({"day:RUB": "5000.00 RUB and 10 payouts"}, True)
    for option, wrong in (
        ("--limit", "week:RUB=1"), ("--limit", "day/gold:RUB=1"), ("--limit", "payout:RUB=#3"), ("--limit", "payout/payee:RUB=1"),
        ("--limit", "day/sbp:RUB=none"), ("--limit", "day:RUB=1.234"), ("--approval", "any:RUB:1"), ("--approval", "any:RUB:7=0"),
        ("--time-zone", "Moscow"), ("--time-zone", "../etc/passwd"),
    ):  # fmt: skip
        assert commands("merchant", "set", LOGIN, option, wrong).code == 2, wrong


def test_two_agree_to_a_payout(commands: Commands, office: dict[str, str]) -> None:
    """Above the policy a payout waits; persons agree to the digest that they saw, each once; everything is told in one place."""
    commands.ok("merchant", "set", LOGIN, "--approval", "any:RUB:100=2")

    async def two() -> list[str]:
        async with house_of(commands) as house:
            return [str((await pay(house, name, "150.00")).payout_id) for name in ("large", "refused")]

    large, refused = asyncio.run(two())
    waiting = {one["subject_id"]: one for one in commands.ok("approvals", "list")["approvals"]}
    digest = waiting[large]["digest"]
    assert set(waiting) == {large, refused} and (waiting[large]["needed"], waiting[large]["state"]) == (2, "waiting")
    assert large in commands("approvals", "list").out and digest in commands("approvals", "show", large).out
    anna = office["Anna"]
    assert commands("approvals", "approve", large, DISBURSE_OPERATOR=anna).code == 2, "what was seen has to be named"
    assert commands.no("approvals", "approve", large, "--digest", digest)["name"] == "needs_operator"
    assert commands.no("approvals", "approve", large, "--digest", "00000000", DISBURSE_OPERATOR=anna)["name"] == "changed_since"
    assert commands.ok("approvals", "approve", large, "--digest", digest[:12], DISBURSE_OPERATOR=anna)["effect"] == "waiting"
    assert commands.no("approvals", "approve", large, "--digest", digest, DISBURSE_OPERATOR=anna)["name"] == "said_before"
    assert "1 more operator has to agree" in commands.ok("explain", large)["why"]
    done = commands.ok("approvals", "approve", large, "--digest", digest, DISBURSE_OPERATOR=office["Boris"])
    assert (done["effect"], done["state"], [one["name"] for one in done["answers"]]) == ("queued", "approved", ["Anna", "Boris"])
    assert "cancelled" in commands("approvals", "refuse", refused, "--why", "twice", DISBURSE_OPERATOR=anna).out
    shown = commands.ok("payout", "show", refused)
    assert (shown["state"], shown["reason"], shown["approvals"][0]["answers"][0]["why"]) == ("cancelled", "approval_refused", "twice")
    assert commands.ok("approvals", "list")["approvals"] == []
    assert len(commands.ok("approvals", "list", "--all")["approvals"]) == 2
    assert "Boris said yes" in commands("explain", large).out
    assert commands("verify").code == 0


def test_a_time_is_shown(commands: Commands, office: dict[str, str]) -> None:
    """A scheduled payout tells when it is to be sent."""

    async def one() -> str:
        async with house_of(commands) as house:
            house.desk.calendars = _Tomorrow()  # type: ignore[assignment]
            return str((await pay(house, "later", "10.00")).payout_id)

    identifier = asyncio.run(one())
    shown = commands.ok("payout", "show", identifier)
    assert (shown["state"], shown["expires_at"]) == ("scheduled", None) and shown["execute_at"]
    assert "to be sent at" in commands("payout", "show", identifier).out
    assert "its time has not come" in commands.ok("explain", identifier)["why"]


class _Tomorrow:
    """Every rail opens a day from now."""

    def time_for(self, rail: str, execute_at: object, now: object) -> object:
        return now + timedelta(days=1)  # type: ignore[operator]
