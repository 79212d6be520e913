"""`disburse approvals`: what waits for the yes of persons: payouts above a policy, and corrections. Lives here: list, show, approve, refuse."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from cyclopts import Parameter

from disburse.cli import show, subjects
from disburse.cli.mistakes import BadUsage
from disburse.cli.place import HERE, Place, group, run
from disburse.cli.second_yes import for_scripts, in_words, person, read_request, state
from disburse.domain.identifiers import shard_of_payout
from disburse.domain.refusals import Refusal
from disburse.operations.approvals import Answer, NoSuchRequest, answer
from disburse.operations.policies import Answered
from disburse.storage import reports_approvals as approvals
from disburse.storage.database import Transaction
from disburse.storage.reports_requests import Told, latest, one, waiting
from disburse.wiring import House

app = group("approvals")
_LONGEST_WHY = 500


@app.command(name="list")
def list_all(
    *,
    everything: Annotated[bool, Parameter(name="--all", negative="", help="Those that were answered too, the latest first.")] = False,
    limit: Annotated[int, Parameter(help="Show so many.")] = 100,
    place: Place = HERE,
) -> None:
    """List what waits for the yes of persons: what, who asked, how long ago."""
    if not 1 <= limit <= 1_000_000:
        raise BadUsage("--limit is 1 to 1,000,000.")

    async def work(house: House) -> tuple[list[Told], list[approvals.Told], float]:
        async def read(tx: Transaction) -> tuple[list[Told], list[approvals.Told]]:
            asked = await (latest if everything else waiting)(tx, limit)
            return asked, await approvals.told(tx, waiting=not everything, limit=limit)

        return *await house.database.snapshot(read), house.world.clock.now().timestamp()

    rows, waits, now = run(place, work)
    if place.json:
        show.say_json({"requests": [for_scripts(told) for told in rows], "approvals": [subjects.for_scripts(one) for one in waits]})
        return
    if not rows and not waits:
        show.say("Nothing was ever asked for." if everything else "Nothing waits for the yes of a person.")
        return
    if waits:
        subjects.print_list(waits, now)
        show.say("See one whole: disburse approvals show ID. Agree: disburse approvals approve ID --digest DIGEST")
    if not rows:
        return
    show.table(
        ("request", "merchant", "what", "asked by", "age", "state"),
        [
            (told.request.request_id, told.login, in_words(told), told.asker,
             show.age(now - told.request.at.timestamp()), _ended(told))
            for told in rows
        ],
        right=("age",),
    )  # fmt: skip
    show.say("See one with its evidence: disburse approvals show REQUEST")


def _ended(told: Told) -> str:
    return f"{state(told)} by {told.answerer}" if told.decision is not None else state(told)


@app.command(name="show")
def show_one(request: str, /, *, place: Place = HERE) -> None:
    """Show a request with its evidence, or a payout with what was agreed to, and the answers.

    Parameters
    ----------
    request:
        Its id, or the payout's.
    """
    identifier = read_request(request)

    async def work(house: House) -> Told | list[approvals.Told]:
        return await subjects.read_subject(house, identifier) or await _read(house, identifier)

    told = run(place, work)
    if isinstance(told, list):
        if place.json:
            show.say_json(subjects.for_scripts(told[0]))
        else:
            subjects.print_one(told[0])
        return
    if place.json:
        show.say_json(for_scripts(told))
        return
    _print(told)


async def _read(house: House, identifier: UUID) -> Told:
    told = await house.database.snapshot(lambda tx: one(tx, shard_of_payout(identifier), identifier))
    if told is None:
        raise NoSuchRequest()
    return told


def _print(told: Told) -> None:
    request, decision = told.request, told.decision
    show.facts(
        [
            ("asks", in_words(told)),
            ("merchant", f"{request.merchant_id} {told.login}"),
            ("asked by", f"{told.asker} ({request.actor}), {show.moment(request.at)}"),
            ("evidence", request.evidence or "none"),
            ("of", f"{request.evidence_bytes} bytes, SHA-256 {request.evidence_digest.hex()}"),
            ("state", state(told)),
            ("answered by", f"{told.answerer} ({decision.actor}), {show.moment(decision.at)}" if decision else None),
            ("effect", decision.effect if decision else None),
        ],
        title=f"Request {request.request_id}",
    )


@app.command
def approve(
    request: str,
    /,
    *,
    digest: Annotated[str | None, Parameter(help="Of a payout: the digest of what you saw, or its first characters.")] = None,
    place: Place = HERE,
) -> None:
    """Agree to a request or a payout: with the last yes that is needed it happens now. DISBURSE_OPERATOR says who you are.

    Parameters
    ----------
    request:
        Its id, or the payout's.
    """
    _answer(request, True, "", place, digest)


@app.command
def refuse(
    request: str,
    /,
    *,
    why: Annotated[str, Parameter(help="The reason, kept with the request.")] = "",
    place: Place = HERE,
) -> None:
    """Refuse a request: nothing happens, and it can be asked for again. Refuse a payout: it is cancelled. Who asked may do so too.

    Parameters
    ----------
    request:
        Its id, or the payout's.
    """
    if len(why) > _LONGEST_WHY or not (why == "" or why.isprintable()):
        raise BadUsage(f"A reason has at most {_LONGEST_WHY} printable characters.")
    _answer(request, False, why, place)


def _answer(request: str, yes: bool, why: str, place: Place, digest: str | None = None) -> None:
    identifier = read_request(request)

    async def work(house: House) -> Told | tuple[approvals.Told, Answered]:
        found = await subjects.read_subject(house, identifier)
        if found:
            done = await subjects.answer(house, found[0], yes, why, digest)
            return (await subjects.read_subject(house, identifier))[0], done
        who, at = await person(house), house.world.clock.now()
        command = Answer(identifier, yes, why, at, who)
        answered = await house.database.run(lambda tx: answer(tx, shard_of_payout(identifier), command))
        if isinstance(answered, Refusal):
            raise answered
        return await _read(house, identifier)

    told = run(place, work)
    if isinstance(told, tuple):
        if place.json:
            show.say_json({**subjects.for_scripts(told[0]), "effect": told[1].effect})
        else:
            subjects.print_answer(*told)
        return
    if place.json:
        show.say_json(for_scripts(told))
        return
    effect = told.decision.effect if told.decision is not None else ""
    if yes:
        show.say(f"Approved and done: {in_words(told)} ({effect}).")
    else:
        show.say(f"Refused: {in_words(told)}. Nothing happened.")
