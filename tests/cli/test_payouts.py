"""Payouts from the command line: shown, explained, in doubt, and all of them verified."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from disburse.domain.destinations import read_card
from disburse.domain.money import read_amount
from disburse.domain.payout import Payout, PayoutState
from disburse.operations.merchants import find_merchant
from disburse.operations.payouts import Found
from disburse.settings import load_settings
from disburse.wiring import House, open_house, working
from disburse.world import real_world
from tests.cli.conftest import Commands

CARD = "4111111111111111"
MASK = "411111******1111"
LOGIN = "wages@example.com"
WITHIN_S = 20.0


@asynccontextmanager
async def house_of(commands: Commands) -> AsyncIterator[House]:
    """The installation with a sandbox bank in process and little patience for lost answers."""
    settings = load_settings(None, {}, {"data": str(commands.data), "sandbox": True, "call_s": 0.3})
    async with open_house(settings, real_world()) as house:
        yield house


async def pay(house: House, reference: str, amount: str, *, execute: bool = True, surface: str = "unitpay") -> Payout:
    """Make a payout to a card, executed unless told otherwise."""
    merchant = await find_merchant(house.database, LOGIN)
    draft = house.desk.draft(
        merchant, read_card(CARD, luhn=True), read_amount(amount, "RUB"), surface=surface, reference=reference,
        amount_text=amount, execute=execute, actor="test",
    )  # fmt: skip
    made = await house.desk.create(merchant, draft)
    assert isinstance(made, Found)
    return made.payout


async def until(house: House, payout: Payout, enough: Callable[[Payout], bool]) -> None:
    """Let the workers work until a payout has come so far."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            [now] = await house.desk.states(payout.shard, [payout.payout_id])
            if enough(now):
                return
            await asyncio.sleep(0.02)


@dataclass(frozen=True)
class Wages:
    """The payouts of this module by reference."""

    commands: Commands
    ids: dict[str, str]

    def explained(self, reference: str) -> dict[str, Any]:
        told = self.commands.ok("explain", self.ids[reference])
        return dict(told)


@pytest.fixture(scope="module")
def wages(commands: Commands) -> Wages:
    """Payouts that ended in every way, or have no end yet, of a merchant with a fee."""
    commands.ok("merchant", "add", "Wages", "--login", LOGIN)
    commands.ok("merchant", "set", LOGIN, "--fee", "card=100")
    commands.ok("top-up", LOGIN, "1000.00", "RUB")

    async def live() -> dict[str, str]:
        made: dict[str, Payout] = {}
        async with house_of(commands) as house:
            async with working(house, api=True, workers=True):
                for reference, amount in (
                    ("paid", "10.00"),
                    ("failed", "10.22"),
                    ("no route", "10.66"),
                    ("lost", "10.33"),
                ):
                    made[reference] = await pay(house, reference, amount)
                for payout in list(made.values()):
                    await until(house, payout, lambda now: now.final)
                await pay(house, "paid", "11.00")  # other content for a known reference
                made["doubt"] = await pay(house, "doubt", "10.44")
                await until(house, made["doubt"], lambda now: now.state is PayoutState.IN_DOUBT)
            made["queued"] = await pay(house, "queued", "10.00")
            made["created"] = await pay(house, "created", "10.00", execute=False)
            merchant = await find_merchant(house.database, LOGIN)
            made["cancelled"] = await pay(house, "cancelled", "10.00")
            await house.desk.cancel(merchant, house.desk.act(merchant, made["cancelled"].payout_id, "test"))
            made["unfunded"] = await pay(house, "unfunded", "5000.00", execute=False)
            await house.desk.execute(merchant, house.desk.act(merchant, made["unfunded"].payout_id, "test"))
            made["own"] = await pay(house, "paid", "10.00", execute=False, surface="own")
        return {reference: str(payout.payout_id) for reference, payout in made.items()}

    return Wages(commands, asyncio.run(live()))


def test_a_payout_is_shown(wages: Wages) -> None:
    """`payout show` tells a payout and its attempts; the destination is masked, for scripts and for people."""
    shown = wages.commands.ok("payout", "show", wages.ids["failed"])
    assert (shown["state"], shown["reason"], shown["amount"], shown["fee"], shown["currency"]) == (
        "failed", "destination cannot receive", "10.22", "0.10", "RUB",
    )  # fmt: skip
    assert (shown["reference"], shown["surface"], shown["login"], shown["destination"]) == (
        "failed",
        "unitpay",
        LOGIN,
        MASK,
    )
    [attempt] = shown["attempts"]
    assert (attempt["number"], attempt["state"], attempt["connector"]) == (1, "rejected", "sandbox")
    assert attempt["end_to_end_id"].endswith("-1")
    done = wages.commands("payout", "show", wages.ids["failed"])
    assert done.code == 0 and MASK in done.out and CARD not in done.out and attempt["end_to_end_id"] in done.out


def test_a_payout_is_found_by_any_of_its_names(wages: Wages) -> None:
    """A GUID in any case, UnitPay's payoutId, and MERCHANT:REFERENCE by id or login name one payout."""
    guid = wages.ids["failed"]
    shown = wages.commands.ok("payout", "show", guid)
    names = [
        guid.upper(),
        f"{{{guid}}}",
        str(shown["unitpay_payout_id"]),
        f"{LOGIN}:failed",
        f"{shown['merchant_id']}:failed",
    ]
    for name in names:
        assert wages.commands.ok("payout", "show", name)["payout_id"] == guid, name


def test_one_reference_on_two_surfaces_is_two_payouts(wages: Wages) -> None:
    """References of different surfaces are different: such a name is refused with both GUIDs."""
    error = wages.commands.no("payout", "show", f"{LOGIN}:paid")
    assert error["name"] == "two_payouts"
    assert wages.ids["paid"] in error["message"] and wages.ids["own"] in error["message"]


@pytest.mark.parametrize(
    "name, code, error",
    [("00000000-0000-7000-8000-000000000000", 1, "no_such_payout"), ("17", 1, "no_such_payout"),
     (f"{LOGIN}:nothing", 1, "no_such_payout"), ("nobody@example.com:paid", 1, "no_such_merchant"),
     ("paid", 2, "bad_payout_id"), ("12345678901234567890", 2, "bad_payout_id")],
)  # fmt: skip
def test_what_names_no_payout_is_refused(wages: Wages, name: str, code: int, error: str) -> None:
    """A name that no payout has is a no; what is no name at all is usage."""
    for command in (["payout", "show"], ["explain"]):
        assert wages.commands.no(*command, name, code=code)["name"] == error


def test_a_paid_payout_is_explained(wages: Wages) -> None:
    """Every event, attempt, piece of evidence and posting stands in time order, with its actor, and why it is paid."""
    told = wages.explained("paid")
    assert told["payout"]["state"] == "paid"
    lines = told["timeline"]
    assert [line["at"] for line in lines] == sorted(line["at"] for line in lines)
    kinds = [line["what"] for line in lines]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {"event": 4, "attempt": 2, "evidence": 1, "posting": 4}
    postings = [line["text"].partition(": ")[2] for line in lines if line["what"] == "posting"]
    assert postings == [
        "10.10 RUB from available to held (hold)",
        "10.00 RUB from held to in_flight:sandbox (claim)",
        "10.00 RUB from in_flight:sandbox to paid:sandbox (paid)",
        "0.10 RUB from held to fees (fee)",
    ]
    texts = " / ".join(line["text"] for line in lines)
    assert "sandbox answered: paid, 10.00 RUB [attempt 1]; so: paid" in texts
    assert "came again with other content" in texts
    assert lines[0]["actor"] == "test" and any(line["actor"].startswith("worker:") for line in lines)
    assert told["why"] == "sandbox paid it through attempt 1." and told["next"].startswith("Nothing.")
    done = wages.commands("explain", wages.ids["paid"])
    assert done.code == 0 and "Why:" in done.out and "Next:" in done.out and CARD not in done.out


def test_a_failed_payout_is_explained(wages: Wages) -> None:
    """A refused payout says who refused it and why, that no money moved, and that everything went back."""
    told = wages.explained("failed")
    assert told["why"].startswith("sandbox refused it: destination cannot receive. No money moved")
    assert "new reference" in told["next"]
    postings = [line["text"].partition(": ")[2] for line in told["timeline"] if line["what"] == "posting"]
    assert postings[-2:] == [
        "10.22 RUB from in_flight:sandbox to available (release)",
        "0.10 RUB from held to available (release)",
    ]
    assert "No provider could carry it" in wages.explained("no route")["why"]


def test_a_lost_answer_is_explained(wages: Wages) -> None:
    """A payout whose answer was lost and that was asked about tells both, and ended paid."""
    told = wages.explained("lost")
    texts = [line["text"] for line in told["timeline"] if line["what"] == "evidence"]
    assert texts[0] == "sandbox answered: nothing that can be relied on, time-out [attempt 1]; so: in_doubt"
    assert texts[-1].startswith("sandbox was asked and said: paid") and texts[-1].endswith("so: paid")


@pytest.mark.parametrize(
    "reference, why, further",
    [("doubt", "may have moved the money or not", "Nothing is sent again before proof"),
     ("queued", "Its money is held and it waits", "Until then it can be cancelled"),
     ("created", "nobody has executed it yet", "It expires in"), ("unfunded", "did not cover amount and fee", "Top up"),
     ("cancelled", "cancelled before anything was sent", "Nothing.")],
)  # fmt: skip
def test_payouts_without_an_end_say_what_comes_next(wages: Wages, reference: str, why: str, further: str) -> None:
    """Whatever a payout waits for is named."""
    told = wages.explained(reference)
    assert why in told["why"] and further in told["next"]


def test_doubt_is_listed(wages: Wages) -> None:
    """`in-doubt list` gives sum, age, provider and the next question of each doubt, and the sums of all."""
    told = wages.commands.ok("in-doubt", "list")
    [doubt] = told["in_doubt"]
    assert (doubt["payout_id"], doubt["amount"], doubt["connector"]) == (wages.ids["doubt"], "10.44", "sandbox")
    assert doubt["destination"] == MASK and doubt["age_s"] > 0 and doubt["ask_at"] is not None
    [total] = told["sums"]
    assert (total["connector"], total["currency"], total["count"], total["amount"]) == ("sandbox", "RUB", 1, "10.44")
    done = wages.commands("in-doubt", "list")
    assert (
        done.code == 0 and wages.ids["doubt"] in done.out and "In doubt at sandbox: 10.44 RUB in 1 payouts" in done.out
    )
    wages.commands.no("in-doubt", "list", "--limit", "0", code=2)


def test_the_balance_shows_doubt_in_an_account_of_its_own(wages: Wages) -> None:
    """What may have been paid lies in in_doubt of its provider, apart from what is held and what was paid."""
    accounts = wages.commands.ok("balance", LOGIN)["balances"]["RUB"]
    assert accounts["in_doubt:sandbox"] == "10.44" and accounts["paid:sandbox"] == "20.33"
    assert "perhaps paid, perhaps not, by sandbox" in wages.commands("balance", LOGIN).out


def test_the_books_are_verified(wages: Wages) -> None:
    """`verify` holds, names every invariant it looked at, and compares the bank's own book."""
    book = str(wages.commands.data / "sandbox-bank.jsonl")
    told = wages.commands.ok("verify", "--bank-book", book)
    assert told["holds"] and told["broken"] == [] and len(told["checks"]) > 40
    assert told["rows"]["payouts"] == 10 and told["bank_book"]["payments"] == 2
    done = wages.commands("verify")
    assert done.code == 0 and "invariants hold" in done.out
    wages.commands.no("verify", "--bank-book", "/nowhere")


def test_a_double_payment_is_named(wages: Wages) -> None:
    """A bank's book with one payment twice makes `verify` end with 1 and name what broke."""
    book = wages.commands.data / "sandbox-bank.jsonl"
    lines = book.read_text().splitlines(keepends=True)
    doctored = book.with_name("doctored.jsonl")
    doctored.write_text("".join(lines) + next(line for line in lines if '"paid"' in line))
    done = wages.commands("verify", "--bank-book", str(doctored), "--json")
    assert done.code == 1 and not done.json["holds"]
    assert done.json["broken"][0]["examples"]
    told = wages.commands("verify", "--bank-book", str(doctored))
    assert told.code == 1 and "BROKEN" in told.out and done.json["broken"][0]["check"] in told.out


def test_keys_are_rotated_in_two_steps(wages: Wages) -> None:
    """`keys` shows ids and never a key; `keys rotate` adds one, `--use` seals with it, and what was sealed is still read."""
    before = wages.commands.ok("keys")
    assert sorted(before) == ["current", "file", "fingerprint", "keys"] and before["keys"] == [before["current"]]
    added = wages.commands.ok("keys", "rotate")
    assert added["current"] == before["current"] and added["keys"] == [before["current"], added["added"]]
    switched = wages.commands.ok("keys", "rotate", "--use", added["added"])
    assert (switched["current"], switched["fingerprint"]) == (added["added"], before["fingerprint"])
    assert wages.commands.no("keys", "rotate", "--use", "00000000")["name"] == "key_file"
    wages.commands.no("keys", "rotate", "--use", "no key", code=2)
    assert "seals new payouts" in wages.commands("keys").out
    assert wages.commands.ok("payout", "show", wages.ids["paid"])["state"] == "paid"
