"""Nothing secret leaks: not by the time a comparison takes, not by a print or a log line, not by a repr."""

from __future__ import annotations

import ast
import collections.abc
import dataclasses
import importlib
import re
import types
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints
from uuid import UUID

import msgspec
import pytest

from disburse.domain.money import Money
from disburse.storage.keyring import Keyring
from tests.house.sources import in_rooms, owner_of, sources

# --- comparing ---------------------------------------------------------------------------------------------------

SECRET_NAME = re.compile(r"(?:^|_)(?:secrets?|tokens?|digests?|passwords?|signatures?|sign|hmac|bearer|api_key)$")

COMPARED: dict[tuple[str, str], str] = {}
"""(file, comparison): why this comparison of something that is called a secret may take its time."""


def _name(node: ast.expr) -> str:
    """What an operand is called: a name, an attribute, a key of text, or a function that makes it."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Subscript(slice=ast.Constant(value=str(name))):
            return name
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) if name in ("digest", "hexdigest", "sign"):
            return "digest"
        case ast.Call(func=ast.Attribute(value=of)):  # token.lower(), say
            return _name(of)
        case _:
            return ""


def leaky_comparisons(tree: ast.Module) -> Iterator[ast.Compare]:
    """Comparisons by `==` or `!=` of what is called a secret; with a constant it is no secret."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and any(isinstance(operator, ast.Eq | ast.NotEq) for operator in node.ops):
            sides = [node.left, *node.comparators]
            if any(SECRET_NAME.search(_name(side)) for side in sides) and not any(
                isinstance(side, ast.Constant) for side in sides
            ):
                yield node


def test_secrets_are_compared_in_constant_time() -> None:
    """What is called a secret, token, digest, password or signature is compared by `hmac.compare_digest`."""
    found = {
        (source.path, ast.unparse(node)): f"{source.path}:{node.lineno} {ast.unparse(node)}"
        for source in sources()
        for node in leaky_comparisons(source.tree)
    }
    assert [told for key, told in found.items() if key not in COMPARED] == []
    assert [key for key in COMPARED if key not in found] == []


@pytest.mark.parametrize(
    "code, caught",
    [
        ("x == self.secret", True),
        ("token != given", True),
        ("row['token_digest'] == y", True),
        ("hashlib.sha256(x).hexdigest() == y", True),
        ("digest(x) == y", True),
        ("call.sign == sign(y)", True),
        ("x.password.strip() == y", True),
        ("token == ''", False),
        ("len(token) == 32", False),
        ("token is None", False),
        ("x in tokens", False),
        ("hmac.compare_digest(token, given)", False),
        ("tokenizer == y", False),
        ("design == y", False),
    ],
)
def test_the_check_of_comparisons(code: str, caught: bool) -> None:
    """The check tells a leaking comparison from a harmless one."""
    assert any(True for _ in leaky_comparisons(ast.parse(code))) is caught


# --- printing and logging ----------------------------------------------------------------------------------------

PRINTS = {("storage/embedded_keeper.py", "Keeper._say"): "the keeper's own log: what it did to the server, no values"}

LOGGERS = re.compile(r"(?:^|_)(?:log|logger|logging)$")
LEVELS = frozenset(
    {"debug", "info", "warning", "warn", "error", "exception", "critical", "fatal", "log", "msg", "bind"}
)
NEVER_LOGGED = re.compile(
    r"(?:^|_)(?:query|query_string|raw|raw_path|target|body|scope|headers?|cookies?|form|params?|parameters|arguments|request"
    r"|purse|pan|card|phone|destination|account|number|recipient|recipient_name|comment|login|secret|secret_key|token"
    r"|bearer|password|sign|signature|api_key|sealed|dsn|message)$"
)


def test_nothing_is_printed() -> None:
    """Only the command line prints; everything else logs, where a request's content cannot get."""
    found = {
        (source.path, owner_of(source).get(id(node), ""))
        for source in sources()
        if source.room != "cli"
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("print", "pprint")
    }
    assert found == set(PRINTS)


def told_by_logs(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, name) of whatever a call of a logger is given that must not be logged."""
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LEVELS):
            continue
        if not LOGGERS.search(_logger(node.func.value)):
            continue
        for given in [*node.args, *[keyword.value for keyword in node.keywords]]:
            for part in ast.walk(given):
                name = part.id if isinstance(part, ast.Name) else part.attr if isinstance(part, ast.Attribute) else ""
                if NEVER_LOGGED.search(name):
                    yield node.lineno, name
        for keyword in node.keywords:
            if NEVER_LOGGED.search(keyword.arg or ""):
                yield node.lineno, keyword.arg or ""


def _logger(node: ast.expr) -> str:
    if isinstance(node, ast.Call):
        return "logger" if _logger(node.func) in ("get_logger", "getLogger", "bind") else _logger(node.func)
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def test_logs_are_given_nothing_of_a_request() -> None:
    """No logger is handed a query, a header, a body or anything that names a payee or a secret."""
    assert [f"{source.path}:{line} {name}" for source in sources() for line, name in told_by_logs(source.tree)] == []


@pytest.mark.parametrize(
    "code, caught",
    [
        ("log.info('x', query=request.query)", True),
        ("log.info(f'{request.query}')", True),
        ("self._log.warning('x', why=str(request))", True),
        ("logger.error('x %s', scope['query_string'])", True),
        ("structlog.get_logger().info('x', token='y')", True),
        ("log.bind(purse=1).info('x')", True),
        ("log.info('x', route=route, payout=payout.payout_id)", False),
        ("self._log.info('a query came', seconds=1)", False),
        ("math.log(number)", False),
        ("catalogue.info(query)", False),
    ],
)
def test_the_check_of_logs(code: str, caught: bool) -> None:
    """The check tells a line that tells too much from one that does not."""
    assert any(True for _ in told_by_logs(ast.parse(code))) is caught


def test_servers_keep_no_access_log() -> None:
    """uvicorn's access log writes query strings, so every server of ours is made without one."""
    servers = [
        (source.path, {keyword.arg: keyword.value for keyword in node.keywords})
        for source in sources()
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("uvicorn.Config", "uvicorn.run", "Config")
    ]
    for path, given in servers:
        off = given.get("access_log")
        assert isinstance(off, ast.Constant) and off.value is False, path


# --- representations ---------------------------------------------------------------------------------------------

MARK = "LEAKED"
SENSITIVE = re.compile(
    r"^(?:purse|pan|card|phone|account|recipient_name|comment|bearer|sign|params|raw|query|headers|body|cookies|keys)$"
    r"|(?:^|_)(?:secret|token|password|key)$"
)
SENSITIVE_HERE = {
    "Credentials": {"login"},
    "GetUserToken": {"login"},
    "Destination": {"number", "bank", "name"},
    "XmlElement": {"text", "children"},
    "ResultAnswer": {"fields", "items"},
    "ErrorAnswer": {"message"},
    "PayoutResult": {"message"},
}
"""Fields whose names tell nothing, but whose content does."""

SHOWN = {
    ("CreatePayout", "comment"): "the merchant's words on its payout; no command is logged",
    ("_File", "keys"): "the key file as it is read and written, inside one function each",
}
"""(class, field) that a repr may show though it is called like a secret, and why."""


def _classes() -> list[type]:
    found = []
    for source in in_rooms("domain", "protocols", "data", "storage", "operations", "connectors", "api", "workers"):
        module = importlib.import_module(source.module)
        here = [value for value in vars(module).values() if getattr(value, "__module__", "") == module.__name__]
        found += [value for value in here if isinstance(value, type) and _is_message(value)]
    return found


def _is_message(value: Any) -> bool:
    return dataclasses.is_dataclass(value) or (isinstance(value, type) and issubclass(value, msgspec.Struct))


def build(cls: Any, depth: int = 0) -> Any:
    """An instance with a marked value in every field that is sensitive, and something that fits in all others."""
    if cls in CHECKED:
        return CHECKED[cls]()
    hints = get_type_hints(cls)
    given = {name: _value(hints[name], MARK if is_sensitive(cls, name) else name, depth + 1) for name in _fields(cls)}
    return cls(**given)


def _fields(cls: Any) -> list[str]:
    if dataclasses.is_dataclass(cls):
        return [field.name for field in dataclasses.fields(cls) if field.init]
    return list(cls.__struct_fields__)


def is_sensitive(cls: type, name: str) -> bool:
    """Whether a field must not be shown."""
    if (cls.__name__, name) in SHOWN:
        return False
    return SENSITIVE.search(name) is not None or name in SENSITIVE_HERE.get(cls.__name__, ())


DEEPEST = 4  # a message may hold messages of its own kind

CHECKED: dict[Any, Callable[[], Any]] = {
    Money: lambda: Money(1, "RUB"),
    Keyring: lambda: Keyring({b"0001": MARK.encode().ljust(32)}, b"0001", b"0001"),
}
"""Classes that check what they are made of."""

PLAIN: dict[Any, Any] = {
    int: 1,
    float: 1.0,
    bool: True,
    datetime: datetime(2026, 11, 21, tzinfo=UTC),
    UUID: UUID(int=1),
    Path: Path("place"),
    type(None): None,
}


def _value(hint: Any, text: str, depth: int) -> Any:
    """Something of a type, with the text in it wherever the type has room for text."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _value(next(one for one in inner if one is not type(None)), text, depth)
    if origin is Literal:
        return inner[0]
    if origin is tuple:
        return tuple(_value(one, text, depth) for one in inner if one is not ...)
    if origin is not None and issubclass(origin, collections.abc.Mapping):
        return {"name": _value(inner[1], text, depth)}
    if origin is not None and issubclass(origin, collections.abc.Collection):
        made = [_value(inner[0], text, depth)] if depth < DEEPEST else []
        if issubclass(list, origin):
            return made
        return set(made) if issubclass(set, origin) else origin(made)  # the abstract Set cannot be made
    if hint in PLAIN:
        return PLAIN[hint]
    if hint is str or getattr(hint, "__supertype__", None) is str:
        return text
    if hint is bytes:
        return text.encode()
    if isinstance(hint, type) and issubclass(hint, Enum):
        return next(iter(hint))
    return build(hint, depth) if _is_message(hint) else None


@pytest.mark.parametrize("cls", _classes(), ids=lambda cls: f"{cls.__module__}.{cls.__name__}")
def test_no_repr_tells_a_secret(cls: type) -> None:
    """The repr and str of a message show no card, phone, wallet, secret, token, key, or raw request, its parts' included."""
    made = build(cls)
    for text in (repr(made), str(made), f"{made}", repr([made])):
        assert MARK not in text


def test_every_exception_is_needed() -> None:
    """What is listed as shown is a field that would else be hidden."""
    fields = {(cls.__name__, name) for cls in _classes() for name in _fields(cls)}
    assert [entry for entry in SHOWN if entry not in fields] == []


@dataclasses.dataclass
class _Inner:
    secret_key: str
    number: int


class _Struct(msgspec.Struct):
    token: str


@dataclasses.dataclass
class _Outer:
    parts: list[_Inner] | None
    name: str


@dataclasses.dataclass
class _Hidden:
    headers: Mapping[str, str] = dataclasses.field(repr=False)
    body: bytes = dataclasses.field(repr=False)
    plain: str


def test_the_check_of_reprs() -> None:
    """The check sees a secret in a part of a message, and none where it is hidden."""
    assert MARK in repr(build(_Outer))
    assert MARK in repr(build(_Struct))
    assert MARK not in repr(build(_Hidden))
    hidden = build(_Hidden)
    assert (hidden.headers, hidden.body, hidden.plain) == ({"name": MARK}, MARK.encode(), "plain")
