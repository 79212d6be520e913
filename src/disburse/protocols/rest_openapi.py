"""The OpenAPI 3.1 document of `/v1`, made from the table of routes and the types that go over the wire. Pure: the same bytes each time.

Nothing in it is written by hand twice: a field, a status or a problem that the door does not know is not in it, and none that it
knows is missing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import cache
from http import HTTPStatus
from typing import Any, Final

import msgspec

from disburse.protocols.rest_messages import Problem
from disburse.protocols.rest_problems import KINDS, PROBLEM, URN
from disburse.protocols.rest_routes import ANYWHERE, ROUTES, Route
from disburse.protocols.wire import EVENT_STREAM, JSON

_XLSX: Final = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
_REF: Final = "#/components/schemas/{name}"
_ABOUT: Final = """Pays money out: each payout exactly once.

* A `reference` is yours, names one obligation and makes at most one payout, for ever. Sent again with the same content it is answered
with that payout as it stands; with other content it is refused (422).
* An `Idempotency-Key` names one request, for ever. Sent again with the same content it has no effect and is answered with the payout
as it stands, or with the refusal that it met then; with other content it is refused (422). A refusal sticks to the key and never to the reference.
* Every POST that makes something, or would do something a second time, takes an `Idempotency-Key`: payees, registries, webhook endpoints and API keys too. A repeat
is told of what the first one made, as it stands. A secret is shown to a repeat only where we have to keep it (sealed) in any case: a webhook's, while it signs; an API key's text never.
* Not remembered with a key: 400, 401, 404, 413, 415 and 5xx. After 503 `outcome_unknown`, or no answer at all, send the same request again.
"""


_HEADERS: Final = {
    "RateLimit-Policy": {
        "description": "What your API key may send to one process: `q` requests in `w` seconds.",
        "schema": {"type": "string", "examples": ['"key";q=2000;w=2']},
    },
    "RateLimit": {
        "description": "What of it is left: `r` requests now, and all of them again in `t` seconds.",
        "schema": {"type": "string", "examples": ['"key";r=1999;t=1']},
    },
    "Retry-After": {"description": "Ask again after so many seconds.", "schema": {"type": "string", "pattern": "^[0-9]+$"}},
}


@cache
def openapi() -> bytes:
    """The document."""
    kinds = {kind.__name__: kind for route in ROUTES for kind in (route.body, route.query, *route.answers.values(), Problem) if kind}
    ordered = [kinds[name] for name in sorted(kinds)]
    refs, components = msgspec.json.schema_components(ordered, ref_template=_REF)
    schema_of = dict(zip(ordered, refs, strict=True))
    queries = {route.query.__name__ for route in ROUTES if route.query is not None}
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schema_of, components)
    document = {
        "openapi": "3.1.0",
        "info": {"title": "Disburse", "version": "1", "description": _ABOUT},
        "paths": paths,
        "components": {
            "headers": _HEADERS,
            "responses": {_shared(status): _problem(status, names, schema_of[Problem]) for status, names in _ANYWHERE.items()},
            "schemas": {name: schema for name, schema in components.items() if name not in queries},
            "securitySchemes": {"api_key": {"type": "http", "scheme": "bearer", "description": "The merchant's `api_key`."}},
        },
        "security": [{"api_key": []}],
    }
    return json.dumps(document, ensure_ascii=False, indent=1).encode()


def _refer(*names: str) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _operation(route: Route, schema_of: dict[Any, Any], components: dict[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {"operationId": route.name, "summary": route.summary}
    if route.description:
        operation["description"] = route.description
    parameters = _parameters(route, components)
    if parameters:
        operation["parameters"] = parameters
    if route.body is not None:
        required = any(name == "required" and value for name, value in components[route.body.__name__].items())
        operation["requestBody"] = {"required": required, "content": {JSON: {"schema": schema_of[route.body]}}}
    if route.file:
        text, binary = {"type": "string"}, {"type": "string", "format": "binary"}
        operation["requestBody"] = {"required": True, "content": {"text/csv": {"schema": text}, "application/x-ndjson": {"schema": text}, _XLSX: {"schema": binary}}}
    answers = {
        str(status): {
            "description": (kind.__doc__ or "").split("\n")[0],
            "headers": _refer("RateLimit-Policy", "RateLimit"),
            "content": {EVENT_STREAM: {"schema": _message(schema_of[kind])}} if route.stream else {JSON: {"schema": schema_of[kind]}},
        }
        for status, kind in sorted(route.answers.items())
    }
    operation["responses"] = answers | _problems(route, schema_of[Problem])
    return operation


def _message(data: dict[str, Any]) -> dict[str, Any]:
    """One server-sent event of a stream."""
    text = {"type": "string"}
    told = {**text, "contentMediaType": JSON, "contentSchema": data}
    return {"type": "object", "properties": {"id": text, "event": text, "data": told}}


def _parameters(route: Route, components: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    if "{id}" in route.path:
        found.append({"name": "id", "in": "path", "required": True, "schema": {"type": "string", "format": "uuid"}})
    if route.keyed:
        about = "Names this request, for ever: 1 to 255 printable ASCII characters without spaces and quotes."
        shape = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!#-~]+$"}
        found.append({"name": "Idempotency-Key", "in": "header", "required": False, "description": about, "schema": shape})
    if route.query is not None:
        shape = components[route.query.__name__]
        needed = shape.get("required", [])
        for name, schema in shape["properties"].items():
            found.append({"name": name, "in": "query", "required": name in needed, "schema": _without_null(schema)})
    return found


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A query's parameter is there or not; it cannot be null."""
    kinds = [kind for kind in schema.get("anyOf", []) if kind != {"type": "null"}]
    rest = {name: value for name, value in schema.items() if name not in ("anyOf", "default") or (name == "default" and value is not None)}
    if "enum" in rest:
        rest["enum"] = [value for value in rest["enum"] if value is not None]
    return rest | (kinds[0] if len(kinds) == 1 else {"anyOf": kinds} if kinds else {})


def _by_status(names: Iterable[str]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for name in names:
        found.setdefault(KINDS[name].status, []).append(name)
    return dict(sorted(found.items()))


_ANYWHERE: Final = _by_status(ANYWHERE)


def _shared(status: int) -> str:
    """The name under which a problem that any path may answer is told once."""
    return HTTPStatus(status).phrase.replace(" ", "")


def _problems(route: Route, schema: dict[str, Any]) -> dict[str, Any]:
    return {
        str(status): {"$ref": f"#/components/responses/{_shared(status)}"} if names == _ANYWHERE.get(status) else _problem(status, names, schema)
        for status, names in _by_status((*ANYWHERE, *route.problems)).items()
    }


def _problem(status: int, names: Sequence[str], schema: dict[str, Any]) -> dict[str, Any]:
    kinds = {"properties": {"type": {"enum": [URN + name for name in names]}}}
    return {
        "headers": _refer(*_HEADERS) if status == 429 else _refer("RateLimit-Policy", "RateLimit"),
        "description": f"{HTTPStatus(status).phrase}: " + ", ".join(f"`{name}`" for name in names) + ".",
        "content": {PROBLEM: {"schema": {"allOf": [schema, kinds]}}},
    }
