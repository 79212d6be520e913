"""`disburse api-key`, as people and scripts use it: exact JSON, exact errors, a key shown once."""

from __future__ import annotations

import re

from tests.cli.conftest import Commands


def test_a_key_is_made_listed_and_ended(commands: Commands) -> None:
    """A key is told once; lists show who it is and never the key; one that ended stays so; what does not exist is refused."""
    merchant = str(commands.ok("merchant", "add", "Shop", "--login", "keys@example.com")["merchant_id"])
    made = commands.ok("api-key", "add", merchant, "payroll")
    assert re.fullmatch(r"dsb_[A-Za-z0-9]{32}", made["api_key"]) and made["ending"] == made["api_key"][-4:]
    listed = commands.ok("api-key", "list", merchant)["api_keys"]
    assert [one["name"] for one in listed] == ["first", "payroll"] and made["api_key"] not in str(listed)
    shown = commands("api-key", "list", "keys@example.com").out
    assert "payroll" in shown and made["api_key"] not in shown
    ended = commands.ok("api-key", "end", merchant, made["key_id"])
    assert ended["ends_at"] is not None
    assert commands.ok("api-key", "end", merchant, made["key_id"]) == ended
    assert commands.no("api-key", "end", merchant, "no-id")["name"] == "no_such_api_key"
    assert commands("api-key", "add", merchant, " ").code == 2
