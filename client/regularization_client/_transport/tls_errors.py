"""Why no connection is made where two ends do not agree on encryption: gRPC does not say it plainly."""

from __future__ import annotations

import socket
import ssl

from .._config import Tls

_SECONDS = 2.0
"""Time that the server has for each answer."""

_SECONDS_TO_OBJECT = 0.3
"""Time in which a server refuses a client without a certificate, once the client has accepted its own."""

_NOT_YET, _EXPIRED, _OTHER_NAME, _OTHER_ADDRESS = 9, 10, 62, 64
"""OpenSSL's numbers of what is wrong with a certificate (X509_V_ERR)."""

SPEAKS_TLS = "the server speaks TLS: add --tls, or --ca for an authority of your own (in Python: tls=Tls())"
SPEAKS_NO_TLS = "the server does not speak TLS: give no --tls, --ca and --certificate (in Python: no tls)"
NOT_TRUSTED = (
    "the server's certificate is not trusted: give its authority with --ca "
    "(in Python: Tls(root_certificates=…))"
)
OTHER_NAME = (
    "the server's certificate is for another name (in Python: Tls(server_name=…) says which to expect)"
)
EXPIRED = "the server's certificate has expired"
NOT_YET_VALID = "the server's certificate is not valid yet: look at the clocks"
WANTS_CERTIFICATE = (
    "the server asks for a client's certificate: give --certificate and --key "
    "(in Python: Tls(certificate=…, private_key=…))"
)
NO_AUTHORITIES = (
    "there is no certificate in PEM among the authorities to trust (--ca, in Python: root_certificates)"
)

_OF_CERTIFICATES = {
    _NOT_YET: NOT_YET_VALID,
    _EXPIRED: EXPIRED,
    _OTHER_NAME: OTHER_NAME,
    _OTHER_ADDRESS: OTHER_NAME,
}


def why_not_connected(address: str, tls: Tls | None) -> str | None:
    """What is wrong with the encryption of a connection that gRPC could not make; None where it is not that.

    Args:
        address: One address, as gRPC takes it. Only "host:port" is looked at.
        tls: How the connection was to be encrypted; None for plain text.
    """
    host, colon, port = address.removeprefix("ipv4:").removeprefix("ipv6:").rpartition(":")
    if not colon or not port.isdecimal() or "/" in host or host.startswith("unix"):
        return None
    try:
        with socket.create_connection((host.strip("[]"), int(port)), _SECONDS) as connection:
            return _plain(connection) if tls is None else _encrypted(connection, host.strip("[]"), tls)
    except (OSError, ValueError):
        return None


def _plain(connection: socket.socket) -> str | None:
    """See whether a server that was spoken to in plain text answers in TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    try:
        with context.wrap_socket(connection):
            return SPEAKS_TLS
    except ssl.SSLError as error:
        # Only who speaks TLS sends alerts.
        return SPEAKS_TLS if "ALERT" in (error.reason or "") else None


def _encrypted(connection: socket.socket, host: str, tls: Tls) -> str | None:
    try:
        context = _context(tls)
    except ssl.SSLError:
        return NO_AUTHORITIES
    try:
        with context.wrap_socket(connection, server_hostname=tls.server_name or host) as encrypted:
            return _objection(encrypted) if tls.certificate is None else None
    except ssl.SSLCertVerificationError as error:
        return _OF_CERTIFICATES.get(error.verify_code, NOT_TRUSTED)
    except ssl.SSLError as error:
        return SPEAKS_NO_TLS if error.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE") else None


def _context(tls: Tls) -> ssl.SSLContext:
    """Trust whom gRPC trusts, as far as that is known.

    Raises:
        ssl.SSLError: If there is no certificate among the authorities.
    """
    authorities = None if tls.root_certificates is None else tls.root_certificates.decode(errors="replace")
    context = ssl.create_default_context(cadata=authorities)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.set_alpn_protocols(["h2"])
    return context


def _objection(encrypted: ssl.SSLSocket) -> str | None:
    """See whether the server goes on without a certificate of ours: it decides after our handshake."""
    encrypted.settimeout(_SECONDS_TO_OBJECT)
    try:
        # Whoever speaks HTTP/2 begins by itself. gRPC closes without a word, others send an alert first.
        return None if encrypted.recv(1) else WANTS_CERTIFICATE
    except ConnectionResetError:
        return WANTS_CERTIFICATE
    except ssl.SSLError as error:
        return WANTS_CERTIFICATE if "CERTIFICATE_REQUIRED" in (error.reason or "") else None
    except TimeoutError:
        return None
