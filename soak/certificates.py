"""Certificates for the servers of a soak: an authority, what it signed, and what it signed that has expired."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HERE = "127.0.0.1"
DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Papers:
    """The file of the authority, and how a server on 127.0.0.1 greets with a good and with an expired certificate."""

    authority: Path
    good: ssl.SSLContext
    expired: ssl.SSLContext


def make(folder: Path) -> Papers:
    """A new authority and its two certificates; all files are in `folder`."""
    now = datetime.now(UTC)
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("Soak authority")
    usage = x509.KeyUsage(
        digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    public = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    builder = _builder(name, name, key, now - 30 * DAY, now + 30 * DAY)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    authority = builder.add_extension(usage, critical=True).add_extension(public, critical=False)
    file = folder / "authority.pem"
    file.write_bytes(authority.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    return Papers(
        authority=file,
        good=_context(folder / "good.pem", name, key, now - DAY, now + 10 * DAY),
        expired=_context(folder / "expired.pem", name, key, now - 10 * DAY, now - DAY),
    )


def _name(words: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, words)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, start: datetime, end: datetime
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    return builder.serial_number(x509.random_serial_number()).not_valid_before(start).not_valid_after(end)


def _context(
    file: Path, issuer: x509.Name, signing: ec.EllipticCurvePrivateKey, start: datetime, end: datetime
) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    alternatives = x509.SubjectAlternativeName([x509.IPAddress(ip_address(HERE))])
    signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key())
    builder = _builder(_name(HERE), issuer, key, start, end)
    builder = builder.add_extension(alternatives, critical=False).add_extension(signer, critical=False)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(private + builder.sign(signing, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context
