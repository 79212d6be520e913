"""Pays a file of wages: plans it, shows what would be done, and does exactly that when it is told to. It may be run again at any time."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

from disburse.client import BlockingClient, NewRegistryAsked, Registry, RegistryRowsAsked


def show(planned: Registry, client: BlockingClient) -> None:
    """What would be paid, each row that cannot be, and each that is asked about."""
    for total in planned.totals:
        print(f"{total.rail}: {total.rows} rows, {total.amount.amount} and {total.fee.amount} of fees in {total.amount.currency}")
    for row in client.registry_rows(planned.id, RegistryRowsAsked(verdict="bad")):
        print(f"line {row.line}: " + "; ".join(f"{fault.field} {fault.why}" for fault in row.faults))
    for row in client.registry_rows(planned.id, RegistryRowsAsked(verdict="held")):
        print(f"line {row.line} may be paid already: " + "; ".join(fault.why for fault in row.faults))


def sending(sent: int, size: int) -> None:
    """How much of the file is on its way."""
    print(f"\rsent {sent} of {size} bytes", end="", file=sys.stderr)


def paying(registry: Registry) -> None:
    """How far the payouts are."""
    print(f"\r{registry.state}: {registry.paid} of {registry.good} paid", end="", file=sys.stderr)


def pay(client: BlockingClient, name: str, content: bytes, *, every_s: float = 1.0) -> Registry:
    """Plan, show, pay the good rows, and wait for the end."""
    key = hashlib.sha256(content).hexdigest()  # the same file again is the same registry; to plan it anew, after `Drifted` say, take another key
    planned = client.plan_registry(content, NewRegistryAsked(name=name), key=key, told=sending)
    show(planned, client)
    client.apply_registry(planned, only_good=True)
    return client.follow_registry(planned.id, paying, every_s=every_s)


if __name__ == "__main__":
    url, file = sys.argv[1:]
    with BlockingClient(url, os.environ["API_KEY"]) as client:
        print(pay(client, Path(file).name, Path(file).read_bytes()).state)
