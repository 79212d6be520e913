"""Certificates for one certification: an authority of its own, and servers that it vouches for rightly and wrongly.

Lives here: their making, in files of a directory that the certification throws away. Nothing of it is trusted by anything else.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from disburse.certify.scenarios import Line


@dataclass(frozen=True, slots=True)
class Tls:
    """The authority's file, for connectors to trust, and a server's side by line."""

    ca_file: Path
    servers: dict[Line, ssl.SSLContext]


def make_tls(directory: Path, now: datetime) -> Tls:
    """An authority and four servers: a right one, one of another name, one that is over, and one that another authority made."""
    key, stranger = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority, other = _name("certification"), _name("stranger")
    ca_file = directory / "authority.pem"
    own = _builder(authority, authority, key, now, 1).add_extension(x509.BasicConstraints(True, 0), critical=True)
    ca_file.write_bytes(own.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    address = x509.IPAddress(ip_address("127.0.0.1"))
    servers = {
        Line.TLS: _server(directory, "right", _name("provider"), authority, key, now, address, 1),
        Line.TLS_OTHER_NAME: _server(directory, "named", _name("else"), authority, key, now, x509.DNSName("else.invalid"), 1),
        Line.TLS_EXPIRED: _server(directory, "expired", _name("provider"), authority, key, now, address, -1),
        Line.TLS_STRANGER: _server(directory, "stranger", _name("provider"), other, stranger, now, address, 1),
    }
    return Tls(ca_file, servers)


def _server(
    directory: Path, called: str, name: x509.Name, issuer: x509.Name, signer: ec.EllipticCurvePrivateKey, now: datetime,
    subject: x509.GeneralName, days: int,
) -> ssl.SSLContext:  # fmt: skip
    key = ec.generate_private_key(ec.SECP256R1())
    built = _builder(name, issuer, key, now, days).add_extension(x509.SubjectAlternativeName([subject]), critical=False)
    certificate, private = directory / f"{called}.crt", directory / f"{called}.key"
    certificate.write_bytes(built.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    pem, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    private.write_bytes(key.private_bytes(serialization.Encoding.PEM, pem, plain))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, private)
    return context


def _name(called: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, called)])


def _builder(
    name: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder(issuer, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=3))
        .not_valid_after(now + timedelta(days=days))
    )
