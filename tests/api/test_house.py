"""The house in which the doors are tested does what it says."""

from __future__ import annotations

from disburse.domain.destinations import read_card
from disburse.domain.money import read_amount
from disburse.operations.payouts import Found
from tests.api.house import House


async def test_a_payout_lives_in_the_house(house: House) -> None:
    """A merchant with money makes a payout, the bank pays it, and the books show it."""
    merchant = (await house.merchant(funds="100.00")).merchant
    draft = house.desk.draft(
        merchant, read_card("4111111111111111", luhn=True), read_amount("10.00", "RUB"), surface="own", reference="1",
        amount_text="10.00", execute=True, actor="test",
    )  # fmt: skip
    made = await house.desk.create(merchant, draft)
    assert isinstance(made, Found) and made.fresh
    assert await house.balances(merchant) == {"available": "60.00", "funding": "-100.00", "held": "40.00"}
    [applied] = await house.settle()
    assert applied.effect == "paid"
    assert await house.balances(merchant) == {
        "available": "60.00",
        "funding": "-100.00",
        "fees": "30.00",
        "paid:bank": "10.00",
    }
    assert [str(payout.state) for payout in await house.payouts(merchant)] == ["paid"]
    assert await house.events(merchant, "payout.paid") == 1
