"""Two installations for the IntellectMoney tests: one pays through its connector, the other serves the door and its sandbox bank.

Lives here: `Payer`, the installation that pays (its workers can be killed, its clock is moved by the test), and `Weather`, the
wire between the two, on which a request is lost, arrives late, or stands still with whoever sent it.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from disburse.connectors.intellectmoney import IntellectMoneyConnector
from disburse.connectors.intellectmoney_settings import IntellectMoneySettings
from disburse.connectors.kind import Secret
from disburse.connectors.transport import MOST_BYTES, HttpTransport
from disburse.domain.destinations import Destination, Rail, read_card
from disburse.domain.money import Money
from disburse.domain.outcomes import NotSent, Unknown
from disburse.domain.payout import Payout
from disburse.domain.ports import Clock, World
from disburse.operations.merchants import NewMerchant
from disburse.operations.payouts import Found
from disburse.operations.verify import verify
from disburse.protocols.wire import WireAnswer
from disburse.storage.database import Database
from tests.conformance.running import Running
from tests.workers.provider import Town

CARD = read_card("4111111111111111", luhn=True)
PHONE = Destination(Rail.SBP, "79510000071", "100000000004", "Иван И.")
NONE: Mapping[str, str] = {}
_amounts = itertools.count(100_00, 100)  # the bank keeps one book for all tests

GONE, LOST, LATE, EXPIRED, STOP_BEFORE, STOP_AFTER = "gone", "lost", "late", "expired", "stop before", "stop after"
"""What becomes of a request: it never arrives; its answer does not; it arrives when the test says so; it finds its token over; its
sender stands still before it is sent, or before it has heard the answer."""

Fate = Callable[[str], str | None]
"""From the method that is called to what becomes of the request."""


class Weather(HttpTransport):
    """The real transport, and what happens to requests on the way."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.fate: Fate = lambda method: None
        self.called: Counter[str] = Counter()
        self.standing = 0
        self.on_the_way: list[tuple[str, str, Mapping[str, str], bytes | None]] = []
        self.expire: Callable[[], Awaitable[None]]

    async def send(
        self, method: str, url: str, *, deadline_s: float, headers: Mapping[str, str] = NONE, body: bytes | None = None,
        most_bytes: int = MOST_BYTES,
    ) -> WireAnswer | NotSent | Unknown:
        name = url.rpartition("/")[2].lower()
        self.called[name] += 1
        fate = self.fate(name)
        if fate == GONE:
            return Unknown("the connection broke")
        if fate == LATE:
            self.on_the_way.append((method, url, headers, body))
            return Unknown("time-out")
        if fate == STOP_BEFORE:
            await self._stand()
        if fate == EXPIRED:
            await self.expire()
        answer = await super().send(method, url, deadline_s=deadline_s, headers=headers, body=body, most_bytes=most_bytes)
        if fate == STOP_AFTER:
            await self._stand()
        return Unknown("time-out") if fate == LOST else answer

    async def arrive(self) -> None:
        """Let all late requests arrive now; nobody hears their answers."""
        late, self.on_the_way = self.on_the_way, []
        for method, url, headers, body in late:
            await super().send(method, url, deadline_s=30, headers=headers, body=body)

    async def _stand(self) -> None:
        self.standing += 1
        await asyncio.Event().wait()


class Payer(Town):
    """The installation that pays. `bank` is the one that it pays through, `theirs` its account there."""

    def __init__(self, database: Database, world: World, directory: Path, bank: Running, generation: str) -> None:
        super().__init__(database, world, directory, [])
        self.bank = bank
        self.theirs: NewMerchant = bank.merchant(f"{uuid4().hex}@example.com", funds="1000000.00", require_sign=generation == "new")
        self.weather = Weather(self.clock)
        self.weather.expire = self._expire
        self.generation = generation
        self.providers = {"im": self._connector()}  # type: ignore[dict-item]

    def _connector(self) -> IntellectMoneyConnector:
        made = self.theirs
        settings = IntellectMoneySettings(
            base_url=f"http://127.0.0.1:{self.bank.port}", generation=self.generation,  # type: ignore[arg-type]
            login=Secret(lambda: made.merchant.login), password=Secret(lambda: made.password),
            bearer=Secret(lambda: made.bearer_token), sign_secret_key=Secret(lambda: made.sign_secret_key),
            execute_again_after_s=0.5,
        )  # fmt: skip
        return IntellectMoneyConnector(settings, self.weather, self.clock, name="im")

    def renew_connector(self) -> None:
        """As after a restart: nothing in memory."""
        self.providers = {"im": self._connector()}  # type: ignore[dict-item]

    async def order(self, *endings: int, destination: Destination | None = None) -> list[Payout]:
        """Payouts made and queued; no two of one amount, so that each is found in every book by it."""
        desk, made = self.desk(), []
        for n, ending in enumerate(endings):
            amount = next(_amounts)
            default = PHONE if self.generation == "new" and n % 2 else CARD
            draft = desk.draft(
                self.merchant, destination or default, Money(amount + ending, "RUB"), surface="own", reference=None,
                amount_text="x", execute=True, actor="test",
            )  # fmt: skip
            found = await desk.create(self.merchant, draft)
            assert isinstance(found, Found)
            made.append(found.payout)
        return made

    async def _expire(self) -> None:
        await asyncio.to_thread(self._expire_now)

    def _expire_now(self) -> None:
        self.bank.rows("DELETE FROM tokens WHERE merchant_id = $1", self.theirs.merchant.merchant_id)
        self.bank.forget()

    async def standing(self, count: int) -> bool:
        return self.weather.standing >= count

    async def compare(self) -> None:
        """Our books, theirs and their bank's say the same of each amount: paid once, or by nobody. Both sides' invariants hold."""
        rows = await self.rows("SELECT amount_minor, CASE WHEN frozen IS NULL THEN state ELSE frozen END FROM payouts")
        ours = {row[0]: row[1] for row in rows}
        theirs: Counter[int] = Counter()
        for minor, state in await asyncio.to_thread(
            self.bank.rows, "SELECT amount_minor, state FROM payouts WHERE merchant_id = $1", self.theirs.merchant.merchant_id
        ):
            theirs[minor] += state in ("paid", "returned")
            assert state in ("paid", "returned", "failed", "created"), "something is still under way there"
        lines: list[dict[str, Any]] = [json.loads(line) for line in self.bank.house.sandbox_book.read_text().splitlines()]
        bank = Counter(int(str(line["amount"]).replace(".", "")) for line in lines if line["did"] == "paid")
        assert set(ours.values()) <= {"paid", "failed"}
        for minor, state in ours.items():
            wanted = 1 if state == "paid" else 0
            assert (theirs[minor], bank[minor]) == (wanted, wanted), (minor, state)
        for database in (self.database, self.bank.house.database):
            report = await verify(database) if database is self.database else await asyncio.to_thread(self._theirs_hold)
            assert report.holds, report.findings

    def _theirs_hold(self) -> Any:
        return self.bank.run(verify(self.bank.house.database))

    async def all_final_there(self) -> bool:
        rows = await asyncio.to_thread(
            self.bank.rows, "SELECT 1 FROM payouts WHERE merchant_id = $1 AND state IN ('queued', 'in_flight', 'in_doubt')",
            self.theirs.merchant.merchant_id,
        )  # fmt: skip
        return not rows
