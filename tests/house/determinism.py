"""A lint for code that a simulator must be able to replay: it finds what reads a clock, draws, sleeps, waits or starts a
thread, other than through the ports of `domain/ports.py`.

Lives here: the reading of one file, by the names it imports. Its other half, the order of sets, is in `set_order.py`; which
files must pass, and the tests of both halves, are in `test_determinism_lint.py`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

# A module that may not be used at all, or a name inside one. What stands inside a named one is meant too.
FORBIDDEN: dict[str, str] = {
    "datetime.datetime.now": "reads the machine's clock",
    "datetime.datetime.utcnow": "reads the machine's clock",
    "datetime.datetime.today": "reads the machine's clock",
    "datetime.date.today": "reads the machine's clock",
    "time": "reads the machine's clock, or sleeps",
    "sched": "waits by the machine's clock",
    "random": "draws randomness",
    "secrets": "draws randomness",
    "numpy.random": "draws randomness",
    "os.urandom": "draws randomness",
    "os.getrandom": "draws randomness",
    "os.getpid": "looks at the machine",
    "os.getppid": "looks at the machine",
    "os.environ": "looks at the machine",
    "os.environb": "looks at the machine",
    "os.getenv": "looks at the machine",
    "os.times": "reads the machine's clock",
    "os.cpu_count": "looks at the machine",
    "platform": "looks at the machine",
    "socket.gethostname": "looks at the machine",
    "socket.getfqdn": "looks at the machine",
    "tempfile": "draws a name",
    "uuid.uuid1": "draws an id",
    "uuid.uuid4": "draws an id",
    "uuid.uuid6": "draws an id",
    "uuid.uuid7": "draws an id",
    "uuid.uuid8": "draws an id",
    "uuid.getnode": "looks at the machine",
    "asyncio.sleep": "sleeps past the clock port",
    "asyncio.timeout": "waits past the clock port",
    "asyncio.timeout_at": "waits past the clock port",
    "asyncio.wait_for": "waits past the clock port",
    "asyncio.wait": "wakes in no known order",
    "asyncio.as_completed": "wakes in no known order",
    "asyncio.all_tasks": "is in no known order",
    "asyncio.TaskGroup": "cancels in no known order",
    "asyncio.to_thread": "starts a thread",
    "asyncio.run_coroutine_threadsafe": "crosses threads",
    "asyncio.run": "starts a loop of its own",
    "asyncio.new_event_loop": "starts a loop of its own",
    "asyncio.Runner": "starts a loop of its own",
    "threading": "starts a thread",
    "_thread": "starts a thread",
    "multiprocessing": "starts a process",
    "subprocess": "starts a process",
    "concurrent.futures": "starts threads",
    "queue": "crosses threads",
    "signal": "is told by the machine",
    "weakref": "depends on when memory is freed",
    "gc": "depends on when memory is freed",
}
# Methods by their names alone, since what they are called on is not known here.
FORBIDDEN_METHODS = {
    "run_in_executor": "starts a thread",
    "call_soon_threadsafe": "crosses threads",
    "call_later": "waits past the clock port",
    "call_at": "waits past the clock port",
    "add_signal_handler": "is told by the machine",
}
FORBIDDEN_BUILTINS = {
    "id": "is an address in memory",
    "hash": "differs from process to process",
    "input": "waits for a person",
}
_LOOPS = frozenset({"get_running_loop", "get_event_loop"})


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """Something a simulator could not replay."""

    line: int
    what: str


def faults(tree: ast.Module) -> list[Fault]:
    """Everything in one file that reaches past the ports, in order of line."""
    modules = imported_names(tree)
    return sorted(set(_forbidden(tree, modules)))


def imported_names(tree: ast.Module) -> dict[str, str]:
    """The names that a file's imports bind, each with its full name."""
    modules: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.split(".")[0]
                modules[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                modules[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return modules


def _dotted(node: ast.expr, modules: dict[str, str]) -> str | None:
    """The full name of what an expression names, when it begins with an imported name."""
    if isinstance(node, ast.Name):
        return modules.get(node.id)
    if isinstance(node, ast.Attribute):
        base = _dotted(node.value, modules)
        return f"{base}.{node.attr}" if base is not None else None
    return None


def _why(dotted: str | None) -> str | None:
    while dotted:
        if dotted in FORBIDDEN:
            return FORBIDDEN[dotted]
        dotted = dotted.rpartition(".")[0]
    return None


def _forbidden(tree: ast.Module, modules: dict[str, str]) -> Iterator[Fault]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                dotted = alias.name if isinstance(node, ast.Import) else f"{node.module}.{alias.name}"
                if (why := _why(dotted)) is not None:
                    yield Fault(node.lineno, f"{dotted} {why}")
        elif isinstance(node, ast.Attribute):
            yield from _forbidden_attribute(node, modules)
        elif isinstance(node, ast.Call):
            yield from _forbidden_call(node, modules)


def _forbidden_attribute(node: ast.Attribute, modules: dict[str, str]) -> Iterator[Fault]:
    dotted = _dotted(node, modules)
    if (why := _why(dotted)) is not None:
        yield Fault(node.lineno, f"{dotted} {why}")
    elif node.attr in FORBIDDEN_METHODS:
        yield Fault(node.lineno, f".{node.attr} {FORBIDDEN_METHODS[node.attr]}")


def _forbidden_call(node: ast.Call, modules: dict[str, str]) -> Iterator[Fault]:
    function = node.func
    if isinstance(function, ast.Name) and function.id in FORBIDDEN_BUILTINS and function.id not in modules:
        yield Fault(node.lineno, f"{function.id}() {FORBIDDEN_BUILTINS[function.id]}")
    if not isinstance(function, ast.Attribute):
        return
    if function.attr == "time" and _is_loop(function.value):
        yield Fault(node.lineno, "a loop's time() reads the machine's clock")
    no_zone = not node.args and not node.keywords
    if function.attr == "astimezone" and no_zone:
        yield Fault(node.lineno, "astimezone() without a zone looks at the machine's")
    if function.attr == "fromtimestamp" and len(node.args) + len(node.keywords) < 2:
        yield Fault(node.lineno, "fromtimestamp() without a zone looks at the machine's")


def _is_loop(node: ast.expr) -> bool:
    if isinstance(node, ast.Call):
        called = node.func
        return (called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")) in _LOOPS
    return (node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")).strip("_").endswith("loop")
