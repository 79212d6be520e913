"""What is asked of `/v1`, as values: bytes to send, what the answer is read into, and whether asking twice is harmless. Pure.

Paths and methods are those of `protocols/rest_routes.py`, the table that the server finds its work by. May not live here: sending,
trying again.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Generic, Literal, TypeVar
from urllib.parse import quote
from uuid import UUID

import msgspec

from disburse.protocols.rest import write_query
from disburse.protocols.rest_routes import ROUTES, Name

T = TypeVar("T")

Id = str | UUID
"""An id as it was told: events tell theirs as UUIDs."""

Repeat = Literal["reads", "once", "again"]
"""What a second request would do. `reads`: nothing is changed at all. `once`: both together do it once at most, since they have one
Idempotency-Key, or since doing it twice is the same. `again`: it would be done a second time."""

_KEY: Final = re.compile(r"[!#-~]{1,255}")
_ROUTES: Final = {route.name: route for route in ROUTES}
_ONCE: Final = frozenset({"payee_destination_retire", "api_key_disable", "registry_apply", "registry_cancel"})
"""What takes no Idempotency-Key, and comes to the same however often it is asked."""


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One thing to ask. `key`: its Idempotency-Key, the same in every try. `wait_s`: how long the server may think about it."""

    name: Name
    method: str
    path: str
    query: str
    body: bytes | None
    into: type[T]
    repeat: Repeat
    key: str | None = None
    reference: str | None = None
    wait_s: float = 0.0
    kind: str = "application/json"
    told: Callable[[int, int], None] | None = None
    """Is told how many bytes of the body are on their way, and how many there are; from 0 again in each try."""

    @property
    def what(self) -> str:
        """The call as it may be told to anybody: queries and bodies are not in it."""
        return f"{self.method} {self.path}"

    def __repr__(self) -> str:
        return f"Call({self.what})"


def read(name: Name, into: type[T], identifier: Id = "", query: msgspec.Struct | None = None, *, wait_s: float = 0.0) -> Call[T]:
    """Something to be told. Changes nothing."""
    return Call(name, "GET", _path(name, identifier), write_query(query) if query is not None else "", None, into, "reads", wait_s=wait_s)


def write(
    name: Name, into: type[T], identifier: Id = "", body: msgspec.Struct | None = None, *, key: str | None = None, reference: str | None = None
) -> Call[T]:
    """Something to be done. A path that takes an Idempotency-Key must be given one. Raises ValueError for what can be no key or id."""
    route = _ROUTES[name]
    if key is not None:
        _checked(key)
    if route.keyed is not (key is not None):
        raise AssertionError(f"{name} was given a key it cannot have, or none")
    content = msgspec.json.encode(_said(msgspec.to_builtins(body))) if body is not None else None
    repeat: Repeat = "once" if route.keyed or name in _ONCE else "again"
    return Call(name, route.method, _path(name, identifier), "", content, into, repeat, key, reference)


def upload(
    name: Name, into: type[T], content: bytes, query: msgspec.Struct, *, key: str, told: Callable[[int, int], None] | None = None, wait_s: float = 0.0
) -> Call[T]:
    """A file to be taken, once. Raises ValueError for what can be no key."""
    if not _ROUTES[name].file or not _ROUTES[name].keyed:
        raise AssertionError(f"{name} takes no file")
    return Call(
        name, _ROUTES[name].method, _path(name, ""), write_query(query), content, into, "once", _checked(key),
        wait_s=wait_s, kind="application/octet-stream", told=told,
    )  # fmt: skip


def _checked(key: str) -> str:
    if _KEY.fullmatch(key) is None:
        raise ValueError("an Idempotency-Key has 1 to 255 printable ASCII characters without spaces and quotes")
    return key


def _path(name: Name, identifier: Id) -> str:
    template = _ROUTES[name].path
    if ("{id}" in template) is not bool(str(identifier)):
        raise ValueError("an id is needed")
    return template.replace("{id}", quote(str(identifier), safe=""))


def _said(value: Any) -> Any:
    """A message without what was left out, so that a server that does not know a new field need not refuse it."""
    if isinstance(value, dict):
        return {name: _said(part) for name, part in value.items() if part is not None}
    return value
