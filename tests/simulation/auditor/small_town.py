"""A few payouts that all came to an end, with what their bank wrote down and what their merchants asked and were told."""

from __future__ import annotations

from dataclasses import dataclass, replace

import asyncpg

from disburse.domain.identifiers import base_of
from disburse.domain.money import Money
from disburse.domain.outcomes import NotSent, Rejected, Returned, Unknown
from disburse.operations.evidence import Heard
from disburse.simulation.auditor import BookEntry, Exchange
from tests.operations.verify_town import INSTALLATION, SHARD
from tests.simulation.auditor.watch import AT, Watched


@dataclass(frozen=True, slots=True)
class Ended:
    """The second and the third truth about a small town, all honest; and ids by story: end-to-end id, UUID, UnitPay's number."""

    book: list[BookEntry]
    histories: list[Exchange]
    sent: dict[str, str]
    ids: dict[str, str]
    numbers: dict[str, str]


async def live(watched: Watched, doctor: asyncpg.Connection) -> Ended:
    """Paid, refused, returned, tried twice, cancelled, made and left, made without a reference: each to its end."""
    town = watched.town
    await watched.auditor.after_commit()
    for merchant in (1, 2):
        await town.merchant(merchant)
        await town.top_up(merchant, 1_000_000, "RUB", "first")
    await town.create(
        town.command("paid", 1_000), town.command("failed", 1_100), town.command("returned", 1_200),
        town.command("twice", 1_300), town.command("cancelled", 1_400), town.command("left", 1_500, execute=False),
        town.command("other's", 1_600, merchant=2),
    )  # fmt: skip
    await town.create(town.command("paid", 9_000, content="other"))
    nameless = town.command("nameless", 1_700)
    base = base_of(SHARD, INSTALLATION, 1, "intellectmoney", None, nameless.payout_id)
    await town.create(replace(nameless, surface="intellectmoney", reference=None, base=base))
    for story, merchant in (("paid", 1), ("other's", 2), ("nameless", 1), ("returned", 1)):
        await town.pay(await town.claim(story, merchant=merchant))
    failed = await town.claim("failed")
    await town.hear(failed, Unknown("time-out"))
    await town.hear(failed, Rejected("cannot receive"), kind="inquiry")
    await town.hear(await town.claim("twice"), NotSent("no connection"))
    await town.pay(await town.claim("twice", 2))
    await town.cancel("cancelled")
    rows = await doctor.fetch(
        """SELECT p.payout_id, p.number, p.merchant_id, a.end_to_end_id FROM payouts p
           LEFT JOIN attempts a ON a.payout_id = p.payout_id AND a.number = p.attempts"""
    )
    by_id = {row["payout_id"]: row for row in rows}
    sent = {story: by_id[one]["end_to_end_id"] for story, one in town.ids.items()}
    numbers = {story: str(by_id[one]["number"] * 2**20 + by_id[one]["merchant_id"]) for story, one in town.ids.items()}
    ids = {story: str(one) for story, one in town.ids.items()}
    await _come_back(watched, doctor)
    return Ended(watched.book(), _told(ids, numbers), sent, ids, numbers)


async def _come_back(watched: Watched, doctor: asyncpg.Connection) -> None:
    town = watched.town
    identifier = await doctor.fetchval("SELECT end_to_end_id FROM attempts WHERE payout_id = $1", town.ids["returned"])
    where = (town.ids["returned"], 1, 1)
    await town.hear_raw(
        Heard(
            "sandbox", identifier, "callback", Returned("R1", Money(1_200, "RUB")), town.now(), "sandbox", payout=where
        )
    )
    watched.returned.append(BookEntry("sandbox", identifier, 1_200, "RUB", AT, "returned"))


def ask(
    at: int, act: str, reference: str | None, amount: int | None, answer: str, status: str | None = None, *,
    key: str | None = None, merchant: int = 1, surface: str = "unitpay", told: int | None = 0,
) -> Exchange:  # fmt: skip
    """One exchange; it is told at once unless `told` says when, or None for never."""
    return Exchange(at, at + 1 if told == 0 else told, surface, merchant, act, reference, key, amount, answer, status)


def _told(ids: dict[str, str], numbers: dict[str, str]) -> list[Exchange]:
    """What honest doors told honest programs."""
    return [
        ask(0, "pay", "paid", 1_000, "acknowledged", "not_completed", key=numbers["paid"]),
        ask(2, "look", "paid", None, "acknowledged", "success"),
        ask(
            4, "pay", "paid", 9_000, "acknowledged", "success", key=numbers["paid"]
        ),  # other content: the stored one's status
        ask(6, "pay", "failed", 1_100, "unknown", told=None),
        ask(8, "pay", "failed", 1_100, "acknowledged", "error", key=numbers["failed"]),
        ask(10, "pay", "too dear", 10**9, "refused"),
        ask(12, "pay", "returned", 1_200, "acknowledged", "success"),
        ask(14, "pay", "twice", 1_300, "unknown", told=None),
        ask(16, "pay", "cancelled", 1_400, "acknowledged", "not_completed"),
        ask(18, "cancel", "cancelled", None, "acknowledged", "error"),
        ask(20, "create", "left", 1_500, "acknowledged", "not_completed"),
        ask(22, "pay", "lost", 1_100, "unknown", told=None),
        ask(24, "pay", "other's", 1_600, "acknowledged", "success", merchant=2),
        ask(26, "create", None, 1_700, "acknowledged", "Created", key=ids["nameless"], surface="intellectmoney"),
        ask(28, "look", None, None, "acknowledged", "Completed", key=ids["nameless"].upper(), surface="intellectmoney"),
    ]
