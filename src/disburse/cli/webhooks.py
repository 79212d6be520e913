"""`disburse webhook`: where a merchant's events are sent. Lives here: add, list, rotate, pause, resume, resend, remove."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Annotated, Any, Final
from uuid import UUID

from cyclopts import Parameter

from disburse.cli import show
from disburse.cli.mistakes import BadUsage
from disburse.cli.place import HERE, Place, actor, group, run
from disburse.cli.words import read_id
from disburse.domain.merchant import Merchant
from disburse.domain.refusals import Refusal
from disburse.operations import webhooks
from disburse.operations.merchants import find_merchant
from disburse.operations.webhooks import Behind, NewWebhook, Webhook
from disburse.protocols.events import TYPES
from disburse.protocols.webhook_address import BadWebhookUrl, read_endpoint
from disburse.wiring import House

app = group("webhook")

LONGEST_OVERLAP_HOURS: Final = 720
_GROUPS: Final = tuple(sorted({f"{one.partition('.')[0]}.*" for one in TYPES}))


class BadUrl(Refusal):
    """The URL cannot be a webhook endpoint."""

    def __init__(self, why: str) -> None:
        super().__init__(f"The URL cannot be a webhook endpoint: {why}.")


class UnknownEventType(Refusal):
    """There is no such type of event."""


@app.command
def add(
    merchant: str,
    url: str,
    /,
    *,
    types: Annotated[
        list[str] | None, Parameter(name="--type", negative="", help="Only events of this type, such as payout.paid or payout.*; again for more.")
    ] = None,
    since: Annotated[
        int | None, Parameter(help="Also what happened after the event of this number; 0: from the beginning (default: from now on).")
    ] = None,
    place: Place = HERE,
) -> None:
    """Send a merchant's events to a URL. The secret that signs them is shown once.

    Parameters
    ----------
    merchant:
        Its id or login.
    url:
        https, at port 443 or 8443 of a public host.
    """
    wanted = [_read_type(one) for one in types or ()]
    if since is not None and since < 0:
        raise BadUsage("--since is an event's number, or 0.")

    async def work(house: House) -> NewWebhook:
        try:
            read_endpoint(url, to_loopback=house.settings.webhooks_to_loopback)
        except BadWebhookUrl as fault:
            raise BadUrl(str(fault)) from None
        found = await find_merchant(house.database, merchant)
        return await webhooks.add_webhook(
            house.desk, found, url, types=wanted or None, since=since, actor=await actor(house)
        )

    made = run(place, work)
    _tell_secret(made, place, "A new webhook endpoint")


@app.command(name="list")
def list_all(merchant: str, /, *, place: Place = HERE) -> None:
    """List a merchant's endpoints, and how far each is behind.

    Parameters
    ----------
    merchant:
        Its id or login.
    """

    async def work(house: House) -> list[tuple[Webhook, Behind]]:
        return await webhooks.list_webhooks(house.desk, await find_merchant(house.database, merchant))

    found = run(place, work)
    if place.json:
        show.say_json({"webhooks": [describe(one, behind) for one, behind in found]})
        return
    if not found:
        show.say("It has no webhook endpoint. Next: disburse webhook add MERCHANT URL")
        return
    rows = [
        (one.webhook_id, one.state, one.url, ", ".join(one.types or ("all",)), behind.last_event - one.done_to, behind.late,
         one.last_answer or "", show.moment(one.last_at))
        for one, behind in found
    ]  # fmt: skip
    show.table(
        ("id", "state", "URL", "types", "to come", "tried again", "last answer", "at"), rows, right=("to come", "tried again")
    )


@app.command
def rotate(
    merchant: str,
    webhook: str,
    /,
    *,
    overlap: Annotated[int, Parameter(help="For so many hours the old secret signs as well, 0 to 720.")] = 24,
    place: Place = HERE,
) -> None:
    """Sign with a new secret, which is shown once, and for a while with the old one too.

    Parameters
    ----------
    merchant:
        Its id or login.
    webhook:
        The endpoint's id.
    """
    if not 0 <= overlap <= LONGEST_OVERLAP_HOURS:
        raise BadUsage(f"--overlap is 0 to {LONGEST_OVERLAP_HOURS} hours.")
    identifier = _read_id(webhook)

    async def work(house: House) -> NewWebhook:
        found = await find_merchant(house.database, merchant)
        return await webhooks.rotate_secret(
            house.desk, found, identifier, overlap=timedelta(hours=overlap), actor=await actor(house)
        )

    made = run(place, work)
    _tell_secret(made, place, "A new secret")
    if not place.json:
        show.say(f"The old secret signs as well until {show.moment(made.webhook.previous_until)} UTC.")


@app.command
def pause(merchant: str, webhook: str, /, *, place: Place = HERE) -> None:
    """Send nothing to an endpoint until it is resumed. Nothing is lost meanwhile.

    Parameters
    ----------
    merchant:
        Its id or login.
    webhook:
        The endpoint's id.
    """
    _act(merchant, webhook, place, lambda house, found, which, who: webhooks.pause_webhook(house.desk, found, which, actor=who))


@app.command
def resume(merchant: str, webhook: str, /, *, place: Place = HERE) -> None:
    """Send to an endpoint again, first what happened since it stopped.

    Parameters
    ----------
    merchant:
        Its id or login.
    webhook:
        The endpoint's id.
    """
    _act(merchant, webhook, place, lambda house, found, which, who: webhooks.resume_webhook(house.desk, found, which, actor=who))


@app.command
def resend(
    merchant: str,
    webhook: str,
    /,
    *,
    first: Annotated[int, Parameter(name="--from", help="The number of the first event.")],
    last: Annotated[int, Parameter(name="--to", help="The number of the last event.")],
    place: Place = HERE,
) -> None:
    """Send a range of events once more, with the same ids.

    Parameters
    ----------
    merchant:
        Its id or login.
    webhook:
        The endpoint's id.
    """
    if not 1 <= first <= last:
        raise BadUsage("--from is at least 1, and --to is not before it.")
    _act(
        merchant, webhook, place,
        lambda house, found, which, who: webhooks.resend_events(house.desk, found, which, first, last, actor=who),
    )  # fmt: skip


@app.command
def remove(merchant: str, webhook: str, /, *, place: Place = HERE) -> None:
    """Forget an endpoint, and what still waits for it.

    Parameters
    ----------
    merchant:
        Its id or login.
    webhook:
        The endpoint's id.
    """
    identifier = _read_id(webhook)

    async def work(house: House) -> None:
        found = await find_merchant(house.database, merchant)
        await webhooks.remove_webhook(house.desk, found, identifier, actor=await actor(house))

    run(place, work)
    if place.json:
        show.say_json({"webhook_id": str(identifier), "removed": True})
    else:
        show.say(f"Removed: {identifier}")


def _act(
    merchant: str, webhook: str, place: Place, change: Callable[[House, Merchant, UUID, str], Awaitable[Webhook]]
) -> None:
    identifier = _read_id(webhook)

    async def work(house: House) -> Webhook:
        found = await find_merchant(house.database, merchant)
        return await change(house, found, identifier, await actor(house))

    changed = run(place, work)
    if place.json:
        show.say_json(describe(changed))
        return
    show.say(f"{changed.webhook_id} is {changed.state}.")
    if changed.resend_next is not None:
        show.say(f"Events {changed.resend_next} to {changed.resend_to} are sent once more.")


def describe(one: Webhook, behind: Behind | None = None) -> dict[str, Any]:
    """An endpoint as JSON; its secrets are never in it."""
    shown: dict[str, Any] = {
        "webhook_id": str(one.webhook_id),
        "merchant_id": one.merchant_id,
        "url": one.url,
        "types": list(one.types) if one.types is not None else None,
        "state": one.state,
        "reason": one.reason,
        "since": one.since,
        "done_to": one.done_to,
        "resend": [one.resend_next, one.resend_to] if one.resend_next is not None else None,
        "old_secret_until": show.stamp(one.previous_until),
        "failures": one.failures,
        "last_answer": one.last_answer,
        "last_at": show.stamp(one.last_at),
    }
    if behind is not None:
        shown |= {"late": behind.late, "oldest_late": show.stamp(behind.oldest), "last_event": behind.last_event}
    return shown


def _tell_secret(made: NewWebhook, place: Place, title: str) -> None:
    if place.json:
        show.say_json(describe(made.webhook) | {"secret": made.secret})
        return
    show.facts([("webhook id", made.webhook.webhook_id), ("URL", made.webhook.url), ("secret", made.secret)], title=title)
    show.say("The secret is shown once: give it to the program that receives the events, now.")


def _read_type(text: str) -> str:
    if text not in TYPES and text not in _GROUPS:
        raise UnknownEventType(f"There is no such type of event. Known: {', '.join((*TYPES, *_GROUPS))}.")
    return text


def _read_id(text: str) -> UUID:
    found = read_id(text)
    if found is None:
        raise webhooks.NoSuchWebhook()
    return found
