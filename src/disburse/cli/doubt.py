"""`disburse in-doubt`: money that may have moved or not. Lives here: the list."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from cyclopts import Parameter

from disburse.cli import show
from disburse.cli.mistakes import BadUsage
from disburse.cli.place import HERE, Place, group, run
from disburse.domain.money import Money
from disburse.storage.reports_payout import Doubt, Doubtful, in_doubt
from disburse.wiring import House

app = group("in-doubt")


@app.command(name="list")
def list_all(
    *,
    limit: Annotated[int, Parameter(help="Show so many, the oldest first; sums are of all.")] = 100,
    place: Place = HERE,
) -> None:
    """List payouts whose outcome nobody knows yet: sum, age, provider, and when it is asked next."""
    if not 1 <= limit <= 1_000_000:
        raise BadUsage("--limit is 1 to 1,000,000.")

    async def work(house: House) -> tuple[list[Doubtful], list[Doubt], datetime]:
        sums, rows = await house.database.snapshot(lambda tx: in_doubt(tx, limit))
        return sums, rows, house.world.clock.now()

    sums, rows, now = run(place, work)
    if place.json:
        show.say_json(_for_scripts(sums, rows, now))
        return
    if not sums:
        show.say("Nothing is in doubt.")
        return
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
