"""What a connector's word is worth against the provider's book. Pure: an act, a word and the truth go in, a fault or nothing comes out.

Lives here: the rule of soundness, which holds for every protocol: nothing is said that is not so and not known. Two questions are
kept apart: what the scenario lets come back (`Act.may`), and whether it agrees with the book. May not live here: sockets, scenarios.
"""

from __future__ import annotations

from dataclasses import dataclass

from disburse.certify.scenarios import Act, Does
from disburse.connectors.contract import Capabilities
from disburse.connectors.simulator import Book
from disburse.domain.money import Money
from disburse.domain.outcomes import (
    Absent,
    Accepted,
    Finding,
    NotExecuted,
    NotFound,
    NotSent,
    Outcome,
    Rejected,
    Settled,
    Unknown,
)


@dataclass(frozen=True, slots=True)
class Truth:
    """What is so when a connector speaks. `moved`: whether bytes of a request that can move money reached the provider.

    `late`: such a request is still under way. `amount`: what the order is about. `named`: the connector can ask about the order.
    """

    book: Book
    amount: Money
    moved: bool
    late: bool
    named: bool
    able: Capabilities


def word_of(said: object, truth: Truth) -> str:
    """A word for what came back. A success that names another sum is told apart: the books freeze on it."""
    if isinstance(said, Settled) and said.amount is not None and said.amount != truth.amount:
        return "Settled of another sum"
    return type(said).__name__ if said is not None else "None"


def fault_of(act: Act, said: Outcome | Finding | None, truth: Truth) -> str | None:
    """What is wrong with what came back: the words that were expected, in one line; None when it is right."""
    word = word_of(said, truth)
    if word in act.may - {"truth"}:
        return _lie(said, truth)
    if isinstance(said, NotSent) and act.does in (Does.SUBMIT, Does.REPEAT) and not truth.moved:
        return None
    if "truth" in act.may:
        return _not_true(act, said, truth)
    return f"expected {_one_of(act.may)}"


def twice(truth: Truth, requests: int) -> str | None:
    """What is wrong with the book at the end of a scenario. `requests`: those that can move money, beyond the repeats asked for."""
    if len(truth.book.paid) > 1:
        return f"expected one payment at most; the provider paid {len(truth.book.paid)} times"
    if truth.book.paid and truth.book.paid[0] != truth.amount:
        return f"expected {truth.amount} to be paid; {truth.book.paid[0]} was"
    if requests > 1 and not truth.able.two_step:
        return f"expected the order to be sent once; it was sent {requests} times"
    return None


def _one_of(words: frozenset[str]) -> str:
    return " or ".join(sorted(word for word in words if word != "truth")) or "what the provider's book says"


def _lie(said: object, truth: Truth) -> str | None:
    """What disagrees with the book in a word that the scenario allows."""
    paid, open_ = bool(truth.book.paid), truth.book.taken or truth.late
    match said:
        case Settled() if not paid:
            return "expected no word of a payment: nothing was paid"
        case Rejected() | NotSent() if paid or open_:
            return "expected no word of a refusal: it was paid, or may be yet"
        case Absent() if paid:
            return "expected no word of an absence: it was paid"
        case _:
            return None


def _not_true(act: Act, said: object, truth: Truth) -> str | None:
    """What disagrees with the book where the truth was asked for. Not to know is a fault only where it could be known."""
    expected = expected_words(truth)
    if word_of(said, truth) in expected:
        return None
    may = act.may - {"truth"} | expected
    return f"expected {_one_of(frozenset(may))}"


def expected_words(truth: Truth) -> frozenset[str]:
    """Every word that agrees with the book, where nothing stands in the way of knowing it."""
    if truth.book.paid:
        words: set[type] = {Settled}
    elif truth.book.taken:
        words = {Accepted}
    elif truth.book.refused:
        words = {Rejected, Absent}
    else:
        words = {NotFound, NotExecuted, Unknown}
    if not truth.named:
        words.add(Unknown)
    return frozenset(word.__name__ for word in words)
