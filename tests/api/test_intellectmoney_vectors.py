"""Every golden vector that has a request, replayed byte for byte on a fresh merchant and compared as the vector says."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID
from xml.etree import ElementTree

import pytest

from disburse.domain.destinations import read_card
from disburse.domain.money import read_amount
from disburse.domain.ports import World
from disburse.operations.payouts import Found
from disburse.protocols.wire import WireRequest
from disburse.storage.database import Database
from tests.api.house import SANDBOX, House, build_house
from tests.api.intellectmoney_shop import CARD, Shop, door_of, plant_token, read

FOLDER = Path(__file__).parents[1] / "vectors" / "intellectmoney"
VECTORS = [json.loads(path.read_text("utf-8")) for path in sorted(FOLDER.glob("[!_]*.json"))]
REQUESTS = [vector for vector in VECTORS if vector["request"]]
TYPES = {"number": int, "string": str, "null": type(None)}


async def shop_of(house: House, vector: dict[str, Any]) -> Shop:
    """A merchant to whom the vector's secrets belong, with the state of things that its answer takes for granted."""
    sent = vector["request"]
    params = sent["decoded"]["params"]
    bearer = sent["headers"].get("Authorization", "Bearer none").partition(" ")[2]
    secrets = {
        "password": params.get("Password", "none"),
        "bearer_token": bearer,
        "sign_secret_key": vector.get("sign", {}).get("sign_secret_key", "none"),
    }
    made = await house.merchant(params.get("Login", "shop@example.com"), secrets=secrets, pci_dss=True)
    shop = Shop(house, door_of(house), made, params.get("UserToken", ""))
    if shop.token:
        await plant_token(house, shop.merchant, shop.token)
    if "PayoutOperationId" in params:
        await plant_payout(shop, UUID(params["PayoutOperationId"]))
        if vector["response"]["body"]["Result"]["PayoutOperationState"] == "Completed":
            await house.desk.execute(
                shop.merchant, house.desk.act(shop.merchant, UUID(params["PayoutOperationId"]), "test")
            )
            assert await house.settle()
    return shop


async def plant_payout(shop: Shop, payout: UUID) -> None:
    """A created payout that has the vector's id."""
    desk, merchant, card = shop.house.desk, shop.merchant, read_card(CARD, luhn=True)
    draft = desk.draft(
        merchant, card, read_amount("50", "RUB"), surface="intellectmoney", reference=None, amount_text="50",
        execute=False, actor="test",
    )  # fmt: skip
    sealed = desk.vault.seal(card.to_bytes(), merchant_id=merchant.merchant_id, payout_id=payout.bytes)
    base = desk.base(merchant, "intellectmoney", None, payout)
    made = await desk.create(merchant, replace(draft, payout_id=payout, base=base, sealed=sealed))
    assert isinstance(made, Found) and made.fresh


def at(body: Any, pointer: str) -> Any:
    for step in pointer.split("/")[1:]:
        body = body[step]
    return body


def leaves(body: Any, path: str = "") -> dict[str, Any]:
    if not isinstance(body, dict):
        return {path: body}
    return {key: value for name, inner in body.items() for key, value in leaves(inner, f"{path}/{name}").items()}


def compare_shape(expected: dict[str, Any], body: dict[str, Any]) -> None:
    """Same members, same types; equal values but for texts and ids that are free."""
    wanted, found = leaves(expected["body"]), leaves(body)
    free = set(expected["nullable_or_absent"])
    assert set(found) - free == set(wanted) - free
    for pointer, kind in expected["types"].items():
        if pointer in found and not (pointer in free and found[pointer] is None):
            assert type(found[pointer]) is TYPES[kind], pointer
    for pointer, value in found.items():
        if pointer in expected["any_guid"]:
            assert str(UUID(value)) == value
        elif pointer in expected["any_nonempty_string"] or pointer == "/Result/UserToken":
            assert isinstance(value, str) and value
        elif pointer in expected.get("alternatives", {}):
            assert value in expected["alternatives"][pointer]
        elif pointer in wanted:
            assert value == wanted[pointer], pointer
        else:
            assert pointer in free and value is None


def compare_xml(expected: dict[str, Any], raw: bytes) -> None:
    """The places a client looks at hold what they should; of a token, that it is there and can be found by a text pattern."""
    root = ElementTree.fromstring(raw)
    for path, value in expected["xpath"].items():
        text = root.findtext(path)
        assert text and (text == value or path.endswith("UserToken")), path
        assert f"<{path.rpartition('/')[2]}>{text}</".encode() in raw


@pytest.mark.parametrize("vector", REQUESTS, ids=[vector["id"].partition("/")[2] for vector in REQUESTS])
async def test_vectors(vector: dict[str, Any], database: Database, world: World, tmp_path: Path) -> None:
    """The vector's bytes get the vector's answer."""
    house = await build_house(database, world, tmp_path, routes=(SANDBOX,))
    shop = await shop_of(house, vector)
    sent, expected = vector["request"], vector["response"]
    headers = {name.lower(): value for name, value in sent["headers"].items()}
    answer = await shop.door.answer(
        WireRequest(sent["http_method"], sent["path"], sent["query_raw"].encode(), headers, sent["body_raw"].encode())
    )
    assert (answer.status, answer.content_type) == (expected["http_status"], expected["content_type"])
    reply = read(answer)
    assert reply.code == 0
    if expected["match"] == "xml-shape":
        compare_xml(expected, answer.body)
    else:
        assert expected["match"] == "shape"
        compare_shape(expected, reply.body)
    if "PayoutOperationId" in sent["decoded"]["params"]:
        assert reply.guid == sent["decoded"]["params"]["PayoutOperationId"].lower()


def test_all_vectors_are_replayed() -> None:
    """The folder holds what it should: no vector got lost, and those left out are answers that nobody asked for."""
    assert (len(VECTORS), len(REQUESTS)) == (25, 14)
    assert {vector["pairing"] for vector in VECTORS if vector not in REQUESTS} == {"response only"}
