"""The REST surface, from bytes to bytes: making, finding, executing, cancelling and explaining payouts, and what a merchant may ask."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from disburse.domain.outcomes import Accepted, Rejected, Returned, Settled, Unknown
from tests.api.house import House
from tests.api.rest_client import CARD_TO, ORDER, PHONE_TO, PURSE_TO, Program, open_rest, problem, program, without


@pytest.fixture
async def shop(house: House) -> AsyncIterator[Program]:
    """A merchant's program with 100,000 roubles."""
    async with program(house) as made:
        yield made


@pytest.mark.parametrize(
    "to, masked, fee",
    [
        (CARD_TO, "411111******1111", "30.00"),
        (PHONE_TO, "+7951*****71", "0.07"),
        (PURSE_TO, "Z123*******12", "0.00"),
        ({"rail": "usdt", "address": "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t"}, "TR7N**************************Lj6t", "0.00"),
        ({**CARD_TO, "name": "IVAN IVANOV"}, "411111******1111", "30.00"),
        ({**CARD_TO, "number": "4111 1111-1111 1111"}, "411111******1111", "30.00"),
    ],
)
async def test_a_payout_is_made_and_executed(shop: Program, to: dict[str, str], masked: str, fee: str) -> None:
    """With `execute` the payout is queued and its money is held; the destination is shown masked, and the books are `own`."""
    made = await shop.made_one(destination=to)
    assert (made["state"], made["destination"], made["fee"]) == ("queued", masked, {"amount": fee, "currency": "RUB"})
    assert (made["reference"], made["surface"], made["rail"]) == ("1782", "own", to["rail"])
    assert made["amount"] == {"amount": "10.00", "currency": "RUB"} and not made["final"] and made["expires_at"] is None
    assert await shop.get(made["id"]) == made
    assert "held" in await shop.house.balances(shop.merchant)


async def test_a_payout_waits_to_be_executed(shop: Program) -> None:
    """Without `execute` nothing is held until the payout is executed; a second execute changes nothing."""
    made = await shop.made_one(execute=False)
    assert made["state"] == "created" and made["expires_at"] is not None
    assert "held" not in await shop.house.balances(shop.merchant)
    done = await shop.act(made["id"], "execute")
    assert (done.status, done.json["state"], done.json["expires_at"]) == (200, "queued", None)
    assert (await shop.act(made["id"], "execute")).json == done.json
    assert (await shop.house.balances(shop.merchant))["held"] == "10.00"


async def test_a_payout_is_cancelled(shop: Program) -> None:
    """What was not sent is cancelled and its money goes back, once; then it can be executed no more."""
    made = await shop.made_one()
    done = await shop.act(made["id"], "cancel")
    assert (done.status, done.json["state"], done.json["final"]) == (200, "cancelled", True)
    assert (await shop.act(made["id"], "cancel")).json == done.json
    assert (await shop.house.balances(shop.merchant))["available"] == "100000.00"
    too_late = await shop.act(made["id"], "execute")
    assert (too_late.status, problem(too_late)) == (409, "wrong_state")


async def test_too_late_to_cancel(shop: Program) -> None:
    """What may have left the house is not cancelled."""
    made = await shop.made_one()
    await shop.house.claim()
    answer = await shop.act(made["id"], "cancel")
    assert (answer.status, problem(answer)) == (409, "wrong_state")
    assert (await shop.get(made["id"]))["state"] == "in_flight"


LIVES: list[tuple[list[Any], str, str | None]] = [
    ([Settled("p")], "paid", None),
    ([Rejected("refused by the bank")], "failed", "refused by the bank"),
    ([Rejected("no such card 4222222222222220")], "failed", "no such card ***"),
    ([Unknown("timeout")], "in_doubt", None),
    ([Accepted("p")], "in_flight", None),
    ([Settled("p"), Returned("r")], "returned", None),
]


@pytest.mark.parametrize("said, state, reason", LIVES, ids=[state for _, state, _ in LIVES])
async def test_a_payout_shows_its_state(shop: Program, said: list[Any], state: str, reason: str | None) -> None:
    """Whatever the provider says is shown as our state; a reason has no number in it that could be the payee's."""
    made = await shop.made_one()
    (opened,) = await shop.house.claim()
    for verdict in said:
        await shop.house.tell(opened, verdict)
    shown = await shop.get(made["id"])
    assert (shown["state"], shown["reason"], shown["attempts"]) == (state, reason, 1)
    assert (shown["returned"] is not None) is (state == "returned")
    assert (shown["finished_at"] is not None) is shown["final"]
    told = (await shop.ask("GET", f"/v1/payouts/{made['id']}/explain")).json
    assert told["payout"] == shown and told["why"] and told["next"]
    assert {"event", "posting"} <= {line["what"] for line in told["lines"]}
    assert "4222222222222220" not in str(told)


async def test_a_frozen_payout_is_explained_to_its_merchant(shop: Program) -> None:
    """A merchant is told that a payout is frozen, and nothing of the operator's commands or people."""
    made = await shop.made_one()
    (opened,) = await shop.house.claim()
    await shop.house.tell(opened, Rejected("no"))
    await shop.house.tell(opened, Settled("p"), kind="callback")
    told = (await shop.ask("GET", f"/v1/payouts/{made['id']}/explain")).json
    assert told["payout"]["frozen"] is True
    assert "disburse in-doubt" not in str(told) and "operator:" not in str(told)


async def test_a_payout_is_found_by_its_reference(shop: Program) -> None:
    """A reference finds its payout, on its own surface alone; one that nobody used finds nothing."""
    made = await shop.made_one(reference="зарплата №7")
    query = "reference=%D0%B7%D0%B0%D1%80%D0%BF%D0%BB%D0%B0%D1%82%D0%B0%20%E2%84%967"
    assert await shop.list(query) == {"items": [made], "next_cursor": None}
    assert (await shop.list(f"{query}&surface=unitpay"))["items"] == []
    assert (await shop.list("reference=nobody"))["items"] == []


async def test_strangers_see_nothing(shop: Program) -> None:
    """Another merchant's payout looks like none: it cannot be read, explained, executed, cancelled, listed or found."""
    made = await shop.made_one(execute=False)
    other = Program(shop.house, await shop.house.merchant("other@example.com"), shop.served)
    nowhere = "018f0000-0000-7000-8000-000000000000"
    for act in ("", "/explain"):
        theirs = await other.ask("GET", f"/v1/payouts/{made['id']}{act}")
        absent = await other.ask("GET", f"/v1/payouts/{nowhere}{act}")
        assert (theirs.status, theirs.body) == (404, absent.body) and problem(theirs) == "not_found"
    for act in ("execute", "cancel"):
        answers = [await other.act(one, act, key="k") for one in (made["id"], nowhere)]
        assert [(one.status, one.body) for one in answers] == [(404, answers[0].body)] * 2
    assert await other.list() == {"items": [], "next_cursor": None}
    assert (await other.list("reference=1782"))["items"] == []
    assert (await other.ask("GET", "/v1/top-ups")).json["items"] != (await shop.ask("GET", "/v1/top-ups")).json["items"]
    assert (await shop.get(made["id"]))["state"] == "created" and await other.keys_kept() == 0
    theirs_now = await other.made_one()
    assert theirs_now["id"] != made["id"], "one reference of two merchants is two obligations"


@pytest.mark.parametrize("bearer", [None, "dsb_wrong", "x" * 200])
async def test_a_wrong_key_is_refused(shop: Program, bearer: str | None) -> None:
    """Without an API key of a merchant everything is 401, and nothing is done."""
    for method, path in [("GET", "/v1/payouts"), ("POST", "/v1/payouts"), ("GET", "/v1/banks"), ("GET", "/v1/nothing")]:
        answer = await shop.ask(method, path, ORDER if method == "POST" else None, bearer=bearer)
        if path == "/v1/nothing" and bearer is not None:
            assert (answer.status, problem(answer)) == (404, "not_found")
            continue
        assert (answer.status, problem(answer), answer.headers["www-authenticate"]) == (401, "unauthorized", "Bearer")
    assert await shop.payouts() == 0


async def test_other_secrets_are_no_api_keys(shop: Program) -> None:
    """The secrets of the other surfaces open nothing here."""
    for secret in (shop.made.bearer_token, shop.made.unitpay_secret_key, shop.made.password, shop.merchant.login):
        assert (await shop.ask("GET", "/v1/payouts", bearer=secret)).status == 401


# --- what a merchant may ask --------------------------------------------------------------------------------------


async def test_balances(shop: Program) -> None:
    """Balances tell what is available, held, in flight and in doubt, by currency; a merchant without money has none."""
    await shop.made_one(destination=CARD_TO)
    rub = {"held": "40.00", "available": "99960.00", "in_flight": "0.00", "in_doubt": "0.00"}
    assert (await shop.ask("GET", "/v1/balances")).json == {"items": [_in_rub(rub)], "at": None}
    (opened,) = await shop.house.claim()
    await shop.house.tell(opened, Unknown("timeout"))
    rub |= {"held": "30.00", "in_doubt": "10.00"}
    assert (await shop.ask("GET", "/v1/balances")).json == {"items": [_in_rub(rub)], "at": None}
    poor = Program(shop.house, await shop.house.merchant("poor@example.com", funds="0"), shop.served)
    assert (await poor.ask("GET", "/v1/balances")).json == {"items": [], "at": None}


def _in_rub(amounts: dict[str, str]) -> dict[str, Any]:
    return {name: {"amount": amount, "currency": "RUB"} for name, amount in amounts.items()}


async def test_fee_quotes(shop: Program) -> None:
    """A quote is the fee that a payout then has."""
    quoted = (await shop.ask("GET", "/v1/fee-quotes?rail=card&amount=5000")).json
    assert (quoted["fee"]["amount"], quoted["total"]["amount"]) == ("75.00", "5075.00")
    made = await shop.made_one(destination=CARD_TO, amount={"amount": "5000", "currency": "RUB"})
    assert made["fee"] == quoted["fee"]
    for query, field in [("rail=card&amount=0", "amount"), ("rail=card&amount=1&currency=rub", "currency"), ("amount=1", "rail"), ("rail=card&amount=10000000000000", "amount")]:
        answer = await shop.ask("GET", f"/v1/fee-quotes?{query}")
        assert (answer.status, answer.json["field"]) == (400, field)


async def test_rails_and_banks(shop: Program) -> None:
    """Rails are those that a provider carries, with what a destination needs; banks are those that a payout may name."""
    rails = {one["rail"]: one for one in (await shop.ask("GET", "/v1/rails")).json["items"]}
    assert sorted(rails) == ["card", "sbp", "usdt", "webmoney"]
    assert rails["sbp"]["details"] == ["phone", "bank"] and rails["card"]["currencies"] == ["RUB"]
    assert rails["card"]["fee"] == {"basis_points": 150, "minimum_minor": 3000, "maximum_minor": None}
    banks = (await shop.ask("GET", "/v1/banks")).json["items"]
    assert PHONE_TO["bank"] in {one["id"] for one in banks}
    assert (await shop.ask("HEAD", "/v1/banks")).status == 200


async def test_top_ups_page_by_page(shop: Program) -> None:
    """Top-ups are listed newest first, each once, however long the pages are."""
    for amount in ("1.00", "2.00", "3.00"):
        await shop.house.top_up(shop.merchant, amount)
    seen, cursor = [], ""
    while True:
        page = (await shop.ask("GET", f"/v1/top-ups?limit=2{cursor}")).json
        seen += [one["amount"]["amount"] for one in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert sorted(seen) == ["1.00", "100000.00", "2.00", "3.00"]
    assert len((await shop.ask("GET", "/v1/top-ups")).json["items"]) == 4


async def test_the_default_bank_is_the_merchants(house: House) -> None:
    """An SBP payout that names no bank goes to the merchant's default one, and without a default it is refused."""
    async with program(house, sbp_bank="100000000004") as rich:
        made = await rich.made_one(destination=without(PHONE_TO, "bank"), execute=False)
        again = await rich.create(destination=PHONE_TO, execute=False)
        assert (again.status, again.json["id"]) == (200, made["id"])
    async with program(house, login="bare@example.com") as bare:
        answer = await bare.create(destination=without(PHONE_TO, "bank"))
        assert (answer.status, answer.json["field"]) == (400, "destination.bank")


async def test_test_money_is_paid_by_a_sandbox_alone(house: House) -> None:
    """A currency that no provider carries is refused, and stays no payout."""
    async with program(house) as shop:
        answer = await shop.create(amount={"amount": "10.00", "currency": "TST"})
        assert (answer.status, problem(answer)) == (409, "no_route")
        assert await shop.payouts() == 0


async def test_minimums(house: House) -> None:
    """An amount must be above the minimum that the settings give its rail."""
    async with program(house, open_rest(house, minimums={"webmoney": 1000})) as shop:
        answer = await shop.create()
        assert (answer.status, problem(answer)) == (409, "below_minimum")
        assert (await shop.create(amount={"amount": "10.01", "currency": "RUB"})).status == 201
