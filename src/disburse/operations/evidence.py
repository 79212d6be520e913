"""Evidence: what providers said becomes a row, and by one rule changes payouts, whoever heard it and however old it is.

`record` takes answers, inquiries and callbacks alike, and `weigh` what persons vouch for (`operations/approvals.py`): lock the
merchants, drop what was heard before (one row for each message, by its digest), apply `domain/evidence.py` message by message, write rows and changes in one transaction. So outcome,
money and event are one commit, and a second telling of anything changes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from disburse.domain.attempt import ASKABLE, Attempt, AttemptState
from disburse.domain.evidence import Case, Ruling, rule
from disburse.domain.identifiers import read_end_to_end_id
from disburse.domain.ledger import Reason
from disburse.domain.outcomes import Absent, Accepted, NotSent, Rejected, Returned, Settled, Verdict
from disburse.domain.payout import Payout, PayoutState
from disburse.domain.routing import Route
from disburse.domain.schedule import ask_in_s, try_again_in_s
from disburse.operations.evidence_facts import Facts, read_facts, stored_at
from disburse.operations.evidence_text import describe, fit_to_keep
from disburse.operations.once import Once
from disburse.operations.routing import Router
from disburse.storage import payouts
from disburse.storage.database import Transaction
from disburse.storage.unit import Unit


@dataclass(frozen=True, slots=True)
class Heard:
    """One message from or about a provider. `kind`: answer, inquiry, callback, lease (an owner fell silent), or person.

    `content` makes the same message the same when it comes again; `payout` (id, attempt, merchant) when it is known already.
    `asked_at`: of an answer to an inquiry, when the question was put, by the database's clock.
    `sent`: of the answer to a call, the payout and the attempt as its sender wrote them when it opened the attempt. A hopeful
    record takes them for true: the statement's guards decide whether anything happened to them since.
    `opened_at`: of the answer to a call, when the attempt was opened for that call. `two_step`: of what a two-step provider said.
    `repeatable`: of the answer to a call, whether others may send the same order again once they find its owner's lease over.
    """

    connector: str
    end_to_end_id: str
    kind: str
    verdict: Verdict
    at: datetime
    actor: str
    content: str = ""
    payout: tuple[UUID, int, int] | None = None
    asked_at: datetime | None = None
    sent: Once[tuple[Payout, Attempt]] | None = field(default=None, repr=False, compare=False)
    opened_at: datetime | None = None
    two_step: bool = False
    repeatable: bool = False

    @property
    def digest(self) -> bytes:
        text = f"{self.connector}\n{self.kind}\n{self.verdict!r}\n{self.content}"
        return hashlib.sha256(text.encode("utf-8", "backslashreplace")).digest()[:16]


@dataclass(frozen=True, slots=True)
class Applied:
    """What a message changed: `effect` is nothing, repeated, unmatched, a contradiction's name, or the new payout state."""

    payout: Payout | None
    effect: str

    @property
    def contradicts(self) -> bool:
        return self.effect.startswith("frozen:")


async def record(
    tx: Transaction, shard: int, messages: Sequence[Heard], *, routes: Sequence[Route], router: Router | None = None,
    absence: Mapping[str, float] = {},
) -> list[Applied]:
    """Store each message and apply it. A message about an attempt we do not have is kept, to be matched later.

    `router` knows the rules by which a refused payout may go elsewhere; by default there are none.
    `absence`: after how many seconds two not-founds are final, by connector; a connector that is not named never is.
    """
    placed = await _place(tx, shard, [_storable(message) for message in messages])
    unit = await Unit.lock(tx, shard, [message.payout[2] for message in placed if message.payout])
    results = await weigh(unit, placed, router=router or Router(routes), absence=absence)
    await unit.write()
    return results


async def weigh(
    unit: Unit, placed: Sequence[Heard], *, router: Router, absence: Mapping[str, float] = {}
) -> list[Applied]:
    """Apply messages whose payouts are known, under the lock that the unit holds. The caller writes the unit."""
    tx, shard = unit.tx, unit.shard
    found = await _found(tx, shard, placed)
    placed = [_apart(message, found) for message in placed]
    facts = await read_facts(tx, shard, placed, found, absence)
    if facts.missed:
        apart = [facts.told_apart(message) for message in placed]
        placed = [replace(m, content=f"{m.content}\n{more}") if more else m for m, more in zip(placed, apart, strict=True)]
    known = await _known(tx, shard, [message for message in placed if not _is_first_answer(message, found)])
    refused = await _refusals(tx, shard, placed)
    returns = await _returns(tx, shard, placed)
    changes = _Changes(unit, found, router, refused, returns, facts)
    results: list[Applied] = []
    for message in placed:
        key = (message.end_to_end_id, message.digest)
        where = message.payout
        if key in known:
            results.append(Applied(found[where[:2]][0] if where and where[:2] in found else None, "repeated"))
            continue
        known.add(key)
        results.append(changes.apply(message, key[1]))
    changes.add_rows()
    return results


async def _found(
    tx: Transaction, shard: int, placed: Sequence[Heard]
) -> dict[tuple[UUID, int], tuple[Payout, Attempt]]:
    """Payouts and attempts that are spoken of, as they stand; of an answer to its own call a hopeful record needs no look."""
    found, unseen = {}, []
    for message in placed:
        if message.payout is None:
            continue
        seen = message.sent.take() if tx.hopeful and message.sent is not None else None
        if seen is not None:
            found[message.payout[:2]] = seen
        else:
            unseen.append(message.payout[:2])
    looked_at = await payouts.with_attempts(tx, shard, unseen) if unseen else {}
    return looked_at | found


def _storable(message: Heard) -> Heard:
    """The message with its texts made fit to be kept: a provider can say what no column takes, and must be heard all the same."""
    verdict, identifier = message.verdict, fit_to_keep(message.end_to_end_id)
    texts = {name: value for name in verdict.__match_args__ if isinstance(value := getattr(verdict, name), str)}
    kept: dict[str, Any] = {name: fit_to_keep(value) for name, value in texts.items()}
    if kept == texts and identifier == message.end_to_end_id:
        return message
    return replace(message, verdict=replace(verdict, **kept), end_to_end_id=identifier)


async def _place(tx: Transaction, shard: int, messages: Sequence[Heard]) -> list[Heard]:
    """Find the payouts of messages that carry only an end-to-end id. Read without a lock: these facts never change."""
    asked = {}
    for message in messages:
        if message.payout is None:
            parts = read_end_to_end_id(message.end_to_end_id)
            if parts is not None:
                asked[message.end_to_end_id] = parts
    if not asked:
        return list(messages)
    found = await payouts.by_base(tx, shard, sorted({base for _, base, _ in asked.values()}))
    placed = []
    for message in messages:
        parts = asked.get(message.end_to_end_id)
        payout = found.get(parts[1]) if parts and message.payout is None else None
        if payout is not None and parts is not None and 0 < parts[2] <= payout.attempts:
            message = replace(message, payout=(payout.payout_id, parts[2], payout.merchant_id))
        placed.append(message)
    return placed


def _is_first_answer(message: Heard, found: dict[tuple[UUID, int], tuple[Payout, Attempt]]) -> bool:
    """Whether this can only be news: whatever is heard of an open attempt ends its being open, so nothing was heard yet."""
    if message.kind != "answer" or message.payout is None or message.payout[:2] not in found:
        return False
    payout, attempt = found[message.payout[:2]]
    of_this_call = not _of_another_sending(message, attempt)
    return attempt.state is AttemptState.OPEN and payout.frozen is None and of_this_call


async def _known(tx: Transaction, shard: int, messages: Sequence[Heard]) -> set[tuple[str, bytes]]:
    """Which of these messages are stored already."""
    if not messages:
        return set()
    rows = await tx.fetch(
        """SELECT e.end_to_end_id, e.digest FROM unnest($2::text[], $3::bytea[]) AS d (id, digest)
           JOIN evidence e ON e.shard = $1 AND e.end_to_end_id = d.id AND e.digest = d.digest""",
        shard,
        [message.end_to_end_id for message in messages],
        [message.digest for message in messages],
    )
    return {(row[0], row[1]) for row in rows}


async def _refusals(tx: Transaction, shard: int, messages: Sequence[Heard]) -> dict[UUID, set[str]]:
    """Connectors that refused earlier attempts, for messages that may send a payout elsewhere."""
    which = [m.payout[0] for m in messages if m.payout and isinstance(m.verdict, Rejected) and m.verdict.elsewhere]
    if not which:
        return {}
    return await payouts.refused_by(tx, shard, which)


async def _returns(tx: Transaction, shard: int, messages: Sequence[Heard]) -> set[tuple[UUID, str]]:
    """Phases of the returns booked already: a provider's event counts once, however it is told and in whatever words."""
    which = [m.payout[0] for m in messages if m.payout and isinstance(m.verdict, Returned)]
    return await payouts.returns_booked(tx, shard, which) if which else set()


def _of_another_sending(message: Heard, attempt: Attempt) -> bool:
    """Whether this is no answer to the call that the attempt is open for, but to one that the database forgot.

    Of such an answer, as of that to a repeat, only "has it" and "paid" are believed: that one call was refused or not sent says
    nothing about the other, which may be under way.
    """
    another = message.opened_at is not None and message.opened_at != attempt.opened_at
    return another and not isinstance(message.verdict, Accepted | Settled)


def _of_one_request(message: Heard, attempt: Attempt) -> bool:
    """Whether this proves something of its own request alone, while others may have sent the order again since.

    They may once the attempt was heard of otherwise, its lapsed lease say, which ended its being open: the owner slept. A refusal that
    comes with the provider's own id of the order is about the order, whoever sent it.
    """
    if not message.repeatable or message.kind != "answer" or attempt.state is AttemptState.OPEN:
        return False
    verdict = message.verdict
    return isinstance(verdict, NotSent | Absent) or (isinstance(verdict, Rejected) and verdict.provider_reference is None)


def _apart(message: Heard, found: dict[tuple[UUID, int], tuple[Payout, Attempt]]) -> Heard:
    """An answer to another sending is a row of its own: the call under way may be answered in the same words."""
    seen = found.get(message.payout[:2]) if message.payout else None
    if seen is None or not _of_another_sending(message, seen[1]):
        return message
    return replace(message, content=f"{message.content}\nto the call of {message.opened_at}")


class _Changes:
    """Payouts and attempts as the messages change them, each written once with the state it had before."""

    def __init__(
        self,
        unit: Unit,
        found: dict[tuple[UUID, int], tuple[Payout, Attempt]],
        router: Router,
        refused: dict[UUID, set[str]],
        returns: set[tuple[UUID, str]],
        facts: Facts,
    ) -> None:
        self._unit = unit
        self._facts = facts
        self._attempts = {key: attempt for key, (_, attempt) in found.items()}
        self._payouts: dict[UUID, Payout] = {}
        for payout, _ in found.values():
            self._payouts.setdefault(payout.payout_id, payout)
        self._router = router
        self._refused = refused
        self._returns = returns
        self._payout_before: dict[UUID, PayoutState] = {}
        self._attempt_before: dict[tuple[UUID, int], AttemptState] = {}

    def apply(self, message: Heard, digest: bytes) -> Applied:
        key = message.payout[:2] if message.payout else None
        attempt = self._attempts.get(key) if key else None
        if key is None or attempt is None or attempt.connector != message.connector:
            return self._keep_unmatched(message, digest)
        payout = self._payouts[key[0]]
        case = self._case(payout, attempt, message)
        effect, clock_at = "nothing", stored_at(self._facts, message, attempt)
        of_another = _of_another_sending(message, attempt) or _of_one_request(message, attempt)
        if not of_another and not self._returned_before(payout, message):
            effect = self._change(payout, attempt, rule(case, message.verdict), message)
        self._store(message, digest, payout, attempt, effect, clock_at)
        return Applied(payout, effect)

    def _returned_before(self, payout: Payout, message: Heard) -> bool:
        if not isinstance(message.verdict, Returned):
            return False
        posting = payout.books.come_back(message.connector, payout.amount_minor, message.verdict.event_id)[0]
        return (payout.payout_id, posting.phase) in self._returns

    def _case(self, payout: Payout, attempt: Attempt, message: Heard) -> Case:
        connector = attempt.connector or ""
        another = False  # asked for by this one verdict alone
        if isinstance(message.verdict, Rejected) and message.verdict.elsewhere:
            tried = self._refused.get(payout.payout_id, set()) | {connector}
            another = self._router.may_go_elsewhere(payout, tried)
        return Case(
            books=payout.books,
            state=payout.state,
            frozen=payout.frozen is not None,
            attempt=attempt.number,
            attempt_state=attempt.state,
            connector=connector,
            doubt_turns=attempt.doubt_turns,
            returned_minor=payout.returned_minor,
            another_route=another,
            not_found_for_s=self._facts.apart_s(message),
            not_found_final_after_s=self._facts.absence.get(connector),
            live=self._facts.live.get(payout.payout_id, (None,))[0],
            suspended=self._facts.suspended.get(payout.payout_id, ()),
            contradictions=self._facts.contradictions.get((payout.payout_id, attempt.number), 0),
            may_be_sent=self._facts.may_be_sent(payout.payout_id),
        )

    def _change(self, payout: Payout, attempt: Attempt, ruling: Ruling, message: Heard) -> str:
        """Carry out a ruling; returns its effect in a word."""
        unit, at, actor = self._unit, message.at, message.actor
        if not (ruling.freeze or ruling.thaw or ruling.postings or ruling.attempt_state is not attempt.state):
            return "nothing"
        before = payout.state
        self._payout_before.setdefault(payout.payout_id, payout.state)
        self._attempt_before.setdefault((payout.payout_id, attempt.number), attempt.state)
        unit.post(ruling.postings, at, actor)
        if isinstance(message.verdict, Returned):
            self._returns |= {(payout.payout_id, p.phase) for p in ruling.postings if p.reason is Reason.RETURNED}
        kind = f"payout.{ruling.state}"
        if ruling.thaw:
            self._thaw(payout, attempt, message)
        if ruling.ends_live is not None:
            self._end_live(payout, ruling.ends_live, message)
        if ruling.freeze:
            kind, payout.frozen = "payout.frozen", ruling.freeze
        elif ruling.state is payout.state and ruling.attempt_state is AttemptState.ACCEPTED:
            kind = "payout.accepted"
        self._move_attempt(payout, attempt, ruling, message)
        payout.state = ruling.state
        payout.reason = ruling.reason if ruling.reason is not None and payout.final else payout.reason
        payout.returned_minor = ruling.returned_minor
        payout.updated_at = at
        payout.finished_at = (payout.finished_at or at) if payout.final else None
        if ruling.new_attempt:
            payout.attempts += 1
            unit.attempt(payout, try_again_in_s(payout.attempts - 1), actor)
        if not ruling.thaw or payout.state is not before:
            unit.tell(payout, kind, at, actor, attempt=attempt.number, detail=ruling.freeze or ruling.reason)
        if ruling.freeze:
            return f"frozen:{ruling.freeze}"
        return f"thawed:{payout.state}" if ruling.thaw else str(payout.state)

    def _thaw(self, payout: Payout, attempt: Attempt, message: Heard) -> None:
        self._unit.tell(
            payout, "payout.thawed", message.at, message.actor, attempt=attempt.number, detail=payout.frozen
        )
        payout.frozen = None

    def _end_live(self, payout: Payout, ended: AttemptState, message: Heard) -> None:
        """The live attempt ends beside the one that was spoken of: nothing of it is sent or asked about any more."""
        live, turns, _ = self._facts.live[payout.payout_id]
        row = (payout.payout_id, live.number, live.state, ended, "resolved", turns, None, message.at, None, None)
        self._unit.add("heard", row)

    def _move_attempt(self, payout: Payout, attempt: Attempt, ruling: Ruling, message: Heard) -> None:
        attempt.state, attempt.doubt_turns = ruling.attempt_state, ruling.doubt_turns
        if attempt.state not in ASKABLE:
            attempt.ended_at = attempt.ended_at or message.at
            attempt.reason = ruling.reason if ruling.reason is not None else attempt.reason
        if isinstance(message.verdict, Accepted | Settled | Rejected) and attempt.provider_reference is None:
            attempt.provider_reference = message.verdict.provider_reference or None  # the first stays: by it we ask and execute

    def _store(
        self, message: Heard, digest: bytes, payout: Payout, attempt: Attempt, effect: str, clock_at: datetime | None
    ) -> None:
        self._unit.add("evidence", (
            message.end_to_end_id, digest, self._unit.place(payout.merchant_id), payout.payout_id, attempt.number,
            message.connector, message.kind, type(message.verdict).__name__, describe(message.verdict), effect, message.at,
            message.actor, clock_at,
        ))  # fmt: skip

    def _keep_unmatched(self, message: Heard, digest: bytes) -> Applied:
        self._unit.add("strays", (
            message.end_to_end_id, digest, None, None, None, message.connector, message.kind,
            type(message.verdict).__name__, describe(message.verdict), "unmatched", message.at, message.actor, None,
        ))  # fmt: skip
        return Applied(None, "unmatched")

    def add_rows(self) -> None:
        for payout_id, before in self._payout_before.items():
            self._unit.move(self._payouts[payout_id], before)
        for (payout_id, number), before_attempt in self._attempt_before.items():
            one = self._attempts[payout_id, number]
            ask_in = ask_in_s(0, accepted=one.state is AttemptState.ACCEPTED) if one.state in ASKABLE else None
            self._unit.add("heard", (payout_id, number, before_attempt, one.state, one.reason, one.doubt_turns, ask_in,
                                     one.ended_at, one.provider_reference, one.opened_at))  # fmt: skip
