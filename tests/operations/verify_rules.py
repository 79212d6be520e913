"""A merchant with limits, policies and times in the town of `verify_town.py`, and what can be done to its rows. For `test_verify.py`."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from disburse.domain.limits import Limit, Period, limits_text
from disburse.domain.policies import Policy, policies_text
from disburse.operations import payouts, policies, timely
from disburse.operations.awaiting import ENDS
from disburse.operations.policies import Answered, Say
from disburse.storage.database import Database, Transaction
from disburse.storage.limits import set_ruled
from tests.operations.verify_town import SHARD, Town

MERCHANT = 4
DAY = timedelta(days=1)


async def by_rules(town: Town, database: Database) -> None:
    """Payouts that wait for a time, for persons, for money; and those that were given back what they used."""
    await town.merchant(MERCHANT)
    await town.top_up(MERCHANT, 400_000, "RUB", "first")
    limits = limits_text([Limit(Period.DAY, "all", "RUB", 1_000_000, 100)])
    policy = policies_text([Policy("card", "RUB", 50_000, 2)])

    async def rule(tx: Transaction) -> None:
        await tx.execute(
            """INSERT INTO merchant_settings (shard, merchant_id, name, login, project_id, password_digest, unitpay_key_digest,
                   unitpay_test_key_digest, bearer_digest, api_key_digest, sign_key_sealed, created_at, actor, limits, policies)
               VALUES ($1, $2, 'ruled', 'ruled@example.org', 1, '', '', '', '', '', '', $3, 'cli', $4, $5)""",
            SHARD, MERCHANT, town.now(), limits, policy,
        )  # fmt: skip
        await set_ruled(tx, SHARD, MERCHANT)

    await database.run(rule)
    now = await database.run(lambda tx: tx.database_now())
    timed = {"tomorrow": DAY, "its time came": -DAY, "to be approved tomorrow": DAY}
    for n, (story, after) in enumerate(timed.items()):
        amount = 60_000 if story.startswith("to be") else 100 + n
        await town.create(replace(town.command(story, amount, merchant=MERCHANT), execute_at=now + after))
    act = town.act("its time came", MERCHANT)
    assert await database.run(lambda tx: timely.fall_due(tx, SHARD, [act])) == 1
    large = ("waits", "half approved", "approved", "refused")
    await town.create(*[town.command(story, 60_000 + n, merchant=MERCHANT) for n, story in enumerate(large)])
    await town.create(town.command("lacks money", 9_000_000, merchant=MERCHANT, execute=False, rail="sbp"), town.command("used", 300, merchant=MERCHANT))
    await database.run(lambda tx: set_limits(tx, "[]"))
    await database.run(lambda tx: payouts.execute(tx, SHARD, [town.act("lacks money", MERCHANT)]))
    await database.run(lambda tx: set_limits(tx, limits))
    await database.run(lambda tx: payouts.cancel(tx, SHARD, [town.act("used", MERCHANT)]))
    for story, who, yes in (
        ("half approved", 1, True), ("approved", 1, True), ("approved", 2, True), ("refused", 2, False),
        ("to be approved tomorrow", 1, True), ("to be approved tomorrow", 2, True),
    ):  # fmt: skip
        await _say(town, database, story, f"operator:{who}", yes)


async def set_limits(tx: Transaction, limits: str) -> None:
    """Change the merchant's limits."""
    await tx.execute("UPDATE merchant_settings SET limits = $2 WHERE merchant_id = $1", MERCHANT, limits)
    await set_ruled(tx, SHARD, MERCHANT)


async def _say(town: Town, database: Database, story: str, who: str, yes: bool) -> None:
    async def work(tx: Transaction) -> object:
        stands = await policies.standing(tx, SHARD, town.ids[story])
        assert stands is not None
        return await policies.say(tx, SHARD, Say(town.ids[story], stands.need.digest, yes, "", town.now(), who), ENDS)

    assert isinstance(await database.run(work), Answered)


# As DAMAGES of test_verify.py: what was done, the check that must say so, how many others may say so too.
DAMAGES: dict[str, tuple[str, str, int]] = {
    "sent before its time": (
        "UPDATE schedules SET execute_at = done_at + interval '1 s' WHERE payout_id = {its time came}",
        "E16 nothing is sent before its time", 0,
    ),
    "a scheduled payout that nobody will send": (
        "UPDATE schedules SET done_at = look_at WHERE payout_id = {tomorrow}", "E16 what is scheduled falls due", 0,
    ),
    "a payout that nobody will find money for": (
        "DELETE FROM unfunded WHERE payout_id = {lacks money}", "H6 what lacks money is on the list", 0,
    ),
    "approved by one alone": (
        "DELETE FROM approvals WHERE subject_id = {approved} AND actor = 'operator:2'", "A1 enough persons agreed", 0,
    ),
    "approved by who made it": (
        "UPDATE approval_needs SET maker = 'operator:1' WHERE subject_id = {approved}", "A1 an approval is a person's", 1,
    ),
    "approved by a program": (
        "UPDATE approvals SET actor = 'merchant:4' WHERE subject_id = {half approved}", "A1 an approval is a person's", 0,
    ),
    "another payee after the approval": (
        "UPDATE payouts SET fingerprint = sha256('another') WHERE payout_id = {approved}", "A1 persons agreed to what is paid", 0,
    ),
    "another time after the approval": (
        """UPDATE schedules SET execute_at = execute_at - interval '1 h' WHERE payout_id = {to be approved tomorrow}""",
        "A1 persons agreed to what is paid", 0,
    ),
    "a limit's counter turned back": (
        "UPDATE limit_counters SET payouts = payouts - 1 WHERE merchant_id = 4 AND scope = '' AND period = 'day' AND payouts > 1",
        "V1 counters are what payouts used", 0,
    ),
    "a use of another payee": (
        "UPDATE payouts SET destination_digest = sha256('another') WHERE payout_id = {tomorrow}", "V1 what is used is what is paid", 0,
    ),
    "a merchant set free from its rules": (
        "UPDATE merchants SET ruled = false WHERE merchant_id = 4", "V1 merchants with rules are known by them", 0,
    ),
    "approvals that may be rewritten": ("GRANT UPDATE ON approvals TO disburse_app", "L5 books and events are append-only", 0),
}  # fmt: skip
