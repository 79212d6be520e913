"""The provider's book beside ours: who was paid, how often, how much, and whether we call it so.

Lives here: the second truth (E1, E2, E5, E7, E14, R1 of reliability). The book is believed, but for what its provider is known to
lie about: whoever scripts a lie names its key.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from disburse.simulation.auditor.laws import ASKED_ABOUT, DEAD
from disburse.simulation.auditor.rows import Memory, Row
from disburse.simulation.auditor.truths import BookEntry, Violation


@dataclass(frozen=True, slots=True)
class Excuses:
    """What a script makes unavoidable: keys that a provider lied about, and what may stay without an end."""

    lied_about: Collection[str] = ()
    may_stay: Collection[str] = ()


def order(
    memory: Memory, entry: BookEntry, first: Mapping[tuple[str, str], datetime], repeats: Mapping[str, float]
) -> Iterator[Violation]:
    """E2, E7, E14: an order that has just come in was written down before, asks for what it should, and may come again."""
    attempt = memory.by_key.get((entry.connector, entry.key))
    if attempt is None:
        yield Violation("E2", f"{entry.connector} received {entry.key}, and no intent of ours was committed before")
        return
    yield from _asked_for(memory, attempt, entry)
    lease = attempt["lease_until"]
    once = entry.connector in repeats  # such a provider may be sent an order again, long after the first time
    if not once and entry.sent_at is not None and lease is not None and entry.sent_at > datetime.fromisoformat(lease):
        late = (entry.sent_at - datetime.fromisoformat(lease)).total_seconds()
        told = f"{entry.connector} was sent {entry.key} {late:.1f} s after the lease of who sent it"
        yield Violation("E10", told, attempt["payout_id"])
    before = first.get((entry.connector, entry.key))
    if before is not None and (entry.at - before).total_seconds() >= repeats.get(entry.connector, 0.0):
        told = f"{entry.connector} received {entry.key} again {(entry.at - before).total_seconds():.0f} s after the first time"
        yield Violation("E14", told, attempt["payout_id"])


def _asked_for(memory: Memory, attempt: Row, entry: BookEntry) -> Iterator[Violation]:
    payout = memory.payouts.get(attempt["payout_id"])
    if payout is None:
        yield Violation("C7", f"{entry.key} was sent for a payout that is not there", attempt["payout_id"])
        return
    name, owed = payout["payout_id"], (payout["amount_minor"], payout["currency"])
    if (entry.amount_minor, entry.currency) != owed:
        told = f"{entry.connector} has {entry.amount_minor} {entry.currency} for {entry.key}, ordered was {owed[0]} {owed[1]}"
        yield Violation("E7", told, name)
    if entry.destination not in (None, payout["display"], payout["destination_digest"].removeprefix("\\x")):
        yield Violation("E7", f"{entry.connector} has another destination for {entry.key}", name)


@dataclass(slots=True)
class _Paid:
    """What one provider's book says of one payout: its payments by attempt, and what came back; minor units."""

    by_attempt: dict[int, int] = field(default_factory=dict)
    times: int = 0
    back: int = 0


def compare(
    memory: Memory, book: Sequence[BookEntry], connectors: Collection[str] | None, excuses: Excuses, *, converged: bool
) -> Iterator[Violation]:
    """Every line of the book against our rows, and our rows against the book. `connectors`: whose book it is; None: everybody's."""
    paid: dict[tuple[str, str], _Paid] = {}  # by payout and connector
    for entry in book:
        if entry.kind == "received":
            continue
        attempt = memory.by_key.get((entry.connector, entry.key))
        if attempt is None:
            yield Violation("E2", f"{entry.connector} {entry.kind} {entry.key}, which we never wrote down")
            continue
        one = paid.setdefault((attempt["payout_id"], entry.connector), _Paid())
        if entry.kind == "paid":
            if entry.key not in excuses.lied_about:
                yield from _asked_for(memory, attempt, entry)
            one.by_attempt[attempt["number"]] = one.by_attempt.get(attempt["number"], 0) + entry.amount_minor
            one.times += entry.key not in excuses.lied_about
        else:
            one.back += entry.amount_minor
    yield from _once(memory, paid)
    for attempt in memory.tables["attempts"].values():
        connector = attempt["connector"]
        if connector is not None and (connectors is None or connector in connectors):
            yield from _agrees(memory, attempt, paid.get((attempt["payout_id"], connector)), excuses, converged)
    yield from _clearing(memory, paid, connectors, excuses, converged)


def _once(memory: Memory, paid: Mapping[tuple[str, str], _Paid]) -> Iterator[Violation]:
    """The one promise: no obligation is paid twice, whichever attempt and whichever provider did it."""
    times: dict[str, int] = {}
    for (name, _), one in paid.items():
        base = memory.payouts[name]["base"] if name in memory.payouts else name
        times[base] = times.get(base, 0) + one.times
        if times[base] > 1:
            yield Violation("E1", f"it was paid {times[base]} times by the providers' own books", name)


def _vouched(memory: Memory, name: str) -> bool:
    """Whether persons decided about it: they may know better than the book, or worse."""
    return any(row["kind"] == "person" for row in memory.of("evidence", name))


def _agrees(memory: Memory, attempt: Row, paid: _Paid | None, excuses: Excuses, converged: bool) -> Iterator[Violation]:
    name, key, state = attempt["payout_id"], attempt["end_to_end_id"], attempt["state"]
    known_by = {key, attempt["provider_reference"]}
    was_paid = paid is not None and attempt["number"] in paid.by_attempt
    if _vouched(memory, name):
        return
    if known_by & set(excuses.lied_about):
        yield from _another_sum(memory, attempt, paid)
        return
    told = f"{attempt['connector']} {'paid' if was_paid else 'did not pay'} {key}, we call it {state}"
    if was_paid and state in DEAD:
        yield Violation("E5", told, name)
    waits = _is_frozen(memory, name) or may_stay(memory, name, excuses)
    unheard = was_paid and state in ASKED_ABOUT and converged and not waits
    if unheard or (not was_paid and state == "settled"):
        yield Violation("R1", told, name)
    if state == "settled" and paid is not None:
        payout, back = memory.payouts.get(name), paid.back
        ours = payout["returned_minor"] if payout else 0
        if ours > back or (converged and ours != back and payout is not None and payout["frozen"] is None):
            yield Violation("R1", f"{back} of {key} came back by the book, {ours} by us", name)


def _another_sum(memory: Memory, attempt: Row, paid: _Paid | None) -> Iterator[Violation]:
    """E7, E11: a payment of another sum than was ordered is nobody's settled payout, whatever its provider says."""
    payout = memory.payouts.get(attempt["payout_id"])
    moved = paid.by_attempt.get(attempt["number"]) if paid is not None else None
    if attempt["state"] == "settled" and payout is not None and moved is not None and moved != payout["amount_minor"]:
        told = f"{attempt['connector']} paid {moved} for {attempt['end_to_end_id']}, and we call {payout['amount_minor']} settled"
        yield Violation("E7", told, attempt["payout_id"])


def _clearing(
    memory: Memory,
    paid: Mapping[tuple[str, str], _Paid],
    connectors: Collection[str] | None,
    excuses: Excuses,
    converged: bool,
) -> Iterator[Violation]:
    """R1: what our books say a provider paid, less what came back, is what its book says; never more, and no less at the end."""
    ours: dict[tuple[str, str], int] = {}
    for (_, _, currency, account), balance in memory.sums.items():
        kind, _, connector = account.partition(":")
        if kind == "paid" and (connectors is None or connector in connectors):
            ours[connector, currency] = ours.get((connector, currency), 0) + balance
    theirs: dict[tuple[str, str], int] = {}
    excused = {
        attempt["connector"] for attempt in memory.tables["attempts"].values() if _is_excused(memory, attempt, excuses)
    }
    for (name, connector), one in paid.items():
        currency = memory.payouts[name]["currency"] if name in memory.payouts else ""
        theirs[connector, currency] = theirs.get((connector, currency), 0) + sum(one.by_attempt.values()) - one.back
    for connector, currency in dict.fromkeys([*ours, *theirs]):
        we, they = ours.get((connector, currency), 0), theirs.get((connector, currency), 0)
        if connector not in excused and converged and we != they:
            yield Violation("R1", f"{connector} paid {they} {currency} by its book and {we} by ours")


def _is_excused(memory: Memory, attempt: Row, excuses: Excuses) -> bool:
    known_by = {attempt["end_to_end_id"], attempt["provider_reference"]}
    name = attempt["payout_id"]
    persons = _vouched(memory, name) or _is_frozen(memory, name)
    return bool(known_by & set(excuses.lied_about)) or persons or may_stay(memory, name, excuses)


def _is_frozen(memory: Memory, name: str) -> bool:
    """Whether it waits for persons: what is said of its attempts moves nothing before."""
    payout = memory.payouts.get(name)
    return payout is not None and payout["frozen"] is not None


def may_stay(memory: Memory, name: str, excuses: Excuses) -> bool:
    """Whether a payout was scripted to stay without an end: by its id, its base, or an id of one of its attempts."""
    payout = memory.payouts.get(name)
    names = {name, payout["base"] if payout else name, *[row["end_to_end_id"] for row in memory.attempts(name)]}
    return bool(names & set(excuses.may_stay))


def ended(memory: Memory, excuses: Excuses, now: datetime | None) -> Iterator[Violation]:
    """E15: once faults have stopped, every payout has its end, or a reason to have none that somebody can read.

    `now`: what waits for its merchant may wait until it expires; None: it may wait.
    """
    for name, payout in memory.payouts.items():
        state = payout["state"]
        if state in ("created", "unfunded"):
            if now is not None and datetime.fromisoformat(payout["expires_at"]) <= now:
                yield Violation("E15", f"it is {state} after its time to expire", name)
        elif (
            state in ("queued", "scheduled", "awaiting_approval", "in_flight", "in_doubt") and payout["frozen"] is None
        ):
            if not may_stay(memory, name, excuses):
                yield Violation("E15", f"it is {state}, and nothing keeps it from ending", name)
            elif now is not None:
                yield from _still_asked(memory, name, now)
        elif payout["frozen"] is not None and not _contradicted(memory, name, excuses):
            yield Violation("E11", f"it is frozen ({payout['frozen']}), and nobody ever lied about it", name)


def _still_asked(memory: Memory, name: str, now: datetime) -> Iterator[Violation]:
    for attempt in memory.attempts(name):
        asks = attempt["ask_at"]
        if asks is not None and (datetime.fromisoformat(asks) - now).total_seconds() > _A_DAY_S:
            yield Violation("E15", f"attempt {attempt['number']} is not asked about before {asks}", name)


_A_DAY_S = 86_400.0


def _contradicted(memory: Memory, name: str, excuses: Excuses) -> bool:
    keys = {row[column] for row in memory.attempts(name) for column in ("end_to_end_id", "provider_reference")}
    return bool(keys & set(excuses.lied_about))
