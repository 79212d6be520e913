"""The address of a webhook endpoint: which URLs are taken at all. Pure; what a name resolves to is judged when it is called.

https alone, ports 443 and 8443, a name and not a number, nothing in front of it and nothing behind a `#`. What looks like a name
may still be read as an address by a system's resolver (`127.1`, `0x7f.1`); whoever calls it judges the addresses themselves.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final

LONGEST: Final = 2000
PORTS: Final = (443, 8443)

_URL: Final = re.compile(r"(?P<scheme>[a-z]+)://(?P<authority>[^/?#]*)(?P<rest>[/?][!-~]*)?")
_LABEL: Final = r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)"
_NAME: Final = re.compile(rf"(?:{_LABEL}\.)+(?=[A-Za-z0-9-]*[A-Za-z]){_LABEL}")
_LOOPBACK_NAMES: Final = ("localhost",)


class BadWebhookUrl(ValueError):
    """The URL cannot be a webhook endpoint; the text says why, and repeats nothing of it."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address that may be called. `loopback`: it is this machine, which only a setting allows."""

    scheme: str
    host: str
    port: int
    loopback: bool


def read_endpoint(url: str, *, to_loopback: bool = False) -> Endpoint:
    """Take a URL apart. `to_loopback`: this machine may be named too, at any port and by http as well. Raises BadWebhookUrl."""
    if len(url) > LONGEST:
        raise BadWebhookUrl(f"it is longer than {LONGEST} characters")
    if "#" in url:
        raise BadWebhookUrl("it has a fragment")
    found = _URL.fullmatch(url)
    if found is None:
        raise BadWebhookUrl("it is no URL of printable ASCII with nothing but a host, a path and a query")
    scheme, authority = found["scheme"], found["authority"]
    if "@" in authority:
        raise BadWebhookUrl("it carries a user or a password")
    host, port = _host_and_port(authority, 443 if scheme == "https" else 80)
    loopback = _is_loopback(host)
    if loopback and to_loopback and scheme in ("http", "https"):
        return Endpoint(scheme, host, port, True)
    if scheme != "https":
        raise BadWebhookUrl("it is not https")
    if _is_address(host):
        raise BadWebhookUrl("it names an address; name a host")
    if len(host) > 253 or _NAME.fullmatch(host) is None or host.lower().endswith((".localhost", ".local", ".internal")):
        raise BadWebhookUrl("its host is no public name")
    if port not in PORTS:
        raise BadWebhookUrl("its port is neither 443 nor 8443")
    return Endpoint(scheme, host, port, False)


def _host_and_port(authority: str, default: int) -> tuple[str, int]:
    found = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:]+)(?::([0-9]{1,5}))?", authority)
    if found is None:
        raise BadWebhookUrl("it names no host")
    port = int(found[2]) if found[2] is not None else default
    if not 0 < port < 65536:
        raise BadWebhookUrl("its port is none")
    return found[1].strip("[]").lower(), port


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    return host in _LOOPBACK_NAMES or (_is_address(host) and ipaddress.ip_address(host).is_loopback)
