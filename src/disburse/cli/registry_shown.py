"""How a registry stands, for people and scripts: one, all of a merchant, and the results row by row."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Final, TextIO
from uuid import UUID

from cyclopts import Parameter

from disburse.cli import show
from disburse.cli.mistakes import BadUsage
from disburse.cli.place import HERE, Place, run
from disburse.cli.registry_plans import show_totals, totals_values
from disburse.cli.words import read_id
from disburse.domain.money import minor_text
from disburse.domain.registry_states import FINAL
from disburse.operations.merchants import find_merchant
from disburse.wiring import House

PAGE: Final = 1000


def read_registry_id(text: str) -> UUID:
    """The id of a registry, as a person types it."""
    found = read_id(text)
    if found is None:
        raise BadUsage("A registry is named by its id: see `disburse registry list MERCHANT`.")
    return found


def standing_values(standing: Any) -> dict[str, Any]:
    """A registry for scripts. Counts of ends are as of the last look."""
    from disburse.operations.registries import totals_of

    registry, ends, approval = standing.registry, standing.ends, standing.approval
    return {
        "registry_id": str(registry.registry_id), "merchant_id": registry.merchant_id, "state": str(registry.state),
        "final": registry.state in FINAL, "file": registry.file_name, "digest": registry.digest.hex() if registry.digest else None,
        "only_good": registry.only_good, "rows": registry.rows_read, "good": registry.good, "bad": registry.bad, "held": registry.held,
        "made": registry.made, "found": registry.found, "refused": registry.refused, "given_up": registry.given_up, "left": registry.left,
        "paid": ends.paid, "failed": ends.failed, "ended": ends.ended, "open": max(registry.made + registry.found - ends.paid - ends.failed - ends.ended, 0),
        "waits": registry.waits, "totals": totals_values(totals_of(registry)) if registry.plan else [],
        "approval": None if approval is None else {
            "needed": approval.need.needed, "yes": approval.yes, "refused": approval.refused, "summary": approval.need.summary,
        },
        "made_by": registry.actor, "asked_by": registry.asked_by, "created_at": show.stamp(registry.created_at),
        "updated_at": show.stamp(registry.updated_at),
    }  # fmt: skip


def show_one(registry: str, /, *, place: Place = HERE) -> None:
    """Show how a registry stands: its rows by what became of them, and who must agree.

    Parameters
    ----------
    registry:
        Its id.
    """
    from disburse.operations import registries

    identifier = read_registry_id(registry)

    async def work(house: House) -> Any:
        return await registries.look(house.database, identifier)

    standing = run(place, work)
    values = standing_values(standing)
    if place.json:
        show.say_json(values)
        return
    left_out = values["bad"] + values["held"]
    show.facts([
        ("registry", values["registry_id"]), ("merchant", values["merchant_id"]), ("file", values["file"]), ("state", values["state"]),
        ("waits for", values["waits"]), ("digest", values["digest"]), ("rows", f"{values['rows']:,}"), ("good", f"{values['good']:,}"),
        ("bad or held", f"{left_out:,}"), ("payouts made", f"{values['made']:,}"), ("found, paid once before", f"{values['found']:,}"),
        ("refused", f"{values['refused']:,}"), ("given up", f"{values['given_up']:,}"), ("left to do", f"{values['left']:,}"),
        ("paid", f"{values['paid']:,}"), ("failed", f"{values['failed']:,}"), ("cancelled or expired", f"{values['ended']:,}"),
        ("not final yet", f"{values['open']:,}"),
        ("approval", "" if not values["approval"] else f"{len(values['approval']['yes'])} of {values['approval']['needed']}: {values['approval']['summary']}"),
        ("made by", values["made_by"]), ("applied by", values["asked_by"]), ("created", show.moment(standing.registry.created_at)),
        ("changed", show.moment(standing.registry.updated_at)),
    ])  # fmt: skip
    if standing.registry.plan:
        from disburse.operations.registries import totals_of

        show_totals(totals_of(standing.registry))


def list_all(merchant: str, /, *, limit: Annotated[int, Parameter(help="At most so many.")] = 20, place: Place = HERE) -> None:
    """List a merchant's registries, newest first.

    Parameters
    ----------
    merchant:
        Its id or login.
    """
    from disburse.operations import registries

    async def work(house: House) -> Any:
        return await registries.of_merchant(house.database, await find_merchant(house.database, merchant), None, max(1, min(limit, 1000)))

    found = run(place, work)
    if place.json:
        show.say_json([
            {"registry_id": str(one.registry_id), "state": str(one.state), "file": one.file_name, "rows": one.rows_read, "good": one.good,
             "left": one.left, "created_at": show.stamp(one.created_at)} for one in found
        ])  # fmt: skip
        return
    lines = [(one.registry_id, one.state, one.file_name, f"{one.rows_read:,}", f"{one.left:,}", show.moment(one.created_at)) for one in found]
    show.table(("registry", "state", "file", "rows", "left", "created"), lines, right=("rows", "left"))


def results(
    registry: str,
    /,
    *,
    out: Annotated[Path | None, Parameter(help="Where to write them: .csv, .xlsx or .jsonl. Without it: JSON lines on standard output.")] = None,
    place: Place = HERE,
) -> None:
    """Take the results: every row of the file, in its order, with its verdict, its faults, and how its payout stands now.

    Parameters
    ----------
    registry:
        Its id.
    """
    identifier = read_registry_id(registry)
    if out is not None and out.suffix not in (".csv", ".xlsx", ".jsonl"):
        raise BadUsage("Results are written as .csv, .xlsx or .jsonl: let the file's name end so.")
    if out is None:
        run(place, lambda house: _write_lines(house, identifier, sys.stdout))
        return
    beside = out.with_name(f".{out.name}.{os.getpid()}{out.suffix}")
    try:
        rows = run(place, lambda house: _write(house, identifier, beside))
        beside.replace(out)
    finally:
        beside.unlink(missing_ok=True)
    if place.json:
        show.say_json({"registry_id": str(identifier), "rows": rows, "out": str(out)})
    else:
        show.say(f"{rows:,} rows are in {out}.")


async def _pages(house: House, identifier: UUID, told: Callable[[int], None]) -> AsyncIterator[list[Any]]:
    from disburse.operations import registries

    found, after = await registries.find(house.database, identifier), 0
    while True:
        rows = await registries.page(house.database, found, after, PAGE)
        if rows:
            yield rows
        if len(rows) < PAGE:
            return
        after = rows[-1].number
        told(after)


async def _write_lines(house: House, identifier: UUID, file: TextIO) -> int:
    count = 0
    async for rows in _pages(house, identifier, lambda done: None):
        file.write("".join(show.json_text(row_values(row), indent=None) + "\n" for row in rows))
        count += len(rows)
    return count


async def _write(house: House, identifier: UUID, path: Path) -> int:
    """Write them into a file. A thread takes rows as the sheet wants them, since the sheet's library asks for them one by one."""
    if path.suffix == ".jsonl":
        with path.open("w", encoding="utf-8") as lines:
            return await _write_lines(house, identifier, lines)
    from disburse.protocols.registry_results import write_csv, write_xlsx

    count, loop = 0, asyncio.get_running_loop()
    pages = _pages(house, identifier, lambda done: None)

    def rows() -> Iterator[Any]:
        nonlocal count
        while (page := asyncio.run_coroutine_threadsafe(_next(pages), loop).result()) is not None:
            count += len(page)
            yield from (_sheet_row(row) for row in page)

    def write(file: BinaryIO) -> None:
        if path.suffix == ".xlsx":
            write_xlsx(rows(), file, created=house.world.clock.now())
        else:
            file.writelines(write_csv(rows()))

    with path.open("wb") as file:
        await asyncio.to_thread(write, file)
    return count


async def _next(pages: AsyncIterator[list[Any]]) -> list[Any] | None:
    return await anext(pages, None)


def _sheet_row(row: Any) -> Any:
    from disburse.protocols.registry_results import Result

    values = row_values(row)
    why = "; ".join(f"{one['field']} {one['why']}" for one in values["faults"]) or values["reason"] or ""
    return Result(
        row.number, row.line, row.reference or "", row.rail or "", row.display or "", values["amount"] or "", values["fee"] or "", row.currency or "",
        values["outcome"], values["payout_id"] or "", why, row.finished_at,
    )  # fmt: skip


def row_values(row: Any) -> dict[str, Any]:
    """A row of results for scripts."""
    from disburse.operations.registries import outcome_of

    return {
        "row": row.number, "line": row.line, "verdict": row.verdict, "reference": row.reference, "rail": row.rail, "destination": row.display,
        "currency": row.currency, "amount": None if row.amount_minor is None else minor_text(row.amount_minor, row.currency),
        "fee": None if row.fee_minor is None else minor_text(row.fee_minor, row.currency), "outcome": outcome_of(row),
        "payout_id": str(row.payout_id) if row.payout_id else None, "state": row.state, "reason": row.reason or row.fate_reason,
        "finished_at": show.stamp(row.finished_at), "faults": row.fault_list,
    }  # fmt: skip
