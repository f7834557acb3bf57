"""The certificate that this server shows, and what may be spoken below it."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

import attrs

log = logging.getLogger("swapcli.http")

_PROTOCOLS = ["h2", "http/1.1"]


class CannotUseCertificate(Exception):
    """A file is not there, cannot be read, or does not fit the other. ``str()`` is one line for the user."""


@attrs.define(eq=False)
class ServerTls:
    """TLS with one certificate, which may be replaced while the server runs.

    Raises:
      CannotUseCertificate: see there.
    """

    certificate: Path
    """PEM, with the chain up to what clients know."""
    key: Path
    """PEM, without a passphrase."""
    context: ssl.SSLContext = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.context.set_alpn_protocols(_PROTOCOLS)
        self._load()

    def renew(self) -> None:
        """Show new clients what is in the files now; when it cannot be used, what was shown before."""
        try:
            ServerTls(self.certificate, self.key)  # a context that took half of it would be of no use
            self._load()
        except CannotUseCertificate as error:
            log.warning("%s; the old certificate stays in use", error)

    def _load(self) -> None:
        try:
            self.context.load_cert_chain(self.certificate, self.key, password=_refuse_passphrase)
        except _NeedsPassphrase:
            raise CannotUseCertificate(f"{self.key}: keys with a passphrase cannot be used") from None
        except ssl.SSLError as error:
            why = (error.reason or str(error)).lower().replace("_", " ")
            raise CannotUseCertificate(
                f"{self.certificate} and {self.key} are no certificate and key in PEM: {why}"
            ) from error
        except OSError as error:
            missing = next((path for path in (self.certificate, self.key) if not _is_readable(path)), "TLS")
            raise CannotUseCertificate(f"{missing}: {error.strerror}") from error


class _NeedsPassphrase(Exception):
    pass


def _refuse_passphrase() -> str:
    raise _NeedsPassphrase  # else it would be asked for on the terminal


def _is_readable(path: Path) -> bool:
    try:
        with path.open("rb"):
            return True
    except OSError:
        return False
