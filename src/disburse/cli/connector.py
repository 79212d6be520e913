"""`disburse connector`: the providers of this installation. Lives here: the list, and asking one.

No database is opened: the settings say which connectors there are, and a provider says whether it answers. Nothing that is
asked here can move money. No secret is printed; what a provider says in its own words is not printed either.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

from cyclopts import Parameter

from disburse import logs
from disburse.certification import NoSuchConnector
from disburse.cli import show
from disburse.cli.certify import certify
from disburse.cli.health import health
from disburse.cli.mistakes import BadUsage
from disburse.cli.place import HERE, Place, group
from disburse.connectors.contract import Answering, Bank, Callback, Capabilities, Connector, Question
from disburse.domain.money import Money
from disburse.domain.outcomes import Unknown
from disburse.domain.refusals import Refusal
from disburse.kinds import Configured, kinds, make_connectors
from disburse.world import real_world

T = TypeVar("T")

app = group("connector")
app.command(health)
app.command(certify)

ASK_WITHIN_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Asked:
    """What asking came to. `reachable` is None where there is nobody to be reached; `why` says what went wrong."""

    reachable: bool | None
    why: str = ""
    balance: tuple[Money, ...] = ()
    question: str = ""


@app.command(name="list")
def list_all(
    *,
    ask: Annotated[bool, Parameter(help="Ask each provider whether it answers.")] = True,
    place: Place = HERE,
) -> None:
    """List the configured connectors: name, kind, what the provider promises, and whether it answers."""

    async def work(found: dict[str, Configured]) -> list[tuple[str, Configured, Asked]]:
        asked = await asyncio.gather(*[_ask(one) if ask else _unasked() for one in found.values()])
        return [(name, one, answer) for (name, one), answer in zip(found.items(), asked, strict=True)]

    rows = _run(place, work)
    if place.json:
        show.say_json([_for_scripts(name, one, answer) for name, one, answer in rows])
        return
    if not rows:
        show.say(f"No connector is configured. Kinds that are installed: {', '.join(sorted(kinds())) or 'none'}.")
        return
    show.table(
        ("connector", "kind", "grade", "rails", "currencies", "repeats", "answers"),
        [
            (name, one.kind, _grade(one), " ".join(_rails(able)), " ".join(sorted(able.currencies)), _repeats(able), _answers(answer))
            for name, one, answer in rows
            for able in (one.connector.capabilities,)
        ],
    )


@app.command
def check(
    name: str,
    /,
    *,
    banks: Annotated[bool, Parameter(negative="", help="Ask for the provider's list of banks as well.")] = False,
    place: Place = HERE,
) -> int:
    """Ask one provider something harmless: its balance, or what became of an id that never was. Exit 1 when it does not answer.

    Parameters
    ----------
    name:
        The connector's name in the settings file.
    """

    async def work(found: dict[str, Configured]) -> tuple[Configured, Asked, tuple[Bank, ...] | Unknown | None]:
        one = found.get(name)
        if one is None:
            raise NoSuchConnector(f"There is no connector called {name}.")
        if banks and not one.connector.capabilities.bank_list:
            raise BadUsage(f"{name} has no list of banks to be asked for.")
        answer = await _ask(one)
        return one, answer, await one.connector.banks(ASK_WITHIN_S) if banks else None

    one, answer, listed = _run(place, work)
    failed = answer.reachable is False or isinstance(listed, Unknown)
    if place.json:
        told = _for_scripts(name, one, answer)
        if listed is not None:
            told["banks"] = None if isinstance(listed, Unknown) else [
                {"bank_id": bank.bank_id, "name": bank.name, "name_en": bank.name_en} for bank in listed
            ]  # fmt: skip
        show.say_json(told)
        return 1 if failed else 0
    show.facts(
        (
            ("connector", name),
            ("kind", one.kind),
            ("grade", _grade(one)),
            ("answers", _answers(answer)),
            ("asked", answer.question),
            ("can be paid out", ", ".join(str(money) for money in answer.balance)),
        )
    )
    if isinstance(listed, Unknown):
        show.say(f"The list of banks did not come: {listed.why}.")
    elif listed is not None:
        show.table(("bank", "name", "in English"), [(bank.bank_id, bank.name, bank.name_en) for bank in listed])
    return 1 if failed else 0


def _run(place: Place, work: Callable[[dict[str, Configured]], Awaitable[T]]) -> T:
    """Make the connectors of these settings, do the work, and close what was opened."""

    logs.configure(real_world().clock, level="warning")  # a connector's alerts are no part of the answer

    async def all_of_it() -> T:
        settings = place.load()
        async with AsyncExitStack() as opened:
            return await work(make_connectors(settings, real_world().clock, Path(settings.data), opened))

    return asyncio.run(all_of_it())


async def _unasked() -> Asked:
    return Asked(None)


async def _ask(one: Configured) -> Asked:
    """Ask what can be answered without an order: the balance, or else an id that never was."""
    connector: Connector = one.made
    if one.in_process:
        return Asked(None)
    question = _question_for(connector)
    try:
        await connector.start(_nobody_hears)
        try:
            return await _harmless(connector, question)
        finally:
            await connector.stop()
    except Refusal as refusal:  # a secret or a file is missing
        return Asked(False, str(refusal), question=question)
    except Exception as fault:  # a stranger's connector
        return Asked(False, f"connector fault: {type(fault).__name__}", question=question)


def _question_for(connector: Connector) -> str:
    if connector.capabilities.balance:
        return "balance"
    return "our access" if isinstance(connector, Answering) else "an id that never was"


async def _harmless(connector: Connector, question: str) -> Asked:
    if connector.capabilities.balance:
        funds = await connector.balance(ASK_WITHIN_S)
        if isinstance(funds, Unknown):
            return Asked(False, funds.why, question=question)
        return Asked(True, balance=funds, question=question)
    if isinstance(connector, Answering):
        silent = await connector.answers(ASK_WITHIN_S)
        return Asked(silent is None, silent.why if silent is not None else "", question=question)
    never = f"check-{real_world().random.bytes(10).hex()}"
    finding = await connector.inquire(Question(never, None, ASK_WITHIN_S))
    if isinstance(finding, Unknown):
        return Asked(False, finding.why, question=question)
    return Asked(True, question=question)


async def _nobody_hears(callback: Callback) -> None:
    raise AssertionError("a callback in a command that only asks")


def _rails(able: Capabilities) -> list[str]:
    return sorted(str(rail) for rail in able.rails)


def _repeats(able: Capabilities) -> str:
    if able.deduplicates_for_s == math.inf:
        return "harmless for ever"
    return f"harmless for {show.age(able.deduplicates_for_s)}" if able.deduplicates_for_s > 0 else "never harmless"


def _grade(one: Configured) -> str:
    return f"{one.standing.grade}: {one.standing.why}"


def _answers(answer: Asked) -> str:
    if answer.reachable is None:
        return "not asked"
    return "yes" if answer.reachable else f"no: {answer.why}"


def _for_scripts(name: str, one: Configured, answer: Asked) -> dict[str, Any]:
    able = one.connector.capabilities
    return {
        "name": name,
        "kind": one.kind,
        "grade": str(one.standing.grade),
        "certificate": one.standing.why,
        "reachable": answer.reachable,
        "why": answer.why or None,
        "balance": [{"amount": money.text(), "currency": money.currency} for money in answer.balance] or None,
        "capabilities": {
            "rails": _rails(able),
            "currencies": sorted(able.currencies),
            "deduplicates_for_s": None if able.deduplicates_for_s == math.inf else able.deduplicates_for_s,
            "deduplicates_for_ever": able.deduplicates_for_s == math.inf,
            "status_by_our_id": able.status_by_our_id,
            "two_step": able.two_step,
            "not_found_final_after_s": able.not_found_final_after_s,
            "callbacks": able.callbacks,
            "balance": able.balance,
            "bank_list": able.bank_list,
            "sandbox": able.sandbox,
            "sends": able.sends,
            "limits": [
                {
                    "rail": str(rail), "currency": currency, "minimum": Money(limit.minimum_minor, currency).text(),
                    "maximum": Money(limit.maximum_minor, currency).text() if limit.maximum_minor is not None else None,
                }
                for (rail, currency), limit in able.limits.items()
            ],
            "fees": [
                {
                    "rail": str(rail), "currency": currency, "basis_points": fee.basis_points,
                    "minimum": Money(fee.minimum_minor, currency).text(),
                    "maximum": Money(fee.maximum_minor, currency).text() if fee.maximum_minor is not None else None,
                }
                for (rail, currency), fee in able.fees.items()
            ],
        },
    }  # fmt: skip
