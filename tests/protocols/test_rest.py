"""The REST codec: strict reading that names the field and repeats nothing, and a document that is whole."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from disburse.protocols.rest import (
    read_bearer,
    read_body,
    read_cursor,
    read_id,
    read_key,
    read_query,
    write_cursor,
    write_query,
)
from disburse.protocols.rest_messages import Amount, NewPayout, Nothing, PayoutsAsked, ToPhone
from disburse.protocols.rest_openapi import openapi
from disburse.protocols.rest_problems import KINDS, Refused, bad, encode_problem
from disburse.protocols.rest_routes import ANYWHERE, ROUTES, WrongMethod, find_route
from disburse.protocols.wire import WireRequest

ORDER: dict[str, Any] = {"amount": {"amount": "10", "currency": "RUB"}, "destination": {"rail": "sbp", "phone": "79510000071"}}


def request(body: bytes = b"", query: bytes = b"", **headers: str) -> WireRequest:
    return WireRequest("POST", "/v1/payouts", query, {"content-type": "application/json", **{k.replace("_", "-"): v for k, v in headers.items()}}, body)


def test_an_order_is_read() -> None:
    """What is not sent has its default; the destination's type is its rail's."""
    order = read_body(request(json.dumps(ORDER).encode()), NewPayout)
    assert order.amount == Amount(amount="10", currency="RUB") and order.execute is False and order.reference is None
    assert isinstance(order.destination, ToPhone) and order.destination.bank is None
    assert "79510000071" not in f"{order!r}{order}{order.destination!r}"
    assert read_body(request(), Nothing) == read_body(request(b"{}"), Nothing) == Nothing()


@pytest.mark.parametrize(
    "change, field, why",
    [
        ({"amount": 10}, "amount", "must be an object"),
        ({"amount": {"amount": 10, "currency": "RUB"}}, "amount.amount", "must be a string"),
        ({"amount": {"currency": "RUB"}}, "amount.amount", "is missing"),
        ({"destination": {"rail": "sbp", "phone": "7", "bank": 1}}, "destination.bank", "must be a string"),
        ({"destination": {"rail": "other"}}, "destination.rail", "is not one of the values that it may have"),
        ({"destination": {}}, "destination.rail", "is missing"),
        ({"execute": "yes"}, "execute", "must be true or false"),
        ({"other": 1}, "other", "is not a field here"),
        ({"4111111111111111": 1}, None, None),
        ({"reference": {}}, "reference", "must be a string"),
    ],
)
def test_the_field_is_named(change: dict[str, Any], field: str | None, why: str | None) -> None:
    """A fault of shape names its field in our words; a name that may be a value is not repeated."""
    with pytest.raises(Refused) as told:
        read_body(request(json.dumps({**ORDER, **change}).encode()), NewPayout)
    faults = [(one.field, one.why) for one in told.value.faults]
    assert faults == ([(field, why)] if field is not None else []) and "4111111111111111" not in str(told.value)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8))
def test_any_json_is_read_or_refused(value: Any) -> None:
    """Whatever JSON comes is read or is a 400; no other exception, and nothing of it in the words."""
    for body in (value, {**ORDER, "amount": value}, {**ORDER, "destination": value}, {**ORDER, "reference": value}):
        try:
            read_body(request(json.dumps(body).encode()), NewPayout)
        except Refused as refused:
            assert KINDS[refused.name].status == 400
            problem = json.loads(encode_problem(refused).body)
            assert problem["status"] == 400 and len(problem["detail"]) < 200


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    """The same for bytes, in a body and in a query."""
    for read in (lambda: read_body(request(raw or b" "), NewPayout), lambda: read_query(request(query=raw), PayoutsAsked)):
        try:
            read()
        except Refused as refused:
            assert KINDS[refused.name].status == 400


@given(st.builds(
    PayoutsAsked, reference=st.none() | st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1),
    state=st.sampled_from([None, "paid", "in_doubt"]), rail=st.sampled_from([None, "card"]),
    created_from=st.none() | st.datetimes(min_value=datetime(1000, 1, 1), timezones=st.just(UTC)),
    limit=st.integers(1, 200), cursor=st.none() | st.integers(0, 2**63 - 1).map(write_cursor),
))  # fmt: skip
def test_a_query_is_read_as_it_was_written(asked: PayoutsAsked) -> None:
    """What a client writes the server reads."""
    assert read_query(request(query=write_query(asked).encode()), PayoutsAsked) == asked


@given(st.integers(0, 2**63 - 1))
def test_cursors(place: int) -> None:
    """A cursor is read as it was written; one that we cannot have written is refused."""
    assert read_cursor(write_cursor(place)) == place and read_cursor(None) is None
    with pytest.raises(Refused):
        read_cursor(write_cursor(place + 2**63))


@pytest.mark.parametrize("text, key", [("k", "k"), ('"k"', "k"), ("a,b", "a,b"), ("x" * 255, "x" * 255)])
def test_keys(text: str, key: str) -> None:
    """A key is visible ASCII, in quotes or not."""
    assert read_key(request(idempotency_key=text)) == key
    assert read_key(request()) is None


@pytest.mark.parametrize("text", ["", '"', '""', "a b", "a, b", "x" * 256, 'a"b', "\xe9", "a\n"])
def test_bad_keys(text: str) -> None:
    """Anything else is refused, naming the header."""
    with pytest.raises(Refused) as told:
        read_key(request(idempotency_key=text))
    assert told.value.faults[0].field == "Idempotency-Key"


def test_bearers() -> None:
    """The scheme's letters may be of any case; anything but one word after it is 401."""
    assert read_bearer(request(authorization="bEaReR  dsb_1")) == "dsb_1"
    for text in ("", "dsb_1", "Basic dsb_1", "Bearer", "Bearer a b", "Bearer \xe9", "Bearer a\n"):
        with pytest.raises(Refused) as told:
            read_bearer(request(authorization=text))
        assert told.value.name == "unauthorized"


def test_ids() -> None:
    """An id is 36 characters of one form, in either case; nothing else that Python would take for a UUID."""
    one = "018F0000-0000-7000-8000-00000000000a"
    assert read_id(one) == one.lower()
    assert [read_id(text) for text in ("{" + one + "}", one.replace("-", ""), f"urn:uuid:{one}", one + "\n", "８" + one[1:], "")] == [None] * 6


def test_every_route_is_found() -> None:
    """Each route of the table is found by its own path and method; another method of a known path is told which there are."""
    for route in ROUTES:
        assert find_route(route.method, route.path.replace("{id}", "7")) == (route, "7" if "{id}" in route.path else "")
    with pytest.raises(WrongMethod) as told:
        find_route("DELETE", "/v1/payouts")
    assert told.value.allowed == ["GET", "POST", "HEAD"]


def test_every_problem_can_be_answered() -> None:
    """Each kind of problem belongs to a route or to all of them; what sticks to a key is never a 5xx, and never a fault of form."""
    told = {name for route in ROUTES for name in route.problems} | set(ANYWHERE) | {"method_not_allowed"}
    assert told == set(KINDS)
    assert all(kind.status in (403, 409, 422) for kind in KINDS.values() if kind.sticks)
    for name in KINDS:
        answer = encode_problem(Refused(name))
        assert answer.status == KINDS[name].status == json.loads(answer.body)["status"]
    assert json.loads(encode_problem(bad("limit", "is wrong")).body)["field"] == "limit"


# --- the document -------------------------------------------------------------------------------------------------


def walk(value: Any) -> Iterator[Any]:
    """Every part of a document."""
    yield value
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for part in parts:
        yield from walk(part)


def test_the_document_is_whole() -> None:
    """Every reference in it leads somewhere, every schema in it is used, and every route and status of the table is there."""
    document = json.loads(openapi())
    used = {part["$ref"] for part in walk(document) if isinstance(part, dict) and "$ref" in part}
    there = {f"#/components/{kind}/{name}" for kind in ("schemas", "responses", "headers") for name in document["components"][kind]}
    assert used == there
    assert document["openapi"] == "3.1.0" and openapi() == openapi()
    described = {(method.upper(), path): operation for path, verbs in document["paths"].items() for method, operation in verbs.items()}
    assert set(described) == {(route.method, route.path) for route in ROUTES}
    for route in ROUTES:
        operation = described[route.method, route.path]
        statuses = {*route.answers, *(KINDS[name].status for name in (*ANYWHERE, *route.problems))}
        assert {int(status) for status in operation["responses"]} == statuses
        assert operation["operationId"] == route.name and operation["summary"]
        assert ("requestBody" in operation) is (route.body is not None or route.file)
        named = [one["name"] for one in operation.get("parameters", [])]
        assert ("Idempotency-Key" in named) is route.keyed
        if route.query is not None:
            assert [name for name in named if name not in ("id", "Idempotency-Key")] == [field.encode_name for field in msgspec.structs.fields(route.query)]
    assert described["POST", "/v1/payouts"]["requestBody"]["required"] is True
    assert described["POST", "/v1/payouts/{id}/execute"]["requestBody"]["required"] is False
