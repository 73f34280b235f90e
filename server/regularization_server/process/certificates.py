"""TLS certificates as files have them, and how long they are good for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from ..settings import SettingInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from cryptography.x509 import Certificate

SOON = timedelta(days=14)
"""Time before a certificate's end in which it is said to end soon."""

LAST_PART = 4
"""Where a certificate is good for a short time only, it ends soon in the last of so many parts of it."""


@dataclass(frozen=True, slots=True)
class Validity:
    """From when until when a file's certificates are good."""

    path: Path
    begin: datetime
    end: datetime

    def remark(self, now: datetime) -> str | None:
        """What there is to say against it at this moment; None where it is good for long."""
        if now >= self.end:
            return "certificate expired"
        if now < self.begin:
            return "certificate not valid yet"
        if now >= self.end - min(SOON, (self.end - self.begin) / LAST_PART):
            return "certificate expires soon"
        return None


@dataclass(frozen=True, slots=True)
class Certificates:
    """A server's certificate chain with its key, and the authorities of its clients: all in PEM."""

    chain: bytes
    key: bytes
    authorities: bytes | None
    validities: tuple[Validity, ...]
    """Of the chain, and of the authorities."""


def certificates_in(contents: Mapping[str, bytes], files: Mapping[str, Path]) -> Certificates:
    """What files have, once it is known to be right: gRPC takes anything, and fails at the first handshake.

    Args:
        contents: What is in the files, by the settings that name them.
        files: Their paths.

    Raises:
        SettingInvalid: If one is not what it should be, or the key is another certificate's.
    """
    chain, key = contents["tls_certificate"], contents["tls_key"]
    certificates = _read("tls_certificate", chain, files)
    _check_key(key, certificates[0], files)
    # Whoever checks the chain needs all of it; of authorities there are several while one follows another.
    ends = min(each.not_valid_after_utc for each in certificates)
    begins = max(each.not_valid_before_utc for each in certificates)
    validities = [Validity(files["tls_certificate"], begins, ends)]
    if (authorities := contents.get("tls_client_ca")) is not None:
        last = max(
            _read("tls_client_ca", authorities, files), key=lambda authority: authority.not_valid_after_utc
        )
        begins, ends = last.not_valid_before_utc, last.not_valid_after_utc
        validities.append(Validity(files["tls_client_ca"], begins, ends))
    return Certificates(chain, key, authorities, tuple(validities))


def now() -> datetime:
    """This moment."""
    return datetime.now(UTC)


# A server without TLS need not spend the memory that this library takes, hence the late imports.


def _read(setting: str, raw: bytes, files: Mapping[str, Path]) -> Sequence[Certificate]:
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificates(raw)
    except ValueError as error:
        raise SettingInvalid(setting, f"{files[setting]} has no certificates in PEM") from error


def _check_key(raw: bytes, certificate: Certificate, files: Mapping[str, Path]) -> None:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    path = files["tls_key"]
    try:
        key = load_pem_private_key(raw, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        text = f"{path} has no private key in PEM, or one that is encrypted"
        raise SettingInvalid("tls_key", text) from error
    if key.public_key() != certificate.public_key():
        text = f"{files['tls_certificate']} and {path} do not belong together"
        raise SettingInvalid("tls_certificate", text)
