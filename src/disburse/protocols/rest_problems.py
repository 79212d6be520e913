"""Every way in which `/v1` says no: its stable name, its HTTP status, and what to do next.

Lives here: the table. A name never changes its meaning; a program decides by it. May not live here: which refusal of ours has
which name (`api/rest_words.py`), anything of what was sent: a problem repeats no value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from disburse.protocols.rest_messages import FieldFault, Problem
from disburse.protocols.wire import WireAnswer

PROBLEM: Final = "application/problem+json"
URN: Final = "urn:disburse:problem:"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of problem. `sticks`: it is remembered with the Idempotency-Key, and told again for ever."""

    status: int
    title: str
    next: str
    sticks: bool = False


_AGAIN = "A repeat with this Idempotency-Key gets this same answer for ever. When the cause is gone, ask with a new key"
_UNDONE = "Nothing was done and nothing is remembered."

KINDS: Final[dict[str, Kind]] = {
    "bad_request": Kind(400, "The request is not well-formed.", f"{_UNDONE} Correct what `errors` names and send it again."),
    "bad_file": Kind(400, "The file is no registry.", f"{_UNDONE} Mend the file, or say how it is to be read."),
    "unauthorized": Kind(401, "The API key is missing or wrong.", "Send `Authorization: Bearer` and your API key."),
    "payouts_off": Kind(403, "Payouts are switched off for you.", f"{_AGAIN}; the operator can switch them on.", True),
    "payouts_denied": Kind(403, "You may not make payouts.", f"{_AGAIN}; talk to the operator.", True),
    "not_found": Kind(404, "There is no such thing here.", "Look at the path and the id."),
    "method_not_allowed": Kind(405, "This path does not take this method.", "Look into /openapi.json."),
    "too_slow": Kind(408, "The body did not come in time.", f"{_UNDONE} Send it again."),
    "insufficient_funds": Kind(409, "There is too little money.", f"{_AGAIN} and the same reference, after a top-up.", True),
    "limit_reached": Kind(
        409, "A limit leaves no room for this payout.", f"{_AGAIN} and the same reference; /v1/limits tells what is left.", True,
    ),
    "no_route": Kind(409, "Nobody carries such a payout.", f"{_AGAIN}; /v1/rails tells what can be paid.", True),
    "below_minimum": Kind(409, "The amount is too small for this rail.", f"{_AGAIN}; ask the operator for the minimum.", True),
    "destination_retired": Kind(409, "The payee is not paid there any more.", f"{_AGAIN} and another of the payee's destinations.", True),
    "wrong_state": Kind(409, "The payout's state does not allow this.", "Get the payout: it is as it stands there.", True),
    "too_many": Kind(409, "There are as many as there may be.", f"Remove or disable one that is not used. {_AGAIN}.", True),
    "no_such_events": Kind(409, "There are no such events.", f"Look at /v1/events: `detail` tells which there are. {_AGAIN}.", True),
    "resend_under_way": Kind(
        409, "Events are being sent once more already.", f"Wait until they were sent, or ask for them at /v1/events. {_AGAIN}.", True,
    ),
    "own_key": Kind(409, "A key cannot end itself.", "Use another API key for this; or rotate this one, with an overlap.", True),
    "key_ended": Kind(409, "The key ended.", "Make a new one.", True),
    "drifted": Kind(409, "This is not what was planned.", f"{_UNDONE} Plan the file again, look at the plan, and apply that."),
    "not_all_good": Kind(409, "Some rows cannot be paid.", f"{_UNDONE} Mend the file and plan it again, or apply with `only_good`."),
    "applied_before": Kind(409, "The same rows were applied before.", f"{_UNDONE} Look at that registry; `again` needs an operator's yes."),
    "too_large": Kind(413, "The body is too large.", f"{_UNDONE} Send less."),
    "unsupported_media_type": Kind(415, "The body is not plain JSON.", "Send `Content-Type: application/json`, not compressed."),
    "key_reused": Kind(
        422, "This Idempotency-Key belongs to another request.", "Use a new key for a new request; the first one was carried out.",
    ),
    "reference_reused": Kind(
        422, "This reference belongs to another payout.", "Get it by its reference. Use a new one only for another obligation.", True,
    ),
    "too_many_requests": Kind(429, "There are too many requests.", f"{_UNDONE} Wait as long as `Retry-After` says, then send it again."),
    "internal_error": Kind(
        500, "Something is wrong here.",
        "What was asked may have been done. Repeat it with the same Idempotency-Key or reference: it is done once at most.",
    ),
    "not_begun": Kind(503, "There is too much to do.", "Nothing was done. Send it again, with the same Idempotency-Key or reference."),
    "outcome_unknown": Kind(
        503, "Whether this was done is not known.", "Repeat it with the same Idempotency-Key or reference: it is done once at most.",
    ),
}  # fmt: skip


class Refused(Exception):
    """The request gets a problem. `faults` name fields; `after_s`: ask again after so many seconds, not sooner."""

    def __init__(self, name: str, detail: str = "", faults: Sequence[FieldFault] = (), *, after_s: int | None = None) -> None:
        self.name, self.detail, self.faults, self.after_s = name, detail or KINDS[name].title, tuple(faults), after_s
        super().__init__(f"{name}: {self.detail}")


def bad(field: str, why: str) -> Refused:
    """One field is wrong; '' is the request as a whole."""
    if not field:
        return Refused("bad_request", f"The request {why}.")
    return Refused("bad_request", f"`{field}` {why}.", (FieldFault(field=field, why=why),))


def encode_problem(refused: Refused) -> WireAnswer:
    """The answer that says no."""
    kind = KINDS[refused.name]
    problem = Problem(
        type=URN + refused.name,
        title=kind.title,
        status=kind.status,
        detail=refused.detail,
        next=kind.next,
        field=refused.faults[0].field if refused.faults else None,
        errors=list(refused.faults),
    )
    headers = (("retry-after", str(refused.after_s)),) if refused.after_s is not None else ()
    return WireAnswer(kind.status, PROBLEM, msgspec.json.encode(problem), headers)
