"""The readable page of `/v1`: the OpenAPI document as HTML, made on the server. Pure: the same bytes each time.

Nothing on it is written by hand twice, and it loads nothing from anywhere: one style, named in the policy by its digest, and no script.
Every text is escaped, wherever it comes from. May not live here: what the API is (`rest_routes.py` and the messages).
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from functools import cache
from html import escape
from typing import Any, Final

from disburse.protocols.rest_openapi import openapi
from disburse.protocols.wire import WireAnswer

STYLE: Final = """
:root{color-scheme:light dark;--line:#8884;--soft:#8882;--key:#0a6e4f}
body{font:16px/1.5 system-ui,sans-serif;max-width:62rem;margin:0 auto;padding:1rem 1rem 6rem}
h1{margin-bottom:0}h2{margin-top:3rem;border-bottom:1px solid var(--line)}h3{margin:2rem 0 .2rem;font-size:1.05rem}
code{font:14px/1.4 ui-monospace,monospace;overflow-wrap:anywhere}
.verb{display:inline-block;min-width:4.2rem;font-weight:700;color:var(--key)}
table{border-collapse:collapse;width:100%;margin:.4rem 0 1rem;font-size:15px}
th,td{text-align:left;vertical-align:top;padding:.25rem .6rem .25rem 0;border-top:1px solid var(--line)}
th{font-weight:600}td:first-child{white-space:nowrap}
nav{columns:18rem;padding:.6rem 1rem;background:var(--soft)}nav a{display:block}
a{color:inherit}.need{font-size:13px;opacity:.7}h4{margin:.8rem 0 0;font-size:14px;opacity:.75}
"""
_DIGEST: Final = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
POLICY: Final = f"default-src 'none'; style-src 'sha256-{_DIGEST}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
HEADERS: Final = (("content-security-policy", POLICY), ("referrer-policy", "no-referrer"), ("x-frame-options", "DENY"))
_HTML: Final = "text/html; charset=utf-8"
_CODE: Final = re.compile(r"`([^`]+)`")


@cache
def docs_page() -> WireAnswer:
    """The page, as an answer."""
    return WireAnswer(200, _HTML, render(json.loads(openapi())).encode(), HEADERS)


def render(document: dict[str, Any]) -> str:
    """An OpenAPI document of ours as a page."""
    info, schemas = document["info"], document["components"]["schemas"]
    rooms: dict[str, list[tuple[str, str, dict[str, Any]]]] = {}
    for path, verbs in document["paths"].items():
        rooms.setdefault(path.split("/")[2], []).extend((verb.upper(), path, told) for verb, told in verbs.items())
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'><title>{escape(info['title'])} /v1</title>",
        f"<style>{STYLE}</style><h1>{escape(info['title'])}</h1>{_prose(info['description'])}",
        "<p>For programs: <a href='/openapi.json'>/openapi.json</a>.</p>",
        _contents(rooms),
    ]
    for room, operations in rooms.items():
        parts.append(f"<h2 id='{escape(room)}'>{escape(_title(room))}</h2>")
        parts += [_operation(*one, document["components"].get("responses", {})) for one in operations]
    parts.append("<h2 id=types>Types</h2>")
    parts += [_type(name, shape) for name, shape in sorted(schemas.items())]
    return "\n".join(parts)


def _contents(rooms: dict[str, list[tuple[str, str, dict[str, Any]]]]) -> str:
    lines = [
        f"<a href='#{escape(told['operationId'])}'><span class=verb>{verb}</span><code>{escape(path)}</code></a>"
        for operations in rooms.values()
        for verb, path, told in operations
    ]
    return f"<nav>{''.join(lines)}</nav>"


def _title(room: str) -> str:
    words = room.replace("-", " ")
    return "API keys" if room == "api-keys" else words[0].upper() + words[1:]


def _operation(verb: str, path: str, told: dict[str, Any], shared: dict[str, Any]) -> str:
    name = escape(told["operationId"])
    parts = [f"<h3 id='{name}'><span class=verb>{verb}</span><code>{escape(path)}</code></h3>{_prose(told['summary'] + '. ' + told.get('description', ''))}"]
    given = [(one["name"], f"{one['in']}, {_kind(one['schema'])}", one["required"], _about(one | one["schema"])) for one in told.get("parameters", [])]
    if given:
        parts.append(_table("It takes", given))
    if "requestBody" in told:
        kind = _kind(_schema_of(told["requestBody"]))
        parts.append(f"<h4>Body{'' if told['requestBody']['required'] else ', or none'}</h4><p>{kind}</p>")
    answers = {status: shared[one["$ref"].rpartition("/")[2]] if "$ref" in one else one for status, one in told["responses"].items()}
    rows = [
        f"<tr><td>{escape(status)}</td><td>{_marked(answer['description'])}</td><td>{_kind(_schema_of(answer))}</td></tr>"
        for status, answer in answers.items()
    ]
    parts.append(f"<h4>Answers</h4><table>{''.join(rows)}</table>")
    return "".join(parts)


def _schema_of(content: dict[str, Any]) -> dict[str, Any]:
    (found,) = content["content"].values()
    schema: dict[str, Any] = found["schema"]
    return schema


def _type(name: str, shape: dict[str, Any]) -> str:
    needed = shape.get("required", [])
    rows = [(field, _kind(one), field in needed, _about(one)) for field, one in shape.get("properties", {}).items()]
    table = _table("", rows) if rows else ""
    return f"<h3 id='type-{escape(name)}'><code>{escape(name)}</code></h3>{_prose(shape.get('description', ''))}{table}"


def _table(title: str, rows: Iterable[tuple[str, str, bool, str]]) -> str:
    lines = [
        f"<tr><td><code>{escape(name)}</code>{' <span class=need>needed</span>' if needed else ''}</td><td>{kind}</td><td>{about}</td></tr>"
        for name, kind, needed, about in rows
    ]
    return (f"<h4>{escape(title)}</h4>" if title else "") + f"<table>{''.join(lines)}</table>"


def _kind(schema: dict[str, Any]) -> str:
    """What a schema takes, in few words, with links to types."""
    return ", or ".join(dict.fromkeys(_kinds(schema)))


def _kinds(schema: dict[str, Any]) -> Iterator[str]:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        yield f"<a href='#type-{escape(name)}'>{escape(name)}</a>"
    elif "enum" in schema:
        yield "one of " + ", ".join(f"<code>{escape(json.dumps(one))}</code>" for one in schema["enum"])
    elif schema.get("type") == "array":
        yield f"a list of {_kind(schema['items'])}"
    elif "type" in schema:
        yield escape(schema.get("format", schema["type"]))
    for part in (*schema.get("anyOf", ()), *schema.get("allOf", ())):
        yield from _kinds(part)


def _about(schema: dict[str, Any]) -> str:
    words = [_marked(schema.get("description", ""))]
    if schema.get("default") is not None:
        words.append(f"Default: <code>{escape(json.dumps(schema['default']))}</code>.")
    words += [f"Such as <code>{escape(json.dumps(one))}</code>." for one in schema.get("examples", ())]
    return " ".join(word for word in words if word)


def _marked(text: str) -> str:
    return _CODE.sub(r"<code>\1</code>", escape(text))


def _prose(text: str) -> str:
    """Paragraphs, and lists of lines that begin with a star."""
    parts = []
    for block in text.strip().split("\n\n"):
        if block.startswith("* "):
            items = re.split(r"(?:^|\n)\* ", block)[1:]
            parts.append("<ul>" + "".join(f"<li>{_marked(item)}</li>" for item in items) + "</ul>")
        elif block.strip(" ."):
            parts.append(f"<p>{_marked(block.strip())}</p>")
    return "".join(parts)
