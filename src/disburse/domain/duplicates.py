"""The duplicate guard: whether the payee of a registry's row may already have this money, and what is asked then.

Lives here: `Trace` (what is compared, of a row and of an earlier payout alike) and `questions`. May not live here: reading words and names
(`duplicate_words.py`), where earlier payouts are kept and found (`storage/duplicates.py`), what is done with a question.

A payout discharges a debt: this month's wage, that invoice. A row is asked about when an earlier payout that is alive, or a row above,
seems to discharge the same one. Three things lead from a row to what came earlier, and each has its own rule.

* The same destination. Where both comments name a number, a day or a month, these decide, however long ago it was: equal, and the sum is equal
  or a little more (kopecks, a fee). Where one of them names nothing, an equal sum within five days is asked about, unless
  this payee has been paid so before (his habit: equal sums at such intervals).
* The same name at another destination: only an equal sum and the same words, and not where both destinations were paid side by side
  in a round before.
* The same number of an order, invoice, ticket or partner, wherever the money goes: an equal sum. Payouts under one number that
  add up to the row are one question too. A number that stands at many payees is no debt's name.

Payouts that failed, were cancelled, expired or came back whole discharge nothing, but they show habits. Everything is looked up by
key, so the cost is linear in the rows; a look-up tells the newest few alone, and `FEW` says how many.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, NamedTuple
from uuid import UUID

import msgspec

from disburse.domain.destinations import Destination
from disburse.domain.duplicate_words import NO_NAME, fingerprint, names_debt, names_time, read_comment, read_name
from disburse.domain.money import Money, minor_text

WINDOW_DAYS: Final = 62
"""Earlier payouts are remembered for so long: last month's file, sent in place of this month's, is within it."""
RECENT_S: Final = 5 * 86_400
"""Where words tell nothing, an equal sum within this time is asked about. Equal sums a week apart are weekly."""
FEW: Final = 12
"""So many of the newest payouts are looked at by each key, and as many that say exactly the same; twice as many rows above."""
MANY_PLACES: Final = 3
"""A number that stands at more destinations than these is no debt's name."""

_DAY_S: Final = 86_400


class Trace(msgspec.Struct, frozen=True, gc=False):
    """What is compared of one payout or row. Fingerprints fit a bigint and are 0 for what is not known.

    `place`: the destination, keyed. `person`, `short`: the name, whole and as surname with an initial, keyed; `patronymic`: a check that has
    meaning between equal persons only. `number`, `detail`, `telling`, `words`: as in `duplicate_words.Said`. `at`: seconds since 1970.
    `row`: the number of a row of the same file, 0 for a payout, which `payout` names. `alive`: it is paid or may be.
    """

    place: int
    person: int
    patronymic: int
    short: int
    number: int
    detail: int
    telling: int
    words: int
    minor: int
    currency: str
    at: int
    alive: bool
    row: int
    payout: UUID | None
    shown: str


class Question(NamedTuple):
    """What is asked about a row. `payout` or `row` is the earlier one that it may repeat; `why` is a sentence for people, without secrets."""

    payout: UUID | None
    row: int
    why: str


@dataclass(frozen=True, slots=True)
class History:
    """What came before these rows, newest first under each key; rows above in the same file too. A key that is missing has nothing."""

    places: Mapping[int, Sequence[Trace]]
    persons: Mapping[int, Sequence[Trace]]
    numbers: Mapping[int, Sequence[Trace]]


NOTHING: Final = History({}, {}, {})


def trace_of(
    destination: Destination, place: bytes, money: Money, comment: str | None, keyed: Callable[[bytes], bytes], *, at: int, row: int
) -> Trace:
    """A row's trace. `place`: the destination's keyed fingerprint; `keyed`: the merchant's keyed fingerprint of any text."""
    said = read_comment(comment or "")
    person, patronymic, short = person_of(destination.name or said.name, keyed)
    return Trace(key_of(place), person, patronymic, short, said.number, said.detail, said.telling, said.words, money.minor, money.currency,
                 at, True, row, None, "")  # fmt: skip


def person_of(name: str, keyed: Callable[[bytes], bytes]) -> tuple[int, int, int]:
    """The keys of a name: whole, its patronymic's check, surname with an initial. 0 for what it does not have."""
    bones = read_name(name) if name else NO_NAME
    if bones is NO_NAME:
        return 0, 0, 0
    person = patronymic = 0
    if bones.full:
        digest = keyed(b"person:1|" + bones.full.encode())
        person = key_of(digest)
        if bones.patronymic:  # masked by the keyed digest: alone it says nothing of the patronymic
            patronymic = ((fingerprint(bones.patronymic) ^ int.from_bytes(digest[8:12], "big")) & 0x7FFF) or 1
    return person, patronymic, key_of(keyed(b"short:1|" + bones.short.encode()))


def key_of(digest: bytes) -> int:
    """A keyed fingerprint as a number that fits a bigint; never 0."""
    return int.from_bytes(digest[:8], "big", signed=True) or 1


def questions(rows: Sequence[Trace], history: History) -> dict[int, Question]:
    """What is asked about these rows, by row number. `history` has what came before the first of them; the rows follow each other in order."""
    places: dict[int, list[Trace]] = {}
    persons: dict[int, list[Trace]] = {}
    numbers: dict[int, list[Trace]] = {}
    asked: dict[int, Question] = {}
    for row in rows:
        by_place = _with(places, history.places, row.place)
        by_person = _with(persons, history.persons, row.person) if row.person else ()
        by_number = _with(numbers, history.numbers, row.number) if row.number else ()
        if by_place or by_person or by_number:
            question = _at_place(row, by_place) or _of_person(row, by_person) or _of_number(row, by_number)
            if question is not None:
                asked[row.row] = question
                continue  # it will not be paid, so nothing below repeats it
        for key, above in ((row.place, places), (row.person, persons), (row.number, numbers)):
            if key:
                above.setdefault(key, []).append(row)
    return asked


def _with(above: Mapping[int, list[Trace]], before: Mapping[int, Sequence[Trace]], key: int) -> Sequence[Trace]:
    """Rows above and earlier payouts under a key, newest first."""
    rows, past = above.get(key), before.get(key, ())
    return [*rows[: -2 * FEW - 1 : -1], *past] if rows else past


# --- the three roads -------------------------------------------------------------------------------------------------


def _at_place(row: Trace, earlier: Sequence[Trace]) -> Question | None:
    for one in earlier:
        if not one.alive or one.currency != row.currency or not _may_be_one_person(row, one):
            continue
        near = _near(row.minor, one.minor)
        if not near:
            continue
        same = _same_debt(row, one)
        if same:
            return _question(row, one, f"{near} to the same destination, {_SAID[same]}")
        if same is None and row.at - one.at <= RECENT_S and _same_words(row, one) and not _explained(row, one, earlier):
            return _question(row, one, f"{near} to the same destination {_ago(row, one)}, and neither number nor month tells them apart")
    return None


def _of_person(row: Trace, earlier: Sequence[Trace]) -> Question | None:
    for one in earlier:
        if not one.alive or one.place == row.place or one.currency != row.currency or one.minor != row.minor:
            continue
        if row.patronymic and one.patronymic and row.patronymic != one.patronymic:
            continue
        same = _same_debt(row, one)
        if same == "" or not _same_words(row, one):
            continue
        if same is None and row.at - one.at > RECENT_S:
            continue
        if _side_by_side(row, one, earlier):
            continue
        what = _SAID[same] if same else _ago(row, one)
        return _question(row, one, f"{_EQUAL} to the same name at another destination, {what}")
    return None


def _of_number(row: Trace, earlier: Sequence[Trace]) -> Question | None:
    if len({one.place for one in earlier} | {row.place}) > MANY_PLACES:
        return None
    parts = 0
    last = None
    for one in earlier:
        if not one.alive or one.currency != row.currency:
            continue
        if one.place == row.place:
            if one.minor < row.minor:
                parts += one.minor
                last = one
            continue
        if one.minor == row.minor and _same_debt(row, one) and one.words == row.words and _names_allow(row, one):
            return _question(row, one, f"{_EQUAL} under the same number to another destination")
    if last is not None and not row.telling and parts == row.minor:
        return _question(row, last, "parts that add up to this sum to the same destination under the same number")
    return None


# --- what is the same ------------------------------------------------------------------------------------------------

_EQUAL, _KOPECKS, _FEE = "the same sum", "nearly the same sum", "this sum less a fee"
_SAID: Final = {"number": "under the same number", "period": "for the same time and purpose"}


def _near(minor: int, earlier: int) -> str:
    """How near a sum is to an earlier one, in words; "" when it is another sum.

    Kopecks: within one unit and a thousandth. A fee: 0.5 to 4 % more, or 30 or 50 more of what is at least three times that.
    """
    more = minor - earlier
    if more == 0:
        return _EQUAL
    if abs(more) * 1000 <= earlier or (abs(more) <= 100 and earlier >= 10_000):
        return _KOPECKS
    if more > 0 and (earlier * 5 <= more * 1000 <= earlier * 40 or (more in (3_000, 5_000) and earlier >= 3 * more)):
        return _FEE
    return ""


def _same_debt(row: Trace, one: Trace) -> str | None:
    """What shows that both speak of one debt, "" when they speak of two, None when one of them names nothing."""
    if row.telling != one.telling:
        return ""
    if row.number and one.number:
        if row.number != one.number or (row.detail and one.detail and row.detail != one.detail):
            return ""
        if names_debt(row.number):
            return "number"
    if row.detail and one.detail:
        if row.detail != one.detail or not _same_words(row, one):
            return ""
        return "period" if names_time(row.detail) and row.number == one.number else None
    return None


def _same_words(row: Trace, one: Trace) -> bool:
    return row.words == one.words or (row.telling == one.telling and (not row.words or not one.words))


def _may_be_one_person(row: Trace, one: Trace) -> bool:
    """Whether two names at one destination may be one person's: a family has one phone."""
    if row.person and one.person:
        return row.person == one.person and not (row.patronymic and one.patronymic and row.patronymic != one.patronymic)
    return not (row.short and one.short) or row.short == one.short


def _names_allow(row: Trace, one: Trace) -> bool:
    return not (row.person and one.person) or row.person == one.person


def _explained(row: Trace, one: Trace, earlier: Sequence[Trace]) -> bool:
    """Whether a second equal sum under words that tell nothing is what this payee is used to, or makes up for one that came to nothing."""
    owed: list[int] = []
    counts: dict[int, int] = {}
    above = False
    for other in reversed(earlier):
        if other.minor != one.minor or other.words != one.words:
            continue
        owed = [at for at in owed if other.at - at <= RECENT_S]
        if not other.alive:
            owed.append(other.at)
            continue
        at = other.at
        if owed and owed[0] < at:
            at = owed.pop(0)  # it made up for that one, and belongs to its round
        elif other.row:
            above = True
            continue
        counts[at] = counts.get(at, 0) + 1
    if any(row.at - at <= RECENT_S for at in owed):
        return True
    rounds = sorted(counts, reverse=True)
    if above:
        return any(count > 1 for count in counts.values())
    gap = row.at - rounds[0]
    return any(later - before <= gap * 3 // 2 for later, before in pairwise(rounds))


def _side_by_side(row: Trace, one: Trace, earlier: Sequence[Trace]) -> bool:
    """Whether both destinations were paid within three days of each other in a round that lies a week back or more."""
    mine = [other.at for other in earlier if other.place == row.place and row.at - other.at > 7 * _DAY_S]
    its = [other.at for other in earlier if other.place == one.place and row.at - other.at > 7 * _DAY_S]
    return any(abs(a - b) <= 3 * _DAY_S for a in mine for b in its)


# --- in words --------------------------------------------------------------------------------------------------------


def _question(row: Trace, one: Trace, what: str) -> Question:
    who = f"Row {one.row} of this file" if one.row else f"Payout {one.payout}"
    to = f" to {one.shown}" if one.shown else ""
    return Question(one.payout, one.row, f"{who} pays {minor_text(one.minor, one.currency)} {one.currency}{to}: {what}.")


def _ago(row: Trace, one: Trace) -> str:
    seconds = row.at - one.at
    if seconds < 3_600:
        return "less than an hour before"
    hours = seconds // 3_600
    return f"{hours} hours before" if hours < 48 else f"{hours // 24} days before"
