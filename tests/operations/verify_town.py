"""A small town of merchants whose payouts went every way there is, each by the real operations. For `test_verify.py`.

`populate` makes it on a fresh database; `Town` can also be used step by step. It keeps what an honest sandbox bank would have
written down, and the id of each payout under the name of its story.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from uuid import UUID

from disburse.domain.handed_in import hand_in
from disburse.domain.identifiers import base_of, payout_id
from disburse.domain.money import Money
from disburse.domain.outcomes import Absent, Accepted, NotFound, NotSent, Rejected, Returned, Settled, Unknown, Verdict
from disburse.domain.ports import World
from disburse.domain.routing import Route
from disburse.operations import approvals, attempts, evidence, merchants, payouts, two_steps
from disburse.operations.approvals import Answer, Answered, Ask, Asked, Resolve, ReverseTopUp, Withdraw
from disburse.operations.attempts import Claim, Opened
from disburse.operations.evidence import Applied, Heard
from disburse.operations.installation import open_installation
from disburse.operations.merchants import TopUp
from disburse.operations.operators import add_operator
from disburse.operations.payouts import Act, CreatePayout, Found
from disburse.operations.two_steps import Remember, Remembered
from disburse.operations.verify import Deed
from disburse.storage.database import Database, Transaction

INSTALLATION = UUID("6f1f7a52-7d5f-4c0e-8a42-2d4fd5a3c111")
SHARD = 0
ROUTES = [
    Route("sandbox", frozenset({"card", "sbp"}), frozenset({"RUB", "USD"}), sandbox=True),
    Route("second", frozenset({"card"}), frozenset({"RUB"})),
]


ABSENCE = {"sandbox": 60.0}
"""Two not-founds so many seconds apart prove absence here."""


class Town:
    """One database, its payouts by the name of their story, and what the bank behind `sandbox` wrote down."""

    def __init__(self, database: Database, world: World) -> None:
        self._database = database
        self._world = world
        self.ids: dict[str, UUID] = {}
        self.deeds: list[Deed] = []

    def now(self) -> datetime:
        return self._world.clock.now()

    def new_id(self) -> UUID:
        return payout_id(SHARD, self.now(), self._world.random.bytes(10))

    async def merchant(self, number: int) -> None:
        async def work(tx: Transaction) -> None:
            await tx.execute("INSERT INTO merchants (shard, merchant_id) VALUES ($1, $2)", SHARD, number)

        await self._database.run(work)

    async def top_up(self, merchant: int, amount: int, currency: str, reference: str) -> None:
        command = TopUp(self.new_id(), merchant, reference, Money(amount, currency), self.now(), "cli")
        assert await self._database.run(lambda tx: merchants.top_up(tx, SHARD, [command])) == [True]

    def command(
        self, story: str, amount: int, *, execute: bool = True, merchant: int = 1, fee: int = 15, currency: str = "RUB",
        rail: str = "card", content: str = "",
    ) -> CreatePayout:  # fmt: skip
        identifier = self.ids.setdefault(story, self.new_id()) if not content else self.new_id()
        return CreatePayout(
            identifier, merchant, "unitpay", story, base_of(SHARD, INSTALLATION, merchant, "unitpay", story, identifier),
            hashlib.sha256(f"{story}{amount}{content}".encode()).digest(), rail, Money(amount, currency), Money(fee, currency),
            "1.00", "411111******1111", b"d" * 32, b"s" * 60, self.now(), f"merchant:{merchant}", execute=execute,
        )  # fmt: skip

    async def persons(self, command: Ask) -> None:
        """Asked for by one operator and agreed to by another."""
        asked = await self._database.run(lambda tx: approvals.ask(tx, SHARD, command))
        assert isinstance(asked, Asked), asked
        word = Answer(asked.request.request_id, True, "", self.now(), "operator:2")
        answered = await self._database.run(lambda tx: approvals.answer(tx, SHARD, word))
        assert isinstance(answered, Answered), answered

    async def resolve(self, story: str, outcome: str, attempt: int | None = None) -> None:
        paper = hand_in(b"the bank's statement")
        await self.persons(
            Resolve(self.new_id(), 1, self.ids[story], outcome, attempt, paper, self.now(), "operator:1")
        )

    async def settle_in(self) -> None:
        """The installation, with two operators."""
        await self._database.run(lambda tx: open_installation(tx, self._world, b"key check"))
        for name in ("Anna", "Boris"):
            await add_operator(self._database, self._world, name=name, actor="cli")

    async def create(self, *commands: CreatePayout) -> None:
        made = await self._database.run(lambda tx: payouts.create(tx, SHARD, commands))
        assert all(isinstance(one, Found) for one in made), made

    def act(self, story: str, merchant: int = 1) -> Act:
        return Act(self.ids[story], merchant, self.now(), f"merchant:{merchant}")

    async def execute(self, *stories: str) -> None:
        await self._database.run(lambda tx: payouts.execute(tx, SHARD, [self.act(story) for story in stories]))

    async def cancel(self, *stories: str) -> None:
        await self._database.run(lambda tx: payouts.cancel(tx, SHARD, [self.act(story) for story in stories]))

    async def expire(self, story: str) -> None:
        await self._database.run(lambda tx: payouts.expire(tx, SHARD, [self.act(story)]))

    async def grow_old(self, *stories: str) -> None:
        """Let the time in which these could be executed be over."""
        ids = [self.ids[story] for story in stories]
        for table in ("payouts", "expiries"):
            sql = f"UPDATE {table} SET expires_at = expires_at - interval '2 days' WHERE payout_id = ANY ($1::uuid[])"
            await self._database.run(lambda tx, sql=sql: tx.execute(sql, ids))  # type: ignore[misc]

    async def claim(self, story: str, attempt: int = 1, merchant: int = 1) -> Opened:
        opened = await self.try_claim(story, attempt, merchant)
        assert opened is not None
        return opened

    async def try_claim(self, story: str, attempt: int = 1, merchant: int = 1) -> Opened | None:
        claims = [Claim(self.ids[story], attempt, merchant, "worker-1", 30, self.now())]
        (opened,) = await self._database.run(lambda tx: attempts.claim(tx, SHARD, claims, routes=ROUTES))
        return opened

    async def remember(self, opened: Opened, reference: str) -> None:
        """The provider takes orders in two steps, and made this operation."""
        payout = opened.payout
        command = Remember(
            payout.payout_id, opened.attempt, payout.merchant_id, opened.connector, opened.end_to_end_id, "worker-1", opened.epoch,
            reference, self.now(), "worker-1",
        )  # fmt: skip
        assert await self._database.run(lambda tx: two_steps.remember(tx, SHARD, [command])) == [Remembered.KEPT]

    async def hear(
        self, opened: Opened, *verdicts: Verdict, kind: str = "answer", placed: bool = True, asked_in_s: float | None = None
    ) -> Applied:
        """Record what was said, one message a verdict, in one transaction; the last one's effect comes back.

        `asked_in_s`: of an answer to an inquiry, how many seconds from now its question was put.
        """
        asked_at = self.now() + timedelta(seconds=asked_in_s) if asked_in_s is not None else None
        where = (opened.payout.payout_id, opened.attempt, opened.payout.merchant_id) if placed else None
        heard = [
            Heard(opened.connector, opened.end_to_end_id, kind, verdict, self.now(), "worker-1", str(n), where, asked_at)
            for n, verdict in enumerate(verdicts)
        ]
        return (await self._database.run(lambda tx: evidence.record(tx, SHARD, heard, routes=ROUTES, absence=ABSENCE)))[-1]

    async def hear_raw(self, *heard: Heard) -> None:
        await self._database.run(lambda tx: evidence.record(tx, SHARD, heard, routes=ROUTES))

    def wrote(self, opened: Opened, did: str, *, minor: int | None = None) -> None:
        """The bank's book has this line; only the bank behind `sandbox` shows us its book."""
        if opened.connector == "sandbox":
            amount = Money(opened.payout.amount_minor if minor is None else minor, opened.payout.currency)
            self.deeds.append(Deed(opened.end_to_end_id, did, amount.text(), amount.currency))

    async def pay(self, opened: Opened, kind: str = "answer") -> None:
        self.wrote(opened, "paid")
        assert (await self.hear(opened, Settled("ref", opened.payout.amount), kind=kind)).effect == "paid"


async def populate(town: Town) -> None:
    """Every story once, or more often where one can be told in several ways."""
    for merchant in (1, 2, 3):
        await town.merchant(merchant)
    await town.top_up(1, 10_000_000, "RUB", "first")
    await town.top_up(1, 500_000, "USD", "dollars")
    await town.top_up(2, 700_000, "RUB", "first")
    await town.top_up(1, 40_000, "RUB", "by mistake")
    await town.top_up(3, 40_000, "RUB", "first")
    await town.settle_in()
    await _never_sent(town)
    await _under_way(town)
    await _ended(town)
    await _tried_again(town)
    await _returned(town)
    await _frozen(town)
    await _by_persons(town)


async def _never_sent(town: Town) -> None:
    await town.create(
        town.command("created", 1_000, execute=False),
        town.command("unfunded", 90_000_000, execute=False),
        town.command("executed", 1_100, execute=False),
        town.command("cancelled", 1_200, execute=False),
        town.command("expired", 1_300, execute=False),
        town.command("expired late", 1_400, execute=False),
        town.command("cancelled held", 1_500),
        town.command("queued", 1_600),
        town.command("queued", 1_700, content="other"),
        town.command("queued", 1_700, content="other"),
        town.command("unroutable", 1_800, rail="qiwi"),
    )
    await town.create(town.command("queued", 1_700, content="another"))
    await town.grow_old("expired", "expired late")
    await town.execute("unfunded", "executed", "expired late")
    await town.execute("unfunded")
    await town.cancel("cancelled", "cancelled held")
    await town.expire("expired")
    await town.expire("unfunded")
    assert await town.try_claim("unroutable") is None


async def _under_way(town: Town) -> None:
    stories = ("open", "accepted", "doubt", "heard again", "paid unheard", "remembered")
    await town.create(*[town.command(story, 2_000 + n) for n, story in enumerate(stories)])
    opened = {story: await town.claim(story) for story in stories}
    await town.remember(opened["remembered"], "operation-0")
    town.wrote(opened["accepted"], "accepted")
    await town.hear(opened["accepted"], Accepted("ref"))
    await town.hear(opened["doubt"], Unknown("time-out"))
    await town.hear(opened["doubt"], NotFound(), kind="inquiry")
    await town.hear(opened["heard again"], Unknown("time-out"))
    await town.hear(opened["heard again"], Accepted("ref"), kind="callback", placed=False)
    await town.hear(opened["paid unheard"], Unknown("worker fell silent"), kind="lease")
    town.wrote(opened["paid unheard"], "paid")


async def _ended(town: Town) -> None:
    await town.create(
        town.command("paid", 3_000),
        town.command("paid for nothing", 3_100, fee=0),
        town.command("paid late", 3_200),
        town.command("paid in dollars", 3_300, currency="USD"),
        town.command("paid by two", 3_400, merchant=2),
        town.command("failed", 3_500),
        town.command("failed in doubt", 3_600),
    )
    await town.pay(await town.claim("paid"))
    await town.pay(await town.claim("paid for nothing"))
    late = await town.claim("paid late")
    await town.hear(late, Unknown("time-out"), Accepted("ref"))
    await town.pay(late, kind="inquiry")
    assert (await town.hear(late, Settled("ref", late.payout.amount), kind="callback")).effect == "nothing"
    await town.pay(await town.claim("paid in dollars"))
    await town.pay(await town.claim("paid by two", merchant=2))
    failed = await town.claim("failed")
    town.wrote(failed, "refused")
    await town.hear(failed, Rejected("cannot receive"))
    doubtful = await town.claim("failed in doubt")
    await town.hear(doubtful, Unknown("time-out"))
    await town.hear(doubtful, Rejected("refused"), kind="inquiry")


async def _tried_again(town: Town) -> None:
    short = Rejected("balance short", elsewhere=True)
    stories = ("elsewhere", "nowhere", "sent at last", "absent", "given up")
    await town.create(*[town.command(story, 4_000 + n) for n, story in enumerate(stories)])
    await town.hear(await town.claim("elsewhere"), short)
    await town.pay(await town.claim("elsewhere", 2))
    await town.hear(await town.claim("nowhere"), short)
    await town.hear(await town.claim("nowhere", 2), short)
    await town.hear(await town.claim("sent at last"), NotSent("no connection"))
    await town.pay(await town.claim("sent at last", 2))
    absent = await town.claim("absent")
    await town.hear(absent, Unknown("time-out"))
    await town.hear(absent, Absent(), kind="inquiry")
    await town.hear(await town.claim("given up"), NotSent("no connection"))
    await town.cancel("given up")


async def _returned(town: Town) -> None:
    stories = ("returned", "returned in parts", "returned first", "returned from doubt")
    await town.create(*[town.command(story, 5_000 + n) for n, story in enumerate(stories)])
    for story in stories:
        opened = await town.claim(story)
        if story in ("returned", "returned in parts"):
            await town.pay(opened)
        else:
            town.wrote(opened, "paid")
        if story == "returned from doubt":
            await town.hear(opened, Unknown("time-out"))
        town.wrote(opened, "returned")
        if story == "returned in parts":
            await town.hear(opened, Returned("R1", Money(2_000, "RUB")), kind="callback")
            await town.hear(opened, Returned("R2", Money(500, "RUB")), kind="callback")
        else:
            await town.hear(opened, Returned("R1", opened.payout.amount), kind="callback")


async def _frozen(town: Town) -> None:
    stories = (
        "frozen failed", "frozen queued", "frozen beside a live one", "frozen in flight", "frozen in doubt", "frozen paid",
        "frozen paid twice",
    )  # fmt: skip
    await town.create(*[town.command(story, 6_000 + n) for n, story in enumerate(stories)])
    opened = {story: await town.claim(story) for story in stories}
    for story, proof in (
        ("frozen failed", Rejected("refused")),
        ("frozen queued", NotSent("no connection")),
        ("frozen beside a live one", Rejected("balance short", elsewhere=True)),
        ("frozen paid twice", Rejected("balance short", elsewhere=True)),
    ):
        await town.hear(opened[story], proof)
    beside = await town.claim("frozen beside a live one", 2)
    await town.pay(await town.claim("frozen paid twice", 2))
    for story in ("frozen failed", "frozen queued", "frozen beside a live one", "frozen paid twice"):
        town.wrote(opened[story], "paid")
        applied = await town.hear(opened[story], Settled("ref", opened[story].payout.amount), kind="callback")
        assert applied.effect == "frozen:paid_after_refusal"
    await town.hear(beside, Settled("ref", beside.payout.amount))  # kept, and changes nothing: a person decides
    await town.hear(opened["frozen in flight"], Settled("ref", Money(1, "RUB")))
    await town.hear(opened["frozen in doubt"], Unknown("time-out"))
    await town.hear(opened["frozen in doubt"], Returned("R1", Money(7_000_000, "RUB")), kind="callback")
    await town.pay(opened["frozen paid"])
    await town.hear(opened["frozen paid"], Rejected("refused"), kind="inquiry")
    stranger = Heard("sandbox", "not-one-of-ours", "callback", Settled(), town.now(), "sandbox")
    elsewhere = Heard("second", opened["frozen paid"].end_to_end_id, "callback", Settled(), town.now(), "second")
    await town.hear_raw(stranger, elsewhere)


async def _by_persons(town: Town) -> None:
    """Doubts and frozen payouts that two persons ended, absence found twice, and money corrected by hand."""
    stories = (
        "vouched paid", "vouched not moved", "thawed paid", "thawed failed", "covered", "covered from the queue", "given back",
        "not found twice", "frozen once more",
    )  # fmt: skip
    await town.create(*[town.command(story, 7_000 + n) for n, story in enumerate(stories)])
    opened = {story: await town.claim(story) for story in stories}
    settled = {story: Settled("ref", opened[story].payout.amount) for story in stories}
    short = Rejected("balance short", elsewhere=True)
    for story in ("vouched paid", "vouched not moved", "thawed paid", "not found twice"):
        await town.hear(opened[story], Unknown("time-out"))
    for story in ("vouched paid", "thawed paid"):
        town.wrote(opened[story], "paid")
    await town.resolve("vouched paid", "paid")
    await town.resolve("vouched not moved", "not-moved")
    await town.hear(opened["thawed paid"], Settled("ref", Money(1, "RUB")), kind="callback")
    await town.resolve("thawed paid", "paid")
    for story in ("thawed failed", "covered", "frozen once more"):
        await town.hear(opened[story], Rejected("refused") if story != "covered" else short)
    await town.hear(await town.claim("covered", 2), Unknown("time-out"))
    await town.hear(opened["covered from the queue"], NotSent("no connection"))
    for story in ("thawed failed", "covered", "covered from the queue", "frozen once more"):
        if story.startswith("covered"):
            town.wrote(opened[story], "paid")
        await town.hear(opened[story], settled[story], kind="callback")
    await town.resolve("thawed failed", "not-moved")
    await town.resolve("covered", "paid", 1)
    await town.resolve("covered from the queue", "paid")
    await town.resolve("frozen once more", "not-moved")
    town.wrote(opened["frozen once more"], "paid")
    await town.hear(opened["frozen once more"], settled["frozen once more"], kind="inquiry")
    await town.hear(opened["given back"], settled["given back"])
    await town.hear(opened["given back"], Rejected("refused"), kind="inquiry")
    await town.resolve("given back", "not-moved")
    await town.hear(opened["not found twice"], NotFound(), kind="inquiry", asked_in_s=0)
    assert (await town.hear(opened["not found twice"], NotFound(), kind="inquiry", asked_in_s=59)).effect == "repeated"
    assert (await town.hear(opened["not found twice"], NotFound(), kind="inquiry", asked_in_s=61)).effect == "queued"
    paper = hand_in(b"booked for another merchant")
    await town.persons(ReverseTopUp(town.new_id(), 1, "by mistake", paper, town.now(), "operator:1"))
    await town.persons(Withdraw(town.new_id(), 3, "w-1", Money(1_000, "RUB"), paper, town.now(), "operator:1"))
