"""What stands beside payouts in `/v1`: webhook endpoints and API keys, each as a resource that its merchant alone sees."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest

from disburse.operations.api_keys import MOST, OwnApiKey, end_key, list_keys
from tests.api.house import House
from tests.api.rest_client import Program, problem, program

URL = "https://shop.example/hooks?token=z9"


@pytest.fixture
async def shop(house: House) -> AsyncIterator[Program]:
    """A merchant's program with 100,000 roubles."""
    async with program(house) as made:
        yield made


async def told(shop: Program, method: str, path: str, body: Any = None, status: int = 200, **how: Any) -> dict[str, Any]:
    """What an answer of this status holds."""
    answer = await shop.ask(method, path, body, **how)
    assert answer.status == status, answer
    found: dict[str, Any] = answer.json
    return found


async def types(shop: Program) -> list[str]:
    """The types of all events, in order."""
    return [one["type"] for one in (await told(shop, "GET", "/v1/events?limit=1000"))["items"]]


# --- webhook endpoints --------------------------------------------------------------------------------------------


async def test_an_endpoint_lives(shop: Program) -> None:
    """An endpoint is made, shown, paused, resumed, given a new secret, told to send again, and removed; each is an event."""
    made = await told(shop, "POST", "/v1/webhooks", {"url": URL, "types": ["payout.*", "top_up"], "since": 0}, 201)
    assert made["secret"].startswith("whsec_")
    one, path = made["webhook"], f"/v1/webhooks/{made['webhook']['id']}"
    assert (one["state"], one["types"], one["since"], one["url"]) == ("active", ["payout.*", "top_up"], 0, URL)
    assert (await told(shop, "GET", "/v1/webhooks"))["items"] == [await told(shop, "GET", path)]
    assert (await told(shop, "POST", f"{path}/pause"))["state"] == "paused"
    assert (await told(shop, "POST", f"{path}/resume", {}))["state"] == "active"
    again = await told(shop, "POST", f"{path}/rotate", {"overlap_hours": 1})
    assert again["secret"] != made["secret"] and again["webhook"]["old_secret_until"] is not None
    sending = await told(shop, "POST", f"{path}/resend", {"first": 1, "last": 3})
    assert (sending["resend_first"], sending["resend_last"]) == (1, 3)
    assert problem(await shop.ask("POST", f"{path}/resend", {"first": 1, "last": 2})) == "resend_under_way"
    assert await told(shop, "DELETE", path) == {"id": one["id"]}
    for method, rest in (("GET", ""), ("POST", "/pause"), ("DELETE", "")):
        assert problem(await shop.ask(method, path + rest)) == "not_found"
    assert await types(shop) == ["top_up", "webhook.added", "webhook.paused", "webhook.resumed", "webhook.rotated", "webhook.resend", "webhook.removed"]
    everything = (await shop.ask("GET", "/v1/events?limit=1000")).body.decode()
    assert made["secret"] not in everything and "token=z9" not in everything


@pytest.mark.parametrize(
    "body, field",
    [
        ({"url": "http://shop.example/hooks"}, "url"), ({"url": "https://127.0.0.1/hooks"}, "url"), ({"url": "https://a@shop.example/"}, "url"),
        ({"url": URL, "types": []}, "types"), ({"url": URL, "types": ["payout.invented"]}, "types"), ({"url": URL, "since": "0"}, "since"),
        ({"url": URL, "since": -1}, "since"), ({"url": URL, "since": 0.5}, "since"), ({"url": URL, "secret": "mine"}, "secret"), ({}, "url"),
    ],
)  # fmt: skip
async def test_an_endpoint_that_cannot_be(shop: Program, body: dict[str, Any], field: str) -> None:
    """What cannot be an endpoint is refused by its field, and nothing of a URL is repeated."""
    answer = await shop.ask("POST", "/v1/webhooks", body)
    assert problem(answer) == "bad_request" and answer.json["field"] == field and "shop.example" not in answer.body.decode()


async def test_an_endpoint_of_another_merchant(shop: Program) -> None:
    """Another merchant's endpoint is none, to everybody who asks and whatever they ask; there are twenty at most."""
    stranger = Program(shop.house, await shop.house.merchant("other@example.com"), shop.served)
    path = f"/v1/webhooks/{(await told(stranger, 'POST', '/v1/webhooks', {'url': URL}, 201))['webhook']['id']}"
    for method, rest, body in (("GET", "", None), ("POST", "/rotate", None), ("POST", "/resend", {"first": 1, "last": 1}), ("DELETE", "", None)):
        assert problem(await shop.ask(method, path + rest, body)) == "not_found"
    assert problem(await shop.ask("POST", "/v1/webhooks", {"url": URL, "since": 5})) == "no_such_events"
    for _ in range(20):
        await told(shop, "POST", "/v1/webhooks", {"url": URL}, 201)
    assert problem(await shop.ask("POST", "/v1/webhooks", {"url": URL})) == "too_many"


# --- API keys -----------------------------------------------------------------------------------------------------


async def test_a_further_key(shop: Program) -> None:
    """A further key works at once and is shown once; ended by another key it is refused at once in this process."""
    made = await told(shop, "POST", "/v1/api-keys", {"name": "payroll"}, 201)
    key, path = made["api_key"], f"/v1/api-keys/{made['key']['id']}"
    assert key.startswith("dsb_") and made["key"]["ending"] == key[-4:] and not made["key"]["this"]
    listed = (await told(shop, "GET", "/v1/api-keys", bearer=key))["items"]
    assert [(one["name"], one["this"], one["state"]) for one in listed] == [("first", False, "active"), ("payroll", True, "active")]
    assert key not in str(listed) and await told(shop, "GET", path) == made["key"]
    assert problem(await shop.ask("POST", f"{path}/disable", bearer=key)) == "own_key"
    assert (await told(shop, "POST", f"{path}/disable"))["state"] == "ended"
    assert problem(await shop.ask("GET", "/v1/balances", bearer=key)) == "unauthorized"
    assert (await told(shop, "POST", f"{path}/disable"))["state"] == "ended"
    assert problem(await shop.ask("POST", f"{path}/rotate")) == "key_ended"
    assert await types(shop) == ["top_up", "api_key.added", "api_key.ended"]


async def test_a_key_replaces_itself(shop: Program) -> None:
    """A key may replace itself when both work for a while, and the old one ends by the clock; at once it may not."""
    (first,) = (await told(shop, "GET", "/v1/api-keys"))["items"]
    path = f"/v1/api-keys/{first['id']}/rotate"
    assert problem(await shop.ask("POST", path, {"overlap_hours": 0})) == "own_key"
    made = await told(shop, "POST", path, {"overlap_hours": 2}, 201)
    assert made["key"]["name"] == "first"
    states = {one["id"]: one["state"] for one in (await told(shop, "GET", "/v1/api-keys"))["items"]}
    assert states == {first["id"]: "ending", made["key"]["id"]: "active"}
    other = await told(shop, "POST", f"/v1/api-keys/{first['id']}/disable", bearer=made["api_key"])
    assert other["state"] == "ended"
    assert problem(await shop.ask("GET", "/v1/balances")) == "unauthorized"


async def test_two_keys_that_end_each_other(shop: Program) -> None:
    """Of two keys that end each other at the same moment exactly one is left: nobody locks themselves out."""
    house, merchant = shop.house, shop.merchant
    first = UUID((await told(shop, "GET", "/v1/api-keys"))["items"][0]["id"])
    second = UUID((await told(shop, "POST", "/v1/api-keys", {"name": "b"}, 201))["key"]["id"])
    ends = [end_key(house.desk, merchant, one, by=other, actor="test") for one, other in ((first, second), (second, first))]
    results = await asyncio.gather(*ends, return_exceptions=True)
    assert sum(isinstance(one, Exception) for one in results) == 1
    left = [one for one in await list_keys(house.desk, merchant) if one.ends_at is None]
    assert len(left) == 1
    with pytest.raises(OwnApiKey):
        await end_key(house.desk, merchant, left[0].key_id, by=left[0].key_id, actor="test")


async def test_keys_are_bounded_and_ones_own(shop: Program) -> None:
    """A merchant has twenty keys at most that work; another merchant's key is none; what is recognised names the key."""
    stranger = Program(shop.house, await shop.house.merchant("other@example.com"), shop.served)
    theirs = (await told(stranger, "GET", "/v1/api-keys"))["items"][0]["id"]
    for rest in ("", "/rotate", "/disable"):
        assert problem(await shop.ask("POST" if rest else "GET", f"/v1/api-keys/{theirs}{rest}")) == "not_found"
    made = [await told(shop, "POST", "/v1/api-keys", {"name": f"n{n}"}, 201) for n in range(MOST - 1)]
    assert problem(await shop.ask("POST", "/v1/api-keys", {"name": "more"})) == "too_many"
    await told(shop, "POST", f"/v1/api-keys/{made[0]['key']['id']}/disable")
    await told(shop, "POST", "/v1/api-keys", {"name": "more"}, 201)
    for name in ("", " a", "a\u202e", "a" * 61):
        answer = await shop.ask("POST", "/v1/api-keys", {"name": name})
        assert problem(answer) == "bad_request" and answer.json["field"] == "name"
    known = await shop.house.desk.recognition.by_api_key(made[2]["api_key"])
    assert known is not None and (known.merchant.merchant_id, str(known.key_id)) == (shop.merchant.merchant_id, made[2]["key"]["id"])
