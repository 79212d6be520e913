"""`disburse webhook`, as people and scripts use it: exact JSON, exact errors, secrets shown once."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.cli.conftest import Commands

URL = "https://shop.example/hooks?x=1"
GONE = "00000000-0000-7000-8000-000000000000"


@pytest.fixture(scope="module")
def merchant(commands: Commands) -> str:
    return str(commands.ok("merchant", "add", "Shop", "--login", "hooks@example.com")["merchant_id"])


def add(commands: Commands, merchant: str, *more: str) -> dict[str, Any]:
    return dict(commands.ok("webhook", "add", merchant, URL, *more))


def test_a_webhook_is_made_with_a_secret_shown_once(commands: Commands, merchant: str) -> None:
    """`webhook add --json` tells the secret; no later command does, and people are told that it is shown once."""
    made = add(commands, merchant, "--type", "payout.paid", "--type", "top_up")
    assert re.fullmatch(r"whsec_[A-Za-z0-9+/]{43}=", made["secret"])
    assert (made["url"], made["types"], made["state"]) == (URL, ["payout.paid", "top_up"], "active")
    listed = commands.ok("webhook", "list", merchant)["webhooks"]
    assert made["webhook_id"] in [one["webhook_id"] for one in listed]
    shown = commands("webhook", "list", merchant).out + str(listed)
    assert made["secret"][6:] not in shown and URL in shown
    told = commands("webhook", "add", "hooks@example.com", URL)
    assert told.code == 0 and "shown once" in told.out and "whsec_" in told.out


def test_what_can_be_done_with_one(commands: Commands, merchant: str) -> None:
    """Rotate, pause, resume, resend and remove do what they say, by merchant and id."""
    made = add(commands, merchant, "--since", "0")
    name = made["webhook_id"]
    fresh = commands.ok("webhook", "rotate", merchant, name, "--overlap", "1")
    assert fresh["secret"] != made["secret"] and fresh["old_secret_until"] is not None
    assert commands.ok("webhook", "pause", merchant, name)["state"] == "paused"
    assert commands.ok("webhook", "pause", merchant, name)["reason"] == "asked_for"
    assert commands.ok("webhook", "resume", merchant, name)["state"] == "active"
    assert commands.ok("webhook", "resend", merchant, name, "--from", "1", "--to", "2")["resend"] == [1, 2]
    error = commands.no("webhook", "resend", merchant, name, "--from", "1", "--to", "1")
    assert (error["name"], error["message"]) == ("resend_under_way", "Events up to 2 are being sent once more; 1 is next.")
    assert commands.ok("webhook", "remove", merchant, name) == {"webhook_id": name, "removed": True}
    assert commands.no("webhook", "remove", merchant, name)["name"] == "no_such_webhook"
    assert "is paused" in commands("webhook", "pause", merchant, add(commands, merchant)["webhook_id"]).out


@pytest.mark.parametrize(
    "url, why",
    [
        ("http://shop.example/", "it is not https"), ("https://127.0.0.1/", "it names an address; name a host"),
        ("https://shop.example:22/", "its port is neither 443 nor 8443"), ("https://u:p@shop.example/", "it carries a user or a password"),
        ("https://localhost/", "its host is no public name"), ("https://shop.example/#x", "it has a fragment"),
    ],
)  # fmt: skip
def test_urls_that_are_refused(commands: Commands, merchant: str, url: str, why: str) -> None:
    """What cannot be called is refused as bad usage, with the reason and without the URL."""
    error = commands.no("webhook", "add", merchant, url, code=2)
    assert (error["name"], error["message"]) == ("bad_url", f"The URL cannot be a webhook endpoint: {why}.")


def test_mistakes(commands: Commands, merchant: str) -> None:
    """Unknown types, numbers, merchants and ids are refused by name."""
    assert commands.no("webhook", "add", merchant, URL, "--type", "payout.eaten", code=2)["name"] == "unknown_event_type"
    assert commands.no("webhook", "add", merchant, URL, "--since", "-1", code=2)["name"] == "bad_usage"
    assert commands.no("webhook", "add", merchant, URL, "--since", "999999")["name"] == "no_such_events"
    assert commands.no("webhook", "add", "9999", URL)["name"] == "no_such_merchant"
    assert commands.no("webhook", "pause", merchant, GONE)["name"] == "no_such_webhook"
    assert commands.no("webhook", "pause", merchant, "{" + GONE + "}")["name"] == "no_such_webhook"
    name = add(commands, merchant)["webhook_id"]
    assert commands.no("webhook", "rotate", merchant, name, "--overlap", "721", code=2)["name"] == "bad_usage"
    assert commands.no("webhook", "resend", merchant, name, "--from", "2", "--to", "1", code=2)["name"] == "bad_usage"
    assert commands.no("webhook", "resend", merchant, name, "--from", "1", "--to", "99999")["name"] == "no_such_events"


def test_another_merchants_webhook_is_none(commands: Commands, merchant: str) -> None:
    """Somebody else's endpoint looks the same as none at all."""
    other = str(commands.ok("merchant", "add", "Other", "--login", "other-hooks@example.com")["merchant_id"])
    name = add(commands, merchant)["webhook_id"]
    assert commands.no("webhook", "remove", other, name)["name"] == "no_such_webhook"
    assert commands.ok("webhook", "list", other) == {"webhooks": []}


def test_there_is_an_end_of_endpoints(commands: Commands) -> None:
    """A merchant has at most twenty."""
    merchant = str(commands.ok("merchant", "add", "Many", "--login", "many-hooks@example.com")["merchant_id"])
    for _ in range(20):
        add(commands, merchant)
    assert commands.no("webhook", "add", merchant, URL)["name"] == "too_many_webhooks"
