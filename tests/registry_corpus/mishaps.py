"""What goes wrong: duplicates of single rows, planted upon a world that is honest.

Lives here: one function a kind, and the budget by which they are called. May not live here: mishaps of whole files
(`mishaps_files.py`), kinds' shares (`kinds.py`). A mishap takes what is plain, and makes it delicate, so that none meets another.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from tests.registry_corpus import people
from tests.registry_corpus.world import Draft, Sheet, World

MINUTE: Final = timedelta(minutes=1)
HOUR: Final = timedelta(hours=1)
DAY: Final = timedelta(days=1)
_NAMES: Final = ("доп.csv", "Реестр доп.csv", "реестр_2.csv", "v2.csv", "выплаты.csv", "повтор.csv", "срочно.csv")
_SHORTER: Final = (
    ("Перечисление заработной платы", "зп"), ("Заработная плата", "зп"), ("Зарплата", "зп"), ("Оплата по счёту №", "счет"),
    ("Возврат по заказу №", "возврат заказ"), ("Партнёрское вознаграждение", "партнерка"), ("Вознаграждение за неделю", "неделя"),
    ("Приз, билет №", "выигрыш билет"), ("Маршрут №", "маршрут"), (", НДС не облагается", ""), (" г.", ""), (" за ", " "),
)  # fmt: skip

Site = tuple[Sheet, Draft]
Mishap = Callable[[World, int], int]
"""Plants about so many rows, at least one; answers how many."""


def sites(world: World, *trades: str, named: bool = False) -> list[Site]:
    """Plain rows of judged files upon which a duplicate can be seen to be one."""
    return [
        (sheet, draft)
        for sheet in world.sheets(*trades)
        if not sheet.merchant.rhythm and not sheet.planted and not (named and sheet.merchant.naming == "none")
        for draft in sheet.drafts
        if draft.plain
    ]


def pick(world: World, found: list[Site], count: int) -> list[Site]:
    """Some of the sites. Their drafts are taken."""
    taken = world.random.sample(found, min(len(found), max(1, count)))
    for _, draft in taken:
        draft.delicate = True
    return taken


def reworded(world: World, comment: str) -> str:
    """The comment as a colleague would write it; numbers and the month stay."""
    for long, short in _SHORTER:
        if world.random.random() < 0.8:
            comment = comment.replace(long, short)
    return comment.lower().replace("ё", "е") if world.random.random() < 0.7 else comment


def renamed(draft: Draft, written: str) -> None:
    """Let the payee's name stand otherwise, in the column or the comment, wherever it stands."""
    draft.comment = draft.comment.replace(draft.person.name, written)
    draft.name = written if draft.name is not None else None


def drop_in(world: World, origin: Sheet, draft: Draft, low: timedelta, high: timedelta) -> None:
    """Put a row into a later file of the merchant when there is one in time, else into one of its own."""
    merchant = origin.merchant
    later = [
        sheet
        for sheet in merchant.sheets
        if sheet.channel == "registry" and not sheet.planted and origin.at + low <= sheet.at <= origin.at + high
    ]
    if later and world.random.random() < 0.6:
        drafts = world.random.choice(later).drafts
        drafts.insert(world.random.randint(0, len(drafts)), draft)
    else:
        merchant.hand_in(origin.at + world.between(low, high), [draft], world.random.choice(_NAMES))


def _elsewhere(world: World, site: Site, kind: str) -> Draft:
    """The same debt to another card or phone of the payee."""
    sheet, draft = site
    other = draft.again(kind)
    other.place = sheet.merchant.place("phone" if draft.place.rail == "card" else "card")
    return other


def card_and_sbp(world: World, rows: int) -> int:
    """To another destination of the same person, whose name is often written otherwise."""
    chosen = pick(world, sites(world, "employer", "gig", named=True), rows)
    for sheet, draft in chosen:
        other = _elsewhere(world, (sheet, draft), "card_and_sbp")
        if world.random.random() < 0.6:
            renamed(other, people.misspelled(world.random, draft.person.name))
        drop_in(world, sheet, other, 20 * MINUTE, 3 * DAY)
    return len(chosen)


def new_card_while_paid(world: World, rows: int) -> int:
    """To another card, although the first payout is paid."""
    chosen = pick(world, sites(world, "employer", "gig", "customer", named=True), rows)
    for sheet, draft in chosen:
        other = draft.again("new_card_while_paid")
        other.place = sheet.merchant.place("card")
        drop_in(world, sheet, other, DAY, 5 * DAY)
    return len(chosen)


def hand_then_file(world: World, rows: int) -> int:
    """The file's row is the second: somebody ordered it by hand before."""
    chosen = pick(world, sites(world), rows)
    for sheet, draft in chosen:
        by_hand = draft.again("")
        by_hand.comment = reworded(world, draft.comment)
        if draft.name is None and sheet.merchant.naming == "comment":
            bare = draft.comment.replace(draft.person.name, "").strip(", ")
            by_hand.comment = f"{reworded(world, bare)} {people.initials(draft.person.name)}".strip()
        elif draft.name is not None:
            by_hand.name = people.initials(draft.person.name)
        by_hand.like, draft.like, draft.kind = (), (by_hand,), "hand_then_file"
        # What is earned, won or ordered from day to day cannot have been paid days before.
        early = 3 * DAY if sheet.merchant.trade in ("employer", "customer", "programme") else 5 * HOUR
        sheet.merchant.hand_in(sheet.at - world.between(20 * MINUTE, early), [by_hand], "", "console")
    return len(chosen)


def retry_new_reference(world: World, rows: int) -> int:
    """The order again some minutes later, the first one being under way, in doubt or paid."""
    chosen = pick(world, sites(world), rows)
    for sheet, draft in chosen:
        draft.state = world.random.choices(("in_doubt", "in_flight", "paid"), (45, 15, 40))[0]
        other = draft.again("retry_new_reference")
        other.follows = draft
        sheet.merchant.hand_in(sheet.at + world.between(8 * MINUTE, 90 * MINUTE), [other], world.random.choice(_NAMES))
    return len(chosen)


def two_departments(world: World, rows: int) -> int:
    """The invoice in a later file, in other words, sometimes to the contractor's other account."""
    chosen = pick(world, [site for site in sites(world, "customer") if site[1].kind == "invoice"], rows)
    for sheet, draft in chosen:
        other = draft.again("two_departments")
        other.comment = reworded(world, draft.comment)
        if world.random.random() < 0.3:
            other.place = sheet.merchant.place("account")
        drop_in(world, sheet, other, HOUR, 10 * DAY)
    return len(chosen)


def kopeck_more(world: World, rows: int) -> int:
    """Some kopecks more."""
    chosen = pick(world, [site for site in sites(world) if site[1].amount > 100_000], rows)
    for sheet, draft in chosen:
        other = draft.again("kopeck_more")
        other.amount += world.random.choice((1, 1, 1, 2, 10, 50, 99))
        drop_in(world, sheet, other, 15 * MINUTE, 3 * DAY)
    return len(chosen)


def fee_more(world: World, rows: int) -> int:
    """A fee more."""
    chosen = pick(world, [site for site in sites(world) if site[1].amount > 200_000 and site[1].currency == "RUB"], rows)
    for sheet, draft in chosen:
        other = draft.again("fee_more")
        other.amount += world.random.choice((draft.amount * world.random.choice((5, 10, 15, 20, 30, 40)) // 1000, 3_000, 5_000))
        drop_in(world, sheet, other, 15 * MINUTE, 3 * DAY)
    return len(chosen)


def pasted_twice(world: World, rows: int) -> int:
    """The row again further down."""
    chosen = pick(world, sites(world), rows)
    for sheet, draft in chosen:
        at = sheet.drafts.index(draft)
        sheet.drafts.insert(world.random.choice((at + 1, world.random.randint(at + 1, len(sheet.drafts)))), draft.again("pasted_twice"))
    return len(chosen)


def refund_twice_by_order(world: World, rows: int) -> int:
    """The order paid back again, in other words, to the same card or to a phone."""
    chosen = pick(world, [site for site in sites(world, "shop") if site[1].kind == "refund"], rows)
    return _in_other_words(world, chosen, "refund_twice_by_order", 6 * DAY)


def prize_from_two_lists(world: World, rows: int) -> int:
    """The ticket paid again, in other words, to the same destination or another."""
    found = [site for site in sites(world, "lottery") if site[0].merchant.dated]
    return _in_other_words(world, pick(world, found, rows), "prize_from_two_lists", 5 * DAY)


def _in_other_words(world: World, chosen: list[Site], kind: str, high: timedelta) -> int:
    for sheet, draft in chosen:
        other = _elsewhere(world, (sheet, draft), kind) if world.random.random() < 0.5 else draft.again(kind)
        other.comment = reworded(world, draft.comment)
        drop_in(world, sheet, other, 30 * MINUTE, high)
    return len(chosen)


def commission_to_two_wallets(world: World, rows: int) -> int:
    """The partner's month paid to another purse of his."""
    chosen = pick(world, [site for site in sites(world, "programme") if site[1].currency == "RUB"], rows)
    for sheet, draft in chosen:
        other = draft.again("commission_to_two_wallets")
        other.place = sheet.merchant.place("purse")
        drop_in(world, sheet, other, 30 * MINUTE, 4 * DAY)
    return len(chosen)


def split_then_whole(world: World, rows: int) -> int:
    """Two parts by hand before the file has the whole."""
    chosen = pick(world, [site for site in sites(world, "customer") if site[1].kind == "invoice"], rows)
    for sheet, draft in chosen:
        at: datetime = sheet.at - world.between(HOUR, 2 * DAY)
        parts = [draft.again(""), draft.again("")]
        first = max(100, draft.amount * world.random.choice((50, 60, 70)) // 100)
        for number, (part, amount) in enumerate(zip(parts, (first, draft.amount - first), strict=True), 1):
            part.amount, part.like = amount, ()
            part.comment = f"{draft.comment}, часть {number} из 2"
            part.obligations = (f"{draft.obligations[0]}/{number}",)
            sheet.merchant.hand_in(at + number * MINUTE, [part], "", "console")
        draft.kind, draft.like = "split_then_whole", tuple(parts)
        draft.obligations = tuple(part.obligations[0] for part in parts)
    return len(chosen)


SINGLE: Final[dict[str, Mishap]] = {
    mishap.__name__: mishap
    for mishap in (
        card_and_sbp, new_card_while_paid, hand_then_file, retry_new_reference, two_departments, kopeck_more, fee_more, pasted_twice,
        refund_twice_by_order, prize_from_two_lists, commission_to_two_wallets, split_then_whole,
    )
}  # fmt: skip
