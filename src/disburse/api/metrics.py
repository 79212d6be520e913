"""What is measured, for Prometheus. Lives here: the names, the cheap counting on hot paths, and the scrape.

Two kinds of figures. *Counted here*: batch sizes, latencies, outcomes, contradictions; each process counts its own. The
processes of one `serve` add theirs up (`others`, `metrics_sum.py`), those of several Prometheus does. *Facts*: how many payouts are under way, where the money is, how old the oldest doubt is; every
process would say the same, so take one of them (`max without (instance)`).

Facts are read from the database when somebody scrapes, at most every 5 s, and never so often that reading them takes more
than a twentieth of the time. A scrape waits a little for them and otherwise tells the last ones; `disburse_facts_age_seconds`
says how old those are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Final, Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from disburse.api.metrics_sum import added_up
from disburse.domain.outcomes import Verdict
from disburse.domain.payout import FINAL
from disburse.domain.ports import Clock
from disburse.operations.evidence import Applied
from disburse.operations.witness import Word

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

FACTS_EVERY_S: Final = 5.0
FACTS_SHARE: Final = 20
"""After reading facts for so long, none are read for this many times as long."""

FACTS_WAIT_S: Final = 3.0
"""A scrape waits so long for fresh facts."""

_SECONDS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.04, 0.08, 0.15, 0.3, 0.6, 1, 2, 4, 8)
_SIZES: Final = (1, 2, 5, 10, 20, 50, 100, 200, 350, 500)


class Facts(Protocol):
    """What the database knows at one moment. `storage/reports.py` reads it and says what it costs."""

    @property
    def payouts(self) -> Mapping[tuple[str, str], int]:
        """How many payouts that are not final there are, by (state, rail)."""
        ...

    @property
    def payouts_made(self) -> int:
        """How many payouts were ever made."""
        ...

    @property
    def money(self) -> Mapping[tuple[str, str], int]:
        """Balances by (account, currency) over all merchants, in minor units."""
        ...

    @property
    def oldest_doubt(self) -> datetime | None:
        """Since when the oldest payout in doubt has been so."""
        ...

    @property
    def oldest_undelivered(self) -> datetime | None:
        """When the oldest event happened that an active webhook endpoint has not got yet."""
        ...


ReadFacts = Callable[[], Awaitable[Facts]]


class Metrics:
    """Everything one process measures. All but `page` cost about a microsecond.

    `others`: asks the processes that share this one's port for what `counted` says there.
    """

    def __init__(self, clock: Clock, *, read_facts: ReadFacts | None = None) -> None:
        self.registry = CollectorRegistry()
        self.others: Callable[[], Awaitable[Sequence[str]]] | None = None
        self._clock = clock
        self._facts = _FactsReader(clock, read_facts) if read_facts is not None else None
        counter, histogram = partial(Counter, registry=self.registry), partial(Histogram, registry=self.registry)
        self._requests = histogram(
            "disburse_request_seconds", "Answering a request.", ["surface", "outcome"], buckets=_SECONDS
        )
        self._batches = histogram("disburse_batch_size", "Commands a transaction.", ["operation"], buckets=_SIZES)
        self._calls = counter("disburse_calls", "Calls to providers.", ["connector", "outcome"])
        self._inquiries = counter("disburse_inquiries", "Inquiries at providers.", ["connector", "finding"])
        self._finished = counter("disburse_payouts_finished", "Payouts that became final.", ["state", "rail"])
        self._contradictions = counter("disburse_contradictions", "Evidence that froze a payout.", ["connector"])
        self._unmatched = counter("disburse_unmatched_evidence", "Evidence about no attempt of ours.", ["connector"])
        self._alerts = counter("disburse_alerts", "What providers said that needs a person.", ["connector", "alert"])
        self._webhooks = counter("disburse_webhooks", "Tries to deliver an event.", ["outcome"])
        self._witnessed = counter("disburse_failovers", "What was found of a database after a failover.", ["word"])
        self.in_progress = Gauge("disburse_requests_in_progress", "Requests at a door.", registry=self.registry)
        self.connections = Gauge("disburse_connections", "Open connections.", registry=self.registry)
        self._cut = counter("disburse_connections_cut", "Connections closed by us.", ["why"])
        self._batch_of: dict[str, Callable[[float], None]] = {}
        self._call_of: dict[tuple[str, type[Verdict]], Callable[[], None]] = {}
        ProcessCollector(registry=self.registry)

    def request(self, surface: str, outcome: str) -> Callable[[float], None]:
        """Where the seconds of such answers are told. Ask once and keep it: that is what makes it cheap."""
        return self._requests.labels(surface, outcome).observe

    def batch(self, operation: str, size: int) -> None:
        """A transaction carried so many commands. This is what `operations.desk.Batches` calls."""
        observe = self._batch_of.get(operation)
        if observe is None:
            observe = self._batch_of[operation] = self._batches.labels(operation).observe
        observe(size)

    def called(self, connector: str, outcome: Verdict) -> None:
        """A call to a provider ended so."""
        count = self._call_of.get((connector, type(outcome)))
        if count is None:
            count = self._call_of[connector, type(outcome)] = self._calls.labels(connector, type(outcome).__name__.lower()).inc
        count()

    def asked(self, connector: str, finding: Verdict) -> None:
        """An inquiry found this."""
        self._inquiries.labels(connector, type(finding).__name__.lower()).inc()

    def applied(self, connector: str, applied: Applied) -> None:
        """A piece of evidence was applied: counts contradictions, unmatched evidence, and payouts that it made final."""
        if applied.contradicts:
            self._contradictions.labels(connector).inc()
        elif applied.effect == "unmatched":
            self._unmatched.labels(connector).inc()
        elif applied.payout is not None and applied.effect in _FINAL:
            self.finished(applied.effect, applied.payout.rail)

    def alerted(self, connector: str, alert: str) -> None:
        """A connector met something that a person should see to; the log has the line."""
        self._alerts.labels(connector, alert).inc()

    def delivered(self, outcome: str) -> None:
        """A try to deliver an event to a webhook endpoint ended so: delivered, failed, or gone."""
        self._webhooks.labels(outcome).inc()

    def witnessed(self, word: Word) -> None:
        """The database is another than it was, and this is what that came to."""
        self._witnessed.labels(word).inc()

    def finished(self, state: str, rail: str) -> None:
        """A payout became final in another way than by evidence: cancelled, expired, without a route."""
        self._finished.labels(state, rail).inc()

    def cut(self, why: str, count: int) -> None:
        """The server closed so many connections: `malformed`, `slow`, `full`, `idle` or `stuck`."""
        self._cut.labels(why).inc(count)

    async def page(self) -> bytes:
        """Everything, as Prometheus reads it."""
        others = asyncio.create_task(_asked(self.others))
        if self._facts is None:
            return added_up(self.counted(), await others)
        await self._facts.refresh()
        return added_up(self.counted(), await others) + generate_latest(self._facts.registry)

    def counted(self) -> bytes:
        """What this process counted, without the facts that every process would tell."""
        return generate_latest(self.registry)


async def _asked(others: Callable[[], Awaitable[Sequence[str]]] | None) -> Sequence[str]:
    return await others() if others is not None else ()


_FINAL: Final = frozenset(str(state) for state in FINAL)


class _FactsReader(Collector):
    """The last facts read, and when to read them again."""

    def __init__(self, clock: Clock, read: ReadFacts) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(self)
        self._clock = clock
        self._read = read
        self._last: Facts | None = None
        self._read_at = 0.0
        self._rest_until = float("-inf")
        self._reading: asyncio.Task[None] | None = None

    async def refresh(self) -> None:
        """Read the facts if it is time to; whatever goes wrong, the last ones stay."""
        if self._reading is None:
            if self._clock.monotonic() < self._rest_until:
                return
            self._reading = asyncio.create_task(self._read_once())
        try:
            async with self._clock.timeout(FACTS_WAIT_S):
                await asyncio.shield(self._reading)
        except TimeoutError:
            pass  # the reading goes on, for the next scrape

    async def _read_once(self) -> None:
        began = self._clock.monotonic()
        try:
            self._last = await self._read()
            self._read_at = self._clock.monotonic()
        except Exception:  # noqa: S110 - a scrape is no place to fail: the age of the facts says it
            pass
        finally:
            ended = self._clock.monotonic()
            self._rest_until = began + max(FACTS_EVERY_S, FACTS_SHARE * (ended - began))
            self._reading = None

    def collect(self) -> Iterator[Metric]:
        facts = self._last
        if facts is None:
            return
        payouts = GaugeMetricFamily(
            "disburse_payouts", "Payouts not final, by state and rail.", labels=["state", "rail"]
        )
        for (state, rail), count in facts.payouts.items():
            payouts.add_metric([state, rail], count)
        money = GaugeMetricFamily(
            "disburse_money_minor",
            "Money in each kind of account over all merchants, in minor units.",
            labels=["account", "connector", "currency"],
        )
        for (account, currency), balance in facts.money.items():
            kind, _, connector = account.partition(":")
            money.add_metric([kind, connector, currency], balance)
        doubt_s = self._age_s(facts.oldest_doubt)
        yield payouts
        yield money
        yield GaugeMetricFamily("disburse_payouts_made", "Payouts ever made.", value=facts.payouts_made)
        yield GaugeMetricFamily("disburse_oldest_doubt_seconds", "Age of the oldest doubt; 0: none.", value=doubt_s)
        yield GaugeMetricFamily(
            "disburse_oldest_undelivered_seconds", "Age of the oldest event that an active webhook endpoint lacks; 0: none.",
            value=self._age_s(facts.oldest_undelivered),
        )  # fmt: skip
        age_s = self._clock.monotonic() - self._read_at
        yield GaugeMetricFamily("disburse_facts_age_seconds", "How old the figures from the database are.", value=age_s)

    def _age_s(self, since: datetime | None) -> float:
        return max(0.0, (self._clock.now() - since).total_seconds()) if since is not None else 0.0
