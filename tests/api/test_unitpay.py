"""massPayment and massPaymentStatus: what a payout looks like to a UnitPay client, from its first answer to its end."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from itertools import product
from typing import Any, Literal
from uuid import UUID

import pytest

from disburse.api.unitpay_words import encode_state
from disburse.domain.merchant import Merchant
from disburse.domain.money import read_amount
from disburse.domain.outcomes import Accepted, NotSent, Rejected, Returned, Settled, Unknown, Verdict
from disburse.domain.payout import FINAL, Payout, PayoutState
from disburse.protocols.unitpay import UNITPAY_TIME
from disburse.protocols.wire import WireAnswer
from tests.api.house import House
from tests.api.unitpay_client import (
    CALLS,
    CARD,
    FREE_CALL,
    PHONE,
    SBP_CALL,
    Client,
    blamed,
    open_door,
    read,
)

DATE = "%Y-%m-%d %H:%M:%S"


# --- a payout is made ---------------------------------------------------------------------------------------------


async def test_a_payout_is_accepted(house: House, shop: Client) -> None:
    """An accepted payout is answered `not_completed`, with every field of the page as the page types it."""
    result = await shop.paid(sum="10.5")
    [payout] = await house.payouts(shop.merchant)
    created = datetime.strptime(result.pop("createDate"), DATE).replace(tzinfo=UNITPAY_TIME)
    assert abs((created - house.world.clock.now()).total_seconds()) < 60
    assert result.pop("message")
    assert result == {
        "status": "not_completed",
        "payoutId": str(2**20 + shop.merchant.merchant_id),
        "partnerBalance": "99959.50",
        "sum": "10.5",
        "payoutCommission": "30.00",
        "partnerCommission": "0.00",
        "transactionId": "1782",
    }
    assert (payout.state, payout.amount_minor, payout.fee_minor) == (PayoutState.QUEUED, 1050, 3000)
    assert (payout.surface, payout.reference, payout.display) == ("unitpay", "1782", "411111******1111")
    assert await house.balances(shop.merchant) == {"available": "99959.50", "held": "40.50", "funding": "-100000.00"}


async def test_every_kind_in_every_form(shop: Client) -> None:
    """Card, SBP, WebMoney and USDT are paid to, whether parameters stand nested or flat, in the query or in a form."""
    verbs: tuple[Literal["GET", "POST"], ...] = ("GET", "POST")
    for number, (kind, nested, verb) in enumerate(product(CALLS, (True, False), verbs)):
        call = CALLS[kind] | {"transactionId": str(number)}
        document = read(await shop.door.answer(shop.request("massPayment", call, nested=nested, verb=verb)))
        assert document["result"]["status"] == "not_completed", (kind, nested, verb)


async def test_actor_and_comment(house: House, shop: Client) -> None:
    """A payout names the merchant and the door that made it, and keeps the comment's allowed characters."""
    await shop.paid(comment="Выплата <1782>, июль!")

    async def stored(tx: Any) -> tuple[str, str]:
        row = await tx.fetchrow("SELECT actor, comment FROM payouts")
        return row[0], row[1]

    assert await house.database.run(stored) == (f"merchant:{shop.merchant.merchant_id}/unitpay", "Выплата 1782, июль")


SUMS = {"97": 9700, "10.0": 1000, "10.5": 1050, "10.50000000": 1050, " 10.00 ": 1000, "007.25": 725, "1.01": 101}


async def test_sums_that_clients_send(house: House, shop: Client) -> None:
    """A sum may be written as programs write numbers; it is echoed as the caller wrote it, trimmed."""
    for text in SUMS:
        assert (await shop.paid(FREE_CALL, sum=text, transactionId=f"sum {text}"))["sum"] == text.strip()
    assert [payout.amount_minor for payout in await house.payouts(shop.merchant)] == list(SUMS.values())


async def test_phones_as_people_write_them(house: House, shop: Client) -> None:
    """A phone may come with a plus, spaces, brackets and hyphens; it is the same payee."""
    for purse in ("+79510000071", "7 951 000-00-71", "7(951)0000071", PHONE):
        await shop.paid(SBP_CALL, purse=purse)
    assert len(await house.payouts(shop.merchant)) == 1
    assert await house.events(shop.merchant, "payout.reference_mismatch") == 0


async def test_cards_may_have_spaces(shop: Client) -> None:
    """A card number may be written in groups."""
    assert (await shop.paid(purse="4111 1111 1111 1111"))["status"] == "not_completed"


async def test_default_bank_of_the_account(house: House, shop: Client) -> None:
    """memberId is required for SBP, unless the merchant has a default bank."""
    document = await shop.pay(SBP_CALL, memberId=None)
    assert blamed(document) == "memberId"
    await house.set(shop.merchant, sbp_bank="100000000004")
    assert (await shop.paid(SBP_CALL, memberId=None))["status"] == "not_completed"


async def test_payout_id_as_a_number(house: House) -> None:
    """payoutId is a string as in the documented example, or a number for an account that wants it so."""
    shop = Client(open_door(house), await house.merchant(payout_id_as_number=True))
    assert (await shop.paid())["payoutId"] == 2**20 + shop.merchant.merchant_id
    assert (await shop.paid())["payoutId"] == (await shop.status())["result"]["payoutId"]


async def test_payout_ids_of_two_merchants_differ(house: House) -> None:
    """The same transactionId of two accounts is two payouts."""
    door = open_door(house)
    shops = [Client(door, await house.merchant(f"{name}@example.com")) for name in ("a", "b")]
    answers = [await shop.paid() for shop in shops]
    assert answers[0]["payoutId"] != answers[1]["payoutId"]
    for shop in shops:
        assert len(await house.payouts(shop.merchant)) == 1


async def test_no_rival_account_sees_a_payout(house: House, shop: Client) -> None:
    """Another account asking for a transactionId is told that there is none."""
    await shop.paid()
    other = Client(shop.door, await house.merchant("other@example.com"))
    assert blamed(await other.status()) == "transactionId"


# --- the end of a payout ------------------------------------------------------------------------------------------


async def test_a_bank_that_pays_at_once(house: House) -> None:
    """With a bank that pays at once, the first answer is `success`, with a date of the end."""
    shop = Client(open_door(house), await house.merchant(answer_wait_ms=6000))
    house.answer_at_once()
    result = await shop.paid()
    assert (result["status"], result["partnerBalance"], result["payoutCommission"]) == ("success", "99960.00", "30.00")
    assert datetime.strptime(result["completeDate"], DATE) >= datetime.strptime(result["createDate"], DATE)


async def test_a_bank_that_refuses_at_once(house: House) -> None:
    """With a bank that refuses at once, the first answer is `result` with `error`, a reason, no fee, and the money back."""
    shop = Client(open_door(house), await house.merchant(answer_wait_ms=6000))
    house.answer_at_once(Rejected("destination cannot receive"))
    result = await shop.paid()
    assert (result["status"], result["partnerBalance"], result["payoutCommission"]) == ("error", "100000.00", "0.00")
    assert "получатель не может принять" in result["message"]
    assert await house.balances(shop.merchant) == {"available": "100000.00", "funding": "-100000.00"}


async def test_a_bank_that_takes_its_time(house: House) -> None:
    """When the end does not come within answer_wait, the answer is `not_completed`, of a payout that exists."""
    shop = Client(open_door(house), await house.merchant(answer_wait_ms=50))
    assert (await shop.paid())["status"] == "not_completed"
    await house.settle()
    assert (await shop.status())["result"]["status"] == "success"


LIVES: list[tuple[list[Verdict], str, bool]] = [
    ([Accepted("b-1")], "not_completed", False),
    ([Unknown("time-out")], "not_completed", False),
    ([NotSent("refused connection")], "not_completed", False),
    ([Settled("b-1")], "success", True),
    ([Unknown("time-out"), Settled("b-1")], "success", True),
    ([Accepted("b-1"), Settled("b-1")], "success", True),
    ([Settled("b-1"), Returned("r-1", read_amount("10.00", "RUB"))], "success", True),
    ([Rejected("refused by the bank")], "error", True),
    ([Unknown("time-out"), Rejected("refused by the bank")], "error", True),
    ([Rejected("provider balance short", elsewhere=True)], "error", True),
    ([Settled("b-1"), Rejected("refused by the bank")], "success", True),  # frozen, and it was shown final
    ([Rejected("refused by the bank"), Settled("b-1")], "error", True),  # likewise
    ([Accepted("b-1"), NotSent("refused connection")], "not_completed", False),  # frozen, and it was not
]


async def test_what_the_provider_says(house: House, shop: Client) -> None:
    """Whatever is heard about a payout, massPaymentStatus and a repeat say the same, and a date of its end only when it has one."""
    for number, (verdicts, status, done) in enumerate(LIVES):
        reference = f"life {number}"
        await shop.paid(transactionId=reference)
        [opened] = [one for one in await house.claim() if one.payout.reference == reference]
        for turn, verdict in enumerate(verdicts):
            await house.tell(opened, verdict, kind="callback", content=str(turn))
        asked, repeated = (await shop.status(reference))["result"], await shop.paid(transactionId=reference)
        assert asked == repeated
        assert (asked["status"], "completeDate" in asked) == (status, done), verdicts
        assert asked["payoutCommission"] == ("0.00" if status == "error" else "30.00")


A_PAYOUT = Payout(
    0, UUID(int=7), 5, 3, "unitpay", "1782", "base", b"f", "card", "RUB", 1000, 3000, "10", "4111", b"", False,
    PayoutState.CREATED, None, None, 1, 0, datetime(2021, 12, 1, 8, 51, 2, tzinfo=UTC), datetime(2021, 12, 2, tzinfo=UTC),
    datetime(2021, 12, 1, tzinfo=UTC), None, 1, 1,
)  # fmt: skip


A_MERCHANT = Merchant(
    shard=0, merchant_id=5, name="shop", login="shop@example.com", payouts="on", pci_dss=False, require_sign=False,
    sbp_bank=None, answer_wait_ms=0, payout_id_as_number=False, json_by_default=False, state_word=None, language="ru",
    eshop_id=None, project_id=5, fees="{}", password_digest=b"", unitpay_key_digest=b"", unitpay_test_key_digest=b"",
    bearer_digest=b"", api_key_digest=b"", sign_key_sealed=b"",
)  # fmt: skip


@pytest.mark.parametrize("frozen", [None, "refused_after_paid"])
@pytest.mark.parametrize(
    "state, status",
    [
        ("created", "not_completed"),
        ("unfunded", "not_completed"),
        ("awaiting_approval", "not_completed"),
        ("scheduled", "not_completed"),
        ("queued", "not_completed"),
        ("in_flight", "not_completed"),
        ("in_doubt", "not_completed"),
        ("paid", "success"),
        ("returned", "success"),
        ("failed", "error"),
        ("cancelled", "error"),
        ("expired", "error"),
    ],
)
def test_state_to_status(state: str, status: str, frozen: str | None) -> None:
    """Each state has the status of the design's table; a frozen payout keeps the word it was shown."""
    ended = datetime(2021, 12, 1, 8, 52, 2, tzinfo=UTC) if PayoutState(state) in FINAL else None
    payout = replace(A_PAYOUT, state=PayoutState(state), frozen=frozen, finished_at=ended)
    result = read(WireAnswer(200, "application/json; charset=utf-8", encode_state(payout, 1573300, A_MERCHANT)))[
        "result"
    ]
    assert result["status"] == status
    assert (result["createDate"], result["partnerBalance"]) == ("2021-12-01 11:51:02", "15733.00")
    assert result.get("completeDate") == (None if ended is None else "2021-12-01 11:52:02")


def test_every_state_has_a_status() -> None:
    """No state is left out of the table above."""
    marks = [mark for mark in test_state_to_status.pytestmark if "state" in mark.args[0]]  # type: ignore[attr-defined]
    assert {state for state, _ in marks[0].args[1]} == {str(state) for state in PayoutState}


@pytest.mark.parametrize(
    "reason, state, russian, english",
    [
        ("no_route", "failed", "выплатить нельзя", "no way to pay"),
        ("details_unreadable", "failed", "не читаются", "cannot be read"),
        ("refused by the bank", "failed", "отказал банк", "the bank refused"),
        (None, "cancelled", "отменена", "cancelled"),
        (None, "expired", "истёк", "expired"),
        ("Card blocked by issuer", "failed", "Card blocked by issuer", "Card blocked by issuer"),
    ],
)
def test_reason_of_a_failure(reason: str | None, state: str, russian: str, english: str) -> None:
    """A failed payout's message tells the reason, in the merchant's language."""
    payout = replace(A_PAYOUT, state=PayoutState(state), reason=reason)
    for language, words in (("ru", russian), ("en", english)):
        assert words in encode_state(payout, 0, replace(A_MERCHANT, language=language)).decode()


def test_a_providers_words_with_digits_are_not_repeated() -> None:
    """A provider's reason may hold the payee's number, so one with digits stays inside."""
    payout = replace(A_PAYOUT, state=PayoutState.FAILED, reason=f"card {CARD} is blocked")
    assert CARD not in encode_state(payout, 0, A_MERCHANT).decode()
    assert "blocked" not in encode_state(payout, 0, A_MERCHANT).decode()


async def test_balance_in_the_answer_counts_the_fee(shop: Client) -> None:
    """partnerBalance is what may still be paid out: sum and fee of this payout are gone from it."""
    before = Decimal((await shop.ask("getPartner"))["result"]["balance_payout"])
    result = await shop.paid()
    assert before - Decimal(result["partnerBalance"]) == Decimal(result["sum"]) + Decimal(result["payoutCommission"])
