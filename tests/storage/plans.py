"""How PostgreSQL would carry out the program's own statements: caught as they are sent, explained with plans made once for all values.

Lives here: catching statements, explaining them in a session like the program's, and reading which tables a plan reads by what.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

import asyncpg

from disburse.storage.database import _BY_KEY, _SESSION, Database, Transaction

_PARTITION = re.compile(r"^(?P<table>[a-z_]+?)_(?P<number>\d+)$")
_COLUMN = re.compile(r"\((?:\w+\.)?(\w+) (?:=|<|<=|>|>=) ")


@dataclass(frozen=True, slots=True)
class Caught:
    """A statement as the program sent it, with the values it had."""

    sql: str
    values: tuple[Any, ...]


class Net:
    """Catches what a pool of one connection sends about these tables from now on: the last values of each statement and bucket.

    A statement whose first value is not a bucket is caught with the bucket None.
    """

    def __init__(self, tables: Iterable[str]) -> None:
        self.caught: dict[tuple[str, int | None], Caught] = {}
        self._names = re.compile(rf"\b({'|'.join(tables)})\b")

    async def cast(self, database: Database) -> None:
        async def listen(tx: Transaction) -> None:
            tx.connection.add_query_logger(self._hear)

        await database.run(listen)

    def _hear(self, sent: Any) -> None:
        if self._names.search(sent.query):
            bucket = sent.args[0] if sent.args and type(sent.args[0]) is int else None
            self.caught[sent.query, bucket] = Caught(sent.query, tuple(sent.args))


@dataclass(frozen=True, slots=True)
class Reading:
    """One table that a plan reads. `partition` is None for a whole table; `columns` are those the index is searched by."""

    table: str
    partition: int | None
    node: str
    index: str | None
    columns: frozenset[str]


async def session_like_the_programs(dsn: str) -> Any:
    """A connection with the program's role and settings."""
    return await asyncpg.connect(dsn, server_settings={**_SESSION, **_BY_KEY, "role": "disburse_app", "search_path": "disburse"})


async def readings(connection: Any, caught: Caught) -> list[Reading]:
    """What the generic plan of a statement reads, with partitions left out as they would be for its values."""
    await connection.execute(f"PREPARE explained AS {caught.sql}")
    try:
        kinds = await connection.fetchval("SELECT parameter_types::text[] FROM pg_prepared_statements WHERE name = 'explained'")
        values = ", ".join(literal(value, kind) for value, kind in zip(caught.values, kinds, strict=True))
        told = await connection.fetchval(f"EXPLAIN (FORMAT JSON, COSTS OFF) EXECUTE explained {f'({values})' if values else ''}")
    finally:
        await connection.execute("DEALLOCATE explained")
    return list(_read(json.loads(told)[0]["Plan"]))


def literal(value: Any, kind: str) -> str:
    """A value as SQL text."""
    match value:
        case None:
            return f"NULL::{kind}"
        case bool() | int() | float():
            return f"'{value}'::{kind}"
        case bytes():
            return f"'\\x{value.hex()}'::{kind}"
        case str() | UUID() | datetime() | date():
            return "'" + str(value).replace("'", "''") + f"'::{kind}"
        case _:
            return f"ARRAY[{', '.join(literal(one, kind.removesuffix('[]')) for one in value)}]::{kind}"


def _read(node: dict[str, Any]) -> Iterator[Reading]:
    kind, relation = node["Node Type"], node.get("Relation Name")
    if relation is not None and kind != "ModifyTable":
        below = next(iter(node.get("Plans", [])), node) if kind == "Bitmap Heap Scan" else node
        found = _PARTITION.match(relation)
        yield Reading(
            found["table"] if found else relation,
            int(found["number"]) if found else None,
            kind,
            below.get("Index Name"),
            frozenset(_COLUMN.findall("(" + below.get("Index Cond", ""))),
        )
    for inner in node.get("Plans", []):
        if kind != "Bitmap Heap Scan":
            yield from _read(inner)
