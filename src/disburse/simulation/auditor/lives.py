"""Lives: how one payout, its attempts, its events and what was said of it stand beside each other at any moment.

Lives here: what must be true of a payout whenever one looks (E, H5, C and W of reliability). What may change from one commit to
the next is `changes.py`'s.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Final
from uuid import UUID

from disburse.simulation.auditor.laws import (
    AFTER_THE_END,
    ASKED_ABOUT,
    DEAD,
    FINAL,
    LIVE_ATTEMPT,
    MAY_LACK_ATTEMPT,
    PROOFS,
    STAYS,
    STEPS,
    WAITS_FOR_ITS_MERCHANT,
    WHO_MAY_SAY,
)
from disburse.simulation.auditor.rows import Memory, News, Row, nobody
from disburse.simulation.auditor.truths import Violation

_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz234567"
_INTENT: Final = ("connector", "end_to_end_id", "request_digest", "owner", "lease_until", "opened_at")


def of_payout(memory: Memory, payout: Row, absence: Mapping[str, float]) -> Iterator[Violation]:
    """All that must hold of a payout as it now stands. `absence`: seconds between two not-founds that prove it, by connector."""
    name = payout["payout_id"]
    attempts, said = memory.attempts(name), memory.of("evidence", name)
    yield from _itself(memory, payout)
    yield from _attempts_fit(memory, payout, attempts)
    yield from _ended(payout, attempts)
    for attempt in attempts:
        yield from _intent(payout, attempt)
        yield from _asked_about(attempt)
        yield from _proven(payout, attempt, said, absence)
        yield from _of_two_steps(attempt, said)
        yield from _paid_after_all(memory, attempt, said)
    yield from _frozen(memory, payout, said)
    for table in ("attempts", "events", "evidence", "routings"):
        if any(row["merchant_id"] != payout["merchant_id"] for row in memory.of(table, name)):
            yield Violation("S3", f"a row of its {table} is another merchant's", name)


def _itself(memory: Memory, payout: Row) -> Iterator[Violation]:
    name, base, shard = payout["payout_id"], payout["base"], payout["shard"]
    obligation = (payout["merchant_id"], payout["surface"], payout["reference"])
    for shared in (obligation, (base,)):
        others = memory.by_obligation.get(shared, {})
        if len(others) > 1:
            yield Violation("C1", f"{len(others)} payouts stand for one obligation", name)
    lettered = len(base) == 28 and all(letter in _LETTERS for letter in base)
    bucket = 32 * _LETTERS.index(base[0]) + _LETTERS.index(base[1]) if lettered else None
    if bucket != shard or UUID(name).int >> 52 & 1023 != shard:
        yield Violation("E4", "its id or base does not name its bucket", name)
    if (payout["state"] in FINAL) != (payout["finished_at"] is not None):
        yield Violation("H5", f"it is {payout['state']} and its end is {payout['finished_at']}", name)
    if nobody(payout):
        yield Violation("W1", "nobody made it", name)
    told = [row for row in memory.of("events", name) if row["state"] is not None]
    numbers = [row["number"] for row in told]
    if not told or (min(numbers), max(numbers)) != (payout["first_event"], payout["last_event"]):
        yield Violation("W1", f"its events run from {numbers[:1]} to {numbers[-1:]}, it knows others", name)
    elif memory.told.get(name) != payout["state"]:
        yield Violation("H5", f"it is {payout['state']}, its last event says {memory.told.get(name)}", name)
    mismatches = sum(1 for row in memory.of("events", name) if row["kind"] == "payout.reference_mismatch")
    if mismatches != len(memory.of("mismatches", name)):
        yield Violation("C3", f"{mismatches} events tell of {len(memory.of('mismatches', name))} other contents", name)


def _attempts_fit(memory: Memory, payout: Row, attempts: list[Row]) -> Iterator[Violation]:
    name, state = payout["payout_id"], payout["state"]
    numbers = [row["number"] for row in attempts]
    if numbers != list(range(1, payout["attempts"] + 1)):
        yield Violation("E3", f"its attempts are {numbers}, it counts {payout['attempts']}", name)
    live = [row for row in attempts if row["state"] not in DEAD]
    if len(live) > 1:
        yield Violation("E1", f"attempts {[row['number'] for row in live]} may pay both", name)
    if live and live[0] is not attempts[-1]:
        yield Violation(
            "E3", f"attempt {attempts[-1]['number']} was made while {live[0]['number']} may still pay", name
        )
    covered = any(row["reason"] == "covered" for row in memory.of("postings", name))
    wanted = frozenset[str]() if covered else LIVE_ATTEMPT[state]
    fits = live[0]["state"] in wanted if live else not wanted or state in MAY_LACK_ATTEMPT
    if not fits:
        yield Violation("E1", f"it is {state}, its live attempt {live[0]['state'] if live else 'nowhere'}", name)
    if state in WAITS_FOR_ITS_MERCHANT and attempts:
        yield Violation("E2", f"it is {state} and has {len(attempts)} attempts", name)


def _ended(payout: Row, attempts: list[Row]) -> Iterator[Violation]:
    """E5 and E13: a payout failed by a refusal, or with nothing sent; one that was cancelled or expired had nothing under way."""
    name, state = payout["payout_id"], payout["state"]
    last = attempts[-1] if attempts else None
    if state == "failed" and (last is None or (last["state"] == "not_sent" and last["connector"] is not None)):
        yield Violation("E5", "it failed without a refusal", name)
    if state == "cancelled" and last is not None and last["connector"] is not None:
        yield Violation("E13", f"it was cancelled after attempt {last['number']} was opened", name)
    if state == "expired" and last is not None:
        yield Violation("H6", "it expired after it was executed", name)
    for row in attempts:
        if row["state"] == "not_sent" and row["connector"] is None and state not in FINAL:
            yield Violation("E3", f"attempt {row['number']} was given up unsent, the payout is {state}", name)


def _intent(payout: Row, attempt: Row) -> Iterator[Violation]:
    name, number, state = payout["payout_id"], attempt["number"], attempt["state"]
    written = [attempt[column] is not None for column in _INTENT]
    opened = attempt["connector"] is not None
    if any(written) != all(written) or (not opened and state not in ("due", "not_sent")) or (opened and state == "due"):
        yield Violation("E2", f"attempt {number} is {state} with half an intent", name)
    if opened != (attempt["epoch"] > 0) or (opened and len(attempt["request_digest"] or "") != 66):
        yield Violation(
            "E2", f"attempt {number} is {state} in epoch {attempt['epoch']}, or what it asked for is not known", name
        )
    if opened and attempt["end_to_end_id"] != f"{payout['base']}-{number}":
        yield Violation("E4", f"attempt {number} is known as {attempt['end_to_end_id']}", name)
    if nobody(attempt):
        yield Violation("W1", f"nobody made attempt {number}", name)


def _asked_about(attempt: Row) -> Iterator[Violation]:
    """E15: while nobody knows how an attempt ended its next question stands, and doubt has a beginning."""
    state, told = attempt["state"], f"attempt {attempt['number']} is {attempt['state']}"
    if (state in ASKED_ABOUT) != (attempt["ask_at"] is not None):
        yield Violation("E15", f"{told}, its next question is at {attempt['ask_at']}", attempt["payout_id"])
    if (state == "unknown") != (attempt["doubt_since"] is not None):
        yield Violation("E15", f"{told}, in doubt since {attempt['doubt_since']}", attempt["payout_id"])
    if (state in DEAD or state == "settled") != (attempt["ended_at"] is not None):
        yield Violation("E15", f"{told}, ended at {attempt['ended_at']}", attempt["payout_id"])


def _proven(payout: Row, attempt: Row, said: list[Row], absence: Mapping[str, float]) -> Iterator[Violation]:
    """E3 and E5: what was sent is where it is because of a stored message that may say so."""
    state, number = attempt["state"], attempt["number"]
    if attempt["connector"] is None or state not in PROOFS or proof_of(attempt, said, absence):
        return
    invariant = "E5" if state in DEAD else "E3"
    yield Violation(invariant, f"attempt {number} is {state} and nothing that was stored says so", payout["payout_id"])


def _of_two_steps(attempt: Row, said: list[Row]) -> Iterator[Violation]:
    """E3: once an operation may be executed by whoever knows its id, no word about one request proves that nothing was."""
    made = any(row["verdict"] == "Made" and row["attempt"] == attempt["number"] for row in said)
    if made and attempt["state"] == "not_sent":
        told = f"attempt {attempt['number']} is not_sent, and an operation was made for it that may be executed"
        yield Violation("E3", told, attempt["payout_id"])


def proof_of(attempt: Row, said: list[Row], absence: Mapping[str, float]) -> bool:
    """Whether some of these messages show that a sent attempt is in the state that it is in."""
    if attempt["state"] == "rejected" and attempt["reason"] == "resolved":
        return any(row["kind"] == "person" for row in said)
    for row in said:
        kinds = WHO_MAY_SAY.get(row["verdict"])
        if row["attempt"] != attempt["number"] or row["verdict"] not in PROOFS[attempt["state"]]:
            continue
        if row["end_to_end_id"] != attempt["end_to_end_id"] or row["connector"] != attempt["connector"]:
            continue
        if row["verdict"] == "Absent" and row["kind"] != "answer" and absence.get(attempt["connector"]) == math.inf:
            continue
        if (kinds is None or row["kind"] in kinds) and (attempt["state"] != "not_sent" or row["verdict"] != "NotFound"):
            return True
    return attempt["state"] == "not_sent" and _absent(attempt, said, absence)


def _absent(attempt: Row, said: list[Row], absence: Mapping[str, float]) -> bool:
    """Two not-founds, both heard in doubt, the second as long after the first as the provider's contract wants."""
    missed = [
        (row["effect"] != "nothing", datetime.fromisoformat(row["clock_at"]))
        for row in said
        if (row["attempt"], row["verdict"], row["kind"]) == (attempt["number"], "NotFound", "inquiry")
        and row["clock_at"]
    ]
    before, ended = [at for counted, at in missed if not counted], [at for counted, at in missed if counted]
    if not before or not ended:
        return False
    return (max(ended) - min(before)).total_seconds() >= absence.get(attempt["connector"], 0.0)


def _paid_after_all(memory: Memory, attempt: Row, said: list[Row]) -> Iterator[Violation]:
    """E11: a payment by an attempt that is held to be over is no old news: whoever hears of it freezes the payout."""
    name, number = attempt["payout_id"], attempt["number"]
    paid = any(row["attempt"] == number and row["verdict"] == "Settled" for row in said)
    if paid and attempt["state"] in DEAD and all(row["kind"] != "payout.frozen" for row in memory.of("events", name)):
        yield Violation("E11", f"attempt {number} is {attempt['state']}, a provider says that it paid, and nobody minds", name)


def _frozen(memory: Memory, payout: Row, said: list[Row]) -> Iterator[Violation]:
    """E11: a payout is frozen for a reason that was stored and told, and thawed by persons alone."""
    name, frozen = payout["payout_id"], payout["frozen"]
    marks = [row for row in memory.of("events", name) if row["kind"] in ("payout.frozen", "payout.thawed")]
    marks.sort(key=lambda row: int(row["number"]))
    freezes = sum(1 for row in said if row["effect"].startswith("frozen:"))
    thaws = sum(1 for row in said if row["effect"].startswith("thawed:") and row["kind"] == "person")
    now = bool(marks) and marks[-1]["kind"] == "payout.frozen"
    if (frozen is not None) != now or (now and marks[-1]["detail"] != frozen) or frozen == "":
        yield Violation("E11", f"it is frozen for {frozen!r}, its events say otherwise", name)
    if (frozen is not None) != (freezes == thaws + 1) or freezes < thaws:
        yield Violation("E11", f"{freezes} messages froze it and {thaws} thawed it, the mark is {frozen!r}", name)
    contradicted = any(row["reason"] == "contradiction" for row in memory.of("postings", name))
    if contradicted and not freezes:
        yield Violation("E11", "money lies in suspense and nothing ever contradicted", name)


def follow_events(memory: Memory, news: News) -> Iterator[Violation]:
    """E8 and W5: events not seen before, in their order: each names a state that may follow the one before."""
    for row in sorted(news.new("events"), key=lambda row: (row["shard"], row["merchant_id"], row["number"])):
        name, state, kind = row["payout_id"], row["state"], row["kind"]
        if nobody(row):
            yield Violation("W1", f"event {row['number']} of merchant {row['merchant_id']} names nobody", name)
        if name is None or state is None:
            continue
        before = memory.told.get(name, "nothing")
        memory.told[name] = state
        if before in FINAL and kind not in AFTER_THE_END:
            yield Violation("W5", f"it was {before}, and then an event told {kind}", name)
        moves = state in STEPS[before] and kind == f"payout.{state}"
        legal = state == before if kind in STAYS else moves
        if not legal:
            yield Violation("E8", f"event {row['number']} ({kind}) takes it from {before} to {state}", name)


def strays(memory: Memory, news: News) -> Iterator[Violation]:
    """S3 and E7: rows that belong to no payout, and messages that are filed under an attempt they do not speak of."""
    for table in ("attempts", "events", "evidence", "mismatches", "routings"):
        for row in news.now(table):
            if row["payout_id"] is not None and row["payout_id"] not in memory.payouts:
                yield Violation("S3", f"a row of {table} belongs to no payout", row["payout_id"])
    for row in news.now("evidence"):
        name = row["payout_id"]
        if name is None:
            if row["effect"] != "unmatched":
                yield Violation("E7", f"a message of nobody's had the effect {row['effect']}")
            continue
        spoken_of = [one for one in memory.of("attempts", name) if one["number"] == row["attempt"]]
        meant = [(one["end_to_end_id"], one["connector"]) for one in spoken_of]
        if meant != [(row["end_to_end_id"], row["connector"])]:
            yield Violation(
                "E7", f"a message about {row['end_to_end_id']} is filed under attempt {row['attempt']}", name
            )
        if row["verdict"] == "Made" and spoken_of and spoken_of[0]["provider_reference"] != row["detail"]:
            yield Violation("E2", f"attempt {row['attempt']} does not know the operation that was made for it", name)
        if nobody(row):
            yield Violation("W1", "nobody heard a message about it", name)
