"""The tour of docs/how-to/rest.md is asked again: the same requests, over real HTTP, get the answers that the page shows."""

from __future__ import annotations

import itertools
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from disburse.domain.fees import FeeRule
from disburse.domain.ports import World
from disburse.protocols.rest_problems import KINDS, URN
from disburse.storage.database import Database
from tests.api.house import SANDBOX, build_house
from tests.api.rest_client import program
from tests.house.sources import ROOT

PAGE = (ROOT / "docs/how-to/rest.md").read_text(encoding="utf-8")
HOST = "http://127.0.0.1:8080"
DRAWN = ("id", "created_at", "updated_at", "finished_at", "next_cursor")
"""What is another each time; it is only looked at whether it is there."""


def commands() -> Iterator[tuple[list[str], str, str]]:
    """(words of a call of `api`, what jq is asked, what the page shows)."""
    for block in re.findall(r"^```console\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL):
        for one in re.split(r"^\$ ", block, flags=re.MULTILINE):
            call = re.match(r"api (?!\()(.*?) \| jq (-c |-r )?(\S+|'[^']+')\n(.*)", one, re.DOTALL)
            if call is not None:
                yield shlex.split(call[1]), call[3].strip("'"), call[4].strip()


def picked(value: Any, asked: str) -> Any:
    """What jq says: `.`, a path, or a list of paths; `[]` in a path is every item."""
    if asked == ".":
        return value
    if asked.startswith("["):
        return [one for path in asked[1:-1].split(", ") for one in every(value, path)]
    (found,) = every(value, asked)
    return found


def every(value: Any, path: str) -> list[Any]:
    """All that a path leads to."""
    found = [value]
    for step in re.findall(r"\.(\w+)|(\[\])", path):
        found = [one[step[0]] for one in found] if step[0] else [item for one in found for item in one]
    return found


def settled(value: Any) -> Any:
    """An answer with what is drawn each time replaced by whether it is there."""
    if isinstance(value, dict):
        return {name: (part is not None) if name in DRAWN else settled(part) for name, part in value.items()}
    return [settled(one) for one in value] if isinstance(value, list) else value


async def test_the_tour(database: Database, world: World, tmp_path: Path) -> None:
    """Every call of the page, in order, on a house set up as the page says, is answered as it shows."""
    house = await build_house(
        database, world, tmp_path, routes=(SANDBOX,), fees={"sbp": FeeRule(70), "card": FeeRule(150, 3000)}
    )
    asked, identifier = 0, ""
    async with program(house, login="pay@coffee.example", sbp_bank="100000000004", funds="1000.00") as shop:
        for words, question, shown in commands():
            body = json.loads(words[words.index("--json") + 1].replace("$ID", identifier)) if "--json" in words else None
            headers = tuple(word for before, word in itertools.pairwise(words) if before == "-H")
            path = next(word for word in words if word.startswith(HOST)).removeprefix(HOST).replace("$ID", identifier)
            answer = await shop.ask("POST" if body is not None or "POST" in words else "GET", path, body, headers=headers)
            told = picked(answer.json, question)
            expected = shown if not shown.startswith(("{", "[")) else json.loads(shown)
            if question.startswith("[") and ".next_cursor" in question:
                told, expected = [*told[:-1], bool(told[-1])], [*expected[:-1], bool(expected[-1])]
            assert settled(told) == settled(expected), (path, question)
            identifier = answer.json.get("id", identifier)
            if body is not None and body.get("execute"):
                await house.settle()
            asked += 1
    await house.close()
    assert asked >= 12 and asked == len(re.findall(r"^\$ api (?!\()", PAGE, re.MULTILINE))


def test_the_table_of_problems() -> None:
    """The page lists each problem with its status, and whether it sticks to a key."""
    rows = re.findall(r"^\| `(\w+)` \| (\d{3}) \| (yes|no) \|$", PAGE, re.MULTILINE)
    assert rows == [(name, str(kind.status), "yes" if kind.sticks else "no") for name, kind in KINDS.items()]
    assert URN in PAGE
