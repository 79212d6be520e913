"""The world while it is being made: merchants, sheets of drafts, and small deeds upon them.

Lives here: `Draft` (a row or payout to be), `Sheet` (a file or a single order to be), `Merchant`, `World`. May not live here: what
merchants do of themselves (`wages.py`, `trade.py`), what goes wrong (`mishaps.py`), ids and truth (`assemble.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Final

from tests.registry_corpus import people
from tests.registry_corpus.people import Person
from tests.registry_corpus.shapes import DEAD, Place

MONTHS: Final = (
    "январь", "февраль", "март", "апрель", "май", "июнь", "июль", "август", "сентябрь", "октябрь", "ноябрь", "декабрь",
)  # fmt: skip


@dataclass(slots=True, eq=False)
class Draft:
    """A row or a payout to be. `delicate` ones play a part in an honest kind, so that nothing else is planted upon them."""

    person: Person
    place: Place
    amount: int
    comment: str
    obligations: tuple[str, ...]
    kind: str
    name: str | None = None
    currency: str = "RUB"
    state: str = "paid"
    back_after: timedelta = timedelta(days=1)
    delicate: bool = False
    like: tuple[Draft, ...] = ()
    follows: Draft | None = None
    retry: Draft | None = None

    def again(self, kind: str) -> Draft:
        """The same once more, as another row."""
        return replace(self, kind=kind, state="paid", like=(self,), follows=None, retry=None, delicate=True)

    @property
    def plain(self) -> bool:
        """Whether something may be planted upon it."""
        return self.state == "paid" and not self.delicate and self.retry is None


@dataclass(slots=True, eq=False)
class Sheet:
    """A file of a merchant, or (channel "api" or "console") one order."""

    merchant: Merchant
    at: datetime
    drafts: list[Draft]
    name: str
    channel: str = "registry"
    look: tuple[str, str, bool] | None = None
    planted: bool = False


@dataclass(slots=True, eq=False)
class Merchant:
    """Whose money is paid out. `dated`: comments name the period, order or number; else they are bare words.

    `naming` is where names stand: "column", "comment" or "none". `references` is "none", "numbers" or "suffix" (a repeated order
    gets the old reference and a suffix). `rhythm`: equal sums to one payee several times a day under bare comments.
    """

    id: str
    trade: str
    random: Random
    look: tuple[str, str, bool]
    naming: str
    references: str
    first: bool
    dated: bool = True
    rhythm: bool = False
    names: set[str] = field(default_factory=set)
    sheets: list[Sheet] = field(default_factory=list)
    made: int = 0

    def number(self) -> int:
        """The next number of this merchant."""
        self.made += 1
        return self.made

    def person(self, *makers: str) -> Person:
        """Somebody new, whose full name nobody else at this merchant has."""
        name = people.full_name(self.random)
        while name.replace("ё", "е") in self.names:
            name = people.full_name(self.random)
        self.names.add(name.replace("ё", "е"))
        return Person(f"{self.id}:{self.number()}", name, [self.place(*makers)])

    def place(self, *makers: str) -> Place:
        """A new destination on one of these rails; a card or a phone when none is named."""
        maker = self.random.choice(makers or ("card", "card", "phone"))
        return PLACES[maker](self.random)

    def draft(self, person: Person, amount: int, comment: str, obligation: str, kind: str, *, place: Place | None = None,
              currency: str = "RUB", like: tuple[Draft, ...] = (), delicate: bool = False) -> Draft:  # fmt: skip
        """A row as this merchant writes it."""
        name = person.name if self.naming == "column" else None
        written = f"{comment}, {person.name}".lstrip(", ") if self.naming == "comment" else comment
        return Draft(person, place or person.places[0], amount, written, (f"{self.id}:{obligation}",), kind, name, currency,
                     like=like, delicate=delicate)  # fmt: skip

    def hand_in(self, at: datetime, drafts: list[Draft], name: str, channel: str = "registry") -> Sheet:
        """A new sheet of this merchant; what an API or a person orders is one draft a sheet."""
        sheet = Sheet(self, at, drafts, name, channel)
        self.sheets.append(sheet)
        return sheet

    def moment(self, year_month: tuple[int, int], day: int, hour: int) -> datetime:
        """A minute in that hour of that day."""
        return datetime(*year_month, day, hour, self.random.randrange(60), self.random.randrange(60), tzinfo=UTC)


PLACES: Final = {
    "card": people.card,
    "phone": people.phone,
    "account": people.account,
    "purse": people.purse,
    "token": people.token,
    "qiwi": people.wallet,
}


@dataclass(slots=True)
class World:
    """All merchants of one seed. `months` are three, and the files of the last one are judged."""

    random: Random
    months: list[tuple[int, int]]
    rows: int
    merchants: list[Merchant] = field(default_factory=list)

    @property
    def judged_from(self) -> datetime:
        """Files that come in from then on are judged."""
        return datetime(*self.months[-1], 1, tzinfo=UTC)

    def sheets(self, *trades: str) -> list[Sheet]:
        """Judged sheets of merchants of these trades, in order of merchant and making."""
        return [
            sheet
            for merchant in self.merchants
            if not trades or merchant.trade in trades
            for sheet in merchant.sheets
            if sheet.channel == "registry" and sheet.at >= self.judged_from and sheet.drafts
        ]

    def between(self, low: timedelta, high: timedelta) -> timedelta:
        """Some time between two, to the second."""
        return timedelta(seconds=self.random.randint(int(low.total_seconds()), int(high.total_seconds())))


def before(year_month: tuple[int, int], months: int = 1) -> tuple[int, int]:
    """The month so many months earlier."""
    year, month = divmod(year_month[0] * 12 + year_month[1] - 1 - months, 12)
    return year, month + 1


def month_words(year_month: tuple[int, int]) -> str:
    """As in "сентябрь 2026"."""
    return f"{MONTHS[year_month[1] - 1]} {year_month[0]}"


def with_failures(world: World, merchant: Merchant, rate: float = 0.022) -> None:
    """Let some payouts fail, be cancelled or come back, and the merchant pay most of those again.

    In life 1 to 3 % of payouts fail at first (closed cards, wrong phones). Rows that look the same and are honest come of it:
    only the state of the earlier payout tells them from a repeated order. Under bare comments money is paid again within a day:
    later it would come as near to the next week's as to the one that it stands for, and nobody could tell.
    """
    random = merchant.random
    sure = _first_plain(world, merchant) if merchant.first and merchant.dated else None
    for sheet in list(merchant.sheets):
        again: dict[int, list[Draft]] = {}
        for draft in sheet.drafts:
            if draft is not sure and (draft.delicate or random.random() > rate):
                continue
            back = 15 if merchant.dated else 0
            draft.state = "returned" if draft is sure else random.choices(("failed", "cancelled", "returned"), (75, 10, back))[0]
            if draft is not sure and random.random() < 0.15:
                continue  # nobody pays it again
            retry = draft.again("retry_after_failure")
            retry.follows, draft.retry = draft, retry
            if draft is sure or (draft.state == "returned" and random.random() < 0.6):
                retry.kind, retry.place = "new_destination_after_return", merchant.place("card", "phone")
            late = random.randrange(3, 6) if draft.state == "returned" else random.randrange(3 if merchant.dated else 1)
            again.setdefault(late, []).append(retry)
        for day, drafts in sorted(again.items()):
            at = sheet.at + timedelta(days=day, minutes=random.randrange(35, 600))
            merchant.hand_in(at, drafts, random.choice(("повтор.csv", "Реестр доп.csv", "реестр_2.csv", "v2.csv")))


def _first_plain(world: World, merchant: Merchant) -> Draft | None:
    """A draft of the judged month that is made to come back, so that the kind is there in the smallest world."""
    judged = (sheet for sheet in merchant.sheets if sheet.at >= world.judged_from and sheet.channel == "registry")
    return next((draft for sheet in judged for draft in sheet.drafts if draft.plain), None)


def stands(draft: Draft, sheet: Sheet, at: datetime) -> bool:
    """Whether a draft of a sheet, as seen at that moment, keeps its obligation discharged."""
    return draft.state not in DEAD or (draft.state == "returned" and at < sheet.at + draft.back_after)
