"""Keeps a copy of every payout in a small database of its own, out of events alone. Kill it whenever you like: nothing is missed."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys

from disburse.client import Client, NoAnswer, Problem

SCHEMA = """
CREATE TABLE IF NOT EXISTS events (number INTEGER PRIMARY KEY, type TEXT NOT NULL, at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS payouts (id TEXT PRIMARY KEY, reference TEXT, amount TEXT NOT NULL, state TEXT NOT NULL);
"""


async def follow(client: Client, book: sqlite3.Connection, *, forever: bool = True) -> int:
    """Write down all that happens, from where the book ends. The number of the last event."""
    book.executescript(SCHEMA)
    (after,) = book.execute("SELECT coalesce(max(number), 0) FROM events").fetchone()
    async for event in client.events(after, follow=forever):
        with book:  # an event and what it changes are one transaction, so the book knows exactly how far it is
            book.execute("INSERT INTO events VALUES (?, ?, ?)", (event.number, event.type, event.at.isoformat()))
            told = event.payout
            if told is not None and told.state is not None:
                row = (str(told.id), told.reference, told.amount.amount, told.state)
                book.execute("INSERT INTO payouts VALUES (?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET state = excluded.state", row)
        after = event.number
    return int(after)


async def main(url: str, file: str) -> None:
    """Follow for ever; when the server is away for long, come back."""
    async with Client(url, os.environ["API_KEY"]) as client:
        while True:
            try:
                await follow(client, sqlite3.connect(file))
            except (NoAnswer, Problem) as pause:
                print(f"again in ten seconds: {pause}", file=sys.stderr)
                await asyncio.sleep(10)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
