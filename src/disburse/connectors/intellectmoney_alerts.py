"""What IntellectMoney answers that a person should know. Lives here: how often it is told, in which words, and where to.

May not live here: what an answer means. Of an answer nothing comes here but the decision table's words, and a state's if it is
plainly a word. A figure needs few words, a person needs the whole sentence: `telling` gives each its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import structlog

from disburse.connectors.kind import Alert
from disburse.domain.ports import Clock

_log = structlog.get_logger("disburse.connectors.intellectmoney")

ALERT_EVERY_S: Final = 60.0
"""The same alert is told so often at most: a provider that is wrong is wrong about many payouts at once."""

_KEPT: Final = 200

Tell = Callable[[str, str, str, str], None]
"""Where alerts go: the connector's name, the call (token, create, execute, ask), why, and the decision table's version."""

WORDS: Final = (
    ("our login is refused", "login_refused"),
    ("an answer without a token", "no_token"),
    ("made without an id", "no_operation_id"),
    ("an answer about another operation", "echo_differs"),
    ("an answer without a state code", "unlisted_code"),
    ("unlisted code", "unlisted_code"),
    ("unlisted state", "unlisted_state"),
    ("state NotEnoughMoney", "provider_short_of_money"),
    ("state", "state_needs_a_person"),
    ("refused, code", "unlisted_refusal"),
    ("refused", "access_refused"),
)
"""How a sentence begins, and the alert's word for it; the first that fits counts."""


def word_of(why: str) -> str:
    """The alert's word for a sentence: one of a few, since it labels a figure."""
    return next((word for begins, word in WORDS if why.startswith(begins)), "provider_answer")


def tell_the_log(connector: str, operation: str, why: str, version: str) -> None:
    """A log line at level error."""
    _log.error("alert_provider_answer", connector=connector, operation=operation, why=why, version=version)


def telling(alert: Alert) -> Tell:
    """Alerts as all kinds give them, and the sentence as a line of the log beside it."""

    def tell(connector: str, operation: str, why: str, version: str) -> None:
        tell_the_log(connector, operation, why, version)
        alert(connector, word_of(why), version=version)

    return tell


class Alerts:
    """One connector's alerts."""

    def __init__(self, connector: str, clock: Clock, tell: Tell) -> None:
        self._connector = connector
        self._clock = clock
        self._tell = tell
        self._told: dict[tuple[str, str], float] = {}

    def raised(self, operation: str, why: str, version: str) -> None:
        """Tell it, unless the same was told a moment ago."""
        now, key = self._clock.monotonic(), (operation, why)
        if now - self._told.get(key, float("-inf")) < ALERT_EVERY_S:
            return
        if len(self._told) >= _KEPT:
            self._told.clear()
        self._told[key] = now
        self._tell(self._connector, operation, why, version)
