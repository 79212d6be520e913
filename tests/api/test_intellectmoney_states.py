"""Which word the IntellectMoney door has for each of our states, all through a payout's life."""

from __future__ import annotations

from uuid import UUID

import pytest

from disburse.api.intellectmoney_words import NotHandled, refused, state_name
from disburse.domain.money import Money
from disburse.domain.outcomes import Absent, Accepted, NotSent, Rejected, Returned, Settled, Unknown, Verdict
from disburse.domain.payout import FINAL, Payout, PayoutState
from disburse.domain.refusals import Refusal
from disburse.operations.payouts import NoSuchMerchant
from disburse.operations.standing import Standing
from disburse.protocols.intellectmoney_answers import PayoutStateName
from tests.api.house import House
from tests.api.intellectmoney_shop import Shop, open_shop
from tests.clock import START

N, S = PayoutStateName, PayoutState
REFUSED = {"refused": True}
TABLE = [
    (S.CREATED, {}, N.CREATED),
    (S.UNFUNDED, {}, N.NOT_ENOUGH_MONEY),
    (S.AWAITING_APPROVAL, {}, N.IN_PROCESS),
    (S.SCHEDULED, {}, N.IN_PROCESS),
    (S.QUEUED, {}, N.IN_PROCESS),
    (S.QUEUED, REFUSED, N.IN_PROCESS),
    (S.IN_FLIGHT, {}, N.IN_PROCESS),
    (S.IN_FLIGHT, {"accepted": True}, N.SENT_TO_BANK),
    (S.IN_DOUBT, {}, N.IN_PROCESS),
    (S.PAID, {}, N.COMPLETED),
    (S.RETURNED, {}, N.COMPLETED),
    (S.FAILED, REFUSED, N.FAILED),
    (S.FAILED, {}, N.ERROR),
    (S.CANCELLED, {}, N.CANCELLED),
    (S.EXPIRED, {}, N.DELETED),
]


def payout_in(state: PayoutState, frozen: str | None = None) -> Payout:
    return Payout(
        0, UUID(int=7), 1, 1, "intellectmoney", None, "base", b"", "card", "RUB", 50_00, 0, "50", "", b"", False, state,
        frozen, None, 1, 0, START, START, START, None, 1, 1,
    )  # fmt: skip


@pytest.mark.parametrize("state, told, name", TABLE)
def test_the_table(state: PayoutState, told: dict[str, bool], name: PayoutStateName) -> None:
    """Each state has its word; a frozen payout is in process, unless it was final before: then the word stays."""
    assert state_name(Standing(payout_in(state), **told)) is name
    frozen = state_name(Standing(payout_in(state, "another_amount"), **told))
    assert frozen is (name if state in FINAL else N.IN_PROCESS)


def test_no_state_is_missing() -> None:
    """A state that is added to the heart needs a word here."""
    assert {state for state, _, _ in TABLE} == set(PayoutState)


@pytest.fixture
async def shop(house: House) -> Shop:
    return await open_shop(house)


LIVES: list[tuple[list[Verdict], list[str]]] = [
    # what the bank says, one thing after the other; the word after each
    ([Accepted(), Settled()], ["SentToBank", "Completed"]),
    ([Settled()], ["Completed"]),
    ([Rejected("closed")], ["Failed"]),
    ([Accepted(), Rejected("closed")], ["SentToBank", "Failed"]),
    ([Rejected("short", elsewhere=True)], ["Failed"]),  # the provider refused, and there is no other
    ([Rejected("details_unreadable")], ["Error"]),  # ours to say: nothing was ever sent
    ([Unknown("time-out")], ["InProcess"]),
    ([Unknown("time-out"), Accepted(), Settled()], ["InProcess", "SentToBank", "Completed"]),
    ([Unknown("time-out"), Rejected("closed")], ["InProcess", "Failed"]),
    ([Unknown("time-out"), Absent()], ["InProcess", "InProcess"]),  # queued for another attempt
    ([NotSent("refused")], ["InProcess"]),
    ([Settled(), Returned("r-1")], ["Completed", "Completed"]),
    ([Settled(), Rejected("no, after all")], ["Completed", "Completed"]),  # frozen after it was shown final
    ([Rejected("closed"), Settled()], ["Failed", "Failed"]),
    ([Accepted(), Settled(amount=Money(1, "RUB"))], ["SentToBank", "InProcess"]),  # frozen while under way
]


async def test_lives(shop: Shop) -> None:
    """What is told of a payout follows what the bank said, in GetOperationState and in a second execute alike."""
    for verdicts, words in LIVES:
        guid = await shop.executed()
        [opened] = [one for one in await shop.house.claim() if str(one.payout.payout_id) == guid]
        assert await shop.state(guid) == "InProcess"
        for verdict, word in zip(verdicts, words, strict=True):
            await shop.house.tell(opened, verdict)
            assert await shop.state(guid) == word, verdicts
            again = (await shop.call("executeOperation", PayoutOperationId=guid)).state
            assert again == word, verdicts


async def test_no_route_is_left_when_it_is_sent(shop: Shop) -> None:
    """A payout whose route is gone when its turn comes was never sent: Error, and its money is back."""
    guid = await shop.executed()
    shop.house.desk.routes = ()
    assert await shop.house.claim() == []
    assert await shop.state(guid) == "Error"
    assert "held" not in await shop.house.balances(shop.merchant)


async def test_cancelled(shop: Shop) -> None:
    """What was cancelled elsewhere is Canceled, and an execute leaves it so."""
    guid = await shop.executed()
    await shop.house.desk.cancel(shop.merchant, shop.house.desk.act(shop.merchant, UUID(guid), "cli"))
    assert await shop.state(guid) == "Canceled"
    assert (await shop.call("ExecuteOperation", PayoutOperationId=guid)).state == "Canceled"


def test_other_refusals() -> None:
    """A refusal that has no word of its own is still one; one that has keeps it."""
    no = NotHandled("NO_ROUTE", "why")
    assert refused(no) is no
    assert refused(NoSuchMerchant()).word == refused(Refusal()).word == "REFUSED"
