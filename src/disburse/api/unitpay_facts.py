"""What a UnitPay client may ask beside payouts: banks of SBP, cards by their first digits, fees, balances.

Lives here: the answers of getSbpBankList, getBinInfo, massPaymentCommissions, massPaymentAvailableAmount and getPartner
(unitpay.md sections 5 to 9). Nothing here changes anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from disburse.api.unitpay_order import read_rail, read_sum
from disburse.api.unitpay_words import CURRENCY, NothingFound, Refused
from disburse.data import BinRow, SbpMember
from disburse.domain.cards import scheme
from disburse.domain.destinations import Rail
from disburse.domain.merchant import Merchant
from disburse.domain.money import Money
from disburse.operations.desk import Desk
from disburse.operations.funds import read_funds
from disburse.protocols.unitpay import (
    Bank,
    BinInfo,
    Code,
    MassPaymentAvailableAmount,
    encode_available_amount,
    encode_banks,
    encode_bin_info,
    encode_commissions,
    encode_partner,
)

_PRICED = {
    "card": Rail.CARD,
    "card_not_rf": Rail.CARD,
    "sbp": Rail.SBP,
    "webmoney": Rail.WEBMONEY,
    "usdt": Rail.USDT,
}
"""Names in the answer of massPaymentCommissions (section 7); a card from abroad costs what any card does."""


class Facts:
    """What is known to everybody, and what a merchant may know about itself."""

    def __init__(self, desk: Desk, members: Sequence[SbpMember], bins: Mapping[str, BinRow]) -> None:
        self._desk = desk
        self._bins = bins
        self._banks = encode_banks(Bank(one.member_id, one.name, one.name_en) for one in members)

    def banks(self) -> bytes:
        """The answer of getSbpBankList: the same bytes for everybody."""
        return self._banks

    def bin_info(self, six_digits: str) -> bytes:
        """The operator's row, else the scheme that the number's range tells. Raises NothingFound."""
        brand = scheme(six_digits) or ""
        row = self._bins.get(six_digits)
        if row is not None:
            return encode_bin_info(
                BinInfo(
                    row.bin, row.bank, row.country_code, row.brand or brand, row.category, row.type, row.bank_url,
                    row.bank_phone,
                )
            )  # fmt: skip
        if not brand:
            raise NothingFound()
        return encode_bin_info(BinInfo(six_digits, brand=brand))

    def commissions(self, merchant: Merchant) -> bytes:
        """The share that is charged, by kind of payment, in percent; minimum and maximum have no place in this shape."""
        return encode_commissions({name: self._percent(merchant, rail) for name, rail in self._priced().items()})

    def _priced(self) -> dict[str, Rail]:
        qiwi = {"qiwi": Rail.QIWI} if self._desk.has_route(Rail.QIWI, CURRENCY) else {}
        return _PRICED | qiwi

    def _percent(self, merchant: Merchant, rail: Rail) -> str:
        basis_points = merchant.fee_rule(rail, self._desk.fees).basis_points
        text = Money(basis_points, CURRENCY).text()  # a hundredth of a percent each, as a kopeck is of a rouble
        return text.rstrip("0").rstrip(".")

    async def available_amount(self, merchant: Merchant, question: MassPaymentAvailableAmount) -> bytes:
        """What could be paid out this way: the available balance where a route exists, nothing where none does.

        The purse only helps a provider to pick its route (section 6): it is not judged. Raises Refused.
        """
        read_sum(question.sum)
        rail = read_rail(question.payment_type)
        wanted = question.recipient_currency or CURRENCY
        if wanted != CURRENCY and not (rail is Rail.USDT and wanted == "USDT"):
            raise Refused(Code.BAD_PARAMETERS, "recipientCurrency")
        open_way = merchant.payouts == "on" and rail is not None and self._desk.has_route(rail, CURRENCY)
        amount = await self.available(merchant) if open_way else Money.zero(CURRENCY).text()
        return encode_available_amount(amount, CURRENCY)

    async def partner(self, merchant: Merchant) -> bytes:
        """The account's balance: what is available, and that with what is reserved for payouts under way."""
        funds = await read_funds(self._desk.database, merchant, CURRENCY)
        return encode_partner(merchant.login, balance=funds.whole.text(), available=funds.available.text())

    async def available(self, merchant: Merchant) -> str:
        """The available balance as text."""
        return (await read_funds(self._desk.database, merchant, CURRENCY)).available.text()
