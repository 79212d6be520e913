"""`disburse registry`: files of payouts. Plan one, apply exactly that plan, see how it stands, agree to it, stop it, take its results."""

from __future__ import annotations

import gc
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from disburse.cli import registry_plans as plans
from disburse.cli import show
from disburse.cli.mistakes import BadUsage
from disburse.cli.place import HERE, Place, actor, group, run
from disburse.cli.registry_shown import list_all, results, show_one, standing_values
from disburse.domain.money import Money
from disburse.domain.registry_states import Drifted, RegistryState
from disburse.operations.headroom import Needed, needed, read_headroom
from disburse.operations.merchants import find_merchant
from disburse.wiring import House

app = group("registry")
app.command(show_one, name="show")
app.command(list_all, name="list")
app.command(results, name="results")

Kind = Literal["auto", "csv", "xlsx", "unitpay", "jsonl"]


def _steady() -> None:
    """Long work on many short-lived rows: what is there now is not walked again for each thousand of them."""
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)


def _how(house: House, kind: Any, options: dict[str, Any]) -> Any:
    from disburse.api.registry_files import How
    from disburse.data import accepted_member_ids, load_sbp_members
    from disburse.protocols.registry_rows import Options

    return How(accepted_member_ids(load_sbp_members(house.settings.sbp_members)), kind, Options(**options))


@app.command
def plan(
    file: Path,
    /,
    *,
    merchant: Annotated[str, Parameter(help="Whose payouts these are: an id or a login.")],
    out: Annotated[Path, Parameter(help="Where the plan is written.")],
    kind: Annotated[Kind, Parameter(help="What the file is, when looking at it is not enough; UnitPay's layout must be named.")] = "auto",
    separator: Annotated[str | None, Parameter(help="What parts a CSV's columns: comma, semicolon or tab.")] = None,
    encoding: Annotated[str | None, Parameter(help="utf-8, utf-16-le, utf-16-be or windows-1251.")] = None,
    header: Annotated[bool | None, Parameter(negative="--no-header", help="Whether the first row names the columns.")] = None,
    sheet: Annotated[str | None, Parameter(help="Which sheet of a workbook.")] = None,
    currency: Annotated[str, Parameter(help="The currency of rows that name none.")] = "",
    again: Annotated[bool, Parameter(negative="", help="Pay rows without references even if they were paid before. A second operator has to agree.")] = False,
    pay: Annotated[str, Parameter(help="Rows to pay although the duplicate guard asks about them: numbers such as 17,23-40, or all.")] = "",
    place: Place = HERE,
) -> int:
    """Read a file of payouts, judge every row, and write down what would be done. Nothing is held and nothing is paid.

    A row whose payee may already have this money is held, with the question. Answer by planning the file again: with --pay and its number.
    Exit code 1 when some rows are not good: the plan can be applied with --only-good.

    Parameters
    ----------
    file:
        CSV, XLSX, UnitPay's CSV layout, or JSON lines.
    """
    from disburse.api.registry_files import Planned, plan_file
    from disburse.cli.registry_helper import in_a_helper, is_worth_it
    from disburse.domain.registry_states import LetPass
    from disburse.operations import registries
    from disburse.operations.registry_rules import Terms

    _steady()
    let_pass = LetPass(pay)
    options = _options(separator, encoding, header, sheet, currency)

    async def work(house: House) -> tuple[Planned, list[Money], list[Needed]]:
        who = await actor(house)
        found = await find_merchant(house.database, merchant)
        terms = Terms(house.desk, house.settings.minimums)
        size = file.stat().st_size
        with file.open("rb") as opened, plans.bar("planning", size) as told:
            planned = await plan_file(
                terms, found, opened, file.name, _how(house, kind, options), actor=who, again=again, pay=let_pass,
                told=lambda rows: told(opened.tell()), elsewhere=partial(in_a_helper, opened) if is_worth_it(size) else None,
            )  # fmt: skip
        plans.write_plan(out, _values(planned, file, kind, options))
        rooms = await read_headroom(house.database, found)
        return planned, await registries.gaps(house.database, planned.registry), needed(rooms, registries.totals_of(planned.registry))

    planned, gaps, needs = run(place, work)
    _say_planned(planned, gaps, needs, out, as_json=place.json)
    return 0 if planned.registry.good == planned.registry.rows_read else 1


_SEPARATORS = {"comma": ",", "semicolon": ";", "tab": "\t", ",": ",", ";": ";", "\t": "\t"}


def _options(separator: str | None, encoding: str | None, header: bool | None, sheet: str | None, currency: str) -> dict[str, Any]:
    if separator is not None and separator not in _SEPARATORS:
        raise BadUsage("A separator is comma, semicolon or tab.")
    parted = _SEPARATORS[separator] if separator is not None else None
    return {"separator": parted, "encoding": encoding, "header": header, "sheet": sheet, "currency": currency}


def _values(planned: Any, file: Path, kind: str, options: dict[str, Any]) -> dict[str, Any]:
    from msgspec import to_builtins

    from disburse.operations.registries import plan_of

    registry = planned.registry
    return {
        "registry": str(registry.registry_id), "digest": registry.digest.hex(), "plan": plan_of(registry), "path": str(file.resolve()),
        "kind": kind, "options": options, "understood": to_builtins(planned.reading.found), "faults": planned.planner.shown,
    }  # fmt: skip


def _say_planned(planned: Any, gaps: list[Money], needs: list[Needed], out: Path, *, as_json: bool) -> None:
    from msgspec import to_builtins

    from disburse.operations.registries import totals_of

    registry, planner = planned.registry, planned.planner
    totals = totals_of(registry)
    if as_json:
        show.say_json({
            "registry_id": str(registry.registry_id), "merchant_id": registry.merchant_id, "digest": registry.digest.hex(), "plan": str(out),
            "understood": to_builtins(planned.reading.found), "rows": registry.rows_read, "good": registry.good, "bad": registry.bad,
            "held": registry.held, "known": planner.known, "totals": plans.totals_values(totals),
            "funding_gap": [{"amount": gap.text(), "currency": gap.currency} for gap in gaps], "limits": plans.limits_values(needs),
            "faults": planner.shown,
        })  # fmt: skip
        return
    show.say(f"Registry {registry.registry_id}: {registry.rows_read:,} rows, {registry.good:,} good, {registry.bad:,} bad, {registry.held:,} held.")
    plans.show_totals(totals)
    if planner.known:
        show.say(f"{planner.known:,} rows have a payout already, with the same content: they are not paid again.")
    if registry.bad + registry.held:
        plans.show_faults(planner.shown, registry.bad + registry.held)
    if registry.held:
        show.say("Held rows are asked about: their payees may already have this money. Rows that are to be paid all the same: plan again with --pay and "
                 "their numbers.")  # fmt: skip
    for gap in gaps:
        show.say(f"The balance lacks {gap}. Top it up first.")
    plans.show_limits(needs)
    left = " --only-good" if registry.bad + registry.held else ""
    show.say(f"Digest {registry.digest.hex()}. Nothing is paid yet. Next: disburse registry apply {out}{left}")


@app.command
def apply(
    plan: Path,
    /,
    *,
    only_good: Annotated[bool, Parameter(negative="", help="Leave out rows that are bad or held.")] = False,
    again: Annotated[bool, Parameter(negative="", help="Although the same rows were applied before: make up for what that left. A second operator has to agree.")] = False,
    place: Place = HERE,
) -> int:
    """Do exactly what a plan says, or refuse and name what is not as it was. May be repeated at any time: each row is paid once.

    Exit code 1 also while persons have to agree, and when the money runs short on the way.

    Parameters
    ----------
    plan:
        The file that `plan` wrote.
    """
    found = plans.read_plan(plan)
    _steady()

    async def work(house: House) -> tuple[dict[str, Any], str]:
        return await _apply(house, found, only_good=only_good, again=again)

    values, further = run(place, work)
    if place.json:
        show.say_json({**values, "next": further})
    else:
        show.say(f"Registry {values['registry_id']} is {values['state']}: {values['made']:,} payouts made, {values['found']:,} found, "
                 f"{values['refused']:,} refused, {values['left']:,} left. {further}".rstrip())  # fmt: skip
    return 0 if values["left"] == 0 and values["state"] not in ("awaiting_approval", "cancelled") else 1


async def _apply(house: House, found: plans.PlanFile, *, only_good: bool, again: bool) -> tuple[dict[str, Any], str]:
    from disburse.api.registry_files import drift_of_file
    from disburse.operations import registries
    from disburse.operations.registry_apply import AppliedRows, Applier
    from disburse.operations.registry_rules import Terms

    terms, who = Terms(house.desk, house.settings.minimums), await actor(house)
    registry = await registries.find(house.database, found.registry_id)
    if registry.state in (RegistryState.PLANNED, RegistryState.APPROVED) and found.path.exists():
        merchant = await find_merchant(house.database, str(registry.merchant_id))
        with found.path.open("rb") as file:
            changed = await drift_of_file(terms, merchant, registry, file, _how(house, found.kind, found.options))
        if changed:
            raise Drifted(changed)
    with show.waiting("comparing the rows with the plan"):
        registry = await registries.start(terms, registries.Start(found.registry_id, found.digest, only_good, who, again))
    further = ""
    if registry.state is RegistryState.AWAITING_APPROVAL:
        further = f"Next, another operator: disburse registry approve {registry.registry_id}"
    if registry.state is RegistryState.EXECUTING and registry.left:
        with plans.bar("applying", registry.good) as told:
            done = [registry.good - registry.left]

            def heard(applied: AppliedRows) -> None:
                done[0] += applied.made + applied.found + applied.refused
                told(done[0])

            applier = Applier(house.desk, registry, f"cli:{house.place}", who, told=heard)
            whole = await _drive(house, applier)
        if applier.short is not None:
            further = f"{applier.short} Top it up: the rest goes on by itself where `disburse serve` runs, or apply again."
        elif not whole:
            further = "Another process is at work on it."
    standing = await registries.look(house.database, found.registry_id)
    if standing.registry.state is RegistryState.EXECUTING and not standing.registry.left:
        further = f"Workers send them. See: disburse registry show {registry.registry_id}"
    return standing_values(standing), further


async def _drive(house: House, applier: Any) -> bool:
    try:
        while not await applier.run():
            if applier.short is not None:
                return False
            await house.world.clock.sleep(0.5)  # another process has the lease: it may have died
    finally:
        await applier.let_go()
    return True


@app.command
def approve(registry: str, /, *, place: Place = HERE) -> None:
    """Agree to a registry as it was planned. Whoever planned it or had it applied cannot.

    Parameters
    ----------
    registry:
        Its id.
    """
    _answer(registry, place, yes=True, why="")


@app.command
def refuse(registry: str, why: str, /, *, place: Place = HERE) -> None:
    """Refuse a registry that waits for its approval: it is cancelled.

    Parameters
    ----------
    registry:
        Its id.
    why:
        For the record.
    """
    _answer(registry, place, yes=False, why=why)


def _answer(registry: str, place: Place, *, yes: bool, why: str) -> None:
    from disburse.cli.registry_shown import read_registry_id
    from disburse.operations import registries
    from disburse.operations.policies import Say
    from disburse.operations.registry_rules import Terms

    identifier = read_registry_id(registry)

    async def work(house: House) -> tuple[str, dict[str, Any]]:
        who = await actor(house)
        found = await registries.find(house.database, identifier)
        say = Say(identifier, found.digest or b"", yes, why, house.world.clock.now(), who)
        answered = await registries.answer(Terms(house.desk, house.settings.minimums), say)
        return answered.effect, standing_values(await registries.look(house.database, identifier))

    effect, values = run(place, work)
    if place.json:
        show.say_json({**values, "effect": effect})
    else:
        show.say(f"{'Agreed' if yes else 'Refused'}: registry {identifier} is {values['state']}.")


@app.command
def cancel(registry: str, /, *, place: Place = HERE) -> None:
    """Stop a registry. Rows that became payouts stay; the rest is given up.

    Parameters
    ----------
    registry:
        Its id.
    """
    from disburse.cli.registry_shown import read_registry_id
    from disburse.operations import registries
    from disburse.operations.registry_rules import Terms

    identifier = read_registry_id(registry)

    async def work(house: House) -> dict[str, Any]:
        await registries.cancel(Terms(house.desk, house.settings.minimums), identifier, await actor(house))
        return standing_values(await registries.look(house.database, identifier))

    values = run(place, work)
    if place.json:
        show.say_json(values)
    else:
        show.say(f"Registry {identifier} is {values['state']}; {values['given_up']:,} rows were given up.")
