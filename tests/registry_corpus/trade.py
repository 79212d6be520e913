"""Shops, lotteries, partner programmes and customers of contractors: refunds, prizes, commissions, invoices.

Lives here: what such merchants pay of themselves, with the honest repetition of each trade. May not live here: duplicates.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Final

from tests.registry_corpus.gigs import days
from tests.registry_corpus.people import Person
from tests.registry_corpus.world import Draft, Merchant, World, before, month_words

_SERVICES: Final = ("дизайн", "перевод", "уборка", "доставка", "реклама", "монтаж", "охрана", "обслуживание сайта")


def shop(world: World, merchant: Merchant, rows: int) -> None:
    """A shop that gives money back: a file a day, some orders paid back one by one by its program."""
    random = merchant.random
    merchant.naming = random.choice(("none", "column"))
    prices = [random.randrange(490, 30_000, 50) * 100 - random.choice((0, 100, 1)) for _ in range(25)]
    order = random.randrange(100_000, 5_000_000)
    every = max(1, min(6, 30 * 4 // max(rows, 1)))  # a small shop has no file every day
    a_file = max(1, round(rows * every / 30))
    for number, day in enumerate(days(world)):
        if number % every:
            continue
        drafts: list[Draft] = []
        for _ in range(max(1, round(a_file * random.uniform(0.5, 1.4)))):
            order += random.randrange(2, 40)
            buyer, price = merchant.person("card", "card", "phone"), random.choice(prices)
            role = random.random() if not merchant.first or len(drafts) > 1 else (0.01, 0.03)[len(drafts) // 2 or number // every % 2]
            drafts += _refund(merchant, buyer, price, order, role)
        at = merchant.moment((day.year, day.month), day.day, 17)
        merchant.hand_in(at, drafts, f"refunds-{day}.csv")
        if random.random() < 0.3:
            order += 3
            single = _refund(merchant, merchant.person("card"), random.choice(prices), order, 1.0)
            merchant.hand_in(at - timedelta(hours=5), single, "", "api")


def _refund(merchant: Merchant, buyer: Person, price: int, order: int, role: float) -> list[Draft]:
    """One order's refund, or two that resemble each other."""
    words = "Возврат по заказу № {}"
    if role < 0.02:
        first, second = (
            merchant.draft(buyer, price, words.format(number), f"order:{number}", "two_equal_orders", delicate=True)
            for number in (order, order + 1)
        )
    elif role < 0.04:
        first, second = (
            merchant.draft(buyer, price // 2, f"Частичный возврат по заказу № {order}, товар {item}", f"order:{order}:{item}",
                           "partial_refunds", delicate=True)  # fmt: skip
            for item in (1, 2)
        )
    else:
        return [merchant.draft(buyer, price, words.format(order), f"order:{order}", "refund")]
    second.like = (first,)
    return [first, second]


def lottery(world: World, merchant: Merchant, rows: int) -> None:
    """Equal prizes to many people, a draw a week; tickets stand in the comments, or nothing does."""
    random = merchant.random
    merchant.naming = "column"
    merchant.dated = merchant.first or random.random() < 0.6
    ticket, tiers = random.randrange(10_000, 90_000), (500_00, 1_000_00, 5_000_00)
    a_draw = max(4, round(rows / 4.3))
    last: list[Person] = []
    known: set[str] = set()
    for draw, day in enumerate(day for day in days(world) if day.weekday() == 0):
        winners = random.sample(last, max(1, len(last) // 40)) if last else []
        winners += [merchant.person("card", "phone", "phone", "qiwi") for _ in range(a_draw - len(winners))]
        drafts: list[Draft] = []
        for number, winner in enumerate(winners):
            ticket += random.randrange(1, 300)
            amount = random.choices(tiers, (70, 25, 5))[0]
            drafts.append(_prize(merchant, winner, amount, ticket, day, "equal_prizes"))
            played = random.random() if not merchant.first or number not in (2, 3) or draw % 2 else (0.005, 0.025)[number - 2]
            if merchant.dated and played < 0.03 and winner.key not in known:
                ticket += random.randrange(1, 300)
                drafts.append(_same_place(merchant, drafts[-1], ticket, day, family=played >= 0.02))
        merchant.hand_in(merchant.moment((day.year, day.month), day.day, 13), drafts, f"winners_{day:%d%m}.csv")
        last, known = winners, known | {winner.key for winner in winners}


def _prize(merchant: Merchant, winner: Person, amount: int, ticket: int, day: date, kind: str) -> Draft:
    words = f"Приз, билет № {ticket}" if merchant.dated else "Приз победителю акции"
    return merchant.draft(winner, amount, words, f"prize:{winner.key}:{day}:{ticket}", kind)


def _same_place(merchant: Merchant, draft: Draft, ticket: int, day: date, *, family: bool) -> Draft:
    """A second equal prize that lands where the first does: another ticket, or somebody of the family."""
    winner = draft.person
    if family:
        winner = merchant.person()
        winner.places = [draft.place]
    second = _prize(merchant, winner, draft.amount, ticket, day, "family_one_phone" if family else "two_prizes_one_winner")
    second.like, second.delicate, draft.delicate = (draft,), True, True
    return second


def programme(world: World, merchant: Merchant, rows: int) -> None:
    """A partner programme: odd sums to wallets once a month, a rouble to those who are new."""
    random = merchant.random
    merchant.naming, merchant.dated = "none", True
    partners = [merchant.person("purse", "token", "qiwi", "card", "card") for _ in range(max(4, rows))]
    numbers = random.sample(range(1_000, 99_999), len(partners))
    for month in world.months:
        last, period = month == world.months[-1], month_words(before(month))
        drafts: list[Draft] = []
        tests: list[Draft] = []
        for place, (partner, number) in enumerate(zip(partners, numbers, strict=True)):
            new = place < (2 if merchant.first else 0) or number % 100 == 7
            if new and not last:
                continue
            currency = "USDT" if partner.places[0].rail == "usdt" else "RUB"
            amount = random.randrange(20_000_000, 900_000_000) if currency == "USDT" else random.randrange(50_000, 9_000_000)
            like: tuple[Draft, ...] = ()
            if new:
                one = 1_000_000 if currency == "USDT" else 100
                like = (merchant.draft(partner, one, f"Тестовая выплата, ID {number}", f"test:{number}", "test_rouble",
                                       currency=currency, delicate=True),)  # fmt: skip
                tests += like
            words = f"Партнёрское вознаграждение за {period}, ID {number}"
            kind = "test_rouble" if new else "monthly_commission"
            drafts.append(merchant.draft(partner, amount, words, f"commission:{number}:{period}", kind, currency=currency, like=like))
        at = merchant.moment(month, 5, 12)
        if tests:
            merchant.hand_in(at - timedelta(days=1), tests, "тест.csv")
        merchant.hand_in(at, drafts, f"partners_{month[0]}_{month[1]:02d}.csv")


def customer(world: World, merchant: Merchant, rows: int) -> None:
    """A customer of contractors: two departments hand in invoices, every week each."""
    random = merchant.random
    merchant.naming, merchant.dated = random.choice(("column", "comment")), True
    contractors = [merchant.person("account", "account", "card") for _ in range(max(5, rows // 3))]
    wanted = max(1, round(rows / 8.6))
    invoice = random.randrange(100, 2_000)
    for number, day in enumerate(day for day in days(world) if day.weekday() in (1, 3)):
        drafts: list[Draft] = []
        for _ in range(max(1, round(wanted * random.uniform(0.7, 1.1)))):
            invoice += random.randrange(2, 6)
            role = random.random() if not merchant.first or drafts else (number % 5) * 0.02 + 0.01
            drafts += _invoice(merchant, random.choice(contractors), invoice, day, role)
        department = ("marketing", "it")[day.weekday() == 3]
        merchant.hand_in(merchant.moment((day.year, day.month), day.day, 12), drafts, f"{department}_{day:%d_%m}.csv")
        _remainders(merchant, drafts, at=merchant.sheets[-1].at + timedelta(days=random.randrange(3, 6), hours=2))
    for month in world.months:
        period = month_words(month)
        bills = [
            merchant.draft(one, (20_000 + 1_500 * place) * 100, f"Абонентская плата за {period}", f"bill:{one.key}:{period}", "monthly_bill")
            for place, one in enumerate(contractors[: max(2, len(contractors) // 4)])
        ]
        merchant.hand_in(merchant.moment(month, 3, 9), bills, f"abon_{month[1]:02d}.csv")


def _invoice(merchant: Merchant, contractor: Person, invoice: int, day: date, role: float) -> list[Draft]:
    """One invoice, or rows of one contractor that resemble each other."""
    random = merchant.random
    amount = random.randrange(5_000, 250_000) * 100 + random.choice((0, 0, 0, 50, 33))
    service = random.choice(_SERVICES)
    words = "Оплата по счёту № {} от {:%d.%m.%Y}, {}"
    since = day - timedelta(days=random.randrange(1, 8))

    def row(kind: str, sum_minor: int, number: int, tail: str, part: str = "", *, delicate: bool = True) -> Draft:
        return merchant.draft(contractor, sum_minor, words.format(number, since, tail), f"invoice:{number}{part}", kind, delicate=delicate)

    if role < 0.02:
        pair = [row("two_equal_invoices", amount, number, service) for number in (invoice, invoice + 1)]
    elif role < 0.04:
        pair = [row("split_by_limit", amount, invoice, f"{service}, часть {part} из 2", f"/{part}") for part in (1, 2)]
    elif role < 0.06:
        return [row("contract_advance_and_remainder", amount, invoice, f"{service}, аванс 50%", "/advance")]
    elif role < 0.08:
        less = amount * random.randrange(2, 12) // 100
        pair = [row("invoice", amount, invoice, service), row("correction_of_difference", less, invoice, f"{service}, доплата разницы", "/more")]  # fmt: skip
    else:
        return [row("invoice", amount, invoice, service, delicate=False)]
    pair[1].like = (pair[0],)
    return pair


def _remainders(merchant: Merchant, drafts: list[Draft], at: datetime) -> None:
    """The second, equal half of what began with an advance, some days later."""
    rest = []
    for draft in drafts:
        if draft.kind == "contract_advance_and_remainder":
            second = draft.again(draft.kind)
            second.comment = draft.comment.replace("аванс 50%", "окончательный расчёт")
            second.obligations = (draft.obligations[0].replace("/advance", "/rest"),)
            rest.append(second)
    if rest:
        merchant.hand_in(at, rest, "закрытие договоров.csv")
