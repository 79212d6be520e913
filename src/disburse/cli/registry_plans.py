"""A plan's file: what `disburse registry plan` writes and `apply` reads. Lives here: the file, its digest, and how a plan is shown.

It holds what was read and what would be done; no payee, sealed or not. Whoever edits it breaks its digest.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import msgspec

from disburse.cli import show
from disburse.cli.limits import for_scripts
from disburse.domain.money import minor_text
from disburse.domain.refusals import Refusal
from disburse.domain.registry_states import Drift, Drifted, same
from disburse.operations.headroom import Needed

LARGEST: Final = 64 << 20


class BadPlan(Refusal):
    """This is not a plan of a registry."""


class _File(msgspec.Struct, frozen=True, kw_only=True):
    """The file. `path`, `kind`, `options`: where the registry's file was and how it was read. `faults`: rows that are not good, up to a bound."""

    format: int
    registry: str
    digest: str
    plan: dict[str, Any]
    path: str
    kind: str
    options: dict[str, Any]
    understood: dict[str, Any]
    faults: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class PlanFile:
    """A plan that was read."""

    registry_id: UUID
    digest: bytes
    path: Path
    kind: str
    options: dict[str, Any]


def write_plan(path: Path, values: dict[str, Any]) -> None:
    """Write a plan, whole or not at all. Raises OSError."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_bytes(msgspec.json.format(msgspec.json.encode({"format": 1, **values}), indent=1))
    beside.replace(path)


def read_plan(path: Path) -> PlanFile:
    """Read a plan. Raises BadPlan, Drifted for one that was edited, and OSError."""
    try:
        with path.open("rb") as file:
            text = file.read(LARGEST + 1)
        if len(text) > LARGEST:
            raise BadPlan()
        found = msgspec.json.decode(text, type=_File)
        identifier = UUID(found.registry)
        digest = bytes.fromhex(found.digest)
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError):
        raise BadPlan() from None
    if found.format != 1:
        raise BadPlan("This plan was written by another version of disburse.")
    canonical = json.dumps(found.plan, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    ours = hashlib.sha256(canonical.encode()).digest()
    if not same(ours, digest) or found.plan.get("registry") != found.registry:
        raise Drifted([Drift("plan", f"digest {found.digest[:16]}", f"{ours.hex()[:16]}: the file was edited")])
    return PlanFile(identifier, digest, Path(found.path), found.kind, found.options)


@contextmanager
def bar(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar on standard error for a person who watches; call what it yields with how much is done."""
    out = show.console(errors=True)
    if not out.is_terminal:
        yield lambda done: None
        return
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TextColumn("{task.completed:,.0f} of {task.total:,.0f}"),
        TimeElapsedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=out, transient=True) as progress:
        task = progress.add_task(show.plain(what), total=max(total, 1))
        yield lambda done: progress.update(task, completed=done)


def totals_values(totals: Sequence[tuple[str, str, int, int, int]]) -> list[dict[str, Any]]:
    """Totals for scripts."""
    return [
        {"rail": rail, "currency": currency, "rows": rows, "amount": minor_text(amount, currency), "fee": minor_text(fee, currency)}
        for rail, currency, rows, amount, fee in totals
    ]


def show_totals(totals: Sequence[tuple[str, str, int, int, int]]) -> None:
    """Totals for people."""
    lines = [(rail, currency, f"{rows:,}", minor_text(amount, currency), minor_text(fee, currency)) for rail, currency, rows, amount, fee in totals]
    show.table(("rail", "currency", "rows", "amount", "fee"), lines, title="Would be paid", right=("rows", "amount", "fee"))


def limits_values(needs: Sequence[Needed]) -> list[dict[str, Any]]:
    """Limits beside what the file needs of them, for scripts."""
    return [
        {**for_scripts(one.room), "needed": {"sum": minor_text(one.needs.amount_minor, one.room.limit.currency), "count": one.needs.payouts}, "short": one.short}
        for one in needs
    ]


def show_limits(needs: Sequence[Needed]) -> None:
    """Limits that leave less than the file needs, for people."""
    for one in needs:
        if one.short:
            limit, left = one.room.limit, one.room.left
            parts = [f"{minor_text(left.amount_minor, limit.currency)} {limit.currency}"] if limit.sum_minor is not None else []
            parts += [f"{left.payouts:,} payouts"] if limit.count is not None else []
            show.say(f"The limit {limit.name} leaves {' and '.join(parts)}; all rows together are {one.needs.payouts:,} payouts of "
                     f"{minor_text(one.needs.amount_minor, limit.currency)} {limit.currency}. Rows beyond it would be refused.")  # fmt: skip


def show_faults(shown: Sequence[dict[str, Any]], count: int, most: int = 20) -> None:
    """Rows that are not good, for people."""
    lines = []
    for row in shown[:most]:
        for fault in row["faults"]:
            lines.append((row["row"], row["line"], fault["field"], fault["value"], fault["why"]))
    show.table(("row", "line", "field", "value", "why"), lines, title=f"{count:,} rows are not good" + (f"; the first {most}" if count > most else ""))
