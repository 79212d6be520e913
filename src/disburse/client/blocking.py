"""`BlockingClient`: the same calls for programs without asyncio.

It is a facade: an event loop of its own runs the one `Client` in a thread of its own, and each method waits for its answer. So what is
retried, what "unknown" means, and the time limit over a whole answer exist once; `http.client` has a time limit for each piece alone, and
would have been a second road for money. The price is that thread; any number of others may call at a time. May not live here: any
decision about a call.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from disburse.client.asking import Retries
from disburse.client.client import Client

P = ParamSpec("P")
T = TypeVar("T")


def _waits(method: Callable[Concatenate[Client, P], Coroutine[Any, Any, T]]) -> Callable[Concatenate[BlockingClient, P], T]:
    """A method that waits for the answer of the client's own."""

    @wraps(method)
    def call(self: BlockingClient, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._run(method(self._client, *args, **kwargs))

    return call


def _iterates(method: Callable[Concatenate[Client, P], AsyncIterator[T]]) -> Callable[Concatenate[BlockingClient, P], Iterator[T]]:
    """An iterator that waits for each item of the client's own."""

    @wraps(method)
    def call(self: BlockingClient, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        items = method(self._client, *args, **kwargs)
        while (item := self._run(_next(items))) is not None:
            yield item

    return call


async def _next(items: AsyncIterator[T]) -> T | None:
    return await anext(items, None)


class BlockingClient:
    """One merchant's way to one server, for threads. Arguments, results and exceptions are those of `Client`; open it by `with`, or close it.
    Functions that are given along, such as `told`, are called in the client's own thread.

    Make it in the process that uses it: a thread does not come along through a fork. Raises RuntimeError when that is forgotten.
    """

    def __init__(
        self, url: str, api_key: str, *, timeout_s: float = 30.0, retries: Retries | None = None, tls: ssl.SSLContext | None = None,
        plain_http: bool = False,
    ) -> None:  # fmt: skip
        self._client = Client(url, api_key, timeout_s=timeout_s, retries=retries, tls=tls, plain_http=plain_http)
        self._process = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="disburse-client", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections, and end the thread. Closing twice is closing once."""
        if self._loop.is_closed():
            return
        self._run(self._client.close())
        self._run(self._loop.shutdown_asyncgens())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        if self._process != os.getpid() or self._loop.is_closed():
            work.close()
            raise RuntimeError("this client was closed, or made before the process was forked")
        answer = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return answer.result()
        except BaseException:  # Ctrl-C, say: nobody waits for it any more
            answer.cancel()
            raise

    create = _waits(Client.create)
    execute = _waits(Client.execute)
    cancel = _waits(Client.cancel)
    payout = _waits(Client.payout)
    find = _waits(Client.find)
    explain = _waits(Client.explain)
    payouts = _iterates(Client.payouts)
    balances = _waits(Client.balances)
    fee_quote = _waits(Client.fee_quote)
    rails = _waits(Client.rails)
    banks = _waits(Client.banks)
    top_ups = _iterates(Client.top_ups)
    add_payee = _waits(Client.add_payee)
    payee = _waits(Client.payee)
    find_payee = _waits(Client.find_payee)
    payees = _iterates(Client.payees)
    add_destination = _waits(Client.add_destination)
    retire_destination = _waits(Client.retire_destination)
    limits = _waits(Client.limits)
    plan_registry = _waits(Client.plan_registry)
    apply_registry = _waits(Client.apply_registry)
    follow_registry = _waits(Client.follow_registry)
    registry = _waits(Client.registry)
    registries = _iterates(Client.registries)
    registry_rows = _iterates(Client.registry_rows)
    cancel_registry = _waits(Client.cancel_registry)
    events = _iterates(Client.events)
    add_webhook = _waits(Client.add_webhook)
    webhooks = _waits(Client.webhooks)
    webhook = _waits(Client.webhook)
    rotate_webhook = _waits(Client.rotate_webhook)
    pause_webhook = _waits(Client.pause_webhook)
    resume_webhook = _waits(Client.resume_webhook)
    resend_webhook = _waits(Client.resend_webhook)
    remove_webhook = _waits(Client.remove_webhook)
    add_api_key = _waits(Client.add_api_key)
    api_keys = _waits(Client.api_keys)
    rotate_api_key = _waits(Client.rotate_api_key)
    disable_api_key = _waits(Client.disable_api_key)
