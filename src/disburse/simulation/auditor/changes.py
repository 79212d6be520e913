"""Changes: what one commit may do to what stood before it, seen from the rows before and after.

Lives here: steps of attempts, columns that never change, epochs, frozen payouts, and the proof that has to be in the same commit
as what it proves. A commit is judged alone: what several messages did in it counts as one step, if each can follow the other.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from typing import Final

from disburse.simulation.auditor.laws import ATTEMPT_STEPS, DEAD, FINAL, PROOFS
from disburse.simulation.auditor.lives import proof_of
from disburse.simulation.auditor.rows import ONLY_ADDED_TO, Memory, News, Row
from disburse.simulation.auditor.truths import Violation

_OF_A_LIFE: Final = frozenset({
    "state", "frozen", "reason", "attempts", "returned_minor", "updated_at", "finished_at", "expires_at", "last_event",
})  # fmt: skip
"""Columns of a payout that change in its life; the others say what was promised."""

_INTENT: Final = ("connector", "end_to_end_id", "request_digest", "owner", "lease_until", "opened_at", "epoch")
_FOR_LIFE: Final = ("merchant_id", "actor")
_LEASE_S: Final = 600.0
"""No lease ends farther from the moment of its commit, all that may lie between reading the clock and committing included."""
_COUNTERS: Final = ("payouts", "postings", "events")


def nothing_lost(news: News) -> Iterator[Violation]:
    """L5: what is only added to stays as it was written, and no row of any table goes away."""
    for table in ONLY_ADDED_TO:
        for before, after in news.changed.get(table, []):
            columns = ", ".join(column for column in before if before[column] != after.get(column))
            told = f"a row of {table} of merchant {before['merchant_id']} was rewritten: {columns}"
            yield Violation("L5", told, before.get("payout_id") or before.get("origin_id"))
    for table, count in news.gone.items():
        invariant = "C7" if table == "payouts" else "L5"
        yield Violation(
            invariant, f"{abs(count)} rows of {table} {'are gone' if count > 0 else 'were not seen coming'}"
        )


def of_commit(
    memory: Memory, news: News, absence: Mapping[str, float], now: datetime | None = None, repeats: Collection[str] = (),
    two_step: Collection[str] = (),
) -> Iterator[Violation]:  # fmt: skip
    """What this commit did to merchants, payouts and attempts that were there before, and the attempts it made.

    `now`: what the database's clock shows; None: nobody knows. `repeats`: connectors whose providers take an order again; `two_step`: those
    of them that make an operation first, which nobody executes before it is remembered.
    """
    for before, after in news.changed.get("merchants", []):
        if any(after[one] < before[one] for one in _COUNTERS):
            yield Violation("L9", f"a counter of merchant {after['merchant_id']} went down")
    said: dict[str, list[Row]] = {}
    for row in news.new("evidence"):
        if row["payout_id"] is not None:
            said.setdefault(row["payout_id"], []).append(row)
    stood = {after["payout_id"]: before for before, after in news.changed.get("payouts", [])}
    for before, after in news.changed.get("payouts", []):
        yield from _payout(before, after, said.get(after["payout_id"], []))
    for row in news.new("attempts"):
        yield from _new_attempt(memory, row, absence)
    for before, after in news.changed.get("attempts", []):
        name = after["payout_id"]
        payout = stood.get(name) or memory.payouts.get(name)
        yield from _attempt(before, after, payout, said.get(name, []), memory.of("evidence", name), absence)
        if after["connector"] in repeats and (after["connector"] not in two_step or before["provider_reference"] is not None):
            yield from _still_its_owners(before, after, said.get(name, []))
        if now is not None and (before["state"], after["state"]) == ("due", "open"):
            yield from _leased(after, now)
    yield from _frozen_stands(memory, news, stood, said)
    yield from _as_it_was_asked(memory, news)


def _payout(before: Row, after: Row, said: list[Row]) -> Iterator[Violation]:
    name = after["payout_id"]
    rewritten = [column for column in before if column not in _OF_A_LIFE and before[column] != after.get(column)]
    if rewritten:
        yield Violation("E7", f"what was promised of it was rewritten: {', '.join(rewritten)}", name)
    if (
        before["state"] in FINAL
        and (before["state"], after["state"]) != ("paid", "returned")
        and before["state"] != after["state"]
    ):
        yield Violation("E8", f"it was {before['state']} and is {after['state']}", name)
    if after["attempts"] < before["attempts"] or after["returned_minor"] < before["returned_minor"]:
        yield Violation("E8", "it counts fewer attempts, or less that came back, than before", name)
    if before["state"] != after["state"] and after["last_event"] <= before["last_event"]:
        yield Violation("W1", f"it went from {before['state']} to {after['state']} without an event", name)
    if before["state"] != after["state"] and before["state"] in ("in_flight", "in_doubt", "paid") and not said:
        yield Violation("E5", f"it went from {before['state']} to {after['state']} and nobody had said anything", name)
    if after["returned_minor"] != before["returned_minor"] and not said:
        yield Violation("E5", "money came back to it and nobody had said so", name)


def _new_attempt(memory: Memory, attempt: Row, absence: Mapping[str, float]) -> Iterator[Violation]:
    """E3: an attempt is made due, without a connector, after all before it are proven to have moved nothing."""
    name, number = attempt["payout_id"], attempt["number"]
    if attempt["state"] != "due" or attempt["connector"] is not None or attempt["epoch"] != 0:
        yield Violation("E2", f"attempt {number} was {attempt['state']} in the commit that made it", name)
    said = memory.of("evidence", name)
    for one in memory.attempts(name):
        proven = one["state"] in DEAD and one["connector"] is not None and proof_of(one, said, absence)
        if one["number"] < number and not proven:
            yield Violation("E3", f"attempt {number} was made with no proof about attempt {one['number']}", name)


def _attempt(
    before: Row, after: Row, payout: Row | None, said: list[Row], all_said: list[Row], absence: Mapping[str, float]
) -> Iterator[Violation]:
    name, number = after["payout_id"], after["number"]
    step = (before["state"], after["state"])
    if step[0] != step[1] and step[1] not in ATTEMPT_STEPS[step[0]]:
        yield Violation("E8", f"attempt {number} went from {step[0]} to {step[1]}", name)
    if any(before[column] != after[column] for column in _FOR_LIFE):
        yield Violation("S3", f"attempt {number} became somebody else's", name)
    if after["epoch"] < before["epoch"]:
        yield Violation("E10", f"attempt {number} went back from epoch {before['epoch']} to {after['epoch']}", name)
    if step == ("due", "open"):
        if after["epoch"] != before["epoch"] + 1:
            yield Violation(
                "E10", f"attempt {number} was opened in epoch {after['epoch']} after {before['epoch']}", name
            )
        if payout is None or payout["frozen"] is not None:
            yield Violation("E11", f"attempt {number} of a frozen payout was opened", name)
    elif any(before[column] != after[column] for column in _INTENT):
        invariant = "E4" if before["end_to_end_id"] != after["end_to_end_id"] else "E10"
        yield Violation(invariant, f"the intent of attempt {number} was rewritten", name)
    if before["provider_reference"] != after["provider_reference"] and not said:
        yield Violation("E4", f"attempt {number} is asked about by another reference, and nobody had named it", name)
    if step[0] != "open" and any((row["verdict"], row["attempt"]) == ("Made", number) for row in said):
        told = f"an operation was remembered with attempt {number}, which was {step[0]}: its owner's turn was over"
        yield Violation("E10", told, name)
    if step[0] == step[1] or after["connector"] is None or after["state"] not in PROOFS:
        return
    second_miss = step[1] == "not_sent" and any(row["verdict"] == "NotFound" for row in said)
    if not proof_of(after, all_said if second_miss else said, absence):
        yield Violation(
            "E5", f"attempt {number} went from {step[0]} to {step[1]} without proof in the same commit", name
        )


def _still_its_owners(before: Row, after: Row, said: list[Row]) -> Iterator[Violation]:
    """E3: once an order is in doubt others may have sent it again, so that one call of it was not sent proves nothing any more."""
    if (before["state"], after["state"]) == ("unknown", "not_sent"):
        proofs = [row for row in said if row["attempt"] == after["number"] and row["verdict"] in PROOFS["not_sent"]]
        if proofs and all(row["kind"] == "answer" for row in proofs):
            told = f"attempt {after['number']} is called unsent because one call of it was, and others may have sent it since"
            yield Violation("E3", told, after["payout_id"])


def _leased(attempt: Row, now: datetime) -> Iterator[Violation]:
    """E15: who takes an attempt has it for some moments by the database's clock, whatever his own shows."""
    left_s = (datetime.fromisoformat(attempt["lease_until"]) - now).total_seconds()
    if abs(left_s) > _LEASE_S:
        told = f"attempt {attempt['number']} was taken until {left_s:.0f} s from now: nobody else looks after it before"
        yield Violation("E15", told, attempt["payout_id"])


def _frozen_stands(
    memory: Memory, news: News, stood: Mapping[str, Row], said: Mapping[str, list[Row]]
) -> Iterator[Violation]:
    """E11: what was frozen before this commit is moved by persons alone, and so is its money."""
    posted = dict.fromkeys(row["origin_id"] for row in news.new("postings"))
    for name in dict.fromkeys([*stood, *posted]):
        before, after = stood.get(name) or memory.payouts.get(name), memory.payouts.get(name)
        if before is None or after is None or before["frozen"] is None:
            continue
        persons = any(row["kind"] == "person" for row in said.get(name, []))
        moved = name in posted or (before["state"], before["frozen"]) != (after["state"], after["frozen"])
        if moved and not persons:
            yield Violation("E11", f"it was frozen ({before['frozen']}) and moved without persons", name)


def _as_it_was_asked(memory: Memory, news: News) -> Iterator[Violation]:
    """A1: nothing happened to a payout between the request that it end and the agreement to that."""
    for row in news.new("requests"):
        memory.seen[row["request_id"]] = memory.last_event(row["origin_id"])
    for row in news.new("decisions"):
        asked = memory.tables["requests"].get((row["shard"], row["request_id"]))
        seen = memory.seen.get(row["request_id"])
        if asked is None or seen is None or asked["kind"] != "resolve" or row["verdict"] != "approved":
            continue
        if memory.last_event(asked["origin_id"], before=news) != seen:
            yield Violation("A1", "two persons ended it, and it had moved since the first one looked", asked["origin_id"])


def by_two_persons(memory: Memory, news: News) -> Iterator[Violation]:
    """A1 as far as it exists: what one person asked for, another agreed to, and nothing of the kind happened otherwise."""
    requests, decisions = memory.tables["requests"], memory.tables["decisions"]
    for row in news.now("decisions"):
        asked = requests.get((row["shard"], row["request_id"]))
        if asked is None or (row["verdict"] == "approved" and asked["actor"] == row["actor"]):
            yield Violation("A1", f"request {row['request_id']} was answered by who asked, or never asked")
    approved = {
        (asked["shard"], asked["request_id"]): asked
        for key, asked in requests.items()
        if key in decisions and decisions[key]["verdict"] == "approved"
    }
    for row in news.new("evidence"):
        if row["kind"] == "person" and (row["shard"], row["detail"]) not in approved:
            yield Violation("A1", "persons ended it, and no second one agreed", row["payout_id"])
    yield from _withdrawn_once(memory, news)
    done = {(asked["kind"], asked["origin_id"]) for asked in approved.values()}
    for row in news.new("postings"):
        if row["reason"] == "covered" and not any(
            one["kind"] == "person" for one in memory.of("evidence", row["origin_id"])
        ):
            yield Violation("A1", "a payment beyond proof was covered without persons", row["origin_id"])
        outside = {"withdrawal": "withdraw", "reversal": "reverse"}.get(row["reason"])
        if outside and row["origin_id"] not in memory.payouts and (outside, row["origin_id"]) not in done:
            yield Violation("A1", f"posting {row['number']} of merchant {row['merchant_id']} has no second yes")


def _withdrawn_once(memory: Memory, news: News) -> Iterator[Violation]:
    """C1 of money that leaves by persons: one reference of a merchant's withdrawals is one withdrawal, for ever."""
    if not any(row["reason"] == "withdrawal" for row in news.new("postings")):
        return
    left: dict[tuple[int, str], int] = {}
    for (origin, _), row in memory.phases.items():
        if row["reason"] == "withdrawal" and origin in memory.origins:
            whose = (row["merchant_id"], memory.origins[origin]["reference"])
            left[whose] = left.get(whose, 0) + 1
    for (merchant, reference), times in left.items():
        if times > 1:
            yield Violation("C1", f"the withdrawal {reference} of merchant {merchant} left {times} times")


def ended_too_early(news: News, now: datetime | None) -> Iterator[Violation]:
    """H4: while an attempt's lease runs its owner may be sending it: no persons end it. `now`: by the database's clock."""
    for before, after in news.changed.get("attempts", []):
        if (before["state"], after["state"]) not in (("open", "rejected"), ("open", "settled")) or now is None:
            continue
        said = [row for row in news.new("evidence") if row["payout_id"] == after["payout_id"]]
        persons = bool(said) and all(row["kind"] == "person" for row in said)
        if persons and datetime.fromisoformat(before["lease_until"]) > now:
            yield Violation("H4", f"persons ended attempt {after['number']} while its owner may be sending it", after["payout_id"])
