"""The figures of several processes as one page. Lives here: how the pages of one installation's processes are added up.

Whoever scrapes one port reaches one of the processes behind it, by chance; what it is told must not depend on which.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

_NOT_ADDED: Final = ("process_start_time_seconds", "process_max_fds")


def added_up(own: bytes, others: Sequence[str]) -> bytes:
    """This process's page with the figures of the others added, sample by sample; what is no sum stays as it is here."""
    if not others:
        return own
    families: dict[str, Metric] = {}
    for page in (own.decode(), *others):
        _add(families, text_string_to_metric_families(page))
    registry = CollectorRegistry()
    registry.register(_Told(list(families.values())))
    return generate_latest(registry)


def _add(families: dict[str, Metric], page: Iterable[Metric]) -> None:
    for family in page:
        known = families.setdefault(family.name, family)
        if known is family or family.name in _NOT_ADDED or family.name.endswith("_created"):
            continue
        where = {(sample.name, *sorted(sample.labels.items())): n for n, sample in enumerate(known.samples)}
        for sample in family.samples:
            at = where.get((sample.name, *sorted(sample.labels.items())))
            if at is None:
                known.samples.append(sample)
            else:
                known.samples[at] = known.samples[at]._replace(value=known.samples[at].value + sample.value)


class _Told(Collector):
    """Families as they are."""

    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        return iter(self._families)
