"""What each rail's reader takes and refuses. How destinations are shown and stored is in test_destination_masks.py."""

from __future__ import annotations

from collections.abc import Callable

import base58
import pytest
from Crypto.Hash import keccak
from hypothesis import given, settings
from hypothesis import strategies as st
from stdnum import luhn

from disburse.domain.checks import passes_luhn
from disburse.domain.destinations import (
    BadDestination,
    Destination,
    Rail,
    read_account,
    read_card,
    read_qiwi,
    read_sbp,
    read_usdt,
    read_webmoney,
)

TETHER_TRON = "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t"  # Tether's own contracts, as public as an address can be
TETHER_ETHEREUM = "0xdAC17F958D2ee523a2206206994597C13D831ec7"


def refusal(read: Callable[[], Destination]) -> BadDestination:
    with pytest.raises(BadDestination) as refused:
        read()
    return refused.value


# --- cards -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, number",
    [
        ("4111111111111111", "4111111111111111"),
        ("4111 1111 1111 1111", "4111111111111111"),
        ("4111-1111-1111-1111", "4111111111111111"),
        (" 4111 1111-11111111 ", "4111111111111111"),
        ("2200000000000004", "2200000000000004"),
        ("378282246310005", "378282246310005"),
        ("4222222222222", "4222222222222"),
        ("6304000000000000000", "6304000000000000000"),
    ],
)
def test_real_cards(text: str, number: str) -> None:
    """A card of 13 to 19 digits with a right check digit is read; spaces and hyphens are dropped."""
    assert read_card(text, luhn=True) == Destination(Rail.CARD, number)


@pytest.mark.parametrize(
    "text, why",
    [
        ("", "12 to 20 digits"),
        ("41111111111", "12 to 20 digits"),  # 11
        ("411111111111", "13 to 19 digits"),  # 12
        ("41111111111111111111", "13 to 19 digits"),  # 20: the documented example
        ("411111111111111111111", "12 to 20 digits"),  # 21
        ("4111111111111112", "check digit"),
        ("4111111111111110", "check digit"),
        ("1411111111111111", "check digit"),
        ("0000000000000000", "begins with a zero"),
        ("0411111111111111", "begins with a zero"),
        ("４１１１１１１１１１１１１１１１", "12 to 20 digits"),
        ("٤١١١١١١١١١١١١١١١", "12 to 20 digits"),
        ("4111\u00a01111\u00a01111\u00a01111", "12 to 20 digits"),
        ("4111111111111111\n", "12 to 20 digits"),
        ("4111111111111111\x00", "12 to 20 digits"),
        ("4111.1111.1111.1111", "12 to 20 digits"),
        ("4111_1111_1111_1111", "12 to 20 digits"),
        ("+4111111111111111", "12 to 20 digits"),
        ("4111111111111111e0", "12 to 20 digits"),
        ("4111 1111 1111 1111" + " " * 60, "too long"),
        ("4" * 100_000, "too long"),
        ("\ud800" * 16, "12 to 20 digits"),
    ],
)
def test_cards_that_are_not_real(text: str, why: str) -> None:
    """Anything else is refused by the card reader, with a reason and without the number."""
    refused = refusal(lambda: read_card(text, luhn=True))
    assert (refused.rail, refused.field) == (Rail.CARD, "number")
    assert why in refused.why


@pytest.mark.parametrize(
    "text, taken",
    [
        ("41111111111", False),
        ("411111111111", True),
        ("4111111111111111112", True),
        ("41111111111111111111", True),
        ("411111111111111111111", False),
    ],
)
def test_the_protocols_check_is_a_count_of_digits(text: str, taken: bool) -> None:
    """Without Luhn 12 to 20 digits are a card, the documented 20-digit example among them."""
    if taken:
        assert read_card(text, luhn=False).number == text
    else:
        assert refusal(lambda: read_card(text, luhn=False)).field == "number"


@settings(deadline=None)
@given(st.text("123456789", min_size=12, max_size=18), st.integers(1, 9), st.integers(0, 18))
def test_one_wrong_digit_is_found(body: str, off: int, place: int) -> None:
    """Whichever single digit of a right card number is changed, the reader refuses it."""
    number = body + luhn.calc_check_digit(body)
    assert read_card(number, luhn=True).number == number
    place %= len(number)
    wrong = number[:place] + str((int(number[place]) + off) % 10) + number[place + 1 :]
    assert refusal(lambda: read_card(wrong, luhn=True)).field == "number"


# --- SBP ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "phone, number",
    [
        ("79990000000", "79990000000"),
        ("79510000071", "79510000071"),
        ("79123456789", "79123456789"),
        ("+79990000000", "79990000000"),
        ("+7 (951) 000-00-71", "79510000071"),
        ("7 951 000 00 71", "79510000071"),
    ],
)
@pytest.mark.parametrize("bank", ["100000000004", "110000000005", "1crt88888881"])
def test_sbp(phone: str, number: str, bank: str) -> None:
    """A phone of 11 digits that begins with 7, however it is punctuated, and a member make an SBP destination."""
    assert read_sbp(phone, bank) == Destination(Rail.SBP, number, bank)


@pytest.mark.parametrize(
    "phone",
    [
        "",
        "+",
        "89510000071",
        "9510000071",
        "7951000007",
        "795100000711",
        "7951000007112345",
        "70000000000",
        "72220000000",
        "++79510000071",
        "+7951000007+1",
        "79510000071 ext 5",
        "79510000071,5",
        "7951000007a",
        "７９５１００００００７１",
        "٧٩٥١٠٠٠٠٠٧١",
        "79510000071\n",
        "7951\u00a00000071",
        "7951\t0000071",
        "79510000071" + " " * 60,
        "tel:+79510000071",
        "00 7 951 000 00 71",
    ],
)
def test_phones_that_are_not(phone: str) -> None:
    """Foreign, short, long, national (8...) and non-ASCII phones, and extensions, are refused."""
    refused = refusal(lambda: read_sbp(phone, "100000000004"))
    assert (refused.rail, refused.field) == (Rail.SBP, "number")


@pytest.mark.parametrize(
    "bank",
    [
        None,
        "",
        "10000000000",
        "1000000000044",
        "100000000004 ",
        "10000000000４",
        "1" * 21,
        "a" * 21,
        "1crt-8888",
        "b\n",
        "x" * 500,
    ],
)
def test_members_that_are_not(bank: str | None) -> None:
    """A member id is there, and is 12 digits or up to 20 ASCII letters and digits."""
    assert refusal(lambda: read_sbp("79510000071", bank)).field == "bank"


# --- wallets -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, number",
    [
        ("70000000000", "70000000000"),
        ("7000000000", "7000000000"),
        ("+7 000 000-00-00", "70000000000"),
        ("412345678901234", "412345678901234"),
    ],
)
def test_qiwi(text: str, number: str) -> None:
    """A wallet number has 10 to 15 digits; both documented samples pass."""
    assert read_qiwi(text) == Destination(Rail.QIWI, number)


@pytest.mark.parametrize(
    "text", ["", "700000000", "7000000000000000", "700000000O", "７００００００００００", "7000000000\n", "0" * 999]
)
def test_qiwi_refused(text: str) -> None:
    """Other texts are no wallet."""
    assert refusal(lambda: read_qiwi(text)).rail is Rail.QIWI


@pytest.mark.parametrize("text, number", [("R123456789012", "R123456789012"), ("z000000000001", "Z000000000001")])
def test_webmoney(text: str, number: str) -> None:
    """A purse is a letter of a kind we know and 12 digits; its letter is kept as a capital."""
    assert read_webmoney(text) == Destination(Rail.WEBMONEY, number)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "R12345678901",
        "R1234567890123",
        "123456789012",
        "RR12345678901",
        "Q123456789012",
        "C123456789012",
        "Я123456789012",
        "\u0131123456789012",
        "ß123456789012",
        "R12345678901２",
        "R 12345678901",
        "R123456789012\n",
        "R" + "1" * 500,
    ],
)
def test_webmoney_refused(text: str) -> None:
    """Other lengths, unknown letters, credit purses and look-alikes are refused."""
    assert refusal(lambda: read_webmoney(text)).rail is Rail.WEBMONEY


# --- USDT --------------------------------------------------------------------------------------------------------


def test_trc20() -> None:
    """A TRON address with a right checksum is a TRC20 destination."""
    assert read_usdt(TETHER_TRON) == Destination(Rail.USDT, TETHER_TRON, network="TRC20")


@settings(deadline=None)
@given(st.binary(min_size=20, max_size=20))
def test_any_right_tron_address_is_read(payload: bytes) -> None:
    """Every address made of the main-net byte and twenty others is read, and one changed character is found."""
    address = base58.b58encode_check(b"\x41" + payload).decode()
    assert read_usdt(address).network == "TRC20"
    other = "2" if address[10] != "2" else "3"
    assert refusal(lambda: read_usdt(address[:10] + other + address[11:])).why == "fails its checksum"


@pytest.mark.parametrize(
    "address",
    [
        TETHER_ETHEREUM,
        # the examples of EIP-55 itself
        "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
        "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
        "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
        "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
        "0x52908400098527886E0F7030069857D2E4169EE7",
        "0xde709f2102306220921060314715629080e2fb77",
    ],
)
def test_erc20(address: str) -> None:
    """An Ethereum address is read with right capitals or in one case, and is always kept with EIP-55's capitals."""
    expected = Destination(Rail.USDT, address, network="ERC20")
    assert read_usdt(address) == expected
    assert read_usdt(address.lower()) == expected
    assert read_usdt("0x" + address[2:].upper()) == expected


@settings(deadline=None)
@given(st.binary(min_size=20, max_size=20))
def test_wrong_capitals_are_found(payload: bytes) -> None:
    """Turning the case of one letter of a mixed-case address is found."""
    digest = keccak.new(digest_bits=256, data=payload.hex().encode()).hexdigest()
    right = "".join(c.upper() if int(d, 16) > 7 else c for c, d in zip(payload.hex(), digest[:40], strict=True))
    assert read_usdt("0x" + right).number == "0x" + right
    for place, character in enumerate(right):
        wrong = right[:place] + character.swapcase() + right[place + 1 :]
        if wrong not in (right, right.lower(), right.upper()):
            assert refusal(lambda: read_usdt("0x" + wrong)).why == "fails its checksum"  # noqa: B023
            break


@pytest.mark.parametrize(
    "text",
    [
        "",
        TETHER_TRON[:-1],
        TETHER_TRON + "t",
        TETHER_TRON.lower(),
        TETHER_TRON.replace("7", "0", 1),  # 0 is not in the alphabet
        base58.b58encode_check(b"\x00" + b"\x07" * 20).decode(),  # a Bitcoin address
        base58.b58encode_check(b"\xa0" + b"\x07" * 20).decode(),  # a TRON test-net address
        "T" + "1" * 33,
        TETHER_ETHEREUM[:-1],
        TETHER_ETHEREUM + "7",
        TETHER_ETHEREUM[2:],
        "0X" + TETHER_ETHEREUM[2:],
        "0xdAC17F958D2ee523a2206206994597C13D831eC7",
        "0x" + "g" * 40,
        "0x" + "０" * 40,
        "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq",
        TETHER_TRON + "\n",
        " " + TETHER_TRON,
        "T" * 10_000,
    ],
)
def test_usdt_refused(text: str) -> None:
    """Addresses of other chains, with a wrong checksum or another shape are refused."""
    refused = refusal(lambda: read_usdt(text))
    assert (refused.rail, refused.field) == (Rail.USDT, "number")


# --- bank accounts -----------------------------------------------------------------------------------------------

KNOWN_ACCOUNTS = [
    ("40703810700001449489", "044525700"),  # a charity's published account
    ("30101810400000000225", "044525225"),  # correspondent accounts of banks
    ("30101810145250000974", "044525974"),
    ("30101810200000000593", "044525593"),
    ("30101810700000000187", "044525187"),
    ("40102810545370000003", "004525988"),  # the treasury's single accounts
    ("40102810445370000059", "017003983"),
]


@pytest.mark.parametrize("account, bik", KNOWN_ACCOUNTS)
def test_accounts(account: str, bik: str) -> None:
    """Published accounts fit their BIK by the control key, and spaces do not matter."""
    assert read_account(account, bik) == Destination(Rail.ACCOUNT, account, bik)
    assert read_account(" ".join([account[:5], account[5:]]), bik).number == account


@pytest.mark.parametrize("account, bik", KNOWN_ACCOUNTS)
@pytest.mark.parametrize("place", [5, 8, 19])
def test_one_wrong_digit_of_an_account_is_found(account: str, bik: str, place: int) -> None:
    """One changed digit breaks the control key: every weight is prime to ten."""
    for other in set("0123456789") - {account[place]}:
        wrong = account[:place] + other + account[place + 1 :]
        assert refusal(lambda: read_account(wrong, bik)).why.startswith("does not fit")  # noqa: B023


def test_an_account_at_an_office_of_the_bank_of_russia() -> None:
    """Where the BIK ends in 000 to 002 the key is over a zero and the BIK's fifth and sixth digits."""
    right = [f"40302810{key}00000000017" for key in range(10) if _sum_of_key("025", f"40302810{key}00000000017") == 0]
    assert [read_account(account, "044525000").number for account in right] == right
    assert len(right) == 1
    assert refusal(lambda: read_account(right[0], "044525003")).field == "number"


def _sum_of_key(prefix: str, account: str) -> int:
    weights = [7, 1, 3] * 8
    return sum(weight * int(digit) for weight, digit in zip(weights, prefix + account, strict=False)) % 10


@pytest.mark.parametrize(
    "account, bik, field",
    [
        ("", "044525700", "number"),
        ("4070381070000144948", "044525700", "number"),
        ("407038107000014494890", "044525700", "number"),
        ("4070381070000144948９", "044525700", "number"),
        ("40703810A00001449489", "044525700", "number"),
        ("40703810700001449489\n", "044525700", "number"),
        ("40703810700001449489", "044525225", "number"),  # another bank's
        ("03100643000000017300", "004525988", "number"),  # the treasury
        ("4" * 1000, "044525700", "number"),
        ("40703810700001449489", None, "bank"),
        ("40703810700001449489", "", "bank"),
        ("40703810700001449489", "04452570", "bank"),
        ("40703810700001449489", "0445257000", "bank"),
        ("40703810700001449489", "944525700", "bank"),
        ("40703810700001449489", "04452570０", "bank"),
        ("40703810700001449489", "0" * 1000, "bank"),
    ],
)
def test_accounts_refused(account: str, bik: str | None, field: str) -> None:
    """Wrong lengths, letters, no BIK, another bank's BIK and treasury accounts are refused, naming the right field."""
    assert refusal(lambda: read_account(account, bik)).field == field


@given(st.text("0123456789", min_size=1, max_size=24))
def test_our_luhn_is_the_librarys(digits: str) -> None:
    """Our quicker check-digit rule says of any digits what python-stdnum says."""
    assert passes_luhn(digits) == luhn.is_valid(digits)
