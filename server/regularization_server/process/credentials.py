"""What a server shows to callers and what callers must show it: TLS certificates, and the bearer token."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc

from ..settings import SettingInvalid

if TYPE_CHECKING:
    from pathlib import Path

    from ..settings import Settings


def credentials_of(settings: Settings) -> grpc.ServerCredentials | None:
    """Credentials of TCP addresses; None for plain text.

    Raises:
        SettingInvalid: If a file cannot be read, or is not what it should be.
    """
    if settings.tls_certificate is None or settings.tls_key is None:
        return None
    certificate = _read("tls_certificate", settings.tls_certificate)
    key = _read("tls_key", settings.tls_key)
    _check_certificate(settings.tls_certificate, settings.tls_key, settings.tls_client_ca)
    authorities = settings.tls_client_ca and _read("tls_client_ca", settings.tls_client_ca)
    return grpc.ssl_server_credentials(
        [(key, certificate)], authorities or None, require_client_auth=authorities is not None
    )


def token_of(settings: Settings) -> bytes | None:
    """The bearer token that callers must show; None for none.

    Raises:
        SettingInvalid: If its file cannot be read, is empty, or has what no header can show.
    """
    if settings.token_file is None:
        return None
    token = _read("token_file", settings.token_file).strip()
    if not token:
        raise SettingInvalid("token_file", f"{settings.token_file} is empty")
    if not all(ord("!") <= byte <= ord("~") for byte in token):
        text = f"{settings.token_file} must have one token of visible ASCII characters, without spaces"
        raise SettingInvalid("token_file", text)
    return token


def _read(setting: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingInvalid(setting, f"cannot read {path}: {error.strerror}") from error


def _check_certificate(certificate: Path, key: Path, authorities: Path | None) -> None:
    # gRPC takes anything and fails at the first handshake. A server without TLS need not spend the memory
    # that this import takes.
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate, key, password="")
    except OSError as error:
        raise SettingInvalid("tls_certificate", f"{certificate} and {key} do not work: {error}") from error
    try:
        context.load_verify_locations(authorities or certificate)
    except OSError as error:
        raise SettingInvalid("tls_client_ca", f"{authorities} has no certificates: {error}") from error
