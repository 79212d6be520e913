"""The sandbox bank in process: every row of its table, its memory, its guard, absence, callbacks; on a clock that tests move."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from disburse.connectors.contract import Connector
from disburse.connectors.sandbox import SandboxConnector, sandbox_capabilities
from disburse.connectors.sandbox_callbacks import AGAIN_AFTER_S
from disburse.connectors.sandbox_rules import rule_for
from disburse.domain.destinations import Destination, Rail
from disburse.domain.outcomes import Absent, Accepted, Finding, NotFound, Outcome, Rejected, Returned, Settled, Unknown
from disburse.world_spool import FileInUse, FileSpool
from tests.clock import FakeClock
from tests.connectors.sandbox_house import (
    BASE,
    PATIENCE_S,
    CountingSpool,
    Listener,
    deeds,
    lines,
    money,
    order,
    question,
    written,
)

pytestmark = pytest.mark.asyncio

Start = Callable[..., Awaitable[SandboxConnector]]
ONE = f"{BASE}-1"
FIRST, SECOND = "SB0000000001", "SB0000000002"
CANNOT = Rejected("destination cannot receive", provider_reference=FIRST)
SHORT = Rejected("provider balance short", elsewhere=True, provider_reference=FIRST)
REFUSED = Rejected("refused by the bank", provider_reference=FIRST)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def book(tmp_path: Path) -> Path:
    return tmp_path / "book.jsonl"


@pytest.fixture
async def start(clock: FakeClock, book: Path) -> AsyncIterator[Start]:
    """Starts banks, and stops them when the test is over."""
    async with AsyncExitStack() as stack:

        async def started(
            listener: Listener | None = None, *, guard: bool = False, path: Path = book
        ) -> SandboxConnector:
            connector = SandboxConnector(FileSpool(path), clock, guard=guard)
            await connector.start((listener or Listener()).hear)
            stack.push_async_callback(connector.stop)
            return connector

        yield started


@asynccontextmanager
async def submitted(connector: Connector, amount: str) -> AsyncIterator[asyncio.Task[Outcome]]:
    """A call under way whose answer nobody waits for yet."""
    task = asyncio.create_task(connector.submit(order(amount)))
    yield task
    await asyncio.wait_for(task, PATIENCE_S)


async def submit(connector: Connector, clock: FakeClock, book: Path, amount: str, end_to_end_id: str = ONE) -> Outcome:
    """Submit, and where the answer is lost let the deadline pass."""
    before = len(lines(book))
    task = asyncio.create_task(connector.submit(order(amount, end_to_end_id)))
    if amount[-2:] in ("33", "44"):
        await written(book, before + 1)
        await clock.advance(8.0)
        await connector.inquire(question(end_to_end_id))  # an answer, so what was done meanwhile is in the book
    return await asyncio.wait_for(task, PATIENCE_S)


async def until_advancing(ask: Callable[[], Awaitable[Finding]], kind: type[Finding], clock: FakeClock) -> None:
    """Ask while time passes, until the answer is of this kind."""
    async with asyncio.timeout(PATIENCE_S):
        while not isinstance(await ask(), kind):
            await clock.advance(1.0)


def killed(book: Path) -> Path:
    """The book as a kill at this moment would leave it: a copy that no process has open."""
    left = book.with_name(f"{book.stem}-left.jsonl")
    shutil.copy(book, left)
    return left


# --- the table ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "amount, outcome, finding, did",
    [
        ("10.00", Settled(FIRST, money("10.00")), Settled(FIRST, money("10.00")), ["paid"]),
        ("50", Settled(FIRST, money("50")), Settled(FIRST, money("50")), ["paid"]),
        ("0.01", Settled(FIRST, money("0.01")), Settled(FIRST, money("0.01")), ["paid"]),
        ("11.12", Settled(FIRST, money("11.12")), Settled(FIRST, money("11.12")), ["paid"]),
        ("1.11", Accepted(FIRST), Accepted(FIRST), ["accepted"]),
        ("2.22", CANNOT, CANNOT, ["refused"]),
        ("3.33", Unknown("time-out"), Settled(FIRST, money("3.33")), ["paid"]),
        ("4.44", Unknown("time-out"), REFUSED, ["accepted", "refused"]),
        ("5.55", Accepted(FIRST), Settled(FIRST, money("5.55")), ["accepted", "paid"]),
        ("6.66", SHORT, SHORT, ["refused"]),
        ("7.77", Unknown("HTTP 500"), Settled(FIRST, money("7.77")), ["paid"]),
        ("8.88", Unknown("unreadable answer"), Settled(FIRST, money("8.88")), ["paid"]),
        ("9.99", Settled(FIRST, money("9.99")), Settled(FIRST, money("9.99")), ["paid"]),
    ],
)
async def test_what_an_amount_does(
    start: Start, clock: FakeClock, book: Path, amount: str, outcome: Outcome, finding: Finding, did: list[str]
) -> None:
    """The minor units decide what a call yields, what an inquiry then says, and what is in the book before the answer is."""
    bank = await start()
    assert await submit(bank, clock, book, amount) == outcome
    assert await bank.inquire(question()) == finding
    assert deeds(book) == did


@pytest.mark.parametrize(
    "text, currency, rule",
    [
        ("1.11", "RUB", "1.11"),
        ("1.11", "TST", "1.11"),
        ("1.11", "USDT", "1.11"),
        ("1.110000", "USDT", "1.11"),
        ("1.119999", "USDT", "1.11"),
        ("1.001100", "USDT", "1.00"),
        ("0.110", "KWD", "0.11"),
        ("111", "JPY", "1.00"),
    ],
)
async def test_two_digits_decide_in_every_currency(text: str, currency: str, rule: str) -> None:
    """The first two digits after the dot decide, however many the currency has."""
    assert rule_for(money(text, currency)) is rule_for(money(rule))


@pytest.mark.parametrize("rail", Rail)
async def test_any_rail_is_paid_and_only_the_last_four_are_kept(start: Start, book: Path, rail: Rail) -> None:
    """The book's line is what was asked for, and of the destination nothing but rail and last four characters."""
    bank = await start()
    number = "T" + "A" * 29 + "1234"
    await bank.submit(order("10.50", currency="EUR", destination=Destination(rail, number)))
    assert lines(book) == [
        {
            "at": "2026-11-21T12:00:00.000000Z",
            "end_to_end_id": ONE,
            "amount": "10.50",
            "currency": "EUR",
            "rail": rail.value,
            "last4": "1234",
            "did": "paid",
        }
    ]
    assert number not in str(lines(book))


@pytest.mark.parametrize("amount", ["3.33", "4.44"])
async def test_a_lost_answer_takes_the_whole_deadline(start: Start, clock: FakeClock, amount: str) -> None:
    """Nothing is concluded from silence before the deadline."""
    bank = await start()
    async with submitted(bank, amount) as call:
        await clock.advance(7.9)
        assert not call.done()
        await clock.advance(0.1)
        assert await asyncio.wait_for(call, PATIENCE_S) == Unknown("time-out")


# --- later deeds -------------------------------------------------------------------------------------------------


async def test_eleven_is_paid_after_three_seconds(start: Start, clock: FakeClock, book: Path) -> None:
    """.11 is accepted, and paid 3 s later: one callback says so, and inquiries do."""
    listener = Listener()
    bank = await start(listener)
    await bank.submit(order("1.11"))
    await clock.advance(2.9)
    assert await bank.inquire(question()) == Accepted(FIRST)
    await clock.advance(0.1)
    callback = await listener.next()
    assert callback.finding == Settled(FIRST, money("1.11"))
    assert (callback.connector, callback.end_to_end_id) == ("sandbox", ONE)
    assert await bank.inquire(question()) == Settled(FIRST, money("1.11"))
    assert deeds(book) == ["accepted", "paid"]
    await clock.advance(1000)
    assert listener.waiting == 0


async def test_fortyfour_is_not_found_and_then_refused(start: Start, clock: FakeClock, book: Path) -> None:
    """.44 was not paid: for 3 s the bank says not found, then refused, and no call back tells."""
    listener = Listener()
    bank = await start(listener)
    async with submitted(bank, "4.44"):
        for _ in range(3):
            assert await bank.inquire(question()) == NotFound()
            await clock.advance(0.9)
        await clock.advance(0.4)
        assert await bank.inquire(question()) == REFUSED
        await clock.advance(10)
    assert deeds(book) == ["accepted", "refused"]
    assert listener.waiting == 0


async def test_fiftyfive_calls_back_before_it_answers_and_once_more(start: Start, clock: FakeClock) -> None:
    """.55 pays, and the callback that says so is heard before the answer that says accepted; the same one comes again."""
    listener = Listener()
    bank = await start(listener)
    assert await bank.submit(order("5.55")) == Accepted(FIRST)
    assert listener.waiting == 1
    overtook = await listener.next()
    assert overtook.finding == Settled(FIRST, money("5.55"))
    await clock.advance(1.0)
    assert await listener.next() == overtook
    await clock.advance(1000)
    assert listener.waiting == 0


async def test_fiftyfive_answers_although_the_callback_is_not_taken(start: Start, clock: FakeClock) -> None:
    """A listener that never comes back holds the answer up by a second, no more."""
    listener = Listener(slow=True)
    bank = await start(listener)
    async with submitted(bank, "5.55") as call:
        await listener.called()
        await clock.advance(0.9)
        assert not call.done()
        await clock.advance(0.1)
        assert await asyncio.wait_for(call, PATIENCE_S) == Accepted(FIRST)


async def test_ninetynine_comes_back_after_five_seconds(start: Start, clock: FakeClock, book: Path) -> None:
    """.99 is paid, and returned 5 s later with an event id that stays the same wherever it is told."""
    listener = Listener()
    bank = await start(listener)
    await bank.submit(order("9.99"))
    await clock.advance(4.9)
    assert await bank.inquire(question()) == Settled(FIRST, money("9.99"))
    await clock.advance(0.1)
    returned = Returned(f"{FIRST}-R", money("9.99"))
    assert (await listener.next()).finding == returned
    assert await bank.inquire(question()) == returned
    assert deeds(book) == ["paid", "returned"]


async def test_a_call_that_is_given_up_changes_nothing(start: Start, clock: FakeClock, book: Path) -> None:
    """Whoever stops waiting for .11 and .55 stops nothing: both are paid and called back."""
    listener = Listener()
    bank = await start(listener)
    for number, amount in enumerate(("1.11", "5.55"), 1):
        call = asyncio.create_task(bank.submit(order(amount, f"{BASE}-{number}")))
        await asyncio.sleep(0)
        call.cancel()
        await asyncio.wait([call])
    assert (await listener.next()).end_to_end_id == f"{BASE}-2"
    await clock.advance(1.0)
    assert (await listener.next()).end_to_end_id == f"{BASE}-2"
    await clock.advance(2.0)
    assert (await listener.next()).end_to_end_id == f"{BASE}-1"
    assert sorted(str(did) for did in deeds(book)) == ["accepted", "accepted", "paid", "paid"]


# --- restarts ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("down_s", [0.0, 1.0, 2.9, 3.0, 60.0, 1e7])
async def test_eleven_goes_on_after_a_kill(start: Start, clock: FakeClock, book: Path, down_s: float) -> None:
    """A bank killed between accepting and paying pays at the moment it would have, or at once when that has passed."""
    await (await start()).submit(order("1.11"))
    left = killed(book)
    await clock.advance(down_s)
    listener = Listener()
    bank = await start(listener, path=left)
    if down_s < 2.9:
        await clock.advance(2.9 - down_s)
        assert await bank.inquire(question()) == Accepted(FIRST)
    await clock.advance(3.0)
    assert (await listener.next()).finding == Settled(FIRST, money("1.11"))
    assert deeds(left) == ["accepted", "paid"]


@pytest.mark.parametrize("down_s", [0.0, 2.0, 60.0])
async def test_fortyfour_goes_on_after_a_kill(start: Start, clock: FakeClock, book: Path, down_s: float) -> None:
    """A bank killed while it says not found says so until the 3 s are over, then refuses, and never pays."""
    bank = await start()
    async with submitted(bank, "4.44"):
        await written(book, 1)
        left = killed(book)
        await clock.advance(down_s)
        other = await start(path=left)
        if down_s < 3.0:
            assert await other.inquire(question()) == NotFound()
        await clock.advance(3.0 - min(down_s, 3.0))
        assert await other.inquire(question()) == REFUSED
        await clock.advance(8.0)
    assert deeds(left) == ["accepted", "refused"]


@pytest.mark.parametrize("down_s", [0.0, 4.0, 60.0])
async def test_ninetynine_goes_on_after_a_kill(start: Start, clock: FakeClock, book: Path, down_s: float) -> None:
    """A bank killed between paying and getting the money back returns it all the same, once, with the same event id."""
    await (await start()).submit(order("9.99"))
    left = killed(book)
    await clock.advance(down_s)
    listener = Listener()
    bank = await start(listener, path=left)
    await clock.advance(5.0)
    returned = Returned(f"{FIRST}-R", money("9.99"))
    assert (await listener.next()).finding == returned
    assert await bank.inquire(question()) == returned
    assert deeds(left) == ["paid", "returned"]


async def test_fiftyfive_goes_on_after_a_kill(start: Start, clock: FakeClock, book: Path) -> None:
    """A bank killed between accepting and paying .55 pays at once, and calls back twice."""
    await (await start()).submit(order("5.55"))
    left = killed(book)
    left.write_text(left.read_text().split("\n")[0] + "\n")
    listener = Listener()
    await start(listener, path=left)
    first = await listener.next()
    assert first.finding == Settled(FIRST, money("5.55"))
    await clock.advance(1.0)
    assert await listener.next() == first
    assert deeds(left) == ["accepted", "paid"]


async def test_a_clock_set_back_delays_nothing_beyond_the_rule(start: Start, book: Path) -> None:
    """After a restart under a clock that went back by years, .11 is paid after 3 s and not after years."""
    early = FakeClock(FakeClock().now().replace(year=2016))
    listener = Listener()
    await (await start()).submit(order("1.11"))
    connector = SandboxConnector(FileSpool(killed(book)), early)
    await connector.start(listener.hear)
    await early.advance(3.0)
    assert (await listener.next()).finding == Settled(FIRST, money("1.11"))
    await connector.stop()


async def test_after_a_restart_every_later_deed_is_called_back_once_more(
    start: Start, clock: FakeClock, book: Path
) -> None:
    """The book does not say what was acknowledged, so a restart tells .11, .55 and .99 again, and nothing else; same content."""
    listener = Listener()
    bank = await start(listener)
    for number, amount in enumerate(("1.00", "1.11", "2.22", "5.55", "6.66", "7.77", "8.88", "9.99"), 1):
        await bank.submit(order(amount, f"{BASE}{number}-1"))
    await clock.advance(5.0)
    told = [await listener.next() for _ in range(4)]
    again = Listener()
    await start(again, path=killed(book))
    repeated = [await again.next() for _ in range(3)]
    assert {one.content for one in repeated} == {one.content for one in told}
    await clock.advance(1000)
    assert again.waiting == 0


async def test_standings_are_the_same_after_a_restart(start: Start, clock: FakeClock, book: Path) -> None:
    """Whatever an inquiry said before a restart it says after it, word for word."""
    bank = await start()
    for number in range(100):
        await submit(bank, clock, book, f"7.{number:02d}", f"{BASE}{number}-1")
    await clock.advance(6.0)
    asked = [question(f"{BASE}{number}-1") for number in range(101)]
    before = [await bank.inquire(one) for one in asked]
    other = await start(path=killed(book))
    assert [await other.inquire(one) for one in asked] == before


# --- the same id again -------------------------------------------------------------------------------------------


async def test_without_a_guard_it_pays_as_often_as_it_is_sent(start: Start, clock: FakeClock, book: Path) -> None:
    """No guard: the same id twice is two payments, two `paid` lines of one base, and two references."""
    bank = await start()
    assert await bank.submit(order("10.00")) == Settled(FIRST, money("10.00"))
    assert await bank.submit(order("10.00")) == Settled(SECOND, money("10.00"))
    assert deeds(book) == ["paid", "paid"]
    for amount in ("1.11", "9.99"):
        await bank.submit(order(amount, f"{amount[-2:]}-1"))
        await bank.submit(order(amount, f"{amount[-2:]}-1"))
    left = killed(book)
    listener = Listener()
    await start(listener, path=left)
    await clock.advance(5.0)
    contents = {(await listener.next()).content for _ in range(4)}
    assert len(contents) == 4
    assert [line["did"] for line in lines(left) if line["end_to_end_id"] == "11-1"] == [
        "accepted",
        "accepted",
        "paid",
        "paid",
    ]
    assert [line["did"] for line in lines(left) if line["end_to_end_id"] == "99-1"] == [
        "paid",
        "paid",
        "returned",
        "returned",
    ]


async def test_a_refusal_after_a_payment_does_not_hide_it(start: Start, book: Path) -> None:
    """An inquiry about an id that was paid says so, whatever else was sent under the id later."""
    bank = await start()
    await bank.submit(order("10.00"))
    assert isinstance(await bank.submit(order("2.22")), Rejected)
    assert await bank.inquire(question()) == Settled(FIRST, money("10.00"))
    other = await start(path=killed(book))
    assert await other.inquire(question()) == Settled(FIRST, money("10.00"))


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize(
    "amount, again",
    [
        ("10.00", Settled(FIRST, money("10.00"))),
        ("1.11", Accepted(FIRST)),
        ("2.22", CANNOT),
        ("3.33", Settled(FIRST, money("3.33"))),
        ("4.44", REFUSED),
        ("5.55", Settled(FIRST, money("5.55"))),
        ("6.66", SHORT),
        ("7.77", Settled(FIRST, money("7.77"))),
        ("8.88", Settled(FIRST, money("8.88"))),
        ("9.99", Settled(FIRST, money("9.99"))),
    ],
)
async def test_the_guard_answers_a_known_id_with_its_state(
    start: Start, clock: FakeClock, book: Path, amount: str, again: Outcome, restart: bool
) -> None:
    """With the guard a known id moves nothing: it is written as `repeat` and answered with how it stands, plainly."""
    bank = await start(guard=True)
    await submit(bank, clock, book, amount)
    done = deeds(book)
    if restart:
        book = killed(book)
        bank = await start(guard=True, path=book)
    assert await bank.submit(order(amount)) == again
    assert await bank.submit(order("77.00")) == again
    assert deeds(book) == [*done, "repeat", "repeat"]


async def test_fifty_at_once_under_the_guard_pay_once(start: Start, book: Path) -> None:
    """Fifty simultaneous calls with one id are one payment and 49 repeats, answered alike."""
    bank = await start(guard=True)
    outcomes = await asyncio.gather(*[bank.submit(order("10.00")) for _ in range(50)])
    assert set(outcomes) == {Settled(FIRST, money("10.00"))}
    assert deeds(book) == ["paid"] + ["repeat"] * 49


async def test_capabilities_promise_no_more_than_the_bank_keeps() -> None:
    """Deduplication is promised with the guard alone, and for ever."""
    assert sandbox_capabilities(guard=False).deduplicates_for_s == 0
    assert sandbox_capabilities(guard=True).deduplicates_for_s == float("inf")
    both = sandbox_capabilities(guard=False)
    assert both.rails == set(Rail) and both.currencies == {"RUB", "TST", "USD", "EUR", "USDT"}
    assert (both.status_by_our_id, both.not_found_final_after_s, both.callbacks, both.sandbox) == (
        True,
        None,  # its not-founds prove nothing: it says "absent" itself when they do
        True,
        True,
    )


# --- absence -----------------------------------------------------------------------------------------------------


async def test_a_second_not_found_five_seconds_after_the_first_is_final(
    start: Start, clock: FakeClock, book: Path
) -> None:
    """Not found proves nothing for 5 s after the first; then it is written as absent, and stays so after a restart."""
    bank = await start()
    for _ in range(5):
        assert await bank.inquire(question()) == NotFound()
        await clock.advance(0.99)
    assert lines(book) == []
    await clock.advance(0.05)
    assert isinstance(await bank.inquire(question()), Absent)
    assert lines(book) == [
        {
            "at": "2026-11-21T12:00:05.000000Z",
            "end_to_end_id": ONE,
            "amount": None,
            "currency": None,
            "rail": None,
            "last4": None,
            "did": "absent",
        }
    ]
    assert isinstance(await (await start(path=killed(book))).inquire(question()), Absent)


@pytest.mark.parametrize("guard", [False, True])
@pytest.mark.parametrize("amount", ["10.00", "1.11", "3.33", "4.44", "5.55", "9.99"])
async def test_an_absent_id_is_never_paid(start: Start, clock: FakeClock, book: Path, amount: str, guard: bool) -> None:
    """Once absent, an id is refused whatever the amount: an order that was late by a minute, or by a restart, moves nothing."""
    bank = await start(guard=guard)
    await bank.inquire(question())
    await clock.advance(5.0)
    await bank.inquire(question())
    refused = Rejected("declared absent", elsewhere=True)
    assert await bank.submit(order(amount)) == refused
    book = killed(book)
    bank = await start(path=book, guard=guard)
    assert await bank.submit(order(amount)) == refused
    await clock.advance(60.0)
    assert isinstance(await bank.inquire(question()), Absent)
    assert deeds(book) == ["absent", "refused", "refused"]


async def test_an_order_that_comes_after_a_first_not_found_is_carried_out(start: Start, clock: FakeClock) -> None:
    """One not-found proves nothing: the order may be under way, and then counts."""
    bank = await start()
    assert await bank.inquire(question()) == NotFound()
    await clock.advance(60.0)
    assert await bank.submit(order("10.00")) == Settled(FIRST, money("10.00"))
    assert await bank.inquire(question()) == Settled(FIRST, money("10.00"))


async def test_a_hidden_order_is_not_called_absent(start: Start, clock: FakeClock, book: Path) -> None:
    """A .44 that an inquiry missed before it came, and misses while it is hidden, is not absent: it is refused at its time."""
    bank = await start()
    assert await bank.inquire(question()) == NotFound()
    await clock.advance(4.0)
    async with submitted(bank, "4.44"):
        await clock.advance(2.0)
        assert await bank.inquire(question()) == NotFound()
        await clock.advance(1.0)
        assert await bank.inquire(question()) == REFUSED
        await clock.advance(8.0)
    assert deeds(book) == ["accepted", "refused"]


async def test_a_restart_forgets_a_first_not_found(start: Start, clock: FakeClock, book: Path) -> None:
    """First not-founds are not in the book, so after a restart proof takes 5 s more: late, never wrong."""
    await (await start()).inquire(question())
    await clock.advance(60.0)
    bank = await start(path=killed(book))
    assert await bank.inquire(question()) == NotFound()
    await clock.advance(5.0)
    assert isinstance(await bank.inquire(question()), Absent)


# --- callbacks ---------------------------------------------------------------------------------------------------


async def test_a_callback_repeats_until_it_is_acknowledged(start: Start, clock: FakeClock) -> None:
    """A callback that is not stored comes again after 1, 2, 4 ... 60 and then always 60 s, until it is; never after that."""
    refusals = len(AGAIN_AFTER_S) + 3
    listener = Listener(deaf=refusals)
    bank = await start(listener)
    await bank.submit(order("1.11"))
    await clock.advance(3.0)
    await listener.called()
    for wait_s in [*AGAIN_AFTER_S, 60.0, 60.0, 60.0]:
        await clock.advance(wait_s - 0.1)
        assert listener.calls == 0
        await clock.advance(0.1)
        await listener.called()
    assert (await listener.next()).finding == Settled(FIRST, money("1.11"))
    await clock.advance(1000)
    assert listener.calls == 0


async def test_one_that_is_never_taken_does_not_hold_up_others(start: Start, clock: FakeClock) -> None:
    """A hundred callbacks that nobody acknowledges yet leave room for the next one."""
    listener = Listener(deaf=100)
    bank = await start(listener)
    await asyncio.gather(*[bank.submit(order("1.11", f"{BASE}{number}-1")) for number in range(100)])
    await clock.advance(3.0)
    for _ in range(100):
        await listener.called()
    assert await bank.submit(order("5.55", "next-1")) == Accepted("SB0000000201")
    assert (await listener.next()).end_to_end_id == "next-1"
    await clock.advance(1.0)
    assert len({(await listener.next()).end_to_end_id for _ in range(101)}) == 101


# --- when the book is away ---------------------------------------------------------------------------------------


async def test_a_stopped_bank_answers_unknown(start: Start) -> None:
    """After `stop` nothing is promised, and nothing raises."""
    bank = await start()
    await bank.submit(order("10.00"))
    await bank.stop()
    assert isinstance(await bank.submit(order("10.00")), Unknown)
    assert isinstance(await bank.submit(order("10.00", "new-1")), Unknown)


async def test_a_full_disk_is_doubt_and_the_bank_recovers(clock: FakeClock, book: Path) -> None:
    """While the book cannot be written nothing new is paid and answers are Unknown; with room, what is due happens, once."""
    spool, listener = CountingSpool(book), Listener()
    bank = SandboxConnector(spool, clock)
    await bank.start(listener.hear)
    await bank.submit(order("1.11"))
    spool.full = True
    assert isinstance(await bank.submit(order("10.00", "before-1")), Unknown)
    assert isinstance(await bank.submit(order("10.00", "after-1")), Unknown)
    assert isinstance(await bank.inquire(question("before-1")), Unknown)
    await clock.advance(3.0)
    assert listener.calls == 0
    spool.full = False
    await until_advancing(lambda: bank.inquire(question()), Settled, clock)
    assert (await listener.next()).finding == Settled(FIRST, money("1.11"))
    assert isinstance(await bank.inquire(question("before-1")), Settled)
    assert isinstance(await bank.inquire(question("after-1")), NotFound)
    await bank.stop()
    assert deeds(book) == ["accepted", "paid", "paid"]


async def test_one_book_serves_one_bank(start: Start, clock: FakeClock, book: Path) -> None:
    """A second bank on the same book does not start: two would tear each other's lines."""
    await start()
    with pytest.raises(FileInUse):
        await SandboxConnector(FileSpool(book), clock).start(Listener().hear)
