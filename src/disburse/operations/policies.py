"""Policies of approval: what a list of payouts needs, who has said yes to a digest, and saying it.

A *subject* is what is agreed to: one payout, or a registry. Whoever makes it asks `persons_needed` and, if anybody is needed, notes
that (`ask`): a row with the digest of all that persons are shown. Each of them says yes or no to that digest, once (`say`); the maker
cannot. Enough yeses, or one no, end it, in the same transaction and under the merchant's lock: what happens then is the subject's own
matter (`Ends`). A yes counts for the digest that it names and for no other, so whatever is changed is asked anew.

How a payout goes on that waits for this is `awaiting.py`'s.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from disburse.domain.handed_in import without_cards
from disburse.domain.merchant import Merchant
from disburse.domain.payout import Payout
from disburse.domain.policies import Item, persons_for, policies_of
from disburse.domain.refusals import Refusal
from disburse.operations.operators import NeedsOperator, is_person
from disburse.storage import approvals
from disburse.storage.approvals import Need, Vote
from disburse.storage.database import Transaction
from disburse.storage.unit import Unit

__all__ = ["Answered", "Ends", "Item", "Need", "Say", "Standing", "Vote", "ask", "payout_digest", "persons_needed", "say", "standing"]


class NoSuchSubject(Refusal):
    """Nothing with this id waits for an approval."""


class OwnWork(Refusal):
    """Who made it cannot agree to it: another person has to."""


class SaidBefore(Refusal):
    """This person has answered before."""


class ChangedSince(Refusal):
    """It is not what you were shown any more. Look at it again."""


def persons_needed(merchant: Merchant, items: Iterable[Item]) -> int:
    """How many operators must say yes to these payouts together, by the merchant's policies; 0: nobody. Reads nothing.

    Sums by rail and currency do as well as single payouts: a total is never below any of its parts.
    """
    return persons_for(policies_of(merchant.policies), items)


@dataclass(frozen=True, slots=True)
class Standing:
    """How a subject stands: what is needed, and who has said what of exactly that."""

    need: Need
    votes: tuple[Vote, ...]

    @property
    def yes(self) -> list[str]:
        """The persons who agreed, each once."""
        return [vote.actor for vote in self.votes if vote.verdict == "yes"]

    @property
    def refused(self) -> bool:
        return any(vote.verdict == "no" for vote in self.votes)

    @property
    def approved(self) -> bool:
        return not self.refused and len(set(self.yes) - {self.need.maker}) >= self.need.needed

    @property
    def ended(self) -> bool:
        return self.refused or self.approved


async def standing(tx: Transaction, shard: int, subject: UUID) -> Standing | None:
    """How a subject stands by its latest digest; None where nobody was ever needed. Locks nothing: lock before if it matters."""
    needs = await approvals.needs_of(tx, shard, subject)
    if not needs:
        return None
    return Standing(needs[-1], tuple(await approvals.votes_of(tx, shard, subject, needs[-1].digest)))


def ask(unit: Unit, need: Need) -> None:
    """Note, with all that this unit writes, that persons must agree to a subject. A subject is asked about once for each digest."""
    unit.add("approval_needs", (need.subject_id, unit.place(need.merchant_id), need.digest, need.kind, need.needed, need.summary,
                                need.maker, need.at, need.actor))  # fmt: skip


@dataclass(frozen=True, slots=True)
class Say:
    """One person's answer to what `digest` shows. `why`: the reason of a no."""

    subject_id: UUID
    digest: bytes
    yes: bool
    why: str
    at: datetime
    actor: str


@dataclass(frozen=True, slots=True)
class Answered:
    """How the subject stands after an answer. `effect`: what happened to it, in a word; `waiting` while more must agree."""

    standing: Standing
    effect: str


End = Callable[[Unit, Standing, Say], Awaitable[str | Refusal]]
"""What becomes of a subject once it is approved or refused (`Standing.approved`): done by the unit, told in a word."""
Check = Callable[[Unit, Need], Awaitable[Refusal | None]]
"""Whether a subject still is what its need's digest says, and may be answered."""
Ends = Mapping[str, tuple[Check, End]]
"""By the kind of subject."""


async def say(tx: Transaction, shard: int, command: Say, ends: Ends) -> Answered | Refusal:
    """Agree to a subject or refuse it. With the last yes that is needed, or the first no, it goes on or ends, here and now."""
    if not is_person(command.actor):
        return NeedsOperator()
    before = await standing(tx, shard, command.subject_id)
    if before is None:
        return NoSuchSubject()
    unit = await Unit.lock(tx, shard, [before.need.merchant_id])
    stands = await standing(tx, shard, command.subject_id) or before
    vote = Vote(command.digest, command.actor, "yes" if command.yes else "no", without_cards(command.why), command.at)
    mine = next((one for one in stands.votes if one.actor == command.actor), None)
    if mine is not None:
        ours = tx.rerun and (mine.verdict, mine.at) == (vote.verdict, vote.at)  # a run whose commit we did not hear of
        return Answered(stands, _effect(stands)) if ours else SaidBefore()
    if not hmac.compare_digest(command.digest, stands.need.digest):
        return ChangedSince()
    if command.yes and command.actor == stands.need.maker:
        return OwnWork()
    check, end = ends[stands.need.kind]
    changed = await check(unit, stands.need)
    if changed is not None:
        return changed
    after = Standing(stands.need, (*stands.votes, vote))
    unit.add("approvals", (command.subject_id, unit.place(stands.need.merchant_id), command.digest, command.actor, vote.verdict,
                           vote.why, command.at))  # fmt: skip
    effect = "waiting"
    if after.ended:
        ended = await end(unit, after, command)
        if isinstance(ended, Refusal):
            return ended
        effect = ended
    await unit.write()
    return Answered(after, effect)


def _effect(stands: Standing) -> str:
    return "refused" if stands.refused else "approved" if stands.approved else "waiting"


# --- what a payout shows ---


def payout_digest(payout: Payout, execute_at: datetime | None) -> bytes:
    """All of a payout that persons agree to; `verify` computes it again in SQL."""
    when = "" if execute_at is None else execute_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    parts = [
        "payout:1", str(payout.payout_id), str(payout.merchant_id), payout.rail, payout.currency, str(payout.amount_minor),
        str(payout.fee_minor), payout.fingerprint.hex(), payout.display, when,
    ]  # fmt: skip
    return hashlib.sha256("\n".join(parts).encode()).digest()


def need_of(payout: Payout, execute_at: datetime | None, persons: int, at: datetime, actor: str) -> Need:
    """What a payout needs. Its maker is who has it executed."""
    when = "" if execute_at is None else f", at {execute_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    summary = f"payout of {payout.amount} to {payout.rail} {payout.display}{when}"
    digest = payout_digest(payout, execute_at)
    return Need(payout.payout_id, digest, payout.merchant_id, "payout", persons, summary, actor, at, actor)
