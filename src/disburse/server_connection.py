"""One HTTP connection, and the sweeper that looks at all of them. Lives here: what a connection may take, and how it is told.

uvicorn's HTTP protocol does the work of a connection. Its `Server` is not used: it ends the process on signals and on a taken
port, and both are ours to tell and to survive. Its protocol lacks bounds: none on a request's head, none on how long a request
may take to arrive; and it answers bytes it cannot read at once, even while the answer to an earlier request is still to come.
So here:

* a head is bounded in bytes and fields, pipelined requests in number; trailers are not headers, and bounded too;
* a connection that has not delivered a whole request in time is closed, and so is one that idles or does not read its answer;
* bytes that cannot be read are answered 400 only when nothing else is unanswered: "400" for a payout that was made would be
  a lie. Otherwise the connection is closed without a word.

Nobody sets a timer for a request: one sweeper looks at all connections once a second and turns the hands of their clock.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from email.utils import formatdate
from functools import partial
from typing import Any, Final

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from disburse.api.kernel import WHOLE, Logger
from disburse.api.listening import Limits
from disburse.api.metrics import Metrics
from disburse.domain.ports import Clock

_SAID: Final = {
    400: b"Bad request.",
    408: b"The request did not come in time.",
    431: b"The head is too large.",
    503: b"Full.",
}


class HeadTooLarge(Exception):
    """Raised inside the parser, which then stops."""


class Sweeper:
    """All connections of a server, and the time as they know it. What it closed goes to the log once a sweep, as numbers."""

    def __init__(self, state: ServerState, clock: Clock, limits: Limits, metrics: Metrics, logger: Logger) -> None:
        self.now = clock.monotonic()
        self.date = b""
        self.limits = limits
        self.cut: Counter[str] = Counter()
        self._state = state
        self._clock = clock
        self._metrics = metrics
        self._logger = logger
        metrics.connections.set_function(lambda: len(state.connections))

    async def run(self) -> None:
        """Sweep until cancelled."""
        while True:
            self.sweep()
            await self._clock.sleep(self.limits.sweep_every_s)

    def sweep(self) -> None:
        self.now = self._clock.monotonic()
        date = formatdate(self._clock.now().timestamp(), usegmt=True).encode()
        self._state.default_headers = [(b"date", date)]
        self.date = b"date: %b\r\n" % date
        for connection in list(self._state.connections):
            if isinstance(connection, Connection):
                connection.swept()
        if self.cut:
            told, self.cut = self.cut, Counter()
            for why, count in told.items():
                self._metrics.cut(why, count)
            told.pop("idle", None)
            if told:
                self._logger.warning("connections closed", **told)


class Connection(HttpToolsProtocol):
    """One connection. It is answering, or a request is arriving, or it idles; `_since` is when that began."""

    def __init__(self, config: uvicorn.Config, state: ServerState, sweeper: Sweeper) -> None:
        super().__init__(config, state, {})
        self.access_log = False
        self._sweeper = sweeper
        self._limits = sweeper.limits
        self._since = sweeper.now
        self._arriving = True  # a new connection owes us a request
        self._in_body = False
        self._unanswered = 0  # requests whose head is whole
        self._fed = 0  # bytes since the request began or had its last byte of body; that moment's chunk does not count
        self._spelled = 0  # bytes of the request line and whole fields
        self._chunk = 0
        self._head_too_large = False
        self._closing = False
        self._unparsed: int | None = None  # bytes of a last body that are still to come, see _refuse_upgrade
        self._current: RequestResponseCycle | None = None

    # --- what the transport says -----------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self._limits.connections:
            self._cut("full", 503)

    def connection_lost(self, exc: Exception | None) -> None:
        self.pipeline.clear()
        if self._current is not None and not self._current.response_complete:
            self._current.disconnected = True  # uvicorn tells only the last of several pipelined requests
            self._current.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._unparsed is not None:
            self._take_body(data)
            return
        self._chunk = len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._refuse_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self._cut("malformed", 431 if self._head_too_large else 400)
        else:
            if self._arriving:
                self._fed += len(data)
                if self._fed > self._limits.head_bytes:
                    self._cut("malformed", 431)

    # --- what the parser says --------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._arriving, self._in_body = True, False
        self._fed, self._spelled = -self._chunk, 0
        self._since = self._sweeper.now

    def on_url(self, url: bytes) -> None:
        self._spell(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_body:
            return  # a trailer: whoever looked at the headers on the way did not see it
        self._spell(len(name) + len(value) + 4)
        if len(self.headers) >= self._limits.fields:
            self._spell(self._limits.head_bytes)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if len(self.pipeline) >= self._limits.pipelined:
            raise HeadTooLarge
        super().on_headers_complete()
        self.scope[WHOLE] = partial(self._answer_whole, self.cycle)  # type: ignore[typeddict-unknown-key]
        self._in_body, self._fed = True, -self._chunk
        self._unanswered += 1

    def on_body(self, body: bytes) -> None:
        self._fed = -self._chunk  # what its bytes do not interrupt is bounded as a head is: sizes of chunks, trailers
        super().on_body(body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._arriving = self._in_body = False
        self._since = self._sweeper.now

    def on_response_complete(self) -> None:
        """As uvicorn does it, without a timer for each answer."""
        self._unanswered -= 1
        self.server_state.total_requests += 1
        if not self._arriving:
            self._since = self._sweeper.now
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._current = cycle
        super()._start_asgi_task(cycle, app)

    def _answer_whole(self, cycle: RequestResponseCycle, status: int, head: bytes, body: bytes) -> bool:
        """Write an answer that is there as a whole, in one piece; False where it has to go the long way.

        `head`: fields in lower case with their line ends, `content-length` among them. The long way takes two system calls
        and two patterns for each field: a fifth of what an answer costs here.
        """
        if cycle.response_started or self.flow.write_paused:
            return False
        if cycle.disconnected:
            return True
        cycle.response_started, cycle.waiting_for_100_continue = True, False
        close = b"" if cycle.keep_alive else b"connection: close\r\n"
        said = b"" if cycle.scope["method"] == "HEAD" else body
        self.transport.write(b"%b%b%b%b\r\n%b" % (STATUS_LINE[status], self._sweeper.date, head, close, said))
        cycle.response_complete = True
        cycle.message_event.set()
        if not cycle.keep_alive:
            self.transport.close()
        self.on_response_complete()
        return True

    # --- what the sweeper says -------------------------------------------------------------------------------

    def swept(self) -> None:
        """Close this connection if it has taken longer than it may over what it is doing."""
        limits, waited_s = self._limits, self._sweeper.now - self._since
        if self.transport.is_closing():
            if not self._closing:
                self._closing, self._since = True, self._sweeper.now
            elif waited_s > limits.linger_s:
                self._abort()
        elif self._owed() > 0:
            if waited_s > limits.answer_within_s:
                self._abort()
        elif self._arriving:
            if waited_s > limits.request_within_s:
                self._cut("slow", 408 if self.headers is not None else None)
        elif waited_s > limits.idle_s:
            self._cut("idle", None)

    def _spell(self, octets: int) -> None:
        self._spelled += octets
        if self._spelled > self._limits.head_bytes:
            self._head_too_large = True
            raise HeadTooLarge

    def _owed(self) -> int:
        """Answers to requests that arrived whole."""
        return self._unanswered - (1 if self._in_body and not self.cycle.response_complete else 0)

    def _refuse_upgrade(self, rest: bytes) -> None:
        """Answer as if the client had not asked for another protocol (Java's does, on every request without TLS), once.

        The parser takes all that follows for the other protocol, so the body is read here, by its length.
        """
        lengths = [value for name, value in self.headers if name == b"content-length"]
        if any(name == b"transfer-encoding" for name, _ in self.headers):
            self._in_body = self.cycle.disconnected = True  # it never became whole, whatever the parser said
            self._cut("malformed", 400)
            return
        self._unparsed = int(lengths[0]) if lengths else 0
        self.cycle.keep_alive = False
        if self._unparsed:
            self.cycle.more_body = self._arriving = self._in_body = True
            self._take_body(rest)

    def _take_body(self, data: bytes) -> None:
        """Body bytes that the parser does not see; what comes behind them is not read."""
        if self._unparsed:
            part = data[: self._unparsed]
            self._unparsed -= len(part)
            self.on_body(part)
            if not self._unparsed:
                self.on_message_complete()

    def _cut(self, why: str, status: int | None) -> None:
        """Close, saying why if the peer can take that for the answer to these bytes and to nothing else."""
        self._sweeper.cut[why] += 1
        if self.transport.is_closing():
            return
        began_to_answer = self._in_body and self.cycle.response_started
        if status is not None and self._owed() == 0 and not began_to_answer:
            said = _SAID[status]
            head = b"content-type: text/plain\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(said)
            self.transport.write(STATUS_LINE[status] + head + said)
        self.transport.close()

    def _abort(self) -> None:
        self._sweeper.cut["stuck"] += 1
        self.transport.abort()
