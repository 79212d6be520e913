"""The scenarios of a certification: a table. Each has a name, a sentence, the gap of the fault matrix that it comes from, and acts.

Lives here: what is done, to which request, and which words may come back. How an act is carried out is in `run.py`, which words
are sound against the provider's book in `judge.py`. A scenario whose act a protocol cannot express is not judged.

What failing one costs: B, when it breaks a promise beyond the plain duty (repeats, absence, callbacks), so that taking the promise
away makes the connector safe; C, when it breaks the duty itself (to send once, and to say nothing that is not known).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from disburse.certify.faults import BY_NAME, FAULTS, Fault
from disburse.connectors.simulator import Step, Twist


class Does(StrEnum):
    """What happens next in a scenario."""

    SUBMIT = "submit"
    REPEAT = "repeat"  # the same order with the same id, as the engine does where the connector promises deduplication
    ASK = "ask"
    EXECUTE_AGAIN = "execute_again"
    CALLBACK = "callback"
    WAIT = "wait"  # time passes, for the connector and the provider
    SKEW = "skew"  # the clock on the wall jumps, time does not
    RESTART = "restart"  # the provider starts again
    FORGET = "forget"  # the provider loses what it knew
    FINISH = "finish"  # the provider pays what it took, or refuses it
    ARRIVE = "arrive"  # a late request is carried out


class Line(StrEnum):
    """What stands between the connector and the provider."""

    PLAIN = "plain"
    NOBODY = "nobody"  # no one listens at the address
    TLS = "tls"
    TLS_OTHER_NAME = "tls_other_name"
    TLS_STRANGER = "tls_stranger"
    TLS_EXPIRED = "tls_expired"
    PROXY_502 = "proxy_502"
    PROXY_407 = "proxy_407"


class Hand(StrEnum):
    """Who sends a callback, and how."""

    PROVIDER = "provider"
    FORGER = "forger"  # knows the protocol and not the key
    BARE = "bare"  # the provider's words without its headers
    SPLICED = "spliced"  # the provider's headers over another body
    GARBAGE = "garbage"
    EMPTY = "empty"
    HUGE = "huge"


TRUTH: Final = frozenset(("truth",))
"""Whatever agrees with the provider's book, and is known."""

DOUBT: Final = frozenset(("Unknown",))
NONE: Final = frozenset(("None",))


@dataclass(frozen=True, slots=True)
class Act:
    """One step of a scenario. `may`: the words that may come back (TRUTH stands for all that agree with the book).

    `at`: the request that `fault` and `twist` strike; others are served honestly. `seconds` for WAIT and SKEW, `pays` for
    FINISH, `hand` for CALLBACK.
    """

    does: Does
    may: frozenset[str] = TRUTH
    at: Step | None = None
    fault: Fault | None = None
    twist: Twist = Twist.PAID
    seconds: float = 0.0
    pays: bool = True
    hand: Hand = Hand.PROVIDER


class Need(StrEnum):
    """The promise without which a scenario is not for a connector."""

    NOTHING = "nothing"
    DEDUPLICATES = "deduplicates"
    ABSENCE = "absence"
    TWO_STEP = "two_step"
    EXECUTES_AGAIN = "executes_again"
    CALLBACKS = "callbacks"
    NO_CALLBACKS = "no_callbacks"


@dataclass(frozen=True, slots=True)
class Scenario:
    """One scenario. `costs`: the grade that is left when it fails. `remembers`: what the engine's `remember` answers."""

    name: str
    says: str
    gap: str
    acts: tuple[Act, ...]
    costs: str = "C"
    need: Need = Need.NOTHING
    line: Line = Line.PLAIN
    remembers: bool = True


D = Does
ASK_AFTER: Final = Act(D.ASK)
PAY: Final = Act(D.SUBMIT)
TAKE: Final = Act(D.SUBMIT, twist=Twist.LATER)
_DAY: Final = 86_400.0


def _of_faults() -> Iterator[Scenario]:
    """Every fault of the way, struck at the order, at the making of one, at the token, and at the question."""
    for fault in FAULTS:
        may = TRUTH | DOUBT if fault.truth else DOUBT
        after = (Act(D.ASK, TRUTH), Act(D.ARRIVE), Act(D.ASK)) if fault.later else (ASK_AFTER,)
        yield Scenario(f"order-{fault.name}", fault.says, fault.gap, (Act(D.SUBMIT, may, Step.MOVE, fault), *after))
        if fault is BY_NAME["reset-on-connect"]:
            continue  # it strikes before anybody knows what was to be sent
        yield Scenario(
            f"make-{fault.name}", f"To the first of two steps: {fault.says}", fault.gap,
            (Act(D.SUBMIT, may, Step.MAKE, fault), Act(D.ASK, TRUTH | DOUBT)), need=Need.TWO_STEP,
        )  # fmt: skip
        if not fault.acts:
            yield Scenario(
                f"token-{fault.name}", f"To the question for a token: {fault.says}", fault.gap,
                (Act(D.SUBMIT, may, Step.PREPARE, fault),),
            )  # fmt: skip
        yield Scenario(
            f"question-{fault.name}", f"To a question about a paid order: {fault.says}", "N3",
            (PAY, Act(D.ASK, may, Step.ASK, fault), ASK_AFTER),
        )  # fmt: skip


def _order(name: str, says: str, gap: str, twist: Twist, may: frozenset[str], *after: Act) -> Scenario:
    return Scenario(f"order-{name}", says, gap, (Act(D.SUBMIT, may, Step.MOVE, twist=twist), *(after or (ASK_AFTER,))))


def _question(name: str, says: str, twist: Twist, may: frozenset[str]) -> Scenario:
    return Scenario(f"question-{name}", says, "N3", (PAY, Act(D.ASK, may, Step.ASK, twist=twist), ASK_AFTER))


OTHER_SUM: Final = DOUBT | {"Settled of another sum"}

WORDS: Final = (
    Scenario("order-paid", "The provider pays at once.", "N2", (Act(D.SUBMIT, frozenset(("Settled",))), ASK_AFTER)),
    Scenario("order-taken", "The provider takes the order, and pays later.", "N2",
             (Act(D.SUBMIT, frozenset(("Accepted", "Unknown")), Step.MOVE, twist=Twist.LATER), ASK_AFTER, Act(D.FINISH), ASK_AFTER)),
    Scenario("order-taken-then-refused", "The provider takes the order, and refuses it later.", "N3",
             (Act(D.SUBMIT, frozenset(("Accepted", "Unknown")), Step.MOVE, twist=Twist.LATER), Act(D.FINISH, pays=False), ASK_AFTER)),
    _order("refused", "The provider refuses the order for good.", "N2", Twist.REFUSED, TRUTH | DOUBT),
    _order("short", "The provider has too little of our money.", "N2", Twist.SHORT, frozenset(("Rejected", "Absent", "Unknown")),
           Act(D.ASK, TRUTH | DOUBT)),
    _order("key-refused", "The provider does not take our key.", "N2", Twist.TURNED_AWAY,
           frozenset(("Rejected", "Absent", "Unknown")), Act(D.ASK, TRUTH | DOUBT)),
    _order("internal-fault", "It pays, and says that it had a fault.", "P1 to N2", Twist.INTERNAL, DOUBT),
    _order("unlisted-code", "It pays, and answers with a code that nobody listed.", "P1 to N2", Twist.UNLISTED_CODE, DOUBT),
    _order("unlisted-state", "It pays, and names a state that nobody listed.", "P1 to N2", Twist.UNLISTED_STATE, DOUBT),
    _order("no-state", "It pays, and leaves the state out.", "P1 to N2", Twist.HALF, DOUBT),
    _order("another-sum", "It pays, and tells of another sum.", "N2", Twist.OTHER_AMOUNT, OTHER_SUM),
    _order("another-id", "It pays, and tells of another order.", "N2", Twist.OTHER_ID, DOUBT),
    _order("another-destination", "It pays, and tells of another card.", "N2", Twist.OTHER_DESTINATION, DOUBT),
    _question("internal-fault", "Asked, it says that it had a fault.", Twist.INTERNAL, DOUBT),
    _question("unlisted-code", "Asked, it answers with a code that nobody listed.", Twist.UNLISTED_CODE, DOUBT),
    _question("unlisted-state", "Asked, it names a state that nobody listed.", Twist.UNLISTED_STATE, DOUBT),
    _question("no-state", "Asked, it leaves the state out.", Twist.HALF, DOUBT),
    _question("another-sum", "Asked, it tells of another sum.", Twist.OTHER_AMOUNT, OTHER_SUM),
    _question("another-id", "Asked, it tells of another order.", Twist.OTHER_ID, DOUBT),
    _question("key-refused", "Asked, it does not take our key.", Twist.TURNED_AWAY, DOUBT),
    _question("not-known-though-paid", "Asked too early or at the wrong copy, it does not know an order that it paid.",
              Twist.NOT_KNOWN, frozenset(("NotFound", "Unknown"))),
    Scenario("question-money-came-back", "It paid, and tells that the money came back.", "N3",
             (PAY, Act(D.ASK, frozenset(("Returned", "Settled", "Unknown")), Step.ASK, twist=Twist.RETURNED))),
    Scenario("question-flapping", "Taken, not known, paid, not known: nothing is made of the gaps.", "N3",
             (TAKE, Act(D.ASK, frozenset(("NotFound", "Unknown")), Step.ASK, twist=Twist.NOT_KNOWN), Act(D.FINISH), ASK_AFTER,
              Act(D.ASK, frozenset(("NotFound", "Unknown")), Step.ASK, twist=Twist.NOT_KNOWN), ASK_AFTER)),
    Scenario("provider-restarted", "The provider is started again between order and question.", "N2 to D5",
             (TAKE, Act(D.RESTART), Act(D.ASK, TRUTH | DOUBT), Act(D.FINISH), Act(D.ASK, TRUTH | DOUBT), ASK_AFTER)),
    Scenario("provider-forgot", "The provider paid, and was set back to an older copy.", "D7",
             (PAY, Act(D.FORGET), Act(D.ASK, frozenset(("NotFound", "Unknown"))))),
    Scenario("session-over", "The session ends between two calls.", "D4 to N1",
             (Act(D.SUBMIT, TRUTH | DOUBT, Step.MOVE, twist=Twist.STALE), Act(D.ASK, TRUTH | DOUBT), Act(D.ASK, TRUTH | DOUBT))),
    Scenario("session-over-question", "The session ends before the question.", "N3",
             (PAY, Act(D.ASK, TRUTH | DOUBT, Step.ASK, twist=Twist.STALE), ASK_AFTER)),
    Scenario("hours-later", "Hours pass between order and question.", "N3",
             (TAKE, Act(D.WAIT, seconds=4 * 3600), Act(D.FINISH), Act(D.ASK, TRUTH | DOUBT), ASK_AFTER)),
    Scenario("clock-back", "The clock on the wall jumps ten years back.", "D1 clock",
             (PAY, Act(D.SKEW, seconds=-3650 * _DAY), ASK_AFTER)),
    Scenario("clock-ahead", "The clock on the wall jumps ten years ahead.", "D1 clock",
             (TAKE, Act(D.SKEW, seconds=3650 * _DAY), Act(D.FINISH), Act(D.ASK, TRUTH | DOUBT), ASK_AFTER)),
)  # fmt: skip

LINES: Final = (
    Scenario("nobody-listens", "No one listens at the address.", "N1", (Act(D.SUBMIT, frozenset(("NotSent", "Unknown"))),), line=Line.NOBODY),
    Scenario("question-nobody-listens", "Asked, no one listens at the address.", "N3", (Act(D.ASK, DOUBT),), line=Line.NOBODY),
    Scenario("tls-right", "A certificate that the settings trust.", "N1", (Act(D.SUBMIT, frozenset(("Settled",))), ASK_AFTER), line=Line.TLS),
    Scenario("tls-other-name", "A trusted certificate of another name.", "N1", (Act(D.SUBMIT, frozenset(("NotSent", "Unknown"))),),
             line=Line.TLS_OTHER_NAME),
    Scenario("tls-stranger", "A certificate that nobody vouches for.", "N1", (Act(D.SUBMIT, frozenset(("NotSent", "Unknown"))),),
             line=Line.TLS_STRANGER),
    Scenario("tls-expired", "A trusted certificate that is over.", "N1", (Act(D.SUBMIT, frozenset(("NotSent", "Unknown"))),),
             line=Line.TLS_EXPIRED),
    Scenario("proxy-502", "The proxy says 502: it may have passed the request on.", "N1", (Act(D.SUBMIT, DOUBT),), line=Line.PROXY_502),
    Scenario("proxy-407", "The proxy wants a password.", "N1", (Act(D.SUBMIT, DOUBT),), line=Line.PROXY_407),
)  # fmt: skip

LOST, LOST_AFTER, LATE = BY_NAME["lost-before"], BY_NAME["lost-after"], BY_NAME["late"]
HAS_IT: Final = frozenset(("Settled", "Accepted", "Unknown"))

PROMISES: Final = (
    Scenario("repeat-of-paid", "The same order again: it is paid once.", "N1 to P1", (PAY, Act(D.REPEAT, HAS_IT), ASK_AFTER), "B", Need.DEDUPLICATES),
    Scenario("repeat-of-lost-answer", "The same order again after a lost answer: it is paid once.", "N1 to P1",
             (Act(D.SUBMIT, DOUBT, Step.MOVE, LOST_AFTER), Act(D.REPEAT, HAS_IT), ASK_AFTER), "B", Need.DEDUPLICATES),
    Scenario("repeat-of-lost-order", "The same order again after it was lost: it is paid once.", "N1 to P1",
             (Act(D.SUBMIT, DOUBT, Step.MOVE, LOST), Act(D.REPEAT, HAS_IT), ASK_AFTER), "B", Need.DEDUPLICATES),
    Scenario("repeat-of-late-order", "The same order again, and then the late first one: it is paid once.", "D4 to N1",
             (Act(D.SUBMIT, DOUBT, Step.MOVE, LATE), Act(D.REPEAT, HAS_IT), Act(D.ARRIVE), ASK_AFTER), "B", Need.DEDUPLICATES),
    Scenario("repeat-days-later", "The same order again just before the promise ends: it is paid once.", "D4 to N1",
             (PAY, Act(D.WAIT, seconds=-1.0), Act(D.REPEAT, HAS_IT), ASK_AFTER), "B", Need.DEDUPLICATES),
    Scenario("repeat-after-restart", "The same order again after the provider started again: it is paid once.", "D4 to N1",
             (PAY, Act(D.RESTART), Act(D.REPEAT, HAS_IT), ASK_AFTER), "B", Need.DEDUPLICATES),
    Scenario("absent-then-late", "Two not-founds so far apart as the promise says, then the late order: it is not paid.", "N3",
             (Act(D.SUBMIT, DOUBT, Step.MOVE, LATE), Act(D.ASK, frozenset(("NotFound", "Unknown"))), Act(D.WAIT, seconds=-2.0),
              Act(D.ASK, frozenset(("NotFound", "Absent"))), Act(D.ARRIVE)), "B", Need.ABSENCE),
    Scenario("not-remembered", "The made order could not be remembered: it is not executed.", "D4 commit",
             (Act(D.SUBMIT, frozenset(("Unknown", "NotSent"))),), "C", Need.TWO_STEP, remembers=False),
    Scenario("executed-again", "A made order is executed again: it is paid once.", "D4 to N1",
             (Act(D.SUBMIT, DOUBT, Step.MOVE, LOST), Act(D.EXECUTE_AGAIN, HAS_IT), Act(D.EXECUTE_AGAIN, HAS_IT), ASK_AFTER), "B", Need.EXECUTES_AGAIN),
    Scenario("executed-again-and-late", "A made order is executed again, and then the late first time: it is paid once.", "D4 to N1",
             (Act(D.SUBMIT, DOUBT, Step.MOVE, LATE), Act(D.EXECUTE_AGAIN, HAS_IT), Act(D.ARRIVE), ASK_AFTER), "B", Need.EXECUTES_AGAIN),
)  # fmt: skip


def _callback(name: str, says: str, may: frozenset[str], *acts: Act, need: Need = Need.CALLBACKS) -> Scenario:
    return Scenario(f"callback-{name}", says, "N3", (*acts[:-1], replace(acts[-1], may=may)), "B", need)


HEARD: Final = TRUTH | NONE
CALL: Final = D.CALLBACK
CALLBACKS: Final = (
    _callback("paid", "The provider tells that it paid.", frozenset(("Settled",)), PAY, Act(CALL)),
    _callback("taken", "The provider tells that it took the order.", HEARD, TAKE, Act(CALL, twist=Twist.LATER)),
    _callback("duplicate", "The same callback twice is the same callback.", frozenset(("the same",)), PAY, Act(CALL, frozenset(("Settled",))), Act(CALL)),
    _callback("late", "A callback three days later.", HEARD, PAY, Act(D.WAIT, seconds=3 * _DAY), Act(CALL)),
    _callback("reordered", "Taken is told after paid.", HEARD | {"Accepted"}, TAKE, Act(D.FINISH), Act(CALL, frozenset(("Settled",))), Act(CALL, twist=Twist.LATER)),
    _callback("overtakes-the-answer", "The callback comes while the answer is lost.", HEARD,
              Act(D.SUBMIT, DOUBT, Step.MOVE, LOST_AFTER), Act(CALL)),
    _callback("forged-paid", "Somebody without the key tells that an order that is still open was paid.", HEARD, TAKE, Act(CALL, hand=Hand.FORGER)),
    _callback("forged-refused", "Somebody without the key tells that a paid order was refused.", HEARD, PAY, Act(CALL, twist=Twist.REFUSED, hand=Hand.FORGER)),
    _callback("forged-returned", "Somebody without the key tells that the money came back.", HEARD, PAY, Act(CALL, twist=Twist.RETURNED, hand=Hand.FORGER)),
    _callback("unsigned-paid", "A callback without its headers tells of a payment that is still open.", HEARD, TAKE, Act(CALL, hand=Hand.BARE)),
    _callback("unsigned-refused", "A callback without its headers tells that a paid order was refused.", HEARD, PAY, Act(CALL, twist=Twist.REFUSED, hand=Hand.BARE)),
    _callback("spliced", "The headers of one callback over the body of another.", HEARD, TAKE, Act(CALL, hand=Hand.SPLICED)),
    _callback("unknown-order", "Somebody tells of an order that was never sent.", HEARD, Act(CALL, hand=Hand.FORGER)),
    _callback("garbage", "Bytes that are no text.", NONE, PAY, Act(CALL, hand=Hand.GARBAGE)),
    _callback("empty", "Nothing.", NONE, PAY, Act(CALL, hand=Hand.EMPTY)),
    _callback("huge", "A megabyte of brackets.", NONE, PAY, Act(CALL, hand=Hand.HUGE)),
    _callback("nobody-promised", "A callback to a connector whose provider never calls.", NONE, PAY, Act(CALL, hand=Hand.EMPTY), need=Need.NO_CALLBACKS),
    _callback("nobody-promised-garbage", "Garbage to a connector whose provider never calls.", NONE, PAY, Act(CALL, hand=Hand.GARBAGE), need=Need.NO_CALLBACKS),
)  # fmt: skip

SCENARIOS: Final = (*_of_faults(), *WORDS, *LINES, *PROMISES, *CALLBACKS)
