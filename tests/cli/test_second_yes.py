"""A second yes from the command line: doubts and frozen payouts ended by two persons, top-ups reversed, money withdrawn."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from disburse.domain.outcomes import Rejected, Settled, Unknown, Verdict
from disburse.operations.attempts import Claim
from disburse.operations.evidence import Heard
from tests.cli.conftest import Commands
from tests.cli.test_payouts import LOGIN, house_of, pay


@dataclass(frozen=True)
class Office:
    """Anna and Boris at one installation; payouts by reference."""

    commands: Commands
    anna: str
    boris: str
    ids: dict[str, str]

    def as_anna(self, *arguments: str) -> Any:
        return self.commands.ok(*arguments, DISBURSE_OPERATOR=self.anna)

    def as_boris(self, *arguments: str) -> Any:
        return self.commands.ok(*arguments, DISBURSE_OPERATOR=self.boris)


@pytest.fixture(scope="module")
def office(commands: Commands) -> Office:
    """A merchant with money, payouts in doubt and one frozen, and two operators."""
    commands.ok("merchant", "add", "Wages", "--login", LOGIN)
    commands.ok("top-up", LOGIN, "1000.00", "RUB", "--reference", "first")
    commands.ok("top-up", LOGIN, "70.00", "RUB", "--reference", "by mistake")
    tokens = [commands.ok("operator", "add", name)["token"] for name in ("Anna", "Boris")]

    async def live() -> dict[str, str]:
        told: dict[str, list[Verdict]] = {
            "doubt": [Unknown("time-out")], "other": [Unknown("time-out")], "frozen": [Rejected("no"), Settled("p")],
        }  # fmt: skip
        ids = {}
        async with house_of(commands) as house:
            now = house.world.clock.now()
            for reference, verdicts in told.items():
                payout = await pay(house, reference, "10.44")
                claim = Claim(payout.payout_id, 1, payout.merchant_id, "w", 30, now)
                (opened,) = await house.desk.claim(payout.shard, [claim])
                assert opened is not None
                for verdict in verdicts:
                    where = (payout.payout_id, 1, payout.merchant_id)
                    await house.desk.hear(Heard("sandbox", opened.end_to_end_id, "callback", verdict, now, "test", "", where))
                ids[reference] = str(payout.payout_id)
            ids["queued"] = str((await pay(house, "queued", "10.00")).payout_id)
        return ids

    return Office(commands, tokens[0], tokens[1], asyncio.run(live()))


def test_doubts_and_frozen_payouts_are_listed(office: Office) -> None:
    """`in-doubt list` sums what is in doubt by provider, and lists what is frozen, with the contradiction's name."""
    told = office.commands.ok("in-doubt", "list")
    [total] = told["sums"]
    assert (total["connector"], total["count"], total["amount"]) == ("sandbox", 2, "20.88")
    assert {row["payout_id"] for row in told["in_doubt"]} == {office.ids["doubt"], office.ids["other"]}
    assert all(row["ask_at"] and row["asked"] == 0 and row["age_s"] >= 0 for row in told["in_doubt"])
    [frozen] = told["frozen"]
    assert (frozen["payout_id"], frozen["state"], frozen["why"], frozen["request_id"]) == (
        office.ids["frozen"], "failed", "paid_after_refusal", None,
    )  # fmt: skip
    shown = office.commands("in-doubt", "list").out
    assert "paid_after_refusal" in shown and "Frozen: 1." in shown and "next question" in shown


def test_a_doubt_is_ended_by_two(office: Office, tmp_path: Path) -> None:
    """One asks with a paper, the same one cannot agree, another does; both stand in `payout show` and in `explain`."""
    paper = tmp_path / "statement.txt"
    paper.write_text("Statement of the bank: order not found, nothing debited.\n")
    ask = ("in-doubt", "resolve", office.ids["doubt"], "--outcome", "not-moved", "--evidence", f"@{paper}")
    assert office.commands.no(*ask)["name"] == "needs_operator"
    asked = office.as_anna(*ask)
    request = asked["request"]["request_id"]
    assert asked["fresh"] and asked["request"]["state"] == "waiting" and asked["request"]["asked_by_name"] == "Anna"
    assert not office.as_anna(*ask)["fresh"]
    assert office.commands.ok("payout", "show", office.ids["doubt"])["state"] == "in_doubt"
    [waiting] = office.commands.ok("approvals", "list")["requests"]
    assert waiting == asked["request"]
    assert office.commands.no("approvals", "approve", request)["name"] == "needs_operator"
    assert office.commands.no("approvals", "approve", request, DISBURSE_OPERATOR=office.anna)["name"] == "same_person"
    done = office.as_boris("approvals", "approve", request)
    assert (done["state"], done["effect"], done["answered_by_name"]) == ("approved", "failed", "Boris")
    shown = office.commands.ok("payout", "show", office.ids["doubt"])
    assert (shown["state"], shown["reason"]) == ("failed", "not_moved")
    [kept] = shown["requests"]
    assert kept == done and kept["evidence"] == "Statement of the bank: order not found, nothing debited."
    people = office.commands("payout", "show", office.ids["doubt"]).out
    assert "Anna" in people and "Boris" in people and request in people
    told = office.commands.ok("explain", office.ids["doubt"])
    assert "Two persons found" in told["why"]
    assert [line["what"] for line in told["timeline"]].count("request") == 2
    assert office.commands.no("approvals", "approve", request, DISBURSE_OPERATOR=office.boris)["name"] == "already_decided"
    office.commands("approvals", "show", request)
    assert office.commands.ok("approvals", "list")["requests"] == []
    assert request in office.commands("approvals", "list", "--all").out


def test_a_frozen_payout_is_ended_by_two(office: Office) -> None:
    """A frozen payout shows the request that waits for it; after the second yes it is frozen no more, and the books hold."""
    asked = office.as_boris("in-doubt", "resolve", f"{LOGIN}:frozen", "--outcome", "paid", "--evidence", "the bank's letter")
    [frozen] = office.commands.ok("in-doubt", "list")["frozen"]
    assert frozen["request_id"] == asked["request"]["request_id"]
    assert office.as_anna("approvals", "approve", frozen["request_id"])["effect"] == "thawed:failed"
    assert office.commands.ok("in-doubt", "list")["frozen"] == []
    shown = office.commands.ok("payout", "show", office.ids["frozen"])
    assert (shown["state"], shown["frozen"]) == ("failed", None)
    accounts = office.commands.ok("balance", LOGIN)["balances"]["RUB"]
    assert (accounts["suspense:sandbox"], accounts["paid:sandbox"]) == ("-10.44", "10.44")
    assert office.commands.ok("verify")["holds"]


def test_what_cannot_be_asked_for(office: Office) -> None:
    """Wrong words are told as usage; what persons cannot decide is refused with what to do next."""
    resolve = ("in-doubt", "resolve", office.ids["queued"], "--outcome")
    assert office.commands.no(*resolve, "paid", "--evidence", "x", DISBURSE_OPERATOR=office.anna)["name"] == "nothing_to_resolve"
    office.commands.no(*resolve, "perhaps", "--evidence", "x", DISBURSE_OPERATOR=office.anna, code=2)
    office.commands.no(*resolve, "paid", "--evidence", " ", DISBURSE_OPERATOR=office.anna, code=2)
    missing = office.commands.no(*resolve, "paid", "--evidence", "@/nowhere", DISBURSE_OPERATOR=office.anna, code=2)
    assert missing["message"].startswith("The evidence in /nowhere cannot be read: No such file or directory. Name a file after @")
    for amount, currency in (("0", "RUB"), ("1,5", "RUB"), ("1.50", "RBU")):
        assert office.commands.no("withdraw", LOGIN, amount, currency, DISBURSE_OPERATOR=office.anna, code=2)["next"]
    office.commands.no("approvals", "approve", "x", DISBURSE_OPERATOR=office.anna, code=2)
    nobody = "00000000-0000-7000-8000-000000000001"
    for act in ("approve", "refuse"):
        told = office.commands.no("approvals", act, nobody, DISBURSE_OPERATOR=office.anna)
        assert told["name"] == "no_such_request"
    assert office.commands.no("approvals", "show", nobody)["name"] == "no_such_request"


def test_a_top_up_is_reversed_by_two(office: Office) -> None:
    """`top-up reverse` asks, a second person agrees, once; an unknown reference is refused."""
    before = office.commands.ok("balance", LOGIN)["balances"]["RUB"]["available"]
    assert office.commands.no("top-up", "reverse", LOGIN, "by mistake")["name"] == "needs_operator"
    told = office.commands.no("top-up", "reverse", LOGIN, "nothing", DISBURSE_OPERATOR=office.anna)
    assert told["name"] == "no_such_top_up"
    asked = office.as_anna("top-up", "reverse", LOGIN, "by mistake", "--evidence", "meant for another shop")
    office.as_boris("approvals", "approve", asked["request"]["request_id"])
    after = office.commands.ok("balance", LOGIN)["balances"]["RUB"]["available"]
    assert float(before) - float(after) == 70
    again = office.commands("top-up", "reverse", LOGIN, "by mistake", DISBURSE_OPERATOR=office.anna)
    assert again.code == 0 and "Nothing changed." in again.out


def test_money_is_withdrawn_by_two(office: Office) -> None:
    """`withdraw` asks, a second person agrees or refuses; a known reference asks for nothing new; too much is refused."""
    ask = ("withdraw", LOGIN, "100.00", "RUB", "--reference", "w-1")
    assert office.commands.no(*ask)["name"] == "needs_operator"
    too_much = office.commands.no("withdraw", LOGIN, "100000.00", "RUB", DISBURSE_OPERATOR=office.anna)
    assert too_much["name"] == "not_available" and "is available" in too_much["message"]
    first = office.as_anna(*ask)["request"]["request_id"]
    refused = office.as_boris("approvals", "refuse", first, "--why", "not this week")
    assert (refused["state"], refused["effect"]) == ("refused", "not this week")
    second = office.as_anna(*ask)
    assert second["fresh"] and office.as_boris("approvals", "approve", second["request"]["request_id"])["effect"] == "withdrawn"
    assert not office.as_anna(*ask)["fresh"]
    other = office.commands.no("withdraw", LOGIN, "1.00", "RUB", "--reference", "w-1", DISBURSE_OPERATOR=office.anna)
    assert other["name"] == "reference_reused"
    assert office.commands.ok("verify")["holds"]
    assert office.commands.ok("top-up", LOGIN, "5.00", "RUB", "--reference", "after")["booked"]
