"""Logs: one JSON object a line on standard error, or lines for people when that is a terminal.

Lives here: what may be logged, and how. A field that is not in `FIELDS` is dropped, so a request's query, headers or body
cannot get into the log by being handed along; whoever needs a new field adds its name here, where it is read twice. Control
characters come out escaped. An exception is told by its type and by where it was raised: its text may hold values.

Libraries log through the standard library. Of what they say, the constant template is kept and never what they would fill in
(uvicorn and asyncio would fill in addresses, requests and the representation of callbacks with their arguments).
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from datetime import datetime
from pathlib import PurePath
from types import TracebackType
from typing import Any, Final, TextIO
from uuid import UUID

import structlog

from disburse.domain.ports import Clock

FIELDS: Final = frozenset((
    "at", "level", "event", "logger", "alert",
    "surface", "route", "why", "correlation", "error", "place",
    "merchant", "operator", "payout", "attempt", "state", "rail", "reason", "effect", "connector", "worker", "timeline", "operation", "shard", "actor",
    "count", "size", "bytes", "seconds", "milliseconds", "age_s",
    "alert", "code",
    "url", "port", "pid", "version", "role", "data", "migration", "migrations", "signal",
    "malformed", "slow", "full", "stuck", "lacks",
))  # fmt: skip
"""Everything that may be logged. None of it is ever filled from a query, a header or a body."""

_LONGEST: Final = 400
_FRAMES: Final = 8
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_CARD_LIKE: Final = re.compile(r"(?<![0-9])[0-9]{13,19}(?![0-9])")
_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_OPEN_TEMPLATES: Final = ("uvicorn", "disburse")

Event = MutableMapping[str, Any]


def configure(clock: Clock, *, level: str = "info", stream: TextIO | None = None, pretty: bool | None = None) -> None:
    """Set up logging for this process; `stream` is standard error unless given, `pretty` is decided by it being a terminal.

    `level`: debug, info, warning or error. May be called again; the last call counts.
    """
    out = sys.stderr if stream is None else stream
    rich = out.isatty() if pretty is None else pretty
    least = _LEVELS[level]

    def stamp(_: Any, __: str, event: Event) -> Event:
        event["at"] = clock.now().isoformat(timespec="milliseconds")
        return event

    clean: list[Any] = [structlog.processors.add_log_level, stamp, _name, _tell_faults, _allow, _flatten]
    render: Any = (
        structlog.dev.ConsoleRenderer(timestamp_key="at", colors=True, pad_event_to=32)
        if rich
        else structlog.processors.JSONRenderer(ensure_ascii=False)
    )
    structlog.configure(
        processors=[*clean, render],
        wrapper_class=structlog.make_filtering_bound_logger(least),
        logger_factory=_Lines(out),
        cache_logger_on_first_use=False,
    )
    bridge = _Bridge()
    root = logging.getLogger()
    root.handlers = [bridge]
    root.setLevel(max(least, logging.WARNING))
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        library = logging.getLogger(name)
        library.handlers, library.propagate = [], name != "uvicorn.access"  # requests are logged by nobody
        library.setLevel(max(least, logging.WARNING))


def place_of(fault: BaseException) -> str:
    """Where an exception was raised, innermost last: `api/unitpay.py:88 answer > storage/unit.py:61 write`. No values."""
    places = []
    trace: TracebackType | None = fault.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        file = PurePath(code.co_filename)
        places.append(f"{file.parent.name}/{file.name}:{trace.tb_lineno} {code.co_name}")
        trace = trace.tb_next
    return " > ".join(places[-_FRAMES:])


def kind_of(fault: BaseException) -> str:
    """The type of an exception and of those behind it: `StoreUnavailable from TimeoutError`."""
    kinds: list[str] = []
    link: BaseException | None = fault
    while link is not None and len(kinds) < 4:
        kinds.append(type(link).__name__)
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    return " from ".join(kinds)


class _Lines:
    """Makes loggers that write whole lines to one stream, and remember the name they were asked for by."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __call__(self, *names: Any) -> _Line:
        return _Line(self._stream, str(names[0]) if names else "")


class _Line:
    def __init__(self, stream: TextIO, name: str) -> None:
        self._stream = stream
        self.name = name

    def msg(self, message: str) -> None:
        try:
            self._stream.write(message + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            pass  # nobody reads the log any more: that must not stop a payout

    log = debug = info = warn = warning = err = error = exception = critical = fatal = failure = msg


class _Bridge(logging.Handler):
    """What libraries log, on its way into ours."""

    def emit(self, record: logging.LogRecord) -> None:
        # A text without arguments may have been filled in already, so only those of known libraries pass.
        template = str(record.msg) if record.args or record.name.startswith(_OPEN_TEMPLATES) else "a library's message"
        fields: dict[str, Any] = {}
        if record.exc_info and record.exc_info[1] is not None:
            fields = {"error": kind_of(record.exc_info[1]), "place": place_of(record.exc_info[1])}
        level = "error" if record.levelno >= 40 else "warning" if record.levelno >= 30 else "info"
        getattr(structlog.get_logger(record.name), level)(template.strip(), **fields)


def _name(logger: Any, _: str, event: Event) -> Event:
    if getattr(logger, "name", ""):
        event["logger"] = logger.name
    return event


def _tell_faults(_: Any, __: str, event: Event) -> Event:
    """`exc_info`, as `logger.exception` sets it, becomes type and place."""
    given = event.pop("exc_info", None)
    fault = given if isinstance(given, BaseException) else sys.exc_info()[1] if given else None
    if fault is not None:
        event["error"], event["place"] = kind_of(fault), place_of(fault)
    return event


def _allow(_: Any, __: str, event: Event) -> Event:
    return {name: value for name, value in event.items() if name in FIELDS}


def _flatten(_: Any, __: str, event: Event) -> Event:
    return {name: _plain(value) for name, value in event.items()}


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value[:50]]
    if not isinstance(value, str | UUID | datetime):
        return f"({type(value).__name__})"  # its representation is not ours to trust
    return escaped(str(value)[:_LONGEST])


def escaped(text: str) -> str:
    """The text on one line and harmless on a terminal; a run of digits as long as a card's is not shown."""
    text = _CARD_LIKE.sub("(digits)", text)
    return _CONTROL.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
