"""A database that forgot its last commits, while the provider did not: what was sent once is asked about, never sent again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from disburse.domain.identifiers import end_to_end_id
from disburse.domain.outcomes import Absent, Accepted, NotSent, Rejected, Settled, Unknown, Verdict
from disburse.domain.payout import Payout, PayoutState
from disburse.operations import attempts
from disburse.operations.attempts import Claim
from disburse.operations.evidence import Heard
from disburse.operations.once import Once
from disburse.storage import payouts as stored
from tests.operations.shop import OTHER, SANDBOX, Shop


def told(shop: Shop, base: str, verdict: Verdict, *, kind: str = "callback") -> Heard:
    """What the sandbox says of the first attempt of an obligation."""
    return Heard("sandbox", end_to_end_id(base, 1), kind, verdict, shop.now(), "provider:sandbox", "once")


async def claimed(shop: Shop, payout: Payout) -> None:
    """Nothing is handed out to be sent, and the attempt is there to be asked about at once."""
    assert await shop.claim(payout) is None and await shop.claim(payout) is None
    await shop.ask_now(payout)
    question = await shop.ask(payout)
    assert question is not None and question.lapsed and question.connector == "sandbox"
    await shop.hear(
        Heard("sandbox", question.end_to_end_id, "lease", Unknown("lapsed"), shop.now(), "test",
              payout=(payout.payout_id, 1, payout.merchant_id))
    )  # fmt: skip
    assert (await shop.read(payout)).state is PayoutState.IN_DOUBT
    assert (await shop.balances(1))["in_doubt:sandbox"] == 1000


@pytest.mark.parametrize("kind", ["callback", "answer"])
@pytest.mark.parametrize("verdict", [Settled("p"), Accepted("p"), Unknown("time-out")])
async def test_a_lost_claim_is_asked_about(shop: Shop, verdict: Verdict, kind: str) -> None:
    """The claim is lost, the provider's word arrives: the attempt is not sent a second time, and the truth ends it."""
    await shop.merchant(1, money=5000)
    payout = await shop.paid_out(1)
    message = told(shop, payout.base, verdict, kind=kind)
    assert (await shop.hear(replace(message, payout=(payout.payout_id, 1, 1))))[0].effect == "unmatched"
    await claimed(shop, payout)
    await shop.hear(Heard("sandbox", message.end_to_end_id, "inquiry", Settled("p"), shop.now(), "test"))
    assert (await shop.read(payout)).state is PayoutState.PAID


async def test_a_lost_payout_that_its_merchant_asks_for_again(shop: Shop) -> None:
    """The payout itself is lost: made again by its reference it has the same id, and is asked about with the provider that spoke."""
    shop.routes = [OTHER, SANDBOX]
    await shop.merchant(1, money=5000)
    draft = shop.draft(1, "wage")
    assert (await shop.hear(told(shop, draft.base, Settled("p"))))[0].effect == "unmatched"
    payout = (await shop.create(draft))[0].payout
    await claimed(shop, payout)
    await shop.hear(Heard("sandbox", end_to_end_id(draft.base, 1), "inquiry", Absent(), shop.now(), "test"))
    again = await shop.claim(payout, 2)
    assert again is not None and again.end_to_end_id == end_to_end_id(draft.base, 2)


async def test_an_unknown_commit_of_such_a_claim_sends_nothing(shop: Shop) -> None:
    """Run again after an unknown commit, the claim does not take for its own what it opened for asking only."""
    await shop.merchant(1, money=5000)
    payout = await shop.paid_out(1)
    await shop.hear(told(shop, payout.base, Settled("p")))
    one = [Claim(payout.payout_id, 1, 1, "worker-a", 30, shop.now())]
    assert await shop.run_twice(lambda tx: attempts.claim(tx, 0, one, routes=shop.routes)) == ([None], [None])
    assert (await shop.attempt(payout)).epoch == 1


async def test_accounts_that_were_forgotten_are_made_again(shop: Shop) -> None:
    """Account rows that this process saw committed, and that are gone, stop one transaction at most, and none that hoped."""
    await shop.merchant(1, money=5000)
    await shop.opened(await shop.paid_out(1))
    await shop.merchant(2, money=5000)
    payout = await shop.paid_out(2)
    shop.database._known_accounts.add((0, 2, "RUB", "in_flight:sandbox"))  # as if learned of a commit that is lost
    if not shop.hopeful:
        with pytest.raises(AssertionError, match="balances"):
            await shop.claim(payout)
    assert await shop.claim(payout) is not None


async def test_what_is_spoken_of_after_it_was_found_due_is_not_sent(shop: Shop) -> None:
    """A provider's word that comes between finding an attempt due and claiming it counts: nobody else is given the order."""
    shop.routes = [OTHER, SANDBOX]
    await shop.merchant(1, money=5000)
    payout = await shop.paid_out(1)
    [found] = await shop.database.run(lambda tx: stored.due(tx, 0, 10))
    await shop.hear(told(shop, payout.base, Settled("p")))
    one = [Claim(payout.payout_id, 1, 1, "worker-a", 30, shop.now(), Once(found))]
    assert await shop.write(lambda tx: attempts.claim(tx, 0, one, routes=shop.routes)) == [None]
    assert (await shop.attempt(payout)).connector == "sandbox"


async def test_an_answer_from_a_forgotten_life_ends_no_other_providers_attempt(shop: Shop) -> None:
    """The claim is lost while its call runs, and another worker sends through another provider: the first answer is not about that."""
    shop.routes = [OTHER, SANDBOX]
    await shop.merchant(1, money=5000)
    payout = await shop.paid_out(1)
    first = await shop.opened(payout)
    await shop.rows(
        """UPDATE attempts SET connector = 'sandbox', owner = 'worker-b', opened_at = opened_at + interval '1 s'
           WHERE payout_id = $1 RETURNING 1""",
        payout.payout_id,
    )
    assert (await shop.hear_of(first, Rejected("card closed"))).effect == "unmatched"
    assert await shop.attempts(payout) == ["open"]


@pytest.mark.parametrize(
    ("verdict", "state"),
    [(NotSent("refused"), "open"), (Absent("no key"), "open"), (Rejected("no money"), "open"), (Unknown("?"), "open"),
     (Accepted("p"), "accepted"), (Settled("p"), "settled")],
)  # fmt: skip
async def test_an_answer_from_a_forgotten_life_proves_no_refusal(shop: Shop, verdict: Verdict, state: str) -> None:
    """The claim is lost while its call runs, and another worker sends the same id: what came of the first call ends nothing else."""
    await shop.merchant(1, money=5000)
    payout = await shop.paid_out(1)
    first = await shop.opened(payout)
    await shop.rows(
        """UPDATE attempts SET owner = 'worker-b', opened_at = opened_at + interval '1 s' WHERE payout_id = $1 RETURNING 1""",
        payout.payout_id,
    )
    message = shop.message(first, verdict)
    for _ in range(2):
        await shop.hear(message)
        assert await shop.attempts(payout) == [state]
    row = await shop.attempt(payout)
    again = await shop.hear_of(replace(first, payout=await shop.read(payout), row=row), verdict)
    assert again.effect != "nothing"
