"""One seed must replay one day: no clock, randomness, id, sleep, thread or unordered wait but through the ports.

The rooms that a simulator runs are held to it, SQL included; and the lint is itself tested, on code that it must catch and
code that it must let pass.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from tests.house import determinism, set_order
from tests.house.determinism import Fault
from tests.house.sources import PACKAGE, Source, docstrings, in_rooms, owner_of, sources

ROOMS = ("domain", "protocols", "operations", "connectors", "workers", "api", "storage")
"""Doors for programs and storage too: the simulator runs them as they are."""

THE_MACHINE = {
    "storage/embedded": "supervises processes of this machine; the simulator is given a database",
    "storage/sessions": "finds the primary on real networks; the simulator's sessions are its own",
}
"""Files, by how their paths begin, whose business is the real world."""

EXCEPTIONS: dict[tuple[str, str], str] = {
    ("protocols/intellectmoney_sign.py", "the order of the set tokens is nobody's"): "every reading is tried, always",
    ("protocols/intellectmoney_sign.py", "the order of the set amounts is nobody's"): "every reading is tried, always",
    ("protocols/unitpay_call.py", "the order of the set _KNOWN is nobody's"): "makes a dict that is only looked into",
}
"""(file, fault): why this one is right. An entry that nothing needs fails a test."""


def _known() -> set_order.Known:
    return set_order.Known(
        frozenset(name for source in sources() for name in set_order.constants_of(source.tree, source.module)),
        frozenset(name for source in in_rooms("domain", "protocols", "connectors", "operations")
                  for name in set_order.fields_of(source.tree)),
    )  # fmt: skip


def faults(tree: ast.Module, known: set_order.Known | None = None) -> list[Fault]:
    """Both halves of the lint."""
    return sorted(determinism.faults(tree) + set_order.faults(tree, known or set_order.Known()))


def _all_faults() -> Iterator[tuple[Source, Fault]]:
    known = _known()
    for source in in_rooms(*ROOMS):
        if not source.path.startswith(tuple(THE_MACHINE)):
            for fault in faults(source.tree, known):
                yield source, fault


def test_nothing_reaches_past_the_ports() -> None:
    """What the simulator runs reads no clock, draws nothing, waits for nothing and orders nothing but through the ports."""
    wrong = [
        f"{source.path}:{fault.line} {fault.what}"
        for source, fault in _all_faults()
        if (source.path, fault.what) not in EXCEPTIONS
    ]
    assert wrong == []


def test_every_exception_is_needed() -> None:
    """An exception that no line needs any more is taken off the list."""
    found = {(source.path, fault.what) for source, fault in _all_faults()}
    assert [entry for entry in EXCEPTIONS if entry not in found] == []
    for beginning in THE_MACHINE:
        assert any(source.path.startswith(beginning) for source in sources())


# --- SQL ---------------------------------------------------------------------------------------------------------

SQL_OF_ITS_OWN = re.compile(
    r"\b(?:now|clock_timestamp|statement_timestamp|transaction_timestamp|timeofday|random|random_normal|gen_random_uuid"
    r"|gen_random_bytes|gen_salt|uuid_generate_v\w+|uuidv[47]|nextval|currval|lastval|setseed|pg_sleep\w*|txid_current\w*"
    r"|pg_current_xact_id\w*|pg_backend_pid|pg_postmaster_start_time)\s*\("
    r"|\b(?:CURRENT_TIMESTAMP|CURRENT_DATE|CURRENT_TIME|LOCALTIMESTAMP|LOCALTIME|TABLESAMPLE|ctid)\b"
    r"|'(?:now|today|tomorrow|yesterday)'",
    re.IGNORECASE,
)
THE_DATABASES_CLOCK = [
    ("simulation/backend.py", ""), ("simulation/backend.py", ""), ("storage/database.py", "Transaction.database_now"),
    ("storage/merchants.py", "settings_version"), ("storage/payouts.py", "by_id_now"), ("storage/payouts.py", "to_claim"), ("storage/payouts.py", "due"), ("storage/statement.py", ""),
    ("storage/unit.py", "Unit.lock"), ("storage/webhook_work.py", "share"), ("storage/workers.py", "seen"),
]  # fmt: skip
"""Whatever is decided by a time is decided by the database's clock (decision 19), read by this one name; the simulator puts its own in its place."""


def _own_will(source: Source) -> Iterator[str]:
    """The function of each text in which SQL would read a clock or draw a number."""
    prose, owners = docstrings(source.tree), owner_of(source)
    for node in ast.walk(source.tree):
        text = node.value if isinstance(node, ast.Constant) and id(node) not in prose else None
        if isinstance(text, str) and SQL_OF_ITS_OWN.search(text):
            yield owners.get(id(node), "")


def test_sql_is_told_the_time() -> None:
    """No statement reads a clock, draws a number or makes an id; the database's clock is read where it is said to be."""
    found = [(source.path, owner) for source in sources() for owner in _own_will(source)]
    assert found == THE_DATABASES_CLOCK


def test_migrations_are_told_the_time() -> None:
    """No default, and nothing that a migration does, comes from the database's clock or randomness."""
    for path in sorted((PACKAGE / "storage" / "migrations").glob("*.sql")):
        bare = re.sub(r"--[^\n]*", "", path.read_text(encoding="utf-8"))
        assert SQL_OF_ITS_OWN.search(bare) is None, path.name


@pytest.mark.parametrize(
    "sql, caught",
    [
        ("SELECT now()", True),
        ("SELECT NOW ()", True),
        ("UPDATE x SET at = CURRENT_TIMESTAMP", True),
        ("INSERT INTO x VALUES (gen_random_uuid())", True),
        ("SELECT nextval('x')", True),
        ("WHERE lease_until < clock_timestamp()", True),
        ("ORDER BY random()", True),
        ("SELECT 'now'::timestamptz", True),
        ("SELECT pg_sleep(1)", True),
        ("INSERT INTO x VALUES (uuidv7())", True),
        ("SELECT age(at, 'today'::timestamptz)", True),
        ("SELECT pg_backend_pid()", True),
        ("SELECT txid_current_if_assigned()", True),
        ("SELECT a FROM x TABLESAMPLE system (1)", True),
        ("SELECT a FROM x ORDER BY ctid", True),
        ("SELECT known FROM x WHERE at = $1", False),
        ("UPDATE x SET at = $2", False),
        ("SELECT unknown(x)", False),
    ],
)
def test_the_lint_of_sql(sql: str, caught: bool) -> None:
    """The pattern tells SQL with a will of its own from SQL that is told."""
    assert (SQL_OF_ITS_OWN.search(sql) is not None) is caught


# --- the lint's own tests ----------------------------------------------------------------------------------------

BAD = [
    "import datetime\nx = datetime.datetime.now()",
    "from datetime import datetime\nx = datetime.now(UTC)",
    "from datetime import datetime as d\nx = d.utcnow()",
    "import datetime as dt\nx = dt.datetime.today()",
    "from datetime import date\nx = date.today()",
    "from datetime import datetime\nread = datetime.now",  # handed on is as bad as called
    "x = at.astimezone()",
    "from datetime import datetime\nx = datetime.fromtimestamp(0)",
    "import time",
    "import time as t\nt.sleep(1)",
    "from time import monotonic",
    "def f():\n    import time",
    "import random",
    "from random import SystemRandom",
    "import secrets",
    "import os\nx = os.urandom(8)",
    "from os import urandom",
    "from os import environ",
    "import os\nx = os.getpid()",
    "import uuid\nx = uuid.uuid4()",
    "from uuid import uuid1",
    "from uuid import uuid7 as fresh",
    "import socket\nx = socket.gethostname()",
    "import asyncio\nasync def f():\n    await asyncio.sleep(1)",
    "from asyncio import sleep",
    "import asyncio\nasync def f(x):\n    await asyncio.wait(x)",
    "import asyncio\nasync def f(x):\n    async for y in asyncio.as_completed(x): pass",
    "import asyncio\nasync def f():\n    async with asyncio.timeout(1): pass",
    "import asyncio\nasync def f(x):\n    await asyncio.wait_for(x, 1)",
    "import asyncio\nasync def f():\n    async with asyncio.TaskGroup() as group: pass",
    "import asyncio\nx = asyncio.all_tasks()",
    "import asyncio\nasync def f(g):\n    await asyncio.to_thread(g)",
    "import asyncio\nasync def f(g):\n    await asyncio.get_running_loop().run_in_executor(None, g)",
    "import asyncio\nx = asyncio.get_running_loop().time()",
    "def f(loop): return loop.time()",
    "class A:\n    def f(self): return self._loop.time()",
    "def f(loop, g): loop.call_later(1, g)",
    "def f(loop, g): loop.call_soon_threadsafe(g)",
    "import threading",
    "from concurrent.futures import ThreadPoolExecutor",
    "import concurrent.futures as c\nx = c.ThreadPoolExecutor()",
    "from concurrent import futures",
    "import subprocess",
    "from weakref import WeakSet",
    "x = id(y)",
    "x = sorted(y, key=lambda z: hash(z))",
    # sets
    "for x in {1, 2}: pass",
    "for x in set(y): pass",
    "for x in frozenset(y): pass",
    "for x in {z for z in y}: pass",
    "for x in set(y) - {1}: pass",
    "for x in a.keys() & b.keys(): pass",
    "x = [z for z in set(y)]",
    "x = {z: 1 for z in {'a', 'b'}}",
    "x = list(z for z in {'a', 'b'})",
    "x = list(set(y))",
    "x = tuple({1, 2})",
    "x = dict.fromkeys({1, 2})",
    "x = ','.join({'a', 'b'})",
    "x = [*{1, 2}]",
    "f(*{1, 2})",
    "x = next(iter({1, 2}))",
    "x = enumerate({1, 2})",
    "x = min({'a', 'b'}, key=len)",
    "x = f'{set(y)}'",
    "x = str({1, 2})",
    "seen = set()\nfor x in seen: pass",
    "seen: set[str] = made()\nfor x in seen: pass",
    "SEEN: Final = frozenset(y)\nfor x in SEEN: pass",
    "def f(seen: frozenset[int]):\n    return [x for x in seen]",
    "def f(seen: set[int] | None):\n    for x in seen or set(): pass",
    "def f(y):\n    seen = {*y}\n    more = seen | {1}\n    for x in more: pass",
    "def f(y):\n    while seen := set(y):\n        for x in seen: pass",
    "class A:\n    def __init__(self): self.seen = set()\n    def f(self):\n        for x in self.seen: pass",
    "class A:\n    def __init__(self): self.seen: set[int] = made()\n    def f(self): return self.seen.pop()",
    "def f(y):\n    seen = set(y)\n    def g():\n        return [x for x in seen]\n    return g",
    "import asyncio\nasync def f(y):\n    await asyncio.gather(*set(y))",
    "for x in a.items() - b.items(): pass",
    "common = a.keys() & b\nfor x in common: pass",
    "x = {z: 1 for z in a.keys() - b.keys()}",
    "x = sorted({'a', 'b'}, key=len)",
    "x = sorted((z for z in {'a', 'b'}), key=len)",
    "a, b = {1, 2}",
    "x = reduce(f, {1, 2})",
    "'{}'.format({1, 2})",
    "def f() -> set[int]: ...\nfor x in f(): pass",
    "class A:\n    async def f(self) -> frozenset[int]: ...\n    async def g(self):\n        return [x for x in await self.f()]",
    "def f(held: dict[int, set[int]]):\n    for x in held[1]: pass",
    "held: dict[int, set[int]] = {}\nx = list(held.get(1, ()))",
    "held = defaultdict(set)\nfor x in held.values():\n    for y in x: pass",
    "class A:\n    def __init__(self): self.held: dict[str, set[int]] = {}\n"
    "    def f(self): return [y for _, x in self.held.items() for y in x]",
]
GOOD = [
    "from datetime import UTC, datetime, timedelta\nx = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(1)",
    "from datetime import UTC, datetime\nx = datetime.fromtimestamp(0, UTC)",
    "x = at.astimezone(zone)",
    "def f(clock): return clock.now(), clock.monotonic()",
    "async def f(clock): await clock.sleep(1)",
    "async def f(clock):\n    async with clock.timeout(1): pass",
    "def f(random): return random.bytes(10)",
    "def f(world): return world.random.uniform(0, 1)",
    "from uuid import UUID, uuid5\nx = uuid5(UUID(int=1), 'x')",
    "import os\nx = os.fsync(1)",
    "import asyncio\nasync def f(x, y):\n    return await asyncio.gather(x(), y())",
    "import asyncio\nx = asyncio.create_task(f())",
    "import asyncio\nx = asyncio.get_running_loop().create_future()",
    "import asyncio\nasyncio.get_running_loop().call_soon(f)",
    "import asyncio\nx = asyncio.Event(), asyncio.Semaphore(2), asyncio.Queue()",
    "def f(row): return row.time()",
    "def f(self): return self.id, self.hash",
    "def f(one): return one.pop()",
    "def f(hash): return hash(1)\nfrom mine import hash",
    # sets
    "x = 1 in {1, 2}",
    "x = sorted({1, 2})",
    "for x in sorted(set(y)): pass",
    "for x in sorted(z.name for z in set(y)): pass",
    "x = any(z > 1 for z in {1, 2})",
    "x = len({1, 2}), max({1, 2}), sum(set(y))",
    "x = {z + 1 for z in {1, 2}}",
    "x = set(y) | {1}",
    "seen = set()\nseen.add(1)\nx = 1 in seen",
    "seen = {1: 2}\nfor x in seen: pass",
    "seen = {}\nfor x in seen: pass",
    "for x in dict.fromkeys(y): pass",
    "for x in a.keys(): pass",
    "def f():\n    seen = set()\n    return 1 in seen\ndef g(seen):\n    return [x for x in seen]",
    "seen = {1}\ndef f(seen):\n    for x in seen: pass",
    "x = f'{sorted(set(y))}'",
    "x = len(a.items() - b.items())",
    "x = sorted(a.keys() & b)",
    "x = sorted({'a', 'b'}, reverse=True)",
    "(x,) = {1}",
    "def f() -> list[int]: ...\nfor x in f(): pass",
    "def f() -> set[int]: ...\nx = sorted(f())",
    "def f(held: dict[int, list[int]]):\n    for x in held[1]: pass",
    "held: dict[int, set[int]] = {}\nfor x in held: pass",
    "held = defaultdict(set)\nfor x in held.values():\n    y = len(x)",
    "held: dict[int, set[int]] = {}\nx = sorted(held[1])",
]


@pytest.mark.parametrize("code", BAD)
def test_bad_code_is_caught(code: str) -> None:
    """Each of these would make a replay differ, and is caught."""
    assert faults(ast.parse(code)) != []


@pytest.mark.parametrize("code", GOOD)
def test_good_code_passes(code: str) -> None:
    """Each of these replays, and is let pass."""
    assert faults(ast.parse(code)) == []


def test_sets_of_other_files_are_known() -> None:
    """A set that another file makes, as a constant or a field, is a set here too."""
    other = ast.parse("A = frozenset({1})\nB = [1]\nC = A | {2}\nclass D:\n    e: frozenset[int]\n    f: list[int]")
    constants, fields = set_order.constants_of(other, "house.other"), set_order.fields_of(other)
    assert (constants, set(fields)) == ({"house.other.A", "house.other.C"}, {"e"})
    known = set_order.Known(frozenset(constants), fields)
    assert faults(ast.parse("from house.other import A as mine\nx = [z for z in mine]"), known) != []
    assert faults(ast.parse("from house.other import B\nx = [z for z in B]"), known) == []
    assert faults(ast.parse("def f(d): return [*d.e]"), known) != []
    assert faults(ast.parse("def f(d): return [*d.f]"), known) == []
    assert faults(ast.parse("class G:\n    e: list[int]\ndef f(g): return [*g.e]"), known) == []


def test_a_fault_names_its_line() -> None:
    """What is caught is told with its line and what is wrong with it."""
    assert faults(ast.parse("import asyncio\n\nx = asyncio.sleep(1)\nfor y in {1}: pass")) == [
        Fault(3, "asyncio.sleep sleeps past the clock port"),
        Fault(4, "the order of the set {1} is nobody's"),
    ]
