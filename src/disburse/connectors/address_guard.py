"""Which addresses a merchant may have us call: those of the public internet, and nothing of ours. Pure.

Our own table, since the standard library's idea of "global" lets some through that lead inside (`64:ff9b::7f00:1`, `2002:7f00:1::`,
multicast). Of IPv6 only what is routed in public (2000::/3) is let through, and of that not what carries an IPv4 address inside.
"""

from __future__ import annotations

import ipaddress
from typing import Final

_DENIED_4: Final = tuple(
    ipaddress.IPv4Network(text)
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24",
        "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15",
        "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
    )
)  # fmt: skip
_PUBLIC_6: Final = ipaddress.IPv6Network("2000::/3")
_DENIED_6: Final = tuple(
    ipaddress.IPv6Network(text)
    for text in ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20")
)
_LOOPBACK: Final = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))


def may_be_called(address: str, *, loopback: bool = False) -> bool:
    """Whether a resolved address may be connected to. `loopback`: it was asked for by a name of this machine, and that is allowed."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    if loopback:
        return any(found in network for network in _LOOPBACK)
    if isinstance(found, ipaddress.IPv4Address):
        return not any(found in network for network in _DENIED_4)
    return found.scope_id is None and found in _PUBLIC_6 and not any(found in network for network in _DENIED_6)
