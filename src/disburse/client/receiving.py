"""Receiving webhooks: is this message from the server, of now, and which event is it? Opens nothing: bytes and headers come from your own
web framework, and what to answer is told by what is raised.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from disburse.protocols.events import Event, decode_event
from disburse.protocols.webhooks import TOLERANCE_S, NotVerified, read_secret, verify


class WebhookReader:
    """Reads the messages of one endpoint. `secrets`: as they were shown (`whsec_...`); two while one is being changed.

    `now_s` is Unix seconds; a message that is further than `tolerance_s` from it is not believed. Raises BadSecret.
    """

    def __init__(self, *secrets: str, tolerance_s: int = TOLERANCE_S, now_s: Callable[[], float] = time.time) -> None:
        if not secrets:
            raise ValueError("a reader without a secret would believe nobody")
        self._keys = [read_secret(one) for one in secrets]
        self._tolerance_s = tolerance_s
        self._now_s = now_s

    def read(self, headers: Mapping[str, str], body: bytes) -> Event:
        """The event. `body`: the bytes as they came, not parsed and written again. Raises NotVerified: answer 400, store nothing.

        The same event may come again, in order for each payout: by its `id` you know it. Types that you do not know are let pass.
        """
        message_id = verify(self._keys, headers, body, self._now_s(), tolerance_s=self._tolerance_s)
        try:
            event = decode_event(body)
        except ValueError:
            raise NotVerified("malformed") from None
        if event.id != message_id:
            raise NotVerified("malformed")
        return event
