"""The independent checker of a chaos run: it passes an honest run, names what is wrong with each doctored one, and is nobody's friend."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.chaos import checker
from tests.chaos.books import HONEST, Books

CARD = "4276000000000001"


def pay_twice(books: Books) -> None:
    """The bank was sent one id a second time and paid it again."""
    books.book += books.deeds(books.ended("paid"), "paid")


def pay_by_two_attempts(books: Books) -> None:
    """A second attempt was sent while the first one had been paid."""
    payout = books.ended("paid")
    first, deed = books.attempt(payout), books.deeds(payout, "paid")[0]
    books.attempts.append({**first, "number": "2", "end_to_end_id": f"{payout['base']}-2"})
    books.book.append({**deed, "end_to_end_id": f"{payout['base']}-2"})


def pay_without_an_attempt(books: Books) -> None:
    """The bank was sent something that was never stored."""
    books.book.append({**books.deeds(books.ended("paid"), "paid")[0], "end_to_end_id": "aaforgedforgedforgedforgedfo-1"})


def send_before_the_intent(books: Books) -> None:
    """An attempt was sent and its intent was never committed."""
    books.attempt(books.ended("paid"))["opened_at"] = ""


def settle_what_was_not_paid(books: Books) -> None:
    """A payout is called paid, and the bank knows nothing of it."""
    lost = books.deeds(books.ended("paid"), "paid")[0]
    books.book.remove(lost)


def release_what_was_paid(books: Books) -> None:
    """A lost answer was taken for a refusal: the merchant has the money back, and the payee has it too."""
    books.deeds(books.ended("release"), "refused")[0]["did"] = "paid"


def forget_a_return(books: Books) -> None:
    """Money came back from the bank, and the merchant was not given it."""
    books.drop_postings(books.ended("returned"), "returned")


def pay_another_amount(books: Books) -> None:
    """The bank was told another amount than the merchant named."""
    books.deeds(books.ended("paid"), "paid")[0]["amount"] = "999.00"


def lose_an_acknowledged_payout(books: Books) -> None:
    """The end of the database's log is lost, without a trace: rows, numbers, balances, and the bank never heard of it."""
    payout = books.ended("paid", told="success")
    books.payouts.remove(payout)
    books.attempts = [row for row in books.attempts if row["payout_id"] != payout["payout_id"]]
    books.book = [deed for deed in books.book if not deed["end_to_end_id"].startswith(payout["base"])]
    books.history = [line for line in books.history if line["did"] != "read" or line["reference"] != payout["reference"]]
    books.drop_postings(payout)


def tell_an_end_that_is_none(books: Books) -> None:
    """A merchant was told that a wage had failed, and it was paid afterwards."""
    books.history.append({"did": "told", "reference": books.ended("paid")["reference"], "status": "error"})


def keep_half_of_a_payout(books: Books) -> None:
    """A payout that nobody acknowledged was made without its attempt: it will never be sent."""
    payout = books.ended("release")
    books.attempts = [row for row in books.attempts if row["payout_id"] != payout["payout_id"]]
    books.book = [deed for deed in books.book if not deed["end_to_end_id"].startswith(payout["base"])]


def change_a_balance(books: Books) -> None:
    """A cached balance is off by one kopeck."""
    row = next(row for row in books.balances if row["account"] == "available")
    row["balance_minor"] = str(int(row["balance_minor"]) + 1)


def pay_before_the_top_up(books: Books) -> None:
    """Money was spent before it was there; at the end all is even again."""
    top_up = next(row for row in books.postings if row["reason"] == "top_up")
    books.postings.remove(top_up)
    books.postings.append(top_up)
    books.renumber()


def take_a_posting_out(books: Books) -> None:
    """Somebody deleted a posting and mended the balances."""
    books.postings.remove(next(row for row in books.postings if row["reason"] == "fee"))
    books.balance()


def forget_a_doubt(books: Books) -> None:
    """An attempt stays in doubt and its money is held for ever."""
    payout = books.ended("release", attempts=1)
    books.attempt(payout)["state"] = "unknown"
    books.history = [line for line in books.history if line["reference"] != payout["reference"] or line["did"] == "asked"]
    books.drop_postings(payout, "release")


DOCTORED = [
    (pay_twice, checker.PAID_TWICE),
    (pay_by_two_attempts, checker.PAID_TWICE),
    (pay_without_an_attempt, checker.NO_INTENT),
    (send_before_the_intent, checker.NO_INTENT),
    (settle_what_was_not_paid, checker.NOT_EXECUTED),
    (release_what_was_paid, checker.NOT_SETTLED),
    (forget_a_return, checker.NOT_SETTLED),
    (pay_another_amount, checker.ANOTHER_AMOUNT),
    (lose_an_acknowledged_payout, checker.LOST),
    (tell_an_end_that_is_none, checker.CHANGED),
    (keep_half_of_a_payout, checker.HALF),
    (change_a_balance, checker.BALANCE),
    (pay_before_the_top_up, checker.BELOW),
    (take_a_posting_out, checker.NUMBERS),
    (forget_a_doubt, checker.FORGOTTEN),
]
BESIDE = {checker.CLEARING, checker.HELD, checker.BELOW, checker.HALF}
"""What follows from others: the bank's sum, money left over. Each doctored book is also named by its own fault."""


def test_an_honest_run_passes(tmp_path: Path) -> None:
    """A run that was recorded as it was has nothing wrong, and it holds every kind of end: paid, released, returned, and a doubt."""
    books = Books.honest()
    assert books.wrong(tmp_path) == set()
    reasons = {row["reason"] for row in books.postings}
    assert {"hold", "claim", "paid", "fee", "release", "returned", "doubt"} <= reasons
    assert {line["status"] for line in books.history if line["did"] == "read"} >= {"success", "error"}


@pytest.mark.parametrize("doctor, name", DOCTORED, ids=[doctor.__name__ for doctor, _ in DOCTORED])
def test_a_doctored_run_is_found(doctor: Callable[[Books], None], name: str, tmp_path: Path) -> None:
    """Each forged set of books fails by the name of what was done to it, and by nothing that does not follow from it."""
    books = Books.honest()
    doctor(books)
    found = books.wrong(tmp_path)
    assert name in found
    assert found - {name} <= BESIDE - {name}


def test_the_clearing_accounts_are_compared_with_the_book(tmp_path: Path) -> None:
    """A payment booked to another account than the one that stands for the bank is seen by the sums alone."""
    books = Books.honest()
    row = next(row for row in books.postings if row["reason"] == "paid")
    row["destination"] = "fees"
    books.balance()
    assert books.wrong(tmp_path) == {checker.CLEARING}


@pytest.mark.parametrize(
    "text", [CARD, f"x{CARD}9", "4276 0000 0000 0001", "4276-0000-0000-0001", "79000000001", "the-secret-of-a-merchant"]
)
def test_a_leaked_number_is_found(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A card, a phone or a secret in any file is found, also in a longer run of digits, in groups, and where two reads meet."""
    monkeypatch.setattr(checker, "_CHUNK", 100)
    evidence, place = tmp_path / "evidence", tmp_path / "log" / "deep"
    evidence.mkdir()
    place.mkdir(parents=True)
    Books.honest().wrong(evidence)
    (evidence / "canaries.txt").write_text(f"{CARD}\n79000000001\nthe-secret-of-a-merchant\n")
    (place / "server.log").write_bytes(b"\xff" * 93 + text.encode() + b"\0\xff 4276000000000002")
    assert set(checker.check(evidence, [tmp_path])[0]) == {checker.LEAKED}
    (place / "server.log").write_bytes(b"x" * 93 + b"4276000000000002 790000000012 427600000000000")
    assert checker.check(evidence, [tmp_path])[0] == {}


def test_a_line_that_cannot_be_read_is_wrong_and_a_torn_last_one_is_not(tmp_path: Path) -> None:
    """A line without its end was never acknowledged; a whole one that makes no sense is a fault."""
    Books.honest().wrong(tmp_path)
    with (tmp_path / "book.jsonl").open("a") as book:
        book.write('{"at":"2026-11-22T03:')
    assert checker.check(tmp_path, [])[0] == {}
    with (tmp_path / "book.jsonl").open("a") as book:
        book.write("\n")
    assert set(checker.check(tmp_path, [])[0]) == {checker.UNREADABLE}


def test_it_is_a_program_of_its_own() -> None:
    """It runs without this project on its path, imports the standard library alone, and its exit code is its verdict."""
    tree = ast.parse(Path(checker.__file__).read_text("utf-8"))
    imported = {alias.name.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {(node.module or "").split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported and imported <= set(sys.stdlib_module_names)
    done = subprocess.run([sys.executable, "-I", "-S", checker.__file__, str(HONEST)], capture_output=True, text=True, cwd="/")
    assert done.returncode == 0 and done.stdout.startswith("looked at ") and done.stdout.endswith(": 0 wrong\n")


def test_every_name_is_somebodys() -> None:
    """Each name under which the checker reports is met by a test here."""
    met = {name for _, name in DOCTORED} | BESIDE | {checker.LEAKED, checker.UNREADABLE}
    assert set(checker.NAMES) == met


def test_the_programs_verdict_is_its_exit_code(tmp_path: Path) -> None:
    """A doctored run ends with 1 and one line for each thing that is wrong, its name first."""
    books = Books.honest()
    pay_twice(books)
    books.wrong(tmp_path)
    done = subprocess.run([sys.executable, "-I", "-S", checker.__file__, str(tmp_path)], capture_output=True, text=True, cwd="/")
    assert done.returncode == 1
    assert [line.split(":")[0] for line in done.stdout.splitlines()[:-1]] == [checker.PAID_TWICE, checker.CLEARING]
