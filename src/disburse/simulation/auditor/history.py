"""The clients' side: what merchants' programs asked and were told, beside what our rows say now.

Lives here: the third truth (C1 to C7, S3 and W5 of reliability). A client that was told something may rely on it for ever; one
that was told nothing finds its payout whole or not at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from uuid import UUID

from disburse.simulation.auditor.laws import FINAL_WORDS, WAITS_FOR_ITS_MERCHANT
from disburse.simulation.auditor.rows import Memory, Row
from disburse.simulation.auditor.truths import Exchange, Violation

_MAKES = ("pay", "create")
_EXPIRED = ("Deleted", "expired")
"""How an expired payout is told; whoever was told anything else of one that it executed took it for under way."""


def compare(memory: Memory, histories: Sequence[Exchange]) -> Iterator[Violation]:
    """Everything that was asked and told against the rows. All of one run: what is missing here was not asked."""
    for one in histories:
        payout = _found(memory, one)
        yield from _kept(memory, one, payout)
        yield from _final(one, payout)
    yield from _stays_final(memory, histories)
    yield from _one_obligation(memory, histories)
    yield from _nobody_asked(memory, histories)


def _found(memory: Memory, one: Exchange) -> Row | None:
    """The payout that an exchange is about: by our id where it is known, else by the merchant's reference."""
    if one.key is not None:
        if one.key.isdigit():  # UnitPay's number: the merchant's counter and the merchant
            counter, merchant = divmod(int(one.key), 1 << 20)
            rows = memory.payouts.values()
            return next((row for row in rows if (row["number"], row["merchant_id"]) == (counter, merchant)), None)
        try:
            return memory.payouts.get(str(UUID(one.key)))
        except ValueError:
            return None
    if one.reference is None:
        return None
    names = memory.by_obligation.get((one.merchant, one.surface, one.reference), {})
    return memory.payouts[next(iter(names))] if names else None


def _who(one: Exchange) -> str:
    return f"merchant {one.merchant} ({one.surface}) asked to {one.act} {one.reference or one.key}"


def _kept(memory: Memory, one: Exchange, payout: Row | None) -> Iterator[Violation]:
    """C7, S3, C3: what was acknowledged is there, is the asker's own, and is what was asked for."""
    if one.answer != "acknowledged":
        return
    if payout is None:
        if one.key is not None or one.reference is not None:
            yield Violation("C7", f"{_who(one)} and was told it is there, and it is not")
        return
    name = payout["payout_id"]
    if payout["merchant_id"] != one.merchant:
        yield Violation("S3", f"{_who(one)} and was answered about merchant {payout['merchant_id']}'s", name)
    if one.act in _MAKES and one.reference not in (None, payout["reference"]):
        yield Violation("C2", f"{_who(one)} and was answered with {payout['reference']}", name)
    if one.act in _MAKES and one.amount_minor not in (None, payout["amount_minor"]):
        told = any(row["kind"] == "payout.reference_mismatch" for row in memory.of("events", name))
        if not told:
            yield Violation(
                "C3", f"{_who(one)} for {one.amount_minor}, kept is {payout['amount_minor']} and no event tells", name
            )
    waits = payout["state"] in WAITS_FOR_ITS_MERCHANT or (payout["state"] == "expired" and one.status not in _EXPIRED)
    if one.act == "execute" and waits:
        yield Violation("C7", f"{_who(one)} and was told so, and it is {payout['state']}: nobody will ask again", name)
    if one.act == "cancel" and payout["state"] != "cancelled":
        yield Violation("C7", f"{_who(one)} and was told so, and it is {payout['state']}", name)


def _final(one: Exchange, payout: Row | None) -> Iterator[Violation]:
    """W5: a word that tells an end is still true."""
    states = FINAL_WORDS.get(one.surface, {}).get(one.status or "")
    if states is not None and payout is not None and payout["state"] not in states:
        yield Violation("W5", f"{_who(one)} and was shown {one.status}, it is {payout['state']}", payout["payout_id"])


def _stays_final(memory: Memory, histories: Sequence[Exchange]) -> Iterator[Violation]:
    """W5: whoever asks after a final word was told is told that word, or one that says more: paid, then returned."""
    shown: dict[tuple[str, str], list[Exchange]] = {}
    for one in histories:
        payout = _found(memory, one)
        if payout is not None and one.status is not None:
            shown.setdefault((payout["payout_id"], one.surface), []).append(one)
    for (name, surface), some in shown.items():
        ends = [one for one in some if one.status in FINAL_WORDS.get(surface, {}) and one.told is not None]
        for end in sorted(ends, key=lambda one: one.told or 0)[:1]:
            true_of = FINAL_WORDS[surface]
            later = [
                one for one in some
                if one.asked >= (end.told or 0) and not true_of.get(one.status or "", frozenset([""])) <= true_of[end.status or ""]
            ]  # fmt: skip
            if later:
                yield Violation("W5", f"{_who(end)} and was shown {end.status}, then {later[0].status}", name)


def _one_obligation(memory: Memory, histories: Sequence[Exchange]) -> Iterator[Violation]:
    """C1, C2, C5 and the refused: one reference, one payout, whatever else was asked in between."""
    made: dict[tuple[int, str, str], list[Exchange]] = {}
    for one in histories:
        if one.act in _MAKES and one.reference is not None:
            made.setdefault((one.merchant, one.surface, one.reference), []).append(one)
    for obligation, some in made.items():
        name = next(iter(memory.by_obligation.get(obligation, {})), None)
        sure = [one for one in some if one.answer == "acknowledged"]
        keys = dict.fromkeys(one.key for one in sure if one.key is not None)
        if len(keys) > 1:
            yield Violation("C2", f"{_who(sure[0])} and was told of {len(keys)} payouts: {', '.join(keys)}", name)
        for one in some:
            before = [first for first in sure if first.told is not None and first.told <= one.asked]
            again = [first for first in before if first.amount_minor == one.amount_minor]
            if one.answer == "refused" and again:
                yield Violation("C5", f"{_who(one)} once more and was refused", name)
        if name is not None and all(one.answer == "refused" for one in some):
            yield Violation("C7", f"{_who(some[0])} and was refused, and it is there", name)
        amounts = [one.amount_minor for one in some if one.amount_minor is not None]
        if name is not None and amounts and memory.payouts[name]["amount_minor"] not in amounts:
            yield Violation(
                "C7", f"{_who(some[0])} for {amounts[0]}, it is {memory.payouts[name]['amount_minor']}", name
            )


def _nobody_asked(memory: Memory, histories: Sequence[Exchange]) -> Iterator[Violation]:
    """S3: of a merchant whose programs tell what they did, every payout was asked for by one of them."""
    asked: dict[tuple[int, str], list[Exchange]] = {}
    for one in histories:
        if one.act in _MAKES:
            asked.setdefault((one.merchant, one.surface), []).append(one)
    nameless: dict[tuple[int, str], int] = {}
    for name, payout in memory.payouts.items():
        place = (payout["merchant_id"], payout["surface"])
        if place not in asked:
            continue
        if payout["reference"] is None:
            nameless[place] = nameless.get(place, 0) + 1
        elif all(one.reference != payout["reference"] for one in asked[place]):
            yield Violation("S3", f"nobody asked for {payout['reference']} of merchant {place[0]}", name)
    for place, count in nameless.items():
        creates = sum(1 for one in asked[place] if one.reference is None and one.answer != "refused")
        if count > creates:
            yield Violation(
                "C4", f"merchant {place[0]} asked for {creates} payouts without a reference and has {count}"
            )
