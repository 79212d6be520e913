"""`disburse in-doubt`: money that may have moved or not, and payouts that are frozen. Lives here: the list, and asking for an end."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from cyclopts import Parameter

from disburse.cli import show
from disburse.cli.mistakes import BadUsage
from disburse.cli.place import HERE, Place, group, run
from disburse.cli.second_yes import ask, new_request, person, read_evidence, tell
from disburse.domain.money import Money
from disburse.operations.approvals import Asked, Resolve
from disburse.operations.explain import find_payout
from disburse.operations.resolutions import OUTCOMES
from disburse.storage.reports_payout import Doubt, Doubtful, in_doubt
from disburse.storage.reports_requests import Frozen, Told, frozen
from disburse.wiring import House

app = group("in-doubt")


@app.command
def resolve(
    payout: str,
    /,
    *,
    outcome: Annotated[str, Parameter(help="paid: the payee has the money; not-moved: the payee has nothing of it.")],
    evidence: Annotated[str, Parameter(help="What shows it: a text, or @FILE. The second person reads it.")],
    attempt: Annotated[int | None, Parameter(help="The attempt that paid, where several may have.")] = None,
    place: Place = HERE,
) -> None:
    """Ask that a payout in doubt, or a frozen one, end so. It takes effect when a second person agrees.

    Parameters
    ----------
    payout:
        Its GUID, its UnitPay payoutId, or MERCHANT:REFERENCE.
    """
    if outcome not in OUTCOMES:
        raise BadUsage(f"--outcome is {' or '.join(OUTCOMES)}.")
    if attempt is not None and not 1 <= attempt <= 999_999:
        raise BadUsage("--attempt is the number of an attempt, from 1.")
    handed_in = read_evidence(evidence)

    async def work(house: House) -> tuple[Asked, Told]:
        who = await person(house)
        found = await find_payout(house.desk, payout)
        identifier, now = new_request(house, found.shard)
        command = Resolve(identifier, found.merchant_id, found.payout_id, outcome, attempt, handed_in, now, who)
        return await ask(house, found.shard, command)

    tell(*run(place, work), place.json)


@app.command(name="list")
def list_all(
    *,
    limit: Annotated[int, Parameter(help="Show so many, the oldest first; sums are of all.")] = 100,
    place: Place = HERE,
) -> None:
    """List payouts whose outcome nobody knows yet (sum, age, provider, next question), and frozen ones, which wait for persons."""
    if not 1 <= limit <= 1_000_000:
        raise BadUsage("--limit is 1 to 1,000,000.")

    async def work(house: House) -> tuple[list[Doubtful], list[Doubt], tuple[int, list[Frozen]], datetime]:
        sums, rows = await house.database.snapshot(lambda tx: in_doubt(tx, limit))
        cold = await house.database.snapshot(lambda tx: frozen(tx, limit))
        return sums, rows, cold, house.world.clock.now()

    sums, rows, (count, cold), now = run(place, work)
    if place.json:
        show.say_json(_for_scripts(sums, rows, now) | _frozen_for_scripts(count, cold, now))
        return
    if not sums and not count:
        show.say("Nothing is in doubt.")
        return
    if sums:
        _print_doubts(sums, rows, now)
    if count:
        _print_frozen(count, cold, now)


def _print_doubts(sums: list[Doubtful], rows: list[Doubt], now: datetime) -> None:
    shown = [
        (str(one.payout_id), one.login, one.reference or "", Money(one.amount_minor, one.currency),
         f"{one.rail} {one.display}", one.connector, show.age((now - one.since).total_seconds()), _next(one, now))
        for one in rows
    ]  # fmt: skip
    show.table(
        ("payout", "merchant", "reference", "amount", "to", "provider", "age", "next question"),
        shown,
        right=("amount", "age"),
    )
    for one in sums:
        oldest = show.age((now - one.since).total_seconds())
        show.say(
            f"In doubt at {one.connector}: {Money(one.amount_minor, one.currency)} in {one.count:,} payouts, the oldest for {oldest}."
        )
    hidden = sum(one.count for one in sums) - len(rows)
    if hidden:
        show.say(f"{hidden:,} more: see them with --limit.")
    show.say("Providers are asked without end; nothing is sent again without proof. See one: disburse explain PAYOUT")


def _print_frozen(count: int, rows: list[Frozen], now: datetime) -> None:
    show.table(
        ("frozen payout", "merchant", "reference", "amount", "state", "why", "age", "request"),
        [
            (str(one.payout_id), one.login, one.reference or "", Money(one.amount_minor, one.currency), one.state, one.why,
             show.age((now - one.since).total_seconds()), one.waits or "")
            for one in rows
        ],
        right=("amount", "age"),
    )  # fmt: skip
    hidden = f" {count - len(rows):,} more: see them with --limit." if count > len(rows) else ""
    show.say(f"Frozen: {count:,}.{hidden} Two persons end each, on evidence: disburse in-doubt resolve --help")


def _frozen_for_scripts(count: int, rows: list[Frozen], now: datetime) -> dict[str, object]:
    return {
        "frozen_count": count,
        "frozen": [
            {
                "payout_id": str(one.payout_id), "merchant_id": one.merchant_id, "login": one.login, "reference": one.reference,
                "amount": Money(one.amount_minor, one.currency).text(), "currency": one.currency, "rail": one.rail,
                "destination": one.display, "state": one.state, "why": one.why, "since": show.stamp(one.since),
                "age_s": round((now - one.since).total_seconds(), 1), "request_id": str(one.waits) if one.waits else None,
            }
            for one in rows
        ],
    }  # fmt: skip


def _next(one: Doubt, now: datetime) -> str:
    if one.frozen is not None:
        return f"none: frozen ({one.frozen})"
    if one.ask_at is None:
        return "none"
    seconds = (one.ask_at - now).total_seconds()
    return f"in {show.age(seconds)}" if seconds >= 1 else "now"


def _for_scripts(sums: list[Doubtful], rows: list[Doubt], now: datetime) -> dict[str, object]:
    return {
        "sums": [
            {
                "connector": one.connector, "currency": one.currency, "count": one.count,
                "amount": Money(one.amount_minor, one.currency).text(), "oldest_s": round((now - one.since).total_seconds(), 1),
            }
            for one in sums
        ],
        "in_doubt": [
            {
                "payout_id": str(one.payout_id), "merchant_id": one.merchant_id, "login": one.login, "reference": one.reference,
                "amount": Money(one.amount_minor, one.currency).text(), "currency": one.currency, "rail": one.rail,
                "destination": one.display, "connector": one.connector, "end_to_end_id": one.end_to_end_id,
                "since": show.stamp(one.since), "age_s": round((now - one.since).total_seconds(), 1), "asked": one.asked,
                "ask_at": show.stamp(one.ask_at), "frozen": one.frozen,
            }
            for one in rows
        ],
    }  # fmt: skip
