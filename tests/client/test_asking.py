"""One call through all its tries: what is asked again, what is waited for, and which of the three ends it comes to."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from disburse.client import (
    NEVER,
    BadRequest,
    InsufficientFunds,
    KeyReused,
    NoAnswer,
    NotBegun,
    OutcomeUnknown,
    Payout,
    Problem,
    Retries,
    ServerFault,
    TooManyRequests,
    Unauthorized,
)
from disburse.client.asking import Asking, Came, Done, Lost, NeverLeft, Pause
from disburse.client.calls import Call, read, write
from disburse.client.errors import PROBLEMS
from disburse.protocols.rest_event_messages import NewApiKey, Removed
from disburse.protocols.rest_messages import Balances
from disburse.protocols.rest_problems import KINDS, PROBLEM, Refused, encode_problem

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
CALM = Retries(tries=3, first_pause_s=1.0, longest_pause_s=8.0, jitter=lambda: 1.0)
GONE, CUT = NeverLeft("the connection is refused"), Lost("the connection broke")
PAGE = Came(502, "text/html", b"<h1>Bad gateway</h1>")
PAYOUT = {
    **dict.fromkeys(Payout.__struct_fields__),
    "id": "1", "reference": "w", "surface": "own", "state": "queued", "final": False, "frozen": False, "rail": "card", "destination": "4*1",
    "amount": {"amount": "1", "currency": "RUB"}, "fee": {"amount": "0", "currency": "RUB"}, "returned": None, "reason": None, "attempts": 1,
    "created_at": "2026-11-21T12:00:00Z", "updated_at": "2026-11-21T12:00:00Z", "finished_at": None, "expires_at": None, "later_field": 1,
}  # fmt: skip
MADE = Came(201, "application/json", msgspec.json.encode(PAYOUT))

KEYED = write("execute", Payout, "p", key="k-1", reference="w")
READS = read("balances", Balances)
TWICE = write("webhook_remove", Removed, "w")


def no(name: str, retry_after: str | None = None) -> Came:
    """The server's answer that says no."""
    answer = encode_problem(Refused(name))
    return Came(answer.status, answer.content_type, answer.body, retry_after)


def end(call: Call[Any], *heard: Came | NeverLeft | Lost, retries: Retries = CALM) -> tuple[Any, list[float]]:
    """What these tries come to, and the pauses between them. All of them must be used up."""
    asking, pauses = Asking(call, retries), list[float]()
    for number, one in enumerate(heard, 1):
        try:
            step = asking.hear(one, NOW)
        except (Problem, NoAnswer, OutcomeUnknown) as error:
            assert number == len(heard), "it ended before"
            return error, pauses
        if isinstance(step, Done):
            assert number == len(heard), "it ended before"
            return step.value, pauses
        assert isinstance(step, Pause)
        pauses.append(step.seconds)
    raise AssertionError("it goes on")


@pytest.mark.parametrize(
    "call, heard, kind",
    [
        (KEYED, [MADE], Payout),
        (KEYED, [CUT, MADE], Payout),
        (KEYED, [GONE, CUT, MADE], Payout),
        (KEYED, [PAGE, MADE], Payout),
        (KEYED, [no("outcome_unknown"), MADE], Payout),
        (KEYED, [no("not_begun"), no("too_many_requests", "2"), MADE], Payout),
        # nothing was done, and that is certain
        (KEYED, [GONE, GONE, GONE], NoAnswer),
        (KEYED, [no("insufficient_funds")], InsufficientFunds),
        (KEYED, [no("not_begun")] * 3, NotBegun),
        (KEYED, [GONE, no("too_many_requests"), no("too_many_requests")], TooManyRequests),
        (KEYED, [GONE, no("unauthorized")], Unauthorized),
        # a later "no" settles an earlier doubt only where the server looked the key up before it
        (KEYED, [CUT, no("insufficient_funds")], InsufficientFunds),
        (KEYED, [CUT, no("key_reused")], KeyReused),
        (KEYED, [CUT, no("unauthorized")], OutcomeUnknown),
        (KEYED, [CUT, no("bad_request")], OutcomeUnknown),
        (KEYED, [CUT, no("not_found")], OutcomeUnknown),
        (KEYED, [CUT, GONE, GONE], OutcomeUnknown),
        (KEYED, [CUT, no("not_begun"), no("too_many_requests")], OutcomeUnknown),
        # nobody knows
        (KEYED, [CUT, CUT, CUT], OutcomeUnknown),
        (KEYED, [PAGE, PAGE, PAGE], OutcomeUnknown),
        (KEYED, [no("internal_error")], OutcomeUnknown),
        (KEYED, [no("outcome_unknown")] * 3, OutcomeUnknown),
        (KEYED, [Came(200, "application/json", b"{}")], OutcomeUnknown),
        (KEYED, [Came(200, "text/html", b"Sign in to this network")], OutcomeUnknown),
        (KEYED, [Came(302, "text/html", b"")], OutcomeUnknown),
        (KEYED, [Came(403, "text/html", b"Forbidden")], OutcomeUnknown),
        (KEYED, [Came(409, PROBLEM, b'{"type":"')], OutcomeUnknown),
        # what would be done a second time is asked again only if the first try did nothing
        (TWICE, [GONE, no("not_begun"), CUT], OutcomeUnknown),
        (TWICE, [CUT], OutcomeUnknown),
        (TWICE, [PAGE], OutcomeUnknown),
        (TWICE, [no("outcome_unknown")], OutcomeUnknown),
        # what only reads is never in doubt
        (READS, [CUT, CUT, CUT], NoAnswer),
        (READS, [CUT, no("unauthorized")], Unauthorized),
        (READS, [PAGE, PAGE, Came(200, "application/json", b"[")], NoAnswer),
        (READS, [no("internal_error")], ServerFault),
        (READS, [no("bad_request")], BadRequest),
    ],
)
def test_an_end(call: Call[Any], heard: list[Came | NeverLeft | Lost], kind: type[object]) -> None:
    """Each row of tries comes to this end, and not before; whoever does not know is told the key and the reference."""
    found, pauses = end(call, *heard)
    assert type(found) is kind and len(pauses) == len(heard) - 1
    if isinstance(found, OutcomeUnknown):
        assert (found.key, found.reference, found.tries) == (call.key, call.reference, len(heard))
        assert all(name in str(found) for name in (call.key, call.reference, call.what) if name)


def test_pauses() -> None:
    """Pauses double up to the longest; `Retry-After` is waited for in full; one that is too long is not waited for at all."""
    many = Retries(tries=6, first_pause_s=1.0, longest_pause_s=4.0, jitter=lambda: 1.0)
    assert end(KEYED, *[CUT] * 6, retries=many)[1] == [1.0, 2.0, 4.0, 4.0, 4.0]
    assert end(KEYED, *[CUT] * 3, retries=Retries(tries=3, first_pause_s=1.0, jitter=lambda: 0.0))[1] == [0.5, 1.0]
    assert end(KEYED, no("not_begun", "3"), MADE)[1] == [4.0]
    assert end(KEYED, no("not_begun", "Sat, 21 Nov 2026 12:00:05 GMT"), MADE)[1] == [6.0]
    told, pauses = end(KEYED, no("too_many_requests", "9"))
    assert (type(told), told.retry_after_s, pauses) == (TooManyRequests, 9.0, [])
    assert type(end(KEYED, CUT, retries=NEVER)[0]) is OutcomeUnknown


def test_every_problem_has_a_class() -> None:
    """Each problem that the server may tell is an exception of its own kind, with what it said."""
    assert set(PROBLEMS) == set(KINDS)
    (error, _) = end(READS, no("wrong_state"))
    assert (error.status, error.name) == (409, "wrong_state") and error.next == KINDS["wrong_state"].next
    (error, _) = end(READS, Came(409, PROBLEM, b'{"type":"urn:disburse:problem:new","title":"t","status":409,"detail":"d","next":"n"}'))
    assert (type(error), error.name, str(error)) == (Problem, "new", "409 new: d")


def test_what_is_sent() -> None:
    """What was left out is not sent, an id cannot leave its place in the path, and a path that takes a key has one."""
    assert write("api_key_add", Removed, body=NewApiKey(name="payroll"), key="k").body == b'{"name":"payroll"}'
    assert read("get", Payout, "../../x?y").path == "/v1/payouts/..%2F..%2Fx%3Fy"
    with pytest.raises(ValueError, match="an id"):
        read("get", Payout, "")
    for key in ("", "a b", 'a"b', "k\r\nX: y", "ключ", "k" * 256):
        with pytest.raises(ValueError, match="an Idempotency-Key"):
            write("create", Payout, key=key)
    with pytest.raises(AssertionError):
        write("create", Payout)
