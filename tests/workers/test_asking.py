"""The inquirer's manners: within a provider's limit, soon when it answers again, what two not-founds prove; and the alert."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta

import asyncpg
import pytest
from structlog.testing import capture_logs

from disburse.connectors.contract import Capabilities, Question
from disburse.domain.destinations import Rail
from disburse.domain.outcomes import Finding, NotFound, NotSent, Settled
from disburse.domain.schedule import SILENT_AFTER
from disburse.logs import FIELDS
from disburse.operations.attempts import Claim
from disburse.operations.desk import Batches, Desk
from disburse.operations.evidence import Heard
from disburse.wiring import absence_of
from disburse.workers.sender import tell
from tests.workers.provider import LOSE, PATIENCE_S, PAY_SILENTLY, REFUSE, Process, Provider, Town


class Forgetful(Provider):
    """A provider that does not find what it never got, and never says that it never will."""

    async def inquire(self, question: Question) -> Finding:
        if self.deaf or question.end_to_end_id in [one for one, _ in self.paid]:
            return await super().inquire(question)
        self.asked += 1
        return NotFound()


async def due_in_s(town: Town) -> list[float]:
    rows = await town.rows(
        "SELECT extract(epoch FROM ask_at - clock_timestamp())::float8 FROM attempts WHERE state = 'unknown' ORDER BY ask_at"
    )
    return [row[0] for row in rows]


async def wait_for_hours(town: Town) -> None:
    """Every next question is hours away, as after a night of silence."""
    await town.rows(
        "UPDATE attempts SET ask_at = clock_timestamp() + interval '3 h', asked = 20 WHERE state = 'unknown' RETURNING 1"
    )


async def doubts(town: Town, bank: Provider, count: int) -> None:
    """So many payouts in doubt at a provider that paid them, all of them to be asked about in hours."""
    await town.pay(*[PAY_SILENTLY] * count)
    sender = Process(town, "sender", asks=False).start()

    async def all_lost() -> bool:
        return await town.states() == {"in_doubt": count}

    async def let() -> bool:
        await wait_for_hours(town)
        return await all_lost()

    await town.until(let)
    await sender.stop()
    await wait_for_hours(town)


async def all_paid(town: Town, process: Process, count: int) -> None:
    """Let time pass in the worker until all is paid; questions come due by the database's own clock alone."""
    async with asyncio.timeout(PATIENCE_S):
        while await town.states() != {"paid": count}:
            process.check()
            await town.clock.advance(0.3)


async def test_a_provider_that_answers_again_is_asked_about_everything(town: Town, bank: Provider) -> None:
    """The first proper answer after a silence brings every doubt at that provider forward: none waits for its own hour."""
    await doubts(town, bank, 30)
    bank.deaf = True
    process = Process(town, "w", sends=False)
    process.inquirer._unanswered["bank"] = 0  # it has been at work for long
    process.start()
    for _ in range(4):  # four questions without an answer
        before = bank.asked
        await town.rows(
            """UPDATE attempts SET ask_at = clock_timestamp() WHERE (payout_id, number) IN
               (SELECT payout_id, number FROM attempts WHERE state = 'unknown' ORDER BY ask_at LIMIT 1) RETURNING 1"""
        )
        async with asyncio.timeout(PATIENCE_S):
            while bank.asked == before:
                await town.clock.advance(0.3)
    assert min(await due_in_s(town)) > 3600
    bank.deaf = False
    await town.rows(
        """UPDATE attempts SET ask_at = clock_timestamp() WHERE (payout_id, number) IN
           (SELECT payout_id, number FROM attempts WHERE state = 'unknown' LIMIT 1) RETURNING 1"""
    )
    await all_paid(town, process, 30)
    await process.stop()
    await town.agrees()


async def test_an_order_that_is_answered_is_an_answer(town: Town, bank: Provider) -> None:
    """A new worker hears of a provider first by what it sends: that brings the doubts of the past forward too."""
    await doubts(town, bank, 5)
    process = Process(town, "w", sends=False).start()
    process.inquirer.heard_of("bank", NotFound())
    await all_paid(town, process, 5)
    await process.stop()
    await town.agrees()


async def test_what_never_reached_a_provider_is_tried_when_it_answers_again(town: Town, bank: Provider) -> None:
    """After many tries the next one is minutes away, or hours by a clock that was wrong; a provider that answers is tried at once."""
    await town.pay(PAY_SILENTLY, PAY_SILENTLY, PAY_SILENTLY)
    desk, now = town.desk(), town.clock.now()
    claims = [Claim(one.payout.payout_id, 1, one.payout.merchant_id, "gone", 30.0, now) for one in await desk.due(0, 3)]
    for opened in await desk.claim(0, claims):
        assert opened is not None
        await tell(desk, town.world, opened, NotSent("connection refused"), "gone", bank.capabilities)
    resting = "UPDATE attempts SET due_at = clock_timestamp() + interval '3 h' WHERE state = 'due' AND number > 1 RETURNING 1"
    assert len(await town.rows(resting)) == 3
    process = Process(town, "w")
    process.inquirer._unanswered["bank"] = SILENT_AFTER - 1
    process.start()
    process.inquirer.heard_of("bank", NotFound())
    for _ in range(10):
        await town.clock.advance(1)
    assert await town.states() == {"queued": 3}  # it was never silent, so they keep their time
    process.inquirer._unanswered["bank"] = SILENT_AFTER
    process.inquirer.heard_of("bank", NotFound())
    await all_paid(town, process, 3)
    await process.stop()
    await town.agrees()


async def test_answers_without_a_silence_bring_nothing_forward(town: Town, bank: Provider) -> None:
    """While a provider answers as it should, each question keeps its own time."""
    await doubts(town, bank, 5)
    process = Process(town, "w", sends=False)
    process.inquirer._unanswered["bank"] = 2  # two in a row are no silence
    process.start()
    process.inquirer.heard_of("bank", NotFound())
    for _ in range(10):
        await town.clock.advance(1)
    assert await town.states() == {"in_doubt": 5} and min(await due_in_s(town)) > 3600
    await process.stop()


async def test_within_a_providers_limit(town: Town, bank: Provider) -> None:
    """However many doubts are due, no more questions are put than the provider allows; the others wait, uncounted, in line."""
    bank.capabilities = replace(bank.capabilities, inquiries_per_s=2.0)
    await doubts(town, bank, 12)
    await town.rows("UPDATE attempts SET ask_at = clock_timestamp(), asked = 7 WHERE state = 'unknown' RETURNING 1")
    process = Process(town, "w", sends=False)
    process.inquirer._unanswered["bank"] = 0
    process.start()

    async def two_are_told() -> bool:
        return await town.states() == {"paid": 2, "in_doubt": 10}

    async with asyncio.timeout(PATIENCE_S):
        while not await two_are_told():
            await town.clock.advance(0.00001)
    assert bank.asked == 2
    waits = await due_in_s(town)
    assert len(waits) == 10 and waits[-1] - waits[0] == pytest.approx(4.5, abs=0.1)  # ten more, two a second
    assert {row[0] for row in await town.rows("SELECT asked FROM attempts WHERE state = 'unknown'")} == {7}
    await town.until(town.all_final, step_s=0.5)
    await process.stop()
    await town.agrees()


# --- absence ---


@pytest.fixture
def bank() -> Forgetful:
    provider = Forgetful()
    provider.capabilities = Capabilities(
        frozenset({Rail.CARD}), frozenset({"RUB"}), not_found_final_after_s=3600.0
    )
    return provider


def knowing(town: Town) -> Desk:
    """A desk that knows after how long the providers' not-founds are final."""
    plain = town.desk()
    return Desk(
        town.database, town.world, town.vault, plain.installation, fees={}, batches=Batches(lambda name, size: None),
        routes=plain.routes, absence=absence_of(town.providers.values()),
    )  # fmt: skip


async def not_founds(town: Town) -> list[tuple[str, datetime]]:
    rows = await town.rows("SELECT effect, clock_at FROM evidence WHERE verdict = 'NotFound' ORDER BY clock_at")
    return [(row[0], row[1]) for row in rows]


async def test_two_not_founds_far_enough_apart_prove_absence(town: Town, bank: Forgetful, dsn: str) -> None:
    """Asked all the time, a provider that does not find an order moves nothing by it, until its contract says: that is final."""
    (payout,) = await town.pay(LOSE)
    process = Process(town, "w", desk=knowing(town)).start()

    async def asked_often() -> bool:
        return bank.asked >= 6

    await town.until(asked_often)
    assert await town.attempts(payout) == ["unknown"]
    [(effect, first)] = await not_founds(town)  # one row, however often it was said
    assert effect == "nothing" and first is not None
    await age(dsn, timedelta(seconds=3590))
    before = bank.asked

    async def asked_again() -> bool:
        return bank.asked >= before + 2

    await town.until(asked_again)
    assert await town.attempts(payout) == ["unknown"]  # a second too early
    await age(dsn, timedelta(seconds=3600))
    await town.until(town.all_final)
    assert await town.attempts(payout) == ["not_sent", "settled"]
    assert [effect for effect, _ in await not_founds(town)] == ["nothing", "queued"]
    await process.stop()
    await town.agrees()


async def test_a_promise_learned_later_counts(town: Town, bank: Forgetful, dsn: str) -> None:
    """A not-found that was stored while no promise was known is the first of two as well, once the promise is known."""
    (payout,) = await town.pay(LOSE)
    process = Process(town, "before").start()

    async def asked_often() -> bool:
        return bank.asked >= 3

    await town.until(asked_often)
    await process.stop()
    assert len(await not_founds(town)) == 1
    await age(dsn, timedelta(hours=2))
    process = Process(town, "after", desk=knowing(town)).start()
    await town.until(town.all_final)
    await process.stop()
    assert await town.attempts(payout) == ["not_sent", "settled"]
    await town.agrees()


async def age(dsn: str, by: timedelta) -> None:
    """Let the first not-found have been stored so long ago."""
    doctor = await asyncpg.connect(dsn, server_settings={"search_path": "disburse"})
    await doctor.execute("UPDATE evidence SET clock_at = clock_timestamp() - $1::interval WHERE verdict = 'NotFound'", by)
    await doctor.close()


# --- the alert ---


async def test_a_frozen_payout_is_an_alert(town: Town, bank: Forgetful) -> None:
    """The moment a payout freezes an alert goes to the log at error, with its name and what contradicts, and nothing of the payee."""
    (payout,) = await town.pay(REFUSE)
    process = Process(town, "w").start()
    await town.until(town.all_final)
    await process.stop()
    [(identifier,)] = await town.rows("SELECT end_to_end_id FROM attempts")
    where = (payout.payout_id, 1, payout.merchant_id)
    with capture_logs() as told:
        for _ in range(2):  # the second telling is no news
            await town.desk().hear(Heard("bank", identifier, "callback", Settled(), town.clock.now(), "bank", "", where))
    [line] = told
    assert (line["log_level"], line["alert"], line["payout"]) == ("error", "payout_frozen", str(payout.payout_id))
    assert (line["merchant"], line["attempt"], line["connector"], line["reason"]) == (1, 1, "bank", "paid_after_refusal")
    assert set(line) - {"log_level"} <= FIELDS
