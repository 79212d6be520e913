"""Whether an answer is one that the OpenAPI document describes. Lives here: reading the document, and the part of JSON Schema that it uses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from disburse.protocols.rest_openapi import openapi

DOCUMENT: dict[str, Any] = json.loads(openapi())
TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,), "object": (dict,), "array": (list,), "boolean": (bool,), "integer": (int,), "null": (type(None),),
}  # fmt: skip
WORDS = {
    "type", "$ref", "anyOf", "allOf", "properties", "required", "additionalProperties", "items", "enum", "title", "description",
    "default", "examples", "format", "discriminator", "pattern", "minimum", "maximum", "const",
}  # fmt: skip
"""What this reader understands; another word in the document fails a test instead of being passed over."""


def operation(method: str, path: str) -> dict[str, Any] | None:
    """What the document says about a method and a path."""
    parts = path.partition("?")[0].split("/")
    for template, verbs in DOCUMENT["paths"].items():
        wanted = template.split("/")
        if len(wanted) == len(parts) and all(w == p or w == "{id}" for w, p in zip(wanted, parts, strict=True)):
            found: dict[str, Any] | None = verbs.get("get" if method == "HEAD" else method.lower())
            return found
    return None


def faults(schema: dict[str, Any], value: Any, at: str = "$") -> Iterator[str]:
    """Where a value is not what a schema says."""
    unknown = set(schema) - WORDS
    if unknown:
        yield f"{at}: the schema says {sorted(unknown)}, which nobody reads"
    if "$ref" in schema:
        yield from faults(DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]], value, at)
    for part in schema.get("allOf", []):
        yield from faults(part, value, at)
    if "anyOf" in schema and all(any(faults(part, value, at)) for part in schema["anyOf"]):
        yield f"{at}: is none of those it may be"
    if "enum" in schema and value not in schema["enum"]:
        yield f"{at}: {value!r} is not listed"
    if "type" in schema and (not isinstance(value, TYPES[schema["type"]]) or (schema["type"] == "integer" and isinstance(value, bool))):
        yield f"{at}: is not {schema['type']}"
    if isinstance(value, dict):
        known = schema.get("properties", {})
        yield from (f"{at}.{name}: is missing" for name in schema.get("required", []) if name not in value)
        for name, part in value.items():
            if name in known:
                yield from faults(known[name], part, f"{at}.{name}")
            elif schema.get("type") == "object":
                yield f"{at}.{name}: is not described"
    if isinstance(value, list) and "items" in schema:
        for number, item in enumerate(value):
            yield from faults(schema["items"], item, f"{at}[{number}]")


def undescribed(method: str, path: str, status: int, content_type: str, body: bytes) -> list[str]:
    """What the document does not say about an answer to an operation that it describes."""
    described = operation(method, path)
    if described is None:
        return [f"no operation {method} {path}"]
    answer = described["responses"].get(str(status))
    if answer is None:
        return [f"{method} {path} answers {status}"]
    if "$ref" in answer:
        answer = DOCUMENT["components"]["responses"][answer["$ref"].rpartition("/")[2]]
    if content_type not in answer["content"]:
        return [f"{method} {path} {status} is {content_type}"]
    if method == "HEAD":
        return []
    return list(faults(answer["content"][content_type]["schema"], json.loads(body)))
