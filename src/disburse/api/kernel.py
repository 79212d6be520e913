"""The kernel: what stands between the HTTP server and every door. It knows bytes, limits and time, and no protocol.

Lives here: finding the door by path; reading a bounded body; refusing what no door should see; an answer in time whatever a
door does; catching what a door let fall; headers that belong on every answer. May not live here: parameters, merchants,
money, and Starlette's routing (this is the hot path: some microseconds beside the HTTP server's own).

Refusals of the kernel go out in the surface's own shape, through `Door.refuse`. Nothing of a request is ever logged but the
route it came by: queries, headers and bodies carry keys, tokens and card numbers.

| why | when | what it means for a payout |
|---|---|---|
| `too_large` | the body is longer than the limit; it was not read | nothing was done |
| `too_slow` | the body did not come in time | nothing was done |
| `bad_encoding` | the body is compressed (Content-Encoding, or a Transfer-Encoding other than chunked) | nothing was done |
| `overloaded` | too many requests are being answered already | nothing was done |
| `late` | the door did not answer in time and was cancelled | unknown: what it handed in may yet be carried out |
| `broken` | the door raised | unknown likewise |
"""

from __future__ import annotations

from typing import Literal, Protocol

from disburse.protocols.wire import WireAnswer, WireRequest

Why = Literal["too_large", "too_slow", "bad_encoding", "overloaded", "late", "broken"]
"""Why the kernel answers in a door's place; the table above."""


class Door(Protocol):
    """A surface: one protocol's whole server side. Headers come in lower case; repeated ones are joined with `, `.

    The path is as it was sent, percent signs and all.
    """

    async def answer(self, request: WireRequest) -> WireAnswer:
        """The answer to a request. May be cancelled at any `await`; whatever was handed to group commit goes on."""
        ...

    def refuse(self, request: WireRequest, why: Why) -> WireAnswer:
        """The answer in this surface's shape when the kernel stops a request. The body is empty if it was not read."""
        ...
