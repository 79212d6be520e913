"""What may be ordered through the IntellectMoney door: cards, wallets, phones, and the routes that can carry them."""

from __future__ import annotations

from pathlib import Path

import pytest
import structlog

from disburse.domain.ports import World
from disburse.domain.routing import Route
from disburse.storage.database import Database
from tests.api.house import BANK, SANDBOX, House, build_house
from tests.api.intellectmoney_shop import (
    CARD,
    CARD_OF_20,
    CREATING,
    MONEY,
    TO_CARD,
    TO_PHONE,
    TO_WALLET,
    Shop,
    open_shop,
)


@pytest.fixture
async def shop(house: House) -> Shop:
    """A shop whose payouts go to a provider of real money."""
    return await open_shop(house)


@pytest.fixture
async def sandbox_shop(database: Database, world: World, tmp_path: Path) -> Shop:
    """A shop in a house that has a sandbox alone."""
    return await open_shop(await build_house(database, world, tmp_path, routes=(SANDBOX,)))


async def test_the_documented_slip(shop: Shop) -> None:
    """A card order on the wallet's path is a card order: it needs the level, and it is told in the log without the card (I3)."""
    with structlog.testing.capture_logs() as logs:
        reply = await shop.call("CreateQiviWalletOperation", **TO_CARD, **MONEY)
    assert reply.state == "Created"
    assert [payout.rail for payout in await shop.house.payouts(shop.merchant)] == ["card"]
    [told] = logs
    assert told["event"] == "card_on_the_wallets_path" and told["merchant"] == shop.merchant.merchant_id
    assert CARD not in str(told) and shop.token not in str(told)
    await shop.house.set(shop.merchant, pci_dss=False)
    assert (await shop.call("CreateQiviWalletOperation", **TO_CARD, **MONEY)).word == "PCI_DSS_REQUIRED"


async def test_the_card_level(house: House) -> None:
    """Cards need the level PCI DSS, in test money too; phones do not."""
    shop = await open_shop(house, pci_dss=False)
    for method, params, rail in CREATING:
        for currency in ("RUB", "TST"):
            if rail == "card":
                reply = await shop.call(method, **params, Amount="50", Currency=currency)
                assert reply.desc.startswith("[PCI_DSS_REQUIRED] ") and reply.word == "PCI_DSS_REQUIRED"
    assert await shop.untouched()
    assert (await shop.create()).state == "Created"


CARDS = [CARD_OF_20, "411111111111", "4111111111111112", "0000000000000000"]  # the last has a right check digit


async def test_cards_that_are_none(sandbox_shop: Shop) -> None:
    """Where there is a sandbox alone such a card is taken, for sandboxes alone; where real money moves it is refused (I4)."""
    shop = sandbox_shop
    for routes in [(BANK,), (BANK, SANDBOX), (SANDBOX, BANK), ()]:
        shop.house.desk.routes = routes
        for pan in CARDS:
            assert (await shop.create(Pan=pan)).word == "BAD_PAN", (routes, pan)
    assert await shop.untouched()
    shop.house.desk.routes = (SANDBOX,)
    for pan in CARDS:
        assert (await shop.create(Pan=pan)).state == "Created", pan
    assert all(payout.sandbox_only for payout in await shop.house.payouts(shop.merchant))


async def test_a_real_card_is_for_everyone(sandbox_shop: Shop) -> None:
    """A card that could be real is not tied to sandboxes, spaces and hyphens in it or not."""
    assert (await sandbox_shop.create(Pan="4111 1111-1111 1111")).state == "Created"
    [payout] = await sandbox_shop.house.payouts(sandbox_shop.merchant)
    assert not payout.sandbox_only and payout.display == "411111******1111"


async def test_test_money(database: Database, world: World, tmp_path: Path) -> None:
    """TST goes to a sandbox or nowhere, whatever the order of routes, and even a card that is none may go there."""
    house = await build_house(database, world, tmp_path, routes=(BANK, SANDBOX))
    shop = await open_shop(house, currency="TST", funds="500.00")
    guid = await shop.executed(Pan=CARD_OF_20, currency="TST", amount="10.00")
    [opened] = await house.claim()
    assert (str(opened.payout.payout_id), opened.connector, opened.payout.sandbox_only) == (guid, "sandbox", True)
    house.desk.routes = (BANK,)
    assert (await shop.create(currency="TST")).word == "NO_ROUTE"


WALLETS = [
    # account; taken where a sandbox is alone, taken beside a provider of wallets
    ("70000000000", True, True),
    ("+7 (000) 000-00-00", True, True),
    ("7000000000", True, False),  # the ten digits of the documented table (I5)
    ("9000000000", True, False),
    ("8000000000", False, False),
    ("80000000000", False, False),
    ("700000000", False, False),
    ("700000000000", False, False),
]


async def test_wallets(sandbox_shop: Shop) -> None:
    """A wallet is 11 digits that begin with 7; ten, beginning with 7 or 9, do where a sandbox alone can place them."""
    desk, wallets = sandbox_shop.house.desk, Route("wallets", frozenset({"qiwi"}), frozenset({"RUB"}))
    for account, alone, beside in WALLETS:
        for routes, taken in [((SANDBOX,), alone), ((wallets, SANDBOX), beside)]:
            desk.routes = routes
            reply = await sandbox_shop.call("CreateQiwiWalletOperation", Account=account, **MONEY)
            assert (reply.state if taken else reply.word) == ("Created" if taken else "BAD_ACCOUNT"), account
    made = await sandbox_shop.house.payouts(sandbox_shop.merchant)
    assert [payout.sandbox_only for payout in made] == [False, False, False, False, True, True]


async def test_phones_and_banks(sandbox_shop: Shop) -> None:
    """A phone is 11 digits that begin with 7, which nobody can place fewer of; the bank is a member of SBP."""
    for account in ("9510000071", "7951000007", "89510000071", "7951000007100000", "79510000071 ext 4"):
        reply = await sandbox_shop.call("createOperation", **(TO_PHONE | {"Account": account}), **MONEY)
        assert reply.word in ("BAD_ACCOUNT", "BAD_REQUEST"), account
    for bank in ("100000999999", "100000000004000000004", "", "10000000000a", "\uff1100000000004"):
        reply = await sandbox_shop.call("createOperation", **(TO_PHONE | {"BankId": bank}), **MONEY)
        assert reply.word in ("BAD_BANK_ID", "BAD_REQUEST"), bank
    assert await sandbox_shop.untouched()


async def test_no_route(shop: Shop) -> None:
    """What no provider can carry is refused when it is created: a wallet nobody serves, a currency nobody pays."""
    wallet = await shop.call("CreateQiwiWalletOperation", **TO_WALLET, **MONEY)
    euros = await shop.create(currency="EUR")
    assert wallet.word == euros.word == "NO_ROUTE" and await shop.untouched()


async def test_the_name_is_sealed(shop: Shop) -> None:
    """The recipient's name travels with the destination and stands in no column of its own."""
    await shop.call("createOperation", **TO_PHONE, **MONEY, RecipientName="Иван И.")
    [payout] = await shop.house.payouts(shop.merchant)
    assert shop.house.desk.open_destination(payout).name == "Иван И."
