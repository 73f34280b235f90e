"""Authorities and certificates of these tests, made in no time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from pathlib import Path

HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, in PEM."""

    certificate: bytes
    key: bytes

    def write(self, folder: Path, name: str) -> None:
        """Put them into a folder, each whole: by renaming."""
        replace(folder / f"{name}.pem", self.certificate)
        replace(folder / f"{name}.key", self.key)


class Authority:
    """An authority that signs certificates.

    Args:
        name: Its own.
        lasts: Time from now on that its certificate is good.
    """

    def __init__(self, name: str = "authority", lasts: timedelta = HOUR) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        builder = _builder(self._name, self._name, self._key, HOUR, lasts).add_extension(constraints, True)
        self.certificate = builder.sign(self._key, SHA256()).public_bytes(Encoding.PEM)

    def sign(self, name: str, *, age: timedelta = HOUR, lasts: timedelta = HOUR) -> Pair:
        """A certificate for this host.

        Args:
            name: Of whom it is.
            age: Time before now since when it is good.
            lasts: Time from now on that it is good.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        hosts = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
        builder = _builder(_name(name), self._name, key, age, lasts)
        builder = builder.add_extension(x509.SubjectAlternativeName(hosts), False)
        certificate = builder.sign(self._key, SHA256()).public_bytes(Encoding.PEM)
        plain = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return Pair(certificate, plain)


def replace(path: Path, content: bytes) -> None:
    """Replace a file whole."""
    new = path.with_name(f"{path.name}.new")
    new.write_bytes(content)
    new.replace(path)


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    age: timedelta,
    lasts: timedelta,
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - age)
        .not_valid_after(now + lasts)
    )
