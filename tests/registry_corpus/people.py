"""Payees and their destinations: names as Russian files have them, the ways names get misspelled, numbers that pass their checks.

Lives here: drawing from a given `Random`. May not live here: merchants, sums, time.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import SequenceMatcher
from random import Random
from typing import Final

import base58

from tests.registry_corpus.shapes import Place


def _words(text: str) -> list[str]:
    return text.split()


_SURNAMES: Final = _words(
    "Иванов Смирнов Кузнецов Попов Васильев Петров Соколов Михайлов Новиков Фёдоров Морозов Волков Алексеев Лебедев Семёнов Егоров "
    "Павлов Козлов Степанов Николаев Орлов Андреев Макаров Никитин Захаров Зайцев Соловьёв Борисов Яковлев Григорьев Романов "
    "Воробьёв Сергеев Кузьмин Фролов Александров Дмитриев Королёв Гусев Киселёв Ильин Максимов Поляков Сорокин Виноградов Ковалёв "
    "Белов Медведев Антонов Тарасов Жуков Баранов Филиппов Комаров Давыдов Беляев Герасимов Богданов Осипов Сидоров Матвеев Титов "
    "Марков Миронов Крылов Куликов Карпов Власов Мельников Денисов Гаврилов Тихонов Казаков Афанасьев Данилов Савельев Тимофеев "
    "Фомин Чернов Абрамов Мартынов Ефимов Федотов Щербаков Назаров Калинин Исаев Чернышёв Быков Маслов Родионов Коновалов Лазарев "
    "Воронин Климов Филатов Пономарёв Голубев Кудрявцев Прохоров Наумов Потапов Журавлёв Овчинников Трофимов Леонов Соболев Ермаков "
    "Колесников Гончаров Емельянов Никифоров Грачёв Котов Гришин Ефремов Архипов Громов Кириллов Малышев Панов Моисеев Румянцев "
    "Акимов Кондратьев Бирюков Горбунов Анисимов Еремин Тихомиров Галкин Лукьянов Михеев Скворцов Юдин Белоусов Нестеров Симонов"
)
_MEN: Final = _words(
    "Александр Сергей Дмитрий Алексей Андрей Иван Михаил Николай Максим Евгений Владимир Павел Артём Роман Денис Антон Илья Кирилл "
    "Никита Егор Олег Виктор Константин Юрий Тимур Руслан Игорь Вадим Степан Глеб"
)
_WOMEN: Final = _words(
    "Елена Ольга Наталья Анна Ирина Мария Татьяна Екатерина Светлана Юлия Анастасия Людмила Дарья Марина Ксения Алина Полина Вера "
    "Галина Лариса Надежда Оксана Алёна Виктория Валентина Софья Кристина Нина Маргарита Тамара"
)
_FATHERS: Final = _words(
    "Александр Сергей:Сергее Дмитрий:Дмитрие Алексей:Алексее Андрей:Андрее Иван Михаил:Михайло Николай:Николае Максим Евгений:Евгенье "
    "Владимир Павел:Павло Роман Денис Антон Кирилл Егор Олег Виктор Константин Юрий:Юрье Игорь:Игоре Вадим Степан Глеб Борис "
    "Анатолий:Анатолье Валерий:Валерье Геннадий:Геннадье Григорий:Григорье"
)
_LATIN: Final = dict(
    zip(
        "абвгдеёжзийклмнопрстуфхцчшщъыьэюя",
        "a b v g d e e zh z i y k l m n o p r s t u f kh ts ch sh shch _ y _ e yu ya".replace("_", "").split(" "),
        strict=True,
    )
)
_BY_EAR: Final = (("ё", "е"), ("лл", "л"), ("нн", "н"), ("сс", "с"), ("ья", "ия"), ("ие", "ье"), ("оло", "ала"), ("ри", "ре"), ("ов", "ав"))
_LOOKALIKES: Final = str.maketrans("АВЕКМНОРСТХаеорсх", "ABEKMHOPCTXaeopcx")
_CARDS: Final = ("220220", "220070", "427630", "546955", "220220", "481779", "437772", "553691")
_BIKS: Final = ("044525225", "044525974", "044525593", "042202603", "045004641", "044525187")
_MEMBERS: Final = ("100000000111", "100000000004", "100000000008", "100000000005", "100000000007", "100000000015", "100000000001")


@dataclass(slots=True, eq=False)
class Person:
    """Somebody to pay. `places[0]` is where he is usually paid."""

    key: str
    name: str
    places: list[Place]


def full_name(random: Random) -> str:
    """Surname, name and patronymic that agree."""
    surname, father = random.choice(_SURNAMES), random.choice(_FATHERS)
    own, _, stem = father.partition(":")
    stem = stem or own + "о"
    woman = random.random() < 0.5
    if woman:
        return f"{surname}а {random.choice(_WOMEN)} {stem}вна"
    return f"{surname} {random.choice(_MEN)} {stem}вич"


def brother(random: Random, name: str) -> str:
    """A brother's or sister's name of the same sex: another first name, far from the first, and the rest the same."""
    surname, own, father = name.split()
    others = [one for one in (_MEN if father.endswith("ич") else _WOMEN) if SequenceMatcher(None, one, own).ratio() < 0.5]
    return f"{surname} {random.choice(others)} {father}"


def initials(name: str) -> str:
    """Surname and two letters, as people write by hand."""
    surname, own, father = name.split()
    return f"{surname} {own[0]}. {father[0]}."


def misspelled(random: Random, name: str) -> str:
    """The same name as another person typed it. It always differs from the name given."""
    for _ in range(20):
        written = _one_slip(random, name)
        if written != name:
            return written
    return name.upper()


def _one_slip(random: Random, name: str) -> str:
    surname, own, father = name.split()
    match random.randrange(8):
        case 0:  # two letters change places
            at = random.randrange(1, len(surname) - 2)
            return f"{surname[:at]}{surname[at + 1]}{surname[at]}{surname[at + 2 :]} {own} {father}"
        case 1:  # a letter is lost
            at = random.randrange(1, len(surname) - 1)
            return f"{surname[:at]}{surname[at + 1 :]} {own} {father}"
        case 2:
            return f"{own} {father} {surname}"
        case 3:
            return f"{own} {surname}"
        case 4:
            return name.upper().replace("Ё", "Е")
        case 5:
            return "".join(_LATIN.get(letter, letter) for letter in name.lower()).upper()
        case 6:  # typed on another keyboard layout: letters that look the same
            return name.translate(_LOOKALIKES)
        case _:
            heard, written = random.choice(_BY_EAR)
            return name.replace(heard, written)


def card(random: Random) -> Place:
    """A card whose check digit is right."""
    digits = random.choice(_CARDS) + f"{random.randrange(10**9):09d}"
    doubled = (int(digit) * (2 - place % 2) for place, digit in enumerate(digits))
    return Place("card", digits + str(-sum(value - 9 * (value > 9) for value in doubled) % 10))


def phone(random: Random) -> Place:
    """A phone and its SBP bank."""
    return Place("sbp", f"79{random.randrange(10**9):09d}", random.choice(_MEMBERS))


def account(random: Random) -> Place:
    """An account whose control key fits its BIK."""
    bik, rest = random.choice(_BIKS), f"{random.randrange(10**11):011d}"
    front = random.choice(("40802810", "40817810", "40702810"))
    weighted = sum(int(digit) * (7, 1, 3)[place % 3] for place, digit in enumerate(f"{bik[6:]}{front}0{rest}"))
    return Place("account", f"{front}{weighted * 3 % 10}{rest}", bik)


def purse(random: Random) -> Place:
    """A WebMoney purse."""
    return Place("webmoney", f"P{random.randrange(10**12):012d}")


def token(random: Random) -> Place:
    """A USDT address on TRON, checksum and all."""
    return Place("usdt", base58.b58encode_check(b"\x41" + random.randbytes(20)).decode())


def wallet(random: Random) -> Place:
    """A QIWI wallet, whose number is a phone's."""
    return Place("qiwi", phone(random).number)
