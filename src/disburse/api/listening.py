"""Where the doors listen: sockets, TLS, what connections may take. May not live here: anything that reads a request."""

from __future__ import annotations

import asyncio
import socket
import ssl
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from disburse.domain.refusals import Refusal

FILES_BESIDE: Final = 256
"""Open files the process needs beside its connections."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What connections may take. `head_bytes`: request line and headers; `answer_within_s` includes reading the answer."""

    request_within_s: float = 15.0
    idle_s: float = 75.0
    answer_within_s: float = 60.0
    linger_s: float = 5.0
    handshake_within_s: float = 10.0
    stop_within_s: float = 10.0
    sweep_every_s: float = 1.0
    head_bytes: int = 32768
    fields: int = 100
    pipelined: int = 64
    connections: int = 4000


DEFAULT_LIMITS: Final = Limits()


class CannotListen(Refusal):
    """Nothing can listen at this address."""


class BadCertificate(Refusal):
    """The TLS certificate or its key cannot be used."""


def tls_context(certificate: str | Path, key: str | Path | None) -> ssl.SSLContext:
    """TLS 1.2 or later with this certificate (its chain behind it) and key. Raises BadCertificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_alpn_protocols(["http/1.1"])
    for path in (certificate, key):
        if path is not None and not Path(path).is_file():
            raise BadCertificate(f"There is no file {path}.")
    try:
        context.load_cert_chain(certificate, key, password=lambda: "")  # never asks at a terminal
    except (OSError, ValueError) as fault:  # ssl.SSLError is an OSError
        why = getattr(fault, "reason", None) or type(fault).__name__
        raise BadCertificate(f"{certificate} and {key or 'the key in it'} cannot be used: {why}.") from None
    return context


async def listen(host: str, port: int) -> list[socket.socket]:
    """Sockets bound to every address of a host, all to one port; at least one. Raises CannotListen."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except OSError:
        raise CannotListen(f"There is no address for {host}.") from None
    addresses = sorted({(family, place[0]) for family, _, _, _, place in found})
    bound: list[socket.socket] = []
    for family, address in addresses:
        try:
            bound.append(_bound(family, str(address), bound[0].getsockname()[1] if bound else port))
        except OSError as fault:
            if not bound:
                raise CannotListen(f"Nothing can listen at {host}:{port}: {fault.strerror}.") from None
    return bound


async def listen_together(host: str, port: int, count: int) -> list[list[socket.socket]]:
    """As `listen`, for so many processes: the system deals new connections out among the sets. Raises CannotListen."""
    alone = await listen(host, port)  # sockets that share would also share with another program of ours: this one does not
    if count == 1:
        return [alone]
    addresses = [(listener.family, _place(listener)) for listener in alone]
    for listener in alone:
        listener.close()
    try:
        return [[_bound(family, *place, shared=True) for family, place in addresses] for _ in range(count)]
    except OSError as fault:
        raise CannotListen(f"Nothing can listen at {host}:{port}: {fault.strerror}.") from None


def _place(listener: socket.socket) -> tuple[str, int]:
    host, port = listener.getsockname()[:2]
    return str(host), int(port)


def _bound(family: int, address: str, port: int, *, shared: bool = False) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((address, port))
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


def connections_possible(wanted: int) -> int:
    """Every connection is an open file: raise this process's limit as far as needed and allowed; how many there may be then."""
    if sys.platform == "win32":
        return wanted
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = wanted + FILES_BESIDE
    if soft != resource.RLIM_INFINITY and soft < files:
        soft = files if hard == resource.RLIM_INFINITY else min(files, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return wanted if soft == resource.RLIM_INFINITY else min(wanted, max(16, soft - FILES_BESIDE))
