"""What people and scripts see: tables and lines on standard output, or one JSON value; everything else on standard error.

Lives here: how things are printed. May not live here: what is printed, and anything that asks a database. Text that came
from outside (references, names, what a provider said) passes through `plain`, so it can move no cursor and style nothing.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

_WIDE: Final = 200  # columns where nobody sees a terminal: a table in a pipe is not folded


def plain(text: object) -> str:
    """The text as one harmless line: what cannot be printed is shown as its escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in str(text))


def moment(at: datetime | None) -> str:
    """A time for people, in UTC, to the second."""
    return "" if at is None else at.strftime("%Y-%m-%d %H:%M:%S")


def stamp(at: datetime | None) -> str | None:
    """A time for scripts: ISO 8601 with its offset, to the millisecond."""
    return None if at is None else at.isoformat(timespec="milliseconds")


def age(seconds: float) -> str:
    """How long, in the two largest units: `3 d 4 h`, `5 min 2 s`, `0 s`."""
    left = max(int(seconds), 0)
    parts: list[str] = []
    for name, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count or (name == "s" and not parts):
            parts.append(f"{count} {name}")
    return " ".join(parts[:2])


def json_text(value: object, *, indent: int | None = 2) -> str:
    """The value as JSON; other than ASCII as itself where standard output can carry it."""
    ascii_only = (sys.stdout.encoding or "ascii").lower().replace("-", "") != "utf8"
    return json.dumps(value, indent=indent, ensure_ascii=ascii_only)


def say_json(value: object, *, indent: int | None = 2) -> None:
    """Print one JSON value."""
    _write(json_text(value, indent=indent))


def say(line: str) -> None:
    """Print one line for people."""
    _write(plain(line))


def _write(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def console(*, errors: bool = False) -> Console:
    """A console on standard output or error, as wide as its terminal."""
    stream = sys.stderr if errors else sys.stdout
    width = None if stream.isatty() or os.environ.get("COLUMNS") else _WIDE
    return Console(file=stream, width=width, highlight=False, soft_wrap=False)


def table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str = "", right: Sequence[str] = ()
) -> None:
    """Print a table. A cell that is a `Text` keeps its style; `right` names the columns of figures."""
    grid = Table(
        box=SIMPLE_HEAD, title=plain(title) if title else None, title_justify="left", title_style="bold", pad_edge=False
    )
    for name in columns:
        grid.add_column(Text(name), justify="right" if name in right else "left", overflow="fold")
    for row in rows:
        grid.add_row(*[cell if isinstance(cell, Text) else Text(plain(cell)) for cell in row])
    console().print(grid)


def facts(rows: Iterable[tuple[str, object]], *, title: str = "") -> None:
    """Print names with their values, one a line; empty values are left out."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim")
    grid.add_column(overflow="fold")
    for name, value in rows:
        if value is not None and value != "":
            grid.add_row(Text(name), value if isinstance(value, Text) else Text(plain(value)))
    out = console()
    if title:
        out.print(Text(plain(title), style="bold"))
    out.print(grid)


_STYLES: Final = {
    "paid": "green", "failed": "red", "in_doubt": "bold yellow", "in_flight": "cyan", "queued": "cyan",
    "cancelled": "dim", "expired": "dim", "returned": "magenta", "unfunded": "yellow",
}  # fmt: skip


def state(name: str, frozen: str | None = None) -> Text:
    """A payout's or attempt's state in its colour, with the mark of one that is frozen."""
    text = Text(name, style=_STYLES.get(name, ""))
    if frozen is not None:
        text.append(f" (frozen: {plain(frozen)})", style="bold red")
    return text


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Say what is being waited for while it lasts, to a person who watches."""
    out = console(errors=True)
    if not out.is_terminal:
        yield
        return
    with out.status(Text(what)):
        yield


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[str], None]]:
    """A bar on standard error for long work; call what it yields with the name of each part before the part begins."""
    out = console(errors=True)
    if not out.is_terminal:
        yield lambda name: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    bar = Progress(
        TextColumn("{task.fields[stage]}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=out,
        transient=True,
    )  # fmt: skip
    with bar:
        task: Any = bar.add_task("", total=total, stage=what, completed=-1)

        def begin(name: str) -> None:
            bar.update(task, advance=1, stage=plain(name))

        yield begin
