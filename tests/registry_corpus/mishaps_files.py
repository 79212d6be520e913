"""What goes wrong with whole files: sent again, sent again after a crash, for few failures, by another program, for the wrong month.

Lives here: one function a kind, and `plant`, which spends the budget of all kinds. A file takes part in one such mishap at most.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from tests.registry_corpus.kinds import DUPLICATE_SHARE, DUPLICATES
from tests.registry_corpus.mishaps import DAY, HOUR, MINUTE, SINGLE, Mishap
from tests.registry_corpus.world import Draft, Merchant, Sheet, World, stands

_SMALLEST: Final = 3
_LOOKS: Final = ((",", "utf-8", True), (";", "cp1251", True), (";", "utf-8-sig", True), ("\t", "utf-16", True), (";", "utf-8", False))


def look(world: World, other_than: tuple[str, str, bool] | None = None) -> tuple[str, str, bool]:
    """Separator, encoding and header of some program."""
    return world.random.choice([one for one in _LOOKS if one != other_than])


def _suitable(world: World, rows: int, accept: Callable[[Sheet], bool] = lambda sheet: True) -> Sheet | None:
    """A file of at most so many rows upon which nothing of this sort was planted; the smallest when all are larger."""
    found = [
        sheet
        for sheet in world.sheets()
        if not sheet.planted and not sheet.merchant.rhythm and len(sheet.drafts) >= _SMALLEST and accept(sheet)
    ]
    small = [sheet for sheet in found if len(sheet.drafts) <= rows * 1.2]
    if small:
        return world.random.choice(small)
    return min(found, key=lambda sheet: len(sheet.drafts), default=None)


def _copies(sheet: Sheet, drafts: list[Draft], at: datetime, kind: str) -> list[Draft]:
    """Rows of a file once more. Those whose payout is dead by then are honest, and left out when they were paid again apart."""
    copies = []
    for draft in drafts:
        if stands(draft, sheet, at):
            copies.append(draft.again(kind))
        elif draft.retry is None and draft.follows is None:
            draft.retry = draft.again("failed_row_sent_again")
            copies.append(draft.retry)
    return copies


def _patience(sheet: Sheet) -> timedelta:
    """How late a file is sent again: under bare comments not so late that a failed row's second try is near the next week's."""
    return 3 * DAY if sheet.merchant.dated else 36 * HOUR


def _send(world: World, sheet: Sheet, at: datetime, drafts: list[Draft], name: str) -> Sheet:
    sheet.planted = True
    other = sheet.merchant.hand_in(at, drafts, name)
    other.planted = True
    return other


def _count(sheet: Sheet, kind: str) -> int:
    return sum(draft.kind == kind for draft in sheet.drafts)


def _renamed(world: World, sheet: Sheet) -> str:
    stem = sheet.name.removesuffix(".csv")
    return world.random.choice((f"{stem} (2).csv", f"{stem}_new.csv", f"Копия {stem}.csv", f"{stem}_исправлено.csv", "реестр.csv"))


def file_again(world: World, rows: int) -> int:
    """The same rows under another name."""
    sheet = _suitable(world, rows)
    if sheet is None:
        return 0
    at = sheet.at + world.between(12 * MINUTE, _patience(sheet))
    return _count(_send(world, sheet, at, _copies(sheet, sheet.drafts, at, "file_again"), _renamed(world, sheet)), "file_again")


def reexport(world: World, rows: int) -> int:
    """The same rows as another program writes them."""
    sheet = _suitable(world, rows)
    if sheet is None:
        return 0
    at = sheet.at + world.between(HOUR, _patience(sheet))
    copies = _copies(sheet, sheet.drafts, at, "reexport")
    upper, order = world.random.random() < 0.5, world.random.randrange(3)
    for copy in copies:
        copy.comment = copy.comment.replace(" г.", "").replace("ё", "е").replace("№ ", "№")
        copy.comment = copy.comment.upper() if upper else copy.comment
        if copy.name is not None:
            copy.name = copy.name.upper() if upper else copy.name.replace("ё", "е")
    if order:
        copies.sort(key=lambda copy: (copy.person.name, copy.comment) if order == 1 else (copy.amount, copy.person.key))
    other = _send(world, sheet, at, copies, "export.csv" if upper else _renamed(world, sheet))
    other.look = look(world, sheet.merchant.look)
    return _count(other, "reexport")


def half_after_crash(world: World, rows: int) -> int:
    """The first half went out, one by one through the API or as a file; then the whole file comes."""
    sheet = _suitable(
        world, rows * 2, lambda sheet: not any(one.retry or one.follows or one.like for one in sheet.drafts) and len(sheet.drafts) > 3
    )
    if sheet is None:
        return 0
    half = max(2, len(sheet.drafts) * world.random.randint(30, 70) // 100)
    first, rest = sheet.drafts[:half], sheet.drafts[half:]
    at = sheet.at + world.between(12 * MINUTE, 90 * MINUTE)
    copies = _copies(sheet, first, at, "half_after_crash")
    for draft in rest:
        if draft.kind not in DUPLICATES:
            draft.kind = "rest_of_crashed_file"
    if world.random.random() < 0.5:
        sheet.drafts = first
    else:
        sheet.drafts = []
        for number, draft in enumerate(first):
            sheet.merchant.hand_in(sheet.at + timedelta(milliseconds=80 * number), [draft], "", "api")
    return _count(_send(world, sheet, at, copies + rest, sheet.name), "half_after_crash")


def resent_for_few_failures(world: World, rows: int) -> int:
    """Some rows failed; the whole file comes again instead of them."""
    sheet = _suitable(world, rows, lambda sheet: any(one.state in ("failed", "cancelled") for one in sheet.drafts))
    if sheet is None:  # in a small world nothing failed yet
        sheet = _suitable(world, rows, lambda sheet: sum(one.plain for one in sheet.drafts) > 1)
        if sheet is None:
            return 0
        next(one for one in sheet.drafts if one.plain).state = "failed"
    for draft in sheet.drafts:
        if draft.retry is not None and draft.state in ("failed", "cancelled"):
            _take_back(sheet.merchant, draft.retry)
            draft.retry = None
    at = sheet.at + world.between(HOUR, _patience(sheet))
    copies = _copies(sheet, sheet.drafts, at, "resent_for_few_failures")
    return _count(_send(world, sheet, at, copies, _renamed(world, sheet)), "resent_for_few_failures")


def _take_back(merchant: Merchant, draft: Draft) -> None:
    """Let a row never have been handed in."""
    for sheet in merchant.sheets:
        if any(one is draft for one in sheet.drafts):
            sheet.drafts = [one for one in sheet.drafts if one is not draft]


def wrong_month_file(world: World, rows: int) -> int:
    """A file of the month before, shortly before the right one."""
    pairs = []
    for sheet in world.sheets("employer", "programme", "customer"):
        if not sheet.merchant.dated or sheet.planted or not sheet.name.startswith(("zp_", "avans_", "partners_", "abon_")):
            continue
        pairs += [
            (old, sheet)
            for old in sheet.merchant.sheets
            if old.name.split("_")[0] == sheet.name.split("_")[0]
            and (old.at.year, old.at.month) == world.months[-2]
            and not old.planted
            and old.channel == "registry"
        ]
    small = [pair for pair in pairs if len(pair[0].drafts) <= rows * 1.2]
    if not pairs:
        return 0
    old, sheet = world.random.choice(small) if small else min(pairs, key=lambda pair: len(pair[0].drafts))
    at = max(world.judged_from + HOUR, sheet.at - world.between(10 * MINUTE, 20 * HOUR))
    copies = [copy for copy in _copies(old, old.drafts, at, "wrong_month_file") if copy.kind == "wrong_month_file"]
    sheet.planted = True
    return _count(_send(world, old, at, copies, sheet.name), "wrong_month_file")


WHOLE: Final[dict[str, Mishap]] = {
    mishap.__name__: mishap for mishap in (resent_for_few_failures, file_again, half_after_crash, reexport, wrong_month_file)
}


def plant(world: World) -> None:
    """Spend every kind's budget of rows, at least once each; files first, since they want files that nothing was done to."""
    for kind, mishap in (WHOLE | SINGLE).items():
        left = round(world.rows * DUPLICATE_SHARE * DUPLICATES[kind].share / 100)
        planted = mishap(world, left)
        left -= planted
        while planted and left > 0:
            planted = mishap(world, left)
            left -= planted
