"""The log says what may be said, on one line, and nothing else, whoever speaks."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from disburse.logs import configure, escaped
from tests.clock import FakeClock

CANARY = "CANARY-4111111111111111"


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    configure(FakeClock(), stream=stream, pretty=False)
    yield stream
    configure(FakeClock(), stream=io.StringIO(), pretty=False)


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line(written: io.StringIO) -> None:
    """A line is one JSON object: when, how grave, what, by whom, and the fields that are on the list."""
    structlog.get_logger("disburse.sender").info("sent", connector="bank", count=3, card=CANARY, body=CANARY.encode())
    assert lines(written) == [
        {
            "at": "2026-11-21T12:00:00.000+00:00",
            "level": "info",
            "event": "sent",
            "logger": "disburse.sender",
            "connector": "bank",
            "count": 3,
        }
    ]


@pytest.mark.parametrize(
    "text, shown",
    [
        ("plain – текст", "plain – текст"),
        ("a\nb\r\tc", "a\\u000ab\\u000d\\u0009c"),
        ("\x1b[31mred", "\\u001b[31mred"),
        ("\x85\u2028\u202e\x00", "\\u0085\\u2028\\u202e\\u0000"),
        ("\ud800", "\\ud800"),
        ("card 4111111111111111!", "card (digits)!"),
        ("20261121", "20261121"),
    ],
)
def test_escaping(text: str, shown: str) -> None:
    """Text cannot begin a line of its own, colour a terminal, turn it round, or show a card number."""
    assert escaped(text) == shown


def test_values(written: io.StringIO) -> None:
    """What is not plain is told by its type alone, and what is long is cut."""

    class Secret:
        def __repr__(self) -> str:
            return CANARY

    structlog.get_logger().info(
        "x", reason=Secret(), error="e" * 10_000, lacks=["worker", Secret()], seconds=1.5, why=None
    )
    [line] = lines(written)
    assert line["reason"] == "(Secret)"
    assert line["lacks"] == ["worker", "(Secret)"]
    assert len(line["error"]) == 400
    assert (line["seconds"], line["why"]) == (1.5, None)


def test_faults(written: io.StringIO) -> None:
    """An exception is told by type, by what was behind it, and by place; never by its text."""
    try:
        try:
            raise TimeoutError(CANARY)
        except TimeoutError as fault:
            raise ValueError(CANARY) from fault
    except ValueError:
        structlog.get_logger().exception("went wrong")
    [line] = lines(written)
    assert (line["level"], line["error"]) == ("error", "ValueError from TimeoutError")
    assert line["place"].startswith("tests/test_logs.py:") and line["place"].endswith(" test_faults")
    assert CANARY not in written.getvalue()


async def test_libraries(written: io.StringIO) -> None:
    """Libraries are heard by their templates; what they would fill in, and what asyncio shows of callbacks, is not."""
    logging.getLogger("uvicorn.error").warning("Invalid request from %s", CANARY)
    logging.getLogger("uvicorn.access").info('%s - "%s"', CANARY, CANARY)
    logging.getLogger("aiohttp.client").error(f"failed for {CANARY}")
    logging.getLogger("asyncpg").info("not grave enough")

    def fail(told: str) -> None:
        raise ValueError(told)

    asyncio.get_running_loop().call_soon(fail, CANARY)
    await asyncio.sleep(0.01)
    assert [(line["logger"], line["event"]) for line in lines(written)] == [
        ("uvicorn.error", "Invalid request from %s"),
        ("aiohttp.client", "a library's message"),
        ("asyncio", "a library's message"),
    ]
    assert lines(written)[2]["error"] == "ValueError"
    assert CANARY not in written.getvalue()


def test_for_people() -> None:
    """On a terminal the same fields are shown for people, as harmless as elsewhere."""
    stream = io.StringIO()
    configure(FakeClock(), stream=stream, pretty=True)
    structlog.get_logger().warning("sent", connector="ba\x1b[31mnk", card=CANARY)
    assert "ba\\u001b[31mnk" in stream.getvalue()
    assert "sent" in stream.getvalue() and CANARY not in stream.getvalue()


def test_level(written: io.StringIO) -> None:
    """What is less grave than asked for is not written."""
    configure(FakeClock(), level="warning", stream=written, pretty=False)
    structlog.get_logger().info("no")
    structlog.get_logger().warning("yes")
    assert [line["event"] for line in lines(written)] == ["yes"]


def test_a_log_that_nobody_reads() -> None:
    """A closed stream stops nothing."""
    stream = io.StringIO()
    configure(FakeClock(), stream=stream, pretty=False)
    stream.close()
    structlog.get_logger().info("into the void")
