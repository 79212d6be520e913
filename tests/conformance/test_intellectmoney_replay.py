"""Every IntellectMoney vector that has a request, sent byte for byte to a running server, each on a fresh merchant with its credentials."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from disburse.domain.destinations import read_card
from disburse.domain.money import read_amount
from disburse.operations.payouts import Found
from tests.conformance.intellectmoney_shop import CARD, Shop, read
from tests.conformance.running import Running, running
from tests.conformance.vectors import check_intellectmoney_shape, check_xml, load, raw_request, with_request
from tests.conformance.wire import send, until

VECTORS = with_request("intellectmoney")


def shop_of(served: Running, vector: dict[str, Any]) -> tuple[str, Any]:
    """Make a fresh merchant to whom the vector's secrets belong, and the payout that it asks about."""
    sent = vector["request"]
    params = sent["decoded"]["params"]
    login, token = params.get("Login", "shop@example.com"), params.get("UserToken", "")
    bearer = sent["headers"].get("Authorization", "Bearer none").partition(" ")[2]
    served.vacate(login, token, bearer)
    secrets = {
        "password": params.get("Password", "none"),
        "bearer_token": bearer,
        "sign_secret_key": vector.get("sign", {}).get("sign_secret_key", "none"),
    }
    made = served.merchant(login, secrets=secrets)
    if token:
        served.plant_token(made.merchant, token)
    if "PayoutOperationId" in params:
        plant_payout(served, made.merchant, UUID(params["PayoutOperationId"]))
        if vector["response"]["body"]["Result"]["PayoutOperationState"] == "Completed":
            shop = Shop(served, made)
            shop.call("ExecuteOperation", PayoutOperationId=params["PayoutOperationId"])
            until(lambda: shop.state(params["PayoutOperationId"]), lambda state: state == "Completed")
    return login, made


def plant_payout(served: Running, merchant: Any, payout: UUID) -> None:
    """A created payout that has the vector's id."""
    desk, card = served.house.desk, read_card(CARD, luhn=True)
    draft = desk.draft(
        merchant, card, read_amount("50", "RUB"), surface="intellectmoney", reference=None, amount_text="50",
        execute=False, actor="test",
    )  # fmt: skip
    sealed = desk.vault.seal(card.to_bytes(), merchant_id=merchant.merchant_id, payout_id=payout.bytes)
    base = desk.base(merchant, "intellectmoney", None, payout)
    made = served.run(desk.create(merchant, replace(draft, payout_id=payout, base=base, sealed=sealed)))
    assert isinstance(made, Found) and made.fresh


@pytest.mark.parametrize("name", VECTORS)
def test_replay(served: Running, server: Callable[[str], str], template: str, tmp_path: Path, name: str) -> None:
    """The vector's bytes get the vector's answer, as its `match` compares."""
    vector = VECTORS[name]
    expected, guid = vector["response"], vector["request"]["decoded"]["params"].get("PayoutOperationId")
    with ExitStack() as stack:
        if guid is not None:  # several vectors ask about one id, which there can be once in an installation
            served = stack.enter_context(running(server, template, tmp_path))
        shop_of(served, vector)
        answer = send(served.port, raw_request(vector))
    assert (answer.status, answer.headers["content-type"]) == (expected["http_status"], expected["content_type"])
    reply = read(answer)
    assert reply.code == 0
    match expected["match"]:
        case "shape":
            check_intellectmoney_shape(reply.body, expected)
        case "xml-shape":
            check_xml(answer.body, expected)
        case other:
            raise AssertionError(f"{other} has no comparison")
    assert guid is None or reply.guid == guid.lower()


def test_none_is_lost() -> None:
    """The folder holds what it should; what is not sent has no request."""
    vectors = load("intellectmoney")
    assert (len(vectors), len(VECTORS)) == (25, 14)
    assert all(not vector["request"] for name, vector in vectors.items() if name not in VECTORS)
