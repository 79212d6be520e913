"""Payees with saved destinations: masked wherever they are shown, and a payout to a payee always means the same payment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.api.house import House
from tests.api.rest_client import CARD, CARD_TO, PHONE_TO, PURSE_TO, Program, problem, program, without

ORDER = {"amount": {"amount": "10.00", "currency": "RUB"}, "execute": True}
NOBODY = "01a20196-1291-7de1-8007-d7be3667eae9"


@pytest.fixture
async def shop(house: House) -> AsyncIterator[Program]:
    """A merchant's program with 100,000 roubles."""
    async with program(house) as made:
        yield made


async def saved(shop: Program, reference: str = "ivanov", destination: Any = CARD_TO, status: int = 201) -> dict[str, Any]:
    """A payee that is saved by this call, or was before."""
    answer = await shop.ask("POST", "/v1/payees", {"reference": reference, "destination": destination})
    assert answer.status == status, answer
    payee: dict[str, Any] = answer.json
    return payee


async def test_a_payee_is_saved_once(shop: Program) -> None:
    """A reference names one payee for ever: the same again changes nothing, also in a crowd, and another destination is refused."""
    crowd = await asyncio.gather(*[shop.ask("POST", "/v1/payees", {"reference": "ivanov", "destination": CARD_TO}) for _ in range(5)])
    assert sorted(answer.status for answer in crowd) == [200, 200, 200, 200, 201]
    assert len({answer.json["id"] for answer in crowd}) == 1
    payee = crowd[0].json
    assert [(one["rail"], one["destination"], one["retired_at"]) for one in payee["destinations"]] == [("card", "411111******1111", None)]
    answer = await shop.ask("POST", "/v1/payees", {"reference": "ivanov", "destination": PURSE_TO})
    assert problem(answer) == "reference_reused"
    assert (await shop.ask("GET", f"/v1/payees/{payee['id']}")).json == payee
    assert (await shop.ask("GET", "/v1/payees?reference=ivanov")).json["items"] == [payee]


async def test_payees_page_by_page(shop: Program) -> None:
    """Pages hold every payee of the merchant once, newest first, and nobody else's."""
    stranger = Program(shop.house, await shop.house.merchant("other@example.com"), shop.served)
    theirs = await saved(stranger)
    for n in range(5):
        await saved(shop, f"p{n}")
    listed, query = [], "limit=2"
    while True:
        page = (await shop.ask("GET", f"/v1/payees?{query}")).json
        listed += [one["reference"] for one in page["items"]]
        if page["next_cursor"] is None:
            break
        query = f"limit=2&cursor={page['next_cursor']}"
    assert listed == ["p4", "p3", "p2", "p1", "p0"]
    for method, rest, body in (("GET", "", None), ("POST", "/destinations", {"destination": CARD_TO}), ("POST", "/retire", {"destination": NOBODY})):
        assert problem(await shop.ask(method, f"/v1/payees/{theirs['id']}{rest}", body)) == "not_found"
    assert problem(await shop.create(ORDER, payee=theirs["id"], reference="x")) == "bad_request"


async def test_a_payout_to_a_payee(shop: Program) -> None:
    """A payout that names a payee is the one that names its first destination; another one is paid where its id says."""
    payee = await saved(shop, destination=PURSE_TO | {"name": "Ivan Ivanov"})
    made = await shop.made_one(ORDER, payee=payee["id"], reference="wage")
    assert (made["rail"], made["destination"]) == ("webmoney", payee["destinations"][0]["destination"])
    again = await shop.create(ORDER, destination=PURSE_TO, reference="wage")
    assert again.status == 200 and (again.json["id"], again.json["payee"]) == (made["id"], payee["id"])
    more = (await shop.ask("POST", f"/v1/payees/{payee['id']}/destinations", {"destination": PHONE_TO})).json
    assert (await shop.ask("POST", f"/v1/payees/{payee['id']}/destinations", {"destination": PHONE_TO})).json == more
    phone = more["destinations"][1]
    other = await shop.made_one(ORDER, payee=payee["id"], payee_destination=phone["id"], reference="second")
    assert other["rail"] == "sbp"
    direct = await shop.made_one(ORDER, destination=PURSE_TO, reference="third", key="k")
    listed = (await shop.ask("GET", "/v1/payouts")).json["items"]
    assert [(one["id"], one["payee"]) for one in listed] == [(direct["id"], None), (other["id"], payee["id"]), (made["id"], payee["id"])]
    assert (await shop.ask("GET", f"/v1/payouts/{made['id']}")).json["payee"] == payee["id"] == made["payee"]
    opened = [shop.house.desk.open_destination(one) for one in await shop.house.payouts(shop.merchant)]
    assert [(one.number, one.name) for one in opened[:2]] == [("Z123456789012", "Ivan Ivanov"), ("79510000071", None)]


async def test_a_retired_destination(shop: Program) -> None:
    """Nothing new is paid to a retired destination; a payout that was made is found by the same request for ever."""
    payee = await saved(shop, destination=PURSE_TO)
    path, first = f"/v1/payees/{payee['id']}", payee["destinations"][0]["id"]
    made = await shop.made_one(ORDER, payee=payee["id"], reference="wage", key="k1")
    retired = (await shop.ask("POST", f"{path}/retire", {"destination": first})).json
    assert retired["destinations"][0]["retired_at"] and (await shop.ask("POST", f"{path}/retire", {"destination": first})).json == retired
    again = await shop.create(ORDER, payee=payee["id"], reference="wage", key="k1")
    assert (again.status, again.json["id"]) == (200, made["id"])
    refused = await shop.create(ORDER, payee=payee["id"], reference="another", key="k2")
    assert problem(refused) == "destination_retired" and refused.status == 409
    assert problem(await shop.create(ORDER, payee=payee["id"], reference="another", key="k2")) == "destination_retired"
    back = (await shop.ask("POST", f"{path}/destinations", {"destination": PURSE_TO})).json
    assert len(back["destinations"]) == 2 and back["destinations"][1]["retired_at"] is None
    await shop.made_one(ORDER, payee=payee["id"], payee_destination=back["destinations"][1]["id"], reference="another", key="k3")
    assert [one["type"] for one in (await shop.ask("GET", "/v1/events?limit=1000")).json["items"] if one["payee"]] == [
        "payee.added", "payee.destination_retired", "payee.destination_added"
    ]  # fmt: skip


@pytest.mark.parametrize(
    "changes, field",
    [
        ({"payee": NOBODY, "destination": PURSE_TO}, "destination"), ({}, "destination"), ({"payee": NOBODY}, "payee"), ({"payee": "ivanov"}, "payee"),
        ({"destination": PURSE_TO, "payee_destination": NOBODY}, "payee_destination"),
    ],
)  # fmt: skip
async def test_where_it_goes_must_be_said_once(shop: Program, changes: dict[str, Any], field: str) -> None:
    """An order names one destination or one payee of its merchant's; anything else is refused by its field and leaves nothing."""
    answer = await shop.create(ORDER | {"reference": "x"}, key="k", **changes)
    assert problem(answer) == "bad_request" and answer.json["field"] == field
    assert await shop.keys_kept() == 0 == await shop.payouts()


async def test_what_cannot_be_saved(shop: Program) -> None:
    """What can be no destination is refused when it is saved, field by field; twenty are the most, and nothing lies open in the rows."""
    for destination, field in (
        (CARD_TO | {"number": "4111111111111112"}, "destination.number"), (PHONE_TO | {"bank": "100000000999"}, "destination.bank"),
        (without(PHONE_TO, "phone"), "destination.phone"),
    ):  # fmt: skip
        answer = await shop.ask("POST", "/v1/payees", {"reference": "r", "destination": destination})
        assert problem(answer) == "bad_request" and answer.json["field"] == field
    payee = await saved(shop)
    for n in range(19):
        to = PURSE_TO | {"purse": f"Z1234567891{n:02}"}
        assert (await shop.ask("POST", f"/v1/payees/{payee['id']}/destinations", {"destination": to})).status == 200
    assert problem(await shop.ask("POST", f"/v1/payees/{payee['id']}/destinations", {"destination": PURSE_TO})) == "too_many"
    rows = await shop.house.database.run(lambda tx: tx.fetch("SELECT p, d FROM payees p JOIN payee_destinations d USING (shard, payee_id)"))
    assert len(rows) == 20 and CARD not in str(rows)
