"""Programs that nobody wrote: schemathesis makes requests out of the whole OpenAPI document, right ones and wrong ones.

No answer may be a 5xx, and none may be one that the document does not describe: its status, its type, its fields, its headers. A
longer walk is `make schema`.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from disburse.api.kernel import Door
from disburse.api.registry_files import How
from disburse.api.rest_registries import RegistryDoor
from disburse.data import accepted_member_ids
from disburse.operations.registry_rules import Terms
from disburse.protocols.rest_openapi import openapi
from disburse.protocols.rest_routes import ROUTES
from tests.api.house import House
from tests.api.rest_client import CARD_TO, MEMBERS, ORDER, PURSE_TO, Program, open_rest
from tests.api.served import served

EXAMPLES = int(os.environ.get("DISBURSE_TEST_SCHEMA_EXAMPLES", "6"))
"""Requests of each kind to each operation: the kinds are right and wrong, at an id that is there and at any."""


BODIES: dict[str, list[dict[str, Any]]] = {
    "create": [ORDER, {**ORDER, "reference": None, "destination": CARD_TO}, {**ORDER, "amount": {"amount": "999999999", "currency": "RUB"}}],
    "payee_add": [{"reference": "a", "destination": CARD_TO}, {"reference": "a", "destination": PURSE_TO}],
    "payee_destination_add": [{"destination": PURSE_TO}],
    "webhook_add": [{"url": "https://shop.example/hooks", "types": ["payout.*"], "since": 0}],
    "webhook_resend": [{"first": 1, "last": 1}],
}
"""Bodies that no generator comes upon: numbers with right check digits, names that exist."""


NEED_MORE = {"payee_destination_retire", "registry_create", "registry_apply"}
"""Operations that no made-up request carries out: they name what another answer told, or take a file."""


@pytest.fixture
async def shop(house: House) -> AsyncIterator[Program]:
    """A merchant's program before a server that lets nobody wait for events."""
    rest = open_rest(house, longest_wait_s=0.0)
    registries = RegistryDoor(Terms(house.desk), How(accepted_member_ids(MEMBERS)), rest.allowances, longest_s=0.2)
    made = await house.merchant("shop@example.com")
    doors: list[tuple[str, Door]] = [("/v1/registries", registries), ("/v1/registries/*", registries), ("/v1", rest), ("/v1/*", rest)]
    async with served(doors) as running:
        yield Program(house, made, running)


async def one_of_each(shop: Program) -> dict[str, str]:
    """An id that is there, by the first part of its path."""
    payout = await shop.made_one(reference="there", execute=False)
    payee = (await shop.ask("POST", "/v1/payees", {"reference": "there", "destination": CARD_TO})).json
    webhook = (await shop.ask("POST", "/v1/webhooks", {"url": "https://shop.example/hooks"})).json["webhook"]
    key = (await shop.ask("POST", "/v1/api-keys", {"name": "there"})).json["key"]
    line = json.dumps({"reference": "row", "amount": {"amount": "10", "currency": "RUB"}, "destination": PURSE_TO}).encode()
    registry = (await shop.ask("POST", "/v1/registries?kind=jsonl&name=a.jsonl", raw=line, kind="application/x-ndjson")).json
    return {"registries": registry["id"], "payouts": payout["id"], "payees": payee["id"], "webhooks": webhook["id"], "api-keys": key["id"]}


def walk(base_url: str, bearer: str, there: dict[str, str]) -> dict[str, set[int]]:
    """Every operation asked in all ways; the statuses that each was answered with. Fails on an answer that is not described."""
    import schemathesis  # here, since it takes seconds that no other test should pay
    from schemathesis import GenerationMode
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import (
        content_type_conformance,
        response_headers_conformance,
        response_schema_conformance,
        status_code_conformance,
    )

    checks: list[Any] = [
        not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance, response_headers_conformance
    ]
    heard: dict[str, set[int]] = {}
    operations: list[Any] = [cast(Any, found).ok() for found in schemathesis.openapi.from_dict(json.loads(openapi())).get_all_operations()]
    for operation in sorted(operations, key=lambda one: bool(one.method == "delete")):  # what was removed is there no more
        known = there.get(operation.path.split("/")[2]) if "{id}" in operation.path else None
        statuses = heard.setdefault(operation.definition.raw["operationId"], set())
        ways = [operation.as_strategy(generation_mode=mode) for mode in GenerationMode]
        if known is not None:
            ways += [operation.as_strategy(generation_mode=mode, path_parameters={"id": known}) for mode in GenerationMode]
        for body in BODIES.get(operation.definition.raw["operationId"], ()):
            ways.append(operation.as_strategy(body=body, **({"path_parameters": {"id": known}} if known is not None else {})))
        for way in ways:
            _asking(way, base_url, {"Authorization": f"Bearer {bearer}"}, statuses, checks)()
    return heard


def _asking(way: Any, base_url: str, headers: dict[str, str], statuses: set[int], checks: list[Any]) -> Callable[[], None]:
    """Asks in one way, again and again."""

    @settings(max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(case=way)
    def ask(case: Any) -> None:
        answer = case.call(base_url=base_url, headers=headers)
        statuses.add(answer.status_code)
        case.validate_response(answer, checks=checks)

    return ask


async def test_every_answer_is_described(shop: Program) -> None:
    """Whatever is made out of the document, the answer is one that the document describes, and every operation was carried out at least once."""
    there = await one_of_each(shop)
    heard = await asyncio.to_thread(walk, f"http://127.0.0.1:{shop.served.port}", shop.made.api_key, there)
    print({name: sorted(statuses) for name, statuses in heard.items()})
    assert {name for name, statuses in heard.items() if not statuses & {200, 201}} <= NEED_MORE
    assert set(heard) == {route.name for route in ROUTES}
    assert shop.served.logged("a door failed") == []
