"""What a server shows to callers, and what callers must show it, as files have it now."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc

from ..calls.authorization import name_of
from .certificates import certificates_in, now
from .reloading import Looks, Reloaded
from .token_file import tokens_in

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from structlog.typing import FilteringBoundLogger

    from ..calls.authorization import Authorize, Metadata, Token
    from ..settings import Settings
    from .certificates import Certificates, Validity


class Credentials:
    """Certificates and tokens of a server. They change when their files do, for new connections and calls.

    Args:
        settings: Which name the files.
        log: Where it says what was taken, what is wrong, and which certificates expire.

    Raises:
        SettingInvalid: If a file cannot be read, or is not what it should be.
    """

    def __init__(self, settings: Settings, log: FilteringBoundLogger) -> None:
        self._log = log
        self._certificates = _certificates(settings, log)
        self._tokens = _tokens(settings, log)
        self._remarks: dict[Validity, str] = {}
        self._looks: Looks | None = None
        self._remark()

    @property
    def authorize(self) -> Authorize | None:
        """What looks at the token that a call shows; None where none is asked for."""
        return None if self._tokens is None else self._name_of

    def for_address(self) -> grpc.ServerCredentials | None:
        """Credentials of one TCP address; None for plain text. gRPC asks them at every handshake."""
        current = self._certificates
        if current is None:
            return None
        shown = current.value

        def changed() -> grpc.ServerCertificateConfiguration | None:
            nonlocal shown
            if current.value is shown:
                return None
            shown = current.value
            return _configuration(shown)

        return grpc.dynamic_ssl_server_credentials(
            _configuration(shown),
            changed,  # type: ignore[arg-type] # None is for no change, by gRPC's own words
            require_client_authentication=shown.authorities is not None,
        )

    def start(self) -> None:
        """Look at the files from now on, if there are any."""
        if self._certificates is not None or self._tokens is not None:
            self._looks = Looks(self._look, self._log)
            self._looks.start()

    def stop(self) -> None:
        """Look no more."""
        if self._looks is not None:
            self._looks.stop()

    def _look(self) -> None:
        if self._tokens is not None:
            self._tokens.look()
        if self._certificates is not None and self._certificates.look():
            self._remarks = {}
        self._remark()

    def _remark(self) -> None:
        """Say of a certificate that it expires: once soon before, and once when it is over."""
        current = () if self._certificates is None else self._certificates.value.validities
        remarks = {each: text for each in current if (text := each.remark(now())) is not None}
        for each, text in remarks.items():
            if self._remarks.get(each) != text:
                begin, end = each.begin.isoformat(), each.end.isoformat()
                self._log.warning(text, file=str(each.path), valid_from=begin, valid_until=end)
        self._remarks = remarks

    def _name_of(self, metadata: Metadata) -> str | None:
        return name_of(metadata, () if self._tokens is None else self._tokens.value)


def _certificates(settings: Settings, log: FilteringBoundLogger) -> Reloaded[Certificates] | None:
    if settings.tls_certificate is None or settings.tls_key is None:
        return None
    files = {"tls_certificate": settings.tls_certificate, "tls_key": settings.tls_key}
    if settings.tls_client_ca is not None:
        files["tls_client_ca"] = settings.tls_client_ca
    return Reloaded("certificates", files, lambda contents: certificates_in(contents, files), log)


def _tokens(settings: Settings, log: FilteringBoundLogger) -> Reloaded[tuple[Token, ...]] | None:
    if settings.token_file is None:
        return None
    path: Path = settings.token_file

    def make(contents: Mapping[str, bytes]) -> tuple[Token, ...]:
        return tokens_in(contents["token_file"], path)

    return Reloaded("tokens", {"token_file": path}, make, log)


def _configuration(certificates: Certificates) -> grpc.ServerCertificateConfiguration:
    pair = (certificates.key, certificates.chain)
    return grpc.ssl_server_certificate_configuration([pair], certificates.authorities)
