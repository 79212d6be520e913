"""Merchants with rules: nothing is sent before its time, without the persons it needs, or beyond a limit.

Lives here: E16, A1 and V1 (limits), held by what programs asked, what persons saw and said, the database's clock, and sums of the
auditor's own. No table of schedules, approvals or counters is read: of our rows it takes payouts and their postings alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

from disburse.simulation.auditor.rows import Memory, Row
from disburse.simulation.auditor.rulebook import Asked, Limit, Rulebook, Word
from disburse.simulation.auditor.truths import BookEntry, Violation

_BEFORE_ITS_TIME: Final = frozenset({"created", "unfunded", "awaiting_approval", "scheduled", "cancelled", "expired"})
_BEFORE_PERSONS: Final = frozenset({"created", "unfunded", "awaiting_approval", "cancelled", "expired"})
_GAVE_BACK: Final = frozenset({"failed", "cancelled", "expired"})


def of_payout(memory: Memory, book: Rulebook, payout: Row) -> Iterator[Violation]:
    """What must hold of a payout of a merchant with rules, as it now stands."""
    asked = _asked(book, payout)
    if asked is None:
        return
    name, state = payout["payout_id"], payout["state"]
    if state not in _BEFORE_ITS_TIME and asked.execute_at is not None and asked.execute_at > book.latest:
        yield Violation("E16", f"it is {state}, its time is {asked.execute_at} and the clock never showed that", name)
    yield from _agreed(book, payout, asked)


def order(memory: Memory, book: Rulebook, entry: BookEntry) -> Iterator[Violation]:
    """E16: an order that has just reached a provider is not before its payout's time."""
    attempt = memory.by_key.get((entry.connector, entry.key))
    payout = memory.payouts.get(attempt["payout_id"]) if attempt is not None else None
    asked = _asked(book, payout) if payout is not None else None
    if payout is not None and asked is not None and asked.execute_at is not None and asked.execute_at > book.latest:
        yield Violation("E16", f"it was sent when the clock had shown {book.latest}, its time is {asked.execute_at}", payout["payout_id"])


def _asked(book: Rulebook, payout: Row) -> Asked | None:
    return book.asked.get((payout["merchant_id"], payout["reference"] or ""))


# --- persons ---


def needed(book: Rulebook, payout: Row) -> int:
    """How many persons a payout needs, by its merchant's policies: the strictest that fits."""
    fits = [
        one.persons for one in book.rules[payout["merchant_id"]].policies
        if one.rail in ("any", payout["rail"]) and payout["amount_minor"] > one.above_minor
    ]  # fmt: skip
    return max(fits, default=0)


def _agreed(book: Rulebook, payout: Row, asked: Asked) -> Iterator[Violation]:
    """A1: enough distinct persons, none of them the maker, said yes to what it is; and no one said no."""
    name, state = payout["payout_id"], payout["state"]
    persons = needed(book, payout)
    if not persons and state == "awaiting_approval":
        yield Violation("A1", "it waits for persons, and nobody has to agree to it", name)
    if not persons or state in _BEFORE_PERSONS:
        return
    words = [one for one in book.words if one.subject == name and one.taken is not False]
    yes = {one.person for one in words if one.yes and _is_what_was_shown(payout, asked, one)} - {asked.maker}
    if len(yes) < persons:
        yield Violation("A1", f"it is {state}, {persons} had to agree to it and {len(yes)} did", name)
    if any(not one.yes and one.taken for one in words):
        yield Violation("A1", f"it is {state}, and a person refused it", name)


def _is_what_was_shown(payout: Row, asked: Asked, word: Word) -> bool:
    """Whether the text that a person saw tells this payout's amount, rail, payee and time."""
    minor = payout["amount_minor"]
    facts = [f"{minor // 100}.{minor % 100:02d} {payout['currency']}", payout["rail"], payout["display"]]
    if asked.execute_at is not None:
        facts.append(f"{asked.execute_at:%Y-%m-%d %H:%M:%S}")
    return all(fact in word.shown for fact in facts)


# --- limits ---


def limits(memory: Memory, book: Rulebook, merchant: int) -> Iterator[Violation]:
    """V1: what a merchant's payouts use of its limits, added up from the payouts that hold money or paid it, is within them."""
    rules = book.rules.get(merchant)
    if rules is None:
        return
    used: dict[tuple[Limit, Any], list[int]] = {}
    for name, payout in memory.payouts.items():
        if payout["merchant_id"] != merchant or not _held(memory, book, name) or payout["state"] in _GAVE_BACK:
            continue
        asked = _asked(book, payout)
        at = (asked.execute_at if asked is not None and asked.execute_at is not None else book.held[name]).astimezone(rules.zone)
        for limit in rules.limits:
            if limit.scope in ("all", "payee", payout["rail"]):
                used.setdefault((limit, _whose(limit, payout, asked, at)), []).append(payout["amount_minor"])
    for (limit, _), amounts in used.items():
        if limit.sum_minor is not None and sum(amounts) > limit.sum_minor:
            yield Violation("V1", f"merchant {merchant} has {sum(amounts)} under way or paid, {_told(limit)} allows {limit.sum_minor}")
        if limit.count is not None and len(amounts) > limit.count:
            yield Violation("V1", f"merchant {merchant} has {len(amounts)} under way or paid, {_told(limit)} allows {limit.count}")


def _held(memory: Memory, book: Rulebook, name: str) -> bool:
    if name in book.held:
        return True
    if not any(row["reason"] == "hold" for row in memory.of("postings", name)):
        return False
    book.held[name] = book.now
    return True


def _whose(limit: Limit, payout: Row, asked: Asked | None, at: datetime) -> Any:
    """What shares a limit's room: one payout alone, or those of a day or month, of one payee where it is for each."""
    if limit.period == "payout":
        return payout["payout_id"]
    period = at.date() if limit.period == "day" else (at.year, at.month)
    return period, asked.payee if limit.scope == "payee" and asked is not None else None


def _told(limit: Limit) -> str:
    return f"the limit of a {limit.period} for {limit.scope}"


# --- the end ---


def waits(memory: Memory, book: Rulebook) -> list[str]:
    """Payouts that may be left without an end, since their time has not come."""
    found = []
    for name, payout in memory.payouts.items():
        asked = _asked(book, payout)
        if payout["state"] == "scheduled" and asked is not None and asked.execute_at is not None and asked.execute_at > book.now:
            found.append(name)
    return found


def left_lying(memory: Memory, book: Rulebook) -> Iterator[Violation]:
    """E15: once faults have stopped, nothing lacks money that is there for it, where that is to be executed by itself."""
    for name, payout in memory.payouts.items():
        rules = book.rules.get(payout["merchant_id"])
        if rules is None or not rules.by_itself or payout["state"] != "unfunded":
            continue
        available = memory.sums.get((payout["shard"], payout["merchant_id"], payout["currency"], "available"), 0)
        if payout["amount_minor"] + payout["fee_minor"] <= available and not _limited(memory, book, payout):
            yield Violation("E15", f"it lacks money, and {available} is there for it", name)


def _limited(memory: Memory, book: Rulebook, payout: Row) -> bool:
    """Whether some limit would leave no room for it: then it rightly waits."""
    name = payout["payout_id"]
    book.held[name] = book.now
    kept = memory.payouts[name]
    memory.payouts[name] = {**payout, "state": "queued"}
    try:
        return any(limits(memory, book, payout["merchant_id"]))
    finally:
        memory.payouts[name] = kept
        del book.held[name]
