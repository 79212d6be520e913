"""`disburse merchant`: whose money is paid out, and what each may do. Lives here: add, set, list, show."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from cyclopts import Parameter

from disburse.cli import show
from disburse.cli.limits import policies_for_scripts
from disburse.cli.merchants_set import NOTHING, Wanted, known_bank, merged_fees, own_fees
from disburse.cli.mistakes import BadUsage
from disburse.cli.place import HERE, Place, actor, group, run
from disburse.cli.words import read_login, read_name
from disburse.domain.fees import FeeRule
from disburse.domain.limits import limits_of
from disburse.domain.merchant import Merchant
from disburse.operations.merchants import NewMerchant, add_merchant, find_merchant, set_merchant
from disburse.storage.reports_merchant import all_merchants
from disburse.wiring import House

app = group("merchant")


@app.command
def add(
    name: str,
    /,
    *,
    login: str,
    pci_dss: Annotated[
        bool, Parameter(negative="", help="Has the access level for payouts to cards (IntellectMoney).")
    ] = False,
    sbp_bank: Annotated[
        str | None, Parameter(help="The SBP bank of payouts that name none: a member's number.")
    ] = None,
    place: Place = HERE,
) -> None:
    """Make a merchant. Its secrets are shown once.

    Parameters
    ----------
    name:
        What people call it.
    login:
        Its e-mail address, by which both protocols know it.
    """
    title, address = read_name(name, "A merchant's name"), read_login(login)

    async def work(house: House) -> NewMerchant:
        bank = known_bank(sbp_bank, house) if sbp_bank is not None else None
        shard = int.from_bytes(house.world.random.bytes(2)) % house.settings.buckets
        return await add_merchant(
            house.database, house.world, house.vault, name=title, login=address, actor=await actor(house),
            pci_dss=pci_dss, sbp_bank=bank, shard=shard,
        )  # fmt: skip

    made = run(place, work, make=True)
    shown = {
        "merchant_id": made.merchant.merchant_id,
        "login": made.merchant.login,
        "password": made.password,
        "unitpay_secret_key": made.unitpay_secret_key,
        "unitpay_test_key": made.unitpay_test_key,
        "project_id": made.merchant.project_id,
        "bearer_token": made.bearer_token,
        "sign_secret_key": made.sign_secret_key,
        "api_key": made.api_key,
    }
    if place.json:
        show.say_json(shown)
        return
    show.facts([(field.replace("_", " "), value) for field, value in shown.items()], title=f"A new merchant: {title}")
    show.say("The secrets are shown once: keep them now. Only their digests are stored.")
    show.say(f"Next: disburse top-up {made.merchant.merchant_id} 1000.00 RUB")


@app.command(name="set")
def change(merchant: str, /, *, wanted: Wanted = NOTHING, place: Place = HERE) -> None:
    """Change a merchant's settings: those that are named, and no others.

    Parameters
    ----------
    merchant:
        Its id or login.
    """
    changes, fees = wanted.columns(), wanted.fees()
    if not changes and not fees and wanted.sbp_bank is None and not wanted.limit and not wanted.approval:
        raise BadUsage("There is nothing to change: name a setting. See: disburse merchant set --help.")

    async def work(house: House) -> Merchant:
        who = await actor(house)
        found = await find_merchant(house.database, merchant)
        if wanted.sbp_bank is not None:
            changes["sbp_bank"] = None if wanted.sbp_bank == "none" else known_bank(wanted.sbp_bank, house)
        if fees:
            changes["fees"] = merged_fees(found.fees, fees)
        changes.update(wanted.rules(found))
        await set_merchant(house.database, found, changes, at=house.world.clock.now(), actor=who)
        return await find_merchant(house.database, merchant)

    changed = run(place, work)
    if place.json:
        show.say_json(describe(changed))
        return
    _print(changed)
    show.say(f"Changed: {', '.join(sorted(changes))}. Running doors follow within 5 seconds.")


@app.command(name="list")
def list_all(*, place: Place = HERE) -> None:
    """List all merchants."""

    async def work(house: House) -> list[Merchant]:
        return await house.database.snapshot(all_merchants)

    found = run(place, work)
    if place.json:
        show.say_json({"merchants": [describe(one) for one in found]})
        return
    if not found:
        show.say("There are no merchants yet. Next: disburse merchant add NAME --login EMAIL")
        return
    rows = [
        (one.merchant_id, one.name, one.login, one.payouts, "yes" if one.pci_dss else "no", one.sbp_bank or "")
        for one in found
    ]
    show.table(("id", "name", "login", "payouts", "PCI DSS", "SBP bank"), rows, right=("id",))


@app.command(name="show")
def show_one(merchant: str, /, *, place: Place = HERE) -> None:
    """Show a merchant's settings. Secrets cannot be shown again.

    Parameters
    ----------
    merchant:
        Its id or login.
    """

    async def work(house: House) -> Merchant:
        return await find_merchant(house.database, merchant)

    found = run(place, work)
    if place.json:
        show.say_json(describe(found))
    else:
        _print(found)


def describe(merchant: Merchant) -> dict[str, Any]:
    """A merchant for scripts, without anything secret."""
    return {
        "merchant_id": merchant.merchant_id,
        "name": merchant.name,
        "login": merchant.login,
        "payouts": merchant.payouts,
        "pci_dss": merchant.pci_dss,
        "sbp_bank": merchant.sbp_bank,
        "answer_wait_s": merchant.answer_wait_ms / 1000,
        "require_sign": merchant.require_sign,
        "payout_id_as_number": merchant.payout_id_as_number,
        "json_by_default": merchant.json_by_default,
        "state_word": merchant.state_word or "auto",
        "language": merchant.language,
        "eshop_id": merchant.eshop_id,
        "project_id": merchant.project_id,
        "time_zone": merchant.time_zone,
        "execute_unfunded": merchant.execute_unfunded,
        "limits": {one.name: one.allows() for one in limits_of(merchant.limits)},
        "approvals": policies_for_scripts(merchant),
        "fees": {rail: asdict(rule) for rail, rule in own_fees(merchant.fees).items()},
    }


def _print(merchant: Merchant) -> None:
    shown = describe(merchant)
    fees = ", ".join(_fee_text(rail, rule) for rail, rule in own_fees(merchant.fees).items())
    rows = [
        (field.replace("_", " "), _yes_no(value)) for field, value in shown.items() if field not in ("name", "fees", "limits", "approvals")
    ]
    limits = ", ".join(f"{name} {allows}" for name, allows in shown["limits"].items())
    approvals = ", ".join(f"{one['persons']} above {one['above']} {one['currency']} by {one['rail']}" for one in shown["approvals"])
    rows += [("limits", limits or "none"), ("approvals", approvals or "none")]
    show.facts([*rows, ("fees", fees or "those of the installation")], title=merchant.name)


def _yes_no(value: object) -> object:
    return ("yes" if value else "no") if isinstance(value, bool) else value


def _fee_text(rail: str, rule: FeeRule) -> str:
    text = f"{rail} {rule.basis_points / 100:g} %"
    if rule.minimum_minor:
        text += f", at least {rule.minimum_minor} minor units"
    if rule.maximum_minor is not None:
        text += f", at most {rule.maximum_minor} minor units"
    return text
