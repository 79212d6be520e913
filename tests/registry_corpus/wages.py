"""Employers: advances and wages month after month, and every honest repetition that comes with them.

Lives here: what an employer pays of himself. May not live here: duplicates (`mishaps.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from tests.registry_corpus import people
from tests.registry_corpus.people import Person
from tests.registry_corpus.world import Draft, Merchant, World, before, month_words

ROLES: Final[dict[str, float]] = {
    "two_children_one_card": 0.012,
    "bonus_equal_to_wage": 0.012,
    "correction_of_difference": 0.02,
    "family_one_phone": 0.008,
    "namesakes": 0.006,
    "brothers": 0.006,
    "by_hand_for_another_cause": 0.01,
    "halves_on_two_rails": 0.008,
    "test_rouble": 0.01,
    "arrears": 0.01,
    "new_destination_next_month": 0.015,
}
"""How many of a hundred employees play an honest part that looks like a repetition."""

_WAGE = ("Заработная плата за {}", "ЗП за {}", "Зарплата за {} г.", "Перечисление заработной платы за {}, НДС не облагается")
_ADVANCE = ("Аванс за {}", "Аванс по зарплате за {}", "Заработная плата за первую половину, {}")
_BARE = (("Заработная плата", "Аванс"), ("Выплата", "Выплата"), ("", ""))
_CAUSES = ("Подотчёт на командировку", "Заём сотруднику по заявлению", "Возмещение расходов по чекам")
_CHILDREN = ("Софья", "Марк", "Артемий", "Варвара", "Лев", "Злата", "Фёдор", "Есения")


@dataclass(slots=True)
class _Employee:
    person: Person
    wage: int
    advance: int
    fixed: bool
    role: str | None
    other: Person | None = None


def employer(world: World, merchant: Merchant, rows: int) -> None:
    """An employer with about so many rows in the judged month."""
    random = merchant.random
    merchant.naming = random.choice(("column", "column", "comment"))
    merchant.dated = merchant.first or random.random() < 0.75
    words = (random.choice(_WAGE), random.choice(_ADVANCE)) if merchant.dated else random.choice(_BARE)
    roles = list(ROLES) if merchant.first else []
    staff = []
    for _ in range(max(len(roles) + 4, int(rows / 2.1))):
        role = roles.pop() if roles else random.choices([*ROLES, None], [*ROLES.values(), 1 - sum(ROLES.values())])[0]
        staff.append(_employee(merchant, role))
    wage_day, advance_day = random.randrange(5, 12), random.randrange(20, 26)
    for month in world.months:
        _wages(world, merchant, staff, words[0], month, wage_day)
        period = month_words(month)
        drafts = [
            merchant.draft(one.person, one.advance, words[1].format(period), f"advance:{one.person.key}:{period}",
                           "advance_and_remainder" if one.advance == one.wage else "monthly_wage")  # fmt: skip
            for one in staff
            if one.role not in ("test_rouble", "brothers") or month == world.months[-1]
        ]
        merchant.hand_in(merchant.moment(month, advance_day, 11), drafts, f"avans_{month[1]:02d}.csv")


def _employee(merchant: Merchant, role: str | None) -> _Employee:
    random = merchant.random
    person = merchant.person("phone") if role == "family_one_phone" else merchant.person()
    salary = random.randrange(30_000, 160_001, 500) * 87  # after tax, in kopecks
    half = random.random() < 0.2
    wage = salary // 2 if half else salary * 6 // 10
    one = _Employee(person, wage, wage if half else salary - wage, random.random() < 0.6, role)
    if role == "family_one_phone":
        one.other = merchant.person()
        one.other.places[0] = person.places[0]
    elif role == "namesakes":
        one.other = Person(f"{person.key}b", person.name, [merchant.place()])
    elif role == "brothers":
        one.other = Person(f"{person.key}b", people.brother(random, person.name), [merchant.place()])
    elif role == "two_children_one_card":
        one.other = merchant.person("card")
    elif role == "halves_on_two_rails":
        person.places.append(merchant.place("phone" if person.places[0].rail == "card" else "card"))
    return one


def _wages(world: World, merchant: Merchant, staff: list[_Employee], words: str, month: tuple[int, int], day: int) -> None:
    """The wages of the month before, and what follows them in a file of its own."""
    random, last = merchant.random, month == world.months[-1]
    period = month_words(before(month))
    main: list[Draft] = []
    extra: list[Draft] = []
    tests: list[Draft] = []
    for one in staff:
        if one.role in ("test_rouble", "brothers") and not last:
            continue  # come to work in the judged month
        if one.role == "test_rouble":
            rouble = merchant.draft(one.person, 100, "Проверка реквизитов", f"test:{one.person.key}", "test_rouble", delicate=True)
            tests.append(rouble)
        wage = one.wage if one.fixed else one.wage * random.randrange(70, 131) // 100 + random.randrange(100)
        kind = "monthly_wage"
        if one.role == "new_destination_next_month" and last:
            one.person.places[0], kind = merchant.place(), one.role
        draft = merchant.draft(one.person, wage, words.format(period), f"wage:{one.person.key}:{period}", kind,
                               delicate=one.role is not None)  # fmt: skip
        if one.role == "test_rouble":
            draft.kind, draft.like = "test_rouble", (rouble,)
        if one.role == "by_hand_for_another_cause" and last:
            draft.kind, draft.like = one.role, (_by_hand(merchant, draft, merchant.moment(month, day - random.randrange(1, 4), 14)),)
        main += _as_halves(merchant, one, draft) if one.role == "halves_on_two_rails" else [draft]
        main += _beside(merchant, one, draft, period)
        extra += _after(merchant, one, draft, period, last)
    at = merchant.moment(month, day, 10)
    if tests:
        merchant.hand_in(at - timedelta(days=random.randrange(1, 3), hours=1), tests, "новые сотрудники.csv")
    merchant.hand_in(at, main, f"zp_{month[1]:02d}_{month[0]}.csv")
    if extra:
        merchant.hand_in(at + timedelta(hours=random.randrange(3, 90)), extra, f"доплаты_{month[1]:02d}.csv")


def _by_hand(merchant: Merchant, wage: Draft, at: datetime) -> Draft:
    """The same sum by hand, some days before the wage, for something else."""
    person, cause = wage.person, merchant.random.choice(_CAUSES)
    draft = merchant.draft(person, wage.amount, cause, f"cause:{person.key}:{at:%Y%m}", "", delicate=True)
    merchant.hand_in(at, [draft], "", "console")
    return draft


def _as_halves(merchant: Merchant, one: _Employee, draft: Draft) -> list[Draft]:
    """The wage in two equal parts, each month, to two destinations of one person."""
    first, second = draft.again("halves_on_two_rails"), draft.again("halves_on_two_rails")
    for part, (half, place) in enumerate(zip((first, second), one.person.places, strict=True), 1):
        half.amount, half.place = draft.amount // 2, place
        half.comment = f"{draft.comment}, часть {part} из 2".lstrip(", ")
        half.obligations, half.like = (f"{draft.obligations[0]}/{part}",), ()
    second.like = (first,)
    return [first, second]


def _beside(merchant: Merchant, one: _Employee, draft: Draft, period: str) -> list[Draft]:
    """Rows of the same file that resemble each other."""
    if one.other is None or one.role is None:
        return []
    if one.role == "two_children_one_card":
        children = merchant.random.sample(_CHILDREN, 2)
        amount = draft.amount // 6
        rows = [
            merchant.draft(one.other, amount, f"Алименты за {period}, удержано у {one.person.name}, ребёнок {child}",
                           f"alimony:{one.person.key}:{number}:{period}", one.role, delicate=True)  # fmt: skip
            for number, child in enumerate(sorted(children))
        ]
        rows[1].like = (rows[0],)
        return rows
    comment = draft.comment.replace(one.person.name, one.other.name)
    other = draft.again(one.role)
    other.person, other.place, other.comment = one.other, one.other.places[0], comment
    other.name = one.other.name if draft.name is not None else None
    other.obligations = (f"{merchant.id}:wage:{one.other.key}:{period}",)
    return [other]


def _after(merchant: Merchant, one: _Employee, draft: Draft, period: str, last: bool) -> list[Draft]:
    """Rows of a later file that resemble the wage."""
    random, person = merchant.random, one.person
    words = f" за {period}" if merchant.dated else ""
    match one.role:
        case "bonus_equal_to_wage":
            return [merchant.draft(person, draft.amount, f"Премия{words}", f"bonus:{person.key}:{period}", one.role,
                                   like=(draft,), delicate=True)]  # fmt: skip
        case "correction_of_difference":
            amount = draft.amount * random.randrange(2, 20) // 100 + random.randrange(100)
            return [merchant.draft(person, amount, f"Доплата{words}, перерасчёт", f"more:{person.key}:{period}", one.role,
                                   like=(draft,), delicate=True)]  # fmt: skip
        case "arrears" if last:
            late = f"Задолженность по зарплате за {period}, остаток"
            amount = draft.amount * random.randrange(20, 60) // 100
            return [merchant.draft(person, amount, late, f"arrears:{person.key}:{period}", one.role, like=(draft,), delicate=True)]
        case _:
            return []
