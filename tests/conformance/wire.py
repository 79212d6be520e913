"""Bytes over a socket: requests put together by hand, one connection each, and answers taken apart. Knows no protocol of payouts."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import quote

T = TypeVar("T")

PATIENCE_S = 15.0
FORM = "application/x-www-form-urlencoded"
JSON = "application/json"


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def request(verb: str, target: str, *headers: str, body: bytes | None = None) -> bytes:
    """A request as bytes. `target` goes on the request line as it is."""
    length = [] if body is None else [f"Content-Length: {len(body)}"]
    lines = [f"{verb} {target} HTTP/1.1", "Host: 127.0.0.1", *length, *headers, "", ""]
    return "\r\n".join(lines).encode("utf-8") + (body or b"")


def pairs(values: Iterable[tuple[str, str]], *, safe: str = "") -> str:
    """Names and values, url-encoded; `safe` are characters that stay raw."""
    return "&".join(f"{quote(name, safe=safe)}={quote(value, safe=safe)}" for name, value in values)


def send(port: int, raw: bytes) -> Answer:
    """Send bytes to the server and read one answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as wire:
        wire.sendall(raw)
        got = b""
        while b"\r\n\r\n" not in got:
            got += _more(wire)
        head, _, body = got.partition(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        length = 0 if raw.startswith(b"HEAD ") else int(headers["content-length"])
        while len(body) < length:
            body += _more(wire)
        assert len(body) == length, "more came than one answer"
        return Answer(int(status.split(" ")[1]), headers, body)


def _more(wire: socket.socket) -> bytes:
    part = wire.recv(65536)
    assert part, "the server closed before it had answered"
    return part


def at_once(calls: Sequence[Callable[[], T]]) -> list[T]:
    """All calls side by side, each in a thread of its own; what each came to."""
    results: dict[int, T] = {}
    faults: list[BaseException] = []
    ready = threading.Barrier(len(calls))

    def work(number: int) -> None:
        ready.wait(PATIENCE_S)
        try:
            results[number] = calls[number]()
        except BaseException as fault:
            faults.append(fault)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    if faults:
        raise faults[0]
    return [results[number] for number in range(len(calls))]


def until(look: Callable[[], T], good: Callable[[T], bool]) -> T:
    """Ask again and again, as a client that polls, until the answer is good. The server's clock is the real one."""
    ends = time.monotonic() + PATIENCE_S
    while True:
        seen = look()
        if good(seen):
            return seen
        assert time.monotonic() < ends, f"still {seen}"
        time.sleep(0.02)
