"""Routes at the claim, on real PostgreSQL: rules and facts decide, reasons are kept, and nothing goes elsewhere without proof."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from disburse.domain.destinations import read_sbp
from disburse.domain.money import Money
from disburse.domain.outcomes import Absent, Accepted, NotFound, NotSent, Rejected, Returned, Settled, Unknown, Verdict
from disburse.domain.payout import Payout, PayoutState
from disburse.domain.ports import World
from disburse.domain.routing import Decision, Fact, Facts, Freight, Limit, Rule, Why, decide
from disburse.operations import attempts
from disburse.operations.attempts import Claim, Opened
from disburse.operations.evidence import Heard
from disburse.operations.explain import read_story
from disburse.operations.payouts import Found
from disburse.operations.routing import LATEST, SOONEST, Router
from disburse.operations.verify import verify
from disburse.storage.database import Database, Transaction
from tests.api.house import BANK, build_house
from tests.api.house import SANDBOX as EVERYTHING
from tests.operations.shop import OTHER, SANDBOX, Shop

NEAR = timedelta(seconds=20)
MEMBER, ANOTHER = "100000000004", "100000000111"


async def claim(
    shop: Shop, payout: Payout, number: int = 1, *, rules: Sequence[Rule] = (), facts: Facts | None = None
) -> Opened | None:
    """Claim one attempt by these rules, with these facts."""
    one = Claim(payout.payout_id, number, payout.merchant_id, "w", 30, shop.now())
    router = Router(shop.routes, rules, facts)
    return (await shop.database.run(lambda tx: attempts.claim(tx, 0, [one], routes=shop.routes, router=router)))[0]


async def kept(shop: Shop, payout: Payout) -> list[tuple[int, Decision, int]]:
    """What is stored about the routes of a payout: (attempt, decision, times looked)."""
    rows = await shop.rows(
        "SELECT number, decision, looked FROM routings WHERE shard = 0 AND payout_id = $1 ORDER BY number",
        payout.payout_id,
    )
    return [(row[0], Decision.from_text(row[1]), row[2]) for row in rows]


async def holds(shop: Shop) -> None:
    """Every invariant stands. The shop's first money has a posting and no top-up: what speaks of that alone is not looked at."""
    report = await verify(shop.database)
    of_the_shop = ("L7 each top-up has its posting", "L8 postings belong to their origin")
    assert [one for one in report.findings if one.check not in of_the_shop] == []
    assert all(one.count == 1 for one in report.findings)


async def test_a_plain_choice_leaves_no_row(shop: Shop) -> None:
    """The first route with nothing against it is not worth a row."""
    await shop.merchant(1, money=5000)
    payout = await shop.paid_out(1)
    assert (await shop.opened(payout)).connector == "sandbox"
    assert await kept(shop, payout) == []


async def test_rules_decide_and_the_reason_is_kept(shop: Shop) -> None:
    """A rule turns the order of the settings round; what was tried and what fitted stands beside the attempt."""
    shop.routes = [SANDBOX, OTHER]
    await shop.merchant(1, money=5000)
    payout = await shop.paid_out(1)
    rules = [Rule("dollars", currencies=("USD",)), Rule("small", to_minor=1000, currencies=("RUB",), connectors=("other",))]
    opened = await claim(shop, payout, rules=rules)
    assert opened is not None and opened.connector == "other"
    assert await kept(shop, payout) == [(1, Decision("other", "small", (("dollars", "currency"),)), 1)]


@pytest.mark.parametrize("fact", [Fact(calls=0, why=Why.BREAKER), Fact(calls=0), Fact(balances=(("RUB", 999),))], ids=str)
async def test_a_provider_that_is_down_grows_a_queue(shop: Shop, fact: Fact) -> None:
    """With its only route closed for now a payout stays queued with its money held, is looked at later, and then goes."""
    await shop.merchant(1, money=5000)
    payout = await shop.paid_out(1, fee=30)
    for looked in (1, 2, 3):
        assert await claim(shop, payout, facts={"sandbox": fact}) is None
        ((number, decision, times),) = await kept(shop, payout)
        assert (number, decision.chosen, times) == (1, None, looked)
    assert (await shop.read(payout)).state is PayoutState.QUEUED and await shop.attempts(payout) == ["due"]
    assert await shop.balances(1) == {"available": 3970, "funding": -5000, "held": 1030}
    assert await shop.events(1) == ["payout.queued"]
    rest = (await shop.attempt(payout)).due_at - await shop.database_now()
    assert SOONEST - NEAR < rest <= LATEST + timedelta(seconds=1)
    assert await shop.due() == []
    await holds(shop)
    assert await claim(shop, payout) is not None
    assert [(times, decision.chosen) for _, decision, times in await kept(shop, payout)] == [(3, None)]


async def test_what_waits_comes_back_one_after_the_other(shop: Shop) -> None:
    """A batch that waits for one provider is spread, in its order, and no later than half a minute."""
    await shop.merchant(1, money=90_000)
    made = [await shop.paid_out(1) for _ in range(5)]
    claims = [Claim(one.payout_id, 1, 1, "w", 30, shop.now()) for one in made]
    until = await shop.database_now() + timedelta(days=9)
    router = Router(shop.routes, facts={"sandbox": Fact(calls=0, why=Why.BREAKER, until=until)})
    await shop.database.run(lambda tx: attempts.claim(tx, 0, claims, routes=shop.routes, router=router))
    times = [(await shop.attempt(one)).due_at for one in made]
    assert times == sorted(set(times)) and times[0] > await shop.database_now() + LATEST - NEAR
    assert times[-1] <= await shop.database_now() + LATEST + timedelta(seconds=1)


async def test_what_waits_for_a_rate_comes_back_in_its_measure(shop: Shop) -> None:
    """Of a provider that takes two a second, the next ones are looked at half a second apart, not all at once and again and again."""
    await shop.merchant(1, money=90_000)
    claims = [Claim((await shop.paid_out(1)).payout_id, 1, 1, "w", 30, shop.now()) for _ in range(6)]
    router = Router(shop.routes, facts={"sandbox": Fact(calls=0, until=await shop.database_now(), per_s=2.0)})
    await shop.database.run(lambda tx: attempts.claim(tx, 0, claims, routes=shop.routes, router=router))
    rows = await shop.rows("SELECT due_at FROM attempts WHERE shard = 0 ORDER BY due_at")
    assert {after[0] - before[0] for before, after in pairwise(rows)} == {timedelta(seconds=0.5)}


async def test_calls_that_are_left_are_given_in_order(shop: Shop) -> None:
    """Two calls left: two payouts go, the others take the next route, or wait where it is the only one."""
    await shop.merchant(1, money=90_000)
    for routes, second in (([SANDBOX, OTHER], "other"), ([SANDBOX], None)):
        made = [await shop.paid_out(1) for _ in range(4)]
        claims = [Claim(one.payout_id, 1, 1, "w", 30, shop.now()) for one in made]
        router = Router(routes, facts={"sandbox": Fact(calls=2)})

        async def work(tx: Transaction, claims: list[Claim] = claims, router: Router = router) -> list[Opened | None]:
            return await attempts.claim(tx, 0, claims, routes=[], router=router)

        got = await shop.database.run(work)
        assert [one.connector if one else None for one in got] == ["sandbox", "sandbox", second, second]
        assert router.wanted["sandbox"] == 4


async def test_a_balance_is_used_up_in_order(shop: Shop) -> None:
    """A provider that holds enough for two of three is given two."""
    shop.routes = [SANDBOX, OTHER]
    await shop.merchant(1, money=90_000)
    claims = [Claim((await shop.paid_out(1)).payout_id, 1, 1, "w", 30, shop.now()) for _ in range(3)]
    router = Router(shop.routes, facts={"sandbox": Fact(balances=(("RUB", 2999),))})
    for _ in range(2):  # a run that was broken off used nothing
        router.begin()
        assert router.route((await shop.read(await shop.paid_out(1))), ()).chosen == "sandbox"
    got = await shop.database.run(lambda tx: attempts.claim(tx, 0, claims, routes=shop.routes, router=router))
    assert [one.connector for one in got if one] == ["sandbox", "sandbox", "other"]


async def test_a_run_that_was_committed_unheard_decides_nothing_anew(shop: Shop) -> None:
    """After an unknown commit the claim finds its own intent, whatever the facts are by now."""
    await shop.merchant(1, money=5000)
    payout = await shop.paid_out(1)
    claims = [Claim(payout.payout_id, 1, 1, "w", 30, shop.now())]
    router = Router(shop.routes, facts={"sandbox": Fact(calls=1)})
    first, second = await shop.run_twice(lambda tx: attempts.claim(tx, 0, claims, routes=shop.routes, router=router))
    assert first[0] is not None and second[0] is not None and first[0].end_to_end_id == second[0].end_to_end_id
    assert await shop.attempts(payout) == ["open"]


@pytest.mark.parametrize("rail, currency, sandbox_only", [("card", "RUB", False), ("card", "RUB", True), ("sbp", "RUB", False), ("card", "TST", False)])
@pytest.mark.parametrize("tried", [(), ("other",)])
async def test_the_short_way_is_the_long_one(
    shop: Shop, rail: str, currency: str, sandbox_only: bool, tried: tuple[str, ...]
) -> None:
    """The claim's short way for the plain case comes to what the whole decision comes to."""
    await shop.merchant(1, money=5000)
    payout = replace(await shop.paid_out(1), rail=rail, currency=currency, sandbox_only=sandbox_only)
    freight = Freight(rail, currency, payout.amount_minor, 1, None, sandbox_only, tried)
    for routes in ([OTHER, SANDBOX], [SANDBOX, OTHER], [replace(OTHER, limits=(Limit("card", "RUB", 1001, None),)), SANDBOX], []):
        assert Router(routes).route(payout, tried) == decide(routes, freight)


# --- proof ---

PROOF: list[tuple[list[tuple[str, Verdict]], str | None, str]] = [
    ([("answer", Rejected("short", elsewhere=True))], "other", "queued"),
    ([("answer", NotSent("connection refused"))], "sandbox", "queued"),
    ([("answer", Unknown("time-out")), ("inquiry", Absent())], "sandbox", "queued"),
    ([("answer", Unknown("time-out")), ("inquiry", Rejected("short", elsewhere=True))], "other", "queued"),
    ([("answer", Accepted("p")), ("callback", Rejected("short", elsewhere=True))], "other", "queued"),
    ([("lease", Unknown("lapsed")), ("inquiry", Absent())], "sandbox", "queued"),
    ([("answer", Rejected("card closed"))], None, "failed"),
    ([("answer", Unknown("HTTP 500"))], None, "in_doubt"),
    ([("answer", Unknown("x")), ("inquiry", NotFound()), ("inquiry", NotFound("again"))], None, "in_doubt"),
    ([("answer", Unknown("x")), ("inquiry", Unknown("no answer"))], None, "in_doubt"),
    ([("lease", Unknown("lapsed"))], None, "in_doubt"),
    ([("answer", Accepted("p"))], None, "in_flight"),
    ([("answer", Accepted("p")), ("inquiry", NotFound())], None, "in_flight"),
    ([("answer", Unknown("x")), ("callback", Accepted("p"))], None, "in_flight"),
    ([("answer", Settled("p"))], None, "paid"),
    ([("answer", Unknown("x")), ("callback", Returned("r"))], None, "returned"),
]
"""What is heard of the first attempt, the provider of the second one (None: there is none), and the payout's state."""


@pytest.mark.parametrize("heard, second, state", PROOF, ids=lambda value: str(value)[:60])
async def test_nothing_goes_elsewhere_without_proof(
    shop: Shop, heard: list[tuple[str, Verdict]], second: str | None, state: str
) -> None:
    """A second attempt starts only when it is proven that the first moved nothing; only a refusal strikes its route off."""
    shop.routes = [SANDBOX, OTHER]
    await shop.merchant(1, money=5000)
    payout = await shop.paid_out(1)
    first = await shop.opened(payout)
    for kind, verdict in heard:
        await shop.hear_of(first, verdict, kind=kind)
    assert (await shop.read(payout)).state == state
    opened = await claim(shop, payout, 2)
    assert (opened.connector if opened else None) == second
    assert len(await shop.attempts(payout)) == (1 if second is None else 2)
    await holds(shop)


async def test_what_was_not_sent_goes_around_a_provider_that_is_down(shop: Shop) -> None:
    """Not sent, and the provider is left alone by now: the next attempt takes the next route, and says why."""
    shop.routes = [SANDBOX, OTHER]
    await shop.merchant(1, money=5000)
    payout = await shop.paid_out(1)
    await shop.hear_of(await shop.opened(payout), NotSent("connection refused"))
    opened = await claim(shop, payout, 2, facts={"sandbox": Fact(calls=0, why=Why.BREAKER)})
    assert opened is not None and opened.connector == "other"
    ((number, decision, _),) = await kept(shop, payout)
    assert number == 2 and [str(one.why) for one in decision.objections] == ["breaker"]


async def test_a_refusal_with_a_route_that_is_down_waits(shop: Shop) -> None:
    """Refused by the first, and the second is down: the payout is queued and waits for the second; it does not fail."""
    shop.routes = [SANDBOX, OTHER]
    await shop.merchant(1, money=5000)
    payout = await shop.paid_out(1)
    assert (await shop.hear_of(await shop.opened(payout), Rejected("short", elsewhere=True))).effect == "queued"
    assert await claim(shop, payout, 2, facts={"other": Fact(calls=0, why=Why.BREAKER)}) is None
    assert (await shop.read(payout)).state is PayoutState.QUEUED
    opened = await claim(shop, payout, 2)
    assert opened is not None and opened.connector == "other"


async def test_a_rule_that_allows_only_one_fails_what_it_refuses(database: Database, world: World, tmp_path: Path) -> None:
    """Refused by the only provider that the rule allows, a payout fails at once, though another could have carried it."""
    house = await build_house(database, world, tmp_path, routes=(BANK, EVERYTHING))
    merchant = (await house.merchant()).merchant
    house.desk.rules = [Rule("bank alone", connectors=("bank",), only=True)]
    payout = await sbp_payout(house, merchant, MEMBER)
    (opened,) = await house.claim()
    assert (await house.tell(opened, Rejected("short", elsewhere=True))).effect == "failed"
    assert [one.reason for one in await house.payouts(merchant)] == ["no_route"] and payout.payout_id == opened.payout.payout_id


# --- banks ---


async def sbp_payout(house: Any, merchant: Any, member: str) -> Payout:
    draft = house.desk.draft(
        merchant, read_sbp("79161234567", member), Money(5000, "RUB"), surface="own", reference=None, amount_text="50.00",
        execute=True, actor="test",
    )  # fmt: skip
    found = await house.desk.create(merchant, draft)
    assert isinstance(found, Found)
    return found.payout


async def test_the_bank_is_read_from_the_sealed_destination(database: Database, world: World, tmp_path: Path) -> None:
    """A rule on the SBP member routes by it, though no column holds it; neither the decision nor the story tells it."""
    house = await build_house(database, world, tmp_path, routes=(BANK, EVERYTHING))
    merchant = (await house.merchant()).merchant
    house.desk.rules = [Rule("own clients", rails=("sbp",), banks=(MEMBER,), connectors=("sandbox",))]
    chosen = {}
    for member in (MEMBER, ANOTHER):
        payout = await sbp_payout(house, merchant, member)
        (opened,) = await house.claim()
        chosen[member] = opened.connector
        (routing,) = (await read_story(house.desk, payout)).routings
        assert member not in routing.decision and MEMBER not in routing.decision
    assert chosen == {MEMBER: "sandbox", ANOTHER: "bank"}


async def test_a_destination_that_does_not_open_has_no_bank(database: Database, world: World, tmp_path: Path) -> None:
    """A rule on a bank does not fit a payout whose destination cannot be opened; the claim goes on, and its sender will say so."""
    house = await build_house(database, world, tmp_path, routes=(BANK, EVERYTHING))
    merchant = (await house.merchant()).merchant
    house.desk.rules = [Rule("own clients", banks=(MEMBER,), connectors=("sandbox",))]
    payout = await sbp_payout(house, merchant, MEMBER)

    async def spoil(tx: Transaction) -> None:
        await tx.execute("UPDATE payouts SET sealed = '\\x0102' WHERE shard = 0 AND payout_id = $1", payout.payout_id)

    await database.run(spoil)
    (opened,) = await house.claim()
    assert opened.connector == "bank"


# --- what a claim costs ---


async def test_a_claim_pays_no_statement_for_routing(shop: Shop) -> None:
    """Rules, facts, and reasons to keep: a claim sends exactly as many statements as one without any of them."""
    shop.routes = [SANDBOX, OTHER]
    await shop.merchant(1, money=90_000)
    rules, facts = [Rule("r", connectors=("other",))], {"other": Fact(calls=1, balances=(("RUB", 10**6),))}
    sent: dict[str, list[str]] = {}
    await shop.opened(await shop.paid_out(1))
    for name, how in (("plain", Router(shop.routes)), ("ruled", Router(shop.routes, rules, facts))):
        payout = await shop.paid_out(1)
        one = Claim(payout.payout_id, 1, 1, "w", 30, shop.now())
        if name == "ruled":  # its account comes into being before
            await claim(shop, await shop.paid_out(1), rules=rules)
        told = sent.setdefault(name, [])

        async def work(tx: Transaction, one: Claim = one, how: Router = how, told: list[str] = told) -> list[Opened | None]:
            with tx.connection.query_logger(lambda record: told.append(record.query)):
                return await attempts.claim(tx, 0, [one], routes=shop.routes, router=how)

        assert (await shop.database.run(work))[0] is not None
    assert len(sent["plain"]) == len(sent["ruled"]) == 3  # lock, read, write
    assert not any("connector_facts" in sql for sql in sent["plain"] + sent["ruled"])
    assert ["routings" in sql for sql in sent["plain"]].count(True) == 0
    assert ["routings" in sql for sql in sent["ruled"]].count(True) == 1


async def test_an_id_that_was_spoken_of_stays_there(shop: Shop) -> None:
    """Of a lost tail: an id that a provider spoke of goes nowhere else, whatever the rules say, and that is told."""
    shop.routes = [SANDBOX, OTHER]
    await shop.merchant(1, money=5000)
    payout = await shop.paid_out(1)
    await shop.hear(Heard("sandbox", f"{payout.base}-1", "callback", Settled("p"), shop.now(), "provider:sandbox"))
    assert await claim(shop, payout, rules=[Rule("r", connectors=("other",), only=True)]) is None
    assert (await shop.attempt(payout)).connector == "sandbox"
    ((_, decision, _),) = await kept(shop, payout)
    assert (decision.chosen, decision.rule) == ("sandbox", "spoken of before")
