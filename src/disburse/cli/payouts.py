"""`disburse payout show` and `disburse explain`: one payout, as it stands and as it came to stand so."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from rich.text import Text

from disburse.cli import show, subjects
from disburse.cli.place import HERE, Place, group, run
from disburse.cli.second_yes import for_scripts, state
from disburse.domain.attempt import Attempt
from disburse.domain.identifiers import unitpay_number
from disburse.domain.money import Money
from disburse.domain.routing import Decision
from disburse.operations.explain import Explanation, find_payout, read_outlook, read_story
from disburse.operations.explain import explain as explain_story
from disburse.operations.explain_routing import decision_for_scripts
from disburse.operations.payouts import EXPIRING
from disburse.storage.reports_payout import Story
from disburse.wiring import House

app = group("payout")


@app.command(name="show")
def show_one(payout: str, /, *, place: Place = HERE) -> None:
    """Show a payout as it stands. Where the money goes is shown masked.

    Parameters
    ----------
    payout:
        Its GUID, its UnitPay payoutId, or MERCHANT:REFERENCE.
    """

    told, _ = run(place, lambda house: _story(house, payout))
    if place.json:
        show.say_json(describe(told))
        return
    _print(told)


def explain(payout: str, /, *, place: Place = HERE) -> None:
    """Everything that happened to a payout in time order, why it is as it is, and what comes next.

    Parameters
    ----------
    payout:
        Its GUID, its UnitPay payoutId, or MERCHANT:REFERENCE.
    """

    async def work(house: House) -> tuple[Story, datetime, Decision | None]:
        told, now = await _story(house, payout)
        return told, now, await read_outlook(house.desk, told)

    told, now, outlook = run(place, work)
    explanation = explain_story(told, now, outlook)
    if place.json:
        timeline = [
            {"at": show.stamp(line.at), "what": line.what, "text": line.text, "actor": line.actor}
            for line in explanation.lines
        ]
        show.say_json({
            "payout": describe(told), "timeline": timeline, "why": explanation.why, "next": explanation.next,
            "routing": {
                "decided": [
                    {"attempt": one.attempt, "at": show.stamp(one.at), "since": show.stamp(one.since), "looked": one.looked,
                     **decision_for_scripts(Decision.from_text(one.decision))}
                    for one in told.routings
                ],
                "now": decision_for_scripts(outlook) if outlook is not None else None,
            },
        })  # fmt: skip
        return
    _print(told)
    _print_lines(explanation)


async def _story(house: House, payout: str) -> tuple[Story, datetime]:
    found = await find_payout(house.desk, payout)
    return await read_story(house.desk, found), house.world.clock.now()


def describe(told: Story) -> dict[str, Any]:
    """A payout for scripts."""
    payout = told.payout
    return {
        "payout_id": str(payout.payout_id),
        "unitpay_payout_id": unitpay_number(payout.number, payout.merchant_id),
        "merchant_id": payout.merchant_id,
        "login": told.login,
        "surface": payout.surface,
        "reference": payout.reference,
        "state": str(payout.state),
        "frozen": payout.frozen,
        "reason": payout.reason,
        "amount": payout.amount.text(),
        "fee": payout.fee.text(),
        "returned": Money(payout.returned_minor, payout.currency).text(),
        "currency": payout.currency,
        "rail": payout.rail,
        "destination": payout.display,
        "sandbox_only": payout.sandbox_only,
        "created_at": show.stamp(payout.created_at),
        "updated_at": show.stamp(payout.updated_at),
        "finished_at": show.stamp(payout.finished_at),
        "expires_at": show.stamp(payout.expires_at) if payout.state in EXPIRING else None,
        "execute_at": show.stamp(payout.execute_at),
        "approvals": [subjects.for_scripts(one) for one in told.approvals],
        "attempts": [_attempt(one) for one in told.attempts],
        "requests": [for_scripts(one) for one in told.requests],
    }


def _attempt(attempt: Attempt) -> dict[str, Any]:
    return {
        "number": attempt.number,
        "state": str(attempt.state),
        "connector": attempt.connector,
        "end_to_end_id": attempt.end_to_end_id,
        "provider_reference": attempt.provider_reference,
        "reason": attempt.reason,
        "due_at": show.stamp(attempt.due_at),
        "opened_at": show.stamp(attempt.opened_at),
        "ended_at": show.stamp(attempt.ended_at),
        "doubt_since": show.stamp(attempt.doubt_since),
        "asked": attempt.asked,
        "ask_at": show.stamp(attempt.ask_at),
    }


def _print(told: Story) -> None:
    payout = told.payout
    show.facts(
        [
            ("state", show.state(str(payout.state), payout.frozen)),
            ("reason", payout.reason),
            ("amount", f"{payout.amount}, fee {payout.fee.text()}"),
            ("returned", Money(payout.returned_minor, payout.currency) if payout.returned_minor else None),
            ("to", f"{payout.rail} {payout.display}"),
            ("merchant", f"{payout.merchant_id} {told.login}"),
            ("reference", f"{payout.reference} ({payout.surface})" if payout.reference is not None else payout.surface),
            ("payoutId", unitpay_number(payout.number, payout.merchant_id)),
            ("created", show.moment(payout.created_at)),
            ("to be sent at", show.moment(payout.execute_at) if payout.execute_at is not None else None),
            ("finished", show.moment(payout.finished_at)),
        ],
        title=f"Payout {payout.payout_id}",
    )
    if told.attempts:
        rows = [
            (one.number, show.state(str(one.state)), one.connector or "", one.end_to_end_id or "",
             one.provider_reference or "", one.reason or "")
            for one in told.attempts
        ]  # fmt: skip
        show.table(("attempt", "state", "through", "end-to-end id", "provider's reference", "reason"), rows)
    for approval in told.approvals:
        subjects.print_one(approval)
    if told.requests:
        asked = [
            (one.request.request_id, f"attempt {one.request.attempt}: {one.request.outcome}", one.asker,
             show.moment(one.request.at), state(one), one.answerer or "",
             show.moment(one.decision.at if one.decision else None))
            for one in told.requests
        ]  # fmt: skip
        show.table(("request", "that", "asked by", "asked", "state", "answered by", "answered"), asked)


_STYLES = {"event": "bold", "routing": "magenta", "evidence": "cyan", "request": "cyan", "attempt": "", "posting": "dim"}


def _print_lines(explanation: Explanation) -> None:
    rows = [
        (
            line.at.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3],
            line.what,
            Text(show.plain(line.text), style=_STYLES[line.what]),
            line.actor,
        )
        for line in explanation.lines
    ]
    show.table(("when (UTC)", "what", "", "who"), rows)
    show.say(f"Why:  {explanation.why}")
    show.say(f"Next: {explanation.next}")
