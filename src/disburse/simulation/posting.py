"""What couriers of simulated processes have instead of sockets: the promises of `connectors/webhooks.py`, over the simulated network.

May not live here: how receivers behave (`receivers.py`), what goes wrong on the way (`faults.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from disburse.connectors.webhooks import Answered, Unanswered
from disburse.protocols.wire import WireAnswer, WireRequest
from disburse.simulation.network import Net
from disburse.simulation.process import Process
from disburse.storage.database import assert_no_transaction


class SimPost:
    """What a courier of a simulated process posts through."""

    def __init__(self, process: Process, net: Net) -> None:
        self._process = process
        self._net = net

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, deadline_s: float) -> Answered | Unanswered:
        """As `WebhookTransport.post`."""
        assert_no_transaction()
        self._process.check()
        parts = urlsplit(url)
        lowered = {name.lower(): value for name, value in headers.items()}
        request = WireRequest("POST", parts.path, b"", lowered, body)
        self._net.noted(self._process, f"posts {parts.netloc} {lowered['webhook-id']}")
        answer = await self._net.exchange(self._process, parts.netloc, request, deadline_s=deadline_s)
        if not isinstance(answer, WireAnswer):
            return Unanswered(answer.why)
        asked = dict(answer.headers).get("retry-after")
        return Answered(answer.status, float(asked) if asked is not None else None)
