"""What can become of a request and its answer on the way: a table. Source: the rows D4 to D7 of the fault matrix.

Lives here: the faults as data. May not live here: how they are carried out (`line.py`), what a connector should make of them
(`scenarios.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Way(StrEnum):
    """How the answer leaves the provider, or does not."""

    WHOLE = "whole"
    CLOSE = "close"  # the connection ends without a word
    RESET = "reset"  # the same, with a TCP reset
    HANG = "hang"  # nothing more comes, and the connection stays
    HEAD_CUT = "head_cut"  # half of the status line
    BODY_CUT = "body_cut"  # half of the promised body
    CHUNK_CUT = "chunk_cut"  # a chunked body without its end
    DRIP = "drip"  # a byte now and then, past every deadline
    FLOOD = "flood"  # a body without end
    INTERIM = "interim"  # one 1xx answer after the other
    NOT_HTTP = "not_http"


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of the way. `acts`: the provider carried the request out first.

    `status`, `body`, `content_type`, `location`, `encoding` replace the answer's own where they are given. `waits`: the caller
    learns it from the clock alone. `later`: the request is kept, and carried out when the scenario says so. `truth`: what
    comes back may be the provider's own word, so a connector may believe it.
    """

    name: str
    says: str
    gap: str
    acts: bool = False
    way: Way = Way.WHOLE
    status: int | None = None
    body: bytes | None = None
    content_type: str | None = None
    location: bool = False
    encoding: str | None = None
    waits: bool = False
    later: bool = False
    truth: bool = False


_PAGE: Final = b"<html><head><title>Bad Gateway</title></head><body>nginx</body></html>"
_DEEP: Final = b'{"a":' * 5000 + b"1" + b"}" * 5000
_NUMBER: Final = b'{"result":{"status":"success","sum":1e999999}}'
_GZIP: Final = b"\x1f\x8b\x08\x00garbage"
_SENT: Final = "N1"
_TAKEN: Final = "N1 to P1"
_ANSWER: Final = "P1 to N2"
_HTML: Final = "text/html"

FAULTS: Final = (
    Fault("reset-on-connect", "The connection is reset before a byte is read.", _SENT, way=Way.RESET),
    Fault("lost-before", "The request is read and goes nowhere; the connection is closed.", _TAKEN, way=Way.CLOSE),
    Fault("reset-before", "The request is read and goes nowhere; the connection is reset.", _TAKEN, way=Way.RESET),
    Fault("hangs-before", "The request is read and goes nowhere; nobody answers.", _TAKEN, way=Way.HANG, waits=True),
    Fault("late", "Nobody answers in time; the request is carried out later.", _TAKEN, way=Way.HANG, waits=True, later=True),
    Fault("5xx-before", "A gateway says 502, and the provider never saw the request.", _TAKEN, status=502, body=_PAGE, content_type=_HTML),
    Fault("503-empty-before", "503 without a body, before anything.", _TAKEN, status=503, body=b""),
    Fault("page-before", "A page on HTTP 200, before anything: a captive portal.", _TAKEN, status=200, body=_PAGE, content_type=_HTML),
    Fault("404-page-before", "A gateway's 404 page, before anything.", _TAKEN, status=404, body=_PAGE, content_type=_HTML),
    Fault("403-page-before", "A firewall's 403 page, before anything.", _TAKEN, status=403, body=_PAGE, content_type=_HTML),
    Fault("lost-after", "It is carried out; the connection is closed without an answer.", _ANSWER, True, Way.CLOSE),
    Fault("reset-after", "It is carried out; the connection is reset.", _ANSWER, True, Way.RESET),
    Fault("time-out-after", "It is carried out; nobody answers.", _ANSWER, True, Way.HANG, waits=True),
    Fault("cut-in-the-head", "It is carried out; the answer ends in its first line.", _ANSWER, True, Way.HEAD_CUT),
    Fault("cut-in-the-body", "It is carried out; half of the body comes.", _ANSWER, True, Way.BODY_CUT),
    Fault("cut-chunked", "It is carried out; a chunked answer breaks off.", _ANSWER, True, Way.CHUNK_CUT),
    Fault("500-page-after", "It is carried out; HTTP 500 with a page.", _ANSWER, True, status=500, body=_PAGE, content_type=_HTML),
    Fault("500-own-words-after", "It is carried out; the truth rides on HTTP 500.", _ANSWER, True, status=500, truth=True),
    Fault("502-after", "It is carried out; a gateway says 502.", _ANSWER, True, status=502, body=_PAGE, content_type=_HTML),
    Fault("504-after", "It is carried out; a gateway says 504.", _ANSWER, True, status=504, body=b""),
    Fault("429-after", "It is carried out; a gateway says 429.", _ANSWER, True, status=429, body=b"slow down", content_type="text/plain"),
    Fault("400-page-after", "It is carried out; a proxy says 400 with a page.", _ANSWER, True, status=400, body=_PAGE, content_type=_HTML),
    Fault("404-page-after", "It is carried out; a gateway says 404 with a page.", _ANSWER, True, status=404, body=_PAGE, content_type=_HTML),
    Fault("409-page-after", "It is carried out; somebody says 409.", _ANSWER, True, status=409, body=b"conflict", content_type="text/plain"),
    Fault("302-after", "It is carried out; the answer sends us elsewhere.", _ANSWER, True, status=302, body=b"", location=True),
    Fault("307-after", "It is carried out; the answer wants the same request elsewhere.", _ANSWER, True, status=307, body=b"", location=True),
    Fault("308-before", "The answer wants the same request elsewhere, before anything.", _TAKEN, status=308, body=b"", location=True),
    Fault("page-after", "It is carried out; a page comes on HTTP 200.", _ANSWER, True, status=200, body=_PAGE, content_type=_HTML),
    Fault("empty-after", "It is carried out; HTTP 200 without a body.", _ANSWER, True, status=200, body=b""),
    Fault("204-after", "It is carried out; HTTP 204.", _ANSWER, True, status=204, body=b""),
    Fault("empty-object-after", "It is carried out; {} comes.", _ANSWER, True, status=200, body=b"{}"),
    Fault("list-after", "It is carried out; a list comes.", _ANSWER, True, status=200, body=b"[]"),
    Fault("null-after", "It is carried out; null comes.", _ANSWER, True, status=200, body=b"null"),
    Fault("half-json-after", "It is carried out; JSON comes that breaks off.", _ANSWER, True, status=200, body=b'{"result":{"status":"err'),
    Fault("garbage-after", "It is carried out; bytes come that are no text.", _ANSWER, True, status=200, body=b"\x89\xff\x00\xfe" * 40),
    Fault("deep-json-after", "It is carried out; JSON nested 5,000 deep comes.", _ANSWER, True, status=200, body=_DEEP),
    Fault("huge-number-after", "It is carried out; a number comes that is dear to read.", _ANSWER, True, status=200, body=_NUMBER),
    Fault("gzip-garbage-after", "It is carried out; a broken compressed body comes.", _ANSWER, True, status=200, body=_GZIP, encoding="gzip"),
    Fault("wrong-type-after", "It is carried out; the truth is called a page.", _ANSWER, True, content_type=_HTML, truth=True),
    Fault("drip-feed-after", "It is carried out; the answer drips past the deadline.", _ANSWER, True, Way.DRIP, waits=True),
    Fault("too-long-after", "It is carried out; the answer does not end.", _ANSWER, True, Way.FLOOD),
    Fault("1xx-flood-after", "It is carried out; interim answers come without end.", _ANSWER, True, Way.INTERIM, waits=True),
    Fault("not-http-after", "It is carried out; what comes is not HTTP.", _ANSWER, True, Way.NOT_HTTP),
)  # fmt: skip

BY_NAME: Final = {fault.name: fault for fault in FAULTS}
