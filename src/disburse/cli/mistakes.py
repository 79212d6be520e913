"""What went wrong, said to a person or a script: a name, what happened, what to do next, and the exit code.

Lives here: the table from exceptions to words. Exit codes: 1, the answer is no (or the world misbehaves); 2, the command was
not used right. No traceback and no text of an exception that might quote a secret gets out: of what is not ours, the type
alone is told. DISBURSE_DEBUG=1 adds the traceback on standard error.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from disburse.cli import show
from disburse.domain.refusals import Refusal

REFUSED: Final = 1
USAGE: Final = 2


class BadUsage(Refusal):
    """The command was not used right."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """What to tell. `next` is empty when the message says it all."""

    name: str
    message: str
    next: str
    code: int


_NEXT: Final[Mapping[str, str]] = {
    "no_such_merchant": "See who there is: disburse merchant list.",
    "no_such_webhook": "See which there are: disburse webhook list MERCHANT.",
    "bad_url": "Name https://HOST/PATH, at port 443 or 8443. For tests on this machine: webhooks_to_loopback in the settings.",
    "unknown_event_type": "Name one of them with --type, or leave it out for all.",
    "too_many_webhooks": "Remove one first: disburse webhook list MERCHANT.",
    "no_such_events": "Name numbers within that.",
    "resend_under_way": "Wait until it is done: disburse webhook list MERCHANT.",
    "no_such_payout": "Name it by its GUID, by its UnitPay payoutId, or as MERCHANT:REFERENCE.",
    "two_payouts": "Name one of them by its GUID.",
    "login_taken": "Take another login, or look at that merchant: disburse merchant show LOGIN.",
    "operator_name_taken": "Take another name.",
    "unknown_operator": "Unset DISBURSE_OPERATOR to act as `cli`, or make a new token: disburse operator add NAME.",
    "needs_operator": "Make a token with `disburse operator add NAME` and put it into DISBURSE_OPERATOR.",
    "same_person": "Another operator runs: disburse approvals approve REQUEST.",
    "no_such_subject": "See what waits: disburse approvals list.",
    "own_work": "Another operator agrees: disburse approvals approve ID --digest DIGEST.",
    "said_before": "See who has: disburse approvals show ID.",
    "changed_since": "See it as it is now: disburse approvals show ID.",
    "no_such_request": "See what waits: disburse approvals list.",
    "already_decided": "See it: disburse approvals show REQUEST.",
    "request_waits": "See it with `disburse approvals show REQUEST`; answer it first.",
    "request_outdated": "See it: disburse payout show PAYOUT. This request can only be refused.",
    "which_attempt": "Name it with --attempt; see them with `disburse payout show PAYOUT`.",
    "no_such_attempt": "See them: disburse payout show PAYOUT.",
    "nothing_to_resolve": "See how it stands: disburse explain PAYOUT.",
    "still_open": "Wait until the lease has run out (setting lease_s), then ask again.",
    "no_such_top_up": "Name it as it was booked, by its --reference. One booked without cannot be reversed: ask for a withdrawal.",
    "not_available": "Nothing was done. Ask for less, or wait until payouts under way have ended.",
    "reference_reused": "Nothing was booked. Use the reference of this payment alone, or leave --reference out.",
    "account_full": "Nothing was booked. Look at the amount again.",
    "no_such_registry": "See which there are: disburse registry list MERCHANT.",
    "not_all_good": "Mend the file and plan it again, or leave these rows out with --only-good.",
    "nothing_to_pay": "Mend the file and plan it again.",
    "applied_before": "See it: disburse registry show ID. To make up for what it left, apply with --again: a second operator has to agree.",
    "funding_gap": "Top it up, then apply again.",
    "payouts_not_on": "See: disburse merchant set MERCHANT --payouts on.",
    "drifted": "Plan the file again, look at the plan, and apply that.",
    "bad_row_numbers": "Say which rows, such as --pay 17,23-40.",
    "helper_died": "See whether the machine ran out of memory, and plan the file again.",
    "bad_plan": "Name the file that `disburse registry plan` wrote.",
    "bad_file": "Mend the file, or say how it is to be read: disburse registry plan --help.",
    "totals_disagree": "Mend the file: nothing of it was planned.",
    "empty_registry": "Name a file with rows.",
    "no_installation": "Name the right one with --data or DISBURSE_DATA, or make it: disburse merchant add NAME --login EMAIL.",
    "key_file_missing": "Bring keys.json back from its copy, or name the right directory with --data or DISBURSE_DATA.",
    "another_key_file": "Bring the right keys.json back from its copy, or name the right directory with --data or DISBURSE_DATA.",
    "not_quarantined": "There is nothing to release.",
    "no_such_connector": "See which there are: disburse connector list.",
    "file_in_use": "Stop the other process, or take another file.",
    "bad_amount": "Write it with a dot, as in 1000 or 1000.50.",
    "bad_currency": "Three capitals such as RUB or TST (test money), or USDT.",
    "bad_settings": "Mend the settings file, the environment or the command line, and try again.",
}  # fmt: skip

# What is no refusal of ours, by type name: told with its own text, which its room keeps free of secrets.
_TOLD_AS_IS: Final = {
    "EmbeddedServerFailed": ("embedded_server_failed", ""),
    "KeyFileError": ("key_file", ""),
    "UnsafeDatabase": ("unsafe_database", "Mend the server's settings, or take the risk with --unsafe-database."),
    "MigrationRefused": ("migration_refused", "Use the version of disburse that made this database, or a newer one."),
    "DataFileError": ("bad_data_file", "Mend the file that the settings name."),
    "BookFault": ("bad_book", "Take another --book, or bring this one back from a copy."),
}

_USAGE: Final = frozenset({"bad_usage", "bad_settings", "bad_amount", "bad_currency", "bad_address", "bad_payout_id", "bad_url", "unknown_event_type"})


def explain(fault: BaseException) -> Mistake:
    """The words for an exception."""
    if isinstance(fault, Refusal):
        code = USAGE if fault.name in _USAGE else REFUSED
        return Mistake(fault.name, str(fault), _NEXT.get(fault.name, ""), code)
    kind = type(fault).__name__
    if type(fault).__module__ == "disburse.client.errors":  # not imported here: of what it tells nothing is a secret
        name = getattr(fault, "name", "") or "".join("_" + c.lower() if c.isupper() else c for c in kind).lstrip("_")
        return Mistake(name, str(fault), str(getattr(fault, "next", "")), REFUSED)
    if kind in _TOLD_AS_IS:
        name, further = _TOLD_AS_IS[kind]
        return Mistake(name, str(fault), further, REFUSED)
    if kind == "StoreUnavailable" or type(fault).__module__.startswith("asyncpg"):
        cause = str(fault) if kind == "StoreUnavailable" else kind
        return Mistake(
            "database_unavailable", f"The database could not do this: {cause}.",
            "See that it runs and that --database-url is right. What was asked may have been done: look before you repeat it.",
            REFUSED,
        )  # fmt: skip
    if isinstance(fault, OSError) and fault.strerror:
        where = f"{fault.filename}: " if isinstance(fault.filename, str) else ""
        return Mistake("system", f"{where}{fault.strerror}.", "", REFUSED)
    return Mistake(
        "fault", f"This should not have happened: {kind}.",
        "Set DISBURSE_DEBUG=1 to see where, and tell the people who make disburse.", REFUSED,
    )  # fmt: skip


def tell(mistake: Mistake, *, as_json: bool) -> int:
    """Print a mistake: one line on standard error, or JSON on standard output. Returns the exit code."""
    if as_json:
        show.say_json({"error": {"name": mistake.name, "message": mistake.message, "next": mistake.next}})
        return mistake.code
    lines = [show.plain(line) for line in mistake.message.splitlines()] or [mistake.name]
    text = "\n".join(lines) + (f" {mistake.next}" if mistake.next and len(lines) == 1 else "")
    sys.stderr.write(f"disburse: {text}\n")
    if mistake.next and len(lines) > 1:
        sys.stderr.write(f"{mistake.next}\n")
    return mistake.code


def debug(fault: BaseException) -> None:
    """Where it happened, for whoever asked by DISBURSE_DEBUG=1: the lines of code and the types, none of the values."""
    if os.environ.get("DISBURSE_DEBUG") != "1":
        return
    link: BaseException | None = fault
    while link is not None:
        sys.stderr.write("".join(traceback.format_tb(link.__traceback__)) + f"{type(link).__name__}\n")
        link = link.__cause__ or link.__context__
