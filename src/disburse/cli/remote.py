"""`disburse remote`: what a merchant does from a terminal against a server far away, with an API key and nothing else. It is `disburse.client` with a bar.

Lives here: three words, printed. Every other command opens the database itself and is for whoever runs the installation. May not live here: what is
sent again and what an answer means (`client/`). The key comes from the environment, API_KEY: command lines are seen by all.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from cyclopts import Parameter

from disburse.cli import registry_plans as plans
from disburse.cli import show
from disburse.cli.mistakes import BadUsage
from disburse.cli.place import group

if TYPE_CHECKING:
    from disburse.client import BlockingClient, Registry

app = group("remote")
Json = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON, errors too.")]
Plain = Annotated[bool, Parameter(negative="", help="Let the API key go over http to another machine.")]
SHOWN: Final = 20
"""So many rows that are not good are shown for people."""


@contextmanager
def _client(url: str, plain_http: bool) -> Iterator[BlockingClient]:
    from disburse.client import BlockingClient

    key = os.environ.get("API_KEY")
    if not key:
        raise BadUsage("Put the merchant's API key into the environment, as API_KEY.")
    try:
        client = BlockingClient(url, key, plain_http=plain_http)
    except ValueError as fault:
        raise BadUsage(f"The client cannot use this: {fault}.") from None
    with client:
        yield client


@app.command
def upload(
    url: str,
    file: Path,
    /,
    *,
    kind: Annotated[Literal["auto", "csv", "xlsx", "unitpay", "jsonl"], Parameter(help="What the file is; UnitPay's layout must be named.")] = "auto",
    pay: Annotated[str, Parameter(help="Rows to pay although the duplicate guard asks about them: numbers such as 17,23-40, or all.")] = "",
    plain_http: Plain = False,
    json: Json = False,
) -> int:
    """Send a file of payouts and have every row judged. Nothing is held and nothing is paid. Exit code 1 when some rows are not good.

    Parameters
    ----------
    url:
        The server, such as https://pay.example.org.
    file:
        CSV, XLSX, UnitPay's CSV layout or JSON lines, of at most 8 MiB.
    """
    from disburse.client import NewRegistryAsked, RegistryRowsAsked

    content = file.read_bytes()
    with _client(url, plain_http) as client:
        with plans.bar("sending", len(content)) as told:
            planned = client.plan_registry(content, NewRegistryAsked(name=file.name, kind=kind, pay=pay), told=lambda sent, size: told(sent))
        left_out = []
        if planned.bad + planned.held:
            left_out = [row for row in client.registry_rows(planned.id, RegistryRowsAsked(limit=1000)) if row.verdict != "good"]
    if json:
        from msgspec import to_builtins

        show.say_json({**_values(planned), "rows_not_good": to_builtins(left_out)})
    else:
        show.say(f"Registry {planned.id}: {planned.rows:,} rows, {planned.good:,} good, {planned.bad:,} bad, {planned.held:,} held.")
        for total in planned.totals:
            show.say(f"{total.rail}: {total.rows:,} rows, {total.amount.amount} and {total.fee.amount} of fees in {total.amount.currency}.")
        for row in left_out[:SHOWN]:
            show.say(f"Line {row.line} is {row.verdict}: {'; '.join(f'{fault.field} {fault.why}' for fault in row.faults)}.")
        if len(left_out) > SHOWN:
            show.say(f"... and {len(left_out) - SHOWN:,} more; --json tells all of them.")
        for gap in planned.funding_gap:
            show.say(f"The balance lacks {gap.amount} {gap.currency}.")
        show.say(f"Nothing is paid yet. Next: disburse remote apply {url} {planned.id} --digest {planned.digest}{' --only-good' if left_out else ''}")
    return 0 if planned.good == planned.rows else 1


@app.command
def apply(
    url: str,
    registry: str,
    /,
    *,
    digest: Annotated[str, Parameter(help="The plan's digest, as `upload` told it: what you looked at.")],
    only_good: Annotated[bool, Parameter(negative="", help="Leave out rows that are bad or held.")] = False,
    wait: Annotated[bool, Parameter(negative="--no-wait", help="Follow it until it is over.")] = True,
    plain_http: Plain = False,
    json: Json = False,
) -> int:
    """Do exactly what was planned, and follow it to its end. May be repeated at any time: each row is paid once. Exit code 1 unless all good rows are paid.

    Parameters
    ----------
    url:
        The server.
    registry:
        The registry's id.
    """
    from msgspec.structs import replace

    with _client(url, plain_http) as client:
        seen = client.apply_registry(replace(client.registry(registry), digest=digest), only_good=only_good)
        if wait and seen.state not in ("awaiting_approval", "approved"):
            with plans.bar("paying", seen.good) as told:
                seen = client.follow_registry(registry, lambda look: told(look.paid + look.failed + look.ended))
    if json:
        show.say_json(_values(seen))
    else:
        show.say(f"Registry {seen.id} is {seen.state}: {seen.paid:,} of {seen.good:,} paid, {seen.failed:,} failed, {seen.refused:,} refused, {seen.left:,} left.")
    return 0 if (seen.paid == seen.good if wait else seen.state != "awaiting_approval") else 1


@app.command
def events(
    url: str,
    /,
    *,
    after: Annotated[int, Parameter(help="The number of the last event that you have.")] = 0,
    follow: Annotated[bool, Parameter(negative="", help="Wait for more, until it is stopped.")] = False,
    plain_http: Plain = False,
    json: Json = False,
) -> None:
    """Tell what happened, in order and without gaps; with --json one event a line.

    Parameters
    ----------
    url:
        The server.
    """
    from msgspec import to_builtins

    with _client(url, plain_http) as client:
        for event in client.events(after, follow=follow):
            if json:
                show.say_json(to_builtins(event), indent=None)
            else:
                about = f" {event.payout.id} {event.payout.state or ''}".rstrip() if event.payout is not None else ""
                show.say(f"{event.number} {show.moment(event.at)} {event.type}{about}")


def _values(seen: Registry) -> dict[str, Any]:
    from msgspec import to_builtins

    values: dict[str, Any] = to_builtins(seen)
    return values
