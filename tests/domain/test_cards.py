"""Card schemes by number range."""

from __future__ import annotations

import pytest

from disburse.domain.cards import scheme


@pytest.mark.parametrize(
    "bin6, name",
    [
        ("477964", "VISA"),
        ("400000", "VISA"),
        ("499999", "VISA"),
        ("510000", "MASTERCARD"),
        ("555555", "MASTERCARD"),
        ("559999", "MASTERCARD"),
        ("222100", "MASTERCARD"),
        ("272099", "MASTERCARD"),
        ("222099", None),
        ("272100", None),
        ("220000", "MIR"),
        ("220499", "MIR"),
        ("220500", None),
        ("219999", None),
        ("620000", "UNIONPAY"),
        ("629999", "UNIONPAY"),
        ("810000", "UNIONPAY"),
        ("352800", "JCB"),
        ("358999", "JCB"),
        ("352799", None),
        ("359000", None),
        ("340000", "AMEX"),
        ("379999", "AMEX"),
        ("360000", "DINERS CLUB"),
        ("300000", "DINERS CLUB"),
        ("500000", "MAESTRO"),
        ("560000", "MAESTRO"),
        ("589999", "MAESTRO"),
        ("590000", None),
        ("639002", "MAESTRO"),
        ("601100", "DISCOVER"),
        ("650000", "DISCOVER"),
        ("676000", "MAESTRO"),
        ("000000", None),
        ("100000", None),
        ("700000", None),
        ("999999", None),
    ],
)
def test_scheme(bin6: str, name: str | None) -> None:
    """The range that holds the first six digits tells the scheme; outside every range there is none."""
    assert scheme(bin6) == name


@pytest.mark.parametrize(
    "text", ["", "47796", "4779640", "47796a", "４７７９６４", "٤٧٧٩٦٤", " 47796", "477964\n", "-47796"]
)
def test_only_six_ascii_digits_have_a_scheme(text: str) -> None:
    """What is not six ASCII digits has no scheme, and is no error."""
    assert scheme(text) is None
