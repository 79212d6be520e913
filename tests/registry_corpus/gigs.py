"""Payers of work by the piece: couriers paid several times a day with equal sums, and people paid every week.

Lives here: what such a merchant pays of himself. May not live here: duplicates (`mishaps.py`).
"""

from __future__ import annotations

from calendar import monthrange
from datetime import date, timedelta
from typing import Final

from tests.registry_corpus.people import Person
from tests.registry_corpus.world import Draft, Merchant, World

_SLOTS: Final = ("утро", "день", "вечер", "ночь")
_DAYS_A_MONTH: Final = 30


def gig(world: World, merchant: Merchant, rows: int, mode: int) -> None:
    """A payer of piece work with about so many rows in the judged month; modes 0 to 3 are shifts, routes, bare words, weeks."""
    merchant.naming = merchant.random.choice(("column", "none")) if mode % 4 != 3 else "column"
    if mode % 4 == 3:
        _weekly(world, merchant, rows)
    else:
        _daily(world, merchant, rows, ("shifts", "routes", "bare")[mode % 4])


def days(world: World) -> list[date]:
    """Every day of the three months."""
    return [date(*month, day) for month in world.months for day in range(1, monthrange(*month)[1] + 1)]


def _daily(world: World, merchant: Merchant, rows: int, style: str) -> None:
    random = merchant.random
    merchant.dated, merchant.rhythm = style != "bare", style == "bare"
    a_day = {"shifts": 1.4, "routes": 1.5, "bare": 2.8}[style]
    couriers = [merchant.person() for _ in range(max(2, round(rows / _DAYS_A_MONTH / a_day)))]
    rate = {courier.key: random.choice((900, 1_200, 1_500, 1_850, 2_500, 3_000)) * 100 for courier in couriers}
    route = random.randrange(10_000, 900_000)
    twice = random.random() < 0.5  # a file at noon and one in the evening
    words = "Оплата услуг курьера"
    for day in days(world):
        noon: list[Draft] = []
        evening: list[Draft] = []
        for courier in couriers:
            if style != "bare" and random.random() < 0.3:
                continue
            times = random.randint(2, 4) if style == "bare" else random.choices((1, 2, 3, 4), (30, 45, 20, 5))[0]
            slots = sorted(random.sample(range(4), times))
            first: tuple[Draft, ...] = ()
            for slot in slots:
                route += random.randrange(1, 9)
                comment = {
                    "shifts": f"Смена {day:%d.%m}, {_SLOTS[slot]}",
                    "routes": f"Маршрут № {route}",
                    "bare": words,
                }[style]
                kind = "courier_many_a_day" if first else "daily_pay"
                draft = merchant.draft(courier, rate[courier.key], comment, f"{courier.key}:{day}:{slot}", kind, like=first)
                first = first or (draft,)
                (noon if twice and slot < 2 else evening).append(draft)
        for hour, drafts in ((13, noon), (20, evening)):
            if drafts:
                at = merchant.moment((day.year, day.month), day.day, hour)
                merchant.hand_in(at, drafts, f"courier_{day:%Y%m%d}{'_1' if hour < 20 else ''}.csv")


def _weekly(world: World, merchant: Merchant, rows: int) -> None:
    """Equal sums every Friday."""
    random = merchant.random
    merchant.dated = merchant.first or random.random() < 0.6
    people: list[tuple[Person, int]] = [
        (merchant.person("card", "phone", "qiwi"), random.randrange(3_000, 25_001, 500) * 100)
        for _ in range(max(3, round(rows / 4.3)))
    ]
    for day in days(world):
        if day.weekday() != 4:
            continue
        week = f"{day - timedelta(days=7):%d.%m}-{day - timedelta(days=1):%d.%m}"
        comment = f"Вознаграждение за неделю {week}" if merchant.dated else "Еженедельная выплата"
        drafts = [
            merchant.draft(person, amount, comment, f"week:{person.key}:{day}", "weekly_payment")
            for person, amount in people
            if random.random() < 0.95
        ]
        if drafts:
            merchant.hand_in(merchant.moment((day.year, day.month), day.day, 15), drafts, f"week_{day:%d_%m}.csv")
