"""The golden vectors: read, sent as they stand, and an answer compared as the vector's `match` says (`tests/vectors/README.md`)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import UUID
from xml.etree import ElementTree

from tests.conformance.wire import request

FOLDER = Path(__file__).parents[1] / "vectors"
TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,), "number": (int, float), "array": (list,), "object": (dict,), "null": (type(None),),
}  # fmt: skip
CONSTANTS = ("status", "code", "currency")
"""Values of a UnitPay answer that do not depend on data."""

Vector = dict[str, Any]


def load(protocol: str) -> dict[str, Vector]:
    """A protocol's vectors by name. Files that begin with an underscore are no exchanges."""
    return {path.stem: json.loads(path.read_text("utf-8")) for path in sorted((FOLDER / protocol).glob("[!_]*.json"))}


def with_request(protocol: str) -> dict[str, Vector]:
    """The vectors that can be sent."""
    return {name: vector for name, vector in load(protocol).items() if vector.get("request")}


def raw_request(vector: Vector) -> bytes:
    """The vector's request, byte for byte behind the verb; what it says about its length is what it has."""
    sent = vector["request"]
    target = sent["path"] + (f"?{sent['query_raw']}" if sent["query_raw"] else "")
    body = (sent["body_raw"] or "").encode()
    headers = [f"{name}: {value}" for name, value in sent["headers"].items() if name != "Content-Length"]
    return request(sent["http_method"], target, *headers, body=body if sent["http_method"] == "POST" else None)


def leaves(body: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value that is no object, by its JSON pointer; a list is one value."""
    if not isinstance(body, dict):
        yield path, body
        return
    for name, inner in body.items():
        yield from leaves(inner, f"{path}/{name}")


def check_types(body: Any, expected: Vector) -> None:
    """Every pointer of `types` is there with its type, but for those that may be absent or null."""
    free = {*expected.get("absent_ok", ()), *expected.get("nullable_or_absent", ())}
    for pointer, kind in expected["types"].items():
        values = list(_at(body, pointer))
        assert values or pointer in free, f"{pointer} is missing"
        for value in values:
            if not (value is None and pointer in free):
                assert isinstance(value, TYPES[kind]) and not isinstance(value, bool), pointer


def check_keys(body: Any, expected: Vector, extra: frozenset[str]) -> None:
    """The same members as the vector's answer, but for those it calls free, and `extra` of ours."""
    free = {
        *expected.get("absent_ok", ()),
        *expected.get("nullable_or_absent", ()),
        *expected.get("optional", ()),
    } | extra
    found, wanted = (dict(leaves(one)) for one in (body, expected["body"]))
    assert set(found) - free == set(wanted) - free


def check_unitpay_shape(body: Any, expected: Vector, extra: frozenset[str]) -> None:
    """`shape`: same keys, same types, equal constants."""
    check_types(body, expected)
    check_keys(body, expected, extra)
    found = dict(leaves(body))
    for pointer, value in leaves(expected["body"]):
        if pointer.rpartition("/")[2] in CONSTANTS:
            assert found[pointer] == value, pointer


def check_intellectmoney_shape(body: Any, expected: Vector) -> None:
    """`shape`: same keys, same types; equal values but for texts, ids and what has alternatives."""
    check_types(body, expected)
    check_keys(body, expected, frozenset())
    wanted = dict(leaves(expected["body"]))
    for pointer, value in leaves(body):
        if pointer in expected["any_guid"]:
            assert str(UUID(value)) == value
        elif pointer in expected["any_nonempty_string"] or pointer == "/Result/UserToken":
            assert isinstance(value, str) and value
        elif pointer in expected.get("alternatives", {}):
            assert value in expected["alternatives"][pointer]
        elif pointer in wanted:
            assert value == wanted[pointer], pointer
        else:
            assert value is None, pointer


def check_xml(raw: bytes, expected: Vector) -> None:
    """`xml-shape`: the places a client looks at; of a token, that it is there and a text pattern finds it."""
    root = ElementTree.fromstring(raw)
    for path, value in expected["xpath"].items():
        text = root.findtext(path)
        assert text and (text == value or path.endswith("UserToken")), path
        assert f"<{path.rpartition('/')[2]}>{text}</".encode() in raw


def _at(document: Any, pointer: str) -> Iterator[Any]:
    """The values a JSON pointer names, `*` standing for every item; none if it leads nowhere."""
    found = [document]
    for step in pointer.split("/")[1:]:
        found = [item for value in found for item in (value if step == "*" else [value[step]] if step in value else [])]
    return iter(found)
