"""Webhook signatures against vectors made by other means, and which addresses may be an endpoint."""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime

import pytest

from disburse.protocols.webhook_address import BadWebhookUrl, Endpoint, read_endpoint
from disburse.protocols.webhooks import (
    BadSecret,
    NotVerified,
    headers_of,
    read_secret,
    retry_after_s,
    sign,
    verify,
    write_secret,
)

KEY, OTHER = bytes(range(32)), bytes(range(100, 124))
BODY = b'{"id":"evt_1_7"}'
AT = 1_700_000_000


def by_hand(key: bytes, text: bytes) -> str:
    """HMAC-SHA-256 as RFC 2104 writes it, without the standard library's."""
    block = key.ljust(64, b"\0")
    inner = hashlib.sha256(bytes(one ^ 0x36 for one in block) + text).digest()
    return base64.b64encode(hashlib.sha256(bytes(one ^ 0x5C for one in block) + inner).digest()).decode()


@pytest.mark.parametrize("key", [KEY, OTHER, b"k" * 64])
@pytest.mark.parametrize("body", [BODY, b"", "за\n".encode(), bytes(range(256))])
def test_a_signature_is_the_hmac_of_id_time_and_body(key: bytes, body: bytes) -> None:
    """The signature is v1 and the HMAC over id, timestamp and the exact bytes, joined by dots."""
    assert sign(key, "evt_1_7", AT, body) == "v1," + by_hand(key, b"evt_1_7.1700000000." + body)


def test_the_published_example() -> None:
    """A vector in the form of the specification's own example, computed apart from this code."""
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    text = b'msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{"test": 2432232314}'
    expected = by_hand(base64.b64decode(secret[6:]), text)
    assert expected == "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert sign(read_secret(secret), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}') == f"v1,{expected}"


def test_either_of_two_secrets_verifies() -> None:
    """While two secrets are live the message carries both signatures, and a receiver that knows one of them believes it."""
    headers = headers_of([KEY, OTHER], "evt_1_7", AT, BODY)
    assert len(headers["webhook-signature"].split(" ")) == 2
    for keys in ([KEY], [OTHER], [b"x" * 32, OTHER]):
        assert verify(keys, {name.title(): value for name, value in headers.items()}, BODY, AT + 299) == "evt_1_7"


@pytest.mark.parametrize(
    "change, body, now, why",
    [
        ({}, BODY + b" ", AT, "signature"),
        ({"webhook-id": "evt_1_8"}, BODY, AT, "signature"),
        ({"webhook-timestamp": str(AT + 1)}, BODY, AT, "signature"),
        ({"webhook-signature": "v1,"}, BODY, AT, "signature"),
        ({"webhook-signature": "v1,ключ"}, BODY, AT, "signature"),
        ({"webhook-signature": "v2," + "A" * 44}, BODY, AT, "signature"),
        ({"webhook-signature": ""}, BODY, AT, "missing"),
        ({"webhook-id": ""}, BODY, AT, "missing"),
        ({"webhook-timestamp": ""}, BODY, AT, "missing"),
        ({"webhook-timestamp": "1_700_000_000"}, BODY, AT, "malformed"),
        ({"webhook-timestamp": "-1700000000"}, BODY, AT, "malformed"),
        ({"webhook-timestamp": "１７００００００００"}, BODY, AT, "malformed"),
        ({"webhook-timestamp": "9" * 5000}, BODY, AT, "malformed"),
        ({"webhook-id": "évt"}, BODY, AT, "malformed"),
        ({}, BODY, AT + 301, "old"),
        ({}, BODY, AT - 301, "young"),
    ],
)
def test_what_is_not_believed(change: dict[str, str], body: bytes, now: int, why: str) -> None:
    """Other bytes, another id, another time, no signature, or one from long ago: not verified, and said why in a word."""
    headers = {**headers_of([KEY], "evt_1_7", AT, BODY), **change}
    with pytest.raises(NotVerified) as told:
        verify([KEY], headers, body, now)
    assert told.value.why == why


def test_many_signatures_cost_little() -> None:
    """Only the first signatures of a header are looked at."""
    headers = headers_of([KEY], "evt_1_7", AT, BODY)
    headers["webhook-signature"] = "v1,x " * 16 + headers["webhook-signature"]
    with pytest.raises(NotVerified):
        verify([KEY], headers, BODY, AT)


def test_secrets_are_read_as_they_are_written() -> None:
    """A secret is `whsec_` and base64; it may be given without the prefix. Too short, too long or no base64 is refused."""
    assert read_secret(write_secret(KEY)) == KEY == read_secret(write_secret(KEY)[6:])
    for wrong in ("", "whsec_", "whsec_!!!!", write_secret(b"x" * 23), write_secret(b"x" * 65), "whsec_ключ"):
        with pytest.raises(BadSecret) as told:
            read_secret(wrong)
        assert wrong == "" or wrong not in str(told.value)


@pytest.mark.parametrize(
    "value, seconds",
    [
        ("120", 120.0), (" 5 ", 5.0), ("0", 0.0), ("Sun, 22 Nov 2026 10:01:00 GMT", 60.0), ("Sun, 22 Nov 2026 09:00:00 GMT", 0.0),
        ("", None), (None, None), ("-5", None), ("soon", None), ("١٢", None), ("1" * 400, 111111111.0),
        ("Sun, 22 Nov 2026 10:01:00", None),
    ],
)  # fmt: skip
def test_retry_after(value: str | None, seconds: float | None) -> None:
    """Seconds or a date with its zone are read; everything else says nothing."""
    assert retry_after_s(value, datetime(2026, 11, 22, 10, 0, tzinfo=UTC)) == seconds


# --- addresses ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url, host, port",
    [
        ("https://shop.example/hooks", "shop.example", 443), ("https://a.b.shop.example:8443/x?y=1%20z", "a.b.shop.example", 8443),
        ("https://SHOP.example", "shop.example", 443), ("https://xn--e1afmkfd.xn--p1ai/?a=b", "xn--e1afmkfd.xn--p1ai", 443),
        ("https://hooks_1.shop.example:443/", "hooks_1.shop.example", 443),
    ],
)  # fmt: skip
def test_addresses_that_are_taken(url: str, host: str, port: int) -> None:
    """A public https name at port 443 or 8443, whatever path and query it has."""
    assert read_endpoint(url) == Endpoint("https", host, port, False)


@pytest.mark.parametrize(
    "url",
    [
        "", "shop.example", "http://shop.example/", "ftp://shop.example/", "HTTPS://shop.example/", "https://", "https:///x",
        "https://user@shop.example/", "https://user:pass@shop.example/", "https://@shop.example/", "https://shop.example/#x",
        "https://shop.example:80/", "https://shop.example:8080/", "https://shop.example:0/", "https://shop.example:99999/",
        "https://shop.example:/", "https://shop.example:४४३/", "https://127.0.0.1/", "https://[::1]/", "https://8.8.8.8/",
        "https://[2a00:1450::1]/", "https://2130706433/", "https://0x7f.1/", "https://0177.0.0.1/", "https://127.1/",
        "https://①②⑦.0.0.1/", "https://localhost/", "https://localhost:8443/", "https://x.localhost/", "https://printer.local/",
        "https://vault.internal/", "https://shop/", "https://-a.example/", "https://a-.example/", "https://a..example/",
        "https://шоп.example/", "https://shop.example /", "https://shop.example/ x", "https://shop.example/\r\nX: y",
        "https://shop.example\\@127.0.0.1/", "https://shop.example%2f@127.0.0.1/", "https://shop.example/" + "x" * 2000,
        "https://" + "a" * 64 + ".example/", "https://[::ffff:127.0.0.1]/", "https://[fe80::1%25eth0]/", "https://shop.example./",
    ],
)  # fmt: skip
def test_addresses_that_are_refused(url: str) -> None:
    """Anything else: other schemes, users, fragments, ports, numbers in any spelling, names of one's own network."""
    with pytest.raises(BadWebhookUrl) as told:
        read_endpoint(url)
    assert "127" not in str(told.value) and "example" not in str(told.value)


@pytest.mark.parametrize("url", ["http://127.0.0.1:5000/x", "http://localhost:5000/", "https://localhost:5000/", "http://[::1]:99/"])
def test_this_machine_only_where_a_setting_allows_it(url: str) -> None:
    """With the setting, this machine may be named, at any port and by http; without it, never."""
    assert read_endpoint(url, to_loopback=True).loopback
    with pytest.raises(BadWebhookUrl):
        read_endpoint(url)


@pytest.mark.parametrize("url", ["http://10.0.0.1/", "http://shop.example/", "https://8.8.8.8/", "http://user@127.0.0.1/", "ftp://127.0.0.1/"])
def test_the_setting_allows_nothing_else(url: str) -> None:
    """The setting lets through this machine and nothing more."""
    with pytest.raises(BadWebhookUrl):
        read_endpoint(url, to_loopback=True)
