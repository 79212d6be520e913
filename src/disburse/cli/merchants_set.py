"""What `disburse merchant set` may change. Lives here: the options, how each is read, and the columns they become."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

import msgspec
from cyclopts import Parameter

from disburse.cli.mistakes import BadUsage
from disburse.cli.words import read_approval, read_fee, read_limit, read_name, read_zone
from disburse.data import accepted_member_ids, load_sbp_members
from disburse.domain.fees import FeeRule
from disburse.domain.limits import limits_of, limits_text
from disburse.domain.merchant import Merchant
from disburse.domain.policies import policies_of, policies_text
from disburse.wiring import House

LONGEST_ANSWER_WAIT_S: Final = 6.0
LARGEST_ESHOP_ID: Final = 2**63 - 1

StateWord = Literal["InProcess", "InProgress", "auto"]


@Parameter(name="*")
@dataclass(frozen=True)
class Wanted:
    """The settings that are named; None: leave it as it is."""

    name: Annotated[str | None, Parameter(help="What people call it.")] = None
    payouts: Annotated[Literal["on", "off", "denied"] | None, Parameter(help="Whether it may pay out.")] = None
    answer_wait: Annotated[float | None, Parameter(help="How long massPayment waits for the end, 0 to 6 seconds.")] = (
        None
    )
    pci_dss: Annotated[bool | None, Parameter(help="Has the access level for payouts to cards (IntellectMoney).")] = (
        None
    )
    sbp_bank: Annotated[
        str | None, Parameter(help="The SBP bank of payouts that name none: a member's number, or `none`.")
    ] = None
    require_sign: Annotated[bool | None, Parameter(help="Demand Bearer and Sign of every call (IntellectMoney).")] = (
        None
    )
    payout_id_as_number: Annotated[bool | None, Parameter(help="payoutId as a number instead of text (UnitPay).")] = (
        None
    )
    json_by_default: Annotated[bool | None, Parameter(help="Answer JSON unless XML is asked for (IntellectMoney).")] = (
        None
    )
    state_word: Annotated[StateWord | None, Parameter(help="The word for a payout under way (IntellectMoney).")] = None
    language: Annotated[Literal["ru", "en"] | None, Parameter(help="Language of messages.")] = None
    eshop_id: Annotated[str | None, Parameter(help="Its shop's number (IntellectMoney), or `none`.")] = None
    fee: Annotated[
        list[str] | None,
        Parameter(help="RAIL=BPS[:MIN[:MAX]], basis points and minor units; RAIL=default takes it back.", negative=""),
    ] = None

    time_zone: Annotated[str | None, Parameter(help="Whose days and months limits count, such as Europe/Moscow.")] = None
    limit: Annotated[
        list[str] | None,
        Parameter(help="PERIOD[/RAIL|/payee]:CURRENCY=SUM or =#COUNT, PERIOD is payout, day or month; =none takes it away.", negative=""),
    ] = None
    approval: Annotated[
        list[str] | None,
        Parameter(help="RAIL|any:CURRENCY:ABOVE=PERSONS: payouts above need so many operators' yes; =0 takes it away.", negative=""),
    ] = None
    execute_unfunded: Annotated[bool | None, Parameter(help="Execute payouts that lacked money once there is some.")] = None

    def columns(self) -> dict[str, Any]:
        """The columns to change, but for bank and fees, which need the installation. Raises BadUsage."""
        plain: dict[str, Any] = {
            "name": read_name(self.name, "A merchant's name") if self.name is not None else None,
            "payouts": self.payouts,
            "answer_wait_ms": _answer_wait_ms(self.answer_wait),
            "pci_dss": self.pci_dss,
            "require_sign": self.require_sign,
            "payout_id_as_number": self.payout_id_as_number,
            "json_by_default": self.json_by_default,
            "language": self.language,
            "time_zone": read_zone(self.time_zone) if self.time_zone is not None else None,
            "execute_unfunded": self.execute_unfunded,
        }
        changes = {column: value for column, value in plain.items() if value is not None}
        if self.state_word is not None:
            changes["state_word"] = None if self.state_word == "auto" else self.state_word
        if self.eshop_id is not None:
            changes["eshop_id"] = _eshop_id(self.eshop_id)
        return changes

    def rules(self, merchant: Merchant) -> dict[str, str]:
        """The columns of limits and approvals, with those that are named. Raises BadUsage."""
        changes: dict[str, str] = {}
        limits, policies = list(limits_of(merchant.limits)), list(policies_of(merchant.policies))
        for one in self.limit or ():
            limits = read_limit(one, limits)
            changes["limits"] = limits_text(limits)
        for one in self.approval or ():
            policies = read_approval(one, policies)
            changes["policies"] = policies_text(policies)
        return changes

    def fees(self) -> dict[str, FeeRule | None]:
        """Rules by rail; None takes the merchant's own rule back. Raises BadUsage."""
        return dict(read_fee(one) for one in self.fee or ())


NOTHING: Final = Wanted()


def own_fees(text: str) -> dict[str, FeeRule]:
    """The rules of a merchant's fees column, by rail."""
    own = msgspec.json.decode(text, type=dict[str, tuple[int, int, int | None]])
    return {rail: FeeRule(*rule) for rail, rule in own.items()}


def merged_fees(text: str, changes: Mapping[str, FeeRule | None]) -> str:
    """The fees column with some rails changed; None takes the merchant's own rule back."""
    rules: dict[str, FeeRule | None] = {**own_fees(text), **changes}
    kept = {
        rail: (rule.basis_points, rule.minimum_minor, rule.maximum_minor)
        for rail, rule in sorted(rules.items()) if rule is not None
    }  # fmt: skip
    return msgspec.json.encode(kept).decode()


def _answer_wait_ms(seconds: float | None) -> int | None:
    if seconds is None:
        return None
    if not 0 <= seconds <= LONGEST_ANSWER_WAIT_S:
        raise BadUsage(f"--answer-wait is 0 to {LONGEST_ANSWER_WAIT_S:g} seconds.")
    return round(seconds * 1000)


def _eshop_id(text: str) -> int | None:
    if text == "none":
        return None
    if not (text.isascii() and text.isdigit() and 0 < int(text[:20]) <= LARGEST_ESHOP_ID and len(text) <= 19):
        raise BadUsage("--eshop-id is a positive number, or `none`.")
    return int(text)


def known_bank(text: str, house: House) -> str:
    """A bank that payouts may name. Raises BadUsage for one that SBP's list and the settings do not know."""
    if text not in accepted_member_ids(load_sbp_members(house.settings.sbp_members)):
        raise BadUsage(
            "SBP has no such member. Take its 12-digit number, such as 100000000004, or allow a provider's test member "
            "by `sbp_members` in the settings."
        )
    return text
