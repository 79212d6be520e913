"""What commands that need a second person share: reading evidence, who asks, and telling a request. Lives here: no command."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from disburse.cli import show
from disburse.cli.mistakes import BadUsage
from disburse.cli.place import actor
from disburse.domain.handed_in import HandedIn, hand_in
from disburse.domain.identifiers import payout_id
from disburse.domain.money import Money
from disburse.domain.refusals import Refusal
from disburse.operations import approvals
from disburse.operations.approvals import Ask, Asked
from disburse.operations.operators import NeedsOperator, is_person
from disburse.storage.reports_requests import Told, one
from disburse.wiring import House

LARGEST_FILE: Final = 20_000_000
_GUID: Final = re.compile(r"\{?[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\}?|[0-9a-fA-F]{32}")


def read_evidence(given: str) -> HandedIn:
    """A text, or `@FILE`. Raises BadUsage, also for a file that cannot be read."""
    if not given.startswith("@"):
        if not given.strip():
            raise BadUsage("Evidence is a text, or @FILE.")
        return hand_in(given.encode("utf-8", "backslashreplace"))
    path = Path(given[1:])
    try:
        with path.open("rb") as file:
            raw = file.read(LARGEST_FILE + 1)
    except OSError as fault:
        why = fault.strerror or type(fault).__name__
        raise BadUsage(f"The evidence in {path} cannot be read: {why}. Name a file after @, or give a text without it.") from None
    if not raw or len(raw) > LARGEST_FILE:
        raise BadUsage(f"A file of evidence has 1 to {LARGEST_FILE:,} bytes.")
    return hand_in(raw, path.name)


def read_request(text: str) -> UUID:
    """A request's id."""
    if not _GUID.fullmatch(text):
        raise BadUsage("A request is named by its id, as `disburse approvals list` shows it.")
    return UUID(text)


async def person(house: House) -> str:
    """The person who acts. Raises NeedsOperator where nobody is named, and UnknownOperator."""
    who = await actor(house)
    if not is_person(who):
        raise NeedsOperator()
    return who


def new_request(house: House, shard: int) -> tuple[UUID, datetime]:
    """The id of a request, which carries its bucket, and the time of it."""
    now = house.world.clock.now()
    return payout_id(shard, now, house.world.random.bytes(10)), now


async def ask(house: House, shard: int, command: Ask) -> tuple[Asked, Told]:
    """Ask for something that needs a second yes. Raises the refusal."""
    asked = await house.database.run(lambda tx: approvals.ask(tx, shard, command))
    if isinstance(asked, Refusal):
        raise asked
    told = await house.database.snapshot(lambda tx: one(tx, shard, asked.request.request_id))
    if told is None:
        raise AssertionError("a request that was stored is not there")
    return asked, told


def for_scripts(told: Told) -> dict[str, Any]:
    """A request for scripts."""
    request, decision = told.request, told.decision
    return {
        "request_id": str(request.request_id),
        "kind": request.kind,
        "merchant_id": request.merchant_id,
        "login": told.login,
        "payout_id": str(request.origin_id) if request.kind == "resolve" else None,
        "attempt": request.attempt,
        "outcome": request.outcome,
        "reference": request.reference,
        "amount": Money(request.amount_minor, request.currency).text(),
        "currency": request.currency,
        "evidence": request.evidence,
        "evidence_sha256": request.evidence_digest.hex(),
        "evidence_bytes": request.evidence_bytes,
        "asked_at": show.stamp(request.at),
        "asked_by": request.actor,
        "asked_by_name": told.asker,
        "state": state(told),
        "answered_at": show.stamp(decision.at) if decision else None,
        "answered_by": decision.actor if decision else None,
        "answered_by_name": told.answerer,
        "effect": decision.effect if decision else None,
    }


def state(told: Told) -> str:
    """How a request stands: waiting, outdated, approved or refused."""
    if told.decision is not None:
        return told.decision.verdict
    return "outdated" if told.outdated else "waiting"


def in_words(told: Told) -> str:
    """What a request asks for."""
    request = told.request
    amount = Money(request.amount_minor, request.currency)
    match request.kind:
        case "resolve":
            return f"payout {request.origin_id} ({amount}), attempt {request.attempt}: {request.outcome}"
        case "reverse":
            return f"reverse the top-up {request.reference} of {amount}"
        case _:
            return f"withdraw {amount}, reference {request.reference}"


def tell(asked: Asked, told: Told, place_json: bool) -> None:
    """Say what became of asking."""
    if place_json:
        show.say_json({"request": for_scripts(told), "fresh": asked.fresh})
        return
    if asked.done:
        show.say(f"That was done before: {in_words(told)}. Nothing changed.")
        return
    show.say(f"{'Asked' if asked.fresh else 'Asked before'}: {in_words(told)}.")
    show.say(f"Nothing happens yet. A second person agrees: disburse approvals approve {told.request.request_id}")
