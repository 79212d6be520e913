"""Webhooks on the wire, after the Standard Webhooks specification: headers, signatures, secrets. Both sides; pure.

A signature is HMAC-SHA-256 over `id.timestamp.body`, the exact bytes that are sent, with the endpoint's secret: the text after
`whsec_`, read as base64. While a secret is being changed two are live and the header carries a signature for each, so that a
receiver that knows either can verify.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Final

ID, TIMESTAMP, SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"
TOLERANCE_S: Final = 300
"""A message that is older or younger than this is not believed: somebody may have kept it, to send it again."""

PREFIX: Final = "whsec_"
SECRET_BYTES: Final = 32
_LEAST_BYTES, _MOST_BYTES = 24, 64
_MOST_SIGNATURES = 16


class BadSecret(ValueError):
    """This is no webhook secret: `whsec_` and base64 of 24 to 64 bytes."""


class NotVerified(ValueError):
    """The message is not to be believed; `why` is a word for logs: missing, malformed, old, young, or signature."""

    def __init__(self, why: str) -> None:
        self.why = why
        super().__init__(f"the webhook is not verified: {why}")


def write_secret(key: bytes) -> str:
    """A secret as people and programs copy it."""
    return PREFIX + base64.b64encode(key).decode("ascii")


def read_secret(text: str) -> bytes:
    """The key inside a secret, with or without its prefix. Raises BadSecret, which repeats nothing of it."""
    try:
        key = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise BadSecret("not base64") from None
    if not _LEAST_BYTES <= len(key) <= _MOST_BYTES:
        raise BadSecret("not 24 to 64 bytes")
    return key


def sign(key: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    """One signature, with its version."""
    signed = b"%s.%d.%s" % (message_id.encode(), timestamp, body)
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode("ascii")


def headers_of(keys: Iterable[bytes], message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers of a message: `message_id` stays the same over all tries, `timestamp` (Unix seconds) is the try's own."""
    return {
        "Content-Type": "application/json",
        ID: message_id,
        TIMESTAMP: str(timestamp),
        SIGNATURE: " ".join(sign(key, message_id, timestamp, body) for key in keys),
    }


def verify(
    keys: Sequence[bytes], headers: Mapping[str, str], body: bytes, now_s: float, *, tolerance_s: int = TOLERANCE_S
) -> str:
    """The message's id, once one of our keys signed exactly these bytes at about this time; else raises NotVerified.

    `headers` by name, in any case. Every signature is compared in constant time.
    """
    given = {name.lower(): value for name, value in headers.items()}
    message_id, stamp, signatures = given.get(ID, ""), given.get(TIMESTAMP, ""), given.get(SIGNATURE, "")
    if not message_id or not stamp or not signatures:
        raise NotVerified("missing")
    if not (stamp.isascii() and stamp.isdigit() and len(stamp) <= 12) or not message_id.isascii():
        raise NotVerified("malformed")
    timestamp = int(stamp)
    if timestamp < now_s - tolerance_s:
        raise NotVerified("old")
    if timestamp > now_s + tolerance_s:
        raise NotVerified("young")
    # The header's first ones alone: whoever sends a thousand shall not make us compute for it.
    told = [one.encode("utf-8", "replace") for one in signatures.split(" ")[:_MOST_SIGNATURES]]
    expected = [sign(key, message_id, timestamp, body).encode() for key in keys]
    found = [hmac.compare_digest(one, ours) for one in told for ours in expected]
    if not any(found):
        raise NotVerified("signature")
    return message_id


def retry_after_s(value: str | None, now: datetime) -> float | None:
    """How long a receiver asks us to wait (`Retry-After`: seconds, or a date); None where it says nothing that can be read."""
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return max((parsedate_to_datetime(text) - now).total_seconds(), 0.0) if text else None
    except (ValueError, TypeError, IndexError):
        return None
