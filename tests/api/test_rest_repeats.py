"""An Idempotency-Key beside payouts: an endpoint, an API key, a payee or a registry is made once by it, for ever; and no secret is kept to be told again."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from disburse.api.allowance import Allowances
from disburse.api.registry_files import How
from disburse.api.rest_registries import RegistryDoor
from disburse.data import accepted_member_ids
from disburse.operations.registry_rules import Terms
from disburse.storage.database import Database, Transaction
from tests.api.house import House
from tests.api.rest_client import CARD_TO, MEMBERS, PHONE_TO, PURSE_TO, Program, open_rest, problem
from tests.api.served import Answer, served

URL = "https://shop.example/hooks"
HOOK = {"url": URL, "types": ["payout.*"]}
PAYEE = {"reference": "ivanov", "destination": PURSE_TO}
FILE = b'{"reference": "a", "amount": {"amount": "1.00", "currency": "RUB"}, "destination": {"rail": "webmoney", "purse": "Z123456789012"}}\n'


@pytest.fixture
async def shop(house: House) -> AsyncIterator[Program]:
    """A merchant's program with 100,000 roubles, before the doors of `/v1`."""
    made = await house.merchant("shop@example.com")
    registries = RegistryDoor(Terms(house.desk), How(accepted_member_ids(MEMBERS)), Allowances(house.world.clock, per_s=1000, burst=1000))
    async with served([("/v1/registries", registries), ("/v1/registries/*", registries), ("/v1/*", open_rest(house))]) as running:
        yield Program(house, made, running)


async def post(shop: Program, path: str, body: Any, key: str | None, **how: Any) -> Answer:
    return await shop.ask("POST", f"/v1/{path}", body, key=key, **how)


async def upload(shop: Program, content: bytes, key: str | None, name: str = "w") -> Answer:
    return await shop.ask("POST", f"/v1/registries?kind=jsonl&name={name}", raw=content, kind="application/x-ndjson", key=key)


async def count(shop: Program, path: str) -> int:
    return len((await shop.ask("GET", f"/v1/{path}")).json["items"])


async def test_an_endpoint_by_its_key(shop: Program) -> None:
    """The same request with its key finds the endpoint as it stands, and its secret as long as that signs; other content is refused, whatever it is."""
    made = await post(shop, "webhooks", HOOK, "k")
    one = made.json["webhook"]
    assert made.status == 201 and await count(shop, "webhooks") == 1
    await post(shop, f"webhooks/{one['id']}/pause", None, "p")
    again = await post(shop, "webhooks", HOOK, "k")
    assert (again.status, again.json["secret"], again.json["webhook"]["state"]) == (200, made.json["secret"], "paused")
    for path, body in (("webhooks", {**HOOK, "types": None}), ("api-keys", {"name": "k"}), ("payees", PAYEE), (f"webhooks/{one['id']}/pause", None)):
        answer = await post(shop, path, body, "k")
        assert (answer.status, problem(answer)) == (422, "key_reused"), path
    await post(shop, f"webhooks/{one['id']}/rotate", {"overlap_hours": 1}, "r")
    assert (await post(shop, "webhooks", HOOK, "k")).json["secret"] == made.json["secret"]  # it signs for an hour more
    await post(shop, f"webhooks/{one['id']}/rotate", {"overlap_hours": 1}, "r2")
    again = await post(shop, "webhooks", HOOK, "k")
    assert (again.status, again.json["secret"]) == (200, None) and await count(shop, "webhooks") == 1
    await shop.ask("DELETE", f"/v1/webhooks/{one['id']}")
    assert problem(await post(shop, "webhooks", HOOK, "k")) == "not_found" and await count(shop, "webhooks") == 0


async def test_a_rotation_by_its_key(shop: Program) -> None:
    """A rotation whose answer was lost is asked for again and is no second one: the secret that receivers know goes on to sign."""
    one = (await post(shop, "webhooks", HOOK, None)).json["webhook"]
    first = await post(shop, f"webhooks/{one['id']}/rotate", {"overlap_hours": 1}, "r")
    again = await post(shop, f"webhooks/{one['id']}/rotate", {"overlap_hours": 1}, "r")
    assert again.json == first.json and again.status == 200
    events = [event["type"] for event in (await shop.ask("GET", "/v1/events?limit=100")).json["items"]]
    assert events.count("webhook.rotated") == 1


async def test_acts_on_an_endpoint_by_their_keys(shop: Program) -> None:
    """A late repeat of a pause does not pause again what was resumed, nor does one of a resend send once more."""
    path = f"webhooks/{(await post(shop, 'webhooks', HOOK, None)).json['webhook']['id']}"
    for act, body, key in (("pause", None, "p"), ("resume", None, "u"), ("resend", {"first": 1, "last": 1}, "s")):
        assert (await post(shop, f"{path}/{act}", body, key)).status == 200
    await shop.house.database.run(lambda tx: tx.execute("UPDATE webhooks SET resend_next = NULL, resend_to = NULL WHERE shard = 0"))
    for act, body, key in (("pause", None, "p"), ("resend", {"first": 1, "last": 1}, "s")):
        answer = await post(shop, f"{path}/{act}", body, key)
        assert (answer.status, answer.json["state"], answer.json["resend_first"]) == (200, "active", None), act


async def test_an_api_key_by_its_key(shop: Program) -> None:
    """A repeat is told which API key was made and never shown it; replacing one by a key makes one, and ends the old one once."""
    made = await post(shop, "api-keys", {"name": "payroll"}, "k")
    again = await post(shop, "api-keys", {"name": "payroll"}, "k")
    assert (made.status, again.status, again.json) == (201, 200, {"api_key": None, "key": made.json["key"]})
    newer = await post(shop, f"api-keys/{made.json['key']['id']}/rotate", {"overlap_hours": 0}, "r")
    again = await post(shop, f"api-keys/{made.json['key']['id']}/rotate", {"overlap_hours": 0}, "r")
    assert (newer.status, again.status, again.json) == (201, 200, {"api_key": None, "key": newer.json["key"]})
    assert await count(shop, "api-keys") == 3
    assert problem(await post(shop, "api-keys", {"name": "other"}, "k")) == "key_reused"
    kept = await shop.house.database.run(lambda tx: tx.fetch("SELECT k::text FROM idempotency_keys k WHERE shard = 0"))
    text = str([tuple(row) for row in kept])
    assert made.json["api_key"] not in text and newer.json["api_key"] not in text


async def test_a_payee_by_its_key(shop: Program) -> None:
    """A payee is saved once; a destination that was retired is not added again by a late repeat; and a bank that left is not asked of what was saved."""
    made = await post(shop, "payees", PAYEE, "k")
    payee = made.json["id"]
    assert made.status == 201 and (await post(shop, "payees", PAYEE, "k")).json["id"] == payee
    assert problem(await post(shop, "payees", {**PAYEE, "destination": CARD_TO}, "k")) == "key_reused"
    more = await post(shop, f"payees/{payee}/destinations", {"destination": PHONE_TO}, "d")
    await post(shop, f"payees/{payee}/retire", {"destination": more.json["destinations"][1]["id"]}, None)
    late = await post(shop, f"payees/{payee}/destinations", {"destination": PHONE_TO}, "d")
    assert late.status == 200 and [one["retired_at"] is None for one in late.json["destinations"]] == [True, False]
    async with served([("/v1/*", open_rest(shop.house, also=frozenset({"TESTBANK"})))]) as before:
        left = {"reference": "petrov", "destination": {**PHONE_TO, "bank": "TESTBANK"}}
        saved = (await post(Program(shop.house, shop.made, before), "payees", left, "b")).json
    assert (await post(shop, "payees", left, "b")).json == saved
    assert (await post(shop, "payees", {**left, "reference": "new"}, "c")).status == 400


async def test_a_registry_by_its_key(shop: Program) -> None:
    """A file that is sent again with its key is planned once, also by two at once; another file or name is another request."""
    answers = await asyncio.gather(*[upload(shop, FILE, "k") for _ in range(4)])
    assert Counter(one.status for one in answers) == {201: 1, 200: 3} and len({one.json["id"] for one in answers}) == 1
    states = Counter(one["state"] for one in (await shop.ask("GET", "/v1/registries")).json["items"])
    assert states["planned"] == 1 and set(states) <= {"planned", "cancelled"}
    for content, name in ((FILE * 2, "w"), (FILE, "other")):
        assert problem(await upload(shop, content, "k", name)) == "key_reused"
    registry = answers[0].json
    await shop.ask("POST", f"/v1/registries/{registry['id']}/cancel")
    assert (await upload(shop, FILE, "k")).json["state"] == "cancelled"
    assert problem(await upload(shop, b"x" * 70_000, "bad")) == "bad_file"
    assert (await upload(shop, FILE, "bad")).status == 201  # what was no file was not kept


async def test_refusals_stick(shop: Program) -> None:
    """A refusal is told again by its key when its cause is gone, in the same words; what is not there, or not well-formed, is not kept."""
    made = [(await post(shop, "webhooks", HOOK, f"k{n}")).json["webhook"] for n in range(20)]
    full = await post(shop, "webhooks", HOOK, "full")
    assert (full.status, problem(full)) == (409, "too_many")
    await shop.ask("DELETE", f"/v1/webhooks/{made[0]['id']}")
    assert (await post(shop, "webhooks", HOOK, "full")).body == full.body
    assert (await post(shop, "webhooks", HOOK, "new")).status == 201
    (own,) = (await shop.ask("GET", "/v1/api-keys")).json["items"]
    refused = await post(shop, f"api-keys/{own['id']}/rotate", {"overlap_hours": 0}, "own")
    assert problem(refused) == "own_key" and (await post(shop, f"api-keys/{own['id']}/rotate", {"overlap_hours": 0}, "own")).body == refused.body
    before = await shop.keys_kept()
    assert problem(await post(shop, f"webhooks/{made[0]['id']}/pause", None, "gone")) == "not_found"
    assert (await post(shop, "webhooks", {"url": "http://x"}, "bad")).status == 400
    assert await shop.keys_kept() == before


async def test_many_at_once_with_one_key(shop: Program) -> None:
    """Thirty simultaneous requests with one key make one endpoint and one API key."""
    hooks = await asyncio.gather(*[post(shop, "webhooks", HOOK, "k") for _ in range(30)])
    assert Counter(one.status for one in hooks) == {201: 1, 200: 29} and len({one.json["secret"] for one in hooks}) == 1
    made = await asyncio.gather(*[post(shop, "api-keys", {"name": "n"}, "a") for _ in range(30)])
    assert Counter(one.status for one in made) == {201: 1, 200: 29} and await count(shop, "api-keys") == 2
    assert Counter(one.json["api_key"] is None for one in made) == {False: 1, True: 29}


class Forgetful:
    """A database that commits, and whose answer to that is lost the first time."""

    def __init__(self, database: Database) -> None:
        self._database, self._lost = database, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    async def run(self, work: Callable[[Transaction], Awaitable[Any]], **how: Any) -> Any:
        async def cut(tx: Transaction) -> Any:
            done = await work(tx)
            if not self._lost:
                self._lost = True
                await tx.execute("COMMIT")
                raise ConnectionResetError("the answer to COMMIT did not come")
            return done

        return await self._database.run(cut, **how)


@pytest.mark.parametrize("path, body, secret", [("webhooks", HOOK, "secret"), ("api-keys", {"name": "n"}, "api_key"), ("payees", PAYEE, None)])
async def test_a_commit_that_nobody_heard_of(shop: Program, monkeypatch: pytest.MonkeyPatch, path: str, body: Any, secret: str | None) -> None:
    """Where the database did it and its answer was lost, the command finds its own work, and shows its secret as if nothing had happened."""
    monkeypatch.setattr(shop.house.desk, "database", Forgetful(shop.house.database))
    before = await count(shop, path)
    made = await post(shop, path, body, "k")
    assert made.status == 201 and (secret is None or made.json[secret]) and await count(shop, path) == before + 1
