"""A whole installation that serves: doors, desk, workers and the sandbox bank, in a thread of its own, on a real port and database.

Lives here: how it is started, and the operator's hand for the tests: merchants with given secrets, money, settings, and rows
moved in time. The tests themselves only write bytes to its port (`tests/conformance/wire.py`).
"""

from __future__ import annotations

import asyncio
import io
import itertools
import os
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import asyncpg
import structlog

from disburse.assembly import Instruments, make_app
from disburse.domain.merchant import Merchant
from disburse.domain.money import Money, read_amount
from disburse.domain.routing import Route
from disburse.logs import configure
from disburse.operations.merchants import NewMerchant, add_merchant, draw_top_up, set_merchant
from disburse.operations.secrets import digest
from disburse.server import serve
from disburse.settings import Fee, Settings
from disburse.storage import merchants
from disburse.wiring import House, open_house, working
from disburse.world import real_world

T = TypeVar("T")

PATIENCE_S = 30.0
FEES = {"card": Fee(basis_points=350), "sbp": Fee(basis_points=70), "webmoney": Fee(basis_points=200)}
"""The fees that the UnitPay page shows in its section 7."""
MINIMUMS = {"usdt": 500}
"""A rail's own minimum; the others keep theirs, one rouble."""

_numbers = itertools.count(1)


class Running:
    """A running installation. Every method may be called from the test's thread."""

    def __init__(self, settings: Settings) -> None:
        self.port = 0
        self.written = io.StringIO()
        self._settings = settings
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._listening = threading.Event()
        self._thread = threading.Thread(target=self._live, name="a running server", daemon=True)
        self._fault: BaseException | None = None
        self._house: House | None = None

    @property
    def house(self) -> House:
        if self._house is None:
            raise AssertionError("the server does not run") from self._fault
        return self._house

    def start(self) -> None:
        self._thread.start()
        self._listening.wait(PATIENCE_S)
        self.house  # noqa: B018 (raises why it could not start)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(PATIENCE_S)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do this on the server's own loop, and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE_S)

    def _live(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        except BaseException as fault:
            self._fault = fault
        finally:
            self._house = None
            self._listening.set()
            self._loop.close()

    async def _serve(self) -> None:
        world = real_world()
        instruments = Instruments(world)
        configure(world.clock, stream=self.written, pretty=False)
        async with (
            open_house(self._settings, world, gauges=instruments.gauges) as house,
            working(house, api=True, workers=True),
        ):
            front = make_app(house, instruments)
            self._house = house
            await serve(
                front.app, host="127.0.0.1", port=0, world=world, metrics=front.metrics,
                logger=structlog.get_logger(), stop=self._stop, signals=False, on_listening=self._listens,
            )  # fmt: skip

    def _listens(self, port: int) -> None:
        self.port = port
        self._listening.set()

    # --- the operator's hand ---

    def merchant(
        self,
        login: str = "",
        *,
        funds: str = "100000.00",
        currency: str = "RUB",
        secrets: Mapping[str, str] | None = None,
        pci_dss: bool = True,
        **settings: Any,
    ) -> NewMerchant:
        """A fresh merchant with money. Its massPayment waits for the payout's end unless `settings` say otherwise."""
        house, login = self.house, login or f"shop{next(_numbers)}@example.com"

        async def make() -> NewMerchant:
            return await add_merchant(
                house.database, house.world, house.vault, name=login, login=login, actor="test", pci_dss=pci_dss,
                settings={"answer_wait_ms": 5000, **settings}, secrets=secrets,
            )  # fmt: skip

        made = self.run(make())
        if read_amount(funds, currency).minor:
            self.top_up(made.merchant, funds, currency)
        return made

    def top_up(self, merchant: Merchant, amount: str, currency: str = "RUB") -> None:
        house = self.house
        command = draw_top_up(house.world, merchant, read_amount(amount, currency), actor="test")
        self.run(house.desk.top_up(merchant, command))

    def set(self, merchant: Merchant, **settings: Any) -> None:
        """Change a merchant's settings, known to the doors at once."""
        house = self.house

        self.run(set_merchant(house.database, merchant, settings, at=house.world.clock.now(), actor="test"))
        self.forget()

    def plant_token(self, merchant: Merchant, token: str, *, minutes: float = 30) -> None:
        """Make a token of the test's choosing a living one of this merchant's."""
        house = self.house
        ends = house.world.clock.now() + timedelta(minutes=minutes)
        self.run(
            house.database.run(
                lambda tx: merchants.add_token(tx, digest(token), merchant.shard, merchant.merchant_id, ends)
            )
        )

    def vacate(self, *keys: str) -> None:
        """Nobody is found by these logins, tokens or keys any more, so that a fresh merchant can have them."""
        digests = [digest(key) for key in keys]
        self.rows("DELETE FROM lookups WHERE key_digest = ANY ($1::bytea[])", digests)
        self.rows("DELETE FROM tokens WHERE token_digest = ANY ($1::bytea[])", digests)
        self.forget()

    def forget(self) -> None:
        """The doors read merchants and tokens afresh."""

        async def forget() -> None:
            self.house.desk.recognition.forget()

        self.run(forget())

    def cancel(self, merchant: Merchant, payout: str) -> None:
        desk = self.house.desk
        self.run(desk.cancel(merchant, desk.act(merchant, UUID(payout), "test")))

    @contextmanager
    def routes(self, *routes: Route) -> Iterator[None]:
        """For a while these are all the connectors there are. Nothing may be sent meanwhile."""
        desk = self.house.desk
        kept, desk.routes = desk.routes, routes
        try:
            yield
        finally:
            desk.routes = kept

    # --- what the rows say, and moving them in time ---

    def rows(self, sql: str, *values: Any) -> list[asyncpg.Record]:
        """A statement of the database's owner."""
        dsn = self.house.dsn

        async def ask() -> list[asyncpg.Record]:
            connection = await asyncpg.connect(dsn, server_settings={"search_path": "disburse"})
            try:
                found: list[asyncpg.Record] = await connection.fetch(sql, *values)
                return found
            finally:
                await connection.close()

        return self.run(ask())

    def count(self, merchant: Merchant) -> int:
        """How many payouts a merchant has."""
        [row] = self.rows("SELECT count(*) FROM payouts WHERE merchant_id = $1", merchant.merchant_id)
        found: int = row[0]
        return found

    def balances(self, merchant: Merchant, currency: str = "RUB") -> dict[str, str]:
        """Amounts by account, without those that are zero."""
        house = self.house
        rows = self.run(house.database.run(lambda tx: merchants.balances(tx, merchant.shard, merchant.merchant_id)))
        return {account: Money(minor, currency).text() for of, account, minor in rows if of == currency and minor}

    @contextmanager
    def stalled(self, merchant: Merchant, *, books: bool = False) -> Iterator[None]:
        """For a while nothing can be written for this merchant: somebody else holds its lock; with `books` no balance read either."""
        dsn = self.house.dsn

        async def hold() -> Any:
            connection = await asyncpg.connect(dsn, server_settings={"search_path": "disburse"})
            await connection.execute("BEGIN")
            await connection.fetch("SELECT 1 FROM merchants WHERE merchant_id = $1 FOR UPDATE", merchant.merchant_id)
            if books:
                await connection.execute("LOCK TABLE balances IN ACCESS EXCLUSIVE MODE")
            return connection

        connection = self.run(hold())
        try:
            yield
        finally:
            self.run(connection.close())


@contextmanager
def running(server: Callable[[str], str], template: str, data: Path, **settings: Any) -> Iterator[Running]:
    """An installation on a database of its own, cloned from the template, until the end of the block."""
    name = f"conformance_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}_{os.getpid()}_{next(_numbers)}"
    asyncio.run(_do(server("postgres"), f"CREATE DATABASE {name} TEMPLATE {template}"))
    one = Running(
        Settings(
            data=str(data), database_url=server(name), unsafe_database=True, sandbox=True, call_s=1.0,
            fees=FEES, minimums=MINIMUMS, **settings,
        )
    )  # fmt: skip
    try:
        one.start()
        yield one
    finally:
        one.stop()
        asyncio.run(_do(server("postgres"), f"DROP DATABASE {name} WITH (FORCE)"))


async def _do(dsn: str, *statements: str) -> Sequence[str]:
    connection = await asyncpg.connect(dsn)
    try:
        return [await connection.execute(statement) for statement in statements]
    finally:
        await connection.close()
