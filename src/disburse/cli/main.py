"""The command line: the contract for people and scripts (design.md section 7). `main` is the console script `disburse`.

Lives here: the table of commands, and how a command ends. Commands are named by where they are found, and imported when they
are asked for: `disburse --help` imports none of them. Every mistake becomes one clear line here, or JSON with --json.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Final

from cyclopts import App, CycloptsError, Group

from disburse import __version__

_RUN = Group("Run", sort_key=1)
_MERCHANTS = Group("Merchants and money", sort_key=2)
_PAYOUTS = Group("Payouts", sort_key=3)
_HOUSE = Group("The house", sort_key=4)

_COMMANDS: Final = (
    ("demo", "demo:demo", _RUN, "The main job on sample data, end to end; exit 0 only if every figure agrees."),
    ("demo-two", "two:demo_two", _RUN, "One installation pays through another over a bad line; three books must agree."),
    ("serve", "serve:serve", _RUN, "Serve the APIs and send payouts."),
    ("sandbox-bank", "sandbox:sandbox_bank", _RUN, "A bank that misbehaves on purpose, as a program of its own."),
    ("merchant", "merchants:app", _MERCHANTS, "Add, change and show merchants."),
    ("top-up", "money:app", _MERCHANTS, "Book money that came in for a merchant; `top-up reverse` corrects it."),
    ("withdraw", "corrections:withdraw", _MERCHANTS, "Take money out of a merchant's account, with a second person's yes."),
    ("balance", "money:balance", _MERCHANTS, "A merchant's money, account by account."),
    ("limits", "limits:limits", _MERCHANTS, "What a merchant's limits leave now, and which payouts need the yes of persons."),
    ("webhook", "webhooks:app", _MERCHANTS, "Where a merchant's events are sent: add, list, rotate, pause, resume, resend, remove."),
    ("api-key", "api_keys:app", _MERCHANTS, "A merchant's keys for the REST API: add, list, end."),
    ("payout", "payouts:app", _PAYOUTS, "Show a payout."),
    ("explain", "payouts:explain", _PAYOUTS, "Everything that happened to a payout, why it is as it is, and what comes next."),
    ("in-doubt", "doubt:app", _PAYOUTS, "Payouts whose outcome nobody knows yet: list them, end one by two persons."),
    ("approvals", "approvals:app", _PAYOUTS, "What waits for the yes of persons, payouts and corrections: list, show, approve, refuse."),
    ("registry", "registry:app", _PAYOUTS, "Files of payouts: plan, apply, show, list, approve, refuse, cancel, results."),
    ("remote", "remote:app", _PAYOUTS, "For merchants: upload and apply files of payouts, and follow events, at a server far away."),
    ("verify", "verify:verify", _HOUSE, "Check every invariant of the books on one snapshot; exit 1 names what broke."),
    ("connector", "connector:app", _HOUSE, "The providers that are configured: show, ask and certify them; how they are."),
    ("operator", "operators:app", _HOUSE, "People who run this installation, and their tokens."),
    ("keys", "keys:app", _HOUSE, "The keys that seal destinations: show, rotate."),
    ("quarantine", "quarantine:quarantine", _HOUSE, "Whether a restored database is held back; release it."),
    ("simulate", "simulate:simulate", _HOUSE, "Days of faults by seed, in virtual time: does the payout path keep its promises?"),
    ("bench", "bench:bench", _HOUSE, "Measure this machine, each figure as a ratio."),
)  # fmt: skip
"""Name, where in this package, group, one line of help. A command whose module is not installed is left out."""


def make_app() -> App:
    """The whole tree of commands, none of them imported."""
    app = App(
        name="disburse",
        help="A payout engine: money goes out once, and it can prove it.\n\nExit codes: 0 done, 1 the answer is no, 2 usage.",
        version=__version__,
        help_format="plaintext",
        suppress_keyboard_interrupt=False,
    )
    for name, where, group, text in _COMMANDS:
        module, _, attribute = where.partition(":")
        path = f"disburse.cli.{module}"
        if find_spec(path) is not None:
            app.command(f"{path}:{attribute}", name=name, group=group, help=text)
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """The console script: runs the command that the arguments name, and exits with its code."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that knows no Cyrillic is no reason to fail
    try:
        code = _run(given)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 128 + 13
    sys.exit(code)


def _run(arguments: list[str]) -> int:
    try:
        result = make_app()(
            arguments, exit_on_error=False, print_error=False, verbose=False, result_action="return_value"
        )
        return result if isinstance(result, int) else 0
    except KeyboardInterrupt:
        return 128 + 2
    except (BrokenPipeError, SystemExit, GeneratorExit):
        raise
    except BaseException as fault:
        return _tell(fault, as_json="--json" in arguments)


def _tell(fault: BaseException, *, as_json: bool) -> int:
    """Say what went wrong; the modules for that are imported now."""
    from asyncio import CancelledError

    from disburse.cli import mistakes

    if isinstance(fault, CancelledError):
        return 128 + 15  # SIGTERM, see `place.run`
    if isinstance(fault, CycloptsError):
        text = " ".join(str(fault).split())
        further = f"See: {' '.join(['disburse', *(fault.command_chain or ())])} --help."
        return mistakes.tell(mistakes.Mistake("bad_usage", text, further, mistakes.USAGE), as_json=as_json)
    mistakes.debug(fault)
    return mistakes.tell(mistakes.explain(fault), as_json=as_json)
