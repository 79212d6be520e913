"""Every way in which a call of the client ends without what was asked for. There are three, and which one it is decides what to do.

* `Problem`: the server said no, or "later". What was asked was not done, and `next` says what to do.
* `NoAnswer`: nobody answered, and it is certain that nothing was done: the request never left, or it only reads.
* `OutcomeUnknown`: what was asked may have been done. This is not a failure: ask again with the same key, today or in a year.

May not live here: which answer is which (`asking.py`). Nothing of what was sent is in any text but the caller's own key and reference.
"""

from __future__ import annotations

from typing import Final

from disburse.protocols.rest_messages import FieldFault
from disburse.protocols.rest_messages import Problem as Told
from disburse.protocols.rest_problems import URN


class ClientError(Exception):
    """A call did not bring what was asked for."""


class Problem(ClientError):
    """The server said no (RFC 9457). `name` is stable; `errors` names every field that is wrong; `next` says what to do.

    `retry_after_s`: how long it asks to be left alone, in seconds. What was asked was not done, unless this is a `ServerFault`.
    """

    def __init__(self, told: Told, retry_after_s: float | None = None) -> None:
        self.name = told.type.removeprefix(URN)
        self.type, self.status, self.title = told.type, told.status, told.title
        self.detail, self.next = told.detail, told.next
        self.errors: list[FieldFault] = told.errors
        self.retry_after_s = retry_after_s
        super().__init__(f"{told.status} {self.name}: {told.detail}")


class BadRequest(Problem):
    """The request is not well-formed: `errors` says what and why."""


class Unauthorized(Problem):
    """The API key is missing, wrong, or ended."""


class Denied(Problem):
    """This merchant may not pay out, or not now."""


class NotFound(Problem):
    """There is no such thing, or it is another merchant's."""


class InsufficientFunds(Problem):
    """There is too little money. With a new key the same reference is paid after a top-up."""


class LimitReached(Problem):
    """A limit leaves no room for it. With a new key the same reference is paid when there is."""


class BadFile(Problem):
    """The file is no registry; nothing of it is kept."""


class Drifted(Problem):
    """What was planned is not what would be done now: plan the file again, and look at the plan."""


class NotAllGood(Problem):
    """Some rows of the registry cannot be paid, and it was not asked to do the others alone."""


class AppliedBefore(Problem):
    """The same rows were applied before."""


class NoRoute(Problem):
    """Nobody carries such a payout."""


class BelowMinimum(Problem):
    """The amount is too small for this rail."""


class DestinationRetired(Problem):
    """The payee is not paid there any more."""


class WrongState(Problem):
    """The state of a payout, key or endpoint does not allow this."""


class KeyReused(Problem):
    """The Idempotency-Key belongs to another request, which was carried out; this one was not."""


class ReferenceReused(Problem):
    """The reference belongs to something with other content."""


class TooManyRequests(Problem):
    """The API key asked too often, more often than the client was ready to wait for."""


class NotBegun(Problem):
    """The server has too much to do, and did nothing."""


class ServerFault(Problem):
    """Something is wrong with the server. Only raised for what reads: anything else is then `OutcomeUnknown`."""


class NoAnswer(ClientError):
    """No answer that can be read, and nothing was done: the request never left, or it only reads. `why` is fit for logs."""

    def __init__(self, what: str, why: str, tries: int) -> None:
        self.what, self.why, self.tries = what, why, tries
        super().__init__(f"{what} got no answer: {why} ({_times(tries)})")


class OutcomeUnknown(ClientError):
    """It is not known whether what was asked was done. It did not fail: never pay it in another way because of this.

    Make the same call again with `key`, at any later time: it is done once at most. `reference` is the payout's, by which it can be
    looked for. Both are None for the few calls that have neither; `what` says which call it was.
    """

    def __init__(self, what: str, why: str, tries: int, *, key: str | None, reference: str | None) -> None:
        self.what, self.why, self.tries = what, why, tries
        self.key, self.reference = key, reference
        named = [f"Idempotency-Key {key}" if key is not None else "", f"reference {reference}" if reference is not None else ""]
        names = ", ".join(name for name in named if name)
        ask = f"Ask again with the same {names}." if names else "Look whether it was done before you ask again."
        super().__init__(f"It is not known whether {what} was done: {why} ({_times(tries)}). {ask}")


class EventsMissing(ClientError):
    """The server told an event that does not follow on the one before: a number is missing between `after` and `number`."""

    def __init__(self, after: int, number: int) -> None:
        self.after, self.number = after, number
        super().__init__(f"event {number} was told where {after + 1} must come")


def _times(tries: int) -> str:
    return "1 try" if tries == 1 else f"{tries} tries"


PROBLEMS: Final[dict[str, type[Problem]]] = {
    "bad_request": BadRequest, "unauthorized": Unauthorized, "payouts_off": Denied, "payouts_denied": Denied, "not_found": NotFound,
    "method_not_allowed": BadRequest, "too_slow": BadRequest, "insufficient_funds": InsufficientFunds, "limit_reached": LimitReached, "bad_file": BadFile, "drifted": Drifted,
    "not_all_good": NotAllGood, "applied_before": AppliedBefore, "no_route": NoRoute,
    "below_minimum": BelowMinimum, "destination_retired": DestinationRetired, "wrong_state": WrongState, "too_many": WrongState,
    "no_such_events": WrongState, "resend_under_way": WrongState, "own_key": WrongState, "key_ended": WrongState,
    "too_large": BadRequest, "unsupported_media_type": BadRequest, "key_reused": KeyReused, "reference_reused": ReferenceReused,
    "too_many_requests": TooManyRequests, "not_begun": NotBegun, "internal_error": ServerFault, "outcome_unknown": ServerFault,
}  # fmt: skip
"""The class of each problem; one that is not listed is a plain `Problem`."""


def problem_of(told: Told, retry_after_s: float | None) -> Problem:
    """What was told, as the exception that it is."""
    return PROBLEMS.get(told.type.removeprefix(URN), Problem)(told, retry_after_s)
