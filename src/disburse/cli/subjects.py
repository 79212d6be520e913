"""Payouts (and whatever else) that wait for the yes of persons, as the command line tells them. Lives here: no command.

`disburse approvals` is one place for these and for corrections (`second_yes.py`); this file has the former's words.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from disburse.cli import show
from disburse.cli.mistakes import BadUsage
from disburse.cli.second_yes import person
from disburse.domain.identifiers import shard_of_payout
from disburse.domain.refusals import Refusal
from disburse.operations.awaiting import ENDS
from disburse.operations.policies import Answered, Say, say
from disburse.storage.database import Transaction
from disburse.storage.reports_approvals import Told, told
from disburse.wiring import House

SHORTEST_DIGEST = 8


async def read_subject(house: House, subject: UUID) -> list[Told]:
    """All that was ever asked about a subject, the latest first; nothing for what is no subject."""

    async def work(tx: Transaction) -> list[Told]:
        return await told(tx, subject=subject)

    return await house.database.snapshot(work)


async def answer(house: House, one: Told, yes: bool, why: str, seen: str | None) -> Answered:
    """Say yes or no to what the digest `seen` shows. Raises BadUsage where none is named, and the refusal."""
    if yes and (seen is None or len(seen) < SHORTEST_DIGEST):
        raise BadUsage(
            f"Say what you saw: look at it with `disburse approvals show {one.need.subject_id}` and name its digest, "
            f"at least {SHORTEST_DIGEST} characters, with --digest."
        )
    # A beginning of a digest that is not this one's is another digest: the operation says that it has changed.
    digest = one.need.digest if seen is None or one.need.digest.hex().startswith(seen.lower()) else bytes(32)
    who, at, subject = await person(house), house.world.clock.now(), one.need.subject_id
    command = Say(subject, digest, yes, why, at, who)
    done = await house.database.run(lambda tx: say(tx, shard_of_payout(subject), command, ENDS))
    if isinstance(done, Refusal):
        raise done
    if done.effect == "queued":
        house.desk.on_due()
    return done


def for_scripts(one: Told) -> dict[str, Any]:
    """A subject for scripts."""
    need = one.need
    return {
        "subject_id": str(need.subject_id),
        "kind": need.kind,
        "merchant_id": need.merchant_id,
        "login": one.login,
        "what": need.summary,
        "digest": need.digest.hex(),
        "needed": need.needed,
        "yes": len([vote for _, vote in one.votes if vote.verdict == "yes"]),
        "made_by": need.maker,
        "made_by_name": one.maker,
        "asked_at": show.stamp(need.at),
        "state": one.state,
        "answers": [
            {"by": vote.actor, "name": name, "verdict": vote.verdict, "why": vote.why, "at": show.stamp(vote.at)} for name, vote in one.votes
        ],
    }


def print_one(one: Told) -> None:
    """A subject for people."""
    need = one.need
    show.facts(
        [
            ("asks", need.summary),
            ("merchant", f"{need.merchant_id} {one.login}"),
            ("made by", f"{one.maker} ({need.maker}), {show.moment(need.at)}"),
            ("needs", f"{need.needed} operators, none of them who made it"),
            ("digest", need.digest.hex()),
            ("state", one.state),
        ],
        title=f"{need.kind.capitalize()} {need.subject_id}",
    )
    if one.votes:
        show.table(
            ("answer", "by", "when", "why"), [(vote.verdict, name, show.moment(vote.at), vote.why) for name, vote in one.votes]
        )


def print_list(rows: list[Told], now: float) -> None:
    """Subjects for people, a line each."""
    show.table(
        ("id", "merchant", "what", "made by", "age", "yes", "state", "digest"),
        [
            (one.need.subject_id, one.login, one.need.summary, one.maker, show.age(now - one.need.at.timestamp()),
             f"{sum(vote.verdict == 'yes' for _, vote in one.votes)} of {one.need.needed}", one.state, one.need.digest.hex()[:12])
            for one in rows
        ],
        right=("age",),
    )  # fmt: skip


def print_answer(one: Told, done: Answered) -> None:
    """What an answer came to."""
    if done.effect == "waiting":
        show.say(f"Your yes is kept: {one.need.summary}. {done.standing.need.needed - len(done.standing.yes)} more must agree.")
    else:
        show.say(f"{one.need.summary}: {done.effect.replace('_', ' ')}.")
