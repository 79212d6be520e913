"""Times that are written down: nothing waits for a moment that the database's clock is not near, and nothing expires before its time.

Lives here: E15 and H6 of the times at which payouts are to be sent, asked about, and expire, held by what the database's clock has shown since
the run began. It may leap, and what was written while it was ahead waits for that; the clock of a single process decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from disburse.simulation.auditor.rows import News
from disburse.simulation.auditor.rulebook import Rulebook
from disburse.simulation.auditor.truths import Violation

_LIVES: Final = {"created": timedelta(days=1), "unfunded": timedelta(days=1), "awaiting_approval": timedelta(days=7)}
"""How long a payout waits that nobody goes on with, by its state."""
_PAUSE: Final = timedelta(minutes=10)
"""No further try comes later after the one before was over."""
_FIRST_QUESTION: Final = timedelta(seconds=5)


def of_commit(news: News, book: Rulebook) -> Iterator[Violation]:
    """What this commit wrote down of times to come, and what it let expire."""
    yield from _of_payouts(news, book)
    for row in news.new("attempts"):
        pause = _PAUSE if row["number"] > 1 else timedelta()
        if row["state"] == "due" and _at(row["due_at"]) > book.latest + pause:
            told = f"attempt {row['number']} is due at {row['due_at']}, the clock has shown {book.latest}"
            yield Violation("E15", told, row["payout_id"])
    for before, after in news.changed.get("attempts", []):
        asked_soon = after["state"] in ("accepted", "unknown") and before["state"] != after["state"]
        if asked_soon and _at(after["ask_at"]) > book.latest + _FIRST_QUESTION:
            told = f"attempt {after['number']} is {after['state']} and asked about at {after['ask_at']}, the clock has shown {book.latest}"
            yield Violation("E15", told, after["payout_id"])


def _of_payouts(news: News, book: Rulebook) -> Iterator[Violation]:
    for row in news.now("payouts"):
        lives = _LIVES.get(row["state"])
        if lives is not None and _at(row["expires_at"]) > book.latest + lives:
            yield Violation("E15", f"it waits until {row['expires_at']}, the clock has shown {book.latest}", row["payout_id"])
    for row in news.new("payouts"):
        lives = _LIVES.get(row["state"])
        if lives is not None and book.earliest is not None and _at(row["expires_at"]) < book.earliest + lives:
            yield Violation("H6", f"it waits until {row['expires_at']}, less than it may", row["payout_id"])
    for before, after in news.changed.get("payouts", []):
        if after["state"] == "expired" != before["state"] and _at(before["expires_at"]) > book.latest:
            told = f"it expired when the clock had shown {book.latest}, its time is {before['expires_at']}"
            yield Violation("H6", told, after["payout_id"])


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text)
