"""`disburse sandbox-bank`: the bank that misbehaves on purpose, as a program of its own (design.md section 6)."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from disburse.cli import show


def sandbox_bank(
    *,
    listen: str,
    book: Path,
    guard: Annotated[bool, Parameter(negative="", help="Remember ids: a repeat is not paid again.")] = False,
    callback_url: Annotated[
        str | None, Parameter(help="Where callbacks are posted; without it there are none.")
    ] = None,
    json: Annotated[bool, Parameter(negative="", help="Print JSON, errors too.")] = False,
) -> None:
    """Run a bank whose behaviour the amount decides: .00 pays, .22 refuses, .33 pays and loses its answer, and so on.

    Point a server at it with `disburse serve --sandbox-bank-url`. It ends when it is interrupted.

    Parameters
    ----------
    listen:
        HOST:PORT; port 0 picks a free one.
    book:
        Its book: a file of JSON lines, its only memory.
    """
    from disburse.connectors.sandbox_http import serve
    from disburse.world import RealClock
    from disburse.world_spool import FileSpool

    def ready(address: str) -> None:
        if json:
            show.say_json({"listening": address, "book": str(book)}, indent=None)
        else:
            show.say(f"The sandbox bank listens on {address} and writes {book}.")

    clock = RealClock()
    asyncio.run(
        serve(listen, spool=FileSpool(book), clock=clock, guard=guard, callback_url=callback_url, on_ready=ready)
    )
