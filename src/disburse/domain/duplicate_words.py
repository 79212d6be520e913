"""What a comment and a name say to the duplicate guard, in a form in which two spellings of one thing are equal.

Lives here: which words of a comment tell one debt from another (numbers, days, months, causes), and the bones of a name. May not live
here: comparing two payouts (`duplicates.py`), keys (names leave this file as text, and only keyed fingerprints of it are stored).

A comment becomes four things. `number`: the number of an order, an invoice, a ticket, a partner. `detail`: every other number, day,
month and shift. `telling`: causes that make a payment another one though all else is equal (an advance, a bonus, a part). `words`: all
words that are not mere phrase. Two programs write "Оплата по счёту № 17" and "счет 17": fillers are dropped and synonyms are one.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from typing import Final

import msgspec


class Said(msgspec.Struct, frozen=True, gc=False):
    """What a comment says. Each is a fingerprint that fits a bigint, 0 for nothing. `name`: a payee's name that stands in it, "" for none."""

    number: int
    detail: int
    telling: int
    words: int
    name: str


class Name(msgspec.Struct, frozen=True, gc=False):
    """The bones of a name. `full`: surname and given name in any order, "" where one of them is a mere initial. `patronymic`: "" if unknown.
    `short`: surname and the first initial."""

    full: str
    patronymic: str
    short: str


NO_NAME: Final = Name("", "", "")

_FILLERS: Final = (
    "оплат", "выплат", "платеж", "перечисл", "вознагражд", "услуг", "ндс", "облага", "обложен", "согласно", "сотрудник", "работник", "руб",
    "сумм", "денеж", "средств", "перв", "payment", "payout", "the", "for", "fee", "абонент", "еженедел", "курьер", "год",
)  # fmt: skip
"""How words begin that tell nothing."""

_SHORT_FILLERS: Final = frozenset(("по", "за", "от", "на", "в", "во", "и", "о", "об", "с", "со", "у", "к", "из", "до", "не", "без", "г",
                                   "гг", "no", "n", "nr", "of", "to", "by", "а", "плат", "плата", "платы", "плате", "плату"))  # fmt: skip

_SAME: Final = (
    ("зарплат", "wage"), ("заработ", "wage"), ("зарабо", "wage"), ("оклад", "wage"), ("salary", "wage"), ("wage", "wage"),
    ("партн", "partner"), ("partner", "partner"), ("выигр", "prize"), ("приз", "prize"), ("розыгр", "prize"), ("prize", "prize"),
    ("возвр", "refund"), ("refund", "refund"), ("заказ", "order"), ("order", "order"), ("счет", "invoice"), ("инвойс", "invoice"),
    ("invoice", "invoice"), ("билет", "ticket"), ("ticket", "ticket"), ("договор", "contract"), ("contract", "contract"),
    ("маршрут", "route"), ("route", "route"), ("смен", "shift"), ("shift", "shift"),
)  # fmt: skip
_WHOLE: Final = {"зп": "wage", "id": "id", "ид": "id"}

_TELLING: Final = (
    ("аванс", "advance"), ("половин", "advance"), ("предоплат", "advance"), ("advance", "advance"), ("преми", "bonus"), ("бонус", "bonus"),
    ("bonus", "bonus"), ("отпуск", "holiday"), ("больнич", "sick"), ("пособи", "benefit"), ("матпомощ", "aid"), ("материальн", "aid"),
    ("помощ", "aid"), ("команд", "travel"), ("подотч", "travel"), ("travel", "travel"), ("суточ", "travel"), ("заем", "loan"),
    ("займ", "loan"), ("ссуд", "loan"), ("loan", "loan"), ("расход", "expense"), ("возмещ", "expense"), ("компенс", "expense"),
    ("expense", "expense"), ("доплат", "difference"), ("перерасч", "difference"), ("разниц", "difference"), ("корректир", "difference"),
    ("difference", "difference"), ("correction", "difference"), ("задолж", "arrears"), ("остат", "arrears"), ("arrears", "arrears"),
    ("окончат", "final"), ("final", "final"), ("част", "part"), ("этап", "stage"), ("товар", "item"), ("позици", "item"),
    ("item", "item"), ("провер", "test"), ("тест", "test"), ("test", "test"), ("алимент", "alimony"), ("дивиденд", "dividend"),
    ("аренд", "rent"), ("процент", "interest"), ("штраф", "penalty"), ("неустой", "penalty"), ("втор", "second"),
)  # fmt: skip
"""How words begin that make a payment another one: (beginning, cause)."""

_MONTHS: Final = {
    "янв": 1, "фев": 2, "мар": 3, "апр": 4, "май": 5, "мая": 5, "мае": 5, "июн": 6, "июл": 7, "авг": 8, "сен": 9, "окт": 10, "ноя": 11,
    "дек": 12, "jan": 1, "feb": 2, "apr": 4, "may": 5, "jun": 6, "jul": 7, "aug": 8, "sep": 9, "oct": 10, "nov": 11, "dec": 12,
}  # fmt: skip
_MONTH: Final = re.compile(
    "(?:январ|феврал|март|апрел|июн|июл|август|сентябр|октябр|ноябр|декабр)[а-я]{0,3}|ма[йяею]|"
    "(?:янв|фев|апр|авг|сен|сент|окт|ноя|дек)|"
    "(?:january|february|march|april|may|june|july|august|september|october|november|december|jan|feb|apr|aug|sept?|oct|nov|dec)"
)
_SHIFT: Final = re.compile("(?P<утро>утр[а-я]*)|(?P<вечер>вечер[а-я]*)|(?P<ночь>ноч[а-я]*)|(?P<день>день|дня|днем|дневн[а-я]*)")
_TOKEN: Final = re.compile(
    r"(?P<iso>\d{4}-\d\d-\d\d)|(?P<day>\d{1,2}\.\d{1,2}(?:\.\d{4}|\.\d\d)?(?!\d))|(?P<of>\d{1,2}[./]\d{4}(?!\d))"
    r"|(?P<number>\d+)|(?P<word>[^\W\d_]+)|(?P<mark>[№#])"
)
_MARKS: Final = frozenset(("№", "#", "no", "n", "nr", "id", "order", "invoice", "ticket", "contract", "route"))
_STANDING: Final = frozenset(("id", "contract"))
_A_MONTH: Final = "month"
_LEAST_NUMBER: Final = 5
"""A number without a word before it names something from so many digits on."""


def fingerprint(text: str) -> int:
    """A number that fits a bigint, equal for equal text; 0 for none. It is not keyed: for comments, which are stored as they are."""
    if not text:
        return 0
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big", signed=True) or 1


@lru_cache(maxsize=4096)
def read_comment(comment: str) -> Said:
    """What a comment says. Never fails: whatever it does not know is a word."""
    text, name = _without_name(comment)
    number = ""
    detail: list[str] = []
    telling: set[str] = set()
    words: set[str] = set()
    marked = debt = dated = False
    mark = ""
    for match in _TOKEN.finditer(text):
        kind, token = match.lastgroup, match[0]
        if kind == "word":
            mark = _word(token, detail, telling, words)
            marked = mark in _MARKS
            dated = dated or mark == _A_MONTH
        elif kind == "mark":
            marked = True
        else:
            if kind == "number" and not number and (marked or len(token) >= _LEAST_NUMBER):
                number, debt = token.lstrip("0") or "0", mark not in _STANDING
            else:
                dated = dated or kind != "number"
                told = _figure(kind or "", token)
                if told:
                    detail.append(told)
            marked = False
    return Said(
        _flagged(fingerprint(number), debt), _flagged(fingerprint(" ".join(sorted(detail))), dated), fingerprint(" ".join(sorted(telling))),
        fingerprint(" ".join(sorted(words | telling))), name,
    )  # fmt: skip


def names_debt(number: int) -> bool:
    """Whether a comment's number names one debt, as an order's does; a contract's or a partner's stands for many."""
    return number & 1 == 1


def names_time(detail: int) -> bool:
    """Whether a comment's detail has a day or a month, so that equal ones speak of one debt however long ago."""
    return detail & 1 == 1


def _flagged(key: int, flag: bool) -> int:
    """A fingerprint whose lowest bit says something."""
    return key and ((key | 1) if flag else ((key & ~1) or 2))


def _word(token: str, detail: list[str], telling: set[str], words: set[str]) -> str:
    """Put a word where it belongs. Returns what it is called."""
    if token in _WHOLE:
        token = _WHOLE[token]
        words.add(token)
        return token
    if token in _SHORT_FILLERS:
        return token
    if _MONTH.fullmatch(token) is not None:
        detail.append(f"month {_MONTHS[token[:3]]}")
        return _A_MONTH
    shift = _SHIFT.fullmatch(token)
    if shift is not None:
        detail.append(shift.lastgroup or "")
        return token
    for beginning, cause in _TELLING:
        if token.startswith(beginning):
            telling.add(cause)
            return cause
    for beginning, one in _SAME:
        if token.startswith(beginning):
            words.add(one)
            return one
    if not token.startswith(_FILLERS):
        words.add(token[:6])
    return token


def _figure(kind: str, token: str) -> str:
    """A day, a month, or a small number, as it is compared; "" for a year alone: a month says enough within the guard's time."""
    if kind == "iso":
        return f"day {int(token[8:10])}.{int(token[5:7])}"
    if kind == "of":
        return f"month {int(re.split('[./]', token)[0])}"
    if kind == "day":
        parts = token.split(".")
        return f"day {int(parts[0])}.{int(parts[1])}"
    if len(token) == 4 and token[:2] in ("19", "20"):
        return ""
    return token.lstrip("0") or "0"


# --- names ---------------------------------------------------------------------------------------------------------------

_ALIKE: Final = str.maketrans("aceopxykmthbinu", "асеорхукмтнвипи")
"""Latin letters that look like Cyrillic ones, small as they are when capitals were folded."""
_CYRILLIC: Final = re.compile("[а-я]")
_LATIN: Final = re.compile("[a-z]")
_MIXED: Final = re.compile(r"[^\W\d_]+")
_LETTERS: Final = str.maketrans({
    "а": "a", "б": "b", "в": "v", "г": "g", "д": "d", "е": "e", "ж": "j", "з": "z", "и": "i", "й": "", "к": "k", "л": "l", "м": "m",
    "н": "n", "о": "o", "п": "p", "р": "r", "с": "s", "т": "t", "у": "u", "ф": "f", "х": "h", "ц": "c", "ч": "q", "ш": "w", "щ": "w",
    "ъ": "", "ы": "i", "ь": "", "э": "e", "ю": "u", "я": "a",
})  # fmt: skip
_PAIRS: Final = (("shch", "w"), ("sch", "w"), ("zh", "j"), ("kh", "h"), ("ts", "c"), ("tc", "c"), ("ch", "q"), ("sh", "w"), ("ya", "a"),
                 ("yu", "u"), ("yo", "e"), ("ye", "e"), ("ia", "a"), ("iu", "u"), ("ie", "e"), ("x", "ks"), ("y", "i"), ("'", ""))  # fmt: skip
_PATRONYMIC: Final = re.compile(r"\w{2,}(?:[оеё]вич|ьич|мич|кич|[оеё]вна|инична|ична|[oe]vich|[oe]vna|ichna)")


def _folded(text: str) -> str:
    """Small letters, one letter for each sound and look: ё is е, and a word of two alphabets is of one."""
    text = text.lower().replace("ё", "е")
    if _LATIN.search(text) is None or _CYRILLIC.search(text) is None:
        return text
    return _MIXED.sub(lambda word: word[0].translate(_ALIKE) if _CYRILLIC.search(word[0]) else word[0], text)


@lru_cache(maxsize=16_384)
def _bones(word: str) -> str:
    """A word's first letter and its consonants in order of the alphabet: what survives other vowels, other alphabets, swapped letters."""
    if "a" <= word[:1] <= "z":
        for pair, letter in _PAIRS:
            word = word.replace(pair, letter)
    else:
        word = word.translate(_LETTERS)
    return word[:1] + "".join(sorted(set(word[1:]) - _VOWELS))


_VOWELS: Final = frozenset("aeiou")


def read_name(name: str) -> Name:
    """The bones of a payee's name. Words of one letter are initials; the first longer word is the surname unless a patronymic shows the order."""
    words = _MIXED.findall(_folded(name))
    long = [word for word in words if len(word) > 1]
    if not long or len(words) > 5:
        return NO_NAME
    initials = [word for word in words if len(word) == 1]
    patronymic = ""
    surname, given = long[0], long[1:2]
    for place, word in enumerate(long):
        if len(long) > 2 and place and _PATRONYMIC.fullmatch(word) is not None:
            patronymic = _bones(word)
            rest = long[:place] + long[place + 1 :]
            surname, given = (rest[0], rest[1:2]) if place > 1 else (rest[-1], rest[:1])
            break
    surname = _bones(surname)
    if not given:
        return Name("", "", f"{surname} {_bones(initials[0])}") if initials else NO_NAME
    first = _bones(given[0])
    return Name(" ".join(sorted((surname, first))), patronymic, f"{surname} {first[:1]}")


def _without_name(comment: str) -> tuple[str, str]:
    """A comment without the payee's name that stands at its end, folded, and that name; "" when there is none.

    A name is three words with a patronymic, a word and initials, or two words with capitals that stand alone after a comma.
    """
    if comment[-1:].isdigit():
        return _folded(comment), ""
    match = _TWO_WORDS.search(comment)
    if match is not None and not any(_known(word) for word in _MIXED.findall(_folded(match[1]))):
        return _folded(comment[: match.start(1)]), match[1]
    text = _folded(comment).rstrip()
    match = _AT_END.search(text) or _INITIALS.search(text)
    return (text[: match.start()], match[0]) if match is not None else (text, "")


def _known(word: str) -> bool:
    return word in _SHORT_FILLERS or word in _WHOLE or _MONTH.fullmatch(word) is not None or word.startswith(_BEGINNINGS)


_BEGINNINGS: Final = (*_FILLERS, *(one for one, _ in _SAME), *(one for one, _ in _TELLING))
_TWO_WORDS: Final = re.compile(r"(?:^|,\s*)([^\W\d_a-zа-яё][a-zа-яё]+\s+[^\W\d_a-zа-яё][a-zа-яё]+)\s*$")
_ENDING: Final = r"(?:[оеё]вич|ьич|[оеё]вна|инична|ична|[oe]vich|[oe]vna|ichna)"
_AT_END: Final = re.compile(rf"[^\W\d_]+\s+(?:[^\W\d_]+\s+[^\W\d_]{{2,}}{_ENDING}|[^\W\d_]{{2,}}{_ENDING}\s+[^\W\d_]+)$")
_INITIALS: Final = re.compile(r"[^\W\d_]{2,}\s+[^\W\d_]\.\s?(?:[^\W\d_]\.)?$")
